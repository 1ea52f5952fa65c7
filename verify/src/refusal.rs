//! Why a certificate is refused.

use std::fmt;

/// What kind of rule was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The text is not the JSON of a certificate, or its hash is wrong (FORMAT.md §§1–3).
    Format,
    /// A limit on size or work was exceeded (FORMAT.md §6).
    Limit,
    /// A condition of the certificate's kind does not hold (FORMAT.md §§3–5).
    Condition,
}

/// A refusal: the certificate proves nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What kind of rule was broken.
    pub cause: Cause,
    /// Where in the file, such as `body.parts[0].w`; empty if it concerns the whole.
    pub place: String,
    /// What is wrong there.
    pub reason: String,
}

impl Refusal {
    pub(crate) fn format(reason: impl Into<String>) -> Self {
        Self { cause: Cause::Format, place: String::new(), reason: reason.into() }
    }

    pub(crate) fn limit(reason: impl Into<String>) -> Self {
        Self { cause: Cause::Limit, place: String::new(), reason: reason.into() }
    }

    pub(crate) fn condition(reason: impl Into<String>) -> Self {
        Self { cause: Cause::Condition, place: String::new(), reason: reason.into() }
    }

    /// The same refusal, one level further out.
    pub(crate) fn within(mut self, place: impl fmt::Display) -> Self {
        let separator = if self.place.is_empty() || self.place.starts_with('[') { "" } else { "." };
        self.place = format!("{place}{separator}{}", self.place);
        self
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        if !self.place.is_empty() {
            write!(f, "{}: ", self.place)?;
        }
        f.write_str(&self.reason)
    }
}

impl std::error::Error for Refusal {}
