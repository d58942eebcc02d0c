//! The parts, and one small run from texts to a model.

use std::{fs, path::Path};

use clap::{CommandFactory, Parser};
use spring_core::{Score, prompt::RetrievedPair};
use spring_model::{AnyModel, Device, ModelFiles, Sequence};

use crate::{
    batches::{Batch, Batches, Before},
    codec::Codec,
    folder,
    layout::{Pair, fitting, to_learn, to_score},
    related::Related,
    settings::Settings,
    texts::{Text, Texts},
    train::{End, report_only, run},
};

const TOPICS: [&str; 12] = [
    "green leaves",
    "wooden boats",
    "warm bread",
    "red bicycles",
    "cold rivers",
    "old clocks",
    "small birds",
    "paper maps",
    "glass bottles",
    "deep snow",
    "loud trains",
    "sweet oranges",
];

/// Texts of two prompt templates over four topics.
fn text(i: usize) -> Text {
    let topic = TOPICS[i % TOPICS.len()];
    let prompt = match i / TOPICS.len() % 2 {
        0 => format!("Write a story about \"{topic}\"."),
        _ => "Write the review that a reader wrote.".to_owned(),
    };
    Text {
        prompt,
        response: format!("This is text number {i}, and it speaks of {topic}. It was \u{e9}crit."),
    }
}

fn texts(count: usize) -> Vec<Text> {
    (0..count).map(text).collect()
}

fn line(text: &Text) -> String {
    serde_json::json!({ "id": 7, "prompt": text.prompt, "response": text.response }).to_string()
}

fn write(dir: &Path, name: &str, lines: &[String]) -> std::path::PathBuf {
    let path = dir.join(name);
    fs::write(&path, lines.join("\n")).unwrap();
    path
}

fn codec() -> Codec {
    Codec::train(&texts(48), 48, 300, 1).unwrap()
}

fn settings(line: &str) -> Settings {
    Settings::try_parse_from(line.split_whitespace()).unwrap()
}

#[test]
fn the_command_line_is_consistent() {
    Settings::command().debug_assert();
    assert!(Settings::try_parse_from(["pretrain", "a.jsonl"]).is_err());
    assert!(Settings::try_parse_from(["pretrain", "a.jsonl", "--report-only", "model"]).is_ok());
}

#[test]
fn texts_are_split_by_themselves_and_not_by_their_place() {
    let dir = tempfile::tempdir().unwrap();
    let mut lines: Vec<String> = texts(30).iter().map(line).collect();
    lines.push(lines[3].clone());
    let read = |lines: &[String], seed| {
        Texts::read(&[write(dir.path(), "a.jsonl", lines)], None, 5, seed).unwrap()
    };
    let one = read(&lines, 1);
    assert_eq!((one.train.len(), one.valid.len(), one.repeated), (25, 5, 1));
    assert!(one.valid.iter().all(|text| !one.train.contains(text)));

    lines.reverse();
    let reversed = read(&lines, 1);
    assert!(reversed.valid.iter().all(|text| one.valid.contains(text)));
    assert_ne!(reversed.fingerprint, one.fingerprint);
    assert!(read(&lines, 2).valid.iter().any(|text| !one.valid.contains(text)));
}

#[test]
fn bad_lines_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let bad = |second: &str| {
        let path = write(dir.path(), "b.jsonl", &[line(&text(0)), second.to_owned()]);
        format!("{:#}", Texts::read(&[path], None, 0, 1).unwrap_err())
    };
    let cut = bad(r#"{"prompt": "a"#);
    assert!(cut.contains("b.jsonl, line 2: EOF while parsing"), "{cut}");
    assert!(bad(r#"{"prompt": "a"}"#).contains("line 2: missing field `response`"));
    assert!(bad(r#"{"prompt": "a", "response": ""}"#).contains("line 2: the response is empty"));
}

#[test]
fn compressed_files_are_read_frame_by_frame() {
    let dir = tempfile::tempdir().unwrap();
    let level = ruzstd::encoding::CompressionLevel::Fastest;
    let frame = |range: std::ops::Range<usize>| {
        let text: String = range.map(|i| line(&text(i)) + "\n").collect();
        ruzstd::encoding::compress_to_vec(text.as_bytes(), level)
    };
    let path = dir.path().join("a.jsonl.zst");
    fs::write(&path, [frame(0..7), frame(7..9)].concat()).unwrap();
    let read = |limit| Texts::read(std::slice::from_ref(&path), limit, 0, 1).unwrap().train;
    assert_eq!(read(None), texts(9));
    assert_eq!(read(Some(4)), texts(4));
}

#[test]
fn a_tokenizer_is_that_of_the_layout() {
    let codec = codec();
    assert_eq!((codec.vocabulary(), codec.begin, codec.end), (300, 1, 2));
    // Ids of text alone: a special token's name stays text.
    let ids = codec.encode("<|end|> \u{1f980}").unwrap();
    assert!(ids.iter().all(|id| *id > 2) && ids.len() > 4, "{ids:?}");

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tokenizer.json");
    codec.write(&file).unwrap();
    let again = Codec::read(&file).unwrap();
    assert_eq!(
        again.encode("This is text \u{e9}").unwrap(),
        codec.encode("This is text \u{e9}").unwrap()
    );
    let json = folder::read_json(&file).unwrap();
    assert_eq!(json["pre_tokenizer"]["add_prefix_space"], false);
    assert_eq!(json["post_processor"]["single"][0]["SpecialToken"]["id"], "<|begin|>");
    let other = Codec::train(&texts(48), 48, 300, 1).unwrap();
    other.write(&dir.path().join("other.json")).unwrap();
    assert_eq!(folder::read_json(&dir.path().join("other.json")).unwrap(), json);
}

#[test]
fn the_bytes_of_a_responses_tokens_are_its_own() {
    let codec = codec();
    for response in ["plain", "\u{e9}crit \u{1f980}\u{1f980}!", " \n x "] {
        let bytes = codec.response_bytes(response).unwrap();
        assert_eq!(bytes.len(), codec.encode(response).unwrap().len() + 1);
        assert_eq!((bytes.iter().sum::<usize>(), bytes.last()), (response.len(), Some(&0)));
    }
}

#[test]
fn what_does_not_fit_is_left_out_or_cut() {
    let pair = |token: u32, prompt: usize, response: usize| Pair {
        prompt: vec![token; prompt],
        response: vec![token + 1; response],
    };
    let candidates = [pair(10, 2, 2), pair(20, 4, 4), pair(30, 1, 1)];
    let target = pair(40, 2, 3);
    // 1 + 4 + 2 + 5: the second best does not fit.
    assert_eq!(fitting(&candidates, &target, 12), [&candidates[2], &candidates[0]]);
    assert_eq!(to_learn(1, &[&candidates[2]], &target, 12).response, [30, 31, 40, 40, 41, 41, 41]);
    assert_eq!(to_learn(1, &[], &target, 4).response, [40, 40, 41]);
    let cut = to_score(1, &[], &pair(40, 9, 9), 7);
    assert_eq!(cut, Sequence { context: vec![1, 40, 40, 40], response: vec![41; 3] });
}

#[test]
fn related_texts_share_words_and_are_never_the_target() {
    let texts = texts(48);
    let related = Related::new(&texts, 1).unwrap();
    for (i, text) in texts.iter().enumerate() {
        let found = related.to_text(text, Some(i), 3);
        assert_eq!(found.len(), 3);
        assert!(!found.contains(&i));
        assert!(
            found.iter().all(|other| other % TOPICS.len() == i % TOPICS.len()),
            "{i}: {found:?}"
        );
    }
    // The stories' prompts have a topic, the reviews' have nothing of their own.
    let found = related.to_prompt(&texts[2].prompt, 2).unwrap();
    assert!(found.iter().all(|other| other % TOPICS.len() == 2), "{found:?}");
    assert_eq!(related.to_prompt(&texts[TOPICS.len()].prompt, 2), None);
}

#[test]
fn a_batch_depends_on_its_step_alone() {
    let (texts, codec) = (texts(48), codec());
    let related = Related::new(&texts, 1).unwrap();
    let make = |seed| {
        let before = Before { related: Some(&related), share: 0.5, copies: 0.0 };
        Batches::new(&texts, &codec, before, 256, 1000, seed).unwrap()
    };
    let mut one = make(1);
    let all: Vec<Batch> = (0..12).map(|step| one.batch(step).unwrap()).collect();
    assert!(one.rows() * 12 > texts.len());
    let mut other = make(1);
    for step in [7, 0, 11] {
        assert_eq!(other.batch(step).unwrap(), all[step]);
    }
    assert_ne!(make(2).batch(0).unwrap(), all[0]);

    let sequences: Vec<&Sequence> = all.iter().flat_map(|batch| &batch.sequences).collect();
    assert!(sequences.iter().all(|sequence| sequence.len() <= 256 && sequence.context == [1]));
    let with: usize = all.iter().map(|batch| batch.with_related).sum();
    let share = with as f64 / sequences.len() as f64;
    assert!((0.3..0.7).contains(&share), "{share}");
    // An end token closes every text: those with related texts have more than one.
    let ends =
        |sequence: &&&Sequence| sequence.response.iter().filter(|id| **id == codec.end).count() > 1;
    assert_eq!(sequences.iter().filter(ends).count(), with);
    // The first epoch has every text once, as a target.
    let mut targets: Vec<usize> = Vec::new();
    for sequence in &sequences[..texts.len()] {
        let target = texts.iter().position(|text| {
            let pair = codec.pair(text).unwrap();
            sequence.response.ends_with(&[pair.prompt, pair.response].concat())
        });
        targets.push(target.unwrap());
    }
    targets.sort_unstable();
    assert_eq!(targets, (0..texts.len()).collect::<Vec<_>>());
}

#[test]
fn copies_stand_before_their_target() {
    let (texts, codec) = (texts(12), codec());
    let before = Before { copies: 1.0, ..Before::default() };
    let batch = Batches::new(&texts, &codec, before, 1024, 1000, 1).unwrap().batch(0).unwrap();
    assert_eq!(batch.with_related, batch.sequences.len());
    for Sequence { response, .. } in &batch.sequences {
        let (first, second) = response.split_at(response.len() / 2);
        assert_eq!(first, second);
    }
}

#[test]
fn a_folder_is_replaced_whole_or_not_at_all() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path().join("checkpoint");
    let write = |text: &'static str| move |dir: &Path| Ok(fs::write(dir.join("file"), text)?);
    let read = || fs::read_to_string(folder::find(&dir).unwrap().join("file")).unwrap();
    assert_eq!(folder::find(&dir), None);
    folder::replace(&dir, write("one")).unwrap();
    folder::replace(&dir, write("two")).unwrap();
    assert_eq!(read(), "two");
    assert!(folder::replace(&dir, |_| anyhow::bail!("full")).is_err());
    assert_eq!(read(), "two");
    // A crash between the two renames.
    fs::rename(&dir, dir.with_extension("old")).unwrap();
    assert_eq!(read(), "two");
    folder::replace(&dir, write("three")).unwrap();
    assert_eq!(read(), "three");
    assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 1);
}

const SMALL: &str = "--valid 4 --vocabulary 300 --hidden 16 --layers 2 --heads 2 --kv-heads 1 \
                     --intermediate 24 \
                     --context 256 --batch-tokens 1500 --steps 6 --learning-rate 0.02 \
                     --log-interval 1 --valid-interval 4";

#[test]
fn a_run_learns_and_goes_on_after_a_break_as_if_there_were_none() {
    let dir = tempfile::tempdir().unwrap();
    let lines: Vec<String> = texts(48).iter().map(line).collect();
    let data = write(dir.path(), "a.jsonl", &lines);
    let out = |name: &str| dir.path().join(name);
    let settings = |name: &str, more: &str| {
        settings(&format!(
            "pretrain {} --out {} {SMALL} {more}",
            data.display(),
            out(name).display()
        ))
    };
    let weights = |name: &str| fs::read(out(name).join("checkpoint/model.safetensors")).unwrap();

    assert_eq!(run(&settings("straight", ""), &|_| false).unwrap(), End::Finished);
    assert_eq!(run(&settings("broken", ""), &|done| done == 3).unwrap(), End::Stopped);
    assert_ne!(weights("broken"), weights("straight"));
    assert!(run(&settings("broken", ""), &|_| false).unwrap_err().to_string().contains("--resume"));
    let other = run(&settings("broken", "--resume --seed 2"), &|_| false).unwrap_err().to_string();
    assert!(other.contains("the checkpoint was made with other settings"), "{other}");
    assert_eq!(run(&settings("broken", "--resume"), &|_| false).unwrap(), End::Finished);
    assert_eq!(weights("broken"), weights("straight"));

    let log = |name: &str| -> Vec<Vec<String>> {
        let log = fs::read_to_string(out(name).join("log.csv")).unwrap();
        // The last column is the time.
        log.lines().map(|line| line.split(',').take(6).map(str::to_owned).collect()).collect()
    };
    assert_eq!(log("broken"), log("straight"));
    let rows = log("straight");
    assert_eq!(rows.len(), 7);
    let number = |row: usize, column: usize| rows[row][column].parse::<f64>().unwrap();
    assert!(number(6, 2) < number(1, 2) - 0.1, "{rows:?}");
    assert!(number(6, 3) < number(4, 3), "{rows:?}");

    // The same targets behind every context, of stories and of reviews; only a story's prompt says
    // what it is about.
    let report = folder::read_json(&out("straight").join("report.json")).unwrap();
    for (table, group) in [("related_by_target", "all"), ("related_by_prompt", "Write a story")] {
        let row = &report[table][group];
        for part in ["texts", "tokens", "bytes"] {
            assert!(row["none"][part].as_u64().unwrap() > 0, "{table}");
            assert_eq!(row["none"][part], row["related"][part], "{table}");
            assert_eq!(row["none"][part], row["random"][part], "{table}");
        }
    }
    assert!(report["related_by_prompt"]["Write the review"].is_null());
    let tokens = |rows: &serde_json::Value| -> u64 {
        rows.as_array().unwrap().iter().map(|row| row["sum"]["tokens"].as_u64().unwrap()).sum()
    };
    assert_eq!(Some(tokens(&report["positions"])), report["plain"]["all"]["tokens"].as_u64());

    // The model's own weights are a better start than random ones, and are measured as they were at
    // the end.
    let model_dir = out("straight").join("model");
    run(&settings("further", &format!("--start {}", model_dir.display())), &|done| done == 1)
        .unwrap();
    assert!(log("further")[1][2].parse::<f64>().unwrap() < number(1, 2) - 0.1);
    let only = self::settings(&format!(
        "pretrain {} --valid 4 --report-only {}",
        data.display(),
        model_dir.display()
    ));
    let measured = report_only(&only, &model_dir).unwrap().plain["all"];
    let written = &report["plain"]["all"];
    assert_eq!(Some(measured.bytes as u64), written["bytes"].as_u64());
    assert!((measured.nats / written["nats"].as_f64().unwrap() - 1.0).abs() < 2e-3);

    // What was written is a model folder that the other crates read in the same way.
    let report = folder::read_json(&out("straight").join("report.json")).unwrap();
    let model = AnyModel::load(&ModelFiles::from_dir(&model_dir).unwrap(), Device::Cpu).unwrap();
    let texts = Texts::read(&[data], None, 4, 1).unwrap();
    let (mut nats, mut bytes) = (0.0, 0);
    for text in &texts.valid {
        let encoded =
            spring_core::prompt::encode_pair(&model, &text.prompt, &text.response, 256).unwrap();
        let scores = model.score(&[(&encoded.sequence, None)]).unwrap();
        nats -= scores[0].iter().map(|score| f64::from(*score)).sum::<f64>();
        bytes += encoded.response_bytes;
    }
    let known = report["plain"]["all"]["nats_per_byte"].as_f64().unwrap();
    assert!((nats / bytes as f64 - known).abs() < 2e-3 * known, "{} {known}", nats / bytes as f64);
}

#[test]
fn sequences_are_laid_out_as_for_serving() {
    let dir = tempfile::tempdir().unwrap();
    let lines: Vec<String> = texts(48).iter().map(line).collect();
    let data = write(dir.path(), "a.jsonl", &lines);
    let out = dir.path().join("run");
    run(
        &settings(&format!("pretrain {} --out {} {SMALL}", data.display(), out.display())),
        &|_| false,
    )
    .unwrap();
    let model =
        AnyModel::load(&ModelFiles::from_dir(out.join("model")).unwrap(), Device::Cpu).unwrap();
    let codec = Codec::read(&out.join("model/tokenizer.json")).unwrap();
    let (target, earlier) = (text(1), [text(2), text(3)]);
    let pairs: Vec<Pair> = earlier.iter().map(|text| codec.pair(text).unwrap()).collect();
    let pair = codec.pair(&target).unwrap();

    let encoded =
        spring_core::prompt::encode_pair(&model, &target.prompt, &target.response, 256).unwrap();
    assert_eq!(to_score(codec.begin, &[], &pair, 256), encoded.sequence);
    let short =
        spring_core::prompt::encode_pair(&model, &target.prompt, &target.response, 20).unwrap();
    assert_eq!(to_score(codec.begin, &[], &pair, 20), short.sequence);

    let retrieved: Vec<RetrievedPair<'_>> = earlier
        .iter()
        .enumerate()
        .map(|(i, text)| {
            RetrievedPair::new(i as u64, Default::default(), &text.prompt, &text.response)
        })
        .collect();
    let contexts =
        spring_core::prompt::contexts(&model, &target.prompt, &retrieved, Some(8)).unwrap();
    let earlier: Vec<&Pair> = pairs.iter().collect();
    assert_eq!(to_score(codec.begin, &earlier, &pair, 256).context, contexts.retrieval.unwrap());
    let learned = to_learn(codec.begin, &earlier, &pair, 256);
    let scored = to_score(codec.begin, &earlier, &pair, 256);
    assert_eq!(
        [learned.context, learned.response].concat(),
        [scored.context, scored.response].concat()
    );
}
