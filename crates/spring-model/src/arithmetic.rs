//! How products with quantised matrices are computed.

use spring_numerics::SettingError;

/// The arithmetic of products with a GGUF file's quantised matrices on the CPU; matrices of floats
/// have one way only, and so have GPUs, where quantised matrices become floats at load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Arithmetic {
    /// Rows of activations become integers of 16 bits, once per layer, and products are those of
    /// integers.
    #[default]
    Fast,
    /// Blocks become f32 on the way into a product.
    Exact,
}

impl Arithmetic {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Fast, Self::Exact];

    /// Its name: `fast` or `exact`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Exact => "exact",
        }
    }
}

impl std::fmt::Display for Arithmetic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Arithmetic {
    type Err = SettingError;

    fn from_str(name: &str) -> Result<Self, SettingError> {
        Self::ALL
            .into_iter()
            .find(|arithmetic| arithmetic.name() == name)
            .ok_or_else(|| SettingError::new("arithmetic", name, "fast or exact"))
    }
}
