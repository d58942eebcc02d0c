//! Running a suite into a folder: `suite.toml` (what was asked), `users.json` (who, and who not), `runs.jsonl` (one line a
//! user, seed and budget), `adapters/`, `summary.csv` and `report.html`. What is there already is not run again.

use std::{
    collections::{HashMap, HashSet},
    fs::{self, File, OpenOptions},
    io::{BufRead, BufReader, Write},
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Mutex,
    time::Instant,
};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use spring_core::{Config, Event, LanguageModel, key, spring_memory::UserId, spring_model::Adapter};

use super::{Estimate, LoadedData, Start, Suite, SuiteUser, Summary, estimate, load_data};
use crate::{
    Budget, Error, Memo, MethodRun, Protocol, Result, Split, UserInput, UserRun, data::Task, protocol,
    report, run_other_user, run_user,
};

/// Where a suite stands.
#[derive(Debug, Clone)]
pub enum SuiteEvent<'a> {
    /// What it will cost, before anything is run.
    Estimate(Estimate),
    /// A job is done.
    Job {
        /// Which: data set, budget, seed, user.
        name: &'a str,
        /// Jobs done, those of earlier runs included.
        done: usize,
        /// Jobs in all.
        jobs: usize,
        /// Seconds that are left, from the jobs of this run.
        seconds_left: f64,
    },
    /// Something moves.
    Step,
}

/// What a suite gave.
#[derive(Debug, Clone)]
pub struct SuiteOutcome {
    /// The table.
    pub summary: Summary,
    /// Who was evaluated.
    pub data: Vec<SuiteData>,
    /// The folder.
    pub folder: PathBuf,
}

/// Which run a line is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct RunKey {
    pub(crate) data: String,
    pub(crate) budget: Budget,
    pub(crate) seed: u64,
    pub(crate) user: UserId,
}

impl RunKey {
    fn name(&self) -> String {
        format!("{}, {}, seed {}, {}", self.data, self.budget.name(), self.seed, self.user)
    }

    /// Where the adapters of this run are; names of users are no names of files.
    fn adapters(&self, folder: &Path) -> PathBuf {
        let id =
            key::seed(self.seed, self.user.as_str(), 0, &format!("{} {}", self.data, self.budget.name()));
        folder.join("adapters").join(format!("{id:016x}"))
    }
}

/// One line of `runs.jsonl`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RunLine {
    #[serde(flatten)]
    pub(crate) key: RunKey,
    pub(crate) run: UserRun,
}

/// Who of a data set was evaluated, and who not: `users.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SuiteData {
    /// The data set.
    pub data: String,
    /// LaMP's or LongLaMP's task.
    pub task: Option<Task>,
    /// The users that were looked at.
    pub users: Vec<SuiteUser>,
    /// Further users, who have too few texts for two periods.
    pub too_few: usize,
    /// Users whose first periods the domain adapter learned; 0 without one.
    pub domain_users: usize,
    /// Their texts.
    pub domain_texts: usize,
}

impl SuiteData {
    /// How many users were evaluated, and how many of them with fewer periods than the others.
    pub fn evaluated(&self) -> (usize, usize) {
        let periods: Vec<usize> =
            self.users.iter().filter(|user| user.excluded.is_none()).map(|user| user.periods).collect();
        let most = periods.iter().copied().max().unwrap_or(0);
        (periods.len(), periods.iter().filter(|periods| **periods < most).count())
    }

    /// How many users were left out.
    pub fn left_out(&self) -> usize {
        self.too_few + self.users.iter().filter(|user| user.excluded.is_some()).count()
    }
}

/// What a suite will cost, without running it.
///
/// # Errors
///
/// If data or model refuse.
pub fn estimate_suite(model: &dyn LanguageModel, suite: &Suite) -> Result<Estimate> {
    estimate::estimate(model, suite, &load(suite)?)
}

fn load(suite: &Suite) -> Result<Vec<LoadedData>> {
    suite.data.iter().map(|data| load_data(suite, data)).collect()
}

/// Runs what is missing of a suite into a folder, and writes its table and its report.
///
/// Users run side by side on rayon's threads; the result depends neither on how many there are nor on interruptions.
/// `watch` may ask to stop; what is done is kept.
///
/// # Errors
///
/// If the folder holds another suite or model, or data, model or disk refuse.
pub fn run_suite(
    model: &dyn LanguageModel,
    suite: &Suite,
    folder: &Path,
    watch: &(dyn Fn(SuiteEvent<'_>) -> ControlFlow<()> + Sync),
) -> Result<SuiteOutcome> {
    let data = load(suite)?;
    claim(folder, suite, &model.info().fingerprint)?;
    let users: Vec<SuiteData> = data
        .iter()
        .map(|loaded| SuiteData {
            data: loaded.name.clone(),
            task: loaded.task,
            users: loaded.considered.clone(),
            too_few: loaded.too_few,
            domain_users: if suite.needs_domain() { loaded.domain_users } else { 0 },
            domain_texts: if suite.needs_domain() { loaded.domain.len() } else { 0 },
        })
        .collect();
    write(&folder.join("users.json"), serde_json::to_string_pretty(&users).map_err(unwritable)?.as_bytes())?;

    let lines: Vec<RunLine> = read_lines(&folder.join("runs.jsonl"))?;
    let lends = suite.wants("other_user");
    let done: HashSet<RunKey> = lines
        .into_iter()
        .map(|line| line.key)
        .filter(|key| !lends || key.adapters(folder).join("0").exists())
        .collect();
    let jobs = jobs(suite, &data);
    let missing: Vec<&Job<'_>> = jobs.iter().filter(|job| !done.contains(&job.key)).collect();
    if !missing.is_empty() {
        stop_if(watch(SuiteEvent::Estimate(estimate::estimate(model, suite, &data)?)))?;
    }
    let domains = domain_adapters(model, suite, folder, &data, watch)?;
    let file = Mutex::new(append(&folder.join("runs.jsonl"))?);
    let (started, finished) = (Instant::now(), Mutex::new(0usize));
    let jobs_done = jobs.len() - missing.len();
    // One user after the other, each with all seeds and budgets: what they share is computed once.
    let mut users_missing: Vec<Vec<&Job<'_>>> = Vec::new();
    for job in &missing {
        let same = |other: &Vec<&Job<'_>>| {
            (&other[0].key.data, &other[0].key.user) == (&job.key.data, &job.key.user)
        };
        match users_missing.iter_mut().find(|other| same(other)) {
            Some(jobs) => jobs.push(job),
            None => users_missing.push(vec![job]),
        }
    }
    let run_job = |job: &Job<'_>, memo: &Memo| -> Result<()> {
        let protocol = Protocol {
            config: Config { seed: job.key.seed, ..suite.config.clone() },
            methods: suite.methods.clone(),
            budget: job.key.budget,
            generation: suite.generation,
        };
        let input = UserInput {
            user: &job.key.user,
            splits: job.splits,
            domain: domains.get(&(job.key.data.clone(), job.key.seed)),
            start_from_domain: suite.start == Start::Domain,
        };
        let mut progress = |_: Event<'_>| watch(SuiteEvent::Step);
        let outcome = run_user(model, &protocol, input, memo, &mut progress)
            .map_err(|error| named(error, &job.key.user))?;
        if lends {
            save_adapters(&job.key.adapters(folder), &outcome.adapters)?;
        }
        append_line(&file, &RunLine { key: job.key.clone(), run: outcome.run })?;
        let count = finished.lock().map_or(1, |mut count| {
            *count += 1;
            *count
        });
        let seconds_left = started.elapsed().as_secs_f64() / count as f64 * (missing.len() - count) as f64;
        let done = jobs_done + count;
        stop_if(watch(SuiteEvent::Job { name: &job.key.name(), done, jobs: jobs.len(), seconds_left }))
    };
    users_missing.par_iter().with_max_len(1).try_for_each(|jobs| {
        let memo = Memo::default();
        jobs.iter().try_for_each(|job| run_job(job, &memo))
    })?;
    if lends {
        lend(model, suite, folder, &jobs, watch)?;
    }

    let wanted: HashSet<&RunKey> = jobs.iter().map(|job| &job.key).collect();
    let mut latest: HashMap<RunKey, UserRun> = HashMap::new();
    for line in read_lines::<RunLine>(&folder.join("runs.jsonl"))? {
        if wanted.contains(&line.key) {
            latest.insert(line.key, line.run);
        }
    }
    if lends {
        for OtherLine { key, run } in read_lines(&folder.join("others.jsonl"))? {
            if let Some(own) = latest.get_mut(&key) {
                own.methods.insert("other_user".into(), run);
            }
        }
    }
    let mut lines: Vec<RunLine> = latest.into_iter().map(|(key, run)| RunLine { key, run }).collect();
    let place = |line: &RunLine| jobs.iter().position(|job| job.key == line.key);
    lines.sort_by_key(place);
    let summary = Summary::of(suite, &users, &lines);
    write(&folder.join("summary.csv"), summary.csv().as_bytes())?;
    write(&folder.join("report.html"), report::suite_html(suite, &users, &lines, &summary)?.as_bytes())?;
    Ok(SuiteOutcome { summary, data: users, folder: folder.to_owned() })
}

struct Job<'a> {
    key: RunKey,
    splits: &'a [Split],
}

fn jobs<'a>(suite: &Suite, data: &'a [LoadedData]) -> Vec<Job<'a>> {
    let mut jobs = Vec::new();
    for loaded in data {
        for &budget in &suite.budgets {
            for &seed in &suite.seeds {
                for (user, splits) in &loaded.users {
                    let key = RunKey { data: loaded.name.clone(), budget, seed, user: user.clone() };
                    jobs.push(Job { key, splits });
                }
            }
        }
    }
    jobs
}

/// Makes the folder, or checks that it holds the same suite.
fn claim(folder: &Path, suite: &Suite, fingerprint: &str) -> Result<()> {
    let path = folder.join("suite.toml");
    let fail = |reason: String| Error::File { file: path.display().to_string(), reason };
    let settings = toml::to_string(suite).map_err(|error| fail(error.to_string()))?;
    let settings = format!("# Base model {fingerprint}\n{settings}");
    match fs::read_to_string(&path) {
        Ok(there) if there == settings => Ok(()),
        Ok(_) => Err(fail(
            "the folder holds a run with other settings or another model; choose another --out, or delete it"
                .into(),
        )),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            fs::create_dir_all(folder.join("adapters")).map_err(|error| Error::File {
                file: folder.display().to_string(),
                reason: error.to_string(),
            })?;
            write(&path, settings.as_bytes())
        }
        Err(error) => Err(fail(error.to_string())),
    }
}

/// The domain adapter of each data set and seed; kept in the folder.
fn domain_adapters(
    model: &dyn LanguageModel,
    suite: &Suite,
    folder: &Path,
    data: &[LoadedData],
    watch: &(dyn Fn(SuiteEvent<'_>) -> ControlFlow<()> + Sync),
) -> Result<HashMap<(String, u64), Adapter>> {
    let mut adapters = HashMap::new();
    for loaded in data.iter().filter(|_| suite.needs_domain()) {
        for &seed in &suite.seeds {
            let id = key::seed(seed, &loaded.name, 0, "domain adapter");
            let path = folder.join("adapters").join(format!("domain-{id:016x}"));
            let adapter = if path.exists() {
                read_adapter(&path)?
            } else {
                let config = Config { seed, ..suite.config.clone() };
                let mut progress = |_: Event<'_>| watch(SuiteEvent::Step);
                let adapter = protocol::domain_adapter(model, &config, &loaded.domain, &mut progress)?;
                write(&path, &adapter.to_bytes().map_err(spring_core::Error::from)?)?;
                adapter
            };
            adapters.insert((loaded.name.clone(), seed), adapter);
        }
    }
    Ok(adapters)
}

/// One line of `others.jsonl`.
#[derive(Serialize, Deserialize)]
struct OtherLine {
    #[serde(flatten)]
    key: RunKey,
    run: MethodRun,
}

/// Scores every user with the adapters of the users that follow.
fn lend(
    model: &dyn LanguageModel,
    suite: &Suite,
    folder: &Path,
    jobs: &[Job<'_>],
    watch: &(dyn Fn(SuiteEvent<'_>) -> ControlFlow<()> + Sync),
) -> Result<()> {
    let path = folder.join("others.jsonl");
    let done: HashSet<RunKey> = read_lines::<OtherLine>(&path)?.into_iter().map(|line| line.key).collect();
    let file = Mutex::new(append(&path)?);
    let missing: Vec<&Job<'_>> = jobs.iter().filter(|job| !done.contains(&job.key)).collect();
    missing.par_iter().try_for_each(|job| -> Result<()> {
        stop_if(watch(SuiteEvent::Step))?;
        let group: Vec<&Job<'_>> = jobs
            .iter()
            .filter(|other| {
                let (a, b) = (&other.key, &job.key);
                (&a.data, a.budget, a.seed) == (&b.data, b.budget, b.seed)
            })
            .collect();
        let own = group.iter().position(|other| other.key == job.key).unwrap_or(0);
        let others = (1..group.len()).take(3).map(|step| &group[(own + step) % group.len()].key);
        let adapters = others.map(|key| load_adapters(&key.adapters(folder))).collect::<Result<Vec<_>>>()?;
        let run = run_other_user(model, &suite.config, job.splits, &adapters)
            .map_err(|error| named(error, &job.key.user))?;
        append_line(&file, &OtherLine { key: job.key.clone(), run })
    })
}

fn named(error: Error, user: &UserId) -> Error {
    match error {
        Error::Core(error) if !error.is_stopped() => Error::Core(error.of_user(user)),
        Error::NotEnough(reason) => Error::NotEnough(format!("user {user}: {reason}")),
        other => other,
    }
}

fn stop_if(flow: ControlFlow<()>) -> Result<()> {
    match flow {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => {
            Err(spring_core::Error::from(spring_core::spring_model::ModelError::Stopped).into())
        }
    }
}

fn save_adapters(folder: &Path, adapters: &[Adapter]) -> Result<()> {
    fs::create_dir_all(folder)
        .map_err(|error| Error::File { file: folder.display().to_string(), reason: error.to_string() })?;
    // The first one comes last: where it is, all of them are.
    for (t, adapter) in adapters.iter().enumerate().rev() {
        write(&folder.join(t.to_string()), &adapter.to_bytes().map_err(spring_core::Error::from)?)?;
    }
    Ok(())
}

fn load_adapters(folder: &Path) -> Result<Vec<Adapter>> {
    (0..)
        .map(|t: usize| folder.join(t.to_string()))
        .take_while(|path| path.exists())
        .map(|path| read_adapter(&path))
        .collect()
}

fn read_adapter(path: &Path) -> Result<Adapter> {
    let bytes = fs::read(path)
        .map_err(|error| Error::File { file: path.display().to_string(), reason: error.to_string() })?;
    Ok(Adapter::from_bytes(&bytes).map_err(spring_core::Error::from)?)
}

/// Writes beside it and renames: a reader finds the old file or the new one.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let partial = path.with_extension("partial");
    let written = fs::write(&partial, bytes).and_then(|()| fs::rename(&partial, path));
    written.map_err(|error| Error::File { file: path.display().to_string(), reason: error.to_string() })
}

fn unwritable(error: serde_json::Error) -> Error {
    Error::NotEnough(format!("a result cannot be written as JSON: {error}"))
}

/// The lines of a JSONL file, none if it is not there. A last line without its end was cut off by a crash: it is dropped,
/// and what it stands for is run again.
fn read_lines<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<Vec<T>> {
    let label = path.display().to_string();
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
        Err(error) => return Err(Error::File { file: label, reason: error.to_string() }),
    };
    let (mut reader, mut lines, mut line) = (BufReader::new(file), Vec::new(), Vec::new());
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line);
        read.map_err(|error| Error::File { file: label.clone(), reason: error.to_string() })?;
        if line.last() != Some(&b'\n') {
            return Ok(lines);
        }
        let number = lines.len() as u64 + 1;
        lines.push(serde_json::from_slice(&line).map_err(|error| Error::Data {
            file: label.clone(),
            line: number,
            row: number,
            reason: format!("damaged: {error}; delete the line and run the suite again"),
        })?);
    }
}

/// Opens a JSONL file to add lines, behind its last whole one.
fn append(path: &Path) -> Result<File> {
    let open = || -> std::io::Result<File> {
        let whole = match fs::read(path) {
            Ok(bytes) => bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        file.set_len(whole as u64)?;
        Ok(file)
    };
    open().map_err(|error| Error::File { file: path.display().to_string(), reason: error.to_string() })
}

fn append_line(file: &Mutex<File>, line: &impl Serialize) -> Result<()> {
    let line = serde_json::to_string(line).map_err(unwritable)? + "\n";
    let written = match file.lock() {
        Ok(mut file) => file.write_all(line.as_bytes()).and_then(|()| file.sync_data()),
        Err(_) => return Err(Error::NotEnough("another user's run failed".into())),
    };
    written.map_err(|error| Error::File { file: "the run's folder".into(), reason: error.to_string() })
}
