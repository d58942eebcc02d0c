//! The protocol on a tiny real model: every method, both budgets, both starting points.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use spring_core::{Config, Event, StoredInteraction};
use spring_data::synth::{Drift, SynthConfig, synthesize};
use spring_eval::{
    Budget, Generation, Memo, Method, PeriodRule, Protocol, Split, Start, UserInput, UserOutcome,
    domain_adapter, run_other_user, run_user,
};
use spring_model::{Adapter, AnyModel, Device, ModelFiles, TrainConfig};

const METHODS: [&str; 30] = [
    "base",
    "domain",
    "rag",
    "recency",
    "static",
    "everything",
    "everything+retrieval:sigma=0",
    "random",
    "random_tokens",
    "replay",
    "cumulative",
    "l2",
    "spring_adapter",
    "spring",
    "no_gate",
    "no_novelty",
    "spring:lambda=0",
    "random:start=domain",
    "spring:start=domain",
    "spring:capacity=6,buffer=reservoir,gate=always",
    "logit",
    "adaptive_lambda",
    "adaptive_selection",
    "spring:gate=calibrated,lambda=calibrated",
    "everything+retrieval:gate=calibrated,lambda=calibrated",
    "spring:bank=history,gate=always",
    "spring:retriever=latest,gate=always",
    "spring_adapter:contrast=0",
    "spring_adapter:contrast=0.5",
    "spring:lambda=0,contrast=0.5",
];

fn model() -> AnyModel {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-llama");
    AnyModel::load(&ModelFiles::from_dir(folder).unwrap(), Device::Cpu).unwrap()
}

fn texts(seed: u64) -> Vec<StoredInteraction> {
    let config = SynthConfig::default()
        .with_users(1)
        .with_texts(60)
        .with_drifts(vec![Drift::Sudden])
        .with_noise(0.25)
        .with_seed(seed);
    // Short ones, so that retrieved texts fit into the tiny model's context.
    let short = |text: String, most: usize| text.chars().take(most).collect::<String>();
    synthesize(&config)
        .unwrap()
        .into_iter()
        .zip(1..)
        .map(|(mut interaction, seq)| {
            interaction.prompt = short(interaction.prompt, 40);
            interaction.response = short(interaction.response, 70);
            StoredInteraction::new(seq, interaction)
        })
        .collect()
}

fn splits(seed: u64) -> Vec<Split> {
    PeriodRule::default().with_periods(3).cut(&texts(seed)).unwrap()
}

fn protocol(methods: &[&str], budget: Budget) -> Protocol {
    let training = TrainConfig::default().with_learning_rate(1e-2).with_max_tokens(64);
    let methods = methods.iter().map(|name| name.parse().unwrap()).collect();
    Protocol::new(Config::default().with_training(training), methods).with_budget(budget)
}

fn run(model: &AnyModel, protocol: &Protocol, domain: &Adapter, start: Start) -> UserOutcome {
    let splits = splits(1);
    let user = &splits[0].train[0].interaction.user;
    let input = UserInput::new(user, &splits).with_domain(Some(domain), start);
    run_user(model, protocol, input, &Memo::default(), &mut ()).unwrap()
}

#[test]
fn every_method_fills_its_matrix_on_one_code_path() {
    let model = model();
    let epochs = protocol(&METHODS, Budget::Epochs);
    let domain = domain_adapter(&model, &epochs.config, &splits(9)[0].train, &mut ()).unwrap();
    let UserOutcome { run: all, adapters, .. } = run(&model, &epochs, &domain, Start::Base);
    assert_eq!((all.methods.len(), adapters.len(), all.periods.len()), (METHODS.len(), 3, 3));
    for (name, method) in &all.methods {
        assert_eq!(method.matrix.len(), 3, "{name}");
        assert!(method.matrix.iter().all(|row| row.len() == 3));
        assert!(
            method.matrix.iter().flatten().all(|loss| loss.nats.is_finite() && loss.texts >= 2)
        );
        assert_eq!(
            (method.selected.len(), method.tokens.len(), method.synthetic.len()),
            (3, 3, 3),
            "{name}"
        );
    }
    let of = |name: &str| &all.methods[name];
    let row =
        |name: &str, t: usize| of(name).matrix[t].iter().map(|loss| loss.nats).collect::<Vec<_>>();
    for fixed in ["base", "domain", "static"] {
        assert_eq!(row(fixed, 0), row(fixed, 2), "{fixed} learns nothing later");
    }
    for learner in
        ["everything", "random", "random_tokens", "replay", "cumulative", "l2", "spring_adapter"]
    {
        assert_eq!(
            row(learner, 0),
            row("static", 0),
            "{learner}: the first period is the same for all"
        );
        assert_ne!(row(learner, 2), row("static", 2), "{learner} goes on learning");
    }
    for (one, other) in [
        ("replay", "everything"),
        ("cumulative", "everything"),
        ("l2", "everything"),
        ("random", "spring_adapter"),
        ("no_novelty", "spring"),
        ("rag", "base"),
        ("recency", "rag"),
        ("no_gate", "spring_adapter"),
        ("everything+retrieval:sigma=0", "everything"),
        ("random:start=domain", "random"),
        ("spring:capacity=6,buffer=reservoir,gate=always", "no_gate"),
        ("spring:bank=history,gate=always", "no_gate"),
        ("spring:retriever=latest,gate=always", "no_gate"),
        ("spring_adapter:contrast=0.5", "spring_adapter"),
    ] {
        assert_ne!(row(one, 2), row(other, 2), "{one} and {other}");
    }
    // Without weight on retrieval the mixture is the adapter.
    for (mixed, plain) in row("spring:lambda=0", 2).iter().zip(row("spring_adapter", 2)) {
        assert!((mixed - plain).abs() < 1e-3);
    }
    for (alone, plain) in of("spring")
        .adapter_matrix
        .iter()
        .flatten()
        .zip(of("spring_adapter").matrix.iter().flatten())
    {
        assert!((alone.nats - plain.nats).abs() < 1e-2, "{alone:?} {plain:?}");
    }
    assert!(of("spring_adapter").adapter_matrix.is_empty() && of("rag").adapter_matrix.is_empty());
    // A contrast without weight is none; without weight on retrieval the mixture is the contrast,
    // and what the adapter alone says of the same texts stays what it was.
    assert_eq!(of("spring_adapter:contrast=0").matrix, of("spring_adapter").matrix);
    let both = of("spring:lambda=0,contrast=0.5");
    for (mixed, contrasted) in [
        (&both.matrix, &of("spring_adapter:contrast=0.5").matrix),
        (&both.adapter_matrix, &of("spring_adapter").matrix),
    ] {
        for (mixed, contrasted) in mixed.iter().flatten().zip(contrasted.iter().flatten()) {
            assert!((mixed.nats - contrasted.nats).abs() < 1e-2, "{mixed:?} {contrasted:?}");
        }
    }
    assert_eq!(of("random").selected, of("spring").selected);
    // From the domain adapter SPRInG selects from the first period on, and that many are drawn.
    assert_eq!(of("random:start=domain").selected, of("spring:start=domain").selected);
    assert!(of("random:start=domain").selected[0] < all.periods[0].train);
    // Only how it reads differs, and only where the gate opens; what is selected differs with the
    // rule.
    for reader in ["logit", "adaptive_lambda"] {
        assert_eq!(
            (&of(reader).selected, &of(reader).open),
            (&of("spring").selected, &of("spring").open)
        );
        assert_eq!(
            of(reader).matrix != of("spring").matrix,
            of("spring").open.iter().any(|open| *open > 0)
        );
    }
    for reader in [
        "spring:gate=calibrated,lambda=calibrated",
        "spring:bank=history,gate=always",
        "spring:retriever=latest,gate=always",
    ] {
        assert_eq!(of(reader).selected, of("spring").selected, "{reader}");
    }
    assert_ne!(of("adaptive_selection").selected, of("spring").selected);
    assert_eq!(of("no_gate").open[2], all.periods[2].test);
    assert_eq!(of("base").tokens, [0, 0, 0]);
    assert!(of("cumulative").tokens[2] > 2 * of("everything").tokens[2]);
    assert!(all.periods[0].novelty.is_none() && all.periods[1].novelty.is_some());
    assert_eq!(all.detection.as_ref().unwrap().delays.len(), 1);
    let spring = of("spring").synthetic[1].selection;
    assert!(spring.recall.is_some() && spring.clean_by_chance < Some(1.0));
    assert!(of("base").synthetic.iter().all(|scores| scores.stale.is_some()));

    // What is shared between methods changes none of them.
    let alone = run(&model, &protocol(&["spring"], Budget::Epochs), &domain, Start::Base).run;
    assert_eq!(alone.methods["spring"].matrix, of("spring").matrix);

    let nothing = Generation::default();
    let lent = [adapters];
    for own in ["spring_adapter", "spring_adapter:contrast=0.5"] {
        let config = own.parse::<Method>().unwrap().configure(&epochs.config).unwrap();
        let other = run_other_user(&model, &config, &splits(1), &lent, nothing, &mut ()).unwrap();
        for (t, row) in other.matrix.iter().enumerate() {
            assert_eq!(row, &of(own).matrix[t], "one's own adapter, lent to oneself");
        }
    }
}

#[test]
fn equal_steps_are_equal_tokens_and_the_domain_can_be_everyones_start() {
    let model = model();
    let learners = ["everything", "random", "replay", "cumulative", "spring"];
    let steps = protocol(&[&["base", "domain"], &learners[..]].concat(), Budget::Steps);
    let domain = domain_adapter(&model, &steps.config, &splits(9)[0].train, &mut ()).unwrap();
    let run = run(&model, &steps, &domain, Start::Domain).run;
    let wanted = &run.methods["everything"].tokens;
    for (name, method) in run.methods.iter().filter(|(name, _)| learners.contains(&name.as_str())) {
        for (t, tokens) in method.tokens.iter().enumerate() {
            // Cumulative retraining begins anew each time.
            let from = if name == "cumulative" { 0 } else { t };
            let wanted: usize = wanted[from..=t].iter().sum();
            // The last text may go beyond.
            assert!((wanted..wanted + 64).contains(tokens), "{name}: {tokens} of {wanted}");
        }
    }
    assert_ne!(run.methods["base"].matrix, run.methods["domain"].matrix, "the base stays the base");
    // The domain adapter is an adapter, so SPRInG selects from the first period on.
    assert!(run.methods["spring"].selected[0] < run.periods[0].train);
    assert!(run.periods[0].novelty.is_some());
}

#[test]
fn a_memo_saves_training_and_changes_nothing() {
    let model = model();
    let splits = splits(1);
    let user = &splits[0].train[0].interaction.user;
    let input = UserInput::new(user, &splits);
    let methods = ["rag", "static", "everything", "spring", "spring:alpha=1"];
    let run = |budget, memo: &Memo| {
        let mut steps = 0;
        let mut progress = |event: Event<'_>| {
            steps += usize::from(matches!(event, Event::Training { .. }));
            std::ops::ControlFlow::Continue(())
        };
        let mut run =
            run_user(&model, &protocol(&methods, budget), input, memo, &mut progress).unwrap().run;
        run.methods.values_mut().for_each(|method| {
            // What is found counts with the time that it took.
            assert!(method.seconds > 0.0);
            method.seconds = 0.0;
        });
        (run, steps)
    };
    let memo = Memo::default();
    let epochs = run(Budget::Epochs, &memo);
    assert_eq!(run(Budget::Epochs, &memo), (epochs.0, 0));
    let after = run(Budget::Steps, &memo);
    let alone = run(Budget::Steps, &Memo::default());
    assert_eq!(after.0, alone.0);
    // The first period and all of everything are known from the other budget.
    assert!(0 < after.1 && 4 * after.1 < 3 * alone.1, "{} of {}", after.1, alone.1);
}

#[test]
fn settings_of_a_method_are_its_own() {
    let model = model();
    let tuned = [
        "spring",
        "spring:learning_rate=2e-3",
        "spring:epochs=1",
        "spring:length=bytes,alpha=2",
        "spring:start=domain",
        "everything",
        "everything:epochs=4",
        "random:rho=0.5",
        "random:rho=0.5,start=domain",
    ];
    let protocol = protocol(&tuned, Budget::Epochs);
    let domain = domain_adapter(&model, &protocol.config, &splits(9)[0].train, &mut ()).unwrap();
    let run = run(&model, &protocol, &domain, Start::Base).run;
    let of = |name: &str| &run.methods[name];
    for name in &tuned[1..5] {
        assert_ne!(of(name).matrix, of("spring").matrix, "{name}");
    }
    assert_eq!(
        of("everything:epochs=4").tokens,
        of("everything").tokens.iter().map(|n| 2 * n).collect::<Vec<_>>()
    );
    assert_eq!(of("spring:epochs=1").selected, of("spring").selected);
    let half = |t: usize| run.periods[t].train.div_ceil(2);
    assert_eq!(of("random:rho=0.5").selected, [run.periods[0].train, half(1), half(2)]);
    assert_eq!(of("random:rho=0.5,start=domain").selected, [half(0), half(1), half(2)]);
    assert!(of("spring:start=domain").selected[0] < run.periods[0].train);
    // Each kind of text was scored, and what was selected of the kinds is what was selected.
    for t in 1..3 {
        let kinds = &of("spring").synthetic[t].kinds;
        assert_eq!(kinds.iter().map(|kind| kind.texts).sum::<usize>(), run.periods[t].train);
        assert_eq!(kinds.iter().map(|kind| kind.selected).sum::<usize>(), of("spring").selected[t]);
        assert!(of("everything").synthetic[t].kinds.is_empty());
    }
    assert!(of("spring").synthetic[0].kinds.is_empty(), "nothing is scored without an adapter");
}

#[test]
fn scores_and_updates_of_other_kinds_run_beside_the_paper_s() {
    let model = model();
    let methods = [
        "spring",
        "spring:reference=population",
        "spring:reference=population,start=domain",
        "spring:alpha=inf,start=domain",
        "spring:scorer=lookahead",
        "spring:weights=unrecalled",
        "spring:rho=0.1,epochs=6",
        "everything",
        "everything:weights=unrecalled",
    ];
    for budget in [Budget::Epochs, Budget::Steps] {
        let protocol = protocol(&methods, budget);
        let domain =
            domain_adapter(&model, &protocol.config, &splits(9)[0].train, &mut ()).unwrap();
        let run = run(&model, &protocol, &domain, Start::Base).run;
        let of = |name: &str| &run.methods[name];
        let spring = of("spring");
        for name in ["spring:reference=population", "spring:scorer=lookahead"] {
            // As many texts, and the first period whole.
            assert_eq!(of(name).selected, spring.selected, "{name}");
            for (own, spring) in of(name).adapter_matrix[0].iter().zip(&spring.adapter_matrix[0]) {
                assert!((own.nats - spring.nats).abs() < 1e-3, "{name}: {own:?} {spring:?}");
            }
        }
        // To the adapter that it starts from, which is the population's, nothing is novel yet.
        let by_quality = of("spring:alpha=inf,start=domain");
        let alike = of("spring:reference=population,start=domain");
        assert_eq!(alike.selected[0], by_quality.selected[0]);
        for (own, other) in alike.adapter_matrix[0].iter().zip(&by_quality.adapter_matrix[0]) {
            assert!((own.nats - other.nats).abs() < 1e-3, "{own:?} {other:?}");
        }
        // Looking ahead is no training of the budget's.
        if budget == Budget::Steps {
            let (ahead, wanted) = (of("spring:scorer=lookahead"), of("everything"));
            for (ahead, wanted) in ahead.tokens.iter().zip(&wanted.tokens) {
                assert!((*wanted..wanted + 64).contains(ahead), "{ahead} of {wanted}");
            }
        }
        for kind in ["spring", "everything"] {
            let weighted = of(&format!("{kind}:weights=unrecalled"));
            assert_eq!(weighted.tokens[0], of(kind).tokens[0]);
            assert_ne!(weighted.matrix[0], of(kind).matrix[0], "{kind}");
        }
        // Fewer texts, more often: by the budget of steps as many tokens as everyone.
        let often = of("spring:rho=0.1,epochs=6");
        assert!(often.selected[1] < spring.selected[1]);
        if budget == Budget::Epochs {
            assert_eq!(often.tokens[0], 3 * spring.tokens[0]);
        }
    }
}

#[test]
fn a_population_is_the_domain_adapter_which_must_be_there() {
    let model = model();
    let splits = splits(1);
    let user = &splits[0].train[0].interaction.user;
    let input = UserInput::new(user, &splits);
    let protocol = protocol(&["spring:reference=population"], Budget::Epochs);
    let error = run_user(&model, &protocol, input, &Memo::default(), &mut ()).err().unwrap();
    let error = error.to_string();
    assert!(error.contains("spring:reference=population: there is no domain adapter"), "{error}");
}

#[test]
fn texts_are_generated_on_the_diagonal_if_asked_for() {
    let model = model();
    let mut protocol = protocol(&["base", "rag", "recency", "spring"], Budget::Epochs);
    protocol.generation = Generation::new(1, 4);
    let splits = splits(1);
    let user = &splits[0].train[0].interaction.user;
    let input = UserInput::new(user, &splits);
    let UserOutcome { mut run, adapters, .. } =
        run_user(&model, &protocol, input, &Memo::default(), &mut ()).unwrap();
    let lent = [adapters];
    let generation = protocol.generation;
    let other =
        run_other_user(&model, &protocol.config, &splits, &lent, generation, &mut ()).unwrap();
    run.methods.insert("other_user".into(), other);
    for (name, method) in &run.methods {
        let periods: Vec<u32> = method.generated.iter().map(|text| text.period).collect();
        assert_eq!(periods, [1, 2, 3], "{name}");
        assert!(method.generated.iter().zip(&splits).all(|(text, split)| {
            text.written == split.test[0].interaction.response
                && text.predicted.chars().count() <= 4 * 8
        }));
    }
    protocol.methods = vec!["domain".parse::<Method>().unwrap()];
    let error =
        run_user(&model, &protocol, input, &Memo::default(), &mut ()).err().unwrap().to_string();
    assert!(error.contains("domain: there is no domain adapter"), "{error}");
}
