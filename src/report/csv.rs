//! Figures and tables as CSV (RFC 4180), one observation in a row.

use crate::stats::{Cell, Figure, HeatMap, Layer, Panel, Scale, Table};

/// Columns of a figure's data. What a layer does not have is empty.
const COLUMNS: [&str; 12] = ["panel", "layer", "kind", "label", "x", "y", "low", "high", "dx", "dy", "value", "text"];

/// One row of a figure's data.
#[derive(Default)]
struct Row {
    x: Option<f64>,
    y: Option<f64>,
    low: Option<f64>,
    high: Option<f64>,
    dx: Option<f64>,
    dy: Option<f64>,
    value: Option<f64>,
    text: String,
}

impl Row {
    fn at(&(x, y): &(f64, f64)) -> Self {
        Self { x: Some(x), y: Some(y), ..Self::default() }
    }
}

/// The data of a figure: a row per point, arrow, corner, note, or point of a heat map's grid. Panels and layers count from 1.
/// Numbers are written so that they are read back exactly; what is not finite is empty.
pub fn figure(figure: &Figure) -> String {
    let mut text = line(COLUMNS.map(str::to_owned));
    for (p, panel) in figure.panels.iter().enumerate() {
        for (l, layer) in panel.layers.iter().enumerate() {
            let (kind, label, rows) = rows(layer, panel);
            for row in rows {
                let numbers = [row.x, row.y, row.low, row.high, row.dx, row.dy, row.value].map(number);
                let head = [(p + 1).to_string(), (l + 1).to_string(), kind.to_owned(), label.clone()];
                text += &line(head.into_iter().chain(numbers).chain([row.text]));
            }
        }
    }
    text
}

/// Kind, label and rows of a layer.
fn rows(layer: &Layer, panel: &Panel) -> (&'static str, String, Vec<Row>) {
    match layer {
        Layer::Line { label, points } => ("line", label.clone(), points.iter().map(Row::at).collect()),
        Layer::Reference { label, points } => ("reference", label.clone(), points.iter().map(Row::at).collect()),
        Layer::Band { label, points } => {
            let row = |&(x, low, high): &(f64, f64, f64)| Row {
                x: Some(x),
                low: Some(low),
                high: Some(high),
                ..Row::default()
            };
            ("band", label.clone(), points.iter().map(row).collect())
        }
        Layer::Points { label, points, intervals } => {
            let row = |(k, point): (usize, &(f64, f64))| {
                let interval = intervals.get(k);
                Row { low: interval.map(|i| i.0), high: interval.map(|i| i.1), ..Row::at(point) }
            };
            ("points", label.clone(), points.iter().enumerate().map(row).collect())
        }
        Layer::Heat(map) => ("heat", map.label.clone(), grid(map, panel)),
        Layer::Arrows { label, arrows } => {
            let row = |&(x, y, dx, dy): &(f64, f64, f64, f64)| Row { dx: Some(dx), dy: Some(dy), ..Row::at(&(x, y)) };
            ("arrows", label.clone(), arrows.iter().map(row).collect())
        }
        Layer::Region { label, corners } => ("region", label.clone(), corners.iter().map(Row::at).collect()),
        Layer::Bars { label, bars, .. } => {
            let row = |&(y, from, to): &(f64, f64, f64)| Row {
                y: Some(y),
                low: Some(from),
                high: Some(to),
                ..Row::default()
            };
            ("bars", label.clone(), bars.iter().map(row).collect())
        }
        Layer::Marks { mark, points } => ("marks", mark.name().to_owned(), points.iter().map(Row::at).collect()),
        Layer::Note { at, text } => ("note", String::new(), vec![Row { text: text.clone(), ..Row::at(at) }]),
    }
}

/// The grid is regular on paper, so that its places depend on the axes.
fn grid(map: &HeatMap, panel: &Panel) -> Vec<Row> {
    let rows = map.values.len() / map.columns.max(1);
    let along = |scale: Scale, (low, high): (f64, f64), k: usize, n: usize| {
        let t = k as f64 / (n.max(2) - 1) as f64;
        match scale {
            // The ends stay as they are.
            _ if k == 0 => low,
            _ if k + 1 == n => high,
            Scale::Linear => low + (high - low) * t,
            Scale::Log => 10f64.powf(low.log10() + (high.log10() - low.log10()) * t),
        }
    };
    let row = |(k, value): (usize, &f64)| Row {
        x: Some(along(panel.x.scale, map.x, k % map.columns, map.columns)),
        y: Some(along(panel.y.scale, map.y, k / map.columns, rows)),
        value: Some(*value),
        ..Row::default()
    };
    map.values.iter().enumerate().map(row).collect()
}

/// The data of a table: its headers, then its rows. A column with intervals has its ends in two more columns.
pub fn table(table: &Table) -> String {
    let is_interval = |cell: &Cell| matches!(cell, Cell::Interval { .. });
    let wide: Vec<bool> =
        (0..table.columns.len()).map(|k| table.rows.iter().any(|row| row.get(k).is_some_and(is_interval))).collect();
    let headers = table.columns.iter().zip(&wide).flat_map(|(column, &wide)| {
        let ends = [format!("{} low", column.header), format!("{} high", column.header)];
        std::iter::once(column.header.clone()).chain(ends.into_iter().filter(move |_| wide))
    });
    let mut text = line(headers);
    for row in &table.rows {
        text += &line(row.iter().zip(&wide).flat_map(|(cell, &wide)| {
            let ends = match cell {
                Cell::Interval { low, high, .. } => [number(Some(*low)), number(Some(*high))],
                _ => [String::new(), String::new()],
            };
            std::iter::once(content(cell)).chain(ends.into_iter().filter(move |_| wide))
        }));
    }
    text
}

fn content(cell: &Cell) -> String {
    match cell {
        Cell::Number { value, .. } | Cell::Interval { value, .. } => number(Some(*value)),
        Cell::Missing => String::new(),
        other => other.text(),
    }
}

/// The shortest text that is read back as the same number.
fn number(value: Option<f64>) -> String {
    match value {
        Some(value) if value.is_finite() => format!("{value:?}"),
        _ => String::new(),
    }
}

fn line(fields: impl IntoIterator<Item = String>) -> String {
    let quoted = fields.into_iter().map(|field| {
        if field.contains(['"', ',', '\n', '\r']) { format!("\"{}\"", field.replace('"', "\"\"")) } else { field }
    });
    quoted.collect::<Vec<_>>().join(",") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{Axis, Kind, Width};

    #[test]
    fn every_point_of_a_figure_is_a_row_with_its_exact_numbers() {
        let panel = Panel::new("", Axis::linear("x"), Axis::linear("y"))
            .layer(Layer::Points {
                label: "a, \"b\"".into(),
                points: vec![(0.1, 1e-300), (2.0, f64::NAN)],
                intervals: vec![(0.0, 3.0), (1.0, f64::INFINITY)],
            })
            .layer(Layer::Heat(HeatMap::sample((0.0, 1.0), (2.0, 4.0), (2, 2), |x, y| x + y)));
        let data = figure(&Figure::new("f", "test", Width::Column).panel(panel));
        assert_eq!(
            data,
            "panel,layer,kind,label,x,y,low,high,dx,dy,value,text\n\
             1,1,points,\"a, \"\"b\"\"\",0.1,1e-300,0.0,3.0,,,,\n\
             1,1,points,\"a, \"\"b\"\"\",2.0,,1.0,,,,,\n\
             1,2,heat,,0.0,2.0,,,,,2.0,\n1,2,heat,,1.0,2.0,,,,,3.0,\n\
             1,2,heat,,0.0,4.0,,,,,4.0,\n1,2,heat,,1.0,4.0,,,,,5.0,\n"
        );
    }

    #[test]
    fn a_heat_map_on_logarithmic_axes_has_its_places_regular_in_the_logarithm() {
        let map = HeatMap::sample_log((1.0, 100.0), (0.1, 10.0), (3, 3), |x, y| x * y);
        let panel = Panel::new("", Axis::log("x"), Axis::log("y")).layer(Layer::Heat(map));
        let data = figure(&Figure::new("f", "test", Width::Column).panel(panel));
        let middle = data.lines().nth(5).unwrap();
        assert_eq!(middle, "1,1,heat,,10.0,1.0,,,,,10.0,");
    }

    #[test]
    fn an_interval_has_its_ends_in_columns_of_their_own() {
        let mut data = Table::new("t", "test", [("n", Kind::Number), ("p", Kind::Number), ("why", Kind::Text)]);
        let interval = Cell::Interval { value: 0.123_456_789, low: 0.1, high: 0.2, digits: 2 };
        data.push([Cell::from(3usize), interval, Cell::from("a,b")]);
        data.push([Cell::Missing, Cell::number(1.0 / 3.0, 2), Cell::exact("-1/3")]);
        assert_eq!(table(&data), "n,p,p low,p high,why\n3,0.123456789,0.1,0.2,\"a,b\"\n,0.3333333333333333,,,-1/3\n");
    }
}
