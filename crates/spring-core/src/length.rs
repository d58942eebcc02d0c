//! How long an answer in a person's own manner may become.

use crate::record::PeriodRecord;

/// Part of the learned texts that are no longer than the length that counts: the longest may be
/// out of the ordinary.
const PART: f64 = 0.95;
/// An answer may become this many times as long.
const TIMES: usize = 2;
/// Fewest tokens: a person of short texts may be asked for more than they mostly write.
const LEAST: usize = 32;

/// The most new tokens of an answer, by the texts of a period: twice the length, in response tokens
/// of the base, that 19 of 20 of them keep to, and at least 32. `None` without texts.
///
/// ```
/// # use spring_core::own_length_of;
/// assert_eq!(own_length_of([40, 30, 20, 50]), Some(100));
/// assert_eq!(own_length_of([3, 5]), Some(32));
/// assert_eq!(own_length_of([]), None);
/// ```
pub fn own_length_of(tokens: impl IntoIterator<Item = usize>) -> Option<usize> {
    let mut tokens: Vec<usize> = tokens.into_iter().collect();
    tokens.sort_unstable();
    let place = (PART * tokens.len() as f64).ceil() as usize;
    let longest = tokens.get(place.checked_sub(1)?)?;
    Some(longest.saturating_mul(TIMES).max(LEAST))
}

/// The same of what was learned in a period.
pub fn own_length(record: &PeriodRecord) -> Option<usize> {
    own_length_of(record.scores.iter().map(|score| score.tokens))
}
