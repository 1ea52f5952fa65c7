//! Performance profiles, data profiles, and shares of targets over a budget: step functions, as data.
//!
//! A cost is what a solver spent on an instance until it met a test: seconds, sweeps, gradient equivalents. A solver that did
//! not meet it has an infinite cost; so has one whose cost is no number. Instances that nobody solved count too.
//!
//! | what | of a solver s over the instances p | source |
//! |---|---|---|
//! | [`performance_profiles`] | ρ_s(τ) = share of instances with t_ps ≤ τ min_s t_ps | Dolan, Moré 2002, <https://doi.org/10.1007/s101070100263> |
//! | [`data_profiles`] | d_s(α) = share of instances with t_ps ≤ α u_p | Moré, Wild 2009, <https://doi.org/10.1137/080724083> |
//! | [`Steps::ecdf`] | share of (instance, target) pairs with t ≤ x | Hansen et al. 2022, COCO, <https://arxiv.org/abs/1605.03560> |
//!
//! [`first_hit`] turns the course of a run into such a cost.

use super::figure::Layer;

/// A step function that is continuous from the right.
#[derive(Debug, Clone, PartialEq)]
pub struct Steps {
    /// Its jumps (x, value at x and until the next jump), by increasing x, all finite. Before the first jump it is 0.
    pub jumps: Vec<(f64, f64)>,
}

impl Steps {
    /// x ↦ the share of these costs that are ≤ x. Infinite costs, and what is no number, count as never. `None` if there are
    /// no costs.
    pub fn ecdf(costs: &[f64]) -> Option<Self> {
        let mut reached: Vec<f64> = costs.iter().copied().filter(|cost| cost.is_finite()).collect();
        reached.sort_by(f64::total_cmp);
        let mut jumps: Vec<(f64, f64)> = Vec::new();
        for (k, &x) in reached.iter().enumerate() {
            let share = (k + 1) as f64 / costs.len() as f64;
            match jumps.last_mut() {
                // equal costs are one jump; so are 0 and −0
                Some((last, value)) if *last == x => *value = share,
                _ => jumps.push((x, share)),
            }
        }
        (!costs.is_empty()).then_some(Self { jumps })
    }

    /// The value at x: 0 before the first jump, and where x is no number.
    pub fn at(&self, x: f64) -> f64 {
        if x.is_nan() {
            return 0.0;
        }
        let after = self.jumps.partition_point(|(jump, _)| *jump <= x);
        after.checked_sub(1).map_or(0.0, |k| self.jumps[k].1)
    }

    /// The value beyond all jumps: the share that was ever reached.
    pub fn limit(&self) -> f64 {
        self.jumps.last().map_or(0.0, |(_, value)| *value)
    }

    /// The corners of its graph over \[from, to\], to be joined by lines.
    pub fn corners(&self, from: f64, to: f64) -> Vec<(f64, f64)> {
        let mut value = self.at(from);
        let mut corners = vec![(from, value)];
        for &(x, next) in self.jumps.iter().filter(|(x, _)| *x > from && *x <= to) {
            corners.extend([(x, value), (x, next)]);
            value = next;
        }
        corners.push((to, value));
        corners
    }

    /// Its graph over \[from, to\] as a series of a figure.
    pub fn layer(&self, label: &str, from: f64, to: f64) -> Layer {
        Layer::Line { label: label.to_owned(), points: self.corners(from, to) }
    }
}

/// Performance profiles (Dolan, Moré 2002, eq. 2.1 and below), one for each solver: ρ_s(τ) is the share of instances on which
/// solver s costs at most τ times what the best one costs. ρ_s(1) is the share of its wins, ties included; beyond all jumps ρ_s is
/// the share of instances it solved.
///
/// `costs` has a row for each instance, of one cost ≥ 0 for each solver. If the best cost is 0, solvers with cost 0 have ratio 1
/// and all others an infinite one. `None` without instances or solvers, for rows of different lengths, or a negative cost.
pub fn performance_profiles(costs: &[Vec<f64>]) -> Option<Vec<Steps>> {
    let solvers = solvers(costs)?;
    let ratio = |row: &[f64], s: usize| {
        let best = row.iter().copied().filter(|cost| !cost.is_nan()).fold(f64::INFINITY, f64::min);
        match row[s] {
            cost if !cost.is_finite() => f64::INFINITY,
            cost if cost == best => 1.0,
            cost => cost / best,
        }
    };
    (0..solvers).map(|s| Steps::ecdf(&costs.iter().map(|row| ratio(row, s)).collect::<Vec<_>>())).collect()
}

/// Data profiles (Moré, Wild 2009, eq. 2.9), one for each solver: d_s(α) is the share of instances on which solver s costs at most
/// α units. The unit u_p of an instance is the reader's: Moré and Wild count evaluations of f in simplex gradients, n_p + 1 of
/// them; with gradient equivalents it is 1.
///
/// `costs` as for [`performance_profiles`], and a unit > 0 for each instance. `None` for what that refuses, for another number of
/// units, or for a unit that is not finite and > 0.
pub fn data_profiles(costs: &[Vec<f64>], units: &[f64]) -> Option<Vec<Steps>> {
    let solvers = solvers(costs)?;
    let usable = |unit: &f64| unit.is_finite() && *unit > 0.0;
    if units.len() != costs.len() || !units.iter().all(usable) {
        return None;
    }
    let in_units = |s: usize| costs.iter().zip(units).map(|(row, unit)| row[s] / unit).collect::<Vec<_>>();
    (0..solvers).map(|s| Steps::ecdf(&in_units(s))).collect()
}

/// The number of solvers, if the costs are a table of numbers that are not negative.
fn solvers(costs: &[Vec<f64>]) -> Option<usize> {
    let solvers = costs.first()?.len();
    let fits = |row: &Vec<f64>| row.len() == solvers && row.iter().all(|cost| cost.is_nan() || *cost >= 0.0);
    (solvers > 0 && costs.iter().all(fits)).then_some(solvers)
}

/// The first cost at which a run passes the convergence test of Moré and Wild (2009, eq. 2.2),
///
/// ```text
///     f(x₀) − f(x) ≥ (1 − τ)(f(x₀) − f_L),
/// ```
///
/// and infinity if it never does. `course` is (cost so far, f) in the order of the run, `start` is f(x₀), and `best` is f_L: the
/// certified optimum, or the least value that any solver found. τ = 0 asks for `best` itself. A value that is no number does
/// not pass, nor does anything if `start`, `best` or τ is none.
pub fn first_hit(course: &[(f64, f64)], start: f64, best: f64, tau: f64) -> f64 {
    let needed = (1.0 - tau) * (start - best);
    course.iter().find(|(_, f)| start - f >= needed).map_or(f64::INFINITY, |(cost, _)| *cost)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;

    const NEVER: f64 = f64::INFINITY;

    /// Counts by the definition, one τ at a time.
    fn slow_performance(costs: &[Vec<f64>], s: usize, tau: f64) -> f64 {
        let mut solved = 0;
        for row in costs {
            let mut best = NEVER;
            for &cost in row {
                if cost < best {
                    best = cost;
                }
            }
            if row[s].is_finite() && row[s] <= tau * best {
                solved += 1;
            }
        }
        f64::from(solved) / costs.len() as f64
    }

    #[test]
    fn the_profile_of_a_small_table_is_what_one_counts_by_hand() {
        // ratios of solver 0: 1, 2, ∞, 1 (a tie), ∞ (nobody solved it); of solver 1: 3, 1, 1, 1, ∞
        let costs = vec![vec![2.0, 6.0], vec![8.0, 4.0], vec![NEVER, 5.0], vec![7.0, 7.0], vec![NEVER, f64::NAN]];
        let profiles = performance_profiles(&costs).unwrap();
        assert_eq!(profiles[0].jumps, [(1.0, 0.4), (2.0, 0.6)]);
        assert_eq!(profiles[1].jumps, [(1.0, 0.6), (3.0, 0.8)]);
        assert_eq!((profiles[0].at(0.99), profiles[0].at(1.99), profiles[1].limit()), (0.0, 0.4, 0.8));
    }

    #[test]
    fn profiles_agree_with_counting_at_every_place() {
        let mut rng = crate::bench::features::stream(0, "profile tests");
        // powers of two, so that no ratio is rounded, with ties and failures
        let cost = |rng: &mut rand_chacha::ChaCha20Rng| match rng.random_range(0..10) {
            0 => NEVER,
            1 => f64::NAN,
            k => f64::from(1 << (k - 2)),
        };
        for _ in 0..50 {
            let costs: Vec<Vec<f64>> = (0..12).map(|_| (0..3).map(|_| cost(&mut rng)).collect()).collect();
            let units: Vec<f64> = (0..12).map(|_| f64::from(1 << rng.random_range(0..3))).collect();
            let (performance, data) = (performance_profiles(&costs).unwrap(), data_profiles(&costs, &units).unwrap());
            for s in 0..3 {
                for x in [0.0, 0.125, 0.5, 0.99, 1.0, 1.5, 2.0, 3.9, 4.0, 17.0, 128.0, 1e9] {
                    assert_eq!(performance[s].at(x), slow_performance(&costs, s, x));
                    let within = costs.iter().zip(&units).filter(|(row, unit)| row[s] <= x * **unit).count();
                    assert_eq!(data[s].at(x), within as f64 / 12.0);
                }
            }
        }
    }

    #[test]
    fn the_convergence_test_is_passed_at_its_very_value() {
        let course = [(1.0, f64::NAN), (2.0, 6.0), (3.0, 2.5), (4.0, 3.0), (5.0, 2.0)];
        // f(x₀) = 10, f_L = 2: τ = ½ asks for f ≤ 6
        assert_eq!(first_hit(&course, 10.0, 2.0, 0.5), 2.0);
        assert_eq!(first_hit(&course, 10.0, 2.0, 0.25), 3.0);
        assert_eq!(first_hit(&course, 10.0, 2.0, 0.0), 5.0);
        assert_eq!(first_hit(&course, 10.0, 1.0, 0.0), NEVER);
        assert_eq!(first_hit(&course, f64::NAN, 2.0, 0.5), NEVER);
        assert_eq!(first_hit(&[], 10.0, 2.0, 0.5), NEVER);
    }

    #[test]
    fn a_cost_of_zero_is_the_best_and_leaves_others_infinitely_behind() {
        let profiles = performance_profiles(&[vec![0.0, 3.0, 0.0]]).unwrap();
        assert_eq!((profiles[0].at(1.0), profiles[1].limit(), profiles[2].at(1.0)), (1.0, 0.0, 1.0));
    }

    #[test]
    fn what_is_no_table_of_costs_has_no_profile() {
        for costs in [vec![], vec![vec![]], vec![vec![1.0], vec![]], vec![vec![-1.0]]] {
            assert_eq!(performance_profiles(&costs), None);
            assert_eq!(data_profiles(&costs, &vec![1.0; costs.len()]), None);
        }
        for units in [vec![], vec![0.0], vec![f64::NAN], vec![1.0, 1.0]] {
            assert_eq!(data_profiles(&[vec![1.0]], &units), None);
        }
        assert_eq!(Steps::ecdf(&[]), None);
        assert_eq!(Steps::ecdf(&[NEVER]).unwrap().limit(), 0.0);
    }

    #[test]
    fn a_graph_goes_along_its_steps() {
        let steps = Steps::ecdf(&[1.0, 1.0, 4.0, NEVER]).unwrap();
        let corners = [(0.0, 0.0), (1.0, 0.0), (1.0, 0.5), (4.0, 0.5), (4.0, 0.75), (5.0, 0.75)];
        assert_eq!(steps.corners(0.0, 5.0), corners);
        assert_eq!(steps.corners(1.0, 2.0), [(1.0, 0.5), (2.0, 0.5)]);
        assert_eq!(steps.layer("a", 1.0, 2.0), Layer::Line { label: "a".into(), points: steps.corners(1.0, 2.0) });
    }
}
