//! Plots as SVG. Each is drawn twice, for wide and for narrow windows, and the page's style shows
//! one of the two; it also swaps the colours for the dark.

mod frontier;
mod panels;
mod rows;

use std::{io, ops::Range};

use plotters::{
    coord::{
        Shift,
        ranged1d::{Ranged, ValueFormatter},
    },
    element::DashedPathElement,
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};
use spring_core::record::PeriodRecord;

pub(crate) use self::{
    frontier::{Dot, frontier},
    panels::{PanelRow, panels},
    rows::{MethodRow, rows},
};
use crate::{Error, Result, words::number};

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), DrawingAreaErrorKind<io::Error>>;

/// A colour by its place in the light and its name in the style sheet. The hues are of Okabe and
/// Ito's palette, which the colour-blind can tell apart, darkened for contrast.
const INKS: [(RGBColor, &str); 9] = [
    (TEXT, "text"),
    (GRID, "grid"),
    (GREY, "grey"),
    (RED, "red"),
    (GREEN, "green"),
    (BLUE, "blue"),
    (PURPLE, "purple"),
    (GOLD, "gold"),
    (SKY, "sky"),
];
const TEXT: RGBColor = RGBColor(0x3a, 0x3f, 0x47);
const GRID: RGBColor = RGBColor(0xe0, 0xe3, 0xe8);
pub(crate) const GREY: RGBColor = RGBColor(0x75, 0x7b, 0x85);
pub(crate) const RED: RGBColor = RGBColor(0xbd, 0x4b, 0x00);
pub(crate) const GREEN: RGBColor = RGBColor(0x00, 0x7d, 0x5b);
pub(crate) const BLUE: RGBColor = RGBColor(0x00, 0x62, 0xa6);
pub(crate) const PURPLE: RGBColor = RGBColor(0x9a, 0x3d, 0x74);
pub(crate) const GOLD: RGBColor = RGBColor(0x8a, 0x63, 0x00);
pub(crate) const SKY: RGBColor = RGBColor(0x1f, 0x8a, 0xb8);

/// Rules that swap the colours of plots for those of the style sheet.
pub(crate) fn ink_rules() -> String {
    let rule = |(RGBColor(r, g, b), name): &(RGBColor, &str)| {
        let hex = format!("#{r:02X}{g:02X}{b:02X}");
        format!(
            "svg [fill=\"{hex}\"]{{fill:var(--{name})}}svg \
             [stroke=\"{hex}\"]{{stroke:var(--{name})}}\n"
        )
    };
    INKS.iter().map(rule).collect()
}

/// plotters divides the size by 1.24.
const FONT: f64 = 13.0 * 1.24;

/// How a point is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    Disc,
    Triangle,
    Cross,
    Square,
}

impl Mark {
    /// The sign for a legend.
    pub(crate) fn sign(self) -> &'static str {
        match self {
            Self::Disc => "●",
            Self::Triangle => "▲",
            Self::Cross => "✕",
            Self::Square => "■",
        }
    }
}

/// One line of [`lines`]: a value per period.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) color: RGBColor,
    pub(crate) mark: Mark,
    pub(crate) points: Vec<(u32, f64)>,
}

/// Values per period; "" if there is nothing to draw.
pub(crate) fn lines(plot: &'static str, unit: &str, lines: &[Line]) -> Result<String> {
    match extent(lines) {
        None => Ok(String::new()),
        Some(extent) => {
            let x = "period";
            both(plot, (900, 320), (360, 280), |area| draw_lines(area, x, unit, lines, &extent))
        }
    }
}

/// Values by whole numbers as a picture of its own: what each line is stands above them; "" if
/// there is nothing to draw.
pub(crate) fn labelled_lines(
    plot: &'static str,
    x: &str,
    unit: &str,
    lines: &[Line],
    labels: &[&str],
) -> Result<String> {
    let Some(extent) = extent(lines) else { return Ok(String::new()) };
    let above = legend_height(lines.len());
    svg(plot, (900, 320 + above), |area| {
        area.fill(&WHITE)?;
        let (above, below) = area.split_vertically(above);
        let entries = lines.iter().zip(labels).map(|(line, label)| {
            (format!("{} {}", line.mark.sign(), shortened(label, 40)), line.color)
        });
        legend(&above, entries)?;
        draw_lines(&below, x, unit, lines, &extent)
    })
}

/// Entries of a legend side by side.
const COLUMNS: usize = 3;

fn legend_height(entries: usize) -> u32 {
    22 * entries.div_ceil(COLUMNS) as u32 + 10
}

/// What the signs of a picture stand for.
fn legend(area: &Area<'_>, entries: impl Iterator<Item = (String, RGBColor)>) -> Drawn {
    for (place, (words, color)) in entries.enumerate() {
        let at = (14 + 300 * (place % COLUMNS) as i32, 14 + 22 * (place / COLUMNS) as i32);
        let style = text_style(Pos::new(HPos::Left, VPos::Center)).color(&color);
        area.draw(&Text::new(words, at, style))?;
    }
    Ok(())
}

/// The first characters of a label that is too long for its place.
fn shortened(label: &str, most: usize) -> String {
    match label.chars().count() > most {
        true => label.chars().take(most - 1).chain(['…']).collect(),
        false => label.to_owned(),
    }
}

/// First and last period, and the values' range.
fn extent(lines: &[Line]) -> Option<(u32, u32, Range<f64>)> {
    let points =
        || lines.iter().flat_map(|line| &line.points).filter(|(_, value)| value.is_finite());
    let periods = || points().map(|(period, _)| *period);
    Some((periods().min()?, periods().max()?, padded(points().map(|(_, value)| *value))?))
}

fn draw_lines(
    area: &Area<'_>,
    x: &str,
    unit: &str,
    lines: &[Line],
    (first, last, y): &(u32, u32, Range<f64>),
) -> Drawn {
    let period = |x: &SegmentValue<u32>| match x {
        SegmentValue::Exact(period) | SegmentValue::CenterOf(period) => period.to_string(),
        SegmentValue::Last => String::new(),
    };
    let mut chart = ChartBuilder::on(area)
        .margin_top(26)
        .margin_right(14)
        .x_label_area_size(44)
        .y_label_area_size(48)
        .build_cartesian_2d((*first..*last).into_segmented(), y.clone())?;
    mesh(&mut chart, x, &period, &ticks_of(y))?;
    title(area, unit)?;
    for Line { color, mark, points } in lines {
        let finite = points.iter().filter(|(_, value)| value.is_finite());
        let points: Vec<_> =
            finite.map(|(period, value)| (SegmentValue::CenterOf(*period), *value)).collect();
        let points = || points.iter().cloned();
        chart.draw_series(LineSeries::new(points(), color.stroke_width(2)))?;
        match mark {
            Mark::Disc => chart.draw_series(points().map(|p| Circle::new(p, 5, color.filled())))?,
            Mark::Triangle => {
                chart.draw_series(points().map(|p| TriangleMarker::new(p, 6, color.filled())))?
            }
            Mark::Cross => {
                chart.draw_series(points().map(|p| Cross::new(p, 5, color.stroke_width(2))))?
            }
            Mark::Square => chart.draw_series(points().map(|p| {
                EmptyElement::at(p) + Rectangle::new([(-4, -4), (4, 4)], color.filled())
            }))?,
        };
    }
    Ok(())
}

/// Score and novelty of every text in the order of time, the selected ones filled; "" if there is
/// none.
pub(crate) fn drift(periods: &[PeriodRecord]) -> Result<String> {
    let texts = || periods.iter().flat_map(|period| &period.scores);
    let (Some(score), Some(novelty)) = (
        padded(texts().map(|t| t.score.score)),
        padded(texts().map(|t| t.score.novelty).chain([0.0])),
    ) else {
        return Ok(String::new());
    };
    let scored = |area: &Area<'_>| {
        panel(
            area,
            periods,
            "S, drift score",
            score.clone(),
            |text| text.score.score,
            |period| period.selection.cutoff,
        )
    };
    // Without an adapter nothing is novel to it.
    if texts().all(|text| text.adapter.is_none()) {
        return both("drift score", (900, 240), (360, 230), scored);
    }
    both("drift score", (900, 480), (360, 460), |area| {
        let (upper, lower) = area.split_vertically((area.get_pixel_range().1.len() / 2) as i32);
        scored(&upper)?;
        panel(
            &lower,
            periods,
            "N, novelty (nats per token)",
            novelty.clone(),
            |text| text.score.novelty,
            |_| None,
        )
    })
}

fn panel(
    area: &Area<'_>,
    periods: &[PeriodRecord],
    name: &str,
    y: Range<f64>,
    value: impl Fn(&spring_core::record::ScoredText) -> f64,
    line: impl Fn(&PeriodRecord) -> Option<f64>,
) -> Drawn {
    let total: usize = periods.iter().map(|period| period.scores.len()).sum();
    let end = total as f64 + 0.5;
    let mut chart = ChartBuilder::on(area)
        .margin_top(44)
        .margin_right(14)
        .x_label_area_size(44)
        .y_label_area_size(48)
        .build_cartesian_2d(0.5..end, y.clone())?;
    mesh(&mut chart, "text, in the order of time", &|x| format!("{x:.0}"), &ticks_of(&y))?;
    title(area, name)?;
    if y.contains(&0.0) {
        chart.draw_series([PathElement::new([(0.5, 0.0), (end, 0.0)], GREY)])?;
    }
    let width = chart.plotting_area().dim_in_pixel().0;
    let radius = if total > 300 { 2 } else { 4 };
    let mut start = 0.5;
    for period in periods {
        let stop = start + period.scores.len() as f64;
        if stop < end {
            chart.draw_series([PathElement::new([(stop, y.start), (stop, y.end)], GREY)])?;
        }
        let room = (stop - start) / total as f64 * f64::from(width);
        let label = match room {
            room if room > 78.0 => format!("period {}", period.period),
            room if room > 14.0 => period.period.to_string(),
            _ => String::new(),
        };
        let centred = text_style(Pos::new(HPos::Center, VPos::Bottom));
        let (x, y_top) = chart.plotting_area().map_coordinate(&((start + stop) / 2.0, y.end));
        area.draw(&Text::new(label, relative(area, (x, y_top - 5)), centred))?;
        if let Some(cutoff) = line(period).filter(|cutoff| y.contains(cutoff)) {
            let ends = [(start, cutoff), (stop, cutoff)];
            chart.draw_series([DashedPathElement::new(ends, 4, 3, TEXT.stroke_width(1))])?;
        }
        let points = period
            .scores
            .iter()
            .enumerate()
            .map(|(i, t)| ((start + 0.5 + i as f64, value(t)), t.selected));
        let points = points.filter(|((_, y), _)| y.is_finite());
        let (taken, left): (Vec<_>, Vec<_>) = points.partition(|(_, selected)| selected.is_some());
        chart.draw_series(
            left.iter().map(|(p, _)| Circle::new(*p, radius - 1, GREY.stroke_width(1))),
        )?;
        chart.draw_series(taken.iter().map(|(p, _)| Circle::new(*p, radius, BLUE.filled())))?;
        start = stop;
    }
    Ok(())
}

/// A small line without axes.
pub(crate) fn sparkline(values: &[f32]) -> Result<String> {
    let values: Vec<f64> = values.iter().map(|v| f64::from(*v)).filter(|v| v.is_finite()).collect();
    let Some(y) = padded(values.iter().copied()).filter(|_| values.len() > 1) else {
        return Ok(String::new());
    };
    svg("training loss", (160, 36), |area| {
        let last = (values.len() - 1) as f64;
        let mut chart =
            ChartBuilder::on(area).margin(4).build_cartesian_2d(0.0..last, y.clone())?;
        let points = values.iter().enumerate().map(|(i, v)| (i as f64, *v));
        chart.draw_series(LineSeries::new(points, BLUE.stroke_width(2)))?;
        chart.draw_series([Circle::new((last, values[values.len() - 1]), 3, BLUE.filled())])?;
        Ok(())
    })
}

/// A value on the x axis of [`histogram`] or [`rows()`], drawn as a line.
#[derive(Debug, Clone)]
pub(crate) struct Marker {
    pub(crate) color: RGBColor,
    pub(crate) value: f64,
    pub(crate) label: String,
}

/// How often values occur, and some values that stand out; "" if there is nothing to draw.
pub(crate) fn histogram(
    plot: &'static str,
    unit: &str,
    sample: &[f64],
    markers: &[Marker],
) -> Result<String> {
    let sample: Vec<f64> = sample.iter().copied().filter(|v| v.is_finite()).collect();
    let markers: Vec<&Marker> = markers.iter().filter(|marker| marker.value.is_finite()).collect();
    let Some(range) = span(sample.iter().copied()) else { return Ok(String::new()) };
    let bins = ((sample.len() as f64).sqrt().ceil() as usize * 2).clamp(5, 24);
    let width = if range.start < range.end { (range.end - range.start) / bins as f64 } else { 1.0 };
    let mut counts = vec![0u32; bins];
    for value in &sample {
        counts[(((value - range.start) / width) as usize).min(bins - 1)] += 1;
    }
    let most = counts.iter().copied().max().unwrap_or(0);
    let Some(x) = padded(
        sample.iter().copied().chain([range.start + width]).chain(markers.iter().map(|m| m.value)),
    ) else {
        return Ok(String::new());
    };
    both(plot, (900, 280), (360, 260), |area| {
        let mut chart = ChartBuilder::on(area)
            .margin_top(26 + 18 * markers.len() as i32)
            .margin_right(14)
            .x_label_area_size(44)
            .y_label_area_size(48)
            .build_cartesian_2d(x.clone(), 0..most + 1)?;
        mesh(&mut chart, unit, &ticks_of(&x), &u32::to_string)?;
        title(area, "texts")?;
        chart.draw_series(counts.iter().enumerate().filter(|(_, n)| **n > 0).map(|(i, n)| {
            let from = range.start + i as f64 * width;
            let mut bar = Rectangle::new([(from, 0), (from + width, *n)], BLUE.mix(0.55).filled());
            bar.set_margin(0, 0, 1, 1);
            bar
        }))?;
        for (i, Marker { color, value, label }) in markers.iter().enumerate() {
            chart.draw_series([DashedPathElement::new(
                [(*value, 0), (*value, most + 1)],
                6,
                3,
                color.stroke_width(2),
            )])?;
            // Beside its line, on the side that has more room.
            let left = (value - x.start) / (x.end - x.start) > 0.5;
            let pos = Pos::new(if left { HPos::Right } else { HPos::Left }, VPos::Center);
            let (at, top) = chart.plotting_area().map_coordinate(&(*value, most + 1));
            let row = top - 10 - 18 * i as i32;
            area.draw(&PathElement::new(
                [relative(area, (at, top)), relative(area, (at, row - 6))],
                color.stroke_width(2),
            ))?;
            let at = (at + if left { -6 } else { 6 }, row);
            area.draw(&Text::new(label.clone(), relative(area, at), text_style(pos).color(color)))?;
        }
        Ok(())
    })
}

fn both(
    plot: &'static str,
    wide: (u32, u32),
    narrow: (u32, u32),
    draw: impl Fn(&Area<'_>) -> Drawn,
) -> Result<String> {
    let (wide, narrow) = (svg(plot, wide, &draw)?, svg(plot, narrow, &draw)?);
    Ok(format!("<div class=\"wide\">{wide}</div><div class=\"narrow\">{narrow}</div>"))
}

fn svg(plot: &'static str, size: (u32, u32), draw: impl Fn(&Area<'_>) -> Drawn) -> Result<String> {
    let mut svg = String::new();
    let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
    draw(&area)
        .and_then(|()| area.present())
        .map_err(|error| Error::Plot { plot, reason: error.to_string() })?;
    drop(area);
    Ok(svg)
}

/// Axes with small labels, and level lines only.
fn mesh<X, Y>(
    chart: &mut ChartContext<'_, SVGBackend<'_>, Cartesian2d<X, Y>>,
    x_name: &str,
    x_tick: &dyn Fn(&X::ValueType) -> String,
    y_tick: &dyn Fn(&Y::ValueType) -> String,
) -> Drawn
where
    X: Ranged + ValueFormatter<X::ValueType>,
    Y: Ranged + ValueFormatter<Y::ValueType>,
{
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(GRID)
        .set_all_tick_mark_size(4)
        .label_style(text_style(Pos::default()))
        .x_labels(6)
        .y_labels(6)
        .x_desc(x_name)
        .x_label_formatter(x_tick)
        .y_label_formatter(y_tick)
        .draw()
}

/// The unit of the y axis, above it and level: easier to read than upright.
fn title(area: &Area<'_>, text: &str) -> Drawn {
    area.draw(&Text::new(text.to_owned(), (2, 6), text_style(Pos::new(HPos::Left, VPos::Top))))
}

fn text_style(pos: Pos) -> TextStyle<'static> {
    ("sans-serif", FONT).into_font().color(&TEXT).pos(pos)
}

/// From a position in the picture to one in a part of it.
fn relative(area: &Area<'_>, (x, y): (i32, i32)) -> (i32, i32) {
    let (left, top) = area.get_base_pixel();
    (x - left, y - top)
}

/// Least and largest of the values that are numbers.
fn span(values: impl Iterator<Item = f64>) -> Option<Range<f64>> {
    values.filter(|v| v.is_finite()).fold(None, |span, v| match span {
        None => Some(v..v),
        Some(Range { start, end }) => Some(start.min(v)..end.max(v)),
    })
}

/// The same with room on both sides.
fn padded(values: impl Iterator<Item = f64>) -> Option<Range<f64>> {
    let Range { start, end } = span(values)?;
    let room = if end > start { 0.06 * (end - start) } else { 0.05 * start.abs() + 0.05 };
    Some(start - room..end + room)
}

/// Tick labels with as many decimals as the range asks for.
fn ticks_of(range: &Range<f64>) -> impl Fn(&f64) -> String + use<> {
    let decimals = match range.end - range.start {
        span if span > 8.0 => 0,
        span if span > 0.8 => 1,
        span if span > 0.08 => 2,
        _ => 3,
    };
    move |value| number(*value, decimals)
}
