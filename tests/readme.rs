//! The README's commands, run as a reader would run them.

use std::path::Path;
use std::process::{Command, Stdio};

/// A command of a `console` block with what the README says it prints.
struct Example {
    command: String,
    expected: Vec<String>,
}

/// The examples of every `console` block. A line that begins with `$ ` is a command, `> ` continues it, and what follows is
/// its output.
fn examples(readme: &str) -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    let mut inside = false;
    for line in readme.lines() {
        if line.starts_with("```") {
            inside = line == "```console";
        } else if let Some(command) = line.strip_prefix("$ ").filter(|_| inside) {
            examples.push(Example { command: command.to_owned(), expected: Vec::new() });
        } else if let Some(example) = examples.last_mut().filter(|_| inside) {
            match line.strip_prefix("> ") {
                Some(more) => {
                    example.command.push('\n');
                    example.command.push_str(more);
                }
                None => example.expected.push(line.trim_end().to_owned()),
            }
        }
    }
    examples
}

/// Whether the output is the expected one, where a line `...` stands for any lines.
fn agrees(expected: &[String], printed: &[&str]) -> bool {
    match expected.split_first() {
        None => printed.is_empty(),
        Some((first, rest)) if first == "..." => (0..=printed.len()).any(|skipped| agrees(rest, &printed[skipped..])),
        Some((first, rest)) => {
            printed.first().is_some_and(|line| line.trim_end() == first) && agrees(rest, &printed[1..])
        }
    }
}

#[test]
fn every_command_of_the_readme_prints_what_the_readme_says() {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    // Readers are in the project's folder, but what they write is not to stay there.
    std::fs::create_dir(folder.path().join("reports")).unwrap();
    for read in ["configs", "reports/compare"] {
        let there = Path::new(env!("CARGO_MANIFEST_DIR")).join(read);
        std::os::unix::fs::symlink(there, folder.path().join(read)).unwrap();
    }
    let binary = Path::new(env!("CARGO_BIN_EXE_sdlab")).parent().unwrap();
    let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap_or_default());
    let mut run = 0;
    for example in examples(&readme) {
        // These build the project; .ci/run runs them.
        if example.command.starts_with("cargo ") {
            let known = ["cargo run --release -- report", "cargo test --release --workspace", "cargo build --release"];
            assert!(known.contains(&example.command.as_str()), "{} is run nowhere", example.command);
            continue;
        }
        let output = Command::new("sh")
            .args(["-c", &example.command])
            .current_dir(folder.path())
            .env("PATH", &path)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let printed = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
        // A slow machine says how far it is.
        let lines: Vec<&str> = printed.lines().filter(|line| !line.contains(" done, now ")).collect();
        assert!(agrees(&example.expected, &lines), "$ {}\n{printed}", example.command);
        run += 1;
    }
    assert!(run >= 8, "only {run} commands found");
}

#[test]
fn what_the_readme_says_of_the_default_comparison_follows_from_its_stored_results() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    // Lines are broken anywhere.
    let readme = readme.split_whitespace().collect::<Vec<_>>().join(" ");
    let results = std::fs::read_to_string(root.join("reports/compare/results.jsonl")).unwrap();
    let records = sdlab::compare::measure::read(&results).unwrap();
    // Where all twenty ran.
    let whole = |record: &&sdlab::compare::Record| record.runs.iter().any(|run| run.optimizer == "acs-accelerated");
    let runs = |name: &'static str| {
        records.iter().filter(whole).flat_map(|record| &record.runs).filter(move |run| run.optimizer == name)
    };
    let unfinished = |name| runs(name).filter(|run| run.end.class.name() == "unfinished").count();
    let median = |name| {
        let mut costs: Vec<f64> = runs(name).map(|run| run.gradients).collect();
        costs.sort_by(f64::total_cmp);
        costs[costs.len() / 2].round()
    };
    let (accelerated, interior, plain) = ("acs-accelerated", "interior-point", "acs");
    let said = format!(
        "{} of {} accelerated searches are unfinished when their budget ends, {} of the interior-point search and {} of the plain ones from the same starts; in the median they cost {}, {} and {} evaluations",
        unfinished(accelerated),
        runs(accelerated).count(),
        unfinished(interior),
        unfinished(plain),
        median(accelerated),
        median(interior),
        median(plain)
    );
    assert!(readme.contains(&said), "{said}");
    let certified: Vec<&sdlab::compare::Record> = records.iter().filter(|record| record.upper.is_some()).collect();
    let missed = |record: &&&sdlab::compare::Record| {
        let end = record.runs.iter().map(|run| run.end.loss).fold(f64::INFINITY, f64::min);
        end - record.lower > sdlab::compare::record::ATTAINED * record.total
    };
    let said = format!(
        "The optimum of {} of {} instances is certified, and no run comes to {} of these",
        certified.len(),
        records.len(),
        certified.iter().filter(missed).count()
    );
    assert!(readme.contains(&said), "{said}");
    let left = records.iter().flat_map(|record| &record.escapes).filter(|escape| escape.left);
    let ratios: Vec<f64> = left.filter_map(|escape| Some(escape.steps as f64 / escape.predicted?)).collect();
    let (least, most) = ratios.iter().fold((f64::INFINITY, 0.0_f64), |(a, b), r| (a.min(*r), b.max(*r)));
    let said = format!("{least:.2} to {most:.2} times as many as the curvature predicts");
    assert!(readme.contains(&said), "{said}");
}
