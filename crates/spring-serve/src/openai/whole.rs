//! An answer as one object.

use axum::response::Response;

use super::{
    answering::{Following, Happened},
    shapes::{Choice, Envelope, Wanted},
};
use crate::{AnswerToken, FinishReason, Target, error::ApiResult, guard::typed};

/// A choice that is being written.
#[derive(Default)]
struct Written {
    text: String,
    tokens: Vec<AnswerToken>,
    reason: Option<FinishReason>,
}

/// Waits for the whole answer. If the client goes, this is dropped, and the answer with it.
pub(crate) async fn response(
    envelope: &Envelope,
    target: &Target,
    wanted: Wanted,
    echo: &[String],
    mut following: Following,
) -> ApiResult<Response> {
    let mut choices: Vec<Written> = Vec::new();
    choices.resize_with(following.choices(), Written::default);
    let detail = loop {
        match following.next().await {
            Happened::Delta { choice, text, tokens } => {
                choices[choice].text.push_str(&text);
                choices[choice].tokens.extend(tokens);
            }
            Happened::Finished { choice, reason } => choices[choice].reason = Some(reason),
            Happened::Done { detail } => break detail,
            Happened::Failed(error) => return Err(error),
        }
    };
    let each = choices.len() / echo.len().max(1);
    let mut offsets = vec![0; choices.len()];
    for (index, (choice, offset)) in choices.iter_mut().zip(&mut offsets).enumerate() {
        if let Some(prompt) = echo.get(index / each.max(1)) {
            choice.text.insert_str(0, prompt);
            *offset = prompt.chars().count();
        }
    }
    let shapes: Vec<Choice<'_>> = choices
        .iter()
        .zip(&mut offsets)
        .enumerate()
        .map(|(index, (choice, offset))| {
            let (text, tokens) = (choice.text.as_str(), choice.tokens.as_slice());
            let reason = choice.reason;
            Choice::whole(envelope.kind, index, text, tokens, wanted, offset, reason)
        })
        .collect();
    let detail = detail.map(|detail| envelope.detail(target, &detail));
    let body = envelope.whole(&shapes, following.usage(), detail.as_ref());
    Ok(typed("application/json", body))
}
