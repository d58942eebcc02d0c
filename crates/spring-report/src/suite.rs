//! A suite's results as a page.

mod figures;
mod pictures;
mod scores;
mod tables;
mod texts;
mod users;

use std::rc::Rc;

use maud::{Markup, html};
use spring_eval::{Half, RunLine, Start, Suite, SuiteData, SuiteOutcome, Summary, SummaryRow};

use crate::{
    Result,
    looks::Looks,
    markup::{
        Column, bold_if, cell, clean, count, details, facts, links, number, page, percent, section,
        table,
    },
    picture::Picture,
    table::groups,
};

/// What a suite found: nothing on the page is loaded from elsewhere, and no text of the data can
/// become markup.
///
/// # Errors
///
/// [`Error::Plot`](crate::Error::Plot) if a plot cannot be drawn.
pub fn suite_html(suite: &Suite, outcome: &SuiteOutcome) -> Result<String> {
    let SuiteOutcome { summary, data: users, runs: lines, .. } = outcome;
    let mut sections: Vec<(String, String, Markup)> = Vec::new();
    let mut add = |id: &str, title: &str, body| sections.push((id.into(), title.into(), body));
    add("setup", "What was run", setup(suite, users));
    if !summary.choices.is_empty() {
        add("choices", "How settings were chosen", choices(users, summary));
    }
    for (place, group) in Group::all(summary, lines).into_iter().enumerate() {
        let (data, budget) = (&group.rows[0].data, group.rows[0].budget);
        let title = format!("{data}, budget “{}”", budget.name());
        add(&format!("group-{place}"), &title, group.html()?);
    }
    add("words", "Glossary", definitions());
    let names = sections.iter().map(|(id, title, _)| (id.as_str(), title.as_str()));
    let main = html! {
        h1 { (clean(&suite.name)) } "\n"
        (links(names))
        @for (id, title, body) in &sections { (section(id, title, body)) }
    };
    let footer = html! {
        "Base model: " (clean(&suite.model)) ". Log-likelihoods are natural logarithms."
    };
    Ok(page(&format!("{}: comparison", suite.name), &main, &footer))
}

/// The plots of a suite, as pictures of their own, for each data set and budget: the methods'
/// losses with their intervals, the losses over time, each user's difference to the base, and the
/// loss against the tokens trained; attributions where texts were generated, the kinds of text that
/// were learned of streams with noise, and the second person's loss after a turning point.
///
/// # Errors
///
/// [`Error::Plot`](crate::Error::Plot) if a plot cannot be drawn.
pub fn suite_pictures(outcome: &SuiteOutcome) -> Result<Vec<Picture>> {
    let mut pictures = Vec::new();
    for group in Group::all(&outcome.summary, &outcome.runs) {
        pictures.extend(group.pictures()?);
    }
    Ok(pictures)
}

/// The methods on one data set under one budget.
struct Group<'s> {
    summary: &'s Summary,
    rows: Vec<&'s SummaryRow>,
    /// The method that the others are tested against.
    against: Option<&'s SummaryRow>,
    lines: Vec<&'s RunLine>,
    looks: Rc<Looks>,
}

impl<'s> Group<'s> {
    /// In the order of the summary.
    fn all(summary: &'s Summary, lines: &'s [RunLine]) -> Vec<Self> {
        let looks = Rc::new(Looks::of(summary.rows.iter().map(|row| row.method.as_str())));
        let of = |rows: Vec<&'s SummaryRow>| {
            let (data, budget) = (&rows[0].data, rows[0].budget);
            let is_own = |line: &&RunLine| line.key.data == *data && line.key.budget == budget;
            Self {
                summary,
                against: rows.iter().find(|row| row.method == summary.against).copied(),
                lines: lines.iter().filter(is_own).collect(),
                looks: Rc::clone(&looks),
                rows,
            }
        };
        groups(summary).into_iter().map(of).collect()
    }

    fn html(&self) -> Result<Markup> {
        Ok(html! {
            (self.main_table())
            (self.users_table())
            (self.texts_table())
            (self.persons_table())
            (self.side_by_side())
            (self.adapter_table())
            (self.continual_table())
            (self.synthetic_table())
            (self.scores_table())
            (self.over_time()?)
            (self.matrices())
            (self.drift())
        })
    }
}

fn setup(suite: &Suite, users: &[SuiteData]) -> Markup {
    let seeds: Vec<String> = suite.seeds.iter().map(u64::to_string).collect();
    let start = match suite.start {
        Start::Base => "a fresh adapter",
        Start::Domain => "the domain adapter",
    };
    let (mut rows, mut excluded) = (Vec::new(), Vec::new());
    for data in users {
        let evaluated = data.users.iter().filter(|user| user.excluded.is_none());
        let most = evaluated.clone().map(|user| user.periods).max().unwrap_or(0);
        let texts: usize = evaluated.clone().map(|user| user.texts).sum();
        let (domain_texts, domain_users) =
            (count(data.domain_texts, "text"), count(data.domain_users, "user"));
        rows.push(vec![
            cell(&data.data),
            cell(data.evaluated().0.to_string()),
            cell(texts.to_string()),
            cell(most.to_string()),
            cell(data.evaluated().1.to_string()),
            cell(data.left_out().to_string()),
            cell(suite.config_on(&data.data).training.learning_rate.to_string()),
            cell(format!("{domain_texts} of {domain_users}")),
        ]);
        for user in &data.users {
            if let Some(reason) = &user.excluded {
                excluded.push(vec![cell(&data.data), cell(user.user.as_str()), cell(reason)]);
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
    html! {
        (facts(&[
            ("methods", suite.methods.len().to_string()),
            ("seeds", seeds.join(", ")),
            ("everyone starts from", start.into()),
            ("epochs", suite.config.training.epochs.to_string()),
            ("held out of each period", percent(suite.periods.hold_out)),
        ]))
        (table("Data sets", &columns, &rows))
        (programs(suite))
        @for notice in users.iter().flat_map(SuiteData::notices) {
            p.note { (clean(&notice)) } "\n"
        }
        @if !excluded.is_empty() {
            @let columns = [Column::Word("data"), Column::Word("user"), Column::Text("why")];
            @let summary = "Users left out after a look at their texts";
            (details(summary, "Users left out", &columns, &excluded))
        }
    }
}

/// What the suite started.
fn programs(suite: &Suite) -> Markup {
    let of_methods = suite.methods.iter().filter_map(|method| method.program());
    let of_methods = of_methods.map(|program| {
        let said = |words: &Option<String>| cell(words.as_deref().unwrap_or("–"));
        let command = program.command.join(" ");
        let names = [cell(&program.name), cell("method"), cell(command)];
        let words = [said(&program.trains), said(&program.reads)];
        names.into_iter().chain(words).collect::<Vec<_>>()
    });
    let of_metrics = suite.metrics.iter().map(|metric| {
        let command = match metric.command.is_empty() {
            true => "in the program itself".into(),
            false => metric.command.join(" "),
        };
        let better = if metric.higher_is_better { "metric" } else { "metric, lower is better" };
        vec![cell(&metric.name), cell(better), cell(command), cell("–"), cell("–")]
    });
    let rows: Vec<Vec<Markup>> = of_methods.chain(of_metrics).collect();
    if rows.is_empty() {
        return html! {};
    }
    let columns = [
        Column::Label("program"),
        Column::Word("what it is"),
        Column::Text("command"),
        Column::Text("trains on"),
        Column::Text("reads beside the prompt"),
    ];
    table("Methods and metrics of one's own", &columns, &rows)
}

fn choices(users: &[SuiteData], summary: &Summary) -> Markup {
    let names = |half: Half| -> String {
        let all = users.iter().flat_map(|data| &data.users);
        let of = all.filter(|user| user.half == Some(half));
        of.map(|user| user.user.as_str()).collect::<Vec<_>>().join(", ")
    };
    let rows: Vec<Vec<Markup>> = summary
        .choices
        .iter()
        .map(|candidate| {
            vec![
                cell(candidate.data.as_ref().map_or(candidate.choice.clone(), |data| {
                    format!("{} on {data}", candidate.choice)
                })),
                cell(candidate.stage.to_string()),
                cell(candidate.budget.name()),
                cell(&candidate.label),
                bold_if(candidate.best, &number(candidate.per_byte, 4)),
                cell(candidate.users.to_string()),
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
    html! {
        p.note {
            "Settings were chosen on one half of the users; every other number on this page is of \
             the other half. A data set's users, those with most texts first, go into the two \
             halves by turns. Chosen on: " (clean(&names(Half::Choosing))) ". Reported on: "
            (clean(&names(Half::Reporting))) "."
        }
        "\n"
        (table("Candidates", &columns, &rows))
        p.note {
            "Loss on the choosing users' newest test parts after the first period, mean over the \
             data sets of the mean over users. In bold the best of each stage, with which the next \
             one goes on."
        }
        "\n"
    }
}

fn definitions() -> Markup {
    let terms = [
        (
            "period",
            "A user's texts in the order of time, cut into parts of equal count. The latest of \
             each part are its test texts; test texts that nearly equal a training text (more \
             than 80 % of their words in common) are left out.",
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
             the gate opens. “+ retrieval” gives another method's adapter SPRInG's buffer, gate \
             and mixture.",
        ),
        (
            "attributed",
            "A classifier over character n-grams (3 to 5, TF-IDF, the nearest of the users' mean \
             vectors by cosine) knows the latest real texts of all users up to a period, as many \
             of each, test texts left out, and says whose a text of that period is. It is used for \
             nothing else.",
        ),
        (
            "copied",
            "The longest passage of a generated text, in characters, that a text of the user has \
             word for word: one that could be learned by then, or one that was read beside the \
             prompt.",
        ),
        (
            "interval, p",
            "Users are the unit: a user's seeds are averaged first. Intervals are percentile \
             bootstraps that draw users; p is a two-sided sign-flip test over users, corrected by \
             Holm over the methods of a table, or over those whose differences the suite declares \
             as its contrasts.",
        ),
    ];
    html! {
        dl.terms { @for (term, means) in terms { dt { (term) } dd { (means) } "\n" } } "\n"
    }
}
