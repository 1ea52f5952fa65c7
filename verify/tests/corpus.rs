//! The checker answers every file of `verify/corpus` as it must. The files in `refused/` are those in `accepted/` with the
//! mutations of `mutations.json`, which also says for which reason each is refused.
//!
//! `SDLAB_WRITE_CORPUS=1 cargo test -p sdlab-verify --test corpus` lays `accepted/` out anew and rewrites `refused/`.

use sdlab_verify::files::replay_corpus;
use sdlab_verify::format::{KINDS, Problem};
use sdlab_verify::{Certificate, check, check_text};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

/// The texts of a directory by file name without `.json`.
fn texts(side: &str) -> BTreeMap<String, String> {
    let entries = fs::read_dir(corpus().join(side)).expect("the corpus exists");
    entries
        .map(|entry| {
            let path = entry.expect("the corpus can be read").path();
            let name = path.file_stem().expect("a file has a name").to_string_lossy().into_owned();
            (name, fs::read_to_string(path).expect("the corpus can be read"))
        })
        .collect()
}

/// One entry of `mutations.json`, applied.
struct Mutation {
    name: String,
    from: String,
    changed: Value,
    reason: String,
    /// The mutated certificate under `certificate`, or its text under `text`.
    content: (&'static str, Value),
}

impl Mutation {
    fn text(&self) -> String {
        match &self.content {
            ("text", Value::String(text)) => text.clone(),
            (_, certificate) => certificate.to_string(),
        }
    }

    fn file(&self) -> String {
        let (key, content) = &self.content;
        pretty(&json!({"changed": self.changed, "from": format!("{}.json", self.from), *key: content}), 0) + "\n"
    }
}

/// Sets the value at a JSON pointer: a key of an object, an entry of an array, or one more entry.
fn put(value: &mut Value, pointer: &str, new: Value) {
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer starts with /");
    match value.pointer_mut(parent).expect("the parent exists") {
        Value::Object(object) => drop(object.insert(key.to_owned(), new)),
        Value::Array(list) => match key.parse::<usize>().expect("an index") {
            at if at == list.len() => list.push(new),
            at => list[at] = new,
        },
        _ => panic!("{pointer} has no parent"),
    }
}

fn apply(text: &str, edit: &Map<String, Value>) -> (&'static str, Value) {
    let strings = |key: &str| edit.get(key).and_then(|value| Some((value[0].as_str()?, value[1].as_str()?)));
    if let Some(text) = edit.get("text") {
        return ("text", text.clone());
    } else if let Some((old, new)) = strings("replace") {
        assert!(text.contains(old), "{old} is not in the text");
        return ("text", json!(text.replacen(old, new, 1)));
    } else if let Some(end) = edit.get("append").and_then(Value::as_str) {
        return ("text", json!(text.to_owned() + end));
    }
    let mut value: Value = serde_json::from_str(text).expect("an accepted file is JSON");
    if let Some(pointer) = edit.get("remove").and_then(Value::as_str) {
        let (parent, key) = pointer.rsplit_once('/').expect("a pointer starts with /");
        let object = value.pointer_mut(parent).and_then(Value::as_object_mut).expect("an object");
        object.remove(key).expect("the key exists");
        return ("certificate", value);
    }
    let edits = edit["put"].as_object().expect("an edit is one of put, remove, replace, append, text");
    edits.iter().for_each(|(pointer, new)| put(&mut value, pointer, new.clone()));
    // a changed instance keeps its certificate's hash right, so that another rule must refuse it
    if edits.keys().any(|pointer| pointer.starts_with("/instance/"))
        && let Ok(problem) = serde_json::from_value::<Problem>(value["instance"].clone())
    {
        value["sha256"] = json!(problem.sha256());
    }
    ("certificate", value)
}

fn mutations() -> Vec<Mutation> {
    let accepted = texts("accepted");
    let all: Map<String, Value> = serde_json::from_str(include_str!("mutations.json")).expect("it is JSON");
    let mut mutations = Vec::new();
    for (from, edits) in all {
        let text = accepted.get(&from).unwrap_or_else(|| panic!("{from} is not in accepted/"));
        for (suffix, edit) in edits.as_object().expect("an object of mutations") {
            let edit = edit.as_object().expect("a mutation is an object");
            mutations.push(Mutation {
                name: format!("{from}--{suffix}"),
                from: from.clone(),
                changed: edit["changed"].clone(),
                reason: edit["reason"].as_str().expect("a mutation has a reason").to_owned(),
                content: apply(text, edit),
            });
        }
    }
    mutations
}

/// Indented JSON with sorted keys in which what fits on a line stays on it.
fn pretty(value: &Value, indent: usize) -> String {
    let (open, entries, close) = match value {
        Value::Array(list) => ('[', list.iter().map(|entry| pretty(entry, indent + 2)).collect::<Vec<_>>(), ']'),
        Value::Object(object) => {
            let mut entries: Vec<_> = object.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            let entry = |(key, value): &(&String, &Value)| format!("{}: {}", json!(key), pretty(value, indent + 2));
            ('{', entries.iter().map(entry).collect(), '}')
        }
        _ => return value.to_string(),
    };
    let line = format!("{open}{}{close}", entries.join(", "));
    if indent + line.len() <= 110 && !line.contains('\n') {
        return line;
    }
    let pad = " ".repeat(indent + 2);
    format!("{open}\n{pad}{}\n{}{close}", entries.join(&format!(",\n{pad}")), " ".repeat(indent))
}

fn write_corpus() {
    for (name, text) in texts("accepted") {
        let certificate = Certificate::parse(&text).unwrap_or_else(|refusal| panic!("{name}: {refusal}"));
        let path = corpus().join("accepted").join(name + ".json");
        fs::write(path, certificate.to_json()).expect("the corpus can be written");
    }
    let refused = corpus().join("refused");
    fs::remove_dir_all(&refused).expect("the corpus can be written");
    fs::create_dir(&refused).expect("the corpus can be written");
    for mutation in mutations() {
        let path = refused.join(format!("{}.json", mutation.name));
        fs::write(path, mutation.file()).expect("the corpus can be written");
    }
}

#[test]
fn the_refused_files_are_the_mutations_of_the_accepted_ones() {
    if std::env::var_os("SDLAB_WRITE_CORPUS").is_some() {
        write_corpus();
    }
    let expected: BTreeMap<_, _> =
        mutations().into_iter().map(|mutation| (mutation.name.clone(), mutation.file())).collect();
    let found = texts("refused");
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (name, text) in expected {
        assert_eq!(found[&name], text, "{name} differs from its source");
    }
}

#[test]
fn every_file_of_the_corpus_is_answered_as_it_must_be() {
    let replays = replay_corpus(&corpus()).expect("the corpus can be read");
    for replay in &replays {
        assert!(replay.is_as_expected(), "{replay}");
    }
    let refused = replays.iter().filter(|replay| replay.must_be_refused.is_some()).count();
    assert!(refused >= 200, "only {refused} mutations");
    for kind in KINDS {
        let mut accepted = replays.iter().filter_map(|replay| replay.outcome.as_ref().ok());
        assert!(accepted.any(|certified| certified.kind() == *kind), "no certificate of kind {kind}");
    }
}

#[test]
fn every_mutation_is_refused_for_the_condition_it_breaks() {
    let mut wrong = Vec::new();
    for mutation in mutations() {
        match check_text(&mutation.text()) {
            Ok(certified) => wrong.push(format!("{}: accepted: {}", mutation.name, certified.statement())),
            Err(refusal) if refusal.to_string().contains(&mutation.reason) => {}
            Err(refusal) => {
                wrong.push(format!("{}: expected `{}`, found `{refusal}`", mutation.name, mutation.reason));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_is_written_is_read_back_equal_and_checked_alike() {
    for (name, text) in texts("accepted") {
        let certificate = Certificate::parse(&text).expect("it is well formed");
        assert_eq!(certificate.to_json(), text, "{name}");
        let short = certificate.to_short_json();
        assert_eq!(Certificate::parse(&short).as_ref(), Ok(&certificate), "{name}");
        assert!(short.len() <= text.len() && short.lines().all(|line| !line.starts_with("          ")), "{name}");
        let through_serde: Certificate =
            serde_json::from_value(serde_json::to_value(&certificate).expect("it is JSON")).expect("it is well formed");
        assert_eq!(certificate, through_serde, "{name}");
        let (one, other) = (check(&certificate).expect("it is accepted"), check_text(&text).expect("it is accepted"));
        assert_eq!(one.statement(), other.statement());
        assert_eq!(one.sha256(), certificate.instance.as_ref().map(Problem::sha256).as_deref());
    }
}
