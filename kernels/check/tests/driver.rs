//! The layer that calls the driver, the compiler of kernels and cuBLASLt, on a library that stands in for all three: `kernels/shim/driver.cpp`.
//!
//! The loader takes its paths from the environment that a program starts with, so each test is another process of this program.
#![cfg(all(unix, not(feature = "address")))]
#![allow(unsafe_code)]

use sdlab_kernels::backend::cuda::check::{CHECKS, Settings};
use sdlab_kernels::backend::cuda::raw::WORKSPACE;
use sdlab_kernels::backend::cuda::{Cuda, Device, Driver, Encoder, Memory, Options, Room, Samples, timing};
use sdlab_kernels::backend::{Backend, Gather, Half, HostOptState, Mode, Moments, Rows, SelectBy, Spec, conformance};
use sdlab_kernels::sdl::{Activation, AuxK, AuxTarget, Init, Model, Objective, Scales, Shape};
use sdlab_kernels::shim::Shim;
use std::cell::Cell;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};

/// Where the stand-in is, under the names of the libraries.
const STAND_IN: &str = env!("SDLAB_STAND_IN_FOLDER");
/// Says that this process is the one with the stand-in.
const WITHIN: &str = "SDLAB_WITHIN";

/// A test of this program with the stand-in, which obeys `setting`, from a folder of libraries.
fn run(test: &str, setting: &str, libraries: &Path, cache: &Path) -> Output {
    Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(WITHIN, "1")
        .env("SDLAB_STAND_IN", setting)
        .env("LD_LIBRARY_PATH", libraries)
        .env("XDG_CACHE_HOME", cache)
        .output()
        .expect("another process")
}

/// The line that a process prints of what it has found.
fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find_map(|line| Some(line.split_once("found: ")?.1));
    match (output.status.success(), line) {
        (true, Some(line)) => line.to_owned(),
        _ => panic!("{}\n{text}\n{}", output.status, String::from_utf8_lossy(&output.stderr)),
    }
}

fn is_within() -> bool {
    std::env::var_os(WITHIN).is_some()
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

/// How often the stand-in was asked for something, or what it still holds.
fn of_stand_in(question: &str, name: &str) -> u64 {
    // SAFETY: the functions have these types, and the library stays open.
    unsafe {
        let library = libloading::Library::new(format!("{STAND_IN}/libcuda.so")).expect("the stand-in");
        let library = Box::leak(Box::new(library));
        if name.is_empty() {
            let ask = library.get::<unsafe extern "C" fn() -> u64>(question).expect("a function");
            return ask();
        }
        let name = std::ffi::CString::new(name).expect("a name");
        let ask = library.get::<unsafe extern "C" fn(*const std::ffi::c_char) -> u64>(question).expect("a function");
        ask(name.as_ptr())
    }
}

fn calls(name: &str) -> u64 {
    of_stand_in("sdlab_stand_in_calls", name)
}

const SHAPE: Shape = Shape { n_p: 21, n_r: 13, n_q: 40 };
const BATCH: usize = 9;
const STEPS: u32 = 5;

fn numbers(count: usize, seed: u32) -> Vec<f32> {
    (0..count as u32).map(|k| (k.wrapping_mul(2_654_435_761).wrapping_add(seed * 97) as f32 * 1e-7).sin()).collect()
}

fn spec(activation: Activation) -> Spec {
    let mut spec = Spec::plain(SHAPE, BATCH);
    spec.objective = Objective {
        aux: Some(AuxK { k: 3, weight: 0.3, dead_after: 10, target: AuxTarget::Residual }),
        scales: match activation {
            Activation::TopK { .. } => Scales::TopK { ks: vec![1, 4], weights: vec![0.5, 1.0] },
            _ => Scales::Prefixes { sizes: vec![10, 40], weights: vec![0.5, 1.0] },
        },
        ..spec.objective
    };
    spec.reconstructs_its_input = false;
    spec.optimizer.clip = 0.5;
    spec
}

/// A short training as the loop of training does it, with samples of the host that come anew for every step.
fn trained<D: Device>(device: D, activation: Activation, options: Options) -> Result<(Model, HostOptState), String> {
    let backend = Cuda::on(device, spec(activation), options);
    let mut params = backend.params(&Init { input_bias: true, ..Init::default() }.model(SHAPE, activation, 3));
    let mut opt = backend.opt_state(&params);
    let (mut batch, mut codes, mut grads) = (backend.batch(), backend.codes(), backend.grads(&params));
    for step in 0..STEPS {
        // The last batch of an epoch is shorter.
        let rows = if step == 3 { BATCH - 2 } else { BATCH };
        let (mut inputs, mut targets) = (numbers(rows * SHAPE.n_p, step), numbers(rows * SHAPE.n_r, step + 10));
        backend.load(Rows { inputs: &inputs, targets: &targets, weights: None }, &mut batch);
        // They are the caller's again.
        inputs.fill(f32::NAN);
        targets.fill(f32::NAN);
        backend.as_one(Half::Look, &mut || {
            backend.encode_select(&params, &opt, &batch, Mode::Training, &mut codes);
            backend.decode_residual(&params, &batch, &mut codes);
            backend.backward(&params, &batch, &mut codes, &mut grads);
        });
        backend.as_one(Half::Update, &mut || backend.step(&mut params, &mut opt, &codes, &mut grads));
    }
    let found = (backend.model(&params), backend.save(&opt));
    backend.failure().map_or(Ok(found), Err)
}

const ACTIVATIONS: [Activation; 3] =
    [Activation::TopK { k: 4 }, Activation::JumpRelu { theta: 0.1, bandwidth: 0.3 }, Activation::BatchTopK { k: 4 }];

fn options(graphs: bool) -> Options {
    Options { encoder: Encoder::Bf16, candidates: Some(16), graphs }
}

/// What a training has found, in short.
fn digest(found: &(Model, HostOptState)) -> String {
    let text = format!("{found:?}");
    assert!(!text.contains("NaN"), "numbers of the caller after they were given");
    let mix = |sum: u64, byte: u8| (sum ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
    format!("{:016x}", text.bytes().fold(0xCBF2_9CE4_8422_2325, mix))
}

#[test]
fn a_training_has_the_bits_of_the_kernels_in_every_order_of_work_with_graphs_and_without() {
    let test = "a_training_has_the_bits_of_the_kernels_in_every_order_of_work_with_graphs_and_without";
    if is_within() {
        for graphs in [true, false] {
            let mut found = Vec::new();
            for activation in ACTIVATIONS {
                let driver = Driver::open(0).expect("the stand-in");
                let before = ["cuGraphLaunch", "cuGraphInstantiateWithFlags", "cuLaunchKernel"].map(calls);
                found.push(digest(&trained(&driver, activation, options(graphs)).expect("a training")));
                let after = ["cuGraphLaunch", "cuGraphInstantiateWithFlags", "cuLaunchKernel"].map(calls);
                // All steps but the first, in two halves, each of which keeps its shape.
                let expected = if graphs { [2 * (u64::from(STEPS) - 1), 2] } else { [0, 0] };
                assert_eq!([after[0] - before[0], after[1] - before[1]], expected, "{activation:?}");
                assert!(after[2] > before[2], "kernels were launched");
            }
            println!("found: {}", found.join(" "));
        }
        assert_eq!(of_stand_in("sdlab_stand_in_held", ""), 0, "bytes that were not given back");
        assert_eq!(of_stand_in("sdlab_stand_in_handles", ""), 0, "handles that were not given back");
        return;
    }
    let on_shim = |activation| trained(Shim::new(256, 0), activation, options(false)).expect("a training");
    let expected: Vec<String> = ACTIVATIONS.into_iter().map(|activation| digest(&on_shim(activation))).collect();
    let cache = folder();
    for seed in 0..8 {
        let output = run(test, &format!("seed={seed}"), Path::new(STAND_IN), cache.path());
        assert_eq!(said(&output), expected.join(" "), "order {seed}");
        let found = String::from_utf8_lossy(&output.stdout).matches("found: ").count();
        assert_eq!(found, 2, "with graphs and without");
        assert!(String::from_utf8_lossy(&output.stdout).matches(&expected.join(" ")).count() == 2, "order {seed}");
    }
}

#[test]
fn a_step_waits_for_nothing() {
    let test = "a_step_waits_for_nothing";
    if is_within() {
        let driver = Driver::open(0).expect("the stand-in");
        let activation = Activation::TopK { k: 4 };
        let backend = Cuda::on(&driver, spec(activation), options(true));
        let mut params = backend.params(&Init::default().model(SHAPE, activation, 3));
        let mut opt = backend.opt_state(&params);
        let (mut batch, mut codes, mut grads) = (backend.batch(), backend.codes(), backend.grads(&params));
        let (inputs, targets) = (numbers(BATCH * SHAPE.n_p, 1), numbers(BATCH * SHAPE.n_r, 2));
        for _ in 0..4 {
            let before = ["cuStreamSynchronize", "cuMemcpyDtoHAsync_v2"].map(calls);
            backend.load(Rows { inputs: &inputs, targets: &targets, weights: None }, &mut batch);
            backend.as_one(Half::Look, &mut || {
                backend.encode_select(&params, &opt, &batch, Mode::Training, &mut codes);
                backend.decode_residual(&params, &batch, &mut codes);
                backend.backward(&params, &batch, &mut codes, &mut grads);
            });
            backend.as_one(Half::Update, &mut || backend.step(&mut params, &mut opt, &codes, &mut grads));
            assert_eq!(["cuStreamSynchronize", "cuMemcpyDtoHAsync_v2"].map(calls), before);
        }
        assert!(backend.observe(&params, &codes, &grads).loss.is_finite());
        assert!(calls("cuStreamSynchronize") > 0, "what waits is counted");
        println!("found: nothing");
        return;
    }
    assert_eq!(said(&run(test, "seed=1", Path::new(STAND_IN), folder().path())), "nothing");
}

/// Opens the stand-in and says in one line what is wrong with it.
fn opened() -> String {
    match Driver::open(0) {
        Ok(driver) => driver.describe(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn what_is_missing_or_too_old_is_said_in_one_line() {
    let test = "what_is_missing_or_too_old_is_said_in_one_line";
    if is_within() {
        println!("found: {}", opened().replace('\n', "<a line>"));
        return;
    }
    // Libraries, the setting, and what is said.
    let all = ["libcuda.so", "libnvrtc.so", "libcublasLt.so"];
    let cases: [(&[&str], &str, &str); 13] = [
        (&all, "", "stand-in"),
        (&all, "no-device", "the CUDA driver finds no device"),
        (&all, "driver=11080", "the CUDA driver: it is for CUDA 11.8, 12.0 is needed: install a newer one"),
        (&all, "products=110501", "cuBLASLt: it is version 11.5, 12.0 is needed: install a newer one"),
        (
            &all,
            "compiler=11",
            "the kernels cannot be built: the compiler (libnvrtc) is version 11.0; install a CUDA toolkit",
        ),
        (
            &all,
            "driver=12080,products=120803",
            "the CUDA driver: it serves CUDA 12.8, and the compiler of kernels (libnvrtc) is of CUDA 13.0: install a driver for CUDA 13.0 or later, or the \
             libraries of CUDA 12",
        ),
        (
            &all,
            "driver=12080,compiler=12",
            "the CUDA driver: it serves CUDA 12.8, and cuBLASLt is of CUDA 13.0: install a driver for CUDA 13.0",
        ),
        (&all, "driver=12080,compiler=12,products=120803", "stand-in"),
        (&all, "driver=13000,compiler=12,products=120803", "stand-in"),
        (&all, "refuse", "the kernels cannot be built: "),
        (&all, "memory=1000", "33554432 bytes cannot be allocated on the device"),
        (&all[..1], "", "the compiler of kernels (libnvrtc) was not found; install "),
        (&all[..2], "", "cuBLASLt (libcublasLt) was not found; install "),
    ];
    for (libraries, setting, expected) in cases {
        let (place, cache) = (folder(), folder());
        for name in libraries {
            symlink(Path::new(STAND_IN).join("libcuda.so"), place.path().join(name)).expect("a link");
        }
        let found = said(&run(test, setting, place.path(), cache.path()));
        assert!(found.starts_with(expected) && !found.contains("<a line>"), "{libraries:?} {setting}: {found}");
    }
    // A library that lacks every function.
    for old in all {
        let (place, cache) = (folder(), folder());
        for name in all {
            let of = if name == old { "empty.so" } else { "libcuda.so" };
            symlink(Path::new(STAND_IN).join(of), place.path().join(name)).expect("a link");
        }
        let output = run(test, "", place.path(), cache.path());
        let found = said(&output);
        assert!(found.contains("is too old, install a newer one") && !found.contains("<a line>"), "{old}: {found}");
        assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"), "{old}");
    }
}

#[test]
fn any_call_may_fail_and_becomes_one_line() {
    let test = "any_call_may_fail_and_becomes_one_line";
    if is_within() {
        let found = match Driver::open(0) {
            Ok(driver) => {
                driver.time_kernels(true);
                let room = driver.room().map_err(|error| error.to_string());
                let found = room.and_then(|_| trained(&driver, Activation::TopK { k: 4 }, options(true)));
                let times = found.and_then(|_| driver.times().map_err(|error| error.to_string()));
                times.map(|_| "a training".to_owned())
            }
            Err(error) => Err(error.to_string()),
        };
        println!("found: {}", found.unwrap_or_else(|error| format!("error: {error}")).replace('\n', "<a line>"));
        return;
    }
    let cache = folder();
    // Which call of each function fails: the first, and for those that are called at every step a late one.
    let failing = [
        ("cuInit", vec![1]),
        ("cuDriverGetVersion", vec![1]),
        ("cuDeviceGet", vec![1]),
        ("cuDeviceGetName", vec![1]),
        ("cuDeviceGetAttribute", vec![1, 2]),
        ("cuDevicePrimaryCtxRetain", vec![1]),
        ("cuCtxSetCurrent", vec![1]),
        ("cuStreamCreate", vec![1, 2]),
        ("nvrtcVersion", vec![1]),
        ("nvrtcCreateProgram", vec![1]),
        ("nvrtcCompileProgram", vec![1]),
        ("nvrtcGetCUBINSize", vec![1]),
        ("nvrtcGetCUBIN", vec![1]),
        ("cuModuleLoadData", vec![1]),
        ("cuModuleGetFunction", vec![1, 5]),
        ("cublasLtCreate", vec![1]),
        ("cuMemAllocAsync", vec![1, 2, 30]),
        ("cuMemsetD8Async", vec![1, 40]),
        ("cuMemcpyHtoDAsync_v2", vec![1, 5]),
        ("cuLaunchKernel", vec![1, 20]),
        ("cublasLtMatrixLayoutCreate", vec![1, 3]),
        ("cublasLtMatmulDescCreate", vec![1]),
        ("cublasLtMatmulDescSetAttribute", vec![1]),
        ("cublasLtMatmulPreferenceCreate", vec![1]),
        ("cublasLtMatmulPreferenceSetAttribute", vec![1]),
        ("cublasLtMatmulAlgoGetHeuristic", vec![1]),
        ("cublasLtMatmul", vec![1, 2]),
        ("cuMemHostAlloc", vec![1, 2]),
        ("cuMemGetInfo_v2", vec![1]),
        ("cuEventElapsedTime", vec![1, 5]),
        ("cuEventCreate", vec![1, 2]),
        ("cuEventRecord", vec![1, 4]),
        ("cuEventSynchronize", vec![1]),
        ("cuStreamWaitEvent", vec![1, 4]),
        ("cuStreamBeginCapture_v2", vec![1, 3]),
        ("cuStreamEndCapture", vec![1]),
        ("cuGraphInstantiateWithFlags", vec![1]),
        ("cuGraphLaunch", vec![1, 3]),
        ("cuMemcpyDtoHAsync_v2", vec![1]),
        ("cuStreamSynchronize", vec![1]),
    ];
    for (name, calls) in failing {
        for call in calls {
            // What was built before would hide the compiler.
            let own = folder();
            let place = if name.starts_with("nvrtc") || name.starts_with("cuModule") { &own } else { &cache };
            let output = run(test, &format!("fail={name}:{call}"), Path::new(STAND_IN), place.path());
            let found = said(&output);
            assert!(found.starts_with("error: ") && !found.contains("<a line>"), "{name} {call}: {found}");
            assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"), "{name} {call}");
        }
    }
    // An update of a graph that fails costs a new graph, no more.
    let found = said(&run(test, "fail=cuGraphExecUpdate_v2:1", Path::new(STAND_IN), cache.path()));
    assert_eq!(found, "a training");
}

#[test]
fn kernels_are_built_once_and_again_where_what_was_kept_is_damaged() {
    let test = "kernels_are_built_once_and_again_where_what_was_kept_is_damaged";
    if is_within() {
        drop(Driver::open(0).expect("the stand-in"));
        println!("found: {}", calls("nvrtcCompileProgram"));
        return;
    }
    let cache = folder();
    let built = || said(&run(test, "", Path::new(STAND_IN), cache.path()));
    assert_eq!([built(), built()], ["1", "0"]);
    let kept: Vec<_> = std::fs::read_dir(cache.path().join("sdlab")).expect("what was kept").flatten().collect();
    assert_eq!(kept.len(), 1);
    std::fs::write(kept[0].path(), "damaged").expect("a damaged file");
    assert_eq!([built(), built()], ["1", "0"]);
    // A cache that cannot be written costs time, nothing else.
    std::fs::remove_dir_all(cache.path().join("sdlab")).expect("no cache");
    std::fs::write(cache.path().join("sdlab"), "a file in its place").expect("a file");
    assert_eq!([built(), built()], ["1", "1"]);
}

#[test]
fn what_a_device_checks_of_itself_agrees_and_a_fault_is_told() {
    let test = "what_a_device_checks_of_itself_agrees_and_a_fault_is_told";
    if is_within() {
        let driver = Driver::open(0).expect("the stand-in");
        let outcomes: Vec<String> = CHECKS
            .iter()
            .map(|check| {
                let outcome = check.run(&driver, Settings { seed: 3, every: 100, small: true });
                let has_numbers = ["products", "repeat"].contains(&check.name);
                assert!(outcome.deviates.is_some() || outcome.found.is_empty() != has_numbers, "{}", check.name);
                outcome.deviates.unwrap_or_else(|| "agrees".to_owned()).replace('\n', "<a line>")
            })
            .collect();
        println!("found: {}", outcomes.join("; "));
        return;
    }
    let cache = folder();
    let found = |setting: &str| said(&run(test, setting, Path::new(STAND_IN), cache.path()));
    assert_eq!(found("seed=2"), ["agrees"; CHECKS.len()].join("; "));
    // The first product fails, and nothing is done any more.
    let failed = found("fail=cublasLtMatmul:2");
    assert!(failed.starts_with("cuBLASLt: ") && !failed.contains("<a line>"), "{failed}");
}

#[test]
fn kernels_are_timed_by_operation_only_where_that_is_asked_for() {
    let test = "kernels_are_timed_by_operation_only_where_that_is_asked_for";
    if is_within() {
        let driver = Driver::open(0).expect("the stand-in");
        trained(&driver, Activation::TopK { k: 4 }, options(false)).expect("a training");
        assert_eq!((driver.times(), calls("cuEventElapsedTime")), (Ok(Vec::new()), 0));
        // What was freed may still be in use.
        driver.wait().expect("the stand-in");
        let before = of_stand_in("sdlab_stand_in_held", "");
        let (shape, options) = (Shape { n_p: 8, n_r: 8, n_q: 40 }, options(true));
        let (moments, select_by, gather) = (Moments::F32, SelectBy::Score, Gather::Bf16);
        let settings = timing::Settings {
            shape,
            k: 4,
            batch: 24,
            moments,
            select_by,
            gather,
            options,
            before: 0,
            times: 2,
            steps: 2,
        };
        let timed = timing::time(&driver, &settings).expect("times");
        assert!(timed.steps.len() == 2 && timed.steps.iter().all(|step| *step > 0.0));
        // Small arrays that do not grow with a model are not counted.
        assert!(timed.taken.abs_diff(timed.said) < 8192, "{timed:?}");
        let of = |phase: &str, name: &str| {
            let found = timed.kernels.iter().find(|time| time.phase == phase && time.name == name);
            found.unwrap_or_else(|| panic!("{phase}, {name}: {:?}", timed.kernels)).calls
        };
        // One for each of the two matrices.
        let calls =
            [("encode", "cuBLASLt in bf16"), ("decode", "decode"), ("backward", "backward"), ("update", "update_rows")];
        assert_eq!(calls.map(|(phase, name)| of(phase, name)), [1, 1, 1, 2]);
        assert!(timed.kernels.iter().all(|time| time.seconds > 0.0 && !time.phase.is_empty()));
        driver.wait().expect("the stand-in");
        assert_eq!(of_stand_in("sdlab_stand_in_held", ""), before);
        drop(driver);
        assert_eq!(of_stand_in("sdlab_stand_in_handles", ""), 0, "events that were not given back");
        println!("found: times");
        return;
    }
    assert_eq!(said(&run(test, "seed=5", Path::new(STAND_IN), folder().path())), "times");
}

#[test]
fn what_a_training_will_take_is_what_the_device_has_less_of() {
    let test = "what_a_training_will_take_is_what_the_device_has_less_of";
    if is_within() {
        let driver = Driver::open(0).expect("the stand-in");
        let room = || driver.room().expect("the memory of the stand-in");
        assert_eq!(Room::of(0).expect("a device").total, room().total);
        let mut found = Vec::new();
        for activation in ACTIVATIONS {
            let (own, spec) = (options(true), spec(activation));
            let init = Init { input_bias: true, ..Init::default() };
            let said = Memory::of(&spec, &own, activation, &init.parameters(&activation), Samples::Host).training();
            let before = room().free;
            let backend = Cuda::on(&driver, spec, own);
            let mut params = backend.params(&init.model(SHAPE, activation, 3));
            let mut opt = backend.opt_state(&params);
            let (mut batch, mut codes, mut grads) = (backend.batch(), backend.codes(), backend.grads(&params));
            let (inputs, targets) = (numbers(BATCH * SHAPE.n_p, 1), numbers(BATCH * SHAPE.n_r, 2));
            backend.load(Rows { inputs: &inputs, targets: &targets, weights: None }, &mut batch);
            backend.encode_select(&params, &opt, &batch, Mode::Training, &mut codes);
            backend.decode_residual(&params, &batch, &mut codes);
            backend.backward(&params, &batch, &mut codes, &mut grads);
            backend.step(&mut params, &mut opt, &codes, &mut grads);
            let taken = before - room().free + WORKSPACE as u64;
            // Small arrays that do not grow with a model are not counted.
            assert!(taken.abs_diff(said) < 4096, "{activation:?}: {taken} taken, {said} said");
            found.push("as said");
        }
        println!("found: {}", found.join(" "));
        return;
    }
    assert_eq!(
        said(&run(test, "seed=0,memory=1000000000", Path::new(STAND_IN), folder().path())),
        "as said as said as said"
    );
}

#[test]
fn a_part_of_the_suite_holds() {
    let test = "a_part_of_the_suite_holds";
    if is_within() {
        let driver = Driver::open(0).expect("the stand-in");
        let candidates = Cell::new(12);
        conformance::every(
            24,
            5,
            |_| true,
            |spec| {
                candidates.set(candidates.get() + 1);
                Cuda::on(&driver, spec, Options { candidates: Some(candidates.get()), ..options(true) })
            },
        );
        println!("found: a backend");
        return;
    }
    assert_eq!(said(&run(test, "seed=2", Path::new(STAND_IN), folder().path())), "a backend");
}
