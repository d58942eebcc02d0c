//! One score for each user.

use spring_metrics::{UserScores, average_seeds};

use crate::{Loss, Method, MethodRun, Reads, RunLine};

/// The loss that a method is judged by; of one period only where there is but one.
pub(super) fn after_first(run: &MethodRun) -> Loss {
    if run.matrix.len() > 1 { run.diagonal_after_first() } else { run.diagonal() }
}

/// The primary score of every user, seeds averaged.
pub(super) fn primary_scores(lines: &[&RunLine], method: &str) -> UserScores {
    of_users(lines, method, |run, _| after_first(run).per_byte())
}

/// The same of the adapter alone: of methods with retrieval what they would be without it, of
/// methods with texts in the prompt nothing.
pub(super) fn adapter_scores(lines: &[&RunLine], method: &Method) -> UserScores {
    if method.reads() == Reads::Prompt {
        return UserScores::new();
    }
    of_users(lines, method.name(), |run, _| {
        if run.adapter_matrix.is_empty() {
            return after_first(run).per_byte();
        }
        after_first(&MethodRun { matrix: run.adapter_matrix.clone(), ..MethodRun::default() })
            .per_byte()
    })
}

/// A number of every user, seeds averaged; what a run does not have is left out.
pub(super) fn of_users(
    lines: &[&RunLine],
    method: &str,
    value: impl Fn(&MethodRun, &RunLine) -> f64,
) -> UserScores {
    let values = lines.iter().filter_map(|line| {
        let value = value(line.run.methods.get(method)?, line);
        value.is_finite().then_some((line.key.user.as_str(), value))
    });
    average_seeds(values)
}
