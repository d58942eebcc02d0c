//! The output head in chunks: log-likelihoods, the training loss and its gradient, without ever holding
//! `[tokens, vocabulary]` whole.

use burn::tensor::{Int, Tensor, activation, backend::Backend};

/// Largest number of logits held at a time.
const LOGITS_AT_ONCE: usize = 1 << 22;

/// Positions whose logits are held together.
pub(crate) fn chunk_len(vocabulary: usize) -> usize {
    (LOGITS_AT_ONCE / vocabulary).max(1)
}

/// Log-probabilities of the next token after each hidden state.
///
/// # Shapes
///
/// - hidden: `[positions, hidden]`
/// - head: `[vocabulary, hidden]`
/// - output: `[positions, vocabulary]`
pub(crate) fn log_probs<B: Backend>(hidden: Tensor<B, 2>, head: &Tensor<B, 2>) -> Tensor<B, 2> {
    activation::log_softmax(hidden.matmul(head.clone().transpose()), 1)
}

/// Log-likelihood of each target, in nats, on the device.
///
/// # Shapes
///
/// - hidden: `[positions, hidden]`
/// - head: `[vocabulary, hidden]`
/// - targets: `[positions]`
/// - output: `[positions]`
pub(crate) fn log_likelihoods<B: Backend>(
    hidden: Tensor<B, 2>,
    head: &Tensor<B, 2>,
    targets: Tensor<B, 1, Int>,
) -> Tensor<B, 1> {
    let positions = hidden.dims()[0];
    let chunk = chunk_len(head.dims()[0]);
    let parts = (0..positions).step_by(chunk).map(|at| {
        let range = at..(at + chunk).min(positions);
        let count = range.len();
        let targets = targets.clone().slice([range.clone()]).reshape([count, 1]);
        log_probs(hidden.clone().slice([range]), head).gather(1, targets).reshape([count])
    });
    Tensor::cat(parts.collect(), 0)
}

/// Cross entropy of the targets times `scale`, in nats, and its gradient with respect to the hidden states.
///
/// The head is frozen, so this gradient is all that training needs of it: `scale · (softmax(h·Wᵀ) − onehot)·W`, chunk by
/// chunk. With `scale` one over the number of a step's targets, the parts of the step add up to its mean loss.
///
/// # Shapes
///
/// - hidden, gradient: `[positions, hidden]`
/// - head: `[vocabulary, hidden]`
/// - targets: `[positions]`
/// - loss: `[1]`
pub(crate) fn cross_entropy<B: Backend>(
    hidden: Tensor<B, 2>,
    head: &Tensor<B, 2>,
    targets: Tensor<B, 1, Int>,
    scale: f64,
) -> (Tensor<B, 1>, Tensor<B, 2>) {
    let positions = hidden.dims()[0];
    let chunk = chunk_len(head.dims()[0]);
    let (mut losses, mut gradients) = (Vec::new(), Vec::new());
    for at in (0..positions).step_by(chunk) {
        let range = at..(at + chunk).min(positions);
        let count = range.len();
        let targets = targets.clone().slice([range.clone()]);
        let log_probs = log_probs(hidden.clone().slice([range]), head);
        losses.push(log_probs.clone().gather(1, targets.clone().reshape([count, 1])).sum());
        gradients.push(log_probs.exp().matmul(head.clone()) - head.clone().select(0, targets));
    }
    let loss = Tensor::cat(losses, 0).sum().mul_scalar(-scale);
    (loss, Tensor::cat(gradients, 0).mul_scalar(scale))
}
