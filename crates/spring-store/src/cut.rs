//! Where a stream is cut into periods, and each period into what is learned and what is held out.

use std::ops::Range;

use spring_numerics::round::floor_of;

/// Positions of the training and the held-out part of each period, for `n` texts in the order of
/// time.
///
/// Periods have equal count, the first ones one more where it does not divide; fewer texts than
/// periods give as many periods as there are texts. The held-out part is the latest `⌊hold_out ·
/// count⌋`, never all of a period.
pub fn period_ranges(n: usize, periods: u32, hold_out: f64) -> Vec<(Range<usize>, Range<usize>)> {
    let parts = (periods as usize).clamp(1, n.max(1)).min(n);
    let mut start = 0;
    (0..parts)
        .map(|part| {
            let size = n / parts + usize::from(part < n % parts);
            let (from, end) = (start, start + size);
            start = end;
            let learned = size - floor_of(hold_out, size).min(size - 1);
            (from..from + learned, from + learned..end)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_equal_and_the_latest_are_held_out() {
        assert_eq!(period_ranges(11, 2, 0.2), [(0..5, 5..6), (6..10, 10..11)]);
        assert_eq!(period_ranges(100, 1, 0.29), [(0..71, 71..100)]);
        assert_eq!(period_ranges(2, 5, 0.9), [(0..1, 1..1), (1..2, 2..2)]);
        assert_eq!(period_ranges(0, 5, 0.1), []);
        assert_eq!(period_ranges(3, 0, 0.0), [(0..3, 3..3)]);
    }
}
