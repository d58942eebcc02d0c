//! People's files as their programs write them (`tests/people/README.md`), read as exact pairs.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use jiff::SignedDuration;
use proptest::prelude::*;
use spring_data::people::{
    Columns, DateOrder, Error, FORMATS, Options, PromptFrom, Reading, Reason, parse_zone, read,
};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/people").join(name)
}

fn one(path: &Path, options: &Options) -> Reading {
    let mut readings = read(path, options).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(readings.len(), 1, "{readings:?}");
    readings.remove(0)
}

fn of(name: &str) -> Reading {
    one(&fixture(name), &Options::default())
}

fn me(name: &str) -> Options {
    Options::default().with_me(vec![name.into()])
}

/// Time, prompt and response of all texts.
fn pairs(reading: &Reading) -> Vec<(String, &str, &str)> {
    reading
        .texts
        .iter()
        .map(|text| (text.time.to_string(), text.prompt.as_str(), text.response.as_str()))
        .collect()
}

fn count(reading: &Reading, reason: Reason) -> u64 {
    reading.left_out.iter().find(|found| found.reason == reason).map_or(0, |found| found.count)
}

#[test]
fn a_mailbox_gives_replies_and_mails_with_subjects() {
    let reading = of("takeout.mbox");
    assert_eq!(reading.format, "mbox");
    assert_eq!(
        pairs(&reading),
        [
            (
                "2024-01-08T09:12:00Z".into(),
                "Reply to this mail from Jörg (subject: Küche):\n\nCan the plumber come\n\
                 on Thursday?",
                "Thursday works, but not before nine. The dog has the vet at eight and he sulks \
                 after.\n\nFrom the door, turn left."
            ),
            (
                "2024-01-09T17:40:00Z".into(),
                "Write a mail to Priya (subject: Slides for Friday).",
                "Slide four is doing the work of three slides and is tired. Split it."
            ),
            (
                "2024-01-11T09:00:00Z".into(),
                "Reply to this mail from Tom (subject: Honey):\n\nHow much is a jar – five?",
                "Six. The bees want a raise."
            ),
        ]
    );
    assert_eq!(reading.texts[0].id.as_str(), "one@mail.example.org");
    assert_eq!(reading.user.as_deref(), Some("ada-moor"));
    assert!(reading.me.as_ref().unwrap().contains("ada@example.org"), "{:?}", reading.me);
    for (reason, times) in [
        (Reason::Draft, 1),
        (Reason::Quoted, 1),
        (Reason::Signature, 1),
        (Reason::HtmlPart, 1),
        (Reason::Attachment, 1),
        (Reason::Forwarded, 1),
        (Reason::Empty, 1),
        (Reason::Others, 1),
    ] {
        assert_eq!(count(&reading, reason), times, "{reason}: {:?}", reading.left_out);
    }
    // The first thing that was left out is named by its line.
    let draft = reading.left_out.iter().find(|found| found.reason == Reason::Draft).unwrap();
    assert_eq!(draft.line, 55);
}

#[test]
fn what_becomes_the_prompt_can_be_chosen() {
    let prompts = |options: Options| -> Vec<String> {
        let reading = one(&fixture("takeout.mbox"), &options);
        reading.texts.iter().map(|text| text.prompt.clone()).collect()
    };
    let before = prompts(Options::default().with_prompt_from(PromptFrom::Before));
    assert_eq!(before.len(), 2);
    let titles = prompts(Options::default().with_prompt_from(PromptFrom::Title));
    assert_eq!(titles[0], "Write a mail to Jörg (subject: Küche).");
    let template = Some("{from}|{to}|{title}|{before}|{x}".to_owned());
    let filled = prompts(Options::default().with_template(template));
    assert_eq!(filled[2], "Tom|Tom|Honey|How much is a jar – five?|{x}");
}

#[test]
fn a_mail_in_html_keeps_its_quotation_apart() {
    let reading = of("outlook.eml");
    assert_eq!(reading.format, "eml");
    assert_eq!(
        pairs(&reading),
        [(
            "2024-01-15T08:05:00Z".into(),
            "Reply to this mail from Board (subject: Roof):\n\nThe estimate is 14,200. Should we \
             approve it?",
            "No from me. One estimate is a rumour, two are a price – always."
        )]
    );
}

/// Names with colons cannot be in a repository that Windows checks out.
#[cfg(unix)]
#[test]
fn a_maildir_links_answers_by_their_ids() {
    let folder = tempfile::tempdir().unwrap();
    for part in ["cur", "new", "tmp"] {
        fs::create_dir(folder.path().join(part)).unwrap();
    }
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write(
        "new/1704705120.M1P1.host",
        "From: Tom <tom@example.org>\nTo: Ada <ada@example.org>\nSubject: Sunday\nDate: Fri, 19 \
         Jan 2024 19:00:00 +0000\nMessage-ID: <s0@example.org>\nDelivered-To: ada@example.org\n\n\
         Are you coming to lunch?\n",
    );
    write(
        "cur/1704705121.M2P1.host:2,RS",
        "From: Ada <ada@example.org>\nTo: Tom <tom@example.org>\nSubject: Re: Sunday\nDate: Fri, \
         19 Jan 2024 20:11:00 +0000\nMessage-ID: <s1@example.org>\nIn-Reply-To: \
         <s0@example.org>\n\nGladly. No speeches.\n",
    );
    write("cur/1704705122.M3P1.host:2,DS", "From: Ada <ada@example.org>\n\nnot yet\n");
    write("cur/1704705123.M4P1.host:2,ST", "From: Ada <ada@example.org>\n\nthrown away\n");
    std::os::unix::fs::symlink("/etc", folder.path().join("cur/link")).unwrap();
    let reading = one(folder.path(), &Options::default());
    assert_eq!(reading.format, "maildir");
    assert_eq!(
        pairs(&reading),
        [(
            "2024-01-19T20:11:00Z".into(),
            "Reply to this mail from Tom (subject: Sunday):\n\nAre you coming to lunch?",
            "Gladly. No speeches."
        )]
    );
    for reason in [Reason::Draft, Reason::Discarded, Reason::Link, Reason::Others] {
        assert_eq!(count(&reading, reason), 1, "{reason}: {:?}", reading.left_out);
    }
}

#[test]
fn tables_are_read_by_the_names_of_their_columns() {
    let berlin = parse_zone("Europe/Berlin").unwrap();
    let options = Options::default().with_zone(berlin).with_skip_errors(true);
    let reading = one(&fixture("excel.csv"), &options);
    assert_eq!(reading.format, "csv");
    assert_eq!(
        pairs(&reading),
        [
            ("2024-01-31T08:12:00Z".into(), "Kommt der Klempner?", "Ja, am\nDonnerstag."),
            ("2024-02-01T17:40:00Z".into(), "Und die Küche?", "Später."),
        ]
    );
    assert_eq!(count(&reading, Reason::NoPrompt), 1);
    assert_eq!(count(&reading, Reason::Empty), 1);
    let problem = &reading.problems[0];
    assert_eq!((problem.line, problem.field.as_deref()), (7, Some("Date")));
    let strict = read(&fixture("excel.csv"), &Options::default()).unwrap_err();
    assert!(strict.to_string().contains("excel.csv:7: Date: \"irgendwann\""), "{strict}");

    let reading = of("table.tsv");
    assert_eq!(reading.format, "tsv");
    assert_eq!(
        pairs(&reading),
        [
            ("2024-05-01T00:00:00Z".into(), "Write a text with the title: Bees", "They hum."),
            ("2024-05-02T00:00:00Z".into(), "Write a text with the title: Wax", "It melts."),
        ]
    );
    assert_eq!(reading.texts[1].id.as_str(), "8");

    let reading = of("records.json");
    assert_eq!(
        pairs(&reading),
        [
            ("2024-01-08T00:00:00Z".into(), "Tea?", "Always."),
            ("2024-01-09T09:12:00Z".into(), "Coffee?", "Never."),
        ]
    );
}

#[test]
fn columns_can_be_named_and_missing_ones_are_asked_for() {
    let columns = |prompt: &str, response: &str| {
        let columns = Columns::default()
            .with_prompt(Some(prompt.into()))
            .with_response(Some(response.into()));
        Options::default().with_columns(columns)
    };
    let reading = one(&fixture("table.tsv"), &columns("body", "2"));
    assert_eq!(pairs(&reading)[0].1, "They hum.");
    assert_eq!(pairs(&reading)[0].2, "Bees");
    let error = read(&fixture("table.tsv"), &columns("body", "mood")).unwrap_err().to_string();
    assert!(error.contains("--response COLUMN") && error.contains("id, subject, body"), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bare.csv");
    fs::write(&path, "Tea?,Always.\nCoffee?,Never.\n").unwrap();
    let reading = one(&path, &columns("1", "2").with_header(false));
    assert_eq!(reading.texts.len(), 2);
    assert!(reading.notes.iter().any(|note| note.contains("no times")), "{:?}", reading.notes);
}

#[test]
fn lenient_lines_are_interactions_and_all_errors_are_told_at_once() {
    let reading = of("history.jsonl");
    assert_eq!(reading.format, "json");
    assert_eq!(
        pairs(&reading),
        [
            ("2024-01-08T00:00:00Z".into(), "Tea?", "Always."),
            ("2024-01-08T10:00:00Z".into(), "Coffee?", "Never."),
        ]
    );
    assert_eq!(reading.texts[0].id.as_str(), "1");
    assert_eq!(reading.texts[0].user.as_ref().unwrap().as_str(), "ada");

    let Err(Error::Problems { problems, total }) =
        read(&fixture("broken.jsonl"), &Options::default())
    else {
        panic!("no problems");
    };
    let found: Vec<(u64, Option<&str>)> =
        problems.iter().map(|problem| (problem.line, problem.field.as_deref())).collect();
    assert_eq!(total, 4);
    assert_eq!(found, [(2, Some("id")), (2, Some("time")), (3, None), (4, Some("response"))]);
    let reading = one(&fixture("broken.jsonl"), &Options::default().with_skip_errors(true));
    assert_eq!(reading.texts.len(), 1);
    assert_eq!(count(&reading, Reason::Unreadable), 4);
}

#[test]
fn the_kept_branch_of_a_conversation_is_read() {
    let reading = of("chatgpt.json");
    assert_eq!(reading.format, "chatgpt");
    assert_eq!(
        pairs(&reading),
        [
            (
                "2024-01-08T09:12:10Z".into(),
                "Write to an assistant about: Kitchen plan",
                "plan my kitchen, it is tiny"
            ),
            (
                "2024-01-08T09:13:20Z".into(),
                "How tiny is it?",
                "two metres. the cat counts as furniture"
            ),
        ]
    );
    assert_eq!(reading.texts[1].id.as_str(), "c-1/u2");
    for (reason, times) in [
        (Reason::OtherVersion, 2),
        (Reason::Tool, 2),
        (Reason::Media, 1),
        (Reason::System, 1),
        (Reason::Others, 1),
    ] {
        assert_eq!(count(&reading, reason), times, "{reason}: {:?}", reading.left_out);
    }
}

#[test]
fn conversations_of_claude_are_read() {
    let reading = of("claude.json");
    assert_eq!(reading.format, "claude");
    assert_eq!(
        pairs(&reading),
        [
            (
                "2024-01-15T08:00:01Z".into(),
                "Write to an assistant about: Roof",
                "is one estimate enough"
            ),
            ("2024-01-15T08:01:00Z".into(), "Two would be better.", "thought so. one is a rumour"),
        ]
    );
    assert_eq!(count(&reading, Reason::Attachment), 2);
    assert_eq!(count(&reading, Reason::Tool), 1);
}

#[test]
fn a_chat_is_answered_turn_by_turn() {
    let name = "WhatsApp Chat with Tom.txt";
    let reading = of(name);
    assert_eq!(reading.format, "whatsapp");
    assert!(reading.me.as_ref().unwrap().starts_with("Ada; the chat is with Tom"));
    assert_eq!(
        pairs(&reading),
        [
            (
                "2024-01-08T09:12:00Z".into(),
                "Can the plumber come on Thursday?",
                "thursday works\nnot before nine\nthe dog has the vet"
            ),
            ("2024-01-08T09:17:00Z".into(), "OK", "good: key is under the pot"),
            // More than ten minutes after the person's own last word.
            ("2024-01-08T09:40:00Z".into(), "Write a message to Tom.", "the blue one"),
            ("2024-01-13T20:00:00Z".into(), "Write a message to Tom.", "sunday lunch?"),
        ]
    );
    for reason in [Reason::System, Reason::Media, Reason::Deleted] {
        assert_eq!(count(&reading, reason), 1, "{reason}: {:?}", reading.left_out);
    }
    let joined = Options::default().with_join_within(SignedDuration::from_hours(1));
    assert_eq!(
        pairs(&one(&fixture(name), &joined))[1].2,
        "good: key is under the pot\nthe blue one"
    );
    let turns = Options::default().with_turns(3).with_prompt_from(PromptFrom::Before);
    let reading = one(&fixture(name), &turns);
    assert_eq!(
        pairs(&reading)[1].1,
        "Tom: Can the plumber come on Thursday?\nAda: thursday works\nAda: not before nine\nthe \
         dog has the vet\nTom: OK"
    );
    assert_eq!(count(&reading, Reason::NoPrompt), 2);
    // Days of the month above 12 do not occur twice: said otherwise, it is not a date.
    let error =
        read(&fixture(name), &Options::default().with_date_order(Some(DateOrder::MonthFirst)));
    assert!(error.unwrap_err().to_string().contains("--date-order"));
}

#[test]
fn an_american_telephone_and_a_group() {
    let path = fixture("iphone/_chat.txt");
    let error = read(&path, &Options::default()).unwrap_err().to_string();
    assert!(error.contains("--me \"Tom\"") && error.contains("Ada (1), Zoë (1)"), "{error}");
    let zone = parse_zone("-05:00").unwrap();
    let reading = one(&path, &me("ada").with_zone(zone));
    assert_eq!(
        pairs(&reading),
        [(
            "2024-01-09T02:12:30Z".into(),
            "Tom: Who brings plums?\nZoë: Not me",
            "me. the ones that leak"
        )]
    );
    assert_eq!(count(&reading, Reason::Media), 1);
    let error = read(&path, &me("nobody")).unwrap_err().to_string();
    assert!(error.contains("nothing by nobody"), "{error}");
    // A first name will do where one person alone has it.
    assert_eq!(one(&fixture("log.txt"), &me("ada")).texts.len(), 1);
}

/// Hand-written exports call the messages of every conversation alike.
#[test]
fn messages_of_two_conversations_may_have_one_id() {
    let folder = tempfile::tempdir().unwrap();
    let conversation = |id: &str, text: &str| {
        serde_json::json!({
            "title": id, "conversation_id": id,
            "mapping": {"a": {
                "id": "a", "parent": null, "children": [],
                "message": {
                    "id": "a", "author": {"role": "user"}, "create_time": 1704705120.0,
                    "content": {"content_type": "text", "parts": [text]}
                }
            }}
        })
    };
    let path = folder.path().join("conversations.json");
    let both = format!("[{},{}]", conversation("c0", "one"), conversation("c1", "two"));
    fs::write(&path, both).unwrap();
    assert_eq!(one(&path, &Options::default()).texts.len(), 2);
}

#[test]
fn telegram_slack_and_discord_answer_what_they_name() {
    let reading = of("telegram.json");
    assert_eq!(reading.format, "telegram");
    assert_eq!(
        pairs(&reading),
        [("2024-01-08T09:12:00Z".into(), "Look at example.org please", "looked. tired")]
    );
    for reason in [Reason::System, Reason::Media, Reason::ForwardedMessage] {
        assert_eq!(count(&reading, reason), 1, "{reason}: {:?}", reading.left_out);
    }

    let reading = one(&fixture("slack"), &me("U1"));
    assert_eq!(reading.format, "slack");
    assert_eq!(
        pairs(&reading),
        [("2024-01-08T09:12:00.0002Z".into(), "How many jars, @ada?", "six & a half")]
    );
    for reason in [Reason::System, Reason::Media, Reason::Automatic] {
        assert_eq!(count(&reading, reason), 1, "{reason}: {:?}", reading.left_out);
    }

    let reading = one(&fixture("discord.json"), &me("Ada"));
    assert_eq!(reading.format, "discord");
    assert_eq!(pairs(&reading), [("2024-01-08T09:12:00Z".into(), "jars?", "six")]);
    let reading = of("package");
    assert_eq!(
        pairs(&reading),
        [("2024-01-08T09:12:00Z".into(), "Write a message to #bees.", "six")]
    );
}

#[test]
fn notes_have_titles_and_dates() {
    let reading = of("vault");
    assert_eq!(reading.format, "obsidian");
    assert_eq!(
        pairs(&reading),
        [
            (
                "1970-01-01T00:00:01Z".into(),
                "Write a note with the title: Wax",
                "Wax melts.\n\nSlowly."
            ),
            (
                "2024-01-08T09:12:00Z".into(),
                "Write a note with the title: The kitchen",
                "See the plumber. \n\nIt drips."
            ),
            ("2024-02-01T00:00:00Z".into(), "Write a note with the title: 2024-02-01", "Rain."),
        ]
    );
    assert_eq!(reading.texts[1].id.as_str(), "Daily/2024-01-08 Kitchen.md");
    assert_eq!(count(&reading, Reason::Empty), 1);
    assert_eq!(count(&reading, Reason::OtherFile), 1);
    assert_eq!(of("vault/Wax.md").format, "markdown");
}

#[test]
fn commits_come_from_a_log_or_a_repository() {
    let reading = one(&fixture("log.txt"), &me("ada@example.org"));
    assert_eq!(reading.format, "git");
    assert_eq!(
        pairs(&reading),
        [(
            "2024-01-08T08:12:00Z".into(),
            "Describe a commit with the subject: hive: frames are counted twice",
            "Once when they go in, once when they come out.\nThe difference is honey."
        )]
    );
    assert_eq!(count(&reading, Reason::Merge), 1);
    assert_eq!(count(&reading, Reason::NoBody), 1);
    assert_eq!(count(&reading, Reason::Others), 1);
}

/// Runs git as the tests' own person.
fn git(folder: &Path, arguments: &[&str]) -> bool {
    let status = std::process::Command::new("git")
        .arg("-C")
        .arg(folder)
        .args(["-c", "commit.gpgsign=false"])
        .args(arguments)
        .env("GIT_AUTHOR_DATE", "2024-01-08T09:12:00Z")
        .env("GIT_COMMITTER_DATE", "2024-01-08T09:12:00Z")
        .output();
    status.is_ok_and(|output| output.status.success())
}

#[test]
fn nothing_that_a_repository_configures_is_run() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path();
    if !git(place, &["init", "-q"]) {
        eprintln!("skipped: there is no git");
        return;
    }
    let trap = place.join("trap");
    let program = format!("touch {}", trap.display());
    for (key, value) in [
        ("user.email", "ada@example.org"),
        ("user.name", "Ada"),
        ("core.pager", program.as_str()),
        ("core.fsmonitor", program.as_str()),
        ("log.showSignature", "true"),
        ("gpg.program", program.as_str()),
        ("pager.log", program.as_str()),
        ("diff.external", program.as_str()),
    ] {
        assert!(git(place, &["config", key, value]));
    }
    assert!(git(
        place,
        &[
            "-c",
            "core.fsmonitor=",
            "commit",
            "-q",
            "--allow-empty",
            "-m",
            "a: b",
            "-m",
            "So\nit is."
        ]
    ));
    let _ = fs::remove_file(&trap);
    let reading = one(place, &Options::default());
    assert_eq!(
        pairs(&reading),
        [("2024-01-08T09:12:00Z".into(), "Describe a commit with the subject: a: b", "So\nit is.")]
    );
    assert!(reading.me.unwrap().contains("git's settings"));
    assert!(!trap.exists(), "a program of the repository was run");
}

#[test]
fn data_sets_are_read_with_their_tasks_prompts() {
    let reading = of("lamp.json");
    assert_eq!(reading.format, "lamp");
    assert_eq!(reading.texts.len(), 1);
    assert_eq!(reading.texts[0].response, "Hum");
    assert_eq!(reading.texts[0].user.as_ref().unwrap().as_str(), "310");
}

#[cfg(feature = "parquet")]
#[test]
fn tables_in_parquet_are_read() {
    let reading = of("table.parquet");
    assert_eq!(reading.format, "parquet");
    assert_eq!(
        pairs(&reading),
        [
            ("2024-01-08T09:12:00Z".into(), "Tea?", "Always."),
            ("2024-01-09T09:12:00Z".into(), "Coffee?", "Never."),
        ]
    );
    assert_eq!(reading.texts[1].id.as_str(), "2");
}

#[cfg(feature = "parquet")]
#[test]
fn damaged_parquet_is_an_error_and_not_a_panic() {
    let whole = fs::read(fixture("table.parquet")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("changed.parquet");
    let mut state = 1_u64;
    // Xorshift; the library itself panics on 4 of these.
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as usize
    };
    for _ in 0..4000 {
        let mut bytes = whole.clone();
        for _ in 0..1 + next() % 6 {
            let at = next() % bytes.len();
            bytes[at] = next() as u8;
        }
        fs::write(&path, bytes).unwrap();
        if let Err(error) = read(&path, &Options::default()) {
            assert!(error.to_string().contains("changed.parquet"), "{error}");
        }
    }
}

#[test]
fn archives_and_other_encodings_are_opened() {
    let folder = tempfile::tempdir().unwrap();
    let text = fs::read(fixture("WhatsApp Chat with Tom.txt")).unwrap();
    let plain = pairs(&of("WhatsApp Chat with Tom.txt")).len();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(&text).unwrap();
    let gz = write("chat.gz", &gz.finish().unwrap());
    let zst = ruzstd::encoding::compress_to_vec(
        text.as_slice(),
        ruzstd::encoding::CompressionLevel::Fastest,
    );
    let zst = write("chat.zst", &zst);
    let wide: Vec<u8> = String::from_utf8(text.clone())
        .unwrap()
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let wide = write("chat.txt", &wide);
    let crlf = String::from_utf8(text.clone()).unwrap().replace('\n', "\r\n");
    let crlf = write("crlf.txt", crlf.as_bytes());
    for path in [&gz, &zst, &wide, &crlf] {
        let reading = one(path, &me("Ada"));
        assert_eq!((reading.format, reading.texts.len()), ("whatsapp", plain), "{path:?}");
    }

    // As the iPhone exports: the archive has the chat's name.
    let archive = |name: &str, files: &[(&str, &[u8])]| {
        let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        for (name, bytes) in files {
            zip.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
            zip.write_all(bytes).unwrap();
        }
        write(name, &zip.finish().unwrap().into_inner())
    };
    let path = archive(
        "WhatsApp Chat - Tom.zip",
        &[("_chat.txt", &text), ("IMG-1.jpg", b"\xff\xd8\xff\0"), ("../../evil.txt", b"x")],
    );
    let reading = one(&path, &Options::default());
    assert_eq!((reading.format, reading.texts.len()), ("whatsapp", plain));
    assert_eq!(count(&reading, Reason::OtherFile), 2);
    assert!(reading.me.unwrap().contains("the chat is with Tom"));

    let conversations = fs::read(fixture("chatgpt.json")).unwrap();
    let path = archive(
        "export.zip",
        &[
            ("conversations.json", &conversations),
            ("user.json", br#"{"id":"user-1","email":"ada@example.org"}"#),
            ("message_feedback.json", b"[]"),
        ],
    );
    let reading = one(&path, &Options::default());
    assert_eq!((reading.format, reading.texts.len()), ("chatgpt", 2));
    assert_eq!(count(&reading, Reason::OtherFile), 2);
}

#[test]
fn bombs_and_nonsense_are_refused_with_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    // 300 MB of one line, packed into less than one.
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let spaces = vec![b'x'; 1 << 20];
    gz.write_all(b"id,prompt,response\n1,a,").unwrap();
    (0..300).for_each(|_| gz.write_all(&spaces).unwrap());
    let bomb = write("bomb.csv.gz", &gz.finish().unwrap());
    assert!(fs::metadata(&bomb).unwrap().len() < 1 << 20);
    let error = read(&bomb, &Options::default()).unwrap_err().to_string();
    assert!(error.contains("bomb.csv.gz") && error.contains("256 MiB"), "{error}");

    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let deep = write("deep.json", deep.as_bytes());
    assert!(read(&deep, &Options::default()).is_err());
    let nested: String = (0..2000)
        .map(|depth| format!("Content-Type: multipart/mixed; boundary=b{depth}\n\n--b{depth}\n"))
        .collect();
    let nested =
        write("nested.eml", format!("From: a@example.org\nSubject: s\n{nested}\nend").as_bytes());
    let _ = read(&nested, &Options::default());
    let html = format!(
        "From: a@example.org\nSubject: s\nDate: Mon, 8 Jan 2024 09:12:00 +0000\nContent-Type: \
         text/html\n\n{}deep",
        "<div>".repeat(50_000)
    );
    let html = write("deep.eml", html.as_bytes());
    let _ = read(&html, &Options::default());
    for (name, bytes) in [
        ("what.bin", &b"\0\x01\x02\x03\x04"[..]),
        ("what.txt", b"just some words"),
        ("cut.zip", b"PK\x03\x04cut"),
        ("cut.gz", b"\x1f\x8b\x08cut"),
    ] {
        let path = write(name, bytes);
        let error = read(&path, &Options::default()).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
    let error = read(&folder.path().join("none"), &Options::default()).unwrap_err().to_string();
    assert!(error.contains("no such file"), "{error}");
}

#[test]
fn a_folder_of_many_formats_gives_one_reading_for_each() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["takeout.mbox", "chatgpt.json", "table.tsv"] {
        fs::copy(fixture(name), folder.path().join(name)).unwrap();
    }
    fs::write(folder.path().join("other.csv"), "height,width\n1,2\n").unwrap();
    let readings = read(folder.path(), &Options::default()).unwrap();
    let found: Vec<(&str, usize)> =
        readings.iter().map(|reading| (reading.format, reading.texts.len())).collect();
    assert_eq!(found, [("chatgpt", 2), ("tsv", 2), ("mbox", 3)]);
    assert_eq!(count(&readings[1], Reason::OtherFile), 1);
}

#[test]
fn every_format_has_a_name_of_its_own() {
    let mut names: Vec<&str> = FORMATS.iter().map(|format| format.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), FORMATS.len());
    let error = read(&fixture("log.txt"), &Options::default().with_from(Some("word".into())));
    assert!(error.unwrap_err().to_string().contains("no format is called \"word\""));
}

/// Files that are read whole, each with its format.
const MUTATED: &[(&str, &str)] = &[
    ("takeout.mbox", "mbox"),
    ("outlook.eml", "eml"),
    ("excel.csv", "csv"),
    ("table.tsv", "tsv"),
    ("records.json", "json"),
    ("history.jsonl", "json"),
    ("chatgpt.json", "chatgpt"),
    ("claude.json", "claude"),
    ("WhatsApp Chat with Tom.txt", "whatsapp"),
    ("iphone/_chat.txt", "whatsapp"),
    ("telegram.json", "telegram"),
    ("slack/bees/2024-01-08.json", "slack"),
    ("discord.json", "discord"),
    ("package/messages/c10/messages.json", "discord"),
    ("vault/Daily/2024-01-08 Kitchen.md", "obsidian"),
    ("log.txt", "git"),
    ("lamp.json", "lamp"),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_mutated_file_makes_a_reader_panic(
        which in 0..MUTATED.len(),
        changes in prop::collection::vec(
            (any::<prop::sample::Index>(), any::<u8>(), 0..4_u8),
            1..12,
        ),
        named in any::<bool>(),
    ) {
        let (name, format) = MUTATED[which];
        let mut bytes = fs::read(fixture(name)).unwrap();
        for (at, byte, kind) in changes {
            let at = at.index(bytes.len().max(1));
            match kind {
                0 => bytes.truncate(at),
                1 => bytes.insert(at.min(bytes.len()), byte),
                2 => if at < bytes.len() { bytes[at] = byte },
                _ => {
                    let end = (at + usize::from(byte)).min(bytes.len());
                    let part = bytes[at.min(end)..end].to_vec();
                    bytes.splice(at.min(bytes.len())..at.min(bytes.len()), part);
                }
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("changed");
        fs::write(&path, bytes).unwrap();
        let options = me("Ada").with_skip_errors(true).with_from(named.then(|| format.to_owned()));
        if let Ok(readings) = read(&path, &options) {
            for text in readings.iter().flat_map(|reading| &reading.texts) {
                prop_assert!(!text.response.trim().is_empty());
            }
        }
    }
}
