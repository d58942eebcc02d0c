//! Running a suite into a folder: `suite.toml` (what was asked), `users.json` (who, and who not),
//! `runs.jsonl` (one line a user, seed and budget), `adapters/`, `attribution.json` and
//! `summary.csv`. What is there already is not run again.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    sync::Mutex,
    time::Instant,
};

use spring_core::{Event, LanguageModel};
use spring_lm::Adapter;
use spring_numerics::digest::sha256_hex;

use super::{
    Estimate, Suite, Summary, attribution,
    choice::{Choice, candidates, reported, stage, stages},
    claim::{DomainUsers, Origins, claim, domain_users, keep_domain_users},
    estimate,
    folder::{read_adapter, unwritable, write},
    job::{Job, file_name, jobs, prompts},
    load::{LoadedData, load_data},
    measure::measure,
    others::{lend, of_others, put_others},
    runner::{Runner, User},
    runs::Runs,
    watch::{SuiteEvent, Watch, stop_if},
};
use crate::{Budget, Half, Method, Result, RunLine, SuiteData, SuiteUser, domain_adapter, program};

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
    /// What of the folder is left out, and why; nothing after a run, which brings it up to date.
    pub notices: Vec<String>,
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
/// protocol; or data, model or disk refuse. [`Error::Program`](crate::Error::Program) and
/// [`Error::Metric`](crate::Error::Metric) if one of the suite's programs or metrics fails;
/// [`Error::File`](crate::Error::File) if it has programs and is not allowed to start them
/// ([`Suite::allowing_programs`]).
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
            lenders: loaded.lenders,
        })
        .collect();
    write(
        &folder.join("users.json"),
        serde_json::to_string_pretty(&users).map_err(unwritable)?.as_bytes(),
    )?;

    let lends = !of_others(suite).is_empty();
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
        runner.run(&mut choosers, goes_on, &|key| {
            distinct(stage(suite, at, &tried, &key.data, key.budget))
        })?;
        let found =
            candidates(suite, at, &tried, &runner.runs.lines(choosing.iter().map(|job| &job.key)));
        tried.extend(found);
    }
    let shown = |data: &str, budget: Budget| {
        let chosen = reported(suite, &tried, data, budget).into_iter().map(|row| row.method);
        suite.methods.iter().cloned().chain(chosen).collect::<Vec<_>>()
    };
    runner
        .run(&mut User::group(&reporting), false, &|key| distinct(shown(&key.data, key.budget)))?;
    let mut lines = runner.runs.lines(reporting.iter().map(|job| &job.key));
    if lends {
        put_others(suite, lend(model, suite, folder, &reporting, watch)?, &mut lines);
    }
    let tables = suite
        .data
        .iter()
        .flat_map(|data| suite.budgets.iter().map(move |budget| (data.name.as_str(), *budget)));
    let shown: HashSet<String> = tables
        .flat_map(|(data, budget)| shown(data, budget))
        .map(|method| method.name().to_owned())
        .collect();
    let prompts = reporting.iter().map(|job| (&job.key, prompts(suite, job))).collect();
    let mut progress = |_: Event<'_>| watch(SuiteEvent::Step);
    measure(suite, folder, &shown, &prompts, &mut lines, &mut progress)?;
    let attributions = attribution::attribute(suite, folder, &data, &lines, watch)?;
    attribution::put(&attributions, &mut lines);
    let summary = Summary::of(suite, &users, &lines, tried, &attributions);
    write(&folder.join("summary.csv"), summary.csv()?.as_bytes())?;
    if !suite.choose.is_empty() {
        write(&folder.join("choices.csv"), summary.choices_csv()?.as_bytes())?;
    }
    let folder = folder.to_owned();
    Ok(SuiteOutcome { summary, data: users, runs: lines, folder, notices: vec![] })
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
        if set.noise.is_some() {
            let code = loaded.code_sha256.as_ref();
            let code = code.map_or("in the texts".into(), |hash| format!("SHA-256 {hash}"));
            origins.insert(format!("Code of {:?}", set.name), code);
        }
        if set.is_mixed() {
            // A method more may keep users back for the domain adapter, who then follow nobody.
            let follows = |of: &SuiteUser| Some((of.user.clone(), of.followed_by.clone()?));
            let who: Vec<_> = loaded.considered.iter().filter_map(follows).collect();
            let digest = sha256_hex(format!("{who:?} {:?}", loaded.lenders));
            origins.insert(format!("Streams of {:?}", set.name), format!("SHA-256 {digest}"));
        }
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
    let choices = suite.choose.iter().flat_map(Choice::methods);
    let needing = suite
        .methods
        .iter()
        .cloned()
        .chain(choices)
        .filter(|method| method.needs_domain(suite.start, &suite.config));
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

/// Each method once.
fn distinct(methods: impl IntoIterator<Item = Method>) -> Vec<Method> {
    let mut names = HashSet::new();
    methods.into_iter().filter(|method| names.insert(method.name().to_owned())).collect()
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
