//! The JSON Lines reader on good, bad and arbitrary bytes.

use std::io::{self, BufReader, Read};

use proptest::prelude::*;
use spring_memory::{Interaction, JsonlError, JsonlLimits, JsonlReader};

fn line(id: &str, response: &str) -> String {
    let texts = format!(r#""prompt":"p","response":"{response}""#);
    format!(r#"{{"user":"ada","id":"{id}","time":"2026-01-31T09:30:00Z",{texts}}}"#)
}

fn read(bytes: &[u8]) -> Vec<Result<(u64, Interaction), JsonlError>> {
    // Small pieces, so that lines and the byte order mark span several.
    JsonlReader::new(BufReader::with_capacity(3, bytes), "f.jsonl").collect()
}

fn only_error(bytes: &[u8]) -> JsonlError {
    let mut records = read(bytes);
    assert_eq!(records.len(), 1, "{records:?}");
    records.remove(0).expect_err("a defect")
}

#[test]
fn lines_are_counted_and_blank_ones_skipped() {
    let text =
        format!("\u{feff}{}\r\n\n \t\n{}\n\n{}", line("1", "x"), line("2", "y"), line("3", "z"));
    let records: Vec<_> = read(text.as_bytes()).into_iter().map(Result::unwrap).collect();
    let found: Vec<_> =
        records.iter().map(|(line, i)| (*line, i.id.as_str(), i.response.as_str())).collect();
    assert_eq!(found, [(1, "1", "x"), (4, "2", "y"), (6, "3", "z")]);
    assert!(read(b"").is_empty());
    assert!(read(b"\xef\xbb\xbf\n").is_empty());
}

#[test]
fn every_defect_is_one_clear_error_and_reading_goes_on() {
    let bad: [(&[u8], &str); 13] = [
        (b"{\"user\"", "f.jsonl:2: not JSON at byte 7: it ends too early"),
        (b"[1] x", "f.jsonl:2: a JSON list; one object a line"),
        (br#"["ada","1","2026-01-31T09:30:00Z","p","r"]"#, "f.jsonl:2: not an interaction: a list"),
        (
            br#"{"user":"ada","id":1}"#,
            "f.jsonl:2: not an interaction: `id` is a number: a text is needed",
        ),
        (
            br#"{"time":1714554000}"#,
            "f.jsonl:2: not an interaction: `time` is a number: an RFC 3339",
        ),
        (br#"{"prompt":null}"#, "f.jsonl:2: not an interaction: `prompt` is null"),
        (b"7", "f.jsonl:2: not an interaction: a number; an object is needed"),
        (b"\xff{}", "f.jsonl:2: not UTF-8 from byte 1"),
        (br#"{"user":"ada"}"#, "f.jsonl:2: not an interaction: `id` is missing"),
        (br#"{"user":"","id":"1"}"#, "f.jsonl:2: not an interaction: user id is blank"),
        (
            br#"{"time":"yesterday"}"#,
            "f.jsonl:2: not an interaction: time \"yesterday\" is not RFC 3339",
        ),
        (br#"{"response":" "}"#, "f.jsonl:2: not an interaction: response is blank"),
        (b"{\"a\x1bb\":1}", "f.jsonl:2: not JSON at byte 4: a line break or control character"),
    ];
    for (bytes, message) in bad {
        let mut text = line("1", "x").into_bytes();
        text.push(b'\n');
        text.extend_from_slice(bytes);
        text.push(b'\n');
        text.extend_from_slice(line("2", "y").as_bytes());
        let records = read(&text);
        assert_eq!(records.len(), 3, "{records:?}");
        let error = records[1].as_ref().unwrap_err();
        assert!(error.to_string().starts_with(message), "{error}");
        assert_eq!(error.line(), 2);
        assert_eq!(records[2].as_ref().unwrap().0, 3);
    }
}

#[test]
fn messages_are_short_and_printable() {
    let unknown = format!(r#"{{"\u001b[31m{}":1}}"#, "x".repeat(100_000));
    let message = only_error(unknown.as_bytes()).to_string();
    assert!(message.len() < 400 && message.contains(r"\u{1b}[31mxxx"), "{message}");
    assert!(!message.chars().any(char::is_control));
}

#[test]
fn long_lines_and_fields_are_errors() {
    let limits = JsonlLimits::default().with_line(120).with_prompt(10).with_response(20);
    let text = format!(
        "{}\n{}\n{}\n",
        line("1", &"x".repeat(100)),
        line("2", &"x".repeat(21)),
        line("3", "y")
    );
    let records: Vec<_> =
        JsonlReader::with_limits(BufReader::with_capacity(16, text.as_bytes()), "f", limits)
            .collect();
    assert_eq!(records.len(), 3, "{records:?}");
    assert!(matches!(records[0], Err(JsonlError::LineTooLong { line: 1, limit: 120, .. })));
    let field = &records[1];
    assert!(
        matches!(
            field,
            Err(JsonlError::FieldTooLong { line: 2, field: "response", bytes: 21, limit: 20, .. })
        ),
        "{field:?}"
    );
    assert_eq!(records[2].as_ref().unwrap().0, 3);
    // A line of exactly the limit is fine.
    let exact = line("1", "x");
    let limits = JsonlLimits::default().with_line(exact.len());
    assert!(JsonlReader::with_limits(exact.as_bytes(), "f", limits).next().unwrap().is_ok());
}

#[test]
fn an_endless_line_is_reported_at_once() {
    let endless = BufReader::new(io::repeat(b'x'));
    let error = JsonlReader::new(endless, "zero").next().unwrap().unwrap_err();
    assert_eq!(
        error.to_string(),
        "zero:1: the line is longer than 1048576 bytes: shorten it or raise the limit"
    );
}

struct Broken;

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("gone"))
    }
}

#[test]
fn a_read_error_ends_the_stream() {
    let first = line("1", "x") + "\n";
    let mut reader = JsonlReader::new(BufReader::new(first.as_bytes().chain(Broken)), "f");
    assert!(reader.next().unwrap().is_ok());
    let error = reader.next().unwrap().unwrap_err();
    assert_eq!(error.to_string(), "f:2: cannot be read: gone");
    assert!(reader.next().is_none());
}

proptest! {
    /// No bytes make it panic, every error names a line of the input, and lines only go up.
    #[test]
    fn arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400), piece in 1..9usize) {
        let lines = bytes.split(|&b| b == b'\n').count() as u64;
        let limits = JsonlLimits::default().with_line(60);
        let mut before = 0;
        for record in
            JsonlReader::with_limits(BufReader::with_capacity(piece, bytes.as_slice()), "f", limits)
        {
            let line = record.map_or_else(|error| error.line(), |(line, _)| line);
            prop_assert!(line > before && line <= lines);
            before = line;
        }
    }

    /// The same for a good line with some bytes replaced, which gets deeper into the parser.
    #[test]
    fn damaged_lines(places in prop::collection::vec((0..90usize, any::<u8>()), 0..4)) {
        let mut bytes = line("1", "x").into_bytes();
        let length = bytes.len();
        for (place, byte) in places {
            bytes[place % length] = byte;
        }
        for record in read(&bytes) {
            match record {
                Ok((_, interaction)) => prop_assert!(!interaction.response.trim().is_empty()),
                Err(error) => prop_assert!(error.to_string().starts_with("f.jsonl:")),
            }
        }
    }

    /// What is written comes back equal.
    #[test]
    fn round_trip(
        user in "[^\\p{Cc}\\s]{1,20}",
        id in "[^\\p{Cc}\\s]{1,20}",
        seconds in -1_000_000_000..4_000_000_000i64,
        prompt in any::<String>(),
        response in any::<String>(),
        number in any::<f64>(),
    ) {
        prop_assume!(!response.trim().is_empty() && number.is_finite());
        let (user, id) = (user.as_str().try_into().unwrap(), id.as_str().try_into().unwrap());
        let time = jiff::Timestamp::from_second(seconds).unwrap();
        let interaction = Interaction::new(user, id, time, prompt, response)
            .with_meta(Some(serde_json::json!({ "x": [number, null] })));
        let line = serde_json::to_string(&interaction).unwrap();
        let mut records = read(line.as_bytes());
        prop_assert_eq!(records.len(), 1);
        prop_assert_eq!(records.remove(0).unwrap(), (1, interaction));
    }
}

#[test]
fn a_file_of_another_kind_says_what_takes_it() {
    for (bytes, words) in [
        (&b"\x1f\x8b\x08\x00rest"[..], "gunzip"),
        (b"PK\x03\x04\xff", "unzip"),
        (b"\xff\xfe{\0", "UTF-16"),
        (b"From ada Mon Jan 1\nSubject: x\n", "mbox"),
        (b"[{\"user\": \"ada\"},\n{\"user\": \"ada\"}]", "jq -c .[]"),
        (b"[\n {\"user\": \"ada\"}\n]", "jq -c .[]"),
        (b"{\n \"user\": \"ada\"\n}", "jq -c ."),
        (b"[{\"id\": \"1\", \"input\": \"x\", \"profile\": []}]", "spring data convert"),
        (b"{\"user\":\"a\"}\r{\"user\":\"b\"}\r", "carriage returns"),
    ] {
        let error = JsonlReader::new(bytes, "f").next().unwrap().unwrap_err();
        assert!(matches!(error, JsonlError::OtherKind { line: 1, .. }), "{error:?}");
        assert!(error.to_string().contains(words), "{error}");
    }
    // One that is longer than a line may be shows at its beginning what it is.
    let long = format!("[{{\"profile\": [\"{}\"]}}]", "x".repeat(2 << 20));
    let error = JsonlReader::new(long.as_bytes(), "f").next().unwrap().unwrap_err();
    assert!(error.to_string().contains("LaMP"), "{error}");
}

#[test]
fn half_a_character_is_replaced_and_whole_ones_stay() {
    let line = concat!(
        r#"{"user":"ada","id":"1","time":"2026-01-31T09:30:00Z","#,
        r#""prompt":"\ud83d \ud83d\ude00","response":"\\ud83d"}"#,
    );
    let (_, read) = JsonlReader::new(line.as_bytes(), "f").next().unwrap().unwrap();
    assert_eq!((read.prompt.as_str(), read.response.as_str()), ("\u{fffd} 😀", "\\ud83d"));
}
