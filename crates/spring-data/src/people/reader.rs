//! What a reader of a format is.

use super::{
    error::Result,
    found::Found,
    input::{Bundle, Entry},
    options::Options,
};

/// Reads the files of one format out of what an argument stands for.
pub(crate) trait Reader {
    /// Reads `entries`, all of this format, and puts what they hold into `found`. A record that
    /// cannot be read is a problem there; an error is what refuses the file at once.
    fn read(
        &self,
        bundle: &Bundle,
        entries: &[&Entry],
        options: &Options,
        found: &mut Found,
    ) -> Result<()>;
}
