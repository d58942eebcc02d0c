//! A suite on a tiny real model: into its folder, interrupted, resumed, and reported.

#![allow(clippy::unwrap_used)]

use std::{
    fs,
    ops::ControlFlow,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};

use spring_core::spring_memory::UserId;
use spring_data::synth::{Drift, SynthConfig, TextKind, synthesize};
use spring_eval::{
    Budget, Candidate, Choice, Error, Half, Methods, Suite, SuiteEvent, Summary, SummaryRow,
    estimate_suite, read_suite_run, read_suite_run_against, run_suite,
};
use spring_model::{AnyModel, Device, ModelFiles};

fn model() -> AnyModel {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-llama");
    AnyModel::load(&ModelFiles::from_dir(folder).unwrap(), Device::Cpu).unwrap()
}

/// Five users, one of them with too few texts and one with a hostile name.
fn suite(folder: &Path, methods: &str) -> Suite {
    let config = SynthConfig::default()
        .with_users(5)
        .with_texts(24)
        .with_drifts(vec![Drift::Sudden])
        .with_noise(0.1)
        .with_seed(3);
    let mut texts = synthesize(&config).unwrap();
    texts.truncate(4 * 24 + 10);
    for text in &mut texts {
        text.prompt.truncate(20);
        if text.user.as_str() == "s002" {
            text.user = UserId::new("s002<script>&").unwrap();
        }
    }
    let lines: String =
        texts.iter().map(|text| serde_json::to_string(text).unwrap() + "\n").collect();
    let path = folder.join("data.jsonl");
    fs::write(&path, lines).unwrap();
    let toml = format!(
        "name = 'tiny'\nmethods = [{methods}]\nseeds = [0, 1]\nbudgets = ['epochs', 'steps']\n\
         [[data]]\nname = 'synth <b>'\npath = '{}'\nusers = 3\n\
         [config.training]\nlearning_rate = 1e-2\nmax_tokens = 48\n",
        path.display()
    );
    Suite::from_toml(&toml, "tiny.toml").unwrap()
}

fn go(_: SuiteEvent<'_>) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// The table without its wall times.
fn timeless(mut summary: Summary) -> Summary {
    summary.rows.iter_mut().for_each(|row| row.seconds = 0.0);
    summary
}

const METHODS: &str = "'base', 'domain', 'other_user', 'static', 'everything+retrieval', 'spring', \
                       'spring:alpha=2,rho=0.5'";

#[test]
fn an_interrupted_run_goes_on_and_ends_with_the_same_numbers() {
    let (model, dir) = (model(), tempfile::tempdir().unwrap());
    let suite = suite(dir.path(), METHODS);
    let [whole, parts] = ["whole", "parts"].map(|name| dir.path().join(name));
    let expected = run_suite(&model, &suite, &whole, &go).unwrap().summary;
    assert_eq!(expected.rows.len(), 2 * 7);

    let jobs = AtomicUsize::new(0);
    let stop_early = |event: SuiteEvent<'_>| match event {
        SuiteEvent::Job { .. } if jobs.fetch_add(1, Ordering::SeqCst) >= 2 => {
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    };
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let error = one.install(|| run_suite(&model, &suite, &parts, &stop_early)).unwrap_err();
    assert!(matches!(error, Error::Core(error) if error.is_stopped()));
    let runs = parts.join("runs.jsonl");
    let kept = fs::read_to_string(&runs).unwrap();
    assert_eq!(kept.lines().count(), 3);
    assert!(!parts.join("summary.csv").exists());
    // A crash in the middle of a line costs that line alone.
    fs::write(&runs, format!("{kept}{{\"data\": \"syn")).unwrap();
    let jobs = AtomicUsize::new(0);
    let count = |event: SuiteEvent<'_>| {
        jobs.fetch_add(usize::from(matches!(event, SuiteEvent::Job { .. })), Ordering::SeqCst);
        ControlFlow::Continue(())
    };
    let resumed = run_suite(&model, &suite, &parts, &count).unwrap().summary;
    assert_eq!(jobs.into_inner(), 12 - 3);
    assert_eq!(timeless(resumed.clone()), timeless(expected));
    assert!(fs::read_to_string(&runs).unwrap().starts_with(&kept));
    // Nothing is left to do.
    let none = |event: SuiteEvent<'_>| {
        assert!(!matches!(event, SuiteEvent::Job { .. } | SuiteEvent::Estimate(_)));
        ControlFlow::Continue(())
    };
    assert_eq!(run_suite(&model, &suite, &parts, &none).unwrap().summary, resumed);

    let mut other = suite.clone();
    other.config.training.epochs = 3;
    let error = run_suite(&model, &other, &parts, &go).unwrap_err().to_string();
    assert!(error.contains("suite.toml") && error.contains("other settings"), "{error}");
}

#[test]
fn the_folder_has_a_table_that_tells_everything() {
    let (model, dir) = (model(), tempfile::tempdir().unwrap());
    let suite = suite(dir.path(), METHODS);
    let estimate = estimate_suite(&model, &suite).unwrap();
    assert_eq!(estimate.jobs, 12);
    assert!(
        estimate.train_millions > 0.0 && estimate.score_millions > 0.0 && estimate.seconds > 0.0
    );
    let folder = dir.path().join("run");
    let summary = run_suite(&model, &suite, &folder, &go).unwrap().summary;
    assert_eq!(summary.against, "spring");
    let spring = summary.rows.iter().find(|row| row.method == "spring").unwrap();
    assert_eq!((spring.users, spring.difference), (3, None));
    let own = spring.per_byte.unwrap();
    assert!(own.low <= own.mean && own.mean <= own.high);
    for row in summary.rows.iter().filter(|row| row.method != "spring") {
        let test = row.difference.unwrap();
        let reference =
            summary.rows.iter().find(|r| r.method == "spring" && r.budget == row.budget).unwrap();
        let mean = |row: &SummaryRow| row.per_byte.unwrap().mean;
        assert!((test.difference.mean - (mean(row) - mean(reference))).abs() < 1e-12);
        assert!(test.p <= test.p_holm && test.p_holm <= 1.0 && test.minimum_detectable.is_some());
        // 6 tests of 2/2³ each.
        assert!(test.least_p_holm == 1.0 && !test.can_be_significant());
        // Without retrieval on both sides.
        let own = row.adapter_alone.map_or(row.per_byte.unwrap().mean, |alone| alone[0]);
        let alone = row.adapter_difference.unwrap();
        assert!(
            (alone.difference.mean - (own - reference.adapter_alone.unwrap()[0])).abs() < 1e-12
        );
    }
    let detection = spring.detection.unwrap();
    // A change for each user and seed.
    assert_eq!((detection.changes, detection.found > 0), (3 * 2, detection.mean_delay.is_some()));
    let csv = fs::read_to_string(folder.join("summary.csv")).unwrap();
    assert_eq!(csv.lines().count(), 1 + 14);
    assert!(csv.contains("\"spring:alpha=2,rho=0.5\""));
    let heading: Vec<&str> = csv.lines().next().unwrap().split(',').collect();
    let columns = heading.len();
    let base = csv.lines().nth(1).unwrap();
    assert_eq!(base.split(',').count(), columns, "{base}");
    for (name, value) in [("changes", "6.000000"), ("least_p_holm", "1.000000")] {
        let place = heading.iter().position(|head| *head == name).unwrap();
        assert_eq!(base.split(',').nth(place), Some(value), "{name}");
    }

    let users: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(folder.join("users.json")).unwrap()).unwrap();
    assert_eq!((&users[0]["too_few"], users[0]["users"].as_array().unwrap().len()), (&1.into(), 3));
}

#[test]
fn labels_and_ratings_of_lamp_are_judged_as_such_and_left_out_users_are_named() {
    let (model, dir) = (model(), tempfile::tempdir().unwrap());
    let things = ["fern", "boat", "lamp", "tea", "road", "moss", "hat"];
    let words = |i: usize| {
        (1..6).map(|k| things[i * k % 7]).collect::<Vec<_>>().join(" ") + &format!(" {i} {}", i * i)
    };
    let user = |task: usize, name: &str, texts: usize| {
        let entry = |i: usize| match task {
            1 => {
                let (title, text) = (words(i), words(i + 100));
                serde_json::json!({
                    "id": i.to_string(), "title": title, "abstract": text, "date": "2012"
                })
            }
            2 => {
                serde_json::json!({
                    "id": i.to_string(), "description": words(i), "tag": things[i % 3]
                })
            }
            _ => {
                serde_json::json!({
                    "id": i.to_string(), "text": words(i), "score": (1 + i % 5).to_string()
                })
            }
        };
        let profile: Vec<_> = (0..texts).map(entry).collect();
        let input = match task {
            1 => "Which reference is related? [1]: a [2]: b",
            2 => "Which tag does this movie relate to?",
            _ => "What is the score of the following review?",
        };
        serde_json::json!({
            "id": format!("{name} asks"), "user_id": name, "input": input, "profile": profile
        })
    };
    for task in 1..4 {
        // The last user has the same text again and again, which leaves nothing to test.
        let mut same = user(task, "same", 20);
        let first = same["profile"][0].clone();
        for (i, entry) in same["profile"].as_array_mut().unwrap().iter_mut().enumerate() {
            let id = entry["id"].clone();
            *entry = first.clone();
            entry["id"] = id;
            entry["date"] = serde_json::json!("2012");
            assert!(i < 20);
        }
        let path = dir.path().join(format!("questions-{task}.json"));
        let questions = serde_json::json!([user(task, "one", 21), user(task, "two", 5), same]);
        fs::write(&path, questions.to_string()).unwrap();
        let outputs = dir.path().join(format!("outputs-{task}.json"));
        let gold = ["[2]", "tea", "4"][task - 1];
        let golds = serde_json::json!([{"id": "one asks", "output": gold}]);
        let golds = serde_json::json!({"task": format!("LaMP_{task}"), "golds": golds});
        fs::write(&outputs, golds.to_string()).unwrap();
        let toml = format!(
            "name = 'labels'\nmethods = ['base', 'static']\ngeneration = {{ texts = 1, tokens = 3 \
             }}\n\
             [[data]]\nname = 'lamp'\npath = '{}'\noutputs = '{}'\n",
            path.display(),
            outputs.display()
        );
        let suite = Suite::from_toml(&toml, "labels.toml").unwrap();
        let folder = dir.path().join(format!("run-{task}"));
        let outcome = run_suite(&model, &suite, &folder, &go).unwrap();
        let data = &outcome.data[0];
        assert_eq!((data.evaluated(), data.left_out()), ((1, 0), 2), "LaMP-{task}");
        let same = data.users.iter().find(|user| user.user.as_str() == "same").unwrap();
        assert!(same.excluded.as_ref().unwrap().contains("near-duplicates"));
        let csv = fs::read_to_string(folder.join("summary.csv")).unwrap();
        let heading: Vec<&str> = csv.lines().next().unwrap().split(',').collect();
        for (row, line) in outcome.summary.rows.iter().zip(csv.lines().skip(1)) {
            let cells: Vec<&str> = line.split(',').collect();
            let cell = |name: &str| cells[heading.iter().position(|head| *head == name).unwrap()];
            assert!(row.generated.is_some());
            assert_eq!((row.labels.is_some(), row.numbers.is_some()), (task < 3, task == 3));
            assert_eq!(
                (cell("accuracy").is_empty(), cell("mae").is_empty()),
                (task == 3, task < 3)
            );
            assert_eq!((cell("f1").is_empty(), cell("rmse").is_empty()), (task == 3, task < 3));
            assert_eq!(cell("unreadable").is_empty(), task < 3);
        }
        let runs = fs::read_to_string(folder.join("runs.jsonl")).unwrap();
        // The question is the newest text: of both test texts of its period it is the one that is
        // generated.
        assert!(runs.contains(&format!("\"written\":\"{gold}\",\"question\":true")), "{runs}");
    }
}

#[test]
fn settings_are_chosen_on_one_half_of_the_users_and_reported_on_the_other() {
    let (model, dir) = (model(), tempfile::tempdir().unwrap());
    let mut suite = suite(dir.path(), "'base', 'spring', 'other_user'");
    suite.data[0].users = 4;
    suite.seeds = vec![0];
    let among = ["spring:learning_rate=1e-5", "spring:learning_rate=2e-2"];
    let choice = |name: &str, among: &[&str], then: &[&[&str]]| {
        let among = among.iter().map(|method| method.parse().unwrap()).collect();
        let stage = |stage: &&[&str]| stage.iter().map(|setting| (*setting).to_owned()).collect();
        Choice::new(name, among).with_stages(then.iter().map(stage).collect())
    };
    let stages: [&[&str]; 2] = [&["rho=0.5", "rho=0.8"], &["lambda=0.2"]];
    suite.choose = vec![choice("tuned", &among, &stages), choice("most", &["everything"], &[])];
    suite.against = Some("tuned".into());
    let again = Suite::from_toml(&toml::to_string(&suite).unwrap(), "again.toml").unwrap();
    assert_eq!(again, suite);
    let estimate = estimate_suite(&model, &suite).unwrap();
    assert_eq!(estimate.jobs, 2 * 4);
    let mut first_stage = suite.clone();
    first_stage.choose.iter_mut().for_each(|choice| choice.then.clear());
    assert!(estimate.train_millions > estimate_suite(&model, &first_stage).unwrap().train_millions);
    let folder = dir.path().join("run");
    let jobs = AtomicUsize::new(0);
    let count = |event: SuiteEvent<'_>| {
        if let SuiteEvent::Job { done, jobs: all, .. } = event {
            assert_eq!(jobs.fetch_max(done, Ordering::SeqCst).max(done).min(all), done);
            assert_eq!(all, 2 * (2 + 3 * 2));
        }
        ControlFlow::Continue(())
    };
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    let outcome = one.install(|| run_suite(&model, &suite, &folder, &count)).unwrap();
    assert_eq!(jobs.into_inner(), 16);
    let halves: Vec<Option<Half>> = outcome.data[0].users.iter().map(|user| user.half).collect();
    assert_eq!(
        halves,
        [Half::Choosing, Half::Reporting, Half::Choosing, Half::Reporting].map(Some)
    );

    let summary = &outcome.summary;
    let users = &outcome.data[0].users;
    for line in fs::read_to_string(folder.join("runs.jsonl")).unwrap().lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let user = users.iter().find(|user| line["user"] == user.user.as_str()).unwrap();
        let is_reported = line["run"]["methods"].as_object().unwrap().contains_key("base");
        assert_eq!(is_reported, user.half == Some(Half::Reporting));
    }
    // Two, three and two candidates, and one of the other choice.
    assert_eq!(summary.choices.len(), 2 * (2 + 3 + 2 + 1));
    for budget in [Budget::Epochs, Budget::Steps] {
        let mut best = String::new();
        for stage in 1..=3 {
            let of =
                |c: &&Candidate| (c.budget, c.choice.as_str(), c.stage) == (budget, "tuned", stage);
            let tried: Vec<&Candidate> = summary.choices.iter().filter(of).collect();
            // Each stage begins with the best one before it, whose score is the same again.
            assert!(stage == 1 || tried[0].method.name() == best);
            assert!(tried.iter().all(|candidate| candidate.users == 2));
            let lowest =
                tried.iter().map(|candidate| candidate.per_byte).fold(f64::INFINITY, f64::min);
            let chosen: Vec<_> = tried.iter().filter(|candidate| candidate.best).collect();
            assert_eq!((chosen.len(), chosen[0].per_byte), (1, lowest));
            chosen[0].method.name().clone_into(&mut best);
        }
        let row = |name: &str| {
            summary.rows.iter().find(|row| row.budget == budget && row.method == name).unwrap()
        };
        assert_eq!((&row("tuned").runs, row("most").runs.as_str()), (&best, "everything"));
        assert_eq!((row("tuned").users, row("tuned").difference), (2, None));
        let test = row("base").difference.unwrap().difference;
        let mean = |name: &str| row(name).per_byte.unwrap().mean;
        assert!((test.mean - (mean("base") - mean("tuned"))).abs() < 1e-12);
        assert_eq!(row("other_user").users, 2);
    }
    let choices = fs::read_to_string(folder.join("choices.csv")).unwrap();
    assert_eq!(choices.lines().count(), 1 + 16);
    assert_eq!(run_suite(&model, &suite, &folder, &go).unwrap().summary, *summary);
}

#[test]
fn whoever_is_not_evaluated_teaches_the_domain_adapter_and_someone_always_does() {
    let (model, dir) = (model(), tempfile::tempdir().unwrap());
    let mut suite = suite(dir.path(), "'base', 'domain'");
    (suite.seeds, suite.budgets) = (vec![0], vec![Budget::Epochs]);
    let mut run = |name: &str, users: usize| {
        suite.data[0].users = users;
        run_suite(&model, &suite, &dir.path().join(name), &go).unwrap()
    };
    let evaluated = |outcome: &spring_eval::SuiteOutcome, row: usize| {
        let data = &outcome.data[0];
        (data.evaluated().0, outcome.summary.rows[row].users, data.domain_users, data.domain_texts)
    };
    // The fifth user has 10 texts, too few for two periods: they are learned whole.
    let outcome = run("four", 4);
    assert_eq!(evaluated(&outcome, 1), (4, 4, 1, 10));
    assert_eq!((outcome.data[0].too_few, outcome.data[0].notices().len()), (1, 0));
    // Beside them the first period of the fourth.
    let first = outcome.data[0].users[3].clone();
    assert_eq!((first.texts, first.periods), (24, 2));
    assert_eq!(evaluated(&run("three", 3), 1), (3, 3, 2, 10 + 10));

    // Without the fifth user all would be evaluated.
    let path = dir.path().join("data.jsonl");
    let lines = fs::read_to_string(&path).unwrap();
    let keep = |count: usize| {
        lines.lines().take(count).map(|line| format!("{line}\n")).collect::<String>()
    };
    fs::write(&path, keep(4 * 24)).unwrap();
    let outcome = run("kept", 4);
    assert_eq!(evaluated(&outcome, 1), (3, 3, 1, 10));
    let kept =
        outcome.data[0].users.iter().filter(|user| user.excluded.is_some()).collect::<Vec<_>>();
    assert!(
        kept.len() == 1 && kept[0].excluded.as_ref().unwrap().starts_with("kept back"),
        "{kept:?}"
    );
    assert!(outcome.data[0].notices()[0].contains("1 of them with fewest texts"));
    // And one user alone is evaluated without it.
    fs::write(&path, keep(24)).unwrap();
    let outcome = run("one", 4);
    assert_eq!(evaluated(&outcome, 0), (1, 1, 0, 0));
    assert_eq!(
        (outcome.summary.rows.len(), outcome.data[0].not_run.as_slice()),
        (1, &["domain".to_owned()][..])
    );
    assert!(outcome.data[0].notices()[0].ends_with(": domain"));
    suite.start = spring_eval::Start::Domain;
    let error = run_suite(&model, &suite, &dir.path().join("start"), &go).unwrap_err().to_string();
    assert!(
        error.contains("data.jsonl") && error.contains("everyone starts from the domain adapter"),
        "{error}"
    );
}

#[test]
fn a_choice_that_only_later_starts_from_the_domain_has_its_adapter() {
    let (model, dir) = (model(), tempfile::tempdir().unwrap());
    let mut suite = suite(dir.path(), "'base'");
    (suite.seeds, suite.budgets, suite.data[0].users) = (vec![0], vec![Budget::Epochs], 2);
    let among = vec!["static".parse().unwrap()];
    suite.choose = vec![Choice::new("best", among).with_stages(vec![vec!["start=domain".into()]])];
    let outcome = run_suite(&model, &suite, &dir.path().join("run"), &go).unwrap();
    assert!(outcome.data[0].domain_users > 0);
    assert!(outcome.summary.choices.iter().all(|candidate| candidate.per_byte.is_finite()));
}

#[test]
fn other_data_under_the_same_name_is_another_run() {
    let (model, dir) = (model(), tempfile::tempdir().unwrap());
    let mut suite = suite(dir.path(), "'base'");
    (suite.seeds, suite.budgets) = (vec![0], vec![Budget::Epochs]);
    let folder = dir.path().join("run");
    run_suite(&model, &suite, &folder, &go).unwrap();
    let path = dir.path().join("data.jsonl");
    let lines = fs::read_to_string(&path).unwrap();
    fs::write(&path, lines.trim_end().rsplit_once('\n').unwrap().0).unwrap();
    let error = run_suite(&model, &suite, &folder, &go).unwrap_err().to_string();
    assert!(
        error.contains("suite.toml") && error.contains("other data") && error.contains("SHA-256"),
        "{error}"
    );
    fs::write(&path, lines).unwrap();
    run_suite(&model, &suite, &folder, &go).unwrap();
}

#[test]
fn a_data_set_may_have_its_own_learning_rate() {
    let (model, dir) = (model(), tempfile::tempdir().unwrap());
    let mut suite = suite(dir.path(), "'domain', 'static', 'static:learning_rate=2e-3'");
    (suite.seeds, suite.budgets) = (vec![0], vec![Budget::Epochs]);
    let mut slower = suite.data[0].clone();
    (slower.name, slower.learning_rate) = ("slower".into(), Some(2e-3));
    suite.data.push(slower);
    assert_eq!(Suite::from_toml(&toml::to_string(&suite).unwrap(), "again.toml").unwrap(), suite);
    let rows = run_suite(&model, &suite, &dir.path().join("run"), &go).unwrap().summary.rows;
    let of = |data: &str, method: &str| {
        rows.iter().find(|row| row.data == data && row.method == method).unwrap().per_byte
    };
    assert_eq!(of("slower", "static"), of("synth <b>", "static:learning_rate=2e-3"));
    for method in ["static", "domain"] {
        assert_ne!(of("slower", method), of("synth <b>", method));
    }
}

#[test]
fn bad_suites_say_what_is_wrong() {
    let good = "name = 'x'\nmethods = ['base']\n[[data]]\nname = 'd'\npath = 'd.jsonl'\n";
    assert!(Suite::from_toml(good, "s.toml").is_ok());
    for (from, to, reason) in [
        ("'base'", "'bose'", "method \"bose\": there is no such method"),
        ("'base'", "'base', 'base'", "each once"),
        ("'x'", "'../x'", "no slash"),
        ("methods", "methodes", "there is no `methodes` here"),
        ("name = 'd'", "name = 'd'\nusers = 0", "at least 1 user"),
        ("name = 'd'", "name = 'd'\nlearning_rate = -1.0", "data \"d\": "),
        (
            "methods = ['base']",
            "methods = ['base']\nagainst = 'spring'",
            "against: one of the methods",
        ),
        (
            "methods = ['base']",
            "methods = ['base']\nchoose = [{ name = 'base', among = ['spring'] }]",
            "no choice has the name",
        ),
        (
            "methods = ['base']",
            "methods = ['base']\nchoose = [{ name = 'best', among = [] }]",
            "at least one method among",
        ),
        ("methods = ['base']", "methods = ['base']\nperiods = { periods = 1 }", "at least 2"),
        ("'base'", "'spring:lora.rank=2,start=domain'", "has the shape of [config.lora]"),
        ("name = 'd'", "name = 'd'\nnoise = { share = 2.0 }", "data \"d\": noise.share: 2 is not"),
        ("name = 'd'", "name = 'd'\nnoise = { share = 0.2, kinds = ['odd_day'] }", "noise.kinds"),
        ("name = 'd'", "name = 'd'\nnoise = { kinds = ['forwarded'] }", "`share` is missing"),
        ("name = 'd'", "name = 'd'\njoin = { at = 1.0 }", "data \"d\": join.at: 1 is not"),
        ("name = 'd'", "name = 'd'\njoin = 3", "a table such as"),
        ("'d.jsonl'", "'synthetic:users=3'\njoin = true", "are of real texts"),
        ("methods", "preset = 'papre'\nmethods", "there are: paper"),
        ("methods", "preset = 'paper'\nconfig = {}\nmethods", "preset and config: one of both"),
        (
            "methods = ['base']",
            "methods = ['base']\nconfig = { training = { epochs = 0 } }",
            "epochs",
        ),
    ] {
        let error = Suite::from_toml(&good.replace(from, to), "s.toml").unwrap_err().to_string();
        assert!(error.starts_with("s.toml: ") && error.contains(reason), "{to}: {error}");
    }
    let (model, dir) = (model(), tempfile::tempdir().unwrap());
    let missing = Suite::from_toml(good, "s.toml").unwrap();
    let error = run_suite(&model, &missing, &dir.path().join("run"), &go).unwrap_err().to_string();
    assert!(error.contains("d.jsonl"), "{error}");
    assert!(!dir.path().join("run").exists());
}

#[test]
fn the_ready_suites_are_understood() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suites");
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let suite = Suite::load(&path).unwrap();
        assert_eq!(Some(suite.name.as_str()), path.file_stem().and_then(|stem| stem.to_str()));
        names.push(suite.name);
    }
    assert!(
        ["main", "ablations", "sweeps"].iter().all(|name| names.iter().any(|n| n == name)),
        "{names:?}"
    );
}

/// How many jobs a run does.
fn jobs_of(model: &AnyModel, suite: &Suite, folder: &Path) -> (usize, Summary) {
    let jobs = AtomicUsize::new(0);
    let count = |event: SuiteEvent<'_>| {
        jobs.fetch_add(usize::from(matches!(event, SuiteEvent::Job { .. })), Ordering::SeqCst);
        ControlFlow::Continue(())
    };
    let summary = run_suite(model, suite, folder, &count).unwrap().summary;
    (jobs.into_inner(), timeless(summary))
}

#[test]
fn a_run_that_grows_ends_where_one_from_scratch_does() {
    let (model, dir) = (model(), tempfile::tempdir().unwrap());
    let whole = suite(dir.path(), "'base', 'other_user', 'static', 'spring'");
    let with = |methods: usize, seeds: usize, users: usize| {
        let mut part = whole.clone();
        part.methods = whole.methods.iter().rev().take(methods).rev().cloned().collect();
        part.seeds.truncate(seeds);
        part.budgets.truncate(1);
        part.data[0].users = users;
        part
    };
    let [grown, scratch] = ["grown", "scratch"].map(|name| dir.path().join(name));
    assert_eq!(jobs_of(&model, &with(2, 1, 2), &grown).0, 2);
    // A seed more: its jobs alone are run.
    assert_eq!(jobs_of(&model, &with(2, 2, 2), &grown).0, 2);
    // A user more, for both seeds.
    assert_eq!(jobs_of(&model, &with(2, 2, 3), &grown).0, 2);
    // A method that takes the adapters of others, which were not kept before: all are run again.
    assert_eq!(jobs_of(&model, &with(4, 2, 3), &grown).0, 6);
    let (_, last) = jobs_of(&model, &with(4, 2, 3), &grown);
    assert_eq!(jobs_of(&model, &with(4, 2, 3), &scratch), (6, last.clone()));
    // Fewer: the table shows what is asked for.
    let (jobs, fewer) = jobs_of(&model, &with(2, 1, 2), &grown);
    assert_eq!((jobs, fewer.rows.len(), fewer.rows[0].users), (0, 2, 2));
    // Whose adapters a user is scored with depends on who is there: of two users, each other's.
    let (_, two) = jobs_of(&model, &with(4, 1, 2), &grown);
    assert_eq!(jobs_of(&model, &with(4, 1, 2), &dir.path().join("two")).1, two);
}

#[test]
fn whom_the_domain_adapter_learned_from_is_never_evaluated() {
    let (model, dir) = (model(), tempfile::tempdir().unwrap());
    let mut small = suite(dir.path(), "'domain', 'spring'");
    (small.data[0].users, small.data[0].domain_users) = (2, 1);
    (small.seeds, small.budgets) = (vec![0], vec![Budget::Epochs]);
    let folder = dir.path().join("run");
    let before = run_suite(&model, &small, &folder, &go).unwrap();
    let adapters = || {
        let files = fs::read_dir(folder.join("adapters")).unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("domain-")).count()
    };
    assert_eq!((before.data[0].domain_users, adapters()), (1, 1));
    let record = fs::read_to_string(folder.join("domain.json")).unwrap();
    small.data[0].users = 4;
    let after = run_suite(&model, &small, &folder, &go).unwrap();
    assert_eq!(fs::read_to_string(folder.join("domain.json")).unwrap(), record);
    assert_eq!((after.data[0].domain_users, after.data[0].domain_texts, adapters()), {
        (1, before.data[0].domain_texts, 1)
    });
    // Four users have enough texts, and one of them taught the domain.
    assert_eq!((before.data[0].evaluated().0, after.data[0].evaluated().0), (2, 3));
    let evaluated = after.data[0].users.iter().map(|user| format!("{:?}", user.user.as_str()));
    assert!(evaluated.into_iter().all(|user| !record.contains(&user)), "{record}");
    assert!(before.runs.iter().all(|line| after.runs.iter().any(|other| other.run == line.run)));
}

#[test]
fn a_preset_has_the_place_of_the_settings() {
    let suite = |rest: &str| {
        let toml = format!(
            "name = 'x'\nmethods = ['base']\n{rest}\n[[data]]\nname = 'd'\npath = 'd.jsonl'\n"
        );
        Suite::from_toml(&toml, "s.toml").unwrap()
    };
    let paper = suite("preset = 'paper'");
    assert_eq!((paper.config.training.learning_rate, paper.config.training.epochs), (1e-4, 2));
    // A run's folder has the settings themselves.
    let again = Suite::from_toml(&toml::to_string(&paper).unwrap(), "again.toml").unwrap();
    assert_eq!(again, paper);
    let joined = suite("").data[0].join;
    assert_eq!(joined, None);
}

#[test]
fn everybody_keeps_their_rank_when_a_run_goes_on() {
    let (model, dir) = (model(), tempfile::tempdir().unwrap());
    let mut skipping = suite(dir.path(), "'base', 'domain'");
    (skipping.seeds, skipping.budgets) = (vec![0], vec![Budget::Epochs]);
    (skipping.data[0].skip, skipping.data[0].users) = (1, 2);
    let folder = dir.path().join("run");
    let before = run_suite(&model, &skipping, &folder, &go).unwrap();
    // The one who is skipped teaches the domain adapter, with those who are not evaluated.
    assert_eq!((before.data[0].evaluated().0, before.data[0].domain_users), (2, 3));
    let after = run_suite(&model, &skipping, &folder, &go).unwrap();
    assert_eq!((after.data, timeless(after.summary)), (before.data, timeless(before.summary)));
}

/// Six people, each with words of their own and a block of code in every fourth text; a line of
/// settings for the data set.
fn real(folder: &Path, settings: &str, methods: &str) -> Suite {
    let mut lines = String::new();
    for (place, name) in ["ada", "bob", "cleo", "dora", "eve", "finn"].into_iter().enumerate() {
        for i in 0..40 - place {
            let said: Vec<String> = (1..8).map(|k| format!("{name}{}", i * k % 37)).collect();
            let block = format!("\n\tfoo[{i}] = bar({i});\n").repeat(4);
            let block = if i % 4 == 0 { block.replace("\n\n", "\n") } else { String::new() };
            let text = serde_json::json!({
                "user": name, "id": format!("{name}-{i}"), "prompt": format!("about \"{i}\""),
                "time": format!("2024-{:02}-{:02}T00:00:00Z", 1 + i / 28, 1 + i % 28),
                "response": format!("{name} {i} {}{block}", said.join(" ")),
            });
            lines += &format!("{text}\n");
        }
    }
    let path = folder.join("real.jsonl");
    fs::write(&path, lines).unwrap();
    let toml = format!(
        "name = 'real'\nmethods = [{methods}]\nperiods = {{ periods = 4, min_train = 5 }}\n\
         [[data]]\nname = 'people'\npath = '{}'\nusers = 2\n{settings}\n\
         [config.training]\nlearning_rate = 1e-2\nmax_tokens = 48\n",
        path.display()
    );
    Suite::from_toml(&toml, "real.toml").unwrap()
}

#[test]
fn a_selection_is_measured_against_other_peoples_texts() {
    let (model, dir) = (model(), tempfile::tempdir().unwrap());
    let methods = "'base', 'random', 'everything', 'spring'";
    let clean = real(dir.path(), "texts = 32", methods);
    let clean = run_suite(&model, &clean, &dir.path().join("clean"), &go).unwrap();
    let noisy = real(dir.path(), "texts = 32\nnoise = { share = 0.25 }", methods);
    let folder = dir.path().join("noisy");
    let outcome = run_suite(&model, &noisy, &folder, &go).unwrap();
    // Four are not evaluated, and of those every other one teaches the domain adapter.
    assert_eq!((outcome.data[0].lenders, clean.data[0].lenders), (Some(2), None));
    assert!(outcome.data[0].notices().is_empty());
    for (noisy, clean) in outcome.runs.iter().zip(&clean.runs) {
        let sizes = |line: &spring_eval::RunLine| -> Vec<(usize, usize)> {
            line.run.periods.iter().map(|period| (period.train, period.test)).collect()
        };
        // Six own texts in each period; a third of 6, 12, 18 and 24 is noise so far.
        assert_eq!(sizes(clean), [(6, 2); 4]);
        assert_eq!(sizes(noisy), [(8, 2); 4]);
        // The test parts are the user's own, as they were.
        assert_eq!(noisy.run.methods["base"].matrix, clean.run.methods["base"].matrix);
        assert_ne!(noisy.run.methods["everything"].matrix, clean.run.methods["everything"].matrix);
        assert!(clean.run.methods["everything"].synthetic.is_empty());
        assert_eq!(noisy.run.turn, None);
        for (t, scores) in noisy.run.methods["everything"].synthetic.iter().enumerate() {
            let selection = scores.selection;
            assert_eq!((selection.clean, selection.clean_by_chance), (Some(0.75), Some(0.75)));
            assert_eq!((selection.clean_recall, scores.stale), (Some(1.0), None));
            assert_eq!(scores.taken.is_empty(), t == 0);
            assert!(scores.taken.iter().all(|count| count.texts == count.selected));
        }
        let base = &noisy.run.methods["base"].synthetic[1];
        assert_eq!((base.selection.clean, base.selection.clean_recall), (None, Some(0.0)));
        assert_eq!(noisy.run.methods["random"].selected, noisy.run.methods["spring"].selected);
        assert!(!noisy.run.methods["spring"].synthetic[1].kinds.is_empty());
    }
    let row = |name: &str| outcome.summary.rows.iter().find(|row| row.method == name).unwrap();
    let everything = row("everything");
    assert!(everything.has_noise() && everything.turn.is_none());
    assert_eq!(everything.synthetic.unwrap()[2..4], [Some(0.75); 2]);
    assert_eq!(everything.synthetic.unwrap()[5], Some(1.0));
    // Three later periods of two users.
    let taken: usize = everything.taken.iter().map(|count| count.texts).sum();
    assert_eq!(taken, 2 * 3 * 8);
    assert_eq!(everything.taken(TextKind::PastedCode), Some(1.0));
    assert_eq!(row("base").taken(TextKind::PastedCode), Some(0.0));
    let csv = fs::read_to_string(folder.join("summary.csv")).unwrap();
    let mut rows = csv.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let heading = rows.next().unwrap();
    let cells = rows.find(|cells| cells[2] == "everything").unwrap();
    assert_eq!(cells.len(), heading.len());
    let cell = |name: &str| cells[heading.iter().position(|head| *head == name).unwrap()];
    assert_eq!((cell("clean_recall"), cell("taken_pasted_code")), ("1.000000", "1.000000"));
    assert_eq!((cell("taken_garbled"), cell("turn_delay")), ("", ""));

    // It goes on, is read again, and does not grow by users who would lend other texts.
    let (_, read) = read_suite_run(&folder, &Methods::default()).unwrap();
    assert_eq!(read.summary, outcome.summary);
    let mut more = noisy.clone();
    more.data[0].users = 3;
    let error = run_suite(&model, &more, &folder, &go).unwrap_err().to_string();
    assert!(error.contains("data \"people\": users: 2 there, 3 here"), "{error}");
    more.data[0].users = 6;
    let outcome = run_suite(&model, &more, &dir.path().join("all"), &go).unwrap();
    assert!(outcome.data[0].notices()[0].contains("other evaluated users"));
}

#[test]
fn others_texts_stay_the_same_when_a_run_goes_on() {
    let (model, dir) = (model(), tempfile::tempdir().unwrap());
    for (name, users) in [("some", 2), ("all", 6)] {
        let mut suite =
            real(dir.path(), "texts = 32\nnoise = { share = 0.25 }", "'base', 'domain'");
        suite.data[0].users = users;
        let folder = dir.path().join(name);
        let before = run_suite(&model, &suite, &folder, &go).unwrap();
        // In the second one everybody would be evaluated, so two teach the domain adapter.
        assert_eq!(before.data[0].kept_back, if users == 6 { 2 } else { 0 });
        let runs = folder.join("runs.jsonl");
        fs::remove_file(&runs).unwrap();
        let after = run_suite(&model, &suite, &folder, &go).unwrap();
        let who = |outcome: &spring_eval::SuiteOutcome| {
            let keys: Vec<String> = outcome.runs.iter().map(|line| line.key.name()).collect();
            (keys, outcome.data[0].lenders)
        };
        assert_eq!(who(&after), who(&before));
        assert_eq!(timeless(after.summary), timeless(before.summary));
    }
}

#[test]
fn a_turning_point_has_a_delay_and_a_stale_rate() {
    let (model, dir) = (model(), tempfile::tempdir().unwrap());
    let settings = "texts = 32\njoin = true\n";
    let mut suite = real(dir.path(), settings, "'base', 'everything', 'spring'");
    suite.generation = spring_eval::Generation::new(1, 4);
    let folder = dir.path().join("run");
    let outcome = run_suite(&model, &suite, &folder, &go).unwrap();
    let users = &outcome.data[0].users;
    let followed: Vec<&UserId> =
        users.iter().map(|user| user.followed_by.as_ref().unwrap()).collect();
    // Two different people, who are not evaluated.
    assert!(followed[0] != followed[1]);
    assert!(followed.iter().all(|second| users.iter().all(|user| user.user != **second)));
    for line in &outcome.runs {
        let turn = line.run.turn.unwrap();
        assert_eq!((turn.first, line.run.periods.len()), (3, 4));
        // The change is in the stream that the detector sees, after twice six texts.
        assert_eq!(line.run.detection.as_ref().unwrap().delays.len(), 1);
        for (name, run) in &line.run.methods {
            let stale: Vec<Option<f64>> = run.synthetic.iter().map(|of| of.stale).collect();
            assert_eq!(stale[..2], [None; 2]);
            assert!(stale[2..].iter().all(|stale| (0.0..=1.0).contains(&stale.unwrap())), "{name}");
            let scores = run.turn(turn).unwrap();
            // On the second person's test parts: the third and the fourth.
            let loss = |t: usize| {
                let [a, b] = [run.matrix[t][2], run.matrix[t][3]];
                (a.nats + b.nats) / (a.bytes + b.bytes) as f64
            };
            assert!((scores.gain - (loss(1) - loss(3))).abs() < 1e-12);
        }
        let base = &line.run.methods["base"];
        assert_eq!((base.synthetic[2].stale, base.synthetic[3].stale), (Some(0.5), Some(0.5)));
        let scores = base.turn(turn).unwrap();
        assert_eq!((scores.gain, scores.delay), (0.0, None));
        assert!(base.stale_written.is_some());
    }
    let row = |name: &str| outcome.summary.rows.iter().find(|row| row.method == name).unwrap();
    let base = row("base").turn.unwrap();
    assert_eq!((base.users, base.learned, base.delay, base.gain), (2, 0, None, 0.0));
    assert_eq!(row("base").synthetic.unwrap()[4], Some(0.5));
    // Two users and the two people before them.
    assert_eq!(row("spring").attribution.unwrap().chance, 0.25);
    let (asked, read) = read_suite_run(&folder, &Methods::default()).unwrap();
    assert_eq!((asked, read.summary), (suite, outcome.summary));
}

#[test]
fn a_run_is_read_from_its_folder() {
    let (model, dir) = (model(), tempfile::tempdir().unwrap());
    let suite = suite(dir.path(), METHODS);
    let folder = dir.path().join("run");
    let outcome = run_suite(&model, &suite, &folder, &go).unwrap();
    let (asked, read) = read_suite_run(&folder, &Methods::default()).unwrap();
    assert_eq!(asked, suite);
    assert_eq!((&read.summary, &read.data), (&outcome.summary, &outcome.data));
    let error = read_suite_run(dir.path(), &Methods::default()).unwrap_err().to_string();
    assert!(error.contains("holds no run"), "{error}");
}

#[test]
fn attributions_of_other_users_than_the_runs_are_left_out() {
    let (model, dir) = (model(), tempfile::tempdir().unwrap());
    let mut suite = suite(dir.path(), "'base', 'other_user', 'static'");
    (suite.seeds, suite.budgets) = (vec![0], vec![Budget::Epochs]);
    suite.generation = spring_eval::Generation::new(1, 6);
    suite.data[0].users = 2;
    let folder = dir.path().join("run");
    let outcome = run_suite(&model, &suite, &folder, &go).unwrap();
    let whose = |method: &str| {
        let row = outcome.summary.rows.iter().find(|row| row.method == method);
        row.unwrap().attribution.unwrap()
    };
    let (base, other, own) = (whose("base"), whose("other_user"), whose("static"));
    assert!(base.above_other_user.is_none() && other.above_other_user.is_none());
    let test = own.above_other_user.unwrap();
    let difference = own.generated.mean - other.generated.mean;
    assert!((test.difference.mean - difference).abs() < 1e-12);
    // One test alone is not corrected, and those against the base are a family of their own.
    assert_eq!(test.p_holm, test.p);
    let (_, read) = read_suite_run(&folder, &Methods::default()).unwrap();
    assert_eq!((&read.summary, read.notices.len()), (&outcome.summary, 0));

    // A user more, whose run ends, and the suite does not.
    suite.data[0].users = 3;
    let stop = |event: SuiteEvent<'_>| match event {
        SuiteEvent::Job { .. } => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    run_suite(&model, &suite, &folder, &stop).unwrap_err();
    let (_, read) = read_suite_run(&folder, &Methods::default()).unwrap();
    assert_eq!(read.runs.len(), 3);
    assert!(read.summary.rows.iter().all(|row| row.attribution.is_none()));
    let notice = read.notices.join("\n");
    assert!(notice.contains("synth <b>: attribution.json is of other users"), "{notice}");
    let last = run_suite(&model, &suite, &folder, &go).unwrap();
    assert!(last.summary.rows.iter().all(|row| row.attribution.unwrap().chance == 1.0 / 3.0));
    assert!(last.notices.is_empty());
    // Of a single user there is nothing to tell, and nothing old is left.
    suite.data[0].users = 1;
    suite.methods.retain(|method| method.name() != "other_user");
    run_suite(&model, &suite, &folder, &go).unwrap();
    let (_, read) = read_suite_run(&folder, &Methods::default()).unwrap();
    assert!(read.summary.rows.iter().all(|row| row.attribution.is_none()));
    assert!(read.notices.is_empty(), "{:?}", read.notices);
}

#[test]
fn generated_texts_are_attributed_and_looked_through_for_copies() {
    let (model, dir) = (model(), tempfile::tempdir().unwrap());
    let mut suite = suite(dir.path(), "'base', 'rag', 'spring'");
    (suite.seeds, suite.budgets) = (vec![0], vec![Budget::Epochs]);
    suite.generation = spring_eval::Generation::new(2, 8);
    let folder = dir.path().join("run");
    let outcome = run_suite(&model, &suite, &folder, &go).unwrap();
    let csv = fs::read_to_string(folder.join("summary.csv")).unwrap();
    let heading: Vec<&str> = csv.lines().next().unwrap().split(',').collect();
    for (row, line) in outcome.summary.rows.iter().zip(csv.lines().skip(1)) {
        let whose = row.attribution.unwrap();
        let shares = outcome.runs.iter().map(|line| line.run.methods[&row.runs].attributed);
        let mean = shares.map(Option::unwrap).sum::<f64>() / 3.0;
        assert!((whose.generated.mean - mean).abs() < 1e-12);
        assert_eq!((whose.generated.users, whose.real.users, whose.chance), (3, 3, 1.0 / 3.0));
        assert_eq!(whose.above_base.is_none(), row.method == "base");
        let copying = row.copying.unwrap();
        assert!(copying.training[0] > 0.0 && copying.training[1] <= 1.0);
        // The base reads nothing; what is read beside the prompt could be learned, too.
        assert_eq!(copying.retrieved.is_some(), row.method != "base" && row.open > Some(0.0));
        for text in outcome.runs.iter().flat_map(|line| &line.run.methods[&row.runs].generated) {
            let copied = text.copied.unwrap();
            assert!(copied.training <= text.predicted.chars().count());
            assert!(copied.retrieved.is_none_or(|retrieved| retrieved <= copied.training));
        }
        let cells: Vec<&str> = line.split(',').collect();
        let cell = |name: &str| cells[heading.iter().position(|head| *head == name).unwrap()];
        assert_eq!(cell("attributed"), format!("{:.6}", whose.generated.mean));
        assert_eq!(cell("attribution_chance"), "0.333333");
        assert_eq!(cell("copied_training_share"), format!("{:.6}", copying.training[1]));
        assert_eq!(cells.len(), heading.len());
    }
    let (_, read) = read_suite_run(&folder, &Methods::default()).unwrap();
    assert_eq!(read.summary, outcome.summary);

    // A folder of an older version, which has neither.
    fs::remove_file(folder.join("attribution.json")).unwrap();
    let runs = fs::read_to_string(folder.join("runs.jsonl")).unwrap();
    let old = runs.lines().map(|line| {
        let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
        for run in line["run"]["methods"].as_object_mut().unwrap().values_mut() {
            for text in run["generated"].as_array_mut().unwrap() {
                text.as_object_mut().unwrap().remove("copied").unwrap();
            }
        }
        format!("{line}\n")
    });
    fs::write(folder.join("runs.jsonl"), old.collect::<String>()).unwrap();
    let (_, read) = read_suite_run(&folder, &Methods::default()).unwrap();
    assert!(read.summary.rows.iter().all(|row| row.attribution.is_none() && row.copying.is_none()));
    assert!(read.summary.rows.iter().all(|row| row.generated.is_some()));
    // It goes on, without a job, and gets its attributions.
    let again = run_suite(&model, &suite, &folder, &go).unwrap();
    let attributions =
        |summary: &Summary| -> Vec<_> { summary.rows.iter().map(|row| row.attribution).collect() };
    assert_eq!(attributions(&again.summary), attributions(&outcome.summary));
    fs::write(folder.join("attribution.json"), "{").unwrap();
    let error = read_suite_run(&folder, &Methods::default()).unwrap_err().to_string();
    assert!(error.contains("attribution.json") && error.contains("run the suite again"), "{error}");
}

#[test]
fn pairs_follow_what_was_chosen_on_each_data_set() {
    let (model, dir) = (model(), tempfile::tempdir().unwrap());
    let mut suite = suite(dir.path(), "'base', 'spring'");
    (suite.seeds, suite.budgets, suite.data[0].users) = (vec![0], vec![Budget::Epochs], 4);
    let mut second = suite.data[0].clone();
    second.name = "again".into();
    second.learning_rate = Some(3e-3);
    suite.data.push(second);
    let among = ["spring:gate=always", "spring:gate=always,bank=history,lambda=0.9"];
    let among = among.iter().map(|name| name.parse().unwrap()).collect();
    let paired = ["random+retrieval", "random"].map(|name| name.parse().unwrap());
    suite.choose =
        vec![Choice::new("best", among).with_per_data(true).with_paired(paired.to_vec())];
    suite.against = Some("best: random+retrieval".into());
    let folder = dir.path().join("run");
    let (jobs, summary) = jobs_of(&model, &suite, &folder);
    assert_eq!(jobs, 2 * (2 + 2));
    assert_eq!(summary.choices.len(), 2 * 2);
    for data in ["synth <b>", "again"] {
        let best = summary.choices.iter().filter(|c| c.data.as_deref() == Some(data));
        let best: Vec<&Candidate> = best.filter(|candidate| candidate.best).collect();
        assert_eq!((best.len(), best[0].users), (1, 2));
        let row = |name: &str| {
            summary.rows.iter().find(|row| row.data == data && row.method == name).unwrap()
        };
        let chosen = best[0].method.name();
        assert_eq!(row("best").runs, chosen);
        let pair = row("best: random+retrieval");
        assert_eq!(pair.runs, format!("random+retrieval:like=({chosen})"));
        assert_eq!((pair.users, pair.difference), (2, None));
        // It learns as many texts, and reads for as many.
        assert_eq!((pair.learned, pair.open), (row("best").learned, row("best").open));
        assert_eq!(row("best: random").runs, "random");
        assert!(row("best").difference.is_some() && row("base").difference.is_some());
    }
    let csv = fs::read_to_string(folder.join("choices.csv")).unwrap();
    assert!(csv.lines().next().unwrap().ends_with(",best,data"), "{csv}");
    // Nothing is left to do, and the run can be tested against another row afterwards.
    assert_eq!(jobs_of(&model, &suite, &folder), (0, summary.clone()));
    let read = |against| read_suite_run_against(&folder, &Methods::default(), against);
    assert_eq!(timeless(read(None).unwrap().1.summary), summary);
    let (_, other) = read(Some("base")).unwrap();
    assert_eq!(other.summary.against, "base");
    for (row, before) in other.summary.rows.iter().zip(&summary.rows) {
        assert_eq!(row.difference.is_none(), row.method == "base");
        assert_eq!(row.per_byte, before.per_byte);
    }
    let error = read(Some("everything")).unwrap_err().to_string();
    assert!(error.contains("no such row; it has base, spring, best, best: random"), "{error}");
}

#[test]
fn a_run_grows_by_others_who_read_the_users_own_bank() {
    let (model, dir) = (model(), tempfile::tempdir().unwrap());
    let methods = "'base', 'other_user', 'spring', 'other_user+retrieval:gate=always', \
                   'other_user+retrieval:gate=always,bank=history'";
    let mut whole = suite(dir.path(), methods);
    (whole.seeds, whole.budgets) = (vec![0], vec![Budget::Epochs]);
    let from_scratch = dir.path().join("whole");
    let (jobs, expected) = jobs_of(&model, &whole, &from_scratch);
    assert_eq!(jobs, 3);
    let row = |name: &str| expected.rows.iter().find(|row| row.method == name).unwrap();
    let reading = row("other_user+retrieval:gate=always");
    assert_eq!((reading.users, reading.tokens), (3, Some(0.0)));
    assert!(reading.open > Some(0.0) && reading.per_byte != row("other_user").per_byte);
    // Without its bank it is the other's adapter.
    let alone = reading.adapter_alone.unwrap()[0];
    assert!((alone - row("other_user").per_byte.unwrap().mean).abs() < 1e-4);

    let mut before = whole.clone();
    before.methods.truncate(3);
    let folder = dir.path().join("grown");
    let (jobs, _) = jobs_of(&model, &before, &folder);
    assert_eq!(jobs, 3);
    // As every run was before there were banks to read.
    let others = fs::read_to_string(folder.join("others.jsonl")).unwrap();
    assert_eq!((others.lines().count(), others.contains("\"method\"")), (3, false));
    let adapters = fs::read_dir(folder.join("adapters")).unwrap();
    let mut kept = adapters.map(|run| run.unwrap().path().join("banks.json"));
    assert!(kept.all(|path| !path.exists()));
    assert_eq!(jobs_of(&model, &whole, &folder), (3, expected.clone()));
    assert_eq!(jobs_of(&model, &whole, &folder), (0, expected.clone()));
    let (_, read) = read_suite_run(&folder, &Methods::default()).unwrap();
    assert_eq!(timeless(read.summary), expected);
}
