//! Running a suite into a folder: `suite.toml` (what was asked), `users.json` (who, and who not),
//! `runs.jsonl` (one line a user, seed and budget), `adapters/` and `summary.csv`. What is there
//! already is not run again.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    fs::File,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Mutex,
    time::Instant,
};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use spring_core::{Config, Event, LanguageModel, key, spring_memory::UserId};
use spring_data::Task;
use spring_lm::Adapter;

use super::{
    Estimate, Half, LoadedData, Start, Suite, SuiteUser, Summary,
    choice::{Choice, candidates, chosen, stage, stages},
    estimate,
    folder::{
        append, append_line, claim, hash_of, load_adapters, read_adapter, read_lines, save_adapters,
        unwritable, write,
    },
    load_data,
};
use crate::{
    Budget, Error, Memo, MethodRun, MethodSpec, Protocol, Result, Split, UserInput, UserRun,
    protocol, run_other_user, run_user,
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
    /// What was measured of every user that is reported on, seed by seed and budget by budget.
    pub runs: Vec<RunLine>,
    /// The folder.
    pub folder: PathBuf,
}

/// Which run a line is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RunKey {
    /// The data set.
    pub data: String,
    /// How much each method may train.
    pub budget: Budget,
    /// The seed.
    pub seed: u64,
    /// The user.
    pub user: UserId,
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
pub struct RunLine {
    /// Which run it is.
    #[serde(flatten)]
    pub key: RunKey,
    /// What it gave.
    pub run: UserRun,
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
    /// Users that the domain adapter learned from; 0 without one.
    pub domain_users: usize,
    /// Their texts.
    pub domain_texts: usize,
    /// How many of these users would have been evaluated, had there been others to learn the domain
    /// from.
    #[serde(default)]
    pub kept_back: usize,
    /// Methods that were not run, as they need a domain adapter and there is no one to learn it
    /// from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_run: Vec<String>,
}

impl SuiteData {
    /// What is to be said of users and methods that are not as the suite asks for, in words.
    pub fn notices(&self) -> Vec<String> {
        let mut notices = Vec::new();
        if self.kept_back > 0 {
            let (data, users) = (&self.data, self.kept_back);
            notices.push(format!(
                "{data}: all usable users would be evaluated, so {users} of them with fewest texts \
                 teach the domain adapter \
                 instead; for another division set users"
            ));
        }
        if !self.not_run.is_empty() {
            let methods = self.not_run.join(", ");
            notices.push(format!(
                "{}: not run, as there are too few users to keep one back for the domain adapter: {methods}",
                self.data
            ));
        }
        notices
    }

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

/// Runs what is missing of a suite into a folder, and writes its table.
///
/// Users run side by side on rayon's threads; the result depends neither on how many there are nor
/// on interruptions. `watch` may ask to stop; what is done is kept.
///
/// # Errors
///
/// If the folder holds another suite, model or data, or one of an earlier protocol; or data, model
/// or disk refuse.
pub fn run_suite(
    model: &dyn LanguageModel,
    suite: &Suite,
    folder: &Path,
    watch: Watch<'_>,
) -> Result<SuiteOutcome> {
    let data = load(suite)?;
    claim(folder, suite, &origins(model, suite)?)?;
    let users: Vec<SuiteData> = data
        .iter()
        .map(|loaded| SuiteData {
            data: loaded.name.clone(),
            task: loaded.task,
            users: in_halves(suite, &loaded.considered),
            too_few: loaded.too_few,
            domain_users: if suite.needs_domain() { loaded.domain_users } else { 0 },
            domain_texts: if suite.needs_domain() { loaded.domain.len() } else { 0 },
            kept_back: loaded.kept_back,
            not_run: not_run(suite, loaded),
        })
        .collect();
    write(&folder.join("users.json"), serde_json::to_string_pretty(&users).map_err(unwritable)?.as_bytes())?;

    let lends = suite.wants("other_user");
    let jobs = jobs(suite, &data);
    let (choosing, reporting): (Vec<&Job<'_>>, Vec<&Job<'_>>) =
        jobs.iter().partition(|job| job.half == Some(Half::Choosing));
    let runs = folder.join("runs.jsonl");
    let known = read_lines::<RunLine>(&runs)?;
    let is_known = |job: &&Job<'_>| known.iter().any(|line| line.key == job.key);
    if !jobs.iter().all(|job| is_known(&job)) {
        stop_if(watch(SuiteEvent::Estimate(estimate::estimate(model, suite, &data)?)))?;
    }
    let runner = Runner {
        model,
        suite,
        folder,
        watch,
        domains: domain_adapters(model, suite, folder, &data, watch)?,
        lends,
        file: Mutex::new(append(&runs)?),
        jobs: reporting.len() + stages(suite) * choosing.len(),
        started: Instant::now(),
        finished: Mutex::default(),
    };
    let mut choosers = User::group(&choosing);
    let mut tried = Vec::new();
    for at in 0..stages(suite) {
        let goes_on = at + 1 < stages(suite);
        runner.run(&mut choosers, goes_on, &|budget| distinct(stage(suite, at, &tried, budget)))?;
        let found = candidates(suite, at, &tried, &lines_of(folder, &choosing)?);
        tried.extend(found);
    }
    runner.run(&mut User::group(&reporting), false, &|budget| {
        let chosen = suite.choose.iter().filter_map(|choice| chosen(choice, &tried, budget));
        distinct(suite.methods.iter().cloned().chain(chosen))
    })?;
    if lends {
        lend(model, suite, folder, &reporting, watch)?;
    }

    let mut lines = lines_of(folder, &reporting)?;
    if lends {
        let others = read_lines::<OtherLine>(&folder.join("others.jsonl"))?.into_iter();
        let mut others: HashMap<RunKey, MethodRun> = others.map(|line| (line.key, line.run)).collect();
        for line in &mut lines {
            let run = others.remove(&line.key);
            line.run.methods.extend(run.map(|run| ("other_user".to_owned(), run)));
        }
    }
    let summary = Summary::of(suite, &users, &lines, tried);
    write(&folder.join("summary.csv"), summary.csv().as_bytes())?;
    if !suite.choose.is_empty() {
        write(&folder.join("choices.csv"), summary.choices_csv().as_bytes())?;
    }
    Ok(SuiteOutcome { summary, data: users, runs: lines, folder: folder.to_owned() })
}

/// What numbers come from beside the settings: where one of these differs, old and new lines must
/// not be mixed.
fn origins(model: &dyn LanguageModel, suite: &Suite) -> Result<Vec<String>> {
    let mut origins =
        vec![format!("Protocol {PROTOCOL}"), format!("Base model {}", model.info().fingerprint)];
    for data in &suite.data {
        let hash = hash_of(Path::new(&data.path))?;
        origins.push(format!("Data set {:?}: SHA-256 {hash}", data.name));
        if let Some(outputs) = &data.outputs {
            let hash = hash_of(Path::new(outputs))?;
            origins.push(format!("Outputs of {:?}: SHA-256 {hash}", data.name));
        }
    }
    Ok(origins)
}

/// Raised with every change after which the same suite gives other numbers.
const PROTOCOL: u32 = 2;

/// The methods that a data set without a domain adapter cannot run.
fn not_run(suite: &Suite, loaded: &LoadedData) -> Vec<String> {
    if !loaded.domain.is_empty() {
        return vec![];
    }
    let choices = suite.choose.iter().flat_map(Choice::expected);
    let needing =
        suite.methods.iter().cloned().chain(choices).filter(|method| method.needs_domain(suite.start));
    distinct(needing).iter().map(|method| method.name().to_owned()).collect()
}

/// The users with what they are there for.
fn in_halves(suite: &Suite, considered: &[SuiteUser]) -> Vec<SuiteUser> {
    let mut places = 0..;
    let evaluated = |user: &SuiteUser| user.excluded.is_none();
    let half = |user: &SuiteUser| {
        evaluated(user).then(|| places.next()).flatten().and_then(|place| suite.half(place))
    };
    let halves: Vec<Option<Half>> = considered.iter().map(half).collect();
    considered.iter().zip(halves).map(|(user, half)| SuiteUser { half, ..user.clone() }).collect()
}

struct Job<'a> {
    key: RunKey,
    half: Option<Half>,
    splits: &'a [Split],
}

fn jobs<'a>(suite: &Suite, data: &'a [LoadedData]) -> Vec<Job<'a>> {
    let mut jobs = Vec::new();
    for loaded in data {
        for &budget in &suite.budgets {
            for &seed in &suite.seeds {
                for (place, (user, splits)) in loaded.users.iter().enumerate() {
                    let key = RunKey { data: loaded.name.clone(), budget, seed, user: user.clone() };
                    jobs.push(Job { key, half: suite.half(place), splits });
                }
            }
        }
    }
    jobs
}

/// The runs of some jobs, in their order; several about one job are put together.
fn lines_of(folder: &Path, jobs: &[&Job<'_>]) -> Result<Vec<RunLine>> {
    let mut runs: HashMap<RunKey, UserRun> = HashMap::new();
    for RunLine { key, run } in read_lines(&folder.join("runs.jsonl"))? {
        match runs.entry(key) {
            Entry::Occupied(mut known) => known.get_mut().methods.extend(run.methods),
            Entry::Vacant(place) => drop(place.insert(run)),
        }
    }
    let line = |job: &&Job<'_>| Some(RunLine { key: job.key.clone(), run: runs.remove(&job.key)? });
    Ok(jobs.iter().filter_map(line).collect())
}

/// Each method once.
fn distinct(methods: impl IntoIterator<Item = MethodSpec>) -> Vec<MethodSpec> {
    let mut names = HashSet::new();
    methods.into_iter().filter(|method| names.insert(method.name().to_owned())).collect()
}

/// A user's jobs, all seeds and budgets, with what is known of them while they run: what they share
/// is computed once.
struct User<'a> {
    jobs: Vec<&'a Job<'a>>,
    memo: Memo,
}

impl<'a> User<'a> {
    fn group(jobs: &[&'a Job<'a>]) -> Vec<Self> {
        let mut users: Vec<Self> = Vec::new();
        for job in jobs {
            let whose = |job: &Job<'_>| (job.key.data.clone(), job.key.user.clone());
            match users.iter_mut().find(|user| whose(user.jobs[0]) == whose(job)) {
                Some(user) => user.jobs.push(job),
                None => users.push(Self { jobs: vec![job], memo: Memo::default() }),
            }
        }
        users
    }
}

/// Runs jobs and writes what they give.
struct Runner<'a> {
    model: &'a dyn LanguageModel,
    suite: &'a Suite,
    folder: &'a Path,
    watch: Watch<'a>,
    domains: HashMap<(String, u64), Adapter>,
    lends: bool,
    file: Mutex<File>,
    jobs: usize,
    started: Instant,
    /// Jobs that are done, and those of them that this run has done.
    finished: Mutex<(usize, usize)>,
}

type Watch<'a> = &'a (dyn Fn(SuiteEvent<'_>) -> ControlFlow<()> + Sync);

impl Runner<'_> {
    /// Users side by side, each with all seeds and budgets one after the other; methods that were
    /// run before are not run again. Where the users go on after this, what is known of them is
    /// kept.
    fn run(
        &self,
        users: &mut [User<'_>],
        goes_on: bool,
        methods: &(dyn Fn(Budget) -> Vec<MethodSpec> + Sync),
    ) -> Result<()> {
        let known = read_lines::<RunLine>(&self.folder.join("runs.jsonl"))?.into_iter();
        let mut known: HashMap<RunKey, HashSet<String>> =
            known.fold(HashMap::new(), |mut known, RunLine { key, run }| {
                known.entry(key).or_default().extend(run.methods.into_keys());
                known
            });
        known.retain(|key, _| !self.lends || key.adapters(self.folder).join("0").exists());
        users.par_iter_mut().with_max_len(1).try_for_each(|user| {
            user.jobs.iter().try_for_each(|job| {
                let is_known = |method: &MethodSpec| {
                    method.is_of_others()
                        || known.get(&job.key).is_some_and(|known| known.contains(method.name()))
                };
                let has_domain = self.domains.contains_key(&(job.key.data.clone(), job.key.seed));
                let mut missing = methods(job.key.budget);
                missing.retain(|method| {
                    !is_known(method) && (has_domain || !method.needs_domain(self.suite.start))
                });
                match missing.is_empty() && known.contains_key(&job.key) {
                    true => self.count(|count| count.0 += 1),
                    false => return self.run_one(job, missing, &user.memo),
                };
                Ok(())
            })?;
            if !goes_on {
                user.memo = Memo::default();
            }
            Ok(())
        })
    }

    /// Changes the jobs that are done, and those of them that this run has done, and says how many
    /// they are then.
    fn count(&self, change: impl FnOnce(&mut (usize, usize))) -> (usize, usize) {
        self.finished.lock().map_or((0, 1), |mut count| {
            change(&mut count);
            *count
        })
    }

    fn run_one(&self, job: &Job<'_>, methods: Vec<MethodSpec>, memo: &Memo) -> Result<()> {
        let protocol = Protocol {
            config: Config { seed: job.key.seed, ..self.suite.config_on(&job.key.data) },
            methods,
            budget: job.key.budget,
            generation: self.suite.generation,
        };
        let input = UserInput {
            user: &job.key.user,
            splits: job.splits,
            domain: self.domains.get(&(job.key.data.clone(), job.key.seed)),
            start_from_domain: self.suite.start == Start::Domain,
        };
        let mut progress = |_: Event<'_>| (self.watch)(SuiteEvent::Step);
        let outcome = run_user(self.model, &protocol, input, memo, &mut progress)
            .map_err(|error| named(error, &job.key.user))?;
        if self.lends {
            save_adapters(&job.key.adapters(self.folder), &outcome.adapters)?;
        }
        append_line(&self.file, &RunLine { key: job.key.clone(), run: outcome.run })?;
        let (done, here) = self.count(|count| *count = (count.0 + 1, count.1 + 1));
        let left = self.jobs.saturating_sub(done) as f64;
        let seconds_left = self.started.elapsed().as_secs_f64() / here as f64 * left;
        let name = job.key.name();
        stop_if((self.watch)(SuiteEvent::Job { name: &name, done, jobs: self.jobs, seconds_left }))
    }
}

/// The domain adapter of each data set and seed; kept in the folder.
fn domain_adapters(
    model: &dyn LanguageModel,
    suite: &Suite,
    folder: &Path,
    data: &[LoadedData],
    watch: Watch<'_>,
) -> Result<HashMap<(String, u64), Adapter>> {
    let mut adapters = HashMap::new();
    for loaded in data.iter().filter(|loaded| suite.needs_domain() && !loaded.domain.is_empty()) {
        for &seed in &suite.seeds {
            let id = key::seed(seed, &loaded.name, 0, "domain adapter");
            let path = folder.join("adapters").join(format!("domain-{id:016x}"));
            let adapter = if path.exists() {
                read_adapter(&path)?
            } else {
                let config = Config { seed, ..suite.config_on(&loaded.name) };
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
    jobs: &[&Job<'_>],
    watch: Watch<'_>,
) -> Result<()> {
    let path = folder.join("others.jsonl");
    let done: HashSet<RunKey> = read_lines::<OtherLine>(&path)?.into_iter().map(|line| line.key).collect();
    let file = Mutex::new(append(&path)?);
    let missing: Vec<&&Job<'_>> = jobs.iter().filter(|job| !done.contains(&job.key)).collect();
    missing.par_iter().try_for_each(|job| -> Result<()> {
        stop_if(watch(SuiteEvent::Step))?;
        let group: Vec<&&Job<'_>> = jobs
            .iter()
            .filter(|other| {
                let (a, b) = (&other.key, &job.key);
                (&a.data, a.budget, a.seed) == (&b.data, b.budget, b.seed)
            })
            .collect();
        let own = group.iter().position(|other| other.key == job.key).unwrap_or(0);
        let others = (1..group.len()).take(3).map(|step| &group[(own + step) % group.len()].key);
        let adapters = others.map(|key| load_adapters(&key.adapters(folder))).collect::<Result<Vec<_>>>()?;
        let mut progress = |_: Event<'_>| watch(SuiteEvent::Step);
        let config = suite.config_on(&job.key.data);
        let run = run_other_user(model, &config, job.splits, &adapters, suite.generation, &mut progress)
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
        ControlFlow::Break(()) => Err(spring_core::Error::from(spring_lm::ModelError::Stopped).into()),
    }
}
