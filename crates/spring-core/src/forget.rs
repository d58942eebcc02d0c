//! Forgetting one interaction: the generations that saw it are learned again without it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Serialize;
use spring_memory::{InteractionId, UserId};

use crate::{
    BankKind, Error, Forgetting, Forgotten, GenerationSummary, LanguageModel, Learned, Lease,
    Memories, PeriodInput, Relearned, Result, Store, StoredInteraction, UserModel,
    adapt::{Renewing, known_embeddings, patience, patiently, population},
    check_base, learn_period, novelties,
    progress::Progress,
    record::PeriodRecord,
};

/// Removes one interaction from history, buffers, indexes and records, and from the adapters that
/// learned it.
///
/// Every generation that saw it is learned again under its own number, with the settings and the
/// period boundaries that it was learned with, from the last generation that did not see it; where
/// that one was pruned, from the one before, and if need be from the first period. The result is
/// that of a run with the same periods in which the interaction never was, to the last bit on the
/// CPU. Records of texts are removed if a generation that saw the interaction wrote them, if
/// retrieval found it for them, or if they quote its prompt or response. Training comes first; then
/// all changes are one transaction.
///
/// # Errors
///
/// [`UnknownInteraction`](spring_store::Error::UnknownInteraction), [`Error::OtherBase`] for a
/// model that the state was not made for, [`Leased`](spring_store::Error::Leased) while somebody
/// else trains this user, [`DamagedPrior`](spring_store::Error::DamagedPrior) if it cannot be told
/// whether a prior was learned from it, or what stops the training; nothing is changed then.
pub fn forget_interaction(
    model: &dyn LanguageModel,
    store: &Store,
    user: &UserId,
    id: &InteractionId,
    progress: &mut dyn Progress,
) -> Result<Forgotten> {
    check_base(model, store)?;
    store.with_lease(user, |lease| {
        let unknown =
            || spring_store::Error::UnknownInteraction { user: user.clone(), id: id.clone() };
        let seq = store.find(user, id)?.ok_or_else(unknown)?;
        // What would refuse it in the end is told before anything is learned.
        store.priors_from(user, Some(seq))?;
        let relearned = match store.place(user, seq)? {
            Some((period, false)) => {
                let relearning = Relearning::new(model, store, lease, Some(seq), progress)?;
                let saw = saw(relearning.generations.values(), period);
                relearning.run(&saw).map_err(|error| error.of_user(user))?
            }
            // No generation saw what is pending or held out.
            _ => Vec::new(),
        };
        let forgetting = Forgetting::new(seq, relearned);
        patiently(patience(lease), progress, || Ok(store.forget_interaction(lease, &forgetting)?))
    })
}

/// What it would take to forget an interaction.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ForgettingCost {
    /// Generations that saw it, and would be learned again.
    pub generations: usize,
    /// How long they took when they were learned, in seconds.
    pub seconds: f64,
}

/// Estimates what [`forget_interaction`] would take; changes nothing.
///
/// # Errors
///
/// [`UnknownInteraction`](spring_store::Error::UnknownInteraction), or if the state cannot be read.
pub fn forgetting_cost(store: &Store, user: &UserId, id: &InteractionId) -> Result<ForgettingCost> {
    let unknown = || spring_store::Error::UnknownInteraction { user: user.clone(), id: id.clone() };
    let seq = store.find(user, id)?.ok_or_else(unknown)?;
    let Some((period, false)) = store.place(user, seq)? else {
        return Ok(ForgettingCost { generations: 0, seconds: 0.0 });
    };
    let saw = saw(&store.generations(user)?, period);
    let mut seconds = 0.0;
    for &number in &saw {
        seconds += store.record(user, number)?.record.seconds;
    }
    Ok(ForgettingCost { generations: saw.len(), seconds })
}

/// The generations of a period and all that came from them; a generation's number is above its
/// parent's.
fn saw<'g>(
    generations: impl IntoIterator<Item = &'g GenerationSummary>,
    period: u32,
) -> BTreeSet<u32> {
    let mut saw = BTreeSet::new();
    for generation in generations {
        if generation.period == period || saw.contains(&generation.parent) {
            saw.insert(generation.number);
        }
    }
    saw
}

/// What a generation generates with, and the texts of its bank: those of its buffer at least.
type Bank = (Memories, Vec<StoredInteraction>);

/// One run over a user's generations.
pub(crate) struct Relearning<'a> {
    model: &'a dyn LanguageModel,
    store: &'a Store,
    lease: &'a mut Lease,
    progress: &'a mut dyn Progress,
    /// The interaction that never was.
    seq: Option<u64>,
    /// What all paths begin with, where it is not what they began with.
    start: Option<Memories>,
    pub(crate) generations: BTreeMap<u32, GenerationSummary>,
    /// Of all generations, those learned again in place of the stored ones.
    pub(crate) records: BTreeMap<u32, PeriodRecord>,
    /// Memories and texts of banks that were learned again and are still needed.
    learned: HashMap<u32, Bank>,
    /// Base log-likelihoods that were measured again, by [`cut_since`](Self::cut_since) and
    /// sequence number.
    base: HashMap<(u32, u64), f64>,
}

impl<'a> Relearning<'a> {
    pub(crate) fn new(
        model: &'a dyn LanguageModel,
        store: &'a Store,
        lease: &'a mut Lease,
        seq: Option<u64>,
        progress: &'a mut dyn Progress,
    ) -> Result<Self> {
        let generations = store.generations(&lease.user)?;
        let mut records = BTreeMap::new();
        for generation in &generations {
            records.insert(generation.number, store.record(&lease.user, generation.number)?.record);
        }
        let generations =
            generations.into_iter().map(|generation| (generation.number, generation)).collect();
        let (learned, base, start) = (HashMap::new(), HashMap::new(), None);
        Ok(Self { model, store, lease, progress, seq, start, generations, records, learned, base })
    }

    /// The same from another start: what was learned from no generation before begins with these
    /// memories.
    pub(crate) fn starting_from(self, start: Memories) -> Self {
        Self { start: Some(start), ..self }
    }

    /// Learns these generations again, with all that came from them, oldest first.
    pub(crate) fn run(mut self, saw: &BTreeSet<u32>) -> Result<Vec<Relearned>> {
        let mut relearned = Vec::new();
        for &number in saw {
            let GenerationSummary { parent, adapter_bytes, .. } = *self.summary(number)?;
            self.remember(parent)?;
            let (learned, base) = self.learn(number, self.start(number)?)?;
            let memories = match (&learned.0, adapter_bytes) {
                (Memories { adapter: Some(adapter), buffer, calibration, .. }, Some(_)) => {
                    Some((adapter.to_bytes()?, buffer.clone(), calibration.clone()))
                }
                _ => None,
            };
            self.learned.insert(number, learned);
            let again = Relearned::new(number, self.record(number)?.clone());
            relearned.push(again.with_memories(memories).with_base(base));
            // Only those that later ones start from are held.
            let later = saw.range(number + 1..).filter_map(|later| self.generations.get(later));
            let parents: BTreeSet<u32> = later.map(|generation| generation.parent).collect();
            self.learned.retain(|number, _| parents.contains(number));
        }
        Ok(relearned)
    }

    /// Learns one generation again, from what its parent generated with; gives also the base
    /// log-likelihoods of the period's texts.
    fn learn(
        &mut self,
        number: u32,
        (memories, texts_of_bank): Bank,
    ) -> Result<(Bank, Vec<(u64, f64)>)> {
        let GenerationSummary { parent, period, .. } = *self.summary(number)?;
        let user = self.lease.user.clone();
        let config = self.record(number)?.config.clone();
        let members = self.store.members(&user, period)?;
        let held_out = members.iter().filter(|member| member.held_out).count();
        // Measured again, in the company in which they would have been measured.
        let texts: Vec<StoredInteraction> = members
            .into_iter()
            .filter(|member| !member.held_out && Some(member.stored.seq) != self.seq)
            .map(|member| member.stored.with_base(None))
            .collect();
        // As they were known then: every change of the cut made the state forget the
        // log-likelihoods of all texts.
        let since = self.cut_since(number)?;
        let newest = self.generations.last_key_value().map_or(number, |(newest, _)| *newest);
        let is_current = since == self.cut_since(newest)?
            && config.training.max_tokens == self.store.settings().config.training.max_tokens;
        let known = |text: StoredInteraction| {
            let now = text.base.filter(|_| is_current && parent >= since);
            let base = self.base.get(&(since, text.seq)).copied().or(now);
            text.with_base(base)
        };
        // By the settings that the period was learned with, whatever its parent's were.
        let bank = match config.buffer.bank {
            BankKind::Buffer => texts_of_bank,
            BankKind::History => {
                let mut learned = self.store.learned_until(&user, parent)?;
                learned.retain(|text| Some(text.seq) != self.seq);
                learned
            }
        };
        let bank: Vec<StoredInteraction> = bank.into_iter().map(known).collect();
        let earlier = self.earlier(parent)?;
        let all = [bank.as_slice(), &texts].concat();
        let embeddings = known_embeddings(self.store, &user, &config, &all)?;
        let start = match parent {
            0 => memories.prior.as_deref(),
            parent => self.record(self.root(parent)?)?.prior.as_deref(),
        };
        let population = population(self.store, &config, start)?;
        let input = PeriodInput {
            user: &user,
            period,
            texts: &texts,
            held_out,
            bank: &bank,
            memories: &memories,
            earlier: &earlier,
            embeddings: &embeddings,
            population: population.as_deref(),
        };
        let mut renewing = Renewing {
            store: self.store,
            lease: &mut *self.lease,
            inner: &mut *self.progress,
            lost: None,
        };
        let outcome = match (learn_period(self.model, &config, input, &mut renewing), renewing.lost)
        {
            (_, Some(lost)) => return Err(lost),
            (outcome, None) => outcome?,
        };
        let Learned { base, record, .. } = outcome.learned;
        self.base.extend(base.iter().map(|&(seq, base)| ((since, seq), base)));
        let unjudged = self.record(number)?.unjudged;
        self.records.insert(number, PeriodRecord { unjudged, ..record });
        let base = if is_current { base } else { Vec::new() };
        let memories = Memories { generation: number, ..outcome.memories };
        Ok(((memories, outcome.bank.into_texts()), base))
    }

    /// The first of the generations, in the order in which they were learned, from which on all
    /// texts were cut where they are for this one.
    fn cut_since(&self, number: u32) -> Result<u32> {
        let cut = self.record(number)?.config.training.max_tokens;
        let same = |(_, record): &(&u32, &PeriodRecord)| record.config.training.max_tokens == cut;
        let first = self.records.range(..=number).rev().take_while(same).last();
        Ok(first.map_or(number, |(first, _)| *first))
    }

    /// Learns a generation again if it was pruned, forward from the last one before it that was
    /// not: one after the other, each held until the next is there.
    fn remember(&mut self, number: u32) -> Result<()> {
        let mut pruned = Vec::new();
        let mut from = number;
        while from > 0
            && !self.learned.contains_key(&from)
            && self.summary(from)?.adapter_bytes.is_none()
        {
            pruned.push(from);
            from = self.summary(from)?.parent;
        }
        let Some(&first) = pruned.last() else { return Ok(()) };
        let mut last = self.start(first)?;
        for &number in pruned.iter().rev() {
            let record = self.record(number)?.clone();
            (last, _) = self.learn(number, last)?;
            // It did not see the interaction: what is on record stays.
            self.records.insert(number, record);
        }
        self.learned.insert(number, last);
        Ok(())
    }

    /// What a generation started from: what its parent generates with, which is there, and the
    /// texts of its bank.
    fn start(&self, number: u32) -> Result<Bank> {
        let parent = self.summary(number)?.parent;
        if parent == 0 {
            return Ok((self.beginning(number)?, Vec::new()));
        }
        match self.learned.get(&parent) {
            Some(learned) => Ok(learned.clone()),
            None => {
                let model =
                    UserModel::recall(self.model, self.store, &self.lease.user, Some(parent))?;
                let (memories, bank) = model.into_parts();
                Ok((memories, bank.into_texts()))
            }
        }
    }

    /// What a generation without a parent started from: the base, or the prior of its record.
    fn beginning(&self, number: u32) -> Result<Memories> {
        if let Some(start) = &self.start {
            return Ok(start.clone());
        }
        let Some(id) = &self.record(number)?.prior else { return Ok(Memories::default()) };
        let prior = self.store.prior_by_id(id)?;
        let unknown = || spring_store::Error::UnknownPrior { id: id.clone() };
        Ok(Memories::from_prior(&*prior.ok_or_else(unknown)?))
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

    /// The generation without a parent that this one came from, or is.
    fn root(&self, mut number: u32) -> Result<u32> {
        loop {
            match self.summary(number)?.parent {
                0 => return Ok(number),
                parent => number = parent,
            }
        }
    }

    fn summary(&self, number: u32) -> Result<&GenerationSummary> {
        self.generations.get(&number).ok_or_else(|| self.unknown(number))
    }

    fn record(&self, number: u32) -> Result<&PeriodRecord> {
        self.records.get(&number).ok_or_else(|| self.unknown(number))
    }

    fn unknown(&self, number: u32) -> Error {
        let user = self.lease.user.clone();
        spring_store::Error::UnknownRecord { user, what: "generation", number }.into()
    }
}
