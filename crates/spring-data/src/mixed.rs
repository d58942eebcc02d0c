//! Streams of real texts in which a selection has something to tell apart: a user's own texts with
//! what other people wrote among them, or two people's streams one after the other.
//!
//! Every text is somebody's real one; only the frame of a forwarded text and the marks of a quoted
//! one are added. What is known of each stands in its `meta`, beside what was there:
//! `noise`, and `mixed` with the person whose stream it is, and who wrote it.
//! [`Truth::of`](crate::synth::Truth::of) reads it.

mod code;

use std::collections::HashSet;

use rand::{Rng, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use spring_memory::{Interaction, InteractionId, UserId};

pub use self::code::{Passage, code_passages, passages_of_file};
use crate::{
    Stream, hash, is_question,
    streams::QUESTION,
    synth::{Mixed, Noise, RealTruth},
};

/// The share of noise in a stream, and of which kinds it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct NoiseConfig {
    /// Share of the texts that can be learned that is noise, above 0 and at most 0.9; it is added
    /// to the user's own.
    pub share: f64,
    /// The kinds, by turns: [`Noise::Forwarded`], [`Noise::OtherPerson`], [`Noise::PastedCode`].
    /// Default: all three.
    #[serde(default = "all_kinds")]
    pub kinds: Vec<Noise>,
    /// Another seed, other noise. Default 0.
    #[serde(default)]
    pub seed: u64,
    /// Where code is taken from if not from other people's texts of the same data set: a file of
    /// code or of a log, or another data set (`.json`, `.jsonl`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

fn all_kinds() -> Vec<Noise> {
    vec![Noise::Forwarded, Noise::OtherPerson, Noise::PastedCode]
}

spring_numerics::setters! {
    NoiseConfig {
        with_kinds(kinds: Vec<Noise>);
        with_seed(seed: u64);
        with_code(code: Option<String>);
    }
}

impl NoiseConfig {
    /// A share of all three kinds.
    pub fn new(share: f64) -> Self {
        Self { share, kinds: all_kinds(), seed: 0, code: None }
    }

    /// Whether every setting is in range.
    ///
    /// # Errors
    ///
    /// What is wrong, in words.
    pub fn check(&self) -> Result<(), String> {
        if !(self.share > 0.0 && self.share <= 0.9) {
            return Err(format!("noise.share: {} is not above 0 and at most 0.9", self.share));
        }
        let mut seen = HashSet::new();
        if self.kinds.is_empty() || !self.kinds.iter().all(|kind| seen.insert(kind)) {
            return Err("noise.kinds: at least one, each once".into());
        }
        match self.kinds.iter().any(|kind| !all_kinds().contains(kind)) {
            true => Err("noise.kinds: forwarded, other_person and pasted_code are the kinds; \
                         garbled and odd_day are of synthetic users alone"
                .into()),
            false => Ok(()),
        }
    }

    /// Whether it asks for a kind.
    pub fn wants(&self, kind: Noise) -> bool {
        self.kinds.contains(&kind)
    }
}

/// Where two people's streams are joined.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct JoinConfig {
    /// The part of the stream that is of the first person, between 0 and 1. It is rounded to whole
    /// periods. Default 0.5.
    pub at: f64,
    /// Another seed, another second person. Default 0.
    pub seed: u64,
}

impl Default for JoinConfig {
    fn default() -> Self {
        Self { at: 0.5, seed: 0 }
    }
}

spring_numerics::setters! {
    JoinConfig {
        with_at(at: f64);
        with_seed(seed: u64);
    }
}

impl JoinConfig {
    /// Whether every setting is in range.
    ///
    /// # Errors
    ///
    /// What is wrong, in words.
    pub fn check(&self) -> Result<(), String> {
        match self.at > 0.0 && self.at < 1.0 {
            true => Ok(()),
            false => Err(format!("join.at: {} is not between 0 and 1", self.at)),
        }
    }

    /// How many texts of the first and of the second person make the longest stream of at most
    /// `most` texts, where they have `first` and `second`: as many as give `periods` parts of equal
    /// count, the turning point between two of them. `None` where there are too few.
    pub fn counts(
        &self,
        first: usize,
        second: usize,
        most: usize,
        periods: usize,
    ) -> Option<[usize; 2]> {
        if periods < 2 {
            return None;
        }
        let before = ((self.at * periods as f64).round() as usize).clamp(1, periods - 1);
        let per_period = (first / before).min(second / (periods - before)).min(most / periods);
        (per_period > 0).then(|| [before * per_period, (periods - before) * per_period])
    }
}

/// The order in which people are asked to be somebody's second person: all of them, drawn by the
/// seed and the name alone.
pub fn in_drawn_order<'u>(
    seed: u64,
    user: &UserId,
    others: impl IntoIterator<Item = &'u UserId>,
) -> Vec<&'u UserId> {
    let mut others: Vec<&UserId> = others.into_iter().filter(|other| *other != user).collect();
    others.sort_unstable();
    others.shuffle(&mut drawing(seed, user, "another person"));
    others
}

fn drawing(seed: u64, user: &UserId, purpose: &str) -> ChaCha8Rng {
    let parts: [&[u8]; 3] = [&seed.to_le_bytes(), user.as_str().as_bytes(), purpose.as_bytes()];
    ChaCha8Rng::seed_from_u64(hash::of_parts(&parts))
}

/// One stream of two people's texts, the second one's after the first one's, all under the first
/// one's name. The second one's times move to follow the first one's, and both sets of ids stay
/// apart.
pub fn joined(first: &[Interaction], second: &[Interaction]) -> Vec<Interaction> {
    let mut texts: Vec<Interaction> = Vec::with_capacity(first.len() + second.len());
    for text in first {
        let mut text = text.clone();
        mark(&mut text, Origin::of_person(0));
        texts.push(text);
    }
    let Some(last) = first.last() else { return texts };
    for (text, place) in second.iter().zip(1..) {
        let mut text = text.clone();
        mark(&mut text, Origin::of_person(1));
        let later = second[0].time.duration_until(text.time);
        let shifted = last.time.checked_add(later).unwrap_or(last.time);
        text.time = shifted.max(last.time);
        // An answered question is known by its id.
        let question = if is_question(&text) { QUESTION } else { "" };
        text.id = id(&format!("{question}second person {place:05}"), &text.id);
        text.user = last.user.clone();
        texts.push(text);
    }
    texts
}

/// What a text of a mixed stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Origin {
    /// Whose part of the stream it is in: 0, or 1 after a turning point.
    pub person: usize,
    /// Whether the stream has a turning point.
    pub joined: bool,
    /// Whether it is noise, and which.
    pub noise: Option<Noise>,
}

impl Origin {
    /// A user's own text, in a stream without a turning point.
    pub fn own() -> Self {
        Self { person: 0, joined: false, noise: None }
    }

    /// A text of the first (0) or the second (1) of two people.
    pub fn of_person(person: usize) -> Self {
        Self { person, joined: true, noise: None }
    }
}

/// Notes in a text's `meta` what it is, and that the one whose name it has wrote it. One that is
/// marked already is left as it is.
pub fn mark(text: &mut Interaction, origin: Origin) {
    let by = text.user.to_string();
    if crate::synth::Truth::of(text).is_none() {
        put(text, origin, by);
    }
}

fn put(text: &mut Interaction, origin: Origin, by: String) {
    let Origin { person, joined, noise } = origin;
    RealTruth { noise, mixed: Mixed { person, joined, by } }.put(text);
}

/// An id by a name of ours; that of the text where it would be refused.
fn id(name: &str, or: &InteractionId) -> InteractionId {
    InteractionId::new(name).unwrap_or_else(|_| or.clone())
}

/// How often another text is drawn where one is refused.
const TRIES: usize = 20;

/// The longest run of one other person's texts.
const LONGEST_RUN: usize = 5;

/// Draws noise for one user's stream from what other people wrote. The same configuration, user and
/// people give the same noise.
#[derive(Debug)]
pub struct NoiseSource<'a> {
    config: &'a NoiseConfig,
    user: UserId,
    /// Those whose texts are used.
    lenders: &'a [&'a Stream],
    /// Texts of the user's own that are in no part of the stream.
    unused: Vec<&'a Interaction>,
    passages: Vec<&'a Passage>,
    /// How many of these were used.
    pasted: usize,
    rng: ChaCha8Rng,
    /// What is forwarded again and again.
    boilerplate: Option<&'a Interaction>,
    /// The texts that runs began with: the lender, and the place.
    begun: HashSet<(usize, usize)>,
    /// The user's own texts that noise was drawn for.
    own: usize,
    /// The noise so far, as the kinds of the configuration.
    drawn: Vec<usize>,
}

impl<'a> NoiseSource<'a> {
    /// Noise for `user` from the texts of `lenders`, of whom the user's own stream is left out;
    /// `passages` are of the kind [`Noise::PastedCode`], and `unused` are texts of the user's own
    /// that are in no part of the stream: what the user writes above a quotation.
    pub fn new(
        config: &'a NoiseConfig,
        user: &UserId,
        lenders: &'a [&'a Stream],
        unused: impl IntoIterator<Item = &'a Interaction>,
        passages: impl IntoIterator<Item = &'a Passage>,
    ) -> Self {
        let mut rng = drawing(config.seed, user, "noise");
        let mut passages: Vec<&Passage> =
            passages.into_iter().filter(|passage| passage.by != user.as_str()).collect();
        passages.shuffle(&mut rng);
        let mut unused: Vec<&Interaction> = unused.into_iter().collect();
        unused.shuffle(&mut rng);
        Self {
            config,
            user: user.clone(),
            lenders,
            unused,
            passages,
            pasted: 0,
            rng,
            boilerplate: None,
            begun: HashSet::new(),
            own: 0,
            drawn: vec![0; config.kinds.len()],
        }
    }

    /// The noise of a part of the stream that has `own` texts of the user's own, each with the
    /// number of own texts before it, in that order. What `accepts` refuses is drawn again; where
    /// nothing is accepted there is less noise. `origin` is that of the own texts.
    pub fn draw(
        &mut self,
        own: usize,
        origin: Origin,
        accepts: &dyn Fn(&Interaction) -> bool,
    ) -> Vec<(usize, Interaction)> {
        self.own += own;
        let share = self.config.share;
        let wanted = (self.own as f64 * share / (1.0 - share)).round() as usize;
        let mut left = wanted.saturating_sub(self.drawn.iter().sum());
        let mut noise: Vec<(usize, Interaction)> = Vec::with_capacity(left);
        // Kinds of which there is none.
        let mut out: Vec<usize> = Vec::new();
        while left > 0 {
            let Some(place) = self.next_kind(left, &out) else { break };
            let kind = self.config.kinds[place];
            let tried = (0..TRIES).find_map(|_| {
                let texts = self.texts(kind, left);
                let is_accepted = !texts.is_empty() && texts.iter().all(|(text, _)| accepts(text));
                // Nothing was forwarded yet: another text is to be, again and again.
                if !is_accepted && kind == Noise::Forwarded && self.drawn[place] == 0 {
                    self.boilerplate = None;
                }
                is_accepted.then_some(texts)
            });
            let Some(texts) = tried else {
                // For the next part another text is forwarded.
                if kind == Noise::Forwarded {
                    self.boilerplate = None;
                }
                out.push(place);
                continue;
            };
            left -= texts.len();
            let gap = self.rng.random_range(0..=own);
            for (mut text, by) in texts {
                self.drawn[place] += 1;
                let number = self.drawn.iter().sum::<usize>();
                put(&mut text, Origin { noise: Some(kind), ..origin }, by);
                text.id = id(&format!("noise {number:05}"), &text.id);
                text.user = self.user.clone();
                noise.push((gap, text));
            }
        }
        // Stable: a run stays in its order.
        noise.sort_by_key(|(gap, _)| *gap);
        noise
    }

    /// The kind of which there was least so far, without those that are out. A single text is no
    /// run of another person's, unless there is no other kind.
    fn next_kind(&mut self, left: usize, out: &[usize]) -> Option<usize> {
        let kinds = &self.config.kinds;
        let mut places: Vec<usize> =
            (0..kinds.len()).filter(|place| !out.contains(place)).collect();
        if left == 1 && places.len() > 1 {
            places.retain(|place| kinds[*place] != Noise::OtherPerson);
        }
        let fewest = places.iter().map(|place| self.drawn[*place]).min()?;
        places.retain(|place| self.drawn[*place] == fewest);
        let drawn = self.rng.random_range(0..places.len());
        Some(places[drawn])
    }

    /// Texts of a kind, at most `most`, each with who wrote it; nothing where there is none.
    fn texts(&mut self, kind: Noise, most: usize) -> Vec<(Interaction, String)> {
        match kind {
            Noise::OtherPerson => self.run(most),
            Noise::PastedCode => self.pasted().into_iter().collect(),
            _ => self.forwarded().into_iter().collect(),
        }
    }

    /// Consecutive texts of one person.
    fn run(&mut self, most: usize) -> Vec<(Interaction, String)> {
        let length = self.rng.random_range(2..=LONGEST_RUN).min(most);
        let Some((lender, stream)) = self.lender() else { return vec![] };
        let length = length.min(stream.texts.len());
        let latest = stream.texts.len() - length;
        // A place that was not used, if one is soon found.
        let mut place = self.rng.random_range(0..=latest);
        for _ in 0..TRIES {
            if self.begun.insert((lender, place)) {
                break;
            }
            place = self.rng.random_range(0..=latest);
        }
        let texts = stream.texts[place..place + length].iter();
        texts.map(|text| (text.clone(), stream.user.to_string())).collect()
    }

    fn lender(&mut self) -> Option<(usize, &'a Stream)> {
        let lenders = self.lenders;
        let is_other = |stream: &Stream| stream.user != self.user && !stream.texts.is_empty();
        let others: Vec<usize> =
            (0..lenders.len()).filter(|place| is_other(lenders[*place])).collect();
        let place = *others.get(self.rng.random_range(0..others.len().max(1)))?;
        Some((place, lenders[place]))
    }

    /// A long text of another person: the longest of a few.
    fn long(&mut self) -> Option<&'a Interaction> {
        let (_, stream) = self.lender()?;
        let drawn = (0..4).map(|_| &stream.texts[self.rng.random_range(0..stream.texts.len())]);
        drawn.collect::<Vec<_>>().into_iter().max_by_key(|text| text.response.len())
    }

    /// By turns one text that is forwarded again and again, and a text of the user's own above a
    /// long quotation, as long as there are any.
    fn forwarded(&mut self) -> Option<(Interaction, String)> {
        let place = self.config.kinds.iter().position(|kind| *kind == Noise::Forwarded)?;
        if !self.drawn[place].is_multiple_of(2)
            && let Some(own) = self.unused.pop()
        {
            let quoted = self.long()?;
            return Some((quoting(own, quoted), quoted.user.to_string()));
        }
        let text = match self.boilerplate {
            Some(text) => text,
            None => self.long()?,
        };
        self.boilerplate = Some(text);
        Some((framed(text), text.user.to_string()))
    }

    fn pasted(&mut self) -> Option<(Interaction, String)> {
        // From the first one again when all have been used.
        let taken = self.pasted.checked_rem(self.passages.len())?;
        self.pasted += 1;
        let passage = self.passages[taken];
        // Under a question that somebody else asked: the block itself has none.
        let (_, stream) = self.lender()?;
        let asked = &stream.texts[self.rng.random_range(0..stream.texts.len())];
        let text = asked.clone().with_response(passage.text.clone());
        Some((text, passage.by.clone()))
    }
}

/// A text in the frame that programs put around what is forwarded.
fn framed(text: &Interaction) -> Interaction {
    let frame = format!(
        "---------- Forwarded message ----------\nFrom: {}\nDate: {}\nSubject: {}\n\n{}",
        text.user,
        day(text),
        subject(&text.prompt),
        text.response
    );
    text.clone().with_response(frame)
}

/// A text with another one quoted behind it.
fn quoting(own: &Interaction, quoted: &Interaction) -> Interaction {
    let lines: String = quoted.response.lines().map(|line| format!("\n> {line}")).collect();
    let response = format!("{}\n\nOn {}, {} wrote:{lines}", own.response, day(quoted), quoted.user);
    own.clone().with_response(response)
}

fn day(text: &Interaction) -> String {
    text.time.to_string().chars().take(10).collect()
}

/// What a text is about, in a line: what its prompt has in quotation marks, or the prompt's first
/// line.
fn subject(prompt: &str) -> String {
    let quoted = prompt.split_once('"').and_then(|(_, rest)| rest.rsplit_once('"'));
    let subject = quoted.map_or(prompt, |(subject, _)| subject);
    subject.lines().next().unwrap_or_default().chars().take(78).collect()
}

#[cfg(test)]
mod tests;
