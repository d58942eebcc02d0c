//! One method's way through a user's periods: what it learns, what stands beside the prompt, and its row of R.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
};

use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use spring_core::{
    ColdStart, Config, EmbeddingMap, Event, LanguageModel, Learner, Memories, Progress, RetrievalBank,
    StoredInteraction, UserModel, key,
    prompt::{Encoded, RetrievedPair, contexts_of_rest},
    record::PeriodRecord,
    spring_drift::{DriftScore, Observation},
    spring_fuse::{GateConfig, Lambda, Space},
    spring_memory::{BufferItem, BufferPolicyConfig, NoEmbeddings},
};
use spring_lm::{Adapter, Parts, Sequence, Train, TrainRequest, TrainStep};

use super::{
    MethodRun, MethodSpec, Protocol, SyntheticScores, UserInput,
    arena::Arena,
    latest::Latest,
    memo::{Watch, adapter_key},
    method::{Beside, Learn},
    write::write,
};
use crate::{
    Error, FusedLoss, Result, Split, Start,
    loss::{encode, fused_loss, losses},
};
use spring_data::synth::{KindScores, TextKind, Truth, selection_quality, stale_preference_rate};

/// One method's way through a user's periods.
pub(super) struct Trajectory<'a> {
    pub(super) spec: &'a MethodSpec,
    config: Config,
    pull: f64,
    start: Option<Adapter>,
    pub(super) learner: Learner<'a>,
    /// SPRInG's record of the last period.
    pub(super) record: Option<PeriodRecord>,
    /// The texts of the last period that were learned, by sequence number.
    learned: HashSet<u64>,
    pub(super) run: MethodRun,
    /// Seconds that the last period took to learn.
    seconds: f64,
}

impl<'a> Trajectory<'a> {
    pub(super) fn new(
        spec: &'a MethodSpec,
        model: &'a dyn LanguageModel,
        protocol: &Protocol,
        input: UserInput<'_>,
    ) -> Result<Self> {
        let mut config = spec.configure(&protocol.config).map_err(Error::NotEnough)?;
        if spec.reads_in_prompt() {
            // All of it in one branch: the retrieved texts stand in the prompt.
            (config.gate, config.fusion.lambda) =
                (GateConfig::Always { k: config.gate.k() }, Lambda::Fixed(1.0));
            config.fusion.space = Space::Probability {};
        }
        let needs_domain =
            spec.needs_domain(if input.start_from_domain { Start::Domain } else { Start::Base });
        if needs_domain && input.domain.is_none() {
            let reason = format!("{}: there is no domain adapter", spec.name());
            return Err(Error::NotEnough(reason));
        }
        let start = input.domain.filter(|_| needs_domain).cloned();
        let person = UserModel::fresh(model, config.clone(), start.clone())?;
        let learner = Learner::new(input.user.clone(), person, vec![]);
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
        reference: Option<&Trajectory<'a>>,
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
            self.learner.replace_adapter(self.start.clone());
        }
        let replayed = match self.spec.learn {
            Learn::Replay => self.replayed(arena, t)?,
            _ => vec![],
        };
        let config = &self.config;
        let examples: Vec<Sequence> =
            encode(arena.model, config, &chosen)?.into_iter().map(|text| text.sequence).collect();
        let seed = key::seed(config.seed, arena.user.as_str(), arena.splits[t].period, "adapter");
        let start = self.learner.model().adapter();
        let request = TrainRequest::new(&config.lora, &examples, &config.training, seed).starting_from(start);
        let mut step = |step: TrainStep| {
            progress.on(Event::Training { done: step.done, steps: step.steps, loss: step.loss })
        };
        let from = if self.spec.learn == Learn::Cumulative { 0 } else { t };
        let outcome = arena
            .trainer(from..=t, replayed, self.pull)
            .train(request, &mut step)
            .map_err(spring_core::Error::from)?;
        self.run.tokens.push(outcome.tokens);
        self.learner.replace_adapter(Some(outcome.adapter));
        Ok(())
    }

    /// The texts of period `t` that are learned without a score.
    fn choose(
        &self,
        arena: &Arena<'_>,
        t: usize,
        reference: Option<&Trajectory<'a>>,
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
                // SPRInG as it is run here, or as it would be with this method's share and start.
                let like = reference.filter(|other| {
                    !self.spec.has_own_share() && other.start.is_some() == self.start.is_some()
                });
                let count = match like.and_then(|other| other.run.selected.get(t)) {
                    Some(count) => *count,
                    None => self.own_share(t, split.train.len())?,
                };
                in_time(&split.train, shuffled().into_iter().take(count))
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

    /// As many texts as SPRInG with the same settings takes of so many in period `t`.
    fn own_share(&self, t: usize, texts: usize) -> Result<usize> {
        if t == 0 && self.start.is_none() && self.config.drift.cold_start == ColdStart::All {
            return Ok(texts);
        }
        let equal = DriftScore { novelty: 0.0, quality: 0.0, score: 0.0 };
        let observations: Vec<Observation> =
            (0..texts as u64).map(|order| Observation { base: 0.0, adapter: None, order }).collect();
        let selected = self.config.drift.selection.select(&vec![equal; texts], &observations);
        Ok(selected.map_err(spring_core::Error::from)?.indices.len())
    }

    /// SPRInG's period, or what the reference made of the same one.
    fn select_and_learn(
        &mut self,
        arena: &Arena<'_>,
        t: usize,
        reference: Option<&Trajectory<'a>>,
        progress: &mut dyn Progress,
    ) -> Result<()> {
        // All but what only reads the memories.
        let learning = |other: &Trajectory<'_>| {
            let Config { drift, buffer, bm25, retrieval, training, lora, .. } = other.config.clone();
            (drift, buffer, bm25, retrieval, training, lora, other.start.clone())
        };
        if let Some(same) = reference.filter(|other| learning(other) == learning(self)) {
            self.learner.clone_from(&same.learner);
            self.learner.set_config(self.config.clone());
            self.learned.clone_from(&same.learned);
            self.record.clone_from(&same.record);
            self.run.selected.clone_from(&same.run.selected);
            self.run.tokens.clone_from(&same.run.tokens);
            self.run.seconds += same.seconds;
            return Ok(());
        }
        let split = &arena.splits[t];
        let trainer = arena.trainer(t..=t, vec![], 0.0);
        let model = Parts::of(arena.model).with_train(&trainer);
        let watch = Watch::start(arena.memo);
        let record = self.learner.learn_by(&model, split.learnable(), progress)?.record;
        self.seconds = watch.seconds();
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
        // The same reservoir in every period of a user.
        let seed = key::seed(self.config.seed, arena.user.as_str(), 0, "replay");
        let policy = BufferPolicyConfig::Reservoir { seed }.init();
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
        arena: &Arena<'_>,
        t: usize,
        reference: &Trajectory<'_>,
        progress: &mut dyn Progress,
    ) -> Result<()> {
        let person = self.beside(arena, t, reference)?;
        let row = self.row(arena, &person)?;
        self.run.open.push(row.get(t).map_or(0, |loss| loss.open_fused.texts));
        if self.spec.beside == Beside::Gated {
            self.run.adapter_matrix.push(row.iter().map(FusedLoss::adapter).collect());
        }
        self.run.matrix.push(row.into_iter().map(|loss| loss.fused).collect());
        let mut config = self.config.clone();
        if self.spec.beside == Beside::Nothing {
            config.gate = GateConfig::Never {};
        }
        let (split, generation) = (&arena.splits[t], arena.protocol.generation);
        let written = write(person.with_config(config), split, generation, progress)?;
        self.run.generated.extend(written);
        self.synthetic(arena, t)
    }

    /// The model that the method writes with.
    fn beside<'b>(
        &self,
        arena: &Arena<'b>,
        t: usize,
        reference: &Trajectory<'_>,
    ) -> Result<UserModel<'b>> {
        let (model, config) = (arena.model, &self.config);
        let mut memories = Memories { adapter: self.learner.model().memories().adapter.clone(), ..Memories::default() };
        let seen = || arena.splits[..=t].iter().flat_map(|split| split.train.clone()).collect();
        let bank = match self.spec.beside {
            Beside::Nothing => RetrievalBank::of(model, config, vec![], &EmbeddingMap::new())?,
            Beside::Search => RetrievalBank::of(model, config, seen(), &EmbeddingMap::new())?,
            Beside::Latest => {
                let texts: Vec<StoredInteraction> = seen();
                RetrievalBank::with(Box::new(Latest::of(&texts)), texts)
            }
            Beside::Gated => {
                // A variant of SPRInG has a buffer of its own; every other method reads SPRInG's.
                let learner = if self.spec.is_spring() { &self.learner } else { &reference.learner };
                let learned = learner.model();
                memories.buffer.clone_from(&learned.memories().buffer);
                memories.calibration.clone_from(&learned.memories().calibration);
                let searching = |config: &Config| (config.bm25.clone(), config.retrieval.clone());
                if searching(learned.config()) == searching(config) {
                    learned.bank().clone()
                } else {
                    let texts = learned.bank().texts().to_vec();
                    RetrievalBank::of(model, config, texts, &EmbeddingMap::new())?
                }
            }
        };
        Ok(UserModel::new(model, config.clone(), memories, bank))
    }

    /// The loss on every test part; rows that were computed before are not computed again.
    fn row(&self, arena: &Arena<'_>, person: &UserModel<'_>) -> Result<Vec<FusedLoss>> {
        let adapter = person.adapter();
        let mut hasher = DefaultHasher::new();
        adapter_key(adapter).map_err(spring_core::Error::from)?.hash(&mut hasher);
        if self.spec.beside != Beside::Nothing {
            let Config { gate, fusion, bm25, retrieval, .. } = &self.config;
            format!("{:?} {gate:?} {fusion:?} {bm25:?} {retrieval:?}", self.spec.beside).hash(&mut hasher);
            person.bank().texts().iter().for_each(|text| text.seq.hash(&mut hasher));
        }
        arena.memo.row(hasher.finish(), || {
            let cells = arena.splits.iter().zip(&arena.tests);
            cells.map(|(split, tests)| self.cell(person, split, tests)).collect()
        })
    }

    /// The loss on one test part.
    fn cell(&self, person: &UserModel<'_>, split: &Split, tests: &[Encoded]) -> Result<FusedLoss> {
        let (model, adapter) = (person.base(), person.adapter());
        let mut loss = FusedLoss::default();
        match self.spec.beside {
            Beside::Nothing => loss.fused = losses(model, &[adapter], tests)?[0],
            Beside::Search | Beside::Latest => {
                for (text, test) in split.test.iter().zip(tests) {
                    let with = with_texts(model, text, test, &self.best_for(person, text)?)?;
                    // In one branch: λ = 1 without the cost of a mixture. And one by one: many texts find the same as a
                    // period before, and are remembered.
                    let read = with != *test;
                    let own = losses(model, &[adapter], &[with])?[0];
                    loss.fused = [loss.fused, own].into_iter().sum();
                    loss.open_fused.texts += usize::from(read);
                }
            }
            Beside::Gated => {
                let texts: Vec<_> = split.test.iter().zip(tests).collect();
                loss = fused_loss(person, &texts)?;
            }
        }
        Ok(loss)
    }

    /// The k texts of the bank that are read along with a prompt, best first.
    fn best_for<'b>(
        &self,
        person: &'b UserModel<'_>,
        text: &StoredInteraction,
    ) -> Result<Vec<&'b StoredInteraction>> {
        let bank = person.bank();
        let hits = bank.search(person.base(), &text.interaction.prompt, self.config.gate.k())?.into_iter();
        Ok(hits.filter(|hit| hit.score > 0.0).filter_map(|hit| bank.text(hit.key)).collect())
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
        let kinds = before.map_or(vec![], |before| self.kinds(&period, before));
        let judged: Vec<(Truth, bool)> =
            period.into_iter().map(|(seq, truth)| (truth, self.learned.contains(&seq))).collect();
        let adapter = self.learner.model().adapter();
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
            kinds,
        });
        Ok(())
    }

    /// How the last period's texts were scored, kind by kind.
    fn kinds(&self, period: &[(u64, Truth)], before: usize) -> Vec<KindScores> {
        let truths: HashMap<u64, &Truth> = period.iter().map(|(seq, truth)| (*seq, truth)).collect();
        let scored = self.record.iter().flat_map(|record| &record.scores);
        let mut kinds: BTreeMap<TextKind, Vec<KindScores>> = BTreeMap::new();
        for text in scored.filter(|text| text.adapter.is_some()) {
            let Some(kind) = truths.get(&text.seq).map(|truth| truth.kind(before)) else { continue };
            let DriftScore { novelty, quality, score } = text.score;
            let selected = usize::from(text.selected.is_some());
            kinds.entry(kind).or_default().push(KindScores {
                kind,
                texts: 1,
                selected,
                novelty,
                quality,
                score,
            });
        }
        kinds.values().filter_map(KindScores::pooled).collect()
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

/// The test text behind some texts, best first, as far as they fit; the last one is the first to be dropped. Its prompt is cut
/// as it is without them.
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
    let (prompt, lost) = (&text.interaction.prompt, encoded.lost_of_prompt());
    let contexts = contexts_of_rest(model, prompt, lost, &pairs, Some(response.len()))?;
    let Some(context) = contexts.retrieval else { return Ok(encoded.clone()) };
    Ok(Encoded { sequence: Sequence { context, response: response.clone() }, ..encoded.clone() })
}
