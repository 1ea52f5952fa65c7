//! The folder that `sdlab report` writes: the same bytes twice, complete, self-contained, with what is stored, and refused in one line where it
//! cannot be written. Results that `--refresh` and `--full` store.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;
use tempfile::TempDir;

/// Claims with a heat map, with tables and with certificates that take little time.
const CLAIMS: [&str; 3] = ["thm-3.2-hessian", "ex-3.5", "thm-3.7-construction"];

/// A report that several tests look at.
static REPORT: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    assert!(report(folder.path()).status.success());
    folder
});

fn report(folder: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sdlab"));
    command.arg("report").args(CLAIMS).arg("--out").arg(folder).stdin(Stdio::null()).output().unwrap()
}

/// Every file under a folder by its path in it.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                found.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

fn text(name: &str) -> String {
    std::fs::read_to_string(REPORT.path().join(name)).unwrap()
}

#[test]
fn two_runs_write_the_same_bytes_except_for_their_provenance() {
    let again = tempfile::tempdir().unwrap();
    report(again.path());
    let (mut first, mut second) = (files(REPORT.path()), files(again.path()));
    assert!(first.remove("provenance.json").is_some() && second.remove("provenance.json").is_some());
    assert_eq!(first.keys().collect::<Vec<_>>(), second.keys().collect::<Vec<_>>());
    for (name, bytes) in &first {
        assert!(bytes == &second[name], "{name} differs");
    }
}

#[test]
fn every_figure_and_table_has_all_its_formats() {
    let names: BTreeSet<String> = files(REPORT.path()).into_keys().collect();
    for (folder, mark, formats) in
        [("figures", "json", vec!["svg", "pdf", "png", "csv"]), ("tables", "json", vec!["tex", "csv"])]
    {
        let stems: Vec<&str> = names
            .iter()
            .filter_map(|name| name.strip_prefix(folder)?.strip_prefix('/')?.strip_suffix(mark)?.strip_suffix('.'))
            .collect();
        assert!(!stems.is_empty(), "{folder}: {stems:?}");
        for stem in stems {
            for format in &formats {
                assert!(names.contains(&format!("{folder}/{stem}.{format}")), "{folder}/{stem}.{format}");
            }
        }
    }
}

#[test]
fn a_pdf_figure_has_one_of_the_two_widths_and_its_typeface_in_it() {
    let mut seen = 0;
    for (name, bytes) in files(REPORT.path()).iter().filter(|(name, _)| name.ends_with(".pdf")) {
        let content = String::from_utf8_lossy(bytes);
        assert!(bytes.starts_with(b"%PDF-"), "{name}");
        // 3.25 and 6.75 inches of 72 points.
        assert!(content.contains("/MediaBox [0 0 234 ") || content.contains("/MediaBox [0 0 486 "), "{name}");
        assert!(content.contains("/FontFile2") && content.contains("/ToUnicode"), "{name}");
        seen += 1;
    }
    assert!(seen >= 2);
}

#[test]
fn macros_have_letters_only_and_names_of_their_own() {
    let text = text("macros.tex");
    let names: Vec<&str> = text.split("\\newcommand{\\").skip(1).map(|rest| rest.split('}').next().unwrap()).collect();
    assert!(names.len() > 12);
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    assert!(names.iter().all(|name| name.bytes().all(|b| b.is_ascii_alphabetic())), "{names:?}");
    // Each stands under a comment that says what it is.
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines.windows(2).all(|w| !w[1].starts_with("\\newcommand") || w[0].starts_with("% ")));
    let verdicts: serde_json::Value = serde_json::from_str(&self::text("verdicts.json")).unwrap();
    for quantity in verdicts["claims"].as_array().unwrap().iter().flat_map(|c| c["quantities"].as_array().unwrap()) {
        assert!(names.contains(&quantity["macro"].as_str().unwrap()), "{quantity}");
    }
}

#[test]
fn latex_is_plain_ascii_or_letters_that_latex_knows() {
    for (name, bytes) in files(REPORT.path()) {
        if name.ends_with(".tex") {
            let content = String::from_utf8(bytes).unwrap();
            let foreign: String = content.chars().filter(|c| !c.is_ascii() && !('À'..='ÿ').contains(c)).collect();
            assert!(foreign.is_empty(), "{name}: {foreign}");
        }
    }
}

#[test]
fn the_page_loads_nothing_and_its_links_lead_somewhere() {
    let page = text("index.html");
    for attribute in ["src=\"", "url("] {
        for rest in page.split(attribute).skip(1) {
            assert!(rest.starts_with("data:"), "{}", rest.chars().take(60).collect::<String>());
        }
    }
    for tag in ["<script", "<link", "<iframe", "@import"] {
        assert!(!page.contains(tag), "{tag}");
    }
    let ids: Vec<&str> = page.split(" id=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
    for link in page.split("href=\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        match link.strip_prefix('#') {
            Some(id) => assert!(ids.contains(&id), "{link}"),
            None => assert!(REPORT.path().join(link).is_file(), "{link}"),
        }
    }
    for id in CLAIMS {
        assert!(ids.contains(&id));
    }
}

#[test]
fn the_article_uses_only_what_the_report_has() {
    let (article, macros) = (text("paper/main.tex"), text("macros.tex"));
    for rest in article.split("\\sdlab").skip(1) {
        let name: String = rest.chars().take_while(char::is_ascii_alphabetic).collect();
        assert!(macros.contains(&format!("\\newcommand{{\\sdlab{name}}}")), "{name}");
    }
    for (command, folder) in [("\\includegraphics{", "figures"), ("\\input{../tables/", "tables")] {
        let used: Vec<&str> = article.split(command).skip(1).map(|rest| rest.split('}').next().unwrap()).collect();
        assert!(!used.is_empty());
        for name in used {
            let file = if folder == "tables" { format!("{name}.tex") } else { name.to_owned() };
            assert!(REPORT.path().join(folder).join(&file).is_file(), "{file}");
        }
    }
    assert!(text("references.bib").contains("@misc{tang2025unified,"));
}

/// Runs the command in a folder.
fn sdlab(folder: &Path, arguments: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sdlab"));
    command.args(arguments.split(' ')).current_dir(folder).stdin(Stdio::null()).output().unwrap()
}

/// What a command printed that succeeded.
fn done(folder: &Path, arguments: &str) -> String {
    let output = sdlab(folder, arguments);
    assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn stored_results_stand_in_the_report_with_their_figures_tables_and_commits() {
    let (root, folder) = (Path::new(env!("CARGO_MANIFEST_DIR")), tempfile::tempdir().unwrap());
    done(root, &format!("report ex-3.5 --stored --out {}", folder.path().display()));
    let page = std::fs::read_to_string(folder.path().join("index.html")).unwrap();
    let shows = |kind: &str, name: &str, ending: &str| {
        assert!(page.contains(&format!("id=\"{kind}-{name}\"")), "{kind} {name}");
        assert!(folder.path().join(format!("{kind}s/{name}.{ending}")).is_file(), "{kind} {name}");
    };
    let mut sections = 0;
    for (size, numbers) in [("small", vec![1, 4, 5, 6, 7]), ("full", vec![1])] {
        for number in numbers {
            for table in ["recovery", "products", "raw", "sparsity", "orderings", "orderings-anchors-recovery-encoder"]
            {
                shows("table", &format!("{table}-table-{number}-{size}"), "tex");
            }
            assert!(page.contains(&format!("id=\"runs-table-{number}-{size}\"")), "{number} {size}");
            sections += 1;
        }
        for figure in ["recovery-over-tau", "recovery-over-tau-anchored", "training", "encoder-decoder"] {
            shows("figure", &format!("{figure}-table-1-{size}"), "svg");
        }
        let records = std::fs::read_to_string(root.join(format!("reports/results/{size}.jsonl"))).unwrap();
        for record in records.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()) {
            let commit = record["origin"]["commit"].as_str().unwrap();
            assert!(page.contains(&commit[..12]), "{commit}");
        }
    }
    assert_eq!(page.matches("They are stored results of sdlab").count(), sections);
    assert!(!page.contains("trained for this report"));
    for figure in ["bench-3d", "compare-profiles-alternating", "compare-ends"] {
        shows("figure", figure, "svg");
    }
    let proofs = files(&root.join("reports/compare/certificates"));
    assert!(proofs.len() >= 40 && files(&folder.path().join("certificates/compare")) == proofs, "{}", proofs.len());
    // An ordering by name, with what is printed.
    let table = folder.path().join("tables/orderings-methods-recovery-table-1-full.csv");
    let table = std::fs::read_to_string(table).unwrap();
    assert!(table.lines().any(|line| line.starts_with("TopK SAE > ReLU SAE,\"84.9, 0\"")), "{table}");
}

/// A training of a moment that repeats a row of Table 1.
fn training(method: &str, activation: &str) -> String {
    format!(
        "published = {{ table = 1, method = \"{method}\" }}
        [bench]
        n = 24
        n_p = 16
        interference = 0.35
        sparsity = 0.9
        samples = 512
        [model]
        latents = 48
        activation = {{ {activation} }}
        [optimizer]
        learning_rate = 0.01
        [train]
        batch = 64
        epochs = 4
        "
    )
}

/// A folder with two experiments in a folder below `configs`.
fn experiments(below: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let configs = folder.path().join("configs").join(below);
    std::fs::create_dir_all(&configs).unwrap();
    std::fs::write(configs.join("topk.toml"), training("TopK SAE", "kind = \"top-k\", k = 3")).unwrap();
    std::fs::write(configs.join("relu.toml"), training("ReLU SAE", "kind = \"relu\"")).unwrap();
    folder
}

/// Method and seed of every line of results.
fn rows(results: &str) -> Vec<(String, u64)> {
    let lines = results.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    lines.map(|r| (r["published"]["method"].as_str().unwrap().to_owned(), r["seed"].as_u64().unwrap())).collect()
}

fn named(rows: &[(&str, u64)]) -> Vec<(String, u64)> {
    rows.iter().map(|(method, seed)| ((*method).to_owned(), *seed)).collect()
}

#[test]
fn refreshed_results_replace_their_own_rows_and_seeds_and_keep_what_came_before_a_failure() {
    let folder = experiments("small/table1");
    let (results, broken) =
        (folder.path().join("results/small.jsonl"), folder.path().join("configs/small/table1/topk.toml"));
    let read = || std::fs::read_to_string(&results).unwrap();
    let refresh = "report ex-3.5 --out page --results results --refresh";
    let good = std::fs::read_to_string(&broken).unwrap();
    // So large a step leaves the numbers of f32; the other experiment comes first.
    std::fs::write(&broken, good.replace("learning_rate = 0.01", "learning_rate = 1e12")).unwrap();
    let output = sdlab(folder.path(), &format!("{refresh} --seeds 1"));
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && message.contains("configs/small/table1/topk.toml"), "{message}");
    let first = read();
    assert_eq!(rows(&first), named(&[("ReLU SAE", 0)]));
    std::fs::write(&broken, good).unwrap();
    // A row of no experiment stays.
    let other = first.replace("ReLU SAE", "Crosscoder");
    std::fs::write(&results, format!("{first}{other}")).unwrap();
    done(folder.path(), &format!("{refresh} --seeds 2"));
    let all = read();
    let expected = [("Crosscoder", 0), ("ReLU SAE", 0), ("ReLU SAE", 1), ("TopK SAE", 0), ("TopK SAE", 1)];
    assert_eq!(rows(&all), named(&expected));
    assert!(all.contains(&first) && all.contains(&other));
    // Once more, and nothing has changed.
    done(folder.path(), &format!("{refresh} --seeds 2 --tables 1"));
    assert_eq!(read(), all);
    let output = sdlab(folder.path(), &format!("{refresh} --tables 4"));
    assert!(output.status.code() == Some(2) && read() == all);
}

#[test]
fn a_table_of_the_papers_size_goes_on_where_it_was_interrupted_and_keeps_every_run_once() {
    let (folder, alone) = (experiments("table1"), experiments("table1"));
    let full = "report ex-3.5 --out page --results results --full --tables 1";
    let read = |folder: &TempDir, name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    let begun = "train configs/table1/topk.toml --out runs/full/table1/topk-seed0 --max-steps 5";
    sdlab(folder.path(), begun);
    assert!(!folder.path().join("runs/full/table1/topk-seed0/result.json").exists());
    let said = done(folder.path(), full);
    assert!(said.contains("run 1 of 2, table1/topk, seed 0: going on from step 5 of 32"), "{said}");
    let records = read(&folder, "results/full.jsonl");
    assert_eq!(rows(&records), named(&[("ReLU SAE", 0), ("TopK SAE", 0)]));
    // As without an interruption.
    assert!(!done(alone.path(), full).contains("going on"));
    assert_eq!(read(&alone, "results/full.jsonl"), records);
    assert_eq!(read(&alone, "results/table1.toml"), read(&folder, "results/table1.toml"));
    assert_eq!(read(&folder, "results/table1.toml").matches("[[rows]]").count(), 2);
    // Finished runs are read, not made again, and more seeds are runs of their own.
    let made = || std::fs::metadata(folder.path().join("runs/full/table1/topk-seed0/result.json")).unwrap().modified();
    let before = made().unwrap();
    done(folder.path(), &format!("{full} --seeds 2"));
    assert_eq!(made().unwrap(), before);
    let more = read(&folder, "results/full.jsonl");
    assert_eq!(rows(&more), named(&[("ReLU SAE", 0), ("ReLU SAE", 1), ("TopK SAE", 0), ("TopK SAE", 1)]));
    assert!(records.lines().all(|line| more.contains(line)));
}

/// Asserts exit status 2 and one line that names the place.
fn refused(output: &Output, place: &str) {
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
    assert!(message.contains(place) && message.contains("cannot be written"), "{message}");
}

#[test]
fn a_folder_that_cannot_be_written_is_told_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "in the way").unwrap();
    refused(&report(&file), "file");
    refused(&report(&file.join("below")), "file/below");
    std::fs::write(folder.path().join("tables"), "in the way").unwrap();
    refused(&report(folder.path()), "tables/");
    assert_eq!(std::fs::read_to_string(folder.path().join("tables")).unwrap(), "in the way");
    #[cfg(target_os = "linux")]
    refused(&report(Path::new("/proc/no-such-folder")), "/proc/no-such-folder");
}

/// Where a file system of its own can be had (a Linux machine that allows it), a full one.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told_in_one_line_and_leaves_no_half_written_file() {
    let folder = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=256k tmpfs \"$1\" || exit 77
        \"$2\" report ex-3.5 --out \"$1\"; status=$?
        find \"$1\" -name '.*.tmp' >&2
        exit $status";
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", script, "sh"])
        .arg(folder.path())
        .arg(env!("CARGO_BIN_EXE_sdlab"))
        .stdin(Stdio::null())
        .output();
    match output {
        Ok(output) if output.status.code() == Some(2) => refused(&output, "figures/"),
        Ok(output) if output.status.success() => panic!("256 KiB held a whole report"),
        // unshare or mount is missing or not allowed.
        _ => {}
    }
}

#[test]
fn a_folder_of_stored_results_that_does_not_exist_is_refused_in_one_line_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    for option in ["--results", "--comparisons"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sdlab"));
        command.args(["report", "ex-3.5", "--stored", "--out", "page", option, "absent"]).current_dir(folder.path());
        let output = command.stdin(Stdio::null()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), text.lines().count()), (Some(2), 1), "{text}");
        assert!(text.contains(&format!("{option}: expected a folder that exists, found absent")), "{text}");
        assert!(!folder.path().join("page").exists());
    }
}
