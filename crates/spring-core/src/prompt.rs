//! From texts to token sequences: the layout of prompt, response and retrieved texts, and what is cut when they do
//! not fit.
//!
//! The layout of a base without chat template: `bos`, every retrieved text as `prompt ⏎⏎ response eos` from the oldest
//! to the newest, then `prompt ⏎⏎`, then the response and `eos`. Prompt and response are tokenised separately, so that
//! the response's tokens do not depend on what stands before it.

use serde::{Deserialize, Serialize};
use spring_model::Sequence;

use crate::{LanguageModel, Result};

/// Between a prompt and its response.
const SEPARATOR: &str = "\n\n";
/// New tokens are reserved up to this number, and never more than a third of the context.
const MOST_NEW_TOKENS: usize = 600;

/// Something that did not fit and was left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "part", deny_unknown_fields)]
pub enum Cut {
    /// The beginning of the prompt.
    Prompt {
        /// Tokens left out.
        tokens: usize,
    },
    /// The end of the response, its end token included.
    Response {
        /// Tokens left out.
        tokens: usize,
    },
    /// A whole retrieved text.
    Retrieved {
        /// Its sequence number.
        seq: u64,
    },
    /// Fewer new tokens than asked for.
    NewTokens {
        /// Tokens left out.
        tokens: usize,
    },
}

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Prompt { tokens } => write!(f, "the prompt lost its first {tokens} tokens"),
            Self::Response { tokens } => write!(f, "the response lost its last {tokens} tokens"),
            Self::Retrieved { seq } => write!(f, "retrieved text {seq} did not fit"),
            Self::NewTokens { tokens } => write!(f, "{tokens} fewer new tokens than asked for"),
        }
    }
}

/// A prompt and its response, ready to be scored or learned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// Context and response.
    pub sequence: Sequence,
    /// UTF-8 bytes of the response's text, as far as it was kept.
    pub response_bytes: usize,
    /// What did not fit.
    pub cuts: Vec<Cut>,
}

/// Encodes a prompt and its response in at most `max_tokens` tokens (and never more than the context).
///
/// What is too long loses the end of its response and the beginning of its prompt; the prompt keeps half, or what the
/// response leaves free.
///
/// # Errors
///
/// If the tokenizer refuses a text.
pub fn encode_pair(
    model: &dyn LanguageModel,
    prompt: &str,
    response: &str,
    max_tokens: usize,
) -> Result<Encoded> {
    let info = model.info();
    let max_tokens = max_tokens.min(info.context);
    let bos = info.bos.is_some() as usize;
    let mut cuts = Vec::new();
    let (mut prompt_ids, mut response_ids) = (encode_prompt(model, prompt)?, model.encode(response)?);
    response_ids.extend(info.eos.first());
    let mut response_bytes = response.len();

    let room = max_tokens.saturating_sub(bos);
    let kept_prompt = prompt_ids.len().min((room / 2).max(room.saturating_sub(response_ids.len())));
    let kept_response = response_ids.len().min(room - kept_prompt);
    if kept_prompt < prompt_ids.len() {
        let tokens = prompt_ids.len() - kept_prompt;
        prompt_ids.drain(..tokens);
        cuts.push(Cut::Prompt { tokens });
    }
    if kept_response < response_ids.len() {
        cuts.push(Cut::Response { tokens: response_ids.len() - kept_response });
        response_ids.truncate(kept_response);
        response_bytes = model.decode_text(&response_ids)?.len();
    }
    let context = info.bos.into_iter().chain(prompt_ids).collect();
    Ok(Encoded { sequence: Sequence { context, response: response_ids }, response_bytes, cuts })
}

/// A text that the gate let through.
#[derive(Debug, Clone, Copy)]
pub struct RetrievedPair<'a> {
    /// Its sequence number.
    pub seq: u64,
    /// Its place in time: (time, sequence) order.
    pub order: (jiff::Timestamp, u64),
    /// Its prompt.
    pub prompt: &'a str,
    /// Its response.
    pub response: &'a str,
}

/// The contexts of the one or two branches of a generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contexts {
    /// Without retrieved texts.
    pub plain: Vec<u32>,
    /// With them; `None` if none was given or none fits.
    pub retrieval: Option<Vec<u32>>,
    /// The retrieved texts that fit, by sequence number.
    pub used: Vec<u64>,
    /// Tokens that may follow.
    pub new_tokens: usize,
    /// What did not fit.
    pub cuts: Vec<Cut>,
}

/// Lays out a prompt and retrieved texts (best first), leaving room for `new_tokens`.
///
/// Without a number the smaller of 600 and a third of the context is left. A prompt that does not fit beside them
/// loses its beginning; then retrieved texts are put in whole, and the lowest in rank is dropped first.
///
/// # Errors
///
/// If the tokenizer refuses a text.
pub fn contexts(
    model: &dyn LanguageModel,
    prompt: &str,
    retrieved: &[RetrievedPair<'_>],
    new_tokens: Option<usize>,
) -> Result<Contexts> {
    let info = model.info();
    let bos: Vec<u32> = info.bos.into_iter().collect();
    let mut cuts = Vec::new();
    let wanted = new_tokens.unwrap_or(MOST_NEW_TOKENS.min(info.context / 3)).max(1);
    // At least one token of the prompt stays, so that there is something to continue.
    let new_tokens = wanted.min(info.context.saturating_sub(bos.len() + 1));
    if new_tokens < wanted {
        cuts.push(Cut::NewTokens { tokens: wanted - new_tokens });
    }
    let room = info.context.saturating_sub(new_tokens + bos.len());
    let mut prompt_ids = encode_prompt(model, prompt)?;
    if prompt_ids.len() > room {
        let tokens = prompt_ids.len() - room;
        prompt_ids.drain(..tokens);
        cuts.push(Cut::Prompt { tokens });
    }
    let mut items = Vec::new();
    for pair in retrieved {
        let mut ids = encode_prompt(model, pair.prompt)?;
        ids.extend(model.encode(pair.response)?);
        ids.extend(info.eos.first());
        items.push((pair, ids));
    }
    let length =
        |items: &[(&RetrievedPair<'_>, Vec<u32>)]| items.iter().map(|(_, ids)| ids.len()).sum::<usize>();
    while length(&items) + prompt_ids.len() > room {
        let Some((pair, _)) = items.pop() else { break };
        cuts.push(Cut::Retrieved { seq: pair.seq });
    }
    let used = items.iter().map(|(pair, _)| pair.seq).collect();
    items.sort_by_key(|(pair, _)| pair.order);
    let plain = bos.iter().chain(&prompt_ids).copied().collect();
    let retrieval = (!items.is_empty()).then(|| {
        let texts = items.iter().flat_map(|(_, ids)| ids);
        bos.iter().chain(texts).chain(&prompt_ids).copied().collect()
    });
    Ok(Contexts { plain, retrieval, used, new_tokens, cuts })
}

fn encode_prompt(model: &dyn LanguageModel, prompt: &str) -> Result<Vec<u32>> {
    Ok(model.encode(&format!("{prompt}{SEPARATOR}"))?)
}
