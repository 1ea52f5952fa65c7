//! `sdlab compare`: optimizers on instances whose optima are known with certificates, or at bench scale.

use super::interrupt::Deferred;
use super::output::Progress;
use super::{Answer, CliError, Session};
use crate::compare::Comparison;
use crate::compare::config::{MOST_ADVERSARIAL, OPTIMIZERS};
use crate::compare::measure::Folder;
use crate::compare::opening::OpenError;
use crate::compare::samples::config::METHODS;
use crate::compare::samples::method::Data;
use crate::compare::samples::{self, SamplesComparison};
use crate::compare::suite::{ADVERSARIAL, SMALLEST, WITNESSED};
use crate::compare::summary::{Answer as Answered, Summary, summarise};
use crate::compare::tuning::parameters;
use crate::stats::table::rounded;
use crate::theory::families::Family;
use clap::Args;
use serde_json::json;
use std::path::{Path, PathBuf};

/// Compare optimizers on instances whose optima are known with certificates, or at bench scale; goes on after the last whole instance or method
#[derive(Debug, Args)]
#[command(after_help = examples())]
pub struct Arguments {
    /// The comparison as a TOML file, or `-`
    #[arg(value_name = "CONFIG")]
    config: String,
    /// The folder of the comparison [default: runs/compare/<name of the configuration>]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Remove the results that the folder holds, and begin anew
    #[arg(long)]
    force: bool,
    /// Stop after so many instances of the whole comparison
    #[arg(long, value_name = "N")]
    max_instances: Option<usize>,
    /// At bench scale: stop every method after so many rounds
    #[arg(long, value_name = "N")]
    max_rounds: Option<u64>,
}

/// A comparison on certified instances, with what each line means.
const CONFIGURATION: &str = "\
  starts = 3                                 of every instance, the same for all optimizers; and: seed = 0
  optimizers = [\"acs\", \"adam\"]             see below
  [budget]                                   a run ends with whichever is spent first
  steps = 1000                               sweeps or iterations
  gradients = 2000                           evaluations of loss and gradient; and: seconds, with which results are not repeatable
  [[families]]                               as many of these as you like
  family = \"orthonormal\"                   see below
  n = 6                                      features; n, n_p, n_r and latents up to 512
  n_p = 6                                    dimension of inputs; and: n_r, that of targets of their own
  latents = 4                                n_q
  instances = 3                              up to 512; and: threshold = \"1/10\" (c, by default 0), optimizers (some of those above)";

/// A comparison at bench scale, likewise.
const AT_SCALE: &str = "\
  seconds = 60.0                             of every method, measuring not counted
  latents = 400                              n_q
  k = 4                                      of TopK
  methods = [\"adam\", \"alternating\"]        see below; and: seed, tolerance, window, tau, held_out
  [adam]                                     and: [alternating], [alternating-online], [online], [init]
  learning_rate = 0.003                      not tuned by the command
  batch = 1024
  [bench]                                    as in `sdlab train`
  n = 200
  n_p = 128
  samples = 20000
  sparsity = 0.98
  interference = 0.25";

/// Sizes of a family with as many conditions as it has.
fn sizes(family: &Family) -> &'static str {
    match family {
        Family::Orthonormal => "n <= n_p; orthonormal features",
        Family::Equicorrelated { .. } => "n <= n_p; one product, 1/4, for all pairs",
        Family::MixedInterference { .. } => "n <= n_p; products 1/4 and -1/4",
        Family::RandomUnit => "any sizes; uniform on the sphere",
        Family::BoundedInterference { .. } => "products of at most 1/2, where n_p leaves room for n of them",
        Family::Antipodal => "any sizes; pairs p, -p",
        Family::ParallelTargets { .. } => "any sizes; targets parallel in pairs, in dimension n_r or n_p",
        Family::Dependent => "n > n_p >= 2; unit combinations of orthonormal features",
        Family::SpreadMasses { .. } => "any sizes; masses over four decades",
        Family::Hierarchy { .. } => "n_p >= 2; parents with two sub-concepts each",
    }
}

fn examples() -> String {
    let named = |name: &str, what: &str| format!("  {name:20}  {what}\n");
    let names: String = OPTIMIZERS.iter().map(|(name, what)| named(name, what)).collect();
    let methods: String = METHODS.iter().map(|(name, what)| named(name, what)).collect();
    let mut families: String = Family::ALL.iter().map(|family| named(family.name(), sizes(family))).collect();
    families += &named(
        ADVERSARIAL,
        &format!("n_p = n <= {MOST_ADVERSARIAL}, latents >= n, no n_r, no threshold; counterexamples to Theorem 3.7"),
    );
    format!(
        "Examples:
  sdlab compare configs/compare/default.toml
  sdlab compare configs/compare/default.toml --out runs/mine --seed 1
  sdlab certify runs/compare/default/certificates
  sdlab compare configs/compare/scale-small.toml

A configuration:
{CONFIGURATION}

Families:
{families}
Optimizers:
{names}
The steps of descent-fixed and adam are tuned before the comparison, on two further instances of each family, with six candidates; all other parameters are
fixed. The learners of dictionaries (k-svd, optimal-directions, online-dictionary) begin at features, all others at the starts.

Certificates: a lower bound of every instance. It is 0, with a point, where there is a neuron for every feature and each feature can be fired alone; with
n·n_q <= {SMALLEST} that of branch-and-bound over all patterns, with its point; else that of the eigenvalues, and a point is certified if it attains it. The cell of
each start is certified where n·n_q·n_p <= {WITNESSED}.

A configuration at bench scale, which has a [bench] and certifies nothing:
{AT_SCALE}

Methods at bench scale:
{methods}
The folder holds config.toml (complete, with the tuned steps), results.jsonl, the problems in instances, and the certificates of
their bounds and optima. The same comparison writes the same bytes, but for timings.jsonl and provenance.json, unless its budget is one of seconds. When
the command is given again, a comparison that was stopped goes on with the first instance that is not done; at bench scale with the first
method that has not ended, which begins anew."
    )
}

/// Runs the command.
pub fn run(arguments: &Arguments, session: &mut Session) -> Result<Answer, CliError> {
    let (name, text) = session.inputs.configuration(&arguments.config)?;
    let request = |error: String| CliError::Request(error);
    if SamplesComparison::is_meant(&text) {
        let comparison = SamplesComparison::from_toml(&text).map_err(|error| request(format!("{name}: {error}")))?;
        return at_scale(arguments, &name, comparison, session);
    }
    let mut comparison = Comparison::from_toml(&text).map_err(|error| request(format!("{name}: {error}")))?;
    if let Some(seed) = session.given_seed {
        comparison.seed = seed;
    }
    let path = arguments.out.clone().unwrap_or_else(|| default_folder(&arguments.config));
    let deferred = Deferred::begin();
    let stem = Path::new(&arguments.config).file_stem().and_then(|stem| stem.to_str()).filter(|stem| *stem != "-");
    let opened = Folder::open(&path, stem, comparison, arguments.force);
    let mut folder = opened.map_err(|error| unopened(&name, error))?;
    let (all, done) = folder.progress();
    if done > 0 && done < all {
        session.output.text(&format!("going on after {done} of {all} instances"))?;
    }
    let until = arguments.max_instances.unwrap_or(all).min(all);
    let clock = std::time::Instant::now();
    let mut progress = Progress::new(all);
    let mut interrupted = false;
    for k in done..until {
        progress.set(k, "instances");
        folder.advance().map_err(request)?;
        interrupted = deferred.asked();
        if interrupted {
            break;
        }
    }
    progress.finish();
    let begun = done;
    let (_, done) = folder.progress();
    folder.finish(done - begun, clock.elapsed().as_secs_f64()).map_err(request)?;
    let mut answered = Vec::new();
    if let Some(Summary { answers, tables, .. }) = summarise(&folder.records, &folder.timings) {
        let held = folder.held();
        for table in tables.iter().chain([&parameters(&held.comparison, held.steps)]) {
            session.output.table(table)?;
        }
        answered = say(&answers, session)?;
    }
    session.output.json(&json!({
        "folder": path.display().to_string(),
        "instances": all,
        "done": done,
        "runs": folder.records.iter().map(|record| record.runs.len()).sum::<usize>(),
        "answers": answered,
    }))?;
    session.output.text(&format!("\n{done} of {all} instances in {}", path.display()))?;
    Ok(if interrupted { Answer::Interrupted } else { Answer::Yes })
}

/// Writes the answers as text, and returns them as JSON.
fn say(answers: &[Answered], session: &Session) -> Result<Vec<serde_json::Value>, CliError> {
    for Answered { question, answer, .. } in answers {
        session.output.text(&format!("\n{question}\n  {answer}"))?;
    }
    let value = |said: &Answered| json!({ "question": said.question, "answer": said.answer });
    Ok(answers.iter().map(value).collect())
}

/// What is wrong with a comparison names its file.
fn unopened(name: &str, error: OpenError) -> CliError {
    CliError::Request(match error {
        OpenError::Comparison(error) => format!("{name}: {error}"),
        OpenError::Folder(error) => error,
    })
}

/// `runs/compare/` and the name of the configuration.
fn default_folder(config: &str) -> PathBuf {
    let stem = Path::new(config).file_stem().filter(|stem| *stem != "-");
    Path::new("runs/compare").join(stem.unwrap_or_else(|| "comparison".as_ref()))
}

/// A comparison at bench scale.
fn at_scale(
    arguments: &Arguments,
    name: &str,
    mut comparison: SamplesComparison,
    session: &mut Session,
) -> Result<Answer, CliError> {
    let request = |error: String| CliError::Request(error);
    if let Some(seed) = session.given_seed {
        comparison.seed = seed;
    }
    let path = arguments.out.clone().unwrap_or_else(|| default_folder(&arguments.config));
    let deferred = Deferred::begin();
    let opened = samples::folder::Folder::open(&path, comparison, arguments.force);
    let mut folder = opened.map_err(|error| unopened(name, error))?;
    let (pending, all) = (folder.pending(), folder.comparison().methods.len());
    let mut interrupted = false;
    if !pending.is_empty() {
        let data = Data::new(folder.comparison()).map_err(request)?;
        let mut progress = Progress::new(all);
        for (k, name) in pending.iter().enumerate() {
            let done = all - pending.len() + k;
            progress.set(done, name);
            let mut stop = |record: &samples::Record, timing: &samples::Timing| {
                let (loss, seconds) = (rounded(record.loss, 4), rounded(timing.seconds, 3));
                progress.set(done, &format!("{name}, round {}: loss {loss} after {seconds} s", record.round));
                interrupted = deferred.asked();
                interrupted
            };
            folder.advance(name, &data, arguments.max_rounds, &mut stop).map_err(request)?;
            if interrupted {
                break;
            }
        }
        progress.finish();
    }
    let (comparison, records) = (folder.comparison(), &folder.records);
    if let Some(Summary { answers, tables, .. }) =
        samples::summary::summarise("scale", comparison, records, &folder.timings)
    {
        for table in &tables {
            session.output.table(table)?;
        }
        let answers = say(&answers, session)?;
        session.output.json(&json!({
            "folder": path.display().to_string(), "methods": all, "done": all - folder.pending().len(),
            "rounds": records.len(), "answers": answers,
        }))?;
    }
    let done = all - folder.pending().len();
    session.output.text(&format!("\n{done} of {all} methods done in {}", path.display()))?;
    Ok(if interrupted { Answer::Interrupted } else { Answer::Yes })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of a configuration in the help, without what is said of each.
    fn configuration(text: &str) -> String {
        let bare = |line: &str| line.trim_start().split("   ").next().unwrap_or_default().to_owned() + "\n";
        text.lines().map(bare).collect()
    }

    #[test]
    fn the_configurations_in_the_help_are_ones() {
        let comparison = Comparison::from_toml(&configuration(CONFIGURATION)).unwrap();
        comparison.ensure_instances().unwrap();
        let at_scale = configuration(AT_SCALE);
        assert!(SamplesComparison::is_meant(&at_scale));
        SamplesComparison::from_toml(&at_scale).unwrap();
        let help = examples();
        assert!(help.contains(CONFIGURATION) && help.contains(AT_SCALE));
    }

    #[test]
    fn the_help_names_every_field_family_optimizer_and_method() {
        let help = examples();
        let names = OPTIMIZERS.iter().chain(&METHODS).map(|(name, _)| *name);
        let names = names.chain(Family::ALL.iter().map(Family::name)).chain([ADVERSARIAL]);
        for name in names {
            assert!(help.contains(&format!("\n  {name} ")), "{name}");
        }
        for field in ["seed", "starts", "steps", "gradients", "seconds", "n_r", "threshold", "instances", "optimizers"]
        {
            assert!(CONFIGURATION.contains(field), "{field}");
        }
        assert!(help.lines().all(|line| line.chars().count() <= 180));
    }

    #[test]
    fn what_the_help_says_of_sizes_is_so() {
        for family in Family::ALL {
            let (more, fewer) = (family.ensure_sizes(5, 4).is_ok(), family.ensure_sizes(4, 4).is_ok());
            let said = sizes(&family);
            assert_eq!((more, fewer), (!said.starts_with("n <= n_p"), !said.starts_with("n > n_p")), "{said}");
            assert_eq!(family.ensure_sizes(5, 1).is_ok(), !said.contains("n_p >= 2") && more, "{said}");
        }
    }
}
