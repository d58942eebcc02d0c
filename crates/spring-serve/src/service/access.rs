//! Keys and the audit log.

use serde::Serialize;
use sha2::{Digest, Sha256};

/// What a key's owner may do.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Access {
    /// Is this user, and never sees another.
    User(String),
    /// May name users, by header or field: a program that speaks for many. It neither removes,
    /// exports nor imports them.
    Gateway,
    /// May do everything.
    Admin,
}

/// A key, without what opens it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Key {
    /// Its name in logs, metrics and limits; unique, and no secret.
    pub id: String,
    /// What its owner may do.
    pub access: Access,
    /// Requests in a minute; `None`: as the [limits](crate::Limits) say; 0 sets no limit.
    pub requests_per_minute: Option<u32>,
    /// Requests that are open at once; `None` and 0 as there.
    pub requests_at_once: Option<u32>,
}

impl Key {
    /// One without limits of its own.
    pub fn new(id: impl Into<String>, access: Access) -> Self {
        let (requests_per_minute, requests_at_once) = (None, None);
        Self { id: id.into(), access, requests_per_minute, requests_at_once }
    }
}

/// The SHA-256 of a key's token, which is what a state keeps.
///
/// A plain hash is right here, unlike for passwords: a token is 32 random bytes, so there is
/// nothing to try through, and a slow hash would only make every request slow.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyHash(pub [u8; 32]);

impl KeyHash {
    /// Of a token, as the client sends it.
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }
}

impl std::fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyHash(…)")
    }
}

/// The first eight bytes of the SHA-256 of a name as a number, the most significant first.
pub(super) fn digest(name: &[u8]) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = <[u8; 32]>::from(Sha256::digest(name));
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// A new token and its hash: 32 bytes from the system's random numbers. The token is shown once
/// and kept nowhere.
///
/// # Errors
///
/// The system has no random numbers.
pub fn new_key() -> std::io::Result<(String, KeyHash)> {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| std::io::Error::other(error.to_string()))?;
    let token = format!("sk-spring-{}", URL_SAFE_NO_PAD.encode(bytes));
    let hash = KeyHash::of(&token);
    Ok((token, hash))
}

/// An administrative act; no text of a user is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AuditEvent {
    /// Seconds since 1970.
    pub time: u64,
    /// The key's id; empty where there are no keys.
    pub key: String,
    /// `user.create`, `user.delete`, `user.export`, `user.import`, `interaction.delete`, `adapt`,
    /// `rollback`, `consent.set`; of whoever else writes such events, what they name it.
    pub act: &'static str,
    /// Whose state was touched.
    pub user: Option<String>,
    /// What of it: an id or a number.
    pub object: Option<String>,
    /// The answer's HTTP status.
    pub status: u16,
    /// The request's id.
    pub request_id: String,
}

impl AuditEvent {
    /// An act that went well, of nobody's state so far.
    pub fn new(time: u64, key: impl Into<String>, act: &'static str) -> Self {
        let key = key.into();
        Self { time, key, act, user: None, object: None, status: 200, request_id: String::new() }
    }
}
