//! Pages of hand-made records, parsed as XML.

use std::collections::HashMap;

use roxmltree::{Document, Node, ParsingOptions};
use spring_core::{
    Config, StoredInteraction,
    prompt::Cut,
    record::{
        AnswerRecord, Ending, PeriodRecord, RetrievedText, ScoredText, SelectionRecord, TokenTrace,
        UpdateRecord,
    },
    spring_drift::{Alpha, DriftScore, ScoreStatistics},
    spring_fuse::GateDecision,
    spring_memory::{BufferItem, Evicted, EvictionReason, Interaction, UserId},
};

use crate::{UserReport, html};
use spring_eval::{FusedLoss, Loss, PeriodLosses};

/// What someone writes who wants to run a script in the reader's browser, or to break the page.
const HOSTILE: &str =
    "</td></svg><script>alert(1)</script><img src='x' onerror=\"alert(2)\"/>&amp;\u{0}\u{202e}]]>";

/// What a report borrows.
struct Data {
    user: UserId,
    model: String,
    periods: Vec<PeriodRecord>,
    losses: Vec<PeriodLosses>,
    texts: HashMap<u64, StoredInteraction>,
    buffer: Vec<BufferItem>,
    calibration: Vec<f64>,
    answer: Option<AnswerRecord>,
    tokens: Vec<String>,
}

impl Data {
    fn empty() -> Self {
        Self {
            user: UserId::new("mira").unwrap(),
            model: "base".into(),
            periods: vec![],
            losses: vec![],
            texts: HashMap::new(),
            buffer: vec![],
            calibration: vec![],
            answer: None,
            tokens: vec![],
        }
    }

    /// Three periods of `n` texts each, with everything that a page can show.
    fn full(n: u64) -> Self {
        let mut data = Self::empty();
        for period in 1..=3 {
            let first = n * u64::from(period - 1);
            data.texts.extend(
                (first..first + n).map(|seq| (seq, text(seq, "A review, rather short.", "steady"))),
            );
            data.periods
                .push(record(period, (first..first + n).map(|seq| scored(seq, n)).collect()));
        }
        let item = |seq: u64| {
            BufferItem::new(seq, 1 + (seq / n) as u32, 0.125, -4.5, -2.125 - seq as f64 / 100.0)
        };
        data.buffer = (0..n).map(item).collect();
        data.periods[2].evicted =
            vec![Evicted::new(item(n), EvictionReason::Redundant { nearest: 1, distance: 0.25 })];
        data.calibration = (0..n).map(|i| 1.0 + (i * i % 17) as f64 / 4.0).collect();
        data.losses = vec![
            losses(1, [5.0, 4.5, 4.5, 4.5]),
            losses(2, [5.0, 4.75, 4.5, 4.25]),
            losses(3, [5.0, 4.5, 4.6, 4.625]),
        ];
        data.tokens = ["A", " film", " for", " me"].map(String::from).into();
        data.answer = Some(AnswerRecord {
            id: None,
            time: "2024-05-06T07:08:09Z".parse().unwrap(),
            generation: 3,
            prompt: "Write a review.".into(),
            text: data.tokens.concat(),
            ended: Ending::EndToken,
            retriever: "bm25".into(),
            fusion: None,
            decoding: None,
            gate: GateDecision::keeping(vec![0], "open: best score 4.2500")
                .with_threshold(3.5, 4.25),
            retrieved: (0..3)
                .map(|seq| RetrievedText {
                    seq,
                    id: data.texts[&seq].interaction.id.clone(),
                    score: 4.25 - seq as f64,
                    used: seq == 0,
                })
                .collect(),
            trace: [0.5, 0.25, 1.0, 0.25]
                .map(|retrieval_share| TokenTrace {
                    token: 7,
                    text: String::new(),
                    lambda: 0.5,
                    retrieval_share,
                    divergence: None,
                })
                .into(),
            cuts: vec![Cut::Prompt { tokens: 9 }],
        });
        data
    }

    fn html(&self) -> String {
        let report = UserReport::new(&self.user, &self.model, &self.texts)
            .with_periods(&self.periods, &self.losses)
            .with_buffer(&self.buffer, &self.calibration)
            .with_answer(self.answer.as_ref(), &self.tokens);
        html(&report).unwrap()
    }
}

fn text(seq: u64, response: &str, label: &str) -> StoredInteraction {
    let (user, id) = (UserId::new("mira").unwrap(), format!("m-{seq}").parse().unwrap());
    let time = format!("2023-0{}-11T10:00:00Z", 1 + seq % 9).parse().unwrap();
    let interaction = Interaction::new(user, id, time, "Write a review.", response)
        .with_meta(Some(serde_json::json!({ "label": label })));
    StoredInteraction::new(seq, interaction)
}

/// A third of the texts is selected; the first period has no adapter.
fn scored(seq: u64, n: u64) -> ScoredText {
    let (base, adapter) =
        (-4.0 - (seq * 7 % 10) as f64 / 8.0, (seq >= n).then(|| -4.0 - (seq * 3 % 8) as f64 / 8.0));
    let novelty = adapter.map_or(0.0, |adapter| base - adapter);
    ScoredText {
        seq,
        id: format!("m-{seq}").parse().unwrap(),
        base,
        adapter,
        population: None,
        lookahead: None,
        score: DriftScore::new(novelty, base, novelty + 0.5 * base),
        selected: seq.is_multiple_of(3).then_some(1 + (seq % n / 3) as usize),
        tokens: 20,
        cuts: vec![],
    }
}

fn record(period: u32, scores: Vec<ScoredText>) -> PeriodRecord {
    let terms: Vec<DriftScore> = scores.iter().map(|text| text.score).collect();
    PeriodRecord {
        period,
        parent: period - 1,
        finished: "2024-01-01T00:00:00Z".parse().unwrap(),
        seconds: 2.0,
        held_out: 4,
        statistics: ScoreStatistics::of(&terms, Alpha::default()).unwrap(),
        selection: SelectionRecord {
            selected: scores.iter().filter(|text| text.selected.is_some()).count(),
            cutoff: Some(-2.5),
            reason: "the best 30 % by score".into(),
        },
        scores,
        update: UpdateRecord {
            steps: 30,
            tokens: 1234,
            losses: vec![4.875, 4.5, 4.125],
            seed: 1,
            seconds: 1.5,
        },
        evicted: vec![],
        gate_threshold: Some(3.5),
        unjudged: false,
        imported: false,
        prior: None,
        config: Config::default(),
    }
}

fn losses(period: u32, per_token: [f64; 4]) -> PeriodLosses {
    let [base, static_adapter, adapter, fused] =
        per_token.map(|nats| Loss::new(100.0 * nats, 100, 400, 4));
    let (open_fused, open_adapter) = (Loss::new(90.0, 20, 80, 1), Loss::new(95.0, 20, 80, 1));
    let spring = FusedLoss::new(fused, open_fused, open_adapter);
    PeriodLosses::new(period, base, static_adapter, adapter, spring)
}

/// Parses a page, which fails unless all tags are closed and all text is escaped.
fn parsed(page: &str) -> Document<'_> {
    let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
    Document::parse_with_options(page, options).unwrap()
}

fn said(node: Node<'_, '_>) -> String {
    node.descendants().filter(Node::is_text).filter_map(|text| text.text()).collect()
}

fn section(page: &Document<'_>, id: &str) -> String {
    said(page.descendants().find(|node| node.attribute("id") == Some(id)).unwrap())
}

#[test]
fn numbers_are_where_they_belong() {
    let data = Data::full(30);
    let html = data.html();
    let page = parsed(&html);
    let has = |id: &str, wanted: &str| {
        let found = section(&page, id);
        assert!(found.contains(wanted), "no {wanted:?} in {id}: {found}");
    };

    has("learned", "better in period 2 (by 0.500); worse in period 3 (by 0.125)");
    has(
        "learned",
        "Over all held-out texts after the first period it is better by 0.187 nats per token",
    );
    has(
        "learned",
        "Where the gate opened (3 texts, the first period's included), reading the buffer along \
         made the prediction better by 0.250",
    );
    has("learned", "as few as 4 held-out texts");
    has("learned", "148.45.000");
    has("drift", "S = N + 0.5·Q, nats per token.");
    has("periods", "30 texts scored, 2023-01-11 to 2023-09-11; 10 selected, 4 held out");
    has("periods", "20 texts not selected");
    has("periods", "it took 10 of 30 steady");
    has("periods", "label (not seen by the method)");
    has("periods", "loss 4.875 → 4.125 nats per token over 30 steps, 1234 response tokens, 1.5 s");
    has("buffer", "18 more");
    has("buffer", "at cosine distance 0.2500 of the kept item 1");
    has("gate", "The threshold σ is the 0.75 quantile of these scores: 3.50");
    has(
        "text",
        "the best match in the buffer scored 4.25, the threshold is 3.50. 1 text was read along",
    );
    has("text", "Mean over the text: 50\u{a0}%");
    has("text", "the prompt lost its first 9 tokens");

    let shades: Vec<_> = page
        .descendants()
        .filter(|node| node.attribute("title").is_some())
        .map(|node| (node.attribute("style").unwrap(), said(node)))
        .collect();
    let tokens = data.tokens.iter().cloned();
    assert_eq!(
        shades,
        ["--s:0.50", "--s:0.25", "--s:1.00", "--s:0.25"]
            .into_iter()
            .zip(tokens)
            .collect::<Vec<_>>()
    );
}

#[test]
fn plots_have_a_point_for_every_text() {
    let html = Data::full(30).html();
    let page = parsed(&html);
    let drift = page.descendants().find(|node| node.attribute("id") == Some("drift")).unwrap();
    let points = |part: &str, fill: &str| {
        let part = drift.descendants().find(|node| node.attribute("class") == Some(part)).unwrap();
        part.descendants()
            .filter(|n| n.has_tag_name(("http://www.w3.org/2000/svg", "circle")))
            .filter(|n| n.attribute("fill") == Some(fill))
            .count()
    };
    // 90 texts on two panels, a third of them selected.
    for part in ["wide", "narrow"] {
        assert_eq!((points(part, "#0062A6"), points(part, "none")), (60, 120));
    }
    let pictures = page.descendants().filter(|node| node.tag_name().name() == "svg").count();
    assert_eq!(pictures, 2 + 2 + 3 + 2);
}

#[test]
fn no_text_of_the_data_becomes_markup() {
    let visible = "</td></svg><script>alert(1)</script><img src='x' \
                   onerror=\"alert(2)\"/>&amp;\u{fffd}\u{202e}]]>";
    let mut data = Data::full(9);
    let tame = parsed(&data.html()).descendants().filter(Node::is_element).count();
    let id = HOSTILE.replace('\u{0}', "");
    data.user = UserId::new(id.as_str()).unwrap();
    data.model = HOSTILE.into();
    for stored in data.texts.values_mut() {
        stored.interaction.id = id.parse().unwrap();
        stored.interaction.prompt = HOSTILE.into();
        stored.interaction.response = HOSTILE.into();
        stored.interaction.meta = Some(serde_json::json!({ "label": HOSTILE }));
    }
    for period in &mut data.periods {
        period.selection.reason = HOSTILE.into();
        period.scores.iter_mut().for_each(|text| text.id = id.parse().unwrap());
    }
    let answer = data.answer.as_mut().unwrap();
    answer.prompt = HOSTILE.into();
    answer.gate.reason = HOSTILE.into();
    data.tokens = vec![HOSTILE.into(); 4];
    answer.text = data.tokens.concat();

    let html = data.html();
    let page = parsed(&html);
    assert_eq!(page.descendants().filter(Node::is_element).count(), tame);
    assert!(!page.descendants().any(|node| matches!(node.tag_name().name(), "script" | "img")));
    assert!(
        !page
            .descendants()
            .flat_map(|node| node.attributes())
            .any(|attribute| attribute.name().starts_with("on"))
    );
    for id in ["periods", "text"] {
        assert!(section(&page, id).contains(visible), "the text itself is shown in {id}");
    }

    data.answer.as_mut().unwrap().trace.clear();
    let html = data.html();
    assert!(section(&parsed(&html), "text").contains(&visible.repeat(4)));
}

#[test]
fn nothing_comes_from_elsewhere() {
    let html = Data::full(9).html();
    let page = parsed(&html);
    for node in page.descendants().filter(Node::is_element) {
        assert!(!matches!(
            node.tag_name().name(),
            "script" | "link" | "img" | "iframe" | "image" | "use"
        ));
        let href = node.attribute("href").unwrap_or("#");
        assert!(href.starts_with('#'), "{href}");
        assert!(node.attribute("src").is_none());
    }
    assert!(!html.contains("url(") && !html.contains("@import"));
}

#[test]
fn what_is_not_there_is_said() {
    let html = Data::empty().html();
    let page = parsed(&html);
    assert!(said(page.root()).contains("No period has been learned yet"));
    assert!(!html.contains("<svg"));

    let mut data = Data::full(6);
    data.losses.clear();
    data.buffer.clear();
    data.calibration.truncate(5);
    for period in &mut data.periods {
        period.gate_threshold = None;
        period.evicted.clear();
        period.update.losses.clear();
    }
    let answer = data.answer.as_mut().unwrap();
    answer.gate = GateDecision::closed("closed: too few");
    answer.retrieved.clear();
    answer.trace.clear();
    data.tokens.clear();
    data.texts.clear();
    let html = data.html();
    let page = parsed(&html);
    for (id, wanted) in [
        ("learned", "No texts were held out"),
        ("periods", "text 3"),
        ("buffer", "The buffer is empty"),
        ("buffer", "everything fitted"),
        ("gate", "5 scores in the sample, and at least 8 are needed"),
        ("text", "The gate stayed closed: nothing in the buffer shares a word with the prompt"),
        ("text", "A film for me"),
    ] {
        assert!(section(&page, id).contains(wanted), "{id}: {wanted}");
    }

    data.answer = None;
    assert!(section(&parsed(&data.html()), "text").contains("No text has been generated yet"));
}

#[test]
fn odd_numbers_break_nothing() {
    let mut data = Data::full(3);
    data.losses = vec![losses(1, [1e3, 700.0, 4.0, f64::NAN]), losses(7, [0.0; 4])];
    data.losses[1].base = Loss::default();
    data.calibration = vec![2.0; 9];
    data.periods[1].scores.clear();
    data.periods[2].scores[0].score.score = 1e300;
    data.periods[2].update.losses = vec![f32::NAN, f32::INFINITY, 4.0];
    data.answer.as_mut().unwrap().trace[1].retrieval_share = f32::NAN;
    let html = data.html();
    assert!(section(&parsed(&html), "learned").contains('–'));
    assert!(!html.contains("NaN") && !html.contains("inf"));
}
