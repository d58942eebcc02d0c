//! Learning a person's periods one after the other, over a state or without one.

use std::sync::Arc;

use spring_lm::{Adapter, Train};
use spring_memory::UserId;

use crate::{
    Config, EmbeddingMap, Learned, PeriodInput, Progress, Result, StoredInteraction, UserModel,
    novelties, period::learn_period_by,
};

/// The texts of one period.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Period<'a> {
    /// Its number, from 1.
    pub number: u32,
    /// The texts it may learn from, in the order of time; held-out texts are not among them.
    pub texts: &'a [StoredInteraction],
    /// How many of its texts are held out.
    pub held_out: usize,
}

impl<'a> Period<'a> {
    /// A period that may learn from all of these texts, in the order of time.
    pub fn new(number: u32, texts: &'a [StoredInteraction]) -> Self {
        Self { number, texts, held_out: 0 }
    }

    /// The same with a number of texts held out beside them.
    pub fn holding_out(self, texts: usize) -> Self {
        Self { held_out: texts, ..self }
    }
}

/// Learns one person's periods, and keeps in hand what the next one needs: the model, the novelties
/// of the texts so far, and embeddings of the texts in the buffer.
#[derive(Debug, Clone)]
pub struct Learner<'m> {
    user: UserId,
    model: UserModel<'m>,
    earlier: Vec<f64>,
    embeddings: EmbeddingMap,
    population: Option<Arc<Adapter>>,
}

impl<'m> Learner<'m> {
    /// Goes on from a person's model. `earlier` are the novelties of the periods that it has
    /// learned, in the order of time; see [`novelties`].
    pub fn new(user: UserId, model: UserModel<'m>, earlier: Vec<f64>) -> Self {
        Self { user, model, earlier, embeddings: EmbeddingMap::new(), population: None }
    }

    /// With the adapter of a population, which novelty is measured against where `drift.reference`
    /// of the settings says so. It must have been trained on the same base, and may have another
    /// shape than the person's own.
    #[must_use]
    pub fn with_population(self, adapter: Arc<Adapter>) -> Self {
        Self { population: Some(adapter), ..self }
    }

    /// The person.
    pub fn user(&self) -> &UserId {
        &self.user
    }

    /// The person's model as it is now.
    pub fn model(&self) -> &UserModel<'m> {
        &self.model
    }

    /// Adds embeddings that are known, so that they are not computed again.
    pub fn know(&mut self, embeddings: EmbeddingMap) {
        self.embeddings.extend(embeddings);
    }

    /// Learns a period; see [`learn_period`](crate::learn_period).
    ///
    /// # Errors
    ///
    /// As there; the person's model is then as before.
    pub fn learn(&mut self, period: Period<'_>, progress: &mut dyn Progress) -> Result<Learned> {
        let base = self.model.base.clone();
        self.learn_by(&*base, period, progress)
    }

    /// The same, with the update trained by another than the base, such as one that is held to a
    /// budget. All else is the base's, looking ahead too.
    ///
    /// # Errors
    ///
    /// As [`learn`](Self::learn).
    pub fn learn_by(
        &mut self,
        trainer: &dyn Train,
        period: Period<'_>,
        progress: &mut dyn Progress,
    ) -> Result<Learned> {
        let input = PeriodInput {
            user: &self.user,
            period: period.number,
            texts: period.texts,
            held_out: period.held_out,
            bank: self.model.bank.texts(),
            memories: &self.model.memories,
            earlier: &self.earlier,
            embeddings: &self.embeddings,
            population: self.population.as_deref(),
        };
        let (base, config) = (&*self.model.base, &self.model.config);
        let outcome = learn_period_by(base, trainer, config, input, progress)?;
        (self.model.memories, self.model.bank) = (outcome.memories, outcome.bank);
        self.earlier.extend(novelties(&outcome.learned.record));
        self.know(outcome.learned.embeddings.clone());
        self.embeddings.retain(|seq, _| self.model.bank.text(*seq).is_some());
        Ok(outcome.learned)
    }

    /// Takes the number that a state has given to what was learned last: after a step back it is
    /// not the next one.
    pub fn commit(&mut self, generation: u32) {
        self.model.memories.generation = generation;
    }

    /// Goes on with other settings.
    pub fn set_config(&mut self, config: Config) {
        self.model.config = config;
    }

    /// Goes on with another adapter, for whatever learns without choosing.
    pub fn replace_adapter(&mut self, adapter: Option<Adapter>) {
        self.model.memories.adapter = adapter.map(Arc::new);
    }
}
