//! A laid-out picture: shapes with coordinates in points (1/72 in), y downwards.

use super::markup::{Level, runs};
use super::palette::Rgb;
use super::typeface::{self, Face};
use std::collections::{BTreeMap, BTreeSet};

/// A place in points.
pub(super) type Place = (f64, f64);

/// A picture.
#[derive(Debug, Clone)]
pub(super) struct Scene {
    pub width: f64,
    pub height: f64,
    pub shapes: Vec<Shape>,
}

/// One thing to paint.
#[derive(Debug, Clone)]
pub(super) enum Shape {
    /// A solid polyline with round joints.
    Stroke { points: Vec<Place>, width: f64, color: Rgb },
    /// A region bounded by loops, outer ones turning one way and holes the other.
    Fill { loops: Vec<Vec<Place>>, color: Rgb, opacity: f64 },
    /// One run of text.
    Text { text: String, at: Place, font: Font, align: Align, upward: bool },
}

/// Size and look of a text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Font {
    /// Size in points.
    pub em: f64,
    pub bold: bool,
    pub color: Rgb,
}

/// Which part of a text stands at its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    Start,
    Middle,
    End,
}

/// Size of scripts against the text, and how far they are lowered or raised, in ems of the text.
const SCRIPT: f64 = 0.72;
const LOWERED: f64 = 0.18;
const RAISED: f64 = 0.36;

impl Font {
    fn script(self) -> Self {
        Self { em: self.em * SCRIPT, ..self }
    }

    /// Width of `text`, markup included, in points.
    pub fn width(self, text: &str) -> f64 {
        runs(text)
            .iter()
            .map(|run| {
                let font = if run.level == Level::Base { self } else { self.script() };
                typeface::width(&run.text, font.bold) * font.em
            })
            .sum()
    }

    /// Breaks `text` at spaces into lines of at most `width` points (a longer word stands alone).
    pub fn wrap(self, text: &str, width: f64) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        for word in text.split_whitespace() {
            match lines.last_mut() {
                Some(line) if self.width(&format!("{line} {word}")) <= width => {
                    line.push(' ');
                    line.push_str(word);
                }
                _ => lines.push(word.to_owned()),
            }
        }
        lines
    }
}

impl Scene {
    /// An empty picture.
    pub fn new(width: f64, height: f64) -> Self {
        Self { width, height, shapes: Vec::new() }
    }

    /// Paints a polyline, dashed if `dashes` (lengths on, off, on, ..) is not empty.
    pub fn stroke(&mut self, points: &[Place], width: f64, color: Rgb, dashes: &[f64]) {
        let pieces = if dashes.is_empty() { vec![points.to_vec()] } else { dashed(points, dashes) };
        for points in pieces.into_iter().filter(|p| p.len() >= 2) {
            self.shapes.push(Shape::Stroke { points: simplified(&points), width, color });
        }
    }

    /// Paints a polygon.
    pub fn fill(&mut self, corners: Vec<Place>, color: Rgb, opacity: f64) {
        if corners.len() >= 3 {
            let shorter = |corners: Vec<Place>| {
                let fewer = simplified(&corners);
                // A thin polygon is no line yet.
                if fewer.len() >= 3 { fewer } else { corners }
            };
            let loops = loops(corners).into_iter().map(shorter).collect();
            self.shapes.push(Shape::Fill { loops, color, opacity });
        }
    }

    /// Paints an axis-parallel rectangle.
    pub fn rectangle(&mut self, (x0, y0): Place, (x1, y1): Place, color: Rgb, opacity: f64) {
        self.fill(vec![(x0, y0), (x1, y0), (x1, y1), (x0, y1)], color, opacity);
    }

    /// Writes `text` with its baseline at `at`; `upward` turns it by a quarter to read from below.
    pub fn text(&mut self, text: &str, at: Place, font: Font, align: Align, upward: bool) {
        let runs = runs(text);
        let along = |distance: f64, drop: f64| {
            if upward { (at.0 + drop, at.1 - distance) } else { (at.0 + distance, at.1 + drop) }
        };
        if let [run] = runs.as_slice() {
            // A single run keeps its own alignment, so that another typeface in the viewer shifts nothing.
            self.shapes.push(Shape::Text { text: run.text.clone(), at: along(0.0, 0.0), font, align, upward });
            return;
        }
        let total = font.width(text);
        let mut pen = match align {
            Align::Start => 0.0,
            Align::Middle => -total / 2.0,
            Align::End => -total,
        };
        for (k, run) in runs.iter().enumerate() {
            let (font, drop) = match run.level {
                Level::Base => (font, 0.0),
                Level::Sub => (font.script(), LOWERED * font.em),
                Level::Super => (font.script(), -RAISED * font.em),
            };
            let width = |text: &str| typeface::width(text, font.bold) * font.em;
            // SVG drops the spaces at both ends of a text, so they are part of the place instead.
            let text = run.text.trim();
            let start = pen + width(&run.text) - width(run.text.trim_start());
            // What comes before a script hangs on to it for the same reason as above.
            let (start, align) = match runs.get(k + 1) {
                Some(_) if run.level == Level::Base => (start + width(text), Align::End),
                _ => (start, Align::Start),
            };
            self.shapes.push(Shape::Text { text: text.to_owned(), at: along(start, drop), font, align, upward });
            pen += width(&run.text);
        }
    }

    /// The characters of all texts in each face.
    pub fn characters(&self) -> BTreeMap<Face, BTreeSet<char>> {
        let mut characters: BTreeMap<Face, BTreeSet<char>> = BTreeMap::new();
        for shape in &self.shapes {
            if let Shape::Text { text, font, .. } = shape {
                characters.entry(Face::of(font.bold)).or_default().extend(text.chars());
            }
        }
        characters
    }

    /// Left, top, right and bottom of a shape.
    #[cfg(test)]
    pub fn bounds(shape: &Shape) -> (f64, f64, f64, f64) {
        let hull = |points: &[Place], margin: f64| {
            points.iter().fold((f64::INFINITY, f64::INFINITY, f64::NEG_INFINITY, f64::NEG_INFINITY), |b, p| {
                (b.0.min(p.0 - margin), b.1.min(p.1 - margin), b.2.max(p.0 + margin), b.3.max(p.1 + margin))
            })
        };
        match shape {
            Shape::Stroke { points, width, .. } => hull(points, width / 2.0),
            Shape::Fill { loops, .. } => hull(&loops.concat(), 0.0),
            Shape::Text { text, at, font, align, upward } => {
                let width = typeface::width(text, font.bold) * font.em;
                let start = match align {
                    Align::Start => 0.0,
                    Align::Middle => -width / 2.0,
                    Align::End => -width,
                };
                let (up, down) = (typeface::CAP_HEIGHT * font.em, 0.2 * font.em);
                if *upward {
                    hull(&[(at.0 - up, at.1 - start), (at.0 + down, at.1 - start - width)], 0.0)
                } else {
                    hull(&[(at.0 + start, at.1 - up), (at.0 + start + width, at.1 + down)], 0.0)
                }
            }
        }
    }
}

/// How far a simplified line may be from the full one in points: a sixth of a pixel of the PNG.
const TOLERANCE: f64 = 0.04;
/// How many points in a row may be left out.
const LONGEST: usize = 64;

/// Leaves out points that lie on the straight line between those that stay. Contours of a fine grid have many.
fn simplified(points: &[Place]) -> Vec<Place> {
    let mut kept: Vec<Place> = points.first().copied().into_iter().collect();
    let mut from = 0;
    while from + 1 < points.len() {
        let straight =
            |to: &usize| points[from + 1..*to].iter().all(|p| off_line(*p, points[from], points[*to]) <= TOLERANCE);
        let to = (from + 2..points.len().min(from + LONGEST)).take_while(straight).last().unwrap_or(from + 1);
        kept.push(points[to]);
        from = to;
    }
    kept
}

/// The loops of a polygon that were joined by bridges from its first corner ([`super::contour`]). Some viewers draw a bridge
/// as a faint line although it has no width.
fn loops(mut corners: Vec<Place>) -> Vec<Vec<Place>> {
    corners.dedup();
    let home = corners[0];
    let mut loops = Vec::new();
    let mut at = 0;
    while at < corners.len() {
        match (at + 1..corners.len()).find(|k| corners[*k] == corners[at]) {
            Some(end) if end >= at + 3 => {
                loops.push(corners[at..end].to_vec());
                at = end + 1 + usize::from(corners.get(end + 1) == Some(&home));
            }
            // A plain polygon, or one that touches itself.
            _ => return vec![corners],
        }
    }
    loops
}

/// The loops as one polygon again, for what can paint nothing else.
pub(super) fn joined(loops: &[Vec<Place>]) -> Vec<Place> {
    let home = loops.iter().flatten().next().copied();
    let bridge = |k: usize| home.filter(|_| k > 0);
    let closed = |(k, corners): (usize, &Vec<Place>)| {
        corners.iter().copied().chain(corners.first().copied()).chain(bridge(k)).collect::<Vec<_>>()
    };
    if let [one] = loops { one.clone() } else { loops.iter().enumerate().flat_map(closed).collect() }
}

/// Distance of `p` from the segment a–b.
fn off_line(p: Place, a: Place, b: Place) -> f64 {
    let (u, v) = (b.0 - a.0, b.1 - a.1);
    let square = u * u + v * v;
    let t = if square > 0.0 { (((p.0 - a.0) * u + (p.1 - a.1) * v) / square).clamp(0.0, 1.0) } else { 0.0 };
    (p.0 - a.0 - t * u).hypot(p.1 - a.1 - t * v)
}

/// Cuts a polyline into its dashes.
fn dashed(points: &[Place], dashes: &[f64]) -> Vec<Vec<Place>> {
    let mut pieces = Vec::new();
    let (mut k, mut left) = (0, dashes[0]);
    let mut piece: Vec<Place> = points.first().copied().into_iter().collect();
    for pair in points.windows(2) {
        let length = (pair[1].0 - pair[0].0).hypot(pair[1].1 - pair[0].1);
        let mut done = 0.0;
        while length - done > left {
            done += left;
            let t = done / length;
            let cut = (pair[0].0 + (pair[1].0 - pair[0].0) * t, pair[0].1 + (pair[1].1 - pair[0].1) * t);
            if k % 2 == 0 {
                piece.push(cut);
                pieces.push(std::mem::take(&mut piece));
            } else {
                piece = vec![cut];
            }
            k += 1;
            left = dashes[k % dashes.len()];
        }
        left -= length - done;
        if k % 2 == 0 {
            piece.push(pair[1]);
        }
    }
    if k % 2 == 0 {
        pieces.push(piece);
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::palette::BLACK;

    #[test]
    fn dashes_run_on_across_the_corners_of_a_polyline() {
        let pieces = dashed(&[(0.0, 0.0), (5.0, 0.0), (5.0, 5.0)], &[4.0, 2.0]);
        assert_eq!(pieces, [vec![(0.0, 0.0), (4.0, 0.0)], vec![(5.0, 1.0), (5.0, 5.0)]]);
    }

    #[test]
    fn bridged_loops_are_parted_and_joined_again() {
        let outer = vec![(0.0, 0.0), (9.0, 0.0), (9.0, 9.0), (0.0, 9.0)];
        let hole = vec![(3.0, 3.0), (3.0, 6.0), (6.0, 6.0), (6.0, 3.0)];
        let bridged = joined(&[outer.clone(), hole.clone()]);
        assert_eq!(bridged.len(), 11);
        assert_eq!(loops(bridged), [outer.clone(), hole]);
        let plain = vec![outer.clone()];
        assert_eq!(loops(outer), plain);
        assert_eq!(joined(&plain), plain[0]);
    }

    #[test]
    fn points_on_a_straight_line_are_left_out_and_corners_stay() {
        let corner = |k: usize| if k <= 100 { (k as f64, 0.01 * (k % 2) as f64) } else { (100.0, (k - 100) as f64) };
        let points: Vec<Place> = (0..=200).map(corner).collect();
        let kept = simplified(&points);
        assert!(kept.len() <= 7 && kept.contains(&(100.0, 0.0)) && kept.last() == points.last(), "{kept:?}");
        let near = |p: &Place| kept.windows(2).any(|w| off_line(*p, w[0], w[1]) <= TOLERANCE);
        assert!(points.iter().all(near));
    }

    #[test]
    fn a_long_text_is_wrapped_within_its_width() {
        let font = Font { em: 8.0, bold: false, color: BLACK };
        let lines = font.wrap("the loss along the segment between two partial optima", 80.0);
        assert!(lines.len() > 2 && lines.iter().all(|line| font.width(line) <= 80.0), "{lines:?}");
        assert_eq!(lines.join(" "), "the loss along the segment between two partial optima");
    }
}
