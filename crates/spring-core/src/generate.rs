//! Generation: one branch when the gate is closed, two mixed ones when it is open.

use std::sync::Arc;

use jiff::Timestamp;
use ndarray::ArrayView2;
use spring_fuse::{Mixture, Penalizer, PerBranch, Sampler};
use spring_lm::{Adapter, Branch, Detokenizer, RowId, Session};

use crate::{
    Config, DecodingConfig, Error, LanguageModel, Result, StopStrings, UserModel,
    progress::{Event, Progress},
    prompt::{Encoded, Turn},
    record::{AnswerRecord, Ending, TokenTrace},
    retrieve::Retrieval,
};

/// What one step of a [`TextGeneration`] brought.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct TextStep {
    /// The token; `None` if the text ended without one.
    pub token: Option<u32>,
    /// The text that is certain now: empty in the middle of a character, and while it may become a
    /// stop string. The texts of all steps, one after the other, are the whole text.
    pub text: String,
    /// Where the token's probability came from; `None` when the gate is closed.
    pub trace: Option<TokenTrace>,
    /// Why the text ended; `None` while it goes on.
    pub ended: Option<Ending>,
}

/// A response that is being written: its rows in a session, and how it chooses each token.
///
/// It borrows nothing, so that a server can hold any number of them in one [`Session`]: `join`
/// them, then for each round ask every one for its [`step`](Self::step), hand all their
/// [`next_tokens`](Self::next_tokens) to one [`Session::step`], and let those that ended
/// [`leave`](Self::leave). A response is the same alone and among others wherever the model's rows
/// are, as they are on the CPU.
pub struct TextGeneration {
    prompt: String,
    retriever: String,
    config: Config,
    generation: u32,
    adapter: Option<Arc<Adapter>>,
    retrieval: Retrieval,
    /// `None` when the gate is closed.
    weights: Option<PerBranch>,
    mixture: Box<dyn Mixture>,
    penalizer: Penalizer,
    sampler: Sampler,
    eos: Vec<u32>,
    /// Room for one distribution.
    fused: Vec<f32>,
    rows: Vec<RowId>,
    /// What the repetition penalty sees.
    history: Vec<u32>,
    tokens: Vec<u32>,
    trace: Vec<TokenTrace>,
    detokenizer: Detokenizer,
    stop: StopStrings,
    text: String,
    ended: Option<Ending>,
}

impl std::fmt::Debug for TextGeneration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TextGeneration")
            .field("rows", &self.rows)
            .field("tokens", &self.tokens.len())
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

impl TextGeneration {
    /// Searches the bank, asks the gate, and lays out the branches.
    ///
    /// # Errors
    ///
    /// If a setting is out of range or the tokenizer refuses a text.
    pub fn new(person: &UserModel<'_>, prompt: &str) -> Result<Self> {
        Self::after(person, &[], prompt)
    }

    /// The same for a prompt that goes on a conversation.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn after(person: &UserModel<'_>, turns: &[Turn], prompt: &str) -> Result<Self> {
        let (config, memories) = (&person.config, &person.memories);
        let retrieval = person.retrieve_after(turns, prompt, 0, config.decoding.max_new_tokens)?;
        let weights = match &retrieval.contexts.retrieval {
            None => None,
            Some(_) => Some(config.fusion.lambda.weights(2, Some(&retrieval.gate))?),
        };
        let info = person.base().info();
        Ok(Self {
            prompt: prompt.into(),
            retriever: person.bank.retriever().name().into(),
            generation: memories.generation,
            adapter: memories.adapter.clone(),
            weights,
            mixture: config.fusion.init()?,
            penalizer: config.decoding.penalties.init()?,
            sampler: config.decoding.sampler.init()?,
            eos: info.eos.clone(),
            fused: vec![0.0; info.vocabulary],
            rows: Vec::new(),
            // As transformers does, the prompt counts as history for the repetition penalty;
            // retrieved texts do not.
            history: retrieval.contexts.plain.clone(),
            tokens: Vec::new(),
            trace: Vec::new(),
            detokenizer: Detokenizer::new(),
            stop: StopStrings::new(&config.decoding.stop),
            text: String::new(),
            ended: None,
            config: config.clone(),
            retrieval,
        })
    }

    /// Tokens of the prompt, over all branches: what [`join`](Self::join) reads.
    pub fn prompt_tokens(&self) -> usize {
        self.branches().map(<[u32]>::len).sum()
    }

    /// The contexts of the branches.
    fn branches(&self) -> impl Iterator<Item = &[u32]> {
        let contexts = &self.retrieval.contexts;
        [Some(&contexts.plain), contexts.retrieval.as_ref()]
            .into_iter()
            .flatten()
            .map(Vec::as_slice)
    }

    /// Reads the branches' contexts as rows of a session.
    ///
    /// # Errors
    ///
    /// If the session refuses a row; then none stays in it.
    pub fn join(&mut self, session: &mut dyn Session) -> Result<()> {
        let contexts: Vec<&[u32]> = self.branches().collect();
        let room = self.retrieval.contexts.new_tokens;
        self.rows = session.join_branches(&contexts, self.adapter.as_ref(), room)?;
        Ok(())
    }

    /// Chooses the next token by what the session's rows say.
    ///
    /// # Errors
    ///
    /// If the rows give no distribution over the model's vocabulary, or nothing can be chosen by
    /// it.
    pub fn step(&mut self, model: &dyn LanguageModel, session: &dyn Session) -> Result<TextStep> {
        let most = self.retrieval.contexts.new_tokens;
        let nothing = TextStep { token: None, text: String::new(), trace: None, ended: self.ended };
        if self.ended.is_some() {
            return Ok(nothing);
        }
        if self.tokens.len() == most {
            return Ok(TextStep {
                text: self.end(model, Ending::Length)?,
                ended: self.ended,
                ..nothing
            });
        }
        let (token, trace) = self.choose(model, session)?;
        if self.eos.contains(&token) {
            let text = self.end(model, Ending::EndToken)?;
            return Ok(TextStep { text, ended: self.ended, ..nothing });
        }
        self.tokens.push(token);
        self.trace.extend(trace.clone());
        let certain = self.detokenizer.push(model, token)?;
        let mut text = self.add(&certain);
        if self.ended.is_none() && self.tokens.len() == most {
            text.push_str(&self.end(model, Ending::Length)?);
        }
        Ok(TextStep { token: Some(token), text, trace, ended: self.ended })
    }

    fn choose(
        &mut self,
        model: &dyn LanguageModel,
        session: &dyn Session,
    ) -> Result<(u32, Option<TokenTrace>)> {
        let vocabulary = self.fused.len();
        let log_probs = |row: &RowId| match session.log_probs(*row) {
            Some(log_probs) if log_probs.len() == vocabulary => Ok(log_probs),
            other => {
                let found = other.map_or("no log-probabilities".into(), |log_probs| {
                    format!("log-probabilities of shape [{}]", log_probs.len())
                });
                let reason =
                    format!("{found} for {row}, where its vocabulary needs [{vocabulary}]");
                Err(Error::Contract { reason })
            }
        };
        let rows = self.rows.iter().map(log_probs).collect::<Result<Vec<&[f32]>>>()?;
        let mixed = match (&self.weights, &rows[..]) {
            (Some(weights), rows) => Some(self.mixture.mix(rows, weights, &mut self.fused)?),
            (None, [only]) => {
                self.fused.copy_from_slice(only);
                None
            }
            (None, rows) => {
                let reason = format!("{} rows of one branch; has it joined a session?", rows.len());
                return Err(Error::Contract { reason });
            }
        };
        self.penalizer.apply(&mut self.fused, &self.history)?;
        let token = self.sampler.choose(&mut self.fused, self.tokens.len() as u64)?;
        self.history.push(token);
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
    }

    /// Adds text; gives what of it is certain.
    fn add(&mut self, text: &str) -> String {
        let (certain, is_end) = self.stop.push(text);
        if is_end {
            self.ended = Some(Ending::StopString);
        }
        self.text.push_str(&certain);
        certain
    }

    /// Ends the text, unless what was held back holds a stop string; gives the rest of it.
    fn end(&mut self, model: &dyn LanguageModel, ending: Ending) -> Result<String> {
        let rest = self.detokenizer.finish(model)?;
        let mut rest = self.add(&rest);
        if self.ended.is_none() {
            let held = self.stop.finish();
            self.text.push_str(&held);
            rest.push_str(&held);
            self.ended = Some(ending);
        }
        Ok(rest)
    }

    /// Ends the text where it is; gives what was held back of it.
    ///
    /// # Errors
    ///
    /// If the tokenizer cannot decode the tokens.
    pub fn stop(&mut self, model: &dyn LanguageModel) -> Result<String> {
        match self.ended {
            Some(_) => Ok(String::new()),
            None => self.end(model, Ending::Stopped),
        }
    }

    /// What the session's next step must append: the newest token to every row. Empty before the
    /// first token and after the end.
    pub fn next_tokens(&self) -> Vec<(RowId, u32)> {
        match (self.ended, self.tokens.last()) {
            (None, Some(token)) => self.rows.iter().map(|row| (*row, *token)).collect(),
            _ => Vec::new(),
        }
    }

    /// Ends the rows in the session.
    pub fn leave(&mut self, session: &mut dyn Session) {
        self.rows.drain(..).for_each(|row| session.leave(row));
    }

    /// The record of the text; one that has not ended is stopped.
    ///
    /// # Errors
    ///
    /// If the tokenizer cannot decode the tokens.
    pub fn into_record(mut self, model: &dyn LanguageModel) -> Result<AnswerRecord> {
        self.stop(model)?;
        let ended = self.ended.unwrap_or(Ending::Stopped);
        let text = match ended {
            Ending::StopString => self.text,
            _ => model.decode_text(&self.tokens)?,
        };
        let most = self.retrieval.contexts.new_tokens;
        let decoding = DecodingConfig { max_new_tokens: Some(most), ..self.config.decoding };
        Ok(AnswerRecord {
            time: Timestamp::now(),
            generation: self.generation,
            prompt: self.prompt,
            text,
            ended,
            retriever: self.retriever,
            gate: self.retrieval.gate,
            retrieved: self.retrieval.found,
            fusion: (!self.trace.is_empty()).then_some(self.config.fusion),
            decoding: Some(decoding),
            trace: self.trace,
            cuts: self.retrieval.contexts.cuts,
        })
    }
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
            "log-probabilities of shape {:?} and strides {:?}, where {branches} branches over \
             {vocabulary} tokens need [{branches}, {vocabulary}], row by row",
            log_probs.shape(),
            log_probs.strides()
        );
        return Err(Error::Contract { reason });
    }
    Ok(rows)
}

/// The log-likelihood of a given response as [`UserModel::generate`] would assign it, before
/// penalties.
#[derive(Debug, Clone, PartialEq)]
pub struct FusedScore {
    /// Log-likelihood of every response token under the adapter alone, nats.
    pub adapter: Vec<f32>,
    /// The same under the mixture; equal to `adapter` where the gate is closed.
    pub fused: Vec<f32>,
    /// Whether the retrieval branch took part.
    pub open: bool,
    /// Mean share of the tokens' probability that came from the retrieval branch; 0 when the gate
    /// is closed.
    pub retrieval_share: f64,
}

impl UserModel<'_> {
    /// Writes a response to a prompt as this person would.
    ///
    /// Without a relevant text in the bank it is one branch, at no further cost; else two branches
    /// run as two rows of one batch, see the same emitted tokens, and their distributions are
    /// mixed. Penalties and sampling come after that. [`TextGeneration`] is the same step by step;
    /// `progress` is told each token and its text as it comes.
    ///
    /// # Errors
    ///
    /// If a setting is out of range, the model refuses the prompt, or it gives log-probabilities of
    /// another shape than its trait asks for. A request to stop is no error: the record has the
    /// text so far and says so.
    pub fn generate(&self, prompt: &str, progress: &mut dyn Progress) -> Result<AnswerRecord> {
        self.generate_after(&[], prompt, progress)
    }

    /// The same for a prompt that goes on a conversation.
    ///
    /// # Errors
    ///
    /// As [`generate`](Self::generate).
    pub fn generate_after(
        &self,
        turns: &[Turn],
        prompt: &str,
        progress: &mut dyn Progress,
    ) -> Result<AnswerRecord> {
        let model = self.base();
        let mut generation = TextGeneration::after(self, turns, prompt)?;
        let mut session = model.session()?;
        generation.join(&mut *session)?;
        loop {
            let step = generation.step(model, &*session)?;
            let event =
                Event::Token { done: generation.tokens.len(), token: step.token, text: &step.text };
            if progress.on(event).is_break() && step.ended.is_none() {
                generation.stop(model)?;
                break;
            }
            if step.ended.is_some() {
                break;
            }
            session.step(&generation.next_tokens())?;
        }
        generation.into_record(model)
    }

    /// Scores a response that is known, teacher-forced, through the gate and the mixture.
    ///
    /// `encoded` is what [`encode_pair`](crate::prompt::encode_pair) made of prompt and response:
    /// the branch without retrieval, so that a closed gate gives the adapter's own score. The other
    /// branch has the same part of the prompt.
    ///
    /// # Errors
    ///
    /// As [`generate`](Self::generate).
    pub fn score(&self, prompt: &str, encoded: &Encoded) -> Result<FusedScore> {
        let (model, config) = (self.base(), &self.config);
        let sequence = &encoded.sequence;
        let response = &sequence.response;
        let lost = encoded.lost_of_prompt();
        let retrieval = self.retrieve(prompt, lost, Some(response.len()))?;
        let contexts = &retrieval.contexts;
        let adapter = self.adapter();
        let Some(with) = &contexts.retrieval else {
            let adapter = model.score(&[(sequence, adapter)])?.pop().unwrap_or_default();
            if adapter.len() != response.len() {
                let reason = format!(
                    "{} scores for the {} tokens of a response",
                    adapter.len(),
                    response.len()
                );
                return Err(Error::Contract { reason });
            }
            return Ok(FusedScore {
                fused: adapter.clone(),
                adapter,
                open: false,
                retrieval_share: 0.0,
            });
        };
        let branches: [Branch<'_>; 2] = [(&sequence.context, adapter), (with, adapter)];
        let weights = config.fusion.lambda.weights(2, Some(&retrieval.gate))?;
        let mut mixture = config.fusion.init()?;
        let mut mixed = vec![0.0; model.info().vocabulary];
        let mut score =
            FusedScore { adapter: vec![], fused: vec![], open: true, retrieval_share: 0.0 };
        let mut failure: Option<Error> = None;
        model.score_branches(&branches, response, &mut |position, log_probs| {
            if failure.is_some() {
                return Ok(());
            }
            let mut add = || -> Result<()> {
                let rows = rows(&log_probs, branches.len(), mixed.len())?;
                let token = *response.get(position).ok_or_else(|| Error::Contract {
                    reason: format!(
                        "position {position} of a response of {} tokens",
                        response.len()
                    ),
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
}
