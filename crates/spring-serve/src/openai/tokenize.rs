//! `POST /tokenize` and `POST /detokenize`, with vLLM's names.

use axum::{
    body::Body,
    extract::{Extension, State},
    http::HeaderMap,
    response::Response,
};
use serde_json::{Value, json};

use super::{chat::turns, completions::prompts, shapes::token_name};
use crate::{
    Prompt,
    app::Shared,
    body,
    error::{ApiError, ApiResult},
    fields::Fields,
    guard::{Caller, typed},
    naming::{Named, target},
    workers::Lane,
};

pub(crate) async fn post(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> ApiResult<Response> {
    let mut fields = Fields::of(body::read(body, &app).await?)?;
    let named = Named::model(fields.text("model")?);
    // `content` is llama.cpp's name for it.
    let text = fields.text("prompt")?.or(fields.text("content")?);
    let prompt = match (text, fields.take("messages")) {
        (Some(text), None) => Prompt::Text(text),
        (None, Some(messages)) => Prompt::Chat(turns(Some(messages))?),
        _ => return Err(ApiError::invalid("prompt", "give prompt, a text, or messages")),
    };
    let special = fields.boolean("add_special_tokens")?.unwrap_or(true);
    let texts = fields.boolean("return_token_strs")?.unwrap_or(false);
    app.warn_of(&fields.rest());
    let models = app.service.models();
    let model = target(&caller, &headers, &named, &models)?.model().to_owned();
    let context = models.iter().find(|of| of.id == model).map(|of| of.context);
    let call = move |service: &dyn crate::Service| service.tokenize(&model, prompt, special);
    let tokens = app.call(Lane::Short, call).await?;
    let mut answer = json!({
        "count": tokens.ids.len(),
        "max_model_len": context,
        "tokens": tokens.ids,
    });
    if texts {
        let texts = tokens.bytes.iter().map(|bytes| json!(token_name(bytes)));
        answer["token_strs"] = texts.collect::<Value>();
    }
    Ok(typed("application/json", answer.to_string()))
}

pub(crate) async fn detokenize(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> ApiResult<Response> {
    let mut fields = Fields::of(body::read(body, &app).await?)?;
    let named = Named::model(fields.text("model")?);
    let tokens = match fields.take("tokens") {
        Some(Value::Array(items)) if items.is_empty() => Vec::new(),
        given => match prompts("tokens", given, 0)?.pop() {
            Some(Prompt::Tokens(tokens)) => tokens,
            _ => return Err(ApiError::invalid("tokens", "tokens must be a list of token ids")),
        },
    };
    app.warn_of(&fields.rest());
    let model = target(&caller, &headers, &named, &app.service.models())?.model().to_owned();
    let call = move |service: &dyn crate::Service| service.detokenize(&model, &tokens);
    let text = app.call(Lane::Short, call).await?;
    Ok(typed("application/json", json!({"prompt": text}).to_string()))
}
