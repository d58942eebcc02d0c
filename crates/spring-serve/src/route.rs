//! `GET /route`, and the header that says which server is warm for whom an answer is about.

use axum::{
    extract::{Extension, RawPathParams, Request, State, rejection::RawPathParamsRejection},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode},
    middleware::Next,
    response::Response,
};
use serde::Serialize;

use crate::{
    Access, ServiceError,
    app::{App, Shared},
    error::{ApiError, ApiResult},
    guard::Caller,
    naming,
    person::{Parameters, json},
};

pub(crate) const REPLICA: HeaderName = HeaderName::from_static("x-spring-replica");

#[derive(Serialize)]
struct Route<'r> {
    user: Option<&'r str>,
    replica: &'r str,
    second: Option<&'r str>,
}

/// Which server is to be asked for a user: the one of `user`, else of a header that names one, else
/// of the key; where nobody is named, this one. From memory alone, so that a proxy can ask before
/// each request.
pub(crate) async fn get(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    mut parameters: Parameters,
) -> ApiResult<Response> {
    let user = parameters.text("user");
    let user = match (&caller.access, user) {
        (_, Some(user)) => {
            caller.may_see(&user)?;
            Some(user)
        }
        (Access::User(own), None) => Some(own.clone()),
        (Access::Gateway | Access::Admin, None) => naming::header(&headers)?,
    };
    let Some(replicas) = app.service.replicas() else {
        let message = "this server does not know under which address it is reached, nor the others \
                       of its state: start each with --advertise URL";
        return Err(ApiError::new(StatusCode::NOT_FOUND, "not_advertised", message));
    };
    let nobody = || ServiceError::NotReady("no server of this state is ready".into());
    let route = match &user {
        Some(user) => {
            let chosen = replicas.choose(user).ok_or_else(nobody)?;
            Route { user: Some(user), replica: chosen.replica, second: chosen.second }
        }
        None => Route { user: None, replica: replicas.any().ok_or_else(nobody)?, second: None },
    };
    let mut response = json(&route)?;
    put(response.headers_mut(), route.replica);
    Ok(response)
}

/// Says in the headers of an answer which server is warm for a user, if that is known.
pub(crate) fn show(app: &App, headers: &mut HeaderMap, user: &str) {
    if let Some(chosen) = app.service.replicas().as_ref().and_then(|all| all.choose(user)) {
        put(headers, chosen.replica);
    }
}

fn put(headers: &mut HeaderMap, replica: &str) {
    // Whoever wrote it into the state may not have looked at it.
    if let Ok(replica) = HeaderValue::from_str(replica) {
        headers.insert(REPLICA, replica);
    }
}

/// The layer of the users' endpoints that says it of the user in the path, to who may see the user.
pub(crate) async fn of_path(
    State(app): State<Shared>,
    path: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
    next: Next,
) -> Response {
    let user = path.ok().and_then(|path| {
        path.iter().find(|(name, _)| *name == "user").map(|(_, user)| user.to_owned())
    });
    let caller = request.extensions().get::<Caller>();
    let user = user.filter(|user| caller.is_some_and(|caller| caller.may_see(user).is_ok()));
    let mut response = next.run(request).await;
    if let Some(user) = user {
        show(&app, response.headers_mut(), &user);
    }
    response
}
