//! Who trains a user, so that nobody else does.

use std::{
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use spring_memory::UserId;

use super::{Checked, Store, known};
use crate::{
    Error, Lease, Result,
    backend::{
        Backend, Durability, Fault, Holder, LeaseRow, Outcome, Rows, RowsMut, UserRow, Wanted,
    },
};

/// How long a lease lasts unless it is renewed.
const DURATION: SignedDuration = SignedDuration::from_mins(10);

/// How long one may seem to last still: as long again, for clocks that differ, such as those of a
/// database and of the standby that took its place. What claims more was written by a clock that
/// was ahead, and would keep a user from everybody for as long as that was.
const LONGEST: SignedDuration = SignedDuration::from_mins(20);

/// How often it is renewed while its holder works.
const RENEW_EVERY: Duration = Duration::from_secs(120);

/// Of those who are held on this machine, as many are looked at for one whose holder is gone.
const CLAIMED_NEAR: usize = 64;

impl<B: Backend + ?Sized> Store<B> {
    /// Reserves a user for training.
    ///
    /// # Errors
    ///
    /// [`Error::Leased`] if another process, or another part of this one, holds the user.
    pub fn lease(&self, user: &UserId) -> Result<Lease> {
        self.write_user(Durability::Process, user, |rows, row| self.take(rows, user, row))
    }

    /// Reserves some user who has [something new](Self::users_with_something_new) to learn and whom
    /// nobody holds: of those who are known to wait, the one who has waited longest, else the one
    /// with most to learn. None of those in `except`. `None` if there is no such user.
    ///
    /// Two who ask at the same time get different users, wherever they are.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] names the user whose rows are damaged; with that one in `except`, the
    /// next is found.
    pub fn claim(&self, except: &[UserId]) -> Result<Option<Lease>> {
        let holder = self.backend.holder();
        self.write_for(Durability::Process, |rows| {
            let now = rows.now().as_second();
            let wanted = Wanted { now, latest: now + LONGEST.as_secs(), place: "", except };
            // Those whose holder is of this machine come last: most of them are at work.
            let near = Wanted { place: &holder.place, ..wanted };
            for (wanted, limit) in [(wanted, 1), (near, CLAIMED_NEAR)] {
                for name in rows.waiting(&wanted, limit)? {
                    let of_user = |fault: Fault| fault.of_user(&name);
                    let Some(row) = rows.user(&name).map_err(of_user)? else { continue };
                    match self.take(rows, &name, &row).map_err(of_user) {
                        Err(Fault::Other(Error::Leased { .. })) => {}
                        taken => return taken.map(Some),
                    }
                }
            }
            Ok(None)
        })
    }

    /// Whether [`claim`](Self::claim) would find a user, if nobody else took one at this moment.
    ///
    /// Nothing is written.
    ///
    /// # Errors
    ///
    /// As [`claim`](Self::claim).
    pub fn is_claimable(&self, except: &[UserId]) -> Result<bool> {
        let holder = self.backend.holder();
        self.read(|rows| {
            let now = rows.now().as_second();
            let wanted = Wanted { now, latest: now + LONGEST.as_secs(), place: "", except };
            if !rows.waiting(&wanted, 1)?.is_empty() {
                return Ok(true);
            }
            // Those whose holder is of this machine, and may be gone.
            let near = Wanted { place: &holder.place, ..wanted };
            for name in rows.waiting(&near, CLAIMED_NEAR)? {
                let of_user = |fault: Fault| fault.of_user(&name);
                let Some(row) = rows.user(&name).map_err(of_user)? else { continue };
                match check_free(&self.backend, rows, &name, &row).map_err(of_user) {
                    Err(Fault::Other(Error::Leased { .. })) => {}
                    free => return free.map(|_| true),
                }
            }
            Ok(false)
        })
    }

    fn take(&self, rows: &mut dyn RowsMut, user: &UserId, row: &UserRow) -> Outcome<Lease> {
        let held = check_free(&self.backend, rows, user, row)?;
        let token = next_token(held.as_ref(), row);
        let lease = {
            let (holder, expires) = (self.backend.holder(), (rows.now() + DURATION).as_second());
            LeaseRow { token, holder, expires, sum: 0 }
        };
        // For its holder by the clock that the holder looks at.
        let expires = Timestamp::now() + DURATION;
        match rows.swap_lease(row.key, held.map(|held| held.token), &lease)? {
            true => Ok(Lease { user: user.clone(), token, expires }),
            false => Err(Error::Conflict { user: user.clone() }.into()),
        }
    }

    /// Puts off the end of a lease.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] if it had ended and somebody else took the user.
    pub fn renew(&self, lease: &mut Lease) -> Result<()> {
        lease.expires = self.write_user(Durability::Process, &lease.user, |rows, row| {
            let held = check(rows, row, lease)?;
            let renewed = LeaseRow { expires: (rows.now() + DURATION).as_second(), ..held };
            match rows.swap_lease(row.key, Some(lease.token), &renewed)? {
                true => Ok(Timestamp::now() + DURATION),
                false => Err(lost(lease)),
            }
        })?;
        Ok(())
    }

    /// Ends a lease; one that has ended already is not an error.
    pub fn release(&self, lease: &Lease) -> Result<()> {
        self.write_for(Durability::Process, |rows| {
            let Some(user) = rows.user(&lease.user)? else { return Ok(()) };
            // The row stays: the next lease's token is larger.
            let (token, holder) = (lease.token, Holder::default());
            let ended = LeaseRow { token, holder, expires: 0, sum: 0 };
            rows.swap_lease(user.key, Some(lease.token), &ended)?;
            Ok(())
        })
    }

    /// Ends whatever lease there is on a user, for a person who knows that its holder is gone. Who
    /// holds it after all can commit no more. Gives the holder's name and when the lease would have
    /// ended; `None` if there was none, or it had ended.
    pub fn unlock(&self, user: &UserId) -> Result<Option<(String, Timestamp)>> {
        let mut unlocked = None;
        let done = self.backend.write(Durability::Power, &mut |rows| {
            let row = known(rows, user)?;
            // As it is stored: one that is damaged is ended too.
            let Some(held) = rows.lease(row.key)? else { return Ok(()) };
            let token = next_token(Some(&held), &row);
            let ended = LeaseRow { token, holder: Holder::default(), expires: 0, sum: 0 };
            let is_held = held.expires > rows.now().as_second();
            let until = Timestamp::from_second(held.expires).unwrap_or(Timestamp::MAX);
            unlocked = is_held.then_some((held.holder.name, until));
            Checked(rows).swap_lease(row.key, Some(held.token), &ended)?;
            Ok(())
        });
        self.told(done, Some(()))?;
        Ok(unlocked)
    }

    /// Runs `work` while nobody else may train the user. The lease is renewed in the background,
    /// however long a step of the work takes.
    ///
    /// # Errors
    ///
    /// [`Error::Leased`], or what `work` returns.
    pub fn with_lease<T, E: From<Error>>(
        &self,
        user: &UserId,
        work: impl FnOnce(&mut Lease) -> Result<T, E>,
    ) -> Result<T, E> {
        let lease = self.lease(user)?;
        self.holding(lease, work)
    }

    /// The same under a lease that was taken already.
    ///
    /// # Errors
    ///
    /// What `work` returns.
    pub fn holding<T, E: From<Error>>(
        &self,
        mut lease: Lease,
        work: impl FnOnce(&mut Lease) -> Result<T, E>,
    ) -> Result<T, E> {
        let user = lease.user.clone();
        let kept = lease.clone();
        let done = thread::scope(|scope| {
            let (stop, stopped) = mpsc::channel::<()>();
            let keep = move || self.keep(kept, RENEW_EVERY, &stopped);
            // Work that outlasts an unrenewed lease is refused by the commit.
            if let Err(error) = thread::Builder::new().spawn_scoped(scope, keep) {
                tracing::warn!("the lease of user {user} is not renewed: {error}");
            }
            let done = work(&mut lease);
            drop(stop);
            done
        });
        // What was done is done: the lease ends with this process, or when its time is up.
        if let Err(error) = self.release(&lease) {
            let until = lease.expires;
            tracing::warn!("user {user} stays reserved until {until} at the latest: {error}");
        }
        done
    }

    /// Renews a lease every so often, until the sender of `stopped` is dropped.
    pub(crate) fn keep(&self, mut lease: Lease, every: Duration, stopped: &Receiver<()>) {
        while stopped.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
            // What is in the way may be gone the next time; who has lost the lease is told by the
            // next commit.
            if let Err(error) = self.renew(&mut lease) {
                tracing::debug!("the lease of user {} is not renewed: {error}", lease.user);
            }
        }
    }
}

/// A token above all earlier ones of the user. Those of users of the same name who were forgotten
/// are below it too: every removal is counted in the upper half.
fn next_token(held: Option<&LeaseRow>, user: &UserRow) -> i64 {
    let first = i64::try_from(user.removals & 0x3fff_ffff).unwrap_or_default() << 32;
    let last = held.map_or(first, |held| held.token.max(first));
    last.checked_add(1).unwrap_or(first)
}

/// Refuses a user whom somebody trains: the lease has not ended and its holder may still run. Gives
/// the lease that has ended.
pub(super) fn check_free<B: Backend + ?Sized>(
    backend: &B,
    rows: &dyn Rows,
    name: &UserId,
    user: &UserRow,
) -> Outcome<Option<LeaseRow>> {
    let held = rows.lease(user.key)?;
    let now = rows.now().as_second();
    let holds = |expires: i64| expires > now && expires <= now.saturating_add(LONGEST.as_secs());
    match &held {
        Some(LeaseRow { holder, expires, .. }) if holds(*expires) && !backend.is_gone(holder) => {
            let until = Timestamp::from_second(*expires);
            let until = until.map_err(|error| Fault::damaged("leases", error))?;
            let holder = holder.name.clone();
            Err(Error::Leased { user: name.clone(), holder, until }.into())
        }
        _ => Ok(held),
    }
}

/// Refuses a lease that somebody else has taken over, that was released, or that went with its
/// user.
pub(super) fn check(rows: &dyn Rows, user: &UserRow, lease: &Lease) -> Outcome<LeaseRow> {
    let held = rows.lease(user.key)?;
    held.filter(|held| held.token == lease.token && held.expires > 0).ok_or_else(|| lost(lease))
}

fn lost(lease: &Lease) -> Fault {
    Error::Conflict { user: lease.user.clone() }.into()
}
