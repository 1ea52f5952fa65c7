//! The paper's tables repeated: what each run has scored, and how that compares with what is published.
//!
//! The paper publishes neither optimizer, learning rate, batch, length of training, start, c_min, β, nor the side that is scored (theory of
//! Tables 1 and 4–7), so that only *orderings* can be compared; the numbers of a run are those of our choices, which its configuration states.
//!
//! | part | module |
//! |---|---|
//! | one run in numbers, a line of `reports/results/*.jsonl` | [`record`] |
//! | training and scoring one experiment | [`measure`] |
//! | the same as a file, for the paper's full size | [`summary`] |
//! | means over seeds beside the published rows; which orderings reproduce | [`compare`] |

pub mod compare;
pub mod measure;
pub mod record;
pub mod summary;

pub use compare::{Comparison, PublishedRow};
pub use record::RunRecord;
pub use summary::Summary;
