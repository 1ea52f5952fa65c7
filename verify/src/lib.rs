//! Exact checker of sdlab certificates: see `FORMAT.md`.
//!
//! A certificate is a JSON file of exact numbers that proves one statement about one concrete problem. [`check`] either
//! returns a [`Certified`], which nothing else can make, or a [`Refusal`] that says which condition fails. Nothing here
//! rounds, and the package shares no code with the one that finds certificates.
//!
//! * [`format`](mod@format): the files as Rust types, FORMAT.md §§1–5

pub mod format;
mod json;
mod refusal;

pub use format::Certificate;
pub use refusal::{Cause, Refusal};

/// A statement that a certificate proved. Only the checker makes one:
///
/// ```compile_fail
/// let made = sdlab_verify::Certified { proof: todo!() };
/// ```
///
/// ```compile_fail
/// let read: sdlab_verify::Certified = serde_json::from_str("{}").unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct Certified {
    proof: Proof,
}

/// What was proved.
#[derive(Debug, Clone)]
struct Proof {
    kind: &'static str,
    sha256: Option<String>,
    statement: String,
    interior: Option<bool>,
    strict: Option<bool>,
    loss: Option<(f64, f64)>,
}

impl Certified {
    /// The kind of the certificate.
    pub fn kind(&self) -> &'static str {
        self.proof.kind
    }

    /// The name of the instance: the SHA-256 of its canonical JSON. `None` for `arithmetic`.
    pub fn sha256(&self) -> Option<&str> {
        self.proof.sha256.as_deref()
    }

    /// What was proved, as one English sentence.
    pub fn statement(&self) -> &str {
        &self.proof.statement
    }

    /// For a point of §4: whether no face carries a multiplier.
    pub fn interior(&self) -> Option<bool> {
        self.proof.interior
    }

    /// For `local-min`: whether the loss grows unless each block's activations are only rescaled.
    pub fn strict(&self) -> Option<bool> {
        self.proof.strict
    }

    /// Lower and upper bound, one unit in the last place apart or equal, of the loss at the certified point, if the kind has one.
    pub fn loss(&self) -> Option<(f64, f64)> {
        self.proof.loss
    }
}

/// Checks a certificate: it is accepted iff the file that [`Certificate::to_json`] writes is.
///
/// # Errors
/// The first rule that is broken.
pub fn check(certificate: &Certificate) -> Result<Certified, Refusal> {
    check_text(&certificate.to_json())
}

/// Checks the text of a certificate file.
///
/// # Errors
/// The first rule that is broken.
pub fn check_text(text: &str) -> Result<Certified, Refusal> {
    let certificate = Certificate::parse(text)?;
    Err(Refusal::limit(format!("kind {} is not supported", certificate.body.kind())))
}
