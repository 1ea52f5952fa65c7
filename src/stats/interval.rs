//! Means over seeds, with intervals.

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, StudentsT};

/// A mean with its 95 % interval by Student's t, which supposes that the values are independent draws of one normal law.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MeanInterval {
    /// Number of values.
    pub count: usize,
    /// Their mean.
    pub mean: f64,
    /// Half the length of the interval; infinite for a single value.
    pub half: f64,
}

impl MeanInterval {
    /// Of these values; nothing if there are none.
    pub fn of(values: &[f64]) -> Option<Self> {
        let count = values.len();
        if count == 0 {
            return None;
        }
        let mean = values.iter().sum::<f64>() / count as f64;
        if count == 1 {
            return Some(Self { count, mean, half: f64::INFINITY });
        }
        let freedom = (count - 1) as f64;
        let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / freedom;
        let quantile = StudentsT::new(0.0, 1.0, freedom).map_or(f64::INFINITY, |law| law.inverse_cdf(0.975));
        Some(Self { count, mean, half: quantile * (variance / count as f64).sqrt() })
    }

    /// Lower end.
    pub fn low(&self) -> f64 {
        self.mean - self.half
    }

    /// Upper end.
    pub fn high(&self) -> f64 {
        self.mean + self.half
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_that_of_the_tables() {
        // t quantiles 0.975: 12.7062 for one degree of freedom, 4.30265 for two (any table of Student's law, six digits).
        let two = MeanInterval::of(&[1.0, 3.0]).unwrap();
        assert!((two.mean - 2.0).abs() < 1e-15 && (two.half - 12.7062).abs() < 1e-4, "{two:?}");
        let three = MeanInterval::of(&[0.0, 1.0, 2.0]).unwrap();
        assert!((three.half - 4.30265 / 3f64.sqrt()).abs() < 1e-4);
        assert!((three.low() + three.high() - 2.0).abs() < 1e-12);
    }

    #[test]
    fn one_value_has_no_finite_interval_and_equal_ones_a_point() {
        assert_eq!(MeanInterval::of(&[]), None);
        assert_eq!(MeanInterval::of(&[5.0]).unwrap().half, f64::INFINITY);
        assert_eq!(MeanInterval::of(&[5.0; 4]).unwrap().half, 0.0);
    }

    #[test]
    fn ninety_five_of_a_hundred_intervals_hold_the_mean() {
        use rand_distr::{Distribution, StandardNormal};
        let mut rng = crate::bench::features::stream(0, "interval tests");
        let hits = (0..4000).filter(|_| {
            let draws: Vec<f64> = (0..3).map(|_| StandardNormal.sample(&mut rng)).collect();
            let interval = MeanInterval::of(&draws).unwrap();
            interval.low() <= 0.0 && 0.0 <= interval.high()
        });
        // 3800 expected, standard deviation 13.8; five of them.
        assert!((hits.count() as i64 - 3800).abs() < 69);
    }
}
