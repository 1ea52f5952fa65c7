use super::*;
use crate::bench::features::{random_unit, stream};
use faer::Col;
use faer::linalg::solvers::{Qr, SolveLstsq};
use rand::RngExt;

/// A dictionary, samples and a random stream: gaussian unit atoms, samples with coordinates in [−1, 1].
fn problem(n_r: usize, atoms: usize, count: usize, seed: u64) -> (Mat<f64>, Mat<f64>) {
    let mut rng = stream(seed, "coding test");
    let D = random_unit(n_r, atoms, &mut rng);
    let X = Mat::from_fn(n_r, count, |_, _| rng.random_range(-1.0..1.0));
    (D, X)
}

fn entries(M: &Mat<f64>) -> Vec<f64> {
    M.col_iter().flat_map(|c| c.iter().copied().collect::<Vec<_>>()).collect()
}

fn single(M: &Mat<f64>) -> Vec<f32> {
    entries(M).iter().map(|x| *x as f32).collect()
}

/// Codes of one sample in f64, dense.
fn coded(D: &Mat<f64>, x: &Col<f64>, run: impl Fn(Gram<'_, f64>, &[f64], f64, &mut Solver<f64>)) -> Col<f64> {
    let gram = entries(&(D.transpose() * D));
    let products: Vec<f64> = (D.transpose() * x).iter().copied().collect();
    let mut solver = Solver::default();
    run(Gram::new(&gram, D.ncols()), &products, x.squared_norm_l2(), &mut solver);
    let mut dense = Col::zeros(D.ncols());
    solver.codes().for_each(|(k, value)| dense[k as usize] = value);
    dense
}

fn objective(D: &Mat<f64>, x: &Col<f64>, a: &Col<f64>, penalty: f64) -> f64 {
    0.5 * (x - D * a).squared_norm_l2() + penalty * a.iter().map(|a| a.abs()).sum::<f64>()
}

/// Slow and independent: cyclic coordinate descent on the residual itself.
fn by_coordinates(D: &Mat<f64>, x: &Col<f64>, penalty: f64) -> Col<f64> {
    let mut a = Col::<f64>::zeros(D.ncols());
    let mut e = x.clone();
    for _ in 0..20_000 {
        let mut most = 0.0_f64;
        for k in 0..D.ncols() {
            let new = (a[k] + D.col(k).transpose() * &e - penalty).max(0.0);
            let change = new - a[k];
            if change != 0.0 {
                e -= faer::Scale(change) * D.col(k);
                a[k] = new;
                most = most.max(change.abs());
            }
        }
        if most < 1e-13 {
            break;
        }
    }
    a
}

/// Slow and independent: least squares from scratch by QR after each choice.
fn by_definition(D: &Mat<f64>, x: &Col<f64>, atoms: usize, target: f64) -> Col<f64> {
    let mut chosen: Vec<usize> = Vec::new();
    let mut a = Col::<f64>::zeros(D.ncols());
    while chosen.len() < atoms && (x - D * &a).squared_norm_l2() > target {
        let products = D.transpose() * (x - D * &a);
        let best = (0..D.ncols()).filter(|k| !chosen.contains(k));
        chosen.extend(best.max_by(|i, j| products[*i].abs().total_cmp(&products[*j].abs())));
        let part = Mat::from_fn(D.nrows(), chosen.len(), |i, j| D[(i, chosen[j])]);
        let solution = Qr::new(part.as_ref()).solve_lstsq(x.as_mat());
        chosen.iter().enumerate().for_each(|(j, k)| a[*k] = solution[(j, 0)]);
    }
    a
}

#[test]
fn nonnegative_codes_meet_the_optimality_conditions_and_the_objective_of_coordinate_descent() {
    for (n_r, atoms) in [(12, 8), (10, 10), (9, 25), (20, 60), (3, 1)] {
        let (D, X) = problem(n_r, atoms, 12, 1);
        for i in 0..X.ncols() {
            let x = X.col(i).to_owned();
            for penalty in [0.0, 0.05, 0.4, 10.0] {
                let a = coded(&D, &x, |g, c, e, s| nonnegative(g, c, e, penalty, usize::MAX, s));
                let r = D.transpose() * (&x - &D * &a);
                for k in 0..atoms {
                    // Rounding of sums of 60 products below 4, times the condition of the active atoms.
                    assert!(a[k] >= 0.0 && r[k] <= penalty + 1e-11, "{k}: {} {}", a[k], r[k]);
                    assert!(a[k] == 0.0 || (r[k] - penalty).abs() < 1e-11);
                }
                let reference = objective(&D, &x, &by_coordinates(&D, &x, penalty), penalty);
                // Coordinate descent converges linearly, and never below the minimum.
                let found = objective(&D, &x, &a, penalty);
                assert!(found <= reference + 1e-13 && reference < found + 1e-7 * (1.0 + found), "{found} {reference}");
            }
        }
    }
}

#[test]
fn a_bound_on_the_atoms_is_kept_and_codes_are_optimal_on_those_taken() {
    let (D, X) = problem(20, 60, 10, 2);
    for i in 0..X.ncols() {
        let x = X.col(i).to_owned();
        for most in 1..6 {
            let a = coded(&D, &x, |g, c, e, s| nonnegative(g, c, e, 0.0, most, s));
            let used: Vec<usize> = (0..60).filter(|k| a[*k] > 0.0).collect();
            assert!(!used.is_empty() && used.len() <= most);
            let r = D.transpose() * (&x - &D * &a);
            assert!(used.iter().all(|k| r[*k].abs() < 1e-12));
        }
        let all = coded(&D, &x, |g, c, e, s| nonnegative(g, c, e, 0.0, usize::MAX, s));
        assert_eq!(coded(&D, &x, |g, c, e, s| nonnegative(g, c, e, 0.0, 60, s)), all);
    }
}

#[test]
fn matching_pursuit_takes_the_atoms_and_codes_of_its_definition() {
    for (n_r, atoms) in [(12, 8), (9, 25), (20, 60)] {
        let (D, X) = problem(n_r, atoms, 10, 3);
        for i in 0..X.ncols() {
            let x = X.col(i).to_owned();
            for (most, share) in [(1, 0.0), (4, 0.0), (7, 0.0), (7, 0.3), (3, 2.0)] {
                let target = share * x.squared_norm_l2();
                let a = coded(&D, &x, |g, c, e, s| omp(g, c, e, most, target, s));
                let expected = by_definition(&D, &x, most, target);
                // Normal equations square the condition of at most 7 random atoms.
                assert!((&a - &expected).norm_max() < 1e-10, "{a:?} {expected:?}");
            }
        }
    }
}

#[test]
fn equal_atoms_samples_of_0_and_samples_in_the_span_end_well() {
    let (mut D, X) = problem(6, 5, 4, 4);
    for r in 0..6 {
        D[(r, 3)] = D[(r, 1)];
        D[(r, 4)] = -D[(r, 1)];
    }
    for i in 0..X.ncols() {
        let x = X.col(i).to_owned();
        for most in [2, 5] {
            let a = coded(&D, &x, |g, c, e, s| omp(g, c, e, most, 0.0, s));
            assert!((1..5).filter(|k| *k != 2 && a[*k] != 0.0).count() <= 1);
        }
        let a = coded(&D, &x, |g, c, e, s| nonnegative(g, c, e, 0.1, usize::MAX, s));
        let reference = objective(&D, &x, &by_coordinates(&D, &x, 0.1), 0.1);
        assert!((objective(&D, &x, &a, 0.1) - reference).abs() < 1e-9);
    }
    let zero = Col::<f64>::zeros(6);
    assert_eq!(coded(&D, &zero, |g, c, e, s| omp(g, c, e, 3, 0.0, s)), Col::<f64>::zeros(5));
    assert_eq!(coded(&D, &zero, |g, c, e, s| nonnegative(g, c, e, 0.0, 3, s)), Col::<f64>::zeros(5));
    // 2 d_0 + d_2: everything after these two is rounding.
    let x = Col::from_fn(6, |r| 2.0 * D[(r, 0)] + D[(r, 2)]);
    let a = coded(&D, &x, |g, c, e, s| nonnegative(g, c, e, 0.0, usize::MAX, s));
    assert!((a[0] - 2.0).abs() < 1e-12 && (a[2] - 1.0).abs() < 1e-12);
}

#[test]
fn a_factor_reproduces_the_gram_matrix_of_its_atoms_and_refuses_dependent_ones() {
    let (D, _) = problem(8, 7, 1, 5);
    let G = D.transpose() * &D;
    let mut factor = Factor::new();
    for k in 0..7 {
        assert!(factor.append((0..=k).map(|j| G[(j, k)])));
    }
    // Twice atom 2: its products with the others, and with itself.
    assert!(!factor.append((0..7).map(|j| 2.0 * G[(j, 2)]).chain([4.0])));
    assert!(!factor.append((0..7).map(|_| f64::NAN).chain([1.0])));
    factor.truncate(5);
    let mut x: Vec<f64> = (0..5).map(|i| f64::from(i) - 1.5).collect();
    let right = x.clone();
    factor.solve(&mut x);
    for i in 0..5 {
        let sum: f64 = (0..5).map(|j| G[(i, j)] * x[j]).sum();
        assert!((sum - right[i]).abs() < 1e-12);
    }
}

#[test]
fn codes_of_many_samples_are_those_of_each_with_true_errors_at_any_number_of_threads() {
    let (D, X) = problem(10, 30, 150, 6);
    let dictionary = Dictionary::new(single(&D), 10).unwrap();
    let data = single(&X);
    let samples = Samples::new(&data, 10).unwrap();
    for coder in [
        Coder::Omp { atoms: 4, error: 0.0 },
        Coder::Omp { atoms: 8, error: 0.4 },
        Coder::Nnls { atoms: None },
        Coder::Nnls { atoms: Some(2) },
        Coder::Lasso { penalty: 0.2 },
    ] {
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| coder.encode(&dictionary, samples).unwrap())
        };
        let codes = run(1);
        assert_eq!(codes, run(2));
        assert_eq!(codes, run(3));
        let residuals = codes.residuals(&dictionary, samples);
        for i in 0..150 {
            let x = X.col(i).to_owned();
            let expected = coded(&D, &x, |g, c, e, s| match coder {
                Coder::Omp { atoms, error } => omp(g, c, e, atoms, error * error * e, s),
                Coder::Nnls { atoms } => nonnegative(g, c, e, 0.0, atoms.unwrap_or(usize::MAX), s),
                Coder::Lasso { penalty } => nonnegative(g, c, e, penalty, usize::MAX, s),
            });
            let (atoms, values) = codes.sample(i);
            assert!(atoms.is_sorted());
            let mut found = Col::<f64>::zeros(30);
            atoms.iter().zip(values).for_each(|(k, z)| found[*k as usize] = f64::from(*z));
            let penalty = coder.penalty();
            // In f32, with up to 10 active atoms of moderate condition; the objective is below 6.
            let (ours, theirs) = (objective(&D, &x, &found, penalty), objective(&D, &x, &expected, penalty));
            assert!((ours - theirs).abs() < 3e-5, "{coder:?} {i}: {ours} {theirs}");
            let error: f32 = residuals[i * 10..(i + 1) * 10].iter().map(|e| e * e).sum();
            // ‖x‖² below 10, about 100 roundings.
            assert!((codes.errors[i] - error).abs() < 1e-4);
            assert!((f64::from(error) - (&x - &D * &found).squared_norm_l2()).abs() < 1e-4);
        }
    }
}

#[test]
fn parameters_out_of_range_and_samples_of_another_space_are_refused() {
    let dictionary = Dictionary::new(vec![1.0, 0.0, 0.0, 2.0], 2).unwrap();
    let samples = Samples::new(&[1.0, 2.0, 3.0], 3).unwrap();
    let plain = Samples::new(&[1.0, 2.0], 2).unwrap();
    for (coder, name) in [
        (Coder::Omp { atoms: 0, error: 0.0 }, "coder.atoms"),
        (Coder::Omp { atoms: 1, error: f64::NAN }, "coder.error"),
        (Coder::Nnls { atoms: Some(0) }, "coder.atoms"),
        (Coder::Lasso { penalty: -1.0 }, "coder.penalty"),
        (Coder::Lasso { penalty: f64::INFINITY }, "coder.penalty"),
    ] {
        assert!(coder.encode(&dictionary, plain).unwrap_err().to_string().starts_with(name));
    }
    let error = Coder::Lasso { penalty: 0.0 }.encode(&dictionary, samples).unwrap_err();
    assert_eq!(error.to_string(), "samples: expected dimension 2, found 3");
}
