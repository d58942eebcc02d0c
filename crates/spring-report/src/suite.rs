//! A suite's results as a self-contained HTML page.

use crate::{
    Result,
    markup::{Column, count, details, escape, facts, figure, number, percent, table},
    plots::{self, Line, Mark},
};
use spring_eval::{Half, RunLine, Start, Suite, SuiteData, SuiteOutcome, Summary, SummaryRow};
use spring_metrics::{ContinualScores, PairedTest};

/// Methods with a line of their own in a plot; more could not be told apart.
const LINES: usize = 12;

/// What a suite found: nothing on it is loaded from elsewhere, and no text of the data can become
/// markup.
///
/// # Errors
///
/// [`Error::Plot`](crate::Error::Plot) if a plot cannot be drawn.
pub fn suite_html(suite: &Suite, outcome: &SuiteOutcome) -> Result<String> {
    let SuiteOutcome { summary, data: users, runs: lines, .. } = outcome;
    let mut body = String::new();
    let mut links = String::from("<a href=\"#setup\">What was run</a> ");
    body += &section("setup", "What was run", &setup(suite, users));
    if !summary.choices.is_empty() {
        links += "<a href=\"#choices\">How settings were chosen</a> ";
        body += &section("choices", "How settings were chosen", &choices(users, summary));
    }
    for (place, group) in groups(summary).into_iter().enumerate() {
        let (data, budget) = (&group[0].data, group[0].budget.name());
        let lines: Vec<&RunLine> = lines
            .iter()
            .filter(|line| line.key.data == *data && line.key.budget == group[0].budget)
            .collect();
        let title = format!("{}, budget “{budget}”", escape(data));
        let id = format!("group-{place}");
        links += &format!("<a href=\"#{id}\">{title}</a> ");
        let html = [
            main_table(summary, &group),
            adapter_table(summary, &group),
            continual_table(&group),
            synthetic_table(&group),
            over_time(&group, &lines)?,
            matrices(&group, &lines),
            drift(&lines),
        ];
        body += &section(&id, &title, &html.concat());
    }
    links += "<a href=\"#words\">Words</a>";
    body += &section("words", "What the words mean", &definitions());
    let name = escape(&suite.name);
    Ok(format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n<title>{name}: \
         comparison</title>\n\
         <style>\n{style}{inks}</style>\n</head>\n<body>\n<main>\n<h1>{name}</h1>\n\
         <nav aria-label=\"Sections\">{links}</nav>\n{body}</main>\n<footer>Base model: {model}. \
         Log-likelihoods are natural \
         logarithms.</footer>\n</body>\n</html>\n",
        style = include_str!("style.css"),
        inks = plots::ink_rules(),
        model = escape(&suite.model),
    ))
}

fn section(id: &str, title: &str, html: &str) -> String {
    format!("<section id=\"{id}\">\n<h2>{title}</h2>\n{html}</section>\n")
}

/// Rows of one data set and budget.
fn groups(summary: &Summary) -> Vec<Vec<&SummaryRow>> {
    let mut groups: Vec<Vec<&SummaryRow>> = Vec::new();
    for row in &summary.rows {
        match groups.last_mut().filter(|group| group[0].data == row.data && group[0].budget == row.budget) {
            Some(group) => group.push(row),
            None => groups.push(vec![row]),
        }
    }
    groups
}

fn setup(suite: &Suite, users: &[SuiteData]) -> String {
    let seeds: Vec<String> = suite.seeds.iter().map(u64::to_string).collect();
    let start = match suite.start {
        Start::Base => "a fresh adapter",
        Start::Domain => "the domain adapter",
    };
    let mut html = facts(&[
        ("methods", suite.methods.len().to_string()),
        ("seeds", seeds.join(", ")),
        ("everyone starts from", start.into()),
        ("epochs", suite.config.training.epochs.to_string()),
        ("held out of each period", percent(suite.periods.hold_out)),
    ]);
    let mut rows = Vec::new();
    let mut excluded = Vec::new();
    for data in users {
        let evaluated = data.users.iter().filter(|user| user.excluded.is_none());
        let most = evaluated.clone().map(|user| user.periods).max().unwrap_or(0);
        let texts: usize = evaluated.clone().map(|user| user.texts).sum();
        rows.push(vec![
            escape(&data.data),
            data.evaluated().0.to_string(),
            texts.to_string(),
            most.to_string(),
            data.evaluated().1.to_string(),
            data.left_out().to_string(),
            suite.config_on(&data.data).training.learning_rate.to_string(),
            format!("{} of {}", count(data.domain_texts, "text"), count(data.domain_users, "user")),
        ]);
        for user in &data.users {
            if let Some(reason) = &user.excluded {
                excluded.push(vec![escape(&data.data), escape(user.user.as_str()), escape(reason)]);
            }
        }
    }
    let columns = [
        Column::Word("data"),
        Column::Number("users"),
        Column::Number("texts"),
        Column::Number("periods"),
        Column::Number("users with fewer periods"),
        Column::Number("users left out"),
        Column::Number("learning rate"),
        Column::Word("domain adapter learned"),
    ];
    html += &table("Data sets", &columns, &rows);
    for notice in users.iter().flat_map(SuiteData::notices) {
        html += &format!("<p class=\"note\">{}</p>\n", escape(&notice));
    }
    if !excluded.is_empty() {
        let columns = [Column::Word("data"), Column::Word("user"), Column::Text("why")];
        html += &details("Users left out after a look at their texts", "Users left out", &columns, &excluded);
    }
    html
}

fn choices(users: &[SuiteData], summary: &Summary) -> String {
    let names = |half: Half| -> String {
        let of = users.iter().flat_map(|data| &data.users).filter(|user| user.half == Some(half));
        of.map(|user| escape(user.user.as_str())).collect::<Vec<_>>().join(", ")
    };
    let rows: Vec<Vec<String>> = summary
        .choices
        .iter()
        .map(|candidate| {
            let mean = number(candidate.per_byte, 4);
            vec![
                escape(&candidate.choice),
                candidate.stage.to_string(),
                candidate.budget.name().into(),
                escape(&candidate.label),
                if candidate.best { format!("<strong>{mean}</strong>") } else { mean },
                candidate.users.to_string(),
            ]
        })
        .collect();
    let columns = [
        Column::Label("choice"),
        Column::Number("stage"),
        Column::Word("budget"),
        Column::Word("candidate"),
        Column::Number("nats per byte"),
        Column::Number("users"),
    ];
    format!(
        "<p class=\"note\">Settings were chosen on one half of the users; every other number on \
         this page is of the other \
         half. Of a data set's users, those with most texts first, every other one is in each \
         half. Chosen on: {}. Reported on: \
         {}.</p>\n{}<p class=\"note\">Loss on the choosing users' newest test parts after the \
         first period, mean over the data \
         sets of the mean over users. In bold the best of each stage, with which the next one goes on.</p>\n",
        names(Half::Choosing),
        names(Half::Reporting),
        table("Candidates", &columns, &rows),
    )
}

fn main_table(summary: &Summary, group: &[&SummaryRow]) -> String {
    let best = group.iter().map(|row| row.per_byte.mean).fold(f64::INFINITY, f64::min);
    let against = group.iter().find(|row| row.method == summary.against).map_or("", |row| row.label.as_str());
    let rows: Vec<Vec<String>> = group
        .iter()
        .map(|row| {
            let mean = number(row.per_byte.mean, 4);
            let mean = if row.per_byte.mean == best { format!("<strong>{mean}</strong>") } else { mean };
            let interval = format!("{} to {}", number(row.per_byte.low, 4), number(row.per_byte.high, 4));
            let beside = |value: Option<f64>, decimals| match value {
                Some(value) => format!("<span class=\"sub\">adapter {}</span>", number(value, decimals)),
                None => String::new(),
            };
            let alone = row.adapter_alone;
            let mut cells = vec![
                escape(&row.label),
                format!(
                    "{mean}{}<span class=\"sub\">{interval}</span>",
                    beside(alone.map(|alone| alone[0]), 4)
                ),
                number(row.per_token, 3) + &beside(alone.map(|alone| alone[1]), 3),
            ];
            match row.difference {
                Some(test) => {
                    let interval =
                        format!("{} to {}", number(test.difference.low, 4), number(test.difference.high, 4));
                    cells.push(format!(
                        "{}<span class=\"sub\">{interval}</span>",
                        number(test.difference.mean, 4)
                    ));
                    cells.push(format!(
                        "{}<span class=\"sub\">{}</span>",
                        number(test.p_holm, 3),
                        number(test.p, 3)
                    ));
                    cells.push(number(test.minimum_detectable, 4));
                }
                None => cells.extend(["–", "–", "–"].map(String::from)),
            }
            cells.push(format!(
                "{}<span class=\"sub\">{}</span>",
                number(row.tokens, 0),
                percent(row.learned)
            ));
            cells.push(percent(row.open));
            cells.push(number(row.seconds, 1));
            let pair =
                |a: f64, b: f64| format!("{}<span class=\"sub\">{}</span>", number(a, 3), number(b, 3));
            cells.push(match (row.labels, row.numbers, row.generated) {
                (Some(labels), _, _) => pair(labels.accuracy, labels.f1),
                (_, Some(numbers), _) => pair(numbers.mae, numbers.rmse),
                (_, _, Some(texts)) => pair(texts.rouge_l, texts.meteor),
                _ => "–".into(),
            });
            cells
        })
        .collect();
    let generated = match (group[0].labels, group[0].numbers) {
        (Some(_), _) => "accuracy; F1",
        (_, Some(_)) => "MAE; RMSE",
        _ => "ROUGE-L; METEOR",
    };
    let columns = [
        Column::Label("method"),
        Column::Number("nats per byte"),
        Column::Number("nats per token"),
        Column::Number("difference"),
        Column::Number("p (Holm; raw)"),
        Column::Number("detectable"),
        Column::Number("tokens trained"),
        Column::Number("gate open"),
        Column::Number("seconds"),
        Column::Number(generated),
    ];
    table("Losses of all methods", &columns, &rows)
        + &format!(
            "<p class=\"note\">Loss on each period's test part right after that period, without \
             the first one; means over {} \
             with the 95&#160;% interval of a bootstrap over users; lower is better. “adapter”: without the \
             retrieved texts. “Difference” is to {}: below 0 is better \
             than it. “Detectable”: the smallest true difference that this many users would show \
             with 80&#160;% power after the \
             correction for all methods.{}</p>\n",
            count(group[0].per_byte.users, "user"),
            escape(against),
            least_p(group.iter().filter_map(|row| row.difference.as_ref())),
        )
}

/// What the smallest p of a table can be.
fn least_p<'a>(mut tests: impl Iterator<Item = &'a PairedTest>) -> String {
    let Some(test) = tests.next() else { return String::new() };
    let least = number(test.least_p_holm, 4);
    let users = count(test.difference.users, "user");
    match test.can_be_significant() {
        true => format!(" The smallest corrected p that {users} can give is {least}."),
        false => format!(
            " <strong>The smallest corrected p that {users} can give is {least}: here no \
             difference can be significant at \
             0.05, however large it is.</strong>"
        ),
    }
}

/// What was learned against what was learned, where the method of the tests writes with retrieval.
fn adapter_table(summary: &Summary, group: &[&SummaryRow]) -> String {
    let against = group.iter().find(|row| row.method == summary.against);
    let Some((against, [alone, _])) = against.and_then(|row| Some((row, row.adapter_alone?))) else {
        return String::new();
    };
    let mut rows = vec![vec![escape(&against.label), number(alone, 4), "–".into(), "–".into(), "–".into()]];
    for row in group {
        let Some(test) = row.adapter_difference else { continue };
        let interval = format!("{} to {}", number(test.difference.low, 4), number(test.difference.high, 4));
        rows.push(vec![
            escape(&row.label),
            number(row.adapter_alone.map_or(row.per_byte.mean, |alone| alone[0]), 4),
            format!("{}<span class=\"sub\">{interval}</span>", number(test.difference.mean, 4)),
            format!("{}<span class=\"sub\">{}</span>", number(test.p_holm, 3), number(test.p, 3)),
            number(test.minimum_detectable, 4),
        ]);
    }
    let columns = [
        Column::Label("method"),
        Column::Number("nats per byte"),
        Column::Number("difference"),
        Column::Number("p (Holm; raw)"),
        Column::Number("detectable"),
    ];
    format!(
        "<h3>The adapters alone</h3>\n{}<p class=\"note\">The same without any retrieved text, on \
         both sides of each \
         difference: what was learned, apart from what is read.{}</p>\n",
        table("Losses of the adapters alone", &columns, &rows),
        least_p(group.iter().filter_map(|row| row.adapter_difference.as_ref())),
    )
}

fn continual_table(group: &[&SummaryRow]) -> String {
    let rows: Vec<Vec<String>> = group
        .iter()
        .map(|row| {
            let ContinualScores { average, backward_transfer, forward_transfer, forgetting } = row.continual;
            let numbers =
                [average, backward_transfer, forward_transfer, forgetting].map(|value| number(value, 4));
            [vec![escape(&row.label)], numbers.to_vec()].concat()
        })
        .collect();
    let names = ContinualScores::DEFINITIONS.map(|(name, _)| Column::Number(name));
    let columns = [vec![Column::Label("method")], names.to_vec()].concat();
    let meaning: Vec<String> = ContinualScores::DEFINITIONS
        .iter()
        .map(|(name, means)| format!("{name}: {}", escape(means)))
        .collect();
    format!(
        "<h3>Over all periods</h3>\n{}<p class=\"note\">Nats per byte. {}.</p>\n",
        table("Continual metrics", &columns, &rows),
        meaning.join("; ")
    )
}

fn synthetic_table(group: &[&SummaryRow]) -> String {
    let rows: Vec<Vec<String>> = group
        .iter()
        .filter_map(|row| {
            let scores = row.synthetic?.map(|value| number(value, 3));
            Some([vec![escape(&row.label)], scores.to_vec()].concat())
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let columns = [
        Column::Label("method"),
        Column::Number("precision"),
        Column::Number("recall"),
        Column::Number("without noise"),
        Column::Number("without noise by chance"),
        Column::Number("stale-preference rate"),
    ];
    let scored: Vec<Vec<String>> = group
        .iter()
        .flat_map(|row| row.kinds.iter().map(move |kind| (row, kind)))
        .map(|(row, kind)| {
            let share = percent(kind.selected as f64 / kind.texts as f64);
            let terms = [kind.novelty, kind.quality, kind.score].map(|value| number(value, 3));
            [vec![escape(&row.label), kind.kind.name().into(), kind.texts.to_string(), share], terms.to_vec()]
                .concat()
        })
        .collect();
    let scored_columns = [
        Column::Label("method"),
        Column::Word("texts"),
        Column::Number("number"),
        Column::Number("selected"),
        Column::Number("N"),
        Column::Number("Q"),
        Column::Number("S"),
    ];
    let scored = match scored.is_empty() {
        true => String::new(),
        false => details(
            "How each kind of text was scored: means before learning, over users and seeds",
            "Scores by kind of text",
            &scored_columns,
            &scored,
        ),
    };
    let detected = group[0].detection.map_or(String::new(), |found| {
        format!(
            " SPRInG's novelty rang for {} of {} true changes, after {} texts on average, and {} besides.",
            found.found,
            found.changes,
            number(found.mean_delay, 1),
            count(found.false_alarms, "time"),
        )
    });
    format!(
        "<h3>Against the truth</h3>\n{}<p class=\"note\">Later periods alone.{detected}</p>\n{scored}",
        table("Synthetic users", &columns, &rows),
    )
}

fn over_time(group: &[&SummaryRow], lines: &[&RunLine]) -> Result<String> {
    let inks = [(plots::BLUE, "blue"), (plots::RED, "red"), (plots::GREEN, "green"), (plots::GREY, "grey")];
    let marks = [Mark::Disc, Mark::Triangle, Mark::Square];
    let mut legend = String::new();
    let mut plotted = Vec::new();
    for (place, row) in group.iter().take(LINES).enumerate() {
        let ((color, ink), mark) = (inks[place % 4], marks[place / 4]);
        let runs: Vec<_> = lines.iter().filter_map(|line| line.run.methods.get(&row.runs)).collect();
        let periods = runs.iter().map(|run| run.matrix.len()).max().unwrap_or(0);
        let points = (0..periods).filter_map(|t| {
            let values: Vec<f64> =
                runs.iter().filter_map(|run| Some(run.matrix.get(t)?.get(t)?.per_byte())).collect();
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            mean.is_finite().then_some((t as u32 + 1, mean))
        });
        plotted.push(Line { color, mark, points: points.collect() });
        legend += &format!(
            "<span class=\"key\"><span style=\"color:var(--{ink})\">{}</span> {}</span> ",
            mark.sign(),
            escape(&row.label)
        );
    }
    let rest = match group.len().saturating_sub(LINES) {
        0 => String::new(),
        n => format!(" {n} more methods are in the tables only."),
    };
    let plot = figure(
        "Loss per period for each method; the matrices below have the numbers",
        &legend,
        &plots::lines("loss over time", "nats per byte", &plotted)?,
        &format!(
            "Loss on each period's test part right after that period, mean over users and seeds; \
             the axis does not start at \
             0. Compare methods within a period: its texts may be harder than another's.{rest}"
        ),
    );
    Ok(format!("<h3>Loss over time</h3>\n{plot}"))
}

fn matrices(group: &[&SummaryRow], lines: &[&RunLine]) -> String {
    let periods = lines.iter().map(|line| line.run.periods.len()).max().unwrap_or(0);
    let full: Vec<&&RunLine> = lines.iter().filter(|line| line.run.periods.len() == periods).collect();
    let cells = |method: &str| -> Vec<Vec<Option<f64>>> {
        let cell = |t: usize, i: usize| {
            let value =
                |line: &&&RunLine| Some(line.run.methods.get(method)?.matrix.get(t)?.get(i)?.per_byte());
            let values: Vec<f64> = full.iter().filter_map(value).collect();
            (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
        };
        (0..periods).map(|t| (0..periods).map(|i| cell(t, i)).collect()).collect()
    };
    let all: Vec<_> = group.iter().map(|row| (row, cells(&row.runs))).collect();
    let values = || all.iter().flat_map(|(_, matrix)| matrix.iter().flatten().flatten().copied());
    let (least, largest) = (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max));
    let ticks: Vec<String> = (1..=periods).map(|t| t.to_string()).collect();
    let maps: String = all
        .iter()
        .map(|(row, matrix)| {
            let map = heat_map(matrix, &ticks, &ticks, 3, least..=largest);
            let label = escape(&row.label);
            format!("<figure><figcaption>{label}</figcaption><div role=\"img\" aria-label=\"R of \
                     {label}\">{map}</div></figure>\n")
        })
        .collect();
    format!(
        "<h3>The matrices R</h3>\n<p class=\"note\">Row: after learning that period; column: the \
         test part of that period. Nats \
         per byte, mean over the {} with {periods} periods; dark is worse, one scale for \
         all.</p>\n<div class=\"maps\">{maps}</div>\n",
        count(full.len(), "run")
    )
}

fn drift(lines: &[&RunLine]) -> String {
    let mut users: Vec<(&str, Vec<Vec<Option<f64>>>)> = Vec::new();
    for line in lines {
        let novelty: Vec<Option<f64>> = line.run.periods.iter().map(|period| period.novelty).collect();
        let name = line.key.user.as_str();
        match users.iter_mut().find(|(user, _)| *user == name) {
            Some((_, seeds)) => seeds.push(novelty),
            None => users.push((name, vec![novelty])),
        }
    }
    let periods = users.iter().flat_map(|(_, seeds)| seeds).map(Vec::len).max().unwrap_or(0);
    let mean = |seeds: &[Vec<Option<f64>>], t: usize| {
        let values: Vec<f64> = seeds.iter().filter_map(|seed| *seed.get(t)?).collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    };
    let matrix: Vec<Vec<Option<f64>>> =
        users.iter().map(|(_, seeds)| (0..periods).map(|t| mean(seeds, t)).collect()).collect();
    let values = || matrix.iter().flatten().flatten().copied();
    if values().next().is_none() {
        return String::new();
    }
    let (least, largest) =
        (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
    let ticks: Vec<String> = (1..=periods).map(|t| t.to_string()).collect();
    let names: Vec<String> = users.iter().map(|(user, _)| (*user).to_owned()).collect();
    let map = heat_map(&matrix, &names, &ticks, 2, least..=largest);
    format!(
        "<h3>Drift over time</h3>\n{}",
        figure(
            "Mean novelty per user and period",
            "",
            &map,
            "Mean novelty N of each user's texts before the period was learned, nats per token. \
             Dark is new to SPRInG's \
             adapter; below 0 the adapter explains the texts better than the base does."
        )
    )
}

/// Numbers in shaded cells, as SVG that follows the page's colours.
fn heat_map(
    cells: &[Vec<Option<f64>>],
    rows: &[String],
    columns: &[String],
    decimals: usize,
    range: std::ops::RangeInclusive<f64>,
) -> String {
    const CELL: (usize, usize) = (52, 26);
    let left = 14 + 7 * rows.iter().map(|row| row.chars().count().min(24)).max().unwrap_or(0);
    let (width, height) = (left + CELL.0 * columns.len() + 2, 22 + CELL.1 * rows.len());
    let text = |x: usize, y: usize, anchor: &str, text: &str| {
        format!(
            "<text x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\" fill=\"#3A3F47\" \
             font-size=\"12\">{text}</text>"
        )
    };
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\">"
    );
    for (i, column) in columns.iter().enumerate() {
        svg += &text(left + CELL.0 * i + CELL.0 / 2, 14, "middle", &escape(column));
    }
    for (t, (row, values)) in rows.iter().zip(cells).enumerate() {
        let y = 20 + CELL.1 * t;
        svg += &text(left - 8, y + 17, "end", &escape(&row.chars().take(24).collect::<String>()));
        for (i, value) in values.iter().enumerate() {
            let Some(value) = value.filter(|value| value.is_finite()) else { continue };
            let span = range.end() - range.start();
            let shade = if span > 0.0 { (value - range.start()) / span } else { 0.0 };
            let (x, opacity) = (left + CELL.0 * i, 0.05 + 0.5 * shade);
            svg += &format!(
                "<rect x=\"{x}\" y=\"{y}\" width=\"{}\" height=\"{}\" fill=\"#0062A6\" \
                 fill-opacity=\"{opacity:.2}\"/>",
                CELL.0 - 2,
                CELL.1 - 2
            );
            svg += &text(x + CELL.0 / 2, y + 17, "middle", &number(value, decimals));
        }
    }
    svg + "</svg>"
}

fn definitions() -> String {
    let terms = [
        (
            "period",
            "A user's texts in the order of time, cut into parts of equal count. The latest of \
             each part are its test texts; test texts that nearly equal a training text (more than \
             80 % of their words in common) are left out.",
        ),
        (
            "budget “epochs”",
            "Every method passes over its own texts as often as the settings say, so that a \
             selection costs less.",
        ),
        (
            "budget “steps”",
            "In each period every method trains on as many response tokens as “everything” does \
             under “epochs”.",
        ),
        (
            "gated mixture",
            "The adapter's distribution mixed with its distribution after retrieved texts, where \
             the gate opens. “+ retrieval” gives another method's adapter SPRInG's buffer, gate and mixture.",
        ),
        (
            "interval, p",
            "Users are the unit: a user's seeds are averaged first. Intervals are percentile \
             bootstraps that draw users; p is a two-sided sign-flip test over users, corrected by \
             Holm over the methods of a table.",
        ),
    ];
    let items: String =
        terms.iter().map(|(term, means)| format!("<dt>{term}</dt><dd>{}</dd>\n", escape(means))).collect();
    format!("<dl class=\"terms\">{items}</dl>\n")
}
