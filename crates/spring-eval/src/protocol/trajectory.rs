//! One method's way through a user's periods: what it learns, and its row of R.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    ops::Range,
    sync::Arc,
};

use spring_core::{
    Config, Progress, record::PeriodRecord, spring_drift::DriftScore, spring_fuse::GateConfig,
};
use spring_data::synth::{
    KindScores, TextKind, Truth, count_kinds, selection_quality, stale_gain_rate,
    stale_preference_rate,
};
use spring_lm::Adapter;

use super::{
    Method, Protocol, UserInput,
    arena::Arena,
    evaluate,
    memo::Watch,
    strategy::{Answer, Learned, Period, Reference, Spring, Strategy},
    write::write,
};
use crate::{Error, FusedLoss, MethodRun, Reads, Result, SyntheticScores, Turn};

/// One method's way through a user's periods.
pub(super) struct Trajectory<'a> {
    pub(super) method: &'a Method,
    strategy: Box<dyn Strategy>,
    config: Config,
    /// What was learned of the last period.
    learned: Learned,
    pub(super) run: MethodRun,
}

/// The settings of a method for a user, and the adapter that it starts from.
fn ready(
    method: &Method,
    protocol: &Protocol,
    input: UserInput<'_>,
) -> Result<(Config, Option<Arc<Adapter>>)> {
    let config = method.configure(&protocol.config)?;
    if method.needs_domain(input.start, &protocol.config) && input.domain.is_none() {
        let reason = format!("{}: there is no domain adapter", method.name());
        return Err(Error::NotEnough(reason));
    }
    let start = input.domain.filter(|_| method.starts_at_domain(input.start));
    Ok((config, start.cloned().map(Arc::new)))
}

/// SPRInG with the settings of the comparison, which learns before all methods.
pub(super) struct Leader {
    method: Method,
    spring: Spring,
    reference: Reference,
}

impl Leader {
    pub(super) fn new(protocol: &Protocol, input: UserInput<'_>) -> Result<Self> {
        let (method, mut spring) = (Method::spring()?, Spring::default());
        let (mut config, start) = ready(&method, protocol, input)?;
        spring.prepare(&mut config, start.clone())?;
        let knowledge = spring.knowledge.clone();
        Ok(Self {
            method,
            spring,
            reference: Reference { config, start, knowledge, learned: vec![] },
        })
    }

    /// Learns a period; gives its record.
    pub(super) fn learn(
        &mut self,
        arena: &Arena<'_>,
        place: usize,
        progress: &mut dyn Progress,
    ) -> Result<Option<PeriodRecord>> {
        let config = &self.reference.config;
        let has_own_share = self.method.has_own_share();
        let period = Period { arena, place, has_own_share, config, reference: None };
        let watch = Watch::start(arena.memo);
        let learned = self.spring.learn(&period, progress)?;
        let record = learned.record.clone();
        self.reference.knowledge.clone_from(&self.spring.knowledge);
        self.reference.learned.push(Learned { seconds: watch.seconds(), ..learned });
        Ok(record)
    }

    pub(super) fn adapter(&self) -> Option<&Adapter> {
        self.reference.knowledge.memories.adapter.as_deref()
    }

    pub(super) fn reference(&self) -> &Reference {
        &self.reference
    }
}

impl<'a> Trajectory<'a> {
    pub(super) fn new(
        method: &'a Method,
        mut strategy: Box<dyn Strategy>,
        protocol: &Protocol,
        input: UserInput<'_>,
    ) -> Result<Self> {
        let (mut config, start) = ready(method, protocol, input)?;
        strategy.prepare(&mut config, start)?;
        let (learned, run) = (Learned::nothing(), MethodRun::default());
        Ok(Self { method, strategy, config, learned, run })
    }

    /// Learns a period, and adds row `place` of R with what is measured on the diagonal;
    /// `reference` has learned the same period.
    pub(super) fn run_period(
        &mut self,
        arena: &Arena<'_>,
        place: usize,
        reference: &Reference,
        progress: &mut dyn Progress,
    ) -> Result<()> {
        let (config, has_own_share) = (self.config.clone(), self.method.has_own_share());
        let reference = Some(reference);
        let period = Period { arena, place, has_own_share, config: &config, reference };
        self.learned = self.strategy.learn(&period, progress)?;
        self.run.selected.push(self.learned.texts.len());
        self.run.tokens.push(self.learned.tokens);
        self.run.seconds += self.learned.seconds;
        let answer = self.answer(&period)?;
        self.evaluate(&period, &answer, progress)?;
        self.synthetic(arena, place, answer.adapter())
    }

    /// What the method answers with; every method but SPRInG's own variants reads the reference's
    /// buffer where it reads one.
    fn answer(&self, period: &Period<'_>) -> Result<Answer> {
        let own = self.strategy.answer(period)?;
        match period.reference {
            Some(reference)
                if self.method.reads() == Reads::Buffer && own.reads != Reads::Buffer =>
            {
                reference.lend_buffer(own.memories.adapter, period.model(), period.config())
            }
            _ => Ok(own),
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
