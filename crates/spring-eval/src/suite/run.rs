//! Running a suite into a folder: `suite.toml` (what was asked), `users.json` (who, and who not),
//! `runs.jsonl` (one line a user, seed and budget), `adapters/` and `summary.csv`. What is there
//! already is not run again.

use std::{
    collections::{HashMap, HashSet},
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use rayon::prelude::*;
use spring_core::{Event, LanguageModel, spring_memory::UserId};
use spring_lm::Adapter;
use spring_numerics::digest::Digest;

use super::{
    Estimate, Suite, Summary,
    choice::{Choice, candidates, chosen, stage, stages},
    claim::{DomainUsers, Origins, claim, domain_users, keep_domain_users},
    estimate,
    folder::{append, append_line, load_adapters, read_adapter, save_adapters, unwritable, write},
    load::{LoadedData, load_data},
    measure::measure,
    others::{OtherLine, known_others, lenders},
    runs::Runs,
};
use crate::{
    Budget, Error, Half, Memo, Method, MethodRun, Protocol, Result, RunKey, RunLine, Split,
    SuiteData, SuiteUser, UserInput, domain_adapter, program, protocol::asked, run_other_user,
    run_user,
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
#[non_exhaustive]
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

/// What a suite will cost, without running it.
///
/// # Errors
///
/// If data or model refuse.
pub fn estimate_suite(model: &dyn LanguageModel, suite: &Suite) -> Result<Estimate> {
    estimate::estimate(model, suite, &load(suite, &DomainUsers::new())?)
}

fn load(suite: &Suite, domains: &DomainUsers) -> Result<Vec<LoadedData>> {
    suite.data.iter().map(|data| load_data(suite, data, domains.get(&data.name))).collect()
}

/// Runs what is missing of a suite into a folder, and writes its table.
///
/// What the folder holds of an earlier run is used: methods, seeds, budgets, users and data sets
/// may have been added to the suite or left out of it.
///
/// Users run side by side on rayon's threads; the result depends neither on how many there are nor
/// on interruptions. `watch` may ask to stop; what is done is kept.
///
/// # Errors
///
/// If the folder holds other settings, another model or other data, or a run of an earlier
/// protocol; or data, model or disk refuse. [`Error::Program`] and [`Error::Metric`] if one of the
/// suite's programs or metrics fails; [`Error::File`] if it has programs and is not allowed to
/// start them ([`Suite::allowing_programs`]).
pub fn run_suite(
    model: &dyn LanguageModel,
    suite: &Suite,
    folder: &Path,
    watch: Watch<'_>,
) -> Result<SuiteOutcome> {
    suite.check_leave()?;
    let mut domains = domain_users(folder)?;
    let data = load(suite, &domains)?;
    claim(folder, suite, origins(model, suite, &data))?;
    if suite.needs_domain() {
        domains.extend(
            data.iter()
                .filter(|loaded| !loaded.domain.is_empty())
                .map(|loaded| (loaded.name.clone(), loaded.domain_users.clone())),
        );
        keep_domain_users(folder, &domains)?;
    }
    let users: Vec<SuiteData> = data
        .iter()
        .map(|loaded| SuiteData {
            data: loaded.name.clone(),
            task: loaded.task,
            users: in_halves(suite, &loaded.considered),
            too_few: loaded.too_few,
            domain_users: if suite.needs_domain() { loaded.domain_users.users.len() } else { 0 },
            domain_texts: if suite.needs_domain() { loaded.domain.len() } else { 0 },
            kept_back: loaded.domain_users.kept_back,
            not_run: not_run(suite, loaded),
        })
        .collect();
    write(
        &folder.join("users.json"),
        serde_json::to_string_pretty(&users).map_err(unwritable)?.as_bytes(),
    )?;

    let lends = suite.wants("other_user");
    let jobs = jobs(suite, &data);
    let (choosing, reporting): (Vec<&Job<'_>>, Vec<&Job<'_>>) =
        jobs.iter().partition(|job| job.half == Some(Half::Choosing));
    let runs = Runs::open(&folder.join("runs.jsonl"))?;
    if !jobs.iter().all(|job| runs.has(&job.key)) {
        stop_if(watch(SuiteEvent::Estimate(estimate::estimate(model, suite, &data)?)))?;
    }
    let runner = Runner {
        model,
        suite,
        folder,
        watch,
        domains: domain_adapters(model, suite, folder, &data, watch)?,
        lends,
        runs,
        jobs: reporting.len() + stages(suite) * choosing.len(),
        started: Instant::now(),
        finished: Mutex::default(),
    };
    let mut choosers = User::group(&choosing);
    let mut tried = Vec::new();
    for at in 0..stages(suite) {
        let goes_on = at + 1 < stages(suite);
        runner.run(&mut choosers, goes_on, &|budget| distinct(stage(suite, at, &tried, budget)))?;
        let found =
            candidates(suite, at, &tried, &runner.runs.lines(choosing.iter().map(|job| &job.key)));
        tried.extend(found);
    }
    runner.run(&mut User::group(&reporting), false, &|budget| {
        let chosen = suite.choose.iter().filter_map(|choice| chosen(choice, &tried, budget));
        distinct(suite.methods.iter().cloned().chain(chosen))
    })?;
    let mut lines = runner.runs.lines(reporting.iter().map(|job| &job.key));
    if lends {
        let mut others = lend(model, suite, folder, &reporting, watch)?;
        for line in &mut lines {
            let run = others.remove(&line.key);
            line.run.methods.extend(run.map(|run| ("other_user".to_owned(), run)));
        }
    }
    let shown: HashSet<String> = suite
        .budgets
        .iter()
        .flat_map(|&budget| {
            let chosen = suite.choose.iter().filter_map(|choice| chosen(choice, &tried, budget));
            chosen.collect::<Vec<_>>()
        })
        .chain(suite.methods.iter().cloned())
        .map(|method| method.name().to_owned())
        .collect();
    let prompts = reporting.iter().map(|job| (&job.key, prompts(suite, job))).collect();
    let mut progress = |_: Event<'_>| watch(SuiteEvent::Step);
    measure(suite, folder, &shown, &prompts, &mut lines, &mut progress)?;
    let summary = Summary::of(suite, &users, &lines, tried);
    write(&folder.join("summary.csv"), summary.csv()?.as_bytes())?;
    if !suite.choose.is_empty() {
        write(&folder.join("choices.csv"), summary.choices_csv()?.as_bytes())?;
    }
    Ok(SuiteOutcome { summary, data: users, runs: lines, folder: folder.to_owned() })
}

fn origins(model: &dyn LanguageModel, suite: &Suite, data: &[LoadedData]) -> Origins {
    let mut origins = Origins::from([
        ("Protocol".to_owned(), PROTOCOL.to_string()),
        ("Base model".to_owned(), model.info().fingerprint.clone()),
    ]);
    for program in &suite.programs {
        let digest = program::identity(&program.command);
        origins.insert(format!("Program {:?}", program.name), format!("SHA-256 {digest}"));
    }
    for (set, loaded) in suite.data.iter().zip(data) {
        let (file, outputs) = &loaded.sha256;
        origins.insert(format!("Data set {:?}", set.name), format!("SHA-256 {file}"));
        let outputs = outputs.as_ref().map_or("none".into(), |hash| format!("SHA-256 {hash}"));
        origins.insert(format!("Outputs of {:?}", set.name), outputs);
    }
    origins
}

/// Raised with every change after which the same suite gives other numbers.
const PROTOCOL: u32 = 3;

/// The methods that a data set without a domain adapter cannot run.
fn not_run(suite: &Suite, loaded: &LoadedData) -> Vec<String> {
    if !loaded.domain.is_empty() {
        return vec![];
    }
    let choices = suite.choose.iter().flat_map(Choice::expected);
    let needing = suite
        .methods
        .iter()
        .cloned()
        .chain(choices)
        .filter(|method| method.needs_domain(suite.start));
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
                    let key =
                        RunKey { data: loaded.name.clone(), budget, seed, user: user.clone() };
                    jobs.push(Job { key, half: suite.half(place), splits });
                }
            }
        }
    }
    jobs
}

/// The prompts that are answered in a run, in the order of the texts that come of it.
fn prompts<'j>(suite: &Suite, job: &Job<'j>) -> Vec<&'j str> {
    let asked = job.splits.iter().flat_map(|split| asked(split, suite.generation));
    asked.map(|text| text.interaction.prompt.as_str()).collect()
}

/// Where the adapters of a run are.
fn adapters_of(folder: &Path, key: &RunKey) -> PathBuf {
    let RunKey { data, budget, seed, user } = key;
    let name = format!("{data:?} {} {seed} {:?}", budget.name(), user.as_str());
    folder.join("adapters").join(file_name(&name))
}

/// A name for a file: names of users and data sets may hold anything.
fn file_name(name: &str) -> String {
    let mut digest = Digest::new();
    digest.update(name);
    digest.hex()[..16].to_owned()
}

/// Each method once.
fn distinct(methods: impl IntoIterator<Item = Method>) -> Vec<Method> {
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
    runs: Runs,
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
        methods: &(dyn Fn(Budget) -> Vec<Method> + Sync),
    ) -> Result<()> {
        let has_adapters = |key: &RunKey| adapters_of(self.folder, key).join("0").exists();
        side_by_side(users, |user| {
            user.jobs.iter().try_for_each(|job| {
                let is_whole = !self.lends || has_adapters(&job.key);
                let is_known = |method: &Method| {
                    method.is_of_others()
                        || is_whole && self.runs.has_method(&job.key, method.name())
                };
                let has_domain = self.domains.contains_key(&(job.key.data.clone(), job.key.seed));
                let mut missing = methods(job.key.budget);
                missing.retain(|method| {
                    !is_known(method) && (has_domain || !method.needs_domain(self.suite.start))
                });
                match missing.is_empty() && is_whole && self.runs.has(&job.key) {
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

    fn run_one(&self, job: &Job<'_>, methods: Vec<Method>, memo: &Memo) -> Result<()> {
        let config = self.suite.config_on(&job.key.data).with_seed(job.key.seed);
        let protocol = Protocol::new(config, methods)
            .with_budget(job.key.budget)
            .with_generation(self.suite.generation);
        let domain = self.domains.get(&(job.key.data.clone(), job.key.seed));
        let input = UserInput::new(&job.key.user, job.splits).with_domain(domain, self.suite.start);
        let mut progress = |_: Event<'_>| (self.watch)(SuiteEvent::Step);
        let outcome = run_user(self.model, &protocol, input, memo, &mut progress)
            .map_err(|error| named(error, &job.key.user))?;
        if self.lends {
            save_adapters(&adapters_of(self.folder, &job.key), &outcome.adapters)?;
        }
        self.runs.add(RunLine { key: job.key.clone(), run: outcome.run })?;
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
            let name = file_name(&format!("{:?} {seed}", loaded.name));
            let path = folder.join("adapters").join(format!("domain-{name}"));
            let adapter = if path.exists() {
                read_adapter(&path)?
            } else {
                let config = suite.config_on(&loaded.name).with_seed(seed);
                let mut progress = |_: Event<'_>| watch(SuiteEvent::Step);
                let adapter = domain_adapter(model, &config, &loaded.domain, &mut progress)?;
                write(&path, &adapter.to_bytes().map_err(spring_core::Error::from)?)?;
                adapter
            };
            adapters.insert((loaded.name.clone(), seed), adapter);
        }
    }
    Ok(adapters)
}

/// Scores every user with the adapters of the users that follow.
fn lend(
    model: &dyn LanguageModel,
    suite: &Suite,
    folder: &Path,
    jobs: &[&Job<'_>],
    watch: Watch<'_>,
) -> Result<HashMap<RunKey, MethodRun>> {
    let keys: Vec<&RunKey> = jobs.iter().map(|job| &job.key).collect();
    let path = folder.join("others.jsonl");
    let mut runs = known_others(&path, &keys)?;
    let file = Mutex::new(append(&path)?);
    let missing: Vec<&&Job<'_>> = jobs.iter().filter(|job| !runs.contains_key(&job.key)).collect();
    let new = missing.par_iter().map(|job| -> Result<(RunKey, MethodRun)> {
        stop_if(watch(SuiteEvent::Step))?;
        let lenders = lenders(&keys, &job.key);
        let adapters = lenders
            .iter()
            .map(|key| load_adapters(&adapters_of(folder, key)))
            .collect::<Result<Vec<_>>>()?;
        let mut progress = |_: Event<'_>| watch(SuiteEvent::Step);
        let config = suite.config_on(&job.key.data);
        let run =
            run_other_user(model, &config, job.splits, &adapters, suite.generation, &mut progress)
                .map_err(|error| named(error, &job.key.user))?;
        let lenders = lenders.iter().map(|key| key.user.clone()).collect();
        let line = OtherLine { key: job.key.clone(), lenders, run };
        append_line(&file, &line)?;
        Ok((line.key, line.run))
    });
    runs.extend(new.collect::<Result<Vec<_>>>()?);
    Ok(runs)
}

/// Runs something for each item, as many at a time as rayon has threads; after an error no new one
/// begins. Not by rayon's own iterators: a thread that waits for the model's threads would begin
/// another item in the meantime, inside the first one.
fn side_by_side<T: Send>(items: &mut [T], run: impl Fn(&mut T) -> Result<()> + Sync) -> Result<()> {
    let threads = rayon::current_num_threads().min(items.len());
    let (waiting, failed) = (Mutex::new(items.iter_mut()), AtomicBool::new(false));
    let work = || {
        while !failed.load(Ordering::Relaxed) {
            let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(item) = next else { break };
            run(item).inspect_err(|_| failed.store(true, Ordering::Relaxed))?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        // Where no more threads can be started, the others do the work.
        let start = |_| std::thread::Builder::new().spawn_scoped(scope, work).ok();
        let started: Vec<_> = (0..threads).filter_map(start).collect();
        if started.is_empty() {
            return work();
        }
        let ended = started.into_iter().map(|thread| match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        ended.collect()
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
            Err(spring_core::Error::from(spring_lm::ModelError::Stopped).into())
        }
    }
}
