//! A part of a batch: this backend as one rank of several.

use super::codes::Sparse;
use super::{Batch, Codes, Cpu, Grads, OptState, Params, Whole};
use crate::backend::Mode;
use crate::backend::collective::{Collective, CollectiveError, DataParallel, Reaches, from_bytes, to_bytes};
use crate::backend::select::{cut, rank_key};
use crate::sdl::Parameter;

impl DataParallel for Cpu {
    type Numbers = [f32];
    type Marks = [bool];

    fn weigh(&self, weights: &[f64], batch: &mut Batch) {
        batch.weigh(Some(weights));
    }

    fn encode_select_part<C: Reaches<[f32], [bool]>>(
        &self,
        from: (&Params, &OptState, &Batch),
        mode: Mode,
        (rows, collective): (usize, &C),
        codes: &mut Codes,
    ) -> Result<(), CollectiveError> {
        let mut cut = Ok(());
        let mut keep = |count: usize, part: &mut Sparse| cut = keep_first_of_all(collective, count, part);
        self.select(from, mode, Whole { rows, cut: &mut keep }, codes);
        cut
    }

    fn join<C: Reaches<[f32], [bool]>>(
        &self,
        rows: usize,
        collective: &C,
        codes: &mut Codes,
        grads: &mut Grads,
    ) -> Result<(), CollectiveError> {
        let own = grads.live.clone();
        collective.any(&mut grads.live)?;
        // Rows without a gradient are left as they were.
        let (n_p, n_r) = (self.spec.shape.n_p, self.spec.shape.n_r);
        for i in (0..own.len()).filter(|i| grads.live[*i] && !own[*i]) {
            grads.encoder[i * n_p..(i + 1) * n_p].fill(0.0);
            grads.decoder[i * n_r..(i + 1) * n_r].fill(0.0);
        }
        collective.sum(&mut grads.encoder[..])?;
        collective.sum(&mut grads.decoder[..])?;
        for parameter in Parameter::ALL {
            if let Some(block) = grads.rest.get_mut(parameter) {
                collective.sum(block)?;
            }
        }
        collective.any(&mut codes.counted.active[..])?;
        codes.counted.rows = rows as u64;
        let least = codes.counted.least.map_or_else(Vec::new, |least| to_bytes(&[least]));
        codes.counted.least = collective.gather(&least)?.iter().flat_map(|of| from_bytes(of)).reduce(f32::min);
        Ok(())
    }
}

/// Of the first entries of each part, those that are among the first of all parts; lower ranks have the lower rows.
fn keep_first_of_all<C: Collective>(collective: &C, count: usize, part: &mut Sparse) -> Result<(), CollectiveError> {
    let all = collective.gather(&to_bytes(&part.values))?;
    let before: usize = all[..collective.rank()].iter().map(|of| of.len() / 4).sum();
    let values = all.iter().flat_map(|of| from_bytes(of));
    let mut ranks: Vec<u64> = (0..).zip(values).map(|(place, z)| rank_key(z, place)).collect();
    part.keep_from(cut(&mut ranks, count), before as u32);
    Ok(())
}
