//! Decoding as its users see it: rows that join and leave at any time.

use std::{any::Any, fmt, sync::Arc};

use crate::{Adapter, ModelError, Result};

/// A row of a [`Session`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowId(pub u64);

impl fmt::Display for RowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "row {}", self.0)
    }
}

/// Keys and values of a part of a context that a row has read, for rows that begin alike. A clone
/// is the same part.
#[derive(Clone)]
pub struct ContextPart {
    numbers: Arc<dyn Any + Send + Sync>,
    bytes: u64,
}

impl ContextPart {
    /// What a session keeps of a part, and how many bytes it takes.
    pub fn new(numbers: impl Any + Send + Sync, bytes: u64) -> Self {
        Self { numbers: Arc::new(numbers), bytes }
    }

    /// What the session kept, if it is of this type.
    pub fn get<T: Any>(&self) -> Option<&T> {
        self.numbers.downcast_ref()
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl fmt::Debug for ContextPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContextPart").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// Texts that are written token by token, any number at a time.
///
/// Each row has its own context, length and adapter; rows join and leave between any two steps. A
/// row's distributions do not depend on the rows beside it.
pub trait Session: Send {
    /// A new row with nothing read yet, for at most `capacity` tokens in all.
    ///
    /// # Errors
    ///
    /// If the model's context is shorter than `capacity`, or the adapter is another model's.
    fn open(&mut self, adapter: Option<Arc<Adapter>>, capacity: usize) -> Result<RowId>;

    /// Reads tokens that are known, the context or a part of it, into one row.
    ///
    /// A context that is read in other parts gives the same but for rounding.
    ///
    /// # Errors
    ///
    /// If there is no such row or no room for the tokens, or an id is unknown; the row is as
    /// before.
    fn read(&mut self, row: RowId, tokens: &[u32]) -> Result<()>;

    /// A new row that has read its context and has room for `room` more tokens.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open) and [`read`](Self::read), and for a context without a token.
    fn join(
        &mut self,
        context: &[u32],
        adapter: Option<Arc<Adapter>>,
        room: usize,
    ) -> Result<RowId> {
        if context.is_empty() {
            let reason = "decoding needs a context of at least one token";
            return Err(ModelError::Sequence(reason.into()));
        }
        let row = self.open(adapter, context.len().saturating_add(room))?;
        match self.read(row, context) {
            Ok(()) => Ok(row),
            Err(error) => {
                self.leave(row);
                Err(error)
            }
        }
    }

    /// New rows for the branches of one answer: each reads its context and has room for `room` more
    /// tokens.
    ///
    /// # Errors
    ///
    /// As [`join`](Self::join); then none of them stays.
    fn join_branches(
        &mut self,
        contexts: &[&[u32]],
        adapter: Option<&Arc<Adapter>>,
        room: usize,
    ) -> Result<Vec<RowId>> {
        let mut rows = Vec::with_capacity(contexts.len());
        for context in contexts {
            match self.join(context, adapter.cloned(), room) {
                Ok(row) => rows.push(row),
                Err(error) => {
                    rows.into_iter().for_each(|row| self.leave(row));
                    return Err(error);
                }
            }
        }
        Ok(rows)
    }

    /// The same rows, which read their contexts part by part, when [`read_on`](Self::read_on) asks
    /// them to: between two parts other rows go on. What they give then is, to the last bit on the
    /// CPU, what they give after `join_branches`.
    ///
    /// By default they have read everything.
    ///
    /// # Errors
    ///
    /// As [`join_branches`](Self::join_branches); then none of them stays.
    fn begin_branches(
        &mut self,
        contexts: &[&[u32]],
        adapter: Option<&Arc<Adapter>>,
        room: usize,
    ) -> Result<Vec<RowId>> {
        self.join_branches(contexts, adapter, room)
    }

    /// Reads the next part of the context that a row began with, and gives how many tokens of it
    /// are left. A row with some left has no distribution and cannot step.
    ///
    /// # Errors
    ///
    /// If there is no such row, or what ran the part failed: then the row can only leave.
    fn read_on(&mut self, row: RowId) -> Result<usize> {
        let _ = row;
        Ok(0)
    }

    /// How many tokens of a context make a [`part`](Self::part). By default this session gives
    /// none.
    fn part_length(&self) -> Option<usize> {
        None
    }

    /// A copy of the keys and values of one part of the context that a row has read, counted from
    /// 0. `None` if it has not read that part, or not as other rows do.
    fn part(&self, row: RowId, index: usize) -> Option<ContextPart> {
        let _ = (row, index);
        None
    }

    /// Lets a row that is to read a context begin behind the first parts of it, and gives how many
    /// of them it has no need to read. What it gives then is, to the last bit on the CPU, what it
    /// gives if it reads them, so long as the parts are of the same tokens under the same adapter
    /// of the same model. A context whose first tokens are read otherwise than those of shorter
    /// ones, as of a model with `longrope`, takes none.
    ///
    /// # Errors
    ///
    /// If there is no such row, it has read something, nothing of its context would be left to
    /// read, or the parts are not of such a session; the row is as before.
    fn begin_behind(&mut self, row: RowId, parts: &[ContextPart]) -> Result<usize> {
        let _ = parts;
        Err(ModelError::Sequence(format!("{row} is of a session that keeps no parts of contexts")))
    }

    /// A new row that has read what this one has, with a copy of its numbers and as much room.
    /// `None` from a session that cannot, as by default.
    ///
    /// # Errors
    ///
    /// If there is no such row, or it has some of its context to read first.
    fn fork(&mut self, row: RowId) -> Result<Option<RowId>> {
        let _ = row;
        Ok(None)
    }

    /// Ends a row and frees its memory. A row that is not there is none to end.
    fn leave(&mut self, row: RowId);

    /// Appends one token to each of these rows, in one pass.
    ///
    /// # Errors
    ///
    /// If there is no such row, it is named twice or has no room left, or an id is unknown; then no
    /// row has moved.
    fn step(&mut self, tokens: &[(RowId, u32)]) -> Result<()>;

    /// Log-probabilities of a row's next token over the whole vocabulary, in nats; `None` if there
    /// is no such row or it has read nothing yet.
    fn log_probs(&self, row: RowId) -> Option<&[f32]>;
}
