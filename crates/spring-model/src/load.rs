//! A checkpoint's tensors on the device.

use std::cell::Cell;

use burn::tensor::{DType, Tensor, TensorData, backend::Backend};
use half::{bf16, f16};
use spring_lm::{ModelError, Result, Weights};

/// A tensor of that shape on the device, a vector as one row; numbers go through `change` before
/// they are rounded to `dtype`.
pub(crate) fn tensor<B: Backend>(
    file: &Weights<'_>,
    name: &str,
    shape: &[usize],
    dtype: DType,
    change: impl Fn(f32) -> f32,
    device: &B::Device,
) -> Result<Tensor<B, 2>> {
    let columns = shape.last().copied().unwrap_or(1);
    // Where the first number that is none stands.
    let (place, odd) = (Cell::new(0_usize), Cell::new(None));
    let change = |x: f32| {
        if !x.is_finite() && odd.get().is_none() {
            odd.set(Some((place.get(), x)));
        }
        place.set(place.get() + 1);
        change(x)
    };
    let flat = [shape.iter().product::<usize>() / columns, columns];
    let data = match dtype {
        DType::F16 => {
            TensorData::new(file.numbers(name, shape, |x| f16::from_f32(change(x)))?, flat)
        }
        DType::BF16 => {
            TensorData::new(file.numbers(name, shape, |x| bf16::from_f32(change(x)))?, flat)
        }
        _ => TensorData::new(file.numbers(name, shape, change)?, flat),
    };
    if let Some((place, value)) = odd.get() {
        return Err(ModelError::Config {
            file: file.label().into(),
            reason: format!(
                "tensor {name} holds {value} in row {}, column {}: the weights are damaged; fetch \
                 them again",
                place / columns + 1,
                place % columns + 1
            ),
        });
    }
    Ok(Tensor::from_data(data, (device, dtype)))
}
