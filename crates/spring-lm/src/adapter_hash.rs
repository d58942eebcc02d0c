//! What an adapter is, whatever it is called.

use std::fmt;

use spring_numerics::digest::Digest;

use crate::Adapter;

/// Identifies what an adapter does: the same factors and the same scale on the same base have the
/// same hash, wherever they come from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AdapterHash([u8; 32]);

impl AdapterHash {
    /// Reads the whole adapter; keep the hash of a large one that is asked for often.
    pub fn of(adapter: &Adapter) -> Self {
        let mut hash = Digest::new();
        let mut field = |bytes: &[u8]| hash.update_part(bytes);
        field(adapter.base.as_bytes());
        field(&adapter.config.scale().to_le_bytes());
        let mut numbers = Vec::new();
        for (layer, projection, pair) in adapter.pairs() {
            field(&(layer as u64).to_le_bytes());
            field(projection.name().as_bytes());
            for matrix in [&pair.a, &pair.b] {
                field(&(matrix.ncols() as u64).to_le_bytes());
                numbers.clear();
                numbers.extend(matrix.iter().flat_map(|x| x.to_le_bytes()));
                field(&numbers);
            }
        }
        Self(hash.bytes())
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for AdapterHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for AdapterHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AdapterHash({self})")
    }
}
