//! The output head in chunks: log-likelihoods, the training loss and its gradient, without ever holding
//! `[tokens, vocabulary]` whole.

use burn::tensor::{IndexingUpdateOp, Int, Tensor, activation, backend::Backend};

use crate::transformer::matmul;

/// Largest number of logits held at a time.
const LOGITS_AT_ONCE: usize = 1 << 22;

/// Positions whose logits are held together.
pub(crate) fn chunk_len(vocabulary: usize) -> usize {
    (LOGITS_AT_ONCE / vocabulary).max(1)
}

/// What turns final hidden states into logits.
#[derive(Debug, Clone)]
pub(crate) struct Head<B: Backend> {
    /// `[vocabulary, hidden]`
    pub weight: Tensor<B, 2>,
    /// Logits z become c·tanh(z/c).
    pub softcap: Option<f64>,
}

impl<B: Backend> Head<B> {
    /// # Shapes
    ///
    /// - hidden: `[positions, hidden]`
    /// - output: `[positions, vocabulary]`
    pub(crate) fn logits(&self, hidden: Tensor<B, 2>) -> Tensor<B, 2> {
        let logits = matmul(hidden, self.weight.clone().transpose());
        match self.softcap {
            Some(cap) => logits.div_scalar(cap).tanh().mul_scalar(cap),
            None => logits,
        }
    }

    /// Log-probabilities of the next token after each hidden state.
    ///
    /// # Shapes
    ///
    /// - hidden: `[positions, hidden]`
    /// - output: `[positions, vocabulary]`
    pub(crate) fn log_probs(&self, hidden: Tensor<B, 2>) -> Tensor<B, 2> {
        activation::log_softmax(self.logits(hidden), 1)
    }

    /// Log-likelihood of each target, in nats, on the device.
    ///
    /// # Shapes
    ///
    /// - hidden: `[positions, hidden]`
    /// - targets: `[positions]`
    /// - output: `[positions]`
    pub(crate) fn log_likelihoods(&self, hidden: Tensor<B, 2>, targets: Tensor<B, 1, Int>) -> Tensor<B, 1> {
        let parts = self.chunks(hidden, targets).map(|(hidden, targets)| {
            let count = targets.dims()[0];
            self.log_probs(hidden).gather(1, targets.reshape([count, 1])).reshape([count])
        });
        Tensor::cat(parts.collect(), 0)
    }

    /// Cross entropy of the targets times `scale`, in nats, and its gradient with respect to the hidden states.
    ///
    /// The head is frozen, so this gradient is all that training needs of it: `scale · (softmax(h·Wᵀ) − onehot)·W`, chunk
    /// by chunk. With `scale` one over the number of a step's targets, the parts of the step add up to its mean loss.
    ///
    /// # Shapes
    ///
    /// - hidden, gradient: `[positions, hidden]`
    /// - targets: `[positions]`
    /// - loss: `[1]`
    pub(crate) fn cross_entropy(
        &self,
        hidden: Tensor<B, 2>,
        targets: Tensor<B, 1, Int>,
        scale: f64,
    ) -> (Tensor<B, 1>, Tensor<B, 2>) {
        let (mut losses, mut gradients) = (Vec::new(), Vec::new());
        for (hidden, targets) in self.chunks(hidden, targets) {
            let count = targets.dims()[0];
            let logits = self.logits(hidden);
            let log_probs = activation::log_softmax(logits.clone(), 1);
            losses.push(log_probs.clone().gather(1, targets.clone().reshape([count, 1])).sum());
            gradients.push(match self.softcap {
                None => {
                    let expected = self.weight.clone().select(0, targets).cast(log_probs.dtype());
                    matmul(log_probs.exp(), self.weight.clone()) - expected
                }
                // The slope of the cap differs from logit to logit, so the target's part cannot be taken apart.
                Some(cap) => {
                    let slope = logits.div_scalar(cap).square().neg().add_scalar(1.0);
                    let target = targets.reshape([count, 1]);
                    let minus_one = Tensor::ones([count, 1], &log_probs.device()).neg();
                    let error = log_probs.exp().scatter(1, target, minus_one, IndexingUpdateOp::Add);
                    matmul(error * slope, self.weight.clone())
                }
            });
        }
        let loss = Tensor::cat(losses, 0).sum().mul_scalar(-scale);
        (loss, Tensor::cat(gradients, 0).mul_scalar(scale))
    }

    /// The same for a head that is trained as well: also the gradient with respect to its weight.
    ///
    /// # Shapes
    ///
    /// - hidden and its gradient: `[positions, hidden]`
    /// - targets: `[positions]`
    /// - loss: `[1]`
    /// - gradient of the weight: `[vocabulary, hidden]`
    pub(crate) fn cross_entropy_trained(
        &self,
        hidden: Tensor<B, 2>,
        targets: Tensor<B, 1, Int>,
        scale: f64,
    ) -> (Tensor<B, 1>, Tensor<B, 2>, Tensor<B, 2>) {
        let (mut losses, mut gradients) = (Vec::new(), Vec::new());
        let mut of_weight = self.weight.zeros_like();
        for (hidden, targets) in self.chunks(hidden, targets) {
            let count = targets.dims()[0];
            let logits = self.logits(hidden.clone());
            let log_probs = activation::log_softmax(logits.clone(), 1);
            let target = targets.reshape([count, 1]);
            losses.push(log_probs.clone().gather(1, target.clone()).sum());
            let minus_one = Tensor::ones([count, 1], &log_probs.device()).neg();
            let mut error = log_probs.exp().scatter(1, target, minus_one, IndexingUpdateOp::Add);
            if let Some(cap) = self.softcap {
                error = error * logits.div_scalar(cap).square().neg().add_scalar(1.0);
            }
            gradients.push(error.clone().matmul(self.weight.clone()));
            of_weight = of_weight + error.transpose().matmul(hidden);
        }
        let loss = Tensor::cat(losses, 0).sum().mul_scalar(-scale);
        (loss, Tensor::cat(gradients, 0).mul_scalar(scale), of_weight.mul_scalar(scale))
    }

    /// Hidden states and targets in parts whose logits may be held together.
    fn chunks(
        &self,
        hidden: Tensor<B, 2>,
        targets: Tensor<B, 1, Int>,
    ) -> impl Iterator<Item = (Tensor<B, 2>, Tensor<B, 1, Int>)> {
        let (positions, chunk) = (hidden.dims()[0], chunk_len(self.weight.dims()[0]));
        (0..positions).step_by(chunk).map(move |at| {
            let range = at..(at + chunk).min(positions);
            (hidden.clone().slice([range.clone()]), targets.clone().slice([range]))
        })
    }
}
