//! Trainings whose numbers go out of bounds: what has happened, when and where.

use super::run::State;
use crate::sdl::{Parameter, Tensors};
use std::fmt;

/// What has diverged, when and where.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error(
    "training diverged at step {step} (epoch {epoch}): {what}; {place}. A lower learning rate, a warm-up or clipping may help"
)]
pub struct Diverged {
    /// Updates done.
    pub step: u64,
    /// The epoch.
    pub epoch: u64,
    /// What is wrong.
    pub what: String,
    /// Where the first wrong number is.
    pub place: Place,
}

/// Where the first number is that is not finite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In a parameter or a moment of it, as the first word says, and in which row.
    Row(&'static str, Parameter, usize),
    /// In a sample of the data.
    Sample(u64),
    /// Parameters and samples are finite.
    Nowhere,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Row(block, parameter, row) => {
                let (name, rows) = (parameter.name(), if parameter.is_per_latent() { "latent" } else { "row" });
                write!(f, "the first number that is not finite is in {block} {name}, {rows} {row}")
            }
            Self::Sample(index) => write!(f, "sample {index} of the data holds a number that is not finite"),
            Self::Nowhere => f.write_str("all parameters and samples are finite"),
        }
    }
}

/// The first row of a state with a number that is not finite.
pub(super) fn not_finite(state: &State) -> Option<Place> {
    let first = |block: &'static str, tensors: &Tensors<f32>| {
        tensors.parameters().find_map(|parameter| {
            let columns = parameter.size(tensors.shape()).1.max(1);
            let numbers = tensors.get(parameter)?;
            let at = numbers.iter().position(|x| !x.is_finite())?;
            Some(Place::Row(block, parameter, at / columns))
        })
    };
    first("parameter", &state.model.tensors)
        .or_else(|| first("the first moment of", &state.opt.first))
        .or_else(|| first("the second moment of", state.opt.second.as_ref()?))
}
