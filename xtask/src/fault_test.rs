//! `cargo xtask fault-test`: workers on one database, while workers are killed, connections cut and
//! the database restarted.

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

Examples:
  cargo xtask fault-test --postgres postgres://me@127.0.0.1:5433/test --rounds 20
  cargo xtask fault-test --postgres postgres://me@127.0.0.1:5433/test --data /tmp/cluster \
--rounds 500";

/// The settings of `fault-test`.
#[derive(Debug, Args)]
pub struct FaultTest {
    /// The address of a database for tests
    #[arg(long, value_name = "URL")]
    postgres: String,
    /// The folder of its server's data, which its owner restarts by pg_ctl; without it, it is not
    /// restarted
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The program pg_ctl
    #[arg(long, default_value = "pg_ctl", value_name = "FILE")]
    pg_ctl: PathBuf,
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
        dist::in_folder(self.program.as_deref(), |program, folder| self.all_rounds(program, folder))
    }

    fn all_rounds(&self, program: PathBuf, folder: &Path) -> Result<()> {
        let place = Place { test: self, program, folder: folder.to_owned() };
        let file = folder.join("reference.db").to_string_lossy().into_owned();
        let start = Instant::now();
        place.begin(&file)?;
        place.finish(&["ingest", "--state", &file, "DIR/late.jsonl"])?;
        place.finish(&["adapt", "--state", &file])?;
        let (expected, duration) = (place.check(&file)?, start.elapsed());
        let mut counts = [0_u32; FAULTS.len()];
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        for round in 0..self.rounds {
            let told = place.round(round, &expected, duration, &mut rng, &mut counts);
            told.with_context(|| format!("round {round} of seed {}", self.seed))?;
            if (round + 1) % 5 == 0 {
                eprintln!("{} of {} rounds", round + 1, self.rounds);
            }
        }
        println!("| what happened | times in {} rounds |\n|---|---|", self.rounds);
        for (fault, count) in FAULTS.iter().zip(counts) {
            println!("| {fault} | {count} |");
        }
        println!(
            "\nnothing was lost or learned twice: all digests are those of the undisturbed run"
        );
        Ok(())
    }
}

/// Where it all happens.
struct Place<'t> {
    test: &'t FaultTest,
    program: PathBuf,
    folder: PathBuf,
}

impl Place<'_> {
    /// Makes a state with its users' first texts.
    fn begin(&self, state: &str) -> Result<()> {
        let model = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../crates/spring-model/tests/fixtures/tiny-llama");
        let model = model.to_str().context("the path of the workspace is not UTF-8")?;
        fs::write(
            self.folder.join("spring.toml"),
            "[training]\nlearning_rate = 1e-2\nepochs = 10\n",
        )?;
        let texts: String = USERS.iter().map(|user| texts_of(user, 24)).collect();
        fs::write(self.folder.join("first.jsonl"), texts)?;
        fs::write(self.folder.join("late.jsonl"), texts_of(LATE, 24))?;
        self.finish(&["init", "--state", state, "--model", model, "--config", "DIR/spring.toml"])?;
        self.finish(&["ingest", "--state", state, "DIR/first.jsonl"])?;
        Ok(())
    }

    fn round(
        &self,
        round: u32,
        expected: &Digests,
        duration: Duration,
        rng: &mut ChaCha8Rng,
        counts: &mut [u32; FAULTS.len()],
    ) -> Result<()> {
        let schema = format!("fault_{}_{round}", std::process::id());
        let sign = if self.test.postgres.contains('?') { '&' } else { '?' };
        let state = format!("{}{sign}schema={schema}", self.test.postgres);
        self.begin(&state)?;
        let mut workers = [self.worker(&state)?, self.worker(&state)?];
        let mut is_late_there = false;
        for _ in 0..rng.random_range(2..=5) {
            thread::sleep(duration.mul_f64(rng.random_range(0.0..0.4)));
            let fault = rng.random_range(0..FAULTS.len());
            match fault {
                0 => {
                    let one = &mut workers[rng.random_range(0..2)];
                    one.kill()?;
                    one.wait()?;
                    *one = self.worker(&state)?;
                }
                1 => self.sql(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                     WHERE pid <> pg_backend_pid() AND datname = current_database()",
                )?,
                2 => match &self.test.data {
                    Some(data) => self.restart(data)?,
                    None => continue,
                },
                _ if is_late_there => continue,
                _ => {
                    self.finish(&["ingest", "--state", &state, "DIR/late.jsonl"])?;
                    is_late_there = true;
                }
            }
            counts[fault] += 1;
        }
        if !is_late_there {
            self.finish(&["ingest", "--state", &state, "DIR/late.jsonl"])?;
        }
        for worker in &mut workers {
            self.stop(worker)?;
        }
        // A worker that was killed on this machine holds nobody any more.
        let begin = Instant::now();
        while !self.finish(&["worker", "--state", &state, "--once"])?.contains("nothing new") {
            ensure!(begin.elapsed() < PATIENCE, "users are left who cannot be taken");
        }
        let found = self.check(&state)?;
        for (user, digest) in expected {
            ensure!(found.get(user) == Some(digest), "user {user} is not as undisturbed");
        }
        ensure!(found.len() == expected.len(), "there are other users: {:?}", found.keys());
        self.sql(&format!("DROP SCHEMA {schema} CASCADE"))
    }

    fn worker(&self, state: &str) -> Result<Child> {
        let worker = ["worker", "--state", state, "--poll", "0.1", "--quiet"];
        Ok(self.command(&worker).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?)
    }

    /// Asks a worker to end, which it does soon and well.
    fn stop(&self, worker: &mut Child) -> Result<()> {
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

    fn restart(&self, data: &Path) -> Result<()> {
        let mut command = as_owner(data, &self.test.pg_ctl)?;
        let log = data.join("log");
        command.arg("-D").arg(data).arg("-l").arg(log).args(["-m", "immediate", "-w", "restart"]);
        let done = command.stdin(Stdio::null()).stdout(Stdio::null()).status()?;
        ensure!(done.success(), "pg_ctl restart: {done}");
        Ok(())
    }

    fn sql(&self, statement: &str) -> Result<()> {
        let mut command = Command::new("psql");
        command.args(["-q", "-v", "ON_ERROR_STOP=1", "-d", &self.test.postgres, "-c", statement]);
        let output = command.stdin(Stdio::null()).output().context("psql")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "psql: {}", said.trim());
        Ok(())
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
        let mut command = Command::new(&self.program);
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
