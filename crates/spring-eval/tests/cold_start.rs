//! The example that measures what a prior is worth to somebody new, on a tiny real model.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use cold_start::{People, Plan, Report, measure};
use spring_core::Config;
use spring_data::synth::{SynthConfig, synthesize};
use spring_model::{AnyModel, Device, ModelFiles, TrainConfig};

#[allow(dead_code)]
#[path = "../examples/cold_start.rs"]
mod cold_start;

fn people() -> People {
    let config = SynthConfig::default().with_users(5).with_texts(9).with_seed(3);
    let mut people = People::new();
    for text in synthesize(&config).unwrap() {
        people.entry(text.user.clone()).or_default().push(text);
    }
    people
}

fn measured(plan: &Plan) -> Report {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-llama");
    let model = AnyModel::load(&ModelFiles::from_dir(folder).unwrap(), Device::Cpu).unwrap();
    let training = TrainConfig::default().with_learning_rate(1e-2);
    measure(&model, &Config::default().with_training(training), &people(), plan).unwrap()
}

#[test]
fn somebody_new_is_measured_with_and_without_a_prior_of_the_others() {
    let plan = Plan { users: 2, later: 3, answers: 1, tokens: 8, ..Plan::default() };
    let report = measured(&plan);
    assert_eq!((report.people.len(), report.prior_users, report.prior_texts), (2, 3, 27));
    for person in &report.people {
        assert_eq!((person.texts, person.asked.len()), (3, 1));
        let starts: Vec<_> = person.found.iter().map(|of| (of.start, of.learned)).collect();
        assert_eq!(starts, [("base", 0), ("prior", 0), ("base", 5), ("prior", 5)]);
        let losses: Vec<f64> = person.found.iter().map(|of| of.loss).collect();
        for (place, loss) in losses.iter().enumerate() {
            assert!(loss.is_finite() && !losses[..place].contains(loss), "{losses:?}");
        }
        // What the others have in common with somebody new, the base does not know.
        assert!(losses[1] < losses[0], "{losses:?}");
        assert!(person.found.iter().all(|of| of.answers.len() == 1 && of.rouge_l.is_some()));
    }
    assert_eq!((report.means.len(), report.gains.len()), (4, 2));
    let (base, prior) = (report.means[0].loss.unwrap(), report.means[1].loss.unwrap());
    let gain = report.gains[0].loss.unwrap();
    assert!((gain.mean - (prior.mean - base.mean)).abs() < 1e-12);
    assert!(gain.low <= gain.mean && gain.mean <= gain.high && gain.users == 2);
    assert_eq!(report.gains[0].better, 2);
    // The same again, and other people by another seed.
    let names = |report: &Report| -> Vec<String> {
        report.people.iter().map(|person| person.user.to_string()).collect()
    };
    let seeds =
        (0..6).map(|seed| names(&measured(&Plan { seed, users: 1, answers: 0, ..plan.clone() })));
    let mut drawn: Vec<_> = seeds.collect();
    drawn.sort();
    drawn.dedup();
    assert!(drawn.len() > 1, "{drawn:?}");
    let (one, again) = (serde_json::to_string(&report), serde_json::to_string(&measured(&plan)));
    assert_eq!(one.unwrap(), again.unwrap());
}
