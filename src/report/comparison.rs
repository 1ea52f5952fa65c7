//! A comparison of optimizers as a part of the page.

use super::page::{Exhibit, certificates_path};
use crate::compare::Record;
use crate::compare::learned::LEARNERS;
use crate::compare::measure::Held;
use crate::compare::record::Timing as Seconds;
use crate::compare::samples::folder::Provenance;
use crate::compare::samples::{self, SamplesComparison, Timing};
use crate::compare::summary::{Answer, Summary, summarise};
use crate::compare::tuning::{parameters, protocol};
use crate::io::origin::Checkout;
use crate::stats::table::rounded;
use crate::stats::{Figure, Table};

/// A question with its answer and links to what shows it.
fn paragraph(Answer { question, answer, shown }: &Answer, figures: &[Figure], tables: &[Table]) -> String {
    let link = |name: &String| {
        let figure = figures.iter().any(|figure| figure.name == *name).then(|| format!("#figure-{name}"));
        let table = tables.iter().any(|table| table.name == *name).then(|| format!("#table-{name}"));
        [figure, table]
    };
    let links: Vec<String> = shown.iter().flat_map(link).flatten().collect();
    if links.is_empty() {
        format!("{question} {answer}")
    } else {
        format!("{question} {answer} See {}.", links.join(", "))
    }
}

/// What a machine and a program were, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Maker {
    /// The processor's name, if known.
    pub processor: Option<String>,
    /// Processor architecture and operating system.
    pub target: String,
    /// Threads.
    pub threads: u64,
    /// The program's source, if known.
    pub source: Option<Checkout>,
}

impl Maker {
    /// Of what `provenance.json` of a comparison holds; nothing where it says nothing.
    pub fn of(provenance: &serde_json::Value) -> Option<Self> {
        Some(Self {
            processor: provenance["processor"].as_str().map(str::to_owned),
            target: provenance["target"].as_str()?.to_owned(),
            threads: provenance["threads"].as_u64()?,
            source: serde_json::from_value(provenance["source"].clone()).ok(),
        })
    }

    fn of_method(made: &Provenance) -> Self {
        let Provenance { processor, target, threads, source, .. } = made;
        let (processor, target, source) = (processor.clone(), target.clone(), source.clone());
        Self { processor, target, threads: *threads as u64, source }
    }

    fn words(&self) -> String {
        let Self { processor, target, threads, source } = self;
        let processor = processor.as_deref().unwrap_or("an unnamed processor");
        let threads = if *threads == 1 { "one thread".into() } else { format!("{threads} threads") };
        let source = source.as_ref().map_or_else(
            || "from a source that is not recorded".to_owned(),
            |source| {
                let changed = if source.dirty { ", with changes" } else { "" };
                format!("from the commit {}{changed}", source.commit.get(..7).unwrap_or(&source.commit))
            },
        );
        format!("{processor} ({target}), {threads}, {source}")
    }
}

/// A stored comparison on certified instances.
#[derive(Debug)]
pub struct Stored {
    /// What was compared.
    pub held: Held,
    /// Where, as far as it is known.
    pub maker: Option<Maker>,
    /// The results.
    pub records: Vec<Record>,
    /// Seconds; they may lack.
    pub timings: Vec<Seconds>,
    /// Names and texts of the certificates that prove bounds and optima; they may lack.
    pub certificates: Vec<(String, String)>,
}

/// A stored comparison at bench scale.
#[derive(Debug)]
pub struct StoredAtScale {
    /// Name of its folder.
    pub name: String,
    /// What was compared.
    pub comparison: SamplesComparison,
    /// Who ran the methods.
    pub provenance: Vec<Provenance>,
    /// Their rounds.
    pub records: Vec<samples::Record>,
    /// Seconds of these.
    pub timings: Vec<Timing>,
}

/// What all optimizers had, and what some of them had apart.
fn conditions(held: &Held, records: &[Record]) -> String {
    let Held { name, comparison, .. } = held;
    let instances: u64 = comparison.families.iter().map(|family| family.instances).sum();
    let done = match records.len() as u64 {
        done if done == instances => format!("{instances} instances"),
        done => format!("{done} of {instances} instances, the others not being done"),
    };
    let seconds = comparison.budget.seconds.map_or_else(String::new, |seconds| format!(" or {seconds} s"));
    let named = name.as_ref().map_or_else(String::new, |name| format!(" {name}"));
    let learners: Vec<&str> =
        LEARNERS.into_iter().filter(|name| comparison.optimizers.iter().any(|o| o == name)).collect();
    let apart = match learners.is_empty() {
        true => String::new(),
        false => format!(
            " But {}, which learn dictionaries, begin at features that a seed draws, not at these points.",
            learners.join(", ")
        ),
    };
    let part = comparison.families.iter().filter(|family| comparison.of(family).len() < comparison.optimizers.len());
    let part: u64 = part.map(|family| family.instances).sum();
    let some = match part {
        0 => String::new(),
        part => format!(" On {part} of the instances only some of the optimizers run."),
    };
    format!(
        "The comparison{named} with the seed {}: {done}, {} starts of each, and for every run a budget of {} steps or {} gradient evaluations{seconds}, whichever ends first. Every optimizer begins at the same \
         starting points.{apart}{some}",
        comparison.seed, comparison.starts, comparison.budget.steps, comparison.budget.gradients
    )
}

/// Name of a comparison on certified instances in links, and of the folder of its certificates.
const ID: &str = "compare";

/// The part of the page for one comparison; nothing if it has no record.
pub fn exhibit(stored: &Stored) -> Option<Exhibit> {
    let Stored { held, maker, records, timings, certificates } = stored;
    let Summary { answers, figures, mut tables } = summarise(records, timings)?;
    tables.push(parameters(&held.comparison, held.steps));
    let seconds = match (timings.is_empty(), maker) {
        (true, _) => String::new(),
        (false, Some(maker)) => format!(" Seconds are of one run on {}, and differ from run to run.", maker.words()),
        (false, None) => {
            " Seconds are of one run on a machine that is not recorded, and differ from run to run.".into()
        }
    };
    let place = certificates_path(ID);
    let proofs = match certificates.len() {
        0 => "which `sdlab compare` writes beside the results".to_owned(),
        count => format!(
            "{count} files in the folder {place} beside this page, which `sdlab certify {place}` replays by exact arithmetic"
        ),
    };
    let mut paragraphs = vec![
        conditions(held, records),
        format!(
            "The lower bounds and the optima that attain them carry certificates, {proofs}. A class is decided by the residuals of both blocks, the gradient and the \
             Hessian in f64. What is called the best known loss is certified only where the first table says so. The closed form of a cell's optimum and the classes of the partial optima beside which \
             gradient descent starts are those of the exact criterion.{seconds} Every number here follows from the stored results."
        ),
        format!("{} See #table-compare-parameters.", protocol(&held.comparison, held.steps)),
    ];
    paragraphs.extend(answers.iter().map(|answer| paragraph(answer, &figures, &tables)));
    Some(Exhibit {
        id: ID.into(),
        title: "Optimizers against certified optima".into(),
        paragraphs,
        figures,
        tables,
        certificates: certificates.clone(),
    })
}

/// Where the methods ran, those of one machine and one program together.
fn machines(made: &[Provenance]) -> String {
    let mut groups: Vec<(Maker, Vec<&str>)> = Vec::new();
    for one in made {
        let maker = Maker::of_method(one);
        match groups.iter_mut().find(|(known, _)| *known == maker) {
            Some((_, methods)) => methods.push(&one.method),
            None => groups.push((maker, vec![&one.method])),
        }
    }
    match groups.as_slice() {
        [] => "Where they ran is not recorded.".into(),
        [(maker, _)] => format!("All ran on {}.", maker.words()),
        groups => {
            let each = groups.iter().map(|(maker, methods)| format!("{} on {}", methods.join(", "), maker.words()));
            format!("They did not run alike: {}.", each.collect::<Vec<_>>().join("; "))
        }
    }
}

/// Methods whose last round ended long after their seconds were over, in words.
fn overdrawn(comparison: &SamplesComparison, timings: &[Timing]) -> String {
    let last = |name: &str| timings.iter().rfind(|timing| timing.method == name).map_or(0.0, |timing| timing.seconds);
    // A product or a batch is finished before a method looks at the time.
    let over = comparison
        .methods
        .iter()
        .map(|name| (name, last(name)))
        .filter(|(_, seconds)| *seconds > 1.05 * comparison.seconds);
    let over: Vec<String> = over.map(|(name, seconds)| format!("{name} {} s", rounded(seconds, 3))).collect();
    match over.is_empty() {
        true => String::new(),
        false => format!(
            " The last round was not cut there for {}; what it found then is not compared at the same time.",
            over.join(", ")
        ),
    }
}

/// The part of the page for one stored comparison at bench scale; nothing if it has no round.
pub fn at_scale(stored: &StoredAtScale) -> Option<Exhibit> {
    let StoredAtScale { name, comparison, provenance, records, timings } = stored;
    let Summary { answers, figures, tables } = samples::summary::summarise(name, comparison, records, timings)?;
    let adam = match comparison.methods.iter().any(|method| method == "adam") {
        true => format!(
            " Adam's step is {} with batches of {}.",
            rounded(comparison.adam.learning_rate, 2),
            comparison.adam.batch
        ),
        false => String::new(),
    };
    let mut paragraphs = vec![format!(
        "Every method has the same samples and {} s to work, what is measured between rounds not counted.{} {} The seed of starts and orders is {}, that of the bench {}.{adam} Adam and the alternating methods \
         begin at the same model; the learners of dictionaries begin at samples, and an encoder is fitted to their codes by least squares. This is one run with one seed: differences of a few parts in a hundred \
         between methods that end in different optima mean nothing by themselves. Every number here follows from the stored results.",
        comparison.seconds,
        overdrawn(comparison, timings),
        machines(provenance),
        comparison.seed,
        comparison.bench.seed,
    )];
    paragraphs.extend(answers.iter().map(|answer| paragraph(answer, &figures, &tables)));
    Some(Exhibit {
        id: name.to_owned(),
        title: format!("Alternating search at bench scale: {name}"),
        paragraphs,
        figures,
        tables,
        certificates: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn stored() -> Stored {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("reports/compare");
        let records = crate::compare::measure::read(&std::fs::read_to_string(folder.join("results.jsonl")).unwrap());
        let held = Held::read(&folder).unwrap().unwrap();
        Stored { held, maker: None, records: records.unwrap(), timings: Vec::new(), certificates: Vec::new() }
    }

    #[test]
    fn the_page_names_the_comparison_that_it_shows() {
        let mut stored = stored();
        stored.held.name = Some("mine".into());
        stored.held.comparison.seed = 7;
        stored.held.steps.adam = 0.003;
        let text = exhibit(&stored).unwrap().paragraphs.join("\n");
        assert!(text.starts_with("The comparison mine with the seed 7: 49 instances, 3 starts of each"), "{text}");
        assert!(text.contains("0.0030 for adam") && text.contains("a budget of 1000 steps or 2000 gradient"), "{text}");
        assert!(
            text.contains("But k-svd, optimal-directions, online-dictionary, which learn")
                && text.contains("On 3 of the")
        );
        assert!(!text.contains("Seconds are of") && !text.contains("default.toml"), "{text}");
        assert!(text.contains("certificates, which `sdlab compare` writes beside the results."), "{text}");
        stored.certificates = vec![("one.json".into(), String::new()), ("two.json".into(), String::new())];
        let text = exhibit(&stored).unwrap().paragraphs.join("\n");
        assert!(text.contains("certificates, 2 files in") && text.contains("`sdlab certify certificates/compare`"));
        // Without learners there is nothing to except, and a part of the instances is called one.
        stored.held.comparison.optimizers.retain(|name| !LEARNERS.contains(&name.as_str()));
        stored.records.truncate(3);
        let text = exhibit(&stored).unwrap().paragraphs.join("\n");
        assert!(!text.contains("learn dictionaries") && text.contains("3 of 49 instances"), "{text}");
    }

    #[test]
    fn machines_and_programs_that_differ_are_told_apart() {
        let made = |method: &str, processor: Option<&str>, threads: usize, commit: &str| Provenance {
            method: method.into(),
            version: String::new(),
            source: Some(Checkout { commit: commit.into(), dirty: false }),
            target: "x".into(),
            processor: processor.map(str::to_owned),
            instruction_set: Vec::new(),
            threads,
            started: String::new(),
            wall_seconds: 1.0,
        };
        let one = [made("adam", Some("A"), 2, "0123456789"), made("k-svd", Some("A"), 2, "0123456789")];
        assert_eq!(machines(&one), "All ran on A (x), 2 threads, from the commit 0123456.");
        let two = [one[0].clone(), one[1].clone(), made("online", None, 1, "abcdefgh")];
        assert_eq!(
            machines(&two),
            "They did not run alike: adam, k-svd on A (x), 2 threads, from the commit 0123456; online on an unnamed processor (x), one thread, from the commit abcdefg."
        );
        assert_eq!(machines(&[]), "Where they ran is not recorded.");
    }

    #[test]
    fn a_method_that_worked_longer_than_the_others_is_named() {
        let text = "seconds = 100\nlatents = 8\nk = 2\nmethods = [\"adam\", \"k-svd\"]\n[bench]\nn = 6\nn_p = 5\nsamples = 40\ninterference = 0.6\n";
        let comparison = SamplesComparison::from_toml(text).unwrap();
        let timing = |method: &str, seconds: f64| Timing { method: method.into(), round: 1, seconds };
        assert_eq!(overdrawn(&comparison, &[timing("adam", 101.0), timing("k-svd", 50.0)]), "");
        let over = overdrawn(&comparison, &[timing("adam", 101.0), timing("k-svd", 150.0)]);
        assert!(over.contains("for k-svd 150 s;") && !over.contains("adam"), "{over}");
    }
}
