//! What requests for chats and for completions have in common.

use axum::http::HeaderMap;
use serde_json::Value;

use crate::{
    Limits, Sampling, Target,
    app::App,
    error::{ApiError, ApiResult},
    fields::Fields,
    guard::Caller,
    naming::{Named, target},
};

/// Fields that ask for what no model here does.
const REFUSED: [(&str, &str); 9] = [
    ("tools", "tools are not supported: leave them out"),
    ("tool_choice", "tools are not supported: leave tool_choice out, or set it to none"),
    ("functions", "functions are not supported: leave them out"),
    ("function_call", "functions are not supported: leave function_call out, or set it to none"),
    ("logit_bias", "logit_bias is not supported: leave it out"),
    ("audio", "audio is not supported: leave it out"),
    ("web_search_options", "searching the web is not supported: leave it out"),
    ("grammar", "grammars are not supported: leave them out"),
    ("guided_json", "guided decoding is not supported: leave it out"),
];

/// What both kinds of requests ask for.
#[derive(Debug)]
pub(crate) struct Parameters {
    pub named: Named,
    pub n: u32,
    pub max_tokens: Option<u32>,
    pub sampling: Sampling,
    pub stop: Vec<String>,
    pub stream: bool,
    /// Whether a stream ends with the usage.
    pub usage: bool,
    /// Whether the answer may be kept.
    pub keep: bool,
    /// Whether it is asked how the answer came about.
    pub trace: bool,
}

impl Parameters {
    pub fn take(fields: &mut Fields, limits: &Limits) -> ApiResult<Self> {
        for (name, why) in REFUSED {
            // `auto` with no tools asks for none.
            if name == "tool_choice" || name == "function_call" {
                match fields.take(name) {
                    Some(Value::String(text)) if text == "none" || text == "auto" => continue,
                    None => continue,
                    Some(_) => return Err(ApiError::unsupported(name, why)),
                }
            }
            fields.refuse(name, why)?;
        }
        response_format(fields)?;
        modalities(fields)?;
        let n = unsigned(fields, "n", 1..=i64::from(limits.choices))?.unwrap_or(1);
        let most = 1..=i64::from(limits.max_tokens);
        // Both names, as clients send the one or the other: the newer one counts.
        let older = unsigned(fields, "max_tokens", most.clone())?;
        let max_tokens = unsigned(fields, "max_completion_tokens", most)?.or(older);
        let stop = fields.texts("stop")?;
        if stop.iter().any(String::is_empty) {
            return Err(ApiError::invalid("stop", "a stop text is empty: leave it out"));
        }
        let extension = Extension::take(fields)?;
        let stream = fields.boolean("stream")?.unwrap_or(false);
        Ok(Self {
            named: Named {
                model: fields.text("model")?,
                safety_identifier: fields.text("safety_identifier")?,
                user: fields.text("user")?,
                base: extension.base,
            },
            n,
            max_tokens,
            sampling: sampling(fields)?,
            stop,
            usage: stream_options(fields, stream)?,
            stream,
            keep: fields.boolean("store")?.unwrap_or(true),
            trace: extension.trace,
        })
    }

    /// Whose model is meant.
    pub fn target(&self, app: &App, caller: &Caller, headers: &HeaderMap) -> ApiResult<Target> {
        target(caller, headers, &self.named, &app.service.models())
    }
}

fn unsigned(
    fields: &mut Fields,
    name: &str,
    range: std::ops::RangeInclusive<i64>,
) -> ApiResult<Option<u32>> {
    let value = fields.integer(name, range)?;
    Ok(value.map(|value| u32::try_from(value).unwrap_or(u32::MAX)))
}

fn sampling(fields: &mut Fields) -> ApiResult<Sampling> {
    let positive = f64::MIN_POSITIVE;
    Ok(Sampling {
        temperature: fields.number("temperature", 0.0..=2.0)?,
        top_p: above_zero(fields, "top_p", 1.0)?,
        // 0 and -1 are others' names for no limit.
        top_k: unsigned(fields, "top_k", -1..=1_000_000)?.filter(|k| (1..=1_000_000).contains(k)),
        min_p: fields.number("min_p", 0.0..=1.0)?,
        frequency_penalty: fields.number("frequency_penalty", -2.0..=2.0)?,
        presence_penalty: fields.number("presence_penalty", -2.0..=2.0)?,
        repetition_penalty: fields.number("repetition_penalty", positive..=10.0)?,
        seed: fields.integer("seed", i64::MIN..=i64::MAX)?,
    })
}

fn above_zero(fields: &mut Fields, name: &str, most: f64) -> ApiResult<Option<f64>> {
    match fields.number(name, 0.0..=most)? {
        Some(0.0) => {
            let name = fields.name(name);
            let message = format!("{name} is 0; it must be above 0 and at most {most}");
            Err(ApiError::invalid(&name, message))
        }
        value => Ok(value),
    }
}

fn stream_options(fields: &mut Fields, stream: bool) -> ApiResult<bool> {
    match fields.take("stream_options") {
        None => Ok(false),
        Some(Value::Object(options)) => {
            if !stream {
                let message = "stream_options need stream: true";
                return Err(ApiError::invalid("stream_options", message));
            }
            let mut options = Fields::within(options, "stream_options.");
            Ok(options.boolean("include_usage")?.unwrap_or(false))
        }
        Some(other) => Err(fields.wrong("stream_options", &other, "an object")),
    }
}

fn response_format(fields: &mut Fields) -> ApiResult<()> {
    let Some(format) = fields.take("response_format") else { return Ok(()) };
    match format.get("type").and_then(Value::as_str) {
        Some("text") => Ok(()),
        _ => Err(ApiError::unsupported(
            "response_format",
            "answers are plain text: leave response_format out, or set its type to text",
        )),
    }
}

fn modalities(fields: &mut Fields) -> ApiResult<()> {
    let modalities = fields.texts("modalities")?;
    if modalities.iter().all(|modality| modality == "text") {
        return Ok(());
    }
    Err(ApiError::unsupported("modalities", "answers are texts: leave modalities out"))
}

/// This server's own field, `spring`.
#[derive(Debug, Default)]
struct Extension {
    base: bool,
    trace: bool,
}

impl Extension {
    fn take(fields: &mut Fields) -> ApiResult<Self> {
        match fields.take("spring") {
            None => Ok(Self::default()),
            Some(Value::Object(own)) => {
                let mut own = Fields::within(own, "spring.");
                let extension = Self {
                    base: own.boolean("base")?.unwrap_or(false),
                    trace: own.boolean("trace")?.unwrap_or(false),
                };
                // Ours alone: whoever writes it means what is written here.
                match own.rest().first() {
                    None => Ok(extension),
                    Some(name) => {
                        let message = format!("there is no {name}; there are base and trace");
                        Err(ApiError::invalid(name, message))
                    }
                }
            }
            Some(other) => Err(fields.wrong("spring", &other, "an object")),
        }
    }
}
