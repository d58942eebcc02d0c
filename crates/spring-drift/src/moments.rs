//! Count, mean and spread of values that are not kept.

/// Running moments after Welford, mergeable after Chan et al.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Moments {
    pub count: u64,
    pub mean: f64,
    /// Sum of squared deviations from the mean.
    pub squares: f64,
}

impl Moments {
    pub fn of(value: f64) -> Self {
        Self { count: 1, mean: value, squares: 0.0 }
    }

    /// Those of both together.
    pub fn with(self, other: Self) -> Self {
        let count = self.count + other.count;
        if count == 0 {
            return self;
        }
        let (own, others) = (self.count as f64, other.count as f64);
        let difference = other.mean - self.mean;
        let share = others / count as f64;
        Self {
            count,
            mean: self.mean + difference * share,
            squares: self.squares + other.squares + difference * difference * own * share,
        }
    }

    /// Those of what is in `self` but not in `part`.
    pub fn without(self, part: Self) -> Self {
        let count = self.count.saturating_sub(part.count);
        if count == 0 {
            return Self::default();
        }
        let rest = count as f64;
        let mean = (self.mean * self.count as f64 - part.mean * part.count as f64) / rest;
        let difference = part.mean - mean;
        let between = difference * difference * rest * (part.count as f64 / self.count as f64);
        Self { count, mean, squares: (self.squares - part.squares - between).max(0.0) }
    }

    /// With n − 1; 0 for fewer than two values.
    pub fn sample_variance(self) -> f64 {
        if self.count < 2 { 0.0 } else { self.squares / (self.count - 1) as f64 }
    }

    /// With n; 0 for none.
    pub fn variance(self) -> f64 {
        if self.count == 0 { 0.0 } else { self.squares / self.count as f64 }
    }
}
