//! The command line: exit status, streams, files, and what wrong input is told.

mod common;

use common::sdlab;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Features e_1, e_2 with masses 1, 2 (theory of Thm 3.7: no partial optimum fires one neuron on both).
const PAIR: &str = r#"{"format":1,"features":[{"w_p":["1","0"],"mass":"1"},{"w_p":["0","1"],"mass":"2"}]}"#;
/// p_2 = 6/5 p_1 + p_3, so that {1} is the firing set of no row under ReLU.
const TRIPLE: &str = r#"{"format":1,"features":[{"w_p":["1","0"],"mass":"1"},{"w_p":["3/5","4/5"],"mass":"1"},{"w_p":["-3/5","4/5"],"mass":"1"}]}"#;

fn status(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn out(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn err(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

#[test]
fn the_exit_status_is_the_answer() {
    let region = |pattern| status(&sdlab(&["region", "--problem", TRIPLE, "--pattern", pattern]));
    assert_eq!(region("[[0,1],[]]"), 0);
    assert_eq!(region("[[1]]"), 1);
    assert_eq!(region("[[3]]"), 2);
    assert_eq!(status(&sdlab(&["region", "count", "--problem", TRIPLE, "--budget", "2"])), 3);
    let optima = |pattern| status(&sdlab(&["partial-optima", "--problem", PAIR, "--pattern", pattern]));
    assert_eq!(optima("[[0],[1]]"), 0);
    assert_eq!(optima("[[0,1],[]]"), 1);
    assert_eq!(optima("[[0,1],[0]]"), 3);
    assert_eq!(status(&sdlab(&["no-such-command"])), 2);
    assert_eq!(status(&sdlab(&["--help"])), 0);
}

#[test]
fn wrong_input_is_told_in_one_line_that_names_the_place() {
    for (arguments, parts) in [
        (
            vec!["region", "--problem", r#"{"format":1,"features":[]}"#, "--pattern", "[[0]]"],
            vec!["--problem", "features", "at least one"],
        ),
        (vec!["region", "--problem", PAIR, "--pattern", "[[0,0]]"], vec!["--pattern", "[0]", "twice"]),
        (
            vec!["loss", "--problem", PAIR, "--point", r#"{"w_e":[["1","0"]],"w_d":[["1"]]}"#],
            vec!["--point", "w_d[0]", "expected 2"],
        ),
        (vec!["loss", "--problem", "missing.json", "--point", "-"], vec!["missing.json", "cannot be read"]),
        (vec!["loss", "--problem", "-", "--point", "-"], vec!["standard input"]),
        (vec!["verify", "thm3.7"], vec!["thm3.7", "did you mean `thm-3.7`"]),
        (vec!["verify", "no-*"], vec!["no-*", "sdlab claims"]),
        (vec!["certify", "missing.json"], vec!["missing.json"]),
        (vec!["loss", "--problem", "/", "--point", "-"], vec!["/", "cannot be read"]),
    ] {
        let output = sdlab(&arguments);
        let message = err(&output);
        assert_eq!(status(&output), 2, "{arguments:?}: {message}");
        assert_eq!(message.lines().count(), 1, "{message}");
        assert!(parts.iter().all(|part| message.contains(part)), "{parts:?} not all in: {message}");
        assert!(out(&output).is_empty());
    }
}

/// The overview of these two claims, compared with recorded verdicts.
fn verified(recorded: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("recorded.toml");
    std::fs::write(&path, recorded).unwrap();
    sdlab(&["verify", "ex-3.5", "thm-3.2-hessian", "--snapshot", path.to_str().unwrap()])
}

#[test]
fn a_verdict_that_changed_is_shown_and_ends_with_status_1() {
    let same = verified("'ex-3.5' = 'holds'\n'thm-3.2-hessian' = 'refuted'\n");
    assert_eq!(status(&same), 0, "{}", out(&same));
    assert!(out(&same).contains("Every verdict is the recorded one") && !out(&same).contains("recorded  "));
    let changed = verified("'ex-3.5' = 'refuted'\n'thm-3.2-hessian' = 'refuted'\n");
    assert_eq!(status(&changed), 1);
    assert!(out(&changed).contains("1 verdict differs from what was recorded"), "{}", out(&changed));
    let row = out(&changed).lines().find(|line| line.contains(" ex-3.5 ")).unwrap();
    assert!(row.contains("holds") && row.contains("refuted"), "{row}");
    let new = verified("'ex-3.5' = 'holds'\n");
    assert_eq!(status(&new), 1);
    assert!(out(&new).contains("No verdict is recorded for thm-3.2-hessian"), "{}", out(&new));
    let wrong = verified("ex-3.5 = 1\n");
    assert_eq!((status(&wrong), err(&wrong).lines().count()), (2, 1), "{}", err(&wrong));
}

#[test]
fn details_come_for_one_claim_or_on_request() {
    assert!(out(&sdlab(&["verify", "ex-3.5"])).contains("ex-3.5: holds"));
    assert!(!out(&sdlab(&["verify", "ex-3.5", "thm-3.2-*"])).contains("ex-3.5: holds"));
    assert!(out(&sdlab(&["verify", "ex-3.5", "thm-3.2-*", "--details"])).contains("ex-3.5: holds"));
}

#[test]
fn json_goes_to_standard_output_and_text_to_standard_error() {
    let output = sdlab(&["region", "--problem", TRIPLE, "--pattern", "[[1]]", "--json"]);
    let value: serde_json::Value = serde_json::from_str(out(&output)).unwrap();
    assert_eq!(value["realizable"], false);
    assert!(err(&output).contains("not realizable"));
    let plain = sdlab(&["region", "--problem", TRIPLE, "--pattern", "[[1]]"]);
    assert!(out(&plain).contains("not realizable") && err(&plain).is_empty());
}

#[test]
fn output_that_is_no_terminal_has_no_colours() {
    let output = sdlab(&["partial-optima", "--problem", PAIR, "--pattern", "[[0],[1]]"]);
    assert!(out(&output).contains("local-min") && !out(&output).contains('\u{1b}'));
}

#[test]
fn the_same_command_prints_the_same_bytes() {
    let once = || sdlab(&["partial-optima", "--problem", TRIPLE, "--pattern", "[[0,1],[2]]", "--json"]).stdout;
    assert_eq!(once(), once());
}

#[test]
fn an_argument_is_json_a_path_or_standard_input() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("problem.json");
    std::fs::write(&path, TRIPLE).unwrap();
    let direct = sdlab(&["region", "--problem", TRIPLE, "--pattern", "[[1]]"]);
    let file = sdlab(&["region", "--problem", path.to_str().unwrap(), "--pattern", "[[1]]"]);
    let mut child = Command::new(env!("CARGO_BIN_EXE_sdlab"))
        .args(["region", "--problem", "-", "--pattern", "[[1]]"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(TRIPLE.as_bytes()).unwrap();
    let piped = child.wait_with_output().unwrap();
    assert_eq!(direct.stdout, file.stdout);
    assert_eq!(direct.stdout, piped.stdout);
}

#[test]
fn hostile_input_is_refused_and_nothing_panics() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let long = format!(r#"{{"format":1,"features":[{{"w_p":["1"],"mass":"1{}"}}]}}"#, "0".repeat(20_000));
    let wide = format!(r#"{{"format":1,"features":[{}]}}"#, vec![r#"{"w_p":["1","1/3"],"mass":"1"}"#; 5000].join(","));
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in
        [("deep", deep.as_str()), ("long", &long), ("wide", &wide), ("empty", ""), ("null", "null"), ("nul", "\0")]
    {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        let path = path.to_str().unwrap();
        for arguments in [
            ["loss", "--problem", path, "--point", r#"{"w_e":[["1","0"]],"w_d":[["1","0"]]}"#],
            ["region", "--problem", path, "--pattern", "[[0],[]]"],
            ["partial-optima", "--problem", path, "--pattern", "[[0],[]]"],
            ["loss", "--problem", PAIR, "--point", path],
            ["region", "--problem", PAIR, "--pattern", path],
        ] {
            let output = sdlab(&arguments);
            assert!(output.status.code().is_some_and(|code| code <= 3), "{arguments:?}: {:?}", output.status);
            assert!(!err(&output).contains("panicked"), "{arguments:?}: {}", err(&output));
        }
    }
    std::fs::write(folder.path().join("bytes"), [0x7b, 0xff]).unwrap();
    let output = sdlab(&["region", "--problem", folder.path().join("bytes").to_str().unwrap(), "--pattern", "[[0]]"]);
    assert!(status(&output) == 2 && err(&output).contains("UTF-8"), "{}", err(&output));
}

#[test]
fn a_file_that_cannot_be_written_is_named_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "in the way").unwrap();
    let path = folder.path().join("file/certificate.json");
    let output = sdlab(&["region", "--problem", TRIPLE, "--pattern", "[[1]]", "--certificate", path.to_str().unwrap()]);
    assert_eq!(status(&output), 2);
    assert!(err(&output).contains("certificate.json: cannot be written"), "{}", err(&output));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_certificate_is_written_and_replayed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("empty.json");
    let path = path.to_str().unwrap();
    assert_eq!(status(&sdlab(&["region", "--problem", TRIPLE, "--pattern", "[[1]]", "--certificate", path])), 1);
    let replayed = sdlab(&["certify", path]);
    assert_eq!(status(&replayed), 0, "{}", err(&replayed));
    let changed = std::fs::read_to_string(path).unwrap().replace("\"6\"", "\"7\"");
    std::fs::write(folder.path().join("changed.json"), changed).unwrap();
    let both = sdlab(&["certify", folder.path().to_str().unwrap(), "--json"]);
    assert_eq!(status(&both), 1);
    let value: serde_json::Value = serde_json::from_str(out(&both)).unwrap();
    assert_eq!((&value["accepted"], &value["refused"]), (&1.into(), &1.into()));
}

#[cfg(unix)]
#[test]
fn a_full_disk_is_an_error_and_a_closed_pipe_is_none() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
    if let Ok(full) = full {
        let output = Command::new(env!("CARGO_BIN_EXE_sdlab"))
            .arg("claims")
            .stdout(full)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        assert_eq!(status(&output), 2);
        assert!(err(&output).contains("standard output: cannot be written"), "{}", err(&output));
    }
    let mut child = Command::new(env!("CARGO_BIN_EXE_sdlab"))
        .args(["claims", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut message = String::new();
    child.stderr.take().unwrap().read_to_string(&mut message).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{message}");
    assert!(!message.contains("panicked"), "{message}");
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_with_status_130() {
    // 400 features on the moment curve in four dimensions: more firing sets than can be listed before the interrupt comes.
    let feature = |t: i64| format!(r#"{{"w_p":["{t}","{}","{}","{}"],"mass":"1"}}"#, t * t, t * t * t, t * t * t * t);
    let features: Vec<String> = (1..=400).map(feature).collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("problem.json");
    std::fs::write(&path, format!(r#"{{"format":1,"features":[{}]}}"#, features.join(","))).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_sdlab"))
        .args(["region", "count", "--budget", "1000000000", "--problem"])
        .arg(Path::new(&path))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert!(child.try_wait().unwrap().is_none(), "the command ended before the interrupt");
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
}
