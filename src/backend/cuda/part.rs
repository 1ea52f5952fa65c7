//! A part of a batch: this backend as one rank of several.

use super::checked::Array;
use super::{Batch, Codes, Cuda, Device, Grads, OptState, Params};
use crate::backend::collective::{CollectiveError, DataParallel, Reaches};
use crate::backend::{Backend, Mode};
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
        (_, collective): (usize, &C),
        codes: &mut Codes<D>,
    ) -> Result<(), CollectiveError> {
        let is_shared = matches!(params.activation, Activation::BatchTopK { .. }) && mode == Mode::Training;
        if is_shared && collective.ranks() > 1 {
            let reason = "BatchTopK cannot be trained on several GPUs; take TopK, or one GPU".to_owned();
            return Err(CollectiveError::Failed { reason });
        }
        self.encode_select(params, opt, batch, mode, codes);
        Ok(())
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
        codes.room.as_mut().map_or(Ok(()), |room| collective.any(&mut room.active))
    }
}
