//! The output head in chunks: log-likelihoods, the training loss and its gradient, without ever
//! holding `[tokens, vocabulary]` whole.

use burn::tensor::{Int, Tensor, backend::Backend};

use crate::{ModelBackend, backend::Rows, weight::Weight};

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
    pub weight: Weight<B>,
    /// Logits z become c·tanh(z/c).
    pub softcap: Option<f64>,
}

impl<B: ModelBackend> Head<B> {
    /// # Shapes
    ///
    /// - hidden: `[positions, hidden]`
    /// - output: `[positions, vocabulary]`
    pub(crate) fn logits(&self, hidden: Tensor<B, 2>) -> Tensor<B, 2> {
        self.capped(self.weight.project(hidden, Rows::Batch))
    }

    fn capped(&self, logits: Tensor<B, 2>) -> Tensor<B, 2> {
        match self.softcap {
            Some(cap) => logits.div_scalar(cap).tanh().mul_scalar(cap),
            None => logits,
        }
    }

    /// The same for the newest tokens of several texts, see [`Rows::Texts`].
    pub(crate) fn log_probs_of_texts(&self, hidden: Tensor<B, 2>) -> Tensor<B, 2> {
        B::log_probs(self.capped(self.weight.project(hidden, Rows::Texts)))
    }

    /// Log-probabilities of the next token after each hidden state.
    ///
    /// # Shapes
    ///
    /// - hidden: `[positions, hidden]`
    /// - output: `[positions, vocabulary]`
    pub(crate) fn log_probs(&self, hidden: Tensor<B, 2>) -> Tensor<B, 2> {
        B::log_probs(self.logits(hidden))
    }

    /// Log-likelihood of each target, in nats, on the device.
    ///
    /// # Shapes
    ///
    /// - hidden: `[positions, hidden]`
    /// - targets: `[positions]`
    /// - output: `[positions]`
    pub(crate) fn log_likelihoods(
        &self,
        hidden: Tensor<B, 2>,
        targets: Tensor<B, 1, Int>,
    ) -> Tensor<B, 1> {
        let parts = self
            .chunks(hidden, targets)
            .map(|(hidden, targets)| B::log_likelihoods(self.logits(hidden), targets));
        Tensor::cat(parts.collect(), 0)
    }

    /// Cross entropy of the targets times `scale`, in nats, and its gradient with respect to the
    /// hidden states.
    ///
    /// The head is frozen, so this gradient is all that training needs of it: `scale ·
    /// (softmax(h·Wᵀ) − onehot)·W`, chunk by chunk. With `scale` one over the number of a step's
    /// targets, the parts of the step add up to its mean loss.
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
            let (likelihoods, error) = self.error(hidden, targets);
            losses.push(likelihoods.sum());
            gradients.push(self.weight.back(error));
        }
        let loss = Tensor::cat(losses, 0).sum().mul_scalar(-scale);
        (loss, Tensor::cat(gradients, 0).mul_scalar(scale))
    }

    /// The same for a head that is trained as well, whose numbers are `weight`: also the gradient
    /// with respect to them.
    ///
    /// # Shapes
    ///
    /// - hidden and its gradient: `[positions, hidden]`
    /// - targets: `[positions]`
    /// - loss: `[1]`
    /// - gradient of the weight: `[vocabulary, hidden]`
    #[cfg(any(test, feature = "pretrain"))]
    pub(crate) fn cross_entropy_trained(
        &self,
        weight: Tensor<B, 2>,
        hidden: Tensor<B, 2>,
        targets: Tensor<B, 1, Int>,
        scale: f64,
    ) -> (Tensor<B, 1>, Tensor<B, 2>, Tensor<B, 2>) {
        let (mut losses, mut gradients) = (Vec::new(), Vec::new());
        let mut of_weight = weight.zeros_like();
        for (hidden, targets) in self.chunks(hidden, targets) {
            let (likelihoods, error) = self.error(hidden.clone(), targets);
            losses.push(likelihoods.sum());
            gradients.push(error.clone().matmul(weight.clone()));
            of_weight = of_weight + error.transpose().matmul(hidden);
        }
        let loss = Tensor::cat(losses, 0).sum().mul_scalar(-scale);
        (loss, Tensor::cat(gradients, 0).mul_scalar(scale), of_weight.mul_scalar(scale))
    }

    /// Log-likelihoods of the targets, and the gradient of their negative sum with respect to the
    /// logits before the cap.
    fn error(
        &self,
        hidden: Tensor<B, 2>,
        targets: Tensor<B, 1, Int>,
    ) -> (Tensor<B, 1>, Tensor<B, 2>) {
        let logits = self.logits(hidden);
        let Some(cap) = self.softcap else { return B::cross_entropy(logits, targets) };
        let (likelihoods, error) = B::cross_entropy(logits.clone(), targets);
        (likelihoods, error * logits.div_scalar(cap).square().neg().add_scalar(1.0))
    }

    /// Hidden states and targets in parts whose logits may be held together.
    fn chunks(
        &self,
        hidden: Tensor<B, 2>,
        targets: Tensor<B, 1, Int>,
    ) -> impl Iterator<Item = (Tensor<B, 2>, Tensor<B, 1, Int>)> {
        let (positions, chunk) = (hidden.dims()[0], chunk_len(self.weight.rows()));
        (0..positions).step_by(chunk).map(move |at| {
            let range = at..(at + chunk).min(positions);
            (hidden.clone().slice([range.clone()]), targets.clone().slice([range]))
        })
    }
}
