//! SPRInG as it learns for others: for all methods with the settings of the comparison, and for
//! those that follow another variant of it with the settings of that one.

use std::sync::Arc;

use spring_core::{
    BankKind, Config, EmbeddingMap, Memories, Progress, RetrievalBank,
    record::PeriodRecord,
    spring_fuse::{Calibration, GateConfig, MixtureConfig},
};
use spring_lm::Adapter;

use super::{
    Method, Protocol, UserInput,
    arena::Arena,
    input::ready,
    memo::Watch,
    strategy::{Answer, Learned, Period, Reference, Spring, Strategy},
};
use crate::{Result, Split};

/// A variant of SPRInG that learns before the methods that are measured by it.
pub(super) struct Leader {
    method: Method,
    spring: Spring,
    reference: Reference,
}

impl Leader {
    /// SPRInG with the settings of the comparison.
    pub(super) fn new(protocol: &Protocol, input: UserInput<'_>) -> Result<Self> {
        let method = Method::spring()?;
        let (config, start) = ready(&method, protocol, input)?;
        Self::of(method, config, start)
    }

    fn of(method: Method, mut config: Config, start: Option<Arc<Adapter>>) -> Result<Self> {
        let mut spring = Spring::default();
        spring.prepare(&mut config, start.clone())?;
        let knowledge = spring.knowledge.clone();
        let reference = Reference { config, start, knowledge, learned: vec![] };
        Ok(Self { method, spring, reference })
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

/// Whose bank a method reads that has none of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lender {
    /// That of SPRInG with the settings of the comparison.
    Leader,
    /// That of another variant, by its place.
    Variant(usize),
    /// Nobody's: all of the user's texts so far.
    History,
}

/// SPRInG with the settings of the comparison, and the variants that methods follow, each once.
pub(super) struct Lenders {
    pub(super) leader: Leader,
    variants: Vec<Leader>,
}

impl Lenders {
    pub(super) fn new(protocol: &Protocol, input: UserInput<'_>) -> Result<Self> {
        Ok(Self { leader: Leader::new(protocol, input)?, variants: vec![] })
    }

    /// Whose bank a method reads, from now on.
    pub(super) fn of(
        &mut self,
        method: &Method,
        protocol: &Protocol,
        input: UserInput<'_>,
    ) -> Result<Lender> {
        let Some(variant) = method.lender()? else { return Ok(Lender::Leader) };
        let (mut config, start) = ready(&variant, protocol, input)?;
        let is_alike = |leader: &Leader| leader.reference.keeps_like(&config, start.as_deref());
        if is_alike(&self.leader) {
            return Ok(Lender::Leader);
        }
        if method.like().is_none() && config.buffer.bank == BankKind::History {
            return Ok(Lender::History);
        }
        if let Some(place) = self.variants.iter().position(is_alike) {
            return Ok(Lender::Variant(place));
        }
        // What retrieval gains is measured with the adapter that reads the bank.
        (config.gate, config.fusion) = (GateConfig::Never {}, MixtureConfig::default());
        self.variants.push(Leader::of(variant, config, start)?);
        Ok(Lender::Variant(self.variants.len() - 1))
    }

    /// Learns a period, all of them; gives the record of the comparison's SPRInG.
    pub(super) fn learn(
        &mut self,
        arena: &Arena<'_>,
        place: usize,
        progress: &mut dyn Progress,
    ) -> Result<Option<PeriodRecord>> {
        let record = self.leader.learn(arena, place, progress)?;
        for variant in &mut self.variants {
            variant.learn(arena, place, progress)?;
        }
        Ok(record)
    }

    /// What methods are measured by that follow a lender.
    pub(super) fn reference(&self, lender: Lender) -> &Reference {
        match lender {
            Lender::Variant(place) => self.variants.get(place).unwrap_or(&self.leader),
            Lender::Leader | Lender::History => &self.leader,
        }
        .reference()
    }

    /// The sequence numbers of what a lender has in its bank after some periods.
    pub(super) fn texts(&self, lender: Lender, so_far: &[Split]) -> Vec<u64> {
        let bank = self.reference(lender).knowledge.bank.as_ref();
        match (lender, bank) {
            (Lender::Leader | Lender::Variant(_), Some(bank)) => {
                bank.texts().iter().map(|text| text.seq).collect()
            }
            _ => so_far.iter().flat_map(|split| &split.train).map(|text| text.seq).collect(),
        }
    }

    /// The bank of a lender with an adapter, through gate and mixture by the settings of a method.
    pub(super) fn lend(
        &self,
        lender: Lender,
        adapter: Option<Arc<Adapter>>,
        period: &Period<'_>,
    ) -> Result<Answer> {
        let (model, config) = (period.model(), period.config());
        if lender != Lender::History {
            return self.reference(lender).lend_buffer(adapter, model, config);
        }
        let texts = period.texts_so_far();
        let bank = RetrievalBank::of(model, config, texts, &EmbeddingMap::new())?;
        let gains = bank.gains(model, config, adapter.as_deref())?;
        let calibration = Calibration::new(bank.calibration(model)?).with_gains(gains);
        Ok(Answer::with_buffer(Memories { adapter, calibration, ..Memories::default() }, bank))
    }
}
