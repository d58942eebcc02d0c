//! Users one by one: whether a method is worse for somebody, whatever it is on average.

use serde::Serialize;
use spring_metrics::UserScores;

/// How each user fares with a method beside another one.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct UserDifferences {
    /// By user: nats per byte less those of the other method, seeds averaged; below 0 where this
    /// one is better. Users who have both.
    pub users: UserScores,
}

/// A difference that six decimals show, as the tables have them; less is the arithmetic's.
const SHOWN: f64 = 5e-7;

impl UserDifferences {
    /// `None` without a user who has both.
    pub(super) fn of(own: &UserScores, other: &UserScores) -> Option<Self> {
        let both = own.iter().filter_map(|(user, own)| Some((user, own - other.get(user)?)));
        let users: UserScores = both.map(|(user, less)| (user.clone(), less)).collect();
        (!users.is_empty()).then_some(Self { users })
    }

    /// The user who fares worst, and the difference there.
    pub fn worst(&self) -> Option<(&str, f64)> {
        let users = self.users.iter().max_by(|a, b| a.1.total_cmp(b.1));
        users.map(|(user, difference)| (user.as_str(), *difference))
    }

    /// How many users fare worse than with the other method, by more than 5e-7.
    pub fn worse(&self) -> usize {
        self.users.values().filter(|difference| **difference > SHOWN).count()
    }
}

/// Of each loss, with the tokens trained for it, whether none of those with at most as many tokens
/// is lower; `None` for what has no loss, or tokens that nobody counted, as nothing is compared
/// with it.
pub(super) fn best_within_tokens(methods: &[Option<(f64, f64)>]) -> Vec<Option<bool>> {
    let is_best = |(loss, tokens): (f64, f64)| {
        methods.iter().flatten().all(|(other, needs)| *needs > tokens || *other >= loss)
    };
    methods.iter().map(|method| method.map(is_best)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(values: &[(&str, f64)]) -> UserScores {
        values.iter().map(|(user, value)| ((*user).to_owned(), *value)).collect()
    }

    #[test]
    fn the_worst_user_counts_however_good_the_mean_is() {
        let base = scores(&[("ada", 1.0), ("bob", 1.0), ("cleo", 1.0), ("dora", 1.0)]);
        let own = scores(&[("ada", 0.5), ("bob", 1.25), ("cleo", 1.0 + 1e-9), ("eve", 9.0)]);
        let found = UserDifferences::of(&own, &base).unwrap();
        // Rounding is no loss, and Eve has nothing to be compared with.
        assert_eq!((found.worst(), found.worse()), (Some(("bob", 0.25)), 1));
        assert_eq!(found.users.len(), 3);
        let better = UserDifferences::of(&scores(&[("ada", 0.5)]), &base).unwrap();
        assert_eq!((better.worst(), better.worse()), (Some(("ada", -0.5)), 0));
        assert_eq!(UserDifferences::of(&scores(&[("eve", 1.0)]), &base), None);
    }

    #[test]
    fn a_method_is_compared_with_those_that_train_as_much_or_less() {
        let found = best_within_tokens(&[
            Some((1.0, 0.0)),  // the base
            Some((0.9, 0.0)),  // texts in its prompt
            Some((0.8, 30.0)), // a selection
            Some((0.85, 30.0)),
            Some((0.7, 100.0)), // everything
            Some((0.8, 60.0)),  // more tokens for the same
            None,
        ]);
        let yes = [false, true, true, false, true, true].map(Some);
        assert_eq!(found, [&yes[..], &[None]].concat());
    }
}
