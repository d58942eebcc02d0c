//! A person's own endpoints, below `/v1/users`.

pub(crate) mod answers;
pub(crate) mod interactions;
pub(crate) mod learning;
pub(crate) mod transfer;
pub(crate) mod users;

use std::{collections::HashMap, ops::RangeInclusive};

use axum::{
    extract::{FromRequestParts, Path, Query},
    http::{StatusCode, request::Parts},
    response::Response,
};
use serde::Serialize;

use crate::{
    AuditEvent,
    app::App,
    clock::now,
    error::{ApiError, ApiResult},
    guard::{self, Caller, RequestId, typed},
};

/// A request about one user that its sender may see.
pub(crate) struct OfUser {
    pub user: String,
    /// The last part of the path, where it names something of the user.
    pub id: String,
    pub caller: Caller,
    pub request_id: String,
}

impl<S: Send + Sync> FromRequestParts<S> for OfUser {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> ApiResult<Self> {
        let path = Path::<HashMap<String, String>>::from_request_parts(parts, state).await;
        let Ok(Path(mut path)) = path else {
            let message = "the path is not UTF-8";
            return Err(ApiError::new(StatusCode::BAD_REQUEST, "invalid_path", message));
        };
        let caller = parts.extensions.get::<Caller>().cloned();
        let caller = caller.ok_or_else(|| ApiError::internal("a request without a caller"))?;
        let user = path.remove("user").unwrap_or_default();
        caller.may_see(&user)?;
        let request_id = parts.extensions.get::<RequestId>().cloned();
        Ok(Self {
            user,
            id: path.remove("id").unwrap_or_default(),
            caller,
            request_id: request_id.map_or_else(String::new, |id| id.0),
        })
    }
}

impl OfUser {
    /// Writes to the audit log what became of an act.
    pub async fn acted<T>(
        &self,
        app: &App,
        act: &'static str,
        object: Option<String>,
        result: ApiResult<T>,
    ) -> ApiResult<T> {
        let status = result.as_ref().map_or_else(|error| error.status, |_| StatusCode::OK);
        let event = AuditEvent {
            time: now(),
            key: self.caller.key.clone(),
            act,
            user: Some(self.user.clone()),
            object,
            status: status.as_u16(),
            request_id: self.request_id.clone(),
        };
        guard::audit(app, event).await;
        result
    }
}

/// What stands behind the question mark.
pub(crate) struct Parameters(HashMap<String, String>);

impl<S: Send + Sync> FromRequestParts<S> for Parameters {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> ApiResult<Self> {
        match Query::<HashMap<String, String>>::from_request_parts(parts, state).await {
            Ok(Query(parameters)) => Ok(Self(parameters)),
            Err(error) => Err(ApiError::new(
                StatusCode::BAD_REQUEST,
                "invalid_query",
                format!("what stands behind the question mark cannot be read: {error}"),
            )),
        }
    }
}

impl Parameters {
    pub fn text(&mut self, name: &str) -> Option<String> {
        self.0.remove(name).filter(|text| !text.is_empty())
    }

    pub fn needed(&mut self, name: &str) -> ApiResult<String> {
        let missing = || ApiError::invalid(name, format!("{name} is missing"));
        self.text(name).ok_or_else(missing)
    }

    pub fn number(&mut self, name: &str, range: RangeInclusive<u32>) -> ApiResult<Option<u32>> {
        let Some(text) = self.text(name) else { return Ok(None) };
        match text.parse() {
            Ok(number) if range.contains(&number) => Ok(Some(number)),
            _ => {
                let (from, to) = (range.start(), range.end());
                let message = format!("{name} may be a whole number from {from} to {to}");
                Err(ApiError::invalid(name, message))
            }
        }
    }

    /// A part of a list: 100 items, unless asked otherwise.
    pub fn page(&mut self) -> ApiResult<crate::PageRequest> {
        let limit = self.number("limit", 1..=1000)?.unwrap_or(100);
        Ok(crate::PageRequest { after: self.text("after"), limit: limit as usize })
    }
}

/// An answer in JSON.
pub(crate) fn json(value: &impl Serialize) -> ApiResult<Response> {
    let text = serde_json::to_string(value)
        .map_err(|error| ApiError::internal(format!("an answer cannot be written: {error}")))?;
    Ok(typed("application/json", text))
}

/// A list in OpenAI's shape.
#[derive(Serialize)]
pub(crate) struct List<T> {
    object: &'static str,
    data: Vec<T>,
    has_more: bool,
}

impl<T> List<T> {
    pub fn of(page: crate::Page<T>) -> Self {
        Self { object: "list", data: page.data, has_more: page.has_more }
    }

    pub fn all(data: Vec<T>) -> Self {
        Self { object: "list", data, has_more: false }
    }
}
