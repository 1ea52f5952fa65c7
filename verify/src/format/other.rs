//! The certificates of FORMAT.md §5, except `arithmetic`.

use super::{ConesBound, Field, Number, Pattern, Point, Rat, Record, form_of_record, record};
use crate::Refusal;
use crate::json::{Fields, Form, Json, object};

/// `pattern-witness`: the rows have exactly this pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatternWitness {
    /// The pattern.
    pub pattern: Pattern,
    /// The rows.
    pub w_e: Vec<Vec<Rat>>,
}
record!(PatternWitness { pattern, w_e });

/// `pattern-empty`: no encoder has this pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatternEmpty {
    /// The pattern.
    pub pattern: Pattern,
    /// Why.
    pub farkas: Farkas,
}
record!(PatternEmpty { pattern, farkas });

/// Coefficients with which inequalities add up to a contradiction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Farkas {
    /// For `threshold`: one row is impossible.
    Row(FarkasRow),
    /// For top-k: the feature fires an impossible number of neurons.
    Count(usize),
    /// For top-k: comparisons between rows contradict each other.
    Comparisons(FarkasComparisons),
}

/// Σ y_d p_d = Σ z_e p_e with c Σ y_d ≥ c Σ z_e.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FarkasRow {
    /// i.
    pub neuron: usize,
    /// (d, y_d > 0) with d ∈ F_i, not empty.
    pub on: Vec<(usize, Rat)>,
    /// (e, z_e > 0) with e ∉ F_i.
    pub off: Vec<(usize, Rat)>,
}
record!(FarkasRow { neuron, on, off });

/// Inequalities, one of them strict, whose positive combination vanishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FarkasComparisons {
    /// (d, i, j, coefficient): z_id > z_jd (i > j) or z_id ≥ z_jd (i < j).
    pub comparisons: Vec<(usize, usize, usize, Rat)>,
    /// (d, i, coefficient): z_id > 0.
    pub positives: Vec<(usize, usize, Rat)>,
    /// (d, j, coefficient): z_jd ≤ 0.
    pub nonpositives: Vec<(usize, usize, Rat)>,
}
record!(FarkasComparisons { comparisons, positives, nonpositives });

impl Form for Farkas {
    fn read(json: Json) -> Result<Self, Refusal> {
        let mut fields = Fields::of(json)?;
        let farkas = if fields.has("neuron") {
            Self::Row(Record::take(&mut fields)?)
        } else if fields.has("count") {
            Self::Count(fields.take("count")?)
        } else {
            Self::Comparisons(Record::take(&mut fields)?)
        };
        fields.finish()?;
        Ok(farkas)
    }

    fn write(&self) -> Json {
        match self {
            Self::Row(row) => row.write(),
            Self::Count(feature) => object([("count", feature.write())]),
            Self::Comparisons(comparisons) => comparisons.write(),
        }
    }
}

/// `no-partial-optimum`: neuron i admits no partial optimum in the cell.
#[derive(Debug, Clone, PartialEq)]
pub struct NoPartialOptimum {
    /// The cell.
    pub pattern: Pattern,
    /// i, whose features fire no other neuron.
    pub neuron: usize,
    /// Segments that lead μ from 0 to T.
    pub chain: Vec<Link>,
}
record!(NoPartialOptimum { pattern, neuron, chain });

/// One segment of μ, from where the link before ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Link {
    /// The field of the numbers, and of `to` if that is its root.
    pub field: Option<Field>,
    /// Where the segment ends.
    pub to: To,
    /// Why no μ of the segment is possible.
    pub tree: FaceNode,
}
record!(Link { to, tree; field });

/// The end of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum To {
    /// A rational.
    Rational(Rat),
    /// The root α of the link's field.
    Alpha,
}

impl Form for To {
    fn read(json: Json) -> Result<Self, Refusal> {
        if json == Json::Text("alpha".to_owned()) { Ok(Self::Alpha) } else { Rat::read(json).map(Self::Rational) }
    }

    fn write(&self) -> Json {
        match self {
            Self::Rational(rational) => rational.write(),
            Self::Alpha => Json::Text("alpha".to_owned()),
        }
    }
}

/// A tree over complementary slackness.
#[derive(Debug, Clone, PartialEq)]
pub enum FaceNode {
    /// Feature e is active (a_e = 0) or has no multiplier.
    Branch {
        /// e.
        feature: usize,
        /// The case a_e = 0.
        tight: Box<FaceNode>,
        /// The case λ_e = 0.
        free: Box<FaceNode>,
    },
    /// A contradiction.
    Leaf {
        /// The vector that H is multiplied with.
        x: Vec<Number>,
        /// At the start of the segment.
        start: Side,
        /// At the end of the segment.
        end: Side,
    },
}

impl Record for FaceNode {
    fn take(fields: &mut Fields) -> Result<Self, Refusal> {
        if fields.has("branch") {
            Ok(Self::Branch {
                feature: fields.take("branch")?,
                tight: fields.take("tight")?,
                free: fields.take("free")?,
            })
        } else {
            Ok(Self::Leaf { x: fields.take("x")?, start: fields.take("start")?, end: fields.take("end")? })
        }
    }

    fn put(&self) -> Vec<(&'static str, Json)> {
        match self {
            Self::Branch { feature, tight, free } => {
                vec![("branch", feature.write()), ("tight", tight.write()), ("free", free.write())]
            }
            Self::Leaf { x, start, end } => vec![("x", x.write()), ("start", start.write()), ("end", end.write())],
        }
    }
}

/// (A − mB) x + Σ s_e p_e = Σ y_d p_d − Σ z_e p_e.
#[derive(Debug, Clone, PartialEq)]
pub struct Side {
    /// (d, y_d > 0), not empty.
    pub y: Vec<(usize, Number)>,
    /// (e, z_e > 0), e free or open.
    pub z: Vec<(usize, Number)>,
    /// (e, s_e ≠ 0), e tight.
    pub s: Vec<(usize, Number)>,
}
record!(Side { y, z, s });

/// `epsilon-partial-optimum`: both block residuals are at most ε, by weak duality.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpsilonPartialOptimum {
    /// The cell.
    pub pattern: Pattern,
    /// The point.
    pub point: Point,
    /// ε ≥ 0.
    pub epsilon: Rat,
    /// Dual columns of the decoder block, n of n_r numbers.
    pub dual_v: Vec<Vec<Rat>>,
    /// Dual columns of the encoder block, n of n_r numbers.
    pub dual_w: Vec<Vec<Rat>>,
    /// (i, d, γ_id > 0): multipliers of the cell's faces.
    pub slack: Vec<(usize, usize, Rat)>,
}
record!(EpsilonPartialOptimum { pattern, point, epsilon, dual_v, dual_w, slack });

/// `zero-loss`: the point reconstructs every feature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZeroLoss {
    /// The point.
    pub point: Point,
}
record!(ZeroLoss { point });

/// `loss-value`: L̃ at the point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LossValue {
    /// The point.
    pub point: Point,
    /// L̃ there.
    pub loss: Rat,
}
record!(LossValue { point, loss });

/// `lower-bound`: L̃ ≥ bound everywhere, or in a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LowerBound {
    /// n_q.
    pub latents: usize,
    /// The cell, if the bound is for one.
    pub pattern: Option<Pattern>,
    /// The bound.
    pub bound: Rat,
    /// The proof.
    pub tree: BoundNode,
}
record!(LowerBound { latents, bound, tree; pattern });

/// A tree over which neuron fires on which feature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BoundNode {
    /// Neuron i fires on feature d or not.
    Branch {
        /// i.
        neuron: usize,
        /// d.
        feature: usize,
        /// It fires.
        on: Box<BoundNode>,
        /// It does not.
        off: Box<BoundNode>,
    },
    /// Neuron i, which does not fire on e, has ⟨w_i, p_e⟩ = 0 or < 0 (c = 0).
    Face {
        /// i.
        neuron: usize,
        /// e.
        feature: usize,
        /// ⟨w_i, p_e⟩ = 0.
        tight: Box<BoundNode>,
        /// ⟨w_i, p_e⟩ < 0.
        below: Box<BoundNode>,
    },
    /// No encoder fires so.
    Empty(FarkasRow),
    /// The contributions of disjoint groups of features add up to the bound.
    Groups(Vec<Group>),
}

impl Record for BoundNode {
    fn take(fields: &mut Fields) -> Result<Self, Refusal> {
        if fields.has("branch") {
            let (neuron, feature) = fields.take("branch")?;
            Ok(Self::Branch { neuron, feature, on: fields.take("on")?, off: fields.take("off")? })
        } else if fields.has("face") {
            let (neuron, feature) = fields.take("face")?;
            Ok(Self::Face { neuron, feature, tight: fields.take("tight")?, below: fields.take("below")? })
        } else if fields.has("empty") {
            fields.take("empty").map(Self::Empty)
        } else {
            fields.take("groups").map(Self::Groups)
        }
    }

    fn put(&self) -> Vec<(&'static str, Json)> {
        match self {
            Self::Branch { neuron, feature, on, off } => {
                vec![("branch", (*neuron, *feature).write()), ("on", on.write()), ("off", off.write())]
            }
            Self::Face { neuron, feature, tight, below } => {
                vec![("face", (*neuron, *feature).write()), ("tight", tight.write()), ("below", below.write())]
            }
            Self::Empty(farkas) => vec![("empty", farkas.write())],
            Self::Groups(groups) => vec![("groups", groups.write())],
        }
    }
}

/// Some features and a lower bound of what they lose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The features, not empty.
    pub features: Vec<usize>,
    /// Why they lose so much.
    pub bound: GroupBound,
}

/// Why a group of features loses so much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupBound {
    /// The rank is at most the number of neurons.
    Rank(RankBound),
    /// One neuron has non-negative codes.
    Conic(Conic),
    /// A vector that all codes annihilate.
    Kernel(Kernel),
    /// One code that is not negative.
    Code(CodeBound),
    /// The codes of neurons that share features, in cones that are cut.
    Cones(ConesBound),
}

/// tI + y − S and y are positive semidefinite, S = Σ M_d r_d r_dᵀ: the group contributes max(0, tr S − m t − tr y).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RankBound {
    /// t ≥ 0.
    pub t: Rat,
    /// A symmetric n_r × n_r matrix.
    pub y: Vec<Vec<Rat>>,
}
record!(RankBound { t, y });

/// tD − DGD − Σ ν_de (E_de + E_ed) is positive semidefinite: the group contributes max(0, tr S − t).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conic {
    /// t ≥ 0.
    pub t: Rat,
    /// (d, e, ν_de > 0), d < e.
    pub n: Vec<(usize, usize, Rat)>,
}
record!(Conic { t, n });

/// Every encoder has an x = Tξ ≠ 0 with Zx = 0, and ‖Rx‖² ≥ s Σ x_d²/M_d for each such x: the group contributes max(0, s).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// s.
    pub s: Rat,
    /// T, one row for each feature of the group.
    pub basis: Vec<Vec<Rat>>,
    /// The cases by signs of linear forms of ξ.
    pub tree: SignNode,
}
record!(Kernel { s, basis, tree });

/// A tree over the signs of linear forms of ξ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignNode {
    /// The form is positive or not.
    Sign {
        /// Its coefficients.
        form: Vec<Rat>,
        /// It is positive.
        positive: Box<SignNode>,
        /// It is not.
        other: Box<SignNode>,
    },
    /// Σ z_id x_d > 0, so that x is not annihilated.
    Above(Missed),
    /// Σ z_id x_d < 0.
    Below(Missed),
    /// (k, l, ν_kl > 0), k < l: Tᵀ(G − s D⁻¹)T − Σ ν_kl (h_k h_lᵀ + h_l h_kᵀ) is positive semidefinite.
    Bounded(Vec<(usize, usize, Rat)>),
}

/// Products of non-negative quantities that add up to ±Σ z_id x_d.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missed {
    /// i.
    pub neuron: usize,
    /// (d, k, coefficient > 0): of ⟨w_i, p_d⟩ h_k, d decided on.
    pub on: Vec<(usize, usize, Rat)>,
    /// (e, k, coefficient > 0): of −⟨w_i, p_e⟩ h_k, e decided off.
    pub off: Vec<(usize, usize, Rat)>,
    /// (d, k, coefficient > 0): of z_id h_k, d undecided.
    pub free: Vec<(usize, usize, Rat)>,
}
record!(Missed { neuron, on, off, free });

/// What is orthogonal to all codes is orthogonal to one z ≥ 0 with at most κ + 1 entries that are not 0, and pays s: the group contributes max(0, s).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodeBound {
    /// s.
    pub s: Rat,
    /// ω_d > 0, one for each feature of the group: the cones begin with the vertices ω_d e_d.
    pub weights: Vec<Rat>,
    /// One tree for each set of κ + 1 features, in lexicographic order of their places in the group.
    pub trees: Vec<CodeNode>,
}
record!(CodeBound { s, weights, trees });

/// A cone of codes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CodeNode {
    /// It is cut in the middle of two of its vertices.
    Halve {
        /// Their places.
        edge: (usize, usize),
        /// The cone with the middle instead of the first of them.
        first: Box<CodeNode>,
        /// The cone with the middle instead of the second of them.
        second: Box<CodeNode>,
    },
    /// Its codes pay s.
    Pays {
        /// μ, one number for each feature of the group.
        mu: Vec<Rat>,
        /// One proof for each vertex.
        ends: Vec<CodeEnd>,
    },
}

/// G + ζμᵀ + μζᵀ − tD⁻¹ + Σ yyᵀ is positive semidefinite, and κt − Σ yᵀDy ≥ s.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodeEnd {
    /// t.
    pub t: Rat,
    /// The vectors y, each with one number for each feature of the group.
    pub y: Vec<Vec<Rat>>,
}
record!(CodeEnd { t, y });

impl Record for CodeNode {
    fn take(fields: &mut Fields) -> Result<Self, Refusal> {
        if fields.has("halve") {
            let (edge, first) = (fields.take("halve")?, fields.take("first")?);
            Ok(Self::Halve { edge, first, second: fields.take("second")? })
        } else {
            Ok(Self::Pays { mu: fields.take("mu")?, ends: fields.take("ends")? })
        }
    }

    fn put(&self) -> Vec<(&'static str, Json)> {
        match self {
            Self::Halve { edge, first, second } => {
                vec![("halve", edge.write()), ("first", first.write()), ("second", second.write())]
            }
            Self::Pays { mu, ends } => vec![("mu", mu.write()), ("ends", ends.write())],
        }
    }
}

impl Record for Group {
    fn take(fields: &mut Fields) -> Result<Self, Refusal> {
        let features = fields.take("features")?;
        let bound = if fields.has("conic") {
            GroupBound::Conic(fields.take("conic")?)
        } else if fields.has("kernel") {
            GroupBound::Kernel(fields.take("kernel")?)
        } else if fields.has("code") {
            GroupBound::Code(fields.take("code")?)
        } else if fields.has("cones") {
            GroupBound::Cones(fields.take("cones")?)
        } else {
            GroupBound::Rank(Record::take(fields)?)
        };
        Ok(Self { features, bound })
    }

    fn put(&self) -> Vec<(&'static str, Json)> {
        let mut fields = vec![("features", self.features.write())];
        match &self.bound {
            GroupBound::Rank(rank) => fields.extend(rank.put()),
            GroupBound::Conic(conic) => fields.push(("conic", conic.write())),
            GroupBound::Kernel(kernel) => fields.push(("kernel", kernel.write())),
            GroupBound::Code(code) => fields.push(("code", code.write())),
            GroupBound::Cones(cones) => fields.push(("cones", cones.write())),
        }
        fields
    }
}

impl Record for SignNode {
    fn take(fields: &mut Fields) -> Result<Self, Refusal> {
        if fields.has("sign") {
            let (form, positive) = (fields.take("sign")?, fields.take("positive")?);
            Ok(Self::Sign { form, positive, other: fields.take("other")? })
        } else if fields.has("above") {
            fields.take("above").map(Self::Above)
        } else if fields.has("below") {
            fields.take("below").map(Self::Below)
        } else {
            fields.take("n").map(Self::Bounded)
        }
    }

    fn put(&self) -> Vec<(&'static str, Json)> {
        match self {
            Self::Sign { form, positive, other } => {
                vec![("sign", form.write()), ("positive", positive.write()), ("other", other.write())]
            }
            Self::Above(missed) => vec![("above", missed.write())],
            Self::Below(missed) => vec![("below", missed.write())],
            Self::Bounded(n) => vec![("n", n.write())],
        }
    }
}

/// `not-convex`: L̃ lies above a chord.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotConvex {
    /// A cell that holds the three points.
    pub cell: Option<ThresholdCell>,
    /// One end.
    pub from: Point,
    /// The other end.
    pub to: Point,
    /// 0 < t < 1.
    pub t: Rat,
}
record!(NotConvex { from, to, t; cell });

/// {W : ⟨w_i, p_d⟩ > threshold ⇔ d ∈ F_i}.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThresholdCell {
    /// The F_i.
    pub pattern: Pattern,
    /// The threshold.
    pub threshold: Rat,
}
record!(ThresholdCell { pattern, threshold });

/// `not-partial-optimum`: a change of one block lowers L̃.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotPartialOptimum {
    /// The point.
    pub point: Point,
    /// A better one in the same cell with one block unchanged.
    pub better: Point,
}
record!(NotPartialOptimum { point, better });

/// `not-separable`: a mixed second difference of L̃ over two rows is not zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotSeparable {
    /// The point.
    pub point: Point,
    /// i ≠ j.
    pub neurons: (usize, usize),
    /// The rows that replace those of i and j.
    pub rows: (Vec<Rat>, Vec<Rat>),
    /// L̃(W₁₁) − L̃(W₁₀) − L̃(W₀₁) + L̃(W₀₀).
    pub difference: Rat,
}
record!(NotSeparable { point, neurons, rows, difference });

/// `exact-loss`: eq. 3 and eq. 11 under a finite distribution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExactLoss {
    /// The point.
    pub point: Point,
    /// The distribution of x.
    pub distribution: Vec<Atom>,
    /// The loss L, eq. 3.
    pub loss: Rat,
    /// The approximate loss L̃, eq. 11, with the distribution's own masses.
    pub approximate: Rat,
}
record!(ExactLoss { point, distribution, loss, approximate });

/// One value of x.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Atom {
    /// x ≥ 0, n numbers.
    pub x: Vec<Rat>,
    /// Its probability > 0.
    pub probability: Rat,
}
record!(Atom { x, probability });

/// `jacobian-rank`: the rank of the residuals' Jacobian in the point's cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JacobianRank {
    /// The point.
    pub point: Point,
    /// The rank.
    pub rank: usize,
}
record!(JacobianRank { point, rank });

/// `absorption`: whether a neuron of a realizable pattern can be split (Thm 3.10).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Absorption {
    /// The pattern.
    pub pattern: Pattern,
    /// Rows that realize it.
    pub w_e: Vec<Vec<Rat>>,
    /// i, with |F_i| ≥ 2.
    pub neuron: usize,
    /// A realizable split, or why there is none.
    pub split: Split,
}
record!(Absorption { pattern, w_e, neuron, split });

/// The split of d replaces F_i by F_i∖{d} and appends the neuron {d}.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Split {
    /// A split is realizable.
    Realizable {
        /// d.
        feature: usize,
        /// Rows that realize the split pattern.
        w_e: Vec<Vec<Rat>>,
    },
    /// The split of every d ∈ F_i is empty.
    None(Vec<EmptySplit>),
}

impl Form for Split {
    fn read(json: Json) -> Result<Self, Refusal> {
        let mut fields = Fields::of(json)?;
        let split = if fields.has("none") {
            Self::None(fields.take("none")?)
        } else {
            let mut inner = Fields::of(fields.take("realizable")?)?;
            let split = Self::Realizable { feature: inner.take("feature")?, w_e: inner.take("w_e")? };
            inner.finish()?;
            split
        };
        fields.finish()?;
        Ok(split)
    }

    fn write(&self) -> Json {
        match self {
            Self::Realizable { feature, w_e } => {
                object([("realizable", object([("feature", feature.write()), ("w_e", w_e.write())]))])
            }
            Self::None(splits) => object([("none", splits.write())]),
        }
    }
}

/// A split pattern that no encoder has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmptySplit {
    /// d.
    pub feature: usize,
    /// Why; neurons are counted in the split pattern.
    pub farkas: Farkas,
}
record!(EmptySplit { feature, farkas });

form_of_record!(FaceNode, BoundNode, Group, SignNode, CodeNode);
