//! The contrast of a person's model with its base: what the adapter adds is pushed further.

use std::fmt;

use serde::de::{Error, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use spring_numerics::exp::exp_minimax;
use spring_numerics::lanes::{BLOCK, sum};
use spring_numerics::setting::{SettingError, in_range};
use spring_numerics::{setters, vectorized};

use crate::FuseError;
use crate::log_softmax::{highest, normalize};

/// z = ln p + γ·(ln p − ln p₀) over the head, normalised: what a person's model p has learned
/// beyond its base p₀ is pushed further, as in CoPe (Bu et al., arXiv 2506.12109).
///
/// The head are the plausible tokens, p ≥ plausibility · max p (Li et al., arXiv 2210.15097).
/// Without it, a token that both find absurd could win by being a little less absurd. What becomes
/// of the other tokens is said by [`Tail`].
///
/// In a file: a table, or a number alone for the weight. Unknown keys are errors.
///
/// ```
/// use spring_fuse::{Contrast, MixtureConfig};
/// let config: MixtureConfig = serde_json::from_str(r#"{"contrast": 0.25}"#)?;
/// assert_eq!(config.contrast, Some(Contrast::default().with_weight(0.25)));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, remote = "Self")]
#[non_exhaustive]
pub struct Contrast {
    /// γ, finite and ≥ 0; 0.5 unless given. 0 leaves p as it is, to the bit.
    pub weight: f32,
    /// Share of the likeliest token's probability under p that a token of the head needs, in (0,
    /// 1]; 0.1 unless given.
    pub plausibility: f32,
    /// What tokens outside the head get; [`Tail::Keep`] unless given.
    pub tail: Tail,
}

/// What becomes of the tokens that are not plausible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Tail {
    /// They keep their probability under p, and the head shares what is left: the contrast moves
    /// probability within the head alone. So whatever p can write stays possible, and a text that
    /// is known has a finite loss. The likeliest token is the one of [`Tail::Drop`]: the mean over
    /// the head is at least `plausibility · max p`, which none of the others reaches.
    #[default]
    Keep,
    /// They get none, as in CoPe. A text that is known then has no finite loss as soon as one of
    /// its tokens is outside the head.
    Drop,
}

/// A z₀ below this counts as this, so that what is excluded there wins by much, not by infinity.
const LOWEST: f32 = -1e4;

impl Default for Contrast {
    /// γ 0.5, plausibility 0.1, and the tail kept.
    fn default() -> Self {
        Self { weight: 0.5, plausibility: 0.1, tail: Tail::Keep }
    }
}

setters! {
    Contrast {
        with_weight(weight: f32);
        with_plausibility(plausibility: f32);
        with_tail(tail: Tail);
    }
}

impl Contrast {
    /// Whether it changes anything: a weight of 0 does not, and needs no base.
    pub fn is_on(&self) -> bool {
        self.weight > 0.0
    }

    pub(crate) fn check(&self) -> Result<(), SettingError> {
        in_range("weight", self.weight, 0.0..=f32::MAX / 1e6, "a number >= 0")?;
        in_range(
            "plausibility",
            self.plausibility,
            f32::MIN_POSITIVE..=1.0,
            "above 0 and at most 1",
        )
    }

    /// Writes the log-probabilities of the contrast to `out`, in nats; `personal` and `base` are
    /// log-probabilities over the same vocabulary, as [`log_softmax`] makes them.
    ///
    /// With a weight of 0, `out` is `personal` bit for bit, and the values of `base` are not
    /// looked at.
    ///
    /// # Errors
    /// For settings out of their range, lengths that differ, NaN and +∞, and where one of the two
    /// gives every token probability 0.
    ///
    /// ```
    /// use spring_fuse::{Contrast, Tail};
    /// let contrast = Contrast::default().with_weight(1.0).with_tail(Tail::Drop);
    /// let (personal, base) = ([0.6f32, 0.39, 0.01], [0.3f32, 0.69, 0.01]);
    /// let mut out = [0.0; 3];
    /// contrast.apply(&personal.map(f32::ln), &base.map(f32::ln), &mut out)?;
    /// let [p, q] = [0.6 * 0.6 / 0.3, 0.39 * 0.39 / 0.69];
    /// assert!((out[0].exp() - p / (p + q)).abs() < 1e-6 && out[2] == f32::NEG_INFINITY);
    /// # Ok::<(), spring_fuse::FuseError>(())
    /// ```
    ///
    /// [`log_softmax`]: crate::log_softmax
    pub fn apply(&self, personal: &[f32], base: &[f32], out: &mut [f32]) -> Result<(), FuseError> {
        self.check()?;
        for (what, branch) in [("personal", personal), ("base", base)] {
            if branch.len() != out.len() {
                let (expected, actual) = (out.len(), branch.len());
                return Err(FuseError::LengthMismatch { what, expected, actual });
            }
        }
        let likeliest = highest("personal", personal)?;
        out.copy_from_slice(personal);
        if !self.is_on() {
            return Ok(());
        }
        highest("base", base)?;
        let plausible = likeliest + self.plausibility.ln();
        contrast(base, self.weight, plausible, out);
        normalize("contrast", out)?;
        if self.tail == Tail::Keep {
            let of_likeliest = share_of_head(personal, likeliest, plausible);
            keep_tail(personal, plausible, likeliest + of_likeliest.ln() as f32, out);
        }
        Ok(())
    }
}

vectorized! {
    /// Turns z₁ in `out` into z₁ + β·(z₁ − z₀), and what is not plausible into −∞.
    pub(crate) fn contrast(without: &[f32], beta: f32, plausible: f32, out: &mut [f32]) {
        for (out, &without) in out.iter_mut().zip(without) {
            let without = if without > LOWEST { without } else { LOWEST };
            let contrast = *out + beta * (*out - without);
            *out = if *out >= plausible { contrast } else { f32::NEG_INFINITY };
        }
    }
}

vectorized! {
    /// Probability of the plausible tokens together, as a multiple of the likeliest's.
    fn share_of_head(values: &[f32], likeliest: f32, plausible: f32) -> f64 {
        let mut total = 0.0f64;
        for block in values.chunks(BLOCK) {
            let share = |value: f32| {
                if value >= plausible { exp_minimax(value - likeliest) } else { 0.0 }
            };
            total += f64::from(sum(block, share));
        }
        total
    }
}

vectorized! {
    /// Gives the tail its own values back, and the head the probability e^`log_mass` to share.
    fn keep_tail(personal: &[f32], plausible: f32, log_mass: f32, out: &mut [f32]) {
        for (out, &personal) in out.iter_mut().zip(personal) {
            *out = if personal >= plausible { *out + log_mass } else { personal };
        }
    }
}

impl Serialize for Contrast {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for Contrast {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumberOrTable)
    }
}

struct NumberOrTable;

impl<'de> Visitor<'de> for NumberOrTable {
    type Value = Contrast;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the weight of the contrast, or a table with `weight`, `plausibility`, `tail`")
    }

    fn visit_f64<E: Error>(self, weight: f64) -> Result<Contrast, E> {
        Ok(Contrast::default().with_weight(weight as f32))
    }

    fn visit_u64<E: Error>(self, weight: u64) -> Result<Contrast, E> {
        self.visit_f64(weight as f64)
    }

    fn visit_i64<E: Error>(self, weight: i64) -> Result<Contrast, E> {
        self.visit_f64(weight as f64)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Contrast, A::Error> {
        Contrast::deserialize(MapAccessDeserializer::new(map))
    }
}
