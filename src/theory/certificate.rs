//! From the library's exact objects to the certificate types of `sdlab-verify`.

use super::problem::{Activation, Problem};
use crate::exact::Rational;
use sdlab_verify::format;
use sdlab_verify::format::Rat;

/// The instance that a certificate about this problem embeds.
pub fn instance(problem: &Problem) -> format::Problem {
    let activation = match problem.activation() {
        Activation::Threshold(c) => format::Activation::Threshold { c: Rat(c.clone()) },
        Activation::TopK(k) => format::Activation::TopK { k: *k },
        Activation::TopKRelu(k) => format::Activation::TopKRelu { k: *k },
    };
    let feature = |f: &super::problem::Feature| format::Feature {
        mass: Rat(f.mass.clone()),
        w_p: numbers(&f.w_p),
        w_r: numbers(&f.w_r),
    };
    format::Problem { activation, features: problem.features().iter().map(feature).collect() }
}

/// Exact numbers.
pub fn numbers(values: &[Rational]) -> Vec<Rat> {
    values.iter().cloned().map(Rat).collect()
}

/// Exact rows of a matrix.
pub fn rows(matrix: &[Vec<Rational>]) -> Vec<Vec<Rat>> {
    matrix.iter().map(|row| numbers(row)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_named_by_the_hash_of_the_problem_files_own_canonical_json() {
        for activation in
            [r#"{"kind":"threshold","c":"0.5"}"#, r#"{"kind":"top-k","k":2}"#, r#"{"kind":"top-k-relu","k":1}"#]
        {
            let text = format!(
                r#"{{"format":1,"features":[{{"w_p":["1/3",0.25],"w_r":["-2"],"mass":"3"}}],"activation":{activation}}}"#
            );
            let problem = Problem::from_json(&text).unwrap();
            assert_eq!(instance(&problem).canonical_json(), problem.to_json());
        }
    }
}
