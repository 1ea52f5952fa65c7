//! The claims of the paper, one file each, with a verdict that is computed.
//!
//! | id | place | file |
//! |---|---|---|
//! | `eq-10` | Sec. 2.4, eq. 10 | `eq_10` |
//! | `eq-10-jump` | Sec. 2.4, after eq. 10 | `eq_10_jump` |
//! | `thm-3.1` | Theorem 3.1, eqs. 11, 12 | `thm_3_1` |
//! | `thm-3.1-threshold` | Theorem 3.1 with c > 0 | `thm_3_1_threshold` |
//! | `thm-3.1-two-active` | App. I.1, after eq. 38 | `thm_3_1_two_active` |
//! | `regime` | App. I.1, Table 3 | `regime` |
//! | `thm-3.2` | Theorem 3.2 | `thm_3_2` |
//! | `thm-3.2-hessian` | App. I.2, eq. 50 | `thm_3_2_hessian` |
//! | `thm-3.2-topk` | Theorem 3.2 for Top-k | `thm_3_2_topk` |
//! | `thm-3.2-empirical` | Theorem 3.2 for L | `thm_3_2_empirical` |
//! | `thm-3.3` | Theorem 3.3 | `thm_3_3` |
//! | `thm-3.3-global` | Section 3.3 | `thm_3_3_global` |
//! | `thm-3.3-fewer` | Section 3.3, our theorem | `thm_3_3_fewer` |
//! | `thm-3.4` | Theorem 3.4 | `thm_3_4` |
//! | `thm-3.4-dimension` | App. G | `thm_3_4_dimension` |
//! | `thm-3.4-anchored` | Abstract, App. G | `thm_3_4_anchored` |
//! | `ex-3.5` | Example 3.5 | `ex_3_5` |
//! | `thm-3.7-construction` | App. I.5, eqs. 76–88 | `thm_3_7_construction` |
//! | `thm-3.7` | Theorem 3.7 | `thm_3_7` |
//! | `thm-3.7-prevalence` | Section 3.4, after Theorem 3.7 | `thm_3_7_prevalence` |
//! | `thm-3.7-matchings` | Theorem 3.7, our repair | `thm_3_7_matchings` |
//! | `thm-3.7-epsilon` | Theorem 3.7, a numerical check of it | `thm_3_7_epsilon` |
//! | `hierarchy-independence` | Def. 3.9 with Asm. 2.4 | `hierarchy_independence` |
//! | `thm-3.10-relu` | Theorem 3.10, c = 0 | `thm_3_10_relu` |
//! | `thm-3.10-threshold` | Theorem 3.10, fixed c > 0 | `thm_3_10_threshold` |
//! | `thm-3.10-top1` | Theorem 3.10, Top-1∘ReLU | `thm_3_10_top1` |
//! | `escape` | Section 5.3, our lemma | `escape` |
//! | `table-1` | Table 1 | `table_1` |
//! | `table-1-vs-4` | Table 1, Table 4 | `table_1_vs_4` |
//! | `table-1-counts` | Table 1, Sect. 5.1 | `table_1_counts` |
//! | `table-2` | Table 2 | `table_2` |
//! | `table-3` | Table 3 | `table_3` |
//! | `table-4` | Table 4 | `table_4` |
//! | `table-5` | Table 5 | `table_5` |
//! | `table-6` | Table 6 | `table_6` |
//! | `table-7` | Table 7 | `table_7` |
//!
//! A claim's file has the same parts everywhere: [`Claim`] (statement and place), hypotheses as code, a seeded search or
//! experiment, and the [`Outcome`] with its evidence. To add one, copy a file, and add its line to [`REGISTRY`].

pub mod eq_10;
pub mod eq_10_jump;
pub mod escape;
pub mod ex_3_5;
pub mod hierarchy_independence;
pub mod regime;
pub mod table_1;
pub mod table_1_counts;
pub mod table_1_vs_4;
pub mod table_2;
pub mod table_3;
pub mod table_4;
pub mod table_5;
pub mod table_6;
pub mod table_7;
pub mod thm_3_1;
pub mod thm_3_10_relu;
pub mod thm_3_10_threshold;
pub mod thm_3_10_top1;
pub mod thm_3_1_threshold;
pub mod thm_3_1_two_active;
pub mod thm_3_2;
pub mod thm_3_2_empirical;
pub mod thm_3_2_hessian;
pub mod thm_3_2_topk;
pub mod thm_3_3;
pub mod thm_3_3_fewer;
pub mod thm_3_3_global;
pub mod thm_3_4;
pub mod thm_3_4_anchored;
pub mod thm_3_4_dimension;
pub mod thm_3_7;
pub mod thm_3_7_construction;
pub mod thm_3_7_epsilon;
pub mod thm_3_7_matchings;
pub mod thm_3_7_prevalence;

// What several claims share, or parts of one.
mod absorption_on_instance;
pub mod audit;
pub mod block_draws;
pub mod chord;
mod epsilon_protocol;
mod escape_hypotheses;
mod ex_3_5_activations;
mod exact_models;
mod gap_slopes;
pub mod landscape;
pub mod ledger;
pub mod printed;
pub mod published;
pub mod recovery;
pub mod refuting;
pub mod relations;
pub mod search;
pub mod sources;
pub mod splits;
mod thm_3_7_partitions;
mod threshold_clash;

#[cfg(test)]
mod mutation_tests;

use crate::stats::{Cell, Figure, Mean, Proportion, Table};
use crate::theory::problem::Problem;
use sdlab_verify::{Certificate, Certified, Refusal};
use sources::Source;

/// What a claim says of a user's own problem, or why it says nothing.
pub type OnInstance = fn(&Problem, &Context) -> Result<Outcome, String>;

/// One claim of the paper.
pub struct Claim {
    /// Name on the command line, such as `thm-3.7`.
    pub id: &'static str,
    /// Where it stands in the paper.
    pub place: &'static str,
    /// The statement in at most 64 characters, for tables and headings.
    pub title: &'static str,
    /// The statement in plain words.
    pub statement: &'static str,
    /// The statement in LaTeX.
    pub latex: &'static str,
    /// What the statement assumes, in plain words; the file has it as code.
    pub assumes: &'static str,
    /// What it cites besides the paper itself: works that prove a tool, or that the claim speaks of.
    pub sources: &'static [Source],
    /// Reaches the verdict.
    pub run: fn(&Context) -> Outcome,
    /// What holds of the claim for a user's own problem, if the claim speaks of single problems.
    pub on_instance: Option<OnInstance>,
}

/// All claims, in the order of the paper.
pub const REGISTRY: &[Claim] = &[
    eq_10::CLAIM,
    eq_10_jump::CLAIM,
    thm_3_1::CLAIM,
    thm_3_1_threshold::CLAIM,
    thm_3_1_two_active::CLAIM,
    regime::CLAIM,
    thm_3_2::CLAIM,
    thm_3_2_hessian::CLAIM,
    thm_3_2_topk::CLAIM,
    thm_3_2_empirical::CLAIM,
    thm_3_3::CLAIM,
    thm_3_3_global::CLAIM,
    thm_3_3_fewer::CLAIM,
    thm_3_4::CLAIM,
    thm_3_4_dimension::CLAIM,
    thm_3_4_anchored::CLAIM,
    ex_3_5::CLAIM,
    thm_3_7_construction::CLAIM,
    thm_3_7::CLAIM,
    thm_3_7_prevalence::CLAIM,
    thm_3_7_matchings::CLAIM,
    thm_3_7_epsilon::CLAIM,
    hierarchy_independence::CLAIM,
    thm_3_10_relu::CLAIM,
    thm_3_10_threshold::CLAIM,
    thm_3_10_top1::CLAIM,
    escape::CLAIM,
    table_1::CLAIM,
    table_1_vs_4::CLAIM,
    table_1_counts::CLAIM,
    table_2::CLAIM,
    table_3::CLAIM,
    table_4::CLAIM,
    table_5::CLAIM,
    table_6::CLAIM,
    table_7::CLAIM,
];

/// The claim of this name.
pub fn find(id: &str) -> Option<&'static Claim> {
    REGISTRY.iter().find(|claim| claim.id == id)
}

impl Claim {
    /// The part of the theory that it belongs to; it groups lists of claims.
    pub fn subject(&self) -> &'static str {
        let found = SUBJECTS.iter().find(|(start, _)| self.id.starts_with(start));
        found.map_or("Other claims", |(_, subject)| subject)
    }
}

/// How names of claims begin, and the part of the theory that they belong to.
const SUBJECTS: [(&str, &str); 12] = [
    ("eq-10", "Activations"),
    ("thm-3.10", "Absorption"),
    ("thm-3.1", "The loss L̃ for L"),
    ("regime", "The loss L̃ for L"),
    ("thm-3.2", "Biconvexity"),
    ("thm-3.3", "Zero loss"),
    ("thm-3.4", "Zero loss"),
    ("ex-3.5", "Partial minima"),
    ("thm-3.7", "Partial minima"),
    ("escape", "Partial minima"),
    ("hierarchy", "Absorption"),
    ("table", "Published tables"),
];

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

/// A statement tested on many instances, or a law tested by many draws.
#[derive(Debug, Clone)]
pub struct Check {
    /// What was tested.
    pub what: String,
    /// Number of instances or draws.
    pub trials: usize,
    /// Instances on which it failed; for a law 0 or 1.
    pub failures: usize,
}

impl Check {
    /// A predicted probability against drawn instances. Fails if the count is one that the law allows less than once in
    /// 10⁶, and also if the test could not tell the law from the wrong one with power .99.
    pub fn proportion(what: &str, test: &Proportion) -> Self {
        let passes = test.agrees() && test.power() >= Proportion::POWER;
        let what = format!("{what}: {}", test.sentence());
        Self { what, trials: usize::try_from(test.trials).unwrap_or(usize::MAX), failures: usize::from(!passes) }
    }

    /// A predicted mean of bounded draws, in the same way.
    pub fn mean(what: &str, test: &Mean) -> Self {
        let passes = test.agrees() && test.power() >= Proportion::POWER;
        let what = format!("{what}: {}", test.sentence());
        Self { what, trials: usize::try_from(test.trials).unwrap_or(usize::MAX), failures: usize::from(!passes) }
    }
}

/// A number that a text about the claim quotes; the report makes a LaTeX macro of it.
#[derive(Debug, Clone)]
pub struct Quantity {
    /// Name within the claim: lower-case words with hyphens.
    pub name: &'static str,
    /// What it is, with its unit.
    pub meaning: String,
    /// The value and how many digits of it are shown.
    pub value: Cell,
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
    /// Numbers that a text about the claim quotes.
    pub quantities: Vec<Quantity>,
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
        Self { verdict, evidence, correction: None, figures: Vec::new(), tables: Vec::new(), quantities: Vec::new() }
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

    /// Adds a number that a text about the claim quotes.
    pub fn with_quantity(mut self, name: &'static str, meaning: &str, value: Cell) -> Self {
        self.quantities.push(Quantity { name, meaning: meaning.to_owned(), value });
        self
    }
}
