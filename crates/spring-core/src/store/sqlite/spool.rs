//! Interactions on their way into the state: read to their end before anybody else is kept from writing.

use rusqlite::Connection;
use spring_memory::{Interaction, JsonlError, UserId};

use super::{
    fault::{Fault, Outcome},
    value::{Checked, stored, to_json},
};

/// Interactions in a table of this connection's own, which SQLite keeps in memory and, beyond some megabytes, in a file
/// without a name in the system's temporary folder.
pub(super) struct Spool<'a>(&'a Connection);

impl<'a> Spool<'a> {
    /// Reads all there are, however long they take to come.
    pub(super) fn fill(
        connection: &'a Connection,
        interactions: &mut dyn Iterator<Item = Result<(u64, Interaction), JsonlError>>,
    ) -> Outcome<Self> {
        // It touches no table of the state, so it locks none.
        let transaction = connection.unchecked_transaction()?;
        transaction.execute_batch(
            "CREATE TEMP TABLE spool (
                 place INTEGER PRIMARY KEY, line INTEGER, user TEXT, id TEXT, seconds INTEGER, nanoseconds INTEGER,
                 meta TEXT, prompt TEXT, response TEXT
             )",
        )?;
        let spool = Self(connection);
        {
            let mut insert = transaction.prepare(
                "INSERT INTO temp.spool (line, user, id, seconds, nanoseconds, meta, prompt, response)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?;
            for item in interactions {
                let (line, interaction) = item?;
                let what =
                    || format!("`meta` of interaction {} of user {}", interaction.id, interaction.user);
                let meta = interaction.meta.as_ref().map(|meta| to_json(&what(), meta)).transpose()?;
                insert.execute((
                    i64::try_from(line).unwrap_or(i64::MAX),
                    interaction.user.as_str(),
                    interaction.id.as_str(),
                    interaction.time.as_second(),
                    interaction.time.subsec_nanosecond(),
                    meta,
                    &interaction.prompt,
                    &interaction.response,
                ))?;
            }
        }
        transaction.commit()?;
        Ok(spool)
    }

    /// Hands them out in the order in which they came, each with its line.
    pub(super) fn each(&self, mut take: impl FnMut(u64, Interaction) -> Outcome<()>) -> Outcome<()> {
        let mut query = self.0.prepare("SELECT *, 0 AS seq, NULL AS base FROM temp.spool ORDER BY place")?;
        let mut rows = query.query(())?;
        while let Some(row) = rows.next()? {
            let read = || -> rusqlite::Result<_> {
                let Checked::<UserId>(user) = row.get("user")?;
                Ok((row.get("line")?, stored(row, &user)?.interaction))
            };
            let (line, interaction) = read().map_err(|error| Fault::of_query(error, "spool", None))?;
            take(line, interaction)?;
        }
        Ok(())
    }
}

impl Drop for Spool<'_> {
    fn drop(&mut self) {
        // It ends with the connection otherwise; the next one to be filled would say so.
        let _ = self.0.execute_batch("DROP TABLE temp.spool");
    }
}
