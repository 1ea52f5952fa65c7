//! The legend under the panels: one entry per label of the figure.

use super::palette::{self, BLACK, GREEN, GREY, ORANGE, PURPLE, Rgb};
use super::scene::{Align, Font, Place, Scene};
use super::{layer, symbol};
use crate::stats::{Figure, Layer, Mark};

/// What the entries of a figure look like, and the order of its labels.
pub(super) struct Legend {
    entries: Vec<Entry>,
    series: Vec<String>,
    regions: Vec<String>,
}

struct Entry {
    label: String,
    samples: Vec<Sample>,
}

#[derive(Clone, Copy, PartialEq)]
enum Sample {
    Band(usize),
    Line(usize),
    Marker(usize),
    Reference,
    Arrow,
    Region(usize),
    Bar(usize),
    Mark(Mark),
}

const FONT: Font = Font { em: 7.5, bold: false, color: BLACK };
const ROW: f64 = 11.5;
/// Width of a sample of a line, and of a symbol.
const SAMPLE: f64 = 18.0;
const SYMBOL: f64 = 10.0;
const GAP: f64 = 4.0;
const BETWEEN: f64 = 12.0;

/// Line width of series, and look of reference lines, shared with the panels.
pub(super) const LINE: f64 = 1.2;
pub(super) const REFERENCE: (f64, Rgb, &[f64]) = (0.9, GREY, &[2.5, 2.0]);

/// Colour of the k-th region.
pub(super) fn region_color(k: usize) -> Rgb {
    [ORANGE, GREEN, PURPLE][k % 3]
}

impl Legend {
    /// Collects the labels of a figure.
    pub fn new(figure: &Figure) -> Self {
        let mut legend = Self { entries: Vec::new(), series: Vec::new(), regions: Vec::new() };
        for layer in figure.panels.iter().flat_map(|panel| &panel.layers) {
            match layer {
                Layer::Line { label, .. } => {
                    let k = index(&mut legend.series, label);
                    legend.add(label, Sample::Line(k));
                }
                Layer::Band { label, .. } => {
                    let k = index(&mut legend.series, label);
                    legend.add(label, Sample::Band(k));
                }
                Layer::Points { label, .. } => {
                    let k = index(&mut legend.series, label);
                    legend.add(label, Sample::Marker(k));
                }
                Layer::Reference { label, .. } => legend.add(label, Sample::Reference),
                Layer::Arrows { label, .. } => legend.add(label, Sample::Arrow),
                Layer::Region { label, .. } => {
                    let k = index(&mut legend.regions, label);
                    legend.add(label, Sample::Region(k));
                }
                Layer::Bars { label, .. } => {
                    let k = index(&mut legend.series, label);
                    legend.add(label, Sample::Bar(k));
                }
                Layer::Marks { mark, .. } => legend.add(mark.name(), Sample::Mark(*mark)),
                Layer::Heat(_) | Layer::Note { .. } => {}
            }
        }
        legend
    }

    /// Number of the series or region with this label.
    pub fn series(&self, label: &str) -> usize {
        self.series.iter().position(|l| l == label).unwrap_or(0)
    }

    /// Number of the region with this label.
    pub fn region(&self, label: &str) -> usize {
        self.regions.iter().position(|l| l == label).unwrap_or(0)
    }

    fn add(&mut self, label: &str, sample: Sample) {
        if label.is_empty() {
            return;
        }
        match self.entries.iter_mut().find(|entry| entry.label == label) {
            Some(entry) if !entry.samples.contains(&sample) => entry.samples.push(sample),
            Some(_) => {}
            None => self.entries.push(Entry { label: label.to_owned(), samples: vec![sample] }),
        }
    }

    /// Entries in rows that fit `width`.
    fn rows(&self, width: f64) -> Vec<(f64, Vec<&Entry>)> {
        let mut rows: Vec<(f64, Vec<&Entry>)> = Vec::new();
        for entry in &self.entries {
            let size = entry.sample_width() + GAP + FONT.width(&entry.label);
            match rows.last_mut() {
                Some((used, row)) if *used + BETWEEN + size <= width => {
                    *used += BETWEEN + size;
                    row.push(entry);
                }
                _ => rows.push((size, vec![entry])),
            }
        }
        rows
    }

    /// Height of the legend in a picture of this width.
    pub fn height(&self, width: f64) -> f64 {
        let rows = self.rows(width).len();
        if rows == 0 { 0.0 } else { ROW * rows as f64 + 6.0 }
    }

    /// Paints the legend in a strip that begins at `top`.
    pub fn paint(&self, scene: &mut Scene, left: f64, top: f64, width: f64) {
        for (k, (used, row)) in self.rows(width).into_iter().enumerate() {
            let y = top + 6.0 + ROW * (k as f64 + 0.5);
            let mut x = left + ((width - used) / 2.0).max(0.0);
            for entry in row {
                for sample in &entry.samples {
                    paint_sample(scene, *sample, (x, y), entry.sample_width());
                }
                x += entry.sample_width() + GAP;
                scene.text(&entry.label, (x, y + 0.36 * FONT.em), FONT, Align::Start, false);
                x += FONT.width(&entry.label) + BETWEEN;
            }
        }
    }
}

impl Entry {
    fn sample_width(&self) -> f64 {
        if self.samples.iter().all(|s| matches!(s, Sample::Mark(_) | Sample::Marker(_))) { SYMBOL } else { SAMPLE }
    }
}

fn index(labels: &mut Vec<String>, label: &str) -> usize {
    labels.iter().position(|l| l == label).unwrap_or_else(|| {
        labels.push(label.to_owned());
        labels.len() - 1
    })
}

fn paint_sample(scene: &mut Scene, sample: Sample, (x, y): Place, width: f64) {
    let line = [(x, y), (x + width, y)];
    let middle = (x + width / 2.0, y);
    match sample {
        Sample::Band(k) => {
            let corners = vec![(x, y - 3.5), (x + width, y - 3.5), (x + width, y + 3.5), (x, y + 3.5)];
            layer::band(scene, corners, palette::series(k).0);
        }
        Sample::Line(k) => {
            let (color, dashes) = palette::series(k);
            scene.stroke(&line, LINE, color, dashes);
        }
        Sample::Marker(k) => symbol::series_marker(scene, k, middle, palette::series(k).0),
        Sample::Reference => scene.stroke(&line, REFERENCE.0, REFERENCE.1, REFERENCE.2),
        Sample::Arrow => layer::arrow(scene, middle, (1.0, 0.0), 11.0),
        Sample::Region(k) => {
            let (left, right) = (x + 3.0, x + width - 3.0);
            layer::region(scene, &[(left, y - 3.5), (right, y - 3.5), (right, y + 3.5), (left, y + 3.5)], k);
        }
        Sample::Bar(k) => {
            let (left, right) = (x + 1.0, x + width - 1.0);
            layer::horizontal_bar(scene, vec![(left, y - 2.5), (right, y - 2.5), (right, y + 2.5), (left, y + 2.5)], k);
        }
        Sample::Mark(mark) => symbol::mark(scene, mark, middle),
    }
}
