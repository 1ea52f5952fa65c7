//! The claims of the paper, one file each, with a verdict that is computed.
//!
//! | id | place | file |
//! |---|---|---|
//! | `thm-3.2-hessian` | App. I.2, eq. 50 | `thm_3_2_hessian` |
//! | `ex-3.5` | Example 3.5 | `ex_3_5` |
//! | `thm-3.7-construction` | App. I.5, eqs. 76–88 | `thm_3_7_construction` |
//! | `thm-3.7` | Theorem 3.7 | `thm_3_7` |
//!
//! A claim's file has the same parts everywhere: [`Claim`] (statement and place), hypotheses as code, a seeded search or
//! experiment, and the [`Outcome`] with its evidence. To add one, copy a file, and add its line to [`REGISTRY`].

pub mod ex_3_5;
pub mod landscape;
pub mod search;
pub mod thm_3_2_hessian;
pub mod thm_3_7;
pub mod thm_3_7_construction;

use crate::stats::{Figure, Table};
use crate::theory::problem::Problem;
use sdlab_verify::{Certificate, Certified, Refusal};

/// What a claim says of a user's own problem, or why it says nothing.
pub type OnInstance = fn(&Problem, &Context) -> Result<Outcome, String>;

/// One claim of the paper.
pub struct Claim {
    /// Name on the command line, such as `thm-3.7`.
    pub id: &'static str,
    /// Where it stands in the paper.
    pub place: &'static str,
    /// The statement in plain words.
    pub statement: &'static str,
    /// The statement in LaTeX.
    pub latex: &'static str,
    /// Reaches the verdict.
    pub run: fn(&Context) -> Outcome,
    /// What holds of the claim for a user's own problem, if the claim speaks of single problems.
    pub on_instance: Option<OnInstance>,
}

/// All claims, in the order of the paper.
pub const REGISTRY: &[Claim] = &[thm_3_2_hessian::CLAIM, ex_3_5::CLAIM, thm_3_7_construction::CLAIM, thm_3_7::CLAIM];

/// The claim of this name.
pub fn find(id: &str) -> Option<&'static Claim> {
    REGISTRY.iter().find(|claim| claim.id == id)
}

/// What a claim is run with.
#[derive(Debug, Clone, Copy, Default)]
pub struct Context {
    /// Seed of every search and experiment.
    pub seed: u64,
}

/// The verdict on a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// True as printed.
    Holds,
    /// True with the added hypothesis.
    HoldsWith(String),
    /// False as printed.
    Refuted,
    /// Neither was reached.
    Undecided(String),
}

impl Verdict {
    /// One word for tables and snapshots.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::HoldsWith(_) => "holds-with",
            Self::Refuted => "refuted",
            Self::Undecided(_) => "undecided",
        }
    }
}

/// One piece of evidence: a sentence, and the certificate that proves it if it speaks of a concrete instance.
#[derive(Debug)]
pub struct Evidence {
    /// What is shown.
    pub text: String,
    /// The certificate with its file name stem, as the checker accepted it.
    pub proof: Option<Proof>,
}

/// A certificate that the checker accepted.
#[derive(Debug)]
pub struct Proof {
    /// File name stem, unique within the claim.
    pub name: String,
    /// The certificate.
    pub certificate: Certificate,
    /// The checker's acceptance.
    pub certified: Certified,
}

impl Evidence {
    /// Evidence by computation alone.
    pub fn computed(text: String) -> Self {
        Self { text, proof: None }
    }

    /// Evidence that the checker accepts; its refusal is an error of the producer.
    pub fn certified(text: String, name: &str, certificate: Certificate) -> Result<Self, Refusal> {
        let certified = sdlab_verify::check(&certificate)?;
        Ok(Self { text, proof: Some(Proof { name: name.to_owned(), certificate, certified }) })
    }
}

/// The corrected statement, and how it was checked.
#[derive(Debug, Clone)]
pub struct Correction {
    /// In plain words.
    pub statement: String,
    /// In LaTeX.
    pub latex: String,
    /// One entry per check.
    pub checks: Vec<Check>,
}

/// A statement tested on many instances.
#[derive(Debug, Clone)]
pub struct Check {
    /// What was tested.
    pub what: String,
    /// Number of instances.
    pub trials: usize,
    /// Instances on which it failed.
    pub failures: usize,
}

/// What a claim's run returns.
#[derive(Debug)]
pub struct Outcome {
    /// The verdict.
    pub verdict: Verdict,
    /// Why.
    pub evidence: Vec<Evidence>,
    /// What is true instead.
    pub correction: Option<Correction>,
    /// Figures of the claim.
    pub figures: Vec<Figure>,
    /// Tables of the claim.
    pub tables: Vec<Table>,
}

impl Outcome {
    /// An outcome without correction, figures and tables. `Refuted` needs a certificate among the evidence, and without
    /// one becomes `Undecided`.
    pub fn new(verdict: Verdict, evidence: Vec<Evidence>) -> Self {
        let verdict = match verdict {
            Verdict::Refuted if evidence.iter().all(|e| e.proof.is_none()) => {
                Verdict::Undecided("no certificate was accepted".to_owned())
            }
            other => other,
        };
        Self { verdict, evidence, correction: None, figures: Vec::new(), tables: Vec::new() }
    }

    /// An outcome for a search that ended without result.
    pub fn undecided(why: impl Into<String>) -> Self {
        Self::new(Verdict::Undecided(why.into()), Vec::new())
    }

    /// Adds the corrected statement. A failed check of it turns the verdict into `Undecided`: the theory is not understood.
    pub fn with_correction(mut self, correction: Correction) -> Self {
        if let Some(failed) = correction.checks.iter().find(|c| c.failures > 0 || c.trials == 0) {
            self.verdict = Verdict::Undecided(format!(
                "the corrected statement failed: {} ({} of {})",
                failed.what, failed.failures, failed.trials
            ));
        }
        self.correction = Some(correction);
        self
    }
}
