//! The embedded typeface, DejaVu Sans: metrics and outlines.

use super::markup::is_combining;
use ab_glyph::{Font, FontRef, OutlineCurve, Point, point};
use std::sync::LazyLock;

/// Families an SVG asks for: the embedded one, those of nearly its widths, then whatever there is.
pub(super) const FAMILIES: &str = "DejaVu Sans, Verdana, Helvetica, Arial, sans-serif";

/// Height of capitals in ems.
#[cfg(test)]
pub(super) const CAP_HEIGHT: f64 = 0.729;
/// From the baseline up to the anchor of vertically centred text in ems: half an x-height, as plotters' SVG backend has it.
pub(super) const MIDDLE: f64 = 0.2735;

/// Weight of the embedded typeface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Face {
    Regular,
    Bold,
}

impl Face {
    /// The face of this weight.
    pub fn of(bold: bool) -> Self {
        if bold { Self::Bold } else { Self::Regular }
    }

    /// The whole font file.
    pub fn bytes(self) -> &'static [u8] {
        match self {
            Self::Regular => dejavu::sans::regular(),
            Self::Bold => dejavu::sans::bold(),
        }
    }

    /// The number of a character's glyph; 0 if there is none.
    pub fn glyph(self, c: char) -> u16 {
        face(self == Self::Bold).glyph_id(c).0
    }
}

static REGULAR: LazyLock<FontRef<'static>> = LazyLock::new(|| embedded(dejavu::sans::regular()));
static BOLD: LazyLock<FontRef<'static>> = LazyLock::new(|| embedded(dejavu::sans::bold()));

fn embedded(bytes: &'static [u8]) -> FontRef<'static> {
    FontRef::try_from_slice(bytes).expect("the embedded typeface is a valid font file")
}

fn face(bold: bool) -> &'static FontRef<'static> {
    if bold { &BOLD } else { &REGULAR }
}

fn per_em(font: &FontRef) -> f32 {
    1.0 / font.units_per_em().expect("the embedded typeface states its units")
}

/// Width of `text` in ems.
pub(super) fn width(text: &str, bold: bool) -> f64 {
    let font = face(bold);
    let advance = |c: char| if is_combining(c) { 0.0 } else { font.h_advance_unscaled(font.glyph_id(c)) };
    f64::from(text.chars().map(advance).sum::<f32>() * per_em(font))
}

/// A piece of a glyph's outline, in ems, x to the right of the start of the text, y upwards from the baseline.
pub(super) type Curve = OutlineCurve;

/// The characters of `text`, each with the place of its glyph's origin in ems against the start of the text, y upwards.
pub(super) fn places(text: &str, bold: bool) -> Vec<(char, Point)> {
    let font = face(bold);
    let scale = per_em(font);
    let x_height = ink_top(font, 'x', scale);
    let mut places = Vec::new();
    let mut pen = 0.0;
    // Ink of the last character that is no mark: left, right and top.
    let mut ink = (0.0, 0.0, 0.0);
    for c in text.chars() {
        let glyph = font.glyph_id(c);
        let outline = font.outline(glyph);
        let mut shift = point(pen, 0.0);
        if let Some(outline) = &outline {
            let bounds = outline.bounds;
            let (left, right) = (bounds.min.x.min(bounds.max.x) * scale, bounds.min.x.max(bounds.max.x) * scale);
            let top = bounds.min.y.max(bounds.max.y) * scale;
            if is_combining(c) {
                // Without shaping a mark would stand as over a lower-case letter: centre it and lift it above a capital.
                shift = point((ink.0 + ink.1 - left - right) / 2.0, (ink.2 - x_height).max(0.0));
            } else {
                ink = (pen + left, pen + right, top);
            }
        }
        places.push((c, shift));
        if !is_combining(c) {
            pen += font.h_advance_unscaled(glyph) * scale;
        }
    }
    places
}

/// The outlines of `text` in ems.
pub(super) fn outlines(text: &str, bold: bool) -> Vec<Curve> {
    let font = face(bold);
    let scale = per_em(font);
    let mut curves = Vec::new();
    for (c, shift) in places(text, bold) {
        let place = |p: Point| point(p.x * scale + shift.x, p.y * scale + shift.y);
        let outline = font.outline(font.glyph_id(c));
        curves.extend(outline.into_iter().flat_map(|o| o.curves).map(|curve| match curve {
            OutlineCurve::Line(a, b) => OutlineCurve::Line(place(a), place(b)),
            OutlineCurve::Quad(a, b, c) => OutlineCurve::Quad(place(a), place(b), place(c)),
            OutlineCurve::Cubic(a, b, c, d) => OutlineCurve::Cubic(place(a), place(b), place(c), place(d)),
        }));
    }
    curves
}

/// Top of the ink of `c` in ems.
fn ink_top(font: &FontRef, c: char, scale: f32) -> f32 {
    font.outline(font.glyph_id(c)).map_or(0.0, |o| o.bounds.min.y.max(o.bounds.max.y) * scale)
}
