//! One method's way through a user's periods: what it learns, and its row of R.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    ops::Range,
};

use spring_core::{Config, Progress, spring_drift::DriftScore, spring_fuse::GateConfig};
use spring_data::synth::{
    KindScores, TextKind, Truth, count_kinds, selection_quality, stale_gain_rate,
    stale_preference_rate,
};
use spring_lm::Adapter;

use super::{
    Method, Protocol, UserInput,
    arena::Arena,
    evaluate,
    input::ready,
    leader::{Lender, Lenders},
    strategy::{Answer, Learned, Period, Strategy},
    write::write,
};
use crate::{FusedLoss, MethodRun, Reads, Result, SyntheticScores, Turn};

/// One method's way through a user's periods.
pub(super) struct Trajectory<'a> {
    pub(super) method: &'a Method,
    strategy: Box<dyn Strategy>,
    /// The settings that it answers with.
    config: Config,
    /// Those that it learns with: what it is lent to read is no part of what it learns.
    learning: Config,
    /// Whose bank it reads where it has none.
    lender: Lender,
    /// What was learned of the last period.
    learned: Learned,
    pub(super) run: MethodRun,
}

impl<'a> Trajectory<'a> {
    pub(super) fn new(
        method: &'a Method,
        mut strategy: Box<dyn Strategy>,
        protocol: &Protocol,
        input: UserInput<'_>,
        lenders: &mut Lenders,
    ) -> Result<Self> {
        let (mut config, start) = ready(method, protocol, input)?;
        strategy.prepare(&mut config, start)?;
        let mut learning = config.clone();
        if method.has_lent_bank() {
            learning.buffer = protocol.config.buffer.clone();
        }
        let lender = lenders.of(method, protocol, input)?;
        let (learned, run) = (Learned::nothing(), MethodRun::default());
        Ok(Self { method, strategy, config, learning, lender, learned, run })
    }

    /// Learns a period, and adds row `place` of R with what is measured on the diagonal; the
    /// `lenders` have learned the same period.
    pub(super) fn run_period(
        &mut self,
        arena: &Arena<'_>,
        place: usize,
        lenders: &Lenders,
        progress: &mut dyn Progress,
    ) -> Result<()> {
        let (config, learning) = (self.config.clone(), self.learning.clone());
        let has_own_share = self.method.has_own_share();
        // Who names a variant of SPRInG to follow takes as much as that one does.
        let follows = self.method.like().map_or(Lender::Leader, |_| self.lender);
        let reference = Some(lenders.reference(follows));
        let period = Period { arena, place, has_own_share, config: &learning, reference };
        self.learned = self.strategy.learn(&period, progress)?;
        let period = Period { config: &config, ..period };
        self.run.selected.push(self.learned.texts.len());
        self.run.tokens.push(self.learned.tokens);
        self.run.seconds += self.learned.seconds;
        let answer = self.answer(&period, lenders)?;
        self.evaluate(&period, &answer, progress)?;
        self.synthetic(arena, place, answer.adapter())
    }

    /// What the method answers with; every method but SPRInG's own variants is lent a bank where
    /// it reads one.
    fn answer(&self, period: &Period<'_>, lenders: &Lenders) -> Result<Answer> {
        let own = self.strategy.answer(period)?;
        match self.method.reads() == Reads::Buffer && own.reads != Reads::Buffer {
            true => lenders.lend(self.lender, own.memories.adapter, period),
            false => Ok(own),
        }
    }

    fn evaluate(
        &mut self,
        period: &Period<'_>,
        answer: &Answer,
        progress: &mut dyn Progress,
    ) -> Result<()> {
        let row = evaluate::row(period, &self.method.kind().name, answer)?;
        self.run.open.push(row.get(period.place).map_or(0, |loss| loss.open_fused.texts));
        if answer.reads == Reads::Buffer {
            self.run.adapter_matrix.push(row.iter().map(FusedLoss::adapter).collect());
        }
        self.run.matrix.push(row.into_iter().map(|loss| loss.fused).collect());
        let mut config = self.config.clone();
        if answer.reads == Reads::Nothing {
            config.gate = GateConfig::Never {};
        }
        let (arena, place) = (period.arena, period.place);
        let person = answer.user_model(arena.model, &config);
        let written = write(person, &arena.splits[..=place], arena.protocol.generation, progress)?;
        self.run.generated.extend(written);
        Ok(())
    }

    /// What the truth about the texts allows to measure.
    fn synthetic(&mut self, arena: &Arena<'_>, t: usize, adapter: Option<&Adapter>) -> Result<()> {
        let truths = |t: usize| -> Vec<(u64, Truth)> {
            let texts = arena.splits[t].train.iter();
            texts.filter_map(|text| Some((text.seq, Truth::of(&text.interaction)?))).collect()
        };
        let period = truths(t);
        if period.is_empty() {
            return Ok(());
        }
        let before = t.checked_sub(1).and_then(|t| truths(t).last().map(|(_, truth)| truth.style));
        let kinds = before.map_or(vec![], |before| self.kinds(&period, before));
        let learned: HashSet<u64> = self.learned.texts.iter().copied().collect();
        let judged: Vec<(Truth, bool)> =
            period.into_iter().map(|(seq, truth)| (truth, learned.contains(&seq))).collect();
        let mut pairs = Vec::new();
        for (place, counterpart) in &arena.counterparts[t] {
            let rows =
                [(&arena.tests[t][*place].sequence, adapter), (&counterpart.sequence, adapter)];
            let scores = arena.model.score(&rows).map_err(spring_core::Error::from)?;
            let mean = |tokens: &Vec<f32>| spring_core::mean_log_likelihood(tokens);
            pairs.push((mean(&scores[0]), mean(&scores[1])));
        }
        let stale = match arena.turn {
            Some(turn) if t >= turn.place() => stale_after(arena, turn, adapter)?,
            _ => stale_preference_rate(&pairs),
        };
        self.run.synthetic.push(SyntheticScores {
            selection: selection_quality(&judged, before),
            stale,
            taken: before.map_or(vec![], |before| count_kinds(&judged, before)),
            kinds,
        });
        Ok(())
    }

    /// How the last period's texts were scored, kind by kind.
    fn kinds(&self, period: &[(u64, Truth)], before: usize) -> Vec<KindScores> {
        let truths: HashMap<u64, &Truth> =
            period.iter().map(|(seq, truth)| (*seq, truth)).collect();
        let scored = self.learned.record.iter().flat_map(|record| &record.scores);
        let mut kinds: BTreeMap<TextKind, Vec<KindScores>> = BTreeMap::new();
        for text in scored.filter(|text| text.adapter.is_some()) {
            let Some(kind) = truths.get(&text.seq).map(|truth| truth.kind(before)) else {
                continue;
            };
            let DriftScore { novelty, quality, score, .. } = text.score;
            let scores = KindScores::of(kind, text.selected.is_some(), novelty, quality, score);
            kinds.entry(kind).or_default().push(scores);
        }
        kinds.values().filter_map(KindScores::pooled).collect()
    }
}

/// How often an adapter gains more on the test texts of the person before a turning point.
fn stale_after(arena: &Arena<'_>, turn: Turn, adapter: Option<&Adapter>) -> Result<Option<f64>> {
    let (first, all) = (turn.place(), arena.tests.len());
    let gains = |periods: Range<usize>| match adapter {
        Some(adapter) => arena.gains(adapter, periods),
        // The base gains nothing anywhere.
        None => Ok(arena.tests[periods].iter().flatten().map(|_| 0.0).collect()),
    };
    Ok(stale_gain_rate(&gains(0..first)?, &gains(first..all)?))
}
