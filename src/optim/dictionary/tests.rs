use super::*;
use crate::bench::config::BenchConfig;
use crate::bench::dataset::{Bench, Side};
use crate::metrics::recovery::{BestMatches, Recovery};
use crate::metrics::similarity::{Sign, Vectors};
use crate::optim::never;
use faer::Mat;
use std::cell::Cell;

/// A bench and its samples.
fn bench(n: usize, n_r: usize, samples: usize, seed: u64) -> (Bench, Vec<f32>) {
    let config = BenchConfig {
        n,
        n_p: n_r,
        samples: samples as u64,
        sparsity: 0.94,
        interference: 0.3,
        seed,
        ..BenchConfig::default()
    };
    let bench = Bench::generate(&config).unwrap();
    let batch = bench.coefficients().batch(&(0..samples as u64).collect::<Vec<_>>());
    let mut x = vec![0.0; samples * n_r];
    bench.synthesize(&batch, Side::Input, &mut x);
    (bench, x)
}

fn wide(M: MatRef<'_, f32>) -> Mat<f64> {
    Mat::from_fn(M.nrows(), M.ncols(), |i, j| f64::from(M[(i, j)]))
}

fn recovered(bench: &Bench, dictionary: &Dictionary, tau: f64) -> f64 {
    let learned = Vectors::rows("dictionary", dictionary.data(), dictionary.dimension());
    let truth = Vectors::truth(bench.directions(Side::Input));
    let matches = BestMatches::of(learned, truth, Sign::Absolute, &[]).unwrap();
    Recovery::without(&matches.normalised, &[]).unwrap().recovered(tau)
}

/// Every learner as a function of samples, atoms and seed.
type Learn = fn(Samples<'_>, usize, u64) -> Result<Fit, DictionaryError>;
const LEARNERS: [Learn; 4] = [
    |samples, atoms, seed| Online { atoms, batch: 100, every: 2, passes: 3, ..Online::default() }.fit(samples, seed),
    |samples, atoms, seed| Ksvd { atoms, passes: 3, ..Ksvd::default() }.fit(samples, seed),
    |samples, atoms, seed| {
        let coder = Coder::Nnls { atoms: Some(3) };
        Ksvd { atoms, coder, passes: 3, update: ksvd::Update::Exact, ..Ksvd::default() }.fit(samples, seed)
    },
    |samples, atoms, seed| OptimalDirections { atoms, passes: 3, ..OptimalDirections::default() }.fit(samples, seed),
];

#[test]
fn online_learning_recovers_every_feature_with_as_many_atoms_on_five_seeds() {
    for seed in 0..5 {
        let (bench, x) = bench(60, 40, 5000, seed);
        let learner = Online { atoms: 60, batch: 128, ..Online::default() };
        let fit = learner.fit(Samples::new(&x, 40).unwrap(), seed).unwrap();
        assert_eq!(recovered(&bench, &fit.dictionary, 0.95), 1.0, "seed {seed}: {:?}", fit.trace);
    }
}

#[test]
fn one_seed_gives_one_dictionary_at_any_number_of_threads_and_unit_atoms() {
    let (_, x) = bench(30, 20, 600, 1);
    let samples = Samples::new(&x, 20).unwrap();
    for learn in LEARNERS {
        let run = |threads, seed| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| learn(samples, 70, seed).unwrap())
        };
        let fit = run(1, 3);
        assert_eq!(fit, run(2, 3));
        assert_ne!(fit.dictionary, run(1, 4).dictionary);
        assert_eq!((fit.dictionary.atoms(), fit.dictionary.dimension()), (70, 20));
        for k in 0..70 {
            // Coordinates rounded to f32.
            assert!((dot(fit.dictionary.atom(k), fit.dictionary.atom(k)) - 1.0).abs() < 1e-6);
        }
        assert!((1..=3).contains(&fit.trace.len()));
    }
}

#[test]
fn the_statistics_of_online_learning_are_the_weighted_sums_of_their_definition() {
    let (_, x) = bench(30, 20, 300, 2);
    let dictionary = start(Samples::new(&x, 20).unwrap(), 40, 0).unwrap();
    let mut statistics = online::Statistics::new(20, 40);
    let (mut A, mut B) = (Mat::<f64>::zeros(40, 40), Mat::<f64>::zeros(20, 40));
    for (batch, factor) in x.chunks(2000).zip([0.3, 0.5, 0.9]) {
        let samples = Samples::new(batch, 20).unwrap();
        let codes = Coder::Lasso { penalty: 0.3 }.encode(&dictionary, samples).unwrap();
        statistics.forget(factor);
        statistics.add(samples, &codes);
        let Z = codes.dense(40);
        A = faer::Scale(factor) * &A + &Z * Z.transpose();
        B = faer::Scale(factor) * &B + wide(samples.matrix()) * Z.transpose();
    }
    // Sums of at most 300 products in f32, each below 50.
    assert!((wide(statistics.second()) - &A).norm_max() < 300.0 * 2f64.powi(-24) * A.norm_max());
    assert!((wide(statistics.cross()) - &B).norm_max() < 300.0 * 2f64.powi(-24) * B.norm_max());
    assert!(A.norm_max() > 1.0);
    // After 0.5 and 0.9 of the first 200 samples, and 100 more.
    let weight = (100.0 * 0.5 + 100.0) * 0.9 + 100.0;
    for (k, energy) in statistics.energies().iter().enumerate() {
        assert!((energy - A[(k, k)] / weight).abs() < 1e-5 * (1.0 + energy));
    }
    statistics.clear(7);
    assert!((0..40).all(|j| statistics.second()[(7, j)] == 0.0 && statistics.second()[(j, 7)] == 0.0));
    assert!((0..20).all(|r| statistics.cross()[(r, 7)] == 0.0));
}

#[test]
fn a_round_over_the_atoms_is_that_of_algorithm_2_atom_by_atom_and_never_raises_the_surrogate() {
    let (_, x) = bench(30, 20, 800, 3);
    let samples = Samples::new(&x, 20).unwrap();
    let mut dictionary = start(samples, 70, 0).unwrap();
    let codes = Coder::Lasso { penalty: 0.3 }.encode(&dictionary, samples).unwrap();
    let mut statistics = online::Statistics::new(20, 70);
    statistics.add(samples, &codes);
    statistics.clear(11);
    let (A, B) = (wide(statistics.second()), wide(statistics.cross()));
    let surrogate = |D: &Mat<f64>| {
        let G = D.transpose() * D;
        let trace = |M: &Mat<f64>| (0..70).map(|k| M[(k, k)]).sum::<f64>();
        0.5 * trace(&(&G * &A)) - trace(&(D.transpose() * &B))
    };
    let mut D = wide(dictionary.matrix());
    for _ in 0..3 {
        let before = surrogate(&D);
        for k in (0..70).filter(|k| A[(*k, *k)] > 0.0) {
            let u = D.col(k) + faer::Scale(1.0 / A[(k, k)]) * (B.col(k) - &D * A.col(k));
            D.col_mut(k).copy_from(faer::Scale(1.0 / u.norm_l2()) * &u);
        }
        statistics.update(&mut dictionary);
        let found = wide(dictionary.matrix());
        // In f32, with sums of 70 terms, and rare atoms whose u is small.
        assert!((&found - &D).norm_max() < 2e-4, "{}", (&found - &D).norm_max());
        assert!(surrogate(&found) < before);
        D = found;
    }
    assert_eq!(dictionary.atom(11), start(samples, 70, 0).unwrap().atom(11));
}

#[test]
fn without_replacement_the_objective_of_ksvd_and_of_optimal_directions_never_rises() {
    let (_, x) = bench(30, 20, 500, 4);
    let samples = Samples::new(&x, 20).unwrap();
    for coder in [Coder::Omp { atoms: 3, error: 0.0 }, Coder::Nnls { atoms: Some(3) }, Coder::Nnls { atoms: None }] {
        for update in [ksvd::Update::Exact, ksvd::Update::Approximate] {
            let (passes, tolerance, replacement) = (12, 0.0, Replacement::never());
            let ksvd = Ksvd { atoms: 40, coder, update, passes, tolerance, replacement }.fit(samples, 1).unwrap();
            let directions =
                OptimalDirections { atoms: 40, coder, passes, tolerance, replacement }.fit(samples, 1).unwrap();
            for fit in [ksvd, directions] {
                let objectives: Vec<f64> = fit.trace.iter().map(|pass| pass.objective).collect();
                // f32: about 20 roundings relative to ‖x‖², whose mean is below 30.
                let rounding = 30.0 * 20.0 * 2f64.powi(-24);
                assert!(objectives.windows(2).all(|pair| pair[1] <= pair[0] + rounding), "{coder:?}: {objectives:?}");
                assert!(objectives[objectives.len() - 1] < 0.9 * objectives[0]);
            }
        }
    }
}

#[test]
fn a_step_of_ksvd_lowers_the_error_keeps_the_residuals_and_finds_the_leading_pair_of_a_single_atom() {
    let (_, x) = bench(30, 20, 400, 5);
    let samples = Samples::new(&x, 20).unwrap();
    let mut dictionary = start(samples, 40, 1).unwrap();
    let mut codes = Coder::Omp { atoms: 3, error: 0.0 }.encode(&dictionary, samples).unwrap();
    let mut residuals = codes.residuals(&dictionary, samples);
    let energy = |e: &[f32]| e.iter().map(|e| f64::from(*e).powi(2)).sum::<f64>();
    let before = energy(&residuals);
    ksvd::step(&mut dictionary, &mut codes, &mut residuals, ksvd::Update::Exact, false, &never);
    assert!(energy(&residuals) < before);
    let expected = codes.residuals(&dictionary, samples);
    // Coordinates below 10, a few roundings for each of 3 atoms.
    assert!(residuals.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-4));

    let mut single = start(samples, 1, 2).unwrap();
    let mut codes = Coder::Omp { atoms: 1, error: 0.0 }.encode(&single, samples).unwrap();
    let used: Vec<usize> = (0..400).filter(|i| !codes.sample(*i).0.is_empty()).collect();
    let mut residuals = codes.residuals(&single, samples);
    ksvd::step(&mut single, &mut codes, &mut residuals, ksvd::Update::Exact, false, &never);
    let X = Mat::from_fn(20, used.len(), |r, i| f64::from(samples.row(used[i])[r]));
    let svd = X.thin_svd().unwrap();
    let cosine: f64 = (0..20).map(|r| svd.U()[(r, 0)] * f64::from(single.atom(0)[r])).sum();
    // The power method ends at a turn of 1e-6 a step, or after 100 steps.
    assert!(1.0 - cosine.abs() < 1e-6, "{cosine}");
}

#[test]
fn a_step_of_optimal_directions_is_the_least_squares_fit_also_for_dependent_codes_and_unused_atoms() {
    let (_, x) = bench(30, 20, 400, 6);
    let samples = Samples::new(&x, 20).unwrap();
    let first = start(samples, 40, 1).unwrap();
    let coder = Coder::Nnls { atoms: Some(4) };
    let codes = coder.encode(&first, samples).unwrap().without(&[5]);
    // Atom 8 is used wherever atom 3 is, with twice its code.
    let mut doubled = Codes { offsets: vec![0], ..Codes::default() };
    for i in 0..400 {
        let (atoms, values) = codes.sample(i);
        for (&k, &z) in atoms.iter().zip(values).filter(|(k, _)| **k != 8) {
            doubled.atoms.push(k);
            doubled.values.push(z);
            if k == 3 {
                doubled.atoms.push(8);
                doubled.values.push(2.0 * z);
            }
        }
        doubled.offsets.push(doubled.atoms.len());
        doubled.errors.push(0.0);
    }
    for mut codes in [codes, doubled] {
        let (mut dictionary, energy) = (first.clone(), samples.energy());
        optimal_directions::step(&mut dictionary, &mut codes, samples);
        let Z = codes.dense(40);
        let E = wide(samples.matrix()) - wide(dictionary.matrix()) * &Z;
        let gradient = &E * Z.transpose();
        // D and Z are rounded to f32, relative to ‖X‖ ‖Z‖.
        assert!(gradient.norm_l2() < 1e-6 * energy.sqrt() * Z.norm_l2(), "{}", gradient.norm_l2());
        assert!(E.squared_norm_l2() < 0.9 * energy);
        assert_eq!(dictionary.atom(5), first.atom(5));
    }
}

#[test]
fn the_doubled_atom_becomes_the_missing_direction_and_a_complete_dictionary_keeps_its_atoms() {
    let (bench, x) = bench(30, 24, 3000, 7);
    let samples = Samples::new(&x, 24).unwrap();
    let truth = Dictionary::new(bench.directions(Side::Input).data().to_vec(), 24).unwrap();
    let mut data = truth.data().to_vec();
    // Feature 4 is lost, and feature 9 stands twice.
    data.copy_within(9 * 24..10 * 24, 4 * 24);
    let broken = Dictionary::new(data, 24).unwrap();
    let penalty = 0.3;
    let apply = |dictionary: &Dictionary, replacement: Replacement, sign: f32| {
        let codes = Coder::Lasso { penalty }.encode(dictionary, samples).unwrap();
        let residuals: Vec<f32> = codes.residuals(dictionary, samples).iter().map(|e| sign * e).collect();
        let mut changed = dictionary.clone();
        let energies = codes.energies(30);
        let replaced = replacement.apply(&mut changed, &energies, &residuals, penalty, sign < 0.0);
        (replaced, changed)
    };
    for sign in [1.0, -1.0] {
        let (replaced, changed) = apply(&broken, Replacement::default(), sign);
        assert!(replaced == [4] || replaced == [9], "{replaced:?}");
        // The other features of a sample and the shrinkage of their codes stay in the residuals.
        let cosine = dot(changed.atom(replaced[0]), truth.atom(4)).abs();
        assert!(cosine > 0.9, "{cosine}");
    }
    assert_eq!(apply(&truth, Replacement::default(), 1.0).0, Vec::<usize>::new());
    assert_eq!(apply(&broken, Replacement::never(), 1.0), (Vec::new(), broken.clone()));
}

#[test]
fn an_encoder_is_the_ridge_fit_of_the_codes_and_its_loss_that_of_the_model() {
    let (_, x) = bench(12, 16, 900, 8);
    let samples = Samples::new(&x, 16).unwrap();
    let dictionary = Online { atoms: 12, batch: 64, ..Online::default() }.fit(samples, 0).unwrap().dictionary;
    let codes = Coder::Nnls { atoms: None }.encode(&dictionary, samples).unwrap();
    let (X, Z) = (wide(samples.matrix()), codes.dense(12));
    let ridge = 1e-3;
    for fitted in [amortised::Fitted::All, amortised::Fitted::Active] {
        let mut found = Vec::new();
        for threshold in [amortised::Threshold::Relu, amortised::Threshold::Best] {
            let point = Amortised { fitted, ridge, threshold }.fit(&dictionary, &codes, samples, samples).unwrap();
            let W = Mat::from_fn(12, 16, |k, r| f64::from(point.encoder[k * 16 + r]));
            let mut E = &W * &X - &Z;
            if fitted == amortised::Fitted::Active {
                E = Mat::from_fn(12, 900, |k, i| if Z[(k, i)] == 0.0 { 0.0 } else { E[(k, i)] });
            }
            let gradient = &E * X.transpose() + faer::Scale(ridge * samples.energy() / 16.0) * &W;
            // W is rounded to f32.
            assert!(gradient.norm_l2() < 1e-6 * W.norm_l2() * X.squared_norm_l2());
            let model = point.model();
            let mut loss = 0.0;
            for i in 0..900 {
                let mut e: Vec<f64> = samples.row(i).iter().map(|x| f64::from(*x)).collect();
                for k in 0..12 {
                    let z = dot(model.w_e(k), samples.row(i));
                    if z > point.threshold {
                        e.iter_mut().zip(model.w_d(k)).for_each(|(e, v)| *e -= z * f64::from(*v));
                    }
                }
                loss += e.iter().map(|e| e * e).sum::<f64>() / 900.0;
            }
            // In f32; a pre-activation within rounding of c changes little at c = 0 and is rare elsewhere.
            assert!((loss - point.loss).abs() < 1e-4 * (1.0 + loss), "{loss} {}", point.loss);
            let exact = (&X - wide(dictionary.matrix()) * &Z).squared_norm_l2() / 900.0;
            assert!((point.loss_of_codes - exact).abs() < 1e-5 * (1.0 + exact));
            found.push(point);
        }
        assert!(found[0].threshold == 0.0 && found[1].loss <= found[0].loss);
        assert_eq!(found[0].model().activation, crate::sdl::Activation::Relu);
    }
}

#[test]
fn wrong_input_is_refused_with_what_is_wrong_and_nothing_panics() {
    let message = |error: DictionaryError| error.to_string();
    let huge = [1.0, 3e30, 0.0, 0.0];
    for (data, dimension, starts) in [
        (&[1.0, f32::NAN, 0.0, 0.0][..], 2, "samples: expected finite numbers"),
        (
            &[1.0, 1.0, 0.0, f32::INFINITY][..],
            2,
            "samples: expected finite numbers with a finite sum of squares, found others in row 1",
        ),
        (&huge[..], 2, "samples: expected finite numbers"),
        (&[][..], 2, "samples: expected whole rows"),
        (&[1.0, 2.0, 3.0][..], 2, "samples: expected whole rows of 2 numbers, found 3"),
        (&[1.0][..], 0, "samples: expected whole rows"),
    ] {
        assert!(message(Samples::new(data, dimension).unwrap_err()).starts_with(starts));
    }
    assert_eq!(
        message(Dictionary::new(vec![1.0, 0.0, 0.0, 0.0], 2).unwrap_err()),
        "dictionary: expected vectors that are not 0, found one in row 1"
    );
    let (_, x) = bench(12, 8, 60, 9);
    let samples = Samples::new(&x, 8).unwrap();
    let zeros = vec![0.0; 160];
    let zeros = Samples::new(&zeros, 8).unwrap();
    let few: Vec<f32> = x[..8].iter().copied().chain([0.0; 80]).collect();
    for learn in LEARNERS {
        assert!(
            message(learn(samples, 61, 0).unwrap_err())
                .starts_with("atoms: expected an integer from 1 to the number of samples, 60")
        );
        assert!(message(learn(samples, 0, 0).unwrap_err()).starts_with("atoms"));
        assert_eq!(message(learn(zeros, 3, 0).unwrap_err()), "samples: expected at least 3 that are not 0, found 0");
        assert!(learn(samples, 20, 0).is_ok() && learn(samples, 1, 0).is_ok());
        // Equal samples, and hardly any.
        let same: Vec<f32> = x[..8].repeat(5);
        assert!(learn(Samples::new(&same, 8).unwrap(), 5, 0).is_ok());
        assert!(learn(Samples::new(&few, 8).unwrap(), 1, 0).is_ok());
    }
    let wrong = |learner: Online| message(learner.fit(samples, 0).unwrap_err());
    assert!(wrong(Online { atoms: 5, penalty: f64::NAN, ..Online::default() }).starts_with("penalty"));
    assert!(wrong(Online { atoms: 5, batch: 0, ..Online::default() }).starts_with("batch"));
    assert!(wrong(Online { atoms: 5, passes: 0, ..Online::default() }).starts_with("passes"));
    let replacement = Replacement { least: -1.0, ..Replacement::default() };
    assert!(wrong(Online { atoms: 5, replacement, ..Online::default() }).starts_with("replacement.least"));
    let ksvd = Ksvd { atoms: 5, tolerance: -1.0, ..Ksvd::default() };
    assert!(message(ksvd.fit(samples, 0).unwrap_err()).starts_with("tolerance"));
    let dictionary = start(samples, 5, 0).unwrap();
    let codes = Coder::Nnls { atoms: None }.encode(&dictionary, samples).unwrap();
    let amortise =
        |amortised: Amortised, inputs| message(amortised.fit(&dictionary, &codes, inputs, samples).unwrap_err());
    assert_eq!(amortise(Amortised::default(), zeros), "inputs: expected 60 rows, found 20");
    assert!(amortise(Amortised { ridge: -1.0, ..Amortised::default() }, samples).starts_with("ridge"));
    let blank = vec![0.0; 480];
    let blank = Samples::new(&blank, 8).unwrap();
    assert!(amortise(Amortised { ridge: 0.0, ..Amortised::default() }, blank).starts_with("ridge"));
}

#[test]
fn a_learner_ends_when_it_has_converged_or_after_its_passes_and_says_so() {
    let (_, x) = bench(12, 16, 600, 10);
    let samples = Samples::new(&x, 16).unwrap();
    let learner = Online { atoms: 12, batch: 64, passes: 1, ..Online::default() };
    assert_eq!(learner.fit(samples, 0).unwrap().termination, Termination::Passes { passes: 1, decrease: None });
    let fit = Online { passes: 200, tolerance: 1e-2, ..learner }.fit(samples, 0).unwrap();
    let Termination::Converged { decrease, tolerance: 1e-2 } = fit.termination else { panic!("{:?}", fit.termination) };
    let [.., before, last] = &fit.trace[..] else { panic!("two passes") };
    assert!(decrease <= 1e-2 && (1.0 - last.objective / before.objective - decrease).abs() < 1e-15);
    assert!(last.replaced == 0 && before.replaced == 0);
}

#[test]
fn a_watched_learner_shows_the_dictionary_that_it_returns_and_stops_when_told() {
    let (_, x) = bench(30, 20, 600, 0);
    let samples = Samples::new(&x, 20).unwrap();
    let mut seen = Vec::new();
    let mut watch = |dictionary: &Dictionary, codes: Option<&Codes>| {
        seen.push((dictionary.clone(), codes.cloned()));
        seen.len() < 2
    };
    let fit = Ksvd { atoms: 30, ..Ksvd::default() }.fit_watched(samples, 1, &mut watch).unwrap();
    assert_eq!((fit.termination, fit.trace.len()), (Termination::Stopped { passes: 2 }, 2));
    let (dictionary, codes) = seen.pop().unwrap();
    assert_eq!(dictionary, fit.dictionary);
    // The codes belong to the dictionary: least squares over the atom that was fitted last.
    let (codes, k) = (codes.unwrap(), 29);
    let residuals = codes.residuals(&dictionary, samples);
    for (i, at) in &codes.users(30)[k] {
        let left = dot(&residuals[*i as usize * 20..][..20], dictionary.atom(k));
        // f32 residuals of samples of norm below 20.
        assert!(left.abs() < 1e-4, "{left} {}", codes.values[*at]);
    }
    let mut passes = 0;
    let learner = Online { atoms: 30, batch: 100, ..Online::default() };
    let fit = learner.fit_watched(samples, 1, &mut |_, _| {
        passes += 1;
        passes < 3
    });
    assert_eq!(fit.unwrap().termination, Termination::Stopped { passes: 3 });
}

/// A look at the time that says so after `most` looks, which are counted.
fn after(looks: &Cell<usize>, most: usize) -> impl Fn() -> bool {
    looks.set(0);
    move || {
        looks.set(looks.get() + 1);
        looks.get() > most
    }
}

fn on_one_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap().install(work)
}

#[test]
fn a_limit_that_is_not_reached_changes_no_bit() {
    let (_, x) = bench(30, 20, 600, 0);
    let samples = Samples::new(&x, 20).unwrap();
    let looks = Cell::new(0);
    let ksvd = Ksvd { atoms: 30, passes: 3, ..Ksvd::default() };
    let fit = ksvd.fit_until(samples, 1, &mut |_, _| true, &after(&looks, usize::MAX)).unwrap();
    assert!(looks.get() >= 2 * 29);
    assert_eq!(fit, ksvd.fit(samples, 1).unwrap());
    assert!(fit.part.is_none());
    let online = Online { atoms: 30, batch: 100, every: 2, passes: 3, ..Online::default() };
    let fit = online.fit_until(samples, 1, &mut |_, _| true, &after(&looks, usize::MAX)).unwrap();
    assert_eq!(looks.get(), 3 * 5);
    assert_eq!(fit, online.fit(samples, 1).unwrap());
    assert!(fit.part.is_none());
}

#[test]
fn ksvd_whose_time_is_over_leaves_the_atoms_and_the_samples_that_it_has_not_come_to() {
    let (_, x) = bench(30, 20, 1500, 0);
    let samples = Samples::new(&x, 20).unwrap();
    let learner = Ksvd { atoms: 30, replacement: Replacement::never(), ..Ksvd::default() };
    // Of 1500 samples a thread codes 1024 before it looks at the time; then 29 looks for 30 atoms.
    let run = |most: usize| {
        on_one_thread(|| {
            let (looks, mut seen) = (Cell::new(0), Vec::new());
            let mut watch = |dictionary: &Dictionary, codes: Option<&Codes>| {
                seen.push((dictionary.clone(), codes.unwrap().clone()));
                seen.len() < 2
            };
            let fit = learner.fit_until(samples, 1, &mut watch, &after(&looks, most)).unwrap();
            (fit, seen)
        })
    };
    let (whole, seen) = run(usize::MAX);
    let [(first, codes), (second, _)] = &seen[..] else { panic!("two passes") };
    assert_eq!(&whole.dictionary, second);

    let (fit, shown) = run(0);
    assert_eq!((fit.termination, shown.len()), (Termination::Interrupted { passes: 0 }, 0));
    assert_eq!(fit.dictionary, start(samples, 30, 1).unwrap());
    let part = fit.part.unwrap();
    assert_eq!(part.samples, (0..1024).collect::<Vec<_>>());
    assert_eq!(part.codes.samples(), 1024);
    assert_eq!(part.codes, learner.coder.encode(&fit.dictionary, samples.range(0, 1024)).unwrap());

    // In the second pass, after 1024 samples: the others keep their codes, no atom moves.
    let (fit, shown) = run(30);
    assert_eq!((fit.termination, shown.len()), (Termination::Interrupted { passes: 1 }, 1));
    assert_eq!(&fit.dictionary, first);
    let part = fit.part.unwrap();
    assert_eq!(part.samples.len(), 1500);
    assert!((1024..1500).all(|i| part.codes.sample(i) == codes.sample(i)));
    assert!((0..1024).any(|i| part.codes.sample(i) != codes.sample(i)));

    // And after 11 atoms: one look at the samples, ten at the atoms, and one that says so.
    let (fit, shown) = run(30 + 1 + 10);
    assert_eq!((fit.termination, shown.len()), (Termination::Interrupted { passes: 1 }, 1));
    for k in 0..30 {
        assert_eq!(fit.dictionary.atom(k), if k < 11 { second.atom(k) } else { first.atom(k) }, "{k}");
    }
    assert!((0..11).any(|k| first.atom(k) != second.atom(k)) && (11..30).any(|k| first.atom(k) != second.atom(k)));
    let part = fit.part.unwrap();
    let residuals = part.codes.residuals(&fit.dictionary, samples);
    for (i, _) in &part.codes.users(30)[10] {
        // The codes have been fitted to the last atom; f32 residuals of samples of norm below 20.
        assert!(dot(&residuals[*i as usize * 20..][..20], fit.dictionary.atom(10)).abs() < 1e-4);
    }
}

#[test]
fn online_learning_whose_time_is_over_has_the_codes_of_its_batches() {
    let (_, x) = bench(30, 20, 600, 0);
    let samples = Samples::new(&x, 20).unwrap();
    let learner = Online { atoms: 30, batch: 100, every: 2, ..Online::default() };
    let looks = Cell::new(0);
    let mut passes = 0;
    let mut run = |most: usize| {
        let mut watch = |_: &Dictionary, _: Option<&Codes>| {
            passes += 1;
            true
        };
        learner.fit_until(samples, 1, &mut watch, &after(&looks, most)).unwrap()
    };
    let fit = run(0);
    assert_eq!((fit.termination, fit.trace.len()), (Termination::Interrupted { passes: 0 }, 0));
    let part = fit.part.unwrap();
    assert_eq!(part.samples.len(), 100);
    let rows: Vec<f32> = part.samples.iter().flat_map(|i| samples.row(*i)).copied().collect();
    let begun = start(samples, 30, 1).unwrap();
    let coder = Coder::Lasso { penalty: learner.lambda(samples) };
    assert_eq!(part.codes, coder.encode(&begun, Samples::new(&rows, 20).unwrap()).unwrap());
    assert_ne!(fit.dictionary, begun);

    // Five looks in the first pass, two before the batches of the second that are made.
    let fit = run(7);
    assert_eq!((fit.termination, fit.trace.len()), (Termination::Interrupted { passes: 1 }, 1));
    let part = fit.part.unwrap();
    let different: std::collections::BTreeSet<&usize> = part.samples.iter().collect();
    assert_eq!((part.samples.len(), different.len(), part.codes.samples()), (300, 300, 300));
    assert_eq!(passes, 1);
}

#[test]
fn codes_of_an_atom_that_was_replaced_since_are_left_out() {
    let (_, x) = bench(30, 20, 200, 0);
    let samples = Samples::new(&x, 20).unwrap();
    let dictionary = start(samples, 10, 1).unwrap();
    let coder = Coder::Nnls { atoms: Some(3) };
    let coded = [0, 100].map(|from| coder.encode(&dictionary, samples.range(from, 100)).unwrap());
    let uses = |codes: &Codes, from: usize, k: u32| (from..from + 100).any(|i| codes.sample(i).0.contains(&k));
    let all = online::valid(&coded, &[]);
    assert!([3, 4, 5].iter().all(|k| uses(&all, 0, *k) && uses(&all, 100, *k)));
    // Atom 3 was replaced after the first batch, atom 4 after the second.
    let left = online::valid(&coded, &[(0, 3), (1, 4)]);
    assert_eq!([3, 4, 5].map(|k| uses(&left, 0, k)), [false, false, true]);
    assert_eq!([3, 4, 5].map(|k| uses(&left, 100, k)), [true, false, true]);
}
