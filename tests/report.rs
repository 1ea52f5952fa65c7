//! The folder that `sdlab report` writes: the same bytes twice, complete, self-contained, and refused in one line where it cannot
//! be written.

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
