//! The sections of the page, in the order of reading.

use std::collections::BTreeMap;

use spring_core::{
    ColdStart, StoredInteraction,
    record::{AnswerRecord, Ending, PeriodRecord},
    spring_drift::{ScorerConfig, Standardize},
    spring_fuse::GateConfig,
    spring_memory::BufferItem,
};

use crate::{
    Result, UserReport,
    markup::{
        Column, count, details, escape, excerpt, facts, figure, folded_table, listed, number, percent, table,
    },
    plots::{self, Line, Mark, Marker},
};
use spring_eval::{Loss, PeriodLosses};

/// Characters of a text that a table shows; on a narrow window the end is clipped.
const EXCERPT: usize = 120;

/// Fewer held-out texts than this in a period, and the page warns of chance.
const FEW: usize = 30;

/// The four ways to predict a text, in the order of tables and legends.
const METHODS: [(&str, Mark); 4] = [
    ("base", Mark::Cross),
    ("static adapter", Mark::Square),
    ("SPRInG's adapter", Mark::Triangle),
    ("SPRInG as it generates", Mark::Disc),
];

fn losses_of(losses: &PeriodLosses) -> [Loss; 4] {
    [losses.base, losses.static_adapter, losses.adapter, losses.spring.fused]
}

/// The page's parts share the report and whether its texts carry labels.
pub(crate) struct Page<'a> {
    report: UserReport<'a>,
    labelled: bool,
}

impl<'a> Page<'a> {
    pub(crate) fn new(report: UserReport<'a>) -> Self {
        let labelled = report.texts.values().any(|text| label(text).is_some());
        Self { report, labelled }
    }

    pub(crate) fn html(&self) -> Result<String> {
        let sections = [
            ("learned", "How well are new texts predicted?", self.losses()?),
            ("drift", "What was new, and when?", self.drift()?),
            ("periods", "What was selected, and why?", self.periods()?),
            ("buffer", "What is in the buffer?", self.buffer()),
            ("gate", "When does the gate open?", self.gate()?),
            ("text", "A generated text", self.answer()),
        ];
        let links: String =
            sections.iter().map(|(id, title, _)| format!("<a href=\"#{id}\">{title}</a> ")).collect();
        let body: String = sections
            .iter()
            .map(|(id, title, html)| format!("<section id=\"{id}\">\n<h2>{title}</h2>\n{html}</section>\n"))
            .collect();
        Ok(format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
             <title>What SPRInG learned of {user}</title>\n<style>\n{style}{inks}</style>\n</head>\n<body>\n<main>\n\
             <h1>What SPRInG learned of <bdi>{user}</bdi></h1>\n{summary}<nav aria-label=\"Sections\">{links}</nav>\n\
             {body}</main>\n<footer>Base model: {model}. Log-likelihoods are natural logarithms: 1 nat is 1.44 bits. \
             Dates are in UTC.</footer>\n</body>\n</html>\n",
            user = escape(self.report.user.as_str()),
            model = escape(self.report.model),
            style = include_str!("style.css"),
            inks = plots::ink_rules(),
            summary = self.summary(),
        ))
    }

    fn summary(&self) -> String {
        let UserReport { periods, losses, buffer, answer, .. } = self.report;
        let about = format!(
            "<p>The base model ({model}) never changes. SPRInG gives it two memories of this one person. The first is an \
             <em>adapter</em>: a small set of extra weights, trained after each period of time; after the \
             first one, only on the texts that bring something new. The second is a <em>buffer</em>: the texts that the adapter still explains \
             worst, kept word for word. At generation a strict <em>gate</em> decides whether texts of the buffer \
             resemble the prompt enough to be read along; if none does, the adapter writes alone.</p>\n",
            model = escape(self.report.model),
        );
        let Some(last) = periods.last() else {
            return about + "<p class=\"finding\">No period has been learned yet.</p>\n";
        };
        let scored: usize = periods.iter().map(|period| period.scores.len()).sum();
        let selected: usize = periods.iter().map(|period| period.selection.selected).sum();
        let held_out: usize = periods.iter().map(|period| period.held_out).sum();
        let mut numbers = vec![
            ("periods learned", periods.len().to_string()),
            ("texts learned, of those scored", format!("{selected} of {scored}")),
            ("texts held out for testing", held_out.to_string()),
            (
                "texts in the buffer, of places",
                format!("{} of {}", buffer.len(), last.config.buffer.capacity),
            ),
        ];
        if !losses.is_empty() {
            let [base, fixed, _, spring] = total(losses.iter());
            numbers.push(("perplexity of the base", number(base.perplexity(), 1)));
            numbers.push(("perplexity, static adapter", number(fixed.perplexity(), 1)));
            numbers.push(("perplexity, SPRInG", number(spring.perplexity(), 1)));
        }
        if let Some(answer) = answer {
            let share = answer.retrieval_share().map_or("gate closed".into(), percent);
            numbers.push(("of the generated text came through retrieval", share));
        }
        about + &facts(&numbers)
    }

    fn losses(&self) -> Result<String> {
        let losses = self.report.losses;
        if losses.is_empty() {
            return Ok("<p>No texts were held out, so there is nothing to test on. \
                       <code>spring adapt --hold-out 0.1</code> sets aside the latest tenth of each period.</p>\n"
                .into());
        }
        let intro = "<p>The latest texts of each period are held out: nothing learns from them. They are predicted right \
                     after the period was learned. <em>Perplexity</em> is e to the power of the nats per token: the \
                     model is as unsure as if it chose among that many equally likely tokens at each step. Lower is \
                     better. The <em>static adapter</em> learned the first period and was never updated.</p>\n";
        let colors = [plots::GREY, plots::RED, plots::GREEN, plots::BLUE];
        let lines: Vec<Line> = METHODS
            .iter()
            .zip(colors)
            .enumerate()
            .map(|(i, ((_, mark), color))| Line {
                color,
                mark: *mark,
                points: losses.iter().map(|l| (l.period, losses_of(l)[i].perplexity())).collect(),
            })
            .collect();
        let legend = METHODS
            .iter()
            .zip(["grey", "red", "green", "blue"])
            .map(|((name, mark), ink)| key(ink, mark.sign(), name));
        let plot = figure(
            "Perplexity of held-out texts per period, for four methods; the table below has the numbers",
            &legend.collect::<String>(),
            &plots::lines("held-out perplexity", "perplexity", &lines)?,
            "Perplexity of each period's held-out texts; the axis does not start at 0. Compare lines within a period: a \
             period whose texts are harder lifts all of them.",
        );
        Ok(format!("{intro}<p class=\"finding\">{}</p>\n{plot}{}", self.verdict(), self.loss_table()))
    }

    fn loss_table(&self) -> String {
        let losses = self.report.losses;
        let row = |name: String, of: [Loss; 4], open: usize| {
            let least = of.iter().map(shown).min().unwrap_or(i64::MAX);
            let cell = |loss: &Loss| {
                let perplexity = number(loss.perplexity(), 1);
                let marked =
                    if shown(loss) == least { format!("<strong>{perplexity}</strong>") } else { perplexity };
                format!("{marked}<span class=\"sub\">{}</span>", number(loss.per_token(), 3))
            };
            let texts = format!("{}<span class=\"sub\">{}</span>", of[0].texts, count(of[0].tokens, "token"));
            let mut cells = vec![name, texts];
            cells.extend(of.iter().map(cell));
            cells.push(format!("{open} of {}", of[0].texts));
            cells
        };
        let mut rows: Vec<_> = losses
            .iter()
            .map(|l| row(l.period.to_string(), losses_of(l), l.spring.open_fused.texts))
            .collect();
        if losses.len() > 1 {
            let open = losses.iter().map(|l| l.spring.open_fused.texts).sum();
            rows.push(row("all".into(), total(losses.iter()), open));
        }
        let mut columns = vec![Column::Word("period"), Column::Number("held-out texts")];
        columns.extend(METHODS.iter().map(|(name, _)| Column::Number(name)));
        columns.push(Column::Number("gate open"));
        table("Losses on held-out texts", &columns, &rows)
            + "<p class=\"note\">Upper number: perplexity; lower: nats per token, end tokens included. The best of a row is \
               bold. “Gate open” counts the texts for which retrieval took part.</p>\n"
    }

    /// Where SPRInG is better than the adapter of the first period, where it is worse, and what retrieval did.
    fn verdict(&self) -> String {
        let losses = self.report.losses;
        let first = self.report.periods.first().map(|period| period.period);
        let later: Vec<&PeriodLosses> = losses.iter().filter(|l| Some(l.period) != first).collect();
        let mut sentences = Vec::new();
        if later.is_empty() {
            sentences.push(
                "Only the first period has held-out texts, and there SPRInG's adapter and the static one are the same."
                    .to_owned(),
            );
        } else {
            let among = |wanted: fn(i64) -> bool| {
                let found: Vec<_> =
                    later.iter().filter(|l| wanted(gain(&l.spring.fused, &l.static_adapter))).collect();
                let periods: Vec<String> = found.iter().map(|l| l.period.to_string()).collect();
                let by: Vec<String> =
                    found.iter().map(|l| thousandths(gain(&l.spring.fused, &l.static_adapter))).collect();
                (!found.is_empty()).then(|| {
                    format!(
                        "in period{} {} (by {})",
                        if found.len() == 1 { "" } else { "s" },
                        listed(&periods),
                        listed(&by)
                    )
                })
            };
            let parts: Vec<String> = [
                Some(format!("better {}", among(|gain| gain > 0).unwrap_or("in no period".into()))),
                Some(format!("worse {}", among(|gain| gain < 0).unwrap_or("in no period".into()))),
                among(|gain| gain == 0).map(|_| "equal elsewhere".to_owned()),
            ]
            .into_iter()
            .flatten()
            .collect();
            sentences.push(format!(
                "Against the static adapter, in nats per token, SPRInG as it generates is {}.",
                parts.join("; ")
            ));
            let [_, fixed, adapter, spring] = total(later.iter().copied());
            sentences.push(format!(
                "Over all held-out texts after the first period it is {} (perplexity {} against {}); its adapter without \
                 retrieval is {}.",
                compared(gain(&spring, &fixed)),
                number(spring.perplexity(), 1),
                number(fixed.perplexity(), 1),
                compared(gain(&adapter, &fixed)),
            ));
        }
        let fused: Loss = losses.iter().map(|l| l.spring.open_fused).sum();
        let alone: Loss = losses.iter().map(|l| l.spring.open_adapter).sum();
        sentences.push(match fused.texts {
            0 => "The gate stayed closed for every held-out text, so retrieval changed nothing.".into(),
            n => format!(
                "Where the gate opened ({}, the first period's included), reading the buffer along made the prediction {}.",
                count(n, "text"),
                compared(gain(&fused, &alone)),
            ),
        });
        if let Some(fewest) = losses.iter().map(|l| l.base.texts).min().filter(|n| *n < FEW) {
            sentences.push(format!(
                "Some periods have as few as {}: small differences can be chance.",
                count(fewest, "held-out text")
            ));
        }
        sentences.join(" ")
    }

    fn drift(&self) -> Result<String> {
        let Some(last) = self.report.periods.last() else {
            return Ok("<p>Nothing was scored yet.</p>\n".into());
        };
        let terms = format!(
            "<p>Before an update, every text of the period gets a score from two log-likelihoods, its own under the \
             frozen base and under the adapter as it was.</p>\n\
             <dl class=\"terms\"><dt>N, novelty</dt><dd>How much worse the adapter explains the text than the base does, \
             nats per token. Above 0 the base alone would do better: the text is \
             unlike what the adapter learned.</dd>\
             <dt>Q, quality</dt><dd>The log-likelihood under the base, nats per token. It is below 0; far below, the \
             text is rare language or noise.</dd>\
             <dt>S, drift score</dt><dd>{} The highest are learned.</dd></dl>\n",
            score_in_words(last),
        );
        let legend = key("blue", "●", "selected")
            + &key("grey", "○", "not selected")
            + &key("text", "╌╌", "lowest S selected");
        let plot = figure(
            "Drift score and novelty of every text in the order of time; the tables below have the numbers",
            &legend,
            &plots::drift(self.report.periods)?,
            "One point per text, upright lines between periods; held-out texts are not scored. A run of \
             points that stand higher in the lower panel than those before is a change of style. Before the first update \
             there is no adapter and N is 0.",
        );
        Ok(terms + &plot)
    }

    fn periods(&self) -> Result<String> {
        if self.report.periods.is_empty() {
            return Ok("<p>No period has been learned yet.</p>\n".into());
        }
        self.report.periods.iter().map(|period| self.period(period)).collect()
    }

    fn period(&self, period: &PeriodRecord) -> Result<String> {
        let statistics = &period.statistics;
        let mut selected: Vec<_> = period.scores.iter().filter(|text| text.selected.is_some()).collect();
        selected.sort_by_key(|text| text.selected);
        let mut left: Vec<_> = period.scores.iter().filter(|text| text.selected.is_none()).collect();
        left.sort_by(|a, b| b.score.score.total_cmp(&a.score.score));

        let columns = |first: Option<Column>| {
            let terms = [Column::Number("N"), Column::Number("Q"), Column::Number("S")];
            first.into_iter().chain(terms).chain(self.text_columns()).collect::<Vec<_>>()
        };
        let row = |text: &spring_core::record::ScoredText| {
            let mut cells: Vec<String> = text.selected.map(|rank| rank.to_string()).into_iter().collect();
            cells.extend(
                [text.score.novelty, text.score.quality, text.score.score].map(|term| number(term, 3)),
            );
            cells.extend(self.text_cells(text.seq));
            cells
        };
        let label = format!("Selected texts of period {}", period.period);
        let rows: Vec<_> = selected.into_iter().map(row).collect();
        let mut tables = match rows.is_empty() {
            true => "<p>Nothing was selected.</p>\n".into(),
            false => folded_table(&label, &columns(Some(Column::Number("rank"))), &rows),
        };
        if !left.is_empty() {
            let rows: Vec<_> = left.into_iter().map(row).collect();
            let summary = format!("{} not selected, highest S first", count(rows.len(), "text"));
            let label = format!("Texts of period {} that were not selected", period.period);
            tables += &details(&summary, &label, &columns(None), &rows);
        }
        let spread = facts(&[
            ("mean N, nats/token", number(statistics.novelty_mean, 3)),
            ("sd(N), nats/token", number(statistics.novelty_sd, 3)),
            ("sd(αQ), nats/token", number(statistics.weighted_quality_sd, 3)),
            ("rank correlation of S with N", number(statistics.score_novelty_correlation, 2)),
            ("rank correlation of S with Q", number(statistics.score_quality_correlation, 2)),
        ]);
        Ok(format!(
            "<h3>Period {}</h3>\n<p>{}</p>\n{}{tables}{spread}<p class=\"note\">{}</p>\n",
            period.period,
            self.counts(period),
            training(period)?,
            who_decided(period),
        ))
    }

    /// Texts, dates, the rule, and how labels fared.
    fn counts(&self, period: &PeriodRecord) -> String {
        let dates: Vec<String> =
            period.scores.iter().filter_map(|text| Some(date(self.text(text.seq)?))).collect();
        let when = match (dates.iter().min(), dates.iter().max()) {
            (Some(first), Some(last)) => format!(", {first} to {last}"),
            _ => String::new(),
        };
        let mut html = format!(
            "{} scored{when}; {} selected, {} held out. Rule: {}.",
            count(period.scores.len(), "text"),
            period.selection.selected,
            period.held_out,
            escape(&period.selection.reason),
        );
        let mut by_label: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        for text in &period.scores {
            if let Some(label) = self.text(text.seq).and_then(label) {
                let (taken, all) = by_label.entry(label).or_default();
                *taken += usize::from(text.selected.is_some());
                *all += 1;
            }
        }
        if !by_label.is_empty() {
            let each: Vec<String> = by_label
                .iter()
                .map(|(label, (taken, all))| format!("{taken} of {all} <bdi>{}</bdi>", excerpt(label, 40)))
                .collect();
            html += &format!(" By label, which the method never sees, it took {}.", listed(&each));
        }
        html
    }

    fn buffer(&self) -> String {
        let UserReport { periods, buffer, .. } = self.report;
        let Some(last) = periods.last() else { return "<p>The buffer is empty.</p>\n".into() };
        let mut html = format!(
            "<p>Selected texts compete for {} by their S under the adapter <em>after</em> the update: what it still explains \
             badly stays. They are read at generation time and are no training data.</p>\n",
            count(last.config.buffer.capacity, "place"),
        );
        if buffer.is_empty() {
            html += "<p>The buffer is empty.</p>\n";
        } else {
            let mut by_period: BTreeMap<u32, Vec<f64>> = BTreeMap::new();
            for item in buffer {
                by_period.entry(item.period).or_default().push(item.score);
            }
            let rows: Vec<Vec<String>> = by_period
                .iter()
                .map(|(period, scores)| {
                    let highest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                    let mean = scores.iter().sum::<f64>() / scores.len() as f64;
                    vec![period.to_string(), scores.len().to_string(), number(mean, 3), number(highest, 3)]
                })
                .collect();
            let columns = [
                Column::Word("from period"),
                Column::Number("texts that stayed"),
                Column::Number("mean S"),
                Column::Number("highest S"),
            ];
            html += &table("The buffer by period", &columns, &rows);
            let rows: Vec<_> = buffer.iter().map(|item| self.item_cells(item)).collect();
            html +=
                &format!("<h3>What stayed</h3>\n{}", folded_table("The buffer", &self.item_columns(), &rows));
        }
        let evicted: Vec<Vec<String>> = periods
            .iter()
            .flat_map(|period| period.evicted.iter().map(move |evicted| (period.period, evicted)))
            .map(|(period, evicted)| {
                let mut cells = vec![period.to_string(), escape(&evicted.reason.to_string())];
                cells.extend(self.item_cells(&evicted.item));
                cells
            })
            .collect();
        html += "<h3>What was evicted</h3>\n";
        html += &match evicted.is_empty() {
            true => "<p>Nothing: so far everything fitted.</p>\n".to_owned(),
            false => {
                let mut columns = vec![Column::Word("evicted in period"), Column::Label("why")];
                columns.extend(self.item_columns());
                folded_table("Evicted texts", &columns, &evicted)
            }
        };
        html
    }

    fn item_columns(&self) -> Vec<Column> {
        let terms =
            [Column::Word("from period"), Column::Number("N"), Column::Number("Q"), Column::Number("S")];
        terms.into_iter().chain(self.text_columns()).collect()
    }

    fn item_cells(&self, item: &BufferItem) -> Vec<String> {
        let terms = [item.novelty, item.quality, item.score].map(|term| number(term, 3));
        std::iter::once(item.period.to_string()).chain(terms).chain(self.text_cells(item.key)).collect()
    }

    fn gate(&self) -> Result<String> {
        let UserReport { periods, calibration, answer, .. } = self.report;
        let intro = "<p>A prompt is compared with the buffer by BM25: shared words, rare ones counting more. How high is high \
                     enough differs from person to person, so the gate asks how alike this person's own texts are: each \
                     text of the buffer looks for its best match among the others.</p>\n";
        let Some(last) = periods.last() else {
            return Ok(format!("{intro}<p>There is no sample yet.</p>\n"));
        };
        let rule = match (last.gate_threshold, last.config.gate) {
            (Some(threshold), GateConfig::Quantile { quantile, .. }) => format!(
                "The threshold σ is the {quantile} quantile of these scores: {}. A text that scores less is not read.",
                number(threshold, 2)
            ),
            (Some(threshold), _) => {
                format!("The threshold σ is {}. A text that scores less is not read.", number(threshold, 2))
            }
            (None, GateConfig::Quantile { min_calibration, .. }) if calibration.len() < min_calibration => {
                format!(
                    "There is no threshold: {} in the sample, and at least {min_calibration} are needed. The gate stays closed.",
                    count(calibration.len(), "score")
                )
            }
            (None, _) => "This gate has no threshold that is known beforehand.".into(),
        };
        let mut markers = Vec::new();
        if let Some(value) = last.gate_threshold {
            markers.push(Marker { color: plots::RED, value, label: format!("σ = {}", number(value, 2)) });
        }
        if let Some(best) = answer.and_then(|answer| answer.retrieved.first()) {
            let label = format!("the prompt below: {}", number(best.score, 2));
            markers.push(Marker { color: plots::GREEN, value: best.score, label });
        }
        let plot = plots::histogram("gate", "BM25 score of the best match", calibration, &markers)?;
        let plot = match plot.is_empty() {
            true => String::new(),
            false => figure(
                "Histogram of the gate's calibration sample with the threshold",
                "",
                &plot,
                "Best match of each text of the buffer among the others. Prompts whose best match lies right of σ open the \
                 gate.",
            ),
        };
        Ok(format!("{intro}<p>{rule}</p>\n{plot}"))
    }

    fn answer(&self) -> String {
        let Some(answer) = self.report.answer else {
            return "<p>No text has been generated yet.</p>\n".into();
        };
        let mut html = format!("<h3>The prompt</h3>\n<blockquote>{}</blockquote>\n", escape(&answer.prompt));
        html += &format!(
            "<h3>The gate</h3>\n<p>{}</p>\n<p class=\"note\">On record: {}.</p>\n",
            gate_in_words(answer),
            escape(&answer.gate.reason)
        );
        if !answer.retrieved.is_empty() {
            let mut columns = vec![Column::Number("BM25"), Column::Word("read")];
            columns.extend(self.text_columns());
            let rows: Vec<_> = answer
                .retrieved
                .iter()
                .map(|found| {
                    let read = if found.used { "<strong>yes</strong>" } else { "no" };
                    let cells = [number(found.score, 2), read.to_owned()];
                    cells.into_iter().chain(self.text_cells(found.seq)).collect()
                })
                .collect();
            html += &folded_table("What retrieval found", &columns, &rows);
        }
        html += &format!("<h3>The text</h3>\n{}", self.written(answer));
        let ended = match answer.ended {
            Ending::EndToken => "The model ended the text itself.",
            Ending::Length => "The text was cut off at the token limit.",
            Ending::StopString => "The text ended at a stop string.",
            Ending::Stopped => "Generation was stopped early.",
        };
        let by = match answer.generation {
            0 => "the base, without an adapter".to_owned(),
            n => format!("the adapter of generation {n}"),
        };
        html += &format!(
            "<p class=\"note\">Written with {by} on {}. {ended}</p>\n",
            answer.time.strftime("%Y-%m-%d")
        );
        if !answer.cuts.is_empty() {
            let cuts: String =
                answer.cuts.iter().map(|cut| format!("<li>{}</li>", escape(&cut.to_string()))).collect();
            html += &format!("<p>Not everything fitted into the model's context:</p>\n<ul>{cuts}</ul>\n");
        }
        html
    }

    /// The text, each token shaded by what came from the retrieval branch.
    fn written(&self, answer: &AnswerRecord) -> String {
        let tokens = self.report.tokens;
        let (Some(mean), true) = (answer.retrieval_share(), tokens.len() == answer.trace.len()) else {
            return format!("<div class=\"written\">{}</div>\n", escape(&answer.text));
        };
        let text: String = tokens
            .iter()
            .zip(&answer.trace)
            .map(|(token, trace)| {
                let share = if trace.retrieval_share.is_finite() {
                    trace.retrieval_share.clamp(0.0, 1.0)
                } else {
                    0.0
                };
                let (percent, token) = (percent(share.into()), escape(token));
                format!("<span style=\"--s:{share:.2}\" title=\"{percent} through retrieval\">{token}</span>")
            })
            .collect();
        let scale: String =
            (0..=4).map(|i| format!("<span style=\"--s:{:.2}\"></span>", f64::from(i) / 4.0)).collect();
        format!(
            "<p class=\"legend\">Share of a token's probability that came through retrieval: 0\u{a0}% <span class=\"scale\">{scale}\
             </span> 100\u{a0}%. At {even} both branches found the token equally likely. Mean over the text: <strong>{mean}</strong>.\
             </p>\n<div class=\"written\">{text}</div>\n",
            even = percent(mean_lambda(answer)),
            mean = percent(mean),
        )
    }

    fn text(&self, seq: u64) -> Option<&'a StoredInteraction> {
        self.report.texts.get(&seq)
    }

    fn text_columns(&self) -> Vec<Column> {
        let label = self.labelled.then_some(Column::Label("label (not seen by the method)"));
        [Column::Word("date")].into_iter().chain(label).chain([Column::Text("text")]).collect()
    }

    /// Date, label where texts have them, and the beginning of what the person wrote.
    fn text_cells(&self, seq: u64) -> Vec<String> {
        let text = self.text(seq);
        let mut cells = vec![text.map_or("–".into(), date)];
        if self.labelled {
            cells.push(text.and_then(label).map_or("–".into(), |label| excerpt(&label, 40)));
        }
        cells.push(text.map_or(format!("text {seq}"), |text| excerpt(&text.interaction.response, EXCERPT)));
        cells
    }
}

fn date(text: &StoredInteraction) -> String {
    text.interaction.time.strftime("%Y-%m-%d").to_string()
}

/// What the data's author noted about a text.
fn label(text: &StoredInteraction) -> Option<String> {
    match text.interaction.meta.as_ref()?.get("label")? {
        serde_json::Value::Null => None,
        serde_json::Value::String(label) => Some(label.clone()),
        other => Some(other.to_string()),
    }
}

fn key(ink: &str, sign: &str, name: &str) -> String {
    format!("<span class=\"key\"><span style=\"color:var(--{ink})\">{sign}</span> {name}</span> ")
}

fn total<'l>(losses: impl Iterator<Item = &'l PeriodLosses> + Clone) -> [Loss; 4] {
    std::array::from_fn(|i| losses.clone().map(|l| losses_of(l)[i]).sum())
}

/// Nats per token in thousandths, as the page shows them: what looks equal is called equal.
fn shown(loss: &Loss) -> i64 {
    (1e3 * loss.per_token()).round() as i64
}

/// By how many thousandths of a nat per token `ours` is better.
fn gain(ours: &Loss, other: &Loss) -> i64 {
    shown(other) - shown(ours)
}

fn thousandths(gain: i64) -> String {
    number(gain.abs() as f64 / 1e3, 3)
}

fn compared(gain: i64) -> String {
    match gain {
        0 => "neither better nor worse".into(),
        gain => {
            format!("{} by {} nats per token", if gain > 0 { "better" } else { "worse" }, thousandths(gain))
        }
    }
}

fn score_in_words(period: &PeriodRecord) -> String {
    match period.config.drift.scorer {
        ScorerConfig::Spring { alpha, standardize } => {
            let formula = match alpha.finite() {
                Some(alpha) => format!("S = N + {alpha}·Q"),
                None => "S = Q".into(),
            };
            match standardize {
                Standardize::None => format!("{formula}, nats per token."),
                Standardize::Period => format!("{formula}, of z-scores within the period."),
            }
        }
        other => format!("Of the scorer “{}”.", other.init().name()),
    }
}

/// Which of the two terms decided the order.
fn who_decided(period: &PeriodRecord) -> String {
    let statistics = &period.statistics;
    if period.scores.iter().all(|text| text.adapter.is_none()) {
        let why = "There was no adapter yet, so N is 0 for all";
        return match period.config.drift.cold_start {
            ColdStart::All => format!("{why} and everything was learned."),
            ColdStart::Select => format!("{why} and Q alone decided."),
        };
    }
    match (statistics.score_novelty_correlation, statistics.score_quality_correlation) {
        (Some(novelty), Some(quality)) => {
            let most = if novelty > quality { "novelty" } else { "quality" };
            format!("The order by S followed {most} more closely.")
        }
        _ => "The scores do not vary enough to say which term decided.".into(),
    }
}

fn training(period: &PeriodRecord) -> Result<String> {
    let update = &period.update;
    let losses = match update.losses.as_slice() {
        [] => String::new(),
        [only] => format!(": mean loss {} nats per token", number(f64::from(*only), 3)),
        [first, .., last] => {
            format!(
                ": loss {} → {} nats per token",
                number(f64::from(*first), 3),
                number(f64::from(*last), 3)
            )
        }
    };
    Ok(format!(
        "<div class=\"spark\">{}<span>Training{losses} over {}, {}, {} s</span></div>\n",
        plots::sparkline(&update.losses)?,
        count(update.steps, "step"),
        count(update.tokens, "response token"),
        number(update.seconds, 1),
    ))
}

fn gate_in_words(answer: &AnswerRecord) -> String {
    let best = answer.retrieved.first().map(|found| number(found.score, 2));
    let threshold = answer.gate.threshold.map(|threshold| number(threshold, 2));
    let scores = match (best, threshold) {
        (Some(best), Some(threshold)) => {
            format!("the best match in the buffer scored {best}, the threshold is {threshold}")
        }
        (Some(best), None) => format!("the best match in the buffer scored {best}"),
        (None, _) => "nothing in the buffer shares a word with the prompt".into(),
    };
    let read = answer.retrieved.iter().filter(|found| found.used).count();
    match (answer.gate.open, read) {
        (false, _) => format!("The gate stayed <strong>closed</strong>: {scores}. The adapter wrote alone."),
        (true, 0) => format!(
            "The gate <strong>opened</strong>: {scores}. But no text of the buffer fitted into the context, so the adapter \
             wrote alone."
        ),
        (true, n) => format!(
            "The gate <strong>opened</strong>: {scores}. {} read along with the prompt, and each token's probability is a \
             mixture of two branches, with and without.",
            if n == 1 { "1 text was".into() } else { format!("{n} texts were") }
        ),
    }
}

/// The weight of the retrieval branch, which is fixed unless it was set to adapt.
fn mean_lambda(answer: &AnswerRecord) -> f64 {
    answer.trace.iter().map(|t| f64::from(t.lambda)).sum::<f64>() / answer.trace.len() as f64
}
