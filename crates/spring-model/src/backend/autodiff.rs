//! The operations of [`ModelBackend`] with their gradients.

use burn::{
    backend::autodiff::{
        Autodiff, NodeId,
        checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
        grads::Gradients,
        ops::{Backward, Ops, OpsKind},
    },
    tensor::{Tensor, TensorPrimitive, backend::Backend, ops::FloatTensor},
};

use super::{BlockMatrix, Mask, ModelBackend};
use crate::Activation;

fn wrap<B: Backend, const D: usize>(primitive: FloatTensor<B>) -> Tensor<B, D> {
    Tensor::from_primitive(TensorPrimitive::Float(primitive))
}

fn unwrap<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> FloatTensor<B> {
    tensor.into_primitive().tensor()
}

/// What autodiff calls the inputs that are tracked; the type of its nodes has no public name.
macro_rules! ids {
    ($ops:ident) => {
        $ops.parents.map(|parent| parent.map(|node| node.id))
    };
}

/// Hands each tracked parent its gradient.
fn register<B: Backend, const D: usize, const N: usize>(
    parents: [Option<NodeId>; N],
    of_parents: [Option<Tensor<B, D>>; N],
    gradients: &mut Gradients,
) {
    for (parent, gradient) in parents.into_iter().zip(of_parents) {
        if let (Some(parent), Some(gradient)) = (parent, gradient) {
            gradients.register::<B>(parent, unwrap(gradient));
        }
    }
}

#[derive(Debug)]
struct RmsNorm;

impl<B: ModelBackend> Backward<B, 2> for RmsNorm {
    type State = (Tensor<B, 2>, Tensor<B, 2>, f64);

    fn backward(self, ops: Ops<Self::State, 2>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = wrap(gradients.consume::<B>(&ops.node));
        let (x, weight, epsilon) = ops.state;
        let is_trained = ops.parents[1].is_some();
        let (of_x, of_weight) = B::rms_norm_backward(x, weight, epsilon, gradient, is_trained);
        register(ids!(ops), [Some(of_x), of_weight], gradients);
    }
}

#[derive(Debug)]
struct Rotate;

impl<B: ModelBackend> Backward<B, 1> for Rotate {
    type State = (Tensor<B, 3>, Tensor<B, 3>);

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = wrap(gradients.consume::<B>(&ops.node));
        let (cos, sin) = ops.state;
        // Turning back is the transpose of turning.
        register(ids!(ops), [Some(B::rotate(gradient, cos, sin.neg()))], gradients);
    }
}

#[derive(Debug)]
struct Gated;

impl<B: ModelBackend> Backward<B, 2> for Gated {
    type State = (Tensor<B, 2>, Tensor<B, 2>, Activation);

    fn backward(self, ops: Ops<Self::State, 2>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = wrap(gradients.consume::<B>(&ops.node));
        let (gate, up, activation) = ops.state;
        let of_parents = B::gated_backward(gate, up, activation, gradient);
        register(ids!(ops), of_parents.map(Some), gradients);
    }
}

/// The base is frozen, so only the rows have a gradient.
#[derive(Debug)]
struct ProjectBlocks;

impl<B: ModelBackend> Backward<B, 1> for ProjectBlocks {
    type State = BlockMatrix;

    fn backward(self, ops: Ops<Self::State, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = wrap(gradients.consume::<B>(&ops.node));
        let of_x = B::project_blocks_backward(gradient, &ops.state);
        register(ids!(ops), [Some(of_x)], gradients);
    }
}

#[derive(Debug)]
struct Attention;

impl<B: ModelBackend> Backward<B, 3> for Attention {
    type State = ([Tensor<B, 4>; 3], Mask<B>, f64);

    fn backward(self, ops: Ops<Self::State, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = wrap(gradients.consume::<B>(&ops.node));
        let ([query, key, value], mask, scale) = ops.state;
        let of_parents = B::grouped_attention_backward(query, key, value, &mask, scale, gradient);
        register(ids!(ops), of_parents.map(Some), gradients);
    }
}

impl<B: ModelBackend, C: CheckpointStrategy> ModelBackend for Autodiff<B, C> {
    const MASK_TENSOR: bool = B::MASK_TENSOR;

    const SIDE_BY_SIDE: bool = B::SIDE_BY_SIDE;

    const KEEPS_BLOCKS: bool = B::KEEPS_BLOCKS;

    fn project_blocks(x: Tensor<Self, 2>, weights: &[&BlockMatrix]) -> Vec<Tensor<Self, 2>> {
        let x = unwrap(x);
        let products = B::project_blocks(wrap(x.primitive), weights).into_iter().zip(weights);
        products
            .map(|(product, weight)| {
                let node = [x.node.clone()];
                wrap(match ProjectBlocks.prepare::<C>(node).compute_bound().stateful() {
                    OpsKind::Tracked(prep) => prep.finish((*weight).clone(), unwrap(product)),
                    OpsKind::UnTracked(prep) => prep.finish(unwrap(product)),
                })
            })
            .collect()
    }

    fn rms_norm(x: Tensor<Self, 2>, weight: Tensor<Self, 2>, epsilon: f64) -> Tensor<Self, 2> {
        let (x, weight) = (unwrap(x), unwrap(weight));
        let nodes = [x.node, weight.node];
        let (x, weight) = (wrap::<B, 2>(x.primitive), wrap::<B, 2>(weight.primitive));
        wrap(match RmsNorm.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let output = B::rms_norm(x.clone(), weight.clone(), epsilon);
                prep.finish((x, weight, epsilon), unwrap(output))
            }
            OpsKind::UnTracked(prep) => prep.finish(unwrap(B::rms_norm(x, weight, epsilon))),
        })
    }

    fn rotate(x: Tensor<Self, 4>, cos: Tensor<Self, 3>, sin: Tensor<Self, 3>) -> Tensor<Self, 4> {
        let x = unwrap(x);
        let (cos, sin) = (cos.inner(), sin.inner());
        let output = unwrap(B::rotate(wrap(x.primitive), cos.clone(), sin.clone()));
        wrap(match Rotate.prepare::<C>([x.node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((cos, sin), output),
            OpsKind::UnTracked(prep) => prep.finish(output),
        })
    }

    fn gated(
        gate: Tensor<Self, 2>,
        up: Tensor<Self, 2>,
        activation: Activation,
    ) -> Tensor<Self, 2> {
        let (gate, up) = (unwrap(gate), unwrap(up));
        let nodes = [gate.node, up.node];
        let (gate, up) = (wrap::<B, 2>(gate.primitive), wrap::<B, 2>(up.primitive));
        wrap(match Gated.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let output = B::gated(gate.clone(), up.clone(), activation);
                prep.finish((gate, up, activation), unwrap(output))
            }
            OpsKind::UnTracked(prep) => prep.finish(unwrap(B::gated(gate, up, activation))),
        })
    }

    fn grouped_attention(
        query: Tensor<Self, 4>,
        key: Tensor<Self, 4>,
        value: Tensor<Self, 4>,
        mask: &Mask<Self>,
        scale: f64,
    ) -> Tensor<Self, 4> {
        let inputs = [query, key, value].map(unwrap);
        let nodes = inputs.each_ref().map(|input| input.node.clone());
        let inputs = inputs.map(|input| wrap::<B, 4>(input.primitive));
        let mask = Mask { visible: mask.visible, tensor: mask.tensor.clone().map(Tensor::inner) };
        let [query, key, value] = inputs.clone();
        wrap(match Attention.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let output = B::grouped_attention(query, key, value, &mask, scale);
                prep.finish((inputs, mask, scale), unwrap(output))
            }
            OpsKind::UnTracked(prep) => {
                prep.finish(unwrap(B::grouped_attention(query, key, value, &mask, scale)))
            }
        })
    }
}
