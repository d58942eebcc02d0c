//! The readers on every layout, on hostile files, and on a file that would not fit into the memory
//! that they use.

#![allow(clippy::unwrap_used)]

use std::{
    io::{BufReader, Read},
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use spring_data::{self as data, DataFile, DataReader, Format, Stream, Task};
use tempfile::TempDir;

fn file(dir: &TempDir, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = dir.path().join(name);
    std::fs::write(&path, content).unwrap();
    path
}

fn streams(path: &Path, golds: Option<&Path>) -> Vec<Stream> {
    data::read_streams(path, golds, &|_| true).unwrap()
}

fn pairs(stream: &Stream) -> Vec<(&str, &str)> {
    stream.texts.iter().map(|t| (&*t.prompt, &*t.response)).collect()
}

fn lamp(input: &str, entries: Value) -> Value {
    json!([{"id": "310", "input": input, "profile": entries}])
}

#[test]
fn every_task_of_lamp_is_told_apart_and_read() {
    let dir = tempfile::tempdir().unwrap();
    let paper =
        json!([{"id": "p1", "title": "On ferns", "abstract": "Ferns are old.", "date": "2012"}]);
    let mail = json!([{"id": "p1", "text": "Dear all, tea at four.", "title": "Tea"}]);
    let cases = [
        (
            Task::Lamp1,
            "For an author who has written X, which reference is related? [1]: a [2]: b",
            paper.clone(),
            "Ferns are old.",
        ),
        (
            Task::Lamp2,
            "Which tag does this movie relate to?",
            json!([{"id": "p1", "tag": "classic", "description": "A man and a boat."}]),
            "classic",
        ),
        (
            Task::Lamp2,
            "Which category does this article relate to?",
            json!([{"id": "p1", "text": "Rain.", "title": "t", "category": "news"}]),
            "news",
        ),
        (
            Task::Lamp3,
            "What is the score of the following review?",
            json!([{"id": "p1", "text": "Fine tea.", "score": 4}]),
            "4",
        ),
        (
            Task::Lamp4,
            "Generate a headline for the following article: he asked by email to generate a \
             subject for the following email",
            mail.clone(),
            "Tea",
        ),
        (
            Task::Lamp5,
            "Generate a title for the following abstract of a paper: to generate an abstract we \
             ask which reference is related",
            paper,
            "On ferns",
        ),
        (Task::Lamp6, "Generate a subject for the following email: …", mail, "Tea"),
        (
            Task::Lamp7,
            "Paraphrase the following tweet …",
            json!([{"id": "p1", "text": "so tired today"}]),
            "so tired today",
        ),
    ];
    for (task, input, entries, response) in cases {
        let path = file(&dir, "questions.json", lamp(input, entries).to_string());
        assert_eq!(data::open(&path).unwrap().format(), Format::Questions(Some(task)));
        for golds in [
            json!({"task": "LaMP_1", "golds": [{"id": "310", "output": "the answer"}]}),
            json!({"golds": [{"id": 310, "output": "the answer"}], "task": "LaMP_1"}),
            json!([{"id": "310", "output": "the answer"}]),
        ] {
            let golds = file(&dir, "outputs.json", golds.to_string());
            let read = streams(&path, Some(&golds));
            assert_eq!(read.len(), 1);
            // Without a user the question's id names them.
            assert_eq!(read[0].user.as_str(), "310");
            let pairs = pairs(&read[0]);
            assert_eq!((pairs[0].1, pairs[1]), (response, (input, "the answer")), "{task}");
        }
        assert_eq!(streams(&path, None)[0].texts.len(), 1, "an unanswered question is no text");
        let found = data::inspect(&path).unwrap();
        assert_eq!((found.users, found.texts, found.queries, found.answered), (1, 1, 1, 0));
    }
}

fn longlamp() -> [(Task, Value); 3] {
    [
        (
            Task::ProductReview,
            json!({"reviewerId": "A1", "input": "Generate …", "output": "It floats well.",
                "profile": [
                    {"description": "a boat", "overall": "5.0", "reviewText": "It floats.",
                     "summary": "Good"},
                    {"description": "a hat", "overall": 1.0, "reviewText": "Too small.",
                     "summary": "Bad"}]}),
        ),
        (
            Task::AbstractGeneration,
            json!({"name": "A1", "input": "Generate …", "output": "Boats differ.", "profile": [
                {"id": 7, "title": "Later", "abstract": "New.", "year": 2020},
                {"id": 6, "title": "Earlier", "abstract": "Old.", "year": "2010"}]}),
        ),
        (
            Task::TopicWriting,
            json!({"author": "A1", "input": "Generate …", "output": "My third post.", "profile": [
                {"author": "A1", "content": "My first post.", "id": "t1", "summary": "about tea"},
                {"author": "A1", "content": " ", "id": "t0", "summary": "nothing"},
                {"author": "A1", "content": "My second post.", "id": "t2",
                 "summary": "about rain"}]}),
        ),
    ]
}

#[test]
fn longlamp_is_read_as_list_and_as_lines_in_its_own_prompts() {
    let dir = tempfile::tempdir().unwrap();
    let expected = [
        [
            (
                "Generate the review text written by a reviewer who has a given an overall rating \
                 of \"5.0\" for a \
                 product with description \"a boat\". The summary of the review text is \"Good\".",
                "It floats.",
            ),
            (
                "Generate the review text written by a reviewer who has a given an overall rating \
                 of \"1.0\" for a \
                 product with description \"a hat\". The summary of the review text is \"Bad\".",
                "Too small.",
            ),
            ("Generate …", "It floats well."),
        ],
        [
            ("Generate an abstract for the title \"Earlier\".", "Old."),
            ("Generate an abstract for the title \"Later\".", "New."),
            ("Generate …", "Boats differ."),
        ],
        [
            ("Generate the content for a reddit post about tea", "My first post."),
            ("Generate the content for a reddit post about rain", "My second post."),
            ("Generate …", "My third post."),
        ],
    ];
    for ((task, record), expected) in longlamp().into_iter().zip(expected) {
        let other = record.to_string().replace("\"A1\"", "\"B2\"");
        let list = file(&dir, "list.json", format!("\u{feff} [\n {record},\n\n{other} ]\n"));
        let lines = file(&dir, "lines.jsonl", format!("{record}\n{other}\n"));
        for path in [list, lines] {
            let read = streams(&path, None);
            assert_eq!(read.iter().map(|s| s.user.as_str()).collect::<Vec<_>>(), ["A1", "B2"]);
            assert!(read.iter().all(|stream| pairs(stream) == expected), "{task}");
            let found = data::inspect(&path).unwrap();
            assert_eq!((found.format.as_str(), found.users, found.texts), (task.name(), 2, 4));
            assert_eq!(found.first.is_some(), task == Task::AbstractGeneration);
            assert_eq!(found.blank, 2 * u64::from(task == Task::TopicWriting));
        }
    }
}

#[test]
fn oppus_histories_have_several_questions() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["user_id", "user_name"] {
        let record = json!([{name: 12, "profile": [{"id": "a", "text": "Fine.", "score": "5"}],
            "query": [
                {"id": "q1", "input": "What is the score of …"},
                {"id": "q2", "input": "And of …"}]}]);
        let path = file(&dir, "user_top_100_history.json", record.to_string());
        assert_eq!(data::open(&path).unwrap().format(), Format::History(Some(Task::Lamp3)));
        let golds = json!({"task": "LaMP_3", "golds": [
            {"id": "q2", "output": "3"}, {"id": "q1", "output": "5"}]});
        let golds = file(&dir, "golds.json", golds.to_string());
        let read = streams(&path, Some(&golds));
        assert_eq!(read[0].user.as_str(), "12");
        assert_eq!(pairs(&read[0]).iter().map(|p| p.1).collect::<Vec<_>>(), ["5", "5", "3"]);
    }
}

#[test]
fn records_of_one_user_are_merged() {
    let dir = tempfile::tempdir().unwrap();
    let record = |id: &str, texts: &[(&str, &str)]| {
        let profile: Vec<_> =
            texts.iter().map(|(id, text)| json!({"id": id, "text": text})).collect();
        json!({"id": id, "user_id": "u", "input": "Paraphrase …", "profile": profile})
    };
    let grown = json!([record("1", &[("a", "one")]), record("2", &[("a", "one"), ("b", "two")])]);
    let path = file(&dir, "grown.json", grown.to_string());
    let read = streams(&path, None);
    assert_eq!(pairs(&read[0]).iter().map(|p| p.1).collect::<Vec<_>>(), ["one", "two"]);
    let mut visited = Vec::new();
    data::visit_texts(&path, None, |text| {
        visited.push(text.response);
        Ok::<(), spring_data::Error>(())
    })
    .unwrap();
    assert_eq!(visited, ["one", "two"]);
    assert_eq!(
        data::text_counts(&path).unwrap().into_values().collect::<Vec<_>>(),
        [2],
        "each text once"
    );

    // Records without dates follow each other.
    let parts = json!([
        record("1", &[("a", "one"), ("b", "two"), ("c", "three")]),
        record("2", &[("d", "four"), ("b", "two"), ("e", "five")]),
    ]);
    let path = file(&dir, "parts.json", parts.to_string());
    let golds = file(&dir, "parts-golds.json", json!([{"id": "1", "output": "asked"}]).to_string());
    let in_order = ["one", "two", "three", "asked", "four", "five"];
    let read = streams(&path, Some(&golds));
    assert_eq!(pairs(&read[0]).iter().map(|p| p.1).collect::<Vec<_>>(), in_order);
    let mut visited = Vec::new();
    data::visit_texts(&path, Some(&golds), |text| {
        visited.push(text);
        Ok::<(), spring_data::Error>(())
    })
    .unwrap();
    assert!(visited.iter().map(|text| text.response.as_str()).eq(in_order));
    assert!(visited.is_sorted_by(|a, b| a.time < b.time));

    let conflict = json!([record("1", &[("a", "one")]), record("2", &[("a", "two")])]);
    let path = file(&dir, "conflict.json", conflict.to_string());
    let error = data::read_streams(&path, None, &|_| true).unwrap_err().to_string();
    assert!(error.contains("conflict.json") && error.contains("two different texts"), "{error}");
}

#[test]
fn our_lines_stay_strict() {
    let dir = tempfile::tempdir().unwrap();
    let line = |id: u32| {
        json!({
            "user": "ada", "id": id.to_string(), "time": "2024-01-02T03:04:05Z", "prompt": "p",
            "response": "r"
        })
    };
    let path = file(&dir, "good.jsonl", format!("\n{}\n{}\n", line(1), line(2)));
    assert_eq!(data::open(&path).unwrap().format(), Format::Interactions);
    assert_eq!(streams(&path, None)[0].texts.len(), 2);
    for (bad, place) in [
        (format!("\n{}\n{{\"user\": 1}}\n", line(1)), "bad.jsonl:3: not an interaction"),
        ("\n\n{\"user\": \"a".into(), "bad.jsonl:3: not JSON"),
        (format!("{{\"user\"\n{}", line(1)), "bad.jsonl:1: not JSON"),
    ] {
        let path = file(&dir, "bad.jsonl", &bad);
        let error = data::read_streams(&path, None, &|_| true).unwrap_err().to_string();
        assert!(error.contains(place), "{bad:?}: {error}");
    }
}

#[test]
fn hostile_files_are_refused_with_file_line_and_reason() {
    let dir = tempfile::tempdir().unwrap();
    let good =
        json!({"id": "1", "user_id": "u", "input": "i", "profile": [{"id": "a", "text": "t"}]})
            .to_string();
    let swap = |from: &str, to: &str| good.replace(from, to);
    let nested = format!("[{{\"id\": \"1\", \"profile\": {}", "[".repeat(100_000));
    let deep = format!("[{good},{{\"id\": {}{}}}]", "[".repeat(1000), "]".repeat(1000));
    let latin = [b"[{\"id\": \"\xe9\", \"profile\": []}]".as_slice(), b"\n"].concat();
    let texts: Vec<(Vec<u8>, &str)> = vec![
        (b"".to_vec(), "1: record 0: the file is empty"),
        (b"[]".to_vec(), "1: record 0: the list is empty"),
        (b"\x1f\x8b\x08".to_vec(), "1: record 0: a gzip archive: unpack it first"),
        (b"\xff\xfe[\0".to_vec(), "1: record 0: UTF-16: convert it to UTF-8"),
        (b"user,text\n".to_vec(), "1: record 0: begins with 'u': expected JSON, \"[\" or \"{\""),
        (latin, "1: record 1: byte 10: not UTF-8"),
        (
            b"[1]".to_vec(),
            "1: record 1: byte 2: not a record: the number 1 where an object is wanted",
        ),
        (
            format!("[{good},\n {}]", swap("\"t\"", "NaN")).into_bytes(),
            "2: record 2: byte 125: NaN is no JSON; write null",
        ),
        (b"[{}]".to_vec(), "1: record 1: neither a \"profile\" nor an \"output\""),
        (
            format!("[\n{good},\n{good}").into_bytes(),
            "3: record 2: the file is cut off: the list is not closed",
        ),
        (
            format!("[\n{good},\n{}", &good[..30]).into_bytes(),
            "3: record 2: the file is cut off inside a record",
        ),
        (format!("[{good} {good}]").into_bytes(), "expected \",\" or \"]\""),
        (format!("[{good},]").into_bytes(), "record 2: expected a record"),
        (format!("[{good}] {good}").into_bytes(), "more text after the end"),
        (format!("[{good},{}]", swap("\"u\"", "\"\"")).into_bytes(), "record 2: user id is blank"),
        (format!("[{good},{}]", swap("\"u\"", "\"a\\u0007\"")).into_bytes(), "control character"),
        (nested.into_bytes(), "cut off inside a record"),
        (deep.into_bytes(), "a list where a text or a number is wanted"),
        (b"{\"task\": \"LaMP_1\"}".to_vec(), "without a list \"golds\""),
        (b"{\"task\": \"LaMP_1\", \"golds\": [".to_vec(), "cut off"),
    ];
    for (content, reason) in texts {
        let path = file(&dir, "hostile.json", &content);
        let error = data::inspect(&path).unwrap_err().to_string();
        let shown = String::from_utf8_lossy(&content[..content.len().min(80)]).into_owned();
        assert!(error.contains("hostile.json") && error.contains(reason), "{shown}: {error}");
        assert!(error.len() < 1000 && !error.contains('\u{7}'), "{error}");
    }
    let missing = data::inspect(&dir.path().join("missing.json")).unwrap_err().to_string();
    assert!(missing.contains("missing.json"), "{missing}");
    let outputs = file(
        &dir,
        "outputs.json",
        "[{\"id\": 1, \"output\": \"a\"}, {\"id\": 1, \"output\": \"b\"}]",
    );
    assert!(data::read_golds(&outputs).unwrap_err().to_string().contains("two outputs"));
    assert!(
        data::read_streams(&outputs, None, &|_| true).unwrap_err().to_string().contains("outputs")
    );
}

/// A LaMP file of so many records, made while it is read.
struct Generated {
    records: usize,
    next: usize,
    pending: Vec<u8>,
}

impl Read for Generated {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        if self.pending.is_empty() && self.next <= self.records {
            let entries: Vec<String> = (0..40)
                .map(|i| {
                    format!(
                        r#"{{"id": "{}-{i}", "text": "{}", "score": "3"}}"#,
                        self.next,
                        "tea ".repeat(40)
                    )
                })
                .collect();
            let (begin, end) = (if self.next == 0 { "[" } else { "," }, self.next == self.records);
            let record = format!(
                r#"{begin}{{"id": "{}", "input": "i", "profile": [{}]}}{}"#,
                self.next,
                entries.join(","),
                if end { "]" } else { "" }
            );
            self.pending = record.into_bytes();
            self.next += 1;
        }
        let count = out.len().min(self.pending.len());
        out[..count].copy_from_slice(&self.pending[..count]);
        self.pending.drain(..count);
        Ok(count)
    }
}

#[test]
fn memory_does_not_grow_with_the_file() {
    let peak = |records: usize| {
        let mut texts = 0;
        let used = allocation_counter::measure(|| {
            let generated = Generated { records, next: 0, pending: vec![] };
            let mut reader = DataReader::new(BufReader::new(generated), "generated").unwrap();
            while let Some(record) = reader.next_record().unwrap() {
                texts += record.texts.len();
            }
        });
        assert_eq!(texts, (records + 1) * 40);
        used.bytes_max
    };
    // 0.8 MB and 32 MB of JSON.
    let (small, large) = (peak(100), peak(4000));
    assert!(large < 300_000, "{large} bytes");
    assert!(large < small + 4096, "{small} bytes grew to {large}");
}

#[test]
fn an_odd_entry_is_left_out_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let ask = "What is the score of the following review on a scale of 1 to 5? review: x";
    let good = json!({"id": "g", "text": "good", "score": "5"});
    for (odd, reason) in [
        (json!({"id": "a", "text": "t", "score": null}), "no \"score\""),
        (json!({"id": "a", "text": "t", "score": ["5"]}), "no \"score\""),
        (json!({"id": "a", "txt": "t", "score": 5}), "no \"text\""),
        (json!({"id": "a", "text": "t", "score": 5, "date": "31/12/99"}), "is no date"),
        (json!({"id": "a\u{7}", "text": "t", "score": 5}), "control character"),
    ] {
        for entries in [[&odd, &good], [&good, &odd]] {
            let record = json!([{"id": "1", "input": ask, "profile": entries}]);
            let path = file(&dir, "odd.json", record.to_string().as_bytes());
            let found = data::inspect(&path).unwrap();
            assert_eq!((found.format.as_str(), found.texts, found.odd), ("LaMP-3", 1, 1));
            assert!(found.first_odd.unwrap().contains(reason));
            let mut texts = Vec::new();
            let left_out = data::visit_texts::<data::Error>(&path, None, |text| {
                texts.push(text.response);
                Ok(())
            });
            assert_eq!((left_out.unwrap().odd, texts), (1, vec!["5".to_owned()]));
            assert_eq!(data::read_streams(&path, None, &|_| true).unwrap()[0].texts.len(), 1);
        }
    }
}

#[test]
fn the_task_is_that_of_the_whole_file() {
    let dir = tempfile::tempdir().unwrap();
    let of = |records: Value| {
        data::inspect(&file(&dir, "task.json", records.to_string().as_bytes())).unwrap().format
    };
    let record =
        |input: &str, entries: Value| json!({"id": "1", "input": input, "profile": entries});
    let unclear = record("Go on.", json!([{"text": "a", "score": null, "title": "t"}]));
    assert_eq!(of(json!([unclear])), "LaMP-4");
    assert_eq!(
        of(json!([unclear, record("Go on.", json!([{"text": "b", "score": 4}]))])),
        "LaMP-3"
    );
    assert_eq!(
        of(json!([unclear, record("Paraphrase the following tweet x", json!([]))])),
        "LaMP-7"
    );
    let category = "Which category does this article relate to among the following categories?";
    assert_eq!(
        of(json!([record(category, json!([{"text": "a", "title": "t", "category": null}]))])),
        "LaMP-2"
    );
    let cites = json!([{
        "user_id": 1, "profile": [{"title": "t", "citation": "c", "id": "1"}], "query": []
    }]);
    assert_eq!(of(cites), "LaMP-1, OPPU's layout");
}

#[test]
fn dates_are_taken_as_lamps_own_code_takes_them() {
    let dir = tempfile::tempdir().unwrap();
    let first = |date: Value| {
        let entry = json!([{"id": "1", "title": "t", "abstract": "a", "date": date}]);
        let record = json!([{"id": "1", "input": "Generate a title for x", "profile": entry}]);
        let found =
            data::inspect(&file(&dir, "dates.json", record.to_string().as_bytes())).unwrap();
        (found.texts, found.first.map(|time| time.to_string()))
    };
    for (date, time) in [
        (json!("2012-5-3"), "2012-05-03T00:00:00Z"),
        (json!("2012-5"), "2012-05-01T00:00:00Z"),
        (json!(2014.0), "2014-01-01T00:00:00Z"),
        (json!("2014.0"), "2014-01-01T00:00:00Z"),
        (json!(1_388_534_400), "2014-01-01T00:00:00Z"),
        (json!(1_388_534_400_000_i64), "2014-01-01T00:00:00Z"),
        (json!("2014-02-03T04:05:06Z"), "2014-02-03T04:05:06Z"),
    ] {
        assert_eq!(first(date.clone()), (1, Some(time.to_owned())), "{date}");
    }
    for none in [json!("None"), json!(null), json!("nan"), json!("")] {
        assert_eq!(first(none.clone()), (1, None), "{none}");
    }
    for odd in [json!("2012-13"), json!("2012-2-30"), json!("soon"), json!(123_456)] {
        assert_eq!(first(odd.clone()), (0, None), "{odd}");
    }
}

#[test]
fn two_texts_with_one_id_are_refused_by_all() {
    let dir = tempfile::tempdir().unwrap();
    let entries = json!([{"id": "1", "text": "a"}, {"id": "1", "text": "b"}]);
    let record = json!([{"id": "1", "user_id": "510", "input": "x", "profile": entries}]);
    let path = file(&dir, "twice.json", record.to_string().as_bytes());
    let errors = [
        data::inspect(&path).map(drop),
        data::text_counts(&path).map(drop),
        data::visit_texts(&path, None, |_| Ok(())).map(drop),
        data::read_streams(&path, None, &|_| true).map(drop),
    ];
    for error in errors {
        assert!(
            error
                .unwrap_err()
                .to_string()
                .contains("user 510 has two different texts with the id 1")
        );
    }
}

#[test]
fn half_a_character_does_not_refuse_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let text = concat!(
        r#"[{"id": "1", "input": "Paraphrase the following tweet", "#,
        r#""profile": [{"id": "1", "text": "a \ud83d b"}]}]"#,
    );
    let path = file(&dir, "half.json", text.as_bytes());
    let streams = data::read_streams(&path, None, &|_| true).unwrap();
    assert_eq!(streams[0].texts[0].response, "a \u{fffd} b");
}

/// The entries of an old LaMP-2 and of a news file have the same fields; who knows says so.
#[test]
fn a_task_that_the_file_does_not_tell_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("q.json");
    std::fs::write(
        &path,
        r#"[{"id": "1", "input": "q", "profile": [{"id": "a", "text": "t", "title": "x"}]}]"#,
    )
    .unwrap();
    let format = |task: Option<Task>| {
        data::inspect(DataFile::new(&path).with_task(task)).map(|found| found.format)
    };
    assert!(format(None).is_ok());
    for task in ["LaMP-4", "lamp-5"] {
        let task: Task = task.parse().unwrap();
        assert_eq!(format(Some(task)).unwrap(), task.name());
    }
    assert_eq!("topic_writing".parse::<Task>().unwrap(), Task::TopicWriting);
    assert!("LaMP-9".parse::<Task>().unwrap_err().to_string().contains("LaMP-7"));
    let texts = dir.path().join("texts.jsonl");
    let line = r#"{"user":"a","id":"1","time":"2024-01-01T00:00:00Z","prompt":"p","response":"r"}"#;
    std::fs::write(&texts, line).unwrap();
    let error = data::inspect(DataFile::new(&texts).with_task(Some(Task::Lamp2))).unwrap_err();
    assert!(error.to_string().contains("texts.jsonl: interactions"), "{error}");
}
