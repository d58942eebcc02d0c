//! `spring eval --suite`

use std::{
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Mutex,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use indicatif::{HumanDuration, ProgressBar, ProgressStyle};
use spring_eval::{
    Candidate, DataSet, Estimate, Suite, SuiteEvent, Summary, estimate_suite, run_suite,
};

use crate::{
    args::{Args, SuiteArgs},
    embedded, files,
    interrupt::{self, Interrupted},
    output::{self, number},
    progress::tick,
};

pub fn run(args: &Args, command: &SuiteArgs) -> Result<()> {
    let path = command.suite.as_ref().context("name a suite: spring eval --suite FILE.toml")?;
    files::plain(path)?;
    let mut suite = match path.to_str() {
        Some(name) if !path.exists() && !name.contains(['.', '/']) => Suite::built_in(name)?,
        _ => Suite::load(path)?,
    };
    overrule(&mut suite, command)?;
    suite.data.iter().try_for_each(|data| files::plain(Path::new(&data.path)))?;
    let model = embedded::load_learner(&suite.model, args)?;
    if command.estimate {
        let estimate = estimate_suite(&model, &suite)?;
        return if args.json {
            output::json(&estimate)
        } else {
            output::line(&in_words(&estimate))
        };
    }
    let folder = command.out.clone().unwrap_or_else(|| PathBuf::from("runs").join(&suite.name));
    let bar = if args.quiet { ProgressBar::hidden() } else { ProgressBar::new(0) };
    if let Ok(style) =
        ProgressStyle::with_template("{spinner} {bar:24} {pos}/{len} {msg} [{elapsed}]")
    {
        bar.set_style(style.progress_chars("=> "));
    }
    tick(&bar);
    let estimated = Mutex::new(None);
    let watch = |event: SuiteEvent<'_>| {
        match event {
            SuiteEvent::Estimate(estimate) => {
                bar.set_length(estimate.jobs as u64);
                if !args.quiet {
                    bar.suspend(|| output::say(&format!("spring: {}", in_words(&estimate))));
                }
                if let Ok(mut estimated) = estimated.lock() {
                    *estimated = Some(estimate);
                }
            }
            SuiteEvent::Job { name, done, jobs, seconds_left } => {
                bar.set_length(jobs as u64);
                bar.set_position(done as u64);
                let left = HumanDuration(Duration::from_secs_f64(seconds_left.max(0.0)));
                bar.set_message(format!("{name}; {left} left"));
                if bar.is_hidden() && !args.quiet {
                    output::say(&format!("spring: {done} of {jobs}: {name}; {left} left"));
                }
            }
            SuiteEvent::Step => {}
        }
        if interrupt::requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let result = match command.jobs {
        None => run_suite(&model, &suite, &folder, &watch),
        Some(jobs) => rayon::ThreadPoolBuilder::new()
            .num_threads(jobs.max(1))
            .build()?
            .install(|| run_suite(&model, &suite, &folder, &watch)),
    };
    bar.finish_and_clear();
    let outcome = match result {
        Err(spring_eval::Error::Core(error)) if error.is_stopped() => {
            return Err(Interrupted.into());
        }
        other => other?,
    };
    let page = outcome.folder.join("report.html");
    files::write_whole(&page, spring_report::suite_html(&suite, &outcome)?.as_bytes())?;
    if args.json {
        for notice in outcome.data.iter().flat_map(|data| data.notices()).filter(|_| !args.quiet) {
            output::say(&format!("spring: {notice}"));
        }
        return output::json(&outcome.summary);
    }
    print(&outcome.summary)?;
    for data in &outcome.data {
        let (users, fewer) = data.evaluated();
        output::line(&format!(
            "{}: {users} users evaluated, {fewer} of them with fewer periods; {} users left out \
             (users.json says why)",
            data.data,
            data.left_out()
        ))?;
        data.notices().iter().try_for_each(|notice| output::line(notice))?;
    }
    output::line(&format!("\n{}", page.display()))
}

/// What the command line says instead of the file.
fn overrule(suite: &mut Suite, command: &SuiteArgs) -> Result<()> {
    if let Some(model) = &command.model {
        suite.model.clone_from(model);
    }
    for setting in &command.data {
        let (name, file) =
            setting.split_once('=').with_context(|| format!("--data {setting}: NAME=FILE"))?;
        file.clone_into(&mut data_set(suite, "--data", setting, name)?.path);
    }
    for name in &command.without {
        let before = suite.data.len();
        suite.data.retain(|data| data.name != *name);
        match (before > suite.data.len(), suite.data.is_empty()) {
            (false, _) => bail!("--without {name}: the suite has no such data set"),
            (_, true) => bail!("--without {name}: no data set would be left"),
            _ => {}
        }
    }
    for setting in &command.task {
        let (name, task) =
            setting.split_once('=').with_context(|| format!("--task {setting}: NAME=TASK"))?;
        data_set(suite, "--task", setting, name)?.task =
            Some(task.parse().with_context(|| format!("--task {setting}"))?);
    }
    for data in &mut suite.data {
        data.users = command.users.unwrap_or(data.users);
        data.skip = command.skip.unwrap_or(data.skip);
        if data.users == 0 {
            bail!("--users 0: at least one");
        }
    }
    Ok(())
}

/// The data set that an option names.
fn data_set<'s>(
    suite: &'s mut Suite,
    option: &str,
    setting: &str,
    name: &str,
) -> Result<&'s mut DataSet> {
    let names = suite.data.iter().map(|data| data.name.as_str()).collect::<Vec<_>>().join(", ");
    let found = suite.data.iter_mut().find(|data| data.name == name);
    found.with_context(|| {
        format!("{option} {setting}: the suite has no data set {name:?}, only {names}")
    })
}

fn in_words(estimate: &Estimate) -> String {
    format!(
        "{} runs (users, seeds, budgets): {:.2} M tokens to train on and {:.2} M to score, about \
         {}",
        estimate.jobs,
        estimate.train_millions,
        estimate.score_millions,
        HumanDuration(Duration::from_secs_f64(estimate.seconds.max(1.0)))
    )
}

pub(super) fn print(summary: &Summary) -> Result<()> {
    let mut groups: Vec<(&str, &str)> = Vec::new();
    for row in &summary.rows {
        let group = (row.data.as_str(), row.budget.name());
        if !groups.contains(&group) {
            groups.push(group);
        }
    }
    for (data, budget) in groups {
        let rows = || {
            summary
                .rows
                .iter()
                .filter(|row| (row.data.as_str(), row.budget.name()) == (data, budget))
        };
        let users = rows().next().map_or(0, |row| row.per_byte.users);
        output::line(&format!(
            "\n{data}, budget {budget}: loss on the newest test part after the first period, mean \
             over {users} users"
        ))?;
        let mut table = output::table(&[
            "method",
            "nats/byte",
            "95 %",
            "nats/token",
            "difference",
            "p (Holm)",
            "detectable",
            "forgetting",
            "tokens",
        ]);
        for row in rows() {
            let wide =
                |value: Option<f64>| value.map_or("–".into(), |value| format!("{value:.4}"));
            let test = row.difference;
            table.add_row([
                row.label.clone(),
                wide(Some(row.per_byte.mean)),
                format!("{:.4} to {:.4}", row.per_byte.low, row.per_byte.high),
                number(Some(row.per_token)),
                wide(test.map(|test| test.difference.mean)),
                number(test.map(|test| test.p_holm)),
                wide(test.and_then(|test| test.minimum_detectable)),
                wide(row.continual.forgetting),
                format!("{:.0}", row.tokens),
            ]);
        }
        output::line(&table.to_string())?;
        if let Some(test) = rows().find_map(|row| row.difference) {
            let users = test.difference.users;
            let least = format!(
                "the smallest corrected p that {users} users can give is {:.4}",
                test.least_p_holm
            );
            output::line(&match test.can_be_significant() {
                true => least,
                false => format!("{least}: no difference can be significant at 0.05"),
            })?;
        }
        for row in rows() {
            let Some(test) = row.adapter_difference.filter(|_| row.adapter_alone.is_some()) else {
                continue;
            };
            output::line(&format!(
                "{}, adapters alone: {:.4} (p {:.3}, corrected {:.3})",
                row.label, test.difference.mean, test.p, test.p_holm
            ))?;
        }
    }
    if !summary.choices.is_empty() {
        output::line("\nsettings, chosen on other users than those above (nats/byte there):")?;
        let last = |candidate: &&Candidate| {
            let of = |other: &&Candidate| {
                (&other.choice, other.budget) == (&candidate.choice, candidate.budget)
            };
            candidate.best
                && summary.choices.iter().filter(of).all(|other| other.stage <= candidate.stage)
        };
        for candidate in summary.choices.iter().filter(last) {
            let (choice, budget) = (&candidate.choice, candidate.budget.name());
            output::line(&format!(
                "{choice}, budget {budget}: {} ({:.4}, {} users; choices.csv has the others)",
                candidate.method, candidate.per_byte, candidate.users
            ))?;
        }
    }
    output::line(&format!(
        "differences are to {}, below 0 is better; forgetting: mean over i of the best R[t][i] \
         less R[T][i], nats per byte",
        summary.against
    ))
}
