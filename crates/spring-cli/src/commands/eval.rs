//! `spring eval`

use anyhow::{Context, Result, bail};
use spring_core::Config;
use spring_data::{Stream, read_streams};
use spring_eval::{
    Comparison, Method, Plan, SplitConfig, UserComparison, compare as run_comparison, comparison_svg,
};

use crate::{
    args::{Args, CompareArgs},
    embedded,
    interrupt::Interrupted,
    output::{self, number},
    progress::Bars,
};

pub fn compare(args: &Args, command: &CompareArgs) -> Result<()> {
    let config = command.settings.over(&Config::default())?;
    if !(0.0..1.0).contains(&command.hold_out) {
        bail!("--hold-out {}: a part from 0 to below 1, such as 0.1", command.hold_out);
    }
    let mut streams = read_streams(&command.file, None, &|_| true)?;
    // Most texts first; users of equal count in the order of their names, so that a run can be
    // repeated.
    streams.sort_by(|a, b| b.texts.len().cmp(&a.texts.len()).then(a.user.cmp(&b.user)));
    let from = command.skip.min(streams.len());
    let to = (from + command.top).min(streams.len());
    let evaluated: Vec<Stream> = streams.drain(from..to).collect();
    if evaluated.is_empty() {
        bail!("{}: no users to evaluate after leaving out {}", command.file.display(), command.skip);
    }
    streams.sort_by(|a, b| a.user.cmp(&b.user));
    let model = embedded::load_learner(&command.model, args)?;
    let split = SplitConfig { periods: command.periods, hold_out: command.hold_out };
    let methods = if command.methods.is_empty() { Method::ALL.to_vec() } else { command.methods.clone() };
    let plan = Plan { config, split, methods };
    let mut bars = Bars::new(args.quiet);
    let result = run_comparison(&model, &plan, &evaluated, &streams, &mut bars);
    bars.finish();
    let comparison = match result {
        Err(spring_eval::Error::Core(error)) if error.is_stopped() => return Err(Interrupted.into()),
        other => other?,
    };
    // Printed first: a bad path must not cost the result.
    if args.json {
        output::json(&comparison)?
    } else {
        print(&comparison)?
    }
    if let Some(path) = &command.out {
        std::fs::write(path, serde_json::to_string(&comparison)? + "\n")
            .with_context(|| path.display().to_string())?;
    }
    if let Some(path) = &command.plot {
        std::fs::write(path, comparison_svg(&comparison)?).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

fn print(comparison: &Comparison) -> Result<()> {
    for user in &comparison.users {
        output::line(&format!(
            "\n{}: {} texts; nats/token on the held-out texts of each period",
            user.user, user.texts
        ))?;
        print_user(user)?;
    }
    let periods = comparison.users.iter().map(|user| user.periods.len()).max().unwrap_or(0);
    output::line("\nAll users; nats/token, every held-out token counted once")?;
    let mut headings = vec!["method".to_string()];
    headings.extend((1..=periods).map(|t| format!("period {t}")));
    headings.extend(["after period 1".into(), "nats/byte".into()]);
    let mut table = output::table(&headings.iter().map(String::as_str).collect::<Vec<_>>());
    for method in Method::ALL {
        let per_token = |t: u32| comparison.total(method, |_, p| p.period == t).map(|loss| loss.per_token());
        let later = comparison.total(method, |_, p| p.period > 1);
        let mut row = vec![method.label().to_string()];
        row.extend((1..=periods as u32).map(|t| number(per_token(t))));
        row.push(number(later.map(|loss| loss.per_token())));
        row.push(number(later.map(|loss| loss.per_byte())));
        table.add_row(row);
    }
    output::line(&table.to_string())?;
    output::line(&format!(
        "domain adapter: {} texts, the first periods of {} other users; {:.0} s in all",
        comparison.domain_texts, comparison.domain_users, comparison.seconds
    ))
}

fn print_user(user: &UserComparison) -> Result<()> {
    let mut headings = vec!["method".to_string()];
    headings.extend(user.periods.iter().map(|p| format!("period {}", p.period)));
    let mut table = output::table(&headings.iter().map(String::as_str).collect::<Vec<_>>());
    for method in Method::ALL {
        let mut row = vec![method.label().to_string()];
        row.extend(user.periods.iter().map(|p| number(p.loss.get(&method).map(|loss| loss.per_token()))));
        table.add_row(row);
    }
    let mut count = |label: &str, value: &dyn Fn(&spring_eval::PeriodComparison) -> String| {
        let mut row = vec![label.to_string()];
        row.extend(user.periods.iter().map(value));
        table.add_row(row);
    };
    count("texts: learned of", &|p| format!("{} of {}", p.selected, p.train));
    count("texts: held out (near-duplicates)", &|p| format!("{} ({})", p.test, p.dropped));
    count("texts with the gate open", &|p| p.gate.open_fused.texts.to_string());
    count("mixture − adapter on those", &|p| {
        number(
            (p.gate.open_fused.texts > 0)
                .then(|| p.gate.open_fused.per_token() - p.gate.open_adapter.per_token()),
        )
    });
    count("sd(N)", &|p| number(p.statistics.novelty_sd));
    count("sd(αQ)", &|p| number(p.statistics.weighted_quality_sd));
    count("correlation S, N", &|p| number(p.statistics.score_novelty_correlation));
    count("correlation S, Q", &|p| number(p.statistics.score_quality_correlation));
    output::line(&table.to_string())
}
