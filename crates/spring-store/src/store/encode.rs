//! Between values and rows: JSON that reads back, times, and what damage looks like.

use jiff::Timestamp;
use serde::{Serialize, de::DeserializeOwned};
use spring_memory::{Interaction, InteractionId, UserId};
use spring_numerics::words::{self, of_json};

use crate::{
    StoredInteraction,
    backend::{Fault, InteractionRow, InteractionSums, Outcome},
};

/// The JSON of `what`, refused unless it reads back as the same value: JSON has no NaN and no
/// infinity.
pub(crate) fn to_json<T>(what: &str, value: &T) -> Outcome<String>
where
    T: Serialize + DeserializeOwned + PartialEq,
{
    let refused = |reason: &str| {
        Fault::Unusable(format!("nothing was changed: {what} cannot be stored: {reason}"))
    };
    let text = serde_json::to_string(value).map_err(|error| refused(&of_json(&error)))?;
    match serde_json::from_str::<T>(&text) {
        Ok(back) if back == *value => Ok(text),
        Ok(_) => Err(refused("it would not read back as it is")),
        Err(error) => {
            let reason = format!(
                "it would not read back: {}; is a number in it not finite?",
                of_json(&error)
            );
            Err(refused(&reason))
        }
    }
}

/// A value of a table.
pub(crate) fn from_json<T: DeserializeOwned>(table: &'static str, text: &str) -> Outcome<T> {
    // Keeping track of the place takes as long again: only for what cannot be read.
    serde_json::from_str(text).or_else(|_| {
        let read = words::from_json(text.as_bytes());
        read.map_err(|error| Fault::damaged(table, error.in_its_line()))
    })
}

/// A time of an interaction.
pub(crate) fn time(seconds: i64, nanoseconds: i32) -> Outcome<Timestamp> {
    Timestamp::new(seconds, nanoseconds).map_err(|error| Fault::damaged("interactions", error))
}

/// A user's interaction, and its place in a period.
pub(crate) fn stored(
    row: InteractionRow,
    user: &UserId,
) -> Outcome<(StoredInteraction, Option<(u32, bool)>)> {
    let id = InteractionId::new(row.id).map_err(|error| Fault::damaged("interactions", error))?;
    let meta = row.meta.map(|meta| from_json("interactions", &meta)).transpose()?;
    let time = time(row.seconds, row.nanoseconds)?;
    let interaction =
        Interaction::new(user.clone(), id, time, row.prompt, row.response).with_meta(meta);
    Ok((StoredInteraction::new(row.seq, interaction).with_base(row.base), row.place))
}

/// The row of an interaction that has no number yet; refuses `meta` that would not read back.
pub(crate) fn row_of(interaction: Interaction) -> Outcome<(UserId, InteractionRow)> {
    let Interaction { user, id, time, prompt, response, meta, .. } = interaction;
    let what = || format!("`meta` of interaction {id} of user {user}");
    let meta = meta.map(|meta| to_json(&what(), &meta)).transpose()?;
    let row = InteractionRow {
        seq: 0,
        id: id.into(),
        seconds: time.as_second(),
        nanoseconds: time.subsec_nanosecond(),
        base: None,
        meta,
        prompt,
        response,
        place: None,
        sums: InteractionSums::default(),
    };
    Ok((user, row))
}
