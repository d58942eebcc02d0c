//! Every setting of the method in one place, read from TOML; the defaults are the paper's.

use std::{io::Read, path::Path};

use serde::{Deserialize, Serialize};
use spring_drift::{ScorerConfig, Selection, SignalConfig};
use spring_fuse::{GateConfig, Lambda, MixtureConfig, Penalties, SamplerConfig, Space};
use spring_lm::{LoraConfig, TrainConfig};
use spring_memory::{
    Bm25Config, Bm25Index, BufferPolicyConfig, DEFAULT_CAPACITY, DenseConfig, DocumentFields,
    SearchMode, SettingError, Tokenizer,
};
use spring_numerics::{digest, words};

use crate::{Error, Result};

/// The longest file of settings, in bytes.
const LONGEST: u64 = 1 << 20;

/// The settings of SPRInG. An unknown key is an error.
///
/// ```
/// use spring_store::Config;
/// let toml = "[training]\nlearning_rate = 3e-3\nepochs = 3\n";
/// let config = Config::from_toml(toml, "spring.toml")?;
/// assert_eq!((config.training.epochs, config.training.batch_size), (3, 4));
/// assert!(Config::from_toml("[training]\nlearning_rat = 1", "spring.toml").is_err());
/// # Ok::<(), spring_store::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// Key of all that is drawn while learning, together with user, period and purpose; what is
    /// drawn while generating has `decoding.sampler.seed`. Default 0.
    pub seed: u64,
    /// How texts are scored and selected.
    pub drift: DriftConfig,
    /// The adapter's shape.
    pub lora: LoraConfig,
    /// How the adapter is trained.
    pub training: TrainConfig,
    /// The residual buffer.
    pub buffer: BufferConfig,
    /// What finds texts of the buffer for a prompt.
    pub retrieval: RetrievalConfig,
    /// How words are weighed, in the buffer and in the history.
    pub bm25: Bm25Config,
    /// Whether what was found is used.
    pub gate: GateConfig,
    /// How the branches are mixed.
    pub fusion: MixtureConfig,
    /// How tokens are chosen.
    pub decoding: DecodingConfig,
    /// How `spring search` finds texts of the history.
    pub search: SearchConfig,
    /// What the state keeps.
    pub state: StateConfig,
}

/// How texts are scored and selected.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct DriftConfig {
    /// The score. Default: the paper's, α = 0.5.
    pub scorer: ScorerConfig,
    /// What novelty is measured against. Default: the base, which records leave out, as those of
    /// states that were made before this was a setting do.
    #[serde(skip_serializing_if = "NoveltyReference::is_base")]
    pub reference: NoveltyReference,
    /// What is taken. Default: the top 30 %.
    pub selection: Selection,
    /// What the first period learns. Default: all of it.
    pub cold_start: ColdStart,
    /// What the length |y| of a text counts, by which its log-likelihood is divided in both terms
    /// of the score. Default: tokens.
    pub length: TextLength,
    /// How `spring inspect` and `spring explain` tell whether a user is drifting; nothing is
    /// learned from it.
    pub signal: SignalConfig,
}

/// What novelty is measured against: N is the log-likelihood under it less that under the person's
/// adapter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoveltyReference {
    /// The frozen base: the paper's.
    #[default]
    Base,
    /// An adapter that was trained on other users' texts. What their domain has in common is not
    /// new then, and N measures the person. In a state it is the [prior](crate::Prior) that the
    /// user started from, which the record of a first period names; there has to be one.
    Population,
}

impl NoveltyReference {
    fn is_base(&self) -> bool {
        *self == Self::Base
    }
}

/// What the length of a text counts where texts are compared with each other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextLength {
    /// Tokens of the response, its end token included: the paper's.
    #[default]
    Tokens,
    /// UTF-8 bytes of the response. A text that the tokenizer knows badly falls into many tokens,
    /// of which all but the first of each word are easy to predict: per token it looks likely, per
    /// byte it does not.
    Bytes,
}

/// What a user's first period learns: without an adapter every novelty is 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColdStart {
    /// All of it.
    #[default]
    All,
    /// What the selection takes.
    Select,
}

/// The residual buffer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct BufferConfig {
    /// Most items N_max. Default 200.
    pub capacity: usize,
    /// Which items stay. Default: those the adapter explains worst.
    pub policy: BufferPolicyConfig,
    /// Which texts are searched for a prompt. Default: those of the buffer, which records leave
    /// out.
    #[serde(skip_serializing_if = "is_default")]
    pub bank: BankKind,
}

impl Default for BufferConfig {
    fn default() -> Self {
        let (policy, bank) = Default::default();
        Self { capacity: DEFAULT_CAPACITY, policy, bank }
    }
}

/// Which of a person's texts are searched for a prompt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BankKind {
    /// Those of the residual buffer: the paper's.
    #[default]
    Buffer,
    /// All texts of the periods learned so far, but for those held out.
    History,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// How tokens are chosen.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct DecodingConfig {
    /// Most new tokens. Default: the smaller of 600 and a third of the context.
    pub max_new_tokens: Option<usize>,
    /// Texts that end an answer, which ends before them. Default none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
    /// Penalties, after fusion. Default: repetition 1.2.
    pub penalties: Penalties,
    /// The sampler. Default: greedy.
    pub sampler: SamplerConfig,
}

/// What the state keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct StateConfig {
    /// Generations of each user whose adapter and buffer are kept, the newest and the one in use
    /// among them; of the others the records stay. Default 8.
    pub keep_generations: u32,
}

impl Default for StateConfig {
    fn default() -> Self {
        Self { keep_generations: 8 }
    }
}

/// What finds texts of the buffer for a prompt, by name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetrieverKind {
    /// By shared words, the paper's.
    #[default]
    Bm25,
    /// By the cosine similarity of embeddings under the base.
    Dense,
    /// The latest, whatever the prompt; all of them score 1.
    Latest,
}

impl RetrieverKind {
    /// The name in configurations and records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bm25 => "bm25",
            Self::Dense => "dense",
            Self::Latest => "latest",
        }
    }
}

/// How the texts of the bank are found for a prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RetrievalConfig {
    /// What finds them. Default: BM25.
    pub retriever: RetrieverKind,
    /// What BM25 sees of a text. Default: prompt, line break, response.
    pub fields: DocumentFields,
    /// BM25 leaves out words that at least this part of the buffer's prompts contain, above 0 up to
    /// 1: those of a template that all prompts share. Default: none is left out.
    pub template_share: Option<f64>,
    /// After this many newer texts in the bank, above 0, a text's score counts half: scores above 0
    /// are multiplied with 0.5^(newer texts / this). Default: age does not count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub half_life: Option<f64>,
    /// A gate or a λ that is calibrated by use measures what retrieval gains on the latest texts of
    /// the bank, at most this many after each period; each is scored twice, once behind what is
    /// retrieved for it. Default 24, which records leave out.
    #[serde(skip_serializing_if = "is_gain_texts")]
    pub gain_texts: usize,
}

/// Texts that gains are measured on.
const GAIN_TEXTS: usize = 24;

impl Default for RetrievalConfig {
    fn default() -> Self {
        Self {
            retriever: RetrieverKind::default(),
            fields: DocumentFields::default(),
            template_share: None,
            half_life: None,
            gain_texts: GAIN_TEXTS,
        }
    }
}

fn is_gain_texts(texts: &usize) -> bool {
    *texts == GAIN_TEXTS
}

/// How a user's history is searched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct SearchConfig {
    /// By words, by meaning or both. Default: by words.
    pub mode: SearchMode,
    /// Most results. Default 10.
    pub limit: usize,
    /// What BM25 sees of a text. Default: prompt, line break, response.
    pub fields: DocumentFields,
    /// How texts and queries become words here, whatever `bm25.tokenizer` is for the gate. Default:
    /// runs of letters and digits in lower case, which records leave out, as those of states that
    /// were made before this was a setting do.
    #[serde(skip_serializing_if = "is_words")]
    pub tokenizer: Tokenizer,
    /// BM25 leaves out words that at least this part of the prompts contain, above 0 up to 1.
    /// Default: none is left out.
    pub template_share: Option<f64>,
    /// When embeddings get a graph.
    pub dense: DenseConfig,
}

impl Default for SearchConfig {
    fn default() -> Self {
        Self {
            mode: SearchMode::default(),
            limit: 10,
            fields: DocumentFields::default(),
            tokenizer: Tokenizer::Words,
            template_share: None,
            dense: DenseConfig::default(),
        }
    }
}

fn is_words(tokenizer: &Tokenizer) -> bool {
    *tokenizer == Tokenizer::Words
}

/// Refuses what is not a part of the prompts.
fn check_template_share(section: &str, share: Option<f64>) -> Result<(), SettingError> {
    match share {
        Some(share) if !(share > 0.0 && share <= 1.0) => {
            let name = format!("{section}.template_share");
            Err(SettingError::new(name, share, "above 0 and at most 1"))
        }
        _ => Ok(()),
    }
}

spring_numerics::setters! {
    Config {
        with_seed(seed: u64);
        with_drift(drift: DriftConfig);
        with_lora(lora: LoraConfig);
        with_training(training: TrainConfig);
        with_buffer(buffer: BufferConfig);
        with_retrieval(retrieval: RetrievalConfig);
        with_bm25(bm25: Bm25Config);
        with_gate(gate: GateConfig);
        with_fusion(fusion: MixtureConfig);
        with_decoding(decoding: DecodingConfig);
        with_search(search: SearchConfig);
        with_state(state: StateConfig);
    }
}

impl Config {
    /// Reads TOML; `origin` is how errors name it.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] with line and key for what is not understood, [`Error::Setting`] for what
    /// is out of range.
    pub fn from_toml(text: &str, origin: &str) -> Result<Self> {
        let fail = |reason: String| Error::Config { origin: origin.into(), reason };
        let config: Self = toml::from_str(text)
            .map_err(|e| fail(words::toml_reason(text, e.message(), e.span())))?;
        config.out_of_range().map_err(|error| error.read_in(origin))?;
        Ok(config)
    }

    /// Reads a TOML file of at most 1 MiB.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if it cannot be read, otherwise as [`from_toml`](Self::from_toml).
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let io = |error: std::io::Error| Error::Config {
            origin: path.display().to_string(),
            reason: match error.kind() {
                std::io::ErrorKind::InvalidData => "not UTF-8, and so no TOML".into(),
                _ => words::of_system(&error),
            },
        };
        let mut text = String::new();
        spring_numerics::file::open(path)
            .and_then(|file| file.take(LONGEST + 1).read_to_string(&mut text))
            .map_err(io)?;
        if text.len() as u64 > LONGEST {
            let reason = format!("longer than {LONGEST} bytes");
            return Err(Error::Config { origin: path.display().to_string(), reason });
        }
        Self::from_toml(&text, &path.display().to_string())
    }

    /// These settings with some changed, each a line of TOML such as `training.epochs = 5`.
    ///
    /// A value that is no TOML, such as a bare name, is taken as text. A mechanism that is chosen
    /// anew begins with its own defaults.
    ///
    /// ```
    /// let config = spring_store::Config::default();
    /// let changed = config.with_changes(&["training.epochs=5", "gate=always", "gate.k=3"])?;
    /// assert_eq!(changed.training.epochs, 5);
    /// assert_eq!(changed.gate, spring_fuse::GateConfig::Always { k: 3 });
    /// assert!(config.with_changes(&["training.epoch=5"]).is_err());
    /// # Ok::<(), spring_store::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for a change that is not understood, [`Error::Setting`] for one that leads
    /// out of range; both name the change.
    pub fn with_changes<S: AsRef<str>>(&self, changes: &[S]) -> Result<Self> {
        changes.iter().try_fold(self.clone(), |config, change| config.with_change(change.as_ref()))
    }

    fn with_change(&self, origin: &str) -> Result<Self> {
        let fail =
            |reason: &str| Error::Config { origin: origin.into(), reason: reason.to_owned() };
        let (key, value) = origin.split_once('=').ok_or_else(|| fail("expected KEY=VALUE"))?;
        let line = |value: &str| toml::from_str::<toml::Table>(&format!("{key} = {value}"));
        let text = toml::Value::from(value.trim()).to_string();
        let change = line(value)
            .or_else(|_| line(&text))
            .map_err(|e| fail(&words::parsed(e.message(), words::Language::Toml)))?;
        let mut settings = toml::Table::try_from(self).map_err(|e| fail(&e.to_string()))?;
        merge(&mut settings, change);
        let config: Self = settings.try_into().map_err(|e: toml::de::Error| {
            let said = words::parsed(e.message(), words::Language::Toml);
            fail(&said)
        })?;
        config.out_of_range().map_err(|error| error.read_in(origin))?;
        Ok(config)
    }

    /// Refuses settings out of range.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] naming the first of them.
    pub fn check(&self) -> Result<()> {
        Ok(self.out_of_range()?)
    }

    fn out_of_range(&self) -> Result<(), SettingError> {
        self.lora.check().map_err(|error| error.within("lora"))?;
        self.training.check().map_err(|error| error.within("training"))?;
        Bm25Index::new(self.bm25.clone()).map_err(|error| error.within("bm25"))?;
        self.drift.scorer.init().map_err(|error| error.within("drift.scorer"))?;
        self.drift.selection.check().map_err(|error| error.within("drift.selection"))?;
        self.drift.signal.init().map_err(|error| error.within("drift.signal"))?;
        self.gate.init().map_err(|error| error.within("gate"))?;
        self.fusion.init().map_err(|error| error.within("fusion"))?;
        let measured = match self.fusion.lambda {
            Lambda::Gate { .. } => Some("gate"),
            Lambda::Divergence { .. } => Some("divergence"),
            _ => None,
        };
        if let (GateConfig::Calibrated { .. }, Some(lambda)) = (self.gate, measured) {
            let allowed = "a number or calibrated where the gate is calibrated: a gain is measured \
                           at a λ";
            return Err(SettingError::new("fusion.lambda", lambda, allowed));
        }
        if let Some(half_life) = self.retrieval.half_life
            && !(half_life > 0.0 && half_life.is_finite())
        {
            let allowed = "a finite number above 0: how many newer texts halve a score";
            return Err(SettingError::new("retrieval.half_life", half_life, allowed));
        }
        self.decoding.penalties.init().map_err(|error| error.within("decoding.penalties"))?;
        self.decoding.sampler.init().map_err(|error| error.within("decoding.sampler"))?;
        if self.decoding.stop.iter().any(String::is_empty) {
            let allowed = "strings of at least one character each";
            return Err(SettingError::new("decoding.stop", "\"\"", allowed));
        }
        if self.state.keep_generations == 0 {
            let allowed = "at least 1: the one in use is kept";
            return Err(SettingError::new("state.keep_generations", 0, allowed));
        }
        self.search.dense.init().map_err(|error| error.within("search.dense"))?;
        check_template_share("retrieval", self.retrieval.template_share)?;
        check_template_share("search", self.search.template_share)
    }

    /// Whether gate or λ are calibrated by use: by what retrieval gains for texts of the past,
    /// which is measured when a period was learned.
    pub fn calibrates_by_use(&self) -> bool {
        matches!(self.gate, GateConfig::Calibrated { .. })
            || matches!(self.fusion.lambda, Lambda::Calibrated { .. })
    }

    /// A name for the settings that gains of retrieval depend on: what is searched and how by
    /// these, gate and mixture by those that are `asked`. `None` where the latter are not
    /// [calibrated by use](Self::calibrates_by_use).
    pub fn gains_under(&self, asked: &Self) -> Option<String> {
        if !asked.calibrates_by_use() {
            return None;
        }
        let RetrievalConfig { retriever, fields, template_share, half_life, gain_texts: _ } =
            self.retrieval;
        let searched = (retriever, fields, template_share, half_life, self.buffer.bank);
        // There the gain is measured at the λ of the settings alone.
        let lambda = match asked.fusion.space {
            Space::Contrastive { .. } => Some(asked.fusion.lambda),
            _ => None,
        };
        let settings = (searched, &self.bm25, asked.gate.k(), asked.fusion.space, lambda);
        let mut name = digest::sha256_hex(serde_json::to_string(&settings).ok()?);
        name.truncate(16);
        Some(name)
    }

    /// Whether learning a period needs the embeddings of the texts that may stay in the buffer.
    pub fn needs_embeddings(&self) -> bool {
        self.buffer.policy == BufferPolicyConfig::Diversity
            || self.retrieval.retriever == RetrieverKind::Dense
    }
}

fn merge(settings: &mut toml::Table, changes: toml::Table) {
    // Another kind does not have the settings of the one before.
    if changes.contains_key("kind") {
        settings.clear();
    }
    for (key, change) in changes {
        match (settings.get_mut(&key), change) {
            (Some(toml::Value::Table(inside)), toml::Value::Table(changes)) => {
                merge(inside, changes)
            }
            (_, change) => drop(settings.insert(key, change)),
        }
    }
}
