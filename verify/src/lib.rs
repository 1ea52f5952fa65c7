//! Exact checker of sdlab certificates: see `FORMAT.md`.
//!
//! A certificate is a JSON file of exact numbers that proves one statement about one concrete problem. [`check`] either
//! returns a [`Certified`], which nothing else can make, or a [`Refusal`] that says which condition fails. Nothing here
//! rounds, and the package shares no code with the one that finds certificates.
//!
//! | module | |
//! |---|---|
//! | [`format`](mod@format) | the files as Rust types, with one JSON form each |
//! | `json` | the strict reader (§1) |
//! | `number`, `field`, `matrix` | numbers of Q(α) under a work budget, their signs (§3), definiteness and rank |
//! | `instance` | the problem in such numbers: firing, losses, blocks (§2) |
//! | `point` | `partial-optimum`, `strict-saddle`, `local-min` (§4) |
//! | `region`, `nonexistence`, `bounds`, `kernel`, `code`, `cones` and `minors`, `losses`, `arithmetic` | the other kinds (§5) |
//! | [`files`] | files and directories of certificates |

mod arithmetic;
mod bounds;
mod claim;
mod code;
mod cones;
mod field;
pub mod files;
pub mod format;
mod instance;
mod json;
mod kernel;
mod losses;
mod matrix;
mod minors;
mod nonexistence;
mod number;
mod point;
mod refusal;
mod region;

pub use format::Certificate;
pub use refusal::{Cause, Refusal};

use claim::Claim;
use format::Body;
use instance::Instance;
use number::Work;

/// A statement that a certificate proved. Only the checker makes one:
///
/// ```compile_fail
/// fn made(real: sdlab_verify::Certified) -> sdlab_verify::Certified {
///     sdlab_verify::Certified { kind: "zero-loss", ..real }
/// }
/// ```
///
/// ```compile_fail
/// let read: sdlab_verify::Certified = serde_json::from_str("{}").unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct Certified {
    kind: &'static str,
    sha256: Option<String>,
    claim: Claim,
}

impl Certified {
    /// The kind of the certificate.
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// The name of the instance: the SHA-256 of its canonical JSON. `None` for `arithmetic`.
    pub fn sha256(&self) -> Option<&str> {
        self.sha256.as_deref()
    }

    /// What was proved, as one English sentence.
    pub fn statement(&self) -> &str {
        &self.claim.statement
    }

    /// For a point of §4: whether no face carries a multiplier.
    pub fn interior(&self) -> Option<bool> {
        self.claim.interior
    }

    /// For `local-min`: whether the loss grows unless each block's activations are only rescaled.
    pub fn strict(&self) -> Option<bool> {
        self.claim.strict
    }

    /// Lower and upper bound of the loss at the certified point, if the kind has one: equal or neighbouring f64, unless the
    /// loss is irrational and below 1e-80.
    pub fn loss(&self) -> Option<(f64, f64)> {
        self.claim.loss
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
    let Certificate { instance, body, .. } = Certificate::parse(text)?;
    let work = Work::new();
    let claim = match (&body, &instance) {
        (Body::Arithmetic(body), _) => arithmetic::arithmetic(&work, body).map_err(|refusal| refusal.within("body"))?,
        (_, None) => return Err(Refusal::format("key `instance` is missing")),
        (body, Some(problem)) => {
            let instance = Instance::new(problem, &work).map_err(|refusal| refusal.within("instance"))?;
            about(&instance, body).map_err(|refusal| refusal.within("body"))?
        }
    };
    Ok(Certified { kind: body.kind(), sha256: instance.map(|instance| instance.sha256()), claim })
}

/// The check of each kind.
fn about(instance: &Instance, body: &Body) -> Result<Claim, Refusal> {
    match body {
        Body::PartialOptimum(body) => point::partial_optimum(instance, body),
        Body::StrictSaddle(body) => point::strict_saddle(instance, body),
        Body::LocalMin(body) => point::local_min(instance, body),
        Body::PatternWitness(body) => region::pattern_witness(instance, body),
        Body::PatternEmpty(body) => region::pattern_empty(instance, body),
        Body::NoPartialOptimum(body) => nonexistence::no_partial_optimum(instance, body),
        Body::EpsilonPartialOptimum(body) => bounds::epsilon_partial_optimum(instance, body),
        Body::ZeroLoss(body) => losses::zero_loss(instance, body),
        Body::LossValue(body) => losses::loss_value(instance, body),
        Body::LowerBound(body) => bounds::lower_bound(instance, body),
        Body::NotConvex(body) => losses::not_convex(instance, body),
        Body::NotPartialOptimum(body) => losses::not_partial_optimum(instance, body),
        Body::NotSeparable(body) => losses::not_separable(instance, body),
        Body::ExactLoss(body) => losses::exact_loss(instance, body),
        Body::JacobianRank(body) => losses::jacobian_rank(instance, body),
        Body::Absorption(body) => region::absorption(instance, body),
        Body::Arithmetic(body) => arithmetic::arithmetic(instance.work(), body),
    }
}
