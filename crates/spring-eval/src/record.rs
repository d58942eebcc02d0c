//! What a run is asked for, and what it gives: the records that protocol, suites and pages share.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use spring_core::{StoredInteraction, spring_memory::UserId};
use spring_data::{
    Task, is_question,
    synth::{Detection, KindCount, KindScores, SelectionQuality, Truth},
};
use spring_metrics::{ContinualScores, Direction, Passages};

use crate::{Loss, Split};

/// What every adapter starts from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// A fresh adapter.
    #[default]
    Base,
    /// The domain adapter.
    Domain,
}

impl Start {
    /// The name in files and arguments.
    pub fn name(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Domain => "domain",
        }
    }
}

/// What a kind trains on in each period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trains {
    /// Nothing.
    Nothing,
    /// The first period, whole; nothing later.
    First,
    /// Every period whole.
    Everything,
    /// Every period whole, with as many older texts from a reservoir.
    Replay,
    /// Everything so far, from the starting point each time.
    SoFar,
    /// As many texts as SPRInG, at random.
    AsManyTexts,
    /// As many response tokens as SPRInG, at random.
    AsManyTokens,
    /// What SPRInG selects.
    Selection,
}

/// What a method reads beside the prompt when it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reads {
    /// Nothing.
    Nothing,
    /// Earlier texts, in the prompt.
    Prompt,
    /// SPRInG's buffer, through gate and mixture.
    Buffer,
}

/// How much each method may train.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Budget {
    /// The paper's: as many passes over its texts as the settings say, so that a selection costs
    /// less.
    Epochs,
    /// Equal optimiser tokens: in each period every method trains on as many response tokens as
    /// `everything` does under `epochs`, over and over its own texts; `cumulative`, which begins
    /// anew each time, on as many as in all periods so far.
    Steps,
}

impl Budget {
    /// The name in files and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Epochs => "epochs",
            Self::Steps => "steps",
        }
    }
}

/// What is generated on the diagonal of R.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Generation {
    /// Texts of each test part, the data set's own questions first, then the oldest. Default 0:
    /// nothing is generated.
    pub texts: usize,
    /// Most new tokens. Default 128.
    pub tokens: usize,
}

impl Default for Generation {
    fn default() -> Self {
        Self { texts: 0, tokens: 128 }
    }
}

impl Generation {
    /// Some texts of each test part, each of at most some new tokens.
    pub fn new(texts: usize, tokens: usize) -> Self {
        Self { texts, tokens }
    }
}

/// One method on one user.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct MethodRun {
    /// R\[t\]\[i\]: the loss after period t on the test part of period i. Empty for a program,
    /// which has no losses; so are the counts of each period below.
    pub matrix: Vec<Vec<Loss>>,
    /// Of methods that write through gate and mixture: the same of their adapter alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub adapter_matrix: Vec<Vec<Loss>>,
    /// Texts learned in each period.
    pub selected: Vec<usize>,
    /// Response tokens trained on in each period, over all epochs.
    pub tokens: Vec<usize>,
    /// Test texts on the diagonal for which retrieval took part.
    pub open: Vec<usize>,
    /// The texts generated on the diagonal, in the order of time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub generated: Vec<GeneratedText>,
    /// The suite's own metrics by name, each a mean over these texts. They are kept in
    /// `scores.jsonl`, not here.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metrics: BTreeMap<String, f64>,
    /// Share of these texts that the classifier of the users' real texts attributes to their user.
    /// It is kept in `attribution.json`, not here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attributed: Option<f64>,
    /// Share of the texts after a turning point that it attributes to the person before it; kept
    /// there too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale_written: Option<f64>,
    /// What is known where the truth of every text is known, per period: of synthetic users, and of
    /// streams with noise or a turning point.
    pub synthetic: Vec<SyntheticScores>,
    /// Seconds of wall time in all, as if no other method, seed or budget had been run: what was
    /// shared counts with the time that it took when it was done.
    pub seconds: f64,
}

impl MethodRun {
    /// R in nats per byte.
    pub fn per_byte(&self) -> Vec<Vec<Option<f64>>> {
        self.matrix
            .iter()
            .map(|row| row.iter().map(|loss| Some(loss.per_byte())).collect())
            .collect()
    }

    /// The loss on each period's test part right after that period, all periods together.
    pub fn diagonal(&self) -> Loss {
        self.matrix.iter().enumerate().filter_map(|(t, row)| row.get(t).copied()).sum()
    }

    /// The same without the first period, which most methods learn alike.
    pub fn diagonal_after_first(&self) -> Loss {
        Self::after_first(&self.matrix)
    }

    /// The same of the adapter alone; `None` of methods that write without the mixture.
    pub fn adapter_diagonal_after_first(&self) -> Option<Loss> {
        (!self.adapter_matrix.is_empty()).then(|| Self::after_first(&self.adapter_matrix))
    }

    fn after_first(matrix: &[Vec<Loss>]) -> Loss {
        matrix.iter().enumerate().skip(1).filter_map(|(t, row)| row.get(t).copied()).sum()
    }

    /// How the person after a turning point was learned, from the matrix R; `None` of a program.
    pub fn turn(&self, turn: Turn) -> Option<TurnScores> {
        let first = turn.first as usize;
        let loss = |row: &Vec<Loss>| -> f64 {
            row.iter().skip(first - 1).copied().sum::<Loss>().per_byte()
        };
        let losses: Vec<f64> = self.matrix.iter().map(loss).collect();
        let before = *losses.get(first.checked_sub(2)?)?;
        let after = losses.get(first - 1..)?;
        let gain = before - after.last()?;
        let reached = |loss: &f64| before - loss >= LEARNED * gain;
        let diagonal =
            self.matrix.iter().enumerate().skip(first - 1).filter_map(|(t, row)| row.get(t));
        Some(TurnScores {
            gain,
            delay: (gain > 0.0).then(|| after.iter().position(reached).map(|d| d + 1)).flatten(),
            loss: diagonal.copied().sum::<Loss>().per_byte(),
        })
    }

    /// The continual metrics in nats per byte, with `base` for the forward transfer.
    pub fn continual(&self, base: &Self) -> ContinualScores {
        let base = base.per_byte().into_iter().next().unwrap_or_default();
        ContinualScores::of(&self.per_byte(), &base, Direction::Lower)
    }
}

/// The part of what was gained by the end from which on somebody counts as learned.
const LEARNED: f64 = 0.8;

/// A turning point: from a period on a stream is another person's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Turn {
    /// The first period of the second person, from 2.
    pub first: u32,
}

impl Turn {
    /// The turning point of a stream that two real people wrote one after the other; `None` of any
    /// other, and where the turning point is not between two periods.
    pub(crate) fn of(splits: &[Split]) -> Option<Self> {
        let people = |split: &Split| -> Vec<usize> {
            let texts = split.train.iter().chain(&split.test).map(|text| &text.interaction);
            let real = texts.filter(|text| Truth::is_of_real_stream(text));
            real.filter_map(Truth::of).map(|truth| truth.style).collect()
        };
        let people: Vec<Vec<usize>> = splits.iter().map(people).collect();
        let first = people.iter().position(|people| people.contains(&1)).filter(|at| *at > 0)?;
        let are = |people: &[Vec<usize>], person: usize| {
            people.iter().flatten().all(|style| *style == person)
        };
        let is_turn = are(&people[..first], 0) && are(&people[first..], 1);
        is_turn.then_some(Self { first: first as u32 + 1 })
    }

    /// The place of the second person's first period, from 0.
    pub(crate) fn place(self) -> usize {
        self.first as usize - 1
    }
}

/// How the person after a turning point was learned: losses in nats per byte on that person's test
/// parts, those of all periods together.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct TurnScores {
    /// How much lower the loss is at the end than it was right before the turning point.
    pub gain: f64,
    /// Periods of the second person until at least 80 % of the gain was reached; `None` where
    /// nothing was gained.
    pub delay: Option<usize>,
    /// The loss on each of their test parts right after its period.
    pub loss: f64,
}

/// A generated text and the user's own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct GeneratedText {
    /// The period after which it was generated, from 1.
    pub period: u32,
    /// What the model wrote.
    pub predicted: String,
    /// What the user wrote.
    pub written: String,
    /// Whether it answers a question of the data set and is not of the user's profile.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub question: bool,
    /// What of it stands elsewhere word for word; `None` in runs of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copied: Option<Copied>,
    /// What was asked; `None` in runs of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
}

impl GeneratedText {
    /// What was written to the prompt of a test text after some periods, the last of which it
    /// belongs to, and after texts that were read along with it.
    pub(crate) fn new<'s>(
        predicted: String,
        text: &StoredInteraction,
        so_far: &'s [Split],
        read: impl IntoIterator<Item = &'s StoredInteraction>,
    ) -> Self {
        Self {
            period: so_far.last().map_or(0, |split| split.period),
            written: text.interaction.response.clone(),
            question: is_question(&text.interaction),
            copied: Some(Copied::of(&predicted, so_far, read)),
            prompt: Some(text.interaction.prompt.clone()),
            predicted,
        }
    }
}

/// The longest passages of a generated text that also stand in a text of the user, word for word:
/// their longest common substrings, in Unicode characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Copied {
    /// In one that could be learned by then, whatever the method learned.
    pub training: usize,
    /// In one that was read beside the prompt; `None` where none was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retrieved: Option<usize>,
}

impl Copied {
    fn of<'s>(
        predicted: &str,
        so_far: &'s [Split],
        read: impl IntoIterator<Item = &'s StoredInteraction>,
    ) -> Self {
        let passages = Passages::of(predicted);
        let response = |text: &'s StoredInteraction| text.interaction.response.as_str();
        let training = so_far.iter().flat_map(|split| &split.train).map(response);
        let mut read = read.into_iter().map(response).peekable();
        Self {
            training: passages.longest_in(training).characters,
            retrieved: read.peek().is_some().then(|| passages.longest_in(read).characters),
        }
    }
}

/// What can be measured where the truth is known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SyntheticScores {
    /// How well the selection found what is new.
    pub selection: SelectionQuality,
    /// Share of the period's test texts for which the model prefers the user's other style. After
    /// a turning point between two real people, the share of pairs of a test text of the first and
    /// one of the second of which the first's gained more over the base, in nats per byte, by the
    /// adapter alone; 0.5 is no preference.
    pub stale: Option<f64>,
    /// How many texts of each kind there were and how many were learned, in the later periods.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taken: Vec<KindCount>,
    /// How SPRInG's variants scored each kind of text; empty for other methods and without an
    /// adapter.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<KindScores>,
}

/// One period's sizes and SPRInG's drift.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PeriodSizes {
    /// Texts that could be learned.
    pub train: usize,
    /// Test texts.
    pub test: usize,
    /// Test texts left out as near-duplicates.
    pub dropped: usize,
    /// SPRInG's mean novelty before it learned the period, nats per token; `None` without an
    /// adapter.
    pub novelty: Option<f64>,
}

/// One user under one seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct UserRun {
    /// The user.
    pub user: UserId,
    /// The periods.
    pub periods: Vec<PeriodSizes>,
    /// The methods by name.
    pub methods: BTreeMap<String, MethodRun>,
    /// How well the change detector found the changes of a stream whose changes are known.
    pub detection: Option<Detection>,
    /// The turning point between two people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn: Option<Turn>,
}

/// Which run a line is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RunKey {
    /// The data set.
    pub data: String,
    /// How much each method may train.
    pub budget: Budget,
    /// The seed.
    pub seed: u64,
    /// The user.
    pub user: UserId,
}

impl RunKey {
    /// The run in words.
    pub fn name(&self) -> String {
        format!("{}, {}, seed {}, {}", self.data, self.budget.name(), self.seed, self.user)
    }
}

/// One line of `runs.jsonl`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RunLine {
    /// Which run it is.
    #[serde(flatten)]
    pub key: RunKey,
    /// What it gave.
    pub run: UserRun,
}

/// Who of a data set was evaluated, and who not: `users.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SuiteData {
    /// The data set.
    pub data: String,
    /// LaMP's or LongLaMP's task.
    pub task: Option<Task>,
    /// The users that were looked at.
    pub users: Vec<SuiteUser>,
    /// Further users, who have too few texts for two periods.
    pub too_few: usize,
    /// Users that the domain adapter learned from; 0 without one.
    pub domain_users: usize,
    /// Their texts.
    pub domain_texts: usize,
    /// How many of these users would have been evaluated, had there been others to learn the domain
    /// from.
    #[serde(default)]
    pub kept_back: usize,
    /// Methods that were not run, as they need a domain adapter and there is no one to learn it
    /// from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_run: Vec<String>,
    /// Users that are neither evaluated nor teach the domain adapter and whose texts are in others'
    /// streams, in a data set with noise or a turning point; 0 where the evaluated users lend them
    /// to each other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lenders: Option<usize>,
}

impl SuiteData {
    /// What the reader should know where users or methods are not what the suite asks for.
    pub fn notices(&self) -> Vec<String> {
        let mut notices = Vec::new();
        if self.kept_back > 0 {
            let (data, users) = (&self.data, self.kept_back);
            notices.push(format!(
                "{data}: all usable users would be evaluated, so {users} of them with fewest texts \
                 teach the domain adapter instead; for another division set users"
            ));
        }
        if self.lenders == Some(0) {
            notices.push(format!(
                "{}: noise and second people are taken from other evaluated users, as nobody else \
                 is left in the file; evaluate fewer users to have others lend them",
                self.data
            ));
        }
        let is_evaluated =
            |id: &UserId| self.users.iter().any(|of| of.user == *id && of.excluded.is_none());
        let seconds = self.users.iter().filter_map(|of| of.followed_by.as_ref());
        let shared = seconds.filter(|id| is_evaluated(id)).count();
        if shared > 0 && self.lenders != Some(0) {
            notices.push(format!(
                "{}: too few others have enough texts to follow at a turning point, so evaluated \
                 users do; second people who are evaluated themselves: {shared}",
                self.data
            ));
        }
        if !self.not_run.is_empty() {
            let methods = self.not_run.join(", ");
            notices.push(format!(
                "{}: not run, as there are too few users to keep one back for the domain adapter: \
                 {methods}",
                self.data
            ));
        }
        notices
    }

    /// How many users were evaluated, and how many of them with fewer periods than the others.
    pub fn evaluated(&self) -> (usize, usize) {
        let periods: Vec<usize> = self
            .users
            .iter()
            .filter(|user| user.excluded.is_none())
            .map(|user| user.periods)
            .collect();
        let most = periods.iter().copied().max().unwrap_or(0);
        (periods.len(), periods.iter().filter(|periods| **periods < most).count())
    }

    /// How many users were left out.
    pub fn left_out(&self) -> usize {
        self.too_few + self.users.iter().filter(|user| user.excluded.is_some()).count()
    }
}

/// A user of a data set: how their stream was cut, or why not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
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
    /// Whose stream follows theirs, in a data set with a turning point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub followed_by: Option<UserId>,
}

/// What a user is there for, in a suite that chooses settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Half {
    /// Settings are chosen on them, and nothing is reported.
    Choosing,
    /// What was chosen is reported on them.
    Reporting,
}

impl Half {
    /// Of the users of a data set, most texts first, every other one: the halves are alike in how
    /// much they wrote.
    pub(crate) fn of(place: usize) -> Self {
        if place.is_multiple_of(2) { Self::Choosing } else { Self::Reporting }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(seq: u64, response: &str) -> StoredInteraction {
        let interaction = serde_json::from_value(serde_json::json!({
            "user": "u", "id": format!("i{seq}"), "time": "2024-01-01T00:00:00Z",
            "prompt": "a prompt that nobody copies", "response": response
        }));
        StoredInteraction::new(seq, interaction.unwrap())
    }

    #[test]
    fn passages_are_looked_for_in_what_could_be_learned_and_in_what_was_read() {
        let split = |period: u32, train: &[&str], test: &str| Split {
            period,
            train: train.iter().zip(0..).map(|(said, seq)| text(seq, said)).collect(),
            test: vec![text(9, test)],
            dropped: 0,
        };
        let splits = [
            split(1, &["Dear Tom, the kettle", "yes"], "see you on Sunday"),
            split(2, &["no", "the boat is ready"], "see you on Monday"),
        ];
        let written = "the boat: a prompt, see you on Sunday".to_owned();
        let of = |so_far: &[Split], read: &[&StoredInteraction]| {
            let read = read.iter().copied();
            let text = GeneratedText::new(written.clone(), &splits[0].test[0], so_far, read);
            assert_eq!(text.prompt.as_deref(), Some("a prompt that nobody copies"));
            (text.period, text.copied.unwrap())
        };
        // "the " of the first period; neither its test text nor a prompt counts.
        let copied = Copied { training: 4, retrieved: None };
        assert_eq!(of(&splits[..1], &[]), (1, copied));
        // "the boat", and of the text that was read "yes" has "e" in common.
        let copied = Copied { training: 8, retrieved: Some(1) };
        assert_eq!(of(&splits, &[&splits[0].train[1]]), (2, copied));
    }

    /// Losses in nats per byte, of texts of 8 bytes each.
    fn matrix(rows: &[&[f64]]) -> MethodRun {
        let loss = |per_byte: &f64| Loss::new(per_byte * 8.0, 4, 8, 1);
        let matrix = rows.iter().map(|row| row.iter().map(loss).collect()).collect();
        MethodRun { matrix, ..MethodRun::default() }
    }

    #[test]
    fn somebody_is_learned_when_most_of_the_gain_is_there() {
        let turn = Turn { first: 3 };
        // On the second person's three test parts: 2, then 1.5, 13/12 and 1.
        let slow = matrix(&[
            &[1.0, 1.0, 2.5, 2.5, 2.5],
            &[1.0, 1.0, 2.0, 2.0, 2.0],
            &[1.0, 1.0, 1.25, 1.5, 1.75],
            &[1.0, 1.0, 1.0, 1.25, 1.0],
            &[1.0, 1.0, 1.0, 1.0, 1.0],
        ]);
        // 80 % of the gain of 1 are reached at 1.2.
        let scores = slow.turn(turn).unwrap();
        assert_eq!((scores.gain, scores.delay), (1.0, Some(2)));
        // The diagonal after the turning point.
        assert_eq!(scores.loss, (1.25 + 1.25 + 1.0) / 3.0);
        let at_once = matrix(&[&[1.0, 2.0, 2.0], &[1.0, 2.0, 2.0], &[1.0, 2.0, 1.0]]);
        assert_eq!(at_once.turn(turn).unwrap().delay, Some(1));
        // Who learns nothing is never there.
        let base = matrix(&[&[1.0, 2.0, 2.0][..]; 3]);
        let scores = base.turn(turn).unwrap();
        assert_eq!((scores.gain, scores.delay, scores.loss), (0.0, None, 2.0));
        assert_eq!(MethodRun::default().turn(turn), None);
    }

    #[test]
    fn a_turning_point_is_between_two_periods_of_two_people() {
        let of = |period: u32, people: &[usize]| {
            let mark = |person: &usize| {
                let mut text = text(u64::from(period), "said");
                let mixed = serde_json::json!({ "person": person, "joined": true, "by": "u" });
                text.interaction.meta = Some(serde_json::json!({ "mixed": mixed }));
                text
            };
            let mut train: Vec<StoredInteraction> = people.iter().map(mark).collect();
            let test = train.pop().into_iter().collect();
            Split { period, train, test, dropped: 0 }
        };
        let turn = |people: &[&[usize]]| {
            let splits: Vec<Split> =
                people.iter().zip(1..).map(|(people, period)| of(period, people)).collect();
            Turn::of(&splits).map(|turn| turn.first)
        };
        assert_eq!(turn(&[&[0, 0], &[0, 0], &[1, 1]]), Some(3));
        assert_eq!(turn(&[&[0, 0], &[1, 1], &[1, 1]]), Some(2));
        // In the middle of a period, there and back, and none.
        assert_eq!(turn(&[&[0, 0], &[0, 1], &[1, 1]]), None);
        assert_eq!(turn(&[&[0, 0], &[1, 1], &[0, 0]]), None);
        assert_eq!(
            (turn(&[&[0, 0], &[0, 0]]), turn(&[&[1, 1], &[1, 1]]), turn(&[])),
            (None, None, None)
        );
        let plain = Split { train: vec![text(1, "said")], ..of(1, &[]) };
        assert_eq!(Turn::of(&[plain.clone(), plain]), None);
    }

    #[test]
    fn texts_of_older_runs_say_nothing_of_copies_and_prompts() {
        let old = r#"{"period":1,"predicted":"a","written":"b"}"#;
        let text: GeneratedText = serde_json::from_str(old).unwrap();
        assert_eq!((text.copied, &text.prompt), (None, &None));
        assert_eq!(serde_json::to_string(&text).unwrap(), old);
    }
}
