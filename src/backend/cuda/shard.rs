//! A part of the latents: this backend as one rank of several that have the same samples.
//!
//! Candidates, and what is kept of them, go over the host, and so does the norm of the gradient; sums of residuals stay on the devices.

use super::checked::Array;
use super::encode::mark;
use super::gradients::{Update, Which};
use super::state::Set;
use super::{Batch, Codes, Cuda, Device, Grads, OptState, Params};
use crate::backend::HostCodes;
use crate::backend::collective::{CollectiveError, Kept, LatentParallel, Reaches};
use crate::backend::select::key;
use crate::sdl::{Activation, Parameter};

impl<D: Device> LatentParallel for Cuda<D> {
    fn dead_codes_of(&self, codes: &Codes<D>) -> HostCodes {
        let aux = codes.room.as_ref().and_then(|room| room.aux.as_ref());
        aux.map_or_else(HostCodes::none, |aux| self.download(&aux.set, codes.rows))
    }

    fn keep(&self, main: Option<&Kept>, dead: Option<&Kept>, codes: &mut Codes<D>) {
        let (Some(room), device) = (&codes.room, &self.device) else { return };
        if let Some(kept) = main {
            self.put(kept, &room.main);
            device.clear(&room.active);
            mark(device, codes.rows, &room.main, &room.active);
            if let Activation::BatchTopK { .. } = room.activation {
                device.upload(&[kept.least.map_or(u32::MAX, key)], &room.least);
            }
        }
        if let (Some(kept), Some(aux)) = (dead, &room.aux) {
            self.put(kept, &aux.set);
            device.upload(&kept.counts, &aux.counts);
        }
    }

    fn decode_residual_part<C: Reaches<Array<D, f32>, Array<D, u32>>>(
        &self,
        params: &Params<D>,
        batch: &Batch<D>,
        collective: &C,
        codes: &mut Codes<D>,
    ) -> Result<(), CollectiveError> {
        let affine = collective.rank() == 0;
        if let Some(pass) = self.pass(params, batch, codes) {
            pass.linear();
            pass.row_terms();
        }
        for which in Which::ALL {
            if !self.pass(params, batch, codes).is_some_and(|pass| pass.start(which, affine)) {
                continue;
            }
            let Some(room) = &mut codes.room else { continue };
            let residuals = match which {
                Which::Main => Some(&mut room.residuals),
                Which::Gates => room.gates.as_mut().map(|gates| &mut gates.residuals),
                Which::Dead => room.aux.as_mut().map(|aux| &mut aux.residuals),
            };
            // Rows that this batch lacks are added up too, and read by nobody.
            residuals.map_or(Ok(()), |residuals| collective.sum(residuals))?;
            if let Some(pass) = self.pass(params, batch, codes) {
                pass.finish(which);
            }
        }
        Ok(())
    }

    fn join_part<C: Reaches<Array<D, f32>, Array<D, u32>>>(
        &self,
        collective: &C,
        grads: &mut Grads<D>,
    ) -> Result<(), CollectiveError> {
        grads.blocks.get_mut(Parameter::InputBias).map_or(Ok(()), |block| collective.sum(block))
    }

    fn step_part(
        &self,
        params: &mut Params<D>,
        opt: &mut OptState<D>,
        codes: &Codes<D>,
        grads: &mut Grads<D>,
        (shared, sum): (bool, &mut dyn FnMut(f64) -> f64),
    ) {
        let (device, spec, anchors) = (&self.device, &self.spec, self.anchors.as_ref());
        match &codes.room {
            Some(room) => {
                Update { device, spec, anchors, others: Some((shared, &mut *sum)) }.run(
                    params,
                    opt,
                    room,
                    codes.counted,
                    grads,
                );
            }
            // The others wait for a sum.
            None => drop(sum(f64::NAN)),
        }
    }
}

impl<D: Device> Cuda<D> {
    /// Replaces codes by those that ranks have kept.
    fn put(&self, kept: &Kept, set: &Set<D>) {
        let HostCodes { offsets, latents, values } = &kept.codes;
        let rows = offsets.len() - 1;
        let counts: Vec<u32> = offsets.windows(2).map(|pair| (pair[1] - pair[0]) as u32).collect();
        self.device.upload(&counts, &set.counts);
        self.device.upload(&spread(latents, offsets, rows * set.stride), &set.latents);
        self.device.upload(&spread(values, offsets, rows * set.stride), &set.values);
        if !kept.levels.is_empty() {
            let levels: Vec<u32> = kept.levels.iter().map(|level| u32::from(*level)).collect();
            self.device.upload(&spread(&levels, offsets, rows * set.stride), &set.levels);
        }
    }
}

/// Rows as far apart as a set has them.
fn spread<T: Copy + Default>(numbers: &[T], offsets: &[usize], room: usize) -> Vec<T> {
    let mut all = vec![T::default(); room];
    let stride = room / (offsets.len() - 1).max(1);
    for (row, pair) in offsets.windows(2).enumerate() {
        all[row * stride..][..pair[1] - pair[0]].copy_from_slice(&numbers[pair[0]..pair[1]]);
    }
    all
}
