//! Steps for the methods that need one, chosen on instances that are not compared.
//!
//! Declared beforehand: for each family, instances [`OFFSET`] + 0, 1 and one start each; every step of [`GRID`]; the mean over all of them of
//! log₁₀ of the final loss relative to Σ_d M_d ‖r_d‖² (at least 1e-12; a run that diverges counts as 1). The step with the least mean is taken
//! for all families, the smaller one if two are equal. Descent and Adam are tuned apart, with the budget of the comparison but for its seconds, on
//! the families on which they run.

use super::config::{Comparison, Steps, optimizer};
use super::suite::Instance;
use crate::optim::{Unobserved, run};
use rayon::prelude::*;

/// Instances for tuning are numbered from here, so that none is compared.
pub const OFFSET: u64 = 1 << 32;
/// Candidates.
pub const GRID: [f64; 6] = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3];

/// The steps for a comparison.
pub fn tune(comparison: &Comparison) -> Result<Steps, String> {
    let needs = |name: &str| comparison.optimizers.iter().any(|o| o == name);
    if !needs("adam") && !needs("descent-fixed") {
        return Ok(Steps { descent: GRID[0], adam: GRID[0] });
    }
    let mut instances = Vec::new();
    for family in &comparison.families {
        let runs = |name: &str| comparison.of(family).iter().any(|o| o == name);
        let runs = (runs("descent-fixed"), runs("adam"));
        for number in 0..if runs == (false, false) { 0 } else { 2 } {
            instances.push((Instance::make(family, OFFSET + number, comparison.seed)?, runs));
        }
    }
    let score = |name: &str, step: f64| -> Result<f64, String> {
        let scores: Result<Vec<f64>, String> = instances
            .par_iter()
            .filter(|(_, (descent, adam))| if name == "adam" { *adam } else { *descent })
            .map(|(instance, _)| {
                let steps = Steps { descent: step, adam: step };
                let mut chosen =
                    optimizer(name, &instance.loss, steps, 0).ok_or_else(|| format!("there is no optimizer {name}"))?;
                let at = instance.start(OFFSET, 0);
                let total = crate::optim::Biconvex::total(&instance.loss);
                let outcome = run(&instance.loss, chosen.as_mut(), &at, comparison.budget.budget(), &mut Unobserved);
                let loss = outcome.map_err(|error| format!("{}: {error}", instance.id))?.state.loss;
                let relative = if loss.is_finite() { (loss / total).min(1.0) } else { 1.0 };
                Ok(relative.max(1e-12).log10())
            })
            .collect();
        let scores = scores?;
        Ok(scores.iter().sum::<f64>() / scores.len().max(1) as f64)
    };
    let best = |name: &str| -> Result<f64, String> {
        let mut best = (f64::INFINITY, GRID[0]);
        for step in GRID {
            let score = score(name, step)?;
            if score < best.0 {
                best = (score, step);
            }
        }
        Ok(best.1)
    };
    Ok(Steps { descent: best("descent-fixed")?, adam: best("adam")? })
}
