//! `POST /v1/embeddings`

use axum::{
    body::Body,
    extract::{Extension, State},
    http::HeaderMap,
    response::Response,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::completions::prompts;
use crate::{
    EmbeddingRequest, Prompt,
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
    let limits = &app.config.limits;
    let mut fields = Fields::of(body::read(body, &app).await?)?;
    let inputs = prompts("input", fields.take("input"), limits.inputs)?;
    let blank = |input: &Prompt| matches!(input, Prompt::Text(text) if text.is_empty());
    if inputs.iter().any(blank) {
        return Err(ApiError::invalid("input", "a text of input is empty"));
    }
    let named = Named {
        model: fields.text("model")?,
        safety_identifier: fields.text("safety_identifier")?,
        user: fields.text("user")?,
        base: false,
    };
    let base64 = match fields.text("encoding_format")?.as_deref() {
        None | Some("float") => false,
        Some("base64") => true,
        Some(_) => {
            let message = "encoding_format may be float or base64";
            return Err(ApiError::invalid("encoding_format", message));
        }
    };
    let dimensions = fields.integer("dimensions", 1..=i64::from(u32::MAX))?;
    app.warn_of(&fields.rest());
    let models = app.service.models();
    let target = target(&caller, &headers, &named, &models)?;
    let model = models.iter().find(|model| model.id == target.model());
    let Some(length) = model.and_then(|model| model.embedding) else {
        return Err(ApiError::unsupported("model", "this model gives no embeddings"));
    };
    if dimensions.is_some_and(|dimensions| dimensions != i64::from(length)) {
        let message = format!("embeddings of this model have {length} dimensions, no others");
        return Err(ApiError::unsupported("dimensions", message));
    }
    let model = target.model().to_owned();
    let request = EmbeddingRequest { key: caller.key, model: model.clone(), inputs };
    let embeddings = app.call(Lane::Long, move |service| service.embed(request)).await?;
    app.metrics.tokens(&model, embeddings.prompt_tokens.into(), 0);
    let data = embeddings.vectors.iter().enumerate().map(|(index, vector)| {
        let embedding = if base64 { encoded(vector) } else { json!(vector) };
        json!({"object": "embedding", "index": index, "embedding": embedding})
    });
    let tokens = embeddings.prompt_tokens;
    let answer = json!({
        "object": "list",
        "data": data.collect::<Vec<_>>(),
        "model": model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    });
    Ok(typed("application/json", answer.to_string()))
}

/// The numbers as little-endian bytes in base64, which openai-python asks for unless it is told
/// otherwise.
fn encoded(vector: &[f32]) -> Value {
    let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
    Value::String(STANDARD.encode(bytes))
}
