//! LoRA on the device: which rows of a batch carry which adapter, and the factored update.

use std::ops::Range;

use burn::tensor::{
    Tensor, TensorData,
    backend::{AutodiffBackend, Backend},
};
use ndarray::Array2;
use rand::Rng;
use spring_lm::keyed_rng;

use crate::{
    Adapter, LoraPair, ModelBackend, ModelConfig, ModelError, Projection, Result,
    backend::{LowRank, Rows},
    to_host::to_host,
};

/// The two factors of one layer on the device.
#[derive(Debug, Clone)]
struct Factors<B: Backend> {
    /// A, `[rank, d_in]`.
    a: Tensor<B, 2>,
    /// B, `[d_out, rank]`.
    b: Tensor<B, 2>,
}

/// An [`Adapter`] on the device.
#[derive(Debug, Clone)]
pub struct Lora<B: Backend> {
    /// Indexed by layer, then by projection.
    layers: Vec<[Option<Factors<B>>; 7]>,
    scale: f64,
}

impl<B: Backend> Lora<B> {
    /// Copies an adapter to the device.
    ///
    /// # Errors
    ///
    /// [`ModelError::Adapter`] if it does not fit the model.
    pub fn from_adapter(
        adapter: &Adapter,
        model: &ModelConfig,
        fingerprint: &str,
        device: &B::Device,
    ) -> Result<Self> {
        adapter.check(model, fingerprint)?;
        let mut layers = vec![const { [const { None }; 7] }; model.num_layers];
        for (layer, projection, pair) in adapter.pairs() {
            let [a, b] = [&pair.a, &pair.b].map(|matrix| upload(matrix, device));
            layers[layer][projection as usize] = Some(Factors { a, b });
        }
        Ok(Self { layers, scale: adapter.config.scale() })
    }

    /// The same, with B as the backend reads it fastest.
    pub(crate) fn for_reading(mut self) -> Self
    where
        B: ModelBackend,
    {
        for factors in self.layers.iter_mut().flatten().flatten() {
            factors.b = B::by_column(factors.b.clone());
        }
        self
    }

    /// The numbers back on the host, in the form of `like`, the adapter this was made from.
    ///
    /// # Errors
    ///
    /// If the device cannot be read.
    pub fn to_adapter(&self, like: &Adapter) -> Result<Adapter> {
        let mut adapter = like.clone();
        for (layer, projection, pair) in adapter.pairs_mut() {
            if let Some(factors) = &self.layers[layer][projection as usize] {
                *pair = LoraPair { a: download(&factors.a)?, b: download(&factors.b)? };
            }
        }
        Ok(adapter)
    }

    /// A and B of one projection, if it has them.
    pub(crate) fn of(&self, layer: usize, projection: Projection) -> Option<[&Tensor<B, 2>; 2]> {
        self.layers[layer][projection as usize].as_ref().map(|f| [&f.a, &f.b])
    }

    /// What the product of the factors is multiplied by.
    pub(crate) fn scale(&self) -> f64 {
        self.scale
    }

    /// Every factor in a fixed order: layer, projection, A before B.
    pub(crate) fn factors(&self) -> impl Iterator<Item = &Tensor<B, 2>> {
        self.layers.iter().flatten().flatten().flat_map(|f| [&f.a, &f.b])
    }

    /// The same, to be replaced.
    pub(crate) fn factors_mut(&mut self) -> impl Iterator<Item = &mut Tensor<B, 2>> {
        self.layers.iter_mut().flatten().flatten().flat_map(|f| [&mut f.a, &mut f.b])
    }

    /// The same adapter on the autodiff backend, every factor tracked.
    pub(crate) fn tracked<A: AutodiffBackend<InnerBackend = B>>(&self) -> Lora<A> {
        let lift =
            |tensor: &Tensor<B, 2>| Tensor::<A, 2>::from_inner(tensor.clone()).require_grad();
        let layers = self.layers.iter().map(|layer| {
            layer
                .each_ref()
                .map(|slot| slot.as_ref().map(|f| Factors { a: lift(&f.a), b: lift(&f.b) }))
        });
        Lora { layers: layers.collect(), scale: self.scale }
    }
}

fn download<B: Backend>(tensor: &Tensor<B, 2>) -> Result<Array2<f32>> {
    let [rows, columns] = tensor.dims();
    let numbers = to_host(tensor.clone())?;
    Array2::from_shape_vec((rows, columns), numbers)
        .map_err(|e| ModelError::Sequence(e.to_string()))
}

fn upload<B: Backend>(matrix: &Array2<f32>, device: &B::Device) -> Tensor<B, 2> {
    let numbers: Vec<f32> = matrix.iter().copied().collect();
    Tensor::from_data(TensorData::new(numbers, [matrix.nrows(), matrix.ncols()]), device)
}

/// Inverted dropout on the input of A, keyed by (row's seed, layer, projection): a row's numbers
/// depend neither on the backend nor on the rows and the padding beside it.
#[derive(Debug, Clone)]
pub(crate) struct Dropout {
    pub probability: f64,
    /// One per row of the batch.
    pub seeds: Vec<u64>,
}

impl Dropout {
    /// `x` holds the tokens of `rows`, `[rows * length, d_in]`.
    fn apply<B: Backend>(
        &self,
        x: Tensor<B, 2>,
        rows: Range<usize>,
        layer: usize,
        projection: Projection,
    ) -> Tensor<B, 2> {
        let [tokens, width] = x.dims();
        let length = tokens / rows.len();
        let lengths = vec![length; rows.len()];
        match self.mask::<B>(rows, &lengths, [length, width], (layer, projection), &x.device()) {
            Some(mask) => x * mask,
            None => x,
        }
    }

    /// What the numbers of some rows are multiplied by; `None` if that is 1. Nothing is drawn for
    /// the padding beyond the rows' `lengths`, and it becomes 0.
    ///
    /// # Shapes
    ///
    /// `[rows * length, width]`
    pub(crate) fn mask<B: Backend>(
        &self,
        rows: Range<usize>,
        lengths: &[usize],
        [length, width]: [usize; 2],
        (layer, projection): (usize, Projection),
        device: &B::Device,
    ) -> Option<Tensor<B, 2>> {
        if self.probability == 0.0 {
            return None;
        }
        let keep = (1.0 / (1.0 - self.probability)) as f32;
        // 32 random bits against a threshold: half the cost of drawing floats.
        let threshold = (self.probability * f64::from(u32::MAX)) as u32;
        let shape = [rows.len() * length, width];
        let mut mask = Vec::with_capacity(shape[0] * shape[1]);
        for (row, (seed, own)) in self.seeds[rows].iter().zip(lengths).enumerate() {
            let mut rng = keyed_rng(*seed, layer, projection);
            let draws =
                (0..own * width).map(|_| if rng.random::<u32>() < threshold { 0.0 } else { keep });
            mask.extend(draws);
            mask.resize((row + 1) * length * width, 0.0);
        }
        Some(Tensor::from_data(TensorData::new(mask, shape), device))
    }
}

/// Which rows of a batch carry which adapter.
///
/// Neighbouring rows with the same adapter form one span, so a batch of one user costs one pair of
/// products per layer.
#[derive(Debug, Clone)]
pub struct LoraRows<'a, B: Backend> {
    spans: Vec<(Range<usize>, &'a Lora<B>)>,
    pub(crate) dropout: Option<Dropout>,
}

impl<'a, B: Backend> LoraRows<'a, B> {
    /// One entry per row of the batch.
    pub fn new(rows: &[Option<&'a Lora<B>>]) -> Self {
        let mut spans: Vec<(Range<usize>, &'a Lora<B>)> = vec![];
        for (row, lora) in rows.iter().enumerate() {
            let Some(lora) = *lora else { continue };
            match spans.last_mut() {
                Some((span, last)) if span.end == row && std::ptr::eq(*last, lora) => {
                    span.end = row + 1
                }
                _ => spans.push((row..row + 1, lora)),
            }
        }
        Self { spans, dropout: None }
    }
}

impl<B: ModelBackend> LoraRows<'_, B> {
    /// Adds every row's update `s·(xAᵀ)Bᵀ` to the frozen layer's output.
    ///
    /// # Shapes
    ///
    /// - x: `[rows * length, d_in]`
    /// - output: `[rows * length, d_out]`
    pub(crate) fn add(
        &self,
        x: &Tensor<B, 2>,
        output: Tensor<B, 2>,
        (layer, projection): (usize, Projection),
        length: usize,
        of: Rows,
    ) -> Tensor<B, 2> {
        let updates = self.spans.iter().filter_map(|(rows, lora)| {
            let Factors { a, b } = lora.layers[layer][projection as usize].as_ref()?;
            let update =
                LowRank { rows: rows.start * length..rows.end * length, a, b, scale: lora.scale };
            Some((rows, update))
        });
        let Some(dropout) = &self.dropout else {
            let updates: Vec<_> = updates.map(|(_, update)| update).collect();
            return B::add_low_rank(output, x, &updates, of);
        };
        let mut output = output;
        for (rows, update) in updates {
            let span = update.rows.clone();
            let is_all = span == (0..output.dims()[0]);
            let x = if is_all { x.clone() } else { x.clone().slice([span.clone()]) };
            let x = dropout.apply(x, rows.clone(), layer, projection);
            output = if is_all {
                B::add_low_rank(output, &x, &[update], of)
            } else {
                let own = output.clone().slice([span.clone()]);
                let update = LowRank { rows: 0..span.len(), ..update };
                output.slice_assign([span], B::add_low_rank(own, &x, &[update], of))
            };
        }
        output
    }
}
