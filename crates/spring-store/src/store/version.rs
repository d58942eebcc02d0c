//! Which state of a user is there now.

use spring_memory::UserId;

use super::prior::start;
use crate::{
    Error, UserVersion,
    backend::{Outcome, Rows, UserRow},
};

pub(super) fn version(rows: &dyn Rows, name: &UserId, row: &UserRow) -> Outcome<UserVersion> {
    let (removals, generation) = (row.removals, row.generation);
    Ok(UserVersion { user: name.clone(), removals, generation, prior: start(rows, row)? })
}

/// Refuses what was computed before a text was removed.
pub(super) fn check_removals(version: &UserVersion, user: &UserRow) -> Outcome<()> {
    match user.removals == version.removals {
        true => Ok(()),
        false => Err(Error::Outdated { user: version.user.clone() }.into()),
    }
}
