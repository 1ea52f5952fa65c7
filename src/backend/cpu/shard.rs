//! A part of the latents: this backend as one rank of several that have the same samples.

use super::codes::Sparse;
use super::update::Norm;
use super::{Batch, Codes, Cpu, Grads, OptState, Params, Sums};
use crate::backend::HostCodes;
use crate::backend::collective::{CollectiveError, Kept, LatentParallel, Reaches};
use crate::sdl::Parameter;

impl LatentParallel for Cpu {
    fn dead_codes_of(&self, codes: &Codes) -> HostCodes {
        codes.aux.as_ref().map_or_else(HostCodes::default, |aux| aux.codes.to_host())
    }

    fn keep(&self, main: Option<&Kept>, dead: Option<&Kept>, codes: &mut Codes) {
        if let Some(kept) = main {
            codes.codes.replace(kept);
            codes.counted.mark(&codes.codes, self.spec.shape.n_q);
            // Of the other activations no step asks for it.
            codes.counted.least = kept.least;
        }
        if let (Some(kept), Some(aux)) = (dead, &mut codes.aux) {
            aux.codes.replace(kept);
            aux.counts.clone_from(&kept.counts);
        }
    }

    fn decode_residual_part<C: Reaches<[f32], [bool]>>(
        &self,
        params: &Params,
        batch: &Batch,
        collective: &C,
        codes: &mut Codes,
    ) -> Result<(), CollectiveError> {
        let sum: Sums<'_> = &mut |numbers| collective.sum(numbers);
        self.decode(params, batch, Some((collective.rank() == 0, sum)), codes)
    }

    fn join_part<C: Reaches<[f32], [bool]>>(&self, collective: &C, grads: &mut Grads) -> Result<(), CollectiveError> {
        grads.rest.get_mut(Parameter::InputBias).map_or(Ok(()), |block| collective.sum(block))
    }

    fn step_part(
        &self,
        params: &mut Params,
        opt: &mut OptState,
        codes: &Codes,
        grads: &mut Grads,
        (shared, sum): (bool, &mut dyn FnMut(f64) -> f64),
    ) {
        self.update(params, opt, codes, grads, Norm { shared, sum });
    }
}

impl Sparse {
    /// Takes what ranks have kept together instead of what one of them has found.
    fn replace(&mut self, kept: &Kept) {
        let HostCodes { offsets, latents, values } = &kept.codes;
        self.offsets.clone_from(offsets);
        self.latents.clone_from(latents);
        self.values.clone_from(values);
        self.levels.clone_from(&kept.levels);
    }
}
