//! A part of a batch: this backend as one rank of several.

use super::checked::Array;
use super::encode::{Selection, Whole, from_bytes, to_bytes};
use super::{Batch, Codes, Cuda, Device, Grads, OptState, Params};
use crate::backend::Mode;
use crate::backend::collective::{CollectiveError, DataParallel, Reaches};
use crate::sdl::{Activation, Parameter};

impl<D: Device> DataParallel for Cuda<D> {
    type Numbers = Array<D, f32>;
    type Marks = Array<D, u32>;

    fn weigh(&self, weights: &[f64], batch: &mut Batch<D>) {
        batch.weigh(&self.device, Some(weights));
    }

    fn encode_select_part<C: Reaches<Array<D, f32>, Array<D, u32>>>(
        &self,
        (params, opt, batch): (&Params<D>, &OptState<D>, &Batch<D>),
        mode: Mode,
        (rows, collective): (usize, &C),
        codes: &mut Codes<D>,
    ) -> Result<(), CollectiveError> {
        let Self { device, spec, options, .. } = self;
        let whole = Some(Whole { rows, collective });
        Selection { device, spec, options: *options, params, opt, mode, whole }.run(batch, codes)
    }

    fn join<C: Reaches<Array<D, f32>, Array<D, u32>>>(
        &self,
        rows: usize,
        collective: &C,
        codes: &mut Codes<D>,
        grads: &mut Grads<D>,
    ) -> Result<(), CollectiveError> {
        let shape = self.spec.shape;
        let arguments = [
            grads.live.all(),
            grads.or_spare(Parameter::Encoder).of(shape.n_q * shape.n_p),
            grads.or_spare(Parameter::Decoder).of(shape.n_q * shape.n_r),
            (shape.n_p as u32).into(),
            (shape.n_r as u32).into(),
        ];
        self.device.launch("clear_silent", [shape.n_q as u32, 1, 1], arguments);
        collective.any(&mut grads.live)?;
        for parameter in Parameter::ALL {
            if let Some(block) = grads.blocks.get_mut(parameter) {
                collective.sum(block)?;
            }
        }
        codes.counted = rows;
        let Some(room) = &mut codes.room else { return Ok(()) };
        collective.any(&mut room.active)?;
        if matches!(room.activation, Activation::BatchTopK { .. }) {
            let own = self.device.download(&room.least, 1);
            let all = collective.gather(&to_bytes(&own))?;
            let least = all.iter().flat_map(|given| from_bytes(given)).min();
            self.device.upload(least.as_slice(), &room.least);
        }
        Ok(())
    }
}
