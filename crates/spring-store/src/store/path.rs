//! The way from a generation back to the first: what a user's model came from.

use crate::backend::GenerationRow;

/// The generations from one to the first, each the parent of the one before it.
pub(super) fn path(
    generations: &[GenerationRow],
    from: u32,
) -> impl Iterator<Item = &GenerationRow> {
    // A parent's number is below its child's, so it ends also where damage says otherwise.
    std::iter::successors(find(generations, from), move |row| {
        find(generations, row.parent).filter(|parent| parent.number < row.number)
    })
}

pub(super) fn find(generations: &[GenerationRow], number: u32) -> Option<&GenerationRow> {
    generations.iter().find(|row| row.number == number)
}

/// Whether there is a period that no generation on the path to the one in use has learned.
pub(crate) fn is_unlearned(periods: &[u32], generations: &[GenerationRow], current: u32) -> bool {
    let learned: Vec<u32> =
        path(generations, current).map(|generation| generation.period).collect();
    periods.iter().any(|period| !learned.contains(period))
}

/// Whether there is a period that no generation at all has learned.
pub(crate) fn is_new(periods: &[u32], generations: &[GenerationRow]) -> bool {
    periods.iter().any(|period| generations.iter().all(|learned| learned.period != *period))
}
