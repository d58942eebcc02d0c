//! The methods of a comparison, chosen by name, with settings of their own after a colon.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use spring_core::{
    Config, TextLength,
    spring_drift::{Alpha, ScorerConfig, Selection, Standardize},
    spring_fuse::{GateConfig, Lambda, Space},
    spring_memory::BufferPolicyConfig,
};

use crate::Start;

/// What a method learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Learn {
    /// Nothing: the base.
    Nothing,
    /// Nothing of the user: the domain adapter.
    Domain,
    /// Nothing of the user: SPRInG's adapters of others.
    OtherUser,
    /// The first period alone.
    First,
    /// Every period whole.
    Everything,
    /// As many texts as SPRInG, at random.
    Random,
    /// As many tokens as SPRInG, at random.
    RandomTokens,
    /// Every period whole, with as many older texts from a reservoir.
    Replay,
    /// Everything so far, from the starting point each time.
    Cumulative,
    /// Every period whole, pulled back to the last adapter.
    Pulled,
    /// What SPRInG selects.
    Spring,
}

/// What stands beside the prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beside {
    /// Nothing.
    Nothing,
    /// The best of all earlier texts by BM25, in the prompt.
    Search,
    /// The latest texts, in the prompt.
    Latest,
    /// SPRInG's buffer through gate and mixture.
    Gated,
}

const KINDS: [(&str, &str, Learn, Beside); 14] = [
    ("base", "base", Learn::Nothing, Beside::Nothing),
    ("domain", "domain adapter", Learn::Domain, Beside::Nothing),
    ("other_user", "another user's", Learn::OtherUser, Beside::Nothing),
    ("rag", "BM25 in the prompt", Learn::Nothing, Beside::Search),
    ("recency", "latest in the prompt", Learn::Nothing, Beside::Latest),
    ("static", "static (period 1)", Learn::First, Beside::Nothing),
    ("everything", "everything", Learn::Everything, Beside::Nothing),
    ("random", "random, same count", Learn::Random, Beside::Nothing),
    ("random_tokens", "random, same tokens", Learn::RandomTokens, Beside::Nothing),
    ("replay", "everything, replay", Learn::Replay, Beside::Nothing),
    ("cumulative", "cumulative retraining", Learn::Cumulative, Beside::Nothing),
    ("l2", "everything, L2 to the last", Learn::Pulled, Beside::Nothing),
    ("spring_adapter", "SPRInG, adapter only", Learn::Spring, Beside::Nothing),
    ("spring", "SPRInG", Learn::Spring, Beside::Gated),
];

/// Ablations: names for settings of SPRInG.
const ABLATIONS: [(&str, &str, &str); 8] = [
    ("no_novelty", "SPRInG without novelty", "spring:alpha=inf"),
    ("no_quality", "SPRInG without quality", "spring:alpha=0"),
    ("no_gate", "SPRInG, gate always open", "spring:gate=always"),
    ("random_buffer", "SPRInG, random buffer", "spring:buffer=reservoir"),
    ("logit", "SPRInG, logit space", "spring:space=logit"),
    ("adaptive_lambda", "SPRInG, adaptive λ", "spring:lambda=divergence"),
    ("adaptive_selection", "SPRInG, adaptive selection", "spring:rho=adaptive"),
    ("standardized", "SPRInG, standardised terms", "spring:standardize=period"),
];

const RETRIEVAL: &str = "+retrieval";

/// One method: `kind`, `kind+retrieval` (the adapter of that kind with SPRInG's retrieval), or either with settings, as in
/// `spring:alpha=0.25,rho=0.1`. See [`MethodSpec::help`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MethodSpec {
    name: String,
    label: String,
    pub(super) learn: Learn,
    pub(super) beside: Beside,
    /// The kind as it is spelled before the colon.
    kind: String,
    settings: Vec<(String, String)>,
}

impl MethodSpec {
    /// The name in files and arguments.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name in tables.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// SPRInG with its retrieval and no settings of its own.
    pub fn spring() -> Self {
        Self {
            name: "spring".into(),
            label: "SPRInG".into(),
            learn: Learn::Spring,
            beside: Beside::Gated,
            kind: "spring".into(),
            settings: vec![],
        }
    }

    /// Whether it is one of SPRInG's variants.
    pub fn is_spring(&self) -> bool {
        self.learn == Learn::Spring
    }

    /// Whether it is scored with other users' adapters, after theirs are there.
    pub(crate) fn is_of_others(&self) -> bool {
        self.learn == Learn::OtherUser
    }

    /// Whether it writes with earlier texts in the prompt, and not with an adapter or its mixture.
    pub(crate) fn reads_in_prompt(&self) -> bool {
        matches!(self.beside, Beside::Search | Beside::Latest)
    }

    /// The names that can be used, in words.
    pub fn help() -> String {
        let names = |names: Vec<&str>| names.join(", ");
        format!(
            "methods are {}; the adapter methods also with \"{RETRIEVAL}\"; ablations are {}; settings follow a colon: of SPRInG \
             alpha, rho, lambda, sigma, capacity, buffer, gate, space, standardize, length; of everything that learns of the user \
             learning_rate, epochs, start (but random_tokens); of random rho; of l2 strength",
            names(KINDS.iter().map(|kind| kind.0).collect()),
            names(ABLATIONS.iter().map(|ablation| ablation.0).collect())
        )
    }

    /// The same method with one setting more, written `key=value`, or another value of one that it has; several are
    /// separated by commas.
    ///
    /// # Errors
    ///
    /// The reason why the method cannot have that setting.
    pub fn with(&self, setting: &str) -> Result<Self, String> {
        let keys: Vec<&str> =
            setting.split(',').map(|one| one.split('=').next().unwrap_or("").trim()).collect();
        let kept = self.settings.iter().filter(|(known, _)| !keys.contains(&known.as_str()));
        let settings: Vec<String> =
            kept.map(|(key, value)| format!("{key}={value}")).chain([setting.to_owned()]).collect();
        format!("{}:{}", self.kind, settings.join(",")).parse()
    }

    /// Puts the method's settings into a configuration.
    pub(super) fn configure(&self, config: &Config) -> Result<Config, String> {
        let mut config = config.clone();
        for (key, value) in &self.settings {
            let number =
                || value.parse::<f64>().map_err(|_| format!("{}: {key}={value} is no number", self.name));
            let word = |known: &str| format!("{}: {key}={value}; it is {known}", self.name);
            self.check_key(key)?;
            match key.as_str() {
                "learning_rate" => config.training.learning_rate = number()?,
                "epochs" => {
                    config.training.epochs = value.parse().map_err(|_| word("a whole number from 1 on"))?;
                }
                "start" if matches!(value.as_str(), "base" | "domain") => {}
                "start" => return Err(word("base or domain")),
                "length" => {
                    config.drift.length = match value.as_str() {
                        "tokens" => TextLength::Tokens,
                        "bytes" => TextLength::Bytes,
                        _ => return Err(word("tokens or bytes")),
                    }
                }
                "alpha" | "standardize" => {
                    let ScorerConfig::Spring { alpha, standardize } = config.drift.scorer else {
                        return Err(format!("{}: {key} is a setting of the scorer \"spring\"", self.name));
                    };
                    let (alpha, standardize) = match (key.as_str(), value.as_str()) {
                        ("alpha", "inf") => {
                            (Alpha::new(f64::INFINITY).map_err(|e| e.to_string())?, standardize)
                        }
                        ("alpha", _) => (Alpha::new(number()?).map_err(|e| e.to_string())?, standardize),
                        (_, "period") => (alpha, Standardize::Period),
                        (_, "none") => (alpha, Standardize::None),
                        _ => return Err(word("period or none")),
                    };
                    config.drift.scorer = ScorerConfig::Spring { alpha, standardize };
                }
                "rho" if value == "adaptive" && self.is_spring() => {
                    config.drift.selection =
                        value.parse().map_err(|e: spring_core::spring_drift::DriftError| e.to_string())?;
                }
                "rho" => config.drift.selection = Selection::TopFraction { fraction: number()? },
                "lambda" => config.fusion.lambda = value.parse::<Lambda>().map_err(|e| e.to_string())?,
                "space" => {
                    config.fusion.space = value.parse::<Space>().map_err(|e| e.to_string())?;
                }
                "sigma" => {
                    let GateConfig::Quantile { min_calibration, k, .. } = config.gate else {
                        return Err(format!("{}: sigma is a setting of the gate \"quantile\"", self.name));
                    };
                    config.gate = GateConfig::Quantile { quantile: number()?, min_calibration, k };
                }
                "gate" => config.gate = value.parse::<GateConfig>().map_err(|e| e.to_string())?,
                "capacity" => config.buffer.capacity = number()? as usize,
                "buffer" => {
                    config.buffer.policy = match value.as_str() {
                        "residual" => BufferPolicyConfig::Residual,
                        "reservoir" => BufferPolicyConfig::Reservoir { seed: 0 },
                        "recency" => BufferPolicyConfig::Recency,
                        "balanced_periods" => BufferPolicyConfig::BalancedPeriods,
                        _ => return Err(word("residual, reservoir, recency or balanced_periods")),
                    }
                }
                "strength" => {}
                _ => return Err(format!("{}: there is no setting {key:?}; {}", self.name, Self::help())),
            }
        }
        config.check().map_err(|error| format!("{}: {error}", self.name))?;
        Ok(config)
    }

    /// Refuses a setting that would change nothing of this method.
    fn check_key(&self, key: &str) -> Result<(), String> {
        let learns = !matches!(self.learn, Learn::Nothing | Learn::Domain | Learn::OtherUser);
        let has_effect = match key {
            // How many tokens SPRInG selects from another start is not known without running it.
            "start" => learns && self.learn != Learn::RandomTokens,
            "learning_rate" | "epochs" => learns,
            "strength" => self.learn == Learn::Pulled,
            "rho" => matches!(self.learn, Learn::Spring | Learn::Random),
            "lambda" | "sigma" | "gate" | "space" => self.beside != Beside::Nothing,
            // Of the buffer: every method that retrieves reads SPRInG's.
            _ => self.is_spring(),
        };
        match has_effect {
            true => Ok(()),
            false => Err(format!("{}: there is no setting {key:?} of it; {}", self.name, Self::help())),
        }
    }

    /// What its adapter starts from, if it says so.
    pub(crate) fn start(&self) -> Option<Start> {
        let value = self.setting("start")?;
        Some(if value == "domain" { Start::Domain } else { Start::Base })
    }

    /// Whether it needs a domain adapter, where everyone starts from `start` unless a method says otherwise.
    pub(crate) fn needs_domain(&self, start: Start) -> bool {
        match self.learn {
            Learn::Nothing | Learn::OtherUser => false,
            Learn::Domain => true,
            _ => self.start().unwrap_or(start) == Start::Domain,
        }
    }

    /// Whether it has a share of texts of its own, whatever SPRInG takes.
    pub(super) fn has_own_share(&self) -> bool {
        self.setting("rho").is_some()
    }

    fn setting(&self, key: &str) -> Option<&str> {
        self.settings.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// How strongly every step is pulled back to the last adapter: by the learning rate times this, of the distance.
    pub(super) fn strength(&self) -> Result<f64, String> {
        let Some(value) = self.setting("strength") else { return Ok(10.0) };
        let strength = value.parse().ok().filter(|s: &f64| s.is_finite() && *s >= 0.0);
        strength.ok_or_else(|| format!("{}: strength={value} is no number from 0 on", self.name))
    }
}

impl FromStr for MethodSpec {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let ablation = ABLATIONS.iter().find(|ablation| ablation.0 == name);
        let spelled = ablation.map_or(name, |ablation| ablation.2);
        let (spelled_kind, settings) = spelled.split_once(':').unwrap_or((spelled, ""));
        let (kind, with_retrieval) = match spelled_kind.strip_suffix(RETRIEVAL) {
            Some(kind) => (kind, true),
            None => (spelled_kind, false),
        };
        let found = KINDS.iter().find(|known| known.0 == kind);
        let Some((_, label, learn, mut beside)) = found.copied() else {
            return Err(format!("{name:?} is no method; {}", Self::help()));
        };
        if with_retrieval {
            if matches!(beside, Beside::Search | Beside::Latest) || learn == Learn::OtherUser {
                return Err(format!("{name:?}: {kind} cannot be combined with SPRInG's retrieval"));
            }
            beside = Beside::Gated;
        }
        let settings: Vec<(String, String)> = settings
            .split(',')
            .filter(|setting| !setting.is_empty())
            .map(|setting| {
                let (key, value) = setting
                    .split_once('=')
                    .ok_or_else(|| format!("{name:?}: a setting is written key=value, not {setting:?}"))?;
                Ok((key.trim().to_owned(), value.trim().to_owned()))
            })
            .collect::<Result<_, String>>()?;
        let label = match ablation {
            Some(ablation) => ablation.1.to_owned(),
            None => {
                let retrieval = if with_retrieval { " + retrieval" } else { "" };
                let shown: Vec<String> =
                    settings.iter().map(|(key, value)| format!("{key} {value}")).collect();
                let comma = if shown.is_empty() { "" } else { ", " };
                format!("{label}{retrieval}{comma}{}", shown.join(", "))
            }
        };
        let kind = spelled_kind.to_owned();
        let spec = Self { name: name.to_owned(), label, learn, beside, kind, settings };
        spec.configure(&Config::default())?;
        spec.strength()?;
        Ok(spec)
    }
}

impl TryFrom<String> for MethodSpec {
    type Error = String;
    fn try_from(name: String) -> Result<Self, String> {
        name.parse()
    }
}

impl From<MethodSpec> for String {
    fn from(spec: MethodSpec) -> Self {
        spec.name
    }
}

impl fmt::Display for MethodSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_understood_and_configures() {
        let names = KINDS.iter().map(|kind| kind.0).chain(ABLATIONS.iter().map(|ablation| ablation.0));
        for name in names {
            let spec: MethodSpec = name.parse().unwrap();
            assert_eq!(spec.name(), name);
            spec.configure(&Config::default()).unwrap();
        }
        assert_eq!("spring".parse::<MethodSpec>().unwrap(), MethodSpec::spring());
        let spec: MethodSpec = "spring:rho=0.1,alpha=2".parse().unwrap();
        let config = spec.configure(&Config::default()).unwrap();
        assert_eq!(config.drift.selection, Selection::TopFraction { fraction: 0.1 });
        assert_eq!(spec.label(), "SPRInG, rho 0.1, alpha 2");
        let retrieval: MethodSpec = "everything+retrieval".parse().unwrap();
        assert_eq!((retrieval.learn, retrieval.beside), (Learn::Everything, Beside::Gated));
        let tuned: MethodSpec = "everything:learning_rate=3e-3,epochs=4,start=domain".parse().unwrap();
        let training = tuned.configure(&Config::default()).unwrap().training;
        assert_eq!((training.learning_rate, training.epochs), (3e-3, 4));
        assert_eq!((tuned.start(), spec.start()), (Some(Start::Domain), None));
        let bytes: MethodSpec = "spring:length=bytes".parse().unwrap();
        assert_eq!(bytes.configure(&Config::default()).unwrap().drift.length, TextLength::Bytes);
        assert_eq!(
            tuned.with("epochs=2").unwrap().name(),
            "everything:learning_rate=3e-3,start=domain,epochs=2"
        );
        assert_eq!(retrieval.with("sigma=0").unwrap().name(), "everything+retrieval:sigma=0");
        assert_eq!(
            "no_quality".parse::<MethodSpec>().unwrap().with("rho=0.5").unwrap().name(),
            "spring:alpha=0,rho=0.5"
        );
        let small = "spring:capacity=40,rho=0.5".parse::<MethodSpec>().unwrap();
        assert_eq!(
            small.with("capacity=20,buffer=reservoir").unwrap().name(),
            "spring:rho=0.5,capacity=20,buffer=reservoir"
        );
        assert!(tuned.with("alpha=2").is_err() && tuned.with("epochs").is_err());
        assert_eq!("l2:strength=0.5".parse::<MethodSpec>().unwrap().strength(), Ok(0.5));
    }

    #[test]
    fn bad_names_say_what_there_is() {
        for (name, reason) in [
            ("sprig", "is no method; methods are base"),
            ("rag+retrieval", "cannot be combined"),
            ("spring:alpha", "key=value"),
            ("spring:alpha=much", "is no number"),
            ("spring:rho=1.5", "rho"),
            ("spring:mood=1", "no setting \"mood\""),
            ("spring:strength=1", "no setting \"strength\""),
            ("l2:strength=-1", "no number from 0"),
            ("spring:buffer=full", "residual, reservoir"),
            ("spring:epochs=0", "epochs"),
            ("spring:start=here", "base or domain"),
            ("base:epochs=3", "no setting \"epochs\" of it"),
            ("everything:alpha=1", "no setting \"alpha\" of it"),
            ("random_tokens:start=domain", "no setting \"start\" of it"),
            ("replay:sigma=0.5", "no setting \"sigma\" of it"),
        ] {
            let error = name.parse::<MethodSpec>().unwrap_err();
            assert!(error.contains(reason), "{name}: {error}");
        }
    }
}
