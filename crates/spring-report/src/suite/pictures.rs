//! The plots of one data set and budget as pictures of their own.

use spring_eval::{Loss, RunLine, SummaryRow};
use spring_metrics::Interval;

use super::Group;
use crate::{
    Result,
    looks::Look,
    picture::Picture,
    plots::{self, Dot, Line, Marker, MethodRow, PanelRow},
    words::file_name,
};

impl Group<'_> {
    /// Those for which there are numbers.
    pub(super) fn pictures(&self) -> Result<Vec<Picture>> {
        let row = self.rows[0];
        let named = |plot: &str, svg: String| {
            let name = file_name(&format!("{}-{}-{plot}", row.data, row.budget.name()));
            Picture { name, svg }
        };
        let mut pictures = vec![
            named("losses", self.losses()?),
            named("over-time", self.over_time_picture()?),
            named("users", self.users_picture()?),
            named("tokens", self.tokens_picture()?),
            named("attribution", self.attribution_picture()?),
            named("kinds", self.kinds_picture()?),
            named("turn", self.turn_picture()?),
        ];
        pictures.retain(|picture| !picture.svg.is_empty());
        Ok(pictures)
    }

    fn method_row(&self, row: &SummaryRow, of: Interval, points: Vec<f64>) -> MethodRow {
        let Interval { mean, low, high, .. } = of;
        let color = self.looks.get(&row.method).color;
        MethodRow { label: row.label.clone(), mean, low, high, points, color }
    }

    fn losses(&self) -> Result<String> {
        let rows = self.rows.iter();
        let rows: Vec<MethodRow> =
            rows.filter_map(|row| Some(self.method_row(row, row.per_byte?, vec![]))).collect();
        plots::rows("losses", "nats per byte, with 95 % intervals", &rows, &[])
    }

    fn over_time_picture(&self) -> Result<String> {
        let labels: Vec<&str> = self.plotted().map(|row| row.label.as_str()).collect();
        let lines = self.lines_over_time();
        plots::labelled_lines("loss over time", "period", "nats per byte", &lines, &labels)
    }

    /// Each user's difference to the base.
    fn users_picture(&self) -> Result<String> {
        let rows: Vec<MethodRow> = self
            .rows
            .iter()
            .filter_map(|row| {
                let users = row.users_to_base.as_ref()?.users.values().copied().collect();
                Some(self.method_row(row, row.above_base?.interval(), users))
            })
            .collect();
        let base = Marker { color: plots::GREY, value: 0.0, label: "the base".into() };
        let unit = "nats per byte less the base's; a ring is a user, a disc the mean";
        plots::rows("users beside the base", unit, &rows, &[base])
    }

    /// What a loss costs in tokens.
    fn tokens_picture(&self) -> Result<String> {
        let dots: Vec<Dot> = self
            .rows
            .iter()
            .filter_map(|row| {
                let Look { color, mark, .. } = self.looks.get(&row.method);
                let (x, y) = (row.tokens? / 1e3, row.per_byte?.mean);
                Some(Dot { label: row.label.clone(), x, y, color, mark })
            })
            .collect();
        // Without a method that learns there is nothing to weigh.
        if dots.iter().all(|dot| dot.x == 0.0) {
            return Ok(String::new());
        }
        let x = "thousands of response tokens trained on";
        plots::frontier("loss against tokens", x, "nats per byte", &dots)
    }

    /// How often texts are taken for their user's, with what there is to compare with.
    fn attribution_picture(&self) -> Result<String> {
        let Some(whose) = self.rows.iter().find_map(|row| row.attribution) else {
            return Ok(String::new());
        };
        let rows = self
            .rows
            .iter()
            .filter_map(|row| Some(self.method_row(row, row.attribution?.generated, vec![])));
        let rows: Vec<MethodRow> = rows.collect();
        let marker = |value: f64, label: &str| {
            let label = label.to_owned();
            Marker { color: plots::GREY, value, label }
        };
        let markers =
            [marker(whose.chance, "by chance"), marker(whose.real.mean, "real held-out texts")];
        let unit = "share of texts attributed to their user, with 95 % intervals";
        plots::rows("attribution", unit, &rows, &markers)
    }

    /// How much of each kind of text was learned, where there is noise.
    fn kinds_picture(&self) -> Result<String> {
        if !self.rows.iter().any(|row| row.has_noise()) {
            return Ok(String::new());
        }
        let kinds = self.kinds();
        let names: Vec<&str> =
            kinds.iter().map(|kind| kind.name().trim_start_matches("noise, ")).collect();
        let rows: Vec<PanelRow> = self
            .rows
            .iter()
            .map(|row| PanelRow {
                label: row.label.clone(),
                shares: kinds.iter().map(|kind| row.taken(*kind)).collect(),
                color: self.looks.get(&row.method).color,
            })
            .collect();
        let unit = "share of each kind of text that was learned, in the later periods";
        plots::panels("kinds learned", unit, &names, &rows)
    }

    /// The second person's loss from right before the turning point on.
    fn turn_picture(&self) -> Result<String> {
        let lines = self.plotted().filter_map(|row| {
            let Look { color, mark, .. } = self.looks.get(&row.method);
            let points = after_turn(&self.lines, &row.runs);
            (!points.is_empty()).then_some((row.label.as_str(), Line { color, mark, points }))
        });
        let (labels, lines): (Vec<&str>, Vec<Line>) = lines.unzip();
        let x = "periods after the turning point";
        let unit = "nats per byte on the second person's test texts";
        plots::labelled_lines("after the turning point", x, unit, &lines, &labels)
    }
}

/// How many periods after the turning point, and the mean loss of a method on all of the second
/// person's test texts together: over the runs with as many periods. 0 is right before it.
fn after_turn(lines: &[&RunLine], method: &str) -> Vec<(u32, f64)> {
    let runs = lines.iter().filter_map(|line| {
        let first = line.run.turn?.first as usize;
        let run = line.run.methods.get(method)?;
        let rows = run.matrix.get(first.checked_sub(2)?..)?;
        let loss = |row: &Vec<Loss>| row.iter().skip(first - 1).copied().sum::<Loss>().per_byte();
        Some(rows.iter().map(loss).collect::<Vec<f64>>())
    });
    let runs: Vec<Vec<f64>> = runs.collect();
    let most = runs.iter().map(Vec::len).max().unwrap_or(0);
    let points = (0..most).map(|after| {
        let losses: Vec<f64> = runs.iter().filter_map(|run| run.get(after).copied()).collect();
        (after as u32, losses.iter().sum::<f64>() / losses.len() as f64)
    });
    points.filter(|(_, mean)| mean.is_finite()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn losses_after_a_turn_are_of_the_second_person_alone() {
        let line = |rows: &[&[f64]], first: u32| -> RunLine {
            let loss = |per_byte: &f64| Loss::new(per_byte * 8.0, 4, 8, 1);
            let matrix: Vec<Vec<Loss>> =
                rows.iter().map(|row| row.iter().map(loss).collect()).collect();
            let run = json!({
                "matrix": matrix, "selected": [], "tokens": [], "open": [], "synthetic": [],
                "seconds": 0.0,
            });
            let turn = json!({ "first": first });
            serde_json::from_value(json!({
                "data": "d", "budget": "epochs", "seed": 0, "user": "ada",
                "run": {
                    "user": "ada", "periods": [], "detection": null, "turn": turn,
                    "methods": { "m": run },
                },
            }))
            .unwrap()
        };
        // Two periods of the first person, whose columns and rows count for nothing.
        let rows: [&[f64]; 4] = [
            &[0.0, 9.0, 9.0, 9.0],
            &[0.0, 9.0, 4.0, 4.0],
            &[9.0, 9.0, 2.0, 2.0],
            &[9.0, 9.0, 1.0, 2.0],
        ];
        let long = line(&rows, 3);
        let short = line(&[&[0.0, 2.0], &[9.0, 0.5]], 2);
        // The last point is of the longer stream alone.
        let expected = [(0, 3.0), (1, 1.25), (2, 1.5)];
        assert_eq!(after_turn(&[&long, &short], "m"), expected);
        // A first period in the place of a turning point, as a damaged file may say.
        assert!(after_turn(&[&line(&[&[1.0]], 1)], "m").is_empty());
        assert!(after_turn(&[&long], "other").is_empty());
    }
}
