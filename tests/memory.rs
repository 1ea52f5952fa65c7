//! What training holds and what it allocates, counted.

use sdlab::backend::cpu::{Batch, Codes, Cpu, Grads, Isa, OptState, Params, Screen};
use sdlab::backend::{Backend, Mode, Optimizer, Rows, Spec};
use sdlab::sdl::{Activation, Init, Shape};
use sdlab::train::check::{Facts, Plan};
use sdlab::train::config::Experiment;
use sdlab::train::directory::{Opening, RunDirectory};
use sdlab::train::session::{Prepared, train};
use std::path::Path;

/// Counts what is allocated.
#[allow(unsafe_code)]
mod allocator {
    use std::alloc::{GlobalAlloc, Layout, System};
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    struct Counting;

    static LIVE: AtomicUsize = AtomicUsize::new(0);
    static PEAK: AtomicUsize = AtomicUsize::new(0);
    static TOTAL: AtomicUsize = AtomicUsize::new(0);
    /// One count at a time: tests run side by side.
    static ALONE: Mutex<()> = Mutex::new(());

    #[global_allocator]
    static ALLOCATOR: Counting = Counting;

    // SAFETY: every call is passed on as it is; counting allocates nothing.
    unsafe impl GlobalAlloc for Counting {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            let live = LIVE.fetch_add(layout.size(), Relaxed) + layout.size();
            PEAK.fetch_max(live, Relaxed);
            TOTAL.fetch_add(layout.size(), Relaxed);
            // SAFETY: the caller keeps the contract of `alloc`.
            unsafe { System.alloc(layout) }
        }

        unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
            LIVE.fetch_sub(layout.size(), Relaxed);
            // SAFETY: the pointer came from `alloc` above, which is that of the system.
            unsafe { System.dealloc(pointer, layout) }
        }
    }

    /// Runs `prepare` and then `work` on what it has made, on one thread of computation; the most bytes held at a time during both, and all that
    /// were allocated during `work`.
    pub fn counted<T: Send>(prepare: impl FnOnce() -> T + Send, work: impl FnOnce(&mut T) + Send) -> (usize, usize) {
        let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        pool.install(|| {
            let before = LIVE.load(Relaxed);
            PEAK.store(before, Relaxed);
            let mut prepared = prepare();
            let allocated = TOTAL.load(Relaxed);
            work(&mut prepared);
            (PEAK.load(Relaxed).saturating_sub(before), TOTAL.load(Relaxed) - allocated)
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
    allocator::counted(prepare, |parts| (0..10).for_each(|_| step(parts))).1 / 10
}

#[test]
fn a_step_allocates_a_few_bytes_a_latent_whatever_the_batch_the_dimension_and_k() {
    let shape = |n_q| Shape { n_p: 128, n_r: 128, n_q };
    for of in [|k| Activation::TopK { k }, |k| Activation::BatchTopK { k }] {
        let small = bytes_of_a_step(of(8), shape(512), 256);
        for (k, n_q, rows) in [(8, 512, 1024), (32, 512, 256), (8, 2048, 256)] {
            let more = bytes_of_a_step(of(k), shape(n_q), rows);
            // Lists of what is whose have about ten bytes for each latent.
            assert!(
                more <= small + 16 * (n_q - 512),
                "{:?} n_q {n_q} batch {rows}: {more} bytes, {small} at first",
                of(k)
            );
        }
        let wide = bytes_of_a_step(of(8), Shape { n_p: 512, n_r: 512, n_q: 512 }, 256);
        assert!(wide < small + 4 * 512 && small < 16 * 512 + 1024, "{:?}: {small} and {wide} bytes", of(8));
    }
}

/// Bytes as the backend documents them, without blocks of threads, for activations with a k.
fn documented(plan: &Plan) -> usize {
    let Shape { n_p, n_r, n_q } = plan.spec.shape;
    let (n, rows, parts) = (n_p + n_r, plan.spec.batch, plan.spec.objective.scales.weights().len());
    let codes = 16 * rows * plan.activation.k().unwrap();
    let checkpoint = 12 * n_q * n;
    16 * n_q * n + 2 * n_q * n_p + 4 * rows * (n_p + n_r * parts + n_r) + codes + checkpoint
}

/// Bytes for the blocks of one thread, for what a file is written through, and for scores.
const BLOCKS: usize = 4 << 20;

#[test]
fn a_training_holds_what_is_documented_and_that_of_the_paper_is_below_a_gibibyte_and_a_half() {
    for kind in ["top-k", "batch-top-k"] {
        let text = format!(
            "[bench]\nn = 40\nn_p = 100\ninterference = 0.6\nsparsity = 0.9\nsamples = 1000\ntask = {{ kind = \"crosscoder\", sources = 2 }}\n[model]\nlatents = 3000\nactivation = {{ kind = \"{kind}\", k = 8 }}\n[train]\nbatch = 64\nsteps = 6\nlog_every = 2\ncheckpoint_every = 2"
        );
        let prepared = Prepared::new(Experiment::from_toml(&text).unwrap().check().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("run");
        let mut directory = RunDirectory::open(&run, &prepared.checked, &prepared.plan, Opening::New).unwrap().0;
        let make = || Cpu::new(prepared.plan.spec.clone());
        let work = |cpu: &mut Cpu| {
            train(&prepared, &*cpu, &mut directory, None, None, &mut ()).unwrap();
        };
        let (peak, _) = allocator::counted(make, work);
        let documented = documented(&prepared.plan);
        assert!(peak < documented + BLOCKS && peak > documented / 2, "{kind}: {peak} bytes, documented {documented}");
    }
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = [here, here.parent().unwrap()].into_iter().find(|path| path.join("configs/make.py").exists()).unwrap();
    let text = std::fs::read_to_string(path.join("configs/table1/crosscoder.toml")).unwrap();
    let experiment = Experiment::from_toml(&text).unwrap();
    let plan = experiment.check().unwrap().plan(Facts::of_bench(experiment.bench.as_ref().unwrap())).unwrap();
    assert_eq!((plan.spec.shape.n_q, plan.spec.shape.n_p, plan.spec.shape.n_r), (16_000, 1536, 1536));
    let most = documented(&plan) + 8 * BLOCKS;
    assert!(most < 3 << 29, "{most} bytes");
}
