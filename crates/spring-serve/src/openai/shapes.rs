//! The objects of the wire, with their keys in OpenAI's order.

use serde::Serialize;
use serde_json::{Value, json};

use crate::{AnswerDetail, AnswerToken, FinishReason, Target, TopToken, Usage};

/// What clients take for minus infinity, which JSON does not have.
const LEAST_LOGPROB: f32 = -9999.0;

/// Which of the two ways of asking for text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Chat,
    Completion,
}

/// What all pieces of one answer have in common.
#[derive(Debug, Clone)]
pub(crate) struct Envelope {
    pub kind: Kind,
    pub id: String,
    pub created: u64,
    /// The name of the model that answers.
    pub model: String,
    pub fingerprint: String,
}

#[derive(Serialize)]
struct Object<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    system_fingerprint: &'a str,
    choices: &'a [Choice<'a>],
    /// Left out, or null, or there.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<UsageShape>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    spring: Option<&'a Value>,
}

#[derive(Serialize)]
struct UsageShape {
    prompt_tokens: u32,
    completion_tokens: u32,
    total_tokens: u32,
    prompt_tokens_details: PromptDetails,
}

#[derive(Serialize)]
struct PromptDetails {
    cached_tokens: u32,
}

impl From<Usage> for UsageShape {
    fn from(usage: Usage) -> Self {
        Self {
            prompt_tokens: usage.prompt_tokens,
            completion_tokens: usage.completion_tokens,
            total_tokens: usage.prompt_tokens.saturating_add(usage.completion_tokens),
            prompt_tokens_details: PromptDetails { cached_tokens: usage.cached_tokens },
        }
    }
}

/// A choice, or a piece of one.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Choice<'a> {
    ChatPiece {
        index: usize,
        delta: Delta<'a>,
        logprobs: Option<ChatLogprobs>,
        finish_reason: Option<FinishReason>,
        #[serde(skip_serializing_if = "Option::is_none")]
        spring: Option<Value>,
    },
    Chat {
        index: usize,
        message: Message<'a>,
        logprobs: Option<ChatLogprobs>,
        finish_reason: Option<FinishReason>,
        #[serde(skip_serializing_if = "Option::is_none")]
        spring: Option<Value>,
    },
    /// A completion has one shape for both.
    Completion {
        text: &'a str,
        index: usize,
        logprobs: Option<TextLogprobs>,
        finish_reason: Option<FinishReason>,
        #[serde(skip_serializing_if = "Option::is_none")]
        spring: Option<Value>,
    },
}

/// What a piece of a chat adds.
#[derive(Default, Serialize)]
pub(crate) struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<&'a str>,
}

#[derive(Serialize)]
pub(crate) struct Message<'a> {
    role: &'static str,
    content: &'a str,
    refusal: Option<()>,
}

#[derive(Serialize)]
pub(crate) struct ChatLogprobs {
    content: Vec<ChatToken>,
    refusal: Option<()>,
}

#[derive(Serialize)]
struct ChatToken {
    token: String,
    logprob: f32,
    bytes: Vec<u8>,
    top_logprobs: Vec<ChatTop>,
}

#[derive(Serialize)]
struct ChatTop {
    token: String,
    logprob: f32,
    bytes: Vec<u8>,
}

/// Log-probabilities of a completion's text.
#[derive(Default, Serialize)]
pub(crate) struct TextLogprobs {
    tokens: Vec<String>,
    token_logprobs: Vec<f32>,
    top_logprobs: Vec<serde_json::Map<String, Value>>,
    /// Where each token begins, in characters of the text.
    text_offset: Vec<usize>,
}

/// What log-probabilities are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub logprobs: bool,
    pub trace: bool,
}

impl Wanted {
    pub const NOTHING: Self = Self { logprobs: false, trace: false };
}

impl Envelope {
    pub fn new(kind: Kind, id: String, created: u64, target: &Target, fingerprint: String) -> Self {
        Self { kind, id, created, model: target.name(), fingerprint }
    }

    /// A piece of a stream. `usage`: `None` leaves the key out.
    pub fn piece(
        &self,
        choices: &[Choice<'_>],
        usage: Option<Option<Usage>>,
        detail: Option<&Value>,
    ) -> String {
        let object = match self.kind {
            Kind::Chat => "chat.completion.chunk",
            Kind::Completion => "text_completion",
        };
        self.write(object, choices, usage, detail)
    }

    /// A whole answer.
    pub fn whole(&self, choices: &[Choice<'_>], usage: Usage, detail: Option<&Value>) -> String {
        let object = match self.kind {
            Kind::Chat => "chat.completion",
            Kind::Completion => "text_completion",
        };
        self.write(object, choices, Some(Some(usage)), detail)
    }

    fn write(
        &self,
        object: &'static str,
        choices: &[Choice<'_>],
        usage: Option<Option<Usage>>,
        detail: Option<&Value>,
    ) -> String {
        let object = Object {
            id: &self.id,
            object,
            created: self.created,
            model: &self.model,
            system_fingerprint: &self.fingerprint,
            choices,
            usage: usage.map(|usage| usage.map(UsageShape::from)),
            spring: detail,
        };
        // Texts and numbers: nothing that cannot be written.
        serde_json::to_string(&object).unwrap_or_default()
    }

    /// How an answer came about, as it stands in it.
    pub fn detail(&self, target: &Target, detail: &AnswerDetail) -> Value {
        let mut value = json!(detail);
        value["user"] = json!(target.user());
        value["response_id"] = json!(self.id);
        value
    }
}

impl<'a> Choice<'a> {
    /// The piece of a chat that says who speaks.
    pub fn opening(index: usize) -> Self {
        let delta = Delta { role: Some("assistant"), content: Some("") };
        Self::ChatPiece { index, delta, logprobs: None, finish_reason: None, spring: None }
    }

    /// A piece with text.
    pub fn text(
        kind: Kind,
        index: usize,
        text: &'a str,
        tokens: &[AnswerToken],
        wanted: Wanted,
        offset: &mut usize,
    ) -> Self {
        let spring = wanted.trace.then(|| shares(tokens));
        let (finish_reason, logprobs) = (None, wanted.logprobs);
        match kind {
            Kind::Chat => Self::ChatPiece {
                index,
                delta: Delta { role: None, content: Some(text) },
                logprobs: logprobs.then(|| ChatLogprobs::of(tokens)),
                finish_reason,
                spring,
            },
            Kind::Completion => Self::Completion {
                text,
                index,
                logprobs: logprobs.then(|| TextLogprobs::of(tokens, offset)),
                finish_reason,
                spring,
            },
        }
    }

    /// The piece that ends a choice; it adds nothing.
    pub fn end(kind: Kind, index: usize, reason: FinishReason) -> Self {
        let (finish_reason, spring) = (Some(reason), None);
        match kind {
            Kind::Chat => Self::ChatPiece {
                index,
                delta: Delta::default(),
                logprobs: None,
                finish_reason,
                spring,
            },
            Kind::Completion => {
                Self::Completion { text: "", index, logprobs: None, finish_reason, spring }
            }
        }
    }

    /// A whole choice.
    pub fn whole(
        kind: Kind,
        index: usize,
        text: &'a str,
        tokens: &[AnswerToken],
        wanted: Wanted,
        offset: &mut usize,
        reason: Option<FinishReason>,
    ) -> Self {
        let (finish_reason, spring) = (reason, wanted.trace.then(|| shares(tokens)));
        let logprobs = wanted.logprobs;
        match kind {
            Kind::Chat => Self::Chat {
                index,
                message: Message { role: "assistant", content: text, refusal: None },
                logprobs: logprobs.then(|| ChatLogprobs::of(tokens)),
                finish_reason,
                spring,
            },
            Kind::Completion => Self::Completion {
                text,
                index,
                logprobs: logprobs.then(|| TextLogprobs::of(tokens, offset)),
                finish_reason,
                spring,
            },
        }
    }
}

/// Where each token came from.
fn shares(tokens: &[AnswerToken]) -> Value {
    let tokens = tokens.iter().map(|token| {
        let text = String::from_utf8_lossy(&token.bytes);
        json!({"text": text, "bytes": token.bytes, "retrieval_share": token.retrieval_share})
    });
    json!({"tokens": tokens.collect::<Vec<_>>()})
}

fn finite(logprob: f32) -> f32 {
    // NaN, too, is not above it.
    if logprob > LEAST_LOGPROB { logprob } else { LEAST_LOGPROB }
}

impl ChatLogprobs {
    fn of(tokens: &[AnswerToken]) -> Self {
        let top = |top: &TopToken| ChatTop {
            token: token_name(&top.bytes),
            logprob: finite(top.logprob),
            bytes: top.bytes.clone(),
        };
        let content = tokens.iter().map(|token| ChatToken {
            token: token_name(&token.bytes),
            logprob: finite(token.logprob),
            bytes: token.bytes.clone(),
            top_logprobs: token.top.iter().map(top).collect(),
        });
        Self { content: content.collect(), refusal: None }
    }
}

impl TextLogprobs {
    /// `offset`: characters before these tokens, and then after them.
    fn of(tokens: &[AnswerToken], offset: &mut usize) -> Self {
        let mut logprobs = Self::default();
        for token in tokens {
            logprobs.tokens.push(token_name(&token.bytes));
            logprobs.token_logprobs.push(finite(token.logprob));
            let mut likely = serde_json::Map::new();
            for top in &token.top {
                // Of two tokens that are spelled alike the likelier one, which comes first.
                likely.entry(token_name(&top.bytes)).or_insert(json!(finite(top.logprob)));
            }
            logprobs.top_logprobs.push(likely);
            logprobs.text_offset.push(*offset);
            // A character counts where it begins.
            *offset += token.bytes.iter().filter(|byte| **byte & 0xc0 != 0x80).count();
        }
        logprobs
    }
}

/// A token's name: its text or, for a part of a character, its bytes, so that two of them differ.
pub(crate) fn token_name(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => {
            let bytes = bytes.iter().map(|byte| format!("\\x{byte:02x}"));
            format!("bytes:{}", bytes.collect::<String>())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_characters_are_told_apart_and_of_equal_names_the_likelier_stays() {
        let top = |bytes: &[u8], logprob| TopToken { bytes: bytes.into(), logprob };
        let token = AnswerToken {
            id: 1,
            bytes: vec![0xe6],
            logprob: -1.0,
            top: vec![top(&[0xe6], -1.0), top(&[0xe7], -2.0), top(b"a", -3.0), top(b"a", -4.0)],
            retrieval_share: None,
        };
        let mut offset = 0;
        let text = TextLogprobs::of(std::slice::from_ref(&token), &mut offset);
        assert_eq!(text.tokens, ["bytes:\\xe6"]);
        let expected = json!({"bytes:\\xe6": -1.0, "bytes:\\xe7": -2.0, "a": -3.0});
        assert_eq!(Value::from(text.top_logprobs[0].clone()), expected);
        let chat = json!(ChatLogprobs::of(&[token]));
        assert_eq!(chat["content"][0]["token"], "bytes:\\xe6");
        assert_eq!(chat["content"][0]["bytes"], json!([0xe6]));
    }
}
