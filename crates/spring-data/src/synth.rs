//! Synthetic users whose preferences drift in a known way: what a selection should take, when a
//! detector should ring, and which preference is stale are known for every text.
//!
//! A user has two *styles*, which differ in everything that a style decides (greeting, opening,
//! adjectives, connective, closing, punctuation). The content of a message (topic, event, opinion,
//! detail) does not depend on them. A share of the messages is noise: forwarded boilerplate,
//! garbled letters, or somebody else's style on an odd day.

mod judge;
mod words;

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use spring_memory::{Interaction, InteractionId, UserId};

pub use self::judge::{
    Detection, DetectionScores, KindCount, KindScores, SelectionQuality, TextKind, count_kinds,
    selection_quality, stale_gain_rate, stale_preference_rate,
};
use self::words::{Content, Style, forwarded, garbled};
use crate::{Error, Result, hash};

/// How a user's preference moves from one style to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Drift {
    /// Not at all.
    None,
    /// At once, half way.
    Sudden,
    /// With growing probability from half way to three quarters.
    Gradual,
    /// There and back: a change after every quarter.
    Recurring,
}

impl Drift {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::None, Self::Sudden, Self::Gradual, Self::Recurring];

    /// Positions at which the preference begins to change, among this many texts.
    pub fn changes(self, texts: usize) -> Vec<usize> {
        match self {
            Self::None => vec![],
            Self::Sudden | Self::Gradual => vec![texts / 2],
            Self::Recurring => vec![texts / 4, texts / 2, texts * 3 / 4],
        }
    }

    /// The style in force at a position; `draw` is uniform in [0, 1).
    fn style(self, position: usize, texts: usize, draw: f64) -> usize {
        let begun = self.changes(texts).iter().filter(|change| position >= **change).count();
        match self {
            Self::Gradual if begun == 1 => {
                let along = (position - texts / 2) as f64 / (texts as f64 / 4.0);
                usize::from(draw < along)
            }
            _ => begun % 2,
        }
    }

    /// The name in arguments and files.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Sudden => "sudden",
            Self::Gradual => "gradual",
            Self::Recurring => "recurring",
        }
    }
}

impl std::str::FromStr for Drift {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Self, String> {
        let found = Self::ALL.into_iter().find(|drift| drift.name() == name);
        found.ok_or_else(|| format!("{name:?} is none of none, sudden, gradual, recurring"))
    }
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a text says nothing about its user's preference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Noise {
    /// Something that somebody else wrote, handed on.
    Forwarded,
    /// Letters without sense; of synthetic users alone.
    Garbled,
    /// The user's topic in a style that is neither of theirs; of synthetic users alone.
    OddDay,
    /// What somebody else wrote at the user's keyboard; of real users alone.
    OtherPerson,
    /// A block of code or a log; of real users alone.
    PastedCode,
}

/// What is known of a text whose stream was made for a measurement; it stands in the interaction's
/// `meta`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Truth {
    /// How the user drifts.
    pub drift: Drift,
    /// The style of the text, 0 or 1; of noise the one that was in force. In a real stream that two
    /// people wrote one after the other, which of them.
    pub style: usize,
    /// Whether it is noise, and which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noise: Option<Noise>,
    /// The same message in the user's other style; absent for noise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counterpart: Option<String>,
}

impl Truth {
    /// The truth in an interaction's `meta`; `None` for texts whose stream is as it was found.
    pub fn of(text: &Interaction) -> Option<Self> {
        let meta = text.meta.as_ref()?;
        let synthetic = || serde_json::from_value(meta.clone()).ok();
        RealTruth::of(meta).map(RealTruth::into_truth).or_else(synthetic)
    }

    /// Whether a text is of a real person's stream that was mixed with other people's texts.
    pub fn is_of_real_stream(text: &Interaction) -> bool {
        text.meta.as_ref().and_then(RealTruth::of).is_some()
    }
}

/// The same of a text that a real person wrote, beside whatever else its `meta` holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RealTruth {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) noise: Option<Noise>,
    pub(crate) mixed: Mixed,
}

/// Where a text of a mixed stream comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mixed {
    /// Which of two people the stream is of at that place, 0 or 1.
    pub(crate) person: usize,
    /// Whether two people's streams were joined.
    pub(crate) joined: bool,
    /// Who wrote the text.
    pub(crate) by: String,
}

impl RealTruth {
    fn of(meta: &serde_json::Value) -> Option<Self> {
        let mixed = meta.get("mixed")?;
        let noise = meta.get("noise").cloned().unwrap_or_default();
        Some(Self {
            noise: serde_json::from_value(noise).ok()?,
            mixed: serde_json::from_value(mixed.clone()).ok()?,
        })
    }

    fn into_truth(self) -> Truth {
        let Self { noise, mixed } = self;
        let drift = if mixed.joined { Drift::Sudden } else { Drift::None };
        Truth { drift, style: mixed.person, noise, counterpart: None }
    }

    /// Puts it into a text's `meta`, in the place of what was there under these names.
    pub(crate) fn put(&self, text: &mut Interaction) {
        let mut meta = match text.meta.take() {
            Some(serde_json::Value::Object(meta)) => meta,
            Some(other) => [("meta".to_owned(), other)].into_iter().collect(),
            None => serde_json::Map::new(),
        };
        meta.remove("noise");
        if let Ok(serde_json::Value::Object(own)) = serde_json::to_value(self) {
            meta.extend(own);
        }
        text.meta = Some(meta.into());
    }
}

/// What to generate.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct SynthConfig {
    /// Users; they get the kinds of drift in turn.
    pub users: usize,
    /// Texts of each.
    pub texts: usize,
    /// The kinds of drift.
    pub drifts: Vec<Drift>,
    /// Share of texts that are noise, in [0, 1].
    pub noise: f64,
    /// Another seed, other users.
    pub seed: u64,
}

spring_numerics::setters! {
    SynthConfig {
        with_users(users: usize);
        with_texts(texts: usize);
        with_drifts(drifts: Vec<Drift>);
        with_noise(noise: f64);
        with_seed(seed: u64);
    }
}

impl Default for SynthConfig {
    fn default() -> Self {
        Self { users: 8, texts: 120, drifts: Drift::ALL.to_vec(), noise: 0.1, seed: 0 }
    }
}

/// What stands in place of a file's name for users who are made up on the spot.
const SYNTHETIC: &str = "synthetic:";

/// The most texts that a name may ask for.
const MOST_TEXTS: usize = 1_000_000;

impl SynthConfig {
    /// Reads `synthetic:users=8,texts=120,drift=sudden+gradual,noise=0.1,seed=0`, in which every
    /// setting may be left out; `None` for the name of a file.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] for a setting that is unknown or out of range.
    pub fn of_name(name: &str) -> Option<Result<Self>> {
        name.strip_prefix(SYNTHETIC).map(Self::of_settings)
    }

    fn of_settings(settings: &str) -> Result<Self> {
        let mut config = Self::default();
        for setting in settings.split(',').filter(|setting| !setting.is_empty()) {
            let fail = |reason: &str| Error::Setting(format!("{SYNTHETIC} {setting}: {reason}"));
            let (key, value) = setting.split_once('=').ok_or_else(|| fail("KEY=VALUE"))?;
            let number = || value.parse().map_err(|_| fail("a whole number"));
            match key {
                "users" => config.users = number()?,
                "texts" => config.texts = number()?,
                "seed" => config.seed = value.parse().map_err(|_| fail("a whole number"))?,
                "noise" => {
                    config.noise = value.parse().map_err(|_| fail("a number from 0 to 1"))?
                }
                "drift" => {
                    let kinds = value.split('+').map(str::parse);
                    config.drifts =
                        kinds.collect::<Result<_, String>>().map_err(|error| fail(&error))?;
                }
                _ => return Err(fail("users, texts, drift, noise and seed are the settings")),
            }
        }
        if config.users.saturating_mul(config.texts) > MOST_TEXTS {
            let reason = format!("{SYNTHETIC} at most {MOST_TEXTS} texts of all users together");
            return Err(Error::Setting(reason));
        }
        Ok(config)
    }
}

/// Generates the users' texts, user by user in the order of time. The same settings give the same
/// texts, and a user's texts do not depend on how many users there are.
///
/// # Errors
///
/// [`Error::Setting`] for a setting out of range.
pub fn synthesize(config: &SynthConfig) -> Result<Vec<Interaction>> {
    if config.drifts.is_empty() || !(0.0..=1.0).contains(&config.noise) {
        let reason =
            "synthetic users need at least one kind of drift and a share of noise between 0 and 1";
        return Err(Error::Setting(reason.into()));
    }
    let users = (0..config.users).map(|number| {
        let name = format!("s{:03}", number + 1);
        let user = UserId::new(name).map_err(|error| Error::Setting(error.to_string()))?;
        user_texts(config, user, config.drifts[number % config.drifts.len()])
    });
    Ok(users.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
}

fn user_texts(config: &SynthConfig, user: UserId, drift: Drift) -> Result<Vec<Interaction>> {
    let key: [&[u8]; 4] =
        [&config.seed.to_le_bytes(), user.as_str().as_bytes(), &[0; 4], b"synthetic user"];
    let mut rng = ChaCha8Rng::seed_from_u64(hash::of_parts(&key));
    let first = Style::draw(&mut rng);
    let styles = [first, first.opposite(&mut rng)];
    // 2024-01-01; then a message every half to one and a half days.
    let mut time =
        Timestamp::from_second(1_704_067_200).map_err(|e| Error::Setting(e.to_string()))?;
    let mut texts = Vec::with_capacity(config.texts);
    for position in 0..config.texts {
        time += SignedDuration::from_secs(rng.random_range(43_200..129_600));
        let style = drift.style(position, config.texts, rng.random());
        let content = Content::draw(&mut rng);
        let noise = (rng.random::<f64>() < config.noise).then(|| match rng.random_range(0..3) {
            0 => Noise::Forwarded,
            1 => Noise::Garbled,
            _ => Noise::OddDay,
        });
        let response = match noise {
            None => content.written(styles[style]),
            Some(Noise::Forwarded) => forwarded(&mut rng),
            Some(Noise::Garbled) => garbled(&mut rng),
            // An odd day: the kinds of real people are not drawn.
            Some(_) => {
                let odd = styles[0].opposite(&mut rng);
                content
                    .written(if odd == styles[1] { odd.opposite(&mut rng) } else { odd })
                    .to_uppercase()
            }
        };
        let counterpart = noise.is_none().then(|| content.written(styles[1 - style]));
        let truth = Truth { drift, style, noise, counterpart };
        let id = InteractionId::new(format!("{}-{:04}", user, position + 1));
        let id = id.map_err(|error| Error::Setting(error.to_string()))?;
        let text = Interaction::new(user.clone(), id, time, content.asked(), response);
        texts.push(text.with_meta(serde_json::to_value(truth).ok()));
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn texts(drift: Drift, noise: f64) -> Vec<(Interaction, Truth)> {
        let config = SynthConfig { users: 1, texts: 200, drifts: vec![drift], noise, seed: 5 };
        let texts = synthesize(&config).unwrap();
        texts.into_iter().map(|text| (text.clone(), Truth::of(&text).unwrap())).collect()
    }

    #[test]
    fn a_name_says_what_to_make_up() {
        let of = |name| SynthConfig::of_name(name).unwrap();
        assert!(SynthConfig::of_name("synthetic.jsonl").is_none());
        assert_eq!(of("synthetic:").unwrap(), SynthConfig::default());
        let drifts = vec![Drift::Sudden, Drift::None];
        let expected = SynthConfig { users: 3, texts: 9, drifts, noise: 0.5, seed: 7 };
        let name = "synthetic:users=3,texts=9,drift=sudden+none,noise=0.5,seed=7";
        assert_eq!(of(name).unwrap(), expected);
        for (name, said) in [
            ("synthetic:user=3", "are the settings"),
            ("synthetic:users", "KEY=VALUE"),
            ("synthetic:users=-1", "whole number"),
            ("synthetic:drift=odd", "is none of"),
            ("synthetic:users=1000000,texts=1000000", "at most 1000000 texts"),
        ] {
            let error = of(name).unwrap_err().to_string();
            assert!(error.contains(said), "{name}: {error}");
        }
    }

    #[test]
    fn users_repeat_and_do_not_depend_on_each_other() {
        let few = synthesize(&SynthConfig { users: 2, ..SynthConfig::default() }).unwrap();
        let many = synthesize(&SynthConfig::default()).unwrap();
        assert_eq!((few.len(), many.len()), (240, 960));
        assert_eq!(few[..], many[..240]);
        assert_ne!(
            few[0].response,
            synthesize(&SynthConfig { seed: 1, ..SynthConfig::default() }).unwrap()[0].response
        );
        assert!(few.windows(2).all(|w| w[0].user != w[1].user || w[0].time < w[1].time));
        assert!(synthesize(&SynthConfig { noise: 1.5, ..SynthConfig::default() }).is_err());
    }

    #[test]
    fn styles_change_where_the_truth_says() {
        let styles =
            |drift| texts(drift, 0.0).iter().map(|(_, truth)| truth.style).collect::<Vec<_>>();
        assert_eq!(styles(Drift::None), [0; 200]);
        let flips = |drift| {
            let styles = styles(drift);
            (1..200).filter(|i| styles[*i] != styles[i - 1]).collect::<Vec<_>>()
        };
        for drift in [Drift::Sudden, Drift::Recurring] {
            assert_eq!(flips(drift), drift.changes(200));
        }
        let gradual = styles(Drift::Gradual);
        assert!(gradual[..100].iter().all(|s| *s == 0) && gradual[150..].iter().all(|s| *s == 1));
        let early = gradual[100..125].iter().sum::<usize>();
        let late = gradual[125..150].iter().sum::<usize>();
        assert!(0 < early && early < late && late < 25, "{early} {late}");
    }

    #[test]
    fn counterparts_say_the_same_in_the_other_style() {
        for (text, truth) in texts(Drift::Sudden, 0.3) {
            assert_eq!(truth.noise.is_none(), truth.counterpart.is_some());
            if let Some(counterpart) = truth.counterpart {
                assert_ne!(counterpart, text.response);
                let topic =
                    words::TOPICS.iter().find(|topic| text.response.contains(*topic)).unwrap();
                assert!(counterpart.contains(topic) && text.prompt.contains(topic));
            }
        }
        let noisy =
            texts(Drift::None, 0.3).iter().filter(|(_, truth)| truth.noise.is_some()).count();
        assert!((40..80).contains(&noisy), "{noisy}");
    }
}
