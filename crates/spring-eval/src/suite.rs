//! Comparisons from a TOML file: which methods on which users of which data, how often, and what
//! comes of it.

mod attribution;
mod choice;
mod claim;
mod cost;
mod estimate;
mod folder;
mod job;
mod load;
mod measure;
mod mixed;
mod others;
mod programs;
mod read;
mod run;
mod runner;
mod runs;
mod scores;
mod summary;
mod table;
mod watch;

use std::{collections::HashSet, io::Read, path::Path};

use serde::{Deserialize, Serialize};
use spring_core::{Config, NoveltyReference, Preset};
use spring_data::{
    mixed::{JoinConfig, NoiseConfig},
    synth::SynthConfig,
};
use spring_numerics::words;

pub use choice::{Candidate, Choice};
pub use estimate::Estimate;
pub use programs::Started;
pub use read::{read_suite_run, read_suite_run_against};
pub use run::{SuiteOutcome, estimate_suite, run_suite};
pub use summary::{
    AttributionScores, CopyingScores, Difference, Measure, MeasureScore, MetricScore, Summary,
    SummaryRow, TurnRow, Untested, UserDifferences,
};
pub use watch::SuiteEvent;

use crate::{
    Budget, Error, Generation, Half, Method, MethodKind, Methods, PeriodRule, Program, Result,
    Start, SuiteMetric,
};

/// The suites that come with this crate, by name.
const BUILT_IN: [(&str, &str); 1] = [("first-loop", include_str!("../suites/first-loop.toml"))];

/// The longest suite, in bytes.
const LONGEST: u64 = 1 << 20;

/// What is compared, on what, and how often. An unknown key is an error.
///
/// ```
/// let suite = spring_eval::Suite::from_toml(
///     "name = 'small'\nmethods = ['base', 'static', 'spring']\n\
///      [[data]]\nname = 'commits'\npath = 'commits.jsonl'\n",
///     "small.toml",
/// )?;
/// assert_eq!((suite.seeds, suite.data[0].users), (vec![0], 12));
/// # Ok::<(), spring_eval::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Suite {
    /// The name of the run and of its folder.
    pub name: String,
    /// The base model: a folder in the Hugging Face layout, or "embedded". Default: embedded.
    pub model: String,
    /// The base that the learning rates were chosen for, by a part of its file's or folder's name:
    /// on another one they say little. Default: none is named. No number depends on it.
    #[serde(skip)]
    pub rates_for: Option<String>,
    /// The methods, in the order of the table.
    pub methods: Vec<Method>,
    /// Settings to choose on one half of the users and to report on the other, beside the methods.
    /// With at least one, nothing is reported of the users that it was chosen on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub choose: Vec<Choice>,
    /// The method that every other one is tested against. Default: spring, or the last one if it is
    /// not among them.
    pub against: Option<String>,
    /// The methods whose differences are tested; those of others are shown without p, and the
    /// correction is for these alone. Default, and if empty: all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub contrasts: Vec<String>,
    /// The method whose texts the report shows beside those of the base and of `against`. Default:
    /// the first variant of SPRInG, where `against` is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub show: Option<String>,
    /// Seeds; a user's seeds are averaged before anything is tested. Default: 0 alone.
    pub seeds: Vec<u64>,
    /// How much each method may train; one table each. Default: epochs alone.
    pub budgets: Vec<Budget>,
    /// What every adapter starts from. Default: the base.
    pub start: Start,
    /// How streams are cut.
    pub periods: PeriodRule,
    /// What is generated on the diagonal of R.
    pub generation: Generation,
    /// The data sets.
    pub data: Vec<DataSet>,
    /// Programs that are methods, each by its name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub programs: Vec<Program>,
    /// Metrics of what is generated, beside the built-in ones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<SuiteMetric>,
    /// The method's settings.
    pub config: Config,
    /// Whether a run may start the suite's programs.
    #[serde(skip)]
    programs_are_allowed: bool,
}

/// A suite as it is written: methods are names.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SuiteFile {
    name: String,
    #[serde(default = "embedded")]
    model: String,
    #[serde(default)]
    rates_for: Option<String>,
    methods: Vec<String>,
    #[serde(default)]
    choose: Vec<ChoiceFile>,
    #[serde(default)]
    against: Option<String>,
    #[serde(default)]
    contrasts: Vec<String>,
    #[serde(default)]
    show: Option<String>,
    #[serde(default = "one_seed")]
    seeds: Vec<u64>,
    #[serde(default = "epochs")]
    budgets: Vec<Budget>,
    #[serde(default)]
    start: Start,
    #[serde(default)]
    periods: PeriodRule,
    #[serde(default)]
    generation: Generation,
    data: Vec<DataSet>,
    #[serde(default)]
    programs: Vec<Program>,
    #[serde(default)]
    metrics: Vec<SuiteMetric>,
    #[serde(default)]
    preset: Option<String>,
    #[serde(default)]
    config: Option<Config>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChoiceFile {
    name: String,
    among: Vec<String>,
    #[serde(default)]
    then: Vec<Vec<String>>,
    #[serde(default)]
    per_data: bool,
    #[serde(default)]
    paired: Paired,
}

/// One method or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum Paired {
    One(String),
    Several(Vec<String>),
}

impl Default for Paired {
    fn default() -> Self {
        Self::Several(vec![])
    }
}

impl From<Paired> for Vec<String> {
    fn from(paired: Paired) -> Self {
        match paired {
            Paired::One(name) => vec![name],
            Paired::Several(names) => names,
        }
    }
}

/// One data set of a suite.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct DataSet {
    /// Its name in tables.
    pub name: String,
    /// The file, relative to where the program runs.
    pub path: String,
    /// LaMP's outputs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outputs: Option<String>,
    /// LaMP's task, where the file alone does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<spring_data::Task>,
    /// Evaluate this many users, those with most texts. Default 12.
    #[serde(default = "twelve")]
    pub users: usize,
    /// Skip this many of the users with most texts before that. Default 0.
    #[serde(default)]
    pub skip: usize,
    /// The domain adapter learns from at most this many users that are not evaluated, those with
    /// most texts: their first periods, or all their texts where these are too few for two periods.
    /// Default 24.
    #[serde(default = "twenty_four")]
    pub domain_users: usize,
    /// Use this many texts of each user, the latest. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub texts: Option<usize>,
    /// The learning rate, where it differs from the suite's: how new a data set is to the base
    /// decides how far an adapter must go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f64>,
    /// Most periods, where they differ from the suite's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub periods: Option<u32>,
    /// Noise from other people's real texts among those that can be learned. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noise: Option<NoiseConfig>,
    /// Another person's stream behind the first part of each user's: a turning point; `true` for
    /// the middle. Default: none.
    #[serde(default, deserialize_with = "mixed::join", skip_serializing_if = "Option::is_none")]
    pub join: Option<JoinConfig>,
}

impl DataSet {
    /// Whether other people's texts are in its users' streams.
    pub(crate) fn is_mixed(&self) -> bool {
        self.noise.is_some() || self.join.is_some()
    }

    fn check_mixed(&self) -> Result<(), String> {
        self.noise.as_ref().map_or(Ok(()), NoiseConfig::check)?;
        self.join.as_ref().map_or(Ok(()), JoinConfig::check)?;
        match self.is_mixed() && SynthConfig::of_name(&self.path).is_some() {
            true => Err("noise and join are of real texts; made-up users have noise and drift of \
                         their own, in the path"
                .into()),
            false => Ok(()),
        }
    }
}

fn embedded() -> String {
    "embedded".into()
}

fn one_seed() -> Vec<u64> {
    vec![0]
}

fn epochs() -> Vec<Budget> {
    vec![Budget::Epochs]
}

fn twelve() -> usize {
    12
}

fn twenty_four() -> usize {
    24
}

impl Suite {
    /// Reads TOML with the built-in methods; `origin` is how errors name it.
    ///
    /// # Errors
    ///
    /// [`Error::File`] for what is not understood or cannot be run.
    pub fn from_toml(text: &str, origin: &str) -> Result<Self> {
        Self::from_toml_with(text, origin, &Methods::default())
    }

    /// The same with methods of your own among them.
    ///
    /// # Errors
    ///
    /// As [`from_toml`](Self::from_toml).
    pub fn from_toml_with(text: &str, origin: &str, methods: &Methods) -> Result<Self> {
        let fail = |reason: String| Error::File { file: origin.into(), reason };
        let file: SuiteFile = toml::from_str(text)
            .map_err(|e| fail(words::toml_reason(text, e.message(), e.span())))?;
        if file.preset.is_some() && file.config.is_some() {
            return Err(fail("preset and config: one of both".into()));
        }
        let suite = Self::of(file, methods).map_err(|error| fail(error.to_string()))?;
        suite.check().map_err(fail)?;
        Ok(suite)
    }

    fn of(file: SuiteFile, methods: &Methods) -> Result<Self> {
        let mut methods = methods.clone();
        for program in &file.programs {
            methods.register(MethodKind::program(program.clone()))?;
        }
        let parse = |names: Vec<String>| -> Result<Vec<Method>> {
            names.iter().map(|name| methods.parse(name)).collect()
        };
        let choice = |file: ChoiceFile| -> Result<Choice> {
            let ChoiceFile { name, among, then, per_data, paired } = file;
            Ok(Choice { name, among: parse(among)?, then, per_data, paired: parse(paired.into())? })
        };
        let config = match file.preset {
            Some(preset) => preset.parse::<Preset>()?.over(&Config::default())?,
            None => file.config.unwrap_or_default(),
        };
        Ok(Self {
            name: file.name,
            model: file.model,
            rates_for: file.rates_for,
            methods: parse(file.methods)?,
            choose: file.choose.into_iter().map(choice).collect::<Result<_>>()?,
            against: file.against,
            contrasts: file.contrasts,
            show: file.show,
            seeds: file.seeds,
            budgets: file.budgets,
            start: file.start,
            periods: file.periods,
            generation: file.generation,
            data: file.data,
            programs: file.programs,
            metrics: file.metrics,
            config,
            programs_are_allowed: false,
        })
    }

    /// A suite that comes with this crate: `first-loop`.
    ///
    /// # Errors
    ///
    /// [`Error::File`] if there is none of this name.
    pub fn built_in(name: &str) -> Result<Self> {
        let Some((_, text)) = BUILT_IN.iter().find(|suite| suite.0 == name) else {
            let names: Vec<&str> = BUILT_IN.iter().map(|suite| suite.0).collect();
            let reason = format!("not a file, and not a built-in suite: {}", names.join(", "));
            return Err(Error::File { file: name.to_owned(), reason });
        };
        Self::from_toml(text, name)
    }

    /// Reads a TOML file of at most 1 MiB.
    ///
    /// # Errors
    ///
    /// As [`from_toml`](Self::from_toml), and if the file cannot be read.
    pub fn load(path: &Path) -> Result<Self> {
        Self::load_with(path, &Methods::default())
    }

    /// The same with methods of your own among them.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn load_with(path: &Path, methods: &Methods) -> Result<Self> {
        let file = path.display().to_string();
        let fail = |reason: String| Error::File { file: file.clone(), reason };
        let mut text = String::new();
        let read = spring_numerics::file::open(path)
            .and_then(|file| file.take(LONGEST + 1).read_to_string(&mut text));
        read.map_err(|error| match error.kind() {
            std::io::ErrorKind::InvalidData => fail("not UTF-8, and so no TOML".into()),
            _ => fail(words::of_system(&error)),
        })?;
        if text.len() as u64 > LONGEST {
            return Err(fail(format!("longer than {LONGEST} bytes")));
        }
        Self::from_toml_with(&text, &file, methods)
    }

    fn check(&self) -> Result<(), String> {
        let rows = self.row_names();
        let names: HashSet<&str> = rows.iter().map(String::as_str).collect();
        let data: HashSet<&str> = self.data.iter().map(|data| data.name.as_str()).collect();
        let problem = if self.name.is_empty()
            || self.name.contains(['/', '\\'])
            || self.name.starts_with('.')
        {
            "name: it becomes a folder, so it is not empty, does not begin with a dot and holds no \
             slash"
        } else if self.methods.is_empty() || names.len() < rows.len() {
            "methods: at least one, each once, and no choice has the name of another or of a method"
        } else if !self.choose.is_empty() && self.data.iter().any(|data| data.users < 2) {
            "choose: it takes two halves, so at least 2 users of every data set"
        } else if self.data.is_empty() || data.len() < self.data.len() {
            "data: at least one, each with a name of its own"
        } else if self.seeds.is_empty() || self.budgets.is_empty() {
            "seeds and budgets: at least one each"
        } else if !(0.0..1.0).contains(&self.periods.hold_out) || self.periods.periods < 2 {
            "periods: at least 2, and a hold_out from 0 to below 1"
        } else if self.periods.min_train == 0 || self.periods.min_test == 0 {
            "periods: min_train and min_test are at least 1"
        } else if self
            .data
            .iter()
            .any(|data| data.users == 0 || data.periods.is_some_and(|periods| periods < 2))
        {
            "data: at least 1 user and 2 periods"
        } else if self.against.as_ref().is_some_and(|against| !names.contains(against.as_str())) {
            "against: one of the methods or choices"
        } else if !self.contrasts.iter().chain(&self.show).all(|name| names.contains(name.as_str()))
        {
            "contrasts and show: methods or choices of the suite, each by its name there"
        } else {
            self.choose.iter().try_for_each(Choice::check)?;
            self.check_programs()?;
            self.check_shapes()?;
            self.config.check().map_err(|error| format!("config: {error}"))?;
            return self.data.iter().try_for_each(|data| {
                let checked = self.config_on(&data.name).check().map_err(|error| error.to_string());
                checked
                    .and_then(|()| data.check_mixed())
                    .map_err(|error| format!("data {:?}: {error}", data.name))
            });
        };
        Err(problem.to_owned())
    }

    /// The names of a table's rows: those of the methods, of the choices, and of what is paired
    /// with a choice.
    fn row_names(&self) -> Vec<String> {
        let methods = self.methods.iter().map(|method| method.name().to_owned());
        methods.chain(self.choose.iter().flat_map(Choice::rows)).collect()
    }

    /// The same suite with everything tested against a row of its own.
    pub(crate) fn tested_against(self, against: &str) -> Result<Self> {
        let fail = |reason: String| Error::Method { name: against.to_owned(), reason };
        let rows = self.row_names();
        let is_program = |method: &Method| method.name() == against && method.program().is_some();
        if self.methods.iter().any(is_program) {
            return Err(fail("a program has no losses that others could be tested against".into()));
        }
        match rows.iter().any(|row| row == against) {
            true => Ok(Self { against: Some(against.to_owned()), ..self }),
            false => Err(fail(format!("the run has no such row; it has {}", rows.join(", ")))),
        }
    }

    /// Whether the learning rates of a data set were chosen for another base than one of this name.
    pub fn has_rates_of_another(&self, model: &str) -> bool {
        let is_in = |name: &String| model.to_lowercase().contains(&name.to_lowercase());
        self.rates_for.as_ref().is_some_and(|name| !is_in(name))
    }

    /// An adapter keeps its shape, and the domain adapter has that of the suite.
    fn check_shapes(&self) -> Result<(), String> {
        let choices = self.choose.iter().flat_map(Choice::methods);
        let all = self.methods.iter().cloned().chain(choices);
        let followed = |method: Method| method.like().cloned().into_iter().chain([method.clone()]);
        let other = all.flat_map(followed).find(|method| {
            let own = method.configure(&self.config);
            method.starts_at_domain(self.start) && own.is_ok_and(|own| own.lora != self.config.lora)
        });
        match other {
            Some(method) => Err(format!(
                "methods: {} starts from the domain adapter, which has the shape of [config.lora]; \
                 let it start from the base, or leave out its own settings of lora",
                method.name()
            )),
            None => Ok(()),
        }
    }

    /// The method that the others are tested against.
    pub fn reference(&self) -> &str {
        // A program has no losses to test against.
        let methods = || self.methods.iter().filter(|method| method.program().is_none());
        let mut names = methods().map(Method::name);
        let last = methods().next_back().map_or("", Method::name);
        let usual = names.find(|name| *name == "spring").unwrap_or(last);
        self.against.as_deref().unwrap_or(usual)
    }

    /// What the user at a place, most texts first, is there for; `None` where nothing is chosen.
    pub(crate) fn half(&self, place: usize) -> Option<Half> {
        (!self.choose.is_empty()).then(|| Half::of(place))
    }

    pub(crate) fn needs_domain(&self) -> bool {
        let choices = self.choose.iter().flat_map(Choice::methods);
        self.everyone_needs_domain()
            || self
                .methods
                .iter()
                .cloned()
                .chain(choices)
                .any(|method| method.needs_domain(self.start, &self.config))
    }

    /// Whether nothing can be run without a domain adapter: SPRInG as the suite sets it learns
    /// beside every method.
    pub(crate) fn everyone_needs_domain(&self) -> bool {
        self.start == Start::Domain || self.config.drift.reference == NoveltyReference::Population
    }

    /// The settings on a data set.
    pub fn config_on(&self, name: &str) -> Config {
        let mut config = self.config.clone();
        let own =
            self.data.iter().find(|data| data.name == name).and_then(|data| data.learning_rate);
        config.training.learning_rate = own.unwrap_or(config.training.learning_rate);
        config
    }

    pub(crate) fn rule(&self, data: &DataSet) -> PeriodRule {
        PeriodRule { periods: data.periods.unwrap_or(self.periods.periods), ..self.periods }
    }
}
