//! Interactions on their way into the state: read to their end before anybody else is kept from
//! writing, as the source may be slow, or a pipe that nobody writes to.

use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};

use spring_memory::UserId;
use spring_numerics::words::of_system;
use tempfile::SpooledTempFile;

use crate::backend::{Fault, InteractionRow, InteractionSums, Outcome};

/// Bytes that are held in memory; what is longer goes to a file without a name in the system's
/// temporary folder.
const HELD: usize = 16 << 20;

/// Rows of any number of users, in the order in which they came.
pub(super) struct Spool {
    out: BufWriter<SpooledTempFile>,
    count: u64,
}

impl Spool {
    pub(super) fn new() -> Self {
        Self { out: BufWriter::new(tempfile::spooled_tempfile(HELD)), count: 0 }
    }

    /// Adds a row that has neither number nor log-likelihood.
    pub(super) fn add(&mut self, user: &UserId, row: &InteractionRow) -> Outcome<()> {
        let mut write = || {
            self.out.write_all(&row.seconds.to_le_bytes())?;
            self.out.write_all(&row.nanoseconds.to_le_bytes())?;
            self.out.write_all(&[u8::from(row.meta.is_some())])?;
            let meta = row.meta.as_deref().unwrap_or_default();
            for text in [user.as_str(), &row.id, meta, &row.prompt, &row.response] {
                self.out.write_all(&(text.len() as u64).to_le_bytes())?;
                self.out.write_all(text.as_bytes())?;
            }
            Ok(())
        };
        write().map_err(unusable)?;
        self.count += 1;
        Ok(())
    }

    /// Hands them out, from the first, each with its place from 0.
    pub(super) fn each(
        &mut self,
        mut take: impl FnMut(u64, UserId, InteractionRow) -> Outcome<()>,
    ) -> Outcome<()> {
        self.out.flush().map_err(unusable)?;
        let file = self.out.get_mut();
        file.seek(SeekFrom::Start(0)).map_err(unusable)?;
        let mut reader = BufReader::new(file);
        for index in 0..self.count {
            let (user, row) = next(&mut reader).map_err(unusable)?;
            let user = UserId::new(user).map_err(|error| unusable(io::Error::other(error)))?;
            take(index, user, row)?;
        }
        Ok(())
    }
}

fn next(reader: &mut impl Read) -> io::Result<(String, InteractionRow)> {
    let seconds = i64::from_le_bytes(bytes(reader)?);
    let nanoseconds = i32::from_le_bytes(bytes(reader)?);
    let [has_meta] = bytes(reader)?;
    let mut text = || {
        let length = u64::from_le_bytes(bytes(reader)?);
        let mut text = String::new();
        reader.by_ref().take(length).read_to_string(&mut text)?;
        Ok::<_, io::Error>(text)
    };
    let (user, id, meta, prompt, response) = (text()?, text()?, text()?, text()?, text()?);
    let meta = (has_meta == 1).then_some(meta);
    let row = InteractionRow {
        seq: 0,
        id,
        seconds,
        nanoseconds,
        base: None,
        meta,
        prompt,
        response,
        place: None,
        sums: InteractionSums::default(),
    };
    Ok((user, row))
}

fn bytes<const N: usize>(reader: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    reader.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn unusable(error: io::Error) -> Fault {
    Fault::Unusable(format!(
        "the system's temporary folder cannot hold what is to be added ({}); \
         nothing was changed, free some space there and run this again",
        of_system(&error)
    ))
}
