//! Settings, and the one error for those that are out of range.

use std::fmt::{self, Display};
use std::ops::RangeBounds;

use serde::de;
use thiserror::Error;

/// A setting that is not allowed. Read aloud: "quantile = 1.5 is not allowed: it must be between 0
/// and 1".
///
/// ```
/// use spring_numerics::setting::{SettingError, in_range};
/// let error = in_range("quantile", 1.5, 0.0..=1.0, "between 0 and 1").unwrap_err();
/// let message = "gate.quantile = 1.5 is not allowed: it must be between 0 and 1";
/// assert_eq!(error.within("gate").to_string(), message);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}{name} = {value} is not allowed: it must be {allowed}", before(origin.as_deref()))]
#[non_exhaustive]
pub struct SettingError {
    /// The setting as the configuration spells it, with the tables it is in as far as they are
    /// known.
    pub name: String,
    /// What it was.
    pub value: String,
    /// What it must be: what follows "it must be".
    pub allowed: String,
    /// Where it was read, such as a file or an argument; `None` for one that a program has set.
    pub origin: Option<String>,
}

fn before(origin: Option<&str>) -> String {
    origin.map_or_else(String::new, |origin| format!("{origin}: "))
}

impl SettingError {
    /// `name` as the configuration spells it; `allowed` is what follows "it must be".
    pub fn new(name: impl Into<String>, value: impl Display, allowed: impl Into<String>) -> Self {
        let (name, value, allowed) = (name.into(), value.to_string(), allowed.into());
        Self { name, value, allowed, origin: None }
    }

    /// The same error about a setting inside a table: `quantile` within `gate` is `gate.quantile`.
    #[must_use]
    pub fn within(self, table: &str) -> Self {
        Self { name: format!("{table}.{}", self.name), ..self }
    }

    /// The same error about a setting that was read somewhere.
    #[must_use]
    pub fn read_in(self, origin: &str) -> Self {
        Self { origin: Some(origin.into()), ..self }
    }
}

/// Refuses a setting unless `is_allowed`.
///
/// # Errors
/// If it is not.
pub fn require(
    name: &str,
    value: impl Display,
    is_allowed: bool,
    allowed: &str,
) -> Result<(), SettingError> {
    if is_allowed { Ok(()) } else { Err(SettingError::new(name, value, allowed)) }
}

/// Refuses a setting outside a range; NaN is outside every range.
///
/// # Errors
/// If it is outside.
pub fn in_range<T: PartialOrd + Display>(
    name: &str,
    value: T,
    range: impl RangeBounds<T>,
    allowed: &str,
) -> Result<(), SettingError> {
    let is_inside = range.contains(&value);
    require(name, value, is_inside, allowed)
}

/// Why a bare name is not a kind, as serde tells it to [`chosen_by_name!`](crate::chosen_by_name).
#[doc(hidden)]
#[derive(Debug)]
pub struct NameError(String);

impl NameError {
    /// The error about the setting `what`, which was `name`.
    pub fn about(self, what: &str, name: &str) -> SettingError {
        SettingError::new(what, name, self.0)
    }
}

impl Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NameError {}

impl de::Error for NameError {
    fn custom<T: Display>(message: T) -> Self {
        Self(format!("a known name ({message})"))
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self(match expected {
            [others @ .., last] if !others.is_empty() => format!("{} or {last}", others.join(", ")),
            _ => expected.join(", "),
        })
    }

    fn missing_field(field: &'static str) -> Self {
        Self(format!("a table, since this kind needs `{field}`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nan_is_in_no_range() {
        assert!(in_range("x", f64::NAN, .., "a number").is_ok(), "but in that of everything");
        assert!(in_range("x", f64::NAN, f64::MIN..=f64::MAX, "a number").is_err());
        assert!(in_range("x", f32::INFINITY, 0.0..f32::INFINITY, "finite").is_err());
        assert!(in_range("x", 4u64, 2.., "at least 2").is_ok());
        let error = in_range("warm_up", 1u64, 2.., "at least 2").unwrap_err();
        assert_eq!(error.to_string(), "warm_up = 1 is not allowed: it must be at least 2");
        let message = "drift.toml: warm_up = 1 is not allowed: it must be at least 2";
        assert_eq!(error.read_in("drift.toml").to_string(), message);
    }
}
