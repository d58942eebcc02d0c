//! What a suite starts on the computer that runs it, and metrics of one's own.

use std::collections::HashSet;

use super::Suite;
use crate::{Error, Method, Metric, Result, SuiteMetric, program::spelled};

/// A program that a run of a suite starts.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Started {
    /// Its name in the suite.
    pub name: String,
    /// Its command in one line.
    pub command: String,
}

impl Suite {
    /// The programs that a run starts, in the order of the suite: those of its methods, and those
    /// of its metrics.
    pub fn starts(&self) -> Vec<Started> {
        let methods = self.methods.iter().filter_map(Method::program);
        let methods = methods.map(|program| (&program.name, &program.command));
        let metrics = self.metrics.iter().filter(|metric| metric.is_program());
        let metrics = metrics.map(|metric| (&metric.name, &metric.command));
        let started = |(name, command): (&String, &Vec<String>)| Started {
            name: name.clone(),
            command: spelled(command),
        };
        methods.chain(metrics).map(started).collect()
    }

    /// The suite with leave to start its programs. Without it [`run_suite`](crate::run_suite)
    /// refuses a suite that has any: who runs it should have read their commands
    /// ([`starts`](Self::starts)).
    #[must_use]
    pub fn allowing_programs(self) -> Self {
        Self { programs_are_allowed: true, ..self }
    }

    /// The suite with a metric in Rust: a new one, or the one that the suite names without a
    /// command.
    #[must_use]
    pub fn with_metric(
        mut self,
        name: &str,
        higher_is_better: bool,
        metric: impl Metric + 'static,
    ) -> Self {
        let metric = SuiteMetric::new(name, higher_is_better, metric);
        match self.metrics.iter_mut().find(|known| known.name == name) {
            Some(known) => *known = metric,
            None => self.metrics.push(metric),
        }
        self
    }

    /// Refuses to start what nobody has agreed to.
    pub(super) fn check_leave(&self) -> Result<()> {
        let started = self.starts();
        if self.programs_are_allowed || started.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = started.iter().map(|started| started.name.as_str()).collect();
        Err(Error::File {
            file: self.name.clone(),
            reason: format!(
                "the suite starts programs on this computer ({}), which nobody has allowed",
                names.join(", ")
            ),
        })
    }

    /// Refuses programs and metrics that a run could only refuse late.
    pub(super) fn check_programs(&self) -> Result<(), String> {
        for program in &self.programs {
            program.check().map_err(|reason| format!("programs: {reason}"))?;
        }
        for metric in &self.metrics {
            metric.check().map_err(|reason| format!("metrics: {reason}"))?;
        }
        let names: HashSet<&str> = self.metrics.iter().map(|metric| metric.name.as_str()).collect();
        let candidates = self.choose.iter().flat_map(|choice| &choice.among);
        let mut chosen = candidates.filter_map(Method::program);
        let against = self.against.as_deref();
        let is_program = |name: &str| self.programs.iter().any(|program| program.name == name);
        let writes = !self.metrics.is_empty() || self.methods.iter().any(|m| m.program().is_some());
        if names.len() < self.metrics.len() {
            Err("metrics: each has a name of its own".into())
        } else if let Some(name) = names.iter().find(|name| super::summary::is_column(name)) {
            Err(format!("metrics: {name:?} is a column of summary.csv already"))
        } else if let Some(program) = chosen.next() {
            Err(format!(
                "choose: {:?} is a program, which has no losses to be chosen by",
                program.name
            ))
        } else if let Some(name) = against.filter(|name| is_program(name)) {
            Err(format!("against: {name:?} is a program, which has no losses to be tested against"))
        } else if writes && self.generation.texts == 0 {
            Err("generation: programs and metrics need texts: set generation.texts to at least 1"
                .into())
        } else {
            Ok(())
        }
    }
}
