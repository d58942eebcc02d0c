//! The continual protocol for one user: every method learns period after period, and after each one it is scored on the
//! test parts of all periods, which gives its matrix R\[t\]\[i\].
//!
//! All methods run on the same base and the same code path, SPRInG's being [`learn_period`]; what they share is done once:
//! the base's scores, training from the same start on the same texts, and scoring with the same adapter.

mod budget;
mod method;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
    time::Instant,
};

use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use spring_core::{
    Config, Event, LanguageModel, Memories, PeriodInput, Progress, RetrievalBank, StoredInteraction,
    generate, key, learn_period, novelties,
    prompt::{Encoded, RetrievedPair, contexts},
    record::PeriodRecord,
    spring_drift::{DetectorConfig, Selection},
    spring_fuse::{GateConfig, Lambda, Space},
    spring_memory::{BufferItem, BufferPolicyConfig, NoEmbeddings, UserId},
    spring_model::{Adapter, Sequence, TrainStep},
};

use crate::{
    ContinualScores, Direction, Error, FusedLoss, Loss, Result, Split,
    compare::score_base,
    loss::{encode, fused_loss, losses},
    synth::{Detection, Drift, SelectionQuality, Truth, selection_quality, stale_preference_rate},
};
use budget::{Budgeted, Trained, adapter_key};
pub use method::MethodSpec;
use method::{Beside, Learn};

/// How much each method may train.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Budget {
    /// The paper's: as many passes over its texts as the settings say, so that a selection costs less.
    Epochs,
    /// Equal optimiser tokens: in each period every method trains on as many response tokens as `everything` does under
    /// `epochs`, over and over its own texts.
    Steps,
}

impl Budget {
    /// The name in files and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Epochs => "epochs",
            Self::Steps => "steps",
        }
    }
}

/// What is generated on the diagonal of R.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Generation {
    /// Texts of each test part, the first ones. Default 0: nothing is generated.
    pub texts: usize,
    /// Most new tokens. Default 128.
    pub tokens: usize,
}

impl Default for Generation {
    fn default() -> Self {
        Self { texts: 0, tokens: 128 }
    }
}

/// What is run for a user.
#[derive(Debug, Clone, PartialEq)]
pub struct Protocol {
    /// SPRInG's settings, and the training of all; its seed is the seed of the run.
    pub config: Config,
    /// The methods.
    pub methods: Vec<MethodSpec>,
    /// How much they may train.
    pub budget: Budget,
    /// What is generated.
    pub generation: Generation,
}

/// One user's data for a run.
#[derive(Debug, Clone, Copy)]
pub struct UserInput<'a> {
    /// The user.
    pub user: &'a UserId,
    /// The periods.
    pub splits: &'a [Split],
    /// The domain adapter, for the method `domain`.
    pub domain: Option<&'a Adapter>,
    /// Whether everyone starts from the domain adapter.
    pub start_from_domain: bool,
}

/// One method on one user.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MethodRun {
    /// R\[t\]\[i\]: the loss after period t on the test part of period i.
    pub matrix: Vec<Vec<Loss>>,
    /// Texts learned in each period.
    pub selected: Vec<usize>,
    /// Response tokens trained on in each period, over all epochs.
    pub tokens: Vec<usize>,
    /// Test texts on the diagonal for which retrieval took part.
    pub open: Vec<usize>,
    /// The texts generated on the diagonal, in the order of time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub generated: Vec<GeneratedText>,
    /// What is known of synthetic users only, per period.
    pub synthetic: Vec<SyntheticScores>,
    /// Seconds of wall time in all, without what was shared with an earlier method.
    pub seconds: f64,
}

impl MethodRun {
    /// R in nats per byte.
    pub fn per_byte(&self) -> Vec<Vec<Option<f64>>> {
        self.matrix.iter().map(|row| row.iter().map(|loss| Some(loss.per_byte())).collect()).collect()
    }

    /// The loss on each period's test part right after that period, all periods together.
    pub fn diagonal(&self) -> Loss {
        self.matrix.iter().enumerate().filter_map(|(t, row)| row.get(t).copied()).sum()
    }

    /// The same without the first period, which most methods learn alike.
    pub fn diagonal_after_first(&self) -> Loss {
        self.matrix.iter().enumerate().skip(1).filter_map(|(t, row)| row.get(t).copied()).sum()
    }

    /// The continual metrics in nats per byte, with `base` for the forward transfer.
    pub fn continual(&self, base: &Self) -> ContinualScores {
        let base = base.per_byte().into_iter().next().unwrap_or_default();
        ContinualScores::of(&self.per_byte(), &base, Direction::Lower)
    }
}

/// A generated text and the user's own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GeneratedText {
    /// The period after which it was generated, from 1.
    pub period: u32,
    /// What the model wrote.
    pub predicted: String,
    /// What the user wrote.
    pub written: String,
}

/// What can be measured where the truth is known.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SyntheticScores {
    /// How well the selection found what is new.
    pub selection: SelectionQuality,
    /// Share of the period's test texts for which the model prefers the user's other style.
    pub stale: Option<f64>,
}

/// One period's sizes and SPRInG's drift.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PeriodSizes {
    /// Texts that could be learned.
    pub train: usize,
    /// Test texts.
    pub test: usize,
    /// Test texts left out as near-duplicates.
    pub dropped: usize,
    /// SPRInG's mean novelty before it learned the period, nats per token; `None` without an adapter.
    pub novelty: Option<f64>,
}

/// One user under one seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UserRun {
    /// The user.
    pub user: UserId,
    /// The periods.
    pub periods: Vec<PeriodSizes>,
    /// The methods by name.
    pub methods: BTreeMap<String, MethodRun>,
    /// How well the change detector found the changes of a synthetic user.
    pub detection: Option<Detection>,
}

/// What a run gives: the numbers, and SPRInG's adapter after each period, which `other_user` needs.
pub struct UserOutcome {
    /// The numbers.
    pub run: UserRun,
    /// SPRInG's adapters.
    pub adapters: Vec<Adapter>,
}

/// Runs every method but `other_user` on one user.
///
/// # Errors
///
/// What the loop refuses; [`Error::NotEnough`] if a method needs a domain adapter and there is none.
pub fn run_user(
    model: &dyn LanguageModel,
    protocol: &Protocol,
    input: UserInput<'_>,
    progress: &mut dyn Progress,
) -> Result<UserOutcome> {
    let mut splits = input.splits.to_vec();
    score_base(model, &protocol.config, &mut splits)?;
    let mut arena = Arena::new(model, protocol, input, &splits)?;
    let reference_spec = MethodSpec::spring();
    let mut reference = Trajectory::new(&reference_spec, protocol, input)?;
    let mut others = protocol
        .methods
        .iter()
        .filter(|spec| spec.learn != Learn::OtherUser)
        .map(|spec| Trajectory::new(spec, protocol, input))
        .collect::<Result<Vec<_>>>()?;
    let (mut adapters, mut periods, mut all_novelties) = (Vec::new(), Vec::new(), Vec::new());
    for (t, split) in splits.iter().enumerate() {
        reference.learn(&arena, t, None, progress)?;
        adapters.extend(reference.memories.adapter.clone());
        let record = reference.record.as_ref();
        let novel: Vec<f64> = record.map(|record| novelties(record).collect()).unwrap_or_default();
        let novelty = (!novel.is_empty()).then(|| novel.iter().sum::<f64>() / novel.len() as f64);
        all_novelties.push((split.train.len(), novel));
        periods.push(PeriodSizes {
            train: split.train.len(),
            test: split.test.len(),
            dropped: split.dropped,
            novelty,
        });
        for trajectory in &mut others {
            let started = Instant::now();
            trajectory.learn(&arena, t, Some(&reference), progress)?;
            trajectory.evaluate(&mut arena, t, &reference, progress)?;
            trajectory.run.seconds += started.elapsed().as_secs_f64();
        }
    }
    let detection = detection(&splits, &all_novelties)?;
    let methods = others.into_iter().map(|t| (t.spec.name().to_owned(), t.run)).collect();
    Ok(UserOutcome { run: UserRun { user: input.user.clone(), periods, methods, detection }, adapters })
}

/// The method `other_user`: the mean loss of up to three others' adapters, each after the same period.
///
/// # Errors
///
/// If the model refuses a text or an adapter.
pub fn run_other_user(
    model: &dyn LanguageModel,
    config: &Config,
    splits: &[Split],
    others: &[Vec<Adapter>],
) -> Result<MethodRun> {
    let started = Instant::now();
    let mut run = MethodRun::default();
    for t in 0..splits.len() {
        // A user with fewer periods lends the last adapter.
        let adapters: Vec<Option<&Adapter>> =
            others.iter().filter_map(|own| own.get(t).or(own.last())).take(OTHER_USERS).map(Some).collect();
        if adapters.is_empty() {
            return Err(Error::NotEnough("the method other_user needs at least two users".into()));
        }
        let mut row = Vec::new();
        for split in splits {
            let losses = losses(model, &adapters, &encode(model, config, &split.test)?)?;
            let nats = losses.iter().map(|loss| loss.nats).sum::<f64>() / losses.len() as f64;
            row.push(Loss { nats, ..losses[0] });
        }
        run.matrix.push(row);
        run.selected.push(0);
        run.tokens.push(0);
        run.open.push(0);
    }
    run.seconds = started.elapsed().as_secs_f64();
    Ok(run)
}

/// The loss under other users' adapters is the mean over so many.
const OTHER_USERS: usize = 3;

/// Trains the domain adapter on the first periods of users that are not evaluated.
///
/// # Errors
///
/// [`Error::NotEnough`] without texts; otherwise what the model refuses.
pub fn domain_adapter(
    model: &dyn LanguageModel,
    config: &Config,
    texts: &[StoredInteraction],
    progress: &mut dyn Progress,
) -> Result<Adapter> {
    if texts.is_empty() {
        let reason = "the domain adapter needs texts of users that are not evaluated; evaluate fewer users";
        return Err(Error::NotEnough(reason.into()));
    }
    crate::compare::train_on(model, config, texts, progress)
}

/// What all methods of one user share.
struct Arena<'a> {
    model: &'a dyn LanguageModel,
    protocol: &'a Protocol,
    user: &'a UserId,
    splits: &'a [Split],
    /// The test parts.
    tests: Vec<Vec<Encoded>>,
    /// The same messages in the other style, of synthetic users.
    counterparts: Vec<Vec<(usize, Encoded)>>,
    /// Response tokens of each period's training part.
    tokens: Vec<usize>,
    trained: Trained,
    /// A row of R by adapter, or by adapter, bank and settings.
    rows: HashMap<u64, Vec<FusedLoss>>,
}

impl<'a> Arena<'a> {
    fn new(
        model: &'a dyn LanguageModel,
        protocol: &'a Protocol,
        input: UserInput<'a>,
        splits: &'a [Split],
    ) -> Result<Self> {
        let config = &protocol.config;
        let (mut tests, mut counterparts, mut tokens) = (Vec::new(), Vec::new(), Vec::new());
        for split in splits {
            tests.push(encode(model, config, &split.test)?);
            let mut other = Vec::new();
            for (place, text) in split.test.iter().enumerate() {
                if let Some(response) = Truth::of(&text.interaction).and_then(|truth| truth.counterpart) {
                    let mut text = text.clone();
                    text.interaction.response = response;
                    other.extend(encode(model, config, &[text])?.into_iter().map(|encoded| (place, encoded)));
                }
            }
            counterparts.push(other);
            tokens.push(response_tokens(&encode(model, config, &split.train)?));
        }
        let (trained, rows) = (Trained::default(), HashMap::new());
        Ok(Self { model, protocol, user: input.user, splits, tests, counterparts, tokens, trained, rows })
    }

    /// The model as it trains in period `t`.
    fn trainer(&self, t: usize, config: &Config, replayed: Vec<Sequence>, pull: f64) -> Budgeted<'_> {
        let tokens = (self.protocol.budget == Budget::Steps).then(|| self.tokens[t] * config.training.epochs);
        Budgeted { model: self.model, trained: &self.trained, tokens, replayed, pull }
    }
}

fn response_tokens(texts: &[Encoded]) -> usize {
    texts.iter().map(|text| text.sequence.response.len()).sum()
}

/// One method's way through a user's periods.
struct Trajectory<'a> {
    spec: &'a MethodSpec,
    config: Config,
    pull: f64,
    start: Option<Adapter>,
    memories: Memories,
    buffered: Vec<StoredInteraction>,
    earlier: Vec<f64>,
    /// SPRInG's record of the last period.
    record: Option<PeriodRecord>,
    /// The texts of the last period that were learned, by sequence number.
    learned: HashSet<u64>,
    run: MethodRun,
}

impl<'a> Trajectory<'a> {
    fn new(spec: &'a MethodSpec, protocol: &Protocol, input: UserInput<'_>) -> Result<Self> {
        let mut config = spec.configure(&protocol.config).map_err(Error::NotEnough)?;
        if spec.beside == Beside::Search {
            // All of it in one branch: the retrieved texts stand in the prompt.
            (config.gate, config.fusion.lambda) =
                (GateConfig::Always { k: k_of(&config.gate) }, Lambda::Fixed(1.0));
            config.fusion.space = Space::Probability {};
        }
        let needs_domain = input.start_from_domain || spec.learn == Learn::Domain;
        if needs_domain && input.domain.is_none() {
            let reason = format!("{}: there is no domain adapter", spec.name());
            return Err(Error::NotEnough(reason));
        }
        let start = input.domain.filter(|_| needs_domain).cloned();
        let memories = Memories { adapter: start.clone(), ..Memories::default() };
        let pull = if spec.learn == Learn::Pulled { spec.strength().map_err(Error::NotEnough)? } else { 0.0 };
        Ok(Self {
            spec,
            config,
            pull,
            start,
            memories,
            buffered: vec![],
            earlier: vec![],
            record: None,
            learned: HashSet::new(),
            run: MethodRun::default(),
        })
    }

    /// Learns period `t`; `reference` is SPRInG after the same period.
    fn learn(
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
            self.memories.adapter.clone_from(&self.start);
        }
        let replayed = match self.spec.learn {
            Learn::Replay => self.replayed(arena, t)?,
            _ => vec![],
        };
        let config = &self.config;
        let examples: Vec<Sequence> =
            encode(arena.model, config, &chosen)?.into_iter().map(|text| text.sequence).collect();
        let seed = key::seed(config.seed, arena.user.as_str(), arena.splits[t].period, "adapter");
        let start = self.memories.adapter.as_ref();
        let mut step = |step: TrainStep| {
            progress.on(Event::Training { done: step.done, steps: step.steps, loss: step.loss })
        };
        let outcome = arena
            .trainer(t, config, replayed, self.pull)
            .adapt(start, &config.lora, &examples, &config.training, seed, &mut step)
            .map_err(spring_core::Error::from)?;
        self.run.tokens.push(outcome.tokens);
        self.memories.adapter = Some(outcome.adapter);
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
        let learning = |config: &Config| (config.drift.clone(), config.buffer.clone(), config.bm25.clone());
        if let Some(same) = reference.filter(|other| learning(&other.config) == learning(&self.config)) {
            self.memories.clone_from(&same.memories);
            self.buffered.clone_from(&same.buffered);
            self.learned.clone_from(&same.learned);
            self.run.selected.clone_from(&same.run.selected);
            self.run.tokens.clone_from(&same.run.tokens);
            return Ok(());
        }
        let split = &arena.splits[t];
        let model = arena.trainer(t, &self.config, vec![], 0.0);
        let input = PeriodInput {
            user: arena.user,
            period: split.period,
            texts: &split.train,
            held_out: split.test.len(),
            buffered: &self.buffered,
            memories: &self.memories,
            earlier: &self.earlier,
        };
        let outcome = learn_period(&model, &self.config, input, progress)?;
        self.earlier.extend(novelties(&outcome.record));
        (self.memories, self.buffered) = (outcome.memories, outcome.buffered);
        let scores = outcome.record.scores.iter();
        self.learned = scores.filter(|score| score.selected.is_some()).map(|score| score.seq).collect();
        self.run.selected.push(outcome.record.selection.selected);
        self.run.tokens.push(outcome.record.update.tokens);
        self.record = Some(outcome.record);
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
    fn evaluate(
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
            Beside::Gated if self.spec.is_spring() => self.buffered.clone(),
            Beside::Gated => reference.buffered.clone(),
        };
        let mut memories = Memories { adapter: self.memories.adapter.clone(), ..Memories::default() };
        if self.spec.beside == Beside::Gated {
            let of = if self.spec.is_spring() { self } else { reference };
            memories.buffer.clone_from(&of.memories.buffer);
            memories.calibration.clone_from(&of.memories.calibration);
        }
        Ok((memories, RetrievalBank::new(&self.config.bm25, texts)?))
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
            let Config { gate, fusion, bm25, .. } = &self.config;
            format!("{:?} {gate:?} {fusion:?} {bm25:?}", self.spec.beside).hash(&mut hasher);
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
                Beside::Latest => {
                    let texts = bank.texts();
                    let latest = &texts[texts.len().saturating_sub(k_of(&config.gate))..];
                    let tests = split.test.iter().zip(tests);
                    let encoded = tests.map(|(text, encoded)| with_latest(model, text, encoded, latest));
                    plain(losses(model, &[adapter], &encoded.collect::<Result<Vec<_>>>()?)?[0])
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
        let adapter = self.memories.adapter.as_ref();
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

/// The test text behind the latest texts, as far as they fit.
fn with_latest(
    model: &dyn LanguageModel,
    text: &StoredInteraction,
    encoded: &Encoded,
    latest: &[StoredInteraction],
) -> Result<Encoded> {
    // The newest is the last to be dropped.
    let pairs: Vec<RetrievedPair<'_>> = latest
        .iter()
        .rev()
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

/// The true changes of a synthetic user against the alarms of the default detector over SPRInG's novelties; positions
/// count the training texts.
fn detection(splits: &[Split], novelties: &[(usize, Vec<f64>)]) -> Result<Option<Detection>> {
    let truths: Vec<Truth> = splits
        .iter()
        .flat_map(|split| &split.train)
        .filter_map(|text| Truth::of(&text.interaction))
        .collect();
    let Some(first) = truths.first() else { return Ok(None) };
    let drift = first.drift;
    // A gradual change begins with the first text of the other style, and then only goes on.
    let mut changes: Vec<usize> = Vec::new();
    let mut style = first.style;
    for (place, truth) in truths.iter().enumerate().filter(|(_, truth)| truth.noise.is_none()) {
        if truth.style != style && (drift != Drift::Gradual || changes.is_empty()) {
            changes.push(place);
        }
        style = truth.style;
    }
    let core = |error| Error::from(spring_core::Error::from(error));
    let mut detector = DetectorConfig::default().init().map_err(core)?;
    let (mut alarms, mut start) = (Vec::new(), 0);
    for (texts, novel) in novelties {
        for (place, novelty) in novel.iter().enumerate() {
            if detector.update(*novelty).map_err(core)?.is_some() {
                alarms.push(start + place);
            }
        }
        start += texts;
    }
    Ok(Some(Detection::of(&changes, &alarms)))
}

/// Tokens that a method handles for a user, prompts included.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    pub(crate) train: f64,
    pub(crate) score: f64,
}

/// What a method costs for a user whose periods have so many tokens of training and of test parts; roughly, and without
/// what methods share but the first period.
pub(crate) fn cost_of(
    method: &MethodSpec,
    config: &Config,
    equal_steps: bool,
    periods: &[(usize, usize)],
    generation: Generation,
) -> Cost {
    let share = match method.configure(config).map(|config| config.drift.selection) {
        Ok(Selection::TopFraction { fraction }) => fraction,
        Ok(Selection::Adaptive { calm, .. }) => calm,
        _ => 1.0,
    };
    let (epochs, tests) = (config.training.epochs as f64, periods.iter().map(|p| p.1 as f64).sum::<f64>());
    let (mut cost, mut so_far) = (Cost { train: 0.0, score: 0.0 }, 0.0);
    for (t, (train, _)) in periods.iter().enumerate() {
        let train = *train as f64;
        so_far += train;
        let part = match method.learn {
            Learn::Nothing | Learn::Domain | Learn::OtherUser => 0.0,
            _ if t == 0 => 0.0,
            Learn::First => 0.0,
            Learn::Everything | Learn::Pulled => 1.0,
            Learn::Replay => 2.0,
            Learn::Cumulative => so_far / train,
            Learn::Random | Learn::RandomTokens | Learn::Spring => share,
        };
        let learns = part > 0.0;
        cost.train += epochs * train * if learns && equal_steps { 1.0 } else { part };
        // SPRInG scores all of the period before it learns, and after it what may enter the buffer.
        if learns && method.is_spring() && *method != MethodSpec::spring() {
            cost.score += train + part * so_far;
        }
        cost.score += tests
            * match method.beside {
                Beside::Nothing => f64::from(u8::from(learns || t == 0)),
                Beside::Latest => 3.0,
                Beside::Search | Beside::Gated => 5.0,
            };
        // A token at a time costs many times as much as a text at once.
        cost.score += 20.0 * (generation.texts * generation.tokens) as f64;
    }
    cost
}
