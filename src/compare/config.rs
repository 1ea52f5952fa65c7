//! What is compared, as TOML.

use super::learned::{Learned, Learner};
use super::suite::{ADVERSARIAL, Instance};
use crate::bench::configuration;
use crate::optim::Budget;
use crate::optim::Optimizer;
use crate::optim::acs::{AlternatingSearch, Variant};
use crate::optim::adam::Adam;
use crate::optim::anchored::Anchored;
use crate::optim::gradient_descent::{GradientDescent, Perturbation, StepRule};
use crate::optim::interior::InteriorPoint;
use crate::optim::nesterov::Nesterov;
use crate::optim::quasi_newton::{Kind, QuasiNewton};
use crate::optim::restarts::Restarts;
use crate::theory::families::Family;
use crate::theory::loss::ApproximateLoss;
use serde::{Deserialize, Serialize};

/// Instances, optimizers and budget of one comparison.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Comparison {
    /// Seed of instances and starts.
    #[serde(default)]
    pub seed: u64,
    /// Starts of every instance, the same for all optimizers.
    pub starts: u64,
    /// What every run may spend.
    pub budget: Limits,
    /// By name; [`OPTIMIZERS`] lists them.
    pub optimizers: Vec<String>,
    /// Whose instances.
    pub families: Vec<FamilyConfig>,
}

/// What a run may spend; whichever ends first.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Steps: sweeps of an alternating method, iterations of any other.
    pub steps: u64,
    /// Evaluations of loss and gradient.
    pub gradients: f64,
    /// Seconds that the optimizer works. With them the same comparison does not write the same results.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
}

impl Limits {
    /// Those that can be repeated.
    pub fn budget(&self) -> Budget {
        Budget { steps: self.steps, gradients: self.gradients }
    }
}

/// Instances of one family.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FamilyConfig {
    /// Its name, as in [`crate::theory::families`], or [`ADVERSARIAL`], whose features are as many as dimensions and neurons, with c = 0.
    pub family: String,
    /// n.
    pub n: usize,
    /// n_p.
    pub n_p: usize,
    /// n_r of a transcoder; absent for an autoencoder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_r: Option<usize>,
    /// n_q.
    pub latents: usize,
    /// The threshold c, as an exact number.
    #[serde(default = "zero")]
    pub threshold: String,
    /// Number of instances.
    pub instances: u64,
    /// Which of the comparison's optimizers run on them; all of them if none is named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub optimizers: Vec<String>,
}

fn zero() -> String {
    "0".into()
}

impl FamilyConfig {
    /// The name of an instance: family, sizes, threshold and number. n_r stands in it where it is not n_p.
    pub fn id(&self, number: u64) -> String {
        let Self { family, n, n_p, latents, threshold, .. } = self;
        let n_r = self.n_r.filter(|n_r| n_r != n_p).map_or_else(String::new, |n_r| format!("-r{n_r}"));
        let c = if threshold == "0" { String::new() } else { format!("-c{}", threshold.replace('/', "_")) };
        format!("{family}-n{n}-p{n_p}{n_r}-q{latents}{c}-{number}")
    }
}

/// Largest numbers of starts and of instances of a family, and largest sizes.
pub const MOST: u64 = 512;
/// Largest n of [`ADVERSARIAL`], whose proposals are decided one by one.
pub const MOST_ADVERSARIAL: usize = 12;
/// Most steps and gradients of a run, whose whole course is kept.
const MOST_SPENT: u64 = 1_000_000;

/// Every optimizer that a comparison can name, with what it is.
pub const OPTIMIZERS: [(&str, &str); 20] = [
    ("acs", "alternating convex search in the start's cell"),
    ("acs-proximal", "the same with proximal steps, ρ = 1/100 of the mean mass"),
    ("acs-extrapolated", "the same with a search along the line through the last two iterates"),
    ("acs-accelerated", "the same by L-BFGS on the loss with the encoder eliminated"),
    ("acs-restarts", "the best of ten searches from random starts, the first of which is the given one"),
    ("acs-piecewise", "alternating search across cells, by the event sweep"),
    ("acs-insertion", "the same, moving neurons to where they gain most"),
    ("descent-fixed", "gradient descent with a tuned step"),
    ("descent-lipschitz", "gradient descent with backtracking"),
    ("descent-exact", "gradient descent with exact line search across cells"),
    ("perturbed-descent", "gradient descent with backtracking and perturbations"),
    ("anchored-descent", "gradient descent with backtracking, half of the neurons held near features at first"),
    ("nesterov", "accelerated gradient descent with restarts"),
    ("adam", "Adam with a tuned step"),
    ("lbfgs", "L-BFGS, line search of Moré and Thuente"),
    ("trust-region", "trust region, Steihaug's conjugate gradients"),
    ("interior-point", "a path through the interior of the start's cell to a partial optimum"),
    ("k-svd", "K-SVD on the features, an encoder fitted to its codes"),
    ("optimal-directions", "the method of optimal directions, the same"),
    ("online-dictionary", "online dictionary learning, the same"),
];

/// Relative residuals at which alternating methods end.
pub const RESIDUALS: f64 = 1e-10;
/// Relative gradient at which gradient methods end.
pub const GRADIENT: f64 = 1e-9;
/// ρ of `acs-proximal`, relative to the mean mass.
pub const PROXIMAL: f64 = 0.01;
/// Searches of `acs-restarts`.
pub const RESTARTS: u64 = 10;
/// λ of `anchored-descent`, relative to the mean mass.
pub const ANCHORS: f64 = 1.0;
/// Step k of `adam` is the tuned one over 1 + this·k.
pub const DECAY: f64 = 1e-3;
/// Of `perturbed-descent`; each start has a seed of its own.
pub const PERTURBED: Perturbation = Perturbation { radius: 1e-2, patience: 200, fall: 1e-9, seed: 0 };

/// Steps of the methods that need one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Steps {
    /// Of `descent-fixed`.
    pub descent: f64,
    /// Of `adam`.
    pub adam: f64,
}

/// The optimizer of this name for a problem; `None` if there is none.
pub fn optimizer<'a>(
    name: &str,
    problem: &'a ApproximateLoss,
    steps: Steps,
    seed: u64,
) -> Option<Box<dyn Optimizer + 'a>> {
    let alternating =
        |variant| Box::new(AlternatingSearch::new(problem, variant, RESIDUALS)) as Box<dyn Optimizer + 'a>;
    let descent = |rule| GradientDescent::new(problem, rule, GRADIENT);
    let perturbation = Perturbation { seed, ..PERTURBED };
    Some(match name {
        "acs" => alternating(Variant::Cell),
        "acs-proximal" => alternating(Variant::Proximal(PROXIMAL)),
        "acs-extrapolated" => alternating(Variant::Extrapolated),
        "acs-accelerated" => alternating(Variant::Accelerated),
        "acs-restarts" => Box::new(Restarts::new(problem, RESTARTS, RESIDUALS, seed)),
        "acs-piecewise" => alternating(Variant::Piecewise),
        "acs-insertion" => alternating(Variant::Insertion),
        "descent-fixed" => Box::new(descent(StepRule::Fixed(steps.descent))),
        "descent-lipschitz" => Box::new(descent(StepRule::Lipschitz)),
        "descent-exact" => Box::new(descent(StepRule::Exact)),
        "perturbed-descent" => Box::new(descent(StepRule::Lipschitz).perturbed(perturbation)),
        "anchored-descent" => Box::new(Anchored::new(problem, ANCHORS, GRADIENT, seed)),
        "nesterov" => Box::new(Nesterov::new(GRADIENT)),
        "adam" => Box::new(Adam::new(steps.adam, DECAY, GRADIENT)),
        "lbfgs" => Box::new(QuasiNewton::new(problem, Kind::Lbfgs, GRADIENT)),
        "trust-region" => Box::new(QuasiNewton::new(problem, Kind::TrustRegion, GRADIENT)),
        "interior-point" => Box::new(InteriorPoint::new(problem, RESIDUALS)),
        "k-svd" => Box::new(Learned::new(problem, Learner::Ksvd, seed)),
        "optimal-directions" => Box::new(Learned::new(problem, Learner::OptimalDirections, seed)),
        "online-dictionary" => Box::new(Learned::new(problem, Learner::Online, seed)),
        _ => return None,
    })
}

impl Comparison {
    /// From TOML; the error names the field and what was expected.
    pub fn from_toml(text: &str) -> Result<Self, String> {
        let comparison: Self = configuration::from_toml(text)?;
        comparison.check()?;
        Ok(comparison)
    }

    /// The optimizers that run on the instances of a family.
    pub fn of<'a>(&'a self, family: &'a FamilyConfig) -> &'a [String] {
        if family.optimizers.is_empty() { &self.optimizers } else { &family.optimizers }
    }

    /// The names of all instances, in the order in which they are compared.
    pub fn ids(&self) -> Vec<String> {
        self.families.iter().flat_map(|family| (0..family.instances).map(|number| family.id(number))).collect()
    }

    /// Whether the first instance of each family can be made.
    ///
    /// # Errors
    /// The family, and what it lacks.
    pub fn ensure_instances(&self) -> Result<(), String> {
        let first = |(k, family): (usize, &FamilyConfig)| {
            Instance::ensure(family, 0, self.seed).map_err(|error| format!("families[{k}]: {error}"))
        };
        self.families.iter().enumerate().try_for_each(first)
    }

    fn check(&self) -> Result<(), String> {
        let Self { starts, budget, optimizers, families, .. } = self;
        let count = |name: &str, value: u64, most: u64| match (1..=most).contains(&value) {
            true => Ok(()),
            false => Err(format!("{name}: expected an integer from 1 to {most}, found {value}")),
        };
        count("starts", *starts, MOST)?;
        count("budget.steps", budget.steps, MOST_SPENT)?;
        if !(1.0..=MOST_SPENT as f64).contains(&budget.gradients) {
            let found = budget.gradients;
            return Err(format!("budget.gradients: expected a number from 1 to {MOST_SPENT}, found {found}"));
        }
        if let Some(seconds) = budget.seconds.filter(|seconds| !(*seconds > 0.0 && seconds.is_finite())) {
            return Err(format!("budget.seconds: expected a finite number > 0, found {seconds}"));
        }
        if optimizers.is_empty() || families.is_empty() {
            return Err("optimizers, families: expected at least one of each".into());
        }
        for (k, name) in optimizers.iter().enumerate() {
            if !OPTIMIZERS.iter().any(|(known, _)| known == name) {
                let known: Vec<_> = OPTIMIZERS.iter().map(|(name, _)| *name).collect();
                return Err(format!("optimizers[{k}]: expected one of {}, found \"{name}\"", known.join(", ")));
            }
            if optimizers[..k].contains(name) {
                return Err(format!("optimizers[{k}]: \"{name}\" stands there twice"));
            }
        }
        for (k, family) in families.iter().enumerate() {
            let at = |field: &str| format!("families[{k}].{field}");
            let adversarial = family.family == ADVERSARIAL;
            if adversarial && (family.n_p != family.n || family.n_r.is_some() || family.threshold != "0") {
                return Err(format!("{}: \"{ADVERSARIAL}\" has n_p = n, no n_r and threshold 0", at("family")));
            }
            if adversarial && family.latents < family.n {
                return Err(format!("{}: \"{ADVERSARIAL}\" has latents >= n", at("latents")));
            }
            if !adversarial && Family::by_name(&family.family).is_none() {
                let known: Vec<_> = Family::ALL.iter().map(Family::name).chain([ADVERSARIAL]).collect();
                return Err(format!(
                    "{}: expected one of {}, found \"{}\"",
                    at("family"),
                    known.join(", "),
                    family.family
                ));
            }
            let sizes = [("n", Some(family.n)), ("n_p", Some(family.n_p)), ("n_r", family.n_r)];
            let sizes = sizes.into_iter().chain([("latents", Some(family.latents))]);
            for (field, value) in sizes.filter_map(|(field, value)| Some((field, value?))) {
                count(&at(field), value as u64, MOST)?;
            }
            if adversarial && family.n > MOST_ADVERSARIAL {
                let most = MOST_ADVERSARIAL;
                return Err(format!("{}: expected \"{ADVERSARIAL}\" with n <= {most}, found {}", at("n"), family.n));
            }
            if let Some(known) = Family::by_name(&family.family) {
                known.ensure_sizes(family.n, family.n_p).map_err(|error| format!("{}: {error}", at("n")))?;
            }
            count(&at("instances"), family.instances, MOST)?;
            if let Some(j) = families[..k].iter().position(|other| other.id(0) == family.id(0)) {
                return Err(format!(
                    "{}: expected a family, sizes and threshold that differ from those of families[{j}]",
                    at("family")
                ));
            }
            for (j, name) in family.optimizers.iter().enumerate() {
                if !optimizers.contains(name) || family.optimizers[..j].contains(name) {
                    return Err(format!(
                        "{}: expected optimizers of the comparison, each once, found \"{name}\"",
                        at(&format!("optimizers[{j}]"))
                    ));
                }
            }
            let c =
                crate::exact::rational::parse(&family.threshold).map_err(|e| format!("{}: {e}", at("threshold")))?;
            if crate::exact::rational::sign(&c) < 0 {
                return Err(format!("{}: expected a number >= 0, found {c}", at("threshold")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "starts = 2\noptimizers = [\"acs\"]\n[budget]\nsteps = 10\ngradients = 100\n[[families]]\nfamily = \"orthonormal\"\nn = 3\nn_p = 3\nlatents = 2\ninstances = 1\n";

    #[test]
    fn what_is_wrong_is_named() {
        assert!(Comparison::from_toml(TEXT).is_ok());
        for (from, to, named) in [
            ("starts = 2", "starts = 0", "starts"),
            ("\"acs\"", "\"magic\"", "optimizers[0]"),
            ("\"acs\"", "\"acs\", \"acs\"", "optimizers[1]"),
            ("orthonormal", "orthogonal", "families[0].family"),
            ("latents = 2", "latents = 0", "families[0].latents"),
            ("orthonormal", "adversarial", "families[0].latents: "),
            ("starts = 2", "starts = 9223372036854775807", "starts: expected an integer from 1 to 512"),
            ("latents = 2", "latents = 2\nn_r = 100000", "families[0].n_r: expected an integer from 1 to 512"),
            ("latents = 2", "latents = 2\nn_r = 0", "families[0].n_r: expected an integer from 1 to 512"),
            ("instances = 1", "instances = 9223372036854775807", "families[0].instances: expected an integer from 1"),
            ("latents = 2", "latents = 513", "families[0].latents: expected an integer from 1 to 512"),
            ("n = 3", "n = 4", "families[0].n: family orthonormal: expected n <= n_p, found n = 4, n_p = 3"),
            (
                "family = \"orthonormal\"\nn = 3\nn_p = 3\nlatents = 2",
                "family = \"adversarial\"\nn = 13\nn_p = 13\nlatents = 13",
                "families[0].n: expected \"adversarial\" with n <= 12",
            ),
            ("steps = 10", "steps = 18446744073709551615", "steps"),
            ("steps = 10", "steps = 1000001", "budget.steps: expected an integer from 1 to 1000000"),
            ("gradients = 100", "gradients = inf", "budget.gradients: expected a number from 1 to 1000000"),
            ("n_p = 3", "n_p = 0", "families[0].n_p"),
            ("instances = 1", "instances = 1\nthreshold = \"-1\"", "families[0].threshold"),
            ("instances = 1", "instances = 1\noptimizers = [\"adam\"]", "families[0].optimizers[0]"),
            ("instances = 1", "instances = 1\noptimizers = [\"acs\", \"acs\"]", "families[0].optimizers[1]"),
            ("steps = 10", "steps = 10\nstep = 1", "step"),
            ("steps = 10", "steps = 10\nseconds = 0", "budget.seconds"),
            ("gradients = 100", "gradients = nan", "budget.gradients"),
        ] {
            let error = Comparison::from_toml(&TEXT.replace(from, to)).unwrap_err();
            assert!(error.contains(named) && !error.contains('\n'), "{named}: {error}");
        }
    }

    #[test]
    fn two_families_share_no_instance() {
        let family = &TEXT[TEXT.find("[[families]]").unwrap()..];
        let error = Comparison::from_toml(&format!("{TEXT}{family}")).unwrap_err();
        assert!(error.starts_with("families[1].family: ") && error.contains("families[0]"), "{error}");
        // Targets of another dimension are another problem, and have names of their own.
        let comparison = Comparison::from_toml(&format!("{TEXT}{family}n_r = 4\n")).unwrap();
        assert_eq!(comparison.ids(), ["orthonormal-n3-p3-q2-0", "orthonormal-n3-p3-r4-q2-0"]);
    }

    #[test]
    fn what_a_family_lacks_beyond_its_sizes_is_found_without_running_it() {
        // No unit vectors on a line have products of at most 1/2 in threes.
        let text = TEXT.replace("orthonormal", "bounded-interference").replace("n_p = 3", "n_p = 1");
        let error = Comparison::from_toml(&text).unwrap().ensure_instances().unwrap_err();
        assert!(error.starts_with("families[0]: "), "{error}");
        Comparison::from_toml(TEXT).unwrap().ensure_instances().unwrap();
    }

    #[test]
    fn every_listed_optimizer_exists() {
        let P = faer::Mat::identity(2, 2);
        let problem = ApproximateLoss::new(P.clone(), P, vec![1.0, 1.0], 0.0).unwrap();
        let steps = Steps { descent: 0.1, adam: 0.1 };
        assert!(OPTIMIZERS.iter().all(|(name, _)| optimizer(name, &problem, steps, 0).is_some()));
        assert!(optimizer("magic", &problem, steps, 0).is_none());
    }
}
