/// What a file may announce before it is refused.
///
/// The defaults are far above every model in use.
/// No limit has to be low for memory's sake: a count is believed only as far as the file's own
/// length can bear it out.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Metadata entries.
    pub keys: u64,
    /// Bytes of one key.
    pub key_bytes: u64,
    /// Bytes of one metadata string.
    pub string_bytes: u64,
    /// Elements of one metadata array, nested arrays counted by themselves.
    pub array_len: u64,
    /// How deep arrays may stand in arrays: 1 is an array of plain values.
    pub nesting: u32,
    /// Tensors.
    pub tensors: u64,
    /// Bytes of a tensor's name.
    pub name_bytes: u64,
    /// Bytes of metadata and tensor table together; they take at most ten times this in memory.
    pub header_bytes: u64,
    /// Bytes between whose multiples tensors begin.
    pub alignment: u64,
    /// Files of one model.
    pub shards: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            keys: 65_536,
            key_bytes: 65_535,
            string_bytes: 64 << 20,
            array_len: 16 << 20,
            nesting: 4,
            tensors: 1 << 20,
            name_bytes: 64,
            header_bytes: 128 << 20,
            alignment: 1 << 20,
            shards: 10_000,
        }
    }
}
