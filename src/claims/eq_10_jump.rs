//! "All these activation functions can be expressed in the form σ_Jump(z; c) for some threshold c ≥ 0" (after eq. 10).
//!
//! Refuted in both readings. No single c serves Top-k, not even after ReLU, nor JumpReLU with a threshold for each neuron; and for
//! single inputs no c ≥ 0 keeps the −1 that Top-1 keeps of (−1, −2), or tells equal numbers apart. There are even patterns of
//! Top-1∘ReLU that no encoder has under any threshold.

use super::relations::{self, integer, rational, step};
use super::sources::{BUSSMANN_2024, GAO_2024, RAJAMANOHARAN_2024_JUMP};
use super::{Check, Claim, Context, Correction, Evidence, Outcome, Verdict, threshold_clash};
use crate::bench::features::stream;
use crate::exact::{Rational, rational as exact};
use crate::stats::{Axis, Cell, Figure, Kind, Layer, Panel, Table, Width};
use crate::theory::activation::SparseActivation;
use crate::theory::activation::properties::ThresholdFit;
use crate::theory::pattern::Pattern;
use crate::theory::problem::{Activation, Feature, Problem};
use crate::theory::region::{self, Realizability};
use rand::RngExt;
use sdlab_verify::format::Relation;
use threshold_clash::{Clash, Sigma};

/// The claim.
pub const CLAIM: Claim = Claim {
    id: "eq-10-jump",
    place: "Sec. 2.4, after eq. 10",
    title: "Every named activation is σ_c for some threshold c ≥ 0",
    statement: "ReLU, JumpReLU, Top-k, Batch-top-k and their compositions can all be expressed as σ_Jump(z; c)_i = z_i·1(z_i > c) for some threshold c ≥ 0.",
    latex: r"\sigma(z)_i=\sigma_{\mathrm{Jump}}(z;c)_i=z_i\cdot 1(z_i>c)\quad\text{for some } c\ge 0",
    assumes: "The definitions of eqs. 6 and 7: Top-k keeps the k largest numbers whatever their sign, ties go to the lower index.",
    sources: &[GAO_2024, BUSSMANN_2024, RAJAMANOHARAN_2024_JUMP],
    run,
    on_instance: None,
};

/// Inputs that a search looks at, and instances of the corrected statement.
const INPUTS: usize = 400;
const TRIALS: usize = 1500;
const NEURONS: usize = 3;
/// Proposals of an encoder beyond all thresholds, of which about one in a hundred is one, and how many of these are compared.
const PROPOSALS: usize = 4000;
const CANDIDATES: usize = 4;

/// The hypotheses: parameters that the named activations allow.
fn hypotheses(sigma: &Sigma, neurons: usize) -> bool {
    let named = !matches!(sigma, Sigma::BiasedRelu(_) | Sigma::Gated { .. });
    named && sigma.check(neurons).is_ok()
}

fn run(context: &Context) -> Outcome {
    let mut evidence = Vec::new();
    let mut rows = Vec::new();
    let mut rng = stream(context.seed, CLAIM.id);
    let thresholds: Vec<Rational> = (1..=NEURONS).map(Rational::from).collect();
    let theta = Rational::from(rng.random_range(1..=6)) / Rational::from(4);
    let activations: [(&str, Sigma); 8] = [
        ("ReLU", Sigma::Relu),
        ("JumpReLU, one θ", Sigma::JumpRelu(vec![theta.clone(); NEURONS])),
        ("JumpReLU, θ_i", Sigma::JumpRelu(thresholds)),
        ("Top-1", Sigma::TopK(1)),
        ("Top-2", Sigma::TopK(2)),
        ("Top-1∘ReLU", Sigma::TopKRelu(1)),
        ("Batch-top-1", Sigma::BatchTopK(1)),
        ("Batch-top-1∘ReLU", Sigma::BatchTopKRelu(1)),
    ];
    for (name, sigma) in activations {
        if !hypotheses(&sigma, NEURONS) {
            return Outcome::undecided(format!("{name} has no valid parameters"));
        }
        let batches = sigma.probes(NEURONS, INPUTS, rng.random());
        let row = Row::new(name, &sigma, &batches);
        for (clash, stem) in row.clashes().zip(["input", "function"]) {
            for item in clash.evidence(name, &format!("{}-{stem}", file_stem(name))) {
                match item {
                    Ok(item) => evidence.push(item),
                    Err(refusal) => return Outcome::undecided(refusal.to_string()),
                }
            }
        }
        rows.push(row);
    }
    match no_encoder(context) {
        Ok(items) => evidence.extend(items),
        Err(why) => return Outcome::undecided(why),
    }
    let broken = rows.iter().filter(|row| row.whole.is_some()).count();
    let verdict = if broken > 0 { Verdict::Refuted } else { Verdict::Holds };
    let mut outcome = Outcome::new(verdict, evidence).with_correction(Correction {
        statement: "ReLU is σ_0, and JumpReLU with one θ for all neurons is σ_θ. With k' = min(k, n_q) and z_(1) ≥ z_(2) ≥ .. the \
                    numbers in order, Top-k equals σ_t at an input z for some t ≥ 0 iff z_(k') ≥ 0 and not z_(k') = z_(k'+1) > 0; \
                    Top-k∘ReLU iff not z_(k') = z_(k'+1) > 0. Then t may be anything from max(0, z_(k'+1)) up to the smallest number that \
                    is kept, so that t depends on z: where z_(k'+1) > 0 the inputs z and sz, s large, have no t in common. Batch-top-k does \
                    the same with the numbers of a whole batch. Statements about σ_c therefore speak of ReLU and of JumpReLU with a \
                    shared θ only."
            .into(),
        latex: r"\sigma_{\mathrm{Top}\text{-}k\circ\mathrm{ReLU}}(z)=\sigma_{\mathrm{Jump}}(z;t(z)),\qquad \max(0,z_{(k+1)})\le t(z)<z_{(k)}".into(),
        checks: checks(context),
    });
    outcome.tables.push(table(&rows));
    outcome.figures.push(figure(context));
    outcome.with_quantity("not-single", "Named activations tried that are σ_c for no c", Cell::from(broken))
}

/// What was found of one activation.
struct Row {
    name: &'static str,
    /// Inputs on each of which no c ≥ 0 works.
    single: Option<Clash>,
    /// Inputs on which no single c works.
    whole: Option<Clash>,
    /// The thresholds that work on all inputs that were tried.
    fit: Option<ThresholdFit>,
}

impl Row {
    /// The distinct clashes: on one input, and together.
    fn clashes(&self) -> impl Iterator<Item = &Clash> {
        self.single.iter().chain(self.whole.iter().filter(|whole| Some(*whole) != self.single.as_ref()))
    }

    fn new(name: &'static str, sigma: &Sigma, batches: &[Vec<Vec<Rational>>]) -> Self {
        let alone = |batch: &Vec<Vec<Rational>>| Clash::new(sigma.clone(), vec![batch.clone()]);
        let clashes: Vec<Clash> = batches.iter().map(alone).filter(Clash::clashes).collect();
        // One that is no tie says more.
        let single = clashes.iter().find(|clash| !clash.ties()).or(clashes.first()).cloned();
        let single = single.map(|clash| {
            let ties = clash.ties();
            clash.shrunk(|c| c.clashes() && c.ties() == ties)
        });
        // Inputs that have a c each, and none together.
        let calm: Vec<_> = batches.iter().filter(|batch| !alone(batch).clashes()).cloned().collect();
        let together = Clash::new(sigma.clone(), calm);
        let whole = match together.narrowed() {
            // A threshold for each neuron is the whole reason.
            Some(clash) if !matches!(sigma, Sigma::JumpRelu(_)) => {
                Some(clash.shrunk(|c| c.clashes() && c.each_alone_fits()))
            }
            _ => single.clone(),
        };
        Self { name, single, whole, fit: sigma.threshold_fit(batches).ok() }
    }
}

fn file_stem(name: &str) -> String {
    let plain: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
    plain.split('-').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-")
}

/// A pattern that an encoder has under Top-1∘ReLU and that no encoder has under σ_c, for any c ≥ 0: multipliers y on F_i and z off it
/// with Σ y_d p_d = Σ z_e p_e and Σ y ≥ Σ z refute c = 1, hence every c > 0 by scaling the rows, and c = 0 as well.
fn no_encoder(context: &Context) -> Result<Vec<Evidence>, String> {
    let mut rng = stream(context.seed, "eq-10-jump encoder");
    let mut found = Vec::new();
    for _ in 0..PROPOSALS {
        let mut vector = || (0..2).map(|_| Rational::from(rng.random_range(-2..=2_i32))).collect::<Vec<_>>();
        let features: Vec<Feature> = (0..4)
            .map(|_| {
                let p = vector();
                Feature { w_r: p.clone(), w_p: p, mass: Rational::ONE }
            })
            .collect();
        let w_e = vec![vector(), vector(), vector()];
        let problem = |activation| Problem::new(features.clone(), activation).map_err(|error| error.to_string());
        let (top, at_one) = (problem(Activation::TopKRelu(1))?, problem(Activation::Threshold(Rational::ONE))?);
        let pattern = Pattern::of_encoder(&top, &w_e);
        if let Ok(empty @ Realizability::Empty { .. }) = region::decide(&at_one, &pattern) {
            let bits = |x: &Rational| if x.is_zero() { 0 } else { exact::bits(x) };
            let size: usize = features.iter().flat_map(|f| &f.w_p).chain(w_e.iter().flatten()).map(bits).sum();
            let at_zero = problem(Activation::Threshold(Rational::ZERO))?;
            found.push((size, top, at_zero, at_one, pattern, w_e, empty));
        }
        if found.len() == CANDIDATES {
            break;
        }
    }
    let smallest = found.into_iter().min_by_key(|candidate| candidate.0);
    let (_, top, at_zero, at_one, pattern, w_e, empty) =
        smallest.ok_or("no pattern beyond all thresholds was found")?;
    let inputs: Vec<String> = top.features().iter().map(|f| threshold_clash::vector(&f.w_p)).collect();
    let witness = Realizability::Realizable { w_e };
    let texts = [
        format!("Inputs {}: Top-1∘ReLU has an encoder with the pattern {pattern}.", inputs.join(", ")),
        format!("Under σ_0 no encoder has the pattern {pattern} on these inputs."),
        "Nor under σ_1, by the same multipliers, and so under no σ_c: rows scale with c.".to_owned(),
    ];
    let certificates = [
        ("encoder-top-1-relu", witness.certificate(&top, &pattern)),
        ("encoder-none-0", empty.certificate(&at_zero, &pattern)),
        ("encoder-none-1", empty.certificate(&at_one, &pattern)),
    ];
    let items = texts.into_iter().zip(certificates);
    items.map(|(text, (name, c))| Evidence::certified(text, name, c).map_err(|refusal| refusal.to_string())).collect()
}

impl Clash {
    /// The certificates of a clash: the firing pattern with W = I where the format knows the activation, and the relations that leave no
    /// room for c.
    fn evidence(&self, activation: &str, name: &str) -> Vec<Result<Evidence, sdlab_verify::Refusal>> {
        let Some(ThresholdFit::NoThreshold(witnesses)) = self.fit() else { return Vec::new() };
        let inputs = self.inputs();
        let mut items = Vec::new();
        if let Some((problem, w_e)) = self.problem() {
            let pattern = Pattern::of_encoder(&problem, &w_e);
            let text = format!("{activation}, {inputs}: the numbers that it keeps.");
            let certificate = Realizability::Realizable { w_e }.certificate(&problem, &pattern);
            items.push(Evidence::certified(text, &format!("{name}-pattern"), certificate));
        }
        let (steps, why) = match witnesses.as_slice() {
            [kept, dropped] => (
                vec![step(rational(kept.input()), Relation::LessEqual, rational(dropped.input()))],
                format!("it keeps {} and drops {}, so that c < {0} and c ≥ {1}", kept.input(), dropped.input()),
            ),
            [kept] => (
                vec![step(rational(kept.input()), Relation::Less, integer(0))],
                format!("it keeps {}, so that c < {0} < 0", kept.input()),
            ),
            _ => return items,
        };
        let steps = self.ranking().into_iter().chain(steps).collect();
        let text = format!("{activation}, {inputs}: {why}.");
        items.push(Evidence::certified(text.clone(), name, relations::certificate(steps, &text)));
        items
    }
}

/// Random inputs with ties: for which of them some t ≥ 0 exists, and which; and that z and sz have none in common.
fn checks(context: &Context) -> Vec<Check> {
    let mut rng = stream(context.seed, "eq-10-jump correction");
    let [mut predicted, mut scaled, mut scales, mut shared] = [0; 4];
    for _ in 0..TRIALS {
        let (neurons, k, relu) = (rng.random_range(1..=5), rng.random_range(1..=5), rng.random::<bool>());
        let sigma = if relu { Sigma::TopKRelu(k) } else { Sigma::TopK(k) };
        let input = sigma.probes(neurons, 1, rng.random());
        let fit = Clash::new(sigma.clone(), input.clone()).fit();
        let agrees = match (&fit, threshold_clash::thresholds_of_top_k(&input[0][0], k, relu)) {
            (Some(ThresholdFit::Agrees { lo, hi }), Some(expected)) => (lo.clone(), hi.clone()) == expected,
            (Some(ThresholdFit::NoThreshold(_)), None) => true,
            _ => false,
        };
        predicted += usize::from(!agrees);
        if let Some(ThresholdFit::Agrees { lo, hi: Some(hi) }) = fit
            && lo > Rational::ZERO
        {
            scales += 1;
            let larger = |x: &Rational| x * &hi / &lo * Rational::from(2);
            let second = vec![input[0][0].iter().map(larger).collect::<Vec<_>>()];
            scaled += usize::from(!Clash::new(sigma, vec![input[0].clone(), second]).clashes());
        }
        let theta = Rational::from(rng.random_range(0..=6)) / Rational::from(4);
        let jump = Sigma::JumpRelu(vec![theta.clone(); neurons]);
        let together = Clash::new(jump.clone(), jump.probes(neurons, 20, rng.random())).fit();
        let fits = matches!(together, Some(ThresholdFit::Agrees { lo, hi }) if lo <= theta && hi.as_ref().is_none_or(|hi| theta < *hi));
        shared += usize::from(!fits);
    }
    vec![
        Check {
            what: "Top-k, with ReLU or without, on one input: whether a t exists, and its range".into(),
            trials: TRIALS,
            failures: predicted,
        },
        Check { what: "z with z_(k+1) > 0 and its multiple: no t in common".into(), trials: scales, failures: scaled },
        Check { what: "JumpReLU with one θ is σ_θ on 20 inputs".into(), trials: TRIALS, failures: shared },
    ]
}

fn table(rows: &[Row]) -> Table {
    let columns = [
        ("activation", Kind::Text),
        ("one c for all inputs", Kind::Text),
        ("a c for each input", Kind::Text),
        ("why not", Kind::Exact),
    ];
    let mut table = Table::new("eq-10-thresholds", CLAIM.id, columns)
        .title("Which activations are σ_c")
        .caption("Decided on seeded inputs of three neurons and shrunk; batches hold two vectors.");
    for row in rows {
        let c = match &row.fit {
            Some(ThresholdFit::Agrees { lo, .. }) => format!("yes, c = {lo}"),
            _ => "no".to_owned(),
        };
        let single = match &row.single {
            Some(clash) if clash.ties() => "not with ties",
            Some(_) => "no",
            None => "yes",
        };
        let why: Vec<String> = row.clashes().map(Clash::in_words).collect();
        table.push([
            row.name.into(),
            c.into(),
            single.into(),
            if why.is_empty() { Cell::Missing } else { Cell::exact(why.join("; ")) },
        ]);
    }
    table
}

/// The thresholds that serve each of a few random inputs.
fn figure(context: &Context) -> Figure {
    let mut rng = stream(context.seed, "eq-10-jump figure");
    let inputs: Vec<Vec<f64>> = (0..12).map(|_| (0..6).map(|_| rng.random_range(0.0..1.0_f64)).collect()).collect();
    let ranges = |sigma: &SparseActivation<f64>| -> Vec<(f64, f64)> {
        let of_input = |z: &Vec<f64>| {
            let fired = sigma.firing(z).unwrap_or_default();
            let of = |keeps: bool| z.iter().zip(&fired).filter(move |(_, f)| **f == keeps).map(|(x, _)| *x);
            (of(false).fold(0.0, f64::max), of(true).fold(1.0, f64::min))
        };
        inputs.iter().map(of_input).collect()
    };
    let layer = |label: &str, intervals: Vec<(f64, f64)>, shift: f64| Layer::Points {
        label: label.into(),
        points: intervals.iter().enumerate().map(|(k, (lo, hi))| (k as f64 + 1.0 + shift, (lo + hi) / 2.0)).collect(),
        intervals,
    };
    let jump = ranges(&SparseActivation::JumpRelu(vec![0.45; 6]));
    let panel = Panel::new("", Axis::linear("random input").range(0.4, 12.7), Axis::linear("c").range(0.0, 1.0))
        .layer(layer("Top-2∘ReLU", ranges(&SparseActivation::TopKRelu(2)), -0.15))
        .layer(layer("JumpReLU, θ = 0.45", jump, 0.15))
        .layer(Layer::Reference { label: "c = 0.45".into(), points: vec![(0.4, 0.45), (12.7, 0.45)] });
    Figure::new("eq-10-thresholds", CLAIM.id, Width::Column)
        .title("The thresholds that reproduce an activation, input by input")
        .caption(
            "Each bar spans the c for which σ_c agrees with the activation on one random input of six neurons. One c crosses all bars of \
             JumpReLU; no c crosses all bars of Top-2∘ReLU, so that it is no σ_c.",
        )
        .panel(panel)
}
