//! Points and the certificates about them that use one field for each part (FORMAT.md §4).

use super::{Field, Number, Rat, Record, form_of_record, record};
use crate::Refusal;
use crate::json::{Fields, Form, Json};

/// F_i for each neuron i: the features that fire it.
pub type Pattern = Vec<Vec<usize>>;

/// Rational encoder rows and decoder columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    /// Column v_i of neuron i, n_r numbers each.
    pub w_d: Vec<Vec<Rat>>,
    /// Row w_i of neuron i, n_p numbers each.
    pub w_e: Vec<Vec<Rat>>,
}
record!(Point { w_d, w_e });

/// `partial-optimum`: the point with these parts is a partial optimum of the pattern's cell.
#[derive(Debug, Clone, PartialEq)]
pub struct PartialOptimum {
    /// The cell.
    pub pattern: Pattern,
    /// Every neuron stands in exactly one.
    pub parts: Vec<Part>,
    /// The loss of each part, in order.
    pub loss: Vec<Number>,
}
record!(PartialOptimum { pattern, parts, loss });

/// Neurons that share no feature with the other parts.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// One neuron, its decoder column eliminated.
    Row(RowPart),
    /// Any neurons with explicit decoder columns.
    Joint(JointPart),
}

impl Record for Part {
    fn take(fields: &mut Fields) -> Result<Self, Refusal> {
        match fields.take::<String>("form")?.as_str() {
            "row" => Record::take(fields).map(Self::Row),
            "joint" => Record::take(fields).map(Self::Joint),
            _ => Err(Refusal::format("form: expected `row` or `joint`")),
        }
    }

    fn put(&self) -> Vec<(&'static str, Json)> {
        let (form, mut fields) = match self {
            Self::Row(part) => ("row", part.put()),
            Self::Joint(part) => ("joint", part.put()),
        };
        fields.push(("form", Json::Text(form.to_owned())));
        fields
    }
}

/// A row w with H w = Σ λ_e p_e, where H = A − μ B.
#[derive(Debug, Clone, PartialEq)]
pub struct RowPart {
    /// i, with F_i not empty.
    pub neuron: usize,
    /// The field of the numbers below.
    pub field: Option<Field>,
    /// μ: the loss of the part is Σ M_d ‖r_d‖² − μ.
    pub mu: Number,
    /// The row, n_p numbers.
    pub w: Vec<Number>,
    /// (e, λ_e > 0) for faces e that carry a multiplier.
    pub multipliers: Vec<(usize, Number)>,
}
record!(RowPart { neuron, mu, w, multipliers; field });

/// Rows and columns that satisfy both first-order conditions.
#[derive(Debug, Clone, PartialEq)]
pub struct JointPart {
    /// At least one.
    pub neurons: Vec<usize>,
    /// The field of the numbers below.
    pub field: Option<Field>,
    /// Row w_i for each of `neurons`, n_p numbers each.
    pub w_e: Vec<Vec<Number>>,
    /// Column v_i for each of `neurons`, n_r numbers each.
    pub w_d: Vec<Vec<Number>>,
    /// (i, e, λ_ie > 0) for faces that carry a multiplier.
    pub multipliers: Vec<(usize, usize, Number)>,
}
record!(JointPart { neurons, w_e, w_d, multipliers; field });

/// `strict-saddle`: a partial optimum from which a direction into the cell curves down.
#[derive(Debug, Clone, PartialEq)]
pub struct StrictSaddle {
    /// The point.
    pub optimum: PartialOptimum,
    /// The direction.
    pub saddle: Saddle,
}
record!(StrictSaddle { saddle + optimum });

/// A direction of negative curvature in one part.
#[derive(Debug, Clone, PartialEq)]
pub struct Saddle {
    /// Index into `parts`.
    pub part: usize,
    /// Shaped as that part, numbers of its field.
    pub direction: Direction,
}

/// How a saddle leaves its point.
#[derive(Debug, Clone, PartialEq)]
pub enum Direction {
    /// δ for a row part, n_p numbers; the column follows.
    Row(Vec<Number>),
    /// For a joint part.
    Joint {
        /// Δw_i for each neuron of the part.
        w_e: Vec<Vec<Number>>,
        /// Δv_i for each neuron of the part.
        w_d: Vec<Vec<Number>>,
    },
}

impl Record for Saddle {
    fn take(fields: &mut Fields) -> Result<Self, Refusal> {
        let part = fields.take("part")?;
        let direction = if fields.has("direction") {
            Direction::Row(fields.take("direction")?)
        } else {
            Direction::Joint { w_e: fields.take("w_e")?, w_d: fields.take("w_d")? }
        };
        Ok(Self { part, direction })
    }

    fn put(&self) -> Vec<(&'static str, Json)> {
        let mut fields = vec![("part", self.part.write())];
        match &self.direction {
            Direction::Row(direction) => fields.push(("direction", direction.write())),
            Direction::Joint { w_e, w_d } => fields.extend([("w_e", w_e.write()), ("w_d", w_d.write())]),
        }
        fields
    }
}

/// `local-min`: a partial optimum that is a local minimum in its cell.
#[derive(Debug, Clone, PartialEq)]
pub struct LocalMin {
    /// The point; a part with a feature is a row part.
    pub optimum: PartialOptimum,
    /// The second-order condition of each row part, in order.
    pub order: Vec<Order>,
}
record!(LocalMin { order + optimum });

/// M = −H + Σ_u (p_e u_eᵀ + u_e p_eᵀ) − Σ_n ν_ef (p_e p_fᵀ + p_f p_eᵀ) is positive semidefinite with the given kernel.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    /// (e, u_e) for faces with a multiplier.
    pub u: Vec<(usize, Vec<Number>)>,
    /// (e, f, ν_ef ≥ 0), e ≤ f, for active faces without one.
    pub n: Vec<(usize, usize, Number)>,
    /// Vectors that span the kernel of M.
    pub kernel: Vec<Vec<Number>>,
}
record!(Order { u, n, kernel });

form_of_record!(Part, Saddle);
