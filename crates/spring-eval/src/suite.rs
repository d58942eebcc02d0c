//! A suite: data, methods, seeds and budgets in one TOML file, run into one folder, resumable, with
//! a table at the end.

mod choice;
mod estimate;
mod folder;
mod run;
mod summary;

use std::{collections::HashSet, fs::File, io::Read, path::Path};

use serde::{Deserialize, Serialize};
use spring_core::{Config, StoredInteraction, spring_memory::UserId};

pub use choice::{Candidate, Choice, Half};
pub use estimate::Estimate;
pub use run::{RunKey, RunLine, SuiteData, SuiteEvent, SuiteOutcome, estimate_suite, run_suite};
pub use summary::{Summary, SummaryRow};

use spring_data::{Format, Task, open, read_streams, text_counts};

use crate::{Budget, Error, Generation, MethodSpec, PeriodRule, Result, Split, stored};

/// The longest suite, in bytes.
const LONGEST: u64 = 1 << 20;

/// What is compared, on what, and how often. An unknown key is an error.
///
/// ```
/// let suite = spring_eval::Suite::from_toml(
///     "name = 'small'\nmethods = ['base', 'static', 'spring']\n[[data]]\nname = 'commits'\npath = 'commits.jsonl'\n",
///     "small.toml",
/// )?;
/// assert_eq!((suite.seeds, suite.data[0].users), (vec![0], 12));
/// # Ok::<(), spring_eval::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suite {
    /// The name of the run and of its folder.
    pub name: String,
    /// The base model: a folder in the Hugging Face layout, or "embedded". Default: embedded.
    #[serde(default = "embedded")]
    pub model: String,
    /// The methods, in the order of the table.
    pub methods: Vec<MethodSpec>,
    /// Settings to choose on one half of the users and to report on the other, beside the methods.
    /// With at least one, nothing is reported of the users that it was chosen on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choose: Vec<Choice>,
    /// The method that every other one is tested against. Default: spring, or the last one if it is
    /// not among them.
    #[serde(default)]
    pub against: Option<String>,
    /// Seeds; a user's seeds are averaged before anything is tested. Default: 0 alone.
    #[serde(default = "one_seed")]
    pub seeds: Vec<u64>,
    /// How much each method may train; one table each. Default: epochs alone.
    #[serde(default = "epochs")]
    pub budgets: Vec<Budget>,
    /// What every adapter starts from. Default: the base.
    #[serde(default)]
    pub start: Start,
    /// How streams are cut.
    #[serde(default)]
    pub periods: PeriodRule,
    /// What is generated on the diagonal of R.
    #[serde(default)]
    pub generation: Generation,
    /// The data sets.
    pub data: Vec<DataSet>,
    /// The method's settings.
    #[serde(default)]
    pub config: Config,
}

/// What every adapter starts from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// A fresh adapter.
    #[default]
    Base,
    /// The domain adapter.
    Domain,
}

/// One data set of a suite.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSet {
    /// Its name in tables.
    pub name: String,
    /// The file, relative to where the program runs.
    pub path: String,
    /// LaMP's outputs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outputs: Option<String>,
    /// Evaluate this many users, those with most texts. Default 12.
    #[serde(default = "twelve")]
    pub users: usize,
    /// Leave out this many of the users with most texts before that. Default 0.
    #[serde(default)]
    pub skip: usize,
    /// The domain adapter learns from at most this many users that are not evaluated, those with most
    /// texts: their first periods, or all their texts where these are too few for two periods.
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
    /// Reads TOML; `origin` is how errors name it.
    ///
    /// # Errors
    ///
    /// [`Error::File`] for what is not understood or cannot be run.
    pub fn from_toml(text: &str, origin: &str) -> Result<Self> {
        let fail = |reason: String| Error::File { file: origin.into(), reason };
        let suite: Self =
            toml::from_str(text).map_err(|error| fail(error.to_string().trim_end().to_owned()))?;
        suite.check().map_err(fail)?;
        Ok(suite)
    }

    /// Reads a TOML file of at most 1 MiB.
    ///
    /// # Errors
    ///
    /// As [`from_toml`](Self::from_toml), and if the file cannot be read.
    pub fn load(path: &Path) -> Result<Self> {
        let file = path.display().to_string();
        let fail = |reason: String| Error::File { file: file.clone(), reason };
        let mut text = String::new();
        let read = File::open(path).and_then(|file| file.take(LONGEST + 1).read_to_string(&mut text));
        read.map_err(|error| fail(error.to_string()))?;
        if text.len() as u64 > LONGEST {
            return Err(fail(format!("longer than {LONGEST} bytes")));
        }
        Self::from_toml(&text, &file)
    }

    fn check(&self) -> Result<(), String> {
        let choices = self.choose.iter().map(|choice| choice.name.as_str());
        let names: HashSet<&str> = self.methods.iter().map(MethodSpec::name).chain(choices).collect();
        let data: HashSet<&str> = self.data.iter().map(|data| data.name.as_str()).collect();
        let problem = if self.name.is_empty() || self.name.contains(['/', '\\']) || self.name.starts_with('.')
        {
            "name: it becomes a folder, so it is not empty, begins with no dot and holds no slash"
        } else if self.methods.is_empty() || names.len() < self.methods.len() + self.choose.len() {
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
        } else {
            self.choose.iter().try_for_each(Choice::check)?;
            self.config.check().map_err(|error| format!("config: {error}"))?;
            return self.data.iter().try_for_each(|data| {
                self.config_on(&data.name).check().map_err(|error| format!("data {:?}: {error}", data.name))
            });
        };
        Err(problem.to_owned())
    }

    /// The method that the others are tested against.
    pub fn reference(&self) -> &str {
        let mut names = self.methods.iter().map(MethodSpec::name);
        let last = self.methods.last().map_or("", MethodSpec::name);
        let usual = names.find(|name| *name == "spring").unwrap_or(last);
        self.against.as_deref().unwrap_or(usual)
    }

    /// What the user at a place, most texts first, is there for; `None` where nothing is chosen.
    fn half(&self, place: usize) -> Option<Half> {
        (!self.choose.is_empty()).then(|| Half::of(place))
    }

    fn wants(&self, name: &str) -> bool {
        self.methods.iter().any(|method| method.name() == name)
    }

    fn needs_domain(&self) -> bool {
        let choices = self.choose.iter().flat_map(Choice::expected);
        self.start == Start::Domain
            || self.methods.iter().cloned().chain(choices).any(|method| method.needs_domain(self.start))
    }

    /// The settings on a data set.
    pub fn config_on(&self, name: &str) -> Config {
        let mut config = self.config.clone();
        let own = self.data.iter().find(|data| data.name == name).and_then(|data| data.learning_rate);
        config.training.learning_rate = own.unwrap_or(config.training.learning_rate);
        config
    }

    fn rule(&self, data: &DataSet) -> PeriodRule {
        PeriodRule { periods: data.periods.unwrap_or(self.periods.periods), ..self.periods }
    }
}

/// A user of a data set: how their stream was cut, or why not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SuiteUser {
    /// The user.
    pub user: UserId,
    /// Their texts.
    pub texts: usize,
    /// Periods, at most as many as asked for; 0 for a user who is left out.
    pub periods: usize,
    /// Why they are left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub excluded: Option<String>,
    /// Whether settings are chosen on them or reported on them, in a suite that chooses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub half: Option<Half>,
}

/// A data set, ready to be run on.
struct LoadedData {
    name: String,
    task: Option<Task>,
    users: Vec<(UserId, Vec<Split>)>,
    /// Texts of users that are not evaluated: their first periods, or all where they have no two
    /// periods.
    domain: Vec<StoredInteraction>,
    domain_users: usize,
    /// How many of these would have been evaluated, had there been others to learn the domain from.
    kept_back: usize,
    considered: Vec<SuiteUser>,
    /// Users with too few texts to be looked at.
    too_few: usize,
}

impl LoadedData {
    /// Where all users would be evaluated, the third with fewest texts teaches the domain adapter
    /// instead, if `least` users remain.
    fn keep_back(&mut self, least: usize) {
        let taken = (self.users.len() / 3).max(1);
        if self.users.len() < least + taken {
            return;
        }
        for (user, mut splits) in self.users.split_off(self.users.len() - taken) {
            self.domain.append(&mut splits.swap_remove(0).train);
            let kept = self.considered.iter_mut().filter(|considered| considered.user == user);
            kept.for_each(|user| {
                (user.periods, user.excluded) = (0, Some(KEPT_BACK.into()));
            });
        }
        (self.domain_users, self.kept_back) = (taken, taken);
    }
}

/// Why a user is not evaluated whom the domain adapter needs.
const KEPT_BACK: &str = "kept back: the domain adapter learns from them, as from no one else it could";

fn load_data(suite: &Suite, data: &DataSet) -> Result<LoadedData> {
    let path = Path::new(&data.path);
    let rule = suite.rule(data);
    let least = 2 * (rule.min_train + rule.min_test);
    let mut counts: Vec<(UserId, usize)> = text_counts(path)?.into_iter().collect();
    let known = counts.len();
    let too_few = counts.iter().filter(|(_, count)| *count < least).count();
    // Most texts first; users of equal count in the order of their names, so that a run can be
    // repeated.
    counts.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    // Some may turn out to be no use.
    counts.truncate(data.skip + 2 * data.users + data.domain_users);
    let wanted: HashSet<&UserId> = counts.iter().map(|(user, _)| user).collect();
    let streams = read_streams(path, data.outputs.as_deref().map(Path::new), &|user| wanted.contains(user))?;
    let task = match open(path)?.format() {
        Format::Questions(task) | Format::History(task) => task,
        _ => None,
    };
    let mut loaded = LoadedData {
        name: data.name.clone(),
        task,
        users: vec![],
        domain: vec![],
        domain_users: 0,
        kept_back: 0,
        considered: vec![],
        too_few,
    };
    for (rank, (user, count)) in counts.iter().enumerate() {
        let Some(stream) = streams.iter().find(|stream| stream.user == *user) else { continue };
        let latest = stream.texts.len().saturating_sub(data.texts.unwrap_or(usize::MAX));
        let texts = &stored(stream)[latest..];
        let cut = rule.cut(texts);
        if rank >= data.skip && loaded.users.len() < data.users && *count >= least {
            let (periods, excluded) = match &cut {
                Ok(splits) => (splits.len(), None),
                Err(reason) => (0, Some(reason.clone())),
            };
            loaded.considered.push(SuiteUser {
                user: user.clone(),
                texts: texts.len(),
                periods,
                excluded,
                half: None,
            });
            if let Ok(splits) = cut {
                loaded.users.push((user.clone(), splits));
                continue;
            }
        }
        if loaded.domain_users < data.domain_users {
            loaded.domain.append(&mut match cut {
                Ok(mut splits) => splits.swap_remove(0).train,
                Err(_) => texts.to_vec(),
            });
            loaded.domain_users += 1;
        }
    }
    if suite.needs_domain() && loaded.domain.is_empty() {
        loaded.keep_back(if suite.choose.is_empty() { 1 } else { 2 });
    }
    if !suite.choose.is_empty() && loaded.users.len() == 1 {
        let reason = "only one user can be evaluated; choosing on one half of the users takes two".into();
        return Err(Error::File { file: data.path.clone(), reason });
    }
    if loaded.users.is_empty() {
        let reason = format!(
            "no user has two periods of {} training and {} test texts ({too_few} of {known} have \
             too few texts)",
            rule.min_train, rule.min_test
        );
        return Err(Error::File { file: data.path.clone(), reason });
    }
    if suite.start == Start::Domain && loaded.domain.is_empty() {
        let reason = "everyone starts from the domain adapter, and too few users can be evaluated \
                      to keep one back for it";
        return Err(Error::File { file: data.path.clone(), reason: reason.into() });
    }
    Ok(loaded)
}
