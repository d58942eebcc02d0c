//! The table of a suite: a row for each data set, budget and method.

mod contrasts;
mod csv;
mod difference;
mod measures;
#[cfg(test)]
mod tests;
mod users;

use std::collections::{BTreeMap, HashSet};

use serde::Serialize;
use spring_data::{
    Task,
    synth::{DetectionScores, KindCount, KindScores, TextKind},
};
use spring_metrics::{
    ContinualScores, Interval, LabelScores, NumberScores, PairedTest, TextScores, UserScores,
    bootstrap, label_scores, number_scores, paired_test,
};

pub(super) use self::csv::is_column;
use self::measures::{UserMeasures, user_measures};
pub use self::{
    contrasts::Untested,
    difference::Difference,
    measures::{Measure, MeasureScore},
    users::UserDifferences,
};
use super::{
    Candidate, Suite,
    attribution::{Attributed, is_running_text},
    choice::reported,
    scores::{adapter_scores, after_first, of_users, primary_scores},
};
use crate::{Budget, Copied, Loss, Method, MethodRun, RunLine, SuiteData};

/// All rows, in the order of data sets, budgets and methods.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Summary {
    /// The suite.
    pub name: String,
    /// The method that the others are tested against.
    pub against: String,
    /// The method that the suite itself names for that, where the tables were asked for against
    /// another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_place_of: Option<String>,
    /// The methods whose differences are tested; empty if all are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub contrasts: Vec<String>,
    /// The method whose texts are shown beside those of the base and of `against`, if the suite
    /// names one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub show: Option<String>,
    /// The rows.
    pub rows: Vec<SummaryRow>,
    /// How settings were chosen, on users that are in no row.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<Candidate>,
}

/// One method on one data set under one budget. Every number is a mean over users, each user's
/// seeds averaged first.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct SummaryRow {
    /// The data set.
    pub data: String,
    /// The budget.
    pub budget: Budget,
    /// The method's name, or that of a choice.
    pub method: String,
    /// Its name in tables; of a choice what it fell on.
    pub label: String,
    /// The method whose runs these are.
    pub runs: String,
    /// Users that it was run on.
    pub users: usize,
    /// Nats per byte on each period's test part right after it, without the first period: the
    /// primary score. `None` for a program, which has no losses.
    pub per_byte: Option<Interval>,
    /// The same in nats per token.
    pub per_token: Option<f64>,
    /// Nats per byte and per token of the adapter alone, of methods that write through gate and
    /// mixture.
    pub adapter_alone: Option<[f64; 2]>,
    /// `per_byte` minus that of the method it is tested against, below 0 where this one is better.
    pub difference: Option<PairedTest>,
    /// The same of the adapters alone, retrieval left out on both sides: what was learned against
    /// what was learned. `None` for methods that write otherwise, with texts in the prompt.
    /// Corrected for itself.
    pub adapter_difference: Option<PairedTest>,
    /// The continual metrics, nats per byte.
    pub continual: ContinualScores,
    /// Response tokens trained on by the end; as the next two, `None` for a program.
    pub tokens: Option<f64>,
    /// Texts learned, as a share of those that could be.
    pub learned: Option<f64>,
    /// Share of the test texts on the diagonal for which retrieval took part.
    pub open: Option<f64>,
    /// Seconds of wall time.
    pub seconds: f64,
    /// Scores of the texts generated on the diagonal.
    pub generated: Option<TextScores>,
    /// How often the same texts are taken for their user's, where at least two users wrote running
    /// text.
    pub attribution: Option<AttributionScores>,
    /// What of the same texts is copied, where they are running text.
    pub copying: Option<CopyingScores>,
    /// The suite's own metrics of the same texts, in its order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<MetricScore>,
    /// Of LaMP-2, whose texts are labels, all generated ones together; of LaMP-1 the answers to its
    /// questions, as the texts of its profiles are abstracts.
    pub labels: Option<LabelScores>,
    /// Of LaMP-3, whose texts are ratings: all generated ones together.
    pub numbers: Option<NumberScores>,
    /// Where the truth of every text is known (of synthetic users, and of streams with noise or a
    /// turning point): precision and recall of the selection for new preference, share without
    /// noise among what was selected, the same by chance, the stale-preference rate, and the share
    /// that was selected of what is no noise; means over the later periods.
    pub synthetic: Option<[Option<f64>; 6]>,
    /// The same: how well the default detector found the true changes in SPRInG's novelty, all
    /// users and seeds together; the same in all rows of a table.
    pub detection: Option<DetectionScores>,
    /// How a variant of SPRInG scored each kind of text of a known truth in the later periods, all
    /// users and seeds together.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<KindScores>,
    /// How many of the texts of each kind a method learned in the later periods, all users and
    /// seeds together.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub taken: Vec<KindCount>,
    /// How the person after a turning point was learned, where the streams have one.
    pub turn: Option<TurnRow>,
    /// `per_byte` minus that of the method `base`, below 0 where this one is better; `None` for
    /// `base` itself and without it. Corrected for itself.
    pub above_base: Option<Difference>,
    /// The same of each user: whether the method is worse than the base for somebody.
    pub users_to_base: Option<UserDifferences>,
    /// Each user's difference to the method that the others are tested against.
    pub users_to_against: Option<UserDifferences>,
    /// Whether `per_byte` is the lowest of all methods of the table that train on at most as many
    /// tokens; `None` for a program, and for methods that use others' adapters, whose tokens are
    /// not counted.
    pub best_within_tokens: Option<bool>,
    /// Scores beside the loss with their intervals over users, each tested against the same method
    /// and corrected for itself.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub measures: Vec<MeasureScore>,
    /// The differences in the place of tests that the suite does not declare.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub untested: Option<Untested>,
}

/// How the person after a turning point was learned: means over users, each user's seeds averaged
/// first.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct TurnRow {
    /// Users with a turning point.
    pub users: usize,
    /// Those of them whose loss on the second person's test parts fell from the turning point to
    /// the end, under at least one seed.
    pub learned: usize,
    /// Periods until 80 % of that gain was reached, over these; `None` if there are none.
    pub delay: Option<f64>,
    /// The gain in nats per byte.
    pub gain: f64,
    /// The loss on the second person's test parts, each right after its period.
    pub loss: f64,
    /// Share of the texts written after the turning point that are attributed to the person before
    /// it; `None` where nothing was generated.
    pub stale_written: Option<f64>,
}

impl SummaryRow {
    /// The share that was learned of a kind of text, in the later periods; `None` where there is
    /// none of the kind.
    pub fn taken(&self, kind: TextKind) -> Option<f64> {
        self.taken.iter().find(|count| count.kind == kind).map(KindCount::share)
    }

    /// Whether the streams have noise that is marked.
    pub fn has_noise(&self) -> bool {
        self.taken.iter().any(|count| !matches!(count.kind, TextKind::Known | TextKind::New))
    }
}

/// One of the suite's own metrics.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct MetricScore {
    /// Its name.
    pub name: String,
    /// Whether a higher score is a better one.
    pub higher_is_better: bool,
    /// Mean over users and its interval; `None` where nothing was generated.
    pub score: Option<Interval>,
}

/// How often the texts that a method generated are attributed to their user, by a classifier over
/// character n-grams that knows as many real texts of every user, the latest ones up to the same
/// period ([`Attribution`](spring_metrics::Attribution)). The methods may learn and retrieve the
/// same texts, so what is copied from them counts as attributed: see [`CopyingScores`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct AttributionScores {
    /// Share of the generated texts, mean over users.
    pub generated: Interval,
    /// The same less that of the method `base`, above 0 where the texts are more like the person's;
    /// `None` for `base` itself and without it.
    pub above_base: Option<PairedTest>,
    /// The same less that of the method `other_user`, above 0 where the texts are more like the
    /// person's than those of another user's adapter; `None` for these two and without it.
    /// Corrected for itself.
    pub above_other_user: Option<PairedTest>,
    /// The classifier's accuracy on the users' own test texts; as `chance`, the same in all rows of
    /// a table.
    pub real: Interval,
    /// One in the number of users; it holds as a mean over users only.
    pub chance: f64,
}

/// The longest passages of generated texts that stand in texts of their user word for word, means
/// over users: in characters, and as a share of the generated text.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct CopyingScores {
    /// Shared with a text that could be learned by then.
    pub training: [f64; 2],
    /// Shared with a text that was read beside the prompt, over the generated texts for which some
    /// was; `None` where none was.
    pub retrieved: Option<[f64; 2]>,
}

/// Key of the bootstrap and of the paired tests.
const SEED: u64 = 0;

impl Summary {
    pub(super) fn of(
        suite: &Suite,
        data: &[SuiteData],
        lines: &[RunLine],
        choices: Vec<Candidate>,
        attributions: &[Attributed],
    ) -> Self {
        let against = suite.reference().to_owned();
        let mut rows = Vec::new();
        for data in data {
            let attributed = attributions.iter().find(|of| of.data == data.data);
            for &budget in &suite.budgets {
                let lines: Vec<&RunLine> = lines
                    .iter()
                    .filter(|line| line.key.data == data.data && line.key.budget == budget)
                    .collect();
                let methods = shown(suite, &choices, &data.data, budget);
                // The tokens of others' adapters are in no row, so these would pass for free.
                let is_uncounted = |method: &&Shown| {
                    method.runs.is_of_others() || method.runs.starts_at_domain(suite.start)
                };
                let uncounted = methods.iter().filter(is_uncounted);
                let uncounted: HashSet<String> =
                    uncounted.map(|method| method.name.clone()).collect();
                let run = methods.iter().find(|method| method.name == against);
                let run = run.map(|method| method.runs.clone());
                let scores =
                    |of: &dyn Fn(&Method) -> UserScores| run.as_ref().map(of).unwrap_or_default();
                let reference = scores(&|run| primary_scores(&lines, run.name()));
                let adapter_reference = scores(&|run| adapter_scores(&lines, run));
                let base = primary_scores(&lines, "base");
                let measured = run.as_ref().map(|run| user_measures(&lines, run.name()));
                let mut group: Vec<SummaryRow> = methods
                    .into_iter()
                    .filter_map(|method| {
                        let runs = method.runs.name();
                        let own = primary_scores(&lines, runs);
                        let difference = (method.name != against)
                            .then(|| paired_test(&own, &reference, SEED))
                            .flatten();
                        let per_byte = bootstrap(&own, SEED);
                        let users = users_of(&lines, runs);
                        if users == 0 || per_byte.is_none() && method.runs.program().is_none() {
                            return None;
                        }
                        let scores = user_measures(&lines, runs);
                        let mut row = row(&lines, runs, per_byte, difference, &scores);
                        let is_other = method.name != against;
                        row.measures =
                            measures::scores(&scores, measured.as_ref().filter(|_| is_other));
                        if method.name != "base" {
                            row.above_base = paired_test(&own, &base, SEED).map(Difference::Tested);
                            row.users_to_base = UserDifferences::of(&own, &base);
                        }
                        row.users_to_against =
                            is_other.then(|| UserDifferences::of(&own, &reference)).flatten();
                        (row.users, row.metrics) = (users, metrics(suite, &lines, runs));
                        row.adapter_difference = (method.name != against)
                            .then(|| {
                                paired_test(
                                    &adapter_scores(&lines, &method.runs),
                                    &adapter_reference,
                                    SEED,
                                )
                            })
                            .flatten();
                        row.attribution = attributed.and_then(|of| attribution(&lines, runs, of));
                        row.copying =
                            is_running_text(data.task).then(|| copying(&lines, runs)).flatten();
                        (row.data, row.budget) = (data.data.clone(), budget);
                        (row.method, row.label) = (method.name, method.label);
                        let (predicted, written) =
                            answers(&lines, runs, data.task == Some(Task::Lamp1));
                        match data.task {
                            Some(Task::Lamp1 | Task::Lamp2) => {
                                row.labels = label_scores(&predicted, &written)
                            }
                            Some(Task::Lamp3) => row.numbers = number_scores(&predicted, &written),
                            _ => {}
                        }
                        Some(row)
                    })
                    .collect();
                let counted = |row: &SummaryRow| {
                    let is_counted = !uncounted.contains(&row.method);
                    is_counted.then_some((row.per_byte?.mean, row.tokens?))
                };
                let losses: Vec<Option<(f64, f64)>> = group.iter().map(counted).collect();
                let best = users::best_within_tokens(&losses);
                for (row, best) in group.iter_mut().zip(best) {
                    row.best_within_tokens = best;
                }
                contrasts::correct(suite, &mut group);
                rows.append(&mut group);
            }
        }
        Self {
            name: suite.name.clone(),
            against,
            in_place_of: None,
            contrasts: suite.contrasts.clone(),
            show: suite.show.clone(),
            rows,
            choices,
        }
    }
}

/// A row's names, and the method whose runs it shows.
struct Shown {
    name: String,
    label: String,
    runs: Method,
}

fn shown(suite: &Suite, choices: &[Candidate], data: &str, budget: Budget) -> Vec<Shown> {
    let methods = suite.methods.iter().map(|method| Shown {
        name: method.name().to_owned(),
        label: method.label().to_owned(),
        runs: method.clone(),
    });
    let chosen = reported(suite, choices, data, budget).into_iter().map(|row| Shown {
        name: row.name,
        label: row.label,
        runs: row.method,
    });
    methods.chain(chosen).collect()
}

/// All generated texts of a method, or those alone that answer questions, and the users' own.
fn answers(lines: &[&RunLine], method: &str, questions: bool) -> (Vec<String>, Vec<String>) {
    let runs = lines.iter().filter_map(|line| line.run.methods.get(method));
    let texts = runs.flat_map(|run| &run.generated).filter(|text| text.question || !questions);
    texts.map(|text| (text.predicted.clone(), text.written.clone())).unzip()
}

/// How often what a method wrote is taken for its user's.
fn attribution(lines: &[&RunLine], method: &str, of: &Attributed) -> Option<AttributionScores> {
    let score = |method: &str| of_users(lines, method, |run, _| run.attributed.unwrap_or(f64::NAN));
    let own = score(method);
    let above = |other: &str| paired_test(&own, &score(other), SEED);
    Some(AttributionScores {
        generated: bootstrap(&own, SEED)?,
        above_base: match method {
            "base" => None,
            _ => above("base"),
        },
        above_other_user: match method {
            // Tested already, the other way round.
            "base" | "other_user" => None,
            _ => above("other_user"),
        },
        real: bootstrap(&of.accuracies(), SEED)?,
        chance: of.chance(),
    })
}

/// What a method copied; runs of older versions do not say.
fn copying(lines: &[&RunLine], method: &str) -> Option<CopyingScores> {
    let of = |characters: fn(&Copied) -> Option<usize>| -> Option<[f64; 2]> {
        let mean_of = |value: &dyn Fn(&str, usize) -> f64| {
            mean(&of_users(lines, method, |run, _| {
                let texts = run.generated.iter();
                let values = texts.filter_map(|text| {
                    Some(value(&text.predicted, characters(text.copied.as_ref()?)?))
                });
                let values: Vec<f64> = values.collect();
                values.iter().sum::<f64>() / values.len() as f64
            }))
        };
        let share = |text: &str, copied: usize| copied as f64 / text.chars().count().max(1) as f64;
        Some([mean_of(&|_, copied| copied as f64)?, mean_of(&share)?])
    };
    let training = of(|copied| Some(copied.training))?;
    Some(CopyingScores { training, retrieved: of(|copied| copied.retrieved) })
}

/// The suite's own metrics of what a method wrote.
fn metrics(suite: &Suite, lines: &[&RunLine], method: &str) -> Vec<MetricScore> {
    let score = |name: &str| {
        of_users(lines, method, |run, _| run.metrics.get(name).copied().unwrap_or(f64::NAN))
    };
    let metrics = suite.metrics.iter().map(|metric| MetricScore {
        name: metric.name.clone(),
        higher_is_better: metric.higher_is_better,
        score: bootstrap(&score(&metric.name), SEED),
    });
    metrics.collect()
}

/// How many users a method was run on.
fn users_of(lines: &[&RunLine], method: &str) -> usize {
    let lines = lines.iter().filter(|line| line.run.methods.contains_key(method));
    lines.map(|line| &line.key.user).collect::<HashSet<_>>().len()
}

fn mean(scores: &UserScores) -> Option<f64> {
    (!scores.is_empty()).then(|| scores.values().sum::<f64>() / scores.len() as f64)
}

fn row(
    lines: &[&RunLine],
    method: &str,
    per_byte: Option<Interval>,
    difference: Option<PairedTest>,
    measures: &UserMeasures,
) -> SummaryRow {
    let all = |value: &dyn Fn(&MethodRun, &RunLine) -> Option<f64>| {
        mean(&of_users(lines, method, |run, line| value(run, line).unwrap_or(f64::NAN)))
    };
    let part = |part: usize, whole: usize| Some(part as f64 / whole as f64);
    // The forward transfer is measured from the base; where that is not a method of the suite there
    // is none.
    let continual = |run: &MethodRun, line: &RunLine| {
        let none = MethodRun::default();
        run.continual(line.run.methods.get("base").unwrap_or(&none))
    };
    let alone = |value: fn(&Loss) -> f64| {
        all(&|run, _| run.adapter_diagonal_after_first().as_ref().map(value))
    };
    let measured = |measure: Measure| measures.get(&measure).and_then(mean);
    let by_chance = all(&|run, _| {
        let later = run.synthetic.iter().skip(1);
        let scores: Vec<f64> =
            later.filter_map(|period| period.selection.clean_by_chance).collect();
        (!scores.is_empty()).then(|| scores.iter().sum::<f64>() / scores.len() as f64)
    });
    let detection =
        DetectionScores::pooled(lines.iter().filter_map(|line| line.run.detection.as_ref()));
    SummaryRow {
        data: String::new(),
        budget: Budget::Epochs,
        method: method.to_owned(),
        label: String::new(),
        runs: method.to_owned(),
        users: 0,
        per_byte,
        per_token: all(&|run, _| Some(after_first(run).per_token())),
        adapter_alone: alone(Loss::per_byte)
            .zip(alone(Loss::per_token))
            .map(|(byte, token)| [byte, token]),
        difference,
        adapter_difference: None,
        continual: ContinualScores::default()
            .with_average(all(&|run, line| continual(run, line).average))
            .with_backward_transfer(all(&|run, line| continual(run, line).backward_transfer))
            .with_forward_transfer(all(&|run, line| continual(run, line).forward_transfer))
            .with_forgetting(all(&|run, line| continual(run, line).forgetting)),
        tokens: all(&|run, _| sum(&run.tokens).map(|tokens| tokens as f64)),
        learned: all(&|run, line| {
            let texts = line.run.periods.iter().map(|period| period.train).sum();
            // Cumulative retraining learns a text many times.
            part(sum(&run.selected)?, texts)
        }),
        open: all(&|run, line| {
            part(sum(&run.open)?, line.run.periods.iter().map(|period| period.test).sum())
        }),
        seconds: all(&|run, _| Some(run.seconds)).unwrap_or(0.0),
        generated: measured(Measure::Rouge1).zip(measured(Measure::Meteor)).map(
            |(rouge1, meteor)| {
                TextScores::default()
                    .with_rouge1(rouge1)
                    .with_rouge2(measured(Measure::Rouge2).unwrap_or(f64::NAN))
                    .with_rouge_l(measured(Measure::RougeL).unwrap_or(f64::NAN))
                    .with_meteor(meteor)
            },
        ),
        attribution: None,
        copying: None,
        metrics: vec![],
        labels: None,
        numbers: None,
        detection,
        synthetic: detection.is_some().then(|| {
            [
                measured(Measure::Precision),
                measured(Measure::Recall),
                measured(Measure::Clean),
                by_chance,
                measured(Measure::Stale),
                measured(Measure::CleanRecall),
            ]
        }),
        kinds: kinds(lines, method),
        taken: taken(lines, method),
        turn: turn(measures),
        above_base: None,
        users_to_base: None,
        users_to_against: None,
        best_within_tokens: None,
        measures: vec![],
        untested: None,
    }
}

fn taken(lines: &[&RunLine], method: &str) -> Vec<KindCount> {
    let runs = lines.iter().filter_map(|line| line.run.methods.get(method));
    KindCount::pooled(runs.flat_map(|run| &run.synthetic).flat_map(|period| &period.taken))
}

fn turn(measures: &UserMeasures) -> Option<TurnRow> {
    let measured = |measure: Measure| measures.get(&measure).and_then(mean);
    let users = |measure: Measure| measures.get(&measure).map_or(0, UserScores::len);
    Some(TurnRow {
        users: users(Measure::TurnGain),
        learned: users(Measure::TurnDelay),
        delay: measured(Measure::TurnDelay),
        gain: measured(Measure::TurnGain)?,
        loss: measured(Measure::TurnLoss)?,
        stale_written: measured(Measure::StaleWritten),
    })
}

/// The sum of what was counted in each period; `None` where nothing was.
fn sum(counts: &[usize]) -> Option<usize> {
    (!counts.is_empty()).then(|| counts.iter().sum())
}

fn kinds(lines: &[&RunLine], method: &str) -> Vec<KindScores> {
    let mut kinds: BTreeMap<TextKind, Vec<KindScores>> = BTreeMap::new();
    let runs = lines.iter().filter_map(|line| line.run.methods.get(method));
    for scores in runs.flat_map(|run| &run.synthetic).flat_map(|period| &period.kinds) {
        kinds.entry(scores.kind).or_default().push(*scores);
    }
    kinds.values().filter_map(KindScores::pooled).collect()
}
