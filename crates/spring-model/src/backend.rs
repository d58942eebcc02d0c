//! What the transformer asks of a backend beyond burn's own operations.
//!
//! Every operation has a default that is composed of burn's, in [`composed`]; a backend may bring a
//! faster one, as the CPU does. In training each is one node of the graph with a gradient of its
//! own: composed, autodiff keeps every intermediate result, attention's `[heads, queries, keys]`
//! several times over.

mod autodiff;
mod blocks;
pub(crate) mod composed;
#[cfg(feature = "cpu")]
mod cpu;
#[cfg(feature = "cpu")]
mod few;
#[cfg(feature = "cpu")]
mod vector;

use std::{ops::Range, sync::Arc};

use burn::tensor::{Bool, Int, Tensor, activation, backend::Backend};

use spring_gguf::Matrix;

use crate::{Activation, Arithmetic, cache::LayerCache};

/// A backend that the transformer runs on; every one of burn's does.
///
/// For a backend of your own, `impl ModelBackend for MyBackend {}` is all.
pub trait ModelBackend: Backend {
    /// Whether [`grouped_attention`](Self::grouped_attention) reads its mask as a tensor; if not,
    /// none is made.
    const MASK_TENSOR: bool = true;

    /// How many tokens, padding included, run in one pass unless the caller says otherwise. A GPU
    /// is fastest when a pass keeps it busy, a processor when a pass fits its caches.
    const TOKENS_AT_ONCE: usize = 16_384;

    /// The most tokens of a context that one pass of decoding reads. Other rows go on between two
    /// passes, so that on a processor, where a pass takes long, a long context holds nobody up.
    const CONTEXT_AT_ONCE: usize = 2048;

    /// Whether several passes run side by side on the threads of [`Workers`](crate::Workers); not
    /// on a device that one pass keeps busy. Results do not depend on it.
    const SIDE_BY_SIDE: bool = false;

    /// Whether quantised matrices stay in their blocks; if not, they become floats at load.
    const KEEPS_BLOCKS: bool = false;

    /// Whether the product of so many rows with an f32 matrix `[out, in]`, or with its transpose,
    /// gives each row the same numbers to the last bit as among any other rows beside it, if those
    /// are as many as makes this true for them too. Where it does, several people's rows are
    /// trained in one pass.
    fn is_of_each_row(rows: usize, inner: usize, outputs: usize) -> bool {
        let _ = (rows, inner, outputs);
        false
    }

    /// The product `x·Wᵀ` of f32 activations and weights of any float type, in the weights' type;
    /// the result is f32 again.
    ///
    /// # Shapes
    ///
    /// - x: `[n, in]`
    /// - weight: `[out, in]`
    /// - output: `[n, out]`
    fn project(x: Tensor<Self, 2>, weight: Tensor<Self, 2>) -> Tensor<Self, 2> {
        composed::project(x, weight)
    }

    /// The same, where a row's numbers may depend on no more than `rows` says, to the last bit if
    /// the backend can.
    fn project_rows(x: Tensor<Self, 2>, weight: Tensor<Self, 2>, rows: Rows) -> Tensor<Self, 2> {
        let _ = rows;
        Self::project(x, weight)
    }

    /// The products `x·Wᵀ` of the same rows with several matrices in blocks; a row's numbers depend
    /// on that row alone.
    ///
    /// # Shapes
    ///
    /// - x: `[n, in]`
    /// - output, for each matrix: `[n, out]`
    fn project_blocks(x: Tensor<Self, 2>, weights: &[&BlockMatrix]) -> Vec<Tensor<Self, 2>> {
        composed::project_blocks(x, weights)
    }

    /// The gradient of one of these products with respect to `x`: `g·W`, over W as f32 whatever the
    /// arithmetic of the product was.
    ///
    /// # Shapes
    ///
    /// - gradient: `[n, out]`
    /// - output: `[n, in]`
    fn project_blocks_backward(gradient: Tensor<Self, 2>, weight: &BlockMatrix) -> Tensor<Self, 2> {
        composed::project_blocks_backward(gradient, weight)
    }

    /// A matrix B of an adapter with its numbers in the order in which
    /// [`add_low_rank`](Self::add_low_rank) reads them fastest.
    fn by_column(b: Tensor<Self, 2>) -> Tensor<Self, 2> {
        b
    }

    /// Adds to some rows the updates of their LoRA adapters, `scale·(xAᵀ)Bᵀ`.
    ///
    /// # Shapes
    ///
    /// - output: `[n, out]`
    /// - x: `[n, in]`
    fn add_low_rank(
        output: Tensor<Self, 2>,
        x: &Tensor<Self, 2>,
        updates: &[LowRank<'_, Self>],
        rows: Rows,
    ) -> Tensor<Self, 2> {
        let _ = rows;
        composed::add_low_rank(output, x, updates)
    }

    /// Root mean square normalisation of rows (arXiv 1910.07467).
    ///
    /// # Shapes
    ///
    /// - x, output: `[n, width]`
    /// - weight: `[1, width]`
    fn rms_norm(x: Tensor<Self, 2>, weight: Tensor<Self, 2>, epsilon: f64) -> Tensor<Self, 2> {
        composed::rms_norm(x, weight, epsilon)
    }

    /// The gradients of [`rms_norm`](Self::rms_norm) with respect to `x` and, if `of_weight`, to
    /// the weight.
    fn rms_norm_backward(
        x: Tensor<Self, 2>,
        weight: Tensor<Self, 2>,
        epsilon: f64,
        gradient: Tensor<Self, 2>,
        of_weight: bool,
    ) -> (Tensor<Self, 2>, Option<Tensor<Self, 2>>) {
        composed::rms_norm_backward(x, weight, epsilon, gradient, of_weight)
    }

    /// Turns the two halves of each head by its position's angles (rotary embedding in the
    /// half-split layout).
    ///
    /// # Shapes
    ///
    /// - x, output: `[rows, length, heads, dim]`
    /// - cos, sin: `[rows or 1, length, dim / 2]`
    fn rotate(x: Tensor<Self, 4>, cos: Tensor<Self, 3>, sin: Tensor<Self, 3>) -> Tensor<Self, 4> {
        composed::rotate(x, cos, sin)
    }

    /// The gated feed-forward layer's product `activation(gate) ⊙ up`.
    ///
    /// # Shapes
    ///
    /// all `[n, width]`
    fn gated(
        gate: Tensor<Self, 2>,
        up: Tensor<Self, 2>,
        activation: Activation,
    ) -> Tensor<Self, 2> {
        composed::gated(gate, up, activation)
    }

    /// The gradients of [`gated`](Self::gated) with respect to `gate` and `up`.
    fn gated_backward(
        gate: Tensor<Self, 2>,
        up: Tensor<Self, 2>,
        activation: Activation,
        gradient: Tensor<Self, 2>,
    ) -> [Tensor<Self, 2>; 2] {
        composed::gated_backward(gate, up, activation, gradient)
    }

    /// Attention with grouped heads: `softmax(scale · QKᵀ)·V`, each query over the keys that it may
    /// see.
    ///
    /// # Shapes
    ///
    /// - query, output: `[rows, queries, heads, dim]`
    /// - key, value: `[rows, keys, kv_heads, dim]`
    fn grouped_attention(
        query: Tensor<Self, 4>,
        key: Tensor<Self, 4>,
        value: Tensor<Self, 4>,
        mask: &Mask<Self>,
        scale: f64,
    ) -> Tensor<Self, 4> {
        composed::grouped_attention(query, key, value, mask, scale)
    }

    /// The gradients of [`grouped_attention`](Self::grouped_attention) with respect to query, key
    /// and value. The weights are computed anew: to keep them would take `[heads, queries, keys]`
    /// numbers per layer.
    fn grouped_attention_backward(
        query: Tensor<Self, 4>,
        key: Tensor<Self, 4>,
        value: Tensor<Self, 4>,
        mask: &Mask<Self>,
        scale: f64,
        gradient: Tensor<Self, 4>,
    ) -> [Tensor<Self, 4>; 3] {
        composed::grouped_attention_backward(query, key, value, mask, scale, gradient)
    }

    /// Attention of rows that each have a cache of their own: writes the new keys and values into
    /// the caches, and mixes for each query the values that it may see.
    ///
    /// # Shapes
    ///
    /// The tokens of all parts follow each other:
    ///
    /// - query, output: `[tokens, 1, heads, dim]`
    /// - key, value: `[tokens, 1, kv_heads, dim]`
    fn cached_attention(
        query: Tensor<Self, 4>,
        key: Tensor<Self, 4>,
        value: Tensor<Self, 4>,
        parts: &mut [CachedPart<'_, Self>],
        scale: f64,
    ) -> Tensor<Self, 4> {
        composed::cached_attention(query, key, value, parts, scale)
    }

    /// Writes the columns from `start` on of a cache of keys or values, in place if nothing else
    /// holds its buffer.
    ///
    /// # Shapes
    ///
    /// - cache, output: `[rows, kv_heads, capacity, dim]`
    /// - columns: `[rows, length, kv_heads, dim]`
    fn write_columns(
        cache: Tensor<Self, 4>,
        columns: Tensor<Self, 4>,
        start: usize,
    ) -> Tensor<Self, 4> {
        composed::write_columns(cache, columns, start)
    }

    /// Log-probabilities of each row of logits.
    ///
    /// # Shapes
    ///
    /// `[n, vocabulary]`
    fn log_probs(logits: Tensor<Self, 2>) -> Tensor<Self, 2> {
        activation::log_softmax(logits, 1)
    }

    /// Log-likelihood of each row's target under the softmax of its logits, in nats.
    ///
    /// # Shapes
    ///
    /// - logits: `[n, vocabulary]`
    /// - targets, output: `[n]`
    fn log_likelihoods(logits: Tensor<Self, 2>, targets: Tensor<Self, 1, Int>) -> Tensor<Self, 1> {
        composed::log_likelihoods(logits, targets)
    }

    /// The same, and the gradient of −Σ log-likelihood with respect to the logits: softmax −
    /// onehot.
    fn cross_entropy(
        logits: Tensor<Self, 2>,
        targets: Tensor<Self, 1, Int>,
    ) -> (Tensor<Self, 1>, Tensor<Self, 2>) {
        composed::cross_entropy(logits, targets)
    }
}

#[cfg(feature = "wgpu")]
impl ModelBackend for burn::backend::Wgpu {}
#[cfg(feature = "cuda")]
impl ModelBackend for burn::backend::Cuda {}

/// What the queries of a pass may look at.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Mask<B: Backend> {
    /// The same as ranges.
    pub visible: Visible,
    /// True where attention is forbidden, `[rows, kv_heads, group, queries, keys]`: in full, as it
    /// is read once per layer and a broadcast one is slow to read. `None` when all is allowed, or
    /// if the backend wants none.
    pub tensor: Option<Tensor<B, 5, Bool>>,
}

/// What the rows of a product are, and so what a row's numbers may depend on beside the row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rows {
    /// The tokens of one request: how many they are may decide how they are multiplied, by what is
    /// fastest.
    Batch,
    /// The newest tokens of several people's texts: no text may show in another's.
    Texts,
}

/// A quantised matrix as its file stores it, and how it is multiplied. A clone is the same matrix.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct BlockMatrix {
    /// The blocks, `[out, in]`.
    pub matrix: Arc<Matrix>,
    /// The arithmetic of products.
    pub arithmetic: Arithmetic,
}

/// One adapter's update of some rows of a batch.
#[derive(Debug)]
#[non_exhaustive]
pub struct LowRank<'a, B: Backend> {
    /// The rows.
    pub rows: Range<usize>,
    /// A, `[rank, in]`.
    pub a: &'a Tensor<B, 2>,
    /// B, `[out, rank]`.
    pub b: &'a Tensor<B, 2>,
    /// What the product is multiplied by.
    pub scale: f64,
}

/// One row's part of a pass over several rows.
#[derive(Debug)]
#[non_exhaustive]
pub struct CachedPart<'a, B: Backend> {
    /// How many of the pass' tokens are this row's.
    pub length: usize,
    /// What they may look at.
    pub mask: &'a Mask<B>,
    /// The row's keys and values of one layer.
    pub cache: &'a mut LayerCache<B>,
}

impl<B: ModelBackend> CachedPart<'_, B> {
    /// Writes the new columns; gives keys and values of all columns so far.
    ///
    /// # Shapes
    ///
    /// - key, value: `[1, length, kv_heads, dim]`
    /// - output: the same with all columns, as views into the cache
    pub fn write(&mut self, key: Tensor<B, 4>, value: Tensor<B, 4>) -> [Tensor<B, 4>; 2] {
        self.cache.write(key, value, self.mask.visible.start)
    }
}

/// The keys that each query sees: always one range of columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Visible {
    /// Column of the first query.
    pub start: usize,
    /// How many columns a query sees, itself included.
    pub window: Option<usize>,
}

impl Visible {
    /// Columns that a query sees.
    pub fn columns(&self, query: usize) -> Range<usize> {
        let column = self.start + query;
        let first = self.window.map_or(0, |window| (column + 1).saturating_sub(window));
        first.min(column)..column + 1
    }
}

#[cfg(all(test, feature = "cpu"))]
mod tests;
