//! Methods and metrics that are programs: real ones, good and bad, in a suite on a tiny real model.

#![allow(clippy::unwrap_used)]
#![cfg(unix)]

use std::{
    fs,
    ops::ControlFlow,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use spring_data::synth::{Drift, SynthConfig, synthesize};
use spring_eval::{Error, Methods, Suite, SuiteEvent, SuiteOutcome, read_suite_run, run_suite};
use spring_model::{AnyModel, Device, ModelFiles};

// Its `main` is for the command line.
#[allow(dead_code)]
#[path = "../examples/own_metric.rs"]
mod own_metric;

const PACKAGE: &str = env!("CARGO_MANIFEST_DIR");

/// Programs are run by it where shell is not enough.
fn python() -> Option<()> {
    let found = Command::new("python3").arg("--version").output().is_ok_and(|o| o.status.success());
    if !found {
        eprintln!("skipped: there is no python3");
    }
    found.then_some(())
}

struct Place {
    dir: tempfile::TempDir,
    model: AnyModel,
}

impl Place {
    fn new() -> Self {
        let folder = Path::new(PACKAGE).join("tests/fixtures/tiny-llama");
        let model = AnyModel::load(&ModelFiles::from_dir(folder).unwrap(), Device::Cpu).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let config = SynthConfig::default().with_users(2).with_texts(24);
        let texts = synthesize(&config.with_drifts(vec![Drift::Sudden])).unwrap();
        let lines: String =
            texts.iter().map(|text| serde_json::to_string(text).unwrap() + "\n").collect();
        fs::write(dir.path().join("data.jsonl"), lines).unwrap();
        Self { dir, model }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn script(&self, name: &str, text: &str) -> String {
        fs::write(self.path(name), text).unwrap();
        self.path(name).display().to_string()
    }

    /// `methods`, two texts a period, and what else a suite has.
    fn toml(&self, methods: &str, more: &str) -> String {
        format!(
            "name = 'own'\nmethods = [{methods}]\ngeneration = {{ texts = 2, tokens = 4 }}\n\
             periods = {{ periods = 2 }}\n{more}\n[[data]]\nname = 'texts'\npath = {:?}\n\
             [config.training]\nepochs = 1\nmax_tokens = 32\n",
            self.path("data.jsonl")
        )
    }

    fn suite(&self, methods: &str, more: &str) -> Suite {
        Suite::from_toml(&self.toml(methods, more), "own.toml").unwrap()
    }

    fn run(&self, suite: &Suite) -> Result<SuiteOutcome, Error> {
        run_suite(&self.model, &suite.clone().allowing_programs(), &self.path("run"), &go)
    }

    /// How a run with a method that is this script ends.
    fn failed(&self, script: &str) -> String {
        let command = self.script("bad.sh", script);
        // Another script is another method.
        let _ = fs::remove_dir_all(self.path("run"));
        let more =
            format!("[[programs]]\nname = 'bad'\ncommand = ['sh', {command:?}]\ntimeout = 2");
        let error = self.run(&self.suite("'bad'", &more)).unwrap_err().to_string();
        assert!(error.contains("program \"bad\"") && error.contains("user s0"), "{error}");
        error
    }

    /// The same of a metric.
    fn unscored(&self, script: &str) -> String {
        let command = self.script("bad.sh", script);
        let more = format!("[[metrics]]\nname = 'bad'\ncommand = ['sh', {command:?}]\ntimeout = 2");
        let error = self.run(&self.suite("'base'", &more)).unwrap_err().to_string();
        assert!(error.contains("\"bad\""), "{error}");
        error
    }
}

fn go(_: SuiteEvent<'_>) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// The cells of a column of `summary.csv`, row by row.
fn column(outcome: &SuiteOutcome, name: &str) -> Vec<String> {
    let table = outcome.summary.csv().unwrap();
    let mut reader = csv::Reader::from_reader(table.as_bytes());
    let place = reader.headers().unwrap().iter().position(|head| head == name).unwrap();
    reader.records().map(|row| row.unwrap()[place].to_owned()).collect()
}

/// Answers to every prompt with its id, by shell alone.
const ECHO: &str = r#"while read -r line; do
    case $line in *'"type":"prompt"'*)
        id=${line#*'"id":"'}; id=${id%%'"'*}
        printf '{"id":"%s","answer":"to %s"}\n' "$id" "$id"
    esac
done
"#;

#[test]
fn programs_stand_beside_the_built_in_methods_with_scores_and_without_losses() {
    if python().is_none() {
        return;
    }
    let place = Place::new();
    let examples = Path::new(PACKAGE).join("examples/programs");
    let more = format!(
        "[[programs]]\nname = 'nearest'\ncommand = ['python3', {:?}]\nlabel = 'nearest prompt'\n\
         [[metrics]]\nname = 'shared'\ncommand = ['python3', {:?}]\n\
         [[metrics]]\nname = 'length_ratio'\n",
        examples.join("own_method.py"),
        examples.join("own_metric.py"),
    );
    let path = place.path("own.toml");
    fs::write(&path, place.toml("'base', 'nearest'", &more)).unwrap();
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let model = Path::new(PACKAGE).join("tests/fixtures/tiny-llama");
    let refused = own_metric::compare(&text(&model), &text(&path), &text(&place.path("run")));
    assert!(refused.unwrap_err().to_string().contains("nobody has allowed"));
    assert!(!place.path("run").exists());

    // Without the metric in Rust nothing can score by it; what else was done is kept.
    let suite = Suite::load(&path).unwrap();
    let error = place.run(&suite).unwrap_err().to_string();
    assert!(error.contains("metric \"length_ratio\"") && error.contains("with_metric"), "{error}");

    let outcome = place.run(&suite.with_metric("length_ratio", true, Words)).unwrap();
    assert_eq!(column(&outcome, "method"), ["base", "nearest"]);
    assert_eq!(column(&outcome, "users"), ["2", "2"]);
    for name in ["nats_per_byte", "low_95", "nats_per_token", "difference", "average"] {
        assert_eq!(column(&outcome, name)[1], "", "{name}");
    }
    for name in ["tokens_trained", "learned_share", "gate_open_share"] {
        let cells = column(&outcome, name);
        assert!(!cells[0].is_empty() && cells[1].is_empty(), "{name}: {cells:?}");
    }
    for name in ["rouge1", "rougeL", "meteor", "shared", "shared_low_95", "length_ratio"] {
        let cells = column(&outcome, name);
        assert!(cells.iter().all(|cell| cell.parse::<f64>().is_ok()), "{name}: {cells:?}");
    }
    // A person's own words are nearer to theirs than what a model of random weights writes.
    let shared: Vec<f64> =
        column(&outcome, "shared").iter().map(|cell| cell.parse().unwrap()).collect();
    assert!(shared[1] > shared[0], "{shared:?}");
    let row = &outcome.summary.rows[1];
    let score = row.metrics[0].score.unwrap();
    assert!(score.low <= score.mean && score.mean <= score.high && score.users == 2);
    assert_eq!((row.label.as_str(), row.per_byte, row.tokens), ("nearest prompt", None, None));

    // Read without starting anything, and again without anything to do.
    let (_, read) = read_suite_run(&place.path("run"), &Methods::default()).unwrap();
    assert_eq!(read.summary, outcome.summary);
}

/// A metric in Rust.
struct Words;

impl spring_eval::Metric for Words {
    fn score(
        &self,
        texts: &[spring_eval::Written<'_>],
        _: &mut dyn spring_core::Progress,
    ) -> Result<Vec<f64>, Error> {
        Ok(texts.iter().map(|text| text.answer.split_whitespace().count() as f64).collect())
    }
}

#[test]
fn a_metric_from_outside_is_an_example_of_its_own() {
    let place = Place::new();
    let path = place.path("own.toml");
    fs::write(&path, place.toml("'base'", "")).unwrap();
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let model = Path::new(PACKAGE).join("tests/fixtures/tiny-llama");
    let table = own_metric::compare(&text(&model), &text(&path), &text(&place.path("run")));
    let table = table.unwrap();
    assert!(table.lines().next().unwrap().contains(",length_ratio_low_95,length_ratio_high_95,"));
}

#[test]
fn a_program_learns_period_by_period_and_never_sees_what_is_to_be_predicted() {
    let place = Place::new();
    let seen = place.path("seen.jsonl");
    let script = format!("tee -a {seen:?} | ({ECHO})\n");
    let command = place.script("echo.sh", &script);
    let more = format!("seeds = [7]\n[[programs]]\nname = 'echo'\ncommand = ['sh', {command:?}]\n");
    let outcome = place.run(&place.suite("'echo'", &more)).unwrap();
    let texts = &outcome.runs[0].run.methods["echo"].generated;
    assert_eq!(texts.iter().map(|text| text.period).collect::<Vec<_>>(), [1, 1, 2, 2]);

    let seen = fs::read_to_string(seen).unwrap();
    let user = outcome.runs[0].key.user.as_str();
    let lines: Vec<serde_json::Value> =
        seen.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let own: Vec<&serde_json::Value> = lines.iter().filter(|line| line["user"] == user).collect();
    assert_eq!(
        (&own[0]["type"], &own[0]["seed"], &own[0]["periods"]),
        (&"start".into(), &7.into(), &2.into())
    );
    let kinds: Vec<(String, u64)> = own[1..]
        .iter()
        .map(|line| (line["type"].as_str().unwrap().into(), line["period"].as_u64().unwrap()))
        .collect();
    let mut order = kinds.clone();
    order.dedup();
    let expected = ["learn", "prompt", "end"];
    let expected: Vec<(String, u64)> =
        [1, 2].iter().flat_map(|period| expected.map(|kind| (kind.to_owned(), *period))).collect();
    assert_eq!(order, expected);
    for line in &own {
        let has = |key: &str| line.get(key).is_some();
        assert!(!has("meta") && has("response") == (line["type"] == "learn"), "{line}");
    }
    // The responses of the test parts, and of no other user, are nowhere in it.
    let learned: Vec<&str> = own.iter().filter_map(|line| line.get("response")?.as_str()).collect();
    for text in texts {
        assert!(!learned.contains(&text.written.as_str()), "{text:?}");
    }
    let users = |line: &&serde_json::Value| line["type"] == "start";
    assert_eq!(lines.iter().filter(users).count(), 2);
}

#[test]
fn a_run_grows_by_metrics_and_scores_nothing_twice() {
    let place = Place::new();
    let echo = place.script("echo.sh", ECHO);
    let program = format!("[[programs]]\nname = 'echo'\ncommand = ['sh', {echo:?}]\n");
    place.run(&place.suite("'echo'", &program)).unwrap();

    let count = place.path("count");
    let score = format!(
        "while read -r line; do echo >> {count:?}; id=${{line#*'\"id\":\"'}}; id=${{id%%'\"'*}}\n\
         printf '{{\"id\":\"%s\",\"score\":%s}}\\n' \"$id\" \"$id\"; done\n"
    );
    let script = place.script("score.sh", &score);
    let metric = format!("[[metrics]]\nname = 'place'\ncommand = ['sh', {script:?}]\n");
    let both = place.suite("'echo'", &(program.clone() + &metric));
    let scored = || fs::read_to_string(&count).unwrap().lines().count();
    let outcome = place.run(&both).unwrap();
    assert_eq!(scored(), 2 * 2 * 2);
    let mean = outcome.summary.rows[0].metrics[0].score.unwrap().mean;
    assert_eq!(mean, 3.5);
    assert_eq!(place.run(&both).unwrap().summary, outcome.summary);
    assert_eq!(scored(), 8);
    // Another script under the same name is another metric.
    fs::write(place.path("score.sh"), score.replace("%s}", "1%s}")).unwrap();
    let again = place.run(&both).unwrap();
    assert_eq!(scored(), 16);
    assert_eq!(again.summary.rows[0].metrics[0].score.unwrap().mean, 13.5);
    // But another script under a method's name would mix answers.
    fs::write(place.path("echo.sh"), ECHO.replace("to ", "for ")).unwrap();
    let error = place.run(&both).unwrap_err().to_string();
    assert!(error.contains("Program \"echo\"") && error.contains("suite.toml"), "{error}");
}

#[test]
fn a_program_that_hangs_is_ended_with_all_that_it_started() {
    let place = Place::new();
    let pid = place.path("pid");
    let started = Instant::now();
    let error = place.failed(&format!("echo waiting >&2\nsleep 1000 & echo $! > {pid:?}\nwait\n"));
    assert!(error.contains("longer than its 2 seconds"), "{error}");
    assert!(error.contains("0 of 2 answers of period 1") && error.contains("waiting"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(120));
    // What it started is gone too, at most waiting for somebody to take notice.
    let pid = fs::read_to_string(pid).unwrap();
    let stat = |_| fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    let is_gone = |stat: &str| stat.is_empty() || stat.contains(") Z ");
    let mut tries = (0..100).map(stat).inspect(|_| std::thread::sleep(Duration::from_millis(20)));
    assert!(tries.any(|stat| is_gone(&stat)));
}

#[test]
fn a_program_that_dies_says_how_and_what_it_said_last() {
    let place = Place::new();
    let error = place.failed("echo 'no module named torch' >&2\nexit 3\n");
    assert!(error.contains("ended with exit code 3, with 0 of 2 answers"), "{error}");
    assert!(error.ends_with("the last that it said: no module named torch"), "{error}");
    let error = place.failed("kill -9 $$\n");
    assert!(error.contains("was ended by signal 9"), "{error}");
    // All answers, and a bad end.
    let error = place.failed(&format!("{ECHO}exit 4\n"));
    assert!(error.ends_with("ended with exit code 4"), "{error}");
    let more = "[[programs]]\nname = 'none'\ncommand = ['/no/such/program', '--k']\n";
    let error = place.run(&place.suite("'none'", more)).unwrap_err().to_string();
    assert!(
        error.contains("cannot be started") && error.contains("/no/such/program --k"),
        "{error}"
    );
}

#[test]
fn answers_that_are_too_few_too_many_or_not_answers_are_named_by_their_line() {
    let place = Place::new();
    let twice = place.failed(&ECHO.replace(
        "printf",
        "printf '{\"id\":\"%s\",\"answer\":\"\"}\\n' \
                                                      \"$id\"; printf",
    ));
    assert!(
        twice.contains(", line 2") && twice.contains("a second answer to the prompt"),
        "{twice}"
    );
    let few = place.failed(&ECHO.replacen("done\n", "    [ \"$id\" ] && exit 0\ndone\n", 1));
    assert!(few.contains("ended with exit code 0, with 1 of 2 answers of period 1"), "{few}");
    let after = place.failed(&format!("{ECHO}echo '{{\"id\":\"x\",\"answer\":\"\"}}'\n"));
    assert!(after.contains(", line 5") && after.contains("a line more than"), "{after}");
    for (line, reason) in [
        ("loading the model", "not an answer such as"),
        ("{\"id\":\"nobody\",\"answer\":\"\"}", "no prompt with the id \"nobody\""),
        ("{\"id\":7,\"answer\":\"\"}", "expected a string"),
        ("{\"id\":\"a\"}", "missing field `answer`"),
        ("{\"id\":\"a\",\"answer\":\"\",\"loss\":1}", "unknown field `loss`"),
        ("[]", "not an answer"),
    ] {
        let error = place.failed(&format!("echo\necho '{line}'\ncat > /dev/null\n"));
        assert!(error.contains(", line 2") && error.contains(reason), "{line}: {error}");
    }
    let error = place.failed("printf '\\377\\n'\ncat > /dev/null\n");
    assert!(error.contains(", line 1") && error.contains("not an answer"), "{error}");
}

#[test]
fn ten_megabytes_are_refused_on_standard_output_and_swallowed_on_standard_error() {
    let place = Place::new();
    let error = place.failed("yes '' | tr '\\n' x | head -c 10000000\ncat > /dev/null\n");
    assert!(error.contains(", line 1") && error.contains("longer than 1048576 bytes"), "{error}");
    let error = place.failed("yes | head -c 10000000\ncat > /dev/null\n");
    assert!(error.contains(", line 1") && error.contains("not an answer"), "{error}");
    let loud = place.script("loud.sh", &format!("yes | head -c 10000000 >&2\n{ECHO}"));
    let more = format!("[[programs]]\nname = 'loud'\ncommand = ['sh', {loud:?}]\n");
    place.run(&place.suite("'loud'", &more)).unwrap();
}

#[test]
fn scores_that_are_too_few_too_many_or_not_numbers_are_named() {
    let place = Place::new();
    let score = "while read -r line; do id=${line#*'\"id\":\"'}; id=${id%%'\"'*}\n\
                 printf '{\"id\":\"%s\",\"score\":1}\\n' \"$id\"; done\n";
    let few = place.unscored(&score.replace("done", "exit 0; done"));
    assert!(few.contains("user s0") && few.contains("with 1 of 8 scores"), "{few}");
    let twice = place.unscored(&score.replace("\"$id\"; done", "0; done"));
    assert!(twice.contains(", line 2, user s0") && twice.contains("a second score"), "{twice}");
    let more = place.unscored(&format!("{score}echo '{{\"id\":\"0\",\"score\":1}}'\n"));
    assert!(more.contains(", line 9") && more.contains("a line more"), "{more}");
    let hangs = place.unscored("sleep 1000\n");
    assert!(hangs.contains("longer than its 2 seconds, with 0 of 8 scores"), "{hangs}");
    for (line, reason) in [
        ("{\"id\":\"8\",\"score\":1}", "no text has the id \"8\""),
        ("{\"id\":\"00\",\"score\":1}", "no text has the id"),
        ("{\"id\":\"0\",\"score\":NaN}", "not a score"),
        ("{\"id\":\"0\",\"score\":null}", "not a score"),
        ("{\"id\":\"0\",\"score\":1e999}", "out of range"),
    ] {
        let error = place.unscored(&format!("echo '{line}'\ncat > /dev/null\n"));
        assert!(error.contains(", line 1") && error.contains(reason), "{line}: {error}");
    }
}

#[test]
fn a_suite_starts_nothing_without_leave_and_refuses_what_makes_no_sense() {
    let place = Place::new();
    let mark = place.path("started");
    let script = place.script("mark.sh", &format!("touch {mark:?}\n{ECHO}"));
    let more = format!("[[programs]]\nname = 'mark'\ncommand = ['sh', {script:?}]\n");
    let suite = place.suite("'mark'", &more);
    assert_eq!(suite.starts()[0].name, "mark");
    let error = run_suite(&place.model, &suite, &place.path("run"), &go).unwrap_err();
    assert!(error.to_string().contains("mark") && !mark.exists(), "{error}");
    // A program that no method is starts nothing.
    assert!(place.suite("'base'", &more).starts().is_empty());

    for (methods, more, reason) in [
        ("'mark', 'base'", format!("against = 'mark'\n{more}"), "no losses to be tested against"),
        ("'mark:k=3'", more.clone(), "a program has no settings"),
        ("'mark+retrieval'", more.clone(), "cannot be combined"),
        ("'base'", more.replace("'mark'", "'base'"), "there is a method of this name"),
        ("'base'", format!("{more}timeout = 0\n"), "timeout"),
        ("'base'", format!("{more}shell = true\n"), "there is no `shell` here"),
        ("'base'", "[[programs]]\nname = 'x'\ncommand = []\n".into(), "command"),
        ("'base'", format!("{more}[[choose]]\nname = 'c'\namong = ['mark']\n"), "to be chosen by"),
        ("'base'", "[[metrics]]\nname = 'rouge1'\n".into(), "a column of summary.csv"),
        ("'base'", "[[metrics]]\nname = '=1+1'\n".into(), "letters"),
        ("'base'", "[[metrics]]\nname = 'a'\n[[metrics]]\nname = 'a'\n".into(), "of its own"),
    ] {
        let error = Suite::from_toml(&place.toml(methods, &more), "own.toml").unwrap_err();
        assert!(error.to_string().contains(reason), "{methods} {more}: {error}");
    }
    let none = place.toml("'mark'", &more).replace("texts = 2", "texts = 0");
    let error = Suite::from_toml(&none, "own.toml").unwrap_err().to_string();
    assert!(error.contains("generation.texts"), "{error}");
}
