//! Colours, dash patterns and markers that colour-blind readers and black-and-white prints can tell apart.

use plotters::style::colors::colormaps::{ColorMap, ViridisRGB};

/// A colour without transparency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rgb(pub u8, pub u8, pub u8);

pub(super) const BLACK: Rgb = Rgb(0, 0, 0);
pub(super) const WHITE: Rgb = Rgb(255, 255, 255);
pub(super) const GREY: Rgb = Rgb(110, 110, 110);
pub(super) const LIGHT: Rgb = Rgb(225, 225, 225);
pub(super) const ORANGE: Rgb = Rgb(230, 159, 0);
pub(super) const SKY: Rgb = Rgb(86, 180, 233);
pub(super) const GREEN: Rgb = Rgb(0, 158, 115);
pub(super) const YELLOW: Rgb = Rgb(240, 228, 66);
pub(super) const BLUE: Rgb = Rgb(0, 114, 178);
pub(super) const VERMILLION: Rgb = Rgb(213, 94, 0);
pub(super) const PURPLE: Rgb = Rgb(204, 121, 167);

/// Colours of series in order (Okabe and Ito 2008, without yellow, which is too light for a line on white).
const SERIES: [Rgb; 7] = [BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK];

/// Dash patterns of series in order, in points; empty is a solid line.
const DASHES: [&[f64]; 7] = [
    &[],
    &[4.5, 2.0],
    &[1.2, 1.6],
    &[6.0, 1.8, 1.2, 1.8],
    &[8.0, 2.5],
    &[3.0, 1.5, 1.0, 1.5, 1.0, 1.5],
    &[9.0, 1.5, 3.0, 1.5],
];

/// The look of the k-th series: colour, dash pattern, and a number for its marker.
pub(super) fn series(k: usize) -> (Rgb, &'static [f64]) {
    (SERIES[k % SERIES.len()], DASHES[k % DASHES.len()])
}

/// The colour of t ∈ [0, 1] on the viridis scale.
pub(super) fn viridis(t: f64) -> Rgb {
    let t = if t.is_finite() { t.clamp(0.0, 1.0) } else { 0.0 };
    let color = ViridisRGB.get_color(t);
    Rgb(color.0, color.1, color.2)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Relative luminance of sRGB (WCAG 2.2).
    fn luminance(color: Rgb) -> f64 {
        let linear = |v: u8| {
            let v = f64::from(v) / 255.0;
            if v <= 0.040_45 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * linear(color.0) + 0.7152 * linear(color.1) + 0.0722 * linear(color.2)
    }

    #[test]
    fn viridis_grows_lighter_so_that_a_black_and_white_print_keeps_the_order() {
        let values: Vec<f64> = (0..=20).map(|k| luminance(viridis(f64::from(k) / 20.0))).collect();
        assert!(values.windows(2).all(|w| w[0] < w[1]), "{values:?}");
    }

    #[test]
    fn the_first_seven_series_differ_in_colour_and_in_their_dashes() {
        for i in 0..7 {
            for j in 0..i {
                assert!(series(i).0 != series(j).0 && series(i).1 != series(j).1);
            }
        }
    }
}
