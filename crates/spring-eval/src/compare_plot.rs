//! A comparison as one picture.

use plotters::{
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use crate::{Comparison, Error, Method, Result};

const BLUE: RGBColor = RGBColor(0x00, 0x62, 0xa6);
const GREY: RGBColor = RGBColor(0x9a, 0xa0, 0xa8);
const TEXT: RGBColor = RGBColor(0x3a, 0x3f, 0x47);

const WIDTH: i32 = 760;
const ROW: i32 = 30;
const TOP: i32 = 44;
/// Where names end and bars begin, and where the longest bar ends.
const BARS: (i32, i32) = (210, 690);

/// Bars of every method's nats per token on the held-out texts after the first period, as SVG;
/// lower is better.
///
/// # Errors
///
/// [`Error::NotEnough`] if there is no later period, [`Error::Plot`] if plotters fails.
pub fn comparison_svg(comparison: &Comparison) -> Result<String> {
    let bars: Vec<(Method, f64)> = Method::ALL
        .into_iter()
        .filter_map(|method| Some((method, comparison.total(method, |_, p| p.period > 1)?.per_token())))
        .collect();
    let largest = bars.iter().map(|(_, value)| *value).fold(0.0, f64::max);
    if largest <= 0.0 {
        return Err(Error::NotEnough("there is no period after the first to draw".into()));
    }
    let mut svg = String::new();
    draw(&mut svg, &bars, largest).map_err(|e| Error::Plot { plot: "comparison", reason: e.to_string() })?;
    Ok(svg)
}

fn draw(
    svg: &mut String,
    bars: &[(Method, f64)],
    largest: f64,
) -> std::result::Result<(), DrawingAreaErrorKind<std::io::Error>> {
    let height = TOP + ROW * bars.len() as i32 + 10;
    let area = SVGBackend::with_string(svg, (WIDTH as u32, height as u32)).into_drawing_area();
    area.fill(&WHITE)?;
    let font = |size: f64, at| ("sans-serif", size).into_font().color(&TEXT).pos(Pos::new(at, VPos::Center));
    let title = "Held-out loss after the first period, nats per token (lower is better)";
    area.draw(&Text::new(title, (16, 22), font(18.0, HPos::Left)))?;
    for (row, (method, value)) in bars.iter().enumerate() {
        let middle = TOP + ROW * row as i32 + ROW / 2;
        let end = BARS.0 + (f64::from(BARS.1 - BARS.0) * value / largest) as i32;
        let ours = matches!(method, Method::SpringAdapter | Method::Spring | Method::SpringUngated);
        let colour = if ours { BLUE } else { GREY };
        area.draw(&Text::new(method.label(), (BARS.0 - 10, middle), font(16.0, HPos::Right)))?;
        area.draw(&Rectangle::new([(BARS.0, middle - 10), (end, middle + 10)], colour.filled()))?;
        area.draw(&Text::new(format!("{value:.3}"), (end + 8, middle), font(16.0, HPos::Left)))?;
    }
    area.present()
}
