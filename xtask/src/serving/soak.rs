//! `cargo xtask soak`: mixed load on a server for some minutes, and its memory over time.

use std::{
    fmt::Write as _,
    fs,
    path::PathBuf,
    process::{Command, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
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
    server::{self, Server},
};
use crate::dist;

pub const EXAMPLES: &str = "\
People write texts, ask, adapt, forget texts and themselves, and leave answers in the middle, all \
at once, for some
minutes, while the server adapts by itself. At the end every acknowledged text and answer is \
there, what was forgotten is
nowhere, nobody has seen anything of another, and the state passes its checks; and the memory of \
the server in the last
quarter of the time was no more than a tenth above that in the second. The memory and what the \
server says of itself go
into a table, a line a second.

Examples:
  cargo xtask soak --minutes 30 --out soak.csv
  cargo xtask soak --minutes 2 --program target/debug/spring --out soak.csv
  cargo xtask soak --minutes 30 --model smollm2.gguf --out soak.csv";

/// The settings of `soak`.
#[derive(Debug, Args)]
pub struct Soak {
    /// For how long
    #[arg(long, default_value_t = 30.0, value_name = "N")]
    minutes: f64,
    /// Clients at once
    #[arg(long, default_value_t = 10, value_name = "N")]
    clients: usize,
    /// Where the table goes
    #[arg(long, value_name = "CSV")]
    out: PathBuf,
    /// The base model, as `spring init` takes it
    #[arg(long, default_value = "embedded", value_name = "MODEL")]
    model: String,
    /// Key of what people do
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u64,
    /// Use this program instead of building it
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
}

/// How often of a hundred times somebody forgets a text.
const FORGETS: u32 = 1;

/// The longest time between two things that a client does.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// What is taken from the server's metrics, as they are and as columns.
const COLUMNS: [(&str, &str); 8] = [
    ("spring_num_requests_running", "running"),
    ("spring_num_requests_waiting", "waiting"),
    ("spring_generation_tokens_total", "tokens"),
    ("spring_request_cancelled_total", "cancelled"),
    ("spring_prefix_cache_queries_total", "prefix_queries"),
    ("spring_prefix_cache_hits_total", "prefix_hits"),
    ("spring_prefix_cache_bytes", "prefix_bytes"),
    ("spring_adaptations_done_total", "adaptations"),
];

impl Soak {
    /// Builds the program and runs the load; gives the exit code.
    ///
    /// # Errors
    ///
    /// A check failed; the files are kept and named.
    pub fn run(&self) -> Result<u8> {
        dist::in_folder(self.program.as_deref(), |program, folder| {
            let state = folder.join("state.db");
            let run = |arguments: &[&str]| {
                let mut command = Command::new(&program);
                command.args(arguments).arg("--state").arg(&state).stdin(Stdio::null());
                let output = command.output()?;
                let said = String::from_utf8_lossy(&output.stderr);
                ensure!(output.status.success(), "{command:?} failed: {}", said.trim());
                Ok(())
            };
            run(&["init", "--model", &self.model, "--set", "training.epochs=1"])?;
            let learns = ["--adapt-pending", "12", "--adapt-idle", "5"];
            let server = Server::start(&program, &state, &learns, &folder.join("log"))?;
            let account = self.load(&server)?;
            server.end()?;
            run(&["check"])?;
            println!(
                "{}\nnothing was lost, nobody saw another's texts, and the memory did not grow",
                account.table()
            );
            Ok(())
        })
    }

    /// Lets clients act for people, one after the other, and then settles everybody's account.
    fn load(&self, server: &Server) -> Result<Account> {
        let model = server::request(&server.address, "GET", "/v1/models", None)?.json()?;
        let model = model["data"][0]["id"].as_str().context("there is no model")?.to_owned();
        let people: Vec<Mutex<Person>> =
            NAMES.iter().map(|name| Mutex::new(Person::new(name, &model, 40))).collect();
        let (is_over, begin) = (AtomicBool::new(false), Instant::now());
        let length = Duration::from_secs_f64(60.0 * self.minutes);
        let (table, memory) = thread::scope(|scope| -> Result<(String, Vec<u64>)> {
            let clients: Vec<_> = (0..self.clients as u64)
                .map(|client| {
                    let (people, is_over) = (&people, &is_over);
                    scope.spawn(move || self.client(client, &server.address, people, is_over))
                })
                .collect();
            let watched = watch(server, begin, length, || {
                clients.iter().any(thread::ScopedJoinHandle::is_finished)
            });
            is_over.store(true, Ordering::Relaxed);
            for client in clients {
                client.join().map_err(|_| anyhow::anyhow!("a client panicked"))??;
            }
            watched
        })?;
        fs::write(&self.out, table).with_context(|| self.out.display().to_string())?;
        let mut account = Account::default();
        for person in people {
            let mut person = person.into_inner().unwrap_or_else(PoisonError::into_inner);
            person.settle(&server.address)?;
            account = account.and(person.account);
        }
        check_memory(&memory)?;
        Ok(account)
    }

    fn client(
        &self,
        client: u64,
        address: &str,
        people: &[Mutex<Person>],
        is_over: &AtomicBool,
    ) -> Result<()> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(client);
        while !is_over.load(Ordering::Relaxed) {
            let person = &people[rng.random_range(0..people.len())];
            // Somebody else acts for this one.
            let Ok(mut person) = person.try_lock() else {
                thread::sleep(Duration::from_millis(5));
                continue;
            };
            ensure!(person.act(address, FORGETS, &mut rng)?, "a request has no answer");
            drop(person);
            thread::sleep(LONGEST_PAUSE.mul_f64(rng.random()));
        }
        Ok(())
    }
}

/// Writes a line a second until the time is over or a client has ended.
fn watch(
    server: &Server,
    begin: Instant,
    length: Duration,
    has_ended: impl Fn() -> bool,
) -> Result<(String, Vec<u64>)> {
    let names: Vec<&str> = COLUMNS.iter().map(|(_, column)| *column).collect();
    let mut table = format!("seconds,rss_kib,{}\n", names.join(","));
    let mut memory = Vec::new();
    while begin.elapsed() < length && !has_ended() {
        thread::sleep(Duration::from_secs(1));
        let page = server::request(&server.address, "GET", "/metrics", None)?.body;
        let values: Vec<String> =
            COLUMNS.iter().map(|(name, _)| server::metric(&page, name).to_string()).collect();
        let kib = server.memory().unwrap_or(0);
        memory.push(kib);
        let seconds = begin.elapsed().as_secs_f64();
        // Writing to a string does not fail.
        let _ = writeln!(table, "{seconds:.0},{kib},{}", values.join(","));
    }
    Ok((table, memory))
}

/// How much more the last quarter of the time may take than the second one.
const GROWTH: f64 = 1.1;

/// The mean of each quarter of some numbers; `None` if there are too few.
fn quarters(numbers: &[u64]) -> Option<[f64; 4]> {
    let at = |quarter: usize| numbers.len() * quarter / 4;
    let mean = |quarter: usize| {
        let part = &numbers[at(quarter)..at(quarter + 1)];
        (!part.is_empty()).then(|| part.iter().sum::<u64>() as f64 / part.len() as f64)
    };
    Some([mean(0)?, mean(1)?, mean(2)?, mean(3)?])
}

/// Refuses memory, in KiB over time, that grows. The first quarter fills the caches.
fn check_memory(kib: &[u64]) -> Result<()> {
    let Some(means) = quarters(kib).filter(|means| means.iter().all(|mean| *mean > 0.0)) else {
        println!("the memory is not known, so it is not checked");
        return Ok(());
    };
    let [first, second, third, last] = means.map(|mean| mean / 1024.0);
    println!(
        "MiB of memory, the mean of each quarter of the time: {first:.0}, {second:.0}, \
         {third:.0}, {last:.0}"
    );
    ensure!(
        last <= GROWTH * second,
        "the memory grows: {last:.0} MiB in the last quarter of the time after {second:.0} MiB in \
         the second"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_grows_after_its_first_quarter_is_refused() {
        for (kib, is_flat) in [
            (&[1, 10, 10, 10][..], true),
            (&[1, 1, 10, 10, 11, 10, 11, 11], true),
            (&[10, 10, 10, 12], false),
            (&[10, 10, 10, 10, 20, 20, 12, 12], false),
            // Not known, or too few.
            (&[0, 0, 0, 0], true),
            (&[1, 9, 9], true),
        ] {
            let kib: Vec<u64> = kib.iter().map(|kib| kib * 1024).collect();
            assert_eq!(check_memory(&kib).is_ok(), is_flat, "{kib:?}");
        }
    }
}
