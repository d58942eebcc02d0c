//! What a loss costs: a point for each method, and the lowest loss up to each cost.

use plotters::{
    element::DashedPathElement,
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use super::{
    GREY, Mark, TEXT, legend, legend_height, mesh, padded, relative, shortened, svg, text_style,
    ticks_of, title,
};
use crate::Result;

/// A method: its cost and its loss.
#[derive(Debug, Clone)]
pub(crate) struct Dot {
    pub(crate) label: String,
    pub(crate) x: f64,
    pub(crate) y: f64,
    pub(crate) color: RGBColor,
    pub(crate) mark: Mark,
}

/// Points as a picture of its own, with a number at each that the legend explains, so that it can
/// be read without colours; a dashed line is the lowest value up to each x. "" if there is nothing
/// to draw.
pub(crate) fn frontier(
    plot: &'static str,
    x_name: &str,
    unit: &str,
    dots: &[Dot],
) -> Result<String> {
    let dots: Vec<&Dot> = dots.iter().filter(|d| d.x.is_finite() && d.y.is_finite()).collect();
    let (x, y) = (padded(dots.iter().map(|d| d.x)), padded(dots.iter().map(|d| d.y)));
    let (Some(x), Some(y)) = (x, y) else { return Ok(String::new()) };
    let above = legend_height(dots.len());
    svg(plot, (900, 380 + above), |area| {
        area.fill(&WHITE)?;
        let (above, below) = area.split_vertically(above);
        let entries = dots.iter().enumerate().map(|(place, dot)| {
            let words = format!("{} {} {}", place + 1, dot.mark.sign(), shortened(&dot.label, 37));
            (words, dot.color)
        });
        legend(&above, entries)?;
        let mut chart = ChartBuilder::on(&below)
            .margin_top(26)
            .margin_right(24)
            .x_label_area_size(44)
            .y_label_area_size(54)
            .build_cartesian_2d(x.clone(), y.clone())?;
        mesh(&mut chart, x_name, &ticks_of(&x), &ticks_of(&y))?;
        title(&below, unit)?;
        let steps = steps(&dots, x.end);
        chart.draw_series([DashedPathElement::new(steps, 5, 4, GREY.stroke_width(1))])?;
        let mut taken = Vec::new();
        for (place, dot) in dots.iter().enumerate() {
            let (at, color) = ((dot.x, dot.y), dot.color);
            match dot.mark {
                Mark::Disc => chart.draw_series([Circle::new(at, 5, color.filled())]).map(drop)?,
                Mark::Triangle => {
                    chart.draw_series([TriangleMarker::new(at, 6, color.filled())]).map(drop)?
                }
                Mark::Cross => {
                    chart.draw_series([Cross::new(at, 5, color.stroke_width(2))]).map(drop)?
                }
                Mark::Square => chart
                    .draw_series([
                        EmptyElement::at(at) + Rectangle::new([(-4, -4), (4, 4)], color.filled())
                    ])
                    .map(drop)?,
            }
            let (left, top) = relative(&below, chart.plotting_area().map_coordinate(&at));
            let at = free(&mut taken, (left, top));
            let style = text_style(Pos::new(HPos::Center, VPos::Center)).color(&TEXT);
            below.draw(&Text::new((place + 1).to_string(), at, style))?;
        }
        Ok(())
    })
}

/// The lowest value of all points up to each x, as steps from the first point to an end.
fn steps(dots: &[&Dot], end: f64) -> Vec<(f64, f64)> {
    let mut points: Vec<(f64, f64)> = dots.iter().map(|dot| (dot.x, dot.y)).collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let mut steps: Vec<(f64, f64)> = Vec::new();
    for (x, y) in points {
        match steps.last().copied() {
            Some((_, lowest)) if y >= lowest => {}
            last => {
                steps.extend(last.map(|(_, lowest)| (x, lowest)));
                steps.push((x, y));
            }
        }
    }
    steps.extend(steps.last().copied().map(|(_, lowest)| (end, lowest)));
    steps
}

/// A place for a number beside a point that no other number has.
fn free(taken: &mut Vec<(i32, i32)>, (x, y): (i32, i32)) -> (i32, i32) {
    const PLACES: [(i32, i32); 8] =
        [(13, 0), (-13, 0), (0, -13), (0, 14), (17, -13), (-17, -13), (17, 14), (-17, 14)];
    let places = PLACES.map(|(right, down)| (x + right, y + down));
    let is_free = |place: &&(i32, i32)| {
        taken.iter().all(|(x, y)| (x - place.0).abs() > 15 || (y - place.1).abs() > 11)
    };
    let found = places.iter().find(is_free).copied().unwrap_or(places[0]);
    taken.push(found);
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plots::BLUE;

    fn dot(x: f64, y: f64) -> Dot {
        Dot { label: "m".into(), x, y, color: BLUE, mark: Mark::Disc }
    }

    #[test]
    fn the_line_is_what_is_lowest_for_the_price() {
        let dots = [dot(100.0, 0.7), dot(0.0, 1.0), dot(30.0, 0.8), dot(40.0, 0.9), dot(0.0, 0.9)];
        let dots: Vec<&Dot> = dots.iter().collect();
        let expected =
            [(0.0, 0.9), (30.0, 0.9), (30.0, 0.8), (100.0, 0.8), (100.0, 0.7), (120.0, 0.7)];
        assert_eq!(steps(&dots, 120.0), expected);
    }

    #[test]
    fn numbers_of_equal_points_do_not_cover_each_other() {
        let mut taken = Vec::new();
        let places: Vec<(i32, i32)> = (0..8).map(|_| free(&mut taken, (100, 100))).collect();
        for (place, at) in places.iter().enumerate() {
            assert!(!places[..place].contains(at), "{at:?}");
        }
        let svg = frontier("tokens", "tokens", "loss", &[dot(0.0, 1.0), dot(5.0, f64::NAN)]);
        assert_eq!(svg.unwrap().matches("<circle").count(), 1);
        assert_eq!(frontier("tokens", "tokens", "loss", &[]).unwrap(), "");
    }
}
