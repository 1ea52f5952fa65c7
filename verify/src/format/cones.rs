//! Groups of a `lower-bound` whose neurons share features (FORMAT.md §5, `cones`).

use super::{Rat, Record, form_of_record, record};
use crate::Refusal;
use crate::json::{Fields, Form, Json};

/// No codes of the group's neurons save more than Σ M_d‖r_d‖² − s: the group contributes max(0, s).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConesBound {
    /// s.
    pub s: Rat,
    /// The nodes of the tree in the order of a walk that takes the children of a node, in their order, before what follows it.
    pub steps: Vec<ConesStep>,
}
record!(ConesBound { s, steps });

/// A node of the tree, which holds a cone of codes for each neuron of the group. Neurons count among those of the group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConesStep {
    /// Codes of j are replaced by their difference to a multiple of those of i that has no weight on one of their common rays.
    Minus {
        /// (i, j).
        neurons: (usize, usize),
    },
    /// A cone is cut between two of its vertices.
    Cut {
        /// Whether it is the cone of differences that is cut.
        differences: bool,
        /// (neuron, j, k): vertex j in the first child and vertex k in the second is v_j + weight·v_k instead.
        edge: (usize, usize, usize),
        /// > 0.
        weight: Rat,
    },
    /// The codes of j are replaced by their differences to those of i at one scale.
    Difference {
        /// (i, j), i < j.
        neurons: (usize, usize),
        /// The form that is 1 on both codes: one number for each feature of the group.
        form: Vec<Rat>,
    },
    /// All coefficients of the bound are ≥ 0.
    Bounded {
        /// Whether differences take the place of the codes that they replace.
        differences: bool,
    },
}

impl Record for ConesStep {
    fn take(fields: &mut Fields) -> Result<Self, Refusal> {
        let of = |text: &str| match text {
            "codes" => Ok(false),
            "differences" => Ok(true),
            _ => Err(Refusal::format("expected `codes` or `differences`")),
        };
        if fields.has("minus") {
            Ok(Self::Minus { neurons: fields.take("minus")? })
        } else if fields.has("cut") {
            let (edge, weight) = (fields.take("cut")?, fields.take("weight")?);
            Ok(Self::Cut { differences: of(&fields.take::<String>("of")?)?, edge, weight })
        } else if fields.has("difference") {
            Ok(Self::Difference { neurons: fields.take("difference")?, form: fields.take("form")? })
        } else {
            Ok(Self::Bounded { differences: of(&fields.take::<String>("bounded")?)? })
        }
    }

    fn put(&self) -> Vec<(&'static str, Json)> {
        let of = |differences: bool| Json::Text(if differences { "differences" } else { "codes" }.to_owned());
        match self {
            Self::Minus { neurons } => vec![("minus", neurons.write())],
            Self::Cut { differences, edge, weight } => {
                vec![("cut", edge.write()), ("of", of(*differences)), ("weight", weight.write())]
            }
            Self::Difference { neurons, form } => vec![("difference", neurons.write()), ("form", form.write())],
            Self::Bounded { differences } => vec![("bounded", of(*differences))],
        }
    }
}

form_of_record!(ConesStep);
