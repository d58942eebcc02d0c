//! How well a selection, a detector and a model do where the truth of every text is known.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Noise, Truth};

/// What a text of a known truth is to a model that has learned its user up to the period before.
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
    /// [`Noise::OtherPerson`]
    OtherPerson,
    /// [`Noise::PastedCode`]
    PastedCode,
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
            Self::OtherPerson => "noise, other person",
            Self::PastedCode => "noise, pasted code",
        }
    }
}

impl Truth {
    /// What the text is where `before` was the style in force when the period before ended.
    pub fn kind(&self, before: usize) -> TextKind {
        match self.noise {
            Some(Noise::Forwarded) => TextKind::Forwarded,
            Some(Noise::Garbled) => TextKind::Garbled,
            Some(Noise::OddDay) => TextKind::OddDay,
            Some(Noise::OtherPerson) => TextKind::OtherPerson,
            Some(Noise::PastedCode) => TextKind::PastedCode,
            None if self.style == before => TextKind::Known,
            None => TextKind::New,
        }
    }
}

/// How a period's texts of one kind were scored before they were learned, and how many were
/// selected.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
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
    /// One text's: its kind, whether it was selected, its novelty, quality and score.
    pub fn of(kind: TextKind, selected: bool, novelty: f64, quality: f64, score: f64) -> Self {
        Self { kind, texts: 1, selected: usize::from(selected), novelty, quality, score }
    }

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

/// How many texts of one kind there were, and how many of them were selected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct KindCount {
    /// The kind.
    pub kind: TextKind,
    /// Texts.
    pub texts: usize,
    /// Those of them that were selected.
    pub selected: usize,
}

impl KindCount {
    /// Some texts of a kind, and how many of them were selected.
    pub fn new(kind: TextKind, texts: usize, selected: usize) -> Self {
        Self { kind, texts, selected }
    }

    /// The share that was selected.
    pub fn share(&self) -> f64 {
        self.selected as f64 / self.texts as f64
    }

    /// Some counts, pooled by kind, in the order of the kinds.
    pub fn pooled<'a>(counts: impl IntoIterator<Item = &'a Self>) -> Vec<Self> {
        let mut pooled: BTreeMap<TextKind, Self> = BTreeMap::new();
        for count in counts {
            let of = pooled.entry(count.kind).or_insert(Self::new(count.kind, 0, 0));
            (of.texts, of.selected) = (of.texts + count.texts, of.selected + count.selected);
        }
        pooled.into_values().collect()
    }
}

/// How much a selection took of each kind of a period's texts; `before` is the style in force when
/// the period before ended.
pub fn count_kinds(period: &[(Truth, bool)], before: usize) -> Vec<KindCount> {
    let counts: Vec<KindCount> = period
        .iter()
        .map(|(truth, selected)| KindCount::new(truth.kind(before), 1, usize::from(*selected)))
        .collect();
    KindCount::pooled(&counts)
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
    /// Share of the texts that are no noise that were selected; `None` if there are none.
    #[serde(default)]
    pub clean_recall: Option<f64>,
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
        clean_recall: share(clean, all_clean),
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

/// How often what was learned still fits the person before a turning point better than the one
/// after it: the share of pairs of a text of the former and a text of the latter in which the
/// former gains more. A gain is how much more likely a text has become, such as in nats per byte
/// against the base. 0.5 is no preference, and equal gains count half; `None` without texts of
/// either.
pub fn stale_gain_rate(former: &[f64], latter: &[f64]) -> Option<f64> {
    let pairs = former.iter().flat_map(|old| latter.iter().map(move |new| (old, new)));
    let stale: f64 = pairs
        .map(|(old, new)| match old.total_cmp(new) {
            std::cmp::Ordering::Greater => 1.0,
            std::cmp::Ordering::Equal => 0.5,
            std::cmp::Ordering::Less => 0.0,
        })
        .sum();
    let pairs = former.len() * latter.len();
    (pairs > 0).then(|| stale / pairs as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synth::{Drift, tests::texts};

    #[test]
    fn stale_is_what_gains_more_of_the_person_before() {
        // Of six pairs two have the former ahead, and one is level.
        assert_eq!(stale_gain_rate(&[0.25, 0.5], &[0.125, 0.5, 0.75]), Some(2.5 / 6.0));
        // The base gains nothing anywhere.
        assert_eq!(stale_gain_rate(&[0.0, 0.0], &[0.0]), Some(0.5));
        assert_eq!((stale_gain_rate(&[], &[1.0]), stale_gain_rate(&[1.0], &[])), (None, None));
    }

    #[test]
    fn a_selection_is_judged_against_noise_kind_by_kind() {
        let truth = |style, noise| Truth { drift: Drift::Sudden, style, noise, counterpart: None };
        let period = [
            (truth(0, None), true),
            (truth(0, None), false),
            (truth(1, None), true),
            (truth(1, None), false),
            (truth(1, Some(Noise::PastedCode)), false),
            (truth(0, Some(Noise::OtherPerson)), true),
            (truth(0, Some(Noise::OtherPerson)), true),
            (truth(1, Some(Noise::Forwarded)), false),
        ];
        let quality = selection_quality(&period, Some(0));
        // Two of the four that were selected are no noise, and two of the four that are no noise
        // were selected.
        assert_eq!((quality.clean, quality.clean_recall), (Some(0.5), Some(0.5)));
        assert_eq!((quality.precision, quality.recall), (Some(0.25), Some(0.5)));
        let counts = count_kinds(&period, 0);
        let expected = [
            KindCount::new(TextKind::Known, 2, 1),
            KindCount::new(TextKind::New, 2, 1),
            KindCount::new(TextKind::Forwarded, 1, 0),
            KindCount::new(TextKind::OtherPerson, 2, 2),
            KindCount::new(TextKind::PastedCode, 1, 0),
        ];
        assert_eq!(counts, expected);
        let twice = KindCount::pooled(counts.iter().chain(&counts));
        assert_eq!(twice[3], KindCount::new(TextKind::OtherPerson, 4, 4));
        assert_eq!((twice[0].share(), twice[4].share()), (0.5, 0.0));
        // Everybody's first texts are new, and without any there is nothing to find.
        assert_eq!(selection_quality(&period[4..], None).clean_recall, None);
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
