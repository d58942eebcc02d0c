//! What is asked of a person's model, and what that comes to: search, gate, contexts, and room for
//! an answer.

use spring_fuse::{Candidate, GateDecision};

use crate::{
    Config, Error, LanguageModel, ModelInfo, Result, UserModel, gains,
    prompt::{
        Contexts, Cut, Earlier, RetrievedPair, contexts_after, most_new_tokens, whole_context,
    },
    record::RetrievedText,
};

/// What is to be answered.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Question<'a> {
    /// A prompt, in the layout that the model was taught.
    Prompt {
        /// What was said before it.
        earlier: Earlier<'a>,
        /// The prompt.
        prompt: &'a str,
    },
    /// A text that is continued as it is: nothing is retrieved, and no template is laid over it.
    Text(&'a str),
    /// The same as tokens.
    Tokens(&'a [u32]),
}

/// What is asked of a person's model, and how it is to answer.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Ask<'a> {
    /// What is to be answered.
    pub question: Question<'a>,
    /// Other settings of gate, mixture and decoding than the person's.
    pub config: Option<&'a Config>,
    /// How many of the likeliest tokens are told with each; `None` for no log-probabilities.
    pub likely: Option<usize>,
    /// Whether a prompt that does not fit is refused. Else its beginning is cut off, and the record
    /// says so.
    pub whole: bool,
}

impl<'a> Ask<'a> {
    /// Answers by the person's settings, and cuts what does not fit.
    pub fn new(question: Question<'a>) -> Self {
        Self { question, config: None, likely: None, whole: false }
    }

    /// By other settings of gate, mixture and decoding.
    #[must_use]
    pub fn with_config(self, config: &'a Config) -> Self {
        Self { config: Some(config), ..self }
    }

    /// With log-probabilities of the tokens, and of this many of the likeliest.
    #[must_use]
    pub fn with_likely(self, likely: Option<usize>) -> Self {
        Self { likely, ..self }
    }

    /// Refusing a prompt that does not fit; the most new tokens are then what it leaves, if that is
    /// fewer.
    #[must_use]
    pub fn whole(self) -> Self {
        Self { whole: true, ..self }
    }

    /// The text that is asked, and what retrieval makes of it.
    pub(crate) fn retrieve(self, person: &UserModel<'_>) -> Result<(String, Retrieval)> {
        let config = self.config.unwrap_or(&person.config);
        let (model, wanted) = (person.base(), config.decoding.max_new_tokens);
        match self.question {
            Question::Prompt { earlier, prompt } => {
                let wanted = match self.whole {
                    true => {
                        let tokens = whole_context(model, earlier, prompt)?.len();
                        Some(left_over(model.info(), tokens, wanted)?)
                    }
                    false => wanted,
                };
                Ok((prompt.into(), person.retrieve_under(config, earlier, prompt, 0, wanted)?))
            }
            Question::Text(text) => {
                Ok((text.into(), continued(model, &model.encode(text)?, wanted, self.whole)?))
            }
            Question::Tokens(ids) => {
                Ok((model.decode_text(ids)?, continued(model, ids, wanted, self.whole)?))
            }
        }
    }
}

/// The most new tokens behind a prompt that stays whole.
fn left_over(info: &ModelInfo, tokens: usize, wanted: Option<usize>) -> Result<usize> {
    let context = info.context;
    match context.saturating_sub(tokens) {
        0 => Err(Error::TooLong { tokens, context }),
        left => Ok(wanted.unwrap_or_else(|| most_new_tokens(info.context)).clamp(1, left)),
    }
}

/// The context of a text that is continued as it is.
fn continued(
    model: &dyn LanguageModel,
    ids: &[u32],
    wanted: Option<usize>,
    whole: bool,
) -> Result<Retrieval> {
    let info = model.info();
    let first = if ids.is_empty() { info.start } else { info.bos };
    let first = first.filter(|first| ids.first() != Some(first));
    let mut plain: Vec<u32> = first.into_iter().chain(ids.iter().copied()).collect();
    let mut cuts = Vec::new();
    let new_tokens = match left_over(info, plain.len(), wanted) {
        Ok(new_tokens) => new_tokens,
        Err(error) if whole => return Err(error),
        Err(_) => {
            let new_tokens = wanted.unwrap_or_else(|| most_new_tokens(info.context));
            let new_tokens = new_tokens.clamp(1, info.context.saturating_sub(2).max(1));
            let begin = usize::from(first.is_some());
            let lost = (plain.len() + new_tokens).saturating_sub(info.context);
            let end = (begin + lost).min(plain.len().saturating_sub(1)).max(begin);
            plain.drain(begin..end);
            cuts.push(Cut::Prompt { tokens: lost });
            new_tokens
        }
    };
    let gate = GateDecision::closed("a text that is continued as it is has nothing before it");
    let contexts = Contexts { plain, retrieval: None, used: Vec::new(), new_tokens, cuts };
    Ok(Retrieval { found: Vec::new(), gate, contexts })
}

/// As many candidates are searched and recorded at least; a gate that may keep more needs them and
/// the runner-up.
const CANDIDATES: usize = 16;

/// What retrieval made of a prompt.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Retrieval {
    /// What was found, best first.
    pub found: Vec<RetrievedText>,
    /// What the gate made of it.
    pub gate: GateDecision,
    /// The contexts of the branches.
    pub contexts: Contexts,
}

impl UserModel<'_> {
    /// Searches the bank for the whole prompt, asks the gate, and lays out the branches with room
    /// for `new_tokens` and without the prompt's first `lost` tokens.
    ///
    /// # Errors
    ///
    /// If a setting is out of range or the tokenizer refuses a text.
    pub fn retrieve(
        &self,
        prompt: &str,
        lost: usize,
        new_tokens: Option<usize>,
    ) -> Result<Retrieval> {
        self.retrieve_after(Earlier::default(), prompt, lost, new_tokens)
    }

    /// The same for a prompt behind what was said before: the branches have its turns before the
    /// prompt, the search is for the prompt alone.
    ///
    /// # Errors
    ///
    /// As [`retrieve`](Self::retrieve).
    pub fn retrieve_after(
        &self,
        earlier: Earlier<'_>,
        prompt: &str,
        lost: usize,
        new_tokens: Option<usize>,
    ) -> Result<Retrieval> {
        self.retrieve_under(&self.config, earlier, prompt, lost, new_tokens)
    }

    /// The same with gate and λ of other settings than the person's.
    pub(crate) fn retrieve_under(
        &self,
        config: &Config,
        earlier: Earlier<'_>,
        prompt: &str,
        lost: usize,
        new_tokens: Option<usize>,
    ) -> Result<Retrieval> {
        let (model, bank, gate) = (self.base(), &self.bank, &config.gate);
        let hits = bank.search(model, prompt, CANDIDATES.max(gate.k().saturating_add(1)))?;
        let candidates: Vec<Candidate> = hits.iter().map(|hit| Candidate::new(hit.score)).collect();
        let calibration = gains::as_asked(&self.memories.calibration, &self.config, config);
        let gate = gate.init()?.decide(&candidates, &calibration);
        let best = candidates.first().map(|best| best.score);
        let gate = config.fusion.lambda.informed(gate, best, &calibration);
        let kept: Vec<RetrievedPair<'_>> = gate
            .kept
            .iter()
            .filter_map(|i| bank.text(hits.get(*i)?.key))
            .map(RetrievedPair::of)
            .collect();
        let contexts = contexts_after(model, earlier, prompt, lost, &kept, new_tokens)?;
        let found = hits
            .iter()
            .filter_map(|hit| {
                let id = bank.text(hit.key)?.interaction.id.clone();
                Some(RetrievedText {
                    seq: hit.key,
                    id,
                    score: hit.score,
                    used: contexts.used.contains(&hit.key),
                })
            })
            .collect();
        Ok(Retrieval { found, gate, contexts })
    }
}
