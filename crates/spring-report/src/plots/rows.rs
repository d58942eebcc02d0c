//! Methods below each other on one axis: means with their intervals, and users one by one.

use plotters::{
    element::DashedPathElement,
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use super::{GRID, Marker, padded, relative, shortened, svg, text_style, ticks_of};
use crate::Result;

/// A row: a mean and the ends of its interval, and what it is the mean of, if that is shown.
#[derive(Debug, Clone)]
pub(crate) struct MethodRow {
    pub(crate) label: String,
    pub(crate) mean: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
    /// Drawn as rings below the interval; none if empty.
    pub(crate) points: Vec<f64>,
    pub(crate) color: RGBColor,
}

/// Pixels for the names of the rows.
const NAMES: i32 = 300;

/// Rows as a picture of its own, with values to compare them with as dashed lines, each with its
/// name above; "" if there is nothing to draw.
pub(crate) fn rows(
    plot: &'static str,
    unit: &str,
    rows: &[MethodRow],
    markers: &[Marker],
) -> Result<String> {
    let markers: Vec<&Marker> = markers.iter().filter(|marker| marker.value.is_finite()).collect();
    let ends = rows.iter().flat_map(|row| [row.low, row.mean, row.high]);
    let points = rows.iter().flat_map(|row| row.points.iter().copied());
    let values = ends.chain(points);
    if !values.clone().any(f64::is_finite) {
        return Ok(String::new());
    }
    let Some(x) = padded(values.chain(markers.iter().map(|marker| marker.value))) else {
        return Ok(String::new());
    };
    let has_points = rows.iter().any(|row| !row.points.is_empty());
    let (height, above) = (if has_points { 34 } else { 26 }, 18 * markers.len() as u32);
    // Users below their mean, so that neither hides the other.
    let (up, down) = if has_points { (0.2, 0.2) } else { (0.0, 0.0) };
    svg(plot, (900, height * rows.len() as u32 + 60 + above), |area| {
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(area)
            .margin_top(8 + above as i32)
            .margin_right(14)
            .margin_left(NAMES)
            .x_label_area_size(44)
            .build_cartesian_2d(x.clone(), 0.0..rows.len() as f64)?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(GRID)
            .label_style(text_style(Pos::default()))
            .x_labels(6)
            .y_labels(0)
            .x_desc(unit)
            .x_label_formatter(&ticks_of(&x))
            .draw()?;
        for (place, Marker { color, value, label }) in markers.iter().copied().enumerate() {
            let line = [(*value, 0.0), (*value, rows.len() as f64)];
            chart.draw_series([DashedPathElement::new(line, 6, 3, color.stroke_width(2))])?;
            // Beside its line, on the side that has more room.
            let left = (value - x.start) / (x.end - x.start) > 0.5;
            let pos = Pos::new(if left { HPos::Right } else { HPos::Left }, VPos::Center);
            let (at, top) = chart.plotting_area().map_coordinate(&(*value, rows.len() as f64));
            let level = top - 10 - 18 * place as i32;
            area.draw(&PathElement::new(
                [relative(area, (at, top)), relative(area, (at, level - 6))],
                color.stroke_width(2),
            ))?;
            let at = relative(area, (at + if left { -6 } else { 6 }, level));
            area.draw(&Text::new(label.clone(), at, text_style(pos).color(color)))?;
        }
        for (place, row) in rows.iter().enumerate() {
            let y = (rows.len() - place) as f64 - 0.5;
            if !row.mean.is_finite() {
                continue;
            }
            let bar = [(row.low, y + up), (row.high, y + up)];
            chart.draw_series([PathElement::new(bar, row.color.stroke_width(2))])?;
            chart.draw_series([Circle::new((row.mean, y + up), 4, row.color.filled())])?;
            let users = row.points.iter().filter(|value| value.is_finite());
            chart.draw_series(
                users.map(|value| Circle::new((*value, y - down), 3, row.color.stroke_width(1))),
            )?;
            let (_, at) = chart.plotting_area().map_coordinate(&(x.start, y));
            let style = text_style(Pos::new(HPos::Right, VPos::Center));
            let label = shortened(&row.label, 42);
            let place = relative(area, (NAMES - 10, at));
            area.draw(&Text::new(label, place, style))?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plots::{BLUE, GREY};

    fn row(mean: f64, points: &[f64]) -> MethodRow {
        let label = "a <method>".to_owned();
        let points = points.to_vec();
        MethodRow { label, mean, low: mean - 0.1, high: mean + 0.1, points, color: BLUE }
    }

    #[test]
    fn every_user_is_a_ring_and_every_mean_a_disc() {
        let zero = Marker { color: GREY, value: 0.0, label: "the base".into() };
        let all = [row(-0.2, &[-0.5, 0.1, f64::NAN]), row(0.3, &[0.3]), row(f64::NAN, &[])];
        let svg = rows("users", "nats per byte", &all, &[zero]).unwrap();
        let circles = |fill: &str| {
            let circles = svg.split("<circle").skip(1);
            let circles = circles.filter_map(|circle| circle.split("/>").next());
            circles.filter(|circle| circle.contains(fill)).count()
        };
        assert_eq!((circles("fill=\"#0062A6\""), circles("fill=\"none\"")), (2, 3));
        assert!(svg.contains("the base") && svg.contains("a &lt;method&gt;"));
        // What is only compared with is no plot.
        let chance = Marker { color: GREY, value: 0.25, label: "chance".into() };
        assert_eq!(rows("users", "u", &[row(f64::NAN, &[])], &[chance]).unwrap(), "");
    }
}
