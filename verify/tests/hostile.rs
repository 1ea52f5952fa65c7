//! Files made to break the checker: it neither panics nor works for long.

use sdlab_verify::format::{Arithmetic, Body, Expr, Rat, Relation, Step};
use sdlab_verify::{Cause, Certificate, check, check_text};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// Knuth's 64-bit linear congruential generator: the same mutations at every run.
struct Lcg(u64);

impl Lcg {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound.max(1)
    }
}

fn accepted() -> Vec<String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/accepted");
    let mut paths: Vec<_> = fs::read_dir(directory)
        .expect("the corpus exists")
        .map(|entry| entry.expect("it can be read").path())
        .collect();
    paths.sort();
    paths.iter().map(|path| fs::read_to_string(path).expect("it can be read")).collect()
}

#[test]
fn random_changes_of_bytes_never_panic() {
    let mut random = Lcg(1);
    for text in accepted() {
        for _ in 0..200 {
            let mut bytes = text.clone().into_bytes();
            for _ in 0..=random.below(3) {
                let at = random.below(bytes.len());
                let byte = b"0123456789-/\"[]{},: ae\\\x00\xff"[random.below(24)];
                match random.below(3) {
                    0 => bytes[at] = byte,
                    1 => bytes.insert(at, byte),
                    _ => drop(bytes.remove(at)),
                }
            }
            if let Ok(text) = String::from_utf8(bytes) {
                let _ = check_text(&text);
            }
        }
    }
}

/// Every scalar of a value, by its pointer.
fn scalars(value: &Value, at: String, found: &mut Vec<String>) {
    match value {
        Value::Array(list) => list.iter().enumerate().for_each(|(k, entry)| scalars(entry, format!("{at}/{k}"), found)),
        Value::Object(object) => object.iter().for_each(|(key, entry)| scalars(entry, format!("{at}/{key}"), found)),
        _ => found.push(at),
    }
}

#[test]
fn random_changes_of_values_never_panic() {
    let mut random = Lcg(2);
    let others = [
        json!("0"),
        json!("-1"),
        json!("7/3"),
        json!("1000000000000000000000000000000000000001/3"),
        json!(0),
        json!(1),
        json!(2),
        json!(5000),
        json!(u64::MAX),
        json!("alpha"),
        json!([]),
        json!({}),
        json!(["0", "1"]),
        json!([["0"]]),
    ];
    for text in accepted() {
        let value: Value = serde_json::from_str(&text).expect("it is JSON");
        let mut pointers = Vec::new();
        scalars(&value, String::new(), &mut pointers);
        for _ in 0..200 {
            let mut changed = value.clone();
            for _ in 0..=random.below(2) {
                let pointer = &pointers[random.below(pointers.len())];
                if let Some(slot) = changed.pointer_mut(pointer) {
                    *slot = others[random.below(others.len())].clone();
                }
            }
            // the hash would refuse every changed instance before it is looked at
            if let Ok(instance) = serde_json::from_value::<sdlab_verify::format::Problem>(changed["instance"].clone()) {
                changed["sha256"] = json!(instance.sha256());
            }
            let _ = check_text(&changed.to_string());
        }
    }
}

fn relation(left: Expr, right: Expr) -> Certificate {
    let steps = vec![Step { left, relation: Relation::Equal, right }];
    Certificate { instance: None, body: Body::Arithmetic(Arithmetic { steps }), note: None }
}

fn number(text: &str) -> Value {
    json!({"format": 1, "kind": "arithmetic", "body": {"steps": [{"left": text, "relation": "=", "right": text}]}})
}

#[test]
fn a_number_may_have_200000_digits_and_not_one_more() {
    let digits = "7".repeat(200_000);
    check_text(&number(&digits).to_string()).expect("at the limit");
    for text in [format!("{digits}7"), format!("1/{digits}7")] {
        assert_eq!(check_text(&number(&text).to_string()).expect_err("over the limit").cause, Cause::Limit);
    }
}

#[test]
fn many_long_fractions_are_refused_before_they_are_reduced() {
    let fraction = format!("{}/{}", "7".repeat(200_000), "9".repeat(199_999));
    let terms = json!({"add": vec![fraction; 70]});
    let file = json!({"format": 1, "kind": "arithmetic",
        "body": {"steps": [{"left": terms, "relation": "=", "right": "1"}]}});
    assert_eq!(check_text(&file.to_string()).expect_err("28 MB of digits").cause, Cause::Limit);
}

#[test]
fn powers_are_estimated_before_they_are_computed() {
    let power = |base: Expr, exponent| Expr::Pow(Box::new((base, exponent)));
    let rational = |n: i64| Expr::Rational(Rat::from(n));
    check(&relation(power(rational(1), 100_000), rational(1))).expect("1^100000 = 1");
    check(&relation(power(rational(-1), 99_999), rational(-1))).expect("(-1)^99999 = -1");
    let tower = power(power(power(rational(3), 50_000), 50_000), 50_000);
    assert_eq!(check(&relation(tower, rational(1))).expect_err("a tower").cause, Cause::Limit);
    let wide = Expr::Mul(vec![power(rational(7), 100_000); 40]);
    assert_eq!(check(&relation(wide, rational(1))).expect_err("a long product").cause, Cause::Limit);
    let many = Expr::Add(vec![Expr::Binomial(100_000, 50_000); 2_000]);
    assert_eq!(check(&relation(many, rational(1))).expect_err("much work").cause, Cause::Limit);
}

#[test]
fn trees_in_memory_are_limited_like_files() {
    let mut expression = Expr::Rational(Rat::from(1));
    for _ in 0..100 {
        expression = Expr::Add(vec![expression]);
    }
    check(&relation(expression, Expr::Rational(Rat::from(1)))).expect_err("nested too deeply");
}

/// A field of the greatest degree with long coefficients: its Sturm sequence would take minutes.
#[test]
fn a_hopeless_field_exhausts_the_budget() {
    let mut random = Lcg(3);
    let mut coefficient = || (0..4000).map(|_| char::from(b'1' + random.below(9) as u8)).collect::<String>();
    let poly: Vec<String> = (0..65).map(|_| coefficient()).collect();
    let golden =
        accepted().into_iter().find(|text| text.contains("\"-3\"") && text.contains("local-min")).expect("it exists");
    let mut value: Value = serde_json::from_str(&golden).expect("it is JSON");
    value["body"]["parts"][0]["field"]["poly"] = json!(poly);
    assert_eq!(check_text(&value.to_string()).expect_err("too long").cause, Cause::Limit);
}

#[test]
fn sizes_are_limited() {
    let zero = |n: usize| vec!["0"; n];
    let feature = |n_p: usize| json!({"mass": "1", "w_p": zero(n_p), "w_r": ["1"]});
    let problem = |n: usize, n_p: usize| {
        let instance =
            json!({"activation": {"kind": "threshold", "c": "0"}, "features": vec![feature(n_p); n], "format": 1});
        let hash =
            serde_json::from_value::<sdlab_verify::format::Problem>(instance.clone()).expect("well formed").sha256();
        json!({"format": 1, "kind": "pattern-witness", "instance": instance, "sha256": hash,
            "body": {"pattern": [[]], "w_e": [zero(n_p)]}})
    };
    check_text(&problem(4096, 1).to_string()).expect("as many features as are allowed");
    check_text(&problem(1, 4096).to_string()).expect("as many coordinates as are allowed");
    for (n, n_p) in [(4097, 1), (1, 4097)] {
        assert_eq!(check_text(&problem(n, n_p).to_string()).expect_err("too many").cause, Cause::Limit);
    }
    let mut neurons = problem(1, 1);
    neurons["body"] = json!({"pattern": vec![json!([]); 4097], "w_e": vec![["0"]; 4097]});
    assert_eq!(check_text(&neurons.to_string()).expect_err("too many").cause, Cause::Limit);
    // One code: every cone of n features has n vertices of n numbers.
    let one_code = |n: usize| {
        let mut bound = problem(n, 1);
        let code = json!({"s": "0", "weights": vec!["1"; n], "trees": [{"mu": [], "ends": []}]});
        bound["kind"] = json!("lower-bound");
        bound["body"] = json!({"latents": 1, "bound": "0",
            "tree": {"groups": [{"features": (0..n).collect::<Vec<_>>(), "code": code}]}});
        check_text(&bound.to_string()).expect_err("no proof").cause
    };
    assert_eq!((one_code(64), one_code(65)), (Cause::Condition, Cause::Limit));
    // Cones: features, nodes on a path, vectors at a leaf, and cones of differences.
    let cones = |n: usize, pattern: Value, steps: Vec<Value>| {
        let mut bound = problem(n, 1);
        bound["kind"] = json!("lower-bound");
        let group = json!({"features": (0..n).collect::<Vec<_>>(), "cones": {"s": "0", "steps": steps}});
        let latents = pattern.as_array().expect("a list").len();
        bound["body"] = json!({"latents": latents, "bound": "0", "pattern": pattern, "tree": {"groups": [group]}});
        check_text(&bound.to_string()).expect_err("no proof").cause
    };
    let all = |n: usize| (0..n).collect::<Vec<_>>();
    assert_eq!(
        (cones(12, json!([all(12)]), vec![]), cones(13, json!([all(13)]), vec![])),
        (Cause::Condition, Cause::Limit)
    );
    let cuts = |count: usize| vec![json!({"cut": [0, 0, 1], "of": "codes", "weight": "1"}); count];
    assert_eq!(
        (cones(2, json!([[0, 1]]), cuts(400)), cones(2, json!([[0, 1]]), cuts(401))),
        (Cause::Condition, Cause::Limit)
    );
    let leaf = || vec![json!({"bounded": "codes"}); 2];
    assert_eq!(cones(11, json!([all(11), all(10), all(10)]), leaf()), Cause::Limit);
    let difference = |n: usize| vec![json!({"difference": [0, 1], "form": vec!["1"; n]})];
    assert_eq!(
        (cones(4, json!([all(4), all(4)]), difference(4)), cones(12, json!([all(12), all(12)]), difference(12))),
        (Cause::Condition, Cause::Limit)
    );
}
