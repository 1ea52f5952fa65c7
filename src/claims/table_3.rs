//! Table 3: the default configuration, and that it exactly satisfies Assumptions 2.3 and 2.4.
//!
//! Its numbers agree with each other, and its bound on the interference is feasible. But n(1 − S) = 10 features are active at a
//! time, so that the extreme sparsity of Assumption 2.4 fails in the only quantitative form that the paper gives it (App. I.1). What
//! that means for the losses is the subject of the claim `regime`.

use super::audit::{Answer, Finding, findings_table, less, outcome, printed_as, published_table};
use super::printed::decimal;
use super::published::{Tables, audited};
use super::relations::{difference, integer, power, rational, step};
use super::sources::{RANKIN_1955, WELCH_1974};
use super::{Check, Claim, Context, Correction, Evidence, Outcome};
use crate::bench::features::{interference_limit, stream};
use crate::exact::Rational;
use crate::exact::rational::to_f64;
use crate::stats::{Cell, Proportion};
use rand::RngExt;
use sdlab_verify::format::{Expr, Relation};

/// The claim.
pub const CLAIM: Claim = Claim {
    id: "table-3",
    place: "Table 3, App. C.3 and C.4",
    title: "The default bench exactly satisfies Assumptions 2.3 and 2.4",
    statement: "With n = 1000, n_p = 768 (ratio 1.30), S = .99 and M = .1 the bench exactly satisfies Assumptions 2.3 and 2.4, extreme sparsity in the sense of App. I.1 included: Pr(‖x‖_0 ≥ 2) ≤ (1 − S)².",
    latex: r"n=1000,\ S=0.99:\quad \Pr(\|x\|_0\ge 2)\le(1-S)^2,\qquad \max_{i\ne j}\langle w_p^i,w_p^j\rangle\le M=0.1",
    assumes: "The features fire independently with probability 1 − S (eq. 29), as Table 3 sets n and S.",
    sources: &[RANKIN_1955, WELCH_1974],
    run,
    on_instance: None,
};

/// Draws of the number of active features.
const DRAWS: u64 = 20_000;

fn run(context: &Context) -> Outcome {
    audited(|tables| audit(tables, context))
}

fn audit(tables: &Tables, context: &Context) -> Outcome {
    let table = tables.table(3);
    let value = |symbol: &str| table.default_value(symbol);
    let (Some(n), Some(n_p), Some(ratio), Some(s), Some(m)) =
        (value("n"), value("n_p"), value("n/n_p"), value("S"), value("M"))
    else {
        return Outcome::undecided("Table 3 lacks a parameter");
    };
    let whole = |x: &Rational| x.to_string().parse::<u32>().ok();
    let (Some(n), Some(n_p), s, m) = (whole(n.value()), whole(n_p.value()), s.value().clone(), m.value().clone())
    else {
        return Outcome::undecided("n or n_p of Table 3 is no whole number");
    };
    let (n_exact, n_p_exact, p) = (Rational::from(n), Rational::from(n_p), Rational::ONE - &s);
    // Pr(‖x‖_0 ≤ 1) = S^n + n(1−S)S^{n−1}
    let few = s.pow(n as isize) + &n_exact * &p * s.pow(n as isize - 1);
    let crowded = Rational::ONE - &few;
    let allowed = &p * &p;
    let extreme = if crowded <= allowed {
        Answer::Yes
    } else {
        let none = power(rational(&s), n as usize);
        let one = Expr::Mul(vec![rational(&n_exact), rational(&p), power(rational(&s), n as usize - 1)]);
        let crowded = difference(integer(1), Expr::Add(vec![none, one]));
        Answer::No(vec![step(crowded, Relation::Greater, rational(&allowed))])
    };
    // At most 2n_p unit vectors: e_1, −e_1, .. have products ≤ 0 (Rankin). Above that nothing is decided here.
    let feasible = if n <= 2 * n_p && m >= Rational::ZERO { Answer::Yes } else { Answer::Open };
    // Welch 1974: the largest |product| squared is at least (n − n_p)/(n_p(n − 1)).
    let welch = (&n_exact - &n_p_exact).max(Rational::ZERO) / (&n_p_exact * (&n_exact - Rational::ONE));
    let two_sided = if &m * &m >= welch { Answer::Yes } else { Answer::No(vec![less(&(&m * &m), &welch)]) };
    let findings = [
        Finding::new(
            "ratio",
            "the superposition ratio is n/n_p",
            format!("{n}/{n_p} = {}, {ratio}", decimal(&(&n_exact / &n_p_exact))),
            printed_as(&(&n_exact / &n_p_exact), &ratio),
        ),
        Finding::new(
            "feasible",
            "n unit vectors in R^{n_p} can have all products ≤ M",
            format!("{n} ≤ 2·{n_p}, M = {}", decimal(&m)),
            feasible,
        ),
        Finding::new(
            "welch",
            "and all absolute products ≤ M is not excluded by the Welch bound",
            format!("M^2 = {}, bound {}", decimal(&(&m * &m)), decimal(&welch)),
            two_sided,
        ),
        Finding::new(
            "two-active",
            table.quote("two-active").text.as_str(),
            format!(
                "n = {n}, S = {}: Pr(‖x‖_0 ≥ 2) = {}, (1−S)^2 = {}",
                decimal(&s),
                decimal(&crowded),
                decimal(&allowed)
            ),
            extreme,
        ),
    ];
    let mean = &n_exact * &p;
    let evidence = vec![Evidence::computed(format!(
        "On average n(1−S) = {} features are active. {n} unit vectors in R^{n_p} can have all products at most {} (one-sided, as Assumption 2.4 defines M), and \
         no choice has all absolute products below {:.4} (Welch), so that M = {} asks for little.",
        decimal(&mean),
        interference_limit(n_p as usize, n as usize),
        to_f64(&welch).sqrt(),
        decimal(&m),
    ))];
    let mut rng = stream(context.seed, CLAIM.id);
    let draws = (0..DRAWS).filter(|_| (0..n).filter(|_| rng.random_bool(to_f64(&p))).take(2).count() < 2).count();
    let law = to_f64(&few);
    // The plausible mistake is to count one active feature more, Pr(‖x‖_0 ≤ 2).
    let pairs = &n_exact * (&n_exact - Rational::ONE) / Rational::from(2);
    let wrong = to_f64(&(&few + pairs * &allowed * s.pow(n as isize - 2)));
    let test = Proportion { trials: DRAWS, successes: draws as u64, law, wrong };
    let mut result = outcome(&findings, None, evidence).with_correction(Correction {
        statement: format!(
            "The rest of the table is consistent and feasible. Exactly, Pr(‖x‖_0 ≥ 2) = 1 − S^n − n(1−S)S^{{n−1}} ≤ C(n,2)(1−S)²: the factor is n(n−1)/2, \
             not 1, so that a configuration is extreme for n(1−S) ≪ 1, and here n(1−S) = {}.",
            decimal(&mean)
        ),
        latex: r"\Pr(\|x\|_0\ge2)=1-S^n-n(1-S)S^{n-1}\le\binom n2(1-S)^2".into(),
        checks: vec![
            Check::proportion("draws of ‖x‖_0 ≤ 1 at the default configuration", &test),
            union_bound(),
        ],
    });
    result = result
        .with_quantity(
            "two-active",
            "probability that at least two features are active at the default configuration",
            Cell::number(to_f64(&crowded), 4),
        )
        .with_quantity(
            "active-mean",
            "mean number of active features at the default configuration",
            Cell::number(to_f64(&mean), 3),
        );
    result.tables =
        vec![findings_table("default-configuration", CLAIM.id, &findings), published_table(table, CLAIM.id)];
    result
}

/// The corrected bound, exactly, over n and S.
fn union_bound() -> Check {
    let cases: Vec<(u32, Rational)> = (1..=20_u32)
        .flat_map(|n| [1, 2, 5, 10, 50, 90].map(|percent| (n, Rational::from(percent) / Rational::from(100))))
        .collect();
    let failures = cases.iter().filter(|(n, p)| {
        let s = Rational::ONE - p;
        let few = s.pow(*n as isize) + Rational::from(*n) * p * s.pow(*n as isize - 1);
        Rational::ONE - few > Rational::from(n * (n - 1) / 2) * p * p
    });
    Check {
        what: "Pr(‖x‖_0 ≥ 2) ≤ C(n,2)(1−S)² for n ≤ 20 and six S, exactly".into(),
        trials: cases.len(),
        failures: failures.count(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::Verdict;

    #[test]
    fn the_verdict_is_read_off_the_parameters() {
        let verdict = |changes: &[(usize, &str, &str)]| audit(&Tables::altered(changes), &Context::default()).verdict;
        assert_eq!(verdict(&[(3, "1.30×", "1.31×")]), Verdict::Refuted);
        // Two features: Pr(both) = (1−S)^2, and in R^2 they can be orthogonal.
        let small =
            [(3, "\"n\", \"1000\"", "\"n\", \"2\""), (3, "768", "2"), (3, "1.30×", "1.00×"), (3, "0.99", "0.5")];
        assert_eq!(verdict(&small), Verdict::Holds);
        // 0.01^2 is below the Welch bound 0.0174^2.
        let proofs = |changes: &[(usize, &str, &str)]| {
            let outcome = audit(&Tables::altered(changes), &Context::default());
            outcome.evidence.iter().filter_map(|e| e.proof.as_ref()).map(|p| p.name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(proofs(&[(3, "\"0.1\"", "\"0.01\"")]), ["welch", "two-active"]);
        assert_eq!(proofs(&[(3, "\"0.1\"", "\"0.02\"")]), ["two-active"]);
    }
}
