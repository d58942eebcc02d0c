//! Rotary position embeddings (RoFormer, arXiv 2104.09864) and how their frequencies are scaled for long contexts.

/// The frequencies of a rotary embedding.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RopeConfig {
    /// Base θ of the wavelengths.
    pub theta: f64,
    /// How the frequencies are changed for contexts beyond the first training's.
    pub scaling: RopeScaling,
}

/// What is done to the frequencies; the kinds that released models of the supported families have.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum RopeScaling {
    /// Nothing (`default`).
    None,
    /// Every frequency divided by a factor (`linear`, position interpolation, arXiv 2306.15595).
    Linear {
        /// The divisor.
        factor: f64,
    },
    /// Long wavelengths divided by a factor, short ones kept, those between interpolated (`llama3`, Llama 3.1).
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
    /// Radians per position of each pair of coordinates; `head_dim / 2` numbers, in f32 as transformers computes them.
    pub fn frequencies(&self, head_dim: usize) -> Vec<f32> {
        let theta = self.theta as f32;
        let plain = (0..head_dim / 2).map(|i| 1.0 / theta.powf((2 * i) as f32 / head_dim as f32));
        match self.scaling {
            RopeScaling::None => plain.collect(),
            RopeScaling::Linear { factor } => plain.map(|f| f / factor as f32).collect(),
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_positions } => {
                let (factor, context) = (factor as f32, original_max_positions as f32);
                let (low, high) = (low_freq_factor as f32, high_freq_factor as f32);
                plain
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
}
