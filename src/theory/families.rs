//! Families of problems with known ground truth, from a seed.
//!
//! | family | features p_d | exact structure |
//! |---|---|---|
//! | `orthonormal` | n ≤ n_p columns of an orthogonal matrix | PᵀP = I |
//! | `equicorrelated` | n ≤ n_p columns with one common product ρ | PᵀP = (1−ρ)I + ρ11ᵀ |
//! | `mixed-interference` | the same, every other one turned round | ⟨p_d, p_e⟩ = ±ρ, both signs |
//! | `random-unit` | uniform on the sphere up to 2^-8 | ‖p_d‖ = 1 |
//! | `bounded-interference` | eqs. 26–28: ⟨p_i, p_j⟩ ≤ M | ‖p_d‖ = 1 and the bound |
//! | `antipodal` | random unit pairs p, −p | p_{2k+1} = −p_{2k} |
//! | `parallel-targets` | random unit | r_d = s_d r_g within a group, s_d > 0 |
//! | `dependent` | n > n_p: orthonormal columns and unit combinations of two of them | every circuit is a Pythagorean triangle |
//! | `spread-masses` | random unit, masses over several decades | M_d from 1 to 10^decades |
//! | `hierarchy` | parents, each followed by its sub-concepts, which lean towards it | ⟨parent, sub-concept⟩ > 0 |
//!
//! All numbers are exact rationals, and every p_d has norm 1 exactly (Asm. 2.4), because orthogonal matrices are products of reflections
//! with integer normals and points of the sphere are stereographic images of dyadic points. Masses are multiples of 1/8 between ½ and 2
//! unless the family says otherwise: equal masses would hide the failures of Thm 3.7.

use super::problem::{Activation, Feature, Problem, ProblemError};
use crate::bench::features::{
    FeatureError, InterferenceBound, bounded_interference, hierarchy_groups, random_unit, stream,
};
use crate::exact::Rational;
use faer::Mat;
use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha20Rng;
use std::collections::BTreeSet;

mod exact_geometry;
#[cfg(test)]
mod tests;

use exact_geometry::{Vector, combination, equicorrelated, lean, orthonormal, unit_near};

/// A family; the module's table defines the members.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Family {
    /// Orthonormal features.
    Orthonormal,
    /// A common product near `rho`, −1/(n−1) < ρ < 1; the nearest one with rational coordinates on a fine grid is taken.
    Equicorrelated {
        /// ρ.
        rho: f64,
    },
    /// Products ρ and −ρ: equicorrelated features of which every other one is turned round, so that interference is positive within each half and
    /// negative between the halves.
    MixedInterference {
        /// ρ, as for equicorrelated features.
        rho: f64,
    },
    /// Random unit features.
    RandomUnit,
    /// Bounded one-sided interference.
    BoundedInterference {
        /// M.
        maximum: f64,
    },
    /// Antipodal pairs.
    Antipodal,
    /// Targets that are parallel in groups.
    ParallelTargets {
        /// Features in a group, ≥ 2.
        group: usize,
    },
    /// Dependent features, n > n_p ≥ 2.
    Dependent,
    /// Masses spread over decades.
    SpreadMasses {
        /// Decades between the smallest and the largest mass, at most 300.
        decades: u32,
    },
    /// A hierarchy of depth one. Only the geometry is meant: parents and sub-concepts that fire together (Def. 3.9) contradict the
    /// independence of Asm. 2.4.
    Hierarchy {
        /// Sub-concepts of each parent, ≥ 1.
        children: usize,
    },
}

/// The sizes and the threshold of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameters {
    /// n, the number of features.
    pub n: usize,
    /// n_p, the dimension of the input representation.
    pub n_p: usize,
    /// n_r for a transcoder, whose targets r_d are independent random unit vectors; `None` for a sparse autoencoder, r_d = p_d. The
    /// family `parallel-targets` always has targets of its own, by default in dimension n_p.
    pub n_r: Option<usize>,
    /// The threshold c ≥ 0.
    pub c: Rational,
}

/// Why an instance cannot be made.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FamilyError {
    /// The sizes do not suit the family.
    #[error("family {family}: expected {expected}, found n = {n}, n_p = {n_p}")]
    Size {
        /// The family's name.
        family: &'static str,
        /// What it needs.
        expected: &'static str,
        /// n asked for.
        n: usize,
        /// n_p asked for.
        n_p: usize,
    },
    /// A parameter of the family is out of its range.
    #[error("family {family}: expected {expected}, found {found}")]
    Parameter {
        /// The family's name.
        family: &'static str,
        /// The range in words.
        expected: &'static str,
        /// The value.
        found: f64,
    },
    /// The feature matrix was not found.
    #[error(transparent)]
    Features(#[from] FeatureError),
    /// The features make no problem.
    #[error(transparent)]
    Problem(#[from] ProblemError),
}

impl Family {
    /// Every family, with the parameters that a survey starts with.
    pub const ALL: [Family; 10] = [
        Family::Orthonormal,
        Family::Equicorrelated { rho: 0.25 },
        Family::RandomUnit,
        Family::BoundedInterference { maximum: 0.5 },
        Family::Antipodal,
        Family::ParallelTargets { group: 2 },
        Family::Dependent,
        Family::SpreadMasses { decades: 4 },
        Family::Hierarchy { children: 2 },
        Family::MixedInterference { rho: 0.25 },
    ];

    /// The name in the table.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Orthonormal => "orthonormal",
            Self::Equicorrelated { .. } => "equicorrelated",
            Self::MixedInterference { .. } => "mixed-interference",
            Self::RandomUnit => "random-unit",
            Self::BoundedInterference { .. } => "bounded-interference",
            Self::Antipodal => "antipodal",
            Self::ParallelTargets { .. } => "parallel-targets",
            Self::Dependent => "dependent",
            Self::SpreadMasses { .. } => "spread-masses",
            Self::Hierarchy { .. } => "hierarchy",
        }
    }

    /// The family of [`Self::ALL`] with this name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|family| family.name() == name)
    }

    /// The instance of this seed. One seed and one set of parameters give one problem.
    pub fn generate(&self, parameters: &Parameters, seed: u64) -> Result<Problem, FamilyError> {
        let Parameters { n, n_p, n_r, c } = parameters;
        let (n, n_p) = (*n, *n_p);
        let rng = &mut stream(seed, self.name());
        if *n_r == Some(0) {
            return Err(FamilyError::Parameter { family: self.name(), expected: "n_r >= 1", found: 0.0 });
        }
        self.ensure_sizes(n, n_p)?;
        let inputs = self.inputs(n, n_p, rng)?;
        let targets = match (self, n_r) {
            (Self::ParallelTargets { group }, _) => parallel(n, n_r.unwrap_or(n_p), *group, rng),
            (_, Some(n_r)) => random_units(n, *n_r, rng),
            (_, None) => inputs.clone(),
        };
        let masses = match self {
            Self::SpreadMasses { decades } => spread(n, *decades, rng),
            _ => (0..n).map(|_| Rational::from(rng.random_range(4..=16)) / Rational::from(8)).collect(),
        };
        let features = inputs.into_iter().zip(targets).zip(masses);
        let features = features.map(|((w_p, w_r), mass)| Feature { w_p, w_r, mass }).collect();
        Ok(Problem::new(features, Activation::Threshold(c.clone()))?)
    }

    /// Whether there are instances of these sizes, without making one.
    ///
    /// # Errors
    /// [`FamilyError::Size`].
    pub fn ensure_sizes(&self, n: usize, n_p: usize) -> Result<(), FamilyError> {
        let expected = match self {
            _ if n == 0 || n_p == 0 => "n, n_p >= 1",
            Self::Orthonormal | Self::Equicorrelated { .. } | Self::MixedInterference { .. } if n > n_p => "n <= n_p",
            Self::Dependent if n <= n_p || n_p < 2 => "n > n_p >= 2",
            Self::Hierarchy { .. } if n_p < 2 => "n_p >= 2",
            _ => return Ok(()),
        };
        Err(FamilyError::Size { family: self.name(), expected, n, n_p })
    }

    /// Features of sizes that are possible.
    fn inputs(&self, n: usize, n_p: usize, rng: &mut ChaCha20Rng) -> Result<Vec<Vector>, FamilyError> {
        match self {
            Self::Orthonormal => Ok(orthonormal(n_p, rng).into_iter().take(n).collect()),
            Self::Equicorrelated { rho } | Self::MixedInterference { rho } => {
                let expected = "-1/(n-1) < rho < 1";
                let wrong = FamilyError::Parameter { family: self.name(), expected, found: *rho };
                let mut columns = equicorrelated(n, n_p, *rho, rng).ok_or(wrong)?;
                if matches!(self, Self::MixedInterference { .. }) {
                    columns.iter_mut().skip(1).step_by(2).flatten().for_each(|x| *x = -x.clone());
                }
                Ok(columns)
            }
            Self::SpreadMasses { decades } if *decades > 300 => {
                let (expected, found) = ("at most 300 decades, the range of f64", f64::from(*decades));
                Err(FamilyError::Parameter { family: self.name(), expected, found })
            }
            Self::RandomUnit | Self::SpreadMasses { .. } => Ok(random_units(n, n_p, rng)),
            Self::ParallelTargets { group } if *group < 2 => {
                Err(FamilyError::Parameter { family: self.name(), expected: "group >= 2", found: *group as f64 })
            }
            Self::ParallelTargets { .. } => Ok(random_units(n, n_p, rng)),
            Self::BoundedInterference { maximum } => self.bounded(n, n_p, *maximum, rng),
            Self::Antipodal => {
                let pairs = random_units(n.div_ceil(2), n_p, rng);
                let both = pairs.into_iter().flat_map(|p| [p.clone(), p.iter().map(|x| -x).collect()]);
                Ok(both.take(n).collect())
            }
            Self::Dependent => {
                let base = orthonormal(n_p, rng);
                let mut columns = base.clone();
                let mut seen: BTreeSet<Vector> = base.iter().cloned().collect();
                while columns.len() < n {
                    let i = rng.random_range(0..n_p);
                    let j = (i + rng.random_range(1..n_p)) % n_p;
                    let column = combination(&base[i], &base[j], rng);
                    if seen.insert(column.clone()) {
                        columns.push(column);
                    }
                }
                Ok(columns)
            }
            Self::Hierarchy { children: 0 } => {
                Err(FamilyError::Parameter { family: self.name(), expected: "children >= 1", found: 0.0 })
            }
            Self::Hierarchy { children } => Ok(hierarchy(n, n_p, *children, rng)),
        }
    }

    /// The f64 matrix of the bench, moved to nearby exact unit vectors. The descent may stop right at its bound, so that it is given one
    /// that leaves room for the move: 2·√n_p·2^-30 at most.
    fn bounded(&self, n: usize, n_p: usize, maximum: f64, rng: &mut ChaCha20Rng) -> Result<Vec<Vector>, FamilyError> {
        const BITS: u32 = 30;
        let room = 4.0 * (n_p as f64).sqrt() / f64::from(1u32 << BITS);
        let P = bounded_interference(n_p, n, &InterferenceBound::new(maximum - room), rng)?;
        Ok(exact_columns(&P, BITS))
    }
}

fn hierarchy(n: usize, n_p: usize, children: usize, rng: &mut ChaCha20Rng) -> Vec<Vector> {
    let mut columns: Vec<Vector> = Vec::with_capacity(n);
    for group in hierarchy_groups(n, children) {
        let parent = random_units(1, n_p, rng).swap_remove(0);
        let children: Vec<Vector> = (1..group.len()).map(|_| lean(&parent, rng)).collect();
        columns.push(parent);
        columns.extend(children);
    }
    columns
}

/// n unit vectors in R^k, uniform on the sphere up to 2^-8.
fn random_units(n: usize, k: usize, rng: &mut ChaCha20Rng) -> Vec<Vector> {
    const BITS: u32 = 8;
    exact_columns(&random_unit(k, n, rng), BITS)
}

fn exact_columns(P: &Mat<f64>, bits: u32) -> Vec<Vector> {
    (0..P.ncols()).map(|d| unit_near(P.col_as_slice(d), bits)).collect()
}

/// Targets in R^{n_r}: in each group multiples of one unit vector by ½, 1, .., 3.
fn parallel(n: usize, n_r: usize, group: usize, rng: &mut ChaCha20Rng) -> Vec<Vector> {
    let directions = random_units(n.div_ceil(group), n_r, rng);
    let scaled = |d: usize| {
        let scale = Rational::from(rng.random_range(1..=6)) / Rational::from(2);
        directions[d / group].iter().map(|x| x * &scale).collect()
    };
    (0..n).map(scaled).collect()
}

/// Masses from 1 to 10^decades in equal steps of the logarithm, with three digits, in random order.
fn spread(n: usize, decades: u32, rng: &mut ChaCha20Rng) -> Vec<Rational> {
    let mut masses: Vec<Rational> = (0..n)
        .map(|k| {
            let exponent = if n > 1 { f64::from(decades) * k as f64 / (n as f64 - 1.0) } else { 0.0 };
            let digits = (10f64.powf(exponent.fract()) * 100.0).round() as u64;
            Rational::from(digits) / Rational::from(100) * Rational::from(10).pow(exponent.floor() as isize)
        })
        .collect();
    masses.shuffle(rng);
    masses
}
