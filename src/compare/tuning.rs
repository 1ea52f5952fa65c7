//! Steps for the methods that need one, chosen on instances that are not compared.
//!
//! Declared beforehand: for each family, the first two instances from number [`OFFSET`] on and one start each; every step of [`GRID`]; the mean over all of them of
//! log₁₀ of the final loss relative to Σ_d M_d ‖r_d‖² (at least 1e-12; a run that diverges counts as 1). The step with the least mean is taken
//! for all families, the smaller one if two are equal. Descent and Adam are tuned apart, with the budget of the comparison but for its seconds, on
//! the families on which they run.

use super::config::{ANCHORS, Comparison, DECAY, GRADIENT, PERTURBED, PROXIMAL, RESIDUALS, RESTARTS, Steps, optimizer};
use super::learned::PENALTY;
use super::suite::Instance;
use crate::optim::{Unobserved, run};
use crate::stats::table::rounded;
use crate::stats::{Cell, Kind, Table};
use rayon::prelude::*;

/// Instances for tuning are numbered from here, so that none is compared.
pub const OFFSET: u64 = 1 << 32;
/// Instances of each family for tuning.
const INSTANCES: u64 = 2;
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
        for number in 0..if runs == (false, false) { 0 } else { INSTANCES } {
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

/// The protocol in words, with the steps that it chose.
pub fn protocol(comparison: &Comparison, steps: Steps) -> String {
    let tuned: Vec<String> = [("descent-fixed", steps.descent), ("adam", steps.adam)]
        .into_iter()
        .filter(|(name, _)| comparison.optimizers.iter().any(|optimizer| optimizer == name))
        .map(|(name, step)| format!("{} for {name}", rounded(step, 2)))
        .collect();
    match tuned.is_empty() {
        true => "No optimizer has a step that was tuned; all parameters were fixed beforehand.".into(),
        false => format!(
            "Steps were tuned by a protocol that was declared beforehand: of {} the one with the least mean of log₁₀ of the final relative loss, over {INSTANCES} instances of each family with one start each, \
             numbered from {OFFSET} on, so that none of them is compared. It chose {}. All other parameters were fixed.",
            GRID.map(|step| rounded(step, 1)).join(", "),
            tuned.join(" and ")
        ),
    }
}

/// The parameters of the optimizers that were compared, tuned and fixed.
pub fn parameters(comparison: &Comparison, steps: Steps) -> Table {
    let columns = [("optimizer", Kind::Text), ("parameter", Kind::Text), ("value", Kind::Number), ("", Kind::Text)];
    let mut table = Table::new("compare-parameters", "experiments", columns)
        .title("Parameters")
        .caption("Tuned: chosen by the protocol, on instances that are not compared. Fixed: the same for all families, not tuned. Optimizers that are not named have none but the rule by which they end.");
    let alternating = "alternating, interior-point";
    let rows = [
        ("descent-fixed", "step", steps.descent, "tuned"),
        ("adam", "first step", steps.adam, "tuned"),
        ("adam", "decay of the step, per step", DECAY, "fixed"),
        ("acs-proximal", "ρ, relative to the mean mass", PROXIMAL, "fixed"),
        ("acs-restarts", "searches", RESTARTS as f64, "fixed"),
        ("anchored-descent", "weight λ of the anchors, relative to the mean mass", ANCHORS, "fixed"),
        ("perturbed-descent", "radius, relative to the iterate", PERTURBED.radius, "fixed"),
        ("perturbed-descent", "steps within which the loss must fall", PERTURBED.patience as f64, "fixed"),
        ("perturbed-descent", "by this share of Σ M‖r‖²", PERTURBED.fall, "fixed"),
        ("online-dictionary", "λ of the lasso, relative to samples' RMS", PENALTY, "fixed"),
        (alternating, "both residuals at the end, relative to the loss", RESIDUALS, "fixed"),
        ("gradient methods", "gradient at the end, relative to √(Σ M‖r‖²)", GRADIENT, "fixed"),
    ];
    let named = |name: &str| super::config::OPTIMIZERS.iter().any(|(known, _)| *known == name);
    for (name, what, value, how) in rows {
        if !named(name) || comparison.optimizers.iter().any(|optimizer| optimizer == name) {
            table.push([Cell::from(name), Cell::from(what), Cell::number(value, 2), Cell::from(how)]);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::theory::certificate_body::hash;
    use std::collections::BTreeSet;

    fn default() -> Comparison {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/configs/compare/default.toml");
        Comparison::from_toml(&std::fs::read_to_string(file).unwrap()).unwrap()
    }

    #[test]
    fn no_instance_for_tuning_is_compared() {
        let comparison = default();
        let (mut tuned, mut compared) = (BTreeSet::new(), BTreeSet::new());
        // The large ones are not made here.
        for family in comparison.families.iter().filter(|family| family.n <= 12) {
            let problem = |number: u64| hash(&Instance::problem(family, number, comparison.seed).unwrap());
            compared.extend((0..family.instances).map(problem));
            tuned.extend((OFFSET..OFFSET + INSTANCES).map(problem));
        }
        assert!(compared.len() > 30 && tuned.len() > 25, "{} {}", compared.len(), tuned.len());
        assert!(tuned.is_disjoint(&compared), "{:?}", tuned.intersection(&compared));
    }

    #[test]
    fn the_protocol_names_the_steps_and_every_parameter_stands_in_the_table() {
        let steps = Steps { descent: 0.03, adam: 0.3 };
        let mut comparison = default();
        let said = protocol(&comparison, steps);
        assert!(
            said.contains("It chose 0.030 for descent-fixed and 0.30 for adam.") && said.contains("0.001, 0.003"),
            "{said}"
        );
        let rows = |comparison: &Comparison| parameters(comparison, steps).rows.len();
        assert_eq!(rows(&comparison), 12);
        comparison.optimizers.retain(|name| name == "acs" || name == "adam");
        assert_eq!(rows(&comparison), 4);
        comparison.optimizers.retain(|name| name == "acs");
        assert!(protocol(&comparison, steps).starts_with("No optimizer has a step that was tuned"));
    }
}
