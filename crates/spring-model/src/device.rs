//! The devices that a model may run on.

use std::{fmt, str::FromStr};

use spring_lm::{ModelError, Result};

/// Where a model runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Device {
    /// The processor, by burn's flex backend (feature `cpu`).
    #[default]
    Cpu,
    /// Any GPU, by Vulkan, Metal or DirectX (feature `wgpu`).
    Wgpu,
    /// An NVIDIA GPU (feature `cuda`).
    Cuda,
}

impl Device {
    /// All devices, compiled in or not.
    pub const ALL: [Self; 3] = [Self::Cpu, Self::Wgpu, Self::Cuda];

    /// Its name, which is also the feature that brings it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Wgpu => "wgpu",
            Self::Cuda => "cuda",
        }
    }

    pub(crate) fn absent(self) -> ModelError {
        let reason = format!("not compiled in; build with --features {self}");
        ModelError::Device { device: self.name().into(), reason }
    }

    /// Whether this program was built with it.
    pub fn is_compiled_in(self) -> bool {
        match self {
            Self::Cpu => cfg!(feature = "cpu"),
            Self::Wgpu => cfg!(feature = "wgpu"),
            Self::Cuda => cfg!(feature = "cuda"),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Device {
    type Err = ModelError;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|device| device.name() == name).ok_or_else(|| {
            ModelError::Device {
                device: name.into(),
                reason: "unknown; cpu, wgpu and cuda are the choices".into(),
            }
        })
    }
}
