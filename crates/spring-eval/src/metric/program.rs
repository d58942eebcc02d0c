//! A program as a metric: texts in, scores out.

use serde::Deserialize;
use serde_json::json;
use spring_core::{Event, Progress};

use super::{Metric, Written};
use crate::{Result, program::Running};

/// A metric whose scores a program gives; it is started once for all texts.
pub(crate) struct ProgramMetric<'m> {
    pub(crate) name: &'m str,
    pub(crate) command: &'m [String],
    pub(crate) timeout: u64,
}

/// A line that a program writes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    id: String,
    score: f64,
}

impl Metric for ProgramMetric<'_> {
    fn score(&self, texts: &[Written<'_>], progress: &mut dyn Progress) -> Result<Vec<f64>> {
        let mut running = Running::start(self.name, None, self.command, self.timeout)?;
        let goes_on = &mut || progress.on(Event::Scoring { texts: texts.len() });
        for (id, text) in texts.iter().enumerate() {
            let Written { user, prompt, reference, answer } = *text;
            running.send(&json!({
                "id": id.to_string(), "user": user.as_str(), "prompt": prompt,
                "reference": reference, "answer": answer,
            }));
        }
        running.close();
        let mut scores: Vec<Option<f64>> = vec![None; texts.len()];
        for done in 0..texts.len() {
            let expected = format!("{done} of {} scores given", texts.len());
            let Some(line) = running.next(&expected, goes_on)? else {
                if let Some(missing) = scores.iter().position(Option::is_none) {
                    running.about(texts[missing].user.as_str());
                }
                return Err(running.ended_early(&expected, goes_on));
            };
            let Line { id, score } = serde_json::from_slice(&line).map_err(|error| {
                running.fail(format!("not a score such as {{\"id\":…,\"score\":…}}: {error}"))
            })?;
            let place = id.parse().ok().filter(|place: &usize| place.to_string() == id);
            let Some(place) = place.filter(|place| *place < texts.len()) else {
                return Err(running.fail(format!("no text has the id {id:?}")));
            };
            running.about(texts[place].user.as_str());
            if scores[place].replace(score).is_some() {
                return Err(running.fail(format!("a second score of the text {id:?}")));
            }
        }
        if running.next("all scores given but no end", goes_on)?.is_some() {
            return Err(running.fail("a line more than there are texts".into()));
        }
        running.end(goes_on)?;
        Ok(scores.into_iter().flatten().collect())
    }
}
