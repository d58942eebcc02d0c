//! `/v1/users/{user}/interactions` and `/v1/users/{user}/search`

use axum::{body::Body, extract::State, http::HeaderMap, response::Response};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{List, OfUser, Parameters, json};
use crate::{
    NewInteraction,
    app::Shared,
    body,
    error::{ApiError, ApiResult},
    workers::Lane,
};

/// The most texts of one request.
const MOST: usize = 10_000;

/// Keeps one text, a list of them, or `{"interactions": […]}`. With an id of their own, or under an
/// Idempotency-Key, they can be sent again.
pub(crate) async fn add(
    State(app): State<Shared>,
    of: OfUser,
    headers: HeaderMap,
    body: Body,
) -> ApiResult<Response> {
    let body = body::read(body, &app).await?;
    let mut texts = texts(&body)?;
    if let Some(key) = headers.get("idempotency-key") {
        for (index, text) in texts.iter_mut().enumerate() {
            text.id.get_or_insert_with(|| id_of(&of.user, key.as_bytes(), index));
        }
    }
    let added = app.call(Lane::Short, move |service| {
        service.create_user(&of.user)?;
        service.add_interactions(&of.user, texts)
    });
    json(&added.await?)
}

/// The id of a text without one: equal for the same key and place, and nobody else's.
fn id_of(user: &str, key: &[u8], index: usize) -> String {
    let mut hash = Sha256::new();
    hash.update((user.len() as u64).to_le_bytes());
    hash.update(user);
    hash.update(key);
    let digest = hash.finalize();
    let digest: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("key-{digest}-{index}")
}

fn texts(body: &[u8]) -> ApiResult<Vec<NewInteraction>> {
    let bad = |error: &serde_json::Error| {
        let message = format!("the body is not JSON: {error}");
        ApiError::new(axum::http::StatusCode::BAD_REQUEST, "invalid_json", message)
    };
    let value: Value = serde_json::from_slice(body).map_err(|error| bad(&error))?;
    let items = match value {
        Value::Array(items) => items,
        Value::Object(mut fields) if fields.contains_key("interactions") => {
            let items = fields.remove("interactions");
            match (items, fields.keys().next()) {
                (Some(Value::Array(items)), None) => items,
                (_, Some(name)) => {
                    let message = "there is no such field beside interactions";
                    return Err(ApiError::invalid(name, message));
                }
                _ => {
                    return Err(ApiError::invalid("interactions", "interactions is not a list"));
                }
            }
        }
        other => vec![other],
    };
    if items.is_empty() || items.len() > MOST {
        let message = format!("give 1 to {MOST} interactions; there are {}", items.len());
        return Err(ApiError::invalid("interactions", message));
    }
    let read = items.into_iter().enumerate().map(|(index, item)| {
        let text: NewInteraction = serde_json::from_value(item).map_err(|error| {
            let param = format!("interactions[{index}]");
            ApiError::invalid(&param, format!("{param}: {error}"))
        })?;
        if text.response.is_empty() {
            let param = format!("interactions[{index}].response");
            return Err(ApiError::invalid(&param, format!("{param} is empty")));
        }
        Ok(text)
    });
    read.collect()
}

pub(crate) async fn list(
    State(app): State<Shared>,
    of: OfUser,
    mut parameters: Parameters,
) -> ApiResult<Response> {
    let page = parameters.page()?;
    let call = move |service: &dyn crate::Service| service.interactions(&of.user, &page);
    json(&List::of(app.call(Lane::Short, call).await?))
}

pub(crate) async fn one(State(app): State<Shared>, of: OfUser) -> ApiResult<Response> {
    json(&app.call(Lane::Short, move |service| service.interaction(&of.user, &of.id)).await?)
}

pub(crate) async fn delete(State(app): State<Shared>, of: OfUser) -> ApiResult<Response> {
    let (user, id) = (of.user.clone(), of.id.clone());
    let receipt = app.call(Lane::Long, move |service| service.delete_interaction(&user, &id)).await;
    let object = Some(of.id.clone());
    json(&of.acted(&app, "interaction.delete", object, receipt).await?)
}

pub(crate) async fn search(
    State(app): State<Shared>,
    of: OfUser,
    mut parameters: Parameters,
) -> ApiResult<Response> {
    let query = parameters.needed("q")?;
    let limit = parameters.number("limit", 1..=100)?.unwrap_or(10) as usize;
    let call = move |service: &dyn crate::Service| service.search(&of.user, &query, limit);
    json(&List::all(app.call(Lane::Short, call).await?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_text_a_list_and_an_object_of_them_are_taken() {
        for body in [
            r#"{"response":"a"}"#,
            r#"[{"response":"a"}]"#,
            r#"{"interactions":[{"response":"a","prompt":""}]}"#,
        ] {
            assert_eq!(texts(body.as_bytes()).unwrap()[0].response, "a", "{body}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_by_its_place() {
        for (body, param) in [
            ("[]", "interactions"),
            ("1", "interactions[0]"),
            (r#"[{"response":"a"},{"response":""}]"#, "interactions[1].response"),
            (r#"[{"prompt":"a"}]"#, "interactions[0]"),
            (r#"{"response":"a","colour":"red"}"#, "interactions[0]"),
            (r#"{"interactions":{}}"#, "interactions"),
            (r#"{"interactions":[],"x":1}"#, "x"),
        ] {
            assert_eq!(texts(body.as_bytes()).unwrap_err().param.as_deref(), Some(param), "{body}");
        }
        assert_eq!(texts(b"[").unwrap_err().code, "invalid_json");
    }

    #[test]
    fn a_key_makes_the_same_ids_again_and_others_for_others() {
        let id = id_of("ada", b"k", 0);
        assert_eq!(id, id_of("ada", b"k", 0));
        assert_ne!(id, id_of("ada", b"k", 1));
        assert_ne!(id, id_of("ada", b"l", 0));
        assert_ne!(id_of("ada", b"k", 0), id_of("adak", b"", 0));
    }
}
