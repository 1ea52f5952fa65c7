//! Optimizers compared on instances whose optima are known: one suite, one set of starts, one budget for all.
//!
//! | part | module |
//! |---|---|
//! | what is compared: families, sizes, optimizers, budget | [`config`] |
//! | the instances, each with a certified lower bound and, where it is attained, a certified optimum | [`suite`] |
//! | how the tuned steps were chosen, on instances that are not compared | [`tuning`] |
//! | learners of dictionaries among the optimizers | [`learned`] |
//! | one instance with its runs in numbers, a line of `results.jsonl` | [`record`] |
//! | rates of alternating search and escapes from saddles, on partition cells | [`dynamics`] |
//! | all runs of an instance; the folder of a comparison, resumable | [`measure`] |
//! | how such a folder is opened and emptied | [`opening`] |
//! | optimizers at bench scale, on samples in place of certified instances | [`samples`] |
//! | profiles, success rates, expected cost, classes of end points, paired tests, answers | [`summary`] |
//!
//! Nothing in a summary is measured by it: all of it follows from `results.jsonl`, and seconds from `timings.jsonl`.

pub mod config;
pub mod dynamics;
pub mod learned;
pub mod measure;
pub mod opening;
pub mod record;
pub mod samples;
pub mod suite;
pub mod summary;
pub mod tuning;

pub use config::Comparison;
pub use record::Record;
