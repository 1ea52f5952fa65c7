//! Prevalence: "every realizable polysemantic activation pattern corresponds to a partial optima point".
//!
//! Refuted, also with equal masses. What is true is a law. Let the features be drawn independently from a sign-symmetric law (p_d,
//! r_d) ~ (−p_d, −r_d), with any fixed masses. Turning the sign of feature d turns entry d of every eigenvector of the block's
//! pencil and nothing else, so that each of its min(m, n_p) eigenvectors is equally likely to have each sign pattern, and is of one
//! sign with probability 2^{1−m}. Eigenvectors are orthogonal, so at most one is positive: the probabilities add up.

use super::block_draws::{CLOSE, Spectrum, spectrum, spectrum_of, spread_masses};
use super::search::{Instance, Proposals, rational_unit, shrink};
use super::sources::{FLAJOLET_2009, GORSKI_2007};
use super::thm_3_7_partitions::{self, PartitionLaw};
use super::{Check, Claim, Context, Correction, Evidence, Outcome, Verdict, landscape};
use crate::bench::features::{random_unit, stream};
use crate::exact::field::Rationals;
use crate::exact::{Rational, matrix, rational};
use crate::stats::{Axis, Cell, Figure, Kind, Layer, Panel, Proportion, Table, Width};
use crate::theory::partial_optimum::{self, Class, decide};
use crate::theory::pattern::{Pattern, dot};
use crate::theory::problem::{Activation, Feature, Problem};
use rand_chacha::ChaCha20Rng;

/// The claim.
pub const CLAIM: Claim = Claim {
    id: "thm-3.7-prevalence",
    place: "Section 3.4, the remark after Theorem 3.7",
    title: "Every realizable polysemantic pattern has a partial optimum",
    statement: "Partial minima are pervasive: every realizable polysemantic activation pattern corresponds to a partial optimum.",
    latex: r"\forall\,\mathcal P\ \text{realizable and polysemantic}:\ \exists\ \text{a partial optimum of } \tilde{\mathcal L}_{\mathrm{SDL}} \text{ with pattern } \mathcal P",
    assumes: "Unit features (Asm. 2.4). For the law: features drawn independently with (p_d, r_d) ~ (−p_d, −r_d) and in general position, n_r ≥ min(m, n_p), any fixed masses, c = 0; the neuron fires on all m features of the block.",
    sources: &[GORSKI_2007, FLAJOLET_2009],
    run,
    on_instance: None,
};

/// Proposals looked at before the search gives up.
const PROPOSALS: usize = 400;
/// Instances per setting on which the f64 rule is compared with the exact decision.
const EXACT: usize = 40;
/// Largest mass over smallest mass.
const SPREADS: [f64; 3] = [1.0, 16.0, 256.0];

/// The remark's hypotheses, realizability excepted.
fn hypotheses(instance: &Instance) -> bool {
    let unit = |f: &Feature| dot(&f.w_p, &f.w_p) == Rational::ONE;
    instance.problem.features().iter().all(unit) && instance.pattern.is_polysemantic()
}

/// No partial optimum in the realizable cell, although the features are independent and the masses equal.
fn refutes(instance: &Instance) -> bool {
    let (problem, pattern) = (&instance.problem, &instance.pattern);
    let p: Vec<Vec<Rational>> = problem.features().iter().map(|f| f.w_p.clone()).collect();
    let equal = problem.features().iter().all(|f| f.mass == problem.features()[0].mass);
    hypotheses(instance)
        && equal
        && matrix::rank(&Rationals, &p) == p.len()
        && decide(problem, pattern).is_ok_and(|d| d.realizable && d.exists == Some(false))
}

/// The same features with all masses 1, so that unequal masses are not what refutes the statement.
fn with_equal_masses(instance: &Instance) -> Instance {
    let features = instance.problem.features().iter().map(|f| Feature { mass: Rational::ONE, ..f.clone() }).collect();
    let problem = Problem::new(features, instance.problem.activation().clone()).expect("masses are 1");
    Instance { problem, pattern: instance.pattern.clone() }
}

/// One cell of the experiment: blocks of m features in R^{n_p} with fixed masses.
#[derive(Debug, Clone, Copy)]
struct Setting {
    m: usize,
    n_p: usize,
    /// n_r for targets drawn apart from the features; `None` for r = p.
    n_r: Option<usize>,
    spread: f64,
}

impl Setting {
    const fn square(m: usize, spread: f64) -> Self {
        Self { m, n_p: m, n_r: None, spread }
    }

    /// 2^{1−m}, for each eigenvector and so for the top one: a local minimum.
    fn local(&self) -> f64 {
        0.5f64.powi(self.m as i32 - 1)
    }

    /// min(m, n_p)·2^{1−m}.
    fn interior(&self) -> f64 {
        self.m.min(self.n_p) as f64 * self.local()
    }

    /// A plausible mistake: that there are m eigenvectors (for m > n_p), else that they are positive independently.
    fn wrong_interior(&self) -> f64 {
        if self.m > self.n_p {
            return self.m as f64 * self.local();
        }
        1.0 - (1.0 - self.local()).powi(self.m as i32)
    }

    /// That a vector and its negative are told apart.
    fn wrong_local(&self) -> f64 {
        self.local() / 2.0
    }

    fn name(&self) -> String {
        let Self { m, n_p, n_r, spread } = self;
        let targets = n_r.map_or("r = p".to_owned(), |n_r| format!("r ≠ p, n_r = {n_r}"));
        format!("m = {m}, n_p = {n_p}, {targets}, masses 1 to {spread}")
    }

    fn draw(&self, rng: &mut ChaCha20Rng, masses: &[f64]) -> Option<Spectrum> {
        let P = random_unit(self.n_p, self.m, rng);
        match self.n_r {
            None => spectrum(P.as_ref(), P.as_ref(), masses),
            Some(n_r) => spectrum(P.as_ref(), random_unit(n_r, self.m, rng).as_ref(), masses),
        }
    }
}

/// What one setting gave.
struct Measured {
    setting: Setting,
    interior: Proportion,
    local: Proportion,
    /// Draws that were too close to call, and not counted.
    close: u64,
}

fn settings() -> Vec<Setting> {
    let mut all: Vec<Setting> = (2..=6).flat_map(|m| SPREADS.map(|spread| Setting::square(m, spread))).collect();
    all.extend([
        Setting { m: 3, n_p: 4, n_r: Some(3), spread: 16.0 },
        Setting { m: 3, n_p: 2, n_r: None, spread: 16.0 },
        Setting { m: 4, n_p: 2, n_r: Some(2), spread: 16.0 },
        Setting { m: 5, n_p: 3, n_r: None, spread: 256.0 },
    ]);
    all
}

/// Draws blocks until both laws are tested with power .99 against the wrong ones.
fn measure(setting: Setting, rng: &mut ChaCha20Rng) -> Measured {
    const FEWEST: u64 = 1000;
    let draws = |law, wrong| Proportion::draws(law, wrong).unwrap_or(FEWEST);
    let trials = FEWEST
        .max(draws(setting.interior(), setting.wrong_interior()))
        .max(draws(setting.local(), setting.wrong_local()));
    let masses = spread_masses(setting.m, setting.spread);
    let (mut interior, mut local, mut close, mut counted) = (0, 0, 0, 0);
    while counted < trials {
        match setting.draw(rng, &masses) {
            Some(found) if found.margin > CLOSE => {
                counted += 1;
                interior += u64::from(found.optimum.is_some());
                local += u64::from(found.optimum == Some(0));
            }
            _ => close += 1,
        }
    }
    let test = |successes, law, wrong| Proportion { trials, successes, law, wrong };
    Measured {
        setting,
        interior: test(interior, setting.interior(), setting.wrong_interior()),
        local: test(local, setting.local(), setting.wrong_local()),
        close,
    }
}

/// Rational draws: the exact decision against the f64 rule, away from ties.
fn exact_check(context: &Context) -> Check {
    const BITS: u32 = 8;
    // Rational directions are exact and masses are integers, so that only the eigenvectors are rounded.
    const MARGIN: f64 = 1e-9;
    let mut rng = stream(context.seed, "thm-3.7-prevalence exact");
    let (mut trials, mut failures) = (0, 0);
    let settings = [
        Setting::square(2, 16.0),
        Setting::square(3, 1.0),
        Setting::square(4, 16.0),
        Setting { m: 3, n_p: 2, n_r: None, spread: 16.0 },
        Setting { m: 3, n_p: 3, n_r: Some(3), spread: 256.0 },
    ];
    for setting in settings {
        for _ in 0..EXACT {
            let mut units = |length| {
                let P = random_unit(length, setting.m, &mut rng);
                P.col_iter().map(|c| rational_unit(&c.iter().copied().collect::<Vec<_>>(), BITS)).collect::<Vec<_>>()
            };
            let inputs = units(setting.n_p);
            let targets = setting.n_r.map_or_else(|| inputs.clone(), &mut units);
            let masses = spread_masses(setting.m, setting.spread);
            let features = inputs.into_iter().zip(targets).zip(masses);
            let features = features
                .map(|((w_p, w_r), mass)| Feature { w_p, w_r, mass: rational::from_f64(mass.round()).expect("finite") })
                .collect();
            let problem = Problem::new(features, Activation::Threshold(Rational::ZERO)).expect("masses are positive");
            let whole = Pattern::new(vec![(0..setting.m).collect()], setting.m).expect("indices are in range");
            let Some(found) = spectrum_of(&problem).filter(|s| s.margin > MARGIN) else { continue };
            trials += 1;
            let agrees = decide(&problem, &whole).is_ok_and(|decision| {
                let interior: Vec<_> =
                    decision.optima.iter().filter(|o| o.kind == partial_optimum::Kind::Interior).collect();
                match (found.optimum, interior.as_slice()) {
                    (None, []) => decision.exists.is_some(),
                    (Some(rank), [optimum]) => (optimum.class == Class::LocalMin) == (rank == 0),
                    _ => false,
                }
            });
            failures += usize::from(!agrees);
        }
    }
    Check { what: "existence and class of one block, decided exactly, against the f64 rule".into(), trials, failures }
}

fn run(context: &Context) -> Outcome {
    let proposals = Proposals::new(context.seed, CLAIM.id, 3).take(PROPOSALS);
    let Some(found) = proposals.map(|instance| with_equal_masses(&instance)).find(refutes) else {
        return Outcome::undecided(format!("no counterexample among {PROPOSALS} proposals"));
    };
    let smallest = shrink(found, refutes);
    let decision = decide(&smallest.problem, &smallest.pattern).expect("the search kept a threshold problem");
    let certificate = decision.certificate.expect("an answer `false` carries a certificate");
    let text = format!(
        "{}: independent features, equal masses, and no point of the cell of {} is a partial optimum.",
        landscape::describe(&smallest.problem),
        smallest.pattern
    );
    let mut evidence = match Evidence::certified(text, "no-partial-optimum", certificate) {
        Ok(item) => vec![item],
        Err(refusal) => return Outcome::undecided(refusal.to_string()),
    };
    let mut rng = stream(context.seed, "thm-3.7-prevalence blocks");
    let measured: Vec<Measured> = settings().into_iter().map(|setting| measure(setting, &mut rng)).collect();
    let partitions = thm_3_7_partitions::measure(context);
    let draws: u64 = measured.iter().map(|x| x.interior.trials + x.close).sum();
    let close: u64 = measured.iter().map(|x| x.close).sum();
    evidence.push(Evidence::computed(format!(
        "{draws} random blocks in {} settings, {close} of them too close to call in f64 and not counted.",
        measured.len()
    )));
    let mut checks = vec![exact_check(context)];
    for x in &measured {
        checks.push(Check::proportion(&format!("{}: interior partial optimum", x.setting.name()), &x.interior));
        checks.push(Check::proportion(&format!("{}: local minimum", x.setting.name()), &x.local));
    }
    checks.extend(thm_3_7_partitions::checks(&partitions));
    let law = PartitionLaw::interior(30);
    let mut outcome = Outcome::new(Verdict::Refuted, evidence)
        .with_correction(Correction {
            statement: "For independent sign-symmetric features, any fixed masses and a neuron that fires on a block of m, \
                        Pr(interior partial optimum) = min(m, n_p)·2^{1−m} and Pr(local minimum in the cell) = 2^{1−m}. \
                        For a uniform set partition of n ≤ n_p features the share with a partial optimum has the \
                        exponential generating function exp(x e^{x/2}), and with a local minimum exp(2e^{x/2} − 2), over the \
                        Bell numbers: it tends to 0."
                .into(),
            latex: r"\Pr(\text{interior partial optimum})=\min(m,n_p)\,2^{1-m},\quad \Pr(\text{local minimum})=2^{1-m},\quad \sum_n B_n s_n\frac{x^n}{n!}=\exp\bigl(x\,e^{x/2}\bigr)".into(),
            checks,
        })
        .with_quantity("share-10", "share of the partitions of 10 features with a partial optimum", Cell::number(law[10], 2))
        .with_quantity("share-30", "share of the partitions of 30 features with a partial optimum", Cell::number(law[30], 2))
        .with_quantity("draws", "random blocks drawn", Cell::from(usize::try_from(draws).unwrap_or(usize::MAX)));
    for x in measured.iter().filter(|x| x.setting.m == 6 && x.setting.spread == 16.0) {
        let share = Cell::number(x.interior.share(), 3);
        outcome = outcome.with_quantity("measured-6", "measured share of blocks of 6 with a partial optimum", share);
    }
    outcome.figures.push(figure(&measured, &partitions));
    outcome.tables.push(table(&measured));
    outcome
}

fn figure(measured: &[Measured], partitions: &[thm_3_7_partitions::Measured]) -> Figure {
    let sizes = 2..=6;
    let axis = || Axis::linear("block size m").range(1.5, 6.5).ticks(sizes.clone().map(|m| (m as f64, m.to_string())));
    let law = |of: fn(&Setting) -> f64| sizes.clone().map(|m| (m as f64, of(&Setting::square(m, 1.0)))).collect();
    let panel = |title: &str, of: fn(&Setting) -> f64, test: fn(&Measured) -> &Proportion, name: &str| {
        let reference = Layer::Reference { label: "law".into(), points: law(of) };
        let mut panel = Panel::new(title, axis(), Axis::log("probability").range(0.02, 1.3)).layer(reference);
        for (k, spread) in SPREADS.iter().enumerate() {
            // side by side, so that the three intervals can be told apart
            let shift = 0.16 * (k as f64 - 1.0);
            let chosen: Vec<&Measured> =
                measured.iter().filter(|x| x.setting.spread == *spread && x.setting.m == x.setting.n_p).collect();
            let label = if *spread == 1.0 { "equal masses".into() } else { format!("masses 1 to {spread}") };
            panel = panel.layer(Layer::Points {
                label,
                points: chosen.iter().map(|x| (x.setting.m as f64 + shift, test(x).share())).collect(),
                intervals: chosen.iter().map(|x| test(x).interval(0.99)).collect(),
            });
        }
        panel.layer(Layer::Note { at: (2.2, 0.03), text: name.into() })
    };
    Figure::new("thm-3-7-prevalence", CLAIM.id, Width::Page)
        .title("Prevalence against the law, by block size and mass spread")
        .caption(
            "Points: shares of random blocks with n_p = m, with 99 % intervals; dashed: the law. (a) A block of m features has a \
             partial optimum with probability m 2^{1−m}, (b) a local minimum with probability 2^{1−m}, whatever the masses. \
             (c) Uniform partitions of n features, n_p = n: the share with a partial optimum (upper curve) and with a local \
             minimum (lower curve) falls towards 0. Theorem 3.7 says 1 for all of (a) and (c).",
        )
        .panel(panel("partial optimum", Setting::interior, |x| &x.interior, "m 2^{1−m}"))
        .panel(panel("local minimum", Setting::local, |x| &x.local, "2^{1−m}"))
        .panel(thm_3_7_partitions::panel(partitions))
}

fn table(measured: &[Measured]) -> Table {
    let columns = [
        ("m", Kind::Number),
        ("n_p", Kind::Number),
        ("targets", Kind::Text),
        ("masses", Kind::Text),
        ("draws", Kind::Number),
        ("law, partial optimum", Kind::Number),
        ("measured", Kind::Number),
        ("law, local minimum", Kind::Number),
        ("measured", Kind::Number),
    ];
    let mut table = Table::new("prevalence", CLAIM.id, columns)
        .title("Blocks with a partial optimum and with a local minimum, predicted and measured")
        .caption("Random unit features; intervals at 99 %.")
        .note("Theorem 3.7 says 1 in every row of the first law.");
    for x in measured {
        let interval = |test: &Proportion| {
            let (low, high) = test.interval(0.99);
            Cell::Interval { value: test.share(), low, high, digits: 3 }
        };
        table.push([
            x.setting.m.into(),
            x.setting.n_p.into(),
            x.setting.n_r.map_or("r = p".to_owned(), |n_r| format!("r ≠ p, n_r = {n_r}")).into(),
            if x.setting.spread == 1.0 { "equal".into() } else { format!("1 to {}", x.setting.spread).into() },
            usize::try_from(x.interior.trials).unwrap_or(usize::MAX).into(),
            Cell::number(x.interior.law, 4),
            interval(&x.interior),
            Cell::number(x.local.law, 4),
            interval(&x.local),
        ]);
    }
    table
}
