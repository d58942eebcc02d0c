//! Generation: one branch when the gate is closed, two mixed ones when it is open.

use jiff::Timestamp;
use ndarray::{Array2, ArrayView2};
use spring_lm::{Branch, ModelError};

use crate::{
    Config, DecodingConfig, Error, LanguageModel, Memories, Result, RetrievalBank,
    progress::{Event, Progress},
    prompt::Encoded,
    record::{AnswerRecord, Ending, TokenTrace},
    retrieve::retrieve,
};

/// Writes a response to a prompt as the user of these memories would.
///
/// Without a relevant text in the bank it is one branch, at no further cost; else two branches run as two rows of one
/// batch, see the same emitted tokens, and their distributions are mixed. Penalties and sampling come after that.
///
/// # Errors
///
/// If a setting is out of range, the model refuses the prompt, or it gives log-probabilities of another shape than its trait
/// asks for. A request to stop is no error: the record has the text so far and says so.
pub fn generate(
    model: &dyn LanguageModel,
    config: &Config,
    memories: &Memories,
    bank: &RetrievalBank,
    prompt: &str,
    progress: &mut dyn Progress,
) -> Result<AnswerRecord> {
    let retrieval = retrieve(model, config, memories, bank, prompt, 0, config.decoding.max_new_tokens)?;
    let contexts = &retrieval.contexts;
    let adapter = memories.adapter.as_ref();
    let mut branches: Vec<Branch<'_>> = vec![(&contexts.plain, adapter)];
    branches.extend(contexts.retrieval.as_ref().map(|context| (context.as_slice(), adapter)));

    let (eos, count) = (&model.info().eos, branches.len());
    let weights = match count {
        1 => None,
        n => Some(config.fusion.lambda.weights(n, Some(&retrieval.gate))?),
    };
    let mut mixture = config.fusion.init()?;
    let mut penalizer = config.decoding.penalties.init()?;
    let mut sampler = config.decoding.sampler.init()?;
    // As transformers does, the prompt counts as history for the repetition penalty; retrieved texts do not.
    let mut history = contexts.plain.clone();
    let (mut tokens, mut trace, mut ended) = (Vec::new(), Vec::new(), Ending::Length);
    let mut fused = vec![0.0; model.info().vocabulary];
    let mut failure = None;

    model.decode(&branches, contexts.new_tokens, &mut |decoder| {
        let mut step = |log_probs: &Array2<f32>, step: u64| -> Result<(u32, Option<TokenTrace>)> {
            let log_probs = log_probs.view();
            let rows = rows(&log_probs, count, fused.len())?;
            let mixed = match &weights {
                Some(weights) => Some(mixture.mix(&rows, weights, &mut fused)?),
                None => {
                    fused.copy_from_slice(rows[0]);
                    None
                }
            };
            penalizer.apply(&mut fused, &history)?;
            let token = sampler.choose(&mut fused, step)?;
            history.push(token);
            let trace = match mixed {
                Some(mixed) => Some(TokenTrace {
                    token,
                    text: model.decode_text(&[token])?,
                    lambda: mixed.weights.iter().skip(1).sum(),
                    retrieval_share: mixed.shares(&rows, token)?.iter().skip(1).sum(),
                    divergence: mixed.divergence,
                }),
                None => None,
            };
            Ok((token, trace))
        };
        for done in 0..contexts.new_tokens {
            let (token, traced) = match step(decoder.log_probs(), done as u64) {
                Ok(chosen) => chosen,
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            };
            if eos.contains(&token) {
                ended = Ending::EndToken;
                break;
            }
            tokens.push(token);
            trace.extend(traced);
            if progress.on(Event::Token { done: done + 1 }).is_break() {
                ended = Ending::Stopped;
                break;
            }
            if done + 1 < contexts.new_tokens {
                decoder.push(token)?;
            }
        }
        Ok::<(), ModelError>(())
    })?;
    if let Some(error) = failure {
        return Err(error);
    }
    let decoding = DecodingConfig { max_new_tokens: Some(contexts.new_tokens), ..config.decoding.clone() };
    Ok(AnswerRecord {
        time: Timestamp::now(),
        generation: memories.generation,
        prompt: prompt.into(),
        text: model.decode_text(&tokens)?,
        ended,
        retriever: bank.retriever().name().into(),
        gate: retrieval.gate,
        retrieved: retrieval.found,
        fusion: (!trace.is_empty()).then_some(config.fusion),
        decoding: Some(decoding),
        trace,
        cuts: retrieval.contexts.cuts,
    })
}

/// The rows of log-probabilities, one per branch, each over the whole vocabulary.
fn rows<'a>(
    log_probs: &'a ArrayView2<'_, f32>,
    branches: usize,
    vocabulary: usize,
) -> Result<Vec<&'a [f32]>> {
    let rows: Vec<&[f32]> = log_probs.rows().into_iter().filter_map(|row| row.to_slice()).collect();
    if log_probs.dim() != (branches, vocabulary) || rows.len() != branches {
        let reason = format!(
            "log-probabilities of shape {:?} and strides {:?}, where {branches} branches over {vocabulary} tokens need [{branches}, {vocabulary}], row by row",
            log_probs.shape(),
            log_probs.strides()
        );
        return Err(Error::Contract { reason });
    }
    Ok(rows)
}

/// The log-likelihood of a given response as [`generate`] would assign it, before penalties.
#[derive(Debug, Clone, PartialEq)]
pub struct FusedScore {
    /// Log-likelihood of every response token under the adapter alone, nats.
    pub adapter: Vec<f32>,
    /// The same under the mixture; equal to `adapter` where the gate is closed.
    pub fused: Vec<f32>,
    /// Whether the retrieval branch took part.
    pub open: bool,
    /// Mean share of the tokens' probability that came from the retrieval branch; 0 when the gate is closed.
    pub retrieval_share: f64,
}

/// Scores a response that is known, teacher-forced, through the gate and the mixture.
///
/// `encoded` is what [`encode_pair`](crate::prompt::encode_pair) made of prompt and response: the branch without
/// retrieval, so that a closed gate gives the adapter's own score. The other branch has the same part of the prompt.
///
/// # Errors
///
/// As [`generate`].
pub fn score_fused(
    model: &dyn LanguageModel,
    config: &Config,
    memories: &Memories,
    bank: &RetrievalBank,
    prompt: &str,
    encoded: &Encoded,
) -> Result<FusedScore> {
    let sequence = &encoded.sequence;
    let response = &sequence.response;
    let lost = encoded.lost_of_prompt();
    let retrieval = retrieve(model, config, memories, bank, prompt, lost, Some(response.len()))?;
    let contexts = &retrieval.contexts;
    let adapter = memories.adapter.as_ref();
    let Some(with) = &contexts.retrieval else {
        let adapter = model.score(&[(sequence, adapter)])?.pop().unwrap_or_default();
        if adapter.len() != response.len() {
            let reason = format!("{} scores for the {} tokens of a response", adapter.len(), response.len());
            return Err(Error::Contract { reason });
        }
        return Ok(FusedScore { fused: adapter.clone(), adapter, open: false, retrieval_share: 0.0 });
    };
    let branches: [Branch<'_>; 2] = [(&sequence.context, adapter), (with, adapter)];
    let weights = config.fusion.lambda.weights(2, Some(&retrieval.gate))?;
    let mut mixture = config.fusion.init()?;
    let mut mixed = vec![0.0; model.info().vocabulary];
    let mut score = FusedScore { adapter: vec![], fused: vec![], open: true, retrieval_share: 0.0 };
    let mut failure: Option<Error> = None;
    model.score_branches(&branches, response, &mut |position, log_probs| {
        if failure.is_some() {
            return Ok(());
        }
        let mut add = || -> Result<()> {
            let rows = rows(&log_probs, branches.len(), mixed.len())?;
            let token = *response.get(position).ok_or_else(|| Error::Contract {
                reason: format!("position {position} of a response of {} tokens", response.len()),
            })?;
            let shares = mixture.mix(&rows, &weights, &mut mixed)?.shares(&rows, token)?;
            score.adapter.push(rows[0][token as usize]);
            score.fused.push(mixed[token as usize]);
            score.retrieval_share += f64::from(shares[1]) / response.len() as f64;
            Ok(())
        };
        failure = add().err();
        Ok(())
    })?;
    match failure {
        Some(error) => Err(error),
        None => Ok(score),
    }
}
