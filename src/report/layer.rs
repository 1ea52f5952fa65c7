//! Paints the layers of a panel into its frame.

use super::axis::{Ruler, transform};
use super::contour::Grid;
use super::legend::{LINE, Legend, REFERENCE, region_color};
use super::palette::{self, BLACK, Rgb, WHITE};
use super::scene::{Align, Font, Place, Scene};
use super::symbol;
use crate::stats::{HeatMap, Layer};

/// The rectangle of a panel with its two rulers.
pub(super) struct Frame {
    pub left: f64,
    pub top: f64,
    pub right: f64,
    pub bottom: f64,
    pub x: Ruler,
    pub y: Ruler,
}

/// Bands of a filled heat map.
const BANDS: usize = 24;
/// Width of the lines between the blocks of a matrix.
const BLOCK_LINE: f64 = 2.0;
/// How far a square of a matrix reaches under the next ones, in points.
const UNDERLAP: f64 = 0.4;
const NOTE: Font = Font { em: 7.0, bold: false, color: BLACK };

impl Frame {
    /// Where (x, y) stands; not finite if it cannot be shown.
    pub fn place(&self, (x, y): (f64, f64)) -> Place {
        let (u, v) = (self.x.place(x), self.y.place(y));
        (self.left + u * (self.right - self.left), self.bottom - v * (self.bottom - self.top))
    }

    /// True if both ends of (x, low, high) have a place.
    fn shows_interval(&self, (x, low, high): (f64, f64, f64)) -> bool {
        [low, high].iter().all(|y| {
            let place = self.place((x, *y));
            place.0.is_finite() && place.1.is_finite()
        })
    }

    fn holds(&self, (x, y): Place) -> bool {
        let slack = 0.01;
        x >= self.left - slack && x <= self.right + slack && y >= self.top - slack && y <= self.bottom + slack
    }

    /// The part of a segment inside the frame (Liang and Barsky 1984).
    fn clip(&self, a: Place, b: Place) -> Option<(Place, Place)> {
        let (dx, dy) = (b.0 - a.0, b.1 - a.1);
        let (mut enter, mut leave) = (0.0f64, 1.0f64);
        for (rate, room) in
            [(-dx, a.0 - self.left), (dx, self.right - a.0), (-dy, a.1 - self.top), (dy, self.bottom - a.1)]
        {
            if rate == 0.0 {
                if room < 0.0 {
                    return None;
                }
            } else if rate < 0.0 {
                enter = enter.max(room / rate);
            } else {
                leave = leave.min(room / rate);
            }
        }
        let at = |t: f64| (a.0 + t * dx, a.1 + t * dy);
        (enter <= leave).then(|| (at(enter), at(leave)))
    }

    /// The parts of a polyline inside the frame; it breaks at places that cannot be shown.
    fn visible(&self, places: impl IntoIterator<Item = Place>) -> Vec<Vec<Place>> {
        let mut pieces: Vec<Vec<Place>> = Vec::new();
        let mut last: Option<Place> = None;
        for place in places {
            if !(place.0.is_finite() && place.1.is_finite()) {
                last = None;
                continue;
            }
            if let Some((a, b)) = last.and_then(|last| self.clip(last, place)) {
                match pieces.last_mut().filter(|piece| piece.last() == Some(&a) && last == Some(a)) {
                    Some(piece) => piece.push(b),
                    None => pieces.push(vec![a, b]),
                }
            }
            last = Some(place);
        }
        pieces
    }

    /// [`Self::visible`] for points in axis units.
    fn visible_points(&self, points: &[(f64, f64)]) -> Vec<Vec<Place>> {
        self.visible(points.iter().map(|p| self.place(*p)))
    }

    /// A polygon cut to the frame (Sutherland and Hodgman 1974).
    fn cut(&self, corners: Vec<Place>) -> Vec<Place> {
        let sides: [(f64, f64, f64); 4] =
            [(1.0, 0.0, -self.left), (-1.0, 0.0, self.right), (0.0, 1.0, -self.top), (0.0, -1.0, self.bottom)];
        sides.into_iter().fold(corners, |corners, (a, b, c)| {
            let room = |p: Place| a * p.0 + b * p.1 + c;
            let mut kept = Vec::new();
            for (k, &p) in corners.iter().enumerate() {
                let q = corners[(k + 1) % corners.len()];
                if room(p) >= 0.0 {
                    kept.push(p);
                }
                if (room(p) >= 0.0) != (room(q) >= 0.0) {
                    let t = room(p) / (room(p) - room(q));
                    kept.push((p.0 + t * (q.0 - p.0), p.1 + t * (q.1 - p.1)));
                }
            }
            kept
        })
    }
}

/// Paints one layer. `bar` rules the colours of a heat map.
pub(super) fn paint(scene: &mut Scene, frame: &Frame, layer: &Layer, legend: &Legend, bar: Option<&Ruler>) {
    match layer {
        Layer::Line { label, points } => {
            let (color, dashes) = palette::series(legend.series(label));
            for piece in frame.visible_points(points) {
                scene.stroke(&piece, LINE, color, dashes);
            }
        }
        Layer::Reference { points, .. } => {
            for piece in frame.visible_points(points) {
                scene.stroke(&piece, REFERENCE.0, REFERENCE.1, REFERENCE.2);
            }
        }
        Layer::Band { label, points } => {
            let color = palette::series(legend.series(label)).0;
            for run in points.split(|p| !frame.shows_interval(*p)) {
                let low = run.iter().map(|p| frame.place((p.0, p.1)));
                let high = run.iter().rev().map(|p| frame.place((p.0, p.2)));
                band(scene, frame.cut(low.chain(high).collect()), color);
            }
        }
        Layer::Points { label, points, intervals } => {
            let k = legend.series(label);
            let color = palette::series(k).0;
            for (&(x, _), &(low, high)) in points.iter().zip(intervals) {
                for piece in frame.visible_points(&[(x, low), (x, high)]) {
                    scene.stroke(&piece, 0.8, color, &[]);
                    for end in [piece[0], piece[1]] {
                        scene.stroke(&[(end.0 - 2.0, end.1), (end.0 + 2.0, end.1)], 0.8, color, &[]);
                    }
                }
            }
            for place in points.iter().map(|p| frame.place(*p)).filter(|p| frame.holds(*p)) {
                symbol::series_marker(scene, k, place, color);
            }
        }
        Layer::Heat(map) => heat(scene, frame, map, bar),
        Layer::Arrows { arrows, .. } => field(scene, frame, arrows),
        Layer::Region { label, corners } => {
            let places = frame
                .cut(corners.iter().map(|p| frame.place(*p)).filter(|p| p.0.is_finite() && p.1.is_finite()).collect());
            region(scene, &places, legend.region(label));
        }
        Layer::Bars { label, bars, thickness } => {
            let k = legend.series(label);
            for &(y, from, to) in bars {
                let (low, high) = (y - thickness / 2.0, y + thickness / 2.0);
                let corners = [(from, low), (to, low), (to, high), (from, high)].map(|p| frame.place(p));
                horizontal_bar(scene, frame.cut(corners.into()), k);
            }
        }
        Layer::Marks { mark, points } => {
            for place in points.iter().map(|p| frame.place(*p)).filter(|p| frame.holds(*p)) {
                symbol::mark(scene, *mark, place);
            }
        }
        Layer::Note { at, text } => note(scene, frame, frame.place(*at), text),
    }
}

/// Values of a heat map on its colour scale.
pub(super) fn heat_values(map: &HeatMap) -> Vec<f64> {
    let shown = |v: f64| if v.is_nan() { f64::NEG_INFINITY } else { v.max(map.floor) };
    let values: Vec<f64> = map.values.iter().map(|v| transform(map.scale, shown(*v))).collect();
    let finite = || values.iter().copied().filter(|v| v.is_finite());
    let (low, high) = (finite().fold(f64::INFINITY, f64::min), finite().fold(f64::NEG_INFINITY, f64::max));
    values.iter().map(|v| if low <= high { v.clamp(low, high) } else { 0.0 }).collect()
}

fn heat(scene: &mut Scene, frame: &Frame, map: &HeatMap, bar: Option<&Ruler>) {
    let values = heat_values(map);
    let (low, high) = (
        values.iter().copied().fold(f64::INFINITY, f64::min),
        values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
    );
    let grid = Grid { columns: map.columns, values };
    let rows = grid.values.len() / map.columns;
    if let Some(block) = map.blocks {
        return matrix(scene, frame, map, &grid.values, block);
    }
    // The grid is regular between the places of its ends, whatever the scale of the axis.
    let (first, last) = (frame.place((map.x.0, map.y.0)), frame.place((map.x.1, map.y.1)));
    let place = |(column, row): (f64, f64)| {
        let along = |a: f64, b: f64, t: f64| a + (b - a) * t;
        let (u, v) = (column / (map.columns - 1) as f64, row / (rows - 1) as f64);
        (along(first.0, last.0, u), along(first.1, last.1, v))
    };
    let (last_column, last_row) = ((map.columns - 1) as f64, (rows - 1) as f64);
    let all = [(0.0, 0.0), (last_column, 0.0), (last_column, last_row), (0.0, last_row)];
    scene.fill(frame.cut(all.into_iter().map(place).collect()), palette::viridis(0.5 / BANDS as f64), 1.0);
    for band in 1..BANDS {
        let level = low + (high - low) * band as f64 / BANDS as f64;
        let color = palette::viridis((band as f64 + 0.5) / BANDS as f64);
        scene.fill(frame.cut(grid.above(level).into_iter().map(place).collect()), color, 1.0);
    }
    // Contour lines at the labelled values of the colour bar.
    for (fraction, _) in bar.iter().flat_map(|bar| bar.ticks()) {
        for line in grid.lines(low + (high - low) * fraction) {
            for piece in frame.visible(line.into_iter().map(place)) {
                scene.stroke(&piece, 0.4, WHITE, &[]);
            }
        }
    }
}

/// A square for every value, in the colours of the bar, and white lines between blocks.
fn matrix(scene: &mut Scene, frame: &Frame, map: &HeatMap, values: &[f64], block: usize) {
    let (low, high) = values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |e, v| (e.0.min(*v), e.1.max(*v)));
    let rows = values.len() / map.columns;
    let step = |(a, b): (f64, f64), count: usize| (b - a) / (count - 1) as f64;
    let (dx, dy) = (step(map.x, map.columns), step(map.y, rows));
    // Corner (k, l) of the squares, counted from the lower left.
    let corner = |k: usize, l: usize| frame.place((map.x.0 + (l as f64 - 0.5) * dx, map.y.0 + (k as f64 - 0.5) * dy));
    for k in 0..rows {
        for l in 0..map.columns {
            let share = if high > low { (values[k * map.columns + l] - low) / (high - low) } else { 0.0 };
            let band = (share * BANDS as f64).floor().min(BANDS as f64 - 1.0);
            // Each square reaches a little under its right and upper neighbours, so that no seam shows.
            let (start, end) = (corner(k, l), corner(k + 1, l + 1));
            let (right, upper) = (end.0 + UNDERLAP, end.1 - UNDERLAP);
            let corners = vec![start, (right, start.1), (right, upper), (start.0, upper)];
            scene.fill(frame.cut(corners), palette::viridis((band + 0.5) / BANDS as f64), 1.0);
        }
    }
    let block = block.max(1);
    for l in (block..map.columns).step_by(block) {
        scene.stroke(&[corner(0, l), corner(rows, l)], BLOCK_LINE, WHITE, &[]);
    }
    // Rows are counted from above.
    for k in (block..rows).step_by(block) {
        scene.stroke(&[corner(rows - k, 0), corner(rows - k, map.columns)], BLOCK_LINE, WHITE, &[]);
    }
}

fn field(scene: &mut Scene, frame: &Frame, arrows: &[(f64, f64, f64, f64)]) {
    let area = (frame.right - frame.left) * (frame.bottom - frame.top);
    let length = (0.72 * (area / arrows.len().max(1) as f64).sqrt()).clamp(4.0, 12.0);
    for &(x, y, dx, dy) in arrows {
        let at = frame.place((x, y));
        // A short step in axis units gives the direction on paper on any scale.
        let size = dx.hypot(dy);
        let step = 1e-4 * frame.x.span().min(frame.y.span());
        let tip = frame.place((x + dx / size * step, y + dy / size * step));
        let (u, v) = (tip.0 - at.0, tip.1 - at.1);
        let norm = u.hypot(v);
        if frame.holds(at) {
            if size > 0.0 && norm > 0.0 && norm.is_finite() {
                arrow(scene, at, (u / norm, v / norm), length);
            } else {
                scene.stroke(&[(at.0 - 0.4, at.1), (at.0 + 0.4, at.1)], 1.2, BLACK, &[]);
            }
        }
    }
}

/// Paints an arrow of this length around `center` along the unit vector `direction`, dark with a light edge.
pub(super) fn arrow(scene: &mut Scene, center: Place, direction: Place, length: f64) {
    let (u, v) = direction;
    let at = |along: f64, across: f64| (center.0 + along * u - across * v, center.1 + along * v + across * u);
    let (tip, head, half) = (length / 2.0, (length * 0.36).min(3.2), (length * 0.16).min(1.5));
    let shaft = [at(-tip, 0.0), at(tip - head * 0.8, 0.0)];
    let corners = vec![at(tip, 0.0), at(tip - head, half), at(tip - head, -half)];
    let outline: Vec<Place> = corners.iter().chain(corners.first()).copied().collect();
    scene.stroke(&shaft, 1.5, WHITE, &[]);
    scene.stroke(&outline, 0.8, WHITE, &[]);
    scene.stroke(&shaft, 0.7, BLACK, &[]);
    scene.fill(corners, BLACK, 1.0);
}

/// Paints the k-th region: a light tint, hatching whose direction differs between regions, and its border.
pub(super) fn region(scene: &mut Scene, corners: &[Place], k: usize) {
    if corners.len() < 3 {
        return;
    }
    let color = region_color(k);
    scene.fill(corners.to_vec(), color, 0.25);
    // Lines slope·x + y = const, 5 points apart, cut at the crossings with the border.
    let slope = [1.0, -1.0, 0.0][k % 3];
    let offset = |p: Place| slope * p.0 + p.1;
    let (low, high) =
        corners.iter().map(|p| offset(*p)).fold((f64::INFINITY, f64::NEG_INFINITY), |e, o| (e.0.min(o), e.1.max(o)));
    let spacing = 5.0;
    let mut level = (low / spacing).ceil() * spacing;
    while level < high {
        let mut crossings: Vec<Place> = Vec::new();
        for (j, &p) in corners.iter().enumerate() {
            let q = corners[(j + 1) % corners.len()];
            if (offset(p) >= level) != (offset(q) >= level) {
                let t = (level - offset(p)) / (offset(q) - offset(p));
                crossings.push((p.0 + t * (q.0 - p.0), p.1 + t * (q.1 - p.1)));
            }
        }
        crossings.sort_by(|a, b| a.0.total_cmp(&b.0));
        for pair in crossings.chunks_exact(2) {
            scene.stroke(pair, 0.4, color, &[]);
        }
        level += spacing;
    }
    let border: Vec<Place> = corners.iter().chain(corners.first()).copied().collect();
    scene.stroke(&border, 0.7, color, &[]);
}

/// Paints a band: a tint between two thin edges, which a black-and-white print keeps apart from the ground.
pub(super) fn band(scene: &mut Scene, corners: Vec<Place>, color: Rgb) {
    if corners.len() < 3 {
        return;
    }
    let border: Vec<Place> = corners.iter().chain(corners.first()).copied().collect();
    scene.fill(corners, color, 0.2);
    scene.stroke(&border, 0.3, color, &[]);
}

/// Paints a bar of the k-th series: full for even k, empty with a border for odd k.
pub(super) fn horizontal_bar(scene: &mut Scene, corners: Vec<Place>, k: usize) {
    if corners.len() < 3 {
        return;
    }
    let color = palette::series(k).0;
    let border: Vec<Place> = corners.iter().chain(corners.first()).copied().collect();
    scene.fill(corners, if k.is_multiple_of(2) { color } else { WHITE }, 1.0);
    scene.stroke(&border, 0.5, color, &[]);
}

/// Writes a note beside its place, on the side where it fits, on a light ground.
fn note(scene: &mut Scene, frame: &Frame, at: Place, text: &str) {
    if !frame.holds(at) {
        return;
    }
    let width = NOTE.width(text);
    let fits_right = at.0 + 6.0 + width <= frame.right - 1.0;
    let start = if fits_right { at.0 + 6.0 } else { (at.0 - 6.0 - width).max(frame.left + 2.0) };
    let baseline = (at.1 + 0.36 * NOTE.em).clamp(frame.top + NOTE.em, frame.bottom - 2.5);
    scene.rectangle(
        (start - 1.5, baseline - 0.86 * NOTE.em),
        (start + width + 1.5, baseline + 0.28 * NOTE.em),
        WHITE,
        0.8,
    );
    scene.text(text, (start, baseline), NOTE, Align::Start, false);
}
