//! Keys and values of the tokens seen so far, written in place.

use burn::tensor::{Bool, Tensor, TensorData, backend::Backend};

use crate::{ModelBackend, ModelConfig, backend::Visible};

/// Rows of different lengths are aligned at their right ends: row `i` starts at column `pads[i]`.
#[derive(Debug)]
pub(crate) struct KvCache<B: Backend> {
    /// Per layer, keys and values `[rows, kv_heads, capacity, head_dim]`: attention reads one head after the other. `None` only while
    /// a step writes them.
    layers: Vec<Option<(Tensor<B, 4>, Tensor<B, 4>)>>,
    pads: Vec<usize>,
    len: usize,
    capacity: usize,
}

impl<B: ModelBackend> KvCache<B> {
    /// An empty cache for rows of these prompt lengths and `capacity` columns.
    pub(crate) fn new(config: &ModelConfig, lengths: &[usize], capacity: usize, device: &B::Device) -> Self {
        let longest = lengths.iter().copied().max().unwrap_or(0);
        let shape = [lengths.len(), config.num_kv_heads, capacity, config.head_dim];
        let layer = || Some((Tensor::zeros(shape, device), Tensor::zeros(shape, device)));
        Self {
            layers: (0..config.num_layers).map(|_| layer()).collect(),
            pads: lengths.iter().map(|n| longest - n).collect(),
            len: 0,
            capacity,
        }
    }

    /// Columns filled so far.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Columns still free.
    pub(crate) fn room(&self) -> usize {
        self.capacity - self.len
    }

    /// Says that `length` more columns are filled in every layer.
    pub(crate) fn advance(&mut self, length: usize) {
        self.len += length;
    }

    /// Positions of the next `length` columns, row after row; padding counts as position 0.
    pub(crate) fn positions(&self, length: usize) -> Vec<usize> {
        let columns = self.len..self.len + length;
        self.pads
            .iter()
            .flat_map(|pad| columns.clone().map(move |column| column.saturating_sub(*pad)))
            .collect()
    }

    /// Writes the columns from `start` on in place and returns all columns filled so far.
    ///
    /// # Shapes
    ///
    /// - key, value: `[rows, length, kv_heads, head_dim]`
    /// - output: the same with `start + length` columns, as views into the cache
    pub(crate) fn write(
        &mut self,
        layer: usize,
        key: Tensor<B, 4>,
        value: Tensor<B, 4>,
        start: usize,
    ) -> (Tensor<B, 4>, Tensor<B, 4>) {
        let slot = &mut self.layers[layer];
        // Taken out, so that nothing else holds the buffers and they are written in place.
        let Some((keys, values)) = slot.take() else { return (key, value) };
        let filled = start + key.dims()[1];
        let keys = B::write_columns(keys, key, start);
        let values = B::write_columns(values, value, start);
        let seen = |cache: &Tensor<B, 4>| cache.clone().slice_dim(2, 0..filled).swap_dims(1, 2);
        let all = (seen(&keys), seen(&values));
        *slot = Some((keys, values));
        all
    }

    /// The columns that queries may see: no padding, nothing later, nothing that a window leaves behind.
    pub(crate) fn visible(&self, window: Option<usize>) -> Visible {
        let pads = if self.pads.iter().any(|pad| *pad > 0) { self.pads.clone() } else { Vec::new() };
        Visible { start: self.len, pads, window }
    }

    /// The same for the next `length` columns as a tensor, true where a query may not look.
    ///
    /// # Shapes
    ///
    /// `[rows, 1, 1, length, columns]`; `None` when nothing is forbidden
    pub(crate) fn mask(
        &self,
        length: usize,
        visible: &Visible,
        device: &B::Device,
    ) -> Option<Tensor<B, 5, Bool>> {
        let (rows, keys) = (self.pads.len(), self.len + length);
        if (0..rows).all(|row| (0..length).all(|query| visible.columns(row, query) == (0..keys))) {
            return None;
        }
        let mut forbidden = Vec::with_capacity(rows * length * keys);
        for row in 0..rows {
            for query in 0..length {
                let seen = visible.columns(row, query);
                forbidden.extend((0..keys).map(|key| !seen.contains(&key)));
            }
        }
        Some(Tensor::from_data(TensorData::new(forbidden, [rows, 1, 1, length, keys]), device))
    }
}
