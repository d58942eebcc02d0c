//! A matrix of the base: numbers on the device, or the blocks of a GGUF file.

use std::{fmt, sync::Arc};

use burn::{
    empty,
    module::{Module, Param, ParamId},
    tensor::{DType, Int, Tensor, TensorData, backend::Backend},
};
use spring_gguf::Matrix;

use crate::{
    Arithmetic, ModelBackend, ModelError, Result,
    backend::{BlockMatrix, Rows, composed},
};

/// A frozen matrix, `[out, in]`.
#[derive(Module, Debug)]
pub(crate) enum Weight<B: Backend> {
    /// In the dtype that the model was loaded with.
    Dense(Param<Tensor<B, 2>>),
    /// As the file stores it; on backends that [keep blocks](ModelBackend::KEEPS_BLOCKS).
    Blocks(BlockMatrix),
}

impl fmt::Display for BlockMatrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.matrix)
    }
}

// Without parameters.
empty!(BlockMatrix);

impl<B: Backend> Weight<B> {
    pub(crate) fn dense(tensor: Tensor<B, 2>) -> Self {
        Self::Dense(Param::initialized(ParamId::new(), tensor))
    }

    pub(crate) fn blocks(matrix: Matrix, arithmetic: Arithmetic) -> Self {
        Self::Blocks(BlockMatrix { matrix: Arc::new(matrix), arithmetic })
    }

    /// The numbers, of a vector for one: these are never in blocks.
    pub(crate) fn into_param(self, name: &str) -> Result<Param<Tensor<B, 2>>> {
        match self {
            Self::Dense(param) => Ok(param),
            Self::Blocks(blocks) => Err(ModelError::Tensor {
                file: "model".into(),
                tensor: name.into(),
                found: blocks.to_string(),
                expected: "a vector".into(),
            }),
        }
    }

    /// What is trained with all parameters; nothing is of a matrix in blocks.
    #[cfg(any(test, feature = "pretrain"))]
    pub(crate) fn param_mut(&mut self) -> Option<&mut Param<Tensor<B, 2>>> {
        match self {
            Self::Dense(param) => Some(param),
            Self::Blocks(_) => None,
        }
    }

    /// Rows: the outputs of a product.
    pub(crate) fn rows(&self) -> usize {
        match self {
            Self::Dense(param) => param.val().dims()[0],
            Self::Blocks(blocks) => blocks.matrix.rows(),
        }
    }
}

impl<B: ModelBackend> Weight<B> {
    /// Columns: the inputs of a product.
    pub(crate) fn columns(&self) -> usize {
        match self {
            Self::Dense(param) => param.val().dims()[1],
            Self::Blocks(blocks) => blocks.matrix.columns(),
        }
    }

    /// The rows of some tokens in f32.
    ///
    /// # Shapes
    ///
    /// - tokens: `[n]`
    /// - output: `[n, in]`
    pub(crate) fn select(&self, tokens: Tensor<B, 1, Int>) -> Tensor<B, 2> {
        match self {
            Self::Dense(param) => param.val().select(0, tokens).cast(DType::F32),
            Self::Blocks(BlockMatrix { matrix, .. }) => {
                let (device, width) = (tokens.device(), matrix.columns());
                let ids = tokens.into_data();
                let mut numbers = vec![0.0; ids.num_elements() * width];
                for (row, id) in numbers.chunks_exact_mut(width).zip(ids.iter::<i64>()) {
                    matrix.row(id as usize, row);
                }
                let shape = [numbers.len() / width, width];
                Tensor::from_data(TensorData::new(numbers, shape), (&device, DType::F32))
            }
        }
    }

    /// `x·Wᵀ`; a row's numbers depend on no more than `of` says.
    ///
    /// # Shapes
    ///
    /// - x: `[n, in]`
    /// - output: `[n, out]`
    pub(crate) fn project(&self, x: Tensor<B, 2>, of: Rows) -> Tensor<B, 2> {
        let [product] = Self::project_all([self], x, of);
        product
    }

    /// The products of the same rows with several matrices.
    pub(crate) fn project_all<const N: usize>(
        weights: [&Self; N],
        x: Tensor<B, 2>,
        of: Rows,
    ) -> [Tensor<B, 2>; N] {
        let blocks: Vec<&BlockMatrix> = weights
            .iter()
            .filter_map(|weight| match weight {
                Self::Blocks(blocks) => Some(blocks),
                Self::Dense(_) => None,
            })
            .collect();
        let mut products = match blocks.is_empty() {
            true => Vec::new(),
            false => B::project_blocks(x.clone(), &blocks),
        }
        .into_iter();
        weights.map(|weight| match (weight, of) {
            (Self::Dense(param), Rows::Batch) => B::project(x.clone(), param.val()),
            (Self::Dense(param), of) => B::project_rows(x.clone(), param.val(), of),
            // One product of each.
            (Self::Blocks(_), _) => products.next().unwrap_or_else(|| x.clone()),
        })
    }

    /// `y·W`: what a gradient takes through the layer.
    ///
    /// # Shapes
    ///
    /// - gradient: `[n, out]`
    /// - output: `[n, in]`
    pub(crate) fn back(&self, gradient: Tensor<B, 2>) -> Tensor<B, 2> {
        match self {
            Self::Dense(param) => B::project(gradient, param.val().transpose()),
            Self::Blocks(blocks) => B::project_blocks_backward(gradient, blocks),
        }
    }

    /// `x·Wᵀ` by the product that training goes through, to the last bit.
    pub(crate) fn project_tracked(&self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        match self {
            Self::Dense(param) => composed::project(x, param.val()),
            Self::Blocks(blocks) => {
                let product = B::project_blocks(x.clone(), &[blocks]).pop();
                // One product of the one matrix.
                product.unwrap_or(x)
            }
        }
    }

    /// `y·W` by the product that the gradient of [`project_tracked`](Self::project_tracked) is.
    pub(crate) fn back_tracked(&self, gradient: Tensor<B, 2>) -> Tensor<B, 2> {
        match self {
            Self::Dense(param) => gradient.matmul(param.val()),
            Self::Blocks(blocks) => B::project_blocks_backward(gradient, blocks),
        }
    }
}
