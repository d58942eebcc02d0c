//! Training that is shaped for a comparison: equal tokens and replayed texts; and the same texts
//! are the same training, whichever method chose them.

use std::ops::ControlFlow;

use rand::{SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use spring_lm::{AdaptOutcome, Result, Sequence, Train, TrainRequest, TrainStep};

/// Trains as a model does, on what the comparison asks for.
pub(crate) struct Budgeted<'m> {
    pub(crate) model: &'m dyn Train,
    /// Response tokens to train on, whatever the number of examples; `None` for the epochs of the
    /// settings.
    pub(crate) tokens: Option<usize>,
    /// Older examples that are trained on as well.
    pub(crate) replayed: Vec<Sequence>,
}

impl Budgeted<'_> {
    /// Whole passes and a part of one more, up to the number of tokens; `None` where that is what
    /// the epochs give.
    fn repeated(&self, examples: &[Sequence], epochs: usize) -> Option<Vec<Sequence>> {
        let once: usize = examples.iter().map(|example| example.response.len()).sum();
        let wanted = self.tokens.filter(|tokens| once > 0 && *tokens != once * epochs)?;
        let (mut tokens, mut repeated) = (0, Vec::new());
        for example in examples.iter().cycle() {
            if tokens >= wanted {
                break;
            }
            tokens += example.response.len().max(1);
            repeated.push(example.clone());
        }
        Some(repeated)
    }
}

impl Train for Budgeted<'_> {
    fn train(
        &self,
        request: TrainRequest<'_>,
        progress: &mut dyn FnMut(TrainStep) -> ControlFlow<()>,
    ) -> Result<AdaptOutcome> {
        // A selection comes in the order of its scores, which must not make a difference here: the
        // same texts are the same training, whoever chose them.
        let mut examples = [request.examples, &self.replayed].concat();
        examples.sort_by(|a, b| (&a.context, &a.response).cmp(&(&b.context, &b.response)));
        examples.shuffle(&mut ChaCha8Rng::seed_from_u64(request.seed));
        let mut config = request.config.clone();
        if let Some(repeated) = self.repeated(&examples, config.epochs) {
            (examples, config.epochs) = (repeated, 1);
        }
        // A first adapter has no last one to stay near to: it is the same training as without.
        if request.start.is_none() {
            config.anchor = 0.0;
        }
        let request = TrainRequest::new(request.lora, &examples, &config, request.seed)
            .starting_from(request.start);
        self.model.train(request, progress)
    }
}
