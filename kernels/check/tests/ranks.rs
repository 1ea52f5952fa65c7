//! The CUDA backend as one rank of several, with the collective of threads: memory of a device is copied to the host and back.

use sdlab_kernels::backend::collective::{Collective, CollectiveError, Ranked, Reaches, Threads};
use sdlab_kernels::backend::conformance;
use sdlab_kernels::backend::cuda::checked::{Array, Checked};
use sdlab_kernels::backend::cuda::{Cuda, Encoder, Options};
use sdlab_kernels::sdl::Activation;
use sdlab_kernels::shim::Shim;
use std::cell::Cell;
use std::thread;

/// Reaches memory of the stand-in, which any of its devices can copy.
struct Copied<'a> {
    rank: &'a Threads,
    device: Checked<Shim>,
}

impl Collective for Copied<'_> {
    fn rank(&self) -> usize {
        self.rank.rank()
    }

    fn ranks(&self) -> usize {
        self.rank.ranks()
    }

    fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>, CollectiveError> {
        self.rank.gather(own)
    }
}

impl Reaches<Array<Shim, f32>, Array<Shim, u32>> for Copied<'_> {
    fn sum(&self, numbers: &mut Array<Shim, f32>) -> Result<(), CollectiveError> {
        let mut host = self.device.download(numbers, numbers.len());
        self.rank.sum(&mut host[..])?;
        self.device.upload(&host, numbers);
        Ok(())
    }

    fn any(&self, marks: &mut Array<Shim, u32>) -> Result<(), CollectiveError> {
        let mut host: Vec<bool> = self.device.download(marks, marks.len()).into_iter().map(|mark| mark != 0).collect();
        self.rank.any(&mut host[..])?;
        self.device.upload(&host.into_iter().map(u32::from).collect::<Vec<_>>(), marks);
        Ok(())
    }
}

#[test]
fn two_ranks_conform_as_one_device_does() {
    let takes = |activation| matches!(activation, Activation::TopK { .. } | Activation::Gated);
    thread::scope(|scope| {
        for rank in Threads::team(2) {
            scope.spawn(move || {
                let collective = Copied { rank: &rank, device: Checked::new(Shim::new(32, 0)) };
                let seeds = Cell::new(7 + rank.rank() as u64);
                let options = Options { encoder: Encoder::Tf32, candidates: Some(12) };
                conformance::suite_of(takes, |spec| {
                    // Ranks have schedules of their own, and agree nevertheless.
                    seeds.set(seeds.get() + 1001);
                    let seed = seeds.get();
                    Ranked::new(&collective, spec, |part| Cuda::on(Shim::new(64, seed), part, options))
                });
            });
        }
    });
}
