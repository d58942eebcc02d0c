//! Forgetting one interaction: the generations that saw it are learned again without it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use spring_memory::{InteractionId, UserId};

use crate::{
    Error, Forgetting, Forgotten, GenerationSummary, LanguageModel, Lease, Memories, PeriodInput, Relearned,
    Result, StateStore, StoredInteraction,
    adapt::{Renewing, known_embeddings, with_lease},
    learn_period, novelties,
    progress::Progress,
    recall,
    record::PeriodRecord,
};

/// Removes one interaction from history, buffers, indexes and records, and from the adapters that learned it.
///
/// Every generation that saw it is learned again under its own number, with the settings and the period boundaries that
/// it was learned with, from the last generation that did not see it; where that one was pruned, from the one before, and
/// if need be from the first period. The result is that of a run with the same periods in which the interaction never
/// was, to the last bit on the CPU. Records of texts are removed if a generation that saw the interaction wrote them, if
/// retrieval found it for them, or if they quote its response. Training comes first; then all changes are one transaction.
///
/// # Errors
///
/// [`Error::UnknownInteraction`], [`Error::Leased`] while somebody else trains this user, or what stops the training;
/// nothing is changed then.
pub fn forget_interaction(
    model: &dyn LanguageModel,
    store: &mut dyn StateStore,
    user: &UserId,
    id: &InteractionId,
    progress: &mut dyn Progress,
) -> Result<Forgotten> {
    with_lease(store, user, |store, lease| {
        let seq = store.find(user, id)?;
        let seq = seq.ok_or_else(|| Error::UnknownInteraction { user: user.clone(), id: id.clone() })?;
        let relearned = match store.place(user, seq)? {
            Some((period, false)) => Relearning::new(model, store, lease, seq, progress)?
                .run(period)
                .map_err(|error| error.of_user(user))?,
            // No generation saw what is pending or held out.
            _ => Vec::new(),
        };
        store.forget_interaction(lease, &Forgetting { user: user.clone(), seq, relearned })
    })
}

/// One run over a user's generations.
struct Relearning<'a> {
    model: &'a dyn LanguageModel,
    store: &'a mut dyn StateStore,
    lease: &'a mut Lease,
    progress: &'a mut dyn Progress,
    /// The interaction that never was.
    seq: u64,
    generations: Vec<GenerationSummary>,
    /// Of all generations, those learned again in place of the stored ones.
    records: BTreeMap<u32, PeriodRecord>,
    /// Memories and buffered texts that were learned again and are still needed.
    learned: HashMap<u32, (Memories, Vec<StoredInteraction>)>,
    /// Base log-likelihoods that were measured again.
    base: HashMap<u64, f64>,
}

impl<'a> Relearning<'a> {
    fn new(
        model: &'a dyn LanguageModel,
        store: &'a mut dyn StateStore,
        lease: &'a mut Lease,
        seq: u64,
        progress: &'a mut dyn Progress,
    ) -> Result<Self> {
        let generations = store.generations(&lease.user)?;
        let mut records = BTreeMap::new();
        for generation in &generations {
            records.insert(generation.number, store.record(&lease.user, generation.number)?.record);
        }
        let (learned, base) = (HashMap::new(), HashMap::new());
        Ok(Self { model, store, lease, progress, seq, generations, records, learned, base })
    }

    /// Learns again what came from the period, oldest first: a generation's number is above its parent's.
    fn run(mut self, period: u32) -> Result<Vec<Relearned>> {
        let mut saw = BTreeSet::new();
        for generation in &self.generations {
            if generation.period == period || saw.contains(&generation.parent) {
                saw.insert(generation.number);
            }
        }
        let mut relearned = Vec::new();
        for &number in &saw {
            let base = self.learn(number)?;
            let memories = self.learned.get(&number).map(|(memories, _)| memories.clone());
            let kept = self.summary(number)?.adapter_bytes.is_some();
            let memories = match memories.filter(|_| kept) {
                Some(Memories { adapter: Some(adapter), buffer, calibration, .. }) => {
                    Some((adapter.to_bytes()?, buffer, calibration))
                }
                _ => None,
            };
            relearned.push(Relearned { number, memories, base, record: self.record(number)?.clone() });
            // Only those that later ones start from are held.
            let later: BTreeSet<u32> = saw.range(number + 1..).copied().collect();
            let parents: BTreeSet<u32> = self
                .generations
                .iter()
                .filter(|generation| later.contains(&generation.number))
                .map(|generation| generation.parent)
                .collect();
            self.learned.retain(|number, _| parents.contains(number));
        }
        Ok(relearned)
    }

    /// Learns one generation again, from its parent; gives the base log-likelihoods of the period's texts.
    fn learn(&mut self, number: u32) -> Result<Vec<(u64, f64)>> {
        let GenerationSummary { parent, period, .. } = *self.summary(number)?;
        let (memories, buffered) = self.memories(parent)?;
        let user = self.lease.user.clone();
        let config = self.record(number)?.config.clone();
        let members = self.store.members(&user, period)?;
        let held_out = members.iter().filter(|member| member.held_out).count();
        // Measured again, in the company in which they would have been measured.
        let texts: Vec<StoredInteraction> = members
            .into_iter()
            .filter(|member| !member.held_out && member.stored.seq != self.seq)
            .map(|member| StoredInteraction { base: None, ..member.stored })
            .collect();
        let earlier = self.earlier(parent)?;
        let embeddings = known_embeddings(self.store, &user, &config, &[&buffered, &texts])?;
        let input = PeriodInput {
            user: &user,
            period,
            texts: &texts,
            held_out,
            buffered: &buffered,
            memories: &memories,
            earlier: &earlier,
            embeddings: &embeddings,
        };
        let mut renewing = Renewing {
            store: &mut *self.store,
            lease: &mut *self.lease,
            inner: &mut *self.progress,
            lost: None,
        };
        let outcome = match (learn_period(self.model, &config, input, &mut renewing), renewing.lost) {
            (_, Some(lost)) => return Err(lost),
            (outcome, None) => outcome?,
        };
        self.base.extend(outcome.base.iter().copied());
        let known = |text: StoredInteraction| StoredInteraction {
            base: self.base.get(&text.seq).copied().or(text.base),
            ..text
        };
        let buffered = outcome.buffered.into_iter().map(known).collect();
        self.records.insert(number, outcome.record);
        self.learned.insert(number, (Memories { generation: number, ..outcome.memories }, buffered));
        // Values of texts that were cut at another length than now are not those of the state.
        let is_current = config.training.max_tokens == self.store.settings().config.training.max_tokens;
        Ok(if is_current { outcome.base } else { Vec::new() })
    }

    /// What a generation generates with, and the texts of its buffer; learned again if it was pruned.
    fn memories(&mut self, number: u32) -> Result<(Memories, Vec<StoredInteraction>)> {
        if number == 0 {
            return Ok((Memories::default(), Vec::new()));
        }
        if !self.learned.contains_key(&number) {
            if self.summary(number)?.adapter_bytes.is_some() {
                let (memories, bank) = recall(self.model, self.store, &self.lease.user, Some(number))?;
                return Ok((memories, bank.texts().to_vec()));
            }
            let record = self.record(number)?.clone();
            self.learn(number)?;
            // It did not see the interaction: what is on record stays.
            self.records.insert(number, record);
        }
        Ok(self.learned.get(&number).cloned().unwrap_or_default())
    }

    /// Novelties of all periods on the way to a generation, in the order of time.
    fn earlier(&self, mut number: u32) -> Result<Vec<f64>> {
        let mut path = Vec::new();
        while number > 0 {
            path.push(number);
            number = self.summary(number)?.parent;
        }
        path.reverse();
        let mut earlier = Vec::new();
        for number in path {
            earlier.extend(novelties(self.record(number)?));
        }
        Ok(earlier)
    }

    fn summary(&self, number: u32) -> Result<&GenerationSummary> {
        let found = self.generations.iter().find(|generation| generation.number == number);
        found.ok_or_else(|| self.unknown(number))
    }

    fn record(&self, number: u32) -> Result<&PeriodRecord> {
        self.records.get(&number).ok_or_else(|| self.unknown(number))
    }

    fn unknown(&self, number: u32) -> Error {
        Error::UnknownRecord { user: self.lease.user.clone(), what: "generation", number }
    }
}
