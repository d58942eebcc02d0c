//! The part of OpenAI's API that is served.

mod answering;
pub(crate) mod chat;
pub(crate) mod completions;
pub(crate) mod embeddings;
pub(crate) mod models;
mod parameters;
mod shapes;
mod stream;
pub(crate) mod tokenize;
mod whole;

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue},
    response::Response,
};

use crate::{app::Shared, clock::now, error::ApiResult, route};
use answering::Admitted;
use parameters::Parameters;
use shapes::{Envelope, Kind, Wanted};

/// The most names of ignored fields in a header.
const MOST_IGNORED: usize = 16;

/// What was asked for, besides the parameters.
struct Asked {
    kind: Kind,
    id: String,
    wanted: Wanted,
    /// Texts that stand before what is written, one for each prompt.
    echo: Vec<String>,
    /// Fields that nobody knows.
    ignored: Vec<String>,
}

/// The answer to an admitted request.
async fn answer(
    app: &Shared,
    parameters: &Parameters,
    asked: Asked,
    admitted: Admitted,
    request_id: String,
) -> ApiResult<Response> {
    app.warn_of(&asked.ignored);
    let Admitted { target, unknown_user, generation, fingerprint, following } = admitted;
    let user = target.user().map(str::to_owned);
    let envelope = Envelope::new(asked.kind, asked.id, now(), &target, fingerprint);
    let mut response = if parameters.stream {
        let streamed = stream::Streamed {
            envelope,
            target,
            wanted: asked.wanted,
            usage: parameters.usage,
            echo: asked.echo,
            limits: app.config.limits.clone(),
            request_id,
        };
        stream::response(streamed, following)
    } else {
        whole::response(&envelope, &target, asked.wanted, &asked.echo, following).await?
    };
    let headers = response.headers_mut();
    headers.insert(HeaderName::from_static("x-spring-generation"), generation.into());
    if unknown_user {
        let name = HeaderName::from_static("x-spring-unknown-user");
        headers.insert(name, HeaderValue::from_static("true"));
    }
    if let Some(user) = &user {
        route::show(app, headers, user);
    }
    say_ignored(headers, &asked.ignored);
    Ok(response)
}

/// Names in a header the fields that were ignored, as far as a header can.
fn say_ignored(headers: &mut HeaderMap, ignored: &[String]) {
    let plain = |name: &&String| {
        name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
    };
    let names: Vec<&str> =
        ignored.iter().filter(plain).take(MOST_IGNORED).map(String::as_str).collect();
    if let (false, Ok(names)) = (names.is_empty(), HeaderValue::from_str(&names.join(", "))) {
        headers.insert(HeaderName::from_static("x-spring-ignored"), names);
    }
}
