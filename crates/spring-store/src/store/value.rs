//! A row's values as bytes that no other values have.

/// A column's value.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Value<'v> {
    Null,
    Integer(i64),
    Real(f64),
    Text(&'v str),
    Bytes(&'v [u8]),
}

impl From<u32> for Value<'_> {
    fn from(number: u32) -> Self {
        Self::Integer(number.into())
    }
}

/// Numbers that no state can hold are as good as any other.
impl From<u64> for Value<'_> {
    fn from(number: u64) -> Self {
        Self::Integer(i64::try_from(number).unwrap_or(-1))
    }
}

impl Value<'_> {
    /// Hands out its kind, its length as 64 bits, little endian, and its bytes, so that no value
    /// runs into the next.
    pub(crate) fn parts(self, mut take: impl FnMut(&[u8])) {
        let mut give = |kind: u8, bytes: &[u8]| {
            take(&[kind]);
            take(&(bytes.len() as u64).to_le_bytes());
            take(bytes);
        };
        match self {
            Self::Null => give(0, &[]),
            Self::Integer(number) => give(1, &number.to_le_bytes()),
            Self::Real(number) => give(2, &number.to_le_bytes()),
            Self::Text(text) => give(3, text.as_bytes()),
            Self::Bytes(bytes) => give(4, bytes),
        }
    }
}
