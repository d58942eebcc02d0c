//! Validated identifiers of users and interactions.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The most bytes that an identifier may have.
pub const MAX_ID_BYTES: usize = 256;

/// Why a text is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum IdError {
    /// The text is empty or nothing but white space.
    #[error("{kind} id is blank: give it at least one visible character")]
    Blank {
        /// `user` or `interaction`.
        kind: &'static str,
    },
    /// The text is longer than [`MAX_ID_BYTES`].
    #[error("{kind} id has {bytes} bytes: the limit is {MAX_ID_BYTES}")]
    TooLong {
        /// `user` or `interaction`.
        kind: &'static str,
        /// The text's length in bytes.
        bytes: usize,
    },
    /// The text holds a control character, which could forge lines in a log or a terminal.
    #[error("{kind} id {id:?} holds the control character {character:?}: remove it")]
    Control {
        /// `user` or `interaction`.
        kind: &'static str,
        /// The refused text.
        id: String,
        /// Its first control character.
        character: char,
    },
}

fn validate(kind: &'static str, id: &str) -> Result<(), IdError> {
    if id.len() > MAX_ID_BYTES {
        return Err(IdError::TooLong { kind, bytes: id.len() });
    }
    if let Some(character) = id.chars().find(|c| c.is_control()) {
        return Err(IdError::Control { kind, id: id.to_owned(), character });
    }
    if id.trim().is_empty() {
        return Err(IdError::Blank { kind });
    }
    Ok(())
}

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        ///
        /// At most [`MAX_ID_BYTES`] bytes, not blank, no control characters; otherwise any text.
        /// Compared byte for byte: case, surrounding spaces and Unicode normal forms make different
        /// identifiers.
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Takes the text as an identifier.
            ///
            /// # Errors
            /// [`IdError`] when the text is blank, too long or holds a control character.
            pub fn new(id: impl Into<String>) -> Result<Self, IdError> {
                let id = id.into();
                validate($kind, &id)?;
                Ok(Self(id))
            }

            /// The identifier as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(id: String) -> Result<Self, IdError> {
                Self::new(id)
            }
        }

        impl TryFrom<&str> for $name {
            type Error = IdError;
            fn try_from(id: &str) -> Result<Self, IdError> {
                Self::new(id)
            }
        }

        impl std::str::FromStr for $name {
            type Err = IdError;
            fn from_str(id: &str) -> Result<Self, IdError> {
                Self::new(id)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

id_type!(
    /// Names one user of an installation.
    UserId,
    "user"
);
id_type!(
    /// Names one interaction, uniquely among those of its user.
    InteractionId,
    "interaction"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_ordinary_and_foreign_names() {
        for id in ["u", "a b", "Ærø/../7", "用户", &"x".repeat(256)] {
            assert_eq!(UserId::try_from(id).unwrap().as_str(), id);
        }
    }

    #[test]
    fn refuses_blank_long_and_control() {
        assert_eq!(UserId::new(""), Err(IdError::Blank { kind: "user" }));
        assert_eq!(UserId::new(" \u{2003}"), Err(IdError::Blank { kind: "user" }));
        assert_eq!(
            InteractionId::new("é".repeat(129)),
            Err(IdError::TooLong { kind: "interaction", bytes: 258 })
        );
        for id in ["a\nb", "\0", "a\u{1b}[2J", "\u{85}"] {
            assert!(matches!(UserId::new(id), Err(IdError::Control { .. })), "{id:?}");
        }
    }

    #[test]
    fn serde_validates() {
        let id: UserId = serde_json::from_str("\"ada\"").unwrap();
        assert_eq!(serde_json::to_string(&id).unwrap(), "\"ada\"");
        let error = serde_json::from_str::<InteractionId>("\"\"").unwrap_err().to_string();
        assert!(error.starts_with("interaction id is blank"), "{error}");
    }
}
