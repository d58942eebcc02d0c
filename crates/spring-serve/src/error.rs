//! Errors in OpenAI's shape, with codes that stay.

use std::time::Duration;

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::ServiceError;

/// The longest wait that a client is told: above it, openai-python does not try again.
const LONGEST_WAIT: Duration = Duration::from_secs(120);

/// The wait that is told where nothing was measured yet.
const USUAL_WAIT: Duration = Duration::from_secs(1);

pub(crate) type ApiResult<T> = Result<T, ApiError>;

/// What a client is told.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ApiError {
    pub status: StatusCode,
    pub code: &'static str,
    pub message: String,
    pub param: Option<String>,
    /// When to try again.
    pub retry_after: Option<Duration>,
    /// Clients try again on their own at 408, 409, 429 and from 500 on; this says that it is no
    /// use.
    pub never_retry: bool,
    /// What goes to the log alone.
    pub log: Option<String>,
}

/// `{"error": …}`.
#[derive(Serialize)]
struct Wrapped<'a> {
    error: Shape<'a>,
}

#[derive(Serialize)]
struct Shape<'a> {
    message: &'a str,
    r#type: &'static str,
    param: Option<&'a str>,
    code: &'static str,
}

impl ApiError {
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            param: None,
            retry_after: None,
            never_retry: false,
            log: None,
        }
    }

    /// 400 `invalid_value` of a field.
    pub fn invalid(param: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_value", message).of(param)
    }

    /// 400 `unsupported_parameter`.
    pub fn unsupported(param: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "unsupported_parameter", message).of(param)
    }

    /// 404 `user_not_found`, in the words that a service has for it.
    pub fn unknown_user(user: &str) -> Self {
        ServiceError::UnknownUser(user.into()).into()
    }

    /// 403 `forbidden`.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", message)
    }

    /// 429 `slow_down`.
    pub fn slow_down(message: impl Into<String>, wait: Duration) -> Self {
        let error = Self::new(StatusCode::TOO_MANY_REQUESTS, "slow_down", message);
        error.after(Some(wait))
    }

    /// 429 `rate_limit_exceeded`.
    pub fn rate_limited(message: impl Into<String>, wait: Duration) -> Self {
        let code = "rate_limit_exceeded";
        Self::new(StatusCode::TOO_MANY_REQUESTS, code, message).after(Some(wait))
    }

    /// 503 `server_is_overloaded`.
    pub fn overloaded(wait: Duration) -> Self {
        ServiceError::Overloaded { retry_after: Some(wait) }.into()
    }

    /// 503 `server_shutting_down`.
    pub fn shutting_down() -> Self {
        let message = "the server is shutting down: try again later, or another one";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "server_shutting_down", message)
            .after(Some(Duration::from_secs(5)))
    }

    /// 500 `internal_error`; the message goes to the log.
    pub fn internal(log: impl Into<String>) -> Self {
        ServiceError::Internal(log.into()).into()
    }

    /// Names the field.
    pub fn of(mut self, param: &str) -> Self {
        self.param = Some(param.into());
        self
    }

    fn after(mut self, wait: Option<Duration>) -> Self {
        self.retry_after = Some(wait.unwrap_or(USUAL_WAIT).min(LONGEST_WAIT));
        self
    }

    fn kind(&self) -> &'static str {
        match self.status {
            StatusCode::UNAUTHORIZED => "authentication_error",
            StatusCode::FORBIDDEN => "permission_error",
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_server_error() => "server_error",
            _ => "invalid_request_error",
        }
    }

    /// The body, as it also stands in a stream.
    pub fn json(&self) -> String {
        let error = Shape {
            message: &self.message,
            r#type: self.kind(),
            param: self.param.as_deref(),
            code: self.code,
        };
        // Texts alone: nothing that cannot be written.
        serde_json::to_string(&Wrapped { error }).unwrap_or_default()
    }

    /// Writes what is for the log alone.
    pub fn log(&self, request_id: &str) {
        if let Some(log) = &self.log {
            tracing::error!(request_id, code = self.code, "{log}");
        }
    }
}

impl From<ServiceError> for ApiError {
    fn from(error: ServiceError) -> Self {
        use ServiceError as E;
        let message = error.to_string();
        match error {
            E::UnknownModel(_) => {
                Self::new(StatusCode::NOT_FOUND, "model_not_found", message).of("model")
            }
            E::UnknownUser(_) => Self::new(StatusCode::NOT_FOUND, "user_not_found", message),
            E::NotFound { .. } => Self::new(StatusCode::NOT_FOUND, "not_found", message),
            E::Invalid { param, .. } => {
                Self { param, ..Self::new(StatusCode::BAD_REQUEST, "invalid_value", message) }
            }
            E::Unsupported { param, .. } => Self {
                param,
                ..Self::new(StatusCode::BAD_REQUEST, "unsupported_parameter", message)
            },
            E::ContextLength { .. } => {
                Self::new(StatusCode::BAD_REQUEST, "context_length_exceeded", message)
            }
            E::Conflict(_) => {
                Self { never_retry: true, ..Self::new(StatusCode::CONFLICT, "conflict", message) }
            }
            E::SlowDown { retry_after } => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "slow_down", message).after(retry_after)
            }
            E::Overloaded { retry_after } => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "server_is_overloaded", message)
                    .after(retry_after)
            }
            E::NotReady(_) => Self::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", message)
                .after(Some(Duration::from_secs(5))),
            E::Internal(log) => Self {
                log: Some(log),
                ..Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "internal_error",
                    "something went wrong here; the server's log has it under this request's id",
                )
            },
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.json()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(wait) = self.retry_after {
            let milliseconds = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            headers.insert(HeaderName::from_static("retry-after-ms"), milliseconds.into());
            headers.insert(header::RETRY_AFTER, milliseconds.div_ceil(1000).into());
        }
        if self.never_retry {
            let name = HeaderName::from_static("x-should-retry");
            headers.insert(name, HeaderValue::from_static("false"));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        // For the middleware, which knows the request's id.
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_wait_is_longer_than_what_a_client_is_patient_for() {
        let error = ApiError::overloaded(Duration::from_secs(1000)).into_response();
        assert_eq!(error.headers()["retry-after"], "120");
        assert_eq!(error.headers()["retry-after-ms"], "120000");
        let error = ApiError::slow_down("", Duration::from_millis(1500)).into_response();
        assert_eq!(error.headers()["retry-after"], "2");
        assert_eq!(error.headers()["retry-after-ms"], "1500");
    }

    #[test]
    fn what_goes_to_the_log_does_not_go_to_the_client() {
        let error = ApiError::internal("/secret/path is damaged");
        assert!(!error.json().contains("secret"));
        assert_eq!(error.log.as_deref(), Some("/secret/path is damaged"));
    }

    #[test]
    fn a_permanent_conflict_says_that_trying_again_is_no_use() {
        let error = ApiError::from(ServiceError::Conflict("other content".into()));
        assert_eq!(error.into_response().headers()["x-should-retry"], "false");
    }

    #[test]
    fn an_error_has_openais_shape() {
        assert_eq!(
            ApiError::invalid("n", "n is 0: ask for one at least").json(),
            concat!(
                r#"{"error":{"message":"n is 0: ask for one at least","#,
                r#""type":"invalid_request_error","param":"n","code":"invalid_value"}}"#
            )
        );
    }
}
