//! Generation: one branch when the gate is closed, two mixed ones when it is open, and one more
//! where the person's model is contrasted with the base.

use std::sync::Arc;

use jiff::Timestamp;
use spring_fuse::{Contrast, GateDecision, Mixture, Penalizer, PerBranch, Sampler};
use spring_lm::{Adapter, ModelError, RowId, Session, TextStream};

use crate::{
    Ask, Config, Error, LanguageModel, Likely, Question, Result, Retrieval, UserModel,
    progress::{Event, Progress},
    prompt::Turn,
    record::{AnswerRecord, Ending, RetrievedText, TokenTrace},
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
    /// How likely the token was, and what else was, where an [`Ask`] wants it.
    pub likely: Option<Likely>,
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
    asked: Asked,
    mixture: Box<dyn Mixture>,
    penalizer: Penalizer,
    sampler: Sampler,
    /// Room for one distribution.
    fused: Vec<f32>,
    /// The same for the branch without retrieval once it is contrasted; empty where it is not.
    contrasted: Vec<f32>,
    /// In the order of the branches.
    rows: Vec<RowId>,
    /// Those of them that have not read their contexts.
    unread: Vec<RowId>,
    /// What the repetition penalty sees.
    history: Vec<u32>,
    tokens: Vec<u32>,
    trace: Vec<TokenTrace>,
    /// The text of the tokens as it becomes certain.
    stream: TextStream,
    text: String,
    ended: Option<Ending>,
}

/// What is answered, by whom and how: fixed before the first token.
#[derive(Debug, Clone)]
struct Asked {
    prompt: String,
    retriever: String,
    config: Config,
    generation: u32,
    adapter: Option<Arc<Adapter>>,
    retrieval: Retrieval,
    /// `None` when the gate is closed.
    weights: Option<PerBranch>,
    /// `None` where nothing is contrasted.
    contrast: Option<Contrast>,
    eos: Vec<u32>,
    /// How many tokens the model knows.
    vocabulary: usize,
    /// How many of the likeliest tokens are told.
    likely: Option<usize>,
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
        Self::of(person, Ask::new(Question::Prompt { earlier: turns.into(), prompt }))
    }

    /// The same for any question.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new), and [`Error::TooLong`] for a prompt that does not fit and may not be
    /// cut.
    pub fn of(person: &UserModel<'_>, ask: Ask<'_>) -> Result<Self> {
        let (config, memories) = (ask.config.unwrap_or(&person.config), &person.memories);
        let model = person.base();
        let (prompt, retrieval) = ask.retrieve(person)?;
        let weights = match &retrieval.contexts.retrieval {
            None => None,
            Some(_) => Some(config.fusion.lambda.weights(2, Some(&retrieval.gate))?),
        };
        let info = model.info();
        Self::fresh(Asked {
            prompt,
            retriever: person.bank.retriever().name().into(),
            generation: memories.generation,
            adapter: memories.adapter.clone(),
            weights,
            contrast: person.contrast_under(config),
            eos: info.eos.clone(),
            vocabulary: info.vocabulary,
            likely: ask.likely,
            config: config.clone(),
            retrieval,
        })
    }

    /// Another response to the same question, drawn with another seed.
    ///
    /// # Errors
    ///
    /// If a setting is out of range.
    pub fn with_seed(&self, seed: u64) -> Result<Self> {
        let mut asked = self.asked.clone();
        asked.config.decoding.sampler.seed = seed;
        Self::fresh(asked)
    }

    /// A response of which nothing is written yet.
    fn fresh(asked: Asked) -> Result<Self> {
        let Asked { config, vocabulary, retrieval, .. } = &asked;
        Ok(Self {
            mixture: config.fusion.init()?,
            penalizer: config.decoding.penalties.init()?,
            sampler: config.decoding.sampler.init()?,
            fused: vec![0.0; *vocabulary],
            contrasted: asked.contrast.map_or(vec![], |_| vec![0.0; *vocabulary]),
            rows: Vec::new(),
            unread: Vec::new(),
            // As transformers does, the prompt counts as history for the repetition penalty;
            // retrieved texts do not.
            history: retrieval.contexts.plain.clone(),
            tokens: Vec::new(),
            trace: Vec::new(),
            stream: TextStream::new(&config.decoding.stop),
            text: String::new(),
            ended: None,
            asked,
        })
    }

    /// How the gate decided.
    pub fn gate(&self) -> &GateDecision {
        &self.asked.retrieval.gate
    }

    /// What was found, best first.
    pub fn retrieved(&self) -> &[RetrievedText] {
        &self.asked.retrieval.found
    }

    /// The generation that answers; 0 for the base.
    pub fn generation(&self) -> u32 {
        self.asked.generation
    }

    /// Its rows in the session that it has joined.
    pub fn rows(&self) -> &[RowId] {
        &self.rows
    }

    /// Rows that it takes in a session: one, another where the gate is open, and another where the
    /// person's model is contrasted with the base.
    pub fn row_count(&self) -> usize {
        self.branches().count()
    }

    /// The most tokens that its rows can hold in the end, over all of them.
    pub fn most_tokens(&self) -> usize {
        let room = self.row_count().saturating_mul(self.asked.retrieval.contexts.new_tokens);
        self.prompt_tokens().saturating_add(room)
    }

    /// The tokens so far.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Why the text ended; `None` while it goes on.
    pub fn ended(&self) -> Option<Ending> {
        self.ended
    }

    /// Tokens of the prompt, over all branches: what [`join`](Self::join) reads.
    pub fn prompt_tokens(&self) -> usize {
        self.branches().map(|(context, _)| context.len()).sum()
    }

    /// Tokens of the prompt alone, with what was said before it.
    pub fn plain_tokens(&self) -> usize {
        self.asked.retrieval.contexts.plain.len()
    }

    /// The branches with their contexts and adapters, in the order of the [`rows`](Self::rows): the
    /// prompt alone, behind the retrieved texts if the gate is open, and, without an adapter, what
    /// the first is contrasted with.
    pub fn branches(&self) -> impl Iterator<Item = (&[u32], Option<&Arc<Adapter>>)> {
        let Asked { retrieval, adapter, contrast, .. } = &self.asked;
        let (plain, with) = (&retrieval.contexts.plain, retrieval.contexts.retrieval.as_ref());
        let personal = [Some(plain), with].into_iter().flatten();
        let personal = personal.map(|context| (context.as_slice(), adapter.as_ref()));
        personal.chain(contrast.map(|_| (plain.as_slice(), None)))
    }

    /// Reads the branches' contexts as rows of a session.
    ///
    /// # Errors
    ///
    /// If the session refuses a row; then none stays in it.
    pub fn join(&mut self, session: &mut dyn Session) -> Result<()> {
        self.rows = self.rows_in(session, |session, contexts, adapter, room| {
            session.join_branches(contexts, adapter, room)
        })?;
        Ok(())
    }

    /// The same, where the contexts are still to be read, part by part, by
    /// [`read_on`](Self::read_on). The text is the same.
    ///
    /// # Errors
    ///
    /// As [`join`](Self::join).
    pub fn begin(&mut self, session: &mut dyn Session) -> Result<()> {
        self.rows = self.rows_in(session, |session, contexts, adapter, room| {
            session.begin_branches(contexts, adapter, room)
        })?;
        self.unread = self.rows.iter().rev().copied().collect();
        Ok(())
    }

    /// Rows for all branches; none stays if one is refused.
    fn rows_in(&self, session: &mut dyn Session, enter: Enter) -> Result<Vec<RowId>> {
        let Asked { retrieval, adapter, contrast, .. } = &self.asked;
        let contexts = &retrieval.contexts;
        let with = contexts.retrieval.as_deref();
        let personal: Vec<&[u32]> =
            [Some(contexts.plain.as_slice()), with].into_iter().flatten().collect();
        let mut rows = enter(session, &personal, adapter.as_ref(), contexts.new_tokens)?;
        if contrast.is_some() {
            match enter(session, &[&contexts.plain], None, contexts.new_tokens) {
                Ok(base) => rows.extend(base),
                Err(error) => {
                    rows.into_iter().for_each(|row| session.leave(row));
                    return Err(error.into());
                }
            }
        }
        Ok(rows)
    }

    /// Reads the next part of a context in one pass; says whether the first token can be chosen.
    ///
    /// # Errors
    ///
    /// If the session fails.
    pub fn read_on(&mut self, session: &mut dyn Session) -> Result<bool> {
        if let Some(row) = self.unread.last()
            && session.read_on(*row)? == 0
        {
            self.unread.pop();
        }
        Ok(self.unread.is_empty())
    }

    /// Joins a session by copies of another text's rows, which have read the same contexts and
    /// nothing behind them: the other was made of the same question, as
    /// [`with_seed`](Self::with_seed) makes one. False if the session cannot copy rows.
    ///
    /// # Errors
    ///
    /// If the other's contexts are not these, or its rows have not read them; then it has not
    /// joined.
    pub fn fork_from(&mut self, other: &Self, session: &mut dyn Session) -> Result<bool> {
        fn read<'a>(
            (context, adapter): (&'a [u32], Option<&Arc<Adapter>>),
        ) -> (&'a [u32], Option<*const Adapter>) {
            (context, adapter.map(Arc::as_ptr))
        }
        let is_same =
            self.branches().map(read).eq(other.branches().map(read)) && other.tokens.is_empty();
        if !is_same || other.rows.is_empty() || !other.unread.is_empty() {
            let reason = "a text can only take the rows of one that has read the same contexts";
            return Err(Error::Contract { reason: reason.into() });
        }
        for row in &other.rows {
            match session.fork(*row) {
                Ok(Some(row)) => self.rows.push(row),
                Ok(None) => {
                    self.leave(session);
                    return Ok(false);
                }
                Err(error) => {
                    self.leave(session);
                    return Err(error.into());
                }
            }
        }
        Ok(true)
    }

    /// Chooses the next token by what the session's rows say.
    ///
    /// # Errors
    ///
    /// If the rows give no distribution over the model's vocabulary, or nothing can be chosen by
    /// it.
    pub fn step(&mut self, model: &dyn LanguageModel, session: &dyn Session) -> Result<TextStep> {
        let most = self.asked.retrieval.contexts.new_tokens;
        let nothing = TextStep {
            token: None,
            text: String::new(),
            trace: None,
            likely: None,
            ended: self.ended,
        };
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
        let Chosen { token, trace, likely } = self.choose(model, session)?;
        if self.asked.eos.contains(&token) {
            let text = self.end(model, Ending::EndToken)?;
            return Ok(TextStep { text, ended: self.ended, ..nothing });
        }
        self.tokens.push(token);
        self.trace.extend(trace.clone());
        let (mut text, is_stopped) = self.stream.push(model, token)?;
        self.text.push_str(&text);
        self.ended = is_stopped.then_some(Ending::StopString);
        if self.ended.is_none() && self.tokens.len() == most {
            text.push_str(&self.end(model, Ending::Length)?);
        }
        Ok(TextStep { token: Some(token), text, trace, likely, ended: self.ended })
    }

    fn choose(&mut self, model: &dyn LanguageModel, session: &dyn Session) -> Result<Chosen> {
        let vocabulary = self.asked.vocabulary;
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
        let mut rows = self.rows.iter().map(log_probs).collect::<Result<Vec<&[f32]>>>()?;
        if let Some(contrast) = &self.asked.contrast
            && let (Some(base), Some(plain)) = (rows.pop(), rows.first_mut())
        {
            contrast.apply(plain, base, &mut self.contrasted)?;
            *plain = &self.contrasted;
        }
        let mixed = match (&self.asked.weights, &rows[..]) {
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
        let unpenalised = self.asked.likely.map(|top| (top, self.fused.clone()));
        self.penalizer.apply(&mut self.fused, &self.history)?;
        let token = self.sampler.choose(&mut self.fused, self.tokens.len() as u64)?;
        self.history.push(token);
        let likely = unpenalised.map(|(top, log_probs)| Likely::of(&log_probs, token, top));
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
        Ok(Chosen { token, trace, likely })
    }

    /// Ends the text, unless what was held back holds a stop string; gives the rest of it.
    fn end(&mut self, model: &dyn LanguageModel, ending: Ending) -> Result<String> {
        let (rest, is_stopped) = self.stream.finish(model)?;
        self.text.push_str(&rest);
        self.ended = Some(if is_stopped { Ending::StopString } else { ending });
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
        self.unread.clear();
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
        let most = self.asked.retrieval.contexts.new_tokens;
        let mut decoding = self.asked.config.decoding;
        decoding.max_new_tokens = Some(most);
        let contrast = self.asked.contrast;
        let has_branches = !self.trace.is_empty() || contrast.is_some() && !self.tokens.is_empty();
        let fusion = self.asked.config.fusion.with_contrast(contrast);
        Ok(AnswerRecord {
            id: None,
            time: Timestamp::now(),
            generation: self.asked.generation,
            prompt: self.asked.prompt,
            text,
            ended,
            retriever: self.asked.retriever,
            gate: self.asked.retrieval.gate,
            retrieved: self.asked.retrieval.found,
            fusion: has_branches.then_some(fusion),
            decoding: Some(decoding),
            trace: self.trace,
            cuts: self.asked.retrieval.contexts.cuts,
        })
    }
}

/// How contexts become rows of a session, all of them with one adapter or of the base, and with
/// room for so many tokens more.
type Enter = fn(
    &mut dyn Session,
    &[&[u32]],
    Option<&Arc<Adapter>>,
    usize,
) -> std::result::Result<Vec<RowId>, ModelError>;

/// A token that was chosen.
struct Chosen {
    token: u32,
    trace: Option<TokenTrace>,
    likely: Option<Likely>,
}

impl UserModel<'_> {
    /// Writes a response to a prompt as this person would.
    ///
    /// Without a relevant text in the bank it is one branch, at no further cost; else two branches
    /// run as two rows of one batch, see the same emitted tokens, and their distributions are
    /// mixed. Where the settings ask for a [contrast](spring_fuse::Contrast) and there is an
    /// adapter, the base is one row more: the branch without retrieved texts is contrasted with it
    /// before it is mixed. Penalties and sampling come after that. [`TextGeneration`] is the same
    /// step by step; `progress` is told each token and its text as it comes.
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
}
