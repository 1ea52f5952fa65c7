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
    std::os::unix::fs::symlink(Path::new(env!("CARGO_MANIFEST_DIR")).join("configs"), folder.path().join("configs"))
        .unwrap();
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
