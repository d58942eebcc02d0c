//! One method's way through a user's periods: what it learns, what stands beside the prompt, and its row of R.

use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hash, Hasher},
    time::Instant,
};

use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use spring_core::{
    Config, EmbeddingMap, Event, LanguageModel, Memories, Progress, RetrievalBank, StoredInteraction,
    generate, key,
    prompt::{Encoded, RetrievedPair, contexts},
    record::PeriodRecord,
    spring_fuse::{GateConfig, Lambda, Space},
    spring_memory::{BufferItem, BufferPolicyConfig, NoEmbeddings},
    spring_model::{Adapter, Sequence, TrainStep},
};

use super::{
    GeneratedText, MethodRun, MethodSpec, Protocol, SyntheticScores, UserInput,
    arena::Arena,
    budget::adapter_key,
    method::{Beside, Learn},
};
use crate::{
    Error, FusedLoss, Loss, Result,
    learner::Learner,
    loss::{encode, fused_loss, losses},
    synth::{Truth, selection_quality, stale_preference_rate},
};

/// One method's way through a user's periods.
pub(super) struct Trajectory<'a> {
    pub(super) spec: &'a MethodSpec,
    config: Config,
    pull: f64,
    start: Option<Adapter>,
    pub(super) learner: Learner,
    /// SPRInG's record of the last period.
    pub(super) record: Option<PeriodRecord>,
    /// The texts of the last period that were learned, by sequence number.
    learned: HashSet<u64>,
    pub(super) run: MethodRun,
    /// Seconds that the last period took to learn.
    seconds: f64,
}

impl<'a> Trajectory<'a> {
    pub(super) fn new(spec: &'a MethodSpec, protocol: &Protocol, input: UserInput<'_>) -> Result<Self> {
        let mut config = spec.configure(&protocol.config).map_err(Error::NotEnough)?;
        if spec.beside == Beside::Search {
            // All of it in one branch: the retrieved texts stand in the prompt.
            (config.gate, config.fusion.lambda) =
                (GateConfig::Always { k: k_of(&config.gate) }, Lambda::Fixed(1.0));
            config.fusion.space = Space::Probability {};
        }
        let needs_domain = match spec.learn {
            Learn::Nothing => false,
            Learn::Domain => true,
            _ => input.start_from_domain,
        };
        if needs_domain && input.domain.is_none() {
            let reason = format!("{}: there is no domain adapter", spec.name());
            return Err(Error::NotEnough(reason));
        }
        let start = input.domain.filter(|_| needs_domain).cloned();
        let learner = Learner::starting_from(start.clone());
        let pull = if spec.learn == Learn::Pulled { spec.strength().map_err(Error::NotEnough)? } else { 0.0 };
        Ok(Self {
            spec,
            config,
            pull,
            start,
            learner,
            record: None,
            learned: HashSet::new(),
            run: MethodRun::default(),
            seconds: 0.0,
        })
    }

    /// Learns period `t`; `reference` is SPRInG after the same period.
    pub(super) fn learn(
        &mut self,
        arena: &Arena<'_>,
        t: usize,
        reference: Option<&Trajectory<'_>>,
        progress: &mut dyn Progress,
    ) -> Result<()> {
        if self.spec.learn == Learn::Spring {
            return self.select_and_learn(arena, t, reference, progress);
        }
        let chosen = self.choose(arena, t, reference)?;
        self.learned = chosen.iter().map(|text| text.seq).collect();
        self.run.selected.push(chosen.len());
        if chosen.is_empty() {
            self.run.tokens.push(0);
            return Ok(());
        }
        if self.spec.learn == Learn::Cumulative {
            self.learner.memories.adapter.clone_from(&self.start);
        }
        let replayed = match self.spec.learn {
            Learn::Replay => self.replayed(arena, t)?,
            _ => vec![],
        };
        let config = &self.config;
        let examples: Vec<Sequence> =
            encode(arena.model, config, &chosen)?.into_iter().map(|text| text.sequence).collect();
        let seed = key::seed(config.seed, arena.user.as_str(), arena.splits[t].period, "adapter");
        let start = self.learner.memories.adapter.as_ref();
        let mut step = |step: TrainStep| {
            progress.on(Event::Training { done: step.done, steps: step.steps, loss: step.loss })
        };
        let outcome = arena
            .trainer(t, config, replayed, self.pull)
            .adapt(start, &config.lora, &examples, &config.training, seed, &mut step)
            .map_err(spring_core::Error::from)?;
        self.run.tokens.push(outcome.tokens);
        self.learner.memories.adapter = Some(outcome.adapter);
        Ok(())
    }

    /// The texts of period `t` that are learned without a score.
    fn choose(
        &self,
        arena: &Arena<'_>,
        t: usize,
        reference: Option<&Trajectory<'_>>,
    ) -> Result<Vec<StoredInteraction>> {
        let split = &arena.splits[t];
        let shuffled = || {
            let seed = key::seed(self.config.seed, arena.user.as_str(), split.period, "random selection");
            let mut order: Vec<usize> = (0..split.train.len()).collect();
            order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
            order
        };
        Ok(match self.spec.learn {
            Learn::Nothing | Learn::Domain | Learn::OtherUser => vec![],
            Learn::First if t > 0 => vec![],
            Learn::Random => {
                let count = reference.and_then(|r| r.run.selected.get(t)).copied();
                in_time(&split.train, shuffled().into_iter().take(count.unwrap_or(split.train.len())))
            }
            Learn::RandomTokens => {
                let wanted = reference.map_or(usize::MAX, Trajectory::selected_tokens);
                let encoded = encode(arena.model, &self.config, &split.train)?;
                let lengths: Vec<usize> = encoded.iter().map(|text| text.sequence.response.len()).collect();
                in_time(&split.train, up_to(&shuffled(), &lengths, wanted))
            }
            Learn::Cumulative => arena.splits[..=t].iter().flat_map(|split| split.train.clone()).collect(),
            _ => split.train.clone(),
        })
    }

    /// SPRInG's period, or what the reference made of the same one.
    fn select_and_learn(
        &mut self,
        arena: &Arena<'_>,
        t: usize,
        reference: Option<&Trajectory<'_>>,
        progress: &mut dyn Progress,
    ) -> Result<()> {
        let learning = |config: &Config| {
            (config.drift.clone(), config.buffer.clone(), config.bm25.clone(), config.retrieval.clone())
        };
        if let Some(same) = reference.filter(|other| learning(&other.config) == learning(&self.config)) {
            self.learner.clone_from(&same.learner);
            self.learned.clone_from(&same.learned);
            self.run.selected.clone_from(&same.run.selected);
            self.run.tokens.clone_from(&same.run.tokens);
            self.run.seconds += same.seconds;
            return Ok(());
        }
        let split = &arena.splits[t];
        let model = arena.trainer(t, &self.config, vec![], 0.0);
        let started = Instant::now();
        let record = self.learner.learn(&model, &self.config, arena.user, split, progress)?;
        self.seconds = started.elapsed().as_secs_f64();
        let scores = record.scores.iter();
        self.learned = scores.filter(|score| score.selected.is_some()).map(|score| score.seq).collect();
        self.run.selected.push(record.selection.selected);
        self.run.tokens.push(record.update.tokens);
        self.record = Some(record);
        Ok(())
    }

    /// Response tokens of what the last period selected.
    fn selected_tokens(&self) -> usize {
        let scores = self.record.iter().flat_map(|record| &record.scores);
        scores.filter(|score| score.selected.is_some()).map(|score| score.tokens).sum()
    }

    /// As many older texts as the period has, from a reservoir over all earlier periods.
    fn replayed(&self, arena: &Arena<'_>, t: usize) -> Result<Vec<Sequence>> {
        let policy = BufferPolicyConfig::Reservoir { seed: self.config.seed }.init();
        let earlier: Vec<&StoredInteraction> =
            arena.splits[..t].iter().flat_map(|split| &split.train).collect();
        let items = earlier.iter().map(|text| BufferItem {
            key: text.seq,
            period: 0,
            novelty: 0.0,
            quality: 0.0,
            score: 0.0,
        });
        let count = arena.splits[t].train.len().min(self.config.buffer.capacity);
        let kept =
            policy.retain(items.collect(), count, &NoEmbeddings).map_err(spring_core::Error::from)?.kept;
        let kept: Vec<StoredInteraction> = earlier
            .into_iter()
            .filter(|text| kept.iter().any(|item| item.key == text.seq))
            .cloned()
            .collect();
        Ok(encode(arena.model, &self.config, &kept)?.into_iter().map(|text| text.sequence).collect())
    }

    /// Adds row `t` of R, and what is measured on the diagonal.
    pub(super) fn evaluate(
        &mut self,
        arena: &mut Arena<'_>,
        t: usize,
        reference: &Trajectory<'_>,
        progress: &mut dyn Progress,
    ) -> Result<()> {
        let (memories, bank) = self.beside(arena, t, reference)?;
        let row = self.row(arena, &memories, &bank)?;
        self.run.open.push(row.get(t).map_or(0, |loss| loss.open_fused.texts));
        self.run.matrix.push(row.into_iter().map(|loss| loss.fused).collect());
        let generation = arena.protocol.generation;
        if generation.texts > 0 && self.spec.beside != Beside::Latest {
            let mut config = self.config.clone();
            config.decoding.max_new_tokens = Some(generation.tokens);
            if self.spec.beside == Beside::Nothing {
                config.gate = GateConfig::Never {};
            }
            let split = &arena.splits[t];
            for text in split.test.iter().take(generation.texts) {
                let prompt = &text.interaction.prompt;
                let answer = generate(arena.model, &config, &memories, &bank, prompt, progress)?;
                let written = text.interaction.response.clone();
                let period = split.period;
                self.run.generated.push(GeneratedText { period, predicted: answer.text, written });
            }
        }
        self.synthetic(arena, t)
    }

    /// The memories and the bank that the method writes with.
    fn beside(
        &self,
        arena: &Arena<'_>,
        t: usize,
        reference: &Trajectory<'_>,
    ) -> Result<(Memories, RetrievalBank)> {
        let texts: Vec<StoredInteraction> = match self.spec.beside {
            Beside::Nothing => vec![],
            Beside::Search | Beside::Latest => {
                arena.splits[..=t].iter().flat_map(|split| split.train.clone()).collect()
            }
            // A variant of SPRInG has a buffer of its own; every other method reads SPRInG's.
            Beside::Gated if self.spec.is_spring() => self.learner.buffered.clone(),
            Beside::Gated => reference.learner.buffered.clone(),
        };
        let mut memories = Memories { adapter: self.learner.memories.adapter.clone(), ..Memories::default() };
        if self.spec.beside == Beside::Gated {
            let of = if self.spec.is_spring() { self } else { reference };
            memories.buffer.clone_from(&of.learner.memories.buffer);
            memories.calibration.clone_from(&of.learner.memories.calibration);
        }
        Ok((memories, RetrievalBank::of(arena.model, &self.config, texts, &EmbeddingMap::new())?))
    }

    /// The loss on every test part; rows that were computed before are not computed again.
    fn row(
        &self,
        arena: &mut Arena<'_>,
        memories: &Memories,
        bank: &RetrievalBank,
    ) -> Result<Vec<FusedLoss>> {
        let adapter = memories.adapter.as_ref();
        let mut hasher = DefaultHasher::new();
        adapter_key(adapter).map_err(spring_core::Error::from)?.hash(&mut hasher);
        if self.spec.beside != Beside::Nothing {
            let Config { gate, fusion, bm25, retrieval, .. } = &self.config;
            format!("{:?} {gate:?} {fusion:?} {bm25:?} {retrieval:?}", self.spec.beside).hash(&mut hasher);
            bank.texts().iter().for_each(|text| text.seq.hash(&mut hasher));
        }
        let key = hasher.finish();
        if let Some(row) = arena.rows.get(&key) {
            return Ok(row.clone());
        }
        let (model, config) = (arena.model, &self.config);
        let plain = |loss: Loss| FusedLoss { fused: loss, ..FusedLoss::default() };
        let mut row = Vec::new();
        for (split, tests) in arena.splits.iter().zip(&arena.tests) {
            row.push(match self.spec.beside {
                Beside::Nothing => plain(losses(model, &[adapter], tests)?[0]),
                Beside::Search | Beside::Latest => {
                    let mut encoded = Vec::new();
                    for (text, test) in split.test.iter().zip(tests) {
                        encoded.push(with_texts(model, text, test, &self.best_for(model, bank, text)?)?);
                    }
                    // The same responses in one branch: λ = 1 without the cost of a mixture.
                    let changed = encoded.iter().zip(tests).filter(|(with, without)| with != without).count();
                    let read = Loss { texts: changed, ..Loss::default() };
                    FusedLoss { open_fused: read, ..plain(losses(model, &[adapter], &encoded)?[0]) }
                }
                _ => {
                    let texts: Vec<_> = split.test.iter().zip(tests).collect();
                    fused_loss(model, config, memories, bank, &texts)?
                }
            });
        }
        arena.rows.insert(key, row.clone());
        Ok(row)
    }

    /// The k texts of the bank that are read along with a prompt, best first.
    fn best_for<'b>(
        &self,
        model: &dyn LanguageModel,
        bank: &'b RetrievalBank,
        text: &StoredInteraction,
    ) -> Result<Vec<&'b StoredInteraction>> {
        let k = k_of(&self.config.gate);
        Ok(match self.spec.beside {
            Beside::Latest => bank.texts().iter().rev().take(k).collect(),
            _ => {
                let hits = bank.search(model, &text.interaction.prompt, k)?.into_iter();
                hits.filter(|hit| hit.score > 0.0).filter_map(|hit| bank.text(hit.key)).collect()
            }
        })
    }

    /// What the truth about synthetic texts allows to measure.
    fn synthetic(&mut self, arena: &Arena<'_>, t: usize) -> Result<()> {
        let truths = |t: usize| -> Vec<(u64, Truth)> {
            let texts = arena.splits[t].train.iter();
            texts.filter_map(|text| Some((text.seq, Truth::of(&text.interaction)?))).collect()
        };
        let period = truths(t);
        if period.is_empty() {
            return Ok(());
        }
        let before = t.checked_sub(1).and_then(|t| truths(t).last().map(|(_, truth)| truth.style));
        let judged: Vec<(Truth, bool)> =
            period.into_iter().map(|(seq, truth)| (truth, self.learned.contains(&seq))).collect();
        let adapter = self.learner.memories.adapter.as_ref();
        let mut pairs = Vec::new();
        for (place, counterpart) in &arena.counterparts[t] {
            let rows = [(&arena.tests[t][*place].sequence, adapter), (&counterpart.sequence, adapter)];
            let scores = arena.model.score(&rows).map_err(spring_core::Error::from)?;
            let mean = |tokens: &Vec<f32>| spring_core::mean_log_likelihood(tokens);
            pairs.push((mean(&scores[0]), mean(&scores[1])));
        }
        self.run.synthetic.push(SyntheticScores {
            selection: selection_quality(&judged, before),
            stale: stale_preference_rate(&pairs),
        });
        Ok(())
    }
}

fn k_of(gate: &GateConfig) -> usize {
    match gate {
        GateConfig::Quantile { k, .. }
        | GateConfig::Fixed { k, .. }
        | GateConfig::Margin { k, .. }
        | GateConfig::Always { k } => *k,
        GateConfig::Never {} => 0,
    }
}

fn in_time(texts: &[StoredInteraction], chosen: impl Iterator<Item = usize>) -> Vec<StoredInteraction> {
    let mut places: Vec<usize> = chosen.collect();
    places.sort_unstable();
    places.into_iter().map(|place| texts[place].clone()).collect()
}

/// The first of an order whose lengths come nearest to a sum; at least one.
fn up_to(order: &[usize], lengths: &[usize], wanted: usize) -> impl Iterator<Item = usize> {
    let (mut sum, mut count) = (0usize, 0);
    for place in order {
        let with = sum.saturating_add(lengths[*place]);
        if count > 0 && with.abs_diff(wanted) > sum.abs_diff(wanted) {
            break;
        }
        (sum, count) = (with, count + 1);
    }
    order[..count].iter().copied()
}

/// The test text behind some texts, best first, as far as they fit; the last one is the first to be dropped.
fn with_texts(
    model: &dyn LanguageModel,
    text: &StoredInteraction,
    encoded: &Encoded,
    best: &[&StoredInteraction],
) -> Result<Encoded> {
    let pairs: Vec<RetrievedPair<'_>> = best
        .iter()
        .map(|text| RetrievedPair {
            seq: text.seq,
            order: (text.interaction.time, text.seq),
            prompt: &text.interaction.prompt,
            response: &text.interaction.response,
        })
        .collect();
    let response = &encoded.sequence.response;
    let contexts = contexts(model, &text.interaction.prompt, &pairs, Some(response.len()))?;
    let Some(context) = contexts.retrieval else { return Ok(encoded.clone()) };
    Ok(Encoded { sequence: Sequence { context, response: response.clone() }, ..encoded.clone() })
}
