//! How well a model has recovered what is known, and how it does as a model.
//!
//! | metric | from | module |
//! |---|---|---|
//! | products of learned and known directions | §5.1, S | [`similarity`] |
//! | GT recovery M_GT(τ), its curve, maximum inner product MIP | §5.1 | [`recovery`] |
//! | one-to-one assignment of latents to features, MCC | | [`matching`] |
//! | L0, dead latents, mean squared error, FVU | | [`fit`] |

pub mod fit;
pub mod matching;
pub mod recovery;
pub mod similarity;
