//! `sdlab atlas`: exit status, JSON, files, and the certificates replayed.

mod common;

use common::sdlab;
use sdlab::optim::start;
use sdlab::theory::loss::ApproximateLoss;
use sdlab::theory::problem::Problem;
use serde_json::Value;
use std::process::Output;

/// Features e_1, e_2 with masses 1, 2.
const PAIR: &str = r#"{"format":1,"features":[{"w_p":["1","0"],"mass":"1"},{"w_p":["0","1"],"mass":"2"}]}"#;

fn atlas(arguments: &[&str]) -> Output {
    let starts: &[&str] = if arguments.contains(&"--starts") { &[] } else { &["--starts", "10"] };
    sdlab(&[&["atlas", "--problem", PAIR], starts, arguments].concat())
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn the_exit_status_says_whether_the_global_optimum_is_certified() {
    assert_eq!(atlas(&["--latents", "1"]).status.code(), Some(0));
    let spent = atlas(&["--latents", "3", "--budget", "10", "--json"]);
    assert_eq!(spent.status.code(), Some(3));
    assert!(json(&spent)["undecided"].as_str().unwrap().contains("at most 10, found 20"));
    let steps = atlas(&["--latents", "1", "--budget", "1"]);
    let said = String::from_utf8(steps.stdout).unwrap();
    assert!(steps.status.code() == Some(3) && said.starts_with("undecided: --budget 1: "), "{said}");
    let many = atlas(&["--latents", "1", "--starts", "1000001"]);
    assert_eq!(many.status.code(), Some(2));
    assert!(String::from_utf8(many.stderr).unwrap().contains("--starts: expected at most 1000000, found 1000001"));
    for latents in ["0", "33", "x"] {
        let output = atlas(&["--latents", latents]);
        assert_eq!(output.status.code(), Some(2), "{latents}");
        assert!(String::from_utf8(output.stderr).unwrap().contains("--latents"), "{latents}");
    }
}

#[test]
fn an_open_gap_makes_no_pattern_global() {
    let folder = tempfile::tempdir().unwrap();
    let figure = folder.path().join("atlas.svg");
    let features: Vec<String> =
        [("1", "0"), ("3/5", "4/5"), ("-3/5", "4/5"), ("-1", "0"), ("-3/5", "-4/5"), ("5/13", "-12/13")]
            .iter()
            .map(|(x, y)| format!(r#"{{"w_p":["{x}","{y}"],"mass":"1"}}"#))
            .collect();
    let problem = format!(r#"{{"format":1,"features":[{}]}}"#, features.join(","));
    let arguments = ["atlas", "--problem", &problem, "--latents", "2", "--starts", "0", "--json"];
    let output = sdlab(&[&arguments[..], &["--figure", figure.to_str().unwrap()]].concat());
    assert_eq!(output.status.code(), Some(3));
    let found = json(&output);
    let patterns = found["patterns"].as_array().unwrap();
    assert!(found["global"]["closed"] == false && patterns.iter().all(|pattern| pattern["global"] == false));
    let known = patterns.iter().filter(|pattern| pattern["best_known"] == true).count();
    assert!((1..10).contains(&known), "{known}");
    let table = String::from_utf8(output.stderr).unwrap();
    assert!(
        table.contains("upper, best known") && !table.contains(", global") && table.contains("a lower one may exist"),
        "{table}"
    );
    let svg = std::fs::read_to_string(figure).unwrap();
    assert!(svg.contains("best known, not proved") && !svg.contains("global minimum"));
}

#[test]
fn three_features_of_the_plane_are_known_to_lose_nothing() {
    let problem = r#"{"format":1,"features":[{"w_p":["1","0"],"mass":"1"},{"w_p":["3/5","4/5"],"mass":"2"},{"w_p":["-3/5","4/5"],"mass":"1"}]}"#;
    let output = sdlab(&["atlas", "--problem", problem, "--latents", "2", "--starts", "0"]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains(", global"), "{said}");
}

#[test]
fn an_error_names_the_input_and_leaves_no_folder() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let feature = |mass: &str, p: &str| format!(r#"{{"format":1,"features":[{{"w_p":["{p}"],"mass":"{mass}"}}]"#);
    for (text, expected) in [
        (
            format!(r#"{},"activation":{{"kind":"top-k","k":1}}}}"#, feature("1", "1")),
            "problem.json: activation: expected",
        ),
        (feature("1", "1e160") + "}", "problem.json: features[0].w_r: expected the sum of mass·‖w_r‖²"),
        (feature("1e400", "1") + "}", "problem.json: features[0].mass: expected the sum of mass·‖w_r‖²"),
    ] {
        std::fs::write(path("problem.json"), text).unwrap();
        let (proofs, figure) = (path("proofs"), path("drawn/atlas.svg"));
        let output = sdlab(&[
            "atlas",
            "--problem",
            &path("problem.json"),
            "--latents",
            "1",
            "--certificates",
            &proofs,
            "--figure",
            &figure,
        ]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && said.contains(expected) && said.lines().count() == 1, "{said}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}

#[test]
fn cells_are_certified_if_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let proofs = folder.path().join("proofs").to_str().unwrap().to_owned();
    let found = json(&atlas(&["--latents", "1", "--cells", "--json", "--certificates", &proofs]));
    for pattern in found["patterns"].as_array().unwrap() {
        let lower = pattern["lower"]["f64"].as_f64().unwrap();
        let best = pattern["best"]["f64"].as_f64().unwrap();
        assert!(lower <= best && lower >= best * (1.0 - 1e-5), "{pattern}");
    }
    let value = json(&sdlab(&["certify", &proofs, "--json"]));
    assert_eq!((&value["accepted"], &value["refused"]), (&6.into(), &0.into()));
}

#[test]
fn cells_with_shared_features_lie_between_bounds_and_the_lower_one_is_certified() {
    let folder = tempfile::tempdir().unwrap();
    let proofs = folder.path().join("proofs").to_str().unwrap().to_owned();
    let found = json(&atlas(&["--latents", "2", "--cells", "--json", "--certificates", &proofs]));
    let mut shared = 0;
    for pattern in found["patterns"].as_array().unwrap() {
        // Both features are e_d: two neurons on both of them, or on one and both, lose nothing.
        let lists: Vec<Vec<u64>> = serde_json::from_value(pattern["pattern"].clone()).unwrap();
        let disjoint = !lists[0].iter().any(|d| lists[1].contains(d));
        assert_eq!(pattern["bounds"].is_null(), disjoint, "{pattern}");
        if !disjoint {
            let lost = [3.0, 2.0, 1.0, 0.0][lists.concat().iter().fold(0usize, |set, &d| set | (1usize << d))];
            let [lower, upper] = ["lower", "upper"].map(|bound| pattern["bounds"][bound].as_f64().unwrap());
            // ε of the loss without neurons
            assert!(lower <= lost + 1e-9 && upper >= lost - 1e-9 && upper - lower <= 1e-5, "{pattern}");
            assert_eq!(pattern["bounds"]["converged"], true);
            let certified = pattern["lower"]["f64"].as_f64().unwrap();
            assert!(certified <= lost && certified >= lower - 1e-5, "{pattern}");
            shared += 1;
        }
    }
    assert_eq!(shared, 5);
    let value = json(&sdlab(&["certify", &proofs, "--json"]));
    assert_eq!((&value["accepted"], &value["refused"]), (&12.into(), &0.into()));
}

#[test]
fn cells_with_dependent_features_say_where_no_certificate_holds_what_is_bounded() {
    // Three features in the plane: codes of a neuron on all of them are no orthant.
    let feature = |(p, r, mass): ([i32; 2], [i32; 2], u32)| {
        format!(r#"{{"w_p":["{}","{}"],"w_r":["{}","{}"],"mass":"{mass}"}}"#, p[0], p[1], r[0], r[1])
    };
    let features = [([1, 0], [1, 0], 1), ([0, 1], [0, 1], 2), ([1, 1], [2, -1], 3)].map(feature).join(",");
    let problem = format!(r#"{{"format":1,"features":[{features}]}}"#);
    let arguments = ["atlas", "--problem", &problem, "--latents", "2", "--starts", "10", "--cells"];
    let output = sdlab(&[&arguments[..], &["--json"]].concat());
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let lower = |pattern: &serde_json::Value| {
        let certified = pattern["lower"]["f64"].as_f64()?;
        Some((certified, pattern["bounds"]["lower"].as_f64()?))
    };
    let both: Vec<(f64, f64)> = found["patterns"].as_array().unwrap().iter().filter_map(lower).collect();
    assert!(!both.is_empty() && both.iter().all(|(certified, bounded)| *certified <= bounded + 1e-6), "{both:?}");
    let weaker = both.iter().any(|(certified, bounded)| *certified < bounded * (1.0 - 1e-4));
    let table = String::from_utf8(sdlab(&arguments).stdout).unwrap();
    assert!(weaker && table.contains(" in f64") && table.contains("without a certificate"), "{both:?}\n{table}");
}

#[test]
fn the_json_lists_every_pattern_in_the_order_of_its_best_value() {
    let found = json(&atlas(&["--latents", "2", "--json"]));
    let patterns = found["patterns"].as_array().unwrap();
    // four firing sets of a row, so ten pairs of them
    assert_eq!(patterns.len(), 10);
    let best: Vec<f64> = patterns.iter().map(|p| p["best"]["f64"].as_f64().unwrap()).collect();
    assert!(best.is_sorted(), "{best:?}");
    let of = |text: &str| {
        let pattern: serde_json::Value = serde_json::from_str(text).unwrap();
        patterns.iter().find(|p| p["pattern"] == pattern).unwrap()
    };
    assert_eq!((&of("[[0],[1]]")["global"], &of("[[0],[1]]")["best"]["exact"]), (&true.into(), &"0".into()));
    assert_eq!(
        (&of("[[],[0,1]]")["exists"], of("[[],[0,1]]")["best_kind"].as_str()),
        (&false.into(), Some("closed-form"))
    );
    assert_eq!(found["global"]["upper"]["exact"], "0");
}

#[test]
fn the_json_says_where_the_starts_end() {
    // Features are orthogonal, so that a code keeps its sign, and a row that fires on both turns to the heavier feature.
    let found = json(&atlas(&["--latents", "1", "--json", "--seed", "4", "--starts", "30"]));
    let problem = Problem::from_json(PAIR).unwrap();
    let loss = ApproximateLoss::from_problem(&problem).unwrap();
    let mut expected = [0; 4];
    for k in 0..30 {
        let row = start::random(&loss, 1, 4 * 1_000_003 + k).W;
        expected[if row[(0, 1)] > 0.0 { 1 } else { usize::from(row[(0, 0)] <= 0.0) * 2 }] += 1;
    }
    assert!(expected[..3].iter().all(|count| *count > 0), "{expected:?}");
    let patterns: [&[usize]; 4] = [&[0], &[1], &[], &[0, 1]];
    for (fires_on, count) in patterns.into_iter().zip(expected) {
        let pattern = serde_json::json!([fires_on]);
        let entry = found["patterns"].as_array().unwrap().iter().find(|p| p["pattern"] == pattern).unwrap();
        assert_eq!(entry["starts"], count, "{pattern}");
    }
    assert_eq!(found["elsewhere"], 0);
}

#[test]
fn certificates_are_replayed_and_the_figure_is_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let (proofs, figure) = (folder.path().join("proofs"), folder.path().join("atlas.svg"));
    let (proofs, figure) = (proofs.to_str().unwrap(), figure.to_str().unwrap());
    let output = atlas(&["--latents", "1", "--certificates", proofs, "--figure", figure]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8(output.stderr).unwrap());
    let replayed = sdlab(&["certify", proofs, "--json"]);
    let value = json(&replayed);
    assert_eq!((replayed.status.code(), &value["accepted"], &value["refused"]), (Some(0), &2.into(), &0.into()));
    let refused = atlas(&["--latents", "1", "--figure", "atlas.gif"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8(refused.stderr).unwrap().contains("--figure: expected a file that ends in .svg"));
    let png = folder.path().join("atlas.png");
    assert!(atlas(&["--latents", "1", "--figure", png.to_str().unwrap()]).status.success());
    assert!(std::fs::read(png).unwrap().starts_with(b"\x89PNG"));
    let svg = std::fs::read_to_string(figure).unwrap();
    assert!(svg.contains("[[0,1]]") && svg.contains("of starts"), "{svg:.300}");
    // A bound that is too high is refused.
    let path = folder.path().join("proofs/global-lower-bound.json");
    let raised = std::fs::read_to_string(&path).unwrap();
    let mut changed: Value = serde_json::from_str(&raised).unwrap();
    changed["body"]["bound"] = "3/2".into();
    std::fs::write(&path, changed.to_string()).unwrap();
    assert_eq!(sdlab(&["certify", proofs]).status.code(), Some(1));
}

#[test]
fn one_seed_gives_one_output() {
    let once = || atlas(&["--latents", "2", "--json", "--seed", "5"]).stdout;
    assert_eq!(once(), once());
}
