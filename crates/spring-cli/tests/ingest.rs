//! `spring ingest` on people's files: what is said, what is kept, and what a dry run shows.

#![cfg(feature = "cpu")]
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;

use common::{fails, spring, succeeds};
use serde_json::Value;

/// Two mails as a mail provider exports them, and a draft.
const MBOX: &str = "\
From MAILER-DAEMON Mon Jan 08 09:12:00 2024
X-Gmail-Labels: Sent
From: Mara Lind <mara@example.org>
To: Tom <tom@example.org>
Subject: Re: Sunday
Date: Mon, 08 Jan 2024 09:12:00 +0000
Message-ID: <m0@example.org>

gladly. i'll bring the plum thing, the one that leaks.

On Mon, 08 Jan 2024 Tom wrote:

> Are you coming to lunch?

From MAILER-DAEMON Tue Jan 09 09:12:00 2024
X-Gmail-Labels: Sent
From: Mara Lind <mara@example.org>
To: Board <board@example.org>
Subject: Roof
Date: Tue, 09 Jan 2024 09:12:00 +0000
Message-ID: <m1@example.org>

one estimate is a rumour. plums, though, are real.

From MAILER-DAEMON Wed Jan 10 09:12:00 2024
X-Gmail-Labels: Drafts
From: Mara Lind <mara@example.org>
Subject: no

not sent
";

struct Place {
    folder: tempfile::TempDir,
    state: String,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("me.db").to_str().unwrap().to_owned();
        succeeds(&["init", "--state", &state]);
        Self { folder, state }
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

#[test]
fn a_mailbox_goes_in_and_words_are_found_however_they_are_written() {
    let place = Place::new();
    let mbox = place.file("Sent.mbox", MBOX);
    let output = spring(&["ingest", "--state", &place.state, &mbox]);
    assert!(output.status.success());
    let (said, printed) =
        (String::from_utf8(output.stderr).unwrap(), String::from_utf8(output.stdout).unwrap());
    assert!(said.contains("read as mbox; --from overrides"), "{said}");
    assert!(said.contains("the person is Mara Lind <mara@example.org>"), "{said}");
    assert!(printed.contains("2 interactions added") && printed.contains("user mara-lind"));
    assert!(printed.contains("left out: drafts, 1 (first: Sent.mbox:25)"), "{printed}");
    assert!(
        printed.contains("cut off: quoted text within mails, which the prompts are made of, 1"),
        "{printed}"
    );
    // The same again adds nothing.
    let again = succeeds(&["ingest", "--state", &place.state, &mbox]);
    assert!(again.contains("0 interactions added, 2 known already, 0 new users"), "{again}");

    let search = |arguments: &[&str]| {
        let mut all = vec!["search", "--state", &place.state, "--user", "mara-lind", "--json"];
        all.extend(arguments);
        let found: Value = serde_json::from_str(&succeeds(&all)).unwrap();
        let ids = found["found"].as_array().unwrap();
        let mut ids: Vec<String> =
            ids.iter().map(|found| found["interaction"]["id"].as_str().unwrap().into()).collect();
        ids.sort();
        ids
    };
    assert_eq!(search(&["Plum"]), ["m0@example.org"]);
    assert_eq!(search(&["PLUMS!"]), ["m1@example.org"]);
    assert_eq!(search(&["--stem", "Plum"]), ["m0@example.org", "m1@example.org"]);
    assert_eq!(search(&["--stem=german", "Pflaume"]), Vec::<String>::new());
    assert!(fails(&["search", "--state", &place.state, "--user", "eve", "x"]).contains("eve"));
}

#[test]
fn a_dry_run_needs_no_state_and_adds_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("Sent.mbox");
    fs::write(&path, MBOX).unwrap();
    let path = path.to_str().unwrap();
    let shown = succeeds(&["ingest", "--dry-run", path]);
    for part in [
        "2 texts, user mara-lind",
        "2024-01-08 to 2024-01-09",
        "nothing was added",
        "  1  2024-01-08  Reply to this mail from Tom (subject: Sunday): Are you coming",
        "writes →  gladly. i'll bring the plum thing, the one that leaks.",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let shown: Value =
        serde_json::from_str(&succeeds(&["ingest", "--dry-run", "--json", path])).unwrap();
    assert_eq!(shown[0]["texts"], 2);
    assert_eq!(shown[0]["format"], "mbox");
    assert_eq!(shown[0]["pairs"][1]["prompt"], "Write a mail to Board (subject: Roof).");
    assert_eq!(
        shown[0]["left_out"][0]["reason"],
        "quoted text within mails, which the prompts are made of"
    );
}

#[test]
fn users_come_from_the_file_the_person_or_the_caller() {
    let place = Place::new();
    let table = place.file("notes.csv", "date,question,answer\n2024-01-08,Tea?,Always.\n");
    let added = succeeds(&["ingest", "--state", &place.state, &table]);
    assert!(added.contains("user me (the file names nobody"), "{added}");
    let more = place.file("more.csv", "date,question,answer\n2024-01-09,Milk?,Never.\n");
    let added = succeeds(&["ingest", "--state", &place.state, &more]);
    assert!(added.contains("user me (the only one of the state"), "{added}");
    let lines = place.file(
        "lines.jsonl",
        "{\"user\":\"ada\",\"id\":1,\"time\":\"2024-01-08\",\"prompt\":\"p\",\"response\":\"r\"}\n",
    );
    let output = spring(&["ingest", "--state", &place.state, &lines]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("times without a zone are read in"), "{said}");
    assert!(!said.contains("--from"), "the program's own format leaves nothing open: {said}");
    let users = succeeds(&["users", "--state", &place.state, "--json"]);
    assert!(users.contains("\"ada\"") && users.contains("\"me\""), "{users}");
}

#[test]
fn a_chat_asks_who_is_meant() {
    let place = Place::new();
    let chat = place.file(
        "chat.txt",
        "08/01/2024, 09:10 - Tom: Lunch?\n08/01/2024, 09:12 - Mara: yes\n08/01/2024, 09:13 - Tom: \
         Good\n",
    );
    let error = fails(&["ingest", "--state", &place.state, &chat]);
    assert!(error.contains("--me \"Tom\"") && error.contains("Mara (1)"), "{error}");
    let added = succeeds(&["ingest", "--state", &place.state, "--me", "mara", &chat]);
    assert!(added.contains("1 interaction added") && added.contains("user mara"), "{added}");
    let help = succeeds(&["ingest", "--help"]);
    assert!(help.contains("conversations.json of ChatGPT's export"), "{help}");
}
