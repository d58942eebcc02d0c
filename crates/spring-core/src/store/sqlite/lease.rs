//! Who trains a user: one row per user while it lasts.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{
    fault::{Fault, Outcome},
    holder::Holder,
    user::User,
};
use crate::{Error, store::Lease};

/// How long a lease lasts unless it is renewed.
const DURATION: SignedDuration = SignedDuration::from_mins(10);

/// How often it is renewed while its holder works.
pub(super) const RENEW_EVERY: Duration = Duration::from_secs(120);

/// Takes the user, unless somebody else has.
pub(super) fn take(user: &User<'_>) -> Outcome<Lease> {
    check_free(user)?;
    let (here, expires) = (Holder::here(), Timestamp::now() + DURATION);
    let token = user.row(
        "leases",
        "INSERT INTO leases (user, token, holder, place, process, started, expires)
         VALUES (?1, random(), ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (user) DO UPDATE SET token = excluded.token, holder = excluded.holder,
         place = excluded.place, process = excluded.process, started = excluded.started,
         expires = excluded.expires RETURNING token",
        (user.key, here.name, here.place, here.process, here.started, expires.as_second()),
        |row| row.get::<_, i64>(0),
    )?;
    Ok(Lease { user: user.name.clone(), token: token.unwrap_or_default(), expires })
}

/// Refuses a user whom somebody trains: the lease has not ended and its holder may still run.
pub(super) fn check_free(user: &User<'_>) -> Outcome<()> {
    let held = user.row("leases", "SELECT * FROM leases WHERE user = ?1", [user.key], |row| {
        Ok((Holder::of(row)?, row.get::<_, i64>("expires")?))
    })?;
    match held {
        Some((holder, expires)) if expires > Timestamp::now().as_second() && !holder.is_gone() => {
            let until = Timestamp::from_second(expires)
                .map_err(|error| Fault::damaged("leases", Some(user.name), error))?;
            Err(Error::Leased { user: user.name.clone(), holder: holder.name, until }.into())
        }
        _ => Ok(()),
    }
}

/// Refuses a lease that somebody else has taken over, or that went with its user.
pub(super) fn check(user: &User<'_>, lease: &Lease) -> Outcome<()> {
    let is_held = user.row(
        "leases",
        "SELECT 1 FROM leases WHERE user = ?1 AND token = ?2",
        (user.key, lease.token),
        |_| Ok(()),
    )?;
    is_held.ok_or_else(|| Error::Conflict { user: user.name.clone() }.into())
}

/// Puts off the end.
pub(super) fn renew(user: &User<'_>, lease: &Lease) -> Outcome<Timestamp> {
    check(user, lease)?;
    let expires = Timestamp::now() + DURATION;
    user.execute("UPDATE leases SET expires = ?2 WHERE user = ?1", (user.key, expires.as_second()))?;
    Ok(expires)
}

/// Ends it.
pub(super) fn release(user: &User<'_>, lease: &Lease) -> Outcome<()> {
    user.execute("DELETE FROM leases WHERE user = ?1 AND token = ?2", (user.key, lease.token))?;
    Ok(())
}
