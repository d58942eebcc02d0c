//! `spring eval --suite`

use std::{
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Mutex,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use indicatif::{HumanDuration, ProgressBar, ProgressStyle};
use spring_eval::{DataSet, Estimate, Started, Suite, SuiteEvent, estimate_suite, run_suite};

use super::summary;
use crate::{
    args::{Args, SuiteArgs},
    embedded, files,
    interrupt::{self, Interrupted},
    output,
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
    if let Some(said) = rates_of_another(&suite, command).filter(|_| !args.quiet) {
        output::say(&format!("spring: {said}"));
    }
    if !command.estimate {
        suite = with_leave(suite, args, command)?;
    }
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
    summary::print(&outcome.summary)?;
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

/// The suite, allowed to start its programs if that was asked for: a suite from somebody else must
/// not run code on the side.
fn with_leave(suite: Suite, args: &Args, command: &SuiteArgs) -> Result<Suite> {
    let started = suite.starts();
    let said: Vec<String> =
        started.iter().map(|Started { name, command, .. }| format!("{name}: {command}")).collect();
    if said.is_empty() {
        return Ok(suite);
    }
    if !command.run_programs {
        bail!(
            "the suite starts programs on this computer, which can do whatever you can: {}; read \
             them, and start them with --run-programs",
            said.join("; ")
        );
    }
    if !args.quiet {
        said.iter().for_each(|said| output::say(&format!("spring: starts {said}")));
    }
    Ok(suite.allowing_programs())
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
    if let Some(preset) = command.preset {
        suite.config = preset.over(&suite.config)?;
        suite.data.iter_mut().for_each(|data| data.learning_rate = None);
    }
    for setting in &command.learning_rate {
        let (name, rate) = setting
            .split_once('=')
            .with_context(|| format!("--learning-rate {setting}: NAME=RATE"))?;
        let wrong = || format!("--learning-rate {setting}: expected a number above 0, as 3e-3");
        let rate: f64 = rate.parse().with_context(wrong)?;
        if !(rate.is_finite() && rate > 0.0) {
            bail!(wrong());
        }
        data_set(suite, "--learning-rate", setting, name)?.learning_rate = Some(rate);
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

/// What to say where learning rates of the suite were chosen for another base than it is run on.
fn rates_of_another(suite: &Suite, command: &SuiteArgs) -> Option<String> {
    let base = suite.rates_for.as_ref().filter(|_| suite.has_rates_of_another(&suite.model))?;
    let is_told = |name: &str| {
        let mut rates = command.learning_rate.iter().filter_map(|rate| rate.split_once('='));
        rates.any(|(own, _)| own == name)
    };
    let names = suite.data.iter().map(|data| data.name.as_str());
    let left: Vec<&str> = names.filter(|name| !is_told(name)).collect();
    (!left.is_empty() && command.preset.is_none()).then(|| {
        format!(
            "the suite's learning rates were chosen for {base}, and may be wrong for {} by a \
             factor: choose them on other users (suites/real-rates.toml) and give them by \
             --learning-rate NAME=RATE, for {}",
            suite.model,
            left.join(", ")
        )
    })
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
    let written = match estimate.write_millions > 0.0 {
        true => format!(", at most {:.3} M to write", estimate.write_millions),
        false => String::new(),
    };
    format!(
        "{} runs (users, seeds, budgets): {:.2} M tokens to train on and {:.2} M to \
         score{written}, about {}",
        estimate.jobs,
        estimate.train_millions,
        estimate.score_millions,
        HumanDuration(Duration::from_secs_f64(estimate.seconds.max(1.0)))
    )
}
