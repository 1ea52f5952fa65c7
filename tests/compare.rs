//! `sdlab compare`: results, resumption, certificates, and what wrong input is told.

mod common;

use common::sdlab;
use sdlab::compare::measure::{Held, proofs, read};
use sdlab::compare::suite::Instance;
use sdlab::exact::rational::to_f64;
use sdlab::theory::certificate::instance;
use sdlab_verify::format::Body;
use sdlab_verify::{Certificate, check_text};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const CONFIG: &str = r#"
starts = 2
optimizers = ["acs", "descent-lipschitz", "lbfgs"]
[budget]
steps = 200
gradients = 400
[[families]]
family = "orthonormal"
n = 3
n_p = 3
latents = 2
instances = 2
[[families]]
family = "random-unit"
n = 3
n_p = 3
latents = 3
instances = 1
optimizers = ["acs", "lbfgs"]
"#;

fn compare(config: &Path, out: &Path, more: &[&str]) -> std::process::Output {
    let mut arguments = vec!["compare", config.to_str().unwrap(), "--out", out.to_str().unwrap()];
    arguments.extend(more);
    sdlab(&arguments)
}

fn error(output: &std::process::Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn a_comparison_goes_on_where_it_was_stopped_and_ends_in_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("one.toml");
    fs::write(&config, CONFIG).unwrap();
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    assert!(compare(&config, &whole, &[]).status.success());
    let expected = fs::read_to_string(whole.join("results.jsonl")).unwrap();
    assert_eq!(expected.lines().count(), 3);
    // Two starts, and on the last instance two of three optimizers.
    for (line, runs) in expected.lines().zip([2 * 3, 2 * 3, 2 * 2]) {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(record["runs"].as_array().unwrap().len(), runs);
        assert!(record["upper"].as_f64() >= record["lower"].as_f64(), "{line}");
    }

    assert!(compare(&config, &parts, &["--max-instances", "1"]).status.success());
    // A kill in the middle of writing: half of a line.
    let lines: Vec<&str> = expected.lines().collect();
    let torn = lines[..1].join("\n") + "\n" + &lines[1][..400];
    fs::write(parts.join("results.jsonl"), torn).unwrap();
    // It had written the seconds of that line, and half of another one.
    let mut seconds = fs::read_to_string(parts.join("timings.jsonl")).unwrap();
    seconds += &seconds.replace("p3-q2-0", "p3-q2-1");
    fs::write(parts.join("timings.jsonl"), &seconds[..seconds.len() - 20]).unwrap();
    let output = compare(&config, &parts, &[]);
    assert!(output.status.success(), "{}", error(&output));
    assert_eq!(fs::read_to_string(parts.join("results.jsonl")).unwrap(), expected);
    let timed = fs::read_to_string(parts.join("timings.jsonl")).unwrap();
    assert_eq!(timed.lines().count(), 2 * 3 + 2 * 3 + 2 * 2);
    let runs = expected.lines().flat_map(|line| {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        record["runs"].as_array().unwrap().clone()
    });
    for (line, run) in timed.lines().zip(runs) {
        let timing: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(timing["seconds"].as_f64().unwrap() > 0.0);
        assert_eq!((&timing["optimizer"], &timing["start"]), (&run["optimizer"], &run["start"]));
        let hits = |value: &serde_json::Value| value["hits"].as_array().map_or(0, Vec::len);
        assert_eq!(hits(&timing), hits(&run), "{line}");
    }

    // What is proved of every instance replays, and a changed bound is refused.
    let proofs = whole.join("certificates");
    let certify = |path: &Path| sdlab(&["certify", path.to_str().unwrap()]).status.code().unwrap();
    assert_eq!(certify(&proofs), 0);
    // A bound and a point that attains it for each of two, a point without loss for the third; the cells of two starts for each.
    assert_eq!(fs::read_dir(&proofs).unwrap().count(), 5 + 2 * 3);
    let bound = proofs.join("orthonormal-n3-p3-q2-0-lower-bound.json");
    let mut proof: serde_json::Value = serde_json::from_str(&fs::read_to_string(&bound).unwrap()).unwrap();
    proof["body"]["bound"] = "1000".into();
    fs::write(&bound, proof.to_string()).unwrap();
    assert_eq!(certify(&bound), 1);
}

#[test]
fn a_loss_below_a_certified_bound_is_never_reported() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("one.toml");
    fs::write(&config, CONFIG).unwrap();
    let out = folder.path().join("out");
    assert!(compare(&config, &out, &["--seed", "3"]).status.success());
    let mut met = 0;
    for line in fs::read_to_string(out.join("results.jsonl")).unwrap().lines() {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        let number = |value: &serde_json::Value| value.as_f64().unwrap();
        let (lower, total) = (number(&record["lower"]), number(&record["total"]));
        for run in record["runs"].as_array().unwrap() {
            let loss = number(&run["end"]["loss"]);
            assert!(loss >= lower - 1e-12 * total, "{run}");
            met += usize::from(loss <= lower + 1e-6 * total);
        }
    }
    assert!(met > 0, "no run has met its bound");
}

#[test]
fn wrong_input_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("one.toml");
    let out = folder.path().join("out");
    fs::write(&config, CONFIG.replace("lbfgs", "newton")).unwrap();
    let output = compare(&config, &out, &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(error(&output).contains("optimizers[2]") && error(&output).contains("newton"), "{}", error(&output));

    fs::write(&config, CONFIG.replace("[\"acs\", \"lbfgs\"]", "[\"adam\"]")).unwrap();
    let output = compare(&config, &out, &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(error(&output).contains("families[1].optimizers[0]"), "{}", error(&output));

    fs::write(&config, CONFIG).unwrap();
    assert!(compare(&config, &out, &["--max-instances", "1"]).status.success());
    let output = compare(&config, &out, &["--seed", "1"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(error(&output).contains("another comparison"), "{}", error(&output));
    fs::write(out.join("results.jsonl"), "{}\n").unwrap();
    let output = compare(&config, &out, &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(error(&output).contains("results.jsonl: line 1"), "{}", error(&output));
    // The lines of an earlier format are told apart from damaged ones.
    fs::write(out.join("results.jsonl"), "{\"format\":2,\"instance\":\"x\"}\n").unwrap();
    let output = compare(&config, &out, &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(error(&output).contains("expected 3, found 2") && error(&output).contains("--force"), "{}", error(&output));
}

/// The names of all files of a folder and of those in it, with what they hold.
fn held(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        match entry.path() {
            path if path.is_dir() => all.extend(held(&path).into_iter().map(|(file, x)| (format!("{name}/{file}"), x))),
            path => all.push((name, fs::read(path).unwrap())),
        }
    }
    all.sort();
    all
}

#[test]
fn nothing_is_removed_or_written_before_the_new_comparison_is_known_to_work() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("one.toml");
    let out = folder.path().join("out");
    let refused = |config: &Path, out: &Path, more: &[&str], named: &[&str]| {
        let output = compare(config, out, more);
        assert_eq!(output.status.code(), Some(2));
        let said = error(&output);
        assert!(named.iter().all(|name| said.contains(name)) && said.trim_end().lines().count() == 1, "{said}");
    };
    // No three unit vectors on a line have products of at most 1/2.
    let impossible =
        CONFIG.replace("family = \"random-unit\"\nn = 3\nn_p = 3", "family = \"bounded-interference\"\nn = 3\nn_p = 1");
    fs::write(&config, &impossible).unwrap();
    refused(&config, &out, &[], &["one.toml: families[1]: "]);
    assert!(!out.exists());
    fs::write(&config, CONFIG.replace("n = 3\nn_p = 3\nlatents = 2", "n = 3\nn_p = 2\nlatents = 2")).unwrap();
    refused(&config, &out, &[], &["one.toml: families[0].n: ", "n <= n_p"]);

    // The folder is free for what was meant, and keeps it when another start fails.
    fs::write(&config, CONFIG).unwrap();
    assert!(compare(&config, &out, &["--max-instances", "2"]).status.success());
    let before = held(&out);
    fs::write(&config, &impossible).unwrap();
    refused(&config, &out, &["--force"], &["one.toml: families[1]: "]);
    assert_eq!(held(&out), before);

    // One that works takes its place, and leaves no problem and no proof of the old one.
    fs::write(&config, CONFIG.replace("orthonormal", "spread-masses")).unwrap();
    assert!(compare(&config, &out, &["--force", "--max-instances", "1"]).status.success());
    let names: Vec<String> = held(&out).into_iter().map(|(name, _)| name).collect();
    let inside: Vec<&String> = names.iter().filter(|name| name.contains('/')).collect();
    assert!(inside.len() >= 3 && inside.iter().all(|name| name.contains("spread-masses")), "{names:?}");

    // What is wrong with the folder's own configuration is told on one line.
    let text = fs::read_to_string(out.join("config.toml")).unwrap();
    fs::write(out.join("config.toml"), text.replace("starts = 2", "starts = -2")).unwrap();
    refused(&config, &out, &[], &["out/config.toml: line ", "comparison.starts: "]);

    // At scale likewise.
    let scale = folder.path().join("scale.toml");
    let at_scale = folder.path().join("at-scale");
    // Of twelve directions in space two have a product of 0.447 at least, which the check of sizes does not know.
    let crowded = AT_SCALE.replace("n_p = 8", "n_p = 3").replace("interference = 0.5", "interference = 0.35");
    fs::write(&scale, &crowded).unwrap();
    refused(&scale, &at_scale, &[], &["scale.toml: bench: "]);
    assert!(!at_scale.exists());
    fs::write(&scale, AT_SCALE).unwrap();
    assert!(compare(&scale, &at_scale, &["--max-rounds", "1"]).status.success());
    let before = held(&at_scale);
    fs::write(&scale, &crowded).unwrap();
    refused(&scale, &at_scale, &["--force"], &["scale.toml: bench: "]);
    assert_eq!(held(&at_scale), before);
    fs::write(at_scale.join("config.toml"), "seconds = []\n").unwrap();
    refused(&scale, &at_scale, &[], &["at-scale/config.toml: line 1: seconds: "]);
}

#[test]
fn results_that_are_not_those_of_the_instances_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("one.toml");
    fs::write(&config, CONFIG).unwrap();
    let out = folder.path().join("out");
    assert!(compare(&config, &out, &[]).status.success());
    let file = out.join("results.jsonl");
    let whole = fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    let refused = |lines: &[&str], named: &[&str]| {
        fs::write(&file, lines.join("\n") + "\n").unwrap();
        let output = compare(&config, &out, &[]);
        assert_eq!(output.status.code(), Some(2));
        assert!(named.iter().all(|name| error(&output).contains(name)), "{}", error(&output));
    };
    refused(&lines[1..], &["results.jsonl: line 1: ", "expected the instance orthonormal-n3-p3-q2-0"]);
    refused(&[lines[0], lines[2]], &["results.jsonl: line 2: ", "expected the instance orthonormal-n3-p3-q2-1"]);
    let more = [lines[0], lines[1], lines[2], lines[0]];
    refused(&more, &["results.jsonl: line 4: ", "expected no further instance"]);
    fs::write(&file, &whole).unwrap();
    assert!(compare(&config, &out, &[]).status.success());
}

#[test]
fn a_kill_within_a_line_of_a_round_costs_its_method_only() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("scale.toml");
    fs::write(&config, AT_SCALE).unwrap();
    let out = folder.path().join("out");
    assert!(compare(&config, &out, &[]).status.success());
    let file = out.join("results.jsonl");
    let whole = fs::read_to_string(&file).unwrap();
    // The last method was writing its last line, whose time stood there already.
    fs::write(&file, &whole[..whole.len() - 30]).unwrap();
    let output = compare(&config, &out, &["--json"]);
    assert!(output.status.success(), "{}", error(&output));
    assert_eq!(fs::read_to_string(&file).unwrap(), whole);
    let timings = fs::read_to_string(out.join("timings.jsonl")).unwrap();
    assert_eq!(timings.lines().count(), whole.lines().count());
}

const AT_SCALE: &str = r#"
seconds = 1000.0
latents = 20
k = 2
window = 3
tolerance = 0.1
held_out = 100
methods = ["adam", "alternating", "alternating-online", "k-svd", "online"]
[adam]
learning_rate = 0.03
batch = 50
[bench]
n = 12
n_p = 8
samples = 300
sparsity = 0.9
interference = 0.5
"#;

#[test]
fn methods_at_bench_scale_end_by_themselves_are_not_run_twice_and_give_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("scale.toml");
    fs::write(&config, AT_SCALE).unwrap();
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    let output = compare(&config, &whole, &["--json"]);
    assert!(output.status.success(), "{}", error(&output));
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((said["methods"].as_u64(), said["done"].as_u64()), (Some(5), Some(5)));
    let expected = fs::read_to_string(whole.join("results.jsonl")).unwrap();
    let timings = fs::read_to_string(whole.join("timings.jsonl")).unwrap();
    assert_eq!(expected.lines().count(), timings.lines().count());
    let records: Vec<serde_json::Value> = expected.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ends = records.iter().filter(|record| !record["end"].is_null()).count();
    assert_eq!(ends, 5, "{expected}");
    let mut before = f64::INFINITY;
    for record in records.iter().filter(|record| record["method"] == "alternating") {
        let loss = record["loss"].as_f64().unwrap();
        assert!(loss <= before, "{record}");
        before = loss;
    }

    // What has ended is not run again: neither file changes.
    assert!(compare(&config, &whole, &[]).status.success());
    assert_eq!(fs::read_to_string(whole.join("timings.jsonl")).unwrap(), timings);

    // A method that was stopped begins anew, and ends in the same bytes.
    assert!(compare(&config, &parts, &["--max-rounds", "1"]).status.success());
    let stopped = fs::read_to_string(parts.join("results.jsonl")).unwrap();
    assert!(stopped.lines().count() < expected.lines().count() && stopped.contains("stopped"), "{stopped}");
    assert!(compare(&config, &parts, &[]).status.success());
    assert_eq!(fs::read_to_string(parts.join("results.jsonl")).unwrap(), expected);

    let output = compare(&config, &parts, &["--seed", "1"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(error(&output).contains("another comparison"), "{}", error(&output));
    fs::write(&config, AT_SCALE.replace("batch = 50", "batch = 0")).unwrap();
    let output = compare(&config, &folder.path().join("refused"), &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(error(&output).contains("scale.toml: adam.batch"), "{}", error(&output));
}

#[test]
fn the_stored_bounds_and_optima_are_those_that_the_stored_certificates_prove() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("reports/compare");
    let comparison = Held::read(&folder).unwrap().unwrap().comparison;
    let records = read(&fs::read_to_string(folder.join("results.jsonl")).unwrap()).unwrap();
    let numbered = comparison.families.iter().flat_map(|family| (0..family.instances).map(move |k| (family, k)));
    let problems = numbered.map(|(family, number)| Instance::problem(family, number, comparison.seed).unwrap());
    let hashes: Vec<String> = problems.map(|problem| instance(&problem).sha256()).collect();
    assert_eq!(hashes, records.iter().map(|record| record.problem.clone()).collect::<Vec<_>>());

    let files = fs::read_dir(folder.join("certificates")).unwrap();
    let mut stored: BTreeSet<_> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    for record in &records {
        let (mut lower, mut upper) = (Vec::new(), Vec::new());
        for name in proofs(record).into_iter().filter(|name| stored.remove(name)) {
            let text = fs::read_to_string(folder.join("certificates").join(&name)).unwrap();
            let proved = check_text(&text).unwrap_or_else(|refusal| panic!("{name}: {refusal}"));
            assert!(proved.sha256() == Some(&record.problem) && name.ends_with(&format!("-{}.json", proved.kind())));
            // What is stored in f64 is rounded away from the optimum.
            let latents = match Certificate::parse(&text).unwrap().body {
                Body::LowerBound(body) => {
                    assert!(body.pattern.is_none(), "{name}: of a cell alone");
                    lower.push(to_f64(&body.bound.0).next_down().max(0.0));
                    body.latents
                }
                Body::LossValue(body) => {
                    upper.push(if body.loss.0.is_zero() { 0.0 } else { to_f64(&body.loss.0).next_up() });
                    body.point.w_e.len()
                }
                Body::ZeroLoss(body) => {
                    lower.push(0.0);
                    upper.push(0.0);
                    body.point.w_e.len()
                }
                other => panic!("{name}: {}", other.kind()),
            };
            assert_eq!(latents, record.size[2], "{name}");
        }
        let expected = (vec![record.lower], Vec::from_iter(record.upper));
        assert_eq!((lower, upper), expected, "{}", record.instance);
    }
    assert!(stored.is_empty(), "of no instance: {stored:?}");
}
