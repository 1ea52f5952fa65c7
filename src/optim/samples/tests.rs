use super::*;
use crate::bench::config::{BenchConfig, Task};
use crate::bench::dataset::{Bench, Side};
use crate::bench::features::stream;
use crate::optim::dictionary::Samples;
use crate::optim::empirical;
use crate::sdl::{Activation, Init, Shape};
use crate::theory::loss::Weights;
use faer::Mat;
use rand::RngExt;

/// Samples of a bench, inputs and targets, and a random model.
struct Case {
    shape: Shape,
    inputs: Vec<f32>,
    targets: Vec<f32>,
    model: Model,
}

fn case(samples: u64, n_q: usize, activation: Activation, task: Task) -> Case {
    let config =
        BenchConfig { n: 20, n_p: 12, samples, sparsity: 0.9, interference: 0.4, task, ..BenchConfig::default() };
    let bench = Bench::generate(&config).unwrap();
    let batch = bench.coefficients().batch(&(0..samples).collect::<Vec<_>>());
    let rows = |side| {
        let mut out = vec![0.0; samples as usize * bench.directions(side).dimension()];
        bench.synthesize(&batch, side, &mut out);
        out
    };
    let shape = Shape { n_p: 12, n_r: bench.directions(Side::Target).dimension(), n_q };
    let init = Init { tied: false, ..Init::default() };
    Case { shape, inputs: rows(Side::Input), targets: rows(Side::Target), model: init.model(shape, activation, 3) }
}

impl Case {
    fn problem(&self) -> Problem<'_> {
        let inputs = Samples::new(&self.inputs, self.shape.n_p).unwrap();
        let targets = Samples::new(&self.targets, self.shape.n_r).unwrap();
        Problem::new(inputs, targets, self.model.activation).unwrap()
    }

    fn state(&self) -> (Codes, Vec<f32>) {
        let (problem, mut residuals) = (self.problem(), Vec::new());
        let codes = problem.encode(&self.model).unwrap();
        problem.residuals(problem::decoder(&self.model), &codes, &mut residuals);
        (codes, residuals)
    }

    /// The matrix of the cell's quadratic in W: column (i, c) holds the derivatives of all V z_s, over √N, in f64 and by plain loops.
    fn jacobian(&self, codes: &Codes) -> Mat<f64> {
        let Shape { n_p, n_r, n_q } = self.shape;
        let N = codes.samples();
        let mut J = Mat::<f64>::zeros(N * n_r, n_q * n_p);
        for s in 0..N {
            for &i in codes.sample(s).0 {
                for r in 0..n_r {
                    for c in 0..n_p {
                        let v = f64::from(self.model.w_d(i as usize)[r]);
                        J[(s * n_r + r, i as usize * n_p + c)] =
                            v * f64::from(self.inputs[s * n_p + c]) / (N as f64).sqrt();
                    }
                }
            }
        }
        J
    }
}

fn column(x: &[f32], factor: f64) -> Mat<f64> {
    Mat::from_fn(x.len(), 1, |i, _| factor * f64::from(x[i]))
}

fn distance(found: &[f32], expected: &Mat<f64>) -> f64 {
    (column(found, 1.0) - expected).norm_l2() / expected.norm_l2()
}

const ACTIVATIONS: [Activation; 3] = [Activation::TopK { k: 3 }, Activation::TopKRelu { k: 3 }, Activation::Relu];

#[test]
fn loss_and_gradients_of_relu_are_those_of_the_dense_empirical_problem() {
    let case = case(70, 15, Activation::Relu, Task::Transcoder { n_r: 10 });
    let Shape { n_p, n_r, n_q } = case.shape;
    let matrix = |x: &[f32], rows: usize| Mat::from_fn(rows, x.len() / rows, |i, j| f64::from(x[j * rows + i]));
    let dense = empirical(matrix(&case.inputs, n_p), matrix(&case.targets, n_r), 0.0).unwrap();
    let (V, W) = (problem::decoder(&case.model), problem::encoder(&case.model));
    let at = Weights { V: matrix(V, n_r), W: matrix(W, n_p).transpose().to_owned() };
    let (loss, gradient) = dense.value_and_gradients(&at).unwrap();
    let (codes, residuals) = case.state();
    // f32 sums of some tens of terms.
    assert!((case.problem().loss_of(&residuals) - loss).abs() < 1e-5 * loss);
    let mut G = vec![0.0; n_q * n_p];
    encoder::gradient(&case.problem(), &codes, V, &residuals, &mut G);
    let expected = Mat::from_fn(n_q * n_p, 1, |k, _| -0.5 * gradient.W[(k / n_p, k % n_p)]);
    assert!(distance(&G, &expected) < 1e-5, "{}", distance(&G, &expected));
}

#[test]
fn gradient_and_curvature_of_a_cell_are_those_of_plain_loops() {
    for activation in ACTIVATIONS {
        let case = case(60, 15, activation, Task::Transcoder { n_r: 10 });
        let (codes, residuals) = case.state();
        let J = case.jacobian(&codes);
        let N = codes.samples() as f64;
        let V = problem::decoder(&case.model);
        let mut G = vec![0.0; case.shape.n_q * case.shape.n_p];
        encoder::gradient(&case.problem(), &codes, V, &residuals, &mut G);
        let expected = J.transpose() * column(&residuals, N.sqrt().recip());
        assert!(distance(&G, &expected) < 1e-5, "{activation:?}");
        let mut rng = stream(1, "samples: direction");
        let D: Vec<f32> = (0..G.len()).map(|_| rng.random::<f32>() - 0.5).collect();
        let (mut products, mut out) = (Vec::new(), vec![0.0; G.len()]);
        encoder::product(&case.problem(), &codes, V, 0.25, &D, &mut products, &mut out);
        let expected = J.transpose() * (&J * column(&D, 1.0)) + column(&D, 0.25);
        assert!(distance(&out, &expected) < 1e-5, "{activation:?}");
    }
}

#[test]
fn the_direction_solves_the_regularised_least_squares_problem_and_promises_what_the_cell_gives() {
    for activation in ACTIVATIONS {
        let case = case(80, 10, activation, Task::Sae);
        let (codes, residuals) = case.state();
        let solve = encoder::Solve { proximal: 0.1, iterations: 400, tolerance: 1e-6 };
        let V = problem::decoder(&case.model);
        let found = encoder::direction(&case.problem(), &codes, V, &residuals, solve, &never).unwrap();
        let J = case.jacobian(&codes);
        let N = codes.samples() as f64;
        // ρ from the definition: the mean of the diagonal of JᵀJ over the coordinates of the latents in use.
        let used = (0..case.shape.n_q).filter(|i| !codes.uses(*i).is_empty()).count() * case.shape.n_p;
        let rho = 0.1 * J.squared_norm_l2() / used as f64;
        let e = column(&residuals, N.sqrt().recip());
        let left = J.transpose() * (&e - &J * column(&found.D, 1.0)) - column(&found.D, rho);
        let right = J.transpose() * &e;
        assert!(left.norm_l2() < 1e-4 * right.norm_l2(), "{activation:?}: {}", left.norm_l2() / right.norm_l2());
        let decrease = e.squared_norm_l2() - (&e - &J * column(&found.D, 1.0)).squared_norm_l2();
        assert!((found.decrease - decrease).abs() < 1e-4 * decrease, "{activation:?}: {} {decrease}", found.decrease);
    }
}

#[test]
fn both_solvers_of_the_decoder_step_meet_the_normal_equations_of_plain_loops() {
    for (activation, dense) in ACTIVATIONS.into_iter().flat_map(|a| [(a, usize::MAX), (a, 0)]) {
        // More latents than samples: A is singular, and some latents may be silent.
        for (samples, n_q) in [(90, 14), (30, 40)] {
            let case = case(samples, n_q, activation, Task::Transcoder { n_r: 10 });
            let (codes, residuals) = case.state();
            let n_r = case.shape.n_r;
            let N = samples as f64;
            let mut Z = Mat::<f64>::zeros(n_q, samples as usize);
            for s in 0..samples as usize {
                let (latents, values) = codes.sample(s);
                latents.iter().zip(values).for_each(|(i, z)| Z[(*i as usize, s)] = f64::from(*z));
            }
            let solve = decoder::Solve { ridge: 1e-2, iterations: 500, tolerance: 1e-7, dense };
            let mut V = problem::decoder(&case.model).to_vec();
            decoder::step(&case.problem(), &codes, &residuals, solve, &mut V);
            let A = &Z * Z.transpose() * faer::Scale(1.0 / N);
            let used = (0..n_q).filter(|i| A[(*i, *i)] > 0.0).count();
            let lambda = 1e-2 * (0..n_q).map(|i| A[(i, i)]).sum::<f64>() / used as f64;
            let old = problem::decoder(&case.model);
            let moved = Mat::from_fn(n_q, n_r, |i, r| f64::from(V[i * n_r + r]) - f64::from(old[i * n_r + r]));
            let e = Mat::from_fn(samples as usize, n_r, |s, r| f64::from(residuals[s * n_r + r]));
            let right = &Z * e * faer::Scale(1.0 / N);
            let left = &right - &A * &moved - &moved * faer::Scale(lambda);
            assert!(
                left.norm_l2() < 2e-5 * right.norm_l2(),
                "{activation:?} {dense} {}",
                left.norm_l2() / right.norm_l2()
            );
            for i in (0..n_q).filter(|i| codes.uses(*i).is_empty()) {
                assert_eq!(V[i * n_r..(i + 1) * n_r], old[i * n_r..(i + 1) * n_r]);
            }
        }
    }
}

#[test]
fn the_loss_of_a_search_never_rises_is_the_true_one_and_its_end_has_a_reason() {
    for activation in ACTIVATIONS {
        // Fewer latents than dimensions, so that something is left to be lost.
        let case = case(300, 10, activation, Task::Sae);
        let problem = case.problem();
        let config = Config { tolerance: 1e-2, ..Config::default() };
        let mut search = Search::new(problem, config, &case.model).unwrap();
        let (start, _) = problem.loss(&case.model).unwrap();
        assert!(search.loss() < start);
        let mut before = search.loss();
        let first = before;
        let mut sweeps = 0;
        while search.terminate().is_none() {
            let sweep = search.sweep().unwrap();
            let (loss, codes) = problem.loss(search.model()).unwrap();
            assert_eq!((loss, &codes), (search.loss(), search.codes()), "{activation:?}");
            assert!(loss <= before && (loss < before) == (sweep.step > 0.0), "{activation:?}");
            before = loss;
            sweeps += 1;
            assert!(sweeps < 400, "{activation:?}");
        }
        assert!(before < 0.9 * first, "{activation:?}: {before} {first}");
    }
}

#[test]
fn one_seed_gives_one_model_at_any_number_of_threads() {
    for activation in ACTIVATIONS {
        let case = case(300, 24, activation, Task::Sae);
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let mut search = Search::new(case.problem(), Config::default(), &case.model).unwrap();
                (0..4).for_each(|_| assert!(search.sweep().unwrap().step > 0.0));
                let config = online::Config { batch: 70, ..online::Config::default() };
                let mut online = Online::new(case.problem(), config, &case.model, 5).unwrap();
                (0..2).for_each(|_| online.epoch().unwrap());
                let mut V = problem::decoder(&case.model).to_vec();
                let (codes, residuals) = case.state();
                let solve = decoder::Solve { ridge: 1e-2, iterations: 7, tolerance: 1e-3, dense: 0 };
                decoder::step(&case.problem(), &codes, &residuals, solve, &mut V);
                (search.model().clone(), online.model().clone(), V)
            })
        };
        let one = run(1);
        assert_eq!(one, run(2));
        assert_eq!(one, run(3));
    }
}

#[test]
fn one_batch_of_all_samples_is_one_proximal_step_of_either_block_with_weights_that_grow() {
    for activation in ACTIVATIONS {
        let case = case(200, 14, activation, Task::Transcoder { n_r: 10 });
        let problem = case.problem();
        let config = online::Config { batch: 200, ridge: 0.5, proximal: 0.25, decay: 1.0, iterations: 4 };
        let mut online = Online::new(problem, config, &case.model, 0).unwrap();
        let (mut model, mut residuals) = (case.model.clone(), Vec::new());
        for growth in [1.0, 2.0] {
            online.epoch().unwrap();
            let codes = problem.encode(&model).unwrap();
            let V = problem::block(&mut model, Parameter::Decoder);
            problem.residuals(V, &codes, &mut residuals);
            let step = decoder::Solve { ridge: 0.5 * growth, iterations: 4, tolerance: 1e-3, dense: DENSE };
            decoder::step(&problem, &codes, &residuals, step, V);
            problem.residuals(V, &codes, &mut residuals);
            let step = encoder::Solve { proximal: 0.25 * growth, iterations: 4, tolerance: 1e-3 };
            let found = encoder::direction(&problem, &codes, V, &residuals, step, &never).unwrap();
            kernels::add(problem::block(&mut model, Parameter::Encoder), 1.0, &found.D);
            // The samples stand in another order, so that f32 sums of some hundred terms differ.
            for (found, expected) in [
                (problem::decoder(online.model()), problem::decoder(&model)),
                (problem::encoder(online.model()), problem::encoder(&model)),
            ] {
                let distance = distance(found, &column(expected, 1.0));
                assert!(distance < 1e-4, "{activation:?} {growth}: {distance}");
            }
        }
    }
}

#[test]
fn sums_have_the_same_bits_at_any_number_of_threads() {
    let mut rng = stream(2, "samples: sums");
    // Of magnitudes so different that sums are rounded: in f64 those of equal ones would be exact.
    let mut number = || (rng.random::<f32>() - 0.5) / (1e-3 + rng.random::<f32>());
    let mut draw = || -> Vec<f32> { (0..40_000).map(|_| number()).collect() };
    let (a, b) = (draw(), draw());
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| kernels::inner(&a, &b, 8)).to_bits()
    };
    let terms = a.iter().zip(&b).map(|(a, b)| f64::from(*a) * f64::from(*b));
    let (plain, size) = terms.fold((0.0, 0.0), |(sum, size), term| (sum + term, size + term.abs()));
    // 40 000 additions, each rounded to 2^-53 of at most the sum of magnitudes.
    assert!((f64::from_bits(run(1)) - plain).abs() < 40_000.0 * f64::EPSILON * size);
    assert_eq!(run(1), run(2));
    assert_eq!(run(1), run(3));
}

#[test]
fn a_sweep_and_an_epoch_whose_time_is_over_end_early_and_a_limit_that_is_not_reached_changes_no_bit() {
    let case = case(300, 10, Activation::TopK { k: 3 }, Task::Sae);
    let problem = case.problem();
    let looks = std::cell::Cell::new(0);
    let most = |most: usize| {
        looks.set(0);
        let looks = &looks;
        move || {
            looks.set(looks.get() + 1);
            looks.get() > most
        }
    };
    let config = Config { accuracy: 1e-6, ..Config::default() };
    let sweep = |search: &mut Search<'_>, limit: usize| search.sweep_until(&most(limit)).unwrap();
    let new = || Search::new(problem, config, &case.model).unwrap();
    let (mut plain, mut unlimited, mut cut) = (new(), new(), new());
    let before = cut.loss();
    assert_eq!(plain.sweep().unwrap(), sweep(&mut unlimited, usize::MAX));
    assert!(looks.get() >= 4 && plain.model() == unlimited.model());
    assert_eq!(sweep(&mut cut, 2).products, 3);
    assert!(cut.loss() <= before && cut.model() != plain.model());
    assert_eq!(problem.loss(cut.model()).unwrap().0, cut.loss());

    let config = online::Config { batch: 70, ..online::Config::default() };
    let epoch = |limit: Option<usize>| {
        let mut online = Online::new(problem, config, &case.model, 5).unwrap();
        match limit {
            Some(limit) => online.epoch_until(&most(limit)).unwrap(),
            None => online.epoch().unwrap(),
        }
        online.model().clone()
    };
    let whole = epoch(None);
    assert_eq!(whole, epoch(Some(usize::MAX)));
    // Before each of five batches but the first.
    assert_eq!(looks.get(), 4);
    let (one, two) = (epoch(Some(0)), epoch(Some(1)));
    assert!(one != case.model && two != one && whole != two);
}

#[test]
fn batches_lower_the_loss_and_settle() {
    for activation in ACTIVATIONS {
        let case = case(2000, 24, activation, Task::Sae);
        let problem = case.problem();
        let config = online::Config { batch: 250, ..online::Config::default() };
        let mut online = Online::new(problem, config, &case.model, 0).unwrap();
        let (start, _) = problem.loss(&case.model).unwrap();
        (0..5).for_each(|_| online.epoch().unwrap());
        let (loss, _) = problem.loss(online.model()).unwrap();
        assert!(loss < 0.5 * start, "{activation:?}: {loss} {start}");
    }
}

#[test]
fn what_cannot_be_searched_is_refused_by_name() {
    let mut case = case(30, 8, Activation::TopK { k: 3 }, Task::Sae);
    let samples = Samples::new(&case.inputs, 12).unwrap();
    let fewer = Samples::new(&case.inputs[12..], 12).unwrap();
    let jump = Activation::JumpRelu { theta: 0.1, bandwidth: 0.1 };
    let refused = |result: Result<Problem<'_>, SamplesError>| result.map(drop).unwrap_err().to_string();
    assert!(refused(Problem::new(samples, fewer, Activation::Relu)).starts_with("targets: expected 30 samples"));
    assert!(refused(Problem::new(samples, samples, jump)).starts_with("activation"));
    let problem = Problem::new(samples, samples, Activation::Relu).unwrap();
    assert!(problem.loss(&case.model).unwrap_err().to_string().contains("activation Relu"));
    for (config, name) in [
        (Config { ridge: 0.0, ..Config::default() }, "ridge"),
        (Config { proximal: f64::NAN, ..Config::default() }, "proximal"),
        (Config { relax: 1.0, ..Config::default() }, "relax"),
        (Config { raise: 0.5, ..Config::default() }, "raise"),
        (Config { iterations: 0, ..Config::default() }, "iterations"),
        (Config { accuracy: 1.0, ..Config::default() }, "accuracy"),
        (Config { halvings: 31, ..Config::default() }, "halvings"),
        (Config { tolerance: -1.0, ..Config::default() }, "tolerance"),
        (Config { window: 0, ..Config::default() }, "window"),
    ] {
        let error = Search::new(case.problem(), config, &case.model).map(drop).unwrap_err().to_string();
        assert!(error.starts_with(name), "{error}");
    }
    for (config, name) in [
        (online::Config { batch: 0, ..online::Config::default() }, "batch"),
        (online::Config { ridge: -1.0, ..online::Config::default() }, "ridge"),
        (online::Config { proximal: 0.0, ..online::Config::default() }, "proximal"),
        (online::Config { decay: f64::NAN, ..online::Config::default() }, "decay"),
        (online::Config { iterations: 0, ..online::Config::default() }, "iterations"),
    ] {
        let error = Online::new(case.problem(), config, &case.model, 0).map(drop).unwrap_err().to_string();
        assert!(error.starts_with(name), "{error}");
    }
    case.model = Init { decoder_bias: true, ..Init::default() }.model(case.shape, case.model.activation, 0);
    assert!(case.problem().admits(&case.model).unwrap_err().to_string().contains("without biases"));
}
