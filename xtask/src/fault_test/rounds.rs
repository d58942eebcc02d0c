//! Rounds on machines of their own: what goes wrong there, and what must hold afterwards.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use rand::{Rng, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use super::{
    FaultTest, LATE, PATIENCE, Place, Reference,
    cluster::Cluster,
    node::{CLOCK, Node, Running},
    print_table,
    world::Network,
};

/// The machines; their addresses end in their places here, from 1.
const NAMES: [&str; 5] = ["db", "one", "two", "server", "desk"];

/// Port of the server.
const PORT: u16 = 8080;

/// What goes wrong, each as often as another, and what came of it.
const COUNTED: [&str; 18] = [
    "a worker killed",
    "the server killed",
    "the database killed",
    "the database restarted without a checkpoint",
    "all connections cut by the database",
    "a cable pulled",
    "all that comes to a machine dropped",
    "a worker paused",
    "the disk of the database filled",
    "a machine's clock set wrong",
    "texts sent through the server",
    "of the links: away for more than 30 s",
    "of the pauses: while it held a user, and past its lease",
    "of those: another one took the user meanwhile",
    "commits refused, as another one had the user",
    "starts of a program that found no database, and were tried again",
    "requests to the server that were sent again",
    "users left to the last worker",
];

/// So many of them go wrong by chance.
const FAULTS: usize = 11;

const TEXTS_SENT: usize = 10;
const LONG: usize = 11;
const PASSED: usize = 12;
const TAKEN: usize = 13;
const REFUSED: usize = 14;
const STARTED_AGAIN: usize = 15;
const SENT_AGAIN: usize = 16;
const LEFT: usize = 17;

/// Minutes by which a machine's clock is off: up to more than a lease lasts, as leases end by the
/// clock of the database.
const SKEWS: [i64; 7] = [-15, -9, -3, 0, 3, 9, 15];

/// Minutes after which a lease that nobody renews has ended.
const PAST_A_LEASE: i64 = 11;

/// Minutes after which no lease can be left, whoever's clock wrote it.
const PAST_ALL: i64 = 41;

/// How long what is left may take where everybody who holds a user is there.
const SOON: Duration = Duration::from_secs(6);

/// How long it may take otherwise, before a last worker does it.
const LATER: Duration = Duration::from_secs(40);

/// Runs the rounds, inside [`super::world::enter`].
///
/// # Errors
///
/// A check failed.
pub(super) fn run(test: &FaultTest, folder: &Path) -> Result<()> {
    let program = test.program.clone().context("--program is missing")?;
    let network = Network::lay(&NAMES)?;
    let node = |number: usize| Node::new(NAMES[number - 1], number, folder);
    let cluster = Cluster::make(node(1)?, &test.pg_ctl(), folder)?;
    let desk = node(5)?;
    // Longer trainings than the other test's: there is time for something to go wrong in them.
    let mut place = Place { epochs: 40, ..Place::new(program, folder) };
    let reference = place.reference()?;
    place.starter = desk.starter(&[])?;
    let machines = [node(2)?, node(3)?, node(4)?];
    let mut world = World { place, network, cluster, machines, desk, minutes: 0, counts: [0; 18] };
    let mut rng = ChaCha8Rng::seed_from_u64(test.seed);
    let begin = Instant::now();
    for round in 0..test.rounds {
        let told = world.round(round, &reference, &mut rng);
        told.with_context(|| format!("round {round} of seed {}", test.seed))?;
        let minutes = begin.elapsed().as_secs_f64() / 60.0;
        eprintln!("{} of {} rounds, {minutes:.1} min", round + 1, test.rounds);
        if (round + 1) % 20 == 0 {
            world.print(round + 1);
        }
    }
    world.print(test.rounds);
    Ok(())
}

/// Everything that outlives a round.
struct World {
    place: Place,
    network: Network,
    cluster: Cluster,
    /// Two for workers, and one for the server.
    machines: [Node; 3],
    desk: Node,
    /// How far the database's clock is ahead.
    minutes: i64,
    counts: [u32; COUNTED.len()],
}

/// What is wrong for a while.
enum Ongoing {
    /// The cable of the machine of that name is pulled.
    Pulled(&'static str),
    /// What comes to the machine of that name is dropped.
    Deaf(&'static str),
    /// That worker is stopped.
    Paused(usize),
    /// The database's disk is full.
    Full,
}

/// What runs during a round.
struct Round {
    schema: String,
    /// Two workers, and the server.
    programs: [Running; 3],
    ongoing: Vec<(Instant, Ongoing)>,
    sending: Option<JoinHandle<Result<u32>>>,
    has_passed_a_lease: bool,
    /// Commits of programs that were killed.
    refused: u32,
    starts: u32,
}

impl World {
    fn print(&self, rounds: u32) {
        print_table(rounds, COUNTED.into_iter().zip(self.counts));
    }

    fn round(&mut self, number: u32, reference: &Reference, rng: &mut ChaCha8Rng) -> Result<()> {
        let schema = format!("round_{number}");
        let state = self.state(&schema);
        for machine in &self.machines {
            machine.set_clock(*SKEWS.choose(rng).unwrap_or(&0))?;
        }
        self.place.begin(&state)?;
        let start = |world: &Self, at| world.start(at, &schema, 0);
        let programs = [start(self, 0)?, start(self, 1)?, start(self, 2)?];
        let mut round = Round {
            schema: schema.clone(),
            programs,
            ongoing: Vec::new(),
            sending: None,
            has_passed_a_lease: false,
            refused: 0,
            starts: 0,
        };
        for _ in 0..rng.random_range(3..=7) {
            let pause = Duration::from_secs_f64(rng.random_range(0.0..0.8));
            self.pass(&mut round, Instant::now() + pause)?;
            let fault = rng.random_range(0..FAULTS);
            let happened = self
                .go_wrong(&mut round, fault, rng)
                .with_context(|| format!("while: {}", COUNTED[fault]))?;
            self.counts[fault] += u32::from(happened);
        }
        // Whatever is wrong stays so for its time.
        while let Some(last) = round.ongoing.iter().map(|(until, _)| *until).max() {
            self.pass(&mut round, last)?;
        }
        self.end(round, &state, reference)
    }

    /// Lets everything learn to its end, and checks what is there.
    fn end(&mut self, mut round: Round, state: &str, reference: &Reference) -> Result<()> {
        self.cluster.start()?;
        self.send_texts(&mut round)?;
        if let Some(sending) = round.sending.take() {
            let begin = Instant::now();
            while !sending.is_finished() {
                // Its server may only now be able to start.
                self.pass(&mut round, Instant::now() + Duration::from_millis(50))?;
                ensure!(begin.elapsed() < PATIENCE, "the server takes no texts");
            }
            let sent = sending.join().map_err(|_| anyhow::anyhow!("the sender panicked"))?;
            self.counts[SENT_AGAIN] += sent.context("the texts in the middle")?;
        }
        // Nobody's lease may end before its time.
        let mut refused = round.refused;
        for worker in &round.programs[..2] {
            refused += refusals(worker);
        }
        ensure!(
            round.has_passed_a_lease || refused == 0,
            "a commit was refused, though no lease had passed: a user had two holders"
        );
        // Nothing is wrong any more: the two come to an end, with those of the killed once their
        // leases have ended.
        if !self.is_learned(&mut round, SOON)? {
            self.pass_time(PAST_A_LEASE)?;
            self.is_learned(&mut round, LATER)?;
        }
        for at in 0..2 {
            let worker = &mut round.programs[at];
            let name = NAMES[at + 1];
            self.counts[REFUSED] += refusals(worker);
            let ended = worker
                .stop(Duration::from_secs(30))
                .with_context(|| format!("the worker on {name}, which is to stop"))?;
            // One that had not begun yet has no exit code: the signal itself ended it.
            let is_well = matches!(ended.code(), Some(130) | None);
            ensure!(is_well, "the worker on {name}: {ended}: {}", worker.said().trim());
        }
        round.programs[2].kill()?;
        // Whoever was killed holds somebody still.
        self.pass_time(PAST_ALL)?;
        self.desk.set_clock(PAST_ALL)?;
        thread::sleep(CLOCK);
        self.counts[LEFT] += self.due(&round.schema)?;
        self.place.learn_the_rest(state)?;
        self.place.compare(state, reference)?;
        self.cluster.sql(&format!("DROP SCHEMA {} CASCADE", round.schema)).map(drop)
    }

    /// Waits until nobody has anything to learn; false if that takes longer.
    fn is_learned(&mut self, round: &mut Round, patience: Duration) -> Result<bool> {
        let begin = Instant::now();
        while self.due(&round.schema)? > 0 {
            if begin.elapsed() > patience {
                return Ok(false);
            }
            self.pass(round, Instant::now() + Duration::from_millis(100))?;
        }
        Ok(true)
    }

    /// How many users have something to learn.
    fn due(&self, schema: &str) -> Result<u32> {
        let due = format!("SELECT count(*) FROM {schema}.users WHERE due_since IS NOT NULL");
        Ok(self.cluster.sql(&due)?.first().context("no count")?.parse()?)
    }

    /// One thing goes wrong; false if it could not here.
    fn go_wrong(&mut self, round: &mut Round, fault: usize, rng: &mut ChaCha8Rng) -> Result<bool> {
        match fault {
            0 => self.kill(round, rng.random_range(0..2))?,
            1 => self.kill(round, 2)?,
            2 if !round.is_full() => self.cluster.kill()?,
            3 if !round.is_full() => self.cluster.restart()?,
            4 => {
                let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                           WHERE pid <> pg_backend_pid() AND datname = current_database()";
                // A database that does not run has cut them itself.
                return Ok(self.cluster.sql(cut).is_ok());
            }
            5 | 6 => {
                let name = NAMES[rng.random_range(0..4)];
                let is_of = |ongoing: &Ongoing| match ongoing {
                    Ongoing::Pulled(other) | Ongoing::Deaf(other) => *other == name,
                    _ => false,
                };
                if round.ongoing.iter().any(|(_, ongoing)| is_of(ongoing)) {
                    return Ok(false);
                }
                let is_long = rng.random_bool(0.06);
                self.counts[LONG] += u32::from(is_long);
                let seconds = if is_long { 31.0..45.0 } else { 0.2..4.0 };
                let until = Instant::now() + Duration::from_secs_f64(rng.random_range(seconds));
                if fault == 5 {
                    self.network.plug(name, false)?;
                    round.ongoing.push((until, Ongoing::Pulled(name)));
                } else {
                    self.network.hear(name, false)?;
                    round.ongoing.push((until, Ongoing::Deaf(name)));
                }
            }
            7 => return self.pause(round, rng),
            8 if !round.is_full() => {
                self.cluster.fill()?;
                let seconds = rng.random_range(0.3..3.0);
                let until = Instant::now() + Duration::from_secs_f64(seconds);
                round.ongoing.push((until, Ongoing::Full));
            }
            9 => {
                let machine = &self.machines[rng.random_range(0..3)];
                machine.set_clock(*SKEWS.choose(rng).unwrap_or(&0))?;
            }
            TEXTS_SENT => return self.send_texts(round),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Lets time go by; what is wrong ends when its time has come, and what has ended is started
    /// again.
    fn pass(&mut self, round: &mut Round, until: Instant) -> Result<()> {
        loop {
            let due = |(until, _): &(Instant, Ongoing)| *until <= Instant::now();
            if let Some(at) = round.ongoing.iter().position(due) {
                match round.ongoing.swap_remove(at).1 {
                    Ongoing::Pulled(name) => self.network.plug(name, true)?,
                    Ongoing::Deaf(name) => self.network.hear(name, true)?,
                    Ongoing::Paused(at) => round.programs[at].signal("CONT")?,
                    Ongoing::Full => self.cluster.free()?,
                }
                continue;
            }
            self.supervise(round)?;
            if Instant::now() >= until {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Starts again what could not open the state, as whatever looks after programs does; nothing
    /// ends that had begun.
    fn supervise(&mut self, round: &mut Round) -> Result<()> {
        for at in 0..3 {
            let Some(ended) = round.programs[at].ended()? else { continue };
            let said = round.programs[at].said();
            let has_begun = said.contains(if at == 2 { "listening on" } else { "working on" });
            ensure!(
                !has_begun,
                "the program on {} has ended by itself: {ended}: {}",
                NAMES[at + 1],
                said.trim()
            );
            self.counts[STARTED_AGAIN] += 1;
            self.start_again(round, at)?;
        }
        Ok(())
    }

    /// Kills a program (SIGKILL) and starts it again.
    fn kill(&mut self, round: &mut Round, at: usize) -> Result<()> {
        self.supervise(round)?;
        round.programs[at].kill()?;
        round.ongoing.retain(|(_, ongoing)| !matches!(ongoing, Ongoing::Paused(of) if *of == at));
        if at < 2 {
            let refused = refusals(&round.programs[at]);
            self.counts[REFUSED] += refused;
            round.refused += refused;
        }
        self.start_again(round, at)
    }

    fn start_again(&self, round: &mut Round, at: usize) -> Result<()> {
        round.starts += 1;
        round.programs[at] = self.start(at, &round.schema, round.starts)?;
        Ok(())
    }

    fn start(&self, at: usize, schema: &str, start: u32) -> Result<Running> {
        let machine = &self.machines[at];
        let state = self.state(schema);
        let log = self.place.folder.join(format!("{}-{schema}-{start}.log", machine.name));
        if at < 2 {
            let worker = ["worker", "--state", &state, "--poll", "0.1"];
            return machine.start(&self.place.program, &worker, &[], log);
        }
        let listen = format!("0.0.0.0:{PORT}");
        let own = format!("http://{}:{PORT}", Network::address(4));
        let server = ["serve", "--state", &state, "--listen", &listen, "--advertise", &own];
        let server = [&server[..], &["--insecure", "--no-adapt"]].concat();
        machine.start(&self.place.program, &server, &[], log)
    }

    fn state(&self, schema: &str) -> String {
        format!("postgres://spring@{}/spring?schema={schema}", Network::address(1))
    }

    /// Stops a worker for a while, if it can be past the lease of the user whom it holds, until
    /// another one has that user.
    fn pause(&mut self, round: &mut Round, rng: &mut ChaCha8Rng) -> Result<bool> {
        self.supervise(round)?;
        let at = rng.random_range(0..2);
        let is_paused = |ongoing: &Ongoing| matches!(ongoing, Ongoing::Paused(of) if *of == at);
        if round.ongoing.iter().any(|(_, ongoing)| is_paused(ongoing)) {
            return Ok(false);
        }
        let worker = round.programs[at].id();
        let is_past_lease = rng.random_bool(0.7);
        let held = format!(
            "SELECT user_key, token FROM {}.leases WHERE process = {worker} AND expires > 0",
            round.schema
        );
        let begin = Instant::now();
        let mut lease = None;
        while is_past_lease && lease.is_none() && begin.elapsed() < Duration::from_secs(1) {
            lease = self.cluster.sql(&held).ok().and_then(|lines| lines.first().cloned());
        }
        round.programs[at].signal("STOP")?;
        if let Some((user, token)) = lease.as_deref().and_then(|lease| lease.split_once('|')) {
            // What was asked before the pause may not be true any more.
            let still = format!("{held} AND user_key = {user} AND token = {token}");
            let is_held = self.cluster.sql(&still).is_ok_and(|lines| !lines.is_empty());
            if is_held {
                self.counts[PASSED] += 1;
                round.has_passed_a_lease = true;
                self.pass_time(PAST_A_LEASE)?;
                let taken = format!(
                    "SELECT 1 FROM {}.leases WHERE user_key = {user} AND token > {token}",
                    round.schema
                );
                let begin = Instant::now();
                while begin.elapsed() < Duration::from_secs(6) {
                    self.pass(round, Instant::now() + Duration::from_millis(50))?;
                    if self.cluster.sql(&taken).is_ok_and(|lines| !lines.is_empty()) {
                        self.counts[TAKEN] += 1;
                        break;
                    }
                }
            }
        }
        let until = Instant::now() + Duration::from_secs_f64(rng.random_range(0.0..2.0));
        round.ongoing.push((until, Ongoing::Paused(at)));
        Ok(true)
    }

    /// Sets the database's clock on.
    fn pass_time(&mut self, minutes: i64) -> Result<()> {
        self.minutes += minutes;
        self.cluster.node.set_clock(self.minutes)
    }

    /// Begins to send the texts in the middle; false if they are on their way.
    fn send_texts(&self, round: &mut Round) -> Result<bool> {
        if round.sending.is_some() {
            return Ok(false);
        }
        let lines = fs::read_to_string(self.place.folder.join("late.jsonl"))?;
        let texts = lines.lines().map(|line| {
            let mut text: Value = serde_json::from_str(line)?;
            if let Some(fields) = text.as_object_mut() {
                fields.remove("user");
            }
            Ok(text)
        });
        let body = json!({ "interactions": texts.collect::<Result<Vec<_>>>()? }).to_string();
        let address: SocketAddr = format!("{}:{PORT}", Network::address(4)).parse()?;
        round.sending = Some(thread::spawn(move || send(address, &body)));
        Ok(true)
    }
}

impl Round {
    fn is_full(&self) -> bool {
        self.ongoing.iter().any(|(_, ongoing)| matches!(ongoing, Ongoing::Full))
    }
}

/// How often a worker was told that another one has its user.
fn refusals(worker: &Running) -> u32 {
    let said = worker.said();
    let count = said.matches("another process updated this user meanwhile").count();
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Sends texts until the server says that it has them; gives how often they were sent again.
fn send(address: SocketAddr, body: &str) -> Result<u32> {
    let begin = Instant::now();
    let mut again = 0;
    while begin.elapsed() < PATIENCE {
        match post(address, body) {
            Ok((200, _)) => return Ok(again),
            Ok((status @ 400..500, said)) if status != 429 => {
                bail!("the server refused texts: {status}: {said}")
            }
            // Not known, or not now.
            Ok(_) | Err(_) => {}
        }
        again += 1;
        thread::sleep(Duration::from_millis(100));
    }
    bail!("the server has not taken the texts after {again} attempts")
}

/// One request, which may be lost on the way there or back.
fn post(address: SocketAddr, body: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.set_write_timeout(Some(Duration::from_secs(5)))?;
    let head = format!(
        "POST /v1/users/{LATE}/interactions HTTP/1.0\r\nHost: {address}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.context("no status")?, answer))
}
