//! Optimizers compared at bench scale: the empirical loss of N samples of the bench, TopK models of one size, the same start and the same seconds for all.
//!
//! | part | module |
//! |---|---|
//! | what is compared: bench, size, methods, seconds | [`config`] |
//! | the methods, each a loop that shows its model after every round | [`method`] |
//! | one round in numbers, a line of `results.jsonl` | [`record`] |
//! | the folder of a comparison; a method that was stopped begins anew | [`folder`] |
//! | tables, a figure and the answer | [`summary`] |
//!
//! A round is a sweep, an epoch or a pass. Losses of a round do not depend on time; how many rounds there are does, and their seconds stand in `timings.jsonl`.
//! A round within which the seconds of its method are over ends there, and its line says that it was interrupted: that line alone depends on the
//! machine. What is measured after a round is not timed.

pub mod config;
pub mod folder;
pub mod method;
pub mod record;
pub mod summary;

pub use config::SamplesComparison;
pub use record::{Record, Timing};
