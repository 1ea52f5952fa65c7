//! Eq. 10: σ(z)_i ∈ {0, z_i} for ReLU, JumpReLU, Top-k, Batch-top-k and their compositions.
//!
//! Holds for an encoder without bias, which is how eq. 1 writes it: each of these activations keeps a number or drops it, and so does a
//! composition. With the encoder bias that published models have, a neuron that fires passes on z_i + b_i, and eq. 10 fails.

use super::relations::{self, integer, rational, step};
use super::sources::{BRICKEN_2023, BUSSMANN_2024, GAO_2024, RAJAMANOHARAN_2024_GATED, RAJAMANOHARAN_2024_JUMP};
use super::{Check, Claim, Context, Correction, Evidence, Outcome, Verdict};
use crate::bench::features::stream;
use crate::exact::{Rational, rational as exact};
use crate::stats::{Axis, Cell, Figure, Kind, Layer, Panel, Table, Width};
use crate::theory::activation::{ActivationError, SparseActivation};
use rand::RngExt;
use rand_chacha::ChaCha20Rng;
use sdlab_verify::format::{Expr, Relation};

/// The claim.
pub const CLAIM: Claim = Claim {
    id: "eq-10",
    place: "Sec. 2.4, eq. 10",
    title: "An activation keeps a pre-activation or sets it to 0",
    statement: "For ReLU, JumpReLU, Top-k, Batch-top-k and their compositions, every σ(z)_i is 0 or z_i.",
    latex: r"\sigma(z)_i\in\{0,z_i\}\quad\forall i\in[n_q]",
    assumes: "z = W_E x_p (eq. 1); σ is one of the named activations with any k ≥ 1 and thresholds ≥ 0, or a composition of them.",
    sources: &[BRICKEN_2023, GAO_2024, BUSSMANN_2024, RAJAMANOHARAN_2024_JUMP, RAJAMANOHARAN_2024_GATED],
    run,
    on_instance: None,
};

/// Draws of the parameters of every activation, and inputs for each.
const DRAWS: usize = 25;
const INPUTS: usize = 20;
/// Instances of the corrected statement.
const TRIALS: usize = 400;

type Sigma = SparseActivation<Rational>;
type Batch = Vec<Vec<Rational>>;

/// The hypotheses: every part of the chain is one of the named activations, none with a bias or a rescale of its own.
fn hypotheses(chain: &[Sigma]) -> bool {
    !chain.is_empty() && !chain.iter().any(|s| matches!(s, Sigma::BiasedRelu(_) | Sigma::Gated { .. }))
}

fn number(rng: &mut ChaCha20Rng, low: i32, high: i32) -> Rational {
    Rational::from(rng.random_range(low..=high)) / Rational::from(4)
}

/// The named activations with random parameters, for `neurons` neurons.
fn named(rng: &mut ChaCha20Rng, neurons: usize) -> Vec<(&'static str, Sigma)> {
    let mut k = || rng.random_range(1..=neurons);
    let counts = [k(), k(), k(), k()];
    vec![
        ("ReLU", Sigma::Relu),
        ("JumpReLU", Sigma::JumpRelu((0..neurons).map(|_| number(rng, 0, 6)).collect())),
        ("Top-k", Sigma::TopK(counts[0])),
        ("Top-k∘ReLU", Sigma::TopKRelu(counts[1])),
        ("Batch-top-k", Sigma::BatchTopK(counts[2])),
        ("Batch-top-k∘ReLU", Sigma::BatchTopKRelu(counts[3])),
    ]
}

/// The numbers that the chain, applied from the first to the last, turns into neither 0 nor themselves.
fn violations(chain: &[Sigma], batch: &Batch) -> Result<usize, ActivationError> {
    let mut outputs = batch.clone();
    for sigma in chain {
        outputs = sigma.apply_batch(&outputs)?;
    }
    let pairs = batch.iter().flatten().zip(outputs.iter().flatten());
    Ok(pairs.filter(|(input, output)| !output.is_zero() && input != output).count())
}

/// Inputs tried and violations found of one activation, or of a kind of composition.
struct Tally {
    name: &'static str,
    tried: usize,
    violations: usize,
}

/// Every named activation, and all compositions of two, on seeded inputs.
fn tallies(context: &Context) -> Result<Vec<Tally>, ActivationError> {
    let mut rng = stream(context.seed, CLAIM.id);
    let mut all: Vec<Tally> = Vec::new();
    let mut add = |name, chain: &[Sigma], batches: &[Batch]| -> Result<(), ActivationError> {
        if !hypotheses(chain) {
            return Ok(());
        }
        if !all.iter().any(|tally| tally.name == name) {
            all.push(Tally { name, tried: 0, violations: 0 });
        }
        for tally in all.iter_mut().filter(|tally| tally.name == name) {
            tally.tried += batches.len();
            for batch in batches {
                tally.violations += violations(chain, batch)?;
            }
        }
        Ok(())
    };
    for _ in 0..DRAWS {
        let neurons = rng.random_range(1..=4);
        let list = named(&mut rng, neurons);
        for (name, sigma) in &list {
            add(name, std::slice::from_ref(sigma), &sigma.probes(neurons, INPUTS, rng.random()))?;
        }
        for (_, outer) in &list {
            for (_, inner) in &list {
                // The batches of two vectors suit every part of the chain.
                let batches = Sigma::BatchTopK(1).probes(neurons, INPUTS / 4, rng.random());
                add("compositions of two", &[inner.clone(), outer.clone()], &batches)?;
            }
        }
    }
    Ok(all)
}

/// One neuron of ReLU with an encoder bias.
#[derive(Debug, Clone)]
struct Biased {
    z: Rational,
    bias: Rational,
}

impl Biased {
    fn output(&self) -> Rational {
        let sigma = Sigma::BiasedRelu(vec![self.bias.clone()]);
        sigma.apply(std::slice::from_ref(&self.z)).map_or(Rational::ZERO, |mut output| output.swap_remove(0))
    }

    fn violates(&self) -> bool {
        let output = self.output();
        !output.is_zero() && output != self.z
    }

    /// A small number is short and not negative.
    fn size(&self) -> (usize, usize) {
        let bits = |x: &Rational| if x.is_zero() { 0 } else { exact::bits(x) };
        let negative = [&self.z, &self.bias].iter().filter(|x| exact::sign(x) < 0).count();
        (bits(&self.z) + bits(&self.bias), negative)
    }

    /// Shorter numbers, the sign of the bias kept.
    fn shrunk(self) -> Self {
        let mut smallest = self;
        let integers = || (-2..=2).map(Rational::from);
        loop {
            let keeps_sign = |b: &Rational| exact::sign(b) == exact::sign(&smallest.bias);
            let candidates = integers()
                .map(|z| Self { z, bias: smallest.bias.clone() })
                .chain(integers().filter(keeps_sign).map(|bias| Self { z: smallest.z.clone(), bias }))
                .chain(
                    integers().flat_map(|z| integers().filter(keeps_sign).map(move |bias| Self { z: z.clone(), bias })),
                );
            let smaller = candidates.filter(|c| c.size() < smallest.size() && c.violates()).min_by_key(Self::size);
            match smaller {
                Some(smaller) => smallest = smaller,
                None => return smallest,
            }
        }
    }
}

/// A violation by a bias of this sign, found among random vectors and shrunk to one neuron.
fn find_biased(context: &Context, sign: i32) -> Option<Biased> {
    let mut rng = stream(context.seed, "eq-10 bias");
    let neurons = 3;
    (0..DRAWS).find_map(|_| {
        let bias: Vec<Rational> = (0..neurons).map(|_| number(&mut rng, 1, 8) * Rational::from(sign)).collect();
        let sigma = Sigma::BiasedRelu(bias.clone());
        let witness = sigma.zero_or_identity_violation(&sigma.probes(neurons, INPUTS, rng.random())).ok().flatten()?;
        Some(Biased { z: witness.input().clone(), bias: bias[witness.neuron].clone() }.shrunk())
    })
}

/// z + b > 0, so that the neuron fires with z + b, which is not z (and not 0).
fn certified(found: &Biased, name: &str) -> Result<Evidence, String> {
    let output = || Expr::Add(vec![rational(&found.z), rational(&found.bias)]);
    let side = if exact::sign(&found.bias) > 0 { Relation::Greater } else { Relation::Less };
    let steps = vec![step(output(), Relation::Greater, integer(0)), step(output(), side, rational(&found.z))];
    let text = format!(
        "ReLU with encoder bias b = {}: at z = {} the output is {}, neither 0 nor z.",
        found.bias,
        found.z,
        found.output()
    );
    let note = "z + b > 0, so that max(0, z + b) = z + b, which differs from z and from 0";
    Evidence::certified(text, name, relations::certificate(steps, note)).map_err(|refusal| refusal.to_string())
}

fn run(context: &Context) -> Outcome {
    let tallies = match tallies(context) {
        Ok(tallies) => tallies,
        Err(error) => return Outcome::undecided(error.to_string()),
    };
    if let Some(broken) = tallies.iter().find(|tally| tally.violations > 0) {
        return Outcome::undecided(format!("{} violates eq. 10 on {} inputs", broken.name, broken.violations));
    }
    let tried: usize = tallies.iter().map(|tally| tally.tried).sum();
    let mut evidence = vec![Evidence::computed(format!(
        "{tried} inputs of the named activations and of their compositions, exactly: every output is 0 or the input. Each of them \
         multiplies z_i by 0 or 1, and a composition does so twice."
    ))];
    let found: Vec<Biased> = [1, -1].into_iter().filter_map(|sign| find_biased(context, sign)).collect();
    for (found, name) in found.iter().zip(["positive-bias", "negative-bias"]) {
        match certified(found, name) {
            Ok(item) => evidence.push(item),
            Err(why) => return Outcome::undecided(why),
        }
    }
    let verdict = if found.is_empty() {
        Verdict::Holds
    } else {
        Verdict::HoldsWith("the encoder has no bias, as in eq. 1".into())
    };
    let mut outcome = Outcome::new(verdict, evidence).with_correction(Correction {
        statement: "Without a bias as printed. With an encoder bias b, σ(z)_i ∈ {0, z_i + b_i}. That is eq. 10 for the encoder (W_E, b) on \
                    inputs (x_p, 1): a constant input that is never silent, which Asm. 2.4 does not allow, so that statements about \
                    ⟨w_i, p_d⟩ > c do not carry over."
            .into(),
        latex: r"\sigma(W_Ex_p+b)_i\in\{0,\ \langle w_E^i,x_p\rangle+b_i\}".into(),
        checks: checks(context),
    });
    outcome.tables.push(table(&tallies, &found));
    outcome.figures.push(figure(&found));
    outcome.with_quantity("inputs", "Inputs on which eq. 10 was tested without a bias", Cell::from(tried))
}

/// With a bias: eq. 10 for z + b, and the bias as the weight of a constant input.
fn checks(context: &Context) -> Vec<Check> {
    let mut rng = stream(context.seed, "eq-10 correction");
    let (mut shifted, mut constant) = (0, 0);
    for _ in 0..TRIALS {
        let (n_p, neurons) = (2, 3);
        let mut vector = |length: usize| (0..length).map(|_| number(&mut rng, -8, 8)).collect::<Vec<_>>();
        let (rows, bias, x): (Vec<_>, _, _) =
            ((0..neurons).map(|_| vector(n_p)).collect(), vector(neurons), vector(n_p));
        let dot = |a: &[Rational], b: &[Rational]| crate::theory::pattern::dot(a, b);
        let z: Vec<Rational> = rows.iter().map(|w| dot(w, &x)).collect();
        let with_constant = [x.clone(), vec![Rational::ONE]].concat();
        let augmented: Vec<Rational> =
            rows.iter().zip(&bias).map(|(w, b)| dot(&[w.clone(), vec![b.clone()]].concat(), &with_constant)).collect();
        let (Ok(biased), Ok(plain)) = (Sigma::BiasedRelu(bias.clone()).apply(&z), Sigma::Relu.apply(&augmented)) else {
            shifted += 1;
            continue;
        };
        let kept = |i: usize| biased[i].is_zero() || biased[i] == &z[i] + &bias[i];
        shifted += usize::from(!(0..neurons).all(kept));
        constant += usize::from(biased != plain);
    }
    vec![
        Check {
            what: "ReLU with a random bias: every output is 0 or z_i + b_i".into(),
            trials: TRIALS,
            failures: shifted,
        },
        Check { what: "it equals ReLU without bias on (x, 1)".into(), trials: TRIALS, failures: constant },
    ]
}

fn table(tallies: &[Tally], found: &[Biased]) -> Table {
    let columns = [
        ("activation", Kind::Text),
        ("inputs tried", Kind::Number),
        ("violations", Kind::Number),
        ("smallest violation", Kind::Exact),
    ];
    let mut table = Table::new("eq-10-activations", CLAIM.id, columns)
        .title("Eq. 10 by activation")
        .caption("Exact outputs on seeded inputs with ties, zeros and numbers at the thresholds.");
    for tally in tallies {
        table.push([tally.name.into(), tally.tried.into(), tally.violations.into(), Cell::Missing]);
    }
    for violation in found {
        let name = if exact::sign(&violation.bias) > 0 { "ReLU, positive bias" } else { "ReLU, negative bias" };
        let witness = format!("z = {}, b = {}: {}", violation.z, violation.bias, violation.output());
        table.push([name.into(), Cell::Missing, Cell::Missing, Cell::exact(witness)]);
    }
    table
}

fn figure(found: &[Biased]) -> Figure {
    let ends = (-2.0, 3.0);
    let curve = |sigma: &SparseActivation<f64>| -> Vec<(f64, f64)> {
        let grid = (0..=250).map(|k| ends.0 + (ends.1 - ends.0) * f64::from(k) / 250.0);
        let mut points: Vec<(f64, f64)> = Vec::new();
        for z in grid {
            let output = sigma.apply(&[z]).map_or(f64::NAN, |mut output| output.swap_remove(0));
            // A jump is a gap of the line.
            if points.last().is_some_and(|last| (output - last.1).abs() > 0.5) {
                points.push((z, f64::NAN));
            }
            points.push((z, output));
        }
        points
    };
    let mut panel = Panel::new("", Axis::linear("pre-activation z_i"), Axis::linear("output of neuron i"))
        .layer(Layer::Reference {
            label: "0 and z_i".into(),
            points: vec![(ends.0, 0.0), (ends.1, 0.0), (f64::NAN, 0.0), (ends.0, ends.0), (ends.1, ends.1)],
        })
        .layer(Layer::Line { label: "JumpReLU, θ = 1".into(), points: curve(&SparseActivation::JumpRelu(vec![1.0])) });
    for violation in found {
        let bias = exact::to_f64(&violation.bias);
        panel = panel.layer(Layer::Line {
            label: format!("ReLU, b = {}", violation.bias).replace('-', "−"),
            points: curve(&SparseActivation::BiasedRelu(vec![bias])),
        });
    }
    Figure::new("eq-10-activations", CLAIM.id, Width::Column)
        .title("What a neuron passes on")
        .caption(
            "Eq. 10 asks that the output lies on one of the two grey lines. JumpReLU does; ReLU with an encoder bias runs beside them.",
        )
        .panel(panel)
}
