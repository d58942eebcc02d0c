//! Tables of made-up runs whose numbers can be reckoned by hand.

use serde_json::{Value, json};

use super::*;
use crate::{Error, UserRun};

/// Two periods: only the loss of the second one counts, in nats per byte.
fn run(per_byte: f64, tokens: usize) -> Value {
    let loss = |per_byte: f64| Loss::new(per_byte * 8.0, 4, 8, 1);
    json!({
        "matrix": [[loss(9.0), loss(9.0)], [loss(9.0), loss(per_byte)]],
        "selected": [3, 3], "tokens": [tokens, 0], "open": [0, 0], "synthetic": [], "seconds": 1.0,
    })
}

/// A line of a user: the loss and the tokens of each method.
fn line(user: &str, methods: &[(&str, f64, usize)]) -> RunLine {
    let methods: BTreeMap<&str, Value> =
        methods.iter().map(|(name, loss, tokens)| (*name, run(*loss, *tokens))).collect();
    let period = json!({ "train": 3, "test": 1, "dropped": 0, "novelty": null });
    let run: UserRun = serde_json::from_value(json!({
        "user": user, "periods": [period, period], "methods": methods, "detection": null,
    }))
    .unwrap();
    let key = json!({ "data": "d", "budget": "epochs", "seed": 0, "user": user });
    RunLine { key: serde_json::from_value(key).unwrap(), run }
}

/// Four users: the selection is better than the base for three of them, and worse for Dora.
fn lines() -> Vec<RunLine> {
    let of = |user: &str, random: f64, spring: f64| {
        line(user, &[("base", 1.0, 0), ("random", random, 50), ("spring", spring, 40)])
    };
    vec![of("ada", 0.75, 0.5), of("bob", 0.75, 0.5), of("cleo", 0.75, 0.5), of("dora", 0.5, 1.25)]
}

fn suite(settings: &str) -> Result<Suite, Error> {
    let toml = format!(
        "name = 's'\nmethods = ['base', 'random', 'spring']\n{settings}\n[[data]]\nname = 'd'\n\
         path = 'd.jsonl'\n"
    );
    Suite::from_toml(&toml, "s.toml")
}

fn summary(settings: &str, lines: &[RunLine]) -> Summary {
    let data: SuiteData = serde_json::from_value(json!({
        "data": "d", "task": null, "users": [], "too_few": 0, "domain_users": 0, "domain_texts": 0,
    }))
    .unwrap();
    Summary::of(&suite(settings).unwrap(), &[data], lines, vec![], &[])
}

/// The cells of a row of the CSV by their names.
fn cells(summary: &Summary, method: &str) -> BTreeMap<String, String> {
    let csv = summary.csv().unwrap();
    let mut rows = csv.lines().map(|line| line.split(',').map(str::to_owned).collect::<Vec<_>>());
    let heading = rows.next().unwrap();
    let row = rows.find(|row| row[2] == method).unwrap();
    assert_eq!(row.len(), heading.len());
    heading.into_iter().zip(row).collect()
}

#[test]
fn a_good_mean_does_not_hide_whom_it_is_worse_for() {
    let summary = summary("", &lines());
    let row = |name: &str| summary.rows.iter().find(|row| row.method == name).unwrap();
    let spring = row("spring");
    let to_base = spring.above_base.unwrap();
    assert_eq!((to_base.interval().mean, to_base.interval().users), (-0.3125, 4));
    let users = spring.users_to_base.as_ref().unwrap();
    assert_eq!((users.worst(), users.worse()), (Some(("dora", 0.25)), 1));
    // Nobody is better or worse than with itself.
    assert_eq!((&spring.users_to_against, spring.difference), (&None, None));
    let random = row("random");
    assert_eq!(random.users_to_base.as_ref().unwrap().worse(), 0);
    let worst = random.users_to_against.as_ref().unwrap();
    assert_eq!((worst.worst().unwrap().1, worst.worse()), (0.25, 3));
    let base = row("base");
    assert_eq!((base.above_base, &base.users_to_base), (None, &None));
    // Both tests of a family of two.
    let test = to_base.test().unwrap();
    assert!(test.p_holm >= test.p && test.least_p_holm == 2.0 * 2.0 / 16.0);

    let of = cells(&summary, "spring");
    for (name, value) in [
        ("above_base", "-0.312500"),
        ("worst_user_to_base", "0.250000"),
        ("users_worse_than_base", "1"),
        ("worst_user_to_against", ""),
        ("users_worse_than_against", ""),
        ("best_within_tokens", "true"),
    ] {
        assert_eq!(of[name], value, "{name}");
    }
    let of = cells(&summary, "random");
    assert_eq!(
        (&*of["worst_user_to_against"], &*of["users_worse_than_against"]),
        ("0.250000", "3")
    );
    // The lowest of the table is the lowest for its tokens, too.
    assert_eq!((&*of["nats_per_byte"], &*of["best_within_tokens"]), ("0.687500", "true"));
    assert_eq!(cells(&summary, "base")["users_worse_than_base"], "");
}

#[test]
fn what_starts_from_the_domains_adapter_is_not_the_best_for_its_tokens() {
    let summary = summary("start = 'domain'", &lines());
    let best = |method: &str| cells(&summary, method)["best_within_tokens"].clone();
    // Without those who start there the base is alone.
    assert_eq!([best("base"), best("random"), best("spring")], ["true", "", ""]);
}

#[test]
fn without_the_base_nothing_is_compared_with_it() {
    let mut lines = lines();
    for line in &mut lines {
        line.run.methods.remove("base");
    }
    let summary = summary("", &lines);
    assert!(summary.rows.iter().all(|row| row.above_base.is_none() && row.users_to_base.is_none()));
    assert_eq!(cells(&summary, "random")["above_base"], "");
}

#[test]
fn only_declared_contrasts_are_tested_and_corrected_for() {
    let all = summary("", &lines());
    let declared = summary("contrasts = ['random']\nshow = 'random'", &lines());
    assert_eq!(declared.contrasts, ["random"]);
    assert_eq!(declared.show.as_deref(), Some("random"));
    let row = |summary: &Summary, name: &str| {
        summary.rows.iter().find(|row| row.method == name).cloned().unwrap()
    };
    let test = row(&declared, "random").difference.unwrap();
    // One test of four users, and not two.
    assert_eq!((test.p_holm, test.least_p_holm), (test.p, 2.0 / 16.0));
    assert_eq!(row(&all, "random").difference.unwrap().least_p_holm, 4.0 / 16.0);
    let base = row(&declared, "base");
    assert_eq!((base.difference, base.to_against().unwrap().test()), (None, None));
    let (with, without) = (row(&all, "base").difference.unwrap(), base.to_against().unwrap());
    assert_eq!(with.difference, without.interval());
    // So with the other questions.
    assert_eq!(row(&declared, "spring").above_base.unwrap().test(), None);
    assert!(row(&declared, "random").above_base.unwrap().test().is_some());
    assert_eq!(base.adapter_difference, None);
    assert!(base.adapters_to_against().is_some());

    let of = cells(&declared, "base");
    assert_eq!((&*of["difference"], &*of["p"], &*of["p_holm"]), ("0.312500", "", ""));
    assert_eq!((&*of["adapter_difference"], &*of["adapter_p"]), ("0.312500", ""));
    assert_ne!(cells(&declared, "random")["p"], "");
    assert_eq!(cells(&declared, "spring")["above_base_p"], "");

    for unknown in ["contrasts = ['l2']", "show = 'l2'"] {
        let error = suite(unknown).unwrap_err().to_string();
        assert!(error.starts_with("s.toml: contrasts and show: "), "{error}");
    }
    let again = suite("contrasts = ['random']\nshow = 'base'").unwrap();
    let text = toml::to_string(&again).unwrap();
    assert_eq!(Suite::from_toml(&text, "again.toml").unwrap(), again);
}

#[test]
fn scores_beside_the_loss_have_intervals_and_tests() {
    let mut lines = lines();
    for (line, own) in lines.iter_mut().zip([1.0, 0.5, 0.75, 0.75]) {
        for (name, run) in &mut line.run.methods {
            let text = json!({ "period": 1, "predicted": "a b", "written": "a b" });
            run.generated = vec![serde_json::from_value(text).unwrap()];
            run.attributed = Some(if name == "spring" { own } else { 0.25 });
        }
    }
    let summary = summary("", &lines);
    let row = |name: &str| summary.rows.iter().find(|row| row.method == name).unwrap();
    let of = |name: &str, measure: Measure| {
        *row(name).measures.iter().find(|score| score.measure == measure).unwrap()
    };
    let own = of("spring", Measure::Attributed);
    assert_eq!((own.score.mean, own.score.users, own.difference), (0.75, 4, None));
    assert!(own.score.low < 0.75 && own.score.high > 0.75);
    let base = of("base", Measure::Attributed).difference.unwrap();
    let test = base.test().unwrap();
    // All four in one direction, and two methods are tested.
    assert_eq!((test.difference.mean, test.p, test.p_holm), (-0.5, 2.0 / 16.0, 4.0 / 16.0));
    assert_eq!(of("base", Measure::Rouge1).difference.unwrap().interval().mean, 0.0);
    assert_eq!(row("spring").generated.unwrap().rouge1, 1.0);
    assert!(!row("spring").measures.iter().any(|score| score.measure == Measure::Recall));

    let cells = cells(&summary, "base");
    for (name, value) in [
        ("rouge1", "1.000000"),
        ("rouge1_low_95", "1.000000"),
        ("rouge1_difference", "0.000000"),
        ("rouge1_difference_p", "1.000000"),
        ("attributed_difference", "-0.500000"),
        ("attributed_difference_p_holm", "0.250000"),
        ("selection_recall_low_95", ""),
    ] {
        assert_eq!(cells[name], value, "{name}");
    }
}

#[test]
fn new_columns_stand_behind_the_old_ones_and_each_is_there_once() {
    let csv = summary("", &lines()).csv().unwrap();
    let heading: Vec<&str> = csv.lines().next().unwrap().split(',').collect();
    assert_eq!((heading[0], heading[81], heading[82]), ("data", "stale_written", "above_base"));
    for (place, name) in heading.iter().enumerate() {
        assert!(!heading[..place].contains(name), "{name}");
        assert!(is_column(name), "{name}");
    }
    // The suite's own metrics keep their place.
    let mut summary = summary("", &lines());
    let score = MetricScore { name: "exact".into(), higher_is_better: true, score: None };
    summary.rows.iter_mut().for_each(|row| row.metrics = vec![score.clone()]);
    let own = summary.csv().unwrap();
    let own: Vec<&str> = own.lines().next().unwrap().split(',').collect();
    assert_eq!(own[82..86], ["exact", "exact_low_95", "exact_high_95", "above_base"]);
}
