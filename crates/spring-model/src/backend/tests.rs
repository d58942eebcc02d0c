//! Each operation of the CPU, and each gradient, against the composition of burn's operations under
//! burn's autodiff.

use burn::{
    backend::{Autodiff, Flex},
    tensor::{Tensor, TensorData},
};

use super::*;

type Tracked = Autodiff<Flex>;

/// Numbers between −2.5 and 3.25 in no order.
fn tensor<B: Backend, const D: usize>(k: usize, shape: [usize; D]) -> Tensor<B, D> {
    let count = shape.iter().product();
    let numbers: Vec<f32> =
        (0..count).map(|i: usize| ((i * k + i / 7) % 24) as f32 / 4.0 - 2.5).collect();
    Tensor::from_data(TensorData::new(numbers, shape), &Default::default())
}

fn assert_near<const D: usize>(ours: Tensor<Flex, D>, reference: Tensor<Flex, D>, what: &str) {
    assert_eq!(ours.dims(), reference.dims(), "{what}");
    let size = reference.clone().abs().max().into_scalar();
    let off = (ours - reference).abs().max().into_scalar();
    // Sums in another order are some tens of roundings apart, more with the narrower vectors of
    // processors without AVX-512: 2.7e-6 was seen there.
    assert!(size > 1e-2 && off <= 4e-6 * size.max(1.0), "{what}: {off} off numbers up to {size}");
}

/// Values and gradients of `ours` and `reference` at the same inputs.
fn check<const N: usize, const D: usize, const E: usize>(
    inputs: [Tensor<Tracked, D>; N],
    ours: impl Fn([Tensor<Tracked, D>; N]) -> Tensor<Tracked, E>,
    reference: impl Fn([Tensor<Tracked, D>; N]) -> Tensor<Tracked, E>,
) {
    let run = |work: &dyn Fn([Tensor<Tracked, D>; N]) -> Tensor<Tracked, E>| {
        let inputs = inputs.clone().map(|input| input.detach().require_grad());
        let output = work(inputs.clone());
        let mut gradients = (output.clone() * tensor(11, output.dims())).sum().backward();
        (
            output.inner(),
            inputs.map(|input| input.grad_remove(&mut gradients).expect("a tracked input")),
        )
    };
    let ((value, gradients), (wanted, wanted_gradients)) = (run(&ours), run(&reference));
    assert_near(value, wanted, "value");
    for (i, (gradient, wanted)) in gradients.into_iter().zip(wanted_gradients).enumerate() {
        assert_near(gradient, wanted, &format!("gradient of input {i}"));
    }
}

/// The default gradients, which a backend without its own operations has, against those of the CPU.
mod defaults {
    use super::*;

    #[test]
    fn gradients_equal_those_of_the_cpu() {
        let (x, weight, gradient) = (tensor(5, [3, 40]), tensor(7, [1, 40]), tensor(11, [3, 40]));
        let ours =
            composed::rms_norm_backward(x.clone(), weight.clone(), 1e-5, gradient.clone(), true);
        let cpu = Flex::rms_norm_backward(x.clone(), weight, 1e-5, gradient.clone(), true);
        assert_near(ours.0, cpu.0, "x");
        assert_near(ours.1.unwrap(), cpu.1.unwrap(), "weight");
        for activation in [Activation::Silu, Activation::GeluTanh] {
            let arguments = (x.clone(), tensor(7, [3, 40]), activation, gradient.clone());
            let (gate, up, activation, gradient) = arguments.clone();
            let ours = composed::gated_backward(gate, up, activation, gradient);
            let (gate, up, activation, gradient) = arguments;
            for (ours, cpu) in
                ours.into_iter().zip(Flex::gated_backward(gate, up, activation, gradient))
            {
                assert_near(ours, cpu, "gate or up");
            }
        }
        let visible = Visible { start: 0, window: Some(4) };
        let mask = mask::<Flex>(visible, [2, 2, 2, 9, 9]);
        let inputs =
            || [tensor(5, [2, 9, 4, 6]), tensor(7, [2, 9, 2, 6]), tensor(13, [2, 9, 2, 6])];
        let gradient = tensor(11, [2, 9, 4, 6]);
        let [q, k, v] = inputs();
        let ours = composed::grouped_attention_backward(q, k, v, &mask, 0.4, gradient.clone());
        let [q, k, v] = inputs();
        let cpu = Flex::grouped_attention_backward(q, k, v, &mask, 0.4, gradient);
        for (ours, cpu) in ours.into_iter().zip(cpu) {
            assert_near(ours, cpu, "query, key or value");
        }
    }
}

#[test]
fn columns_equal_the_composed_and_are_written_in_place() {
    let columns: Tensor<Flex, 4> = tensor(7, [2, 3, 4, 6]);
    let cache: Tensor<Flex, 4> = tensor(5, [2, 4, 9, 6]);
    let wanted = composed::write_columns(cache.clone(), columns.clone(), 5);
    assert_near(Flex::write_columns(cache, columns.clone(), 5), wanted.clone(), "contiguous");
    // The same numbers, heads before positions.
    let view =
        Tensor::<Flex, 4>::from_data(columns.swap_dims(1, 2).into_data(), &Default::default())
            .swap_dims(1, 2);
    let cache: Tensor<Flex, 4> = tensor(5, [2, 4, 9, 6]);
    let numbers =
        |cache: &Tensor<Flex, 4>| cache.clone().into_primitive().tensor().storage::<f32>().as_ptr();
    let before = numbers(&cache);
    let cache = Flex::write_columns(cache, view, 5);
    assert_eq!(numbers(&cache), before);
    assert_near(cache, wanted, "a view");
}

#[test]
fn norms_equal_the_composed() {
    for [n, width] in [[1, 8], [5, 40], [3, 1]] {
        let x = tensor::<Tracked, 2>(5, [n, width]);
        let weight = tensor::<Tracked, 2>(7, [1, width]);
        let norm = |[x, weight]: [Tensor<Tracked, 2>; 2]| Tracked::rms_norm(x, weight, 1e-3);
        check([x, weight], norm, |[x, weight]| composed::rms_norm(x, weight, 1e-3));
    }
}

#[test]
fn rotations_equal_the_composed() {
    for rows in [1, 2] {
        let angles = tensor::<Tracked, 3>(3, [rows, 5, 4]);
        let (cos, sin) = (angles.clone().cos(), angles.sin());
        let x = tensor::<Tracked, 4>(5, [2, 5, 3, 8]);
        let rotate = |[x]: [Tensor<Tracked, 4>; 1]| Tracked::rotate(x, cos.clone(), sin.clone());
        check([x], rotate, |[x]| composed::rotate(x, cos.clone(), sin.clone()));
    }
}

#[test]
fn gates_equal_the_composed() {
    for activation in [Activation::Silu, Activation::GeluTanh] {
        let inputs = [tensor::<Tracked, 2>(5, [4, 33]).mul_scalar(3.0), tensor(7, [4, 33])];
        let gated = |[gate, up]: [Tensor<Tracked, 2>; 2]| Tracked::gated(gate, up, activation);
        check(inputs, gated, |[gate, up]| composed::gated(gate, up, activation));
    }
}

/// `[rows, kv_heads, group, queries, keys]`
fn mask<B: Backend>(visible: Visible, shape: [usize; 5]) -> Mask<B> {
    let [rows, kv_heads, group, queries, keys] = shape;
    let mut forbidden = Vec::new();
    for _ in 0..rows * kv_heads * group {
        for query in 0..queries {
            let seen = visible.columns(query);
            forbidden.extend((0..keys).map(|key| !seen.contains(&key)));
        }
    }
    let tensor = Tensor::from_data(TensorData::new(forbidden, shape), &Default::default());
    Mask { visible, tensor: Some(tensor) }
}

#[test]
fn attention_equals_the_composed() {
    // Rows, queries, keys, heads, heads of keys, dimension; more queries than one block holds, a
    // few, and one.
    for ([rows, queries, keys, heads, kv_heads, dim], window) in [
        ([2, 150, 150, 4, 2, 8], None),
        ([2, 150, 150, 2, 2, 8], Some(20)),
        ([2, 9, 12, 6, 2, 5], None),
        ([2, 9, 12, 2, 1, 5], Some(3)),
        ([3, 3, 20, 4, 2, 16], None),
        ([2, 1, 70, 4, 4, 20], Some(33)),
        // Values of several vectors and a rest, for one to five queries at once.
        ([2, 1, 70, 1, 1, 64], None),
        ([2, 1, 33, 4, 2, 32], None),
        ([1, 1, 33, 3, 1, 120], None),
        ([1, 1, 40, 4, 1, 90], None),
        ([1, 1, 40, 10, 2, 80], None),
        ([1, 3, 40, 2, 1, 100], None),
    ] {
        let visible = Visible { start: keys - queries, window };
        let mask = mask::<Tracked>(visible, [rows, kv_heads, heads / kv_heads, queries, keys]);
        let inputs = [
            tensor::<Tracked, 4>(5, [rows, queries, heads, dim]),
            tensor(7, [rows, keys, kv_heads, dim]),
            tensor(13, [rows, keys, kv_heads, dim]),
        ];
        let attend =
            |[q, k, v]: [Tensor<Tracked, 4>; 3]| Tracked::grouped_attention(q, k, v, &mask, 0.3);
        check(inputs, attend, |[q, k, v]| composed::grouped_attention(q, k, v, &mask, 0.3));
    }
}

/// Keys and values are the filled part of a cache that has room for more.
#[test]
fn attention_reads_a_part_of_a_cache() {
    let cache = tensor::<Flex, 4>(7, [2, 30, 2, 8]);
    let filled = cache.clone().slice([0..2, 0..12, 0..2, 0..8]);
    let copied = Tensor::<Flex, 4>::from_data(filled.to_data(), &Default::default());
    let mask = Mask { visible: Visible { start: 3, window: None }, tensor: None };
    let query = tensor::<Flex, 4>(5, [2, 9, 4, 8]);
    let [part, whole] = [filled, copied].map(|keys| {
        Flex::grouped_attention(query.clone(), keys.clone(), keys, &mask, 0.3).into_data()
    });
    assert_eq!(part, whole);
}

#[test]
fn likelihoods_and_cross_entropy_equal_the_composed() {
    let logits = tensor::<Flex, 2>(5, [4, 50]).mul_scalar(4.0);
    let targets = Tensor::<Flex, 1, Int>::from_data([0, 49, 7, 7], &Default::default());
    let wanted = activation::log_softmax(logits.clone(), 1);
    assert_near(Flex::log_probs(logits.clone()), wanted, "log-softmax");
    let wanted = composed::log_likelihoods(logits.clone(), targets.clone());
    assert_near(Flex::log_likelihoods(logits.clone(), targets.clone()), wanted, "likelihoods");
    let (likelihoods, error) = Flex::cross_entropy(logits.clone(), targets.clone());
    let (wanted, wanted_error) = composed::cross_entropy(logits, targets);
    assert_near(likelihoods, wanted, "likelihoods");
    assert_near(error, wanted_error, "error");
}

#[test]
fn few_rows_equal_many() {
    for rows in [1, 3, 16, 17] {
        let (x, weight) = (tensor::<Flex, 2>(5, [rows, 30]), tensor(7, [50, 30]));
        assert_near(Flex::project(x.clone(), weight.clone()), composed::project(x, weight), "rows");
    }
}

/// Alone a pass shares its work with other threads, one of rayon's threads does not.
#[test]
fn sharing_a_pass_changes_no_bit() {
    let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let check = |work: &(dyn Fn() -> TensorData + Sync), what: &str| {
        assert_eq!(work(), alone.install(work), "{what}");
    };
    for rows in [1, 3, 40] {
        let project = || {
            let (x, weight) = (tensor::<Flex, 2>(5, [rows, 576]), tensor(7, [701, 576]));
            Flex::project(x.div_scalar(3.0), weight).into_data()
        };
        check(&project, "a product");
    }
    for (queries, keys) in [(1, 1100), (3, 1100), (100, 300)] {
        let attend = || {
            let visible = Visible { start: keys - queries, window: None };
            let mask = Mask { visible, tensor: None };
            let query = tensor::<Flex, 4>(5, [2, queries, 8, 48]);
            let cache = tensor::<Flex, 4>(7, [2, keys, 4, 48]).div_scalar(3.0);
            Flex::grouped_attention(query, cache.clone(), cache, &mask, 0.3).into_data()
        };
        check(&attend, "attention");
    }
}
