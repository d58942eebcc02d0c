//! Keys of programs that ask a server for answers.
//!
//! They are the state's and no part of what is kept of a user: they are in no export and no digest.
//! One that speaks for a user goes with the user.

use std::collections::HashMap;

use jiff::Timestamp;
use spring_memory::SettingError;

use super::{
    Store,
    encode::{from_json, to_json},
};
use crate::{
    ApiKey, Error, KeyAccess, KeyHash, KeyRecord, NewKey, Result,
    backend::{Backend, Fault, KeyRow, Outcome, Rows, RowsMut},
};

/// Longest label, in bytes.
const MAX_LABEL: usize = 256;

impl<B: Backend + ?Sized> Store<B> {
    /// Adds a key, made at `at`, by the SHA-256 of its token. The user for whom it speaks is added,
    /// too, if there is none of this name.
    ///
    /// A plain hash is right for a token of 256 random bits, unlike for a password: there is
    /// nothing to try through.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] for a label that is too long or has control characters.
    pub fn add_key(&self, hash: &KeyHash, new: &NewKey, at: Timestamp) -> Result<ApiKey> {
        if new.label.len() > MAX_LABEL || new.label.chars().any(char::is_control) {
            let allowed = format!("at most {MAX_LABEL} bytes without control characters");
            return Err(SettingError::new("label", new.label.escape_debug(), allowed).into());
        }
        let NewKey { access, label, requests_per_minute, requests_at_once } = new.clone();
        let record = KeyRecord {
            access,
            label,
            made: at,
            revoked: None,
            requests_per_minute,
            requests_at_once,
        };
        let key = ApiKey { id: ApiKey::id_of(hash), record };
        self.write(|rows| add(rows, hash, &key))?;
        Ok(key)
    }

    /// All keys, the revoked ones too, in the order in which they were made.
    pub fn keys(&self) -> Result<Vec<ApiKey>> {
        let mut keys =
            self.read(|rows| rows.keys()?.iter().map(parsed).collect::<Outcome<Vec<_>>>())?;
        keys.sort_by(|one, other| (one.record.made, &one.id).cmp(&(other.record.made, &other.id)));
        Ok(keys)
    }

    /// Whether there was ever a key: the revoked ones count, so that revoking the last one does not
    /// open a server to everybody.
    pub fn has_keys(&self) -> Result<bool> {
        self.read(|rows| Ok(!rows.keys()?.is_empty()))
    }

    /// The key of a token's SHA-256; `None` if there is none or it was revoked.
    pub fn key(&self, hash: &KeyHash) -> Result<Option<ApiKey>> {
        self.read(|rows| {
            // A database compares as it likes; what that takes tells something of a hash at most,
            // from which no token follows. What counts is compared in constant time.
            let row = rows.key(hash)?.filter(|row| is_equal(&row.hash, hash));
            let key = row.as_ref().map(parsed).transpose()?;
            Ok(key.filter(|key| key.record.revoked.is_none()))
        })
    }

    /// Revokes a key for good; one that was revoked already stays as it was.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownKey`].
    pub fn revoke_key(&self, id: &str, at: Timestamp) -> Result<ApiKey> {
        self.write(|rows| {
            let row = rows.keys()?.into_iter().find(|row| row.id == id);
            let row = row.ok_or_else(|| self.unknown_key(id))?;
            revoke(rows, row, at)
        })
    }

    /// Gives this state the keys of another one that it lacks, and of the others that they were
    /// revoked there: who was revoked in either opens neither from here. The keys that this state
    /// alone has stay. Gives the number of those that changed.
    pub fn copy_keys(&self, from: &Store) -> Result<u64> {
        let theirs = from.read(|rows| rows.keys())?;
        self.write(|rows| {
            let mut copied = revoke_as(rows, &theirs)?;
            for row in &theirs {
                if rows.key(&row.hash)?.is_none() {
                    let hash = <&KeyHash>::try_from(row.hash.as_slice());
                    let hash = hash.map_err(|error| Fault::damaged("keys", error))?;
                    add(rows, hash, &parsed(row)?)?;
                    copied += 1;
                }
            }
            Ok(copied)
        })
    }

    /// Revokes the keys of this state that another one has revoked, and gives their number: before
    /// users are copied one by one, so that none of these keys opens even the first of them.
    pub fn copy_revocations(&self, from: &Store) -> Result<u64> {
        let theirs = from.read(|rows| rows.keys())?;
        self.write(|rows| revoke_as(rows, &theirs))
    }

    fn unknown_key(&self, id: &str) -> Fault {
        Error::UnknownKey { id: id.to_owned(), state: self.backend.label().into() }.into()
    }
}

fn add(rows: &mut dyn RowsMut, hash: &KeyHash, key: &ApiKey) -> Outcome<()> {
    if rows.keys()?.iter().any(|there| there.id == key.id) {
        let reason = format!("there is a key {} already; make another one", key.id);
        return Err(Fault::Unusable(reason));
    }
    let user = match &key.record.access {
        KeyAccess::Gateway | KeyAccess::Admin => None,
        KeyAccess::User(name) => Some(match rows.user(name)? {
            Some(user) => user.key,
            None => {
                let removals = rows.settings()?.removals;
                let user = rows.add_user(name, removals)?;
                rows.put_user(&user)?;
                user.key
            }
        }),
    };
    let record = to_json("the key", &key.record)?;
    rows.put_key(&KeyRow { id: key.id.clone(), hash: hash.to_vec(), user, record, sum: 0 })
}

/// Leaves a revoked key where the last one has gone with its user: a server that is started again
/// would let everybody in.
pub(super) fn keep_asking(rows: &mut dyn RowsMut) -> Outcome<()> {
    if !rows.keys()?.is_empty() {
        return Ok(());
    }
    let record = KeyRecord {
        access: KeyAccess::Gateway,
        label: "in place of the last key, which went with its user".into(),
        made: Timestamp::UNIX_EPOCH,
        revoked: Some(Timestamp::UNIX_EPOCH),
        requests_per_minute: None,
        requests_at_once: None,
    };
    // No token has it, and it opens nothing.
    let hash = KeyHash::default();
    let record = to_json("the key", &record)?;
    let id = ApiKey::id_of(&hash);
    rows.put_key(&KeyRow { id, hash: hash.to_vec(), user: None, record, sum: 0 })
}

/// When a key was revoked; `None` for one that still opens.
pub(super) fn revoked(row: &KeyRow) -> Outcome<Option<Timestamp>> {
    Ok(parsed(row)?.record.revoked)
}

/// Keys by the SHA-256 of their tokens.
pub(super) fn by_hash(rows: Vec<KeyRow>) -> HashMap<Vec<u8>, KeyRow> {
    rows.into_iter().map(|row| (row.hash.clone(), row)).collect()
}

/// Revokes those keys that were revoked in another state and open this user here: the user's own,
/// and those of gateways and administrators. What a key opens there does not count.
pub(super) fn revoke_as_of(
    rows: &mut dyn RowsMut,
    user: i64,
    theirs: &HashMap<Vec<u8>, KeyRow>,
) -> Outcome<()> {
    for ours in rows.keys()? {
        if ours.user.is_none_or(|own| own == user)
            && let Some(theirs) = theirs.get(&ours.hash)
            && let Some(at) = revoked(theirs)?
        {
            revoke(rows, ours, at)?;
        }
    }
    Ok(())
}

/// Revokes the keys that were revoked in another state; gives the number of those that were open.
fn revoke_as(rows: &mut dyn RowsMut, theirs: &[KeyRow]) -> Outcome<u64> {
    let mut count = 0;
    for row in theirs {
        if let Some(at) = revoked(row)?
            && let Some(ours) = rows.key(&row.hash)?
            && revoked(&ours)?.is_none()
        {
            revoke(rows, ours, at)?;
            count += 1;
        }
    }
    Ok(count)
}

pub(super) fn revoke(rows: &mut dyn RowsMut, row: KeyRow, at: Timestamp) -> Outcome<ApiKey> {
    let mut key = parsed(&row)?;
    if key.record.revoked.is_none() {
        key.record.revoked = Some(at);
        rows.put_key(&KeyRow { record: to_json("the key", &key.record)?, ..row })?;
    }
    Ok(key)
}

fn parsed(row: &KeyRow) -> Outcome<ApiKey> {
    Ok(ApiKey { id: row.id.clone(), record: from_json("keys", &row.record)? })
}

/// That every key reads back, and belongs to whom it says.
pub(super) fn check(rows: &dyn Rows) -> Outcome<()> {
    for row in rows.keys()? {
        let of_key = |fault: Fault| fault.of_item(format!("key {:?}", row.id));
        let user = match parsed(&row).map_err(of_key)?.record.access {
            KeyAccess::User(name) => {
                let user = rows.user(&name).map_err(|fault| fault.of_user(&name))?;
                user.map(|user| user.key)
            }
            KeyAccess::Gateway | KeyAccess::Admin => None,
        };
        if user != row.user {
            return Err(of_key(Fault::damaged("keys", "it is not of the user that it names")));
        }
    }
    Ok(())
}

/// Whether two hashes are equal, in a time that tells nothing of where they differ.
fn is_equal(one: &[u8], other: &[u8]) -> bool {
    let differ = |differ: u8, (one, other): (&u8, &u8)| differ | (one ^ other);
    one.len() == other.len() && one.iter().zip(other).fold(0, differ) == 0
}
