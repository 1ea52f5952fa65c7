//! Training on several ranks at once: every rank has its part of each batch, and gradients are added up before the update; or every rank has its
//! part of the latents, and reconstructions are added up before the loss.
//!
//! | part | module |
//! |---|---|
//! | ranks that are threads of one process | [`threads`] |
//! | ranks that are processes with a GPU each | [`cuda::nccl`](super::cuda::nccl) |
//! | a backend that is one rank of several, with its part of a batch | [`ranked`] |
//! | a backend that is one rank of several, with its part of the latents | [`sharded`] |
//! | what such ranks select together | [`candidates`] |
//!
//! A [`Collective`] connects ranks; a backend that can be a rank is [`DataParallel`], or [`LatentParallel`]. What a collective adds up may lie
//! anywhere: the backend says in its own types what memory that is, and a collective that [`Reaches`] this memory can be used with it.
//!
//! All ranks make the same calls in the same order. A sum is taken in an order that does not depend on which rank comes first or last (threads: that
//! of the ranks, ((g₀ + g₁) + g₂) + …), and every rank gets the same bits. So all ranks keep the same parameters bit for bit, and a
//! training with the same number of ranks has the same bits again. With another number of ranks gradients are rounded elsewhere.

pub mod candidates;
pub mod ranked;
pub mod sharded;
#[cfg(test)]
mod sharded_tests;
mod team;
#[cfg(test)]
mod tests;
pub mod threads;

pub use candidates::Kept;
pub use ranked::Ranked;
pub use sharded::Sharded;
pub use threads::Threads;

use super::{Backend, HostCodes, Mode};

/// Why ranks no longer train together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CollectiveError {
    /// A rank has ended before the others.
    #[error("rank {rank} has left the training")]
    Left {
        /// Which one.
        rank: usize,
    },
    /// A rank cannot go on, and has said so.
    #[error("rank {rank} has failed")]
    Broken {
        /// Which one.
        rank: usize,
    },
    /// Ranks gave arrays of different lengths, or bytes that mean something else.
    #[error("ranks disagree: {what}")]
    Differ {
        /// In what.
        what: String,
    },
    /// What connects the ranks has failed.
    #[error("{reason}")]
    Failed {
        /// What it says.
        reason: String,
    },
}

/// One rank's connection to all ranks.
pub trait Collective {
    /// The number of this rank, from 0.
    fn rank(&self) -> usize;
    /// How many ranks there are.
    fn ranks(&self) -> usize;
    /// What every rank gives, in the order of ranks, for small things; the lengths may differ.
    ///
    /// # Errors
    /// A rank has left, or the connection has failed.
    fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>, CollectiveError>;
    /// Waits for all ranks.
    ///
    /// # Errors
    /// A rank has left, or the connection has failed.
    fn barrier(&self) -> Result<(), CollectiveError> {
        self.gather(&[]).map(drop)
    }
    /// From now on ranks no longer work together: what connects them ends without waiting for the others.
    fn give_up(&self) {}
}

/// A collective that works on arrays where they are: numbers in f32, and marks that are true or false.
pub trait Reaches<Numbers: ?Sized, Marks: ?Sized>: Collective {
    /// Replaces the numbers of each rank by their sum over ranks, the same bits on all, whatever their timing is.
    ///
    /// # Errors
    /// Lengths differ, a rank has left, or the connection has failed.
    fn sum(&self, numbers: &mut Numbers) -> Result<(), CollectiveError>;
    /// Sets each mark that is set on any rank.
    ///
    /// # Errors
    /// Lengths differ, a rank has left, or the connection has failed.
    fn any(&self, marks: &mut Marks) -> Result<(), CollectiveError>;
}

/// A backend that can be one rank of several: it computes with its part of a batch, whose weights are those in the whole batch.
pub trait DataParallel: Backend {
    /// An array of f32 where this backend keeps them.
    type Numbers: ?Sized;
    /// An array of marks where this backend keeps them.
    type Marks: ?Sized;

    /// Overwrites w_b of the rows that are there.
    fn weigh(&self, weights: &[f64], batch: &mut Self::Batch);

    /// [`Backend::encode_select`] of a part of a batch: `whole` has the rows of all parts and who has the others. Ranks have to talk where the
    /// selection depends on the whole batch.
    ///
    /// # Errors
    /// Of the collective.
    fn encode_select_part<C: Reaches<Self::Numbers, Self::Marks>>(
        &self,
        from: (&Self::Params, &Self::OptState, &Self::Batch),
        mode: Mode,
        whole: (usize, &C),
        codes: &mut Self::Codes,
    ) -> Result<(), CollectiveError>;

    /// After [`Backend::backward`]: sums gradients over ranks, and makes what [`Backend::step`] counts (rows, active latents, the least value
    /// that BatchTopK has kept) that of the whole batch of `rows` rows.
    ///
    /// # Errors
    /// Of the collective.
    fn join<C: Reaches<Self::Numbers, Self::Marks>>(
        &self,
        rows: usize,
        collective: &C,
        codes: &mut Self::Codes,
        grads: &mut Self::Grads,
    ) -> Result<(), CollectiveError>;
}

/// A backend that can hold a part of the latents of a model, as one rank of several: to itself it has a model of fewer latents, and every rank has all
/// samples. b_p, b_D and W_S are on all ranks, the same bits.
pub trait LatentParallel: DataParallel {
    /// Downloads the latents of AuxK, as [`Backend::codes_of`] does the selected ones.
    fn dead_codes_of(&self, codes: &Self::Codes) -> HostCodes;

    /// Replaces what [`Backend::encode_select`] has selected by what all ranks together have; `dead` of AuxK, if it was looked for.
    fn keep(&self, main: Option<&Kept>, dead: Option<&Kept>, codes: &mut Self::Codes);

    /// [`Backend::decode_residual`] of all latents: each rank reconstructs with its own, the first one also with b_D, W_S and the target, and the sum
    /// over ranks is the residual of all, from which every rank computes what follows.
    ///
    /// # Errors
    /// Of the collective.
    fn decode_residual_part<C: Reaches<Self::Numbers, Self::Marks>>(
        &self,
        params: &Self::Params,
        batch: &Self::Batch,
        collective: &C,
        codes: &mut Self::Codes,
    ) -> Result<(), CollectiveError>;

    /// After [`Backend::backward`]: sums over ranks what each of them knows of the gradient of b_p.
    ///
    /// # Errors
    /// Of the collective.
    fn join_part<C: Reaches<Self::Numbers, Self::Marks>>(
        &self,
        collective: &C,
        grads: &mut Self::Grads,
    ) -> Result<(), CollectiveError>;

    /// [`Backend::step`], with the norm of the gradient of all ranks: `sum` adds up over ranks the squared norm of what belongs to this one, which with
    /// `shared` is also that of the parameters which all have.
    fn step_part(
        &self,
        params: &mut Self::Params,
        opt: &mut Self::OptState,
        codes: &Self::Codes,
        grads: &mut Self::Grads,
        norm: (bool, &mut dyn FnMut(f64) -> f64),
    );
}

/// Numbers as bytes, for [`Collective::gather`].
pub(super) fn to_bytes(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// Numbers from bytes.
pub(super) fn from_bytes(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|x| f32::from_le_bytes(*x)).collect()
}
