//! How an answer came about, and what a person really used of it.

use axum::{body::Body, extract::State, response::Response};

use super::{OfUser, Parameters, json};
use crate::{
    Feedback,
    app::Shared,
    body,
    error::{ApiError, ApiResult},
    fields::Fields,
    workers::Lane,
};

pub(crate) async fn explain(
    State(app): State<Shared>,
    of: OfUser,
    mut parameters: Parameters,
) -> ApiResult<Response> {
    let id = parameters.needed("response_id")?;
    let choice = parameters.number("choice", 0..=u32::MAX)?.unwrap_or(0);
    json(&app.call(Lane::Short, move |service| service.explain(&of.user, &id, choice)).await?)
}

pub(crate) async fn feedback(
    State(app): State<Shared>,
    of: OfUser,
    body: Body,
) -> ApiResult<Response> {
    let mut fields = Fields::of(body::read(body, &app).await?)?;
    let missing = |name: &str| ApiError::invalid(name, format!("{name} is missing or empty"));
    let response_id = fields.text("response_id")?.filter(|id| !id.is_empty());
    let text = fields.text("text")?.filter(|text| !text.is_empty());
    let choice = fields.integer("choice", 0..=i64::from(u32::MAX))?.unwrap_or(0);
    let feedback = Feedback {
        response_id: response_id.ok_or_else(|| missing("response_id"))?,
        choice: u32::try_from(choice).unwrap_or(0),
        text: text.ok_or_else(|| missing("text"))?,
    };
    json(&app.call(Lane::Short, move |service| service.feedback(&of.user, feedback)).await?)
}
