//! Keys and values of the tokens that one row has seen, written in place.

use std::ops::Range;

use burn::tensor::{Bool, Tensor, TensorData, backend::Backend};

use crate::{ModelBackend, ModelConfig, backend::Visible};

/// Columns are reserved in multiples of this.
const COLUMNS: usize = 64;

/// The cache of one row: it has the row's own length, so that rows of any length can be decoded
/// together.
#[derive(Debug)]
pub(crate) struct RowCache<B: Backend> {
    layers: Vec<LayerCache<B>>,
    kv_heads: usize,
    head_dim: usize,
    len: usize,
    /// Columns that there is memory for.
    reserved: usize,
    /// Columns that there may be in the end.
    limit: usize,
}

/// Keys and values of one layer.
#[derive(Debug)]
pub struct LayerCache<B: Backend> {
    /// Both `[1, kv_heads, reserved, head_dim]`: attention reads one head after the other. `None`
    /// before the first token, and while a pass writes them.
    tensors: Option<[Tensor<B, 4>; 2]>,
}

impl<B: ModelBackend> RowCache<B> {
    /// An empty cache for at most `limit` columns.
    pub(crate) fn new(config: &ModelConfig, limit: usize) -> Self {
        Self {
            layers: (0..config.num_layers).map(|_| LayerCache { tensors: None }).collect(),
            kv_heads: config.num_kv_heads,
            head_dim: config.head_dim,
            len: 0,
            reserved: 0,
            limit,
        }
    }

    /// Columns that are filled.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Positions of the next `length` columns.
    pub(crate) fn positions(&self, length: usize) -> Range<usize> {
        self.len..self.len + length
    }

    /// Columns still free.
    pub(crate) fn room(&self) -> usize {
        self.limit - self.len
    }

    /// Makes sure that there is memory for `more` columns. It grows by a quarter at least, so that
    /// a row that writes on and on is seldom copied.
    pub(crate) fn reserve(&mut self, more: usize, device: &B::Device) {
        let needed = self.len + more;
        if needed <= self.reserved {
            return;
        }
        let wanted = needed.max(self.reserved + self.reserved / 4).next_multiple_of(COLUMNS);
        self.reserved = wanted.min(self.limit).max(needed);
        let shape = [1, self.kv_heads, self.reserved, self.head_dim];
        for layer in &mut self.layers {
            layer.grow(self.len, shape, device);
        }
    }

    /// Says that `length` more columns are filled in every layer.
    pub(crate) fn advance(&mut self, length: usize) {
        self.len += length;
    }

    /// Takes the columns after the first `len` as free again.
    pub(crate) fn back_to(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    pub(crate) fn layer(&mut self, layer: usize) -> Option<&mut LayerCache<B>> {
        self.layers.get_mut(layer)
    }

    /// The columns that the next queries may see: nothing later, and nothing that a window leaves
    /// behind.
    pub(crate) fn visible(&self, window: Option<usize>) -> Visible {
        Visible { start: self.len, window }
    }

    /// A copy of some filled columns.
    pub(crate) fn copy(&self, columns: Range<usize>, device: &B::Device) -> Columns<B> {
        let shape = [1, self.kv_heads, columns.len(), self.head_dim];
        let copy = |layer: &LayerCache<B>| layer.copy(columns.clone(), shape, device);
        Columns { layers: self.layers.iter().filter_map(copy).collect(), length: columns.len() }
    }

    /// Fills the next columns with copies. There must be room for them.
    pub(crate) fn append(&mut self, columns: &Columns<B>, device: &B::Device) {
        self.reserve(columns.length, device);
        for (layer, [keys, values]) in self.layers.iter_mut().zip(&columns.layers) {
            let [keys, values] = [keys, values].map(|x| x.clone().swap_dims(1, 2));
            layer.write(keys, values, self.len);
        }
        self.len += columns.length;
    }

    /// The same columns in memory of their own.
    pub(crate) fn fork(&self, device: &B::Device) -> Self {
        let shape = [1, self.kv_heads, self.reserved, self.head_dim];
        let copy =
            |layer: &LayerCache<B>| LayerCache { tensors: layer.copy(0..self.len, shape, device) };
        Self { layers: self.layers.iter().map(copy).collect(), ..*self }
    }

    /// The same for the next `length` columns as a tensor, true where a query may not look.
    ///
    /// # Shapes
    ///
    /// `[1, 1, 1, length, columns]`; `None` when nothing is forbidden
    pub(crate) fn mask(
        &self,
        length: usize,
        visible: &Visible,
        device: &B::Device,
    ) -> Option<Tensor<B, 5, Bool>> {
        let keys = self.len + length;
        if (0..length).all(|query| visible.columns(query) == (0..keys)) {
            return None;
        }
        let mut forbidden = Vec::with_capacity(length * keys);
        for query in 0..length {
            let seen = visible.columns(query);
            forbidden.extend((0..keys).map(|key| !seen.contains(&key)));
        }
        Some(Tensor::from_data(TensorData::new(forbidden, [1, 1, 1, length, keys]), device))
    }
}

/// Columns of every layer, copied out of a cache: they do not change.
#[derive(Debug)]
pub(crate) struct Columns<B: Backend> {
    /// Keys and values, `[1, kv_heads, length, head_dim]`.
    layers: Vec<[Tensor<B, 4>; 2]>,
    length: usize,
}

impl<B: Backend> Columns<B> {
    /// How many there are.
    pub(crate) fn length(&self) -> usize {
        self.length
    }

    /// Bytes of their numbers.
    pub(crate) fn bytes(&self) -> u64 {
        let numbers = self.layers.iter().flatten().map(|tensor| tensor.shape().num_elements());
        (numbers.sum::<usize>() * size_of::<f32>()) as u64
    }
}

impl<B: ModelBackend> LayerCache<B> {
    /// Copies columns to the beginning of new tensors; `None` before the first token.
    fn copy(
        &self,
        columns: Range<usize>,
        shape: [usize; 4],
        device: &B::Device,
    ) -> Option<[Tensor<B, 4>; 2]> {
        let copy = |from: &Tensor<B, 4>| {
            let columns = from.clone().slice_dim(2, columns.clone()).swap_dims(1, 2);
            B::write_columns(Tensor::zeros(shape, device), columns, 0)
        };
        self.tensors.as_ref().map(|tensors| tensors.each_ref().map(copy))
    }

    /// Moves the first `len` columns into larger tensors.
    fn grow(&mut self, len: usize, shape: [usize; 4], device: &B::Device) {
        let new = || Tensor::zeros(shape, device);
        let grown = if len > 0 { self.copy(0..len, shape, device) } else { None };
        self.tensors = Some(grown.unwrap_or_else(|| [new(), new()]));
    }

    /// Writes the columns from `start` on in place and gives all columns so far.
    ///
    /// # Shapes
    ///
    /// - key, value: `[1, length, kv_heads, head_dim]`
    /// - output: the same with `start + length` columns, as views into the cache
    pub(crate) fn write(
        &mut self,
        key: Tensor<B, 4>,
        value: Tensor<B, 4>,
        start: usize,
    ) -> [Tensor<B, 4>; 2] {
        // Taken out, so that nothing else holds the buffers and they are written in place.
        let Some([keys, values]) = self.tensors.take() else { return [key, value] };
        let filled = start + key.dims()[1];
        let written = [B::write_columns(keys, key, start), B::write_columns(values, value, start)];
        let seen =
            written.each_ref().map(|cache| cache.clone().slice_dim(2, 0..filled).swap_dims(1, 2));
        self.tensors = Some(written);
        seen
    }
}
