//! [`Figure`]: panels of lines, points, heat maps, arrows and shaded regions, as data.

use serde::Serialize;

/// A figure: panels beside or under each other, one legend for all.
///
/// A label stands for one colour, dash pattern and marker in the whole figure, so that the same series looks the same in
/// every panel.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    /// File stem: lower-case letters, digits and hyphens.
    pub name: String,
    /// Heading in the page; it is not drawn into the picture.
    pub title: String,
    /// What the reader sees, and what follows from it.
    pub caption: String,
    /// The claim that the figure belongs to.
    pub source: String,
    /// How wide it is printed.
    pub width: Width,
    /// The panels, in reading order; they are lettered (a), (b), .. when there are several.
    pub panels: Vec<Panel>,
}

/// Printed width of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Width {
    /// One column of a two-column paper, 3.25 in; panels stand under each other.
    Column,
    /// The text width, 6.75 in; up to three panels stand in a row.
    Page,
}

/// One set of axes with its layers, drawn in order.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Panel {
    /// Short title above the axes, may be empty.
    pub title: String,
    /// Horizontal axis.
    pub x: Axis,
    /// Vertical axis.
    pub y: Axis,
    /// True if one unit is equally long on both axes (both must be linear).
    pub equal_units: bool,
    /// Height of the frame in points; computed from its width when absent.
    pub frame_height: Option<f64>,
    /// What is drawn, from back to front.
    pub layers: Vec<Layer>,
}

/// An axis.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Axis {
    /// Label with its unit.
    pub label: String,
    /// Linear or logarithmic.
    pub scale: Scale,
    /// Ends of the axis; computed from the layers when absent.
    pub range: Option<(f64, f64)>,
    /// Places and texts of the ticks; computed when absent.
    pub ticks: Option<Vec<(f64, String)>>,
}

/// How values map to lengths or colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scale {
    /// Proportional.
    Linear,
    /// Proportional to the logarithm; values ≤ 0 are not shown.
    Log,
}

/// One thing drawn in a panel.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Layer {
    /// A polyline of the series `label`; it breaks where a coordinate is not finite.
    Line {
        /// Name in the legend.
        label: String,
        /// (x, y).
        points: Vec<(f64, f64)>,
    },
    /// A grey dashed polyline to compare with, such as a predicted slope.
    Reference {
        /// Name in the legend.
        label: String,
        /// (x, y).
        points: Vec<(f64, f64)>,
    },
    /// A shaded band of the series `label`, such as the spread of many runs around a line of that label.
    Band {
        /// Name in the legend.
        label: String,
        /// (x, low, high); the band breaks where a number is not finite.
        points: Vec<(f64, f64, f64)>,
    },
    /// Markers of the series `label`.
    Points {
        /// Name in the legend.
        label: String,
        /// (x, y).
        points: Vec<(f64, f64)>,
        /// Vertical intervals (low, high), one per point, or none at all.
        intervals: Vec<(f64, f64)>,
    },
    /// A filled heat map with contour lines and a colour bar; at most one in a panel.
    Heat(HeatMap),
    /// Arrows of equal length that show directions only: (x, y, dx, dy) in axis units. A zero arrow is a dot.
    Arrows {
        /// Name in the legend.
        label: String,
        /// (x, y, dx, dy).
        arrows: Vec<(f64, f64, f64, f64)>,
    },
    /// A shaded and hatched polygon.
    Region {
        /// Name in the legend.
        label: String,
        /// Corners (x, y) in order.
        corners: Vec<(f64, f64)>,
    },
    /// Horizontal bars of the series `label`, filled or empty by turns of the series, so that two series differ in black and white.
    Bars {
        /// Name in the legend.
        label: String,
        /// (y, from x, to x).
        bars: Vec<(f64, f64, f64)>,
        /// Their height in units of the vertical axis.
        thickness: f64,
    },
    /// Points of the parameter space with a meaning.
    Marks {
        /// The meaning, which decides the symbol.
        mark: Mark,
        /// (x, y).
        points: Vec<(f64, f64)>,
    },
    /// A text at a place, to the right of it.
    Note {
        /// (x, y).
        at: (f64, f64),
        /// The text.
        text: String,
    },
}

/// Meaning of a marked point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mark {
    /// A certified global minimum.
    GlobalMinimum,
    /// The lowest value known where a lower one is not excluded.
    BestKnown,
    /// A local minimum in its cell.
    LocalMinimum,
    /// A partial optimum.
    PartialOptimum,
    /// A strict saddle.
    Saddle,
    /// A point that refutes a statement.
    Counterexample,
    /// Where a run starts.
    Start,
}

/// Values on a regular grid whose outermost points lie on the ends of `x` and `y`. Regular means on paper: on a logarithmic axis the
/// grid is regular in the logarithm.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HeatMap {
    /// First and last column.
    pub x: (f64, f64),
    /// First and last row.
    pub y: (f64, f64),
    /// Grid points in a row, ≥ 2.
    pub columns: usize,
    /// Row after row from `y.0` upwards; its length is a multiple ≥ 2 of `columns`.
    pub values: Vec<f64>,
    /// Colour scale.
    pub scale: Scale,
    /// Smallest value told apart; smaller ones (and zeros on a logarithmic scale) get its colour.
    pub floor: f64,
    /// Label of the colour bar.
    pub label: String,
    /// Absent for a surface. `k` for a matrix of k×k blocks: every value is a square of its own around its grid point, without contour
    /// lines, and white lines separate the blocks.
    pub blocks: Option<usize>,
}

impl Figure {
    /// A figure of the claim `source` without panels yet.
    pub fn new(name: &str, source: &str, width: Width) -> Self {
        Self {
            name: name.to_owned(),
            title: String::new(),
            caption: String::new(),
            source: source.to_owned(),
            width,
            panels: Vec::new(),
        }
    }

    /// Sets the heading.
    pub fn title(mut self, title: &str) -> Self {
        self.title = title.to_owned();
        self
    }

    /// Sets the caption.
    pub fn caption(mut self, caption: &str) -> Self {
        self.caption = caption.to_owned();
        self
    }

    /// Adds a panel.
    pub fn panel(mut self, panel: Panel) -> Self {
        self.panels.push(panel);
        self
    }
}

impl Panel {
    /// A panel without layers yet.
    pub fn new(title: &str, x: Axis, y: Axis) -> Self {
        Self { title: title.to_owned(), x, y, equal_units: false, frame_height: None, layers: Vec::new() }
    }

    /// Draws one unit equally long on both axes.
    pub fn equal_units(mut self) -> Self {
        self.equal_units = true;
        self
    }

    /// Fixes the height of the frame in points, for panels whose rows need so much.
    pub fn frame_height(mut self, points: f64) -> Self {
        self.frame_height = Some(points);
        self
    }

    /// Adds a layer in front of the others.
    pub fn layer(mut self, layer: Layer) -> Self {
        self.layers.push(layer);
        self
    }
}

impl Axis {
    /// A linear axis.
    pub fn linear(label: &str) -> Self {
        Self { label: label.to_owned(), scale: Scale::Linear, range: None, ticks: None }
    }

    /// A logarithmic axis.
    pub fn log(label: &str) -> Self {
        Self { scale: Scale::Log, ..Self::linear(label) }
    }

    /// Fixes the ends.
    pub fn range(mut self, low: f64, high: f64) -> Self {
        self.range = Some((low, high));
        self
    }

    /// Fixes places and texts of the ticks.
    pub fn ticks(mut self, ticks: impl IntoIterator<Item = (f64, String)>) -> Self {
        self.ticks = Some(ticks.into_iter().collect());
        self
    }
}

impl HeatMap {
    /// Evaluates `f` on a grid of `columns` by `rows` points.
    pub fn sample(
        x: (f64, f64),
        y: (f64, f64),
        (columns, rows): (usize, usize),
        mut f: impl FnMut(f64, f64) -> f64,
    ) -> Self {
        let place = |(low, high): (f64, f64), k: usize, n: usize| low + (high - low) * k as f64 / (n - 1) as f64;
        let (columns, rows) = (columns.max(2), rows.max(2));
        let values =
            (0..rows * columns).map(|k| f(place(x, k % columns, columns), place(y, k / columns, rows))).collect();
        Self {
            x,
            y,
            columns,
            values,
            scale: Scale::Linear,
            floor: f64::NEG_INFINITY,
            label: String::new(),
            blocks: None,
        }
    }

    /// Evaluates `f` on a grid for two logarithmic axes; all ends are > 0.
    pub fn sample_log(x: (f64, f64), y: (f64, f64), size: (usize, usize), mut f: impl FnMut(f64, f64) -> f64) -> Self {
        let logs = |(low, high): (f64, f64)| (low.log10(), high.log10());
        let map = Self::sample(logs(x), logs(y), size, |a, b| f(10f64.powf(a), 10f64.powf(b)));
        Self { x, y, ..map }
    }

    /// Uses a logarithmic colour scale that ends at `floor` > 0.
    pub fn log(mut self, floor: f64) -> Self {
        self.scale = Scale::Log;
        self.floor = floor;
        self
    }

    /// A matrix instead of a surface: entry (k, l) of `rows` stands at x = l + 1 and, since rows run downwards, y = (number of rows) − k.
    /// White lines separate blocks of `block` rows and columns.
    pub fn matrix(rows: &[Vec<f64>], block: usize) -> Self {
        let (height, width) = (rows.len().max(2), rows.first().map_or(0, Vec::len).max(2));
        let entry = |x: f64, y: f64| {
            let row = rows.get(height - y.round() as usize);
            row.and_then(|row| row.get(x.round() as usize - 1)).copied().unwrap_or(f64::NAN)
        };
        let map = Self::sample((1.0, width as f64), (1.0, height as f64), (width, height), entry);
        Self { blocks: Some(block), ..map }
    }

    /// Sets the label of the colour bar.
    pub fn label(mut self, label: &str) -> Self {
        self.label = label.to_owned();
        self
    }
}

impl Mark {
    /// The name in the legend.
    pub fn name(self) -> &'static str {
        match self {
            Self::GlobalMinimum => "global minimum",
            Self::BestKnown => "best known, not proved",
            Self::LocalMinimum => "local minimum",
            Self::PartialOptimum => "partial optimum",
            Self::Saddle => "strict saddle",
            Self::Counterexample => "counterexample",
            Self::Start => "start",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sampled_heat_map_runs_along_rows_from_the_lower_left_corner() {
        let heat = HeatMap::sample((0.0, 2.0), (0.0, 10.0), (3, 2), |x, y| x + y);
        assert_eq!(heat.values, [0.0, 1.0, 2.0, 10.0, 11.0, 12.0]);
    }

    #[test]
    fn a_heat_map_for_logarithmic_axes_is_regular_in_the_logarithms() {
        let heat = HeatMap::sample_log((1.0, 100.0), (0.1, 10.0), (3, 3), |x, y| (x * y).log10().round());
        assert_eq!(heat.values, [-1.0, 0.0, 1.0, 0.0, 1.0, 2.0, 1.0, 2.0, 3.0]);
        assert_eq!((heat.x, heat.y), ((1.0, 100.0), (0.1, 10.0)));
    }

    #[test]
    fn the_first_row_of_a_matrix_is_its_highest() {
        let heat = HeatMap::matrix(&[vec![1.0, 2.0, 3.0], vec![4.0, 5.0, 6.0]], 1);
        assert_eq!((heat.x, heat.y, heat.columns), ((1.0, 3.0), (1.0, 2.0), 3));
        assert_eq!(heat.values, [4.0, 5.0, 6.0, 1.0, 2.0, 3.0]);
    }
}
