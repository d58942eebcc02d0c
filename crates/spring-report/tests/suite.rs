//! Pages of suites that were run on a tiny real model, parsed as XML.

#![allow(clippy::unwrap_used)]

use std::{fs, ops::ControlFlow, path::Path};

use roxmltree::{Document, ParsingOptions};
use spring_core::spring_memory::UserId;
use spring_data::synth::{Drift, SynthConfig, synthesize};
use spring_eval::{Choice, Suite, SuiteEvent, SuiteOutcome, run_suite};
use spring_model::{AnyModel, Device, ModelFiles};
use spring_report::{TableFormat, suite_html, suite_pictures, summary_table};

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
        "Beside the base, user by user",
        "of 3",
        "†",
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
                text.prompt = Some("</td><script>what?".into());
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
    // Four users by turns, a prompt and three texts of each: the base's, the method's and the
    // person's own.
    assert_eq!(texts.len(), 12 * 4);
    let first = outcome.runs[0].key.user.as_str();
    assert_eq!(texts[0], "</td><script>what?");
    assert_eq!(texts[1], format!("<b>base</b>\n& {first}"));
    assert_eq!(texts[2], format!("<b>spring</b>\n& {first}"));
    assert_eq!(texts[3], "<script>alert(1)</script>");
    assert_eq!(texts[4 * 4 + 1], texts[1]);
    assert_ne!(texts[4 + 1], texts[1]);
    // Runs of an older version say of no text what was asked.
    let mut old = outcome.clone();
    let runs = old.runs.iter_mut().flat_map(|line| line.run.methods.values_mut());
    runs.flat_map(|run| &mut run.generated).for_each(|text| text.prompt = None);
    let old = suite_html(&suite, &old).unwrap();
    assert_eq!(old.matches("class=\"verbatim\"").count(), 12 * 3);
    assert!(!old.contains(">prompt</th>"));

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
fn the_texts_of_a_variant_of_spring_stand_beside_those_of_another_method() {
    let dir = tempfile::tempdir().unwrap();
    let mut suite = suite(dir.path(), 3, "'base', 'static', 'spring_adapter', 'spring'");
    suite.generation = spring_eval::Generation::new(1, 4);
    suite.against = Some("static".into());
    let mut outcome = run(&suite, dir.path());
    for (name, run) in outcome.runs.iter_mut().flat_map(|line| &mut line.run.methods) {
        run.generated.iter_mut().for_each(|text| text.predicted = format!("by {name}"));
    }
    let shown = |outcome: &SuiteOutcome, name: &str| {
        suite_html(&suite, outcome).unwrap().matches(&format!(">by {name}</span>")).count()
    };
    let generated = |line: &spring_eval::RunLine| line.run.methods["base"].generated.len();
    let texts: usize = outcome.runs.iter().map(generated).sum();
    let all = |outcome: &SuiteOutcome| {
        ["base", "static", "spring_adapter", "spring"].map(|name| shown(outcome, name))
    };
    assert!(texts > 0);
    // The first one of its name, unless the suite says which.
    assert_eq!(all(&outcome), [texts, texts, texts, 0]);
    outcome.summary.show = Some("spring".into());
    assert_eq!(all(&outcome), [texts, texts, 0, texts]);
    // Where a variant is what the others are tested against, it is shown already.
    outcome.summary.show = None;
    outcome.summary.against = "spring".into();
    assert_eq!(all(&outcome), [texts, 0, 0, texts]);
}

#[test]
fn what_is_not_declared_as_a_contrast_has_no_p() {
    let dir = tempfile::tempdir().unwrap();
    let mut suite = suite(dir.path(), 3, "'base', 'static', 'everything', 'spring'");
    suite.contrasts = vec!["everything".into()];
    let outcome = run(&suite, dir.path());
    let page = suite_html(&suite, &outcome).unwrap();
    assert!(page.contains("The suite declares which differences are tested: of everything;"));
    let markdown = summary_table(&outcome.summary, TableFormat::Markdown).unwrap();
    let cells = |text: &str, method: &str, place: usize| -> Vec<String> {
        let table = text.split("\n\n").filter(|part| part.starts_with("| method")).nth(place);
        let row = table.unwrap().lines().find(|line| line.starts_with(&format!("| {method} |")));
        row.unwrap().split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    // Difference and p, to SPRInG and, in the table below, to the base.
    for (place, [difference, p]) in [[4, 5], [2, 4]].into_iter().enumerate() {
        let tested = cells(&markdown, "everything", place);
        let shown = cells(&markdown, "static (period 1)", place);
        assert!(tested[difference] != "–" && tested[p] != "–", "{tested:?}");
        assert!(shown[difference] != "–" && shown[p] == "–", "{shown:?}");
    }
    assert!(markdown.contains("\nThe suite declares which differences are tested;"));
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
    let mut suite = Suite::from_toml(&toml, "real.toml").unwrap();
    suite.generation = spring_eval::Generation::new(1, 4);
    let outcome = run(&suite, dir.path());
    let pictures = suite_pictures(&outcome).unwrap();
    let names: Vec<&str> = pictures.iter().map(|picture| picture.name.as_str()).collect();
    let plots = ["losses", "over-time", "users", "tokens", "attribution", "kinds", "turn"];
    assert_eq!(names, plots.map(|plot| format!("people-epochs-{plot}")));
    for picture in &pictures {
        let drawn = Document::parse(&picture.svg).unwrap();
        let said: String = drawn.descendants().filter_map(|node| node.text()).collect();
        assert!(said.contains("SPRInG"), "{}: {said}", picture.name);
    }
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
    assert!(latex.contains("clean & clean learned & loss after the turn & delay & stale"));
    let csv = summary_table(&outcome.summary, TableFormat::Csv).unwrap();
    let heading = csv.lines().next().unwrap();
    assert!(heading.contains(",turn_gain,turn_loss,stale_written,above_base,"));
    assert!(heading.ends_with(",stale_written_difference_p,stale_written_difference_p_holm"));

    let part = |name: &str| {
        let found = markdown.split("\n**").find(|part| part.contains(name));
        found.unwrap_or_else(|| panic!("no {name}: {markdown}")).to_owned()
    };
    let persons = part(": persons and streams**");
    let heading = persons.lines().find(|line| line.starts_with("| method |")).unwrap();
    for column in [
        "| attributed | above the base | p (Holm) |",
        "| copied |",
        "| precision | recall | clean | clean learned |",
        "| taken: forwarded | taken: other person |",
        "| delay | stale | stale, written |",
    ] {
        assert!(heading.contains(column), "{column}: {heading}");
    }
    // The base learns nothing: of no text that is none of the person's a share of 0.
    let base = persons.lines().find(|line| line.starts_with("| base |")).unwrap();
    assert!(base.contains("| 0.000 (0.000 to 0.000) |"), "{base}");
    let scores = part(": scores beside the loss**");
    let tested = |row: &str| scores.lines().find(|line| line.starts_with(row)).unwrap().to_owned();
    assert_eq!(tested("| METEOR | everything |").matches(" to ").count(), 2);
    assert!(tested("| METEOR | SPRInG |").ends_with("| – | – | – |"));
    assert!(part(": every method beside the base**").contains(" of 2 |"));
    assert!(latex.contains("\\begin{tabular}{llrrrrr}") && latex.contains("$^{\\dagger}$"));
}
