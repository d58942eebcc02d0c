//! The readers on files that broke on their way, or that somebody made to break them: no panic, no
//! memory beyond a bound, and an error that names file and line, or records that can be used.

#![allow(clippy::unwrap_used)]

use std::io::BufReader;

use proptest::{prelude::*, sample::Index};
use serde_json::{Value, json};
use spring_data::{self as data, DataReader, UserRecord};

/// A sound file: one value, or the elements of a list, one a line.
#[derive(Debug, Clone)]
struct Sound {
    value: Value,
    lines: bool,
}

impl Sound {
    fn text(&self) -> String {
        match &self.value {
            Value::Array(records) if self.lines => {
                records.iter().map(|record| format!("{record}\n")).collect()
            }
            value => format!("{value:#}"),
        }
    }
}

/// One file of every kind that is read.
fn sound_files() -> Vec<Sound> {
    let lamp = [
        (
            "which reference is related?",
            json!({"id": "p1", "title": "On ferns", "abstract": "Old.", "date": "2012"}),
        ),
        ("Which tag", json!({"id": "p1", "tag": "classic", "description": "A man and a boat."})),
        ("Which category", json!({"id": "p1", "text": "Rain.", "title": "t", "category": "news"})),
        ("What is the score", json!({"id": 1, "text": "Fine tea.", "score": 4})),
        (
            "Generate a headline",
            json!({"id": "p1", "text": "Dear all, tea at four.", "title": "Tea"}),
        ),
        (
            "Generate a title",
            json!({"id": "p1", "title": "On ferns", "abstract": "Ferns are old.", "date": 2012}),
        ),
        (
            "Generate a subject for the following email",
            json!({"id": "p1", "text": "Tea.", "title": "Tea"}),
        ),
        ("Paraphrase", json!({"id": "p1", "text": "so tired today", "date": "2012-05-31"})),
    ];
    let lamp = lamp.map(|(input, entry)| {
        let record =
            |id: &str| json!({"id": id, "user_id": id, "input": input, "profile": [entry, entry]});
        json!([record("1"), record("2")])
    });
    let longlamp = json!([
        {"reviewerId": "A1", "input": "Generate …", "output": "It floats.", "profile": [
            {"description": "a boat", "overall": "5.0", "reviewText": "It floats.",
             "summary": "Good"}]},
        {"reviewerId": "B2", "input": "Generate …", "output": "Too small.", "profile": [
            {"description": "a hat", "overall": 1.0, "reviewText": "Too small.", "summary": "Bad"}]}
    ]);
    let posts = json!([{"author": "A1", "input": "Generate …", "output": "A post.", "profile": [
        {"author": "A1", "content": "My first post.", "id": "t1", "summary": "about tea"}]}]);
    let oppu = json!([{"user_id": 12, "profile": [{"id": "a", "text": "Fine.", "score": "5"}],
        "query": [
            {"id": "q1", "input": "What is the score"},
            {"id": "q2", "input": "And", "gold": 3}]}]);
    let golds = json!([{"id": "q1", "output": "3"}, {"id": 310, "output": 5}]);
    let text = |id: u32| {
        json!({
            "user": "ada", "id": id.to_string(), "time": "2024-01-02T03:04:05Z", "prompt": "p",
            "response": "r"
        })
    };
    let lists = lamp.into_iter().chain([longlamp.clone(), posts, oppu.clone(), golds.clone()]);
    let lists = lists.map(|value| Sound { value, lines: false });
    let lines =
        [longlamp, oppu, json!([text(1), text(2)])].map(|value| Sound { value, lines: true });
    lists
        .chain(lines)
        .chain([Sound { value: json!({"task": "LaMP_3", "golds": golds}), lines: false }])
        .collect()
}

/// One change to some bytes: a byte replaced, the end cut off, a piece repeated, or noise put in.
#[derive(Debug, Clone)]
enum Damage {
    Byte(Index, u8),
    Cut(Index),
    Repeat(Index, Index),
    Noise(Index, Vec<u8>),
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Damage::Byte(at, byte)),
        any::<Index>().prop_map(Damage::Cut),
        (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Damage::Repeat(from, to)),
        (any::<Index>(), prop::collection::vec(any::<u8>(), 1..40))
            .prop_map(|(at, noise)| Damage::Noise(at, noise)),
    ]
}

impl Damage {
    fn of(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        if bytes.is_empty() {
            return bytes;
        }
        let len = bytes.len();
        match self {
            Self::Byte(at, byte) => bytes[at.index(len)] = *byte,
            Self::Cut(at) => bytes.truncate(at.index(len)),
            Self::Repeat(from, to) => {
                let piece = bytes[from.index(len)..].to_vec();
                let at = to.index(len);
                bytes.splice(at..at, piece);
            }
            Self::Noise(at, noise) => {
                drop(bytes.splice(at.index(len)..at.index(len), noise.iter().copied()))
            }
        }
        bytes
    }
}

/// What stands in for a value until the file is text: not everything odd is a [`Value`].
const MARK: &str = "@mark@";

/// Values that a careless reader trips over, as text.
fn odd_text() -> impl Strategy<Value = String> {
    let one = prop::sample::select(vec![
        "null",
        "true",
        "0",
        "-0",
        "-1",
        "5.0",
        "1e308",
        "1e309",
        "-1e999",
        "0.1e-400",
        "18446744073709551615",
        "18446744073709551616",
        "-9223372036854775809",
        "\"\"",
        "\" \"",
        "\"\\u0000\"",
        "\"\\u0007\"",
        "\"\\ud800\"",
        "\"\u{202e}\u{feff}\"",
        "\"9999-12-31\"",
        "\"-009999-01-01\"",
        "\"2024-02-30\"",
        "\"2024-13\"",
        "[]",
        "{}",
        "[null]",
        "[{}]",
        "{\"id\":1,\"id\":2}",
        "[{\"id\":\"a\",\"input\":\"\",\"input\":\"\"}]",
        "nul",
        "'x'",
        "",
    ]);
    prop_oneof![
        4 => one.prop_map(str::to_owned),
        1 => (1..300_usize).prop_map(|n| "9".repeat(n)),
        1 => (1..3000_usize).prop_map(|n| format!("\"{}\"", "x".repeat(n))),
        1 => (1..3000_usize).prop_map(|n| format!("{}{}", "[".repeat(n), "]".repeat(n))),
        1 => (1..3000_usize).prop_map(|n| format!("{}1{}", "{\"id\":".repeat(n), "}".repeat(n))),
        1 => (1..3000_usize).prop_map(|n| "[{\"profile\":".repeat(n)),
        1 => (1..300_usize).prop_map(|n| format!("[{}{{}}]", "{},".repeat(n))),
    ]
}

/// The values inside a value, itself included.
fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(map) => map.values().map(count).sum(),
        _ => 0,
    }
}

/// The value number `at` inside a value.
fn pick<'a>(value: &'a mut Value, at: &mut usize) -> Option<&'a mut Value> {
    if *at == 0 {
        return Some(value);
    }
    *at -= 1;
    match value {
        Value::Array(items) => items.iter_mut().find_map(|item| pick(item, at)),
        Value::Object(map) => map.values_mut().find_map(|item| pick(item, at)),
        _ => None,
    }
}

fn any_sound() -> impl Strategy<Value = Sound> {
    prop::sample::select(sound_files())
}

/// A reader that hands out small pieces reads everything; memory that a record may need grows with
/// its length, by far most for a profile of empty entries, and does not follow any number that the
/// file names.
fn read(bytes: &[u8], piece: usize) -> Result<(), TestCaseError> {
    let mut read = Ok(Vec::new());
    let used = allocation_counter::measure(|| {
        let reader = BufReader::with_capacity(piece, bytes);
        read = DataReader::new(reader, "f.json").and_then(|mut reader| {
            std::iter::from_fn(|| reader.next_record().transpose())
                .collect::<spring_data::Result<Vec<_>>>()
        });
    });
    prop_assert!(
        used.bytes_max < 50_000 + 300 * bytes.len() as u64,
        "{} bytes of memory",
        used.bytes_max
    );
    match read {
        Ok(records) => records.iter().try_for_each(usable),
        Err(error) => placed(&error, "f.json", bytes),
    }
}

fn usable(record: &UserRecord) -> Result<(), TestCaseError> {
    prop_assert!(record.texts.is_sorted_by_key(|text| text.time));
    for text in &record.texts {
        prop_assert!(text.user == record.user && !text.response.trim().is_empty());
    }
    Ok(())
}

/// One printable line that begins with the file and a line of it.
fn placed(error: &spring_data::Error, file: &str, bytes: &[u8]) -> Result<(), TestCaseError> {
    let said = error.to_string();
    let place = said.split_once(file).and_then(|(_, rest)| rest.strip_prefix(':')?.split_once(':'));
    let line = place.and_then(|(line, _)| line.parse::<usize>().ok());
    let lines = 1 + bytes.iter().filter(|byte| **byte == b'\n').count();
    prop_assert!(line.is_some_and(|line| (1..=lines).contains(&line)), "{} lines: {}", lines, said);
    prop_assert!(said.chars().count() < 1000 && !said.contains(char::is_control), "{}", said);
    Ok(())
}

/// The same by way of the file system, for all that reads data files.
fn read_file(bytes: &[u8]) -> Result<(), TestCaseError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f.json");
    std::fs::write(&path, bytes).unwrap();
    let questions = dir.path().join("questions.json");
    std::fs::write(&questions, sound_files()[3].text()).unwrap();
    let outcomes = [
        data::inspect(&path).map(drop),
        data::text_counts(&path).map(drop),
        data::read_streams(&path, None, &|_| true).map(drop),
        data::visit_texts(&path, None, |_| Ok(())).map(drop),
        data::read_golds(&path).map(drop),
        data::read_streams(&questions, Some(&path), &|_| true).map(drop),
    ];
    outcomes
        .iter()
        .filter_map(|outcome| outcome.as_ref().err())
        .try_for_each(|error| placed(error, "f.json", bytes))
}

#[test]
fn sound_files_are_read() {
    let mut kinds = std::collections::BTreeSet::new();
    for sound in sound_files() {
        let text = sound.text();
        kinds.insert(DataReader::new(text.as_bytes(), "f.json").unwrap().format().to_string());
        read_file(text.as_bytes()).unwrap();
    }
    // Seven of LaMP, two of LongLaMP, OPPU's, our own; outputs have their task at their end or not
    // at all.
    assert_eq!(kinds.len(), 12, "{kinds:?}");
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 512,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400), piece in 1..9_usize) {
        read(&bytes, piece)?;
    }

    /// Gets further than arbitrary bytes do.
    #[test]
    fn arbitrary_tokens(
        tokens in prop::collection::vec(prop::sample::select(vec![
            "[", "]", "{", "}", ",", ":", "\"", "\\", "\n", " ", "1", "null", "\"id\"", "\"golds\"",
            "\"task\"", "\"profile\"", "\"query\"", "\"input\"", "\"output\"", "\"text\"",
            "\"user\"", "{\"golds\":[", "[{\"id\":1,\"profile\":[",
            "{\"id\":\"a\",\"text\":\"t\"}", "]}", "{\"id\":1,\"output\":2}",
        ]), 0..40),
        piece in 1..9_usize,
    ) {
        read(tokens.concat().as_bytes(), piece)?;
    }

    #[test]
    fn damaged_files(
        sound in any_sound(),
        changes in prop::collection::vec(damage(), 1..4),
        piece in 1..99_usize,
    ) {
        let bytes =
            changes.iter().fold(sound.text().into_bytes(), |bytes, change| change.of(bytes));
        read(&bytes, piece)?;
    }

    #[test]
    fn odd_values(sound in any_sound(), at in any::<Index>(), odd in odd_text()) {
        let Sound { mut value, lines } = sound;
        let mut place = at.index(count(&value));
        *pick(&mut value, &mut place).unwrap() = MARK.into();
        let text = Sound { value, lines }.text().replace(&format!("\"{MARK}\""), &odd);
        read(text.as_bytes(), 64)?;
    }

    #[test]
    fn doubled_and_strange_keys(
        sound in any_sound(),
        at in any::<Index>(),
        odd in odd_text(),
        key in prop::sample::select(vec![
            "id", "user_id", "input", "profile", "query", "text", "title", "task", "golds", "user",
            "x", "",
        ]),
    ) {
        let Sound { mut value, lines } = sound;
        let mut place = at.index(count(&value));
        if let Some(Value::Object(map)) = pick(&mut value, &mut place) {
            map.insert(MARK.into(), Value::Null);
        }
        let written = Sound { value, lines }.text();
        let text = written.replace(&format!("\"{MARK}\": null"), &format!("\"{key}\": {odd}"));
        let text = text.replace(&format!("\"{MARK}\":null"), &format!("\"{key}\":{odd}"));
        read(text.as_bytes(), 64)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 128,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn damaged_files_on_disk(
        sound in any_sound(),
        changes in prop::collection::vec(damage(), 0..3),
    ) {
        read_file(
            &changes.iter().fold(sound.text().into_bytes(), |bytes, change| change.of(bytes)),
        )?;
    }

    #[test]
    fn odd_values_on_disk(sound in any_sound(), at in any::<Index>(), odd in odd_text()) {
        let Sound { mut value, lines } = sound;
        let mut place = at.index(count(&value));
        *pick(&mut value, &mut place).unwrap() = MARK.into();
        read_file(Sound { value, lines }.text().replace(&format!("\"{MARK}\""), &odd).as_bytes())?;
    }
}

/// Files whose text is short for what a careless reader would make of it.
#[test]
fn memory_does_not_follow_what_a_file_can_spell_shortly() {
    const SIZE: usize = 6 << 20;
    let fill = |begin: &str, piece: &str, end: &str| {
        let text = format!("{begin}{}{end}", piece.repeat(SIZE / piece.len()));
        text.into_bytes()
    };
    let entry = r#"{"id":"1","text":"t"},"#;
    let files = [
        ("empty entries", fill("[{\"profile\":[", "{},", "{}]}]")),
        ("short entries", fill("[{\"id\":1,\"profile\":[", entry, "{}]}]")),
        (
            "empty questions",
            fill("[{\"profile\":[],\"query\":[", "{\"id\":1,\"input\":\"\"},", "{}]}]"),
        ),
        ("a list for an id", fill("[{\"id\":[", "1,", "1],\"profile\":[]}]")),
        ("a tree for an id", fill("[{\"id\":", "[", "")),
        ("a list for an answer", fill("{\"golds\":[{\"id\":1,\"output\":[", "1,", "1]}]}")),
        ("a tree for a task", fill("{\"task\":", "{\"\":", "")),
        ("a long name of a task", fill("{\"task\":\"", "x", "\",\"golds\":[]}")),
        ("a key that does not end", fill("{\"", "x", "")),
        ("unknown fields", fill("[{\"profile\":[],\"x\":[", "[],", "[]]}]")),
        ("a number", fill("[{\"id\":", "9", ",\"profile\":[]}]")),
        ("a date", fill("[{\"profile\":[{\"text\":\"t\",\"date\":\"", "9", "\"}]}]")),
        ("line breaks", fill("", "\n", "[1]")),
        ("line breaks in a list", fill("[", "\n", "{\"profile\":[]}]")),
        ("space", fill("", " ", "[1]")),
        ("records", fill("[", "{\"profile\":[]},", "{\"profile\":[]}]")),
        ("lines", fill("", "{\"user\":1}\n", "")),
        ("a line", fill("{\"user\":\"a\", \"id\":\"", "x", "\"}")),
    ];
    for (what, bytes) in files {
        let used = allocation_counter::measure(|| {
            let reader = DataReader::new(BufReader::new(bytes.as_slice()), "f.json");
            let said = match reader {
                Err(error) => error.to_string(),
                Ok(mut reader) => loop {
                    match reader.next_record() {
                        Ok(Some(_)) => {}
                        Ok(None) => break String::new(),
                        Err(error) => break error.to_string(),
                    }
                },
            };
            assert!(said.is_empty() || said.starts_with("f.json:"), "{what}: {said}");
            assert!(said.chars().count() < 1000, "{what}: {} characters", said.chars().count());
        });
        // The record, its texts, and a list of 100,000 entries while it is made longer.
        let bound = 4 * SIZE as u64 + (100 << 20);
        assert!(used.bytes_max < bound, "{what}: {} bytes of memory", used.bytes_max);
    }
}
