//! The paper's tables repeated: what each run has scored, and how that compares with what is published.
//!
//! The paper publishes neither optimizer, learning rate, batch, length of training, start, c_min, β, nor the side that is scored (theory of
//! Tables 1 and 4–7), so that only *orderings* can be compared; the numbers of a run are those of our choices, which its configuration states.
//!
//! | part | module |
//! |---|---|
//! | one run in numbers, a line of `reports/results/*.jsonl` | [`record`] |
//! | training and scoring one experiment | [`measure`] |
//! | the trainings that a report makes itself | [`live`] |
//! | the bench in three dimensions, and models without loss on it | [`low_dimension`] |
//! | the same as a file, for the paper's full size | [`summary`] |
//! | means over seeds beside the published rows | [`compare`] |
//! | which orderings of the paper reproduce | [`orderings`] |

pub mod compare;
pub mod live;
pub mod low_dimension;
pub mod measure;
pub mod orderings;
pub mod record;
pub mod summary;

pub use compare::{Comparison, PublishedRow};
pub use record::RunRecord;
pub use summary::Summary;
