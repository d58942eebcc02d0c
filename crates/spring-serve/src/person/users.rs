//! `/v1/users`, `/v1/users/{user}`, `/v1/users/{user}/consent`

use axum::{
    body::Body,
    extract::{Extension, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};

use super::{List, OfUser, Parameters, json};
use crate::{
    app::Shared,
    body,
    error::{ApiError, ApiResult},
    fields::Fields,
    guard::Caller,
    service::Saying,
    workers::Lane,
};

pub(crate) async fn list(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    mut parameters: Parameters,
) -> ApiResult<Response> {
    if !caller.names_users() {
        return Err(ApiError::forbidden("the key of one user does not list the others"));
    }
    let page = parameters.page()?;
    json(&List::of(app.call(Lane::Short, move |service| service.users(&page)).await?))
}

pub(crate) async fn one(State(app): State<Shared>, of: OfUser) -> ApiResult<Response> {
    json(&app.call(Lane::Short, move |service| service.user(&of.user)).await?)
}

/// 201 for a new user, 200 for one who is there.
pub(crate) async fn create(State(app): State<Shared>, of: OfUser) -> ApiResult<Response> {
    let user = of.user.clone();
    let made = app.call(Lane::Short, move |service| {
        let new = service.create_user(&user)?;
        Ok((new, service.user(&user)?))
    });
    let made = made.await;
    let (new, info) = of.acted(&app, "user.create", None, made).await?;
    let status = if new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, json(&info)?).into_response())
}

pub(crate) async fn delete(State(app): State<Shared>, of: OfUser) -> ApiResult<Response> {
    of.caller.may_move()?;
    let user = of.user.clone();
    let receipt = app.call(Lane::Long, move |service| service.delete_user(&user)).await;
    json(&of.acted(&app, "user.delete", None, receipt).await?)
}

pub(crate) async fn consent(State(app): State<Shared>, of: OfUser) -> ApiResult<Response> {
    json(&app.call(Lane::Short, move |service| service.consent(&of.user)).await?)
}

pub(crate) async fn consents(
    State(app): State<Shared>,
    of: OfUser,
    body: Body,
) -> ApiResult<Response> {
    let mut fields = Fields::of(body::read(body, &app).await?)?;
    let (keep, contribute) = (fields.boolean("keep_conversations")?, fields.boolean("contribute")?);
    let halves = [
        ("contribution.set", contribute, Saying { contribute, ..Saying::default() }),
        ("consent.set", keep, Saying { keep_conversations: keep, ..Saying::default() }),
    ];
    let mut said = None;
    // Each is stored by itself, so each is audited by what became of it; after a failure nothing
    // more is stored.
    for (act, yes, saying) in halves {
        let Some(yes) = yes else { continue };
        let user = of.user.clone();
        let stored = app.call(Lane::Short, move |service| {
            service.create_user(&user)?;
            service.set_consent(&user, saying)
        });
        let stored = stored.await;
        said = Some(of.acted(&app, act, Some(yes.to_string()), stored).await?);
    }
    let Some(said) = said else {
        let message =
            "keep_conversations and contribute are missing: true or false for one of them";
        return Err(ApiError::invalid("keep_conversations", message));
    };
    json(&said)
}
