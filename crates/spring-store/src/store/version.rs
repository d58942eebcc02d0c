//! Which state of a user is there now.

use spring_memory::UserId;

use crate::{
    Error, UserVersion,
    backend::{Outcome, UserRow},
};

pub(super) fn version(name: &UserId, row: &UserRow) -> UserVersion {
    UserVersion { user: name.clone(), removals: row.removals, generation: row.generation }
}

/// Refuses what was computed before a text was removed.
pub(super) fn check_removals(version: &UserVersion, user: &UserRow) -> Outcome<()> {
    match user.removals == version.removals {
        true => Ok(()),
        false => Err(Error::Outdated { user: version.user.clone() }.into()),
    }
}
