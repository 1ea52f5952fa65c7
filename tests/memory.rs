//! What a step of training allocates, and what a training holds, counted.

use sdlab::backend::cpu::{Batch, Codes, Cpu, Grads, Isa, OptState, Params, Screen};
use sdlab::backend::{Backend, Mode, Optimizer, Rows, Rule, Spec};
use sdlab::sdl::{Activation, AuxK, AuxTarget, Init, Objective, Scales, Shape};
use std::sync::Mutex;

/// Counts what is allocated.
#[allow(unsafe_code)]
mod allocator {
    use std::alloc::{GlobalAlloc, Layout, System};
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    struct Counting;

    static TOTAL: AtomicUsize = AtomicUsize::new(0);
    static FREED: AtomicUsize = AtomicUsize::new(0);

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
            FREED.fetch_add(layout.size(), Relaxed);
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

    /// Runs `make` on one thread of computation; the bytes that are held of what it has allocated while there is what it has made.
    pub fn held<T: Send>(make: impl FnOnce() -> T + Send) -> usize {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        pool.install(|| {
            let now = || TOTAL.load(Relaxed) - FREED.load(Relaxed);
            let before = now();
            let made = make();
            let after = now();
            drop(made);
            after - before
        })
    }
}

/// Held by each test, since allocations are counted of all threads together.
static ALONE: Mutex<()> = Mutex::new(());

/// What a step works on.
type Parts = (Params, OptState, Batch, Codes, Grads);

/// Bytes that one step allocates, the mean of ten after the first five, all on the same samples; gradients and update as one operation or as two.
fn bytes_of_a_step(activation: Activation, shape: Shape, rows: usize, at_once: bool) -> usize {
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
        if at_once {
            cpu.backward_and_step(params, opt, batch, codes, grads);
        } else {
            cpu.backward(params, batch, codes, grads);
            cpu.step(params, opt, codes, grads);
        }
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
    let _alone = ALONE.lock().unwrap();
    let shape = |n_q| Shape { n_p: 128, n_r: 128, n_q };
    let cases = [|k| Activation::TopK { k }, |k| Activation::BatchTopK { k }];
    // Lists of what is whose have about ten bytes for each latent and each sample, and twenty where they are for gradients and moments together.
    for (of, at_once, each) in cases.into_iter().flat_map(|of| [(of, false, 16), (of, true, 32)]) {
        let small = bytes_of_a_step(of(8), shape(512), 256, at_once);
        for (k, n_q, rows) in [(8, 512, 1024), (32, 512, 256), (8, 2048, 256)] {
            let more = bytes_of_a_step(of(k), shape(n_q), rows, at_once);
            assert!(
                more <= small + each * (n_q - 512 + rows - 256),
                "{:?} n_q {n_q} batch {rows}: {more} bytes, {small} at first",
                of(k)
            );
        }
        let wide = bytes_of_a_step(of(8), Shape { n_p: 512, n_r: 512, n_q: 512 }, 256, at_once);
        assert!(wide < small + 4 * 512 && small < each * 512 + 1024, "{:?}: {small} and {wide} bytes", of(8));
    }
}

#[test]
fn a_training_holds_the_bytes_that_were_foretold() {
    let _alone = ALONE.lock().unwrap();
    let plain = |n_q, batch| Spec::plain(Shape { n_p: 256, n_r: 256, n_q }, batch);
    // Everything that is beside.
    let rich = |n_q: usize, batch| {
        let spec = plain(n_q, batch);
        let aux = AuxK { k: 4, weight: 0.1, dead_after: 1, target: AuxTarget::Residual };
        let scales = Scales::Prefixes { sizes: vec![n_q / 2, n_q], weights: vec![1.0, 1.0] };
        Spec {
            shape: Shape { n_r: 128, ..spec.shape },
            optimizer: Optimizer { rule: Rule::Sgd, ..Optimizer::default() },
            objective: Objective { aux: Some(aux), scales, ..Objective::default() },
            reconstructs_its_input: false,
            ..spec
        }
    };
    let all = Init { encoder_bias: true, decoder_bias: true, input_bias: true, skip: true, ..Init::default() };
    for (spec, init, screen) in [
        (plain(16_384, 64), Init::default(), Screen::Integer),
        (plain(16_384, 64), Init::default(), Screen::Float),
        (rich(16_384, 64), all, Screen::Float),
        (plain(64, 16_384), Init::default(), Screen::Float),
        (rich(64, 16_384), all, Screen::Float),
    ] {
        let (shape, rows, activation) = (spec.shape, spec.batch, Activation::TopK { k: 8 });
        let cpu = Cpu::with(spec, Isa::detect(), screen);
        let [x, y] = [shape.n_p, shape.n_r].map(|n| (0..rows * n).map(|j| (j as f32 * 0.37).sin()).collect::<Vec<_>>());
        let model = init.model(shape, activation, 1);
        let held = allocator::held(|| {
            let mut params = cpu.params(&model);
            let (mut opt, mut grads) = (cpu.opt_state(&params), cpu.grads(&params));
            let (mut batch, mut codes) = (cpu.batch(), cpu.codes());
            cpu.load(Rows { inputs: &x, targets: &y, weights: None }, &mut batch);
            cpu.encode_select(&params, &opt, &batch, Mode::Training, &mut codes);
            cpu.decode_residual(&params, &batch, &mut codes);
            cpu.backward(&params, &batch, &mut codes, &mut grads);
            cpu.step(&mut params, &mut opt, &codes, &mut grads);
            (params, opt, grads, batch, codes)
        });
        let memory = cpu.memory(activation, &init.parameters(&activation));
        // Each part that grows with the model or with the batch has 8 MiB and more, and blocks of one thread have half of it. Lists of a row need not be full.
        let unused = (1 << 18) + 256 * rows as u64;
        let foretold = memory.training() - unused..memory.training() + (4 << 20);
        assert!(foretold.contains(&(held as u64)), "{screen:?}: {held} bytes, foretold {memory:?}");
        let numbers: usize = model.tensors.parameters().filter_map(|p| model.tensors.get(p)).map(<[f32]>::len).sum();
        let tensors = if cpu.spec().optimizer.rule == Rule::Sgd { 2 } else { 3 };
        assert_eq!(memory.copy, (tensors * 4 * numbers) as u64);
    }
}
