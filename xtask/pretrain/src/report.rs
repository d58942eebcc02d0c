//! How good a model is on the texts kept from training, alone and behind related or random ones.

use std::{collections::BTreeMap, fmt::Write as _};

use anyhow::{Result, ensure};
use indicatif::ProgressBar;
use rand::Rng;
use spring_model::Sequence;

use crate::{
    codec::Codec,
    layout::{Pair, to_score},
    random::keyed,
    related::Related,
    texts::{Text, Texts},
};

/// Texts before a target in the comparison of contexts.
const BEFORE: usize = 2;
/// Bounds of the ranges of positions.
const POSITIONS: [usize; 4] = [0, 256, 512, 1024];
/// Sequences scored in one call.
const AT_ONCE: usize = 32;

/// Log-likelihoods of the responses of some sequences.
pub type Scorer<'a> = dyn FnMut(&[Sequence]) -> spring_model::Result<Vec<Vec<f32>>> + 'a;

/// A sum over response tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Tally {
    /// Texts.
    pub texts: usize,
    /// Response tokens, end tokens among them.
    pub tokens: usize,
    /// Bytes of the responses in UTF-8; an end token has none.
    pub bytes: usize,
    /// Negative log-likelihood of the tokens.
    pub nats: f64,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.texts += other.texts;
        self.tokens += other.tokens;
        self.bytes += other.bytes;
        self.nats += other.nats;
    }

    /// Mean negative log-likelihood.
    pub fn per_token(&self) -> f64 {
        self.nats / self.tokens as f64
    }

    /// Negative log-likelihood over bytes.
    pub fn per_byte(&self) -> f64 {
        self.nats / self.bytes as f64
    }
}

/// The same target tokens behind different contexts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Comparison {
    /// Nothing but the prompt before the response.
    pub none: Tally,
    /// Two related texts before the prompt.
    pub related: Tally,
    /// Two random texts of the same prompt template before the prompt.
    pub random: Tally,
    /// Nats of related less random, each text's sum: the sum of their squares.
    squares: f64,
}

impl Comparison {
    fn add(&mut self, none: &Tally, related: &Tally, random: &Tally) {
        self.none.add(none);
        self.related.add(related);
        self.random.add(random);
        self.squares += (related.nats - random.nats).powi(2);
    }

    /// Nats per byte of related less random, and the standard error of that over texts: not a
    /// number for fewer than two.
    pub fn gain(&self) -> (f64, f64) {
        let (texts, bytes) = (self.none.texts as f64, self.none.bytes as f64);
        let sum = self.related.nats - self.random.nats;
        let variance = (self.squares - sum * sum / texts).max(0.0) / (texts - 1.0);
        (sum / bytes, (variance * texts).sqrt() / bytes)
    }
}

/// Groups of texts by the first words of their prompts, and all together.
pub const ALL: &str = "all";

/// What was measured.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// Response given its prompt, by group.
    pub plain: BTreeMap<String, Tally>,
    /// The same by the token's position in its sequence, from the first to before the second
    /// number.
    pub positions: Vec<(usize, usize, Tally)>,
    /// The same behind two related texts found by the whole target: longer sequences, so more late
    /// positions.
    pub positions_related: Vec<(usize, usize, Tally)>,
    /// Related texts found by the target's prompt and response: more than serving can know.
    pub by_target: BTreeMap<String, Comparison>,
    /// Related texts found by the target's prompt alone, where the prompt has words of its own.
    pub by_prompt: BTreeMap<String, Comparison>,
}

/// Response given its prompt over all texts kept from training.
///
/// # Errors
///
/// What the scorer returns.
pub fn plain(valid: &Valid, scorer: &mut Scorer<'_>) -> Result<Tally> {
    let mut tally = Tally::default();
    for (sequences, targets) in valid.plain.chunks(AT_ONCE).zip(valid.targets.chunks(AT_ONCE)) {
        for ((scores, sequence), target) in scorer(sequences)?.iter().zip(sequences).zip(targets) {
            tally.add(&target.tally(scores, sequence).total);
        }
    }
    Ok(tally)
}

/// The texts kept from training, encoded.
#[derive(Debug)]
pub struct Valid {
    targets: Vec<Target>,
    plain: Vec<Sequence>,
    begin: u32,
    context: usize,
}

#[derive(Debug)]
struct Target {
    group: String,
    pair: Pair,
    /// Of every response token.
    bytes: Vec<usize>,
}

/// One scored sequence.
struct Scored {
    total: Tally,
    positions: Vec<(usize, usize, Tally)>,
}

impl Target {
    fn tally(&self, scores: &[f32], sequence: &Sequence) -> Scored {
        let first = sequence.context.len();
        let token = |j: usize| Tally {
            texts: 0,
            tokens: 1,
            bytes: self.bytes[j],
            nats: -f64::from(scores[j]),
        };
        let mut total = Tally { texts: 1, ..Tally::default() };
        let mut positions = ranges();
        for j in 0..scores.len() {
            total.add(&token(j));
            if let Some((.., tally)) =
                positions.iter_mut().find(|(from, to, _)| (*from..*to).contains(&(first + j)))
            {
                tally.add(&token(j));
            }
        }
        for (.., tally) in positions.iter_mut().filter(|(.., tally)| tally.tokens > 0) {
            tally.texts = 1;
        }
        Scored { total, positions }
    }
}

fn ranges() -> Vec<(usize, usize, Tally)> {
    POSITIONS.windows(2).map(|pair| (pair[0], pair[1], Tally::default())).collect()
}

fn add_positions(sum: &mut [(usize, usize, Tally)], positions: &[(usize, usize, Tally)]) {
    for ((.., sum), (.., tally)) in sum.iter_mut().zip(positions) {
        sum.add(tally);
    }
}

impl Valid {
    /// Encodes the texts.
    ///
    /// # Errors
    ///
    /// If the tokenizer refuses one.
    pub fn new(texts: &[Text], codec: &Codec, context: usize) -> Result<Self> {
        let (mut targets, mut plain) = (Vec::new(), Vec::new());
        for text in texts {
            let (pair, bytes) = (codec.pair(text)?, codec.response_bytes(&text.response)?);
            ensure!(bytes.len() == pair.response.len(), "a response was tokenised in two ways");
            plain.push(to_score(codec.begin, &[], &pair, context));
            targets.push(Target { group: text.group(), pair, bytes });
        }
        Ok(Self { targets, plain, begin: codec.begin, context })
    }
}

/// Measures a model; `bar` moves with the sequences scored.
///
/// # Errors
///
/// What the tokenizer or the scorer returns.
pub fn measure(
    texts: &Texts,
    valid: &Valid,
    codec: &Codec,
    related: &Related,
    seed: u64,
    scorer: &mut Scorer<'_>,
    bar: &ProgressBar,
) -> Result<Report> {
    let mut groups: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (i, text) in texts.train.iter().enumerate() {
        groups.entry(text.group()).or_default().push(i);
    }
    // For every target the sequences behind two texts, where those fit.
    let mut sequences = Vec::new();
    let mut behind = |target: &Target, before: &[usize]| -> Result<Option<usize>> {
        let pairs: Vec<Pair> =
            before.iter().rev().map(|i| codec.pair(&texts.train[*i])).collect::<Result<_>>()?;
        let tokens = 1 + pairs.iter().map(Pair::len).sum::<usize>() + target.pair.len();
        if pairs.len() < BEFORE || tokens > valid.context {
            return Ok(None);
        }
        let earlier: Vec<&Pair> = pairs.iter().collect();
        sequences.push(to_score(valid.begin, &earlier, &target.pair, valid.context));
        Ok(Some(sequences.len() - 1))
    };
    let mut places = Vec::new();
    for (i, (target, text)) in valid.targets.iter().zip(&texts.valid).enumerate() {
        let mut rng = keyed(seed, "random context", i as u64);
        let pool = groups.get(&target.group).map_or(&[][..], Vec::as_slice);
        let mut random: Vec<usize> = Vec::new();
        while random.len() < BEFORE.min(pool.len()) {
            let other = pool[rng.random_range(0..pool.len())];
            if !random.contains(&other) {
                random.push(other);
            }
        }
        let by_prompt = related.to_prompt(&text.prompt, BEFORE);
        places.push([
            behind(target, &random)?,
            behind(target, &related.to_text(text, None, BEFORE))?,
            by_prompt.map(|found| behind(target, &found)).transpose()?.flatten(),
        ]);
    }

    let all: Vec<&Sequence> = valid.plain.iter().chain(&sequences).collect();
    bar.set_length(all.len() as u64);
    let mut scores = Vec::with_capacity(all.len());
    for chunk in all.chunks(AT_ONCE) {
        let chunk: Vec<Sequence> = chunk.iter().map(|sequence| (*sequence).clone()).collect();
        scores.extend(scorer(&chunk)?);
        bar.inc(chunk.len() as u64);
    }

    let mut report =
        Report { positions: ranges(), positions_related: ranges(), ..Report::default() };
    for (i, (target, [random, by_target, by_prompt])) in
        valid.targets.iter().zip(places).enumerate()
    {
        let plain = target.tally(&scores[i], all[i]);
        let at = |place: Option<usize>| {
            let place = valid.plain.len() + place?;
            Some(target.tally(&scores[place], all[place]))
        };
        add_positions(&mut report.positions, &plain.positions);
        for group in [ALL, &target.group] {
            report.plain.entry(group.into()).or_default().add(&plain.total);
        }
        let random = at(random);
        let by_target = at(by_target);
        if let Some(related) = &by_target {
            add_positions(&mut report.positions_related, &related.positions);
        }
        for (table, related) in
            [(&mut report.by_target, by_target), (&mut report.by_prompt, at(by_prompt))]
        {
            if let (Some(related), Some(random)) = (related, &random) {
                for group in [ALL, &target.group] {
                    let row = table.entry(group.into()).or_default();
                    row.add(&plain.total, &related.total, &random.total);
                }
            }
        }
    }
    Ok(report)
}

impl Report {
    /// As tables in Markdown.
    pub fn markdown(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(
            out,
            "On texts kept from training. Nats of all response tokens, the end token's included; \
             bytes of the responses in UTF-8.\n"
        )?;
        writeln!(
            out,
            "| response given its prompt | texts | tokens | nats/token | nats/byte \
             |\n|---|---|---|---|---|"
        )?;
        for (group, tally) in &self.plain {
            let Tally { texts, tokens, .. } = tally;
            writeln!(
                out,
                "| {group} | {texts} | {tokens} | {:.3} | {:.4} |",
                tally.per_token(),
                tally.per_byte()
            )?;
        }
        for (title, positions) in [
            ("response given its prompt", &self.positions),
            ("behind two related texts, found by the whole target", &self.positions_related),
        ] {
            writeln!(out, "\nBy the token's position in its sequence, {title}:\n")?;
            writeln!(
                out,
                "| position | texts | tokens | nats/token | nats/byte |\n|---|---|---|---|---|"
            )?;
            for (from, to, tally) in positions.iter().filter(|(.., tally)| tally.tokens > 0) {
                let Tally { texts, tokens, .. } = tally;
                let (token, byte) = (tally.per_token(), tally.per_byte());
                writeln!(out, "| {from}-{to} | {texts} | {tokens} | {token:.3} | {byte:.4} |")?;
            }
        }
        for (title, table) in [
            ("found by the target's prompt and response (an upper bound)", &self.by_target),
            ("found by the target's prompt alone", &self.by_prompt),
        ] {
            if table.is_empty() {
                continue;
            }
            writeln!(
                out,
                "\nThe same target tokens behind nothing, two related texts, and two random texts \
                 of the same kind; related texts {title}. \
                 Texts where both contexts fit whole; the difference is related less random, ± its \
                 standard error over texts.\n"
            )?;
            writeln!(
                out,
                "| | texts | tokens | nats/byte: none | related | random | difference \
                 |\n|---|---|---|---|---|---|---|"
            )?;
            for (group, row) in table {
                let Tally { texts, tokens, .. } = row.none;
                let [none, related, random] =
                    [&row.none, &row.related, &row.random].map(Tally::per_byte);
                let (gain, error) = row.gain();
                writeln!(
                    out,
                    "| {group} | {texts} | {tokens} | {none:.4} | {related:.4} | {random:.4} | \
                     {gain:+.4} ± {error:.4} |"
                )?;
            }
        }
        Ok(())
    }

    /// As JSON, with the means beside the sums.
    pub fn json(&self) -> serde_json::Value {
        let tally = |tally: &Tally| {
            serde_json::json!({
                "texts": tally.texts, "tokens": tally.tokens, "bytes": tally.bytes,
                "nats": tally.nats,
                "nats_per_token": tally.per_token(), "nats_per_byte": tally.per_byte(),
            })
        };
        let positions = |positions: &[(usize, usize, Tally)]| -> Vec<_> {
            let ranges = positions.iter().filter(|(.., sum)| sum.tokens > 0);
            ranges
                .map(|(from, to, sum)| {
                    serde_json::json!({ "from": from, "to": to, "sum": tally(sum) })
                })
                .collect()
        };
        let comparisons =
            |table: &BTreeMap<String, Comparison>| -> serde_json::Map<String, serde_json::Value> {
                let row = |row: &Comparison| {
                    let (gain, error) = row.gain();
                    serde_json::json!({
                        "none": tally(&row.none), "related": tally(&row.related),
                        "random": tally(&row.random),
                        "related_less_random_nats_per_byte": gain, "standard_error": error,
                    })
                };
                table.iter().map(|(group, comparison)| (group.clone(), row(comparison))).collect()
            };
        let plain: serde_json::Map<_, _> =
            self.plain.iter().map(|(group, sum)| (group.clone(), tally(sum))).collect();
        serde_json::json!({
            "plain": plain,
            "positions": positions(&self.positions),
            "positions_behind_related": positions(&self.positions_related),
            "related_by_target": comparisons(&self.by_target),
            "related_by_prompt": comparisons(&self.by_prompt),
        })
    }
}
