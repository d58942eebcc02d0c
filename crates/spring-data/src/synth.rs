//! Synthetic users whose preferences drift in a known way: what a selection should take, when a
//! detector should ring, and which preference is stale are known for every text.
//!
//! A user has two *styles*, which differ in everything that a style decides (greeting, opening,
//! adjectives, connective, closing, punctuation). The content of a message (topic, event, opinion,
//! detail) does not depend on them. A share of the messages is noise: forwarded boilerplate,
//! garbled letters, or somebody else's style on an odd day.

use std::fmt;

use jiff::{SignedDuration, Timestamp};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use spring_memory::{Interaction, InteractionId, UserId};

use crate::{Error, Result, hash};

/// How a user's preference moves from one style to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Noise {
    /// Boilerplate that somebody else wrote.
    Forwarded,
    /// Letters without sense.
    Garbled,
    /// The user's topic in a style that is neither of theirs.
    OddDay,
}

/// What is true of a synthetic text; it stands in the interaction's `meta`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Truth {
    /// How the user drifts.
    pub drift: Drift,
    /// The style of the text, 0 or 1; of noise the one that was in force.
    pub style: usize,
    /// Whether it is noise, and which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noise: Option<Noise>,
    /// The same message in the user's other style; absent for noise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counterpart: Option<String>,
}

/// What a synthetic text is to a model that has learned its user up to the period before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TextKind {
    /// In the style that was in force when the period before ended.
    Known,
    /// In the user's other style.
    New,
    /// [`Noise::Forwarded`]
    Forwarded,
    /// [`Noise::Garbled`]
    Garbled,
    /// [`Noise::OddDay`]
    OddDay,
}

impl TextKind {
    /// The name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Known => "known style",
            Self::New => "new style",
            Self::Forwarded => "noise, forwarded",
            Self::Garbled => "noise, garbled",
            Self::OddDay => "noise, odd day",
        }
    }
}

/// How a period's texts of one kind were scored before they were learned, and how many were
/// selected.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct KindScores {
    /// The kind.
    pub kind: TextKind,
    /// Texts.
    pub texts: usize,
    /// Those of them that were selected.
    pub selected: usize,
    /// Mean novelty N, in the unit of the score.
    pub novelty: f64,
    /// Mean quality Q, in the same.
    pub quality: f64,
    /// Mean score S.
    pub score: f64,
}

impl KindScores {
    /// Some scores of one kind, pooled; `None` of nothing.
    pub fn pooled<'a>(scores: impl IntoIterator<Item = &'a Self>) -> Option<Self> {
        scores.into_iter().copied().reduce(|a, b| {
            let texts = a.texts + b.texts;
            let mean = |x: f64, y: f64| (x * a.texts as f64 + y * b.texts as f64) / texts as f64;
            Self {
                kind: a.kind,
                texts,
                selected: a.selected + b.selected,
                novelty: mean(a.novelty, b.novelty),
                quality: mean(a.quality, b.quality),
                score: mean(a.score, b.score),
            }
        })
    }
}

impl Truth {
    /// What the text is where `before` was the style in force when the period before ended.
    pub fn kind(&self, before: usize) -> TextKind {
        match self.noise {
            Some(Noise::Forwarded) => TextKind::Forwarded,
            Some(Noise::Garbled) => TextKind::Garbled,
            Some(Noise::OddDay) => TextKind::OddDay,
            None if self.style == before => TextKind::Known,
            None => TextKind::New,
        }
    }

    /// The truth in an interaction's `meta`; `None` for data that is not synthetic.
    pub fn of(text: &Interaction) -> Option<Self> {
        serde_json::from_value(text.meta.clone()?).ok()
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
            Some(Noise::OddDay) => {
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

const GREETINGS: [&str; 6] = [
    "Hi all,",
    "Dear neighbours,",
    "Hey there,",
    "Good morning,",
    "To whom it may concern:",
    "Folks,",
];
const OPENINGS: [&str; 6] = [
    "Quick note:",
    "I wanted to let you know that",
    "So,",
    "For the record,",
    "You will be glad to hear that",
    "Long story short,",
];
const GOOD: [&str; 6] =
    ["great", "most satisfactory", "super nice", "quite pleasant", "brilliant", "decent"];
const BAD: [&str; 6] =
    ["awful", "rather disappointing", "a total mess", "less than ideal", "hopeless", "poor"];
const CONNECTIVES: [&str; 6] =
    ["Also,", "Furthermore,", "Oh, and", "Besides,", "By the way,", "On top of that,"];
const CLOSINGS: [&str; 6] =
    ["Cheers!", "Kind regards", "Talk soon", "Respectfully yours", "Over and out.", "Thanks a lot"];
const MARKS: [&str; 6] = [".", "!", " ...", ";", "!!", " -"];

/// What a style decides: a choice from each of the lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Style([usize; 6]);

impl Style {
    fn draw(rng: &mut ChaCha8Rng) -> Self {
        Self(std::array::from_fn(|_| rng.random_range(0..6)))
    }

    /// A style that differs in every choice.
    fn opposite(self, rng: &mut ChaCha8Rng) -> Self {
        Self(self.0.map(|choice| (choice + rng.random_range(1..6)) % 6))
    }
}

const TOPICS: [&str; 16] = [
    "the bakery",
    "our bus line",
    "the school garden",
    "the old bridge",
    "the reading group",
    "the market hall",
    "the swimming pool",
    "the choir",
    "the bicycle shed",
    "the town library",
    "the new playground",
    "the ferry",
    "the film club",
    "the allotments",
    "the repair cafe",
    "the weather station",
];
const EVENTS: [&str; 10] = [
    "opened again on Monday",
    "moved its meeting to the evening",
    "lost two volunteers",
    "found a new roof",
    "raised its prices",
    "ran out of chairs",
    "won a small prize",
    "closed for repairs",
    "changed its timetable",
    "invited everybody to lunch",
];
const DETAILS: [&str; 10] = [
    "the door was painted green",
    "nobody had brought a key",
    "there were forty guests",
    "the lamp kept flickering",
    "a dog slept under the table",
    "the rain came through the window",
    "the coffee was free",
    "the list hangs at the entrance",
    "the children drew a map",
    "two buckets are missing",
];

/// What a message says, whatever the style.
#[derive(Debug, Clone, Copy)]
struct Content {
    topic: &'static str,
    event: &'static str,
    detail: &'static str,
    good: bool,
}

impl Content {
    fn draw(rng: &mut ChaCha8Rng) -> Self {
        Self {
            topic: TOPICS[rng.random_range(0..TOPICS.len())],
            event: EVENTS[rng.random_range(0..EVENTS.len())],
            detail: DETAILS[rng.random_range(0..DETAILS.len())],
            good: rng.random(),
        }
    }

    fn asked(self) -> String {
        format!("Write a message about {}, which {}; {}.", self.topic, self.event, self.detail)
    }

    fn written(self, style: Style) -> String {
        let Style([greeting, opening, adjective, connective, closing, mark]) = style;
        let opinion = if self.good { GOOD[adjective] } else { BAD[adjective] };
        let mark = MARKS[mark];
        format!(
            "{} {} {} {}{mark} I find that {opinion}{mark} {} {}{mark} {}",
            GREETINGS[greeting],
            OPENINGS[opening],
            self.topic,
            self.event,
            CONNECTIVES[connective],
            self.detail,
            CLOSINGS[closing]
        )
    }
}

fn forwarded(rng: &mut ChaCha8Rng) -> String {
    let number = rng.random_range(10_000..100_000);
    let what = ["Invoice", "Parcel", "Ticket", "Booking"][rng.random_range(0..4)];
    format!(
        "FW: {what} {number} has been processed. This message was sent automatically, please do \
         not reply to it."
    )
}

fn garbled(rng: &mut ChaCha8Rng) -> String {
    let words = rng.random_range(8..20);
    let mut word =
        || (0..rng.random_range(2..9)).map(|_| char::from(rng.random_range(b'a'..=b'z'))).collect();
    (0..words).map(|_| word()).collect::<Vec<String>>().join(" ")
}

/// How well a selection found what carries new preference.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SelectionQuality {
    /// Share of the selected texts that carry new preference: no noise, and of another style than
    /// the one in force when the period before ended. `None` if nothing was selected or nothing
    /// carries new preference.
    pub precision: Option<f64>,
    /// Share of the texts with new preference that were selected; `None` if there are none.
    pub recall: Option<f64>,
    /// Share of the selected texts that are no noise; `None` if nothing was selected.
    pub clean: Option<f64>,
    /// The same share among all texts of the period, which is what chance gives.
    pub clean_by_chance: Option<f64>,
}

/// Judges the selection of one period. `before` is the style in force when the period before ended
/// (`None` for the first period, in which every text that is no noise is new).
pub fn selection_quality(period: &[(Truth, bool)], before: Option<usize>) -> SelectionQuality {
    let is_new = |truth: &Truth| truth.noise.is_none() && before != Some(truth.style);
    let count = |keep: &dyn Fn(&Truth, bool) -> bool| {
        period.iter().filter(|(truth, selected)| keep(truth, *selected)).count()
    };
    let (selected, new) = (count(&|_, selected| selected), count(&|truth, _| is_new(truth)));
    let both = count(&|truth, selected| selected && is_new(truth));
    let clean = count(&|truth, selected| selected && truth.noise.is_none());
    let all_clean = count(&|truth, _| truth.noise.is_none());
    let share = |part: usize, whole: usize| (whole > 0).then(|| part as f64 / whole as f64);
    SelectionQuality {
        precision: share(both, selected).filter(|_| new > 0),
        recall: share(both, new),
        clean: share(clean, selected),
        clean_by_chance: share(all_clean, period.len()),
    }
}

/// How well changes were detected.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Detection {
    /// For each true change the texts until the first alarm after it, before the next change;
    /// `None` if it was missed.
    pub delays: Vec<Option<usize>>,
    /// Alarms that are the first after no change.
    pub false_alarms: usize,
}

impl Detection {
    /// Compares alarms with true changes, both as positions in a stream; alarms in ascending order.
    pub fn of(changes: &[usize], alarms: &[usize]) -> Self {
        let end = |i: usize| changes.get(i + 1).copied().unwrap_or(usize::MAX);
        let delays: Vec<Option<usize>> = changes
            .iter()
            .enumerate()
            .map(|(i, change)| {
                alarms.iter().find(|a| (*change..end(i)).contains(a)).map(|a| a - change)
            })
            .collect();
        let found = delays.iter().flatten().count();
        Self { delays, false_alarms: alarms.len() - found }
    }

    /// Mean delay of the changes that were found, in texts.
    pub fn mean_delay(&self) -> Option<f64> {
        let found: Vec<f64> = self.delays.iter().flatten().map(|delay| *delay as f64).collect();
        (!found.is_empty()).then(|| found.iter().sum::<f64>() / found.len() as f64)
    }
}

/// How well changes were detected in some streams together.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct DetectionScores {
    /// True changes.
    pub changes: usize,
    /// How many of them were found.
    pub found: usize,
    /// Mean delay of those, in texts; `None` if none was found.
    pub mean_delay: Option<f64>,
    /// Alarms that are the first after no change.
    pub false_alarms: usize,
}

impl DetectionScores {
    /// Every change counts alike, whichever stream it is of; `None` without streams.
    pub fn pooled<'a>(streams: impl IntoIterator<Item = &'a Detection>) -> Option<Self> {
        let mut all: Option<Detection> = None;
        for stream in streams {
            let all = all.get_or_insert_with(|| Detection { delays: vec![], false_alarms: 0 });
            all.delays.extend(&stream.delays);
            all.false_alarms += stream.false_alarms;
        }
        let all = all?;
        Some(Self {
            changes: all.delays.len(),
            found: all.delays.iter().flatten().count(),
            mean_delay: all.mean_delay(),
            false_alarms: all.false_alarms,
        })
    }
}

/// How often a model prefers the style that is no longer the user's: the share of pairs in which
/// the text in the old style scores higher than the same message in the current one. A score is
/// anything that is higher for what the model would rather write, such as nats per token, or the
/// ROUGE of a generated text. `None` without pairs.
pub fn stale_preference_rate(current_and_stale: &[(f64, f64)]) -> Option<f64> {
    let stale = current_and_stale.iter().filter(|(current, stale)| stale > current).count();
    (!current_and_stale.is_empty()).then(|| stale as f64 / current_and_stale.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(drift: Drift, noise: f64) -> Vec<(Interaction, Truth)> {
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
                let topic = TOPICS.iter().find(|topic| text.response.contains(*topic)).unwrap();
                assert!(counterpart.contains(topic) && text.prompt.contains(topic));
            }
        }
        let noisy =
            texts(Drift::None, 0.3).iter().filter(|(_, truth)| truth.noise.is_some()).count();
        assert!((40..80).contains(&noisy), "{noisy}");
    }

    #[test]
    fn a_perfect_selection_has_precision_and_recall_1() {
        let truths = texts(Drift::Sudden, 0.2).into_iter().map(|(_, truth)| truth);
        let judged = |select: &dyn Fn(&Truth) -> bool, before| {
            let period: Vec<_> =
                truths.clone().skip(80).take(40).map(|t| (t.clone(), select(&t))).collect();
            selection_quality(&period, before)
        };
        let perfect = judged(&|t| t.noise.is_none() && t.style == 1, Some(0));
        assert_eq!(
            (perfect.precision, perfect.recall, perfect.clean),
            (Some(1.0), Some(1.0), Some(1.0))
        );
        let all = judged(&|_| true, Some(0));
        assert_eq!(all.recall, Some(1.0));
        assert_eq!(all.clean, all.clean_by_chance);
        assert!(all.precision.unwrap() < 0.6 && all.clean.unwrap() < 1.0);
        let none = judged(&|_| false, Some(0));
        assert_eq!((none.precision, none.recall, none.clean), (None, Some(0.0), None));
        let first = judged(&|t| t.noise.is_none(), None);
        assert_eq!((first.precision, first.recall), (Some(1.0), Some(1.0)));
    }

    #[test]
    fn kinds_are_pooled_by_their_texts() {
        let truths: Vec<Truth> =
            texts(Drift::Sudden, 0.3).into_iter().map(|(_, truth)| truth).collect();
        for truth in &truths {
            let is_noise = !matches!(truth.kind(0), TextKind::Known | TextKind::New);
            assert_eq!(is_noise, truth.noise.is_some());
            assert!(is_noise || (truth.kind(0) == TextKind::New) == (truth.style == 1));
        }
        let of = |texts, selected, novelty| KindScores {
            kind: TextKind::New,
            texts,
            selected,
            novelty,
            quality: -4.0,
            score: novelty - 2.0,
        };
        assert_eq!(KindScores::pooled(&[of(1, 1, 1.0), of(3, 0, 2.0)]), Some(of(4, 1, 1.75)));
        assert_eq!(KindScores::pooled(&[]), None);
    }

    #[test]
    fn delays_count_from_the_change_to_the_first_alarm() {
        let detection = Detection::of(&[50, 100, 150], &[10, 53, 60, 155]);
        assert_eq!(
            (detection.delays.clone(), detection.false_alarms),
            (vec![Some(3), None, Some(5)], 2)
        );
        assert_eq!(detection.mean_delay(), Some(4.0));
        assert_eq!(Detection::of(&[], &[3]), Detection { delays: vec![], false_alarms: 1 });
        assert_eq!(Detection::of(&[5], &[]).mean_delay(), None);
    }

    #[test]
    fn stale_is_what_prefers_the_old() {
        assert_eq!(
            stale_preference_rate(&[(-1.0, -2.0), (-2.0, -1.0), (-1.0, -1.0), (-3.0, -1.0)]),
            Some(0.5)
        );
        assert_eq!(stale_preference_rate(&[]), None);
    }
}
