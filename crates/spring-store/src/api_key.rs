//! Keys of programs that ask a server for answers, as plain values.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use spring_memory::UserId;

/// The SHA-256 of a key's token.
pub type KeyHash = [u8; 32];

/// For whom a key speaks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum KeyAccess {
    /// For one user.
    User(UserId),
    /// For whomever it names: a program that serves many.
    Gateway,
    /// For whomever it names, administrative acts included.
    Admin,
}

/// A key that is to be added.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewKey {
    /// For whom it speaks. A user who is not there is added.
    pub access: KeyAccess,
    /// What people know it by: at most 256 bytes, no control characters; may be empty.
    pub label: String,
    /// Requests that it may make in a minute; `None` leaves that to the server, 0 sets no limit.
    pub requests_per_minute: Option<u32>,
    /// Requests that it may have at once; `None` and 0 as there.
    pub requests_at_once: Option<u32>,
}

impl NewKey {
    /// One without a label and limits of its own.
    pub fn new(access: KeyAccess) -> Self {
        let (requests_per_minute, requests_at_once) = (None, None);
        Self { access, label: String::new(), requests_per_minute, requests_at_once }
    }
}

spring_numerics::setters! {
    NewKey {
        with_label(label: String);
        with_requests_per_minute(requests_per_minute: Option<u32>);
        with_requests_at_once(requests_at_once: Option<u32>);
    }
}

/// A key, without what opens it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ApiKey {
    /// Its id, which is no secret: the beginning of its hash.
    pub id: String,
    /// The rest.
    #[serde(flatten)]
    pub record: KeyRecord,
}

impl ApiKey {
    /// The id of the key of a hash.
    pub fn id_of(hash: &KeyHash) -> String {
        hash[..6].iter().fold("key-".into(), |id, byte| format!("{id}{byte:02x}"))
    }
}

/// What is known of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct KeyRecord {
    /// For whom it speaks.
    pub access: KeyAccess,
    /// What people know it by.
    pub label: String,
    /// When it was made.
    pub made: Timestamp,
    /// When it was revoked; `None` while it opens.
    pub revoked: Option<Timestamp>,
    /// Requests in a minute; `None` leaves that to the server, 0 sets no limit.
    pub requests_per_minute: Option<u32>,
    /// Requests at once; `None` and 0 as there.
    pub requests_at_once: Option<u32>,
}
