//! `GET /v1/models`

use axum::{
    extract::{Extension, Path, State},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use crate::{
    Access, Model, PageRequest, ServiceError, Target,
    app::Shared,
    error::ApiResult,
    guard::{Caller, typed},
    naming::{Named, target},
    workers::Lane,
};

/// The most users that a list has beside the bases.
const MOST_USERS: usize = 1000;

/// The bases, and what the caller may see of `BASE:USER` on the first of them.
pub(crate) async fn list(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
) -> ApiResult<Response> {
    let models = app.service.models();
    let mut data: Vec<Value> = models.iter().map(|model| card(model, None)).collect();
    if let Some(first) = models.first() {
        let users = match caller.access {
            Access::User(user) => vec![user],
            Access::Gateway | Access::Admin => {
                let page = PageRequest { after: None, limit: MOST_USERS };
                let page = app.call(Lane::Short, move |service| service.users(&page)).await?;
                page.data.into_iter().map(|user| user.id).collect()
            }
        };
        data.extend(users.iter().map(|user| card(first, Some(user))));
    }
    Ok(typed("application/json", json!({"object": "list", "data": data}).to_string()))
}

pub(crate) async fn one(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> ApiResult<Response> {
    let models = app.service.models();
    // By its name alone: no header and no field has a say in it.
    let named = Named::model(Some(name.clone()));
    let whom = match &caller.access {
        // The base's name is the base's card, for a user's key, too.
        Access::User(_) if models.iter().any(|model| model.id == name) => {
            Target::Base { model: name.clone(), person: None }
        }
        _ => target(&caller, &axum::http::HeaderMap::new(), &named, &models)?,
    };
    if let Some(user) = whom.user().map(str::to_owned) {
        let found = app.call(Lane::Short, move |service| service.user(&user)).await;
        if let Err(error) = found {
            // In this place a user is a part of a model's name.
            return Err(match error.code {
                "user_not_found" => ServiceError::UnknownModel(name).into(),
                _ => error,
            });
        }
    }
    let model = models.iter().find(|model| model.id == whom.model());
    let model = model.ok_or(ServiceError::UnknownModel(name))?;
    Ok(typed("application/json", card(model, whom.user()).to_string()).into_response())
}

/// A model's card: none of its values is null, which some clients cannot read.
fn card(model: &Model, user: Option<&str>) -> Value {
    let mut card = json!({
        "id": model.id,
        "object": "model",
        "created": model.created,
        "owned_by": "spring",
        "root": model.id,
        "max_model_len": model.context,
    });
    if let Some(user) = user {
        card["id"] = json!(format!("{}:{user}", model.id));
        card["parent"] = json!(model.id);
    }
    card
}
