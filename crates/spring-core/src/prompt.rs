//! From texts to token sequences: the layout of prompt, response and retrieved texts, and what is
//! cut when they do not fit.
//!
//! With a chat template, retrieved texts are earlier turns of the conversation. The layout of a
//! base without one: `bos`, every retrieved text as `prompt ⏎⏎ response eos` from the oldest to the
//! newest, then `prompt ⏎⏎`, then the response and `eos`. Prompt and response are tokenised
//! separately, so that the response's tokens do not depend on what stands before it.

use spring_lm::{Message, Role, Sequence};
use spring_memory::Interaction;

pub use spring_store::record::Cut;

use crate::{LanguageModel, ModelInfo, Result, StoredInteraction};

/// Between a prompt and its response.
const SEPARATOR: &str = "\n\n";
/// New tokens are reserved up to this number, and never more than a third of the context.
const MOST_NEW_TOKENS: usize = 600;

/// The most new tokens of a model's answer where nobody says how many: the smaller of 600 and a
/// third of its context.
pub fn most_new_tokens(context: usize) -> usize {
    MOST_NEW_TOKENS.min(context / 3).max(1)
}

/// A prompt and its response, ready to be scored or learned.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Encoded {
    /// Context and response.
    pub sequence: Sequence,
    /// UTF-8 bytes of the response's text, as far as it was kept.
    pub response_bytes: usize,
    /// What did not fit.
    pub cuts: Vec<Cut>,
}

impl Encoded {
    /// Tokens that the prompt lost at its beginning.
    pub fn lost_of_prompt(&self) -> usize {
        let lost =
            self.cuts.iter().map(|cut| if let Cut::Prompt { tokens } = cut { *tokens } else { 0 });
        lost.sum()
    }
}

/// Encodes a prompt and its response in at most `max_tokens` tokens (and never more than the
/// context).
///
/// What is too long loses the end of its response and the beginning of its prompt; the prompt keeps
/// half, or what the response leaves free.
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
    let begin = begin(info).len();
    let mut cuts = Vec::new();
    let mut response_ids = model.encode(response)?;
    response_ids.extend(info.eos.first());
    let mut response_bytes = response.len();

    let room = max_tokens.saturating_sub(begin);
    let most = begin + (room / 2).max(room.saturating_sub(response_ids.len()));
    let (context, tokens) = context(model, Before::default(), prompt, 0, most)?;
    if tokens > 0 {
        cuts.push(Cut::Prompt { tokens });
    }
    let kept_response = response_ids.len().min(max_tokens.saturating_sub(context.len()));
    if kept_response < response_ids.len() {
        cuts.push(Cut::Response { tokens: response_ids.len() - kept_response });
        response_ids.truncate(kept_response);
        response_bytes = model.decode_text(&response_ids)?.len();
    }
    Ok(Encoded { sequence: Sequence { context, response: response_ids }, response_bytes, cuts })
}

/// A text that the gate let through.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
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

impl<'a> RetrievedPair<'a> {
    /// A text by its sequence number, with the time that it is ordered by.
    pub fn new(seq: u64, time: jiff::Timestamp, prompt: &'a str, response: &'a str) -> Self {
        Self { seq, order: (time, seq), prompt, response }
    }

    /// A stored text as it is read along.
    pub fn of(text: &'a StoredInteraction) -> Self {
        let Interaction { time, prompt, response, .. } = &text.interaction;
        Self::new(text.seq, *time, prompt, response)
    }
}

/// An earlier turn of the conversation that a prompt goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// What was said.
    pub prompt: String,
    /// What was answered.
    pub response: String,
}

/// What was said before a prompt.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct Earlier<'a> {
    /// Instructions that stand above everything. Where the model's template knows none, they begin
    /// the first thing that the person says.
    pub system: Option<&'a str>,
    /// The conversation so far.
    pub turns: &'a [Turn],
}

impl<'a> Earlier<'a> {
    /// Instructions, if there are any, and the conversation.
    pub fn new(system: Option<&'a str>, turns: &'a [Turn]) -> Self {
        Self { system, turns }
    }
}

impl<'a> From<&'a [Turn]> for Earlier<'a> {
    fn from(turns: &'a [Turn]) -> Self {
        Self::new(None, turns)
    }
}

/// A prompt and its response, before the prompt that is answered.
type Pair<'a> = (&'a str, &'a str);

/// The contexts of the one or two branches of a generation.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
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
/// Without a number the smaller of 600 and a third of the context is left. A prompt that does not
/// fit beside them loses its beginning; then retrieved texts are put in whole, and the lowest in
/// rank is dropped first.
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
    contexts_of_rest(model, prompt, 0, retrieved, new_tokens)
}

/// The same of a prompt that has lost its first `lost` tokens already, as [`encode_pair`] cuts: a
/// response that is scored with and without retrieved texts then stands behind the same part of its
/// prompt.
///
/// # Errors
///
/// If the tokenizer refuses a text.
pub fn contexts_of_rest(
    model: &dyn LanguageModel,
    prompt: &str,
    lost: usize,
    retrieved: &[RetrievedPair<'_>],
    new_tokens: Option<usize>,
) -> Result<Contexts> {
    contexts_after(model, Earlier::default(), prompt, lost, retrieved, new_tokens)
}

/// The same of a prompt that goes on a conversation, whose turns stand between the retrieved texts
/// and the prompt in both branches. Where they do not fit beside the prompt, the oldest are left
/// out; instructions always stay.
///
/// # Errors
///
/// If the tokenizer refuses a text.
pub fn contexts_after(
    model: &dyn LanguageModel,
    earlier: Earlier<'_>,
    prompt: &str,
    lost: usize,
    retrieved: &[RetrievedPair<'_>],
    new_tokens: Option<usize>,
) -> Result<Contexts> {
    let info = model.info();
    let mut cuts = Vec::new();
    let wanted = new_tokens.unwrap_or_else(|| most_new_tokens(info.context)).max(1);
    // At least one token of the prompt stays, so that there is something to continue.
    let mut new_tokens = wanted.min(info.context.saturating_sub(begin(info).len() + 1));
    let mut room = info.context.saturating_sub(new_tokens);
    let Earlier { system, turns } = earlier;
    let mut turns = pairs(turns);
    let said = turns.len();
    let context = |earlier: &[Pair<'_>], lost, most| {
        context(model, Before { system, earlier }, prompt, lost, most)
    };
    let (mut plain, mut tokens) = context(&turns, lost, room)?;
    while !turns.is_empty() && (plain.len() > room || tokens > lost) {
        turns.remove(0);
        (plain, tokens) = context(&turns, lost, room)?;
    }
    if turns.len() < said {
        cuts.push(Cut::Turns { turns: said - turns.len() });
    }
    if plain.len() > room {
        // A template's own tokens are never cut: the answer has what they and a token leave.
        room = plain.len() + 1;
        (plain, tokens) = context(&turns, lost, room)?;
        new_tokens = info.context.saturating_sub(room);
    }
    if new_tokens < wanted {
        cuts.push(Cut::NewTokens { tokens: wanted - new_tokens });
    }
    if tokens > 0 {
        cuts.push(Cut::Prompt { tokens });
    }
    let mut items: Vec<&RetrievedPair<'_>> = retrieved.iter().collect();
    let mut retrieval = None;
    while let Some(last) = items.last() {
        let mut earlier = items.clone();
        earlier.sort_by_key(|pair| pair.order);
        let earlier = earlier.iter().map(|pair| (pair.prompt, pair.response));
        let earlier: Vec<Pair<'_>> = earlier.chain(turns.iter().copied()).collect();
        let (ids, _) = context(&earlier, lost, usize::MAX)?;
        if ids.len() <= room {
            retrieval = Some(ids);
            break;
        }
        cuts.push(Cut::Retrieved { seq: last.seq });
        items.pop();
    }
    let used = items.iter().map(|pair| pair.seq).collect();
    Ok(Contexts { plain, retrieval, used, new_tokens, cuts })
}

/// A prompt behind what was said before, in whole: the context of the branch without retrieved
/// texts, whether or not the model has room for it.
///
/// # Errors
///
/// If the tokenizer refuses a text.
pub fn whole_context(
    model: &dyn LanguageModel,
    earlier: Earlier<'_>,
    prompt: &str,
) -> Result<Vec<u32>> {
    let pairs = pairs(earlier.turns);
    let before = Before { system: earlier.system, earlier: &pairs };
    Ok(context(model, before, prompt, 0, usize::MAX)?.0)
}

fn pairs(turns: &[Turn]) -> Vec<Pair<'_>> {
    turns.iter().map(|turn| (turn.prompt.as_str(), turn.response.as_str())).collect()
}

/// What stands before every context of a model without chat template.
fn begin(info: &ModelInfo) -> Vec<u32> {
    if info.chat { vec![] } else { info.bos.into_iter().collect() }
}

/// What stands before a prompt in a context.
#[derive(Debug, Clone, Copy, Default)]
struct Before<'a> {
    system: Option<&'a str>,
    earlier: &'a [Pair<'a>],
}

/// The ids of a prompt behind earlier texts, and how many tokens its beginning lost: `lost`, or
/// more so that it fits into `most`.
fn context(
    model: &dyn LanguageModel,
    before: Before<'_>,
    prompt: &str,
    lost: usize,
    most: usize,
) -> Result<(Vec<u32>, usize)> {
    let info = model.info();
    if info.chat {
        return chat_context(model, before, prompt, lost, most);
    }
    let mut ids = begin(info);
    if let Some(system) = before.system {
        ids.extend(encode_prompt(model, system)?);
    }
    for (prompt, response) in before.earlier {
        ids.extend(encode_prompt(model, prompt)?);
        ids.extend(model.encode(response)?);
        ids.extend(info.eos.first());
    }
    let prompt_ids = encode_prompt(model, prompt)?;
    let lost = (ids.len() + prompt_ids.len()).saturating_sub(most).max(lost).min(prompt_ids.len());
    ids.extend(&prompt_ids[lost..]);
    Ok((ids, lost))
}

/// The same under a chat template, whose own tokens are never cut.
fn chat_context(
    model: &dyn LanguageModel,
    before: Before<'_>,
    prompt: &str,
    lost: usize,
    most: usize,
) -> Result<(Vec<u32>, usize)> {
    let prompt_ids = model.encode(prompt)?;
    let mut lost = lost.min(prompt_ids.len());
    let mut ids = match lost {
        0 => render(model, before, prompt)?,
        _ => render(model, before, &model.decode_text(&prompt_ids[lost..])?)?,
    };
    // Text cut out of a prompt may become more tokens than it had, so once may not be enough.
    while ids.len() > most && lost < prompt_ids.len() {
        lost = (lost + ids.len() - most).min(prompt_ids.len());
        ids = render(model, before, &model.decode_text(&prompt_ids[lost..])?)?;
    }
    Ok((ids, lost))
}

/// A conversation under the model's chat template.
fn render(model: &dyn LanguageModel, before: Before<'_>, prompt: &str) -> Result<Vec<u32>> {
    let Before { system, earlier } = before;
    let user = |content| Message { role: Role::User, content };
    let turns = earlier.iter().flat_map(|(prompt, response)| {
        [user(prompt), Message { role: Role::Assistant, content: response }]
    });
    let turns: Vec<Message<'_>> = turns.chain([user(prompt)]).collect();
    let Some(system) = system else { return Ok(model.encode_chat(&turns)?) };
    let above = [Message { role: Role::System, content: system }];
    let messages: Vec<Message<'_>> = above.into_iter().chain(turns.iter().copied()).collect();
    let refused = match model.encode_chat(&messages) {
        Ok(ids) => return Ok(ids),
        Err(refused) => refused,
    };
    // Some templates know no instructions and refuse them.
    let mut turns = turns;
    let Some(first) = turns.first_mut() else { return Err(refused.into()) };
    let merged = format!("{system}{SEPARATOR}{}", first.content);
    first.content = &merged;
    model.encode_chat(&turns).map_err(|_| refused.into())
}

fn encode_prompt(model: &dyn LanguageModel, prompt: &str) -> Result<Vec<u32>> {
    Ok(model.encode(&format!("{prompt}{SEPARATOR}"))?)
}
