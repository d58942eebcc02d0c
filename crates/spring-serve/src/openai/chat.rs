//! `POST /v1/chat/completions`

use axum::{
    body::Body,
    extract::{Extension, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use serde_json::Value;

use super::{
    answering::admit,
    parameters::Parameters,
    shapes::{Kind, Wanted},
};
use crate::{
    ChatTurn, Prompt, Role,
    app::{Shared, new_id},
    body,
    error::{ApiError, ApiResult},
    fields::Fields,
    guard::{Caller, RequestId},
};

/// The most turns of a conversation.
const MOST_TURNS: usize = 4096;

pub(crate) async fn post(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    Extension(request_id): Extension<RequestId>,
    headers: HeaderMap,
    body: Body,
) -> ApiResult<Response> {
    let mut fields = Fields::of(body::read(body, &app).await?)?;
    let turns = turns(fields.take("messages"))?;
    let parameters = Parameters::take(&mut fields, &app.config.limits)?;
    let logprobs = logprobs(&mut fields)?;
    let ignored = fields.rest();
    let target = parameters.target(&app, &caller, &headers)?;
    let id = new_id("chatcmpl-")?;
    let prompts = vec![Prompt::Chat(turns)];
    let admitted = admit(&app, &caller, target, &parameters, prompts, logprobs, &id).await?;
    let wanted = Wanted { logprobs: logprobs.is_some(), trace: parameters.trace };
    let asked = super::Asked { kind: Kind::Chat, id, wanted, echo: Vec::new(), ignored };
    super::answer(&app, &parameters, asked, admitted, request_id.0).await
}

fn logprobs(fields: &mut Fields) -> ApiResult<Option<u32>> {
    let wanted = fields.boolean("logprobs")?.unwrap_or(false);
    match fields.integer("top_logprobs", 0..=20)? {
        Some(_) if !wanted => {
            Err(ApiError::invalid("top_logprobs", "top_logprobs need logprobs: true"))
        }
        top => Ok(wanted.then(|| top.and_then(|top| u32::try_from(top).ok()).unwrap_or(0))),
    }
}

/// The turns of `messages`.
pub(crate) fn turns(messages: Option<Value>) -> ApiResult<Vec<ChatTurn>> {
    let missing = "messages is missing: give a list with one turn at least";
    let messages = match messages {
        Some(Value::Array(messages)) if !messages.is_empty() => messages,
        Some(Value::Array(_)) | None => return Err(ApiError::invalid("messages", missing)),
        Some(_) => {
            let message = "messages is not a list";
            return Err(
                ApiError::new(StatusCode::BAD_REQUEST, "invalid_type", message).of("messages")
            );
        }
    };
    if messages.len() > MOST_TURNS {
        let message = format!("messages has {} turns: the limit is {MOST_TURNS}", messages.len());
        return Err(ApiError::invalid("messages", message));
    }
    messages.into_iter().enumerate().map(|(index, message)| turn(index, message)).collect()
}

fn turn(index: usize, message: Value) -> ApiResult<ChatTurn> {
    let param = |name: &str| format!("messages[{index}].{name}");
    let Value::Object(message) = message else {
        let param = format!("messages[{index}]");
        return Err(ApiError::invalid(&param, format!("{param} is not an object")));
    };
    let mut message = Fields::within(message, "");
    let role = match message.take("role") {
        Some(Value::String(role)) => role,
        _ => {
            let param = param("role");
            return Err(ApiError::invalid(&param, format!("{param} is missing or not a text")));
        }
    };
    let role = match role.as_str() {
        "system" | "developer" => Role::System,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "tool" | "function" => {
            let message = "tools are not supported: leave out what they answered";
            return Err(ApiError::unsupported(&param("role"), message));
        }
        _ => {
            let message = format!(
                "{} is unknown: there are system, developer, user and assistant",
                param("role")
            );
            return Err(ApiError::invalid(&param("role"), message));
        }
    };
    for name in ["tool_calls", "function_call", "audio"] {
        let why = "tools and audio are not supported: leave out their calls";
        message.refuse(name, why).map_err(|error| error.of(&param(name)))?;
    }
    let text = match message.take("content") {
        Some(Value::String(text)) => text,
        Some(Value::Array(parts)) => {
            let mut text = String::new();
            for part in parts {
                text.push_str(&part_text(part, &param("content"))?);
            }
            text
        }
        // An assistant that called a tool said nothing; nothing else may.
        None if role == Role::Assistant => String::new(),
        None => {
            let param = param("content");
            return Err(ApiError::invalid(&param, format!("{param} is missing")));
        }
        Some(_) => {
            let param = param("content");
            let message = format!("{param} is neither a text nor a list of parts");
            return Err(ApiError::invalid(&param, message));
        }
    };
    Ok(ChatTurn { role, text })
}

fn part_text(part: Value, param: &str) -> ApiResult<String> {
    let kind = part.get("type").and_then(Value::as_str).unwrap_or("");
    if !matches!(kind, "text" | "input_text" | "output_text") {
        let message = "parts other than texts are not supported: leave them out";
        return Err(ApiError::unsupported(param, message));
    }
    match part.get("text") {
        Some(Value::String(text)) => Ok(text.clone()),
        _ => Err(ApiError::invalid(param, format!("a part of {param} has no text"))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn texts_in_parts_are_joined() {
        let messages = json!([
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "name": "ada", "content": [
                {"type": "text", "text": "a "}, {"type": "text", "text": "b"}]},
            {"role": "assistant", "content": null},
        ]);
        let turns = turns(Some(messages)).unwrap();
        let texts: Vec<&str> = turns.iter().map(|turn| turn.text.as_str()).collect();
        assert_eq!(texts, ["Be brief.", "a b", ""]);
        assert_eq!(turns[0].role, Role::System);
    }

    #[test]
    fn what_is_not_a_text_is_refused_by_name() {
        for (message, code, param) in [
            (json!({"role": "tool", "content": "x"}), "unsupported_parameter", "messages[0].role"),
            (json!({"role": "bard", "content": "x"}), "invalid_value", "messages[0].role"),
            (json!({"content": "x"}), "invalid_value", "messages[0].role"),
            (json!({"role": "user"}), "invalid_value", "messages[0].content"),
            (json!({"role": "user", "content": 1}), "invalid_value", "messages[0].content"),
            (
                json!({"role": "user", "content": [{"type": "image_url", "image_url": {}}]}),
                "unsupported_parameter",
                "messages[0].content",
            ),
            (
                json!({"role": "assistant", "content": "", "tool_calls": [{"id": "1"}]}),
                "unsupported_parameter",
                "messages[0].tool_calls",
            ),
            (json!("hello"), "invalid_value", "messages[0]"),
        ] {
            let error = turns(Some(json!([message]))).unwrap_err();
            assert_eq!((error.code, error.param.as_deref()), (code, Some(param)), "{message}");
        }
        assert_eq!(turns(Some(json!([]))).unwrap_err().code, "invalid_value");
        assert_eq!(turns(Some(json!("x"))).unwrap_err().code, "invalid_type");
        assert_eq!(turns(None).unwrap_err().param.as_deref(), Some("messages"));
    }
}
