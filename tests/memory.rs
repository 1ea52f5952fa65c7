//! What a step of training allocates, counted.

use sdlab::backend::cpu::{Batch, Codes, Cpu, Grads, Isa, OptState, Params, Screen};
use sdlab::backend::{Backend, Mode, Optimizer, Rows, Spec};
use sdlab::sdl::{Activation, Init, Shape};

/// Counts what is allocated.
#[allow(unsafe_code)]
mod allocator {
    use std::alloc::{GlobalAlloc, Layout, System};
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    struct Counting;

    static TOTAL: AtomicUsize = AtomicUsize::new(0);

    #[global_allocator]
    static ALLOCATOR: Counting = Counting;

    // SAFETY: every call is passed on as it is; counting allocates nothing.
    unsafe impl GlobalAlloc for Counting {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            TOTAL.fetch_add(layout.size(), Relaxed);
            // SAFETY: the caller keeps the contract of `alloc`.
            unsafe { System.alloc(layout) }
        }

        unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
            // SAFETY: the pointer came from `alloc` above, which is that of the system.
            unsafe { System.dealloc(pointer, layout) }
        }
    }

    /// Runs `prepare` and then `work` on what it has made, on one thread of computation; the bytes that were allocated during `work`.
    pub fn counted<T: Send>(prepare: impl FnOnce() -> T + Send, work: impl FnOnce(&mut T) + Send) -> usize {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        pool.install(|| {
            let mut prepared = prepare();
            let allocated = TOTAL.load(Relaxed);
            work(&mut prepared);
            TOTAL.load(Relaxed) - allocated
        })
    }
}

/// What a step works on.
type Parts = (Params, OptState, Batch, Codes, Grads);

/// Bytes that one step allocates, the mean of ten after the first five, all on the same samples.
fn bytes_of_a_step(activation: Activation, shape: Shape, rows: usize) -> usize {
    // Nothing moves, so that every step finds as much as the one before.
    let optimizer = Optimizer { learning_rate: 0.0, ..Optimizer::default() };
    let cpu = Cpu::with(Spec { optimizer, ..Spec::plain(shape, rows) }, Isa::detect(), Screen::Integer);
    let x: Vec<f32> = (0..rows * shape.n_p).map(|j| (j as f32 * 0.37).sin() + (j as f32 * 0.011).cos()).collect();
    let init = Init { decoder_bias: true, encoder_bias: true, ..Init::default() };
    let model = init.model(shape, activation, 1);
    let step = |parts: &mut Parts| {
        let (params, opt, batch, codes, grads) = parts;
        cpu.load(Rows { inputs: &x, targets: &[], weights: None }, batch);
        cpu.encode_select(params, opt, batch, Mode::Training, codes);
        cpu.decode_residual(params, batch, codes);
        cpu.backward(params, batch, codes, grads);
        cpu.step(params, opt, codes, grads);
    };
    let prepare = || {
        let params = cpu.params(&model);
        let (opt, grads) = (cpu.opt_state(&params), cpu.grads(&params));
        let mut parts = (params, opt, cpu.batch(), cpu.codes(), grads);
        (0..5).for_each(|_| step(&mut parts));
        parts
    };
    allocator::counted(prepare, |parts| (0..10).for_each(|_| step(parts))) / 10
}

#[test]
fn a_step_allocates_a_few_bytes_a_latent_and_a_sample_whatever_the_dimension_and_k() {
    let shape = |n_q| Shape { n_p: 128, n_r: 128, n_q };
    for of in [|k| Activation::TopK { k }, |k| Activation::BatchTopK { k }] {
        let small = bytes_of_a_step(of(8), shape(512), 256);
        for (k, n_q, rows) in [(8, 512, 1024), (32, 512, 256), (8, 2048, 256)] {
            let more = bytes_of_a_step(of(k), shape(n_q), rows);
            // Lists of what is whose have about ten bytes for each latent and each sample.
            assert!(
                more <= small + 16 * (n_q - 512 + rows - 256),
                "{:?} n_q {n_q} batch {rows}: {more} bytes, {small} at first",
                of(k)
            );
        }
        let wide = bytes_of_a_step(of(8), Shape { n_p: 512, n_r: 512, n_q: 512 }, 256);
        assert!(wide < small + 4 * 512 && small < 16 * 512 + 1024, "{:?}: {small} and {wide} bytes", of(8));
    }
}
