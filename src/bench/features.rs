//! Generators of feature matrices (App. C.1, eqs. 26–28).

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatRef, Par};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use rand_distr::{Distribution, StandardNormal};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

/// The random stream for one purpose: ChaCha seeded by the seed and the purpose's name.
pub fn stream(seed: u64, purpose: &str) -> ChaCha20Rng {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    hash.update(purpose.as_bytes());
    ChaCha20Rng::from_seed(hash.finalize().into())
}

/// n unit columns in R^{n_p}: normalised Gaussian columns (eq. 26).
pub fn random_unit(n_p: usize, n: usize, rng: &mut ChaCha20Rng) -> Mat<f64> {
    let mut P = Mat::from_fn(n_p, n, |_, _| <StandardNormal as Distribution<f64>>::sample(&StandardNormal, rng));
    normalise_columns(&mut P);
    P
}

/// Divides every column by its norm.
pub fn normalise_columns(P: &mut Mat<f64>) {
    for d in 0..P.ncols() {
        let norm = P.col(d).norm_l2();
        for k in 0..P.nrows() {
            P[(k, d)] /= norm;
        }
    }
}

/// The features of each group of a hierarchy of n features: the parent first, then its sub-concepts.
pub fn hierarchy_groups(n: usize, children: usize) -> Vec<Vec<usize>> {
    (0..n).step_by(children + 1).map(|parent| (parent..n.min(parent + children + 1)).collect()).collect()
}

/// What is asked of [`bounded_interference`]. The paper publishes M alone; the other values are ours.
///
/// | parameter | default |
/// |---|---|
/// | `margin` | (1 − M)/100 |
/// | `regularisation` | 1e-4 |
/// | `step` | 1/8, which separates a single pair in one step |
/// | `budget` | 20 000 |
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InterferenceBound {
    /// M, the bound on ⟨p_i, p_j⟩ for i ≠ j: one-sided, so that negative products may be large.
    pub maximum: f64,
    /// ε > 0: pairs are pushed down to M − ε.
    pub margin: f64,
    /// λ ≥ 0, which pushes every positive product towards 0.
    pub regularisation: f64,
    /// η at the start. A step that raises the loss is taken back and halved, the next one after a success is a tenth longer.
    pub step: f64,
    /// Most steps before giving up.
    pub budget: usize,
}

impl InterferenceBound {
    /// The bound M with the defaults of the table.
    pub fn new(maximum: f64) -> Self {
        Self { maximum, margin: (1.0 - maximum) / 100.0, regularisation: 1e-4, step: 0.125, budget: 20_000 }
    }
}

/// Why no feature matrix was found.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FeatureError {
    /// A parameter is out of its range.
    #[error("{name}: expected {expected}, found {found}")]
    Parameter {
        /// Its name.
        name: &'static str,
        /// The range in words.
        expected: &'static str,
        /// The value.
        found: f64,
    },
    /// No n unit vectors in R^{n_p} have products this small.
    #[error(
        "interference: {maximum} is below {}, the least maximum product that {n} unit vectors in {n_p} dimensions can have",
        apart(*limit, &[*maximum])
    )]
    BelowLimit {
        /// The bound asked for.
        maximum: f64,
        /// [`interference_limit`].
        limit: f64,
        /// Dimension.
        n_p: usize,
        /// Number of vectors.
        n: usize,
    },
    /// The budget ended first.
    #[error(
        "interference: still {} instead of {maximum} after {budget} steps; ask for more room (a larger interference or n_p), or for a larger budget (descent.budget)",
        apart(*reached, &[*maximum])
    )]
    Budget {
        /// The bound asked for.
        maximum: f64,
        /// The maximum product reached.
        reached: f64,
        /// Steps taken.
        budget: usize,
    },
    /// The descent moves no column any more, as where more columns than have room have fallen together.
    #[error(
        "interference: still {} instead of {maximum} after {steps} steps, where the descent came to rest; ask for more room (a larger interference or n_p), or for another seed",
        apart(*reached, &[*maximum])
    )]
    AtRest {
        /// The bound asked for.
        maximum: f64,
        /// The maximum product reached.
        reached: f64,
        /// Steps taken.
        steps: usize,
    },
}

/// A product with four digits, or with as many more as tell it from these others.
pub(super) fn apart(product: f64, others: &[f64]) -> String {
    let tells = |digits: usize| {
        let text = |x: f64| format!("{x:.digits$}");
        others.iter().all(|other| *other == product || text(*other) != text(product)).then(|| text(product))
    };
    (4..17).find_map(tells).unwrap_or_else(|| product.to_string())
}

/// A lower bound on max_{i≠j} ⟨p_i, p_j⟩ over n unit vectors in R^{n_p}, the one-sided counterpart of the Welch bound:
/// −1/(n−1) for n ≤ n_p + 1 (the simplex), 0 up to n = 2n_p (the orthoplex; both Rankin 1955), and beyond the s at which
/// Levenshtein's third bound n ≤ n_p (1−s)(2 + (n_p+1)s)/(1 − n_p s²) is met, up to the end s = (√(n_p+3) − 1)/(n_p+2) of the range in
/// which that bound is valid (Levenshtein 1979). On a line and in a plane it is the least maximum itself: 1 for n ≥ 3, as two of the vectors are
/// equal, and cos(2π/n), that of the regular polygon.
pub fn interference_limit(n_p: usize, n: usize) -> f64 {
    if n < 2 {
        return -1.0;
    }
    if n <= n_p + 1 {
        return -1.0 / (n as f64 - 1.0);
    }
    if n_p == 1 {
        return 1.0;
    }
    if n <= 2 * n_p {
        return 0.0;
    }
    if n_p == 2 {
        return (std::f64::consts::TAU / n as f64).cos();
    }
    let (n_p, n) = (n_p as f64, n as f64);
    // a s² + b s = n − 2n_p.
    let (a, b) = (n_p * (n - n_p - 1.0), n_p * (n_p - 1.0));
    let met = ((b * b + 4.0 * a * (n - 2.0 * n_p)).sqrt() - b) / (2.0 * a);
    met.min(((n_p + 3.0).sqrt() - 1.0) / (n_p + 2.0))
}

/// The Welch bound √((n−n_p)/(n_p(n−1))) on max_{i≠j} |⟨p_i, p_j⟩| over n unit vectors in R^{n_p} (Welch 1974); 0 for n ≤ n_p, where they
/// can be orthogonal.
pub fn welch_bound(n_p: usize, n: usize) -> f64 {
    if n <= n_p {
        return 0.0;
    }
    let (n_p, n) = (n_p as f64, n as f64);
    ((n - n_p) / (n_p * (n - 1.0))).sqrt()
}

/// M = max_{i≠j} ⟨p_i, p_j⟩ (Asm. 2.4); −∞ for fewer than two columns.
pub fn maximum_interference(P: MatRef<'_, f64>) -> f64 {
    descent(P, f64::INFINITY, 0.0).maximum
}

/// [`bounded_interference_watched`] without a watcher.
///
/// # Errors
/// The same.
pub fn bounded_interference(
    n_p: usize,
    n: usize,
    bound: &InterferenceBound,
    rng: &mut ChaCha20Rng,
) -> Result<Mat<f64>, FeatureError> {
    bounded_interference_watched(n_p, n, bound, rng, &mut |_| {})
}

/// Where no entry moves farther in a step, its columns of norm 1 stay what they are but for roundings, 1e-16.
const REST: f64 = 1e-20;

/// n unit columns in R^{n_p} with ⟨p_i, p_j⟩ ≤ M for i ≠ j: projected gradient descent from random columns on
/// Σ_{i≠j} max(0, ⟨p_i,p_j⟩ − (M−ε))² + λ max(0, ⟨p_i,p_j⟩)² (eqs. 26–28). A step costs 4·n²·n_p operations, in panels of columns that are
/// spread over the threads; the result does not depend on their number. `watch` is told the largest product before each step.
///
/// # Errors
/// A parameter out of range, an M that is impossible, or one that is not reached within the budget or before the descent comes to rest.
pub fn bounded_interference_watched(
    n_p: usize,
    n: usize,
    bound: &InterferenceBound,
    rng: &mut ChaCha20Rng,
    watch: &mut dyn FnMut(f64),
) -> Result<Mat<f64>, FeatureError> {
    let InterferenceBound { maximum, margin, regularisation, step, budget } = *bound;
    for (name, expected, found, fits) in [
        ("n_p", "an integer >= 1", n_p as f64, n_p >= 1),
        ("interference", "a number in [-1, 1)", maximum, (-1.0..1.0).contains(&maximum)),
        ("margin", "a number > 0", margin, margin > 0.0 && margin.is_finite()),
        ("regularisation", "a number >= 0", regularisation, regularisation >= 0.0 && regularisation.is_finite()),
        ("step", "a number > 0", step, step > 0.0 && step.is_finite()),
    ] {
        if !fits {
            return Err(FeatureError::Parameter { name, expected, found });
        }
    }
    let limit = interference_limit(n_p, n);
    if maximum < limit {
        return Err(FeatureError::BelowLimit { maximum, limit, n_p, n });
    }
    let target = maximum - margin;
    let mut P = random_unit(n_p, n, rng);
    let mut here = descent(P.as_ref(), target, regularisation);
    let mut length = step;
    for step in 0..budget {
        if here.maximum <= maximum {
            return Ok(P);
        }
        watch(here.maximum);
        let mut next = &P - faer::Scale(length) * &here.gradient;
        // A step so long that a column vanishes or overflows has no direction.
        if !next.col_iter().all(|column| (f64::MIN_POSITIVE..=f64::MAX).contains(&column.norm_l2())) {
            length /= 2.0;
            continue;
        }
        normalise_columns(&mut next);
        let there = descent(next.as_ref(), target, regularisation);
        if there.loss <= here.loss {
            (P, here) = (next, there);
            length *= 1.1;
        } else {
            length /= 2.0;
            if length * here.gradient.norm_max() < REST {
                return Err(FeatureError::AtRest { maximum, reached: here.maximum, steps: step + 1 });
            }
        }
    }
    if here.maximum <= maximum {
        return Ok(P);
    }
    Err(FeatureError::Budget { maximum, reached: here.maximum, budget })
}

/// The interference loss of eq. 27 at P, its gradient, and the largest product.
struct Descent {
    loss: f64,
    maximum: f64,
    gradient: Mat<f64>,
}

/// Columns that are taken together: fixed, so that sums do not depend on the number of threads.
const PANEL: usize = 64;

fn descent(P: MatRef<'_, f64>, target: f64, regularisation: f64) -> Descent {
    let (n_p, n) = (P.nrows(), P.ncols());
    let panel = |from: usize| {
        let width = PANEL.min(n - from);
        let columns = P.subcols(from, width);
        let mut products = Mat::<f64>::zeros(n, width);
        matmul(&mut products, Accum::Replace, P.transpose(), columns, 1.0, Par::Seq);
        let (mut loss, mut maximum) = (0.0, f64::NEG_INFINITY);
        for k in 0..width {
            for (i, g) in products.col_as_slice_mut(k).iter_mut().enumerate() {
                if i == from + k {
                    *g = 0.0;
                    continue;
                }
                maximum = g.max(maximum);
                let (excess, positive) = ((*g - target).max(0.0), g.max(0.0));
                loss += excess * excess + regularisation * positive * positive;
                *g = excess + regularisation * positive;
            }
        }
        // Each unordered pair stands twice in the sum, and its square gives another factor of 2.
        let mut gradient = Mat::<f64>::zeros(n_p, width);
        matmul(&mut gradient, Accum::Replace, P, &products, 4.0, Par::Seq);
        (loss, maximum, gradient)
    };
    let starts: Vec<usize> = (0..n).step_by(PANEL).collect();
    let panels: Vec<_> = starts.into_par_iter().map(panel).collect();
    let mut all = Descent { loss: 0.0, maximum: f64::NEG_INFINITY, gradient: Mat::zeros(n_p, n) };
    for (k, (loss, maximum, gradient)) in panels.into_iter().enumerate() {
        all.loss += loss;
        all.maximum = all.maximum.max(maximum);
        all.gradient.as_mut().subcols_mut(k * PANEL, gradient.ncols()).copy_from(&gradient);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_keep_unit_norm_and_the_bound_in_crowded_and_in_empty_spaces() {
        // (n_p, n, M): the simplex regime, the orthoplex regime and a superposition, each somewhat above the limit.
        for (n_p, n, maximum) in [(6, 5, -0.2), (5, 9, 0.05), (8, 30, 0.35), (40, 130, 0.12), (3, 1, 0.0)] {
            let mut rng = stream(1, "features test");
            let P = bounded_interference(n_p, n, &InterferenceBound::new(maximum), &mut rng).unwrap();
            assert!(maximum_interference(P.as_ref()) <= maximum);
            for column in P.col_iter() {
                assert!((column.norm_l2() - 1.0).abs() < 1e-15 * 4.0);
            }
        }
    }

    #[test]
    fn a_bound_below_the_limit_is_refused_and_one_at_a_hard_place_ends_with_the_budget() {
        let ask =
            |n_p, n, bound: &InterferenceBound| bounded_interference(n_p, n, bound, &mut stream(2, "features test"));
        assert!(matches!(ask(4, 20, &InterferenceBound::new(0.1)), Err(FeatureError::BelowLimit { .. })));
        assert!(matches!(ask(4, 3, &InterferenceBound::new(-0.6)), Err(FeatureError::BelowLimit { .. })));
        let short = InterferenceBound { budget: 3, ..InterferenceBound::new(0.25) };
        let error = ask(8, 40, &short).unwrap_err();
        assert!(matches!(error, FeatureError::Budget { reached, .. } if reached > 0.25), "{error}");
        for broken in [f64::NAN, 1.0, -2.0] {
            assert!(matches!(ask(4, 3, &InterferenceBound::new(broken)), Err(FeatureError::Parameter { .. })));
        }
    }

    #[test]
    fn what_cannot_be_separated_ends_with_the_budget_however_long_the_steps_become() {
        // On a line two equal columns stay equal, every step is taken, and each is a tenth longer than the last.
        let budget = 20_000;
        for step in [0.125, 1e300] {
            let bound = InterferenceBound { step, budget, ..InterferenceBound::new(0.5) };
            let mut refused = 0;
            for seed in 0..8 {
                match bounded_interference(1, 2, &bound, &mut stream(seed, "features test")) {
                    Ok(P) => {
                        let product = P[(0, 0)] * P[(0, 1)];
                        assert!((product + 1.0).abs() < 1e-12 && (P[(0, 0)].abs() - 1.0).abs() < 1e-12);
                    }
                    Err(FeatureError::Budget { reached, .. }) => {
                        assert!((reached - 1.0).abs() < 1e-12, "{reached}");
                        refused += 1;
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            assert!((1..8).contains(&refused), "{refused}");
        }
    }

    #[test]
    fn columns_that_have_fallen_together_end_the_descent_long_before_the_budget() {
        // Levenshtein's bound allows 0.28 and more here, but 60 points of a sphere are closer than that.
        let bound = InterferenceBound::new(0.4);
        match bounded_interference(3, 60, &bound, &mut stream(1, "features test")) {
            Err(error @ FeatureError::AtRest { reached, steps, .. }) => {
                assert!((reached - 1.0).abs() < 1e-6 && steps < bound.budget / 2, "{reached} after {steps}");
                let text = error.to_string();
                assert!(text.starts_with("interference: still 1.0000 instead of 0.4 after "), "{text}");
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn on_a_line_and_in_a_plane_what_is_impossible_is_refused_without_a_step() {
        let ask = |n_p, n, maximum| {
            let bound = InterferenceBound { budget: 0, ..InterferenceBound::new(maximum) };
            bounded_interference(n_p, n, &bound, &mut stream(1, "features test")).unwrap_err()
        };
        for (n_p, n, maximum, limit) in [(1, 3, 0.999, "1.0000"), (2, 300, 0.5, "0.9998"), (2, 5, 0.309, "0.3090")] {
            let error = ask(n_p, n, maximum);
            assert!(matches!(error, FeatureError::BelowLimit { .. }), "{error}");
            assert!(error.to_string().contains(&format!("interference: {maximum} is below {limit}")), "{error}");
        }
        assert!(matches!(ask(2, 5, 0.3091), FeatureError::Budget { .. }));
    }

    #[test]
    fn a_product_is_shown_with_the_digits_that_tell_it_from_others() {
        assert_eq!(apart(1.000_000_000_000_000_4, &[0.5]), "1.0000");
        assert_eq!(apart(0.100_000_12, &[0.1]), "0.1000001");
        assert_eq!((apart(0.5, &[0.5]), apart(0.123_456, &[])), ("0.5000".to_owned(), "0.1235".to_owned()));
    }

    #[test]
    fn every_parameter_of_the_descent_changes_the_matrix() {
        let plain = InterferenceBound::new(0.3);
        let made = |bound: InterferenceBound| {
            bounded_interference(16, 40, &bound, &mut stream(5, "features test")).map_err(|error| error.to_string())
        };
        let matrix = made(plain).unwrap();
        assert_eq!(made(InterferenceBound { budget: 30_000, ..plain }).unwrap(), matrix);
        for other in [
            InterferenceBound { margin: 2.0 * plain.margin, ..plain },
            InterferenceBound { regularisation: 1e-3, ..plain },
            InterferenceBound { step: 0.1, ..plain },
        ] {
            assert_ne!(made(other).unwrap(), matrix, "{other:?}");
        }
        let error = made(InterferenceBound { budget: 1, ..plain }).unwrap_err();
        assert!(error.contains("after 1 steps") && error.contains("descent.budget"), "{error}");
    }

    #[test]
    fn the_limit_is_met_by_the_simplex_the_orthoplex_and_the_27_lines() {
        assert_eq!(interference_limit(2, 3), -0.5);
        assert_eq!((interference_limit(3, 6), interference_limit(2, 4)), (0.0, 0.0));
        // Two directions of a line, and a regular polygon.
        assert_eq!([2, 3, 1000].map(|n| interference_limit(1, n)), [-1.0, 1.0, 1.0]);
        let golden = (5f64.sqrt() - 1.0) / 4.0;
        assert!((interference_limit(2, 5) - golden).abs() < 1e-15 && (interference_limit(2, 6) - 0.5).abs() < 1e-15);
        // 27 points in R^6 with products 1/4 and −1/2 (Schläfli), a sharp code.
        assert_eq!(interference_limit(6, 27), 0.25);
        // The 12 vertices of the icosahedron have products 1/√5 at most, the 240 roots of E_8 have 1/2.
        assert!(interference_limit(3, 12) <= 1.0 / 5f64.sqrt());
        assert!(interference_limit(8, 240) <= 0.5);
        // More vectors never get more room.
        let rises = |n_p: usize| (2..300).all(|n| interference_limit(n_p, n) >= interference_limit(n_p, n - 1));
        assert!([1, 2, 5].into_iter().all(rises));
    }

    #[test]
    fn the_welch_bound_is_met_by_frames_that_are_tight_and_equiangular() {
        // The simplex, the six diagonals of the icosahedron, the 28 lines in R^7, and an orthonormal basis.
        for (n_p, n, met) in [(4, 5, 0.25), (3, 6, 1.0 / 5f64.sqrt()), (7, 28, 1.0 / 3.0), (4, 4, 0.0), (1, 2, 1.0)] {
            assert!((welch_bound(n_p, n) - met).abs() < 1e-15, "{n_p} {n}");
        }
        assert_eq!((welch_bound(9, 1), welch_bound(1, 1)), (0.0, 0.0));
    }

    #[test]
    fn the_gradient_is_that_of_the_published_loss() {
        let P = random_unit(3, 70, &mut stream(3, "features test"));
        let loss = |P: &Mat<f64>| {
            let G = P.transpose() * P;
            let pairs = (0..70).flat_map(|i| (0..70).map(move |j| (i, j))).filter(|(i, j)| i != j);
            pairs.map(|ij| (G[ij] - 0.1).max(0.0).powi(2) + 0.5 * G[ij].max(0.0).powi(2)).sum::<f64>()
        };
        let here = descent(P.as_ref(), 0.1, 0.5);
        assert!((here.loss - loss(&P)).abs() < 1e-10 * here.loss);
        for at in [(0, 0), (2, 13), (1, 69)] {
            let h = 1e-6;
            let (mut up, mut down) = (P.clone(), P.clone());
            up[at] += h;
            down[at] -= h;
            let difference = (loss(&up) - loss(&down)) / (2.0 * h);
            // Cancellation ε·loss/h, loss below 1e3.
            assert!((here.gradient[at] - difference).abs() < 1e-6 * here.loss, "{at:?}");
        }
    }

    #[test]
    fn one_seed_gives_one_matrix_at_any_number_of_threads() {
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                bounded_interference(40, 130, &InterferenceBound::new(0.12), &mut stream(4, "features test")).unwrap()
            })
        };
        assert_eq!(run(1), run(3));
    }
}
