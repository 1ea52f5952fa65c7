//! Training: configuration, loop, checkpoints.
//!
//! | part | module |
//! |---|---|
//! | one experiment as a TOML file, checked once | [`config`], [`check`] |
//! | whether it fits the memory of this machine | [`room`] |
//! | samples: the bench, or rows of one's own | [`data`] |
//! | in which order they are seen | [`order`] |
//! | known features for anchoring (eqs. 21–23) | [`anchors`] |
//! | numbers that go out of bounds | [`divergence`] |
//! | a loss that has ceased to fall | [`plateau`] |
//! | the loop, on any [`Backend`](crate::backend::Backend) | [`run`] |
//! | going on bit for bit | [`checkpoint`] |
//! | scores of a model on the data of an experiment | [`scoring`] |
//! | recovery while training goes on | [`trace`] |
//! | is a trained model at a spurious minimum? | [`diagnose`] |
//! | the folder of a run, and a whole training in it | [`directory`], [`session`] |

pub mod anchors;
pub mod check;
pub mod checkpoint;
pub mod config;
pub mod data;
pub mod diagnose;
pub mod directory;
pub mod divergence;
#[cfg(test)]
pub(crate) mod mock;
pub mod order;
pub mod plateau;
pub mod room;
pub mod run;
pub mod scoring;
pub mod session;
#[cfg(test)]
mod session_tests;
pub mod trace;
