//! ln Σ eˣ, and what is normalised by it.

use crate::exp::exp_minimax;
use crate::lanes::{BLOCK, max, sum};
use crate::vectorized;

/// ln Σ eˣ in two parts, which are subtracted one after the other so that large logits lose
/// nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct LogSumExp {
    /// The highest x. NaN or +∞ if one of the values is; −∞ if all are, or if there is none. Only
    /// with a finite one is the sum defined.
    pub highest: f32,
    /// ln Σ exp(x − highest).
    pub log_sum: f32,
}

impl LogSumExp {
    /// Of `values`, in nats.
    pub fn of(values: &[f32]) -> Self {
        let (highest, total) = highest_and_sum(values);
        Self { highest, log_sum: total.ln() as f32 }
    }

    /// x − ln Σ eˣ for each x: log-probabilities from logits. `out` is as long as `values`.
    pub fn subtract_into(self, values: &[f32], out: &mut [f32]) {
        subtract_into(values, self.highest, self.log_sum, out);
    }

    /// [`subtract_into`](Self::subtract_into), in place.
    pub fn subtract(self, values: &mut [f32]) {
        subtract(values, self.highest, self.log_sum);
    }
}

vectorized! {
    fn subtract_into(values: &[f32], highest: f32, log_sum: f32, out: &mut [f32]) {
        for (out, value) in out.iter_mut().zip(values) {
            *out = (value - highest) - log_sum;
        }
    }
}

vectorized! {
    fn subtract(values: &mut [f32], highest: f32, log_sum: f32) {
        for value in values {
            *value = (*value - highest) - log_sum;
        }
    }
}

vectorized! {
    /// The highest x and Σ exp(x − highest); a NaN or +∞ is returned as the highest.
    fn highest_and_sum(values: &[f32]) -> (f32, f64) {
        let (mut highest, mut total) = (f32::NEG_INFINITY, 0.0f64);
        for block in values.chunks(BLOCK) {
            let block_highest = max(block);
            if block_highest == f32::NEG_INFINITY {
                continue;
            }
            if block_highest.is_nan() || block_highest == f32::INFINITY {
                return (block_highest, total);
            }
            let block_total = f64::from(sum(block, |value| exp_minimax(value - block_highest)));
            let higher = highest.max(block_highest);
            let scale = |from: f32| f64::from(from - higher).exp();
            total = total * scale(highest) + block_total * scale(block_highest);
            highest = higher;
        }
        (highest, total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_normalised_adds_up_to_one_wherever_it_lies() {
        for shift in [-1e4f32, 0.0, 1e4] {
            let logits: Vec<f32> = (0..5000).map(|i| shift + (i % 37) as f32 * 0.25).collect();
            let sum = LogSumExp::of(&logits);
            let (mut into, mut in_place) = (vec![0.0; logits.len()], logits.clone());
            sum.subtract_into(&logits, &mut into);
            sum.subtract(&mut in_place);
            assert_eq!(into, in_place);
            let total: f64 = into.iter().map(|&x| f64::from(x).exp()).sum();
            assert!((total - 1.0).abs() < 1e-5, "{total}");
        }
        for (values, highest) in
            [(vec![], f32::NEG_INFINITY), (vec![1.0, f32::INFINITY], f32::INFINITY)]
        {
            assert_eq!(LogSumExp::of(&values).highest, highest);
        }
        assert!(LogSumExp::of(&[1.0, f32::NAN]).highest.is_nan());
    }
}
