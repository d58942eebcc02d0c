//! One decoding step under every gate, mixture and λ: what each decides, and the token that comes
//! out.
//!
//! `cargo run -p spring-fuse --example one_token`

use spring_fuse::{
    Calibration, Candidate, Contrast, FuseError, GateConfig, GateDecision, Lambda, MixtureConfig,
    Penalties, SamplerConfig, Space, Tail, log_softmax,
};

const WORDS: [&str; 6] = ["thanks", "cheers", "regards", "the", "Ada", "xyzzy"];

fn main() -> Result<(), FuseError> {
    // What matches between this person's own texts score, and what the query found.
    let calibration = Calibration::new(vec![1.0, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 9.0]);
    let found = [6.1, 4.9, 2.2].map(Candidate::new);
    println!("gates");
    let gates = [
        GateConfig::default(),
        GateConfig::Fixed { threshold: 7.0, k: 2 },
        GateConfig::Margin { margin: 1.0, k: 2 },
        GateConfig::Always { k: 2 },
        GateConfig::Never {},
    ];
    for config in gates {
        let gate = config.init()?;
        println!("  {:9} {}", gate.name(), gate.decide(&found, &calibration).reason);
    }
    let decision = GateConfig::default().init()?.decide(&found, &calibration);

    // The model without the retrieved texts, and with them: these sign with "cheers, Ada".
    let mut branches = [[0.0f32; WORDS.len()]; 2];
    log_softmax(&[3.0, 1.0, 2.5, 1.0, 0.5, -4.0], &mut branches[0])?;
    log_softmax(&[1.5, 3.5, 0.5, 1.0, 2.0, -4.0], &mut branches[1])?;
    println!("mixtures");
    let adaptive = [Lambda::Fixed(0.5), "gate".parse()?, "divergence".parse()?];
    for lambda in adaptive {
        report(
            MixtureConfig::default().with_lambda(lambda).with_trace_divergence(true),
            &branches,
            &decision,
        )?;
    }
    for space in ["logit", "contrastive"] {
        let space: Space = space.parse()?;
        report(MixtureConfig::default().with_space(space), &branches, &decision)?;
    }

    // The same person's model without the retrieved texts, beside the base it was adapted from.
    let mut base = [0.0f32; WORDS.len()];
    log_softmax(&[3.2, 0.5, 2.8, 2.0, -2.0, -4.0], &mut base)?;
    println!("contrast with the base");
    for tail in [Tail::Keep, Tail::Drop] {
        let contrast = Contrast::default().with_weight(2.0).with_tail(tail);
        let mut contrasted = [0.0; WORDS.len()];
        contrast.apply(&branches[0], &base, &mut contrasted)?;
        let words: Vec<String> = WORDS
            .iter()
            .zip(branches[0].iter().zip(&contrasted))
            .map(|(word, (own, pushed))| format!("{word} {:.2} → {:.2}", own.exp(), pushed.exp()))
            .collect();
        println!("  tail {tail:?}: {}", words.join(", "));
    }
    Ok(())
}

fn report(
    config: MixtureConfig,
    branches: &[[f32; WORDS.len()]; 2],
    decision: &GateDecision,
) -> Result<(), FuseError> {
    let branches: [&[f32]; 2] = [&branches[0], &branches[1]];
    let mut mixed = [0.0; WORDS.len()];
    let weights = config.lambda.weights(2, Some(decision))?;
    let mut mixture = config.init()?;
    let trace = mixture.mix(&branches, &weights, &mut mixed)?;
    Penalties::default().init()?.apply(&mut mixed, &[3])?;
    let token = SamplerConfig::default().init()?.choose(&mut mixed, 0)?;
    let shares = trace.shares(&branches, token)?;
    let divergence =
        trace.divergence.map_or(String::new(), |nats| format!(", divergence {nats:.3} nats"));
    println!(
        "  {:11} {:?}: \"{}\" with p {:.2}, {:.0} % of its support from retrieval (weight \
         {:.2}{divergence})",
        mixture.name(),
        config.lambda,
        WORDS[token as usize],
        mixed[token as usize].exp(),
        100.0 * shares[1],
        trace.weights[1],
    );
    Ok(())
}
