//! Continual metrics over the matrix R\[t\]\[i\]: the score after period t on the test part of
//! period i.

use serde::{Deserialize, Serialize};
use spring_numerics::setters;

/// Which way a score improves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// A loss: lower is better.
    Lower,
    /// A quality: higher is better.
    Higher,
}

impl Direction {
    /// How much better `a` is than `b`.
    fn gain(self, a: f64, b: f64) -> f64 {
        match self {
            Self::Lower => b - a,
            Self::Higher => a - b,
        }
    }
}

/// The four numbers of continual learning, in the unit of the scores. Gains and losses count for
/// better or worse, whichever way the score improves, so that a positive transfer is always good
/// and positive forgetting always bad.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ContinualScores {
    /// Mean score at the end; see [`ContinualScores::DEFINITIONS`].
    pub average: Option<f64>,
    /// What later periods did to earlier ones.
    pub backward_transfer: Option<f64>,
    /// What earlier periods did for the next, before it was learned.
    pub forward_transfer: Option<f64>,
    /// What was lost of the best.
    pub forgetting: Option<f64>,
}

setters! {
    ContinualScores {
        with_average(average: Option<f64>);
        with_backward_transfer(backward_transfer: Option<f64>);
        with_forward_transfer(forward_transfer: Option<f64>);
        with_forgetting(forgetting: Option<f64>);
    }
}

impl ContinualScores {
    /// Name and definition of each number, to be printed with it.
    pub const DEFINITIONS: [(&'static str, &'static str); 4] = [
        ("average", "mean over i of R[T][i]"),
        ("backward transfer", "mean over i < T of how much better R[T][i] is than R[i][i]"),
        (
            "forward transfer",
            "mean over i > 1 of how much better R[i-1][i] is than the base on period i",
        ),
        (
            "forgetting",
            "mean over i of how much better the best R[t][i] over all t is than R[T][i]",
        ),
    ];

    /// The numbers of a matrix with `matrix[t][i]` after period t + 1 on period i + 1, and the
    /// untouched base's scores. Cells that were not measured, and periods that the base was not
    /// measured on, are left out of the means; a number without any cell is `None`.
    pub fn of(matrix: &[Vec<Option<f64>>], base: &[Option<f64>], direction: Direction) -> Self {
        let Some(last) = matrix.last() else { return Self::default() };
        let cell = |t: usize, i: usize| matrix.get(t).and_then(|row| *row.get(i)?);
        let end = |i: usize| last.get(i).copied().flatten();
        let n = last.len();
        let best = |i: usize| {
            let scores = (0..matrix.len()).filter_map(|t| cell(t, i));
            scores.reduce(|a, b| if direction.gain(b, a) > 0.0 { b } else { a })
        };
        let earlier = 0..(matrix.len() - 1).min(n);
        Self {
            average: mean((0..n).filter_map(end)),
            backward_transfer: mean(
                earlier.filter_map(|i| Some(direction.gain(end(i)?, cell(i, i)?))),
            ),
            forward_transfer: mean(
                (1..n).filter_map(|i| Some(direction.gain(cell(i - 1, i)?, (*base.get(i)?)?))),
            ),
            forgetting: mean((0..n).filter_map(|i| Some(direction.gain(best(i)?, end(i)?)))),
        }
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0usize), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / count as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: Option<f64>, b: f64) {
        assert!((a.unwrap() - b).abs() < 1e-12, "{a:?} {b}");
    }

    #[test]
    fn numbers_of_a_small_matrix() {
        let rows = [[1.0, 3.0, 4.0], [0.5, 1.0, 2.0], [2.0, 0.5, 1.0]];
        let matrix: Vec<Vec<Option<f64>>> = rows.iter().map(|row| row.map(Some).to_vec()).collect();
        let base = [Some(5.0), Some(5.0), Some(5.0)];
        let loss = ContinualScores::of(&matrix, &base, Direction::Lower);
        close(loss.average, 3.5 / 3.0);
        close(loss.backward_transfer, (-1.0 + 0.5) / 2.0);
        close(loss.forward_transfer, (2.0 + 3.0) / 2.0);
        close(loss.forgetting, 1.5 / 3.0);
        let quality = ContinualScores::of(&matrix, &base, Direction::Higher);
        close(quality.backward_transfer, (1.0 - 0.5) / 2.0);
        close(quality.forward_transfer, -2.5);
        close(quality.forgetting, (0.0 + 2.5 + 3.0) / 3.0);
    }

    #[test]
    fn cells_that_were_not_measured_are_left_out() {
        let matrix = vec![vec![Some(1.0), None], vec![Some(3.0), None]];
        let scores = ContinualScores::of(&matrix, &[None, None], Direction::Lower);
        assert_eq!((scores.average, scores.backward_transfer), (Some(3.0), Some(-2.0)));
        assert_eq!((scores.forward_transfer, scores.forgetting), (None, Some(2.0)));
        assert_eq!(ContinualScores::of(&[], &[], Direction::Lower), ContinualScores::default());
    }
}
