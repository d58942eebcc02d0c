//! How sure a difference between methods is. The unit that is resampled is the *user*: texts and
//! seeds of one user are not independent, so seeds are averaged within a user first and texts are
//! summed into the user's score.

use std::collections::BTreeMap;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, StudentsT};

/// One score for each user, by name.
pub type UserScores = BTreeMap<String, f64>;

/// Resamples of a bootstrap, and most sign patterns of a paired test.
const RESAMPLES: usize = 10_000;
/// With this many users at most, a paired test tries every sign pattern.
const EXACT: usize = 13;
const LEVEL: f64 = 0.05;
const POWER: f64 = 0.8;

/// The mean of each user's seeds.
pub fn average_seeds<'a>(scores: impl IntoIterator<Item = (&'a str, f64)>) -> UserScores {
    let mut sums: BTreeMap<&str, (f64, usize)> = BTreeMap::new();
    for (user, score) in scores {
        let (sum, count) = sums.entry(user).or_default();
        *sum += score;
        *count += 1;
    }
    sums.into_iter().map(|(user, (sum, count))| (user.to_owned(), sum / count as f64)).collect()
}

/// A mean over users with its 95 % percentile interval from a bootstrap that draws users with
/// replacement.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Interval {
    /// The mean.
    pub mean: f64,
    /// The 2.5 % quantile of the resampled means.
    pub low: f64,
    /// The 97.5 % quantile.
    pub high: f64,
    /// Users.
    pub users: usize,
}

/// Mean and interval over users; `None` without users. The same seed gives the same interval.
pub fn bootstrap(scores: &UserScores, seed: u64) -> Option<Interval> {
    let values: Vec<f64> = scores.values().copied().collect();
    let users = values.len();
    if users == 0 {
        return None;
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let draw =
        |_| (0..users).map(|_| values[rng.random_range(0..users)]).sum::<f64>() / users as f64;
    let mut means: Vec<f64> = (0..RESAMPLES).map(draw).collect();
    means.sort_by(f64::total_cmp);
    let quantile = |q: f64| means[((RESAMPLES - 1) as f64 * q).round() as usize];
    let (low, high) = (quantile(LEVEL / 2.0), quantile(1.0 - LEVEL / 2.0));
    Some(Interval { mean: mean(&values), low, high, users })
}

/// One method against another on the users that both were measured on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PairedTest {
    /// Mean over users of the difference, first minus second, with its interval.
    pub difference: Interval,
    /// Two-sided p of the sign-flip permutation test: how often a mean difference at least as large
    /// comes about when each user's difference has a random sign. All patterns up to 13 users,
    /// 10,000 random ones above.
    pub p: f64,
    /// The same after Holm's correction over the m methods of a table; [`holm`] sets it.
    pub p_holm: f64,
    /// The smallest `p_holm` that this number of users can give, whatever their differences: m ·
    /// 2/2ⁿ up to 13 users, m/10,001 above. Where it is above 0.05, no difference can be
    /// significant.
    pub least_p_holm: f64,
    /// sd / √n of the users' differences. `None` for one user.
    pub standard_error: Option<f64>,
    /// The smallest true mean difference that a paired t-test on as many users with the same spread
    /// would find with 80 % power at the level 0.05/m, the one that the smallest of m p has to
    /// reach under Holm's correction: (t(1 − 0.025/m) + t(0.8)) · sd / √n. `None` for one user.
    pub minimum_detectable: Option<f64>,
}

impl PairedTest {
    /// Whether this number of users can give a corrected p of at most 0.05.
    pub fn can_be_significant(&self) -> bool {
        self.least_p_holm <= LEVEL
    }
}

/// Compares two methods user by user; `None` if they share no user.
pub fn paired_test(first: &UserScores, second: &UserScores, seed: u64) -> Option<PairedTest> {
    let differences: UserScores =
        first.iter().filter_map(|(user, a)| Some((user.clone(), a - second.get(user)?))).collect();
    let values: Vec<f64> = differences.values().copied().collect();
    let difference = bootstrap(&differences, seed)?;
    let p = sign_flips(&values, seed);
    let mut test = PairedTest {
        difference,
        p,
        p_holm: p,
        least_p_holm: 0.0,
        standard_error: standard_error(&values),
        minimum_detectable: None,
    };
    test.correct_for(1);
    Some(test)
}

fn sign_flips(values: &[f64], seed: u64) -> f64 {
    let n = values.len();
    let observed = values.iter().sum::<f64>().abs();
    // Sums of the same numbers in the same order, so equal patterns give equal sums but for the
    // last bits.
    let reaches = |sum: f64| sum.abs() >= observed * (1.0 - 1e-12);
    let flipped = |sign: &mut dyn FnMut(usize) -> bool| -> f64 {
        values.iter().enumerate().map(|(i, value)| if sign(i) { -value } else { *value }).sum()
    };
    if n <= EXACT {
        let patterns = 1u32 << n;
        let hits = (0..patterns)
            .filter(|pattern| reaches(flipped(&mut |i| pattern >> i & 1 == 1)))
            .count();
        return hits as f64 / f64::from(patterns);
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let hits = (0..RESAMPLES).filter(|_| reaches(flipped(&mut |_| rng.random()))).count();
    // The observed pattern is one of them (Phipson & Smyth 2010).
    (hits + 1) as f64 / (RESAMPLES + 1) as f64
}

impl PairedTest {
    /// Sets what depends on nothing but the number of tests in a table.
    fn correct_for(&mut self, tests: usize) {
        let (tests, users) = (tests as f64, self.difference.users);
        let least = match users <= EXACT {
            // A pattern and its opposite; of one user both patterns.
            true => 2.0 / f64::from(1u32 << users),
            false => 1.0 / (RESAMPLES + 1) as f64,
        };
        self.least_p_holm = (tests * least).min(1.0);
        self.minimum_detectable = self.standard_error.and_then(|error| {
            let t = StudentsT::new(0.0, 1.0, users as f64 - 1.0).ok()?;
            Some((t.inverse_cdf(1.0 - LEVEL / tests / 2.0) + t.inverse_cdf(POWER)) * error)
        });
    }
}

fn standard_error(values: &[f64]) -> Option<f64> {
    let n = values.len() as f64;
    let center = mean(values);
    let sum: f64 = values.iter().map(|value| (value - center).powi(2)).sum();
    (values.len() > 1).then(|| (sum / (n - 1.0) / n).sqrt())
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Holm's step-down correction over the tests of one table (S. Holm 1979), with what else depends
/// on their number.
pub fn holm<'a>(tests: impl IntoIterator<Item = &'a mut PairedTest>) {
    let mut tests: Vec<&mut PairedTest> = tests.into_iter().collect();
    tests.sort_by(|a, b| a.p.total_cmp(&b.p));
    let (count, mut largest) = (tests.len(), 0.0f64);
    for (rank, test) in tests.into_iter().enumerate() {
        largest = largest.max((test.p * (count - rank) as f64).min(1.0));
        test.p_holm = largest;
        test.correct_for(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(values: &[f64]) -> UserScores {
        values.iter().enumerate().map(|(i, v)| (format!("u{i:02}"), *v)).collect()
    }

    #[test]
    fn seeds_count_once_per_user() {
        let averaged = average_seeds([("a", 1.0), ("a", 3.0), ("b", 5.0)]);
        assert_eq!(averaged.into_values().collect::<Vec<_>>(), [2.0, 5.0]);
    }

    #[test]
    fn the_bootstrap_covers_the_mean_and_repeats_itself() {
        let scores = scores(&(0..30).map(f64::from).collect::<Vec<_>>());
        let interval = bootstrap(&scores, 1).unwrap();
        assert_eq!((interval.mean, interval.users), (14.5, 30));
        // The standard error is 8.66 / √30 = 1.58.
        assert!((interval.low - (14.5 - 1.96 * 1.58)).abs() < 0.2, "{interval:?}");
        assert!((interval.high - (14.5 + 1.96 * 1.58)).abs() < 0.2, "{interval:?}");
        assert_eq!(bootstrap(&scores, 1), Some(interval));
        assert_eq!(bootstrap(&UserScores::new(), 1), None);
    }

    #[test]
    fn the_paired_test_is_exact_for_few_users() {
        let test = paired_test(&scores(&[2.0, 3.0, 4.0, 5.0]), &scores(&[1.0; 4]), 0).unwrap();
        // Only the pattern itself and its opposite reach the sum.
        assert_eq!((test.difference.mean, test.p), (2.5, 2.0 / 16.0));
        let same = paired_test(&scores(&[1.0, 2.0]), &scores(&[1.0, 2.0]), 0).unwrap();
        assert_eq!((same.p, same.minimum_detectable), (1.0, Some(0.0)));
        // t(0.975, 3) = 3.182446, t(0.8, 3) = 0.978472, sd = 1.290994.
        assert!((test.minimum_detectable.unwrap() - 4.160918 * 1.290994 / 2.0).abs() < 1e-4);
        assert_eq!(
            paired_test(&scores(&[1.0]), &scores(&[0.0]), 0).unwrap().minimum_detectable,
            None
        );
        assert!(paired_test(&scores(&[1.0]), &UserScores::new(), 0).is_none());
    }

    #[test]
    fn many_users_are_sampled() {
        let noise = scores(&(0..20).map(|i| f64::from(i % 5) - 2.0).collect::<Vec<_>>());
        let shifted = noise.iter().map(|(user, v)| (user.clone(), v + 1.5)).collect();
        let zero = scores(&[0.0; 20]);
        assert!(paired_test(&noise, &zero, 3).unwrap().p > 0.5);
        let p = paired_test(&shifted, &zero, 3).unwrap().p;
        assert!(p > 0.0 && p < 0.01, "{p}");
    }

    #[test]
    fn what_can_be_found_depends_on_the_number_of_tests() {
        let test =
            paired_test(&scores(&[2.0, 3.0, 4.0, 5.0, 6.0, 7.0]), &scores(&[1.0; 6]), 0).unwrap();
        assert_eq!(
            (test.p, test.least_p_holm, test.can_be_significant()),
            (2.0 / 64.0, 2.0 / 64.0, true)
        );
        let mut two = [test; 2];
        holm(&mut two);
        // The smallest p that six users can give, and yet not significant.
        assert_eq!((two[0].p_holm, two[0].least_p_holm), (4.0 / 64.0, 4.0 / 64.0));
        assert!(!two[0].can_be_significant());
        // t(0.9875, 5) = 3.163381, t(0.8, 5) = 0.919544, sd = 1.870829.
        let error = 1.870829 / 6f64.sqrt();
        assert!((two[0].standard_error.unwrap() - error).abs() < 1e-6);
        assert!((two[0].minimum_detectable.unwrap() - (3.163381 + 0.919544) * error).abs() < 1e-4);
        let many = paired_test(&scores(&[1.0; 14]), &scores(&[0.0; 14]), 0).unwrap();
        assert_eq!(many.least_p_holm, 1.0 / 10_001.0);
    }

    #[test]
    fn holm_is_monotone_and_at_most_1() {
        let test = paired_test(&scores(&[1.0]), &scores(&[0.0]), 0).unwrap();
        let mut tests = [0.04, 0.01, 0.03, 0.9].map(|p| PairedTest { p, ..test });
        holm(&mut tests);
        for (test, expected) in tests.iter().zip([0.09, 0.04, 0.09, 0.9]) {
            assert!((test.p_holm - expected).abs() < 1e-15);
        }
    }
}
