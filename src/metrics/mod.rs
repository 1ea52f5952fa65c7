//! How well a model has recovered what is known, and how it does as a model.
//!
//! | metric | from | module |
//! |---|---|---|
//! | products of learned and known directions | §5.1, S | [`similarity`] |
//! | GT recovery M_GT(τ), its curve, maximum inner product MIP | §5.1 | [`recovery`] |
//! | one-to-one assignment of latents to features, MCC | | [`matching`] |
//! | L0, dead latents, mean squared error, FVU | | [`fit`] |
//! | latents as classifiers of features: F1, parts of split features | | [`latents`] |
//! | absorption of parents by sub-concepts | Def. 3.9 | [`absorption`] |
//! | all of it for one model | | [`score`], as tables and a figure in [`shown`] |

pub mod absorption;
pub mod fit;
pub mod latents;
pub mod matching;
pub mod recovery;
pub mod score;
pub mod shown;
pub mod similarity;

pub use score::Scores;
