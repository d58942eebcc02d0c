//! Whose model a request means.

use axum::http::{HeaderMap, StatusCode};

use crate::{
    Access, Model, ServiceError, Target,
    error::{ApiError, ApiResult},
    guard::Caller,
};

/// Headers that name a user, if a key may name one. The first that is there counts.
const HEADERS: [&str; 4] =
    ["x-spring-user", "x-openwebui-user-id", "x-litellm-end-user-id", "x-litellm-customer-id"];

/// What a request's body says of whom it means.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Named {
    /// `model`.
    pub model: Option<String>,
    /// `safety_identifier`.
    pub safety_identifier: Option<String>,
    /// `user`.
    pub user: Option<String>,
    /// The base is wanted, whoever asks.
    pub base: bool,
}

impl Named {
    /// By a `model` alone.
    pub fn model(model: Option<String>) -> Self {
        Self { model, ..Self::default() }
    }
}

/// Finds out whom a request means: the user of a key, else the one in a header, in
/// `model = "BASE:USER"`, in `safety_identifier`, in `user`; else nobody, and the base answers.
///
/// The key of one user may name no other: it is told that there is none. A `model` that is not
/// there is an error, never the base.
pub(crate) fn target(
    caller: &Caller,
    headers: &HeaderMap,
    named: &Named,
    models: &[Model],
) -> ApiResult<Target> {
    let (model, by_model) = base_of(named.model.as_deref(), models)?;
    let not_blank = |text: &'_ String| !text.trim().is_empty();
    let fields = [
        ("safety_identifier", named.safety_identifier.as_ref().filter(|text| not_blank(text))),
        ("user", named.user.as_ref().filter(|text| not_blank(text))),
    ];
    let user = if let Access::User(own) = &caller.access {
        if by_model.is_some_and(|user| user != own) {
            let model = named.model.clone().unwrap_or_default();
            return Err(ServiceError::UnknownModel(model).into());
        }
        for (param, user) in fields {
            if let Some(user) = user.filter(|user| *user != own) {
                return Err(ApiError::unknown_user(user).of(param));
            }
        }
        Some(own.clone())
    } else {
        let by_header = header(headers)?;
        let by_field = fields.into_iter().find_map(|(_, user)| user.cloned());
        by_header.or_else(|| by_model.map(str::to_owned)).or(by_field)
    };
    Ok(match user {
        Some(user) if !named.base => Target::User { model, user },
        person => Target::Base { model, person },
    })
}

/// The base that a model's name means, and the user in it. Without a name it is the first base.
fn base_of<'a>(name: Option<&'a str>, models: &[Model]) -> ApiResult<(String, Option<&'a str>)> {
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        return match models.first() {
            Some(model) => Ok((model.id.clone(), None)),
            None => Err(ServiceError::NotReady("no model is loaded yet".into()).into()),
        };
    };
    if models.iter().any(|model| model.id == name) {
        return Ok((name.to_owned(), None));
    }
    // A base's own name may have a colon: the longest that fits.
    let parts = models.iter().filter_map(|model| {
        let user = name.strip_prefix(model.id.as_str())?.strip_prefix(':')?;
        (!user.is_empty()).then_some((&model.id, user))
    });
    match parts.max_by_key(|(id, _)| id.len()) {
        Some((id, user)) => Ok((id.clone(), Some(user))),
        None => Err(ServiceError::UnknownModel(name.into()).into()),
    }
}

/// The user whom a header names.
pub(crate) fn header(headers: &HeaderMap) -> ApiResult<Option<String>> {
    for name in HEADERS {
        let Some(value) = headers.get(name) else { continue };
        let text = std::str::from_utf8(value.as_bytes()).map_err(|_| {
            let message = format!("the header {name} is not UTF-8");
            ApiError::new(StatusCode::BAD_REQUEST, "invalid_header", message)
        })?;
        if !text.trim().is_empty() {
            return Ok(Some(text.to_owned()));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Key;

    fn models() -> Vec<Model> {
        ["base", "base:large"]
            .map(|id| Model { id: id.into(), created: 0, context: 8, embedding: None })
            .to_vec()
    }

    fn caller(access: Access) -> Caller {
        Caller::of(Key::new("k", access))
    }

    fn named(model: &str, safety_identifier: &str, user: &str) -> Named {
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Named {
            model: text(model),
            safety_identifier: text(safety_identifier),
            user: text(user),
            base: false,
        }
    }

    fn headers(of: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = of.iter().map(|(name, value)| {
            (name.parse::<axum::http::HeaderName>().unwrap(), value.parse().unwrap())
        });
        pairs.collect()
    }

    fn name(caller: &Caller, headers: &HeaderMap, named: &Named) -> String {
        match target(caller, headers, named, &models()) {
            Ok(target) => target.name(),
            Err(error) => error.code.to_owned(),
        }
    }

    #[test]
    fn a_gateway_names_a_user_by_header_then_model_then_fields() {
        let gateway = caller(Access::Gateway);
        let none = HeaderMap::new();
        let by = headers(&[("x-openwebui-user-id", "web"), ("x-litellm-end-user-id", "lite")]);
        assert_eq!(name(&gateway, &by, &named("base:m", "s", "u")), "base:web");
        assert_eq!(name(&gateway, &none, &named("base:m", "s", "u")), "base:m");
        assert_eq!(name(&gateway, &none, &named("base", "s", "u")), "base:s");
        assert_eq!(name(&gateway, &none, &named("base", "", "u")), "base:u");
        assert_eq!(name(&gateway, &none, &named("base", "", "")), "base");
        assert_eq!(name(&gateway, &none, &named("", "", "")), "base");
    }

    #[test]
    fn the_key_of_a_user_names_no_other_and_believes_no_header() {
        let ada = caller(Access::User("ada".into()));
        let by = headers(&[("x-spring-user", "bob")]);
        assert_eq!(name(&ada, &by, &named("base", "", "")), "base:ada");
        assert_eq!(name(&ada, &by, &named("base:ada", "ada", "ada")), "base:ada");
        assert_eq!(name(&ada, &by, &named("base:bob", "", "")), "model_not_found");
        assert_eq!(name(&ada, &by, &named("base", "", "bob")), "user_not_found");
        assert_eq!(name(&ada, &by, &named("base", "bob", "")), "user_not_found");
    }

    #[test]
    fn a_mistyped_model_is_never_the_base() {
        let gateway = caller(Access::Gateway);
        for model in ["bas", "base:", "gpt-4o", ":ada", "Base", "base/ada"] {
            let found = name(&gateway, &HeaderMap::new(), &named(model, "", "u"));
            assert_eq!(found, "model_not_found", "{model}");
        }
    }

    #[test]
    fn a_base_with_a_colon_in_its_name_is_found_first() {
        let gateway = caller(Access::Gateway);
        let none = HeaderMap::new();
        let found = |model| target(&gateway, &none, &named(model, "", ""), &models()).unwrap();
        let large = Target::Base { model: "base:large".into(), person: None };
        assert_eq!(found("base:large"), large);
        assert_eq!(found("base:large:ada").user(), Some("ada"));
        assert_eq!(found("base:larger").user(), Some("larger"));
        assert_eq!(found("base:a:b").user(), Some("a:b"));
    }

    #[test]
    fn the_base_is_had_by_asking_for_it() {
        let ada = caller(Access::User("ada".into()));
        let asked = Named { base: true, ..named("base", "", "") };
        assert_eq!(name(&ada, &HeaderMap::new(), &asked), "base");
        // As the person who is named, or whose key it is.
        let by = |caller: &Caller, headers: &HeaderMap, named: &Named| match target(
            caller,
            headers,
            named,
            &models(),
        )
        .unwrap()
        {
            Target::Base { person, .. } => person,
            Target::User { .. } => None,
        };
        assert_eq!(by(&ada, &HeaderMap::new(), &asked).as_deref(), Some("ada"));
        let gateway = caller(Access::Gateway);
        let bob = headers(&[("x-spring-user", "bob")]);
        assert_eq!(by(&gateway, &bob, &asked).as_deref(), Some("bob"));
        assert_eq!(by(&gateway, &HeaderMap::new(), &asked), None);
        // It is no way around what may be named.
        let asked = Named { base: true, ..named("base:bob", "", "") };
        assert_eq!(name(&ada, &HeaderMap::new(), &asked), "model_not_found");
    }
}
