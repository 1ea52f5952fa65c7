//! Plain data that claims and experiments return: figures and tables; and exact tests of predicted laws.
//!
//! Nothing here draws or prints; [`crate::report`] does.
//!
//! Texts of figures and tables are plain Unicode with one convention: a single letter followed by `_` and up to three
//! letters or digits, or by `_{..}`, carries a subscript (`M_d`, `λ_max`, `w_{12}`), and `^` or `^{..}` a superscript
//! (`10^{-3}`, `D^½`). The renderers set them as such; a terminal shows them as they are.

pub mod figure;
pub mod interval;
pub mod law;
pub mod table;

pub use figure::{Axis, Figure, HeatMap, Layer, Mark, Panel, Scale, Width};
pub use interval::MeanInterval;
pub use law::{Mean, Proportion};
pub use table::{Cell, Column, Kind, Table, Tone};
