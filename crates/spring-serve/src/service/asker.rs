//! Whose work goes on behind an answer.

use std::{fmt, sync::Arc};

/// Who asked for work that goes on behind an answer, such as an adaptation.
#[derive(Clone)]
pub struct Asker(Arc<Begin>);

type Begin = dyn Fn() -> Box<dyn Send> + Send + Sync;

/// Work that counts as one of its asker's open requests until it is dropped, where that key asks
/// for answers, embeddings or more such work.
pub struct Working {
    _counted: Box<dyn Send>,
}

impl Asker {
    /// `begin` counts work that begins, until what it gives is dropped.
    pub(crate) fn new<C: Send + 'static>(begin: impl Fn() -> C + Send + Sync + 'static) -> Self {
        Self(Arc::new(move || Box::new(begin())))
    }

    /// Counts work that begins now. It is refused in no case: it was asked for when there was room.
    pub fn works(&self) -> Working {
        Working { _counted: (self.0)() }
    }
}

impl fmt::Debug for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Asker(…)")
    }
}

impl fmt::Debug for Working {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Working(…)")
    }
}
