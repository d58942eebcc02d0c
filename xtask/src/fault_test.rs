//! `cargo xtask fault-test`: workers on one database, while workers are killed, connections cut and
//! the database restarted; with `--namespaces` on machines of their own, whose links, clocks and
//! disk fail, too.

mod cluster;
mod node;
mod rounds;
mod world;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::dist;

pub const EXAMPLES: &str = "\
Each round makes a state in a schema of its own, lets two workers learn what its users wrote, and
meanwhile, at random moments: kills a worker (SIGKILL) and starts another one, ends all connections
(pg_terminate_backend), restarts the database without a checkpoint (pg_ctl -m immediate), and adds
another user's texts. Then the workers are stopped (SIGTERM), a last one finishes what is left, and
the state passes its checks, nothing is left to learn, and every user's digest is that of an
undisturbed run on a file.

The server is one for tests: others' connections to its database are ended, too.

With --namespaces the database, two workers and a `spring serve` are machines of their own: network
namespaces on one bridge, each with its own clock (libfaketime) and its own name of the machine, so
that nobody can see whether a process on another one still runs. Then also: links are pulled, or all
that comes to a machine is dropped, without a word to anybody; the server, the workers and the
database are killed (SIGKILL); a worker is paused (SIGSTOP) until another one has its user, as the
database's clock has passed its lease; the database's disk, a small tmpfs, is filled; clocks of
machines go wrong by up to a quarter of an hour; and the texts in the middle come through the
server. It needs root, and from Debian: postgresql, iproute2, iptables, faketime. No
namespace, mount or process of it is left on the machine, however it ends.

Examples:
  cargo xtask fault-test --postgres postgres://me@127.0.0.1:5433/test --rounds 20
  cargo xtask fault-test --postgres postgres://me@127.0.0.1:5433/test --data /tmp/cluster \
--rounds 500
  sudo cargo xtask fault-test --namespaces --rounds 500";

/// The settings of `fault-test`.
#[derive(Debug, Args)]
pub struct FaultTest {
    /// The address of a database for tests
    #[arg(long, value_name = "URL", required_unless_present = "namespaces")]
    postgres: Option<String>,
    /// Network namespaces on this machine, with a database of their own; needs root
    #[arg(long, conflicts_with_all = ["postgres", "data"])]
    namespaces: bool,
    /// Inside the namespaces: where the files go
    #[arg(long, hide = true, requires = "namespaces", value_name = "DIR")]
    inside: Option<PathBuf>,
    /// The folder of its server's data, which its owner restarts by pg_ctl; without it, it is not
    /// restarted
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The program pg_ctl, with initdb and postgres beside it [default: the newest of Debian's, or
    /// that of the path]
    #[arg(long, value_name = "FILE")]
    pg_ctl: Option<PathBuf>,
    /// Rounds
    #[arg(long, default_value_t = 20, value_name = "N")]
    rounds: u32,
    /// Key of what happens when
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u64,
    /// Use this program instead of building it
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
}

/// Users of a state, whose texts are there from the beginning.
const USERS: [&str; 5] = ["ada", "bob", "cy", "dan", "eve"];

/// Whose texts come in the middle.
const LATE: &str = "zoe";

/// How long what is left may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// What can happen.
const FAULTS: [&str; 4] = ["worker killed", "connections cut", "database restarted", "texts added"];

type Digests = BTreeMap<String, String>;

impl FaultTest {
    /// Builds the program, runs it once undisturbed, then the rounds; gives the exit code.
    ///
    /// # Errors
    ///
    /// A check failed; the files are kept and named.
    pub fn run(&self) -> Result<u8> {
        match &self.inside {
            Some(folder) => rounds::run(self, folder).map(|()| 0),
            None => {
                dist::in_folder(self.program.as_deref(), |program, folder| match self.namespaces {
                    true => world::enter(self, &program, folder),
                    false => self.all_rounds(program, folder),
                })
            }
        }
    }

    fn all_rounds(&self, program: PathBuf, folder: &Path) -> Result<()> {
        let place = Place::new(program, folder);
        let server = Server {
            address: self.postgres.as_deref().context("--postgres is missing")?,
            data: self.data.as_deref(),
            pg_ctl: self.pg_ctl(),
        };
        let reference = place.reference()?;
        let mut counts = [0_u32; FAULTS.len()];
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        for round in 0..self.rounds {
            let told = server.round(&place, round, &reference, &mut rng, &mut counts);
            told.with_context(|| format!("round {round} of seed {}", self.seed))?;
            if (round + 1) % 5 == 0 {
                eprintln!("{} of {} rounds", round + 1, self.rounds);
            }
        }
        print_table(self.rounds, FAULTS.iter().copied().zip(counts));
        Ok(())
    }

    fn pg_ctl(&self) -> PathBuf {
        let newest = || {
            let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
            let number = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
            let newest = versions.flatten().map(|entry| entry.path()).max_by_key(number)?;
            Some(newest.join("bin/pg_ctl")).filter(|file| file.exists())
        };
        self.pg_ctl.clone().or_else(newest).unwrap_or_else(|| "pg_ctl".into())
    }
}

/// What happened, and that all is well.
fn print_table<'n>(rounds: u32, counts: impl IntoIterator<Item = (&'n str, u32)>) {
    println!("| what happened | times in {rounds} rounds |\n|---|---|");
    for (what, count) in counts {
        println!("| {what} | {count} |");
    }
    println!("\nnothing was lost or learned twice: all digests are those of the undisturbed run");
}

/// What an undisturbed run made, and how long it took.
struct Reference {
    digests: Digests,
    duration: Duration,
}

/// Where it all happens.
struct Place {
    program: PathBuf,
    folder: PathBuf,
    /// What the program is started by, with its arguments; nothing for itself.
    starter: Vec<String>,
    epochs: u32,
}

impl Place {
    fn new(program: PathBuf, folder: &Path) -> Self {
        Self { program, folder: folder.to_owned(), starter: Vec::new(), epochs: 10 }
    }

    /// Learns everything in a file, and nothing is in the way.
    fn reference(&self) -> Result<Reference> {
        let file = self.folder.join("reference.db").to_string_lossy().into_owned();
        let start = Instant::now();
        self.begin(&file)?;
        self.finish(&["ingest", "--state", &file, "DIR/late.jsonl"])?;
        self.finish(&["adapt", "--state", &file])?;
        Ok(Reference { digests: self.check(&file)?, duration: start.elapsed() })
    }

    /// Makes a state with its users' first texts.
    fn begin(&self, state: &str) -> Result<()> {
        let model = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../crates/spring-model/tests/fixtures/tiny-llama");
        let model = model.to_str().context("the path of the workspace is not UTF-8")?;
        fs::write(
            self.folder.join("spring.toml"),
            format!("[training]\nlearning_rate = 1e-2\nepochs = {}\n", self.epochs),
        )?;
        let texts: String = USERS.iter().map(|user| texts_of(user, 24)).collect();
        fs::write(self.folder.join("first.jsonl"), texts)?;
        fs::write(self.folder.join("late.jsonl"), texts_of(LATE, 24))?;
        self.finish(&["init", "--state", state, "--model", model, "--config", "DIR/spring.toml"])?;
        self.finish(&["ingest", "--state", state, "DIR/first.jsonl"])?;
        Ok(())
    }

    /// Lets a last worker learn what is left.
    fn learn_the_rest(&self, state: &str) -> Result<()> {
        let begin = Instant::now();
        while !self.finish(&["worker", "--state", state, "--once"])?.contains("nothing new") {
            ensure!(begin.elapsed() < PATIENCE, "users are left who cannot be taken");
        }
        Ok(())
    }

    /// Checks a state, and that everybody in it is as undisturbed.
    fn compare(&self, state: &str, reference: &Reference) -> Result<()> {
        let found = self.check(state)?;
        for (user, digest) in &reference.digests {
            ensure!(found.get(user) == Some(digest), "user {user} is not as undisturbed");
        }
        let count = reference.digests.len();
        ensure!(found.len() == count, "there are other users: {:?}", found.keys());
        Ok(())
    }

    fn worker(&self, state: &str) -> Result<Child> {
        let worker = ["worker", "--state", state, "--poll", "0.1", "--quiet"];
        Ok(self.command(&worker).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?)
    }

    /// The digest of every user, after the program's own checks.
    fn check(&self, state: &str) -> Result<Digests> {
        let mut digests = Digests::new();
        for line in self.finish(&["check", "--state", state, "--json"])?.lines() {
            let value: Value = serde_json::from_str(line)?;
            let text = |key: &str| Some(value.get(key)?.as_str()?.to_owned());
            digests.extend(text("user").zip(text("sha256")));
        }
        Ok(digests)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let folder = self.folder.to_string_lossy();
        let mut starter = self.starter.iter();
        let mut command = match starter.next() {
            Some(first) => Command::new(first),
            None => Command::new(&self.program),
        };
        if !self.starter.is_empty() {
            command.args(starter).arg(&self.program);
        }
        command.args(arguments.iter().map(|argument| argument.replace("DIR", &folder)));
        command.stdin(Stdio::null());
        command
    }

    /// Runs a command that must end well; gives what it printed.
    fn finish(&self, arguments: &[&str]) -> Result<String> {
        let output = self.command(arguments).output()?;
        if !output.status.success() {
            bail!(
                "spring {} failed: {}",
                arguments.join(" "),
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(String::from_utf8(output.stdout)?)
    }
}

/// A server of PostgreSQL that is there.
struct Server<'t> {
    address: &'t str,
    data: Option<&'t Path>,
    pg_ctl: PathBuf,
}

impl Server<'_> {
    fn round(
        &self,
        place: &Place,
        round: u32,
        reference: &Reference,
        rng: &mut ChaCha8Rng,
        counts: &mut [u32; FAULTS.len()],
    ) -> Result<()> {
        let schema = format!("fault_{}_{round}", std::process::id());
        let sign = if self.address.contains('?') { '&' } else { '?' };
        let state = format!("{}{sign}schema={schema}", self.address);
        place.begin(&state)?;
        let mut workers = [place.worker(&state)?, place.worker(&state)?];
        let mut is_late_there = false;
        for _ in 0..rng.random_range(2..=5) {
            thread::sleep(reference.duration.mul_f64(rng.random_range(0.0..0.4)));
            let fault = rng.random_range(0..FAULTS.len());
            match fault {
                0 => {
                    let one = &mut workers[rng.random_range(0..2)];
                    one.kill()?;
                    one.wait()?;
                    *one = place.worker(&state)?;
                }
                1 => self.sql(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                     WHERE pid <> pg_backend_pid() AND datname = current_database()",
                )?,
                2 => match self.data {
                    Some(data) => self.restart(data)?,
                    None => continue,
                },
                _ if is_late_there => continue,
                _ => {
                    place.finish(&["ingest", "--state", &state, "DIR/late.jsonl"])?;
                    is_late_there = true;
                }
            }
            counts[fault] += 1;
        }
        if !is_late_there {
            place.finish(&["ingest", "--state", &state, "DIR/late.jsonl"])?;
        }
        for worker in &mut workers {
            stop(worker)?;
        }
        // A worker that was killed on this machine holds nobody any more.
        place.learn_the_rest(&state)?;
        place.compare(&state, reference)?;
        self.sql(&format!("DROP SCHEMA {schema} CASCADE"))
    }

    fn restart(&self, data: &Path) -> Result<()> {
        let mut command = as_owner(data, &self.pg_ctl)?;
        let log = data.join("log");
        command.arg("-D").arg(data).arg("-l").arg(log).args(["-m", "immediate", "-w", "restart"]);
        let done = command.stdin(Stdio::null()).stdout(Stdio::null()).status()?;
        ensure!(done.success(), "pg_ctl restart: {done}");
        Ok(())
    }

    fn sql(&self, statement: &str) -> Result<()> {
        let mut command = Command::new("psql");
        command.args(["-q", "-v", "ON_ERROR_STOP=1", "-d", self.address, "-c", statement]);
        let output = command.stdin(Stdio::null()).output().context("psql")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "psql: {}", said.trim());
        Ok(())
    }
}

/// Asks a worker to end, which it does soon and well.
fn stop(worker: &mut Child) -> Result<()> {
    if let Some(ended) = worker.try_wait()? {
        bail!("a worker has ended by itself: {ended}");
    }
    let told = Command::new("kill").args(["-TERM", &worker.id().to_string()]).status()?;
    ensure!(told.success(), "the worker cannot be told to end");
    let begin = Instant::now();
    loop {
        if let Some(ended) = worker.try_wait()? {
            // One that had not begun yet has no exit code: the signal itself ended it.
            let is_well = matches!(ended.code(), Some(130) | None);
            ensure!(is_well, "a worker that was stopped: {ended}");
            return Ok(());
        }
        ensure!(begin.elapsed() < Duration::from_secs(20), "a worker does not end");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A command as the owner of a folder, which PostgreSQL's programs insist on.
fn as_owner(folder: &Path, program: &Path) -> Result<Command> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let owner = fs::metadata(folder).with_context(|| folder.display().to_string())?;
        let own = fs::metadata("/proc/self").map(|own| own.uid());
        if own.is_ok_and(|own| own != owner.uid()) {
            let mut command = Command::new("setpriv");
            command.arg(format!("--reuid={}", owner.uid()));
            command.arg(format!("--regid={}", owner.gid()));
            command.arg("--clear-groups").arg(program).current_dir(folder);
            return Ok(command);
        }
    }
    Ok(Command::new(program))
}

/// Texts of one user, as lines.
fn texts_of(user: &str, texts: u32) -> String {
    let subjects = ["the sea", "a train", "my dog", "old films", "soup"];
    let line = |i: u32| {
        let subject = subjects[i as usize % subjects.len()];
        let value = json!({
            "user": user, "id": format!("{user}-{i}"),
            "time": format!("2024-03-01T{:02}:{:02}:00Z", i / 60, i % 60),
            "prompt": format!("About {subject}, number {i}"),
            "response": format!("{user} likes {subject}, and says so {i} times."),
        });
        format!("{value}\n")
    };
    (0..texts).map(line).collect()
}
