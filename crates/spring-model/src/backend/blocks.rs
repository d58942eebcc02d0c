//! Products with matrices in blocks, on the host.

use spring_gguf::{Compute, QuantisedRows};

use super::BlockMatrix;
use crate::Arithmetic;

/// The products of the same rows with several matrices: rows are quantised once for all of them.
///
/// # Shapes
///
/// - x: `[n, in]`
/// - output, one each: `[n, out]`
pub(super) fn products(x: &[f32], weights: &[&BlockMatrix]) -> Vec<Vec<f32>> {
    let Some(columns) = weights.first().map(|weight| weight.matrix.columns()) else {
        return Vec::new();
    };
    let rows = x.len() / columns;
    let outputs: usize = weights.iter().map(|weight| weight.matrix.rows()).sum();
    with_threads(rows * columns * outputs, |compute| {
        let mut quantised = None;
        let product = |BlockMatrix { matrix, arithmetic }: &&BlockMatrix| {
            let mut y = vec![0.0; rows * matrix.rows()];
            match arithmetic {
                Arithmetic::Fast if !matrix.format().is_float() => {
                    let x = quantised.get_or_insert_with(|| QuantisedRows::new(x, columns));
                    compute.fast(matrix, x, &mut y);
                }
                _ => compute.exact(matrix, x, &mut y),
            }
            y
        };
        weights.iter().map(product).collect()
    })
}

/// The product of rows with the matrix transposed.
///
/// # Shapes
///
/// - gradient: `[n, out]`
/// - output: `[n, in]`
pub(super) fn transposed(gradient: &[f32], weight: &BlockMatrix) -> Vec<f32> {
    let matrix = &weight.matrix;
    let rows = gradient.len() / matrix.rows();
    with_threads(rows * matrix.rows() * matrix.columns(), |compute| {
        let mut x = vec![0.0; rows * matrix.columns()];
        compute.transposed(matrix, gradient, &mut x);
        x
    })
}

/// Runs products of this many multiplications on the threads that are free.
fn with_threads<R: Send>(multiplications: usize, work: impl FnOnce(Compute) -> R + Send) -> R {
    #[cfg(feature = "cpu")]
    if let Some(helpers) = super::few::shared(multiplications) {
        let compute = Compute::on_this_thread().with_threads(helpers.threads());
        return helpers.run(|| work(compute));
    }
    let _ = multiplications;
    work(Compute::on_this_thread())
}
