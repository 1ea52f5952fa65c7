//! Lays out a figure: panels in rows, axes around them, the legend below.

use super::axis::Ruler;
use super::layer::{self, Frame};
use super::legend::Legend;
use super::palette::{self, BLACK, GREY, LIGHT};
use super::scene::{Align, Font, Place, Scene};
use crate::stats::{Axis, Figure, HeatMap, Layer, Panel, Scale, Width};

const TICK: Font = Font { em: 7.0, bold: false, color: BLACK };
const LABEL: Font = Font { em: 8.0, bold: false, color: BLACK };
const TITLE: Font = Font { em: 8.0, bold: true, color: BLACK };
const LINE_HEIGHT: f64 = 1.25;
const MARGIN: f64 = 3.0;
const TICK_LENGTH: f64 = 2.5;
const TICK_GAP: f64 = 2.0;
const BAR_GAP: f64 = 6.0;
const BAR: f64 = 7.0;
const BETWEEN_PANELS: f64 = 10.0;
/// Height against width of a panel whose axes have no common unit.
const ASPECT: f64 = 0.68;
const BAR_STEPS: usize = 24;

/// Space around the frame of a panel.
struct Margins {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
}

/// A panel measured, before it has a place.
struct Measured<'a> {
    panel: &'a Panel,
    title: Vec<String>,
    margins: Margins,
    x: Ruler,
    y: Ruler,
    bar: Option<(&'a HeatMap, Ruler)>,
    width: f64,
    height: f64,
}

/// Width of a figure in points.
pub(super) fn width(figure: &Figure) -> f64 {
    match figure.width {
        Width::Column => 3.25 * 72.0,
        Width::Page => 6.75 * 72.0,
    }
}

/// The picture of a figure.
pub(super) fn scene(figure: &Figure) -> Scene {
    let total = width(figure);
    let inner = total - 2.0 * MARGIN;
    let legend = Legend::new(figure);
    let per_row = match (figure.width, figure.panels.len()) {
        (Width::Column, _) => 1,
        (Width::Page, 4) => 2,
        (Width::Page, n) => n.clamp(1, 3),
    };
    let cell = (inner - BETWEEN_PANELS * (per_row - 1) as f64) / per_row as f64;
    let lettered = figure.panels.len() > 1;
    let measured: Vec<Measured> =
        figure.panels.iter().enumerate().map(|(k, panel)| Measured::new(panel, lettered.then_some(k), cell)).collect();
    let mut scene = Scene::new(total, 0.0);
    let mut top = MARGIN;
    for row in measured.chunks(per_row) {
        let head = row.iter().map(|m| m.margins.top).fold(0.0, f64::max);
        let body = row.iter().map(|m| m.height).fold(0.0, f64::max);
        let foot = row.iter().map(|m| m.margins.bottom).fold(0.0, f64::max);
        for (k, panel) in row.iter().enumerate() {
            // Panels side by side end at the same height unless their units fix it.
            let height =
                if panel.panel.equal_units { panel.height } else { body.min(1.3 * panel.width).max(panel.height) };
            let left = MARGIN + (cell + BETWEEN_PANELS) * k as f64;
            panel.paint(&mut scene, (left, top + head), height, &legend);
        }
        top += head + body + foot + BETWEEN_PANELS;
    }
    top -= BETWEEN_PANELS;
    legend.paint(&mut scene, MARGIN, top, inner);
    scene.height = top + legend.height(inner) + MARGIN;
    scene
}

/// Height at which no label of a vertical axis touches the next.
fn apart(ruler: &Ruler) -> f64 {
    let mut places: Vec<f64> = ruler.ticks().map(|(fraction, _)| fraction).collect();
    places.sort_by(f64::total_cmp);
    let nearest = places.windows(2).map(|pair| pair[1] - pair[0]).fold(f64::INFINITY, f64::min);
    TICK.em * LINE_HEIGHT / nearest
}

fn widest<'a>(ticks: impl Iterator<Item = (f64, &'a str)>) -> f64 {
    ticks.map(|(_, text)| TICK.width(text)).fold(0.0, f64::max)
}

impl<'a> Measured<'a> {
    fn new(panel: &'a Panel, number: Option<usize>, cell: f64) -> Self {
        let title = match number {
            Some(k) => format!("({}) {}", char::from(b'a' + (k % 26) as u8), panel.title),
            None => panel.title.clone(),
        };
        let title = TITLE.wrap(&title, cell);
        let heat = panel.layers.iter().find_map(|layer| match layer {
            Layer::Heat(map) => Some(map),
            _ => None,
        });
        let padding = if heat.is_some() { 0.0 } else { 0.04 };
        let (xs, ys) = extent(panel);
        let y = Ruler::new(&panel.y, ys, ((cell * ASPECT) / 30.0) as usize, padding);
        let bar = heat.map(|map| {
            let axis = Axis { label: map.label.clone(), scale: map.scale, range: None, ticks: None };
            let values = layer::heat_values(map).into_iter().map(|t| match map.scale {
                Scale::Linear => t,
                Scale::Log => 10f64.powf(t),
            });
            (map, Ruler::new(&axis, values, ((cell * ASPECT) / 22.0) as usize, 0.0))
        });
        let label_room = |label: &str| if label.is_empty() { 0.0 } else { LABEL.em * LINE_HEIGHT + 2.0 };
        let tick_height = TICK_LENGTH + TICK_GAP + TICK.em;
        let right = match &bar {
            Some((map, ruler)) => {
                BAR_GAP + BAR + TICK_LENGTH + TICK_GAP + widest(ruler.ticks()) + label_room(&map.label)
            }
            // Half a tick label may stand out at the end of the horizontal axis.
            None => 8.0,
        };
        let mut margins = Margins {
            left: label_room(&panel.y.label) + widest(y.ticks()) + TICK_GAP + TICK_LENGTH,
            right,
            top: if title.is_empty() { 4.0 } else { TITLE.em * LINE_HEIGHT * title.len() as f64 + 5.0 },
            bottom: 0.0,
        };
        let width = (cell - margins.left - margins.right).max(20.0);
        let x = Ruler::new(&panel.x, xs, (width / 36.0) as usize, padding);
        let height = match panel.frame_height {
            Some(height) => height,
            None if panel.equal_units => width * y.span() / x.span(),
            None => (width * ASPECT).max(apart(&y)),
        };
        let label_lines = LABEL.wrap(&panel.x.label, width).len() as f64;
        let tick_height = if x.ticks().next().is_some() { tick_height } else { 0.0 };
        margins.bottom = tick_height + label_lines * LABEL.em * LINE_HEIGHT + 2.0;
        let height = height.clamp(40.0, 2.5 * cell);
        Self { panel, title, margins, x, y, bar, width, height }
    }

    fn paint(&self, scene: &mut Scene, (left, top): Place, height: f64, legend: &Legend) {
        let frame = Frame {
            left: left + self.margins.left,
            top,
            right: left + self.margins.left + self.width,
            bottom: top + height,
            x: self.x.clone(),
            y: self.y.clone(),
        };
        for (k, line) in self.title.iter().enumerate() {
            let above = TITLE.em * LINE_HEIGHT * (self.title.len() - 1 - k) as f64;
            scene.text(line, (left, top - 6.0 - above), TITLE, Align::Start, false);
        }
        if self.bar.is_none() {
            grid(scene, &frame);
        }
        let bar = self.bar.as_ref().map(|(_, ruler)| ruler);
        for layer in &self.panel.layers {
            layer::paint(scene, &frame, layer, legend, bar);
        }
        self.axes(scene, &frame, left);
        if let Some((map, ruler)) = &self.bar {
            color_bar(scene, &frame, map, ruler);
        }
    }

    fn axes(&self, scene: &mut Scene, frame: &Frame, left: f64) {
        let (w, h) = (frame.right - frame.left, frame.bottom - frame.top);
        let corners = [
            (frame.left, frame.top),
            (frame.right, frame.top),
            (frame.right, frame.bottom),
            (frame.left, frame.bottom),
            (frame.left, frame.top),
        ];
        scene.stroke(&corners, 0.6, BLACK, &[]);
        for (fraction, text) in frame.x.ticks() {
            let x = frame.left + fraction * w;
            scene.stroke(&[(x, frame.bottom), (x, frame.bottom + TICK_LENGTH)], 0.6, BLACK, &[]);
            let baseline = frame.bottom + TICK_LENGTH + TICK_GAP + 0.8 * TICK.em;
            scene.text(text, (x, baseline), TICK, Align::Middle, false);
        }
        for (fraction, text) in frame.y.ticks() {
            let y = frame.bottom - fraction * h;
            scene.stroke(&[(frame.left - TICK_LENGTH, y), (frame.left, y)], 0.6, BLACK, &[]);
            scene.text(text, (frame.left - TICK_LENGTH - TICK_GAP, y + 0.36 * TICK.em), TICK, Align::End, false);
        }
        for fraction in frame.x.minor_ticks() {
            let x = frame.left + fraction * w;
            scene.stroke(&[(x, frame.bottom), (x, frame.bottom + TICK_LENGTH * 0.6)], 0.4, BLACK, &[]);
        }
        for fraction in frame.y.minor_ticks() {
            let y = frame.bottom - fraction * h;
            scene.stroke(&[(frame.left - TICK_LENGTH * 0.6, y), (frame.left, y)], 0.4, BLACK, &[]);
        }
        for (k, line) in LABEL.wrap(&self.panel.x.label, self.width).iter().enumerate() {
            let baseline = frame.bottom + TICK_LENGTH + TICK_GAP + TICK.em + LABEL.em * (LINE_HEIGHT * k as f64 + 1.15);
            scene.text(line, ((frame.left + frame.right) / 2.0, baseline), LABEL, Align::Middle, false);
        }
        let middle = (frame.top + frame.bottom) / 2.0;
        scene.text(&self.panel.y.label, (left + 0.85 * LABEL.em, middle), LABEL, Align::Middle, true);
    }
}

fn grid(scene: &mut Scene, frame: &Frame) {
    let (w, h) = (frame.right - frame.left, frame.bottom - frame.top);
    for (fraction, _) in frame.x.ticks() {
        let x = frame.left + fraction * w;
        scene.stroke(&[(x, frame.top), (x, frame.bottom)], 0.4, LIGHT, &[]);
    }
    for (fraction, _) in frame.y.ticks() {
        let y = frame.bottom - fraction * h;
        scene.stroke(&[(frame.left, y), (frame.right, y)], 0.4, LIGHT, &[]);
    }
}

fn color_bar(scene: &mut Scene, frame: &Frame, map: &HeatMap, ruler: &Ruler) {
    let (left, right) = (frame.right + BAR_GAP, frame.right + BAR_GAP + BAR);
    let h = frame.bottom - frame.top;
    for step in 0..BAR_STEPS {
        let y = |k: usize| frame.bottom - h * k as f64 / BAR_STEPS as f64;
        let color = palette::viridis((step as f64 + 0.5) / BAR_STEPS as f64);
        // Each step reaches to the top, so that no seam shows between steps.
        scene.rectangle((left, frame.top), (right, y(step)), color, 1.0);
    }
    let border =
        [(left, frame.top), (right, frame.top), (right, frame.bottom), (left, frame.bottom), (left, frame.top)];
    scene.stroke(&border, 0.5, GREY, &[]);
    for (fraction, text) in ruler.ticks() {
        let y = frame.bottom - fraction * h;
        scene.stroke(&[(right, y), (right + TICK_LENGTH, y)], 0.6, BLACK, &[]);
        scene.text(text, (right + TICK_LENGTH + TICK_GAP, y + 0.36 * TICK.em), TICK, Align::Start, false);
    }
    let x = right + TICK_LENGTH + TICK_GAP + widest(ruler.ticks()) + LABEL.em * LINE_HEIGHT;
    scene.text(&map.label, (x, (frame.top + frame.bottom) / 2.0), LABEL, Align::Middle, true);
}

/// All x and all y of a panel.
fn extent(panel: &Panel) -> (Vec<f64>, Vec<f64>) {
    let mut places: Vec<(f64, f64)> = Vec::new();
    for layer in &panel.layers {
        match layer {
            Layer::Line { points, .. } | Layer::Reference { points, .. } | Layer::Marks { points, .. } => {
                places.extend(points)
            }
            Layer::Band { points, .. } => {
                places.extend(points.iter().flat_map(|(x, low, high)| [(*x, *low), (*x, *high)]));
            }
            Layer::Points { points, intervals, .. } => {
                places.extend(points);
                let ends = points.iter().zip(intervals).flat_map(|(p, (low, high))| [(p.0, *low), (p.0, *high)]);
                places.extend(ends);
            }
            Layer::Heat(map) => places.extend([(map.x.0, map.y.0), (map.x.1, map.y.1)]),
            Layer::Arrows { arrows, .. } => places.extend(arrows.iter().map(|a| (a.0, a.1))),
            Layer::Region { corners, .. } => places.extend(corners),
            Layer::Bars { bars, thickness, .. } => {
                let corners =
                    |&(y, from, to): &(f64, f64, f64)| [(from, y - thickness / 2.0), (to, y + thickness / 2.0)];
                places.extend(bars.iter().flat_map(corners));
            }
            Layer::Note { at, .. } => places.push(*at),
        }
    }
    places.into_iter().unzip()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::scene::Shape;
    use crate::stats::Mark;

    /// A landscape with everything that can be drawn, and a logarithmic plot of many series.
    fn crowded() -> Figure {
        let bowl =
            HeatMap::sample((-2.0, 2.0), (-2.0, 2.0), (21, 21), |x, y| x * x + y * y).log(1e-3).label("loss L̃(V, W)");
        let arrows =
            (0..5).flat_map(|i| (0..5).map(move |j| (f64::from(i) - 2.0, f64::from(j) - 2.0, 1.0, -0.5))).collect();
        let marks = [
            Mark::GlobalMinimum,
            Mark::BestKnown,
            Mark::LocalMinimum,
            Mark::PartialOptimum,
            Mark::Saddle,
            Mark::Counterexample,
            Mark::Start,
        ];
        let landscape = Panel::new("the loss on a plane of encoders", Axis::linear("w_1"), Axis::linear("w_2"))
            .equal_units()
            .layer(Layer::Heat(bowl))
            .layer(Layer::Arrows { label: "−∇L̃ (normalised)".into(), arrows })
            .layer(Layer::Region { label: "Ω_A".into(), corners: vec![(-3.0, -3.0), (0.0, 1.0), (5.0, -1.0)] })
            .layer(Layer::Bars { label: "bars".into(), bars: vec![(-1.0, -3.0, 0.5), (1.0, 0.5, 1.5)], thickness: 0.2 })
            .layer(Layer::Note { at: (1.9, 1.9), text: "corner".into() });
        let landscape = marks.into_iter().enumerate().fold(landscape, |panel, (k, mark)| {
            panel.layer(Layer::Marks { mark, points: vec![(0.3 * k as f64, -0.5)] })
        });
        let rates = (1..=7).fold(
            Panel::new(
                "",
                Axis::log("sparsity p = 1 − S in a rather long axis label that wraps"),
                Axis::log("gap L − L̃"),
            ),
            |panel, k| {
                let points: Vec<(f64, f64)> = (1..9).map(|j| (10f64.powi(-j), 10f64.powi(-j * k))).collect();
                let label = format!("series number {k}");
                let band = points.iter().map(|p| (p.0, p.1 / 3.0, if k == 2 { f64::NAN } else { p.1 * 3.0 })).collect();
                let panel = panel.layer(Layer::Band { label: label.clone(), points: band });
                panel.layer(Layer::Line { label: label.clone(), points: points.clone() }).layer(Layer::Points {
                    label,
                    intervals: points.iter().map(|p| (p.1 / 2.0, p.1 * 2.0)).collect(),
                    points,
                })
            },
        );
        Figure::new("crowded", "test", Width::Page).panel(landscape).panel(rates)
    }

    /// More named rows than the usual height of a column has room for.
    fn named() -> Figure {
        let names = (1..=30).map(|k| (f64::from(k), format!("row {k}")));
        let bars = (1..=30).map(|k| (f64::from(k), 0.0, f64::from(k) / 30.0)).collect();
        let panel = Panel::new("", Axis::linear("share"), Axis::linear("").range(0.4, 30.6).ticks(names))
            .layer(Layer::Bars { label: "bars".into(), bars, thickness: 0.7 });
        Figure::new("named", "test", Width::Page).panel(panel)
    }

    fn at_both_widths() -> [Figure; 4] {
        let column = |figure| Figure { width: Width::Column, ..figure };
        [crowded(), column(crowded()), named(), column(named())]
    }

    #[test]
    fn nothing_leaves_the_picture() {
        for figure in at_both_widths() {
            let scene = scene(&figure);
            for shape in &scene.shapes {
                let (left, top, right, bottom) = Scene::bounds(shape);
                let inside = left >= 0.0 && top >= 0.0 && right <= scene.width && bottom <= scene.height;
                assert!(inside, "{shape:?} leaves the {} by {} points", scene.width, scene.height);
            }
        }
    }

    #[test]
    fn no_text_covers_another_text() {
        for figure in at_both_widths() {
            let scene = scene(&figure);
            let texts: Vec<&Shape> = scene.shapes.iter().filter(|s| matches!(s, Shape::Text { .. })).collect();
            assert!(texts.len() > 30);
            for (k, a) in texts.iter().enumerate() {
                for b in &texts[..k] {
                    let (p, q) = (Scene::bounds(a), Scene::bounds(b));
                    let overlap = (p.2.min(q.2) - p.0.max(q.0)).min(p.3.min(q.3) - p.1.max(q.1));
                    // A script may touch its letter: its box reaches a fifth of its size into that of the letter.
                    let script = Font { em: 8.0, ..LABEL }.em * 0.3;
                    assert!(overlap < script, "{a:?} covers {b:?} by {overlap} points");
                }
            }
        }
    }

    #[test]
    fn text_is_at_least_five_points_high_at_the_printed_width() {
        let scene = scene(&crowded());
        let smallest = scene.shapes.iter().filter_map(|shape| match shape {
            Shape::Text { font, .. } => Some(font.em),
            _ => None,
        });
        assert!(smallest.fold(f64::INFINITY, f64::min) >= 5.0);
    }
}
