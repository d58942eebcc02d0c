//! One interaction: what was asked, what the user wrote, and when.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, de};
use spring_numerics::setters;

use crate::{InteractionId, UserId};

/// One prompt with the response that the user wrote or accepted.
///
/// Equality compares every field: two interactions with the same `id` are the same one when they
/// are equal and a conflict otherwise. Deserialisation refuses unknown keys and a response without
/// visible characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Interaction {
    /// Whose interaction it is.
    pub user: UserId,
    /// Unique among the user's interactions.
    pub id: InteractionId,
    /// When it happened; RFC 3339 in JSON, with any offset.
    #[serde(deserialize_with = "rfc3339")]
    pub time: Timestamp,
    /// What was asked; may be empty.
    pub prompt: String,
    /// What the user wrote.
    #[serde(deserialize_with = "not_blank")]
    pub response: String,
    /// Anything that the caller wants to keep with it; the method never reads it. `null` in JSON is
    /// the same as absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<serde_json::Value>,
}

impl Interaction {
    /// A user's interaction, without `meta`.
    pub fn new(
        user: UserId,
        id: InteractionId,
        time: Timestamp,
        prompt: impl Into<String>,
        response: impl Into<String>,
    ) -> Self {
        Self { user, id, time, prompt: prompt.into(), response: response.into(), meta: None }
    }
}

setters! {
    Interaction {
        with_user(user: UserId);
        with_id(id: InteractionId);
        with_time(time: Timestamp);
        with_prompt(prompt: String);
        with_response(response: String);
        with_meta(meta: Option<serde_json::Value>);
    }
}

fn rfc3339<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|error| {
        de::Error::custom(format_args!(
            "time {text:?} is not RFC 3339 such as \"2026-01-31T09:30:00Z\": {error}"
        ))
    })
}

fn not_blank<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.trim().is_empty() {
        return Err(de::Error::custom(
            "response is blank: there is nothing to learn from it, drop the line",
        ));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str =
        r#"{"user":"ada","id":"1","time":"2026-01-31T09:30:00+02:00","prompt":"p","response":"r"}"#;

    #[test]
    fn reads_and_writes_json() {
        let interaction: Interaction = serde_json::from_str(LINE).unwrap();
        assert_eq!(interaction.time.to_string(), "2026-01-31T07:30:00Z");
        let again: Interaction =
            serde_json::from_str(&serde_json::to_string(&interaction).unwrap()).unwrap();
        assert_eq!(again, interaction);
    }

    #[test]
    fn refuses_what_is_not_an_interaction() {
        let refused = |from: &str, to: &str| {
            let line = LINE.replace(from, to);
            assert_ne!(line, LINE);
            serde_json::from_str::<Interaction>(&line).unwrap_err().to_string()
        };
        assert!(refused(r#""prompt":"p","#, "").contains("missing field `prompt`"));
        assert!(
            refused(r#""prompt":"p""#, r#""prompt":"p","mood":1"#).contains("unknown field `mood`")
        );
        assert!(refused(r#""response":"r""#, r#""response":" \n""#).contains("response is blank"));
        assert!(
            refused("2026-01-31T09:30:00+02:00", "2026-01-31T09:30:00").contains("not RFC 3339")
        );
        assert!(refused(r#""ada""#, r#""""#).contains("user id is blank"));
        assert!(refused(r#""id":"1""#, r#""id":1"#).contains("invalid type"));
    }
}
