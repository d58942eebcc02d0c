//! Settings in words.

use serde::Serialize;
use serde_json::Value;
use spring_core::{
    BankKind, Config, DecodingConfig, NoveltyReference, RetrieverKind, spring_fuse::MixtureConfig,
};

/// What was chosen by name, with its settings.
pub(super) fn method(config: &Config) -> String {
    let Config { drift, buffer, retrieval, gate, fusion, .. } = config;
    let retriever = match retrieval.retriever {
        RetrieverKind::Bm25 => {
            format!("bm25 ({}, fields {})", settings(&config.bm25), chosen(&retrieval.fields))
        }
        other @ (RetrieverKind::Dense | RetrieverKind::Latest) => other.name().to_owned(),
    };
    let reference = match drift.reference {
        NoveltyReference::Base => "",
        NoveltyReference::Population => ", novelty against the population",
    };
    let half_life = retrieval
        .half_life
        .map_or(String::new(), |half_life| format!(", half-life {half_life} texts"));
    let bank = match buffer.bank {
        BankKind::Buffer => String::new(),
        BankKind::History => ", over the whole history".to_owned(),
    };
    let retriever = format!("{retriever}{half_life}{bank}");
    let parts = [
        ("scorer", chosen(&drift.scorer) + reference),
        ("selection", chosen(&drift.selection)),
        ("buffer", format!("{} of {}", chosen(&buffer.policy), buffer.capacity)),
        ("retriever", retriever),
        ("gate", chosen(gate)),
        ("mixture", mixture(fusion)),
        ("decoding", decoding(&config.decoding)),
    ];
    parts.map(|(part, choice)| format!("{part} {choice}")).join("; ")
}

/// Space and λ in words, and the contrast where there is one.
pub(super) fn mixture(config: &MixtureConfig) -> String {
    let contrast = config
        .contrasting()
        .map_or(String::new(), |contrast| format!(", contrast ({})", settings(&contrast)));
    format!("{}, λ {}{contrast}", chosen(&config.space), chosen(&config.lambda))
}

/// Penalties and sampler in words.
pub(super) fn decoding(config: &DecodingConfig) -> String {
    let sampler = match config.sampler.temperature {
        0.0 => "greedy".to_owned(),
        _ => format!("drawn ({})", settings(&config.sampler)),
    };
    format!("{sampler}, penalties ({})", settings(&config.penalties))
}

/// `{"kind": "margin", "margin": 2}` as "margin (margin 2)".
pub(super) fn chosen(choice: &impl Serialize) -> String {
    let value = value_of(choice);
    if !value.is_object() {
        return plain(&value);
    }
    let (kind, rest) = (value.get("kind").map(plain).unwrap_or_default(), settings(choice));
    if rest.is_empty() { kind } else { format!("{kind} ({rest})") }
}

/// Settings without their kind and without those that are off: "margin 2, k 2".
pub(super) fn settings(of: &impl Serialize) -> String {
    let Value::Object(settings) = value_of(of) else { return String::new() };
    let is_on =
        |value: &Value| !value.is_null() && value.as_array().is_none_or(|list| !list.is_empty());
    let settings = settings.iter().filter(|(key, value)| *key != "kind" && is_on(value));
    settings.map(|(key, value)| format!("{key} {}", plain(value))).collect::<Vec<_>>().join(", ")
}

/// Through text, where an f32 has as few digits as identify it.
fn value_of(value: &impl Serialize) -> Value {
    serde_json::to_string(value).and_then(|text| serde_json::from_str(&text)).unwrap_or_default()
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(name) => name.clone(),
        Value::Object(settings) if settings.contains_key("kind") => chosen(value),
        other => other.to_string(),
    }
}
