//! Every setting of the method in one place, read from TOML; the defaults are the paper's.

use std::path::Path;

use serde::{Deserialize, Serialize};
use spring_drift::{ScorerConfig, Selection};
use spring_fuse::{GateConfig, MixtureConfig, Penalties, SamplerConfig};
use spring_memory::{Bm25Config, BufferPolicyConfig, DEFAULT_CAPACITY, HistoryConfig, HistoryIndex};
use spring_model::{LoraConfig, TrainConfig};

use crate::{Error, Result, RetrievalConfig, RetrieverKind, SearchConfig, retriever::check_template_share};

/// The settings of SPRInG. An unknown key is an error.
///
/// ```
/// let config = spring_core::Config::from_toml("[training]\nlearning_rate = 3e-3\nepochs = 3\n", "spring.toml")?;
/// assert_eq!((config.training.epochs, config.training.batch_size), (3, 4));
/// assert!(spring_core::Config::from_toml("[training]\nlearning_rat = 1", "spring.toml").is_err());
/// # Ok::<(), spring_core::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Key of all that is drawn while learning, together with user, period and purpose; what is drawn while generating
    /// has `decoding.sampler.seed`. Default 0.
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
pub struct DriftConfig {
    /// The score. Default: the paper's, α = 0.5.
    pub scorer: ScorerConfig,
    /// What is taken. Default: the top 30 %.
    pub selection: Selection,
    /// What the first period learns. Default: all of it.
    pub cold_start: ColdStart,
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
pub struct BufferConfig {
    /// Most items N_max. Default 200.
    pub capacity: usize,
    /// Which items stay. Default: those the adapter explains worst.
    pub policy: BufferPolicyConfig,
}

impl Default for BufferConfig {
    fn default() -> Self {
        Self { capacity: DEFAULT_CAPACITY, policy: BufferPolicyConfig::default() }
    }
}

/// How tokens are chosen.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DecodingConfig {
    /// Most new tokens. Default: the smaller of 600 and a third of the context.
    pub max_new_tokens: Option<usize>,
    /// Penalties, after fusion. Default: repetition 1.2.
    pub penalties: Penalties,
    /// The sampler. Default: greedy.
    pub sampler: SamplerConfig,
}

/// What the state keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StateConfig {
    /// Generations of each user whose adapter and buffer are kept, the newest and the one in use among them; of the
    /// others the records stay. Default 8.
    pub keep_generations: u32,
}

impl Default for StateConfig {
    fn default() -> Self {
        Self { keep_generations: 8 }
    }
}

impl Config {
    /// Reads TOML; `origin` is how errors name it.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] with line and key for what is not understood, or the setting that is out of range.
    pub fn from_toml(text: &str, origin: &str) -> Result<Self> {
        let fail = |reason: String| Error::Config { origin: origin.into(), reason };
        let config: Self = toml::from_str(text).map_err(|e| fail(e.to_string().trim_end().to_owned()))?;
        config.check().map_err(|e| fail(e.to_string()))?;
        Ok(config)
    }

    /// Reads a TOML file.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if it cannot be read, otherwise as [`from_toml`](Self::from_toml).
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(|source| Error::Io { path: path.into(), source })?;
        Self::from_toml(&text, &path.display().to_string())
    }

    /// Refuses settings out of range.
    ///
    /// # Errors
    ///
    /// The error of the crate whose setting it is.
    pub fn check(&self) -> Result<()> {
        self.lora.check()?;
        self.training.check()?;
        spring_memory::Bm25Index::new(self.bm25.clone())?;
        self.drift.selection.select(&[], &[])?;
        self.gate.init()?;
        self.fusion.init()?;
        self.decoding.penalties.init()?;
        self.decoding.sampler.init()?;
        if self.state.keep_generations == 0 {
            let reason = "keep_generations = 0: at least the one in use is kept".into();
            return Err(Error::Config { origin: "state".into(), reason });
        }
        HistoryIndex::new(HistoryConfig { dense: self.search.dense, ..HistoryConfig::default() })?;
        check_template_share("retrieval", self.retrieval.template_share)?;
        check_template_share("search", self.search.template_share)
    }

    /// Whether learning a period needs the embeddings of the texts that may stay in the buffer.
    pub fn needs_embeddings(&self) -> bool {
        self.buffer.policy == BufferPolicyConfig::Diversity
            || self.retrieval.retriever == RetrieverKind::Dense
    }
}
