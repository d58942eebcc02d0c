//! `cargo xtask server-crash-test`: kills a server at random moments and checks what is left.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use clap::Args;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{
    account::Account,
    person::{NAMES, Person},
    server::Server,
};
use crate::dist;

pub const EXAMPLES: &str = "\
Several people write texts, ask, agree to be kept or not, send back what they really used, adapt, \
go back, forget texts and
themselves, and leave answers in the middle, all at once, on one server that also adapts by \
itself; each keeps an account of
what was acknowledged. Each round kills the server (SIGKILL): half of the time at any moment, half \
of the time just after it
has written to the disk. Then the state passes its checks, the server starts again, and: every \
acknowledged text, answer,
conversation and final text is there, what was forgotten is nowhere, in no answer's record and not \
in the files, nothing was
kept without consent, and nobody sees anything of another.

Examples:
  cargo xtask server-crash-test --rounds 30
  cargo xtask server-crash-test --rounds 10 --seed 7 --program target/debug/spring";

/// The settings of `server-crash-test`.
#[derive(Debug, Args)]
pub struct ServerCrashTest {
    /// How often the server is killed
    #[arg(long, default_value_t = 30, value_name = "N")]
    rounds: u32,
    /// Key of what people do, and of the moments at which it is killed
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u64,
    /// Use this program instead of building it
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
}

/// How often of a hundred times somebody forgets a text.
const FORGETS: u32 = 14;

/// People at once.
const PEOPLE: usize = 4;

/// The longest time from a start to a kill.
const LONGEST: Duration = Duration::from_millis(2500);

impl ServerCrashTest {
    /// Builds the program, then the rounds; gives the exit code.
    ///
    /// # Errors
    ///
    /// A check failed; the files are kept and named.
    pub fn run(&self) -> Result<u8> {
        dist::in_folder(self.program.as_deref(), |program, folder| {
            let account = Place { program, folder: folder.to_owned() }.rounds(self)?;
            println!("{}\nnothing was lost, and nobody saw another's texts", account.table());
            Ok(())
        })
    }
}

/// Where it all happens.
struct Place {
    program: PathBuf,
    folder: PathBuf,
}

impl Place {
    fn rounds(&self, test: &ServerCrashTest) -> Result<Account> {
        let model = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../crates/spring-model/tests/fixtures/tiny-llama");
        let model = model.to_str().context("the path of the workspace is not UTF-8")?;
        let state = self.state("");
        let state = state.to_str().context("the temporary folder's path is not UTF-8")?;
        let settings = ["training.learning_rate=1e-2", "training.epochs=2", "gate=always"];
        let settings = settings.iter().flat_map(|setting| ["--set", setting]);
        let init = ["init", "--state", state, "--model", model];
        self.finish(init.into_iter().chain(settings))?;

        let mut people: Vec<Person> =
            NAMES.iter().take(PEOPLE).map(|name| Person::new(name, "tiny-llama", 9)).collect();
        let mut server = self.start()?;
        for round in 0..test.rounds {
            let of_round = || format!("round {round} of seed {}", test.seed);
            let seed = test.seed.wrapping_mul(1 << 20).wrapping_add(round.into());
            self.round(server, &mut people, seed).with_context(of_round)?;
            server = self.settle(&mut people).with_context(of_round)?;
            if (round + 1) % 10 == 0 {
                eprintln!("{} of {} rounds", round + 1, test.rounds);
            }
        }
        server.end()?;
        self.finish(["check", "--state", state])?;
        Ok(people.iter().map(|person| person.account).fold(Account::default(), Account::and))
    }

    /// Lets everybody act until the server is killed.
    fn round(&self, server: Server, people: &mut [Person], seed: u64) -> Result<()> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let address = &server.address.clone();
        thread::scope(|scope| {
            let acting: Vec<_> = people
                .iter_mut()
                .zip(1..)
                .map(|(person, stream)| {
                    let mut rng = rng.clone();
                    rng.set_stream(stream);
                    scope.spawn(move || -> Result<()> {
                        while person.act(address, FORGETS, &mut rng)? {}
                        Ok(())
                    })
                })
                .collect();
            thread::sleep(LONGEST.mul_f64(rng.random_range(0.02..1.0)));
            if rng.random_bool(0.5) {
                self.wait_for_a_write();
            }
            thread::sleep(Duration::from_micros(rng.random_range(0..3000)));
            server.kill()?;
            for person in acting {
                person.join().map_err(|_| anyhow::anyhow!("a person's thread panicked"))??;
            }
            Ok(())
        })
    }

    /// Returns when the state's write-ahead log has changed, or nothing was written for a while.
    fn wait_for_a_write(&self) {
        let length = || fs::metadata(self.state("-wal")).map_or(0, |log| log.len());
        let (before, begin) = (length(), Instant::now());
        while length() == before && begin.elapsed() < Duration::from_millis(500) {
            thread::sleep(Duration::from_micros(200));
        }
    }

    /// Checks the state, starts a server on it, and compares what is there with everybody's
    /// account.
    fn settle(&self, people: &mut [Person]) -> Result<Server> {
        let state = self.state("");
        self.finish(["check", "--state", &state.to_string_lossy()])?;
        let server = self.start()?;
        for person in people.iter_mut() {
            person.settle(&server.address)?;
        }
        for text in people.iter().flat_map(Person::forgotten) {
            self.search(&text)?;
        }
        Ok(server)
    }

    /// Refuses files that still hold what was forgotten: whoever opens the state for writing
    /// finishes its removal.
    fn search(&self, text: &str) -> Result<()> {
        for suffix in ["", "-wal", "-shm"] {
            let path = self.state(suffix);
            let bytes = fs::read(&path).unwrap_or_default();
            let is_there = bytes.windows(text.len()).any(|part| part == text.as_bytes());
            ensure!(!is_there, "{text} is still in {}", path.display());
        }
        Ok(())
    }

    fn start(&self) -> Result<Server> {
        let learns = ["--adapt-pending", "6", "--adapt-idle", "1"];
        Server::start(&self.program, &self.state(""), &learns, &self.folder.join("log"))
    }

    fn finish<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Result<()> {
        let mut command = Command::new(&self.program);
        let output = command.args(arguments).stdin(Stdio::null()).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{command:?} failed: {}", said.trim());
        Ok(())
    }

    fn state(&self, suffix: &str) -> PathBuf {
        self.folder.join(format!("state.db{suffix}"))
    }
}
