//! One period of one user: score, select, adapt, score the buffer again, keep, calibrate the gate.
//!
//! Pure: texts and memories in, memories and a record out. [`adapt`](crate::adapt) does it over a
//! state.

use std::{
    borrow::{Borrow, Cow},
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Instant,
};

use jiff::Timestamp;
use spring_drift::{Alpha, DriftScore, DriftScorer, Observation, ScoreStatistics, ScorerConfig};
use spring_fuse::{Calibration, Candidate};
use spring_lm::{Adapter, Sequence, Train, TrainRequest};
use spring_memory::{BufferItem, BufferPolicy, BufferPolicyConfig, UserId};

use crate::{
    BankKind, ColdStart, Config, EmbeddingMap, Error, Fit, LanguageModel, Memories,
    NoveltyReference, Result, RetrievalBank, RetrieverKind, StoredInteraction, TextLength,
    embedding::embed_missing,
    gains, key,
    lookahead::Lookahead,
    progress::{Event, Progress, tell},
    prompt::{Encoded, encode_pair},
    record::{PeriodRecord, ScoredText, SelectionRecord, UpdateRecord},
};

/// What a period has to work with.
#[derive(Debug, Clone, Copy)]
pub struct PeriodInput<'a> {
    /// The user.
    pub user: &'a UserId,
    /// The period, from 1.
    pub period: u32,
    /// The texts it may learn from, in the order of time; held-out texts are not among them.
    pub texts: &'a [StoredInteraction],
    /// How many texts of the period are held out.
    pub held_out: usize,
    /// The texts of the bank before the period: those of the buffer in `memories` at least, and all
    /// that were learned so far where the bank is the history.
    pub bank: &'a [StoredInteraction],
    /// The memories before the period.
    pub memories: &'a Memories,
    /// Novelties of earlier periods' texts, in the order of time; see [`novelties`]. Adaptive
    /// selection alone reads them.
    pub earlier: &'a [f64],
    /// Embeddings that are known; of texts without one they are computed where
    /// [`Config::needs_embeddings`].
    pub embeddings: &'a EmbeddingMap,
    /// The adapter of a population, trained on other users' texts, such as the
    /// [prior](crate::Prior) that the user started from; needed where
    /// [`drift.reference`](crate::DriftConfig::reference) says so, and not read elsewhere.
    pub population: Option<&'a Adapter>,
}

/// Novelties of a period's texts as they were measured before it was learned, for the periods that
/// follow; none of a first period, where there was no adapter to be novel to. Those of one that
/// started from a prior are left out, too: how a person differs from others is of another level
/// than how they differ from themselves, and would look like a turn.
pub fn novelties(record: &PeriodRecord) -> impl Iterator<Item = f64> {
    let is_own = record.prior.is_none();
    let measured = record.scores.iter().filter(move |score| is_own && score.adapter.is_some());
    measured.map(|score| score.score.novelty)
}

/// What a period leaves behind.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PeriodOutcome {
    /// The memories after the period; their generation is one more than before.
    pub memories: Memories,
    /// The texts of the new buffer, ready to be searched.
    pub bank: RetrievalBank,
    /// What was measured and decided on the way.
    pub learned: Learned,
}

/// What was measured and decided while a period was learned.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Learned {
    /// Base log-likelihoods of the period's texts, nats per token, by sequence number.
    pub base: Vec<(u64, f64)>,
    /// Embeddings computed on the way.
    pub embeddings: EmbeddingMap,
    /// How well the texts that were trained on are explained, before and after.
    pub fit: Fit,
    /// The record of every decision.
    pub record: PeriodRecord,
}

/// Mean of a response's log-likelihoods, nats per token.
pub fn mean_log_likelihood(tokens: &[f32]) -> f64 {
    tokens.iter().map(|x| f64::from(*x)).sum::<f64>() / tokens.len().max(1) as f64
}

/// Learns one period.
///
/// # Errors
///
/// Whatever the model refuses, a setting out of range, [`Error::NoPopulation`], or a request to
/// stop; nothing is kept then.
pub fn learn_period(
    model: &dyn LanguageModel,
    config: &Config,
    input: PeriodInput<'_>,
    progress: &mut dyn Progress,
) -> Result<PeriodOutcome> {
    learn_period_by(model, model, config, input, progress)
}

/// The same, with the update trained by `trainer`; looking ahead is the model's.
pub(crate) fn learn_period_by(
    model: &dyn LanguageModel,
    trainer: &dyn Train,
    config: &Config,
    input: PeriodInput<'_>,
    progress: &mut dyn Progress,
) -> Result<PeriodOutcome> {
    let started = Instant::now();
    let PeriodInput { user, period, texts, memories, .. } = input;
    let population = population(config, input)?;
    tell(progress, Event::Period { user, period, texts: texts.len() })?;

    let encoded: Vec<Encoded> =
        texts.iter().map(|text| encode(model, config, text)).collect::<Result<_>>()?;
    tell(progress, Event::Scoring { texts: texts.len() })?;
    let known: Vec<Option<f64>> = texts.iter().map(|text| text.base).collect();
    // A period without texts leaves an adapter that has learned nothing: it is as good as none.
    let before = memories.adapter.as_deref().filter(|adapter| !adapter.changes_nothing());
    let observations = observe(model, &known, &encoded, before, population)?;
    let mut compared = by_length(&observations, &encoded, config.drift.length);
    // Where all is learned there is nothing to choose.
    let chooses = !is_cold(config, memories, before);
    if chooses {
        look_ahead(model, config, input, &encoded, &mut compared, progress)?;
    }
    let scores = scorer(config, input, chooses)?.score(&compared)?;
    let statistics = ScoreStatistics::of(&scores, alpha(&config.drift.scorer))?;
    let (chosen, selection) = select(config, input, before, &scores, &compared)?;

    let examples: Vec<Sequence> = chosen.iter().map(|i| encoded[*i].sequence.clone()).collect();
    let (adapter, update) = update(trainer, config, input, &examples, progress)?;

    // The buffer is ranked by what the *new* adapter explains badly.
    let candidates = buffer_candidates(input, &chosen);
    tell(progress, Event::Rescoring { texts: candidates.len() })?;
    let measured: HashMap<u64, (&Encoded, f64)> = texts
        .iter()
        .zip(encoded.iter().zip(&observations))
        .map(|(text, (encoded, observation))| (text.seq, (encoded, observation.base)))
        .collect();
    let scorer = scorer(config, input, false)?;
    let adapters = (&adapter, population);
    let (items, losses) =
        rescore(model, config, scorer.as_ref(), &candidates, &measured, adapters)?;
    let fit = fit(&chosen, &observations, texts, &candidates, &losses);
    let mut embeddings = EmbeddingMap::new();
    let mut known = input.embeddings.clone();
    if config.needs_embeddings() {
        tell(progress, Event::Embedding { done: 0, texts: candidates.len() })?;
        embeddings = embed_missing(model, candidates.iter().map(|(text, _)| *text), &known)?;
        known.extend(embeddings.clone());
        if config.buffer.bank == BankKind::History
            && config.retrieval.retriever == RetrieverKind::Dense
        {
            let searched = embed_missing(model, input.bank.iter().chain(texts), &known)?;
            known.extend(searched.clone());
            embeddings.extend(searched);
        }
    }
    let retained = policy(config, user)?.retain(items, config.buffer.capacity, &known)?;
    let mut buffer = retained.kept;
    buffer.sort_by(|a, b| b.score.total_cmp(&a.score).then(b.key.cmp(&a.key)));
    let searched: Vec<&StoredInteraction> = match config.buffer.bank {
        BankKind::Buffer => {
            let by_seq: HashMap<u64, &StoredInteraction> =
                candidates.iter().map(|(text, _)| (text.seq, *text)).collect();
            buffer.iter().filter_map(|item| by_seq.get(&item.key).copied()).collect()
        }
        BankKind::History => history(input),
    };
    // With the base's log-likelihoods, as a state would give them back.
    let searched = searched.into_iter().map(|text| {
        let base = text.base.or_else(|| measured.get(&text.seq).map(|(_, base)| *base));
        text.clone().with_base(base)
    });

    let bank = RetrievalBank::of(model, config, searched.collect(), &known)?;
    if config.calibrates_by_use() {
        let texts = bank.texts().len().min(config.retrieval.gain_texts);
        tell(progress, Event::Scoring { texts })?;
    }
    let gains = bank.gains(model, config, Some(&adapter))?;
    let calibration = Calibration::new(bank.calibration(model)?).with_gains(gains);
    // A score of 0 never passes, so the decision is the threshold alone.
    let asked = gains::as_asked(&calibration, config, config);
    let gate_threshold = config.gate.init()?.decide(&[Candidate::new(0.0)], &asked).threshold;

    let rank_of: HashMap<usize, usize> =
        chosen.iter().enumerate().map(|(rank, i)| (*i, rank + 1)).collect();
    let record = PeriodRecord {
        period,
        parent: memories.generation,
        finished: Timestamp::now(),
        seconds: started.elapsed().as_secs_f64(),
        held_out: input.held_out,
        scores: texts
            .iter()
            .enumerate()
            .map(|(i, text)| ScoredText {
                seq: text.seq,
                id: text.interaction.id.clone(),
                base: observations[i].base,
                adapter: observations[i].adapter,
                population: observations[i].population,
                lookahead: compared[i].lookahead,
                score: scores[i],
                selected: rank_of.get(&i).copied(),
                tokens: encoded[i].sequence.response.len(),
                cuts: encoded[i].cuts.clone(),
            })
            .collect(),
        statistics,
        selection,
        update,
        evicted: retained.evicted,
        gate_threshold,
        unjudged: false,
        imported: false,
        prior: memories.prior.clone(),
        config: config.clone(),
    };
    Ok(PeriodOutcome {
        memories: Memories {
            generation: memories.generation + 1,
            adapter: Some(Arc::new(adapter)),
            prior: None,
            buffer,
            calibration,
        },
        bank,
        learned: Learned {
            base: texts.iter().zip(&observations).map(|(text, o)| (text.seq, o.base)).collect(),
            embeddings,
            fit,
            record,
        },
    })
}

fn encode(model: &dyn LanguageModel, config: &Config, text: &StoredInteraction) -> Result<Encoded> {
    let interaction = &text.interaction;
    encode_pair(model, &interaction.prompt, &interaction.response, config.training.max_tokens)
}

/// The population's adapter where novelty is measured against it.
fn population<'a>(config: &Config, input: PeriodInput<'a>) -> Result<Option<&'a Adapter>> {
    match config.drift.reference {
        NoveltyReference::Base => Ok(None),
        NoveltyReference::Population => input.population.map(Some).ok_or(Error::NoPopulation),
    }
}

/// Log-likelihoods under base and adapter, and under the population's adapter where there is a
/// novelty to be measured against it; the base's is computed once per text and then remembered.
///
/// In a call for each, so that the adapter's rows share their batches with the same rows whether
/// or not the base's values are known: what is learned again comes out the same to the last bit.
fn observe<E: Borrow<Encoded>>(
    model: &dyn LanguageModel,
    known: &[Option<f64>],
    encoded: &[E],
    adapter: Option<&Adapter>,
    population: Option<&Adapter>,
) -> Result<Vec<Observation>> {
    let sequences = || encoded.iter().map(|encoded| &encoded.borrow().sequence);
    let unknown = sequences().zip(known).filter(|(_, base)| base.is_none());
    let rows: Vec<(&Sequence, Option<&Adapter>)> =
        unknown.map(|(sequence, _)| (sequence, None)).collect();
    let mut means = model.score(&rows)?.into_iter().map(|tokens| mean_log_likelihood(&tokens));
    let mut observations = Vec::with_capacity(known.len());
    for (order, base) in known.iter().enumerate() {
        let base = match base {
            Some(base) => *base,
            None => means.next().unwrap_or(f64::NAN),
        };
        observations.push(Observation::new(base, None, order as u64));
    }
    if adapter.is_some() {
        let rows: Vec<(&Sequence, Option<&Adapter>)> =
            sequences().map(|sequence| (sequence, adapter)).collect();
        for (observation, tokens) in observations.iter_mut().zip(model.score(&rows)?) {
            observation.adapter = Some(mean_log_likelihood(&tokens));
        }
    }
    if let (Some(_), Some(population)) = (adapter, population) {
        let rows: Vec<(&Sequence, Option<&Adapter>)> =
            sequences().map(|sequence| (sequence, Some(population))).collect();
        for (observation, tokens) in observations.iter_mut().zip(model.score(&rows)?) {
            observation.population = Some(mean_log_likelihood(&tokens));
        }
    }
    Ok(observations)
}

/// The observations, nats per token, by another length of their texts.
fn by_length<E: Borrow<Encoded>>(
    observations: &[Observation],
    encoded: &[E],
    length: TextLength,
) -> Vec<Observation> {
    let scaled = observations.iter().zip(encoded).map(|(observation, encoded)| {
        let scale = scale(encoded.borrow(), length);
        let adapter = observation.adapter.map(|adapter| adapter * scale);
        let population = observation.population.map(|population| population * scale);
        Observation::new(observation.base * scale, adapter, observation.order)
            .with_population(population)
    });
    scaled.collect()
}

/// What makes nats per token of a text nats per unit of another length.
fn scale(encoded: &Encoded, length: TextLength) -> f64 {
    let tokens = encoded.sequence.response.len() as f64;
    match length {
        TextLength::Tokens => 1.0,
        TextLength::Bytes => tokens / encoded.response_bytes.max(1) as f64,
    }
}

/// Measures what each text would teach, where the scorer goes by that. `observations` are by the
/// length that texts are compared by.
fn look_ahead(
    model: &dyn LanguageModel,
    config: &Config,
    input: PeriodInput<'_>,
    encoded: &[Encoded],
    observations: &mut [Observation],
    progress: &mut dyn Progress,
) -> Result<()> {
    let ScorerConfig::Lookahead { steps, recent } = config.drift.scorer else { return Ok(()) };
    let start = input.memories.adapter.as_deref();
    let (lora, training, seed) = (&config.lora, &config.training, update_seed(config, input));
    let lookahead = Lookahead { steps, recent, start, lora, training, seed };
    let sequences: Vec<&Sequence> = encoded.iter().map(|encoded| &encoded.sequence).collect();
    let before: Vec<f64> = observations.iter().map(Observation::current).collect();
    let likelihood = |place: usize, tokens: &[f32]| {
        mean_log_likelihood(tokens) * scale(&encoded[place], config.drift.length)
    };
    let gains = lookahead.gains(model, &sequences, &likelihood, &before, progress)?;
    for (observation, gain) in observations.iter_mut().zip(gains) {
        observation.lookahead = Some(gain);
    }
    Ok(())
}

/// The scorer of the settings; a random one is keyed by user and period, so that it does not draw
/// the same places again. Where nothing `looked_ahead`, the paper's score stands in for one that
/// needs it: in a period that is learned whole, and in the buffer, which holds what the adapter
/// explains badly.
fn scorer(
    config: &Config,
    input: PeriodInput<'_>,
    looked_ahead: bool,
) -> Result<Box<dyn DriftScorer>> {
    Ok(match config.drift.scorer {
        ScorerConfig::Lookahead { .. } if !looked_ahead => ScorerConfig::default().init()?,
        ScorerConfig::Random { seed } => {
            let seed =
                key::seed(config.seed ^ seed, input.user.as_str(), input.period, "random scorer");
            ScorerConfig::Random { seed }.init()?
        }
        other => other.init()?,
    })
}

/// The buffer policy of the settings; a reservoir is keyed by user, so that no two users keep the
/// same places of their histories, and not by period: over the periods it is one sample.
fn policy(config: &Config, user: &UserId) -> Result<Box<dyn BufferPolicy>> {
    Ok(match config.buffer.policy {
        BufferPolicyConfig::Reservoir { seed } => {
            let purpose = format!("reservoir {seed}");
            let seed = key::seed(config.seed, user.as_str(), 0, &purpose);
            BufferPolicyConfig::Reservoir { seed }.init()?
        }
        other => other.init()?,
    })
}

/// The paper's α where there is one; the statistics of other scorers weigh quality as by default.
fn alpha(scorer: &ScorerConfig) -> Alpha {
    match scorer {
        ScorerConfig::Spring { alpha, .. } => *alpha,
        _ => Alpha::default(),
    }
}

/// Whether a period is learned whole, as there is no adapter that has learned something of the
/// person.
fn is_cold(config: &Config, memories: &Memories, before: Option<&Adapter>) -> bool {
    let is_first = before.is_none() || memories.prior.is_some();
    is_first && config.drift.cold_start == ColdStart::All
}

/// Positions of the selected texts, best first, and how they were found; `before` is the adapter
/// that has learned something.
fn select(
    config: &Config,
    input: PeriodInput<'_>,
    before: Option<&Adapter>,
    scores: &[DriftScore],
    observations: &[Observation],
) -> Result<(Vec<usize>, SelectionRecord)> {
    let starts_from_prior = input.memories.prior.is_some();
    let cold = is_cold(config, input.memories, before);
    let rule = if cold { spring_drift::Selection::All {} } else { config.drift.selection };
    let selected = rule.select_after(input.earlier, scores, observations)?;
    let reason = match (cold, &input.memories.adapter) {
        (true, None) => "first period: there is no adapter yet, so all of it is learned".into(),
        (true, Some(_)) if starts_from_prior => {
            "first period: it starts from the prior, and all of it is learned".into()
        }
        (true, Some(_)) => {
            "first texts: the adapter has learned nothing yet, so all of them are learned".into()
        }
        (false, _) => selected.reason,
    };
    let record =
        SelectionRecord { selected: selected.indices.len(), cutoff: selected.cutoff, reason };
    Ok((selected.indices, record))
}

/// What the training of a period draws from.
fn update_seed(config: &Config, input: PeriodInput<'_>) -> u64 {
    key::seed(config.seed, input.user.as_str(), input.period, "adapter")
}

fn update(
    model: &dyn Train,
    config: &Config,
    input: PeriodInput<'_>,
    examples: &[Sequence],
    progress: &mut dyn Progress,
) -> Result<(Adapter, UpdateRecord)> {
    let seed = update_seed(config, input);
    let started = Instant::now();
    let request = TrainRequest::new(&config.lora, examples, &config.training, seed)
        .starting_from(input.memories.adapter.as_deref());
    let outcome = model.train(request, &mut |step| {
        progress.on(Event::Training { done: step.done, steps: step.steps, loss: step.loss })
    })?;
    let record = UpdateRecord {
        steps: outcome.steps,
        tokens: outcome.tokens,
        losses: outcome.losses,
        seed,
        seconds: started.elapsed().as_secs_f64(),
    };
    Ok((outcome.adapter, record))
}

/// The old buffer and the selection, each text once, with the period that brought it.
fn buffer_candidates<'a>(
    input: PeriodInput<'a>,
    chosen: &[usize],
) -> Vec<(&'a StoredInteraction, u32)> {
    let periods: HashMap<u64, u32> =
        input.memories.buffer.iter().map(|item| (item.key, item.period)).collect();
    let mut seen = HashSet::new();
    let old = input.bank.iter().filter_map(|text| Some((text, periods.get(&text.seq).copied()?)));
    let new = chosen.iter().map(|i| (&input.texts[*i], input.period));
    let mut candidates: Vec<_> = old.chain(new).filter(|(text, _)| seen.insert(text.seq)).collect();
    candidates.sort_by_key(|(text, _)| (text.interaction.time, text.seq));
    candidates
}

/// All texts so far, each once, in the order of time.
fn history<'a>(input: PeriodInput<'a>) -> Vec<&'a StoredInteraction> {
    let mut seen = HashSet::new();
    let all = input.bank.iter().chain(input.texts);
    let mut texts: Vec<_> = all.filter(|text| seen.insert(text.seq)).collect();
    texts.sort_by_key(|text| (text.interaction.time, text.seq));
    texts
}

/// Scores the texts that may stay in the buffer under the new adapter; those of the period are
/// encoded and `measured` under the base already. The adapters are the new one and, where novelty
/// is measured against it, the population's. Gives their losses too, nats per token.
fn rescore(
    model: &dyn LanguageModel,
    config: &Config,
    scorer: &dyn DriftScorer,
    candidates: &[(&StoredInteraction, u32)],
    measured: &HashMap<u64, (&Encoded, f64)>,
    (adapter, population): (&Adapter, Option<&Adapter>),
) -> Result<(Vec<BufferItem>, Vec<f64>)> {
    let (mut encoded, mut known) = (Vec::new(), Vec::new());
    for (text, _) in candidates {
        let measured = measured.get(&text.seq);
        encoded.push(match measured {
            Some((encoded, _)) => Cow::Borrowed(*encoded),
            None => Cow::Owned(encode(model, config, text)?),
        });
        known.push(text.base.or_else(|| measured.map(|(_, base)| *base)));
    }
    let observations = observe(model, &known, &encoded, Some(adapter), population)?;
    let scores = scorer.score(&by_length(&observations, &encoded, config.drift.length))?;
    let items = candidates.iter().zip(scores).map(|((text, period), score)| {
        BufferItem::new(text.seq, *period, score.novelty, score.quality, score.score)
    });
    let losses = observations.iter().map(|observation| -observation.current());
    Ok((items.collect(), losses.collect()))
}

/// How well the chosen texts are explained before and after.
fn fit(
    chosen: &[usize],
    before: &[Observation],
    texts: &[StoredInteraction],
    candidates: &[(&StoredInteraction, u32)],
    after: &[f64],
) -> Fit {
    let after: HashMap<u64, f64> =
        candidates.iter().zip(after).map(|((text, _), loss)| (text.seq, *loss)).collect();
    let mean = |loss: &dyn Fn(usize) -> f64| {
        chosen.iter().map(|i| loss(*i)).sum::<f64>() / chosen.len().max(1) as f64
    };
    Fit {
        before: mean(&|i| -before[i].current()),
        after: mean(&|i| after.get(&texts[i].seq).copied().unwrap_or(f64::NAN)),
        texts: chosen.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Users number their texts alike, each from 1.
    #[test]
    fn a_reservoir_is_drawn_per_user_and_seed_and_is_one_over_all_periods() {
        let kept =
            |seed: u64, policy_seed: u64, user: &str, keys: std::ops::Range<u64>| -> Vec<u64> {
                let mut config = Config::default().with_seed(seed);
                config.buffer.policy = BufferPolicyConfig::Reservoir { seed: policy_seed };
                let item = |key| BufferItem::new(key, 1, 0.0, 0.0, key as f64);
                let policy = policy(&config, &UserId::new(user).unwrap()).unwrap();
                let retained =
                    policy.retain(keys.map(item).collect(), 20, &EmbeddingMap::new()).unwrap();
                retained.kept.iter().map(|item| item.key).collect()
            };
        let ada = kept(1, 0, "ada", 0..200);
        assert_eq!((ada.len(), &ada), (20, &kept(1, 0, "ada", 0..200)));
        for other in [
            kept(1, 0, "bob", 0..200),
            kept(2, 0, "ada", 0..200),
            kept(1, 1, "ada", 0..200),
            // As a suite sets both.
            kept(2, 2, "ada", 0..200),
        ] {
            assert_ne!(ada, other);
        }
        assert_ne!(kept(1, 1, "ada", 0..200), kept(2, 2, "ada", 0..200));
        // What stays of more is what stayed of fewer, and some of the rest.
        let earlier = kept(1, 0, "ada", 0..100);
        assert!(ada.iter().filter(|key| **key < 100).all(|key| earlier.contains(key)));
    }

    #[test]
    fn a_text_in_many_tokens_is_likely_per_token_and_not_per_byte() {
        let encoded = |tokens: usize| Encoded {
            sequence: Sequence { context: vec![1], response: vec![2; tokens] },
            response_bytes: 20,
            cuts: vec![],
        };
        let encoded = [encoded(5), encoded(20)];
        let observation = |base, adapter| Observation::new(base, Some(adapter), 7);
        // 15 nats in 5 tokens, and 40 in 20.
        let per_token = [observation(-3.0, -2.0), observation(-2.0, -2.0)];
        assert_eq!(by_length(&per_token, &encoded, TextLength::Tokens), per_token);
        let per_byte = by_length(&per_token, &encoded, TextLength::Bytes);
        assert_eq!(per_byte, [observation(-0.75, -0.5), observation(-2.0, -2.0)]);
        let none = Observation::new(per_token[0].base, None, per_token[0].order);
        assert_eq!(by_length(&[none], &encoded, TextLength::Bytes)[0].novelty(), 0.0);
        // 10 nats under the population's adapter.
        let against = [per_token[0].with_population(Some(-2.0))];
        let per_byte = by_length(&against, &encoded, TextLength::Bytes)[0];
        assert_eq!((per_byte.novelty(), per_byte.quality()), (0.0, -0.75));
    }
}
