//! What goes from memory with a user.

/// What an engine had of a user in memory, and has no more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dropped {
    /// Requests that waited or were being answered, and were ended.
    pub requests: usize,
    /// Models that were kept ready: one or none.
    pub models: usize,
    /// Parts of contexts whose keys and values were kept.
    pub prefixes: usize,
}
