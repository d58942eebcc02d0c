//! The methods of a comparison: a kind, and settings of its own after a colon, as in
//! `spring:alpha=0.25,training.epochs=4`. Kinds are data; what they do is a [`Strategy`].

use std::{fmt, str::FromStr, sync::Arc};

use serde::Serialize;
use spring_core::{Config, NoveltyReference, spring_fuse::Tail};

use super::strategy::{Domain, FromTexts, Frozen, Prompt, Spring, Strategy};
use crate::{Error, Program, Reads, Result, Start, Trains};

type Make = dyn Fn() -> Box<dyn Strategy> + Send + Sync;

/// A kind of method: a name, what is known of it beforehand, and the [`Strategy`] behind it.
///
/// One of your own is registered with [`Methods::register`]; `examples/own_method.rs` shows it.
#[derive(Clone)]
#[non_exhaustive]
pub struct MethodKind {
    /// The name in suites and files.
    pub name: String,
    /// The name in tables.
    pub label: String,
    /// What it trains on, which decides what a run of it is estimated to cost.
    pub trains: Trains,
    /// What it reads beside the prompt.
    pub reads: Reads,
    /// Beginnings of the names of the settings that change something of it. A method refuses all
    /// others, so that no two rows of a table are the same by accident.
    pub settings: Vec<String>,
    /// Settings that it has unless a method says otherwise, each a change for
    /// [`Config::with_changes`].
    pub defaults: Vec<String>,
    starts: Starts,
    does: Does,
}

/// What is behind a kind.
#[derive(Clone)]
enum Does {
    /// A strategy, made anew for each user, seed and budget.
    Strategy(Arc<Make>),
    /// A program, which has no losses.
    Program(Arc<Program>),
}

/// Where a kind's adapter comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Starts {
    /// From the run's starting point, or the method's own.
    Anywhere,
    /// From the run's starting point alone.
    WithTheRun,
    /// It has none.
    Nowhere,
    /// It is the domain adapter.
    AtDomain,
    /// It is lent by other users.
    WithOthers,
}

impl fmt::Debug for MethodKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MethodKind").field("name", &self.name).finish_non_exhaustive()
    }
}

impl MethodKind {
    /// A kind that trains an adapter on texts of every period, reads nothing beside the prompt,
    /// and has the settings of training and of the adapter's shape. `make` gives its strategy,
    /// once for each user, seed and budget.
    pub fn new<S: Strategy + 'static>(
        name: &str,
        label: &str,
        make: impl Fn() -> S + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.to_owned(),
            label: label.to_owned(),
            trains: Trains::Everything,
            reads: Reads::Nothing,
            settings: ["training", "lora"].map(str::to_owned).to_vec(),
            defaults: vec![],
            starts: Starts::Anywhere,
            does: Does::Strategy(Arc::new(move || Box::new(make()))),
        }
    }

    /// A program. It trains and reads nothing that could be counted, and has no settings.
    pub fn program(program: Program) -> Self {
        Self {
            name: program.name.clone(),
            label: program.label.clone().unwrap_or_else(|| program.name.clone()),
            trains: Trains::Nothing,
            reads: Reads::Nothing,
            settings: vec![],
            defaults: vec![],
            starts: Starts::Nowhere,
            does: Does::Program(Arc::new(program)),
        }
    }

    /// Another estimate of what it trains on.
    #[must_use]
    pub fn with_trains(self, trains: Trains) -> Self {
        let starts = if trains == Trains::Nothing { Starts::Nowhere } else { self.starts };
        Self { trains, starts, ..self }
    }

    /// Something else that it reads beside the prompt.
    #[must_use]
    pub fn with_reads(self, reads: Reads) -> Self {
        Self { reads, ..self }
    }

    /// Other settings that change something of it, by the beginnings of their names.
    #[must_use]
    pub fn with_settings(self, settings: &[&str]) -> Self {
        Self { settings: settings.iter().map(|name| (*name).to_owned()).collect(), ..self }
    }

    /// Settings that it has unless a method says otherwise, such as `training.anchor=10`.
    #[must_use]
    pub fn with_defaults(self, defaults: &[&str]) -> Self {
        Self { defaults: defaults.iter().map(|name| (*name).to_owned()).collect(), ..self }
    }

    fn starting(self, starts: Starts) -> Self {
        Self { starts, ..self }
    }
}

const DRIFT: [&str; 6] = ["drift", "buffer", "bm25", "retrieval", "training", "lora"];
const SPRING: [&str; 8] =
    ["drift", "buffer", "bm25", "retrieval", "training", "lora", "gate", "fusion"];
const READING: [&str; 3] = ["gate", "bm25", "retrieval"];
/// What a method has more of with SPRInG's retrieval: gate and mixture, and what is searched how.
const LENT: [&str; 5] = ["gate", "fusion", "bm25", "retrieval", "buffer"];
/// Those of them that decide what is lent.
const BANK: [&str; 3] = ["bm25", "retrieval", "buffer"];
const RANDOM: [&str; 4] = ["training", "lora", "drift.selection", "drift.cold_start"];

fn built_in() -> Vec<MethodKind> {
    let texts = |name: &str, label: &str, trains: Trains| {
        MethodKind::new(name, label, move || FromTexts::new(trains)).with_trains(trains)
    };
    let nothing = |kind: MethodKind| kind.with_trains(Trains::Nothing).with_settings(&[]);
    let prompt = |name: &str, label: &str, make: fn() -> Prompt| {
        let kind = nothing(MethodKind::new(name, label, make)).with_reads(Reads::Prompt);
        kind.with_settings(&READING)
    };
    let spring = |name: &str, label: &str, reads: Reads, settings: &[&str]| {
        let kind = MethodKind::new(name, label, move || Spring::reading(reads)).with_reads(reads);
        kind.with_trains(Trains::Selection).with_settings(settings)
    };
    vec![
        nothing(MethodKind::new("base", "base", || Frozen)),
        nothing(MethodKind::new("domain", "domain adapter", Domain::default))
            .starting(Starts::AtDomain),
        nothing(MethodKind::new("other_user", "another user's", || Frozen))
            .starting(Starts::WithOthers),
        prompt("rag", "BM25 in the prompt", Prompt::found),
        prompt("recency", "latest in the prompt", Prompt::latest),
        texts("static", "static (period 1)", Trains::First),
        texts("everything", "everything", Trains::Everything),
        texts("random", "random, same count", Trains::AsManyTexts).with_settings(&RANDOM),
        // How many tokens SPRInG selects from another start is not known without running it.
        texts("random_tokens", "random, same tokens", Trains::AsManyTokens)
            .starting(Starts::WithTheRun),
        texts("replay", "everything, replay", Trains::Replay),
        texts("cumulative", "cumulative retraining", Trains::SoFar),
        texts("l2", "everything, L2 to the last", Trains::Everything)
            .with_defaults(&["training.anchor=10"]),
        spring("spring_adapter", "SPRInG, adapter only", Reads::Nothing, &DRIFT),
        spring("spring", "SPRInG", Reads::Buffer, &SPRING),
    ]
}

/// Ablations: names for settings of SPRInG.
const ABLATIONS: [(&str, &str, &str); 8] = [
    ("no_novelty", "SPRInG without novelty", "spring:alpha=inf"),
    ("no_quality", "SPRInG without quality", "spring:alpha=0"),
    ("no_gate", "SPRInG, gate always open", "spring:gate=always"),
    ("random_buffer", "SPRInG, random buffer", "spring:buffer=reservoir"),
    ("logit", "SPRInG, logit space", "spring:space=logit"),
    ("adaptive_lambda", "SPRInG, adaptive λ", "spring:lambda=divergence"),
    ("adaptive_selection", "SPRInG, adaptive selection", "spring:drift.selection=adaptive"),
    ("standardized", "SPRInG, standardised terms", "spring:standardize=period"),
];

/// Short names of settings, and what each changes; `{}` is the value.
const SHORT: [(&str, &[&str]); 21] = [
    ("scorer", &["drift.scorer={}"]),
    ("reference", &["drift.reference={}"]),
    ("alpha", &["drift.scorer.alpha={}"]),
    ("standardize", &["drift.scorer.standardize={}"]),
    ("length", &["drift.length={}"]),
    ("rho", &["drift.selection=top_fraction", "drift.selection.fraction={}"]),
    ("capacity", &["buffer.capacity={}"]),
    ("buffer", &["buffer.policy={}"]),
    ("bank", &["buffer.bank={}"]),
    ("retriever", &["retrieval.retriever={}"]),
    ("half_life", &["retrieval.half_life={}"]),
    ("lambda", &["fusion.lambda={}"]),
    ("space", &["fusion.space={}"]),
    ("contrast", &["fusion.contrast.weight={}"]),
    ("plausibility", &["fusion.contrast.plausibility={}"]),
    ("gate", &["gate={}"]),
    ("sigma", &["gate.quantile={}"]),
    ("learning_rate", &["training.learning_rate={}"]),
    ("epochs", &["training.epochs={}"]),
    ("strength", &["training.anchor={}"]),
    ("weights", &["training.token_weights={}"]),
];

/// A setting of a method that is not of the configuration: what its adapter starts from.
const START: &str = "start";

/// Another one: the variant of SPRInG whose bank a method with retrieval reads.
const LIKE: &str = "like";

const RETRIEVAL: &str = "+retrieval";

/// The kinds of methods that names are looked up in: the built-in ones, and those of your own.
#[derive(Debug, Clone)]
pub struct Methods {
    kinds: Vec<Arc<MethodKind>>,
}

impl Default for Methods {
    fn default() -> Self {
        Self { kinds: built_in().into_iter().map(Arc::new).collect() }
    }
}

impl Methods {
    /// Adds a kind of your own.
    ///
    /// # Errors
    ///
    /// [`Error::Method`] if the name is taken, empty, or holds one of `:` `,` `=` `+`.
    pub fn register(&mut self, kind: MethodKind) -> Result<()> {
        let taken = self.kinds.iter().any(|known| known.name == kind.name)
            || ABLATIONS.iter().any(|ablation| ablation.0 == kind.name);
        let reason = match kind.name.as_str() {
            "" => "the name of a kind of method is not empty",
            name if name.contains([':', ',', '=', '+']) => {
                "the name of a kind of method holds none of : , = +"
            }
            _ if taken => "there is a method of this name",
            _ => {
                self.kinds.push(Arc::new(kind));
                return Ok(());
            }
        };
        Err(Error::Method { name: kind.name, reason: reason.into() })
    }

    /// The names that can be used, in words.
    pub fn help(&self) -> String {
        let kinds: Vec<&str> = self.kinds.iter().map(|kind| kind.name.as_str()).collect();
        let ablations: Vec<&str> = ABLATIONS.iter().map(|ablation| ablation.0).collect();
        let short: Vec<&str> = SHORT.iter().map(|short| short.0).collect();
        format!(
            "methods are {}; the adapter methods also with \"{RETRIEVAL}\"; ablations are {}; \
             settings follow a colon: start=base or start=domain, with retrieval \
             like=(spring:...), any setting of the configuration such as training.epochs=4, or its \
             short name: {}",
            kinds.join(", "),
            ablations.join(", "),
            short.join(", "),
        )
    }

    /// The method of a name: `kind`, `kind+retrieval` (the adapter of that kind with SPRInG's
    /// retrieval), or either with settings, as in `spring:alpha=0.25,rho=0.1`. With retrieval,
    /// `like=(spring:...)` names the variant of SPRInG that is followed: its bank is read as it
    /// reads it itself, and methods that take as many texts as SPRInG take as many as it does.
    ///
    /// # Errors
    ///
    /// [`Error::Method`] for an unknown kind, and for a setting that the kind does not have or that
    /// is out of range.
    pub fn parse(&self, name: &str) -> Result<Method> {
        let fail = |reason: String| Error::Method { name: name.to_owned(), reason };
        let ablation = ABLATIONS.iter().find(|ablation| ablation.0 == name);
        let spelled = ablation.map_or(name, |ablation| ablation.2);
        let (spelled_kind, settings) = spelled.split_once(':').unwrap_or((spelled, ""));
        let (kind, with_retrieval) = match spelled_kind.strip_suffix(RETRIEVAL) {
            Some(kind) => (kind, true),
            None => (spelled_kind, false),
        };
        let Some(kind) = self.kinds.iter().find(|known| known.name == kind) else {
            return Err(fail(format!("there is no such method; {}", self.help())));
        };
        let is_whole = kind.reads != Reads::Nothing || matches!(kind.does, Does::Program(_));
        if with_retrieval && is_whole {
            let reason = format!("{} cannot be combined with SPRInG's retrieval", kind.name);
            return Err(fail(reason));
        }
        let mut method = Method {
            name: name.to_owned(),
            label: ablation.map_or(String::new(), |ablation| ablation.1.to_owned()),
            kind: Arc::clone(kind),
            with_retrieval,
            like: None,
            settings: vec![],
        };
        for setting in settings_of(settings).filter(|setting| !setting.is_empty()) {
            method.set(setting)?;
        }
        method.checked()
    }
}

/// One method: a kind with settings of its own. See [`Methods::parse`].
#[derive(Debug, Clone, Serialize)]
#[serde(into = "String")]
pub struct Method {
    name: String,
    label: String,
    kind: Arc<MethodKind>,
    with_retrieval: bool,
    /// The variant of SPRInG that it follows, if it names one.
    like: Option<Box<Method>>,
    /// As they are spelled.
    settings: Vec<(String, String)>,
}

impl Method {
    /// The name in files and arguments.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name in tables.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The kind.
    pub fn kind(&self) -> &MethodKind {
        &self.kind
    }

    /// SPRInG with its retrieval and no settings of its own.
    pub(crate) fn spring() -> Result<Self> {
        "spring".parse()
    }

    /// Whether it is one of SPRInG's variants.
    pub fn is_spring(&self) -> bool {
        self.kind.trains == Trains::Selection
    }

    /// Whether it is scored with other users' adapters, after theirs are there.
    pub(crate) fn is_of_others(&self) -> bool {
        self.kind.starts == Starts::WithOthers
    }

    /// Whether it is another method's adapter with SPRInG's retrieval.
    pub(crate) fn has_lent_bank(&self) -> bool {
        self.with_retrieval
    }

    /// The variant of SPRInG that it names to follow.
    pub(crate) fn like(&self) -> Option<&Self> {
        self.like.as_deref()
    }

    /// The variant of SPRInG whose bank it reads; `None` where that is SPRInG with the settings of
    /// the comparison, and where it reads no bank or one of its own.
    pub(crate) fn lender(&self) -> Result<Option<Self>> {
        if let Some(like) = &self.like {
            return Ok(Some((**like).clone()));
        }
        let settings: Vec<String> = self
            .settings
            .iter()
            .filter(|(key, value)| self.with_retrieval && is_of(&BANK, key, value))
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        match settings.is_empty() {
            true => Ok(None),
            false => Self::spring()?.with(&settings.join(",")).map(Some),
        }
    }

    /// Whether it can be run beside a choice: it learns or reads by itself.
    pub(crate) fn is_paired(&self) -> bool {
        !self.is_of_others() && self.program().is_none()
    }

    /// The same method beside one that was chosen: with its settings, as far as this method has
    /// them and says nothing else. With retrieval it follows a variant of SPRInG that was chosen.
    ///
    /// # Errors
    ///
    /// [`Error::Method`] if the settings do not go together.
    pub(crate) fn paired_with(&self, chosen: &Self) -> Result<Self> {
        let follows = self.with_retrieval && chosen.is_spring();
        let mut settings = Vec::new();
        for (key, value) in &chosen.settings {
            let is_said = || self.settings.iter().any(|(own, _)| own == key);
            let is_lent = || follows && is_of(&LENT, key, value);
            // How many texts are taken is that of the variant, too.
            let is_share = || follows && is_of(&["drift"], key, value);
            if self.has(key, value) && !is_said() && !is_lent() && !is_share() {
                settings.push(format!("{key}={value}"));
            }
        }
        if follows && self.like.is_none() {
            settings.push(format!("{LIKE}=({})", chosen.name));
        }
        if settings.is_empty() { Ok(self.clone()) } else { self.with(&settings.join(",")) }
    }

    /// What it reads beside the prompt.
    pub fn reads(&self) -> Reads {
        if self.with_retrieval { Reads::Buffer } else { self.kind.reads }
    }

    /// What its adapter starts from, if it says so.
    pub fn start(&self) -> Option<Start> {
        let (_, value) = self.settings.iter().find(|(key, _)| key == START)?;
        Some(if value == Start::Domain.name() { Start::Domain } else { Start::Base })
    }

    /// Whether its adapter is or starts from the domain adapter, where everyone starts from `start`
    /// unless a method says otherwise.
    pub(crate) fn starts_at_domain(&self, start: Start) -> bool {
        match self.kind.starts {
            Starts::Nowhere | Starts::WithOthers => false,
            Starts::AtDomain => true,
            Starts::Anywhere | Starts::WithTheRun => self.start().unwrap_or(start) == Start::Domain,
        }
    }

    /// Whether it needs a domain adapter: to start from, or to measure novelty against, as it is a
    /// population's adapter here.
    pub(crate) fn needs_domain(&self, start: Start, config: &Config) -> bool {
        let measures = || {
            let own = self.configure(config);
            own.is_ok_and(|own| own.drift.reference == NoveltyReference::Population)
        };
        self.starts_at_domain(start)
            || self.is_spring() && measures()
            || self.like.as_ref().is_some_and(|like| like.needs_domain(start, config))
    }

    /// A fresh strategy of its kind; a program has none.
    pub(crate) fn strategy(&self) -> Option<Box<dyn Strategy>> {
        match &self.kind.does {
            Does::Strategy(make) => Some(make()),
            Does::Program(_) => None,
        }
    }

    /// The program that it is, if it is one: it has no losses, only scores of its texts.
    pub fn program(&self) -> Option<&Program> {
        match &self.kind.does {
            Does::Strategy(_) => None,
            Does::Program(program) => Some(program),
        }
    }

    /// The same method with one setting more, written `key=value`, or another value of one that it
    /// has; several are separated by commas.
    ///
    /// # Errors
    ///
    /// [`Error::Method`] if the method cannot have that setting.
    pub fn with(&self, settings: &str) -> Result<Self> {
        let mut changed = Self { label: String::new(), ..self.clone() };
        for setting in settings_of(settings) {
            changed.set(setting)?;
        }
        changed.name = changed.spelled();
        changed.checked()
    }

    /// Its settings over those of a comparison.
    ///
    /// # Errors
    ///
    /// [`Error::Method`] if one of them does not fit the others or is out of range, and for a
    /// contrast with the base that drops its tail: the loss of a text would be infinite.
    pub fn configure(&self, config: &Config) -> Result<Config> {
        let all: Vec<String> = self.kind.defaults.iter().cloned().chain(self.changes()).collect();
        let fail = |reason: String| Error::Method { name: self.name.clone(), reason };
        let mut config = config.clone();
        if let Some(like) = &self.like {
            let read = like.configure(&config)?;
            (config.gate, config.fusion) = (read.gate, read.fusion);
            (config.bm25, config.retrieval, config.buffer) =
                (read.bm25, read.retrieval, read.buffer);
        }
        let config = config.with_changes(&all).map_err(|error| fail(error.to_string()))?;
        if config.fusion.contrasting().is_some_and(|contrast| contrast.tail == Tail::Drop) {
            let reason = "fusion.contrast.tail=drop gives known texts no finite loss; keep the \
                          tail in an evaluation";
            return Err(fail(reason.into()));
        }
        Ok(config)
    }

    /// Whether it has a rule of selection of its own, whatever SPRInG takes.
    pub(crate) fn has_own_share(&self) -> bool {
        self.changes().any(|change| change.starts_with("drift."))
    }

    /// What its own settings change of a configuration.
    fn changes(&self) -> impl Iterator<Item = String> {
        let own = self.settings.iter().filter(|(key, _)| key != START && key != LIKE);
        own.flat_map(|(key, value)| changes(key, value))
    }

    fn set(&mut self, setting: &str) -> Result<()> {
        let fail = |reason: String| Error::Method { name: self.name.clone(), reason };
        let (key, value) = setting
            .split_once('=')
            .ok_or_else(|| fail(format!("a setting is written key=value, not {setting:?}")))?;
        let (key, value) = (key.trim(), value.trim());
        if self.program().is_some() {
            return Err(fail("a program has no settings; give them in its command".into()));
        }
        if !self.has(key, value) {
            return Err(fail(format!(
                "there is no setting {key:?} of it; {}",
                self.settings_help()
            )));
        }
        if key == START && ![Start::Base, Start::Domain].map(Start::name).contains(&value) {
            return Err(fail(format!("{key}={value}: expected base or domain")));
        }
        if key == LIKE {
            let inside = value.strip_prefix('(').and_then(|value| value.strip_suffix(')'));
            let like: Self = inside
                .unwrap_or(value)
                .parse::<Self>()
                .map_err(|error| fail(format!("{key}: {error}")))?;
            if !like.is_spring() {
                let reason = format!(
                    "{key}={value}: expected a variant of spring, as in \
                                      {LIKE}=(spring:gate=always,rho=0.1)"
                );
                return Err(fail(reason));
            }
            self.like = Some(Box::new(like));
        }
        self.settings.retain(|(known, _)| known != key);
        self.settings.push((key.to_owned(), value.to_owned()));
        Ok(())
    }

    /// Whether a setting changes something of this method.
    fn has(&self, key: &str, value: &str) -> bool {
        match key {
            START => self.kind.starts == Starts::Anywhere,
            LIKE => self.with_retrieval,
            _ => is_of(&self.settings_names(), key, value),
        }
    }

    /// Beginnings of the names of the settings that change something of it. What is generated
    /// depends on `decoding`, whatever was learned; and what was learned in an adapter of its own
    /// can be contrasted with the base.
    fn settings_names(&self) -> Vec<&str> {
        let has_adapter = matches!(self.kind.starts, Starts::Anywhere | Starts::WithTheRun);
        let mixes: &[&str] = match self.with_retrieval {
            true => &LENT,
            false if self.reads() == Reads::Nothing && has_adapter => &["fusion.contrast"],
            false => &[],
        };
        let own = self.kind.settings.iter().map(String::as_str);
        own.chain(mixes.iter().copied()).chain(["decoding"]).collect()
    }

    fn settings_help(&self) -> String {
        let short: Vec<&str> =
            SHORT.iter().map(|short| short.0).filter(|name| self.has(name, "")).collect();
        let start = match (self.kind.starts == Starts::Anywhere, self.with_retrieval) {
            (true, true) => ", and start and like",
            (true, false) => ", and start",
            (false, true) => ", and like",
            (false, false) => "",
        };
        let short = if short.is_empty() {
            String::new()
        } else {
            format!(", for short {}", short.join(", "))
        };
        let names = self.settings_names().join(", ");
        format!("its settings are those of {names}{short}{start}")
    }

    fn spelled(&self) -> String {
        let retrieval = if self.with_retrieval { RETRIEVAL } else { "" };
        let settings = self.spelled_settings("=").join(",");
        let colon = if settings.is_empty() { "" } else { ":" };
        format!("{}{retrieval}{colon}{settings}", self.kind.name)
    }

    /// Its settings as words.
    fn spelled_settings(&self, between: &str) -> Vec<String> {
        let spelled = |(key, value): &(String, String)| format!("{key}{between}{value}");
        self.settings.iter().map(spelled).collect()
    }

    /// With its label, unless its settings are out of range.
    fn checked(mut self) -> Result<Self> {
        self.configure(&Config::default())?;
        let searched = self.settings.iter().find(|(key, value)| is_of(&BANK, key, value));
        if let (Some(_), Some((key, value))) = (&self.like, searched) {
            let reason = format!(
                "{LIKE} says what is searched and how: {key}={value} belongs \
                                  inside of its parentheses"
            );
            return Err(Error::Method { name: self.name, reason });
        }
        if self.label.is_empty() {
            let retrieval = if self.with_retrieval { " + retrieval" } else { "" };
            let settings = self.spelled_settings(" ").join(", ");
            let comma = if settings.is_empty() { "" } else { ", " };
            self.label = format!("{}{retrieval}{comma}{settings}", self.kind.label);
        }
        Ok(self)
    }
}

/// The settings between the commas; those inside of brackets belong to a list, and those inside of
/// parentheses to another method.
fn settings_of(settings: &str) -> impl Iterator<Item = &str> {
    let (mut open, mut of_another) = (0usize, false);
    settings.split(move |c| {
        match c {
            '[' | '{' => open += 1,
            ']' | '}' => open = open.saturating_sub(1),
            '(' if open == 0 => of_another = true,
            ')' if open == 0 => of_another = false,
            _ => {}
        }
        c == ',' && open == 0 && !of_another
    })
}

/// Whether all that a setting changes is of some parts of the configuration, given by the
/// beginnings of their names.
fn is_of(names: &[&str], key: &str, value: &str) -> bool {
    let is_within = |change: &String| {
        let rest = |name: &&str| change.strip_prefix(name);
        names.iter().filter_map(rest).any(|rest| rest.starts_with(['.', '=']))
    };
    changes(key, value).iter().all(is_within)
}

/// What a setting changes of a configuration.
fn changes(key: &str, value: &str) -> Vec<String> {
    match SHORT.iter().find(|short| short.0 == key) {
        Some((_, changes)) => changes.iter().map(|change| change.replace("{}", value)).collect(),
        None => vec![format!("{key}={value}")],
    }
}

/// Two methods are the same if they are spelled alike: a name says everything.
impl PartialEq for Method {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl FromStr for Method {
    type Err = Error;

    /// One of the built-in methods.
    fn from_str(name: &str) -> Result<Self> {
        Methods::default().parse(name)
    }
}

impl From<Method> for String {
    fn from(method: Method) -> Self {
        method.name
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use spring_core::{
        BankKind, RetrieverKind, TextLength,
        spring_drift::{Alpha, ScorerConfig, Selection},
        spring_fuse::{Contrast, GateConfig, Lambda, Otherwise},
        spring_memory::BufferPolicyConfig,
    };
    use spring_lm::{Projection, TokenWeights};

    use super::*;

    fn config_of(name: &str) -> Config {
        name.parse::<Method>().unwrap().configure(&Config::default()).unwrap()
    }

    #[test]
    fn every_name_is_understood_and_configures() {
        let kinds = built_in().into_iter().map(|kind| kind.name);
        for name in kinds.chain(ABLATIONS.iter().map(|ablation| ablation.0.to_owned())) {
            let method: Method = name.parse().unwrap();
            assert_eq!(method.name(), name);
            method.configure(&Config::default()).unwrap();
        }
        assert_eq!("spring".parse::<Method>().unwrap(), Method::spring().unwrap());
        let method: Method = "spring:rho=0.1,alpha=2".parse().unwrap();
        let config = method.configure(&Config::default()).unwrap();
        assert_eq!(config.drift.selection, Selection::TopFraction { fraction: 0.1 });
        assert_eq!(method.label(), "SPRInG, rho 0.1, alpha 2");
        let retrieval: Method = "everything+retrieval".parse().unwrap();
        assert_eq!(
            (retrieval.kind().trains, retrieval.reads()),
            (Trains::Everything, Reads::Buffer)
        );
        let tuned: Method = "everything:learning_rate=3e-3,epochs=4,start=domain".parse().unwrap();
        let training = tuned.configure(&Config::default()).unwrap().training;
        assert_eq!((training.learning_rate, training.epochs), (3e-3, 4));
        assert_eq!((tuned.start(), method.start()), (Some(Start::Domain), None));
        assert_eq!(
            tuned.with("epochs=2").unwrap().name(),
            "everything:learning_rate=3e-3,start=domain,epochs=2"
        );
        assert_eq!(retrieval.with("sigma=0").unwrap().name(), "everything+retrieval:sigma=0");
        assert_eq!(
            "no_quality".parse::<Method>().unwrap().with("rho=0.5").unwrap().name(),
            "spring:alpha=0,rho=0.5"
        );
        let small = "spring:capacity=40,rho=0.5".parse::<Method>().unwrap();
        assert_eq!(
            small.with("capacity=20,buffer=reservoir").unwrap().name(),
            "spring:rho=0.5,capacity=20,buffer=reservoir"
        );
        assert!(tuned.with("alpha=2").is_err() && tuned.with("epochs").is_err());
    }

    #[test]
    fn settings_reach_the_configuration_by_short_and_by_full_names() {
        assert_eq!(config_of("spring:length=bytes").drift.length, TextLength::Bytes);
        assert_eq!(config_of("l2").training.anchor, 10.0);
        assert_eq!(config_of("l2:strength=0.5").training.anchor, 0.5);
        assert_eq!(config_of("everything").training.anchor, 0.0);
        let ScorerConfig::Spring { alpha, .. } = config_of("no_novelty").drift.scorer else {
            panic!()
        };
        assert_eq!(alpha, Alpha::new(f64::INFINITY).unwrap());
        let reservoir = BufferPolicyConfig::Reservoir { seed: 0 };
        assert_eq!(config_of("random_buffer").buffer.policy, reservoir);
        assert!(matches!(config_of("no_gate").gate, GateConfig::Always { .. }));
        assert!(matches!(
            config_of("spring:sigma=0.5").gate,
            GateConfig::Quantile { quantile, .. } if quantile == 0.5
        ));
        let contrast = |name: &str| config_of(name).fusion.contrasting();
        assert_eq!(contrast("spring"), None);
        assert_eq!(contrast("spring:contrast=0"), None);
        let quarter = Contrast::default().with_weight(0.25);
        assert_eq!(contrast("spring:contrast=0.25"), Some(quarter));
        assert_eq!(contrast("everything:fusion.contrast=0.25"), Some(quarter));
        for name in ["spring", "spring_adapter", "everything", "random_tokens+retrieval"] {
            let both = contrast(&format!("{name}:plausibility=0.3,contrast=0.25"));
            assert_eq!(both, Some(quarter.with_plausibility(0.3)), "{name}");
        }
        assert_eq!(config_of("spring:epochs=4"), config_of("spring:training.epochs=4"));
        assert_eq!(config_of("spring:lora.rank=2").lora.rank, 2);
        let reach = config_of(r#"everything:lora.targets=["q_proj", "o_proj"],lora.alpha=2"#).lora;
        assert_eq!((reach.targets, reach.alpha), (vec![Projection::Q, Projection::O], 2.0));
        let population = config_of("spring:reference=population").drift.reference;
        assert_eq!(population, NoveltyReference::Population);
        let ahead = |recent| ScorerConfig::Lookahead { steps: 1, recent };
        assert_eq!(config_of("spring:scorer=lookahead").drift.scorer, ahead(4));
        let further = config_of("spring:scorer=lookahead,drift.scorer.recent=8");
        assert_eq!(further.drift.scorer, ahead(8));
        for method in ["spring:weights=unrecalled", "everything:weights=unrecalled"] {
            assert_eq!(config_of(method).training.token_weights, TokenWeights::Unrecalled);
        }
        assert_eq!(config_of("spring:strength=2").training.anchor, 2.0);
        let often = config_of("spring:rho=0.1,epochs=6");
        assert_eq!(often.drift.selection, Selection::TopFraction { fraction: 0.1 });
        assert_eq!(often.training.epochs, 6);
        assert_eq!(config_of("base:decoding.max_new_tokens=5").decoding.max_new_tokens, Some(5));
        let calibrated = config_of("spring:gate=calibrated,lambda=calibrated,bank=history");
        let gate = GateConfig::Calibrated { k: 2, min_texts: 8, otherwise: Otherwise::default() };
        assert_eq!(calibrated.gate, gate);
        assert_eq!(calibrated.fusion.lambda, Lambda::Calibrated { otherwise: 0.5 });
        assert_eq!(calibrated.buffer.bank, BankKind::History);
        let lent = config_of("random+retrieval:gate=calibrated,lambda=calibrated");
        assert_eq!((lent.gate, lent.fusion.lambda), (gate, calibrated.fusion.lambda));
        let latest = config_of("spring:retriever=latest,half_life=8").retrieval;
        assert_eq!((latest.retriever, latest.half_life), (RetrieverKind::Latest, Some(8.0)));
        // A rule of selection in the suite's own settings gives way to a share of a method's own.
        let config = Config::default().with_changes(&["drift.selection=adaptive"]).unwrap();
        let share = "spring:rho=0.2".parse::<Method>().unwrap().configure(&config).unwrap();
        assert_eq!(share.drift.selection, Selection::TopFraction { fraction: 0.2 });
    }

    #[test]
    fn what_a_lent_bank_is_searched_by_is_a_setting_of_the_method() {
        let own = "random+retrieval:bank=history,retriever=latest,half_life=8,capacity=20,\
                   buffer=reservoir,bm25.k1=2,gate=always";
        let config = config_of(own);
        assert_eq!(config.buffer.bank, BankKind::History);
        assert_eq!((config.buffer.capacity, config.bm25.k1), (20, Some(2.0)));
        assert_eq!(config.buffer.policy, BufferPolicyConfig::Reservoir { seed: 0 });
        let retrieval = config.retrieval;
        assert_eq!((retrieval.retriever, retrieval.half_life), (RetrieverKind::Latest, Some(8.0)));
        // Whose bank it is: SPRInG's with just those settings.
        let lender = |name: &str| -> Option<String> {
            let lender = name.parse::<Method>().unwrap().lender().unwrap();
            lender.map(|lender| lender.name().to_owned())
        };
        let same = "spring:bank=history,retriever=latest,half_life=8,capacity=20,\
                    buffer=reservoir,bm25.k1=2";
        assert_eq!(lender(own).as_deref(), Some(same));
        // Gate and mixture change nothing of a bank, nor does what the adapter learns.
        for name in ["random+retrieval", "everything+retrieval:gate=always,epochs=4", "spring"] {
            assert_eq!(lender(name), None, "{name}");
        }
    }

    #[test]
    fn a_method_that_follows_a_variant_reads_as_that_one_does() {
        let name = "random+retrieval:like=(spring:gate=always,lambda=0.7,bank=history,alpha=2),\
                    epochs=4,lambda=0.2";
        let (followed, config) =
            (config_of("spring:gate=always,lambda=0.7,bank=history,alpha=2"), config_of(name));
        assert_eq!((config.gate, &config.buffer), (followed.gate, &followed.buffer));
        assert_eq!((&config.bm25, &config.retrieval), (&followed.bm25, &followed.retrieval));
        // Its own settings count more, and those of learning are its own alone.
        assert_eq!(config.fusion.lambda, Lambda::Fixed(0.2));
        assert_eq!((config.training.epochs, followed.training.epochs), (4, 2));
        assert_eq!(config.drift, Config::default().drift);
        let method: Method = name.parse().unwrap();
        assert_eq!(
            method.lender().unwrap().unwrap().name(),
            "spring:gate=always,lambda=0.7,bank=history,alpha=2"
        );
        let again: Method = method.with("lambda=0.3").unwrap().name().parse().unwrap();
        assert_eq!(again.like(), method.like());
        let plain: Method = "everything+retrieval:like=no_gate".parse().unwrap();
        assert!(matches!(
            plain.configure(&Config::default()).unwrap().gate,
            GateConfig::Always { .. }
        ));
        let population: Method =
            "random+retrieval:like=(spring:reference=population)".parse().unwrap();
        assert!(population.needs_domain(Start::Base, &Config::default()));
    }

    #[test]
    fn a_pair_of_what_was_chosen_differs_in_what_it_selects_alone() {
        let pair = |paired: &str, chosen: &str| {
            let paired: Method = paired.parse().unwrap();
            paired.paired_with(&chosen.parse().unwrap()).unwrap().name().to_owned()
        };
        let chosen = "spring:gate=always,bank=history,alpha=2,rho=0.1,epochs=6,start=domain";
        let like = format!("like=({chosen})");
        assert_eq!(
            pair("random+retrieval", chosen),
            format!("random+retrieval:epochs=6,start=domain,{like}")
        );
        // What it says itself stays, and what it does not have is left out.
        assert_eq!(
            pair("random+retrieval:epochs=2,gate=never", chosen),
            format!("random+retrieval:epochs=2,gate=never,start=domain,{like}")
        );
        assert_eq!(pair("everything+retrieval", "no_gate"), "everything+retrieval:like=(no_gate)");
        // Without a bank it takes as many texts by the same share.
        assert_eq!(pair("random", chosen), "random:rho=0.1,epochs=6,start=domain");
        assert_eq!(pair("random", "spring"), "random");
        let other = "random+retrieval:like=(spring:gate=always)";
        assert_eq!(pair(other, "spring:lambda=0.7"), other);
        // Beside one that is no variant of SPRInG, its settings.
        assert_eq!(
            pair("random+retrieval", "everything+retrieval:gate=always,capacity=20"),
            "random+retrieval:gate=always,capacity=20"
        );
    }

    #[test]
    fn a_domain_adapter_is_needed_to_start_from_and_to_measure_against() {
        let needs = |name: &str, start, changes: &[&str]| {
            let config = Config::default().with_changes(changes).unwrap();
            let method = name.parse::<Method>().unwrap();
            (method.starts_at_domain(start), method.needs_domain(start, &config))
        };
        let all = ["drift.reference=population"];
        let cases: [(&str, &[&str], (bool, bool)); 8] = [
            ("spring", &[], (false, false)),
            ("spring:reference=population", &[], (false, true)),
            ("spring:reference=population,start=domain", &[], (true, true)),
            ("spring", &all, (false, true)),
            ("spring:reference=base", &all, (false, false)),
            // What scores nothing measures nothing.
            ("everything", &all, (false, false)),
            ("base", &all, (false, false)),
            ("domain", &[], (true, true)),
        ];
        for (name, changes, expected) in cases {
            assert_eq!(needs(name, Start::Base, changes), expected, "{name} {changes:?}");
        }
        assert_eq!(needs("spring", Start::Domain, &[]), (true, true));
    }

    #[test]
    fn bad_names_say_what_there_is() {
        for (name, reason) in [
            ("sprig", "there is no such method; methods are base"),
            ("rag+retrieval", "cannot be combined"),
            ("spring:alpha", "key=value"),
            ("spring:alpha=much", "must be a number >= 0"),
            ("spring:rho=1.5", "1.5"),
            ("spring:mood=1", "no setting \"mood\" of it; its settings are those of drift"),
            ("base:strength=1", "no setting \"strength\""),
            ("l2:strength=-1", "anchor"),
            ("spring:buffer=full", "reservoir"),
            ("spring:epochs=0", "epochs"),
            ("spring:reference=domain", "population"),
            ("spring:scorer=lookahead,drift.scorer.steps=0", "steps"),
            ("spring:weights=heavy", "unrecalled"),
            ("everything:reference=population", "no setting \"reference\" of it"),
            ("spring:start=here", "expected base or domain"),
            ("base:epochs=3", "no setting \"epochs\" of it"),
            ("everything:alpha=1", "no setting \"alpha\" of it"),
            ("random_tokens:start=domain", "no setting \"start\" of it"),
            ("replay:sigma=0.5", "no setting \"sigma\" of it"),
            ("spring:half_life=0", "half_life = 0"),
            ("spring:gate=calibrated,lambda=divergence", "fusion.lambda = divergence"),
            ("rag:bank=history", "no setting \"bank\" of it"),
            ("spring:search.top=3", "no setting \"search.top\" of it"),
            ("base:contrast=0.5", "no setting \"contrast\" of it"),
            ("rag:contrast=0.5", "no setting \"contrast\" of it"),
            ("everything:lambda=0.5", "no setting \"lambda\" of it"),
            ("spring:contrast=-1", "weight"),
            ("spring:contrast=0.5,plausibility=0", "plausibility"),
            ("spring:contrast=0.5,space=contrastive", "contrastive space"),
            ("spring:fusion.contrast.tail=drop", "no finite loss; keep the tail"),
            ("random:bank=history", "no setting \"bank\" of it"),
            ("random:like=spring", "no setting \"like\" of it"),
            ("spring:like=spring", "no setting \"like\" of it"),
            ("other_user:gate=always", "no setting \"gate\" of it"),
            ("random+retrieval:like=everything", "expected a variant of spring"),
            ("random+retrieval:like=(spring:mood=1)", "no setting \"mood\" of it"),
            ("random+retrieval:like=(spring),bank=history", "belongs inside of its parentheses"),
            ("random+retrieval:half_life=-1", "half_life"),
        ] {
            let error = name.parse::<Method>().unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(reason), "{name}: {error}");
        }
    }

    #[test]
    fn a_program_has_neither_settings_nor_retrieval() {
        let mut methods = Methods::default();
        let program = Program::new("mine", vec!["mine".into()]);
        methods.register(MethodKind::program(program)).unwrap();
        assert_eq!(methods.parse("mine").unwrap().label(), "mine");
        for name in ["mine:epochs=3", "mine:decoding.max_new_tokens=3", "mine+retrieval"] {
            assert!(methods.parse(name).is_err(), "{name}");
        }
    }

    #[test]
    fn kinds_of_your_own_have_names_of_their_own() {
        let mut methods = Methods::default();
        let kind = |name: &str| MethodKind::new(name, "frozen, too", || Frozen);
        methods.register(kind("mine")).unwrap();
        let mine = methods.parse("mine+retrieval:epochs=3").unwrap();
        assert_eq!(mine.label(), "frozen, too + retrieval, epochs 3");
        for name in ["mine", "spring", "no_gate", "", "a:b"] {
            assert!(methods.register(kind(name)).is_err(), "{name:?}");
        }
        assert!("mine".parse::<Method>().is_err());
    }
}
