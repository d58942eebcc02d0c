//! Which path is what.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Extension, State},
    http::{StatusCode, header},
    middleware::{from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::json;

use crate::{
    Access, Readiness,
    app::{Phase, Shared},
    error::{ApiError, ApiResult},
    guard::{self, Caller, typed},
    openai::{chat, completions, embeddings, models, tokenize},
    openapi, page, person, route,
};

/// All that is served.
pub(crate) fn router(app: &Shared) -> Router {
    let with_key = Router::new()
        .route("/metrics", get(metrics))
        .route("/tokenize", post(tokenize::post))
        .route("/detokenize", post(tokenize::detokenize))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{*model}", get(models::one))
        .route("/v1/chat/completions", post(chat::post))
        .route("/v1/completions", post(completions::post))
        .route("/v1/embeddings", post(embeddings::post))
        .merge(of_users(app))
        // Before the layer, so that what may not be called is not told to strangers either.
        .method_not_allowed_fallback(wrong_method)
        .route_layer(from_fn_with_state(Arc::clone(app), guard::inner));
    // Apart: a proxy that asks before each request is not to use up what a key may ask for.
    let routing = Router::new()
        .route("/route", get(route::get))
        .method_not_allowed_fallback(wrong_method)
        .route_layer(from_fn_with_state(Arc::clone(app), guard::keyed));
    let open = Router::new()
        .route("/", get(page::html))
        .route("/page.css", get(page::css))
        .route("/page.js", get(page::script))
        .route("/healthz", get(|| async { typed("application/json", r#"{"status":"ok"}"#) }))
        .route("/readyz", get(ready))
        .route("/openapi.json", get(openapi::get))
        .method_not_allowed_fallback(wrong_method);
    with_key
        .merge(routing)
        .merge(open)
        .fallback(unknown_path)
        .layer(from_fn_with_state(Arc::clone(app), guard::outer))
        .with_state(Arc::clone(app))
}

fn of_users(app: &Shared) -> Router<Shared> {
    let user = get(person::users::one).put(person::users::create).delete(person::users::delete);
    let interactions = get(person::interactions::list).post(person::interactions::add);
    let interaction = get(person::interactions::one).delete(person::interactions::delete);
    Router::new()
        .route("/v1/users", get(person::users::list))
        .route("/v1/users/{user}", user)
        .route("/v1/users/{user}/interactions", interactions)
        .route("/v1/users/{user}/interactions/{id}", interaction)
        .route("/v1/users/{user}/search", get(person::interactions::search))
        .route("/v1/users/{user}/adapt", post(person::learning::adapt))
        .route("/v1/users/{user}/adaptations", get(person::learning::adaptations))
        .route("/v1/users/{user}/generations", get(person::learning::generations))
        .route("/v1/users/{user}/rollback", post(person::learning::rollback))
        .route("/v1/users/{user}/periods", get(person::learning::periods))
        .route("/v1/users/{user}/buffer", get(person::learning::buffer))
        .route("/v1/users/{user}/explain", get(person::answers::explain))
        .route("/v1/users/{user}/feedback", post(person::answers::feedback))
        .route("/v1/users/{user}/consent", get(person::users::consent).put(person::users::consents))
        .route("/v1/users/{user}/export", get(person::transfer::export))
        .route("/v1/users/{user}/import", post(person::transfer::import))
        .route_layer(from_fn(guard::to_the_end))
        .route_layer(from_fn_with_state(Arc::clone(app), route::of_path))
}

async fn unknown_path() -> ApiError {
    let message = "there is no such path: /openapi.json lists those there are";
    ApiError::new(StatusCode::NOT_FOUND, "unknown_path", message)
}

async fn wrong_method() -> ApiError {
    let message = "this path has other methods: the header Allow lists them";
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
}

/// Whether this server is to be sent requests.
async fn ready(State(app): State<Shared>) -> Response {
    let reason = match (app.phase(), app.service.readiness()) {
        (Phase::Running, Readiness::Ready) => {
            return typed("application/json", r#"{"status":"ready"}"#);
        }
        (Phase::Running, Readiness::NotReady(reason)) => reason,
        (Phase::Leaving | Phase::Draining | Phase::Cutting, _) => {
            "the server is shutting down".to_owned()
        }
    };
    let body = json!({"status": "not_ready", "reason": reason}).to_string();
    let kind = [(header::CONTENT_TYPE, "application/json"), (header::RETRY_AFTER, "5")];
    (StatusCode::SERVICE_UNAVAILABLE, kind, body).into_response()
}

async fn metrics(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
) -> ApiResult<Response> {
    if caller.access != Access::Admin {
        return Err(ApiError::forbidden("what all users do is for the keys of administrators"));
    }
    let model = app.service.models().into_iter().next().map(|model| model.id).unwrap_or_default();
    let text = app.metrics.text(&model, &app.service.stats());
    Ok(typed("text/plain; version=0.0.4; charset=utf-8", text))
}
