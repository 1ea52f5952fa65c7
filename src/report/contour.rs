//! Level sets of values on a grid: marching squares.

use std::collections::BTreeMap;

/// A place in grid units: column and row of the grid points, from 0.
pub(super) type GridPlace = (f64, f64);

/// Values on a grid, row after row.
pub(super) struct Grid {
    /// Grid points in a row.
    pub columns: usize,
    /// The values.
    pub values: Vec<f64>,
}

/// A grid point, which may lie outside the grid by one.
type Corner = (i64, i64);

/// An edge between two neighbouring grid points: the lower left one, and whether it leads to the right.
type Edge = (Corner, bool);

impl Grid {
    fn size(&self) -> (i64, i64) {
        (self.columns as i64, (self.values.len() / self.columns) as i64)
    }

    fn value(&self, (column, row): Corner) -> Option<f64> {
        let (columns, rows) = self.size();
        let inside = (0..columns).contains(&column) && (0..rows).contains(&row);
        inside.then(|| self.values[row as usize * self.columns + column as usize])
    }

    /// Where `level` lies on a crossed edge: on the border of the grid if the edge leads out of it.
    fn crossing(&self, (a, right): Edge, level: f64) -> GridPlace {
        let b = if right { (a.0 + 1, a.1) } else { (a.0, a.1 + 1) };
        let t = match (self.value(a), self.value(b)) {
            (Some(low), Some(high)) => ((level - low) / (high - low)).clamp(0.0, 1.0),
            (None, _) => 1.0,
            (_, None) => 0.0,
        };
        if right { (a.0 as f64 + t, a.1 as f64) } else { (a.0 as f64, a.1 as f64 + t) }
    }

    /// Lines where the value is `level`, with the larger values on their left. `closed` takes what lies outside the grid as
    /// smaller, so that every line is a loop.
    fn trace(&self, level: f64, closed: bool) -> Vec<Vec<GridPlace>> {
        let (columns, rows) = self.size();
        let margin = i64::from(closed);
        let above = |corner| self.value(corner).is_some_and(|v| v >= level);
        // Every crossed edge leads to one other through the cell on one side of it.
        let mut next: BTreeMap<Edge, Edge> = BTreeMap::new();
        let mut ends: BTreeMap<Edge, ()> = BTreeMap::new();
        for row in -margin..rows - 1 + margin {
            for column in -margin..columns - 1 + margin {
                let corners = [(column, row), (column + 1, row), (column + 1, row + 1), (column, row + 1)];
                let edges = [(corners[0], true), (corners[1], false), (corners[3], true), (corners[0], false)];
                // Counter-clockwise, the border of the region leaves a cell's edge and comes back at the next crossed one.
                let leaves = |k: usize| above(corners[k]) && !above(corners[(k + 1) % 4]);
                let returns = |k: &usize| !above(corners[*k]) && above(corners[(*k + 1) % 4]);
                for k in (0..4).filter(|k| leaves(*k)) {
                    if let Some(back) = (1..4).map(|j| (k + j) % 4).find(returns) {
                        next.insert(edges[k], edges[back]);
                        ends.insert(edges[back], ());
                    }
                }
            }
        }
        let mut lines = Vec::new();
        // Open lines first, from their starts; what remains are loops.
        let starts: Vec<Edge> = next.keys().filter(|edge| !ends.contains_key(edge)).copied().collect();
        let all: Vec<Edge> = next.keys().copied().collect();
        for start in starts.into_iter().chain(all) {
            let mut line = vec![self.crossing(start, level)];
            let mut at = start;
            while let Some(to) = next.remove(&at) {
                line.push(self.crossing(to, level));
                at = to;
            }
            if line.len() >= 2 {
                lines.push(line);
            }
        }
        lines
    }

    /// The lines where the value is `level`.
    pub fn lines(&self, level: f64) -> Vec<Vec<GridPlace>> {
        self.trace(level, false)
    }

    /// One polygon that is the region where the value is at least `level`: its loops, joined by bridges that are passed in
    /// both directions. Outer loops turn counter-clockwise and holes clockwise.
    pub fn above(&self, level: f64) -> Vec<GridPlace> {
        let loops = self.trace(level, true);
        let home = loops.first().and_then(|line| line.first()).copied();
        loops.into_iter().enumerate().flat_map(|(k, line)| line.into_iter().chain(home.filter(|_| k > 0))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cone(n: usize) -> Grid {
        let half = (n - 1) as f64 / 2.0;
        let values = (0..n * n).map(|k| ((k % n) as f64 - half).hypot((k / n) as f64 - half)).collect();
        Grid { columns: n, values }
    }

    #[test]
    fn a_circle_is_one_closed_line_of_its_length() {
        let lines = cone(41).lines(12.0);
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0].first(), lines[0].last());
        let length: f64 = lines[0].windows(2).map(|p| (p[1].0 - p[0].0).hypot(p[1].1 - p[0].1)).sum();
        // A polygon inscribed in cells of size 1 is within 1 % of a circle of radius 12.
        assert!((length / (std::f64::consts::TAU * 12.0) - 1.0).abs() < 0.01, "{length}");
    }

    #[test]
    fn the_region_above_a_level_has_the_area_of_the_square_without_the_disc() {
        let polygon = cone(41).above(12.0);
        let next = |k: usize| polygon[(k + 1) % polygon.len()];
        let area = polygon.iter().enumerate().map(|(k, a)| a.0 * next(k).1 - next(k).0 * a.1).sum::<f64>() / 2.0;
        let expected = 1600.0 - std::f64::consts::PI * 144.0;
        // Linear interpolation of a cone in unit cells errs by less than 0.1 per unit of length, here 75.
        assert!((area - expected).abs() < 7.5, "{area} {expected}");
    }

    #[test]
    fn a_line_that_leaves_the_grid_is_open() {
        let grid = Grid { columns: 3, values: vec![0.0, 1.0, 2.0, 0.0, 1.0, 2.0, 0.0, 1.0, 2.0] };
        assert_eq!(grid.lines(0.5), [vec![(0.5, 2.0), (0.5, 1.0), (0.5, 0.0)]]);
    }

    #[test]
    fn two_peaks_that_touch_at_a_saddle_stay_one_region() {
        let grid = Grid { columns: 2, values: vec![1.0, 0.0, 0.0, 1.0] };
        assert_eq!(grid.lines(0.5).len(), 2);
        assert_eq!(grid.trace(0.5, true).len(), 1);
    }
}
