//! Plain data that claims and experiments return: figures and tables; exact tests of predicted laws; and what a fair
//! comparison of optimizers needs.
//!
//! | question | module |
//! |---|---|
//! | how often is a solver within a factor of the best one, or within a budget? | [`profile`] |
//! | which share of runs succeeds? | [`proportion`] |
//! | what does one success cost? | [`expected_time`] |
//! | what is typical, whatever the worst runs do? | [`robust`] |
//! | is one solver better than another on the same instances? | [`paired`] |
//! | what is the mean over seeds? | [`interval`] |
//! | does a count agree with a predicted law? | [`law`] |
//!
//! Nothing here draws or prints; [`crate::report`] does. Statistics of nothing, or of what is no number, are `None`.
//!
//! Texts of figures and tables are plain Unicode with one convention: a single letter followed by `_` and up to three
//! letters or digits, or by `_{..}`, carries a subscript (`M_d`, `λ_max`, `w_{12}`), and `^` or `^{..}` a superscript
//! (`10^{-3}`, `D^½`). The renderers set them as such; a terminal shows them as they are.

mod bootstrap;
pub mod expected_time;
pub mod figure;
pub mod interval;
pub mod law;
pub mod paired;
pub mod profile;
pub mod proportion;
pub mod robust;
pub mod table;

pub use expected_time::{Attempt, ExpectedTime, TimeRatio};
pub use figure::{Axis, Figure, HeatMap, Layer, Mark, Panel, Scale, Width};
pub use interval::MeanInterval;
pub use law::{Mean, Proportion};
pub use paired::{SignedRank, Zeros, holm};
pub use profile::{Steps, data_profiles, first_hit, performance_profiles};
pub use proportion::ShareInterval;
pub use robust::InterquartileMean;
pub use table::{Cell, Column, Kind, Table, Tone};
