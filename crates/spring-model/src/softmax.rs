//! The softmax of attention with its mask, as one differentiable operation.
//!
//! Composed of burn's operations, autodiff takes exp of every masked score twice, on the slow path of numbers that
//! underflow, and keeps five tensors of `[rows, heads, queries, keys]`: a profile of training on the CPU had a fifth of its
//! time there. This one runs the backend's own softmax forward and keeps its result alone.

use burn::{
    backend::autodiff::{
        Autodiff,
        checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
        grads::Gradients,
        ops::{Backward, Ops, OpsKind, unary},
    },
    tensor::{
        Bool, Tensor, TensorPrimitive, activation,
        backend::Backend,
        ops::{BoolTensor, FloatTensor},
    },
};

/// A backend that the transformer runs on; every one of burn's does.
///
/// For a backend of your own, `impl ModelBackend for MyBackend {}` is all.
pub trait ModelBackend: Backend {
    /// How many passes run side by side when there are several: 1 for a device that one pass keeps busy. Results do not
    /// depend on it.
    fn workers() -> usize {
        1
    }

    /// Softmax over the last dimension; masked scores get weight 0. No row may be masked whole.
    ///
    /// # Shapes
    ///
    /// - scores, output: `[rows, kv_heads, group, queries, keys]`
    /// - mask: the same, true where attention is forbidden
    fn masked_softmax(scores: FloatTensor<Self>, mask: Option<BoolTensor<Self>>) -> FloatTensor<Self> {
        let mut scores = float::<Self>(scores);
        if let Some(mask) = mask {
            // exp(−∞) is 0 at once; the exponential of a large negative number takes the slow path of underflow.
            scores = scores.mask_fill(Tensor::<Self, 5, Bool>::from_primitive(mask), f32::NEG_INFINITY);
        }
        activation::softmax(scores, 4).into_primitive().tensor()
    }
}

#[cfg(feature = "cpu")]
impl ModelBackend for burn::backend::Flex {
    fn workers() -> usize {
        std::thread::available_parallelism().map_or(1, usize::from)
    }
}
#[cfg(feature = "wgpu")]
impl ModelBackend for burn::backend::Wgpu {}
#[cfg(feature = "cuda")]
impl ModelBackend for burn::backend::Cuda {}

impl<B: ModelBackend, C: CheckpointStrategy> ModelBackend for Autodiff<B, C> {
    fn masked_softmax(scores: FloatTensor<Self>, mask: Option<BoolTensor<Self>>) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct MaskedSoftmax;

        impl<B: ModelBackend> Backward<B, 1> for MaskedSoftmax {
            /// The weights P.
            type State = FloatTensor<B>;

            fn backward(
                self,
                ops: Ops<Self::State, 1>,
                grads: &mut Gradients,
                _checkpointer: &mut Checkpointer,
            ) {
                // dS = P ⊙ (dP − Σ dP ⊙ P); a masked score has P = 0 and so no gradient.
                unary::<B, _>(ops.parents, ops.node, grads, |gradient| {
                    let (weights, gradient) = (float::<B>(ops.state), float::<B>(gradient));
                    let weighted = gradient * weights.clone();
                    let total = weighted.clone().sum_dim(4);
                    (weighted - weights * total).into_primitive().tensor()
                });
            }
        }

        match MaskedSoftmax.prepare::<C>([scores.node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let weights = B::masked_softmax(scores.primitive, mask);
                prep.finish(weights.clone(), weights)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::masked_softmax(scores.primitive, mask)),
        }
    }
}

fn float<B: Backend>(primitive: FloatTensor<B>) -> Tensor<B, 5> {
    Tensor::from_primitive(TensorPrimitive::Float(primitive))
}

/// [`ModelBackend::masked_softmax`] on tensors.
pub(crate) fn masked_softmax<B: ModelBackend>(
    scores: Tensor<B, 5>,
    mask: Option<Tensor<B, 5, Bool>>,
) -> Tensor<B, 5> {
    let scores = scores.into_primitive().tensor();
    float(B::masked_softmax(scores, mask.map(Tensor::into_primitive)))
}

#[cfg(all(test, feature = "cpu"))]
mod tests {
    use burn::{backend::Flex, tensor::TensorData};

    use super::*;

    #[test]
    fn values_and_gradients_equal_the_composed_operations() {
        type B = Autodiff<Flex>;
        let shape = [2, 1, 2, 3, 5];
        let data = |k: usize| -> Vec<f32> { (0..60).map(|i| ((i * k) % 23) as f32 / 4.0 - 2.5).collect() };
        let tensor = |k| Tensor::<B, 5>::from_data(TensorData::new(data(k), shape), &Default::default());
        let forbidden: Vec<bool> = (0..60).map(|i| i % 5 > (i / 5) % 3 + 1).collect();
        let mask = Tensor::<B, 5, Bool>::from_data(TensorData::new(forbidden, shape), &Default::default());
        let (ours, plain) = (tensor(7).require_grad(), tensor(7).require_grad());
        let fused = masked_softmax(ours.clone(), Some(mask.clone()));
        let composed = activation::softmax(plain.clone().mask_fill(mask, f32::MIN), 4);
        let largest = |a: Tensor<Flex, 5>, b: Tensor<Flex, 5>| (a - b).abs().max().into_scalar();
        assert!(largest(fused.clone().inner(), composed.clone().inner()) < 1e-6);
        let weight = tensor(11);
        let gradients = [(ours, fused), (plain, composed)].map(|(input, output)| {
            let mut gradients = (output * weight.clone()).sum().backward();
            input.grad_remove(&mut gradients).unwrap()
        });
        let [ours, plain] = gradients;
        assert!(plain.clone().abs().max().into_scalar() > 1e-2);
        assert!(largest(ours, plain) < 1e-6);
    }
}
