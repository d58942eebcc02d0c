//! The training pass over several people's rows at once, forward and back, without a graph.
//!
//! The rows of all people lie below each other without padding: the base multiplies them in one
//! product. What belongs to one person, LoRA's products and attention, runs on that person's rows
//! in the layout that they have alone, padded to the longest. Every number is summed from the same
//! terms in the same order as by [`forward`](Transformer::forward) under autodiff, so that a
//! person's gradients do not tell the company, to the last bit.

use std::ops::Range;

use burn::tensor::{IndexingUpdateOp, Int, Tensor, TensorData, backend::Backend};

use super::{Linear, RmsNorm, Transformer, View};
use crate::{
    ModelBackend, Projection, Sequence,
    lora::{Dropout, Lora},
};

/// One person's rows.
#[derive(Debug)]
pub(crate) struct Packed<'a, B: Backend> {
    pub rows: &'a [&'a Sequence],
    pub lora: &'a Lora<B>,
    pub dropout: Option<&'a Dropout>,
}

/// The gradient of every factor of one adapter, in the order of [`Lora::factors`].
pub(crate) type FactorGradients<B> = Vec<Option<Tensor<B, 2>>>;

/// Where a person's rows are.
struct Span<'a, B: Backend> {
    person: &'a Packed<'a, B>,
    /// Among the tokens of all.
    tokens: Range<usize>,
    /// Tokens of each row, and of the longest.
    lengths: Vec<usize>,
    length: usize,
    /// Of each token in the padded layout.
    places: Tensor<B, 1, Int>,
    /// The states that predict the response tokens, among those of all people.
    states: Range<usize>,
    views: [Option<View<B>>; 2],
}

impl<B: ModelBackend> Span<'_, B> {
    fn own(&self, all: &Tensor<B, 2>) -> Tensor<B, 2> {
        all.clone().slice([self.tokens.clone()])
    }

    /// The person's tokens in the padded layout, zeros between them.
    ///
    /// # Shapes
    ///
    /// - all: `[tokens of all, width]`
    /// - output: `[rows * length, width]`
    fn spread(&self, all: &Tensor<B, 2>) -> Tensor<B, 2> {
        let shape = [self.lengths.len() * self.length, all.dims()[1]];
        let zeros = Tensor::<B, 2>::zeros(shape, &all.device());
        zeros.select_assign(0, self.places.clone(), self.own(all), IndexingUpdateOp::Add)
    }

    /// The person's tokens out of the padded layout.
    fn gather(&self, padded: Tensor<B, 2>) -> Tensor<B, 2> {
        padded.select(0, self.places.clone())
    }

    /// The heads of the padded layout, `[rows, length, heads, dim]`.
    fn heads(&self, all: &Tensor<B, 2>, dim: usize) -> Tensor<B, 4> {
        let heads = all.dims()[1] / dim;
        self.spread(all).reshape([self.lengths.len(), self.length, heads, dim])
    }

    /// The tokens of the padded layout's heads.
    fn tokens(&self, heads: Tensor<B, 4>) -> Tensor<B, 2> {
        let [rows, length, heads_of, dim] = heads.dims();
        self.gather(heads.reshape([rows * length, heads_of * dim]))
    }
}

/// What an adapter's product leaves for its gradient, in the padded layout.
struct Low<B: Backend> {
    /// The input, dropout applied.
    input: Tensor<B, 2>,
    mask: Option<Tensor<B, 2>>,
    /// `scale · input·Aᵀ`
    low: Tensor<B, 2>,
}

/// One for each person; `None` for who has no factors there.
type Lows<B> = Vec<Option<Low<B>>>;

/// What a block leaves for its gradient.
struct Tape<B: Backend> {
    x: Tensor<B, 2>,
    /// Queries and keys before their norms, if they have any.
    before_norms: Option<[Tensor<B, 2>; 2]>,
    /// Queries, keys and values of each person, turned.
    heads: Vec<[Tensor<B, 4>; 3]>,
    /// With sandwich norms: what attention and the feed-forward layer gave.
    outputs: Option<[Tensor<B, 2>; 2]>,
    /// After attention.
    middle: Tensor<B, 2>,
    gate: Tensor<B, 2>,
    up: Tensor<B, 2>,
    /// By [`Projection`].
    lows: [Lows<B>; 7],
}

/// Gradients of the factors, by person, layer and projection.
type Factors<B> = Vec<Vec<[Option<[Tensor<B, 2>; 2]>; 7]>>;

impl<B: ModelBackend> Transformer<B> {
    /// The gradients of each person's factors. `slope` is called with a person's place and the
    /// final hidden states before the response tokens, and gives the loss' gradient with respect to
    /// them.
    ///
    /// # Shapes
    ///
    /// - hidden states and their gradient: `[response tokens of the person, hidden]`
    pub(crate) fn gradients(
        &self,
        people: &[Packed<'_, B>],
        device: &B::Device,
        mut slope: impl FnMut(usize, Tensor<B, 2>) -> Tensor<B, 2>,
    ) -> Vec<FactorGradients<B>> {
        let (spans, ids, states) = self.spans(people, device);
        let ids = Tensor::<B, 2, Int>::from_data(
            TensorData::new(ids, [1, spans.last().map_or(0, |s| s.tokens.end)]),
            device,
        );
        let count = states.len();
        let states = Tensor::<B, 1, Int>::from_data(TensorData::new(states, [count]), device);
        let mut x = self.embed(ids);
        let mut tapes = Vec::with_capacity(self.layers.len());
        for layer in 0..self.layers.len() {
            let (output, tape) = self.packed_layer(layer, x, &spans);
            tapes.push(tape);
            x = output;
        }
        let (shape, last) = (x.dims(), x.select(0, states.clone()));
        let hidden = self.norm.forward(last.clone());
        let slopes = spans.iter().enumerate();
        let slopes: Vec<Tensor<B, 2>> =
            slopes.map(|(i, span)| slope(i, hidden.clone().slice([span.states.clone()]))).collect();
        let of_last = self.norm.back(last, Tensor::cat(slopes, 0));
        let mut gradient = Tensor::<B, 2>::zeros(shape, device).select_assign(
            0,
            states,
            of_last,
            IndexingUpdateOp::Add,
        );
        let none = || vec![[const { None }; 7]; self.layers.len()];
        let mut found: Factors<B> = people.iter().map(|_| none()).collect();
        for (layer, tape) in tapes.into_iter().enumerate().rev() {
            gradient = self.packed_layer_back(layer, tape, gradient, &spans, &mut found);
        }
        let flat = |found: Vec<[Option<[Tensor<B, 2>; 2]>; 7]>| {
            found.into_iter().flatten().flatten().flatten().map(Some).collect()
        };
        found.into_iter().map(flat).collect()
    }

    /// Where everybody's rows are, the ids of all tokens, and the places of the states that predict
    /// response tokens.
    fn spans<'a>(
        &self,
        people: &'a [Packed<'a, B>],
        device: &B::Device,
    ) -> (Vec<Span<'a, B>>, Vec<i64>, Vec<i64>) {
        let (mut ids, mut states) = (Vec::new(), Vec::new());
        let span = |person: &'a Packed<'a, B>| {
            let lengths: Vec<usize> = person.rows.iter().map(|row| row.len() - 1).collect();
            let length = lengths.iter().copied().max().unwrap_or(0);
            let (first_token, first_state) = (ids.len(), states.len());
            let mut places = Vec::new();
            for (row, sequence) in person.rows.iter().enumerate() {
                let (own, context) = (sequence.len() - 1, sequence.context.len());
                let first = ids.len() + context - 1;
                states.extend((first..first + sequence.response.len()).map(|at| at as i64));
                let all = sequence.context.iter().chain(&sequence.response);
                ids.extend(all.take(own).map(|id| i64::from(*id)));
                places.extend((row * length..row * length + own).map(|place| place as i64));
            }
            let count = places.len();
            let views = self.views_of([lengths.len(), length], &lengths, device);
            Span {
                person,
                tokens: first_token..ids.len(),
                places: Tensor::from_data(TensorData::new(places, [count]), device),
                states: first_state..states.len(),
                views,
                lengths,
                length,
            }
        };
        let spans = people.iter().map(span).collect();
        (spans, ids, states)
    }

    fn view_in<'s>(&self, layer: usize, span: &'s Span<'_, B>) -> Option<&'s View<B>> {
        span.views[self.config.layers[layer] as usize].as_ref()
    }

    fn packed_layer(
        &self,
        layer: usize,
        x: Tensor<B, 2>,
        spans: &[Span<'_, B>],
    ) -> (Tensor<B, 2>, Tape<B>) {
        let block = &self.layers[layer];
        let (attention, mlp, dim) = (&block.self_attn, &block.mlp, self.config.head_dim);
        let mut lows = [const { Vec::new() }; 7];
        let mut through = |linear: &Linear<B>, projection: Projection, x: &Tensor<B, 2>| {
            let (output, low) = linear.packed(x, (layer, projection), spans);
            lows[projection as usize] = low;
            output
        };
        let normal = block.input_layernorm.forward(x.clone());
        let mut query = through(&attention.q_proj, Projection::Q, &normal);
        let mut key = through(&attention.k_proj, Projection::K, &normal);
        let value = through(&attention.v_proj, Projection::V, &normal);
        let mut before_norms = None;
        if let Some((q_norm, k_norm)) = &attention.q_k_norms {
            before_norms = Some([query.clone(), key.clone()]);
            (query, key) = (q_norm.of_heads(query, dim), k_norm.of_heads(key, dim));
        }
        let (mut heads, mut mixed) = (Vec::new(), Vec::new());
        for span in spans {
            let Some(view) = self.view_in(layer, span) else { continue };
            let turn = |x: &Tensor<B, 2>| {
                B::rotate(span.heads(x, dim), view.cos.clone(), view.sin.clone())
            };
            let (query, key, value) = (turn(&query), turn(&key), span.heads(&value, dim));
            let own = B::grouped_attention(
                query.clone(),
                key.clone(),
                value.clone(),
                &view.masks[0],
                self.config.query_scale,
            );
            mixed.push(span.tokens(own));
            heads.push([query, key, value]);
        }
        let mixed = Tensor::cat(mixed, 0);
        let attended = through(&attention.o_proj, Projection::O, &mixed);
        let (before, after) = match &block.feedforward_layernorms {
            Some((before, after)) => (before, Some(after)),
            None => (&block.post_attention_layernorm, None),
        };
        let added = match after {
            Some(_) => block.post_attention_layernorm.forward(attended.clone()),
            None => attended.clone(),
        };
        let middle = x.clone() + added;
        let normal = before.forward(middle.clone());
        let gate = through(&mlp.gate_proj, Projection::Gate, &normal);
        let up = through(&mlp.up_proj, Projection::Up, &normal);
        let inner = B::gated(gate.clone(), up.clone(), self.config.activation);
        let fed = through(&mlp.down_proj, Projection::Down, &inner);
        let (fed, outputs) = match after {
            Some(after) => (after.forward(fed.clone()), Some([attended, fed])),
            None => (fed, None),
        };
        let output = middle.clone() + fed;
        (output, Tape { x, before_norms, heads, outputs, middle, gate, up, lows })
    }

    /// Gradients in the order in which autodiff adds them: of what was computed last first, and an
    /// adapter's before the base's.
    fn packed_layer_back(
        &self,
        layer: usize,
        tape: Tape<B>,
        gradient: Tensor<B, 2>,
        spans: &[Span<'_, B>],
        found: &mut Factors<B>,
    ) -> Tensor<B, 2> {
        let Tape { x, before_norms, heads, outputs, middle, gate, up, lows } = tape;
        let block = &self.layers[layer];
        let (attention, mlp, dim) = (&block.self_attn, &block.mlp, self.config.head_dim);
        let mut back = |linear: &Linear<B>,
                        projection: Projection,
                        gradient: Tensor<B, 2>,
                        sum: Option<Tensor<B, 2>>,
                        is_wanted: bool| {
            let low = &lows[projection as usize];
            let place = (layer, projection);
            linear.packed_back(low, place, gradient, spans, (sum, is_wanted), found)
        };
        let (before, after) = match &block.feedforward_layernorms {
            Some((before, after)) => (before, Some(after)),
            None => (&block.post_attention_layernorm, None),
        };
        let (attended, fed) = match outputs {
            Some([attended, fed]) => (Some(attended), Some(fed)),
            None => (None, None),
        };
        let of_fed = match (after, fed) {
            (Some(after), Some(fed)) => after.back(fed, gradient.clone()),
            _ => gradient.clone(),
        };
        let Some(of_inner) = back(&mlp.down_proj, Projection::Down, of_fed, None, true) else {
            return gradient;
        };
        let [of_gate, of_up] = B::gated_backward(gate, up, self.config.activation, of_inner);
        let sum = back(&mlp.up_proj, Projection::Up, of_up, None, true);
        let Some(sum) = back(&mlp.gate_proj, Projection::Gate, of_gate, sum, true) else {
            return gradient;
        };
        let gradient = before.back(middle, sum) + gradient;

        let of_attended = match attended {
            Some(attended) => block.post_attention_layernorm.back(attended, gradient.clone()),
            None => gradient.clone(),
        };
        let Some(of_mixed) = back(&attention.o_proj, Projection::O, of_attended, None, true) else {
            return gradient;
        };
        let (mut queries, mut keys, mut values) = (Vec::new(), Vec::new(), Vec::new());
        for (span, [query, key, value]) in spans.iter().zip(heads) {
            let Some(view) = self.view_in(layer, span) else { continue };
            let [query, key, value] = B::grouped_attention_backward(
                query,
                key,
                value,
                &view.masks[0],
                self.config.query_scale,
                span.heads(&of_mixed, dim),
            );
            // Turning back is the transpose of turning.
            let turn = |x: Tensor<B, 4>| B::rotate(x, view.cos.clone(), view.sin.clone().neg());
            queries.push(span.tokens(turn(query)));
            keys.push(span.tokens(turn(key)));
            values.push(span.tokens(value));
        }
        let [mut of_query, mut of_key, of_value] =
            [queries, keys, values].map(|parts| Tensor::cat(parts, 0));
        if let (Some((q_norm, k_norm)), Some([query, key])) = (&attention.q_k_norms, before_norms) {
            of_query = q_norm.back_of_heads(query, of_query, dim);
            of_key = k_norm.back_of_heads(key, of_key, dim);
        }
        // Nothing is trained below the first block.
        let is_wanted = layer > 0;
        let sum = back(&attention.v_proj, Projection::V, of_value, None, is_wanted);
        let sum = back(&attention.k_proj, Projection::K, of_key, sum, is_wanted);
        match back(&attention.q_proj, Projection::Q, of_query, sum, is_wanted) {
            Some(sum) => block.input_layernorm.back(x, sum) + gradient,
            None => gradient,
        }
    }
}

impl<B: ModelBackend> Linear<B> {
    /// `xWᵀ + b`, plus every person's update.
    fn packed(
        &self,
        x: &Tensor<B, 2>,
        (layer, projection): (usize, Projection),
        spans: &[Span<'_, B>],
    ) -> (Tensor<B, 2>, Lows<B>) {
        let product = self.weight.project_tracked(x.clone());
        let output = match &self.bias {
            Some(bias) => product + bias.val(),
            None => product,
        };
        if spans.iter().all(|span| span.person.lora.of(layer, projection).is_none()) {
            return (output, spans.iter().map(|_| None).collect());
        }
        let of_person = |span: &Span<'_, B>| {
            let own = span.own(&output);
            let Some([a, b]) = span.person.lora.of(layer, projection) else { return (own, None) };
            let Span { lengths, length, .. } = span;
            let (rows, shape) = (0..lengths.len(), [*length, x.dims()[1]]);
            let mask = span.person.dropout.and_then(|dropout| {
                dropout.mask::<B>(rows, lengths, shape, (layer, projection), &x.device())
            });
            let input = match &mask {
                Some(mask) => span.spread(x) * mask.clone(),
                None => span.spread(x),
            };
            let low = input.clone().matmul(a.clone().transpose());
            let low = low.mul_scalar(span.person.lora.scale());
            let update = low.clone().matmul(b.clone().transpose());
            (own + span.gather(update), Some(Low { input, mask, low }))
        };
        let (outputs, lows): (Vec<_>, _) = spans.iter().map(of_person).unzip();
        (Tensor::cat(outputs, 0), lows)
    }

    /// From the gradient of the output, those of each person's factors and, if it is wanted, the
    /// input's, added to the `sum` of those before it.
    fn packed_back(
        &self,
        lows: &Lows<B>,
        (layer, projection): (usize, Projection),
        gradient: Tensor<B, 2>,
        spans: &[Span<'_, B>],
        (sum, is_wanted): (Option<Tensor<B, 2>>, bool),
        found: &mut Factors<B>,
    ) -> Option<Tensor<B, 2>> {
        let add = |sum: Option<Tensor<B, 2>>, more: Tensor<B, 2>| match sum {
            Some(sum) => more + sum,
            None => more,
        };
        let mut sum = sum;
        if lows.iter().any(Option::is_some) {
            let mut of_inputs = Vec::new();
            for ((span, low), found) in spans.iter().zip(lows).zip(found) {
                let factors = span.person.lora.of(layer, projection);
                let (Some(Low { input, mask, low }), Some([a, b])) = (low, factors) else {
                    let shape = [span.tokens.len(), self.weight.columns()];
                    of_inputs.push(Tensor::<B, 2>::zeros(shape, &gradient.device()));
                    continue;
                };
                let own = span.spread(&gradient);
                let of_low = own.clone().matmul(b.clone()).mul_scalar(span.person.lora.scale());
                let of_b = low.clone().transpose().matmul(own).transpose();
                let of_a = input.clone().transpose().matmul(of_low.clone()).transpose();
                found[layer][projection as usize] = Some([of_a, of_b]);
                if is_wanted {
                    let of_input = of_low.matmul(a.clone());
                    of_inputs.push(span.gather(match mask {
                        Some(mask) => of_input * mask.clone(),
                        None => of_input,
                    }));
                }
            }
            if is_wanted {
                sum = Some(add(sum, Tensor::cat(of_inputs, 0)));
            }
        }
        is_wanted.then(|| add(sum, self.weight.back_tracked(gradient)))
    }
}

impl<B: ModelBackend> RmsNorm<B> {
    /// The gradient with respect to the rows.
    fn back(&self, x: Tensor<B, 2>, gradient: Tensor<B, 2>) -> Tensor<B, 2> {
        B::rms_norm_backward(x, self.weight.val(), self.epsilon, gradient, false).0
    }

    /// Normalises each head of `[tokens, heads * dim]`.
    fn of_heads(&self, x: Tensor<B, 2>, dim: usize) -> Tensor<B, 2> {
        let shape = x.dims();
        self.forward(by_head(x, dim)).reshape(shape)
    }

    fn back_of_heads(&self, x: Tensor<B, 2>, gradient: Tensor<B, 2>, dim: usize) -> Tensor<B, 2> {
        let shape = x.dims();
        self.back(by_head(x, dim), by_head(gradient, dim)).reshape(shape)
    }
}

/// `[tokens, heads * dim]` as `[tokens * heads, dim]`.
fn by_head<B: Backend>(x: Tensor<B, 2>, dim: usize) -> Tensor<B, 2> {
    let [tokens, width] = x.dims();
    x.reshape([tokens * (width / dim), dim])
}
