//! `cargo xtask crash-test`: kills the program at random moments and checks what is left.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
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
Each round copies the state as it was before one of the commands ingest, adapt, rollback, generate \
and forget, starts it,
and kills it (SIGKILL): half of the time at any moment, half of the time just after it has written \
to the disk;
half of the time while other processes read, check and add another user's texts. Then:
the others have done their work and found nothing damaged,
the state passes its checks, every user is exactly as before the command or as after it, running \
the command again gives
what an undisturbed run gave, adapters bit for bit, and what was forgotten is nowhere in the files.

Examples:
  cargo xtask crash-test --rounds 300
  cargo xtask crash-test --rounds 20 --seed 7
  cargo xtask crash-test --program target/release/spring";

/// The settings of `crash-test`.
#[derive(Debug, Args)]
pub struct CrashTest {
    /// How many commands to kill
    #[arg(long, default_value_t = 200, value_name = "N")]
    rounds: u32,
    /// Key of the moments at which they are killed
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u64,
    /// Use this program instead of building it
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
}

/// What only the users wrote; a text's id, prompt, response and `meta` have it with the user's name
/// and the text's number.
const CANARY: &str = "canary";

/// The commands, each on the state that those before it left. `STATE` and `DIR` stand for the state
/// and its folder.
const COMMANDS: &[(&str, &[&str], Option<&str>)] = &[
    ("ingest", &["ingest", "--state", "STATE", "DIR/first.jsonl"], None),
    ("adapt, two users", &["adapt", "--state", "STATE", "--jobs", "2"], None),
    ("ingest, more", &["ingest", "--state", "STATE", "DIR/second.jsonl"], None),
    ("adapt, second period", &["adapt", "--state", "STATE"], None),
    ("rollback", &["rollback", "--state", "STATE", "--user", "ada", "--to", "1"], None),
    ("adapt after a rollback", &["adapt", "--state", "STATE", "--user", "ada"], None),
    (
        "generate",
        &[
            "generate",
            "--state",
            "STATE",
            "--user",
            "ada",
            "--prompt",
            "About old films, canary-ada-3.",
        ],
        None,
    ),
    (
        "forget one interaction",
        &["forget", "--state", "STATE", "--user", "ada", "--interaction", "canary-ada-3.", "--yes"],
        Some("canary-ada-3."),
    ),
    (
        "forget a user",
        &["forget", "--state", "STATE", "--user", "bob", "--yes"],
        Some("canary-bob-"),
    ),
];

/// What other processes do meanwhile, and whose texts they add.
const COMPANY: &[&[&str]] = &[
    &["ingest", "--state", "STATE", "DIR/other.jsonl"],
    &["check", "--state", "STATE"],
    &["search", "--state", "STATE", "--user", "ada", "films"],
    &["ingest", "--state", "STATE", "DIR/another.jsonl"],
];
const OTHER: &str = "zoe";

/// What distinguishes a user's state from another, by name.
type Digests = BTreeMap<String, String>;

/// A command as an undisturbed run saw it.
struct Reference {
    before: Digests,
    after: Digests,
    duration: Duration,
}

impl CrashTest {
    /// Builds the program, runs all commands once undisturbed, then the rounds; gives the exit
    /// code.
    ///
    /// # Errors
    ///
    /// A check failed; the files are kept and named.
    pub fn run(&self) -> Result<u8> {
        dist::in_folder(self.program.as_deref(), |program, folder| {
            let place = Place { program, folder: folder.to_owned() };
            let mut counts = vec![[0_u32; 4]; COMMANDS.len()];
            let outcome = place.rounds(self, &mut counts);
            println!("{}", table(&counts));
            outcome
        })
    }
}

/// Of each command: rounds, and in which state the kill left the users.
fn table(counts: &[[u32; 4]]) -> String {
    let mut table = String::from(
        "| command | killed | as before | as after | one user before, one after \
         |\n|---|---|---|---|---|\n",
    );
    for ((name, ..), [all, before, after, between]) in COMMANDS.iter().zip(counts) {
        // Writing to a string does not fail.
        let _ = writeln!(table, "| {name} | {all} | {before} | {after} | {between} |");
    }
    table
}

/// Where it all happens.
struct Place {
    program: PathBuf,
    folder: PathBuf,
}

impl Place {
    fn rounds(&self, test: &CrashTest, counts: &mut [[u32; 4]]) -> Result<()> {
        let references = self.prepare()?;
        let mut rng = ChaCha8Rng::seed_from_u64(test.seed);
        for round in 0..test.rounds {
            let command = rng.random_range(0..COMMANDS.len());
            let (name, ..) = COMMANDS[command];
            let outcome = self.round(command, &references[command], &mut rng);
            let outcome =
                outcome.with_context(|| format!("round {round} of seed {}, {name}", test.seed))?;
            if let Some(state) = outcome {
                counts[command][0] += 1;
                counts[command][state] += 1;
            }
            if (round + 1) % 20 == 0 {
                eprintln!("{} of {} rounds", round + 1, test.rounds);
            }
        }
        Ok(())
    }

    /// Lays out the files and runs every command once, keeping the state before each.
    fn prepare(&self) -> Result<Vec<Reference>> {
        let model = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../crates/spring-model/tests/fixtures/tiny-llama");
        let model = model.to_str().context("the path of the workspace is not UTF-8")?;
        fs::write(
            self.folder.join("spring.toml"),
            "[training]\nlearning_rate = 1e-2\nepochs = 20\n",
        )?;
        fs::write(self.folder.join("first.jsonl"), texts(0..40))?;
        fs::write(self.folder.join("second.jsonl"), texts(40..80))?;
        fs::write(self.folder.join("other.jsonl"), texts_of(OTHER, 0..30))?;
        fs::write(self.folder.join("another.jsonl"), texts_of(OTHER, 30..40))?;
        self.finish(&[
            "init",
            "--state",
            "STATE",
            "--model",
            model,
            "--config",
            "DIR/spring.toml",
        ])?;
        let mut references = Vec::new();
        for (index, (_, arguments, _)) in COMMANDS.iter().enumerate() {
            let before = self.check()?;
            fs::copy(self.state(), self.saved(index))?;
            let start = Instant::now();
            self.finish(arguments)?;
            references.push(Reference { before, duration: start.elapsed(), after: self.check()? });
        }
        Ok(references)
    }

    /// Kills one command and checks what is left; tells the state of the users, or `None` if it was
    /// not killed in time.
    fn round(
        &self,
        index: usize,
        reference: &Reference,
        rng: &mut ChaCha8Rng,
    ) -> Result<Option<usize>> {
        let (_, arguments, forgotten) = COMMANDS[index];
        for suffix in ["-wal", "-shm"] {
            let _ = fs::remove_file(self.beside(suffix));
        }
        fs::copy(self.saved(index), self.state())?;
        let mut company = Vec::new();
        // Before its first texts the state has no Ada to search.
        if index > 0 && rng.random_bool(0.5) {
            for other in COMPANY {
                company.push((other, self.command(other).stderr(Stdio::piped()).spawn()?));
            }
        }
        let mut child = self.command(arguments).spawn()?;
        match rng.random_bool(0.5) {
            true => thread::sleep(reference.duration.mul_f64(rng.random_range(0.0..1.1))),
            false => self.wait_for_writes(&mut child, rng.random_range(1..=6))?,
        }
        thread::sleep(Duration::from_micros(rng.random_range(0..3000)));
        child.kill()?;
        let killed = !child.wait()?.success();
        let has_company = !company.is_empty();
        for (other, process) in company {
            let output = process.wait_with_output()?;
            let said = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success(), "spring {} meanwhile: {said}", other.join(" "));
        }
        if has_company {
            ensure!(self.texts_of(OTHER)? == 40, "texts that were acknowledged are lost");
        }

        let found = self.check()?;
        let is = |digests: &Digests| found == *digests;
        let state = match (is(&reference.before), is(&reference.after)) {
            (true, _) => 1,
            (_, true) => 2,
            _ => 3,
        };
        if state == 3 {
            // Users are updated one by one, and only by `adapt`.
            let names = reference.before.keys().chain(reference.after.keys()).chain(found.keys());
            for name in names {
                let known = [reference.before.get(name), reference.after.get(name)];
                ensure!(
                    known.contains(&found.get(name)),
                    "user {name} is neither as before nor as after"
                );
            }
            ensure!(arguments[0] == "adapt", "the command did half of its work");
        }
        ensure!(killed || state == 2, "the command ended well, but did not do its work");
        let is_repeatable = !matches!(arguments[0], "forget" | "generate");
        if state != 2 || is_repeatable {
            self.finish(arguments)?;
        } else {
            // Whoever next opens the state for writing finishes the removal.
            fs::write(self.folder.join("none.jsonl"), "")?;
            self.finish(&["ingest", "--state", "STATE", "DIR/none.jsonl"])?;
        }
        ensure!(
            self.check()? == reference.after,
            "run again, it gives another state than an undisturbed run"
        );
        if let Some(text) = forgotten {
            self.search(text)?;
        }
        Ok(killed.then_some(state))
    }

    /// Returns when the state's write-ahead log has grown this many times, or the program has
    /// ended.
    fn wait_for_writes(&self, child: &mut Child, writes: u32) -> Result<()> {
        let log = self.beside("-wal");
        let (mut seen, mut size) = (0, 0);
        while seen < writes && child.try_wait()?.is_none() {
            let now = fs::metadata(&log).map_or(0, |log| log.len());
            if now != size {
                (seen, size) = (seen + 1, now);
            }
            thread::sleep(Duration::from_micros(200));
        }
        Ok(())
    }

    /// The digest of every user, after the program's own checks.
    fn check(&self) -> Result<Digests> {
        let mut digests = Digests::new();
        for line in self.finish(&["check", "--state", "STATE", "--json"])?.lines() {
            let value: Value = serde_json::from_str(line)?;
            let text = |key: &str| Some(value.get(key)?.as_str()?.to_owned());
            digests.extend(text("user").zip(text("sha256")));
        }
        // Theirs depend on what the others did by when.
        digests.remove(OTHER);
        Ok(digests)
    }

    /// How many texts a user has.
    fn texts_of(&self, user: &str) -> Result<u64> {
        let users = self.finish(&["users", "--state", "STATE", "--json"])?;
        for line in users.lines() {
            let value: Value = serde_json::from_str(line)?;
            if value["user"] == user {
                return value["interactions"].as_u64().context("`interactions` is no number");
            }
        }
        Ok(0)
    }

    /// Refuses files that still hold what was forgotten.
    fn search(&self, text: &str) -> Result<()> {
        for suffix in ["", "-wal", "-shm"] {
            let path = self.beside(suffix);
            let bytes = fs::read(&path).unwrap_or_default();
            let is_there = bytes.windows(text.len()).any(|part| part == text.as_bytes());
            ensure!(!is_there, "{text} is still in {}", path.display());
        }
        Ok(())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let folder = self.folder.to_string_lossy();
        let state = self.state().to_string_lossy().into_owned();
        let mut command = Command::new(&self.program);
        command.args(arguments.iter().map(|a| a.replace("STATE", &state).replace("DIR", &folder)));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// Runs a command that must end well; gives what it printed.
    fn finish(&self, arguments: &[&str]) -> Result<String> {
        let output =
            self.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).output()?;
        if !output.status.success() {
            bail!(
                "spring {} failed: {}",
                arguments.join(" "),
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    fn state(&self) -> PathBuf {
        self.beside("")
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        self.folder.join(format!("state.db{suffix}"))
    }

    /// The state before a command.
    fn saved(&self, index: usize) -> PathBuf {
        self.folder.join(format!("before-{index}.db"))
    }
}

/// Texts of two users, as lines.
fn texts(ids: std::ops::Range<u32>) -> String {
    ids.map(|i| texts_of("ada", i..i + 1) + &texts_of("bob", i..i + 1)).collect()
}

/// Texts of one user, as lines.
fn texts_of(user: &str, ids: std::ops::Range<u32>) -> String {
    let subjects = ["the sea", "a train", "my dog", "old films", "soup"];
    let line = |i: u32| {
        let subject = subjects[i as usize % subjects.len()];
        let canary = format!("{CANARY}-{user}-{i}.");
        let value = json!({
            "user": user, "id": canary,
            "time": format!("2024-03-01T{:02}:{:02}:00Z", i / 60, i % 60),
            "prompt": format!("About {subject}, {canary}"),
            "response": format!("{canary} {user} likes {subject}."),
            "meta": {"note": canary},
        });
        format!("{value}\n")
    };
    ids.map(line).collect()
}
