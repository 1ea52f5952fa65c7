//! The problem: features (p_d, r_d), masses M_d and the activation (Asm. 2.3, eq. 11), with exact numbers.
//!
//! [`Problem`] is what users exchange as JSON; see `docs/schema/problem.json`. The f64 view of it, on which losses and
//! gradients are computed, is [`crate::theory::loss::ApproximateLoss`].

use crate::exact::Rational;
use crate::exact::rational;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One ground-truth feature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feature {
    /// p_d, the direction in the input representation, n_p numbers.
    pub w_p: Vec<Rational>,
    /// r_d, the direction in the target representation, n_r numbers.
    pub w_r: Vec<Rational>,
    /// M_d > 0, the weight of the feature in eq. 11.
    pub mass: Rational,
}

/// The activation of an exact problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Activation {
    /// σ_c(z)_i = z_i·1(z_i > c) with c ≥ 0; c = 0 is ReLU (eq. 10 ff.).
    Threshold(Rational),
    /// The k largest pre-activations are kept, negative ones too, ties to the lower index (eq. 7).
    TopK(usize),
    /// ReLU after Top-k: of the k largest the positive ones are kept.
    TopKRelu(usize),
}

/// An exact problem: at least one feature, all of one shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    features: Vec<Feature>,
    activation: Activation,
}

/// What is wrong with a problem.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProblemError {
    /// There is no feature.
    #[error("features: expected at least one feature, found none")]
    NoFeatures,
    /// A direction is empty.
    #[error("features[{feature}].{field}: expected at least one number, found none")]
    Empty {
        /// 0-based feature.
        feature: usize,
        /// `w_p` or `w_r`.
        field: &'static str,
    },
    /// A direction has another length than that of feature 0.
    #[error("features[{feature}].{field}: expected {expected} numbers as in features[0], found {found}")]
    Length {
        /// 0-based feature.
        feature: usize,
        /// `w_p` or `w_r`.
        field: &'static str,
        /// Length in feature 0.
        expected: usize,
        /// Length here.
        found: usize,
    },
    /// A mass is not positive.
    #[error("features[{feature}].mass: expected a number > 0, found {found}")]
    Mass {
        /// 0-based feature.
        feature: usize,
        /// The value.
        found: String,
    },
    /// The threshold is negative.
    #[error("activation.c: expected a number >= 0, found {0}")]
    Threshold(String),
    /// Top-k with k = 0.
    #[error("activation.k: expected an integer >= 1, found 0")]
    K,
}

impl Problem {
    /// Checks shapes, masses and the activation.
    pub fn new(features: Vec<Feature>, activation: Activation) -> Result<Self, ProblemError> {
        let first = features.first().ok_or(ProblemError::NoFeatures)?;
        let (n_p, n_r) = (first.w_p.len(), first.w_r.len());
        for (d, feature) in features.iter().enumerate() {
            for (field, found, expected) in [("w_p", feature.w_p.len(), n_p), ("w_r", feature.w_r.len(), n_r)] {
                if found == 0 {
                    return Err(ProblemError::Empty { feature: d, field });
                }
                if found != expected {
                    return Err(ProblemError::Length { feature: d, field, expected, found });
                }
            }
            if rational::sign(&feature.mass) <= 0 {
                return Err(ProblemError::Mass { feature: d, found: feature.mass.to_string() });
            }
        }
        match &activation {
            Activation::Threshold(c) if rational::sign(c) < 0 => return Err(ProblemError::Threshold(c.to_string())),
            Activation::TopK(0) | Activation::TopKRelu(0) => return Err(ProblemError::K),
            _ => {}
        }
        Ok(Self { features, activation })
    }

    /// The features, in order.
    pub fn features(&self) -> &[Feature] {
        &self.features
    }

    /// The activation.
    pub fn activation(&self) -> &Activation {
        &self.activation
    }

    /// The threshold c, if the activation is σ_c.
    pub fn threshold(&self) -> Option<&Rational> {
        match &self.activation {
            Activation::Threshold(c) => Some(c),
            _ => None,
        }
    }

    /// n, the number of features.
    pub fn n(&self) -> usize {
        self.features.len()
    }

    /// n_p, the dimension of the input representation.
    pub fn n_p(&self) -> usize {
        self.features[0].w_p.len()
    }

    /// n_r, the dimension of the target representation.
    pub fn n_r(&self) -> usize {
        self.features[0].w_r.len()
    }

    /// Reads problem JSON (format 1). Errors name the field.
    pub fn from_json(text: &str) -> Result<Self, String> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let file: ProblemFile = serde_path_to_error::deserialize(&mut deserializer).map_err(|e| e.to_string())?;
        deserializer.end().map_err(|e| e.to_string())?;
        file.into_problem()
    }

    /// Problem JSON with every default written out and lowest-terms strings: the canonical JSON of certificates
    /// (sorted keys, no white space).
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("strings and integers always serialise")
    }
}

impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let strings = |v: &[Rational]| v.iter().map(ToString::to_string).collect::<Vec<_>>();
        let features: Vec<_> = self
            .features
            .iter()
            .map(|f| serde_json::json!({"mass": f.mass.to_string(), "w_p": strings(&f.w_p), "w_r": strings(&f.w_r)}))
            .collect();
        let activation = match &self.activation {
            Activation::Threshold(c) => serde_json::json!({"c": c.to_string(), "kind": "threshold"}),
            Activation::TopK(k) => serde_json::json!({"k": k, "kind": "top-k"}),
            Activation::TopKRelu(k) => serde_json::json!({"k": k, "kind": "top-k-relu"}),
        };
        // serde_json's map sorts its keys.
        serde_json::json!({"activation": activation, "features": features, "format": 1}).serialize(serializer)
    }
}

/// An exact number in an input file: a string is exact, a JSON number is rounded to f64 first.
#[derive(Debug, Clone)]
pub struct Number(pub Rational);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Number;
            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("an exact number: a string such as \"-1/2\" or \"0.25\", or a JSON number")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Number, E> {
                rational::parse(text).map(Number).map_err(E::custom)
            }
            fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Number, E> {
                rational::from_f64(value).map(Number).map_err(E::custom)
            }
            fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Number, E> {
                self.visit_f64(value as f64)
            }
            fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Number, E> {
                self.visit_f64(value as f64)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProblemFile {
    format: u64,
    features: Vec<FeatureFile>,
    #[serde(default)]
    activation: Option<ActivationFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FeatureFile {
    w_p: Vec<Number>,
    w_r: Option<Vec<Number>>,
    mass: Number,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ActivationFile {
    kind: String,
    c: Option<Number>,
    k: Option<usize>,
}

impl ProblemFile {
    fn into_problem(self) -> Result<Problem, String> {
        if self.format != 1 {
            return Err(format!("format: expected 1, found {}", self.format));
        }
        let numbers = |v: Vec<Number>| v.into_iter().map(|x| x.0).collect::<Vec<_>>();
        let features = self
            .features
            .into_iter()
            .map(|f| {
                let w_p = numbers(f.w_p);
                Feature { w_r: f.w_r.map_or_else(|| w_p.clone(), numbers), w_p, mass: f.mass.0 }
            })
            .collect();
        let activation = match self.activation {
            None => Activation::Threshold(Rational::ZERO),
            Some(a) => match (a.kind.as_str(), a.c, a.k) {
                ("threshold", c, None) => Activation::Threshold(c.map_or(Rational::ZERO, |x| x.0)),
                ("top-k", None, Some(k)) => Activation::TopK(k),
                ("top-k-relu", None, Some(k)) => Activation::TopKRelu(k),
                ("threshold", _, Some(_)) => return Err("activation.k: a threshold activation has no k".into()),
                ("top-k" | "top-k-relu", _, None) => {
                    return Err("activation.k: expected an integer >= 1, found nothing".into());
                }
                ("top-k" | "top-k-relu", Some(_), _) => return Err("activation.c: a top-k activation has no c".into()),
                (other, _, _) => {
                    return Err(format!("activation.kind: expected threshold, top-k or top-k-relu, found `{other}`"));
                }
            },
        };
        Problem::new(features, activation).map_err(|e| e.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = r#"{"format": 1, "features": [{"w_p": ["1", "0"], "mass": "1"}, {"w_p": [0, 0.5], "w_r": ["2/4", "1e-2"], "mass": 2}]}"#;

    #[test]
    fn a_problem_survives_a_round_trip_with_defaults_written_out() {
        let problem = Problem::from_json(TWO).unwrap();
        assert_eq!(
            problem.to_json(),
            r#"{"activation":{"c":"0","kind":"threshold"},"features":[{"mass":"1","w_p":["1","0"],"w_r":["1","0"]},{"mass":"2","w_p":["0","1/2"],"w_r":["1/2","1/100"]}],"format":1}"#
        );
        assert_eq!(Problem::from_json(&problem.to_json()).unwrap(), problem);
    }

    #[test]
    fn wrong_input_is_refused_with_the_field_named() {
        for (from, to, names) in [
            (r#""mass": "1""#, r#""mass": "0""#, "features[0].mass"),
            (r#""mass": "1""#, r#""mass": "x""#, "features[0].mass"),
            (r#""mass": "1""#, r#""mass": "1", "mass": "1""#, "duplicate"),
            (r#""mass": "1""#, r#""mass": "1", "mas": "1""#, "mas"),
            (r#"[0, 0.5]"#, r#"[0]"#, "features[1].w_p"),
            (r#"[0, 0.5]"#, r#"[0, 1e999]"#, "features[1].w_p[1]"),
            (r#""format": 1"#, r#""format": 2"#, "format"),
            (r#"]}"#, r#"], "activation": {"kind": "threshold", "c": "-1"}}"#, "activation.c"),
            (r#"]}"#, r#"], "activation": {"kind": "top-k", "k": 0}}"#, "activation.k"),
            (r#"]}"#, r#"]} x"#, "trailing"),
        ] {
            let at = TWO.rfind(from).filter(|_| from == "]}").or(TWO.find(from)).unwrap();
            let text = format!("{}{to}{}", &TWO[..at], &TWO[at + from.len()..]);
            let error = Problem::from_json(&text).unwrap_err();
            assert!(error.contains(names), "{to}: {error}");
        }
    }
}
