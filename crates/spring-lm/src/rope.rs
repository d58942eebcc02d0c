//! Rotary position embeddings (RoFormer, arXiv 2104.09864) and how their frequencies are scaled for
//! long contexts.

/// The frequencies of a rotary embedding.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RopeConfig {
    /// Base θ of the wavelengths.
    pub theta: f64,
    /// How the frequencies are changed for contexts beyond the first training's.
    pub scaling: RopeScaling,
}

/// What is done to the frequencies; the kinds that released models of the supported families have.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum RopeScaling {
    /// Nothing (`default`).
    None,
    /// Every frequency divided by a factor (`linear`, position interpolation, arXiv 2306.15595).
    Linear {
        /// The divisor.
        factor: f64,
    },
    /// θ grows with the text once it is longer than the context (`dynamic`, NTK-aware).
    Dynamic {
        /// How much longer texts may become.
        factor: f64,
        /// The context up to which nothing changes, in tokens.
        max_positions: usize,
    },
    /// Long wavelengths divided by a factor, short ones kept, a ramp between, and attention
    /// sharpened (`yarn`, arXiv 2309.00071).
    Yarn {
        /// The divisor of the long wavelengths.
        factor: f64,
        /// What cosines and sines are multiplied by.
        attention_factor: f64,
        /// Turns within the first context above which a wavelength counts as short.
        beta_fast: f64,
        /// Turns below which it counts as long.
        beta_slow: f64,
        /// Context of the first training, in tokens.
        original_max_positions: usize,
        /// Whether the ends of the ramp are whole numbers.
        truncate: bool,
    },
    /// Every wavelength with a divisor of its own, others for texts longer than the first context
    /// (`longrope`, arXiv 2402.13753).
    LongRope {
        /// The divisors of short texts, one a pair of coordinates.
        short: Vec<f64>,
        /// Those of longer ones.
        long: Vec<f64>,
        /// What cosines and sines are multiplied by.
        attention_factor: f64,
        /// Context of the first training, in tokens.
        original_max_positions: usize,
    },
    /// Long wavelengths divided by a factor, short ones kept, those between interpolated (`llama3`,
    /// Llama 3.1).
    Llama3 {
        /// The divisor of the long wavelengths.
        factor: f64,
        /// Wavelengths above the first context divided by this are long.
        low_freq_factor: f64,
        /// Wavelengths below the first context divided by this are short.
        high_freq_factor: f64,
        /// Context of the first training, in tokens.
        original_max_positions: usize,
    },
}

impl RopeConfig {
    /// Radians per position of each pair of coordinates; `head_dim / 2` numbers, in f32 as
    /// transformers computes them.
    ///
    /// `reach` is how many positions the text goes up to: the kinds `dynamic` and `longrope` choose
    /// by it, for each text alone.
    pub fn frequencies(&self, head_dim: usize, reach: usize) -> Vec<f32> {
        let powers = |theta: f32| {
            (0..head_dim / 2).map(move |i| theta.powf((2 * i) as f32 / head_dim as f32))
        };
        let plain = |theta: f64| powers(theta as f32).map(|power| 1.0 / power);
        match &self.scaling {
            RopeScaling::None => plain(self.theta).collect(),
            RopeScaling::Linear { factor } => {
                plain(self.theta).map(|f| f / *factor as f32).collect()
            }
            RopeScaling::Dynamic { factor, max_positions } => {
                let longer = reach.max(*max_positions) as f64 / *max_positions as f64;
                let dim = head_dim as f64;
                let growth = (factor * longer - (factor - 1.0)).powf(dim / (dim - 2.0));
                plain(self.theta * growth).collect()
            }
            RopeScaling::Yarn {
                factor,
                beta_fast,
                beta_slow,
                original_max_positions,
                truncate,
                ..
            } => {
                let place = |turns: f64| {
                    let context = *original_max_positions as f64;
                    head_dim as f64 * (context / (turns * std::f64::consts::TAU)).ln()
                        / (2.0 * self.theta.ln())
                };
                let (low, high) = (place(*beta_fast), place(*beta_slow));
                let (low, high) = if *truncate { (low.floor(), high.ceil()) } else { (low, high) };
                let (low, high) = (low.max(0.0), high.min(head_dim as f64 - 1.0));
                let width = if low == high { 0.001 } else { high - low };
                powers(self.theta as f32)
                    .enumerate()
                    .map(|(i, power)| {
                        let ramp = ((i as f32 - low as f32) / width as f32).clamp(0.0, 1.0);
                        let kept = 1.0 - ramp;
                        1.0 / (*factor as f32 * power) * (1.0 - kept) + 1.0 / power * kept
                    })
                    .collect()
            }
            RopeScaling::LongRope { short, long, original_max_positions, .. } => {
                let divisors = if reach > *original_max_positions { long } else { short };
                powers(self.theta as f32)
                    .zip(divisors)
                    .map(|(power, d)| 1.0 / (*d as f32 * power))
                    .collect()
            }
            &RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_positions,
            } => {
                let (factor, context) = (factor as f32, original_max_positions as f32);
                let (low, high) = (low_freq_factor as f32, high_freq_factor as f32);
                plain(self.theta)
                    .map(|f| {
                        let wavelength = std::f32::consts::TAU / f;
                        if wavelength < context / high {
                            f
                        } else if wavelength > context / low {
                            f / factor
                        } else {
                            let smooth = (context / wavelength - low) / (high - low);
                            (1.0 - smooth) * f / factor + smooth * f
                        }
                    })
                    .collect()
            }
        }
    }

    /// Up to how many positions a text has the same frequencies as any shorter one; `None` if that
    /// is so for all texts.
    pub fn same_up_to(&self) -> Option<usize> {
        match self.scaling {
            RopeScaling::Dynamic { max_positions, .. } => Some(max_positions),
            RopeScaling::LongRope { original_max_positions, .. } => Some(original_max_positions),
            _ => None,
        }
    }

    /// What cosines and sines are multiplied by.
    pub fn attention_factor(&self) -> f32 {
        match self.scaling {
            RopeScaling::Yarn { attention_factor, .. }
            | RopeScaling::LongRope { attention_factor, .. } => attention_factor as f32,
            _ => 1.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::ModelConfig;

    /// A model of width 32 with heads of 8 and a context of 256.
    fn config(parameters: serde_json::Value) -> ModelConfig {
        let file = serde_json::json!({
            "model_type": "llama", "vocab_size": 320, "hidden_size": 32, "intermediate_size": 96.0,
            "num_hidden_layers": 2.0, "num_attention_heads": 4, "head_dim": 8,
            "max_position_embeddings": 256, "rope_parameters": parameters
        });
        ModelConfig::from_json(file.to_string().as_bytes(), "c").unwrap()
    }

    /// Values of transformers' `ROPE_INIT_FUNCTIONS`: frequencies, and the factor of attention.
    #[test]
    fn frequencies_are_those_of_transformers() {
        let yarn = serde_json::json!({
            "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32,
            "rope_theta": 1e6
        });
        let scaled = serde_json::json!({
            "rope_type": "yarn", "factor": 40.0, "mscale": 1.0, "mscale_all_dim": 0.8,
            "beta_fast": 16,
            "beta_slow": 2, "truncate": false, "original_max_position_embeddings": 64.0,
            "rope_theta": 1e4
        });
        let long = serde_json::json!({
            "type": "longrope", "short_factor": [1.0, 1.1, 1.2, 1.3],
            "long_factor": [2.0, 3.0, 4.0, 5.0],
            "original_max_position_embeddings": 64, "rope_theta": 1e4
        });
        let dynamic = serde_json::json!({"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4});
        for (parameters, reach, frequencies, attention) in [
            (&yarn, 1, [1.0, 0.007_905_694_66, 0.000_250_000_012, 7.905_693_56e-6], 1.138_629_4),
            (&scaled, 1, [1.0, 0.002_499_999_94, 0.000_250_000_012, 2.499_999_94e-5], 1.056_966_3),
            (&long, 64, [1.0, 0.090_909_093_6, 0.008_333_332_84, 0.000_769_230_77], 1.154_700_5),
            (&long, 65, [0.5, 0.033_333_335_1, 0.002_499_999_94, 0.000_199_999_995], 1.154_700_5),
            (&dynamic, 256, [1.0, 0.100_000_001, 0.009_999_999_78, 0.001_000_000_05], 1.0),
            (&dynamic, 512, [1.0, 0.069_336_123_8, 0.004_807_498_31, 0.000_333_333_33], 1.0),
        ] {
            let rope = config(parameters.clone()).rope;
            let found = rope.frequencies(8, reach);
            for (found, wanted) in found.iter().zip(frequencies) {
                assert!(
                    (f64::from(*found) / wanted - 1.0).abs() < 1e-6,
                    "{parameters}: {found} {wanted}"
                );
            }
            assert_eq!(found.len(), 4);
            let same = rope.same_up_to().is_none_or(|last| reach <= last);
            assert_eq!(found == rope.frequencies(8, 1), same, "{parameters} {reach}");
            assert!((f64::from(rope.attention_factor()) / attention - 1.0).abs() < 1e-6);
        }
    }
}
