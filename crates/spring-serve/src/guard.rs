//! What every request goes through: its id, where it comes from, who sent it.

use std::{sync::Arc, time::Instant};

use axum::{
    body::Body,
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::{
    Access, AuditEvent, Key, KeyHash, ServeConfig,
    app::{App, Phase, Shared, new_id},
    error::{ApiError, ApiResult},
    keys::Found,
    paths::known_path,
    rate::{self, Kind, OwnLimits},
    workers::Lane,
};

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// The id of a request.
#[derive(Debug, Clone)]
pub(crate) struct RequestId(pub String);

/// Who sent a request.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// The key's id; empty where there are no keys.
    pub key: String,
    pub access: Access,
    pub limits: OwnLimits,
}

impl Caller {
    /// Who calls a server without keys: whoever reaches it.
    fn local() -> Self {
        Self::of(Key::new("", Access::Admin))
    }

    pub fn of(key: Key) -> Self {
        let Key { id, access, requests_per_minute, requests_at_once } = key;
        let limits = OwnLimits { per_minute: requests_per_minute, at_once: requests_at_once };
        Self { key: id, access, limits }
    }

    /// Whether this user's state may be touched; what may not be seen is not there.
    pub fn may_see(&self, user: &str) -> ApiResult<()> {
        match &self.access {
            Access::User(own) if own != user => Err(ApiError::unknown_user(user)),
            _ => Ok(()),
        }
    }

    /// Whether it may name users and see all of them.
    pub fn names_users(&self) -> bool {
        !matches!(self.access, Access::User(_))
    }

    /// Whether it may take a user's state as a whole out, in, or away: users theirs, administrators
    /// everybody's. A gateway speaks for people and need not.
    pub fn may_move(&self) -> ApiResult<()> {
        match self.access {
            Access::Gateway => Err(ApiError::forbidden(
                "the key of a gateway neither removes, exports nor imports users: take the \
                 user's own or an administrator's",
            )),
            Access::User(_) | Access::Admin => Ok(()),
        }
    }
}

/// The outermost layer: ids, the count of requests, headers of all answers, and where a request
/// comes from.
pub(crate) async fn outer(State(app): State<Shared>, mut request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let id = match given_id(request.headers()).map_or_else(|| new_id("req_"), Ok) {
        Ok(id) => id,
        Err(error) => return error.into_response(),
    };
    // The pattern of a path and not the path, which may name a user.
    let matched = request.extensions().get::<MatchedPath>();
    let path = matched.map_or("", |matched| known_path(matched.as_str()));
    let method = request.method().clone();
    let origin = request.headers().get(header::ORIGIN).cloned();
    request.extensions_mut().insert(RequestId(id.clone()));
    let _in_flight = app.metrics.request_begins();
    let mut response = match from_here(&app.config, request.headers(), request.uri()) {
        Err(error) => error.into_response(),
        Ok(_) if method == Method::OPTIONS && origin.is_some() => preflight(),
        Ok(_) => next.run(request).await,
    };
    if let Some(error) = response.extensions().get::<ApiError>() {
        error.log(&id);
        app.metrics.refused(error.code);
    }
    let status = response.status();
    app.metrics.request_ended(&method, path, status, begun.elapsed());
    if app.phase() != Phase::Running {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, id);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let cache = HeaderValue::from_static("no-store");
    headers.entry(header::CACHE_CONTROL).or_insert(cache);
    headers.insert(header::VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = origin.filter(|origin| is_set(&app.config, origin)) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        let exposed = "x-request-id, retry-after, retry-after-ms, x-should-retry, \
                       x-spring-generation, x-spring-replica, \
                       x-ratelimit-limit-requests, \
                       x-ratelimit-remaining-requests, x-ratelimit-reset-requests";
        let exposed = HeaderValue::from_static(exposed);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }
    response
}

/// A client's id of its request, if it is one that can stand in a log.
fn given_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(REQUEST_ID)?.to_str().ok()?;
    let plain = id.bytes().all(|byte| byte.is_ascii_graphic());
    (plain && (1..=128).contains(&id.len())).then(|| id.to_owned())
}

/// What a browser asks before a page from a permitted origin may send a request.
fn preflight() -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, PUT, DELETE"),
        (
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            "authorization, content-type, idempotency-key, x-api-key, x-request-id, x-spring-user",
        ),
        (header::ACCESS_CONTROL_MAX_AGE, "600"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Refuses requests that a page from elsewhere brought a browser to send.
///
/// `Host`: a page whose name was bound anew to this machine's address (DNS rebinding) still sends
/// its own name; an address in its place is out of its reach. `Origin`: a page of another site says
/// which.
fn from_here(config: &ServeConfig, headers: &HeaderMap, uri: &Uri) -> ApiResult<()> {
    let bad = |header: &str| {
        ApiError::new(
            StatusCode::BAD_REQUEST,
            "invalid_header",
            format!("{header} is not readable"),
        )
    };
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (None, _) => None,
        (Some(host), None) => Some(host.to_str().map_err(|_| bad("Host"))?),
        (Some(_), Some(_)) => return Err(bad("Host")),
    };
    for authority in host.into_iter().chain(uri.authority().map(|authority| authority.as_str())) {
        if !is_own(config, authority) {
            let message = format!(
                "this server does not go by the name {authority:?}: if it is to, start it with \
                 that name among its hosts"
            );
            return Err(ApiError::new(StatusCode::FORBIDDEN, "host_not_allowed", message));
        }
    }
    if let Some(origin) = headers.get(header::ORIGIN) {
        let same = origin.to_str().ok().and_then(|origin| origin.split_once("://")).is_some_and(
            |(scheme, authority)| {
                matches!(scheme, "http" | "https")
                    && host.is_some_and(|host| host.eq_ignore_ascii_case(authority))
            },
        );
        if !same && !is_set(config, origin) {
            let message = "pages from elsewhere may not call this server: if this one is to, \
                           start it with the page's origin among its origins";
            return Err(ApiError::new(StatusCode::FORBIDDEN, "origin_not_allowed", message));
        }
    }
    Ok(())
}

fn is_set(config: &ServeConfig, origin: &HeaderValue) -> bool {
    config.origins.iter().any(|set| set.as_bytes().eq_ignore_ascii_case(origin.as_bytes()))
}

/// Whether an authority, a host and perhaps a port, is this server's.
fn is_own(config: &ServeConfig, authority: &str) -> bool {
    let name = match authority.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, _)) => return address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => return false,
        },
        None => authority.rsplit_once(':').map_or(authority, |(name, _)| name),
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::Ipv4Addr>().is_ok()
        || config.hosts.iter().any(|host| host.eq_ignore_ascii_case(name))
}

/// The key that a request came with, and the request's id.
fn credentials(request: &Request) -> (Given, String) {
    let id = request.extensions().get::<RequestId>().map_or_else(String::new, |id| id.0.clone());
    (given(request.headers()), id)
}

/// The layer of all that needs a key: who sent the request, whether it may be sent now.
pub(crate) async fn inner(
    State(app): State<Shared>,
    mut request: Request,
    next: Next,
) -> ApiResult<Response> {
    let (given, id) = credentials(&request);
    let caller = authenticate(&app, given, &id).await?;
    let matched = request.extensions().get::<MatchedPath>();
    let kind = Kind::of(matched.map_or("", MatchedPath::as_str));
    let open = match app.rates.request(&caller.key, caller.limits, kind, Instant::now()) {
        Ok(open) => Arc::new(open),
        Err(too_many) => return Ok(too_many.into_response()),
    };
    if app.phase() >= Phase::Draining {
        return Err(ApiError::shutting_down());
    }
    request.extensions_mut().insert(caller);
    let response = Arc::clone(&open).work(next.run(request)).await;
    Ok(open.until_the_end_of(response))
}

/// The layer of what needs a key and nothing else: neither counts it, nor is it refused by a server
/// that is going down, which still knows the others.
pub(crate) async fn keyed(
    State(app): State<Shared>,
    mut request: Request,
    next: Next,
) -> ApiResult<Response> {
    let (given, id) = credentials(&request);
    let caller = authenticate(&app, given, &id).await?;
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}

/// Lets a request that changes a user's state run to its end though its client goes: what it did
/// is to be put on record.
pub(crate) async fn to_the_end(request: Request, next: Next) -> ApiResult<Response> {
    if request.method().is_safe() {
        return Ok(next.run(request).await);
    }
    rate::spawn(next.run(request)).await.map_err(|error| ApiError::internal(error.to_string()))
}

/// What a request came with: the hashes of its tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Given {
    Nothing,
    One(KeyHash),
    /// Which of them is meant cannot be told.
    Several,
}

/// The key of a request, in the header of OpenAI's clients or in that of Anthropic's and of some
/// gateways.
fn given(headers: &HeaderMap) -> Given {
    let bearer = headers.get_all(header::AUTHORIZATION).iter().filter_map(|value| {
        let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token)
    });
    let plain = headers.get_all(X_API_KEY).iter().filter_map(|value| value.to_str().ok());
    let tokens = bearer.chain(plain).map(str::trim).filter(|token| !token.is_empty());
    tokens.map(KeyHash::of).fold(Given::Nothing, |given, token| match given {
        Given::Nothing => Given::One(token),
        Given::One(other) if other == token => given,
        Given::One(_) | Given::Several => Given::Several,
    })
}

/// The request's key, or none where none is needed.
async fn authenticate(app: &App, given: Given, request_id: &str) -> ApiResult<Caller> {
    let now = Instant::now();
    let token = match given {
        Given::One(token) => Some(token),
        Given::Nothing | Given::Several => None,
    };
    let found = match app.keys.known(token.as_ref(), now) {
        Some(found) => found,
        None => {
            let keys = Arc::clone(&app.keys);
            app.call(Lane::Short, move |service| keys.ask(token, now, service)).await?
        }
    };
    match found {
        Found::Key(key) => return Ok(Caller::of(key)),
        Found::Open if app.config.listen.ip().is_loopback() || app.config.insecure => {
            return Ok(Caller::local());
        }
        Found::Open | Found::Nobody => {}
    }
    let message = match given {
        Given::Nothing => {
            "a key is needed: send it as Authorization: Bearer KEY, or as x-api-key: KEY"
        }
        Given::One(_) => "this key is not known here: it may be mistyped or taken away",
        Given::Several => {
            "the headers Authorization and x-api-key have different keys: send one of them"
        }
    };
    if given != Given::Nothing {
        // To the log alone: strangers are not to fill what the service keeps.
        tracing::warn!(target: "spring_serve::audit", act = "key.refused", request_id);
    }
    Err(ApiError::new(StatusCode::UNAUTHORIZED, "invalid_api_key", message))
}

/// Writes an act to the log, and gives it to the service.
pub(crate) async fn audit(app: &App, event: AuditEvent) {
    let plain = |text: &'_ String| text.escape_debug().to_string();
    let (user, object) = (event.user.as_ref().map(plain), event.object.as_ref().map(plain));
    tracing::info!(
        target: "spring_serve::audit",
        key = %event.key,
        act = event.act,
        user = user.map(tracing::field::display),
        object = object.map(tracing::field::display),
        status = event.status,
        request_id = %event.request_id,
    );
    let kept = app.call(Lane::Short, move |service| {
        service.audit(&event);
        Ok(())
    });
    if let Err(error) = kept.await {
        tracing::error!("an act was not kept: {}", error.log.unwrap_or(error.message));
    }
}

/// A body of a known kind.
pub(crate) fn typed(kind: &'static str, body: impl Into<Body>) -> Response {
    ([(header::CONTENT_TYPE, kind)], body.into()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_whose_name_was_bound_to_this_address_is_refused() {
        let config = ServeConfig { hosts: vec!["llm.example.org".into()], ..Default::default() };
        for own in [
            "localhost",
            "LOCALHOST:8080",
            "127.0.0.1:8080",
            "[::1]:8080",
            "[::1]",
            "192.168.1.7",
            "llm.example.org",
            "LLM.example.org.:443",
        ] {
            assert!(is_own(&config, own), "{own}");
        }
        for other in [
            "evil.example",
            "evil.example:8080",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "[evil]",
            "[::1",
            "",
            "xn--localhost",
            "1.example",
        ] {
            assert!(!is_own(&config, other), "{other}");
        }
    }

    #[test]
    fn an_id_that_could_forge_a_line_is_replaced() {
        let id = |text: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_bytes(text).unwrap());
            given_id(&headers)
        };
        assert_eq!(id(b"abc-1"), Some("abc-1".into()));
        assert_eq!(id(b"a b"), None);
        assert_eq!(id(b""), None);
        assert_eq!(id(&[b'a'; 129]), None);
        assert_eq!(id("é".as_bytes()), None);
    }
}
