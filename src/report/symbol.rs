//! Markers of series and symbols of marked points.

use super::palette::{BLACK, Rgb, SKY, VERMILLION, WHITE, YELLOW};
use super::scene::{Place, Scene};
use crate::stats::Mark;
use std::f64::consts::TAU;

/// A regular polygon, its first corner turned by `turn` of a full turn from the right.
fn regular(center: Place, radius: f64, corners: usize, turn: f64) -> Vec<Place> {
    let angle = |k: usize| TAU * (k as f64 / corners as f64 + turn);
    (0..corners).map(|k| (center.0 + radius * angle(k).cos(), center.1 + radius * angle(k).sin())).collect()
}

fn star(center: Place, radius: f64) -> Vec<Place> {
    let outer = regular(center, radius, 5, -0.25);
    let inner = regular(center, radius * 0.45, 5, -0.15);
    outer.into_iter().zip(inner).flat_map(|(a, b)| [a, b]).collect()
}

fn cross(center: Place, arm: f64, half: f64) -> Vec<Place> {
    let (a, b) = (arm, half);
    [
        (0.0, b),
        (a, a + b),
        (a + b, a),
        (b, 0.0),
        (a + b, -a),
        (a, -a - b),
        (0.0, -b),
        (-a, -a - b),
        (-a - b, -a),
        (-b, 0.0),
        (-a - b, a),
        (-a, a + b),
    ]
    .iter()
    .map(|(x, y)| (center.0 + x, center.1 + y))
    .collect()
}

/// Corners of the marker of the k-th series.
fn series_corners(k: usize, center: Place) -> Vec<Place> {
    match k % 7 {
        0 => regular(center, 2.0, 20, 0.0),
        1 => regular(center, 2.5, 4, 0.125),
        2 => regular(center, 2.7, 3, -0.25),
        3 => regular(center, 2.6, 4, 0.0),
        4 => regular(center, 2.7, 3, 0.25),
        5 => cross(center, 1.5, 0.7),
        _ => star(center, 3.2),
    }
}

/// Paints the marker of the k-th series.
pub(super) fn series_marker(scene: &mut Scene, k: usize, center: Place, color: Rgb) {
    let corners = series_corners(k, center);
    scene.stroke(&closed(&corners), 1.0, WHITE, &[]);
    scene.fill(corners, color, 1.0);
}

/// Paints the symbol of a marked point: readable on any colour, told apart by shape alone.
pub(super) fn mark(scene: &mut Scene, mark: Mark, center: Place) {
    let (corners, color) = match mark {
        Mark::GlobalMinimum => (star(center, 5.4), YELLOW),
        Mark::BestKnown => (star(center, 5.4), WHITE),
        Mark::LocalMinimum => (regular(center, 3.2, 24, 0.0), SKY),
        Mark::PartialOptimum => (regular(center, 3.8, 4, 0.0), WHITE),
        Mark::Saddle => (cross(center, 2.4, 1.0), WHITE),
        Mark::Counterexample => (regular(center, 4.0, 3, -0.25), VERMILLION),
        Mark::Start => (regular(center, 3.4, 4, 0.125), WHITE),
    };
    let outline = closed(&corners);
    scene.stroke(&outline, 2.2, WHITE, &[]);
    scene.fill(corners, color, 1.0);
    scene.stroke(&outline, 0.8, BLACK, &[]);
    if mark == Mark::Start {
        scene.fill(regular(center, 1.0, 12, 0.0), BLACK, 1.0);
    }
}

fn closed(corners: &[Place]) -> Vec<Place> {
    corners.iter().chain(corners.first()).copied().collect()
}
