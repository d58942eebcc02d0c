//! `POST /v1/completions`

use axum::{
    body::Body,
    extract::{Extension, State},
    http::HeaderMap,
    response::Response,
};
use serde_json::Value;

use super::{
    answering::admit,
    parameters::Parameters,
    shapes::{Kind, Wanted},
};
use crate::{
    Prompt,
    app::{Shared, new_id},
    body,
    error::{ApiError, ApiResult},
    fields::Fields,
    guard::{Caller, RequestId},
};

pub(crate) async fn post(
    State(app): State<Shared>,
    Extension(caller): Extension<Caller>,
    Extension(request_id): Extension<RequestId>,
    headers: HeaderMap,
    body: Body,
) -> ApiResult<Response> {
    let limits = &app.config.limits;
    let mut fields = Fields::of(body::read(body, &app).await?)?;
    let prompts = prompts("prompt", fields.take("prompt"), limits.prompts)?;
    let parameters = Parameters::take(&mut fields, limits)?;
    let logprobs = fields.integer("logprobs", 0..=20)?.and_then(|top| u32::try_from(top).ok());
    let why = "suffix is not supported: leave it out, and put what comes before into prompt";
    fields.refuse("suffix", why)?;
    if fields.integer("best_of", 1..=i64::MAX)?.is_some_and(|of| of > i64::from(parameters.n)) {
        let why = "best_of above n is not supported: leave it out, or set it to n";
        return Err(ApiError::unsupported("best_of", why));
    }
    let echo = match fields.boolean("echo")? {
        Some(true) => echo(&prompts, logprobs)?,
        _ => Vec::new(),
    };
    if parameters.trace && prompts.len() > 1 {
        let why = "spring.trace is there for one prompt: ask for each of them alone";
        return Err(ApiError::unsupported("spring.trace", why));
    }
    let ignored = fields.rest();
    let target = parameters.target(&app, &caller, &headers)?;
    let id = new_id("cmpl-")?;
    let admitted = admit(&app, &caller, target, &parameters, prompts, logprobs, &id).await?;
    let wanted = Wanted { logprobs: logprobs.is_some(), trace: parameters.trace };
    let asked = super::Asked { kind: Kind::Completion, id, wanted, echo, ignored };
    super::answer(&app, &parameters, asked, admitted, request_id.0).await
}

/// The prompts' texts, to stand before what is written.
fn echo(prompts: &[Prompt], logprobs: Option<u32>) -> ApiResult<Vec<String>> {
    if logprobs.is_some() {
        let why = "echo with logprobs is not supported: those of a prompt are not computed";
        return Err(ApiError::unsupported("echo", why));
    }
    let texts = prompts.iter().map(|prompt| match prompt {
        Prompt::Text(text) => Ok(text.clone()),
        Prompt::Chat(_) | Prompt::Tokens(_) => {
            Err(ApiError::unsupported("echo", "echo of token ids is not supported: give texts"))
        }
    });
    texts.collect()
}

/// A text, a list of texts, token ids, or a list of lists of them.
pub(crate) fn prompts(name: &str, value: Option<Value>, most: usize) -> ApiResult<Vec<Prompt>> {
    let wrong = || {
        let message = format!(
            "{name} must be a text, a list of texts, a list of token ids, or a list of such lists"
        );
        ApiError::invalid(name, message)
    };
    let prompts = match value {
        None => return Err(ApiError::invalid(name, format!("{name} is missing"))),
        Some(Value::String(text)) => vec![Prompt::Text(text)],
        Some(Value::Array(items)) => match items.first() {
            None => return Err(ApiError::invalid(name, format!("{name} is empty"))),
            Some(Value::Number(_)) => vec![tokens(items).ok_or_else(wrong)?],
            // The number is looked at before anything is made of them.
            Some(_) if items.len() > most => {
                let message = format!("{name} has {} items: the limit is {most}", items.len());
                return Err(ApiError::invalid(name, message));
            }
            Some(_) => {
                let prompts = items.into_iter().map(|item| match item {
                    Value::String(text) => Some(Prompt::Text(text)),
                    Value::Array(ids) if !ids.is_empty() => tokens(ids),
                    _ => None,
                });
                prompts.collect::<Option<Vec<_>>>().ok_or_else(wrong)?
            }
        },
        Some(_) => return Err(wrong()),
    };
    Ok(prompts)
}

fn tokens(items: Vec<Value>) -> Option<Prompt> {
    let ids = items.iter().map(|item| item.as_u64().and_then(|id| u32::try_from(id).ok()));
    ids.collect::<Option<Vec<_>>>().map(Prompt::Tokens)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_prompt_has_four_forms() {
        let text = |text: &str| Prompt::Text(text.into());
        for (value, expected) in [
            (json!("a"), vec![text("a")]),
            (json!(["a", "b"]), vec![text("a"), text("b")]),
            (json!([1, 2]), vec![Prompt::Tokens(vec![1, 2])]),
            (json!([[1], [2]]), vec![Prompt::Tokens(vec![1]), Prompt::Tokens(vec![2])]),
        ] {
            assert_eq!(prompts("prompt", Some(value), 2), Ok(expected));
        }
    }

    #[test]
    fn other_forms_are_refused() {
        for value in [
            json!([]),
            json!({}),
            json!(1),
            json!([-1]),
            json!([1.5]),
            json!([4_294_967_296_u64]),
            json!([1, "a"]),
            json!([[]]),
            json!(["a", 1]),
            json!(["a", "b", "c"]),
        ] {
            let error = prompts("prompt", Some(value.clone()), 2).unwrap_err();
            assert_eq!(error.param.as_deref(), Some("prompt"), "{value}");
        }
        assert!(prompts("prompt", None, 2).is_err());
    }
}
