//! Shares of several kinds, a panel each side by side, the methods' rows going through all of them.

use plotters::{
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use super::{GREY, GRID, shortened, svg, text_style};
use crate::Result;

/// A row: a share from 0 to 1 in each panel, or none.
#[derive(Debug, Clone)]
pub(crate) struct PanelRow {
    pub(crate) label: String,
    pub(crate) shares: Vec<Option<f64>>,
    pub(crate) color: RGBColor,
}

/// Pixels: for the names of the rows, between panels, above, below, and of a row.
const NAMES: i32 = 260;
const GAP: i32 = 18;
const ABOVE: i32 = 34;
const BELOW: i32 = 52;
const ROW: i32 = 24;
const WIDTH: i32 = 900;

/// Panels as a picture of its own; `unit` is of all of them. "" if there is nothing to draw.
pub(crate) fn panels(
    plot: &'static str,
    unit: &str,
    names: &[&str],
    rows: &[PanelRow],
) -> Result<String> {
    let mut shares = rows.iter().flat_map(|row| row.shares.iter().flatten());
    if names.is_empty() || !shares.any(|share| share.is_finite()) {
        return Ok(String::new());
    }
    let bottom = ABOVE + ROW * rows.len() as i32;
    let width = (WIDTH - 14 - NAMES) / names.len() as i32 - GAP;
    svg(plot, (WIDTH as u32, (bottom + BELOW) as u32), |area| {
        area.fill(&WHITE)?;
        let style = |h: HPos| text_style(Pos::new(h, VPos::Center));
        let middle = |place: usize| ABOVE + ROW * place as i32 + ROW / 2;
        for (place, row) in rows.iter().enumerate() {
            let at = (NAMES - 10, middle(place));
            area.draw(&Text::new(shortened(&row.label, 36), at, style(HPos::Right)))?;
        }
        for (panel, name) in names.iter().enumerate() {
            let left = NAMES + (width + GAP) * panel as i32;
            let x = |share: f64| left + (share.clamp(0.0, 1.0) * f64::from(width)).round() as i32;
            // As many signs as the panel has room for.
            let name = shortened(name, (width / 7).max(4) as usize);
            area.draw(&Text::new(name, (left, 16), style(HPos::Left)))?;
            for (tick, said) in [(0.0, "0"), (0.5, "0.5"), (1.0, "1")] {
                let line = [(x(tick), ABOVE - 4), (x(tick), bottom)];
                area.draw(&PathElement::new(line, GRID.stroke_width(1)))?;
                let at = (x(tick), bottom + 12);
                area.draw(&Text::new(said, at, style(HPos::Center)))?;
            }
            for (place, row) in rows.iter().enumerate() {
                let share = row.shares.get(panel).copied().flatten();
                let Some(share) = share.filter(|share| share.is_finite()) else { continue };
                let y = middle(place);
                let line = [(x(0.0), y), (x(share), y)];
                area.draw(&PathElement::new(line, GREY.stroke_width(1)))?;
                area.draw(&Circle::new((x(share), y), 4, row.color.filled()))?;
            }
        }
        let at = ((NAMES + WIDTH) / 2, bottom + 36);
        area.draw(&Text::new(unit.to_owned(), at, style(HPos::Center)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plots::BLUE;

    #[test]
    fn a_share_has_its_place_in_the_panel_of_its_kind() {
        let row = |shares: &[Option<f64>]| PanelRow {
            label: "spring".into(),
            shares: shares.to_vec(),
            color: BLUE,
        };
        let all = [row(&[Some(0.0), Some(1.0)]), row(&[None, Some(f64::NAN)])];
        let svg = panels("kinds", "share", &["forwarded", "pasted code"], &all).unwrap();
        let circles: Vec<&str> = svg.split("<circle cx=\"").skip(1).collect();
        let places: Vec<&str> =
            circles.iter().map(|circle| circle.split('"').next().unwrap()).collect();
        // At the left end of the first panel and at the right end of the second.
        let width = (WIDTH - 14 - NAMES) / 2 - GAP;
        let second = NAMES + width + GAP;
        assert_eq!(places, [NAMES.to_string(), (second + width).to_string()]);
        assert!(svg.contains("pasted code") && svg.contains("spring"));
        assert_eq!(panels("kinds", "share", &["a"], &[row(&[None])]).unwrap(), "");
        assert_eq!(panels("kinds", "share", &[], &all).unwrap(), "");
    }
}
