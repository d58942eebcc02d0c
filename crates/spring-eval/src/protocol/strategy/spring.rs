//! SPRInG: selection, adapter, buffer, gate and mixture, as the state learns them.

use std::sync::Arc;

use spring_core::{Config, Learner, Memories, NoveltyReference, Progress, UserModel, novelties};
use spring_lm::Adapter;

use super::{
    Answer, Learned, Period, Strategy,
    reference::{Knowledge, answer_with},
};
use crate::{Reads, Result};

/// The whole method, or its adapter alone.
#[derive(Debug, Clone)]
pub struct Spring {
    reads: Reads,
    config: Config,
    start: Option<Arc<Adapter>>,
    pub(crate) knowledge: Knowledge,
}

impl Default for Spring {
    fn default() -> Self {
        Self::reading(Reads::Buffer)
    }
}

impl Spring {
    /// With its own buffer read along, or without ([`Reads::Nothing`]).
    pub fn reading(reads: Reads) -> Self {
        Self { reads, config: Config::default(), start: None, knowledge: Knowledge::default() }
    }
}

impl Strategy for Spring {
    fn prepare(&mut self, config: &mut Config, start: Option<Arc<Adapter>>) -> Result<()> {
        self.config = config.clone();
        let memories = Memories { adapter: start.clone(), ..Memories::default() };
        self.knowledge = Knowledge { memories, ..Knowledge::default() };
        self.start = start;
        Ok(())
    }

    fn learn(&mut self, period: &Period<'_>, progress: &mut dyn Progress) -> Result<Learned> {
        // What the reference learned in the same way is not learned again.
        let same = period
            .reference()
            .filter(|reference| reference.learns_like(&self.config, self.start.as_deref()));
        if let Some((reference, learned)) = same.and_then(|same| Some((same, same.learned.last()?)))
        {
            self.knowledge.clone_from(&reference.knowledge);
            return Ok(learned.clone());
        }
        let trainer = period.trainer(period.place()..=period.place(), vec![]);
        let Knowledge { memories, bank, earlier } = std::mem::take(&mut self.knowledge);
        let config = self.config.clone();
        let person = match bank {
            Some(bank) => UserModel::new(period.model(), config, memories, bank),
            None => UserModel::fresh(period.model(), config, self.start.as_deref().cloned())?,
        };
        let mut learner = Learner::new(period.user().clone(), person, earlier.clone());
        if self.config.drift.reference == NoveltyReference::Population
            && let Some(domain) = period.domain()
        {
            learner = learner.with_population(Arc::new(domain.clone()));
        }
        let record = learner.learn_by(&trainer, period.split().learnable(), progress)?.record;
        let (memories, bank) = learner.model().clone().into_parts();
        let earlier = earlier.into_iter().chain(novelties(&record)).collect();
        self.knowledge = Knowledge { memories, bank: Some(bank), earlier };
        let selected = record.scores.iter().filter(|score| score.selected.is_some());
        Ok(Learned {
            texts: selected.map(|score| score.seq).collect(),
            tokens: record.update.tokens,
            record: Some(record),
            seconds: 0.0,
        })
    }

    fn answer(&self, period: &Period<'_>) -> Result<Answer> {
        match self.reads {
            Reads::Buffer => {
                let adapter = self.knowledge.memories.adapter.clone();
                answer_with(&self.knowledge, adapter, period.model(), period.config())
            }
            _ => Ok(Answer::with_adapter(self.knowledge.memories.adapter.clone())),
        }
    }
}
