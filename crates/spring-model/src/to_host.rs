//! From the device to the host.

use burn::tensor::{Tensor, backend::Backend};

use crate::{ModelError, Result};

/// Copies numbers to the host as f32.
pub(crate) fn to_host<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Result<Vec<f32>> {
    let data = tensor.into_data().convert::<f32>();
    data.to_vec::<f32>()
        .map_err(|e| ModelError::Sequence(format!("reading from the device: {e:?}")))
}
