//! Values that SQLite has no type for.

use jiff::Timestamp;
use rusqlite::{
    Row,
    types::{FromSql, FromSqlError, FromSqlResult, Type, ValueRef},
};
use serde::{Serialize, de::DeserializeOwned};
use spring_memory::{Interaction, UserId};

use super::fault::{Fault, Outcome};
use crate::store::StoredInteraction;

/// A value kept as JSON.
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned> FromSql for Json<T> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        serde_json::from_str(value.as_str()?).map(Self).map_err(FromSqlError::other)
    }
}

/// A value kept as text and checked when it is read.
pub(super) struct Checked<T>(pub(super) T);

impl<T> FromSql for Checked<T>
where
    T: for<'a> TryFrom<&'a str, Error: std::error::Error + Send + Sync + 'static>,
{
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        T::try_from(value.as_str()?).map(Self).map_err(FromSqlError::other)
    }
}

/// The JSON of `what`, refused unless it reads back as the same value: JSON has no NaN and no infinity.
pub(super) fn to_json<T>(what: &str, value: &T) -> Outcome<String>
where
    T: Serialize + DeserializeOwned + PartialEq,
{
    let refused =
        |reason: &str| Fault::State(format!("nothing was changed: {what} cannot be stored: {reason}"));
    let text = serde_json::to_string(value).map_err(|error| refused(&error.to_string()))?;
    match serde_json::from_str::<T>(&text) {
        Ok(back) if back == *value => Ok(text),
        Ok(_) => Err(refused("it would not read back as it is")),
        Err(error) => {
            Err(refused(&format!("it would not read back: {error}; is a number in it not finite?")))
        }
    }
}

/// The columns `seconds` and `nanoseconds`.
pub(super) fn time(row: &Row<'_>) -> rusqlite::Result<Timestamp> {
    Timestamp::new(row.get("seconds")?, row.get("nanoseconds")?)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, Type::Integer, error.into()))
}

/// A row of the table `interactions`.
pub(super) fn stored(row: &Row<'_>, user: &UserId) -> rusqlite::Result<StoredInteraction> {
    let Checked(id) = row.get("id")?;
    let meta: Option<Json<_>> = row.get("meta")?;
    let interaction = Interaction {
        user: user.clone(),
        id,
        time: time(row)?,
        prompt: row.get("prompt")?,
        response: row.get("response")?,
        meta: meta.map(|Json(meta)| meta),
    };
    Ok(StoredInteraction { seq: row.get("seq")?, interaction, base: row.get("base")? })
}
