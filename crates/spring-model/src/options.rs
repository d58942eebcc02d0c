//! How a model is loaded.

use crate::{Arithmetic, Device, Precision, Workers};

/// Where and how a model is loaded.
///
/// ```
/// use spring_model::{Arithmetic, LoadOptions};
///
/// let options = LoadOptions::default().with_arithmetic(Arithmetic::Exact);
/// assert_eq!(options.precision, None);
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct LoadOptions {
    /// Where the model runs; default the processor.
    pub device: Device,
    /// The float type of matrices. By default f32; on GPUs the quantised matrices of a GGUF file
    /// become f16, or bf16 for Gemma, whose activations go beyond f16, where the device has it.
    pub precision: Option<Precision>,
    /// The arithmetic of products with quantised matrices; default [`Arithmetic::Fast`].
    pub arithmetic: Arithmetic,
    /// The threads that passes share; other models may be given the same.
    pub workers: Workers,
}

impl LoadOptions {
    /// On another device.
    pub fn with_device(self, device: Device) -> Self {
        Self { device, ..self }
    }

    /// With matrices in another float type; `None` is the default.
    pub fn with_precision(self, precision: Option<Precision>) -> Self {
        Self { precision, ..self }
    }

    /// With another arithmetic of quantised matrices.
    pub fn with_arithmetic(self, arithmetic: Arithmetic) -> Self {
        Self { arithmetic, ..self }
    }

    /// With a budget of threads.
    pub fn with_workers(self, workers: Workers) -> Self {
        Self { workers, ..self }
    }
}
