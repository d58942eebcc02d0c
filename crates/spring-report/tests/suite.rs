//! Pages of suites that were run on a tiny real model, parsed as XML.

#![allow(clippy::unwrap_used)]

use std::{fs, ops::ControlFlow, path::Path};

use roxmltree::{Document, ParsingOptions};
use spring_core::spring_memory::UserId;
use spring_data::synth::{Drift, SynthConfig, synthesize};
use spring_eval::{Choice, Suite, SuiteEvent, SuiteOutcome, run_suite};
use spring_model::{AnyModel, Device, ModelFiles};
use spring_report::{TableFormat, suite_html, summary_table};

fn model() -> AnyModel {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-llama");
    AnyModel::load(&ModelFiles::from_dir(folder).unwrap(), Device::Cpu).unwrap()
}

/// Synthetic users, one of them with a hostile name.
fn suite(folder: &Path, users: usize, methods: &str) -> Suite {
    let drifts = vec![Drift::Sudden];
    let config = SynthConfig::default()
        .with_users(users)
        .with_texts(24)
        .with_drifts(drifts)
        .with_noise(0.1)
        .with_seed(3);
    let mut lines = String::new();
    for mut text in synthesize(&config).unwrap() {
        text.prompt.truncate(20);
        if text.user.as_str() == "s002" {
            text.user = UserId::new("s002<script>&").unwrap();
        }
        lines += &(serde_json::to_string(&text).unwrap() + "\n");
    }
    let path = folder.join("data.jsonl");
    fs::write(&path, lines).unwrap();
    let toml = format!(
        "name = 'tiny'\nmethods = [{methods}]\n\
         [[data]]\nname = 'synth <b>'\npath = '{}'\nusers = 4\n\
         [config.training]\nlearning_rate = 1e-2\nmax_tokens = 48\n",
        path.display()
    );
    Suite::from_toml(&toml, "tiny.toml").unwrap()
}

fn run(suite: &Suite, folder: &Path) -> SuiteOutcome {
    let go = |_: SuiteEvent<'_>| ControlFlow::Continue(());
    run_suite(&model(), suite, &folder.join("run"), &go).unwrap()
}

#[test]
fn the_page_tells_everything_and_no_name_becomes_markup() {
    let dir = tempfile::tempdir().unwrap();
    let methods = "'base', 'domain', 'other_user', 'static', 'everything+retrieval', 'spring', \
         'spring:alpha=2,rho=0.5'";
    let mut suite = suite(dir.path(), 4, methods);
    suite.data[0].users = 3;
    suite.budgets = vec![spring_eval::Budget::Epochs, spring_eval::Budget::Steps];
    let page = suite_html(&suite, &run(&suite, dir.path())).unwrap();
    let document = Document::parse_with_options(
        page.trim_start_matches("<!DOCTYPE html>\n"),
        ParsingOptions::default(),
    )
    .unwrap();
    assert!(!page.contains("<script>") && !page.contains("synth <b>"));
    let text: String = document.descendants().filter_map(|node| node.text()).collect();
    for said in [
        "no difference can be significant",
        "The adapters alone",
        "SPRInG, alpha 2, rho 0.5",
        "another user's",
        "s002<script>&",
        "forgetting",
        "Drift over time",
    ] {
        assert!(text.contains(said), "{said}");
    }
    for node in document.descendants() {
        for attribute in ["src", "href"] {
            assert!(node.attribute(attribute).is_none_or(|link| link.starts_with('#')), "{node:?}");
        }
    }
    // For each group a matrix of every method, with four cells, and one of drift.
    let is_cell = |node: &roxmltree::Node<'_, '_>| node.attribute("fill-opacity").is_some();
    assert_eq!(document.descendants().filter(is_cell).count(), 2 * (7 * 4 + 3));
}

#[test]
fn the_page_says_on_whom_settings_were_chosen() {
    let dir = tempfile::tempdir().unwrap();
    let mut suite = suite(dir.path(), 4, "'base', 'spring'");
    let among = ["static", "spring:rho=0.5"].map(|name| name.parse().unwrap()).to_vec();
    suite.choose = vec![Choice::new("tuned", among)];
    let outcome = run(&suite, dir.path());
    let users: Vec<String> =
        outcome.data[0].users.iter().map(|user| user.user.to_string()).collect();
    let page = suite_html(&suite, &outcome).unwrap();
    let said = format!("Chosen on: {}, {}. Reported on:", users[0], users[2]);
    assert!(page.contains(&said), "{said}");
}

#[test]
fn the_page_says_who_was_kept_back_for_the_domain_adapter() {
    let dir = tempfile::tempdir().unwrap();
    let suite = suite(dir.path(), 4, "'base', 'domain'");
    let page = suite_html(&suite, &run(&suite, dir.path())).unwrap();
    assert!(page.contains("teach the domain adapter instead"));
}

#[test]
fn labels_and_ratings_have_their_own_columns() {
    let things = ["fern", "boat", "lamp", "tea", "road", "moss", "hat"];
    let words = |i: usize| -> String {
        (1..6).map(|k| things[i * k % 7]).collect::<Vec<_>>().join(" ") + &format!(" {i} {}", i * i)
    };
    let tag = |i: usize| {
        serde_json::json!({
            "id": i.to_string(), "description": words(i), "tag": things[i % 3]
        })
    };
    let rating = |i: usize| {
        let score = (1 + i % 5).to_string();
        serde_json::json!({"id": i.to_string(), "text": words(i), "score": score})
    };
    let tags: Vec<_> = (0..21).map(tag).collect();
    let ratings: Vec<_> = (0..21).map(rating).collect();
    for (profile, input, heading) in [
        (tags, "Which tag does this movie relate to?", "accuracy; F1"),
        (ratings, "What is the score of the following review?", "MAE; RMSE"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("questions.json");
        let question = serde_json::json!([
            {"id": "q", "user_id": "one", "input": input, "profile": profile}
        ]);
        fs::write(&path, question.to_string()).unwrap();
        let toml = format!(
            "name = 'labels'\nmethods = ['base', 'static']\n\
             generation = {{ texts = 1, tokens = 3 }}\n[[data]]\nname = 'lamp'\npath = '{}'\n",
            path.display()
        );
        let suite = Suite::from_toml(&toml, "labels.toml").unwrap();
        let outcome = run(&suite, dir.path());
        let page = suite_html(&suite, &outcome).unwrap();
        assert!(page.contains(heading), "{heading}");
        // Every rating was given before: that is no copy.
        assert!(outcome.summary.rows.iter().all(|row| row.copying.is_none()));
        assert!(!page.contains("<h3>Whose texts they are</h3>"));
    }
}

#[test]
fn texts_stand_side_by_side_and_none_becomes_markup() {
    let dir = tempfile::tempdir().unwrap();
    let mut suite = suite(dir.path(), 4, "'base', 'spring'");
    suite.generation = spring_eval::Generation::new(2, 6);
    let mut outcome = run(&suite, dir.path());
    // As a model and a person might write.
    for line in &mut outcome.runs {
        for (name, run) in &mut line.run.methods {
            for text in &mut run.generated {
                text.predicted = format!("<b>{name}</b>\n& {}", line.key.user);
                text.written = "<script>alert(1)</script>".into();
            }
        }
    }
    let page = suite_html(&suite, &outcome).unwrap();
    assert!(!page.contains("<script>") && !page.contains("<b>base"));
    assert!(page.contains("<h3>Whose texts they are</h3>"));
    assert!(!page.contains("above another user's"));
    let document = Document::parse_with_options(
        page.trim_start_matches("<!DOCTYPE html>\n"),
        ParsingOptions::default(),
    )
    .unwrap();
    let is_text = |node: &roxmltree::Node<'_, '_>| node.attribute("class") == Some("verbatim");
    let texts: Vec<String> = document
        .descendants()
        .filter(is_text)
        .map(|node| node.descendants().filter_map(|node| node.text()).take(1).collect())
        .collect();
    // Four users by turns, three texts of each: the base's, the method's and the person's own.
    assert_eq!(texts.len(), 12 * 3);
    let first = outcome.runs[0].key.user.as_str();
    assert_eq!(texts[0], format!("<b>base</b>\n& {first}"));
    assert_eq!(texts[1], format!("<b>spring</b>\n& {first}"));
    assert_eq!(texts[2], "<script>alert(1)</script>");
    assert_eq!(texts[4 * 3], texts[0]);
    assert_ne!(texts[3], texts[0]);

    let markdown = summary_table(&outcome.summary, TableFormat::Markdown).unwrap();
    assert!(markdown.contains("| attributed | copied |"), "{markdown}");
    assert!(
        markdown.contains("\nOf real held-out texts ") && markdown.contains("by chance 0.250.")
    );
    let latex = summary_table(&outcome.summary, TableFormat::Latex).unwrap();
    assert!(latex.contains("attributed & copied \\\\"), "{latex}");
    assert!(latex.contains("\n% Of real held-out texts "));

    // Runs of an older version that were attributed since say nothing of copies.
    outcome.summary.rows.iter_mut().for_each(|row| row.copying = None);
    let page = suite_html(&suite, &outcome).unwrap();
    assert!(page.contains("Attributed: share of") && !page.contains("Copied: characters of"));
    outcome.summary.rows.iter_mut().for_each(|row| row.attribution = None);
    let page = suite_html(&suite, &outcome).unwrap();
    assert!(!page.contains("<h3>Whose texts they are</h3>"));
}

#[test]
fn attributions_are_compared_with_those_of_another_user_s_adapter() {
    let dir = tempfile::tempdir().unwrap();
    let mut suite = suite(dir.path(), 3, "'base', 'other_user', 'static'");
    suite.generation = spring_eval::Generation::new(1, 6);
    let page = suite_html(&suite, &run(&suite, dir.path())).unwrap();
    assert!(page.contains("above another user's") && page.contains("as a mean over users"));
}

#[test]
fn noise_and_turning_points_have_their_tables() {
    let dir = tempfile::tempdir().unwrap();
    let mut lines = String::new();
    for (place, name) in ["ada", "bob", "cleo", "dora", "eve"].into_iter().enumerate() {
        for i in 0..30 - place {
            let said: Vec<String> = (1..8).map(|k| format!("{name}{}", i * k % 37)).collect();
            let text = serde_json::json!({
                "user": name, "id": i.to_string(), "prompt": "a prompt",
                "time": format!("2024-{:02}-{:02}T00:00:00Z", 1 + i / 28, 1 + i % 28),
                "response": format!("{name} {i} {}", said.join(" ")),
            });
            lines += &format!("{text}\n");
        }
    }
    let path = dir.path().join("real.jsonl");
    fs::write(&path, lines).unwrap();
    let toml = format!(
        "name = 'real'\nmethods = ['base', 'everything', 'spring']\n\
         periods = {{ periods = 4, min_train = 4 }}\n\
         [[data]]\nname = 'people'\npath = '{}'\nusers = 2\ntexts = 24\njoin = true\n\
         noise = {{ share = 0.5, kinds = ['other_person', 'forwarded'] }}\n\
         [config.training]\nlearning_rate = 1e-2\nmax_tokens = 48\n",
        path.display()
    );
    let suite = Suite::from_toml(&toml, "real.toml").unwrap();
    let outcome = run(&suite, dir.path());
    let page = suite_html(&suite, &outcome).unwrap();
    for said in [
        "<h3>Against the truth</h3>",
        "<h3>What was learned of each kind of text</h3>",
        "noise, other person",
        "<h3>After the turning point</h3>",
    ] {
        assert!(page.contains(said), "{said}");
    }
    let document = Document::parse_with_options(
        page.trim_start_matches("<!DOCTYPE html>\n"),
        ParsingOptions::default(),
    );
    assert!(document.is_ok());
    let heading = "clean | clean learned | loss after the turn | delay | stale |";
    let markdown = summary_table(&outcome.summary, TableFormat::Markdown).unwrap();
    assert!(markdown.contains(heading), "{markdown}");
    // What learns everything learns every text that is no noise, and half of it is noise.
    let row = markdown.lines().find(|line| line.starts_with("| everything |")).unwrap();
    assert!(row.contains(" | 0.500 | 1.000 | "), "{row}");
    let latex = summary_table(&outcome.summary, TableFormat::Latex).unwrap();
    assert!(latex.contains("clean & clean learned & loss after the turn & delay & stale \\\\"));
    let csv = summary_table(&outcome.summary, TableFormat::Csv).unwrap();
    assert!(csv.lines().next().unwrap().ends_with(",turn_gain,turn_loss,stale_written"));
}
