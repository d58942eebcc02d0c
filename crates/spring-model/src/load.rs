//! A checkpoint's tensors on the device.

use std::cell::Cell;

use burn::tensor::{DType, Tensor, TensorData, backend::Backend};
use half::{bf16, f16};
use spring_gguf::{BlockFormat, GgufError, GgufFile, Matrix, rotation_row};
use spring_lm::{ModelError, Result, Weights};

use crate::{Arithmetic, ModelBackend, weight::Weight};

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

/// How a GGUF file's matrices are kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kept {
    /// The floats that they become where blocks are not kept.
    pub dtype: DType,
    /// The arithmetic of products with blocks.
    pub arithmetic: Arithmetic,
}

/// A matrix of a GGUF file: its blocks if the backend keeps them, otherwise its numbers. The rows
/// of queries and keys are put back into the order of model folders, in which adapters are trained.
pub(crate) fn gguf_matrix<B: ModelBackend>(
    file: &GgufFile,
    name: &str,
    head: Option<usize>,
    Kept { dtype, arithmetic }: Kept,
    device: &B::Device,
) -> Result<Weight<B>> {
    let matrix = match head {
        Some(head) => file.matrix_in_order(name, |row| rotation_row(row, head))?,
        None => file.matrix(name)?,
    };
    if B::KEEPS_BLOCKS && matrix.format() != BlockFormat::F32 {
        return Ok(Weight::blocks(matrix, arithmetic));
    }
    let shape = [matrix.rows(), matrix.columns()];
    let data = match dtype {
        DType::F16 => TensorData::new(numbers(&matrix, f16::from_f32), shape),
        DType::BF16 => TensorData::new(numbers(&matrix, bf16::from_f32), shape),
        _ => TensorData::new(numbers(&matrix, |x| x), shape),
    };
    Ok(Weight::dense(Tensor::from_data(data, (device, dtype))))
}

fn numbers<T>(matrix: &Matrix, convert: impl Fn(f32) -> T) -> Vec<T> {
    let mut row = vec![0.0; matrix.columns()];
    let mut numbers = Vec::with_capacity(matrix.rows() * matrix.columns());
    for i in 0..matrix.rows() {
        matrix.row(i, &mut row);
        numbers.extend(row.iter().map(|x| convert(*x)));
    }
    numbers
}

/// A vector of a GGUF file as one row.
pub(crate) fn gguf_vector<B: Backend>(
    file: &GgufFile,
    name: &str,
    head: Option<usize>,
    device: &B::Device,
) -> Result<Weight<B>> {
    let stored = file.values(name)?;
    if let Some(place) = stored.iter().position(|x| !x.is_finite()) {
        return Err(GgufError::Tensor {
            path: file.path().into(),
            tensor: name.into(),
            problem: format!(
                "holds {} at place {}: the weights are damaged; fetch them again",
                stored[place],
                place + 1
            ),
        }
        .into());
    }
    let numbers = match head {
        Some(head) => (0..stored.len()).map(|row| stored[rotation_row(row, head)]).collect(),
        None => stored,
    };
    let shape = [1, numbers.len()];
    Ok(Weight::dense(Tensor::from_data(TensorData::new(numbers, shape), (device, DType::F32))))
}
