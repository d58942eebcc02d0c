//! What was learned of a user, and the ways back.

use axum::{
    body::Body,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};

use super::{List, OfUser, json};
use crate::{
    app::Shared,
    body,
    error::{ApiError, ApiResult},
    fields::Fields,
    rate,
    workers::Lane,
};

/// 202: it goes on after the answer.
pub(crate) async fn adapt(State(app): State<Shared>, of: OfUser) -> ApiResult<Response> {
    let user = of.user.clone();
    let asker = rate::asker()?;
    let started = app.call(Lane::Short, move |service| service.adapt(&user, asker)).await;
    let started = of.acted(&app, "adapt", None, started).await?;
    Ok((StatusCode::ACCEPTED, json(&started)?).into_response())
}

pub(crate) async fn adaptations(State(app): State<Shared>, of: OfUser) -> ApiResult<Response> {
    let call = move |service: &dyn crate::Service| service.adaptations(&of.user);
    json(&List::all(app.call(Lane::Short, call).await?))
}

pub(crate) async fn generations(State(app): State<Shared>, of: OfUser) -> ApiResult<Response> {
    let call = move |service: &dyn crate::Service| service.generations(&of.user);
    json(&List::all(app.call(Lane::Short, call).await?))
}

pub(crate) async fn periods(State(app): State<Shared>, of: OfUser) -> ApiResult<Response> {
    let call = move |service: &dyn crate::Service| service.periods(&of.user);
    json(&List::all(app.call(Lane::Short, call).await?))
}

pub(crate) async fn buffer(State(app): State<Shared>, of: OfUser) -> ApiResult<Response> {
    let call = move |service: &dyn crate::Service| service.buffer(&of.user);
    json(&List::all(app.call(Lane::Short, call).await?))
}

pub(crate) async fn rollback(
    State(app): State<Shared>,
    of: OfUser,
    body: Body,
) -> ApiResult<Response> {
    let mut fields = Fields::of(body::read(body, &app).await?)?;
    let to = fields.integer("to", 0..=i64::from(u32::MAX))?;
    let Some(to) = to.and_then(|to| u32::try_from(to).ok()) else {
        return Err(ApiError::invalid(
            "to",
            "to is missing: a generation's number, 0 for the base",
        ));
    };
    let user = of.user.clone();
    let done = app.call(Lane::Short, move |service| service.rollback(&user, to)).await;
    json(&of.acted(&app, "rollback", Some(to.to_string()), done).await?)
}
