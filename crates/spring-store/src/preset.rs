//! Settings that have a name.

use std::{fmt, str::FromStr};

use crate::{Config, DriftConfig, Error, Result};

/// Settings by name, which later defaults do not move.
///
/// ```
/// use spring_store::{Config, Preset};
/// let paper = "paper".parse::<Preset>()?.over(&Config::default().with_seed(7))?;
/// assert_eq!((paper.training.learning_rate, paper.seed), (1e-4, 7));
/// # Ok::<(), spring_store::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Preset {
    /// The paper's settings, with its learning rate of 1e-4, which was for a base of 4 billion
    /// weights.
    Paper,
}

impl Preset {
    /// All presets.
    pub const ALL: [Self; 1] = [Self::Paper];

    /// The name in arguments.
    pub fn name(self) -> &'static str {
        match self {
            Self::Paper => "paper",
        }
    }

    /// The settings as TOML, for a file of one's own that begins with them.
    pub fn toml(self) -> &'static str {
        match self {
            Self::Paper => include_str!("../presets/paper.toml"),
        }
    }

    /// Settings in which all that the method has is the preset's; what it has nothing to do with
    /// stays: the seed, the signal that is shown, the search of the history, what a state keeps.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if this version does not know one of the preset's settings any more.
    pub fn over(self, base: &Config) -> Result<Config> {
        let preset = Config::from_toml(self.toml(), &format!("preset {self}"))?;
        Ok(Config {
            seed: base.seed,
            drift: DriftConfig { signal: base.drift.signal, ..preset.drift },
            search: base.search.clone(),
            state: base.state.clone(),
            ..preset
        })
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Preset {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|preset| preset.name() == name).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            Error::Config {
                origin: format!("preset {name}"),
                reason: format!("there are: {names}"),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use spring_drift::{Alpha, ScorerConfig, Selection, Standardize};
    use spring_fuse::{GateConfig, Lambda, Space};
    use spring_lm::{Projection, TokenWeights};
    use spring_memory::{Bm25Variant, BufferPolicyConfig, DocumentFields, Tokenizer};

    use super::*;
    use crate::{BankKind, ColdStart, NoveltyReference, RetrieverKind, TextLength};

    /// Each of them as the paper has it, or as docs/method.md fills in what it leaves open.
    #[test]
    fn every_number_of_the_paper_is_pinned() {
        let config = Preset::Paper.over(&Config::default()).unwrap();
        let Config { drift, lora, training, buffer, retrieval, bm25, .. } = &config;
        let alpha = Alpha::new(0.5).unwrap();
        assert_eq!(drift.scorer, ScorerConfig::Spring { alpha, standardize: Standardize::None });
        assert_eq!(drift.selection, Selection::TopFraction { fraction: 0.3 });
        assert_eq!((drift.cold_start, drift.length), (ColdStart::All, TextLength::Tokens));
        assert_eq!(drift.reference, NoveltyReference::Base);

        assert_eq!((lora.rank, lora.alpha, lora.dropout, lora.use_rslora), (8, 8.0, 0.05, false));
        assert_eq!((&lora.targets, &lora.layers), (&vec![Projection::Q, Projection::V], &None));

        assert_eq!((training.learning_rate, training.warmup, training.epochs), (1e-4, 0.1, 2));
        assert_eq!((training.batch_size, training.max_grad_norm), (4, 0.3));
        assert_eq!((training.beta1, training.beta2, training.epsilon), (0.9, 0.999, 1e-8));
        assert_eq!((training.weight_decay, training.anchor), (1e-2, 0.0));
        assert_eq!((training.max_tokens, training.checkpoint_layers), (768, false));
        assert_eq!(training.token_weights, TokenWeights::Equal);

        assert_eq!((buffer.capacity, &buffer.policy), (200, &BufferPolicyConfig::Residual));
        assert_eq!(buffer.bank, BankKind::Buffer);
        assert_eq!(
            (retrieval.retriever, retrieval.fields),
            (RetrieverKind::Bm25, DocumentFields::Both)
        );
        assert_eq!((retrieval.template_share, retrieval.half_life), (None, None));
        assert_eq!((bm25.variant, bm25.k1, bm25.b), (Bm25Variant::Okapi, Some(1.5), 0.75));
        assert_eq!((bm25.epsilon, bm25.tokenizer), (0.25, Tokenizer::Whitespace));
        assert_eq!((bm25.stop_words.len(), bm25.normalise), (0, false));

        let gate = GateConfig::Quantile { quantile: 0.75, min_calibration: 8, k: 2 };
        assert_eq!(config.gate, gate);
        let fusion = (config.fusion.space, config.fusion.lambda);
        assert_eq!(fusion, (Space::Probability {}, Lambda::Fixed(0.5)));

        let decoding = &config.decoding;
        assert_eq!((decoding.max_new_tokens, decoding.stop.len()), (None, 0));
        let penalties = decoding.penalties;
        let penalties = (penalties.repetition, penalties.frequency, penalties.presence);
        assert_eq!(penalties, (1.2, 0.0, 0.0));
        let sampler = &decoding.sampler;
        assert_eq!((sampler.temperature, sampler.top_k), (0.0, None));
        assert_eq!((sampler.top_p, sampler.min_p), (None, None));
    }

    #[test]
    fn every_setting_of_the_method_is_written_down() {
        let config = Preset::Paper.over(&Config::default()).unwrap();
        let mut all = toml::Table::try_from(&config).unwrap();
        let file: toml::Table = Preset::Paper.toml().parse().unwrap();
        for key in ["seed", "search", "state"] {
            all.remove(key);
        }
        all["drift"].as_table_mut().unwrap().remove("signal");
        // Records leave them out where they are the paper's.
        for (section, key) in [("drift", "reference"), ("training", "token_weights")] {
            let value = file[section][key].clone();
            all[section].as_table_mut().unwrap().insert(key.to_owned(), value);
        }
        assert!(all["buffer"].get("bank").is_none());
        all["buffer"].as_table_mut().unwrap().insert("bank".into(), "buffer".into());
        let names = |table: &toml::Table| -> BTreeSet<String> {
            let of = |(key, value): (&String, &toml::Value)| -> Vec<String> {
                match value.as_table() {
                    Some(inner) => inner.keys().map(|name| format!("{key}.{name}")).collect(),
                    None => vec![key.clone()],
                }
            };
            table.iter().flat_map(of).collect()
        };
        assert_eq!(names(&all), names(&file));
    }

    #[test]
    fn what_is_not_of_the_method_stays() {
        let mut base = Config::default().with_seed(5);
        (base.search.limit, base.state.keep_generations) = (3, 2);
        base.drift.signal.window = 7;
        base.training.epochs = 9;
        let config = Preset::Paper.over(&base).unwrap();
        assert_eq!((config.seed, config.search.limit, config.state.keep_generations), (5, 3, 2));
        assert_eq!((config.drift.signal.window, config.training.epochs), (7, 2));
        let error = "papre".parse::<Preset>().unwrap_err().to_string();
        assert!(error.contains("papre") && error.contains("paper"), "{error}");
    }
}
