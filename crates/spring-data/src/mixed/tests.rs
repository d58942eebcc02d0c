#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use super::*;
use crate::synth::{Drift, Truth};

fn stream(user: &str, texts: usize) -> Stream {
    let user = UserId::new(user).unwrap();
    let text = |i: usize| {
        let time = format!("2024-{:02}-{:02}T00:00:00Z", 1 + i / 28, 1 + i % 28).parse().unwrap();
        let id = InteractionId::new(format!("{user}-{i}")).unwrap();
        let prompt = format!("Describe \"{user} {i}\".");
        let response = format!("{user} says number {i}") + &" and more".repeat(i % 4);
        let meta = Some(serde_json::json!({ "title": i, "noise": "loud" }));
        Interaction::new(user.clone(), id, time, prompt, response).with_meta(meta)
    };
    Stream::new(user.clone(), (0..texts).map(text).collect())
}

/// Noise for `u`, whose stream of 40 own texts has two parts.
fn noise(config: &NoiseConfig, user: &str) -> Vec<Vec<(usize, Interaction)>> {
    let others = [stream("a", 30), stream("b", 30), stream("u", 60)];
    let lenders: Vec<&Stream> = others.iter().collect();
    let passages = ["one(1);", "two(2);"].map(|text| Passage::new(text, "a"));
    let own = Passage::new("own(3);", "u");
    let user = UserId::new(user).unwrap();
    let unused = &others[2].texts[..5];
    let mut source =
        NoiseSource::new(config, &user, &lenders, unused, passages.iter().chain([&own]));
    [20, 20].map(|own| source.draw(own, Origin::own(), &|_| true)).to_vec()
}

#[test]
fn the_share_is_of_all_texts_and_kinds_take_turns() {
    let parts = noise(&NoiseConfig::new(0.25), "u");
    // 20 own texts and 7 others, then 40 and 13 (a third of 40): a quarter of each part.
    assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [7, 6]);
    let mut kinds: BTreeMap<Noise, usize> = BTreeMap::new();
    let mut ids = HashSet::new();
    for (gap, text) in parts.iter().flatten() {
        assert!(*gap <= 20 && text.user.as_str() == "u" && ids.insert(text.id.clone()));
        let truth = Truth::of(text).unwrap();
        assert_eq!((truth.drift, truth.style), (Drift::None, 0));
        *kinds.entry(truth.noise.unwrap()).or_default() += 1;
        let meta = text.meta.as_ref().unwrap();
        // What was there stays, but for what has the name of ours.
        assert!(meta["title"].is_number() && meta["noise"] != "loud");
        assert!(["a", "b"].contains(&meta["mixed"]["by"].as_str().unwrap()), "{meta}");
    }
    assert_eq!(kinds.len(), 3, "{kinds:?}");
    // A run is at most five texts, so the others are not further behind than that.
    let (least, most) = (kinds.values().min().unwrap(), kinds.values().max().unwrap());
    assert!(most - least <= LONGEST_RUN, "{kinds:?}");
    for part in &parts {
        assert!(part.windows(2).all(|pair| pair[0].0 <= pair[1].0));
    }
    assert_eq!(parts, noise(&NoiseConfig::new(0.25), "u"), "the same again");
    assert_ne!(parts, noise(&NoiseConfig::new(0.25).with_seed(1), "u"));
    let said = |parts: &[Vec<(usize, Interaction)>]| -> Vec<String> {
        parts.iter().flatten().map(|(_, text)| text.response.clone()).collect()
    };
    assert_ne!(said(&parts), said(&noise(&NoiseConfig::new(0.25), "v")));
}

#[test]
fn somebody_else_writes_several_texts_in_a_row() {
    let config = NoiseConfig::new(0.5).with_kinds(vec![Noise::OtherPerson]);
    for part in noise(&config, "u") {
        assert_eq!(part.len(), 20);
        // Texts of one place in the stream: runs, each of one person and in that person's order.
        let mut runs: BTreeMap<usize, Vec<(char, usize)>> = BTreeMap::new();
        for (gap, text) in &part {
            let words: Vec<&str> = text.response.split(' ').collect();
            let writer = words[0].chars().next().unwrap();
            assert_ne!(writer, 'u', "nobody is noise to themselves");
            runs.entry(*gap).or_default().push((writer, words[3].parse().unwrap()));
        }
        let follows = |a: &(char, usize), b: &(char, usize)| a.0 == b.0 && a.1 + 1 == b.1;
        let begun: usize = runs
            .values()
            .map(|run| 1 + run.windows(2).filter(|pair| !follows(&pair[0], &pair[1])).count())
            .sum();
        // Of two texts at least, but for the last one, which takes what is left.
        assert!((4..=11).contains(&begun), "{begun} runs in {runs:?}");
    }
}

#[test]
fn the_same_text_is_forwarded_again_and_long_ones_are_quoted() {
    let config = NoiseConfig::new(0.25).with_kinds(vec![Noise::Forwarded]);
    let parts = noise(&config, "u");
    let texts: Vec<&Interaction> = parts.iter().flatten().map(|(_, text)| text).collect();
    let is_framed = |text: &&&Interaction| text.response.starts_with("---------- Forwarded");
    let framed: HashSet<&str> =
        texts.iter().filter(is_framed).map(|text| text.response.as_str()).collect();
    assert_eq!(framed.len(), 1, "the same text");
    let framed = framed.into_iter().next().unwrap();
    let (head, body) = framed.split_once("\n\n").unwrap();
    let lines: Vec<&str> = head.lines().collect();
    assert!(lines[1].starts_with("From: ") && lines[2].starts_with("Date: 2024-"), "{head}");
    // The subject is what the prompt asks about.
    let number = body.split(' ').nth(3).unwrap();
    assert_eq!(lines[3], format!("Subject: {} {number}", &lines[1]["From: ".len()..]));
    // Five unused texts of the user's own, each once, above a quotation of another person's.
    let quotations: Vec<_> = texts.iter().filter(|text| !is_framed(text)).collect();
    assert_eq!(quotations.len(), 5);
    let mut own: Vec<&str> = quotations
        .iter()
        .map(|text| {
            let (own, rest) = text.response.split_once("\n\nOn 2024-").unwrap();
            let (said, quoted) = rest.split_once(" wrote:\n> ").unwrap();
            let by = said.rsplit(' ').next().unwrap();
            assert!(quoted.starts_with(&format!("{by} says number")) && by != "u", "{rest}");
            assert_eq!(text.meta.as_ref().unwrap()["mixed"]["by"], by);
            own
        })
        .collect();
    own.sort_unstable();
    own.dedup();
    assert_eq!(own.len(), 5);
    assert!(own.iter().all(|own| own.starts_with("u says number")));
    assert_eq!(texts.len() - quotations.len(), 13 - 5);
}

#[test]
fn pasted_blocks_are_never_the_users_own_and_what_is_refused_is_left_out() {
    let config = NoiseConfig::new(0.25).with_kinds(vec![Noise::PastedCode]);
    let parts = noise(&config, "u");
    let blocks: Vec<&str> =
        parts.iter().flatten().map(|(_, text)| text.response.as_str()).collect();
    assert_eq!(blocks.len(), 13);
    let count = |block: &str| blocks.iter().filter(|found| **found == block).count();
    // Two blocks by turns, seven and six times.
    assert_eq!((count("one(1);").max(count("two(2);")), count("own(3);")), (7, 0));
    assert_eq!(count("one(1);") + count("two(2);"), 13);
    let prompts = parts.iter().flatten().map(|(_, text)| text.prompt.as_str());
    assert!(prompts.into_iter().all(|prompt| !prompt.contains("\"u ")));

    let others = [stream("a", 30)];
    let lenders: Vec<&Stream> = others.iter().collect();
    let passages = [Passage::new("one(1);", "a"), Passage::new("two(2);", "a")];
    let user = UserId::new("u").unwrap();
    let draw = |config: &NoiseConfig, accepts: &dyn Fn(&Interaction) -> bool| {
        let mut source = NoiseSource::new(config, &user, &lenders, [], &passages);
        source.draw(30, Origin::own(), accepts)
    };
    let refused = draw(&config, &|text| text.response != "one(1);");
    assert_eq!(refused.len(), 10);
    assert!(refused.iter().all(|(_, text)| text.response == "two(2);"));
    assert!(draw(&config, &|_| false).is_empty());
    // Another text is forwarded in the place of one that is refused.
    let forwarded = config.clone().with_kinds(vec![Noise::Forwarded]);
    let first = draw(&forwarded, &|_| true)[0].1.response.clone();
    let later = draw(&forwarded, &|text| text.response != first);
    let said: HashSet<&str> = later.iter().map(|(_, text)| text.response.as_str()).collect();
    assert_eq!((later.len(), said.len()), (10, 1));
    // Where there is none of a kind the others take its share.
    let both = config.clone().with_kinds(vec![Noise::PastedCode, Noise::Forwarded]);
    let framed = draw(&both, &|text| !text.response.ends_with(';'));
    assert_eq!(framed.len(), 10);
    let alone: [&Stream; 0] = [];
    let mut source = NoiseSource::new(&both, &user, &alone, [], &passages);
    assert!(source.draw(30, Origin::own(), &|_| true).is_empty());
}

#[test]
fn two_streams_become_one_with_a_turning_point() {
    let (first, second) = (stream("a", 3), stream("b", 2));
    let texts = joined(&first.texts, &second.texts);
    let shown: Vec<(&str, &str, String)> = texts
        .iter()
        .map(|text| (text.user.as_str(), text.id.as_str(), text.time.to_string()))
        .collect();
    let day = |day: usize| format!("2024-01-{day:02}T00:00:00Z");
    assert_eq!(
        shown,
        [
            ("a", "a-0", day(1)),
            ("a", "a-1", day(2)),
            ("a", "a-2", day(3)),
            // From the last one on, as far apart as they were.
            ("a", "second person 00001", day(3)),
            ("a", "second person 00002", day(4)),
        ]
    );
    let truths: Vec<Truth> = texts.iter().map(|text| Truth::of(text).unwrap()).collect();
    assert_eq!(truths.iter().map(|truth| truth.style).collect::<Vec<_>>(), [0, 0, 0, 1, 1]);
    assert!(truths.iter().all(|truth| truth.drift == Drift::Sudden && truth.noise.is_none()));
    let by = |text: &Interaction| text.meta.as_ref().unwrap()["mixed"]["by"].clone();
    assert_eq!((by(&texts[0]), by(&texts[4])), ("a".into(), "b".into()));
    assert_eq!(texts[4].response, second.texts[1].response);
    assert!(Truth::of(&first.texts[0]).is_none());
    // An answered question stays one.
    let mut asked = second.texts.clone();
    asked[1].id = InteractionId::new("query 7").unwrap();
    let texts = joined(&first.texts, &asked);
    assert_eq!(texts[3..].iter().map(is_question).collect::<Vec<_>>(), [false, true]);
    assert_eq!(texts[4].id.as_str(), "query second person 00002");
    // Noise in the second part is noise in the second person's.
    let mut text = stream("c", 1).texts.remove(0);
    put(&mut text, Origin { noise: Some(Noise::OtherPerson), ..Origin::of_person(1) }, "c".into());
    let truth = Truth::of(&text).unwrap();
    assert_eq!((truth.style, truth.noise), (1, Some(Noise::OtherPerson)));
}

#[test]
fn the_turning_point_is_between_two_periods() {
    let half = JoinConfig::default();
    assert_eq!(half.counts(30, 40, 100, 6), Some([30, 30]));
    assert_eq!(half.counts(300, 400, 75, 6), Some([36, 36]));
    // Half of five periods is not between two: it is after the third.
    assert_eq!(half.counts(300, 400, 75, 5), Some([45, 30]));
    assert_eq!(half.with_at(0.25).counts(100, 60, 100, 4), Some([20, 60]));
    // Each person has at least one period.
    assert_eq!(half.with_at(0.01).counts(100, 100, 100, 4), Some([25, 75]));
    assert_eq!(half.with_at(0.99).counts(100, 100, 100, 4), Some([75, 25]));
    assert_eq!((half.counts(2, 100, 100, 6), half.counts(9, 9, 9, 1)), (None, None));
}

#[test]
fn people_are_drawn_by_seed_and_name() {
    let names = ["a", "b", "c", "d", "e", "u"].map(|name| UserId::new(name).unwrap());
    let user = &names[5];
    let order = in_drawn_order(0, user, &names);
    assert_eq!(order.len(), 5);
    assert!(!order.contains(&user));
    assert_eq!(order, in_drawn_order(0, user, names.iter().rev()), "in whatever order they come");
    let orders: HashSet<Vec<&UserId>> =
        (0..8).map(|seed| in_drawn_order(seed, user, &names)).collect();
    assert!(orders.len() > 1);
}

#[test]
fn settings_out_of_range_are_named() {
    for (config, said) in [
        (NoiseConfig::new(0.0), "noise.share"),
        (NoiseConfig::new(f64::NAN), "noise.share"),
        (NoiseConfig::new(0.95), "noise.share"),
        (NoiseConfig::new(0.2).with_kinds(vec![]), "noise.kinds"),
        (NoiseConfig::new(0.2).with_kinds(vec![Noise::Forwarded; 2]), "noise.kinds"),
        (NoiseConfig::new(0.2).with_kinds(vec![Noise::Garbled]), "synthetic users alone"),
    ] {
        let error = config.check().unwrap_err();
        assert!(error.contains(said), "{error}");
    }
    assert!(NoiseConfig::new(0.4).check().is_ok() && JoinConfig::default().check().is_ok());
    assert!(JoinConfig::default().with_at(1.0).check().unwrap_err().contains("join.at"));
}
