//! Servers that answer for the state, so that each of them knows the others.
//!
//! A row says that a server is there, for a while, by the clock of whoever keeps the rows: the
//! clocks of the servers' machines have no say in it. They are no part of what is kept of users:
//! they are in no export, no digest and no move.

use std::time::Duration;

use super::Store;
use crate::{
    Replica, Result,
    backend::{Backend, Durability, Outcome, ReplicaRow, Rows},
};

impl<B: Backend + ?Sized> Store<B> {
    /// Says that a server is there and ready; gives all that have said so within `lasts`, in the
    /// order of their addresses, this one among them. Who does not say it again in that time is
    /// gone, and is removed by the next one who does.
    ///
    /// # Errors
    ///
    /// [`Error::State`](crate::Error::State) if the state cannot be written.
    pub fn announce(&self, replica: &Replica, lasts: Duration) -> Result<Vec<Replica>> {
        let Replica { url, load } = replica.clone();
        let row = ReplicaRow { url, load };
        self.write_for(Durability::Process, |rows| {
            rows.put_replica(&row, lasts)?;
            replicas(rows, lasts)
        })
    }

    /// The servers that have said within this time that they are there, in the order of their
    /// addresses.
    ///
    /// # Errors
    ///
    /// [`Error::State`](crate::Error::State) if the state cannot be read.
    pub fn replicas(&self, within: Duration) -> Result<Vec<Replica>> {
        self.read(|rows| replicas(rows, within))
    }

    /// Takes back that a server is there.
    ///
    /// # Errors
    ///
    /// [`Error::State`](crate::Error::State) if the state cannot be written.
    pub fn withdraw(&self, url: &str) -> Result<()> {
        self.write_for(Durability::Process, |rows| rows.delete_replica(url))
    }
}

fn replicas(rows: &dyn Rows, within: Duration) -> Outcome<Vec<Replica>> {
    let rows = rows.replicas(within)?;
    Ok(rows.into_iter().map(|ReplicaRow { url, load }| Replica { url, load }).collect())
}
