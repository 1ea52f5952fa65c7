//! `sdlab train` as a user meets it, with processes that are interrupted and killed.

use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

const EXPERIMENT: &str = "
[bench]
n = 40
n_p = 24
interference = 0.5
sparsity = 0.9
samples = 3000
[model]
latents = 200
activation = { kind = \"top-k\", k = 6 }
[resampling]
kind = \"bricken\"
steps = [300, 700]
dead_after = 2000
[train]
batch = 64
steps = 1500
log_every = 1
checkpoint_every = 10
";

struct Place {
    folder: tempfile::TempDir,
    config: PathBuf,
}

impl Place {
    fn new(experiment: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("own.toml");
        fs::write(&config, experiment).unwrap();
        Self { folder, config }
    }

    fn run(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, run: &Path, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sdlab"));
        command.arg("train").arg(&self.config).arg("--out").arg(run).args(more).current_dir(self.folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn train(&self, run: &Path, more: &[&str]) -> Output {
        self.command(run, more).output().unwrap()
    }

    /// A training with these options is refused in one line, and nothing is begun.
    fn refuses(&self, options: &[&str], expected: &str) {
        let run = self.run("refused");
        let refused = self.train(&run, options);
        assert_eq!(status(&refused), 2, "{options:?}");
        let text = error(&refused);
        assert!(text.contains(expected), "{options:?}: {text}");
        assert!(!run.exists(), "nothing was begun");
    }
}

fn status(output: &Output) -> i32 {
    output.status.code().unwrap_or(-1)
}

fn error(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((status(output), text.lines().count()), (2, 1), "{text}");
    text
}

/// All files that must repeat.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let all = entries.map(|e| (e.file_name().into_string().unwrap(), fs::read(e.path()).unwrap()));
    all.filter(|(name, _)| name != "provenance.json" && name != "timings.jsonl").collect()
}

fn assert_same(a: &Path, b: &Path) {
    let (a, b) = (files(a), files(b));
    assert!(a.keys().eq(b.keys()), "{:?} {:?}", a.keys(), b.keys());
    a.iter().for_each(|(name, bytes)| assert!(*bytes == b[name], "{name} differs"));
}

/// Lets a process work until its run has so many records, or is done.
fn until_records(run: &Path, count: usize, child: &mut Child) {
    let begun = Instant::now();
    let records = || fs::read(run.join("metrics.jsonl")).map_or(0, |text| text.iter().filter(|b| **b == b'\n').count());
    while records() < count && child.try_wait().unwrap().is_none() {
        assert!(begun.elapsed() < Duration::from_secs(300), "no progress");
        sleep(Duration::from_millis(2));
    }
}

#[test]
fn killed_again_and_again_a_run_ends_with_the_bytes_of_an_uninterrupted_one() {
    let place = Place::new(EXPERIMENT);
    let (whole, killed) = (place.run("whole"), place.run("killed"));
    let output = place.train(&whole, &[]);
    assert_eq!(status(&output), 0, "{}", String::from_utf8_lossy(&output.stderr));
    let mut kills = 0;
    for (count, delay) in [(1, 0), (37, 1), (200, 3), (310, 0), (505, 7), (701, 2), (1100, 5), (1490, 0)] {
        let mut child = place.command(&killed, &["--resume"]).spawn().unwrap();
        until_records(&killed, count, &mut child);
        sleep(Duration::from_millis(delay));
        kills += usize::from(child.try_wait().unwrap().is_none());
        // SIGKILL: nothing of the process gets to run.
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(kills > 4, "only {kills} processes were killed while they trained");
    let output = place.train(&killed, &["--resume", "--threads", "1"]);
    assert_eq!(status(&output), 0, "{}", String::from_utf8_lossy(&output.stderr));
    assert_same(&whole, &killed);
}

#[test]
fn an_interrupt_saves_exits_with_130_and_loses_nothing() {
    let place = Place::new(EXPERIMENT);
    let (whole, interrupted) = (place.run("whole"), place.run("interrupted"));
    assert_eq!(status(&place.train(&whole, &[])), 0);
    let mut child = place.command(&interrupted, &[]).spawn().unwrap();
    until_records(&interrupted, 123, &mut child);
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(status(&output), 130, "{text}");
    assert!(text.contains("--resume goes on"), "{text}");
    assert!(interrupted.join("checkpoint.safetensors").exists() && !interrupted.join("result.json").exists());
    let output = place.train(&interrupted, &["--resume"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(status(&output) == 0 && text.contains("going on from step"), "{text}");
    assert_same(&whole, &interrupted);
}

/// Goes on with a run where no file may have more than so many blocks of 512 bytes, as on a disk that is full: a write beyond them fails, or
/// ends the process by a signal.
fn go_on_with_little_room(place: &Place, run: &Path, blocks: u64, by_a_signal: bool) -> Output {
    let ignored = if by_a_signal { "" } else { "trap '' XFSZ; " };
    let inner = place.command(run, &["--resume"]);
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("{ignored}ulimit -c 0; ulimit -f {blocks}; exec \"$0\" \"$@\""));
    command.arg(inner.get_program()).args(inner.get_args()).current_dir(place.folder.path());
    command.stdin(Stdio::null()).output().unwrap()
}

#[test]
fn where_the_disk_is_full_the_last_checkpoint_is_kept_and_nothing_is_lost() {
    let short = EXPERIMENT.replace("latents = 200", "latents = 50").replace("steps = 1500", "steps = 300");
    let short = short.replace("[300, 700]", "[70, 130]");
    // Checkpoints have 30 kB. Records have 1 kB in the end if they are seldom, else 80 kB.
    for (log_every, blocks, full) in [(100, 40, "checkpoint.safetensors"), (1, 100, "metrics.jsonl")] {
        let place = Place::new(&short.replace("log_every = 1\n", &format!("log_every = {log_every}\n")));
        let (whole, run) = (place.run("whole"), place.run("run"));
        assert_eq!(status(&place.train(&whole, &[])), 0);
        assert_eq!(status(&place.train(&run, &["--max-steps", "55"])), 0);
        let before = files(&run);
        for by_a_signal in [false, true] {
            let output = go_on_with_little_room(&place, &run, blocks, by_a_signal);
            let kept = files(&run);
            if by_a_signal {
                assert_eq!(output.status.code(), None, "{output:?}");
            } else {
                let text = error(&output);
                assert!(text.contains(&format!("{full}: cannot be written")), "{text}");
                assert!(kept.keys().all(|name| !name.ends_with(".tmp")), "{:?}", kept.keys());
            }
            if full == "metrics.jsonl" {
                // Within a line.
                assert_eq!(kept[full].len() as u64, 512 * blocks);
            } else {
                assert!(kept[full] == before[full], "{full} was touched");
            }
        }
        assert_eq!(status(&place.train(&run, &["--resume"])), 0);
        assert_same(&whole, &run);
    }
}

#[test]
fn max_steps_stops_and_the_json_says_where() {
    let place = Place::new(EXPERIMENT);
    let run = place.run("run");
    let json = |more: &[&str]| {
        let output = place.train(&run, more);
        assert_eq!(status(&output), 0, "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let dry = json(&["--json", "--dry-run"]);
    assert_eq!((dry["steps"].as_u64(), dry["parameters"].as_u64()), (Some(1500), Some(2 * 200 * 24)));
    let bytes = |what: &str| dry["memory"][what].as_u64().unwrap();
    // Parameters, two moments and a gradient, and a copy of all but the gradient.
    assert!(bytes("training") > 16 * 2 * 200 * 24 && bytes("most") - bytes("training") == 12 * 2 * 200 * 24, "{dry}");
    assert!(!run.exists());
    let part = json(&["--json", "--max-steps", "30", "--seed", "5"]);
    assert_eq!(
        (part["end"].as_str(), part["step"].as_u64(), &part["result"]),
        (Some("stopped"), Some(30), &Value::Null)
    );
    let config = fs::read_to_string(run.join("config.toml")).unwrap();
    assert_eq!(config.matches("seed = 5").count(), 2, "{config}");
    let done = json(&["--json", "--resume", "--seed", "5"]);
    assert_eq!((done["end"].as_str(), done["result"]["steps"].as_u64()), (Some("completed"), Some(1500)));
    assert!(done["result"]["scores"]["encoder"].is_object());
    // A finished run is shown again, and not trained again.
    let before = fs::metadata(run.join("checkpoint.safetensors")).unwrap().modified().unwrap();
    assert_eq!(json(&["--json", "--resume", "--seed", "5"]), done);
    assert_eq!(fs::metadata(run.join("checkpoint.safetensors")).unwrap().modified().unwrap(), before);
    assert!(error(&place.train(&run, &["--seed", "5"])).contains("holds a finished run: expected a new folder"));
    assert!(error(&place.train(&run, &["--resume"])).contains("another experiment: bench.seed is 5 there and 0 here"));
}

#[test]
fn what_cannot_be_trained_is_answered_by_one_line_and_status_2() {
    let fine = Place::new("");
    let file = fine.run("file");
    fs::write(&file, b"x").unwrap();
    assert!(error(&fine.train(&file.join("run"), &[])).contains("file/run: cannot be"));
    for more in [&["--threads", "100000"][..], &["--threads", "100000", "--dry-run"]] {
        let text = error(&fine.train(&fine.run("run"), more));
        assert!(text.contains("--threads: expected an integer from 0 to ") && text.contains("found 100000"), "{text}");
    }
    for (experiment, expected) in [
        ("[model]\nlatents = 0", "model.latents: expected an integer from 1 to 2^24, found 0"),
        ("[model]\nlatents = 8\nactivation = { kind = \"top-k\", k = 9 }", "model.activation.k: expected"),
        ("[model]\nlatent = 8", "unknown field `latent`"),
        ("[bench]\nsparsity = -0.1", "bench.sparsity: expected"),
        ("[data]\ninputs = \"absent.npy\"", "absent.npy: cannot be read"),
    ] {
        let place = Place::new(experiment);
        let run = place.run("run");
        let output = place.train(&run, &[]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(status(&output) == 2 && text.contains(expected) && text.contains("own.toml"), "{text}");
        assert!(!run.exists(), "{experiment}");
    }
}

/// 64 ranks with 2^24 latents each would take 28 TB.
#[cfg(target_os = "linux")]
#[test]
fn what_no_machine_can_hold_is_refused_in_one_line_before_anything_is_begun() {
    let place = Place::new("[bench]\nn = 6\nn_p = 512\n[model]\nlatents = 16777216\n[train]\nranks = 64");
    let run = place.run("run");
    for more in [&["--dry-run"][..], &[]] {
        let text = error(&place.train(&run, more));
        assert!(text.contains("own.toml: model.latents: expected a training that fits the memory"), "{text}");
        assert!(!run.exists(), "something was begun");
    }
}

/// Where there is a driver, the device may be used or be refused, which is not looked at here.
#[test]
fn without_a_driver_a_gpu_is_refused_in_one_line_and_auto_goes_on_without() {
    let has_driver = ["libcuda.so", "libcuda.so.1"].iter().any(|name| {
        let folders =
            ["/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/lib/wsl/lib", "/usr/local/cuda/compat"];
        folders.iter().any(|folder| Path::new(folder).join(name).exists())
    });
    if has_driver {
        return;
    }
    let place = Place::new(&EXPERIMENT.replace("1500", "5").replace("steps = [300, 700]", "steps = [3]"));
    let expected = "--device cuda: the CUDA driver (libcuda) was not found; install an NVIDIA driver";
    place.refuses(&["--device", "cuda"], expected);
    let (auto, cpu) = (place.run("auto"), place.run("cpu"));
    let output = place.train(&auto, &["--device", "auto"]);
    assert_eq!(status(&output), 0, "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said.matches("training on the processor: the CUDA driver (libcuda) was not found").count(), 1, "{said}");
    assert_eq!(status(&place.train(&cpu, &[])), 0);
    assert_same(&auto, &cpu);
    // What it would take is known without a device.
    let dry = place.train(&place.run("dry"), &["--device", "cuda", "--dry-run", "--json"]);
    let dry: Value = serde_json::from_slice(&dry.stdout).unwrap();
    let bytes = dry["memory"]["training"].as_u64().unwrap();
    // Parameters, two moments and a gradient, and 32 MiB for dense products.
    assert!(bytes > 16 * 2 * 200 * 24 + (32 << 20) && dry["memory"].get("free").is_none(), "{dry}");
    let refused = Command::new(env!("CARGO_BIN_EXE_sdlab")).args(["device", "check"]).output().unwrap();
    assert!(error(&refused).contains("device: the CUDA driver (libcuda) was not found; install"), "{refused:?}");
}

/// What the loader was asked for: glibc says so.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
fn libraries_of_a_gpu_are_looked_for_only_where_one_is_asked_for() {
    let place = Place::new(&EXPERIMENT.replace("1500", "5").replace("steps = [300, 700]", "steps = [3]"));
    let looked_for = |mut command: Command| {
        let output = command.env("LD_DEBUG", "libs").output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("libc.so"), "the loader says what it looks for: {said}");
        ["libcuda", "libnvrtc", "libcublasLt", "libnccl"].map(|name| said.contains(name))
    };
    let train = |name: &str, more: &[&str]| looked_for(place.command(&place.run(name), more));
    assert_eq!(train("plain", &[]), [false; 4]);
    assert_eq!(train("cpu", &["--device", "cpu", "--dry-run"]), [false; 4]);
    let mut claims = Command::new(env!("CARGO_BIN_EXE_sdlab"));
    claims.arg("claims");
    assert_eq!(looked_for(claims), [false; 4]);
    assert!(train("cuda", &["--device", "cuda"])[0], "the driver is looked for where it is asked for");
}

#[test]
fn a_damaged_checkpoint_is_refused_in_one_line_and_left_alone() {
    let place = Place::new(EXPERIMENT);
    let run = place.run("run");
    assert_eq!(status(&place.train(&run, &["--max-steps", "20"])), 0);
    let checkpoint = run.join("checkpoint.safetensors");
    let bytes = fs::read(&checkpoint).unwrap();
    fs::write(&checkpoint, &bytes[..bytes.len() / 2]).unwrap();
    let before = files(&run);
    let text = error(&place.train(&run, &["--resume"]));
    assert!(text.contains("checkpoint.safetensors: tensors: expected") && text.contains("cut off"), "{text}");
    assert_eq!(files(&run), before);
}

#[test]
fn ten_samples_of_ones_own_train_and_a_hole_is_named() {
    let place = Place::new(
        "[data]\ninputs = \"x.npy\"\n[model]\nlatents = 5\nactivation = { kind = \"top-k\", k = 2 }\n[train]\nsteps = 50",
    );
    let write = |hole: Option<usize>| {
        let mut header = b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (10, 3), }".to_vec();
        header.resize(127, b' ');
        header.push(b'\n');
        let number = |k: usize| if hole == Some(k) { f32::NAN } else { (k as f32).cos() };
        header.extend((0..30).flat_map(|k| number(k).to_le_bytes()));
        fs::write(place.run("x.npy"), header).unwrap();
    };
    write(None);
    let output = place.train(&place.run("run"), &[]);
    assert_eq!(status(&output), 0, "{}", String::from_utf8_lossy(&output.stderr));
    write(Some(16));
    let text = error(&place.train(&place.run("other"), &[]));
    assert!(text.contains("row 5, column 1: expected a finite number"), "{text}");
}

#[test]
fn ranks_that_do_not_fit_a_device_are_refused_in_one_line_before_anything_is_begun() {
    let place = Place::new(&EXPERIMENT.replace("log_every = 1\n", "log_every = 1\nranks = 2\n"));
    let meeting = place.run("meeting").display().to_string();
    for (options, expected) in [
        (vec!["--device", "cuda"], "2 ranks are as many processes, each with a --rank from 0 and the same --meeting"),
        (vec!["--device", "cuda", "--rank", "2", "--meeting", &meeting], "expected less than the 2 of train.ranks"),
        (vec!["--device", "reference"], "train.ranks: expected 1 unless --device is cpu or cuda, found 2"),
        (vec!["--rank", "0", "--meeting", &meeting], "--rank: expected --device cuda"),
        (vec!["--screen", "bf16"], "--screen: expected --device cuda or auto"),
    ] {
        place.refuses(&options, expected);
    }
}

#[test]
fn moments_that_only_a_gpu_can_store_are_refused_elsewhere_before_anything_is_begun() {
    let place = Place::new(&EXPERIMENT.replace("log_every = 1\n", "log_every = 1\nmoments = \"bf16\"\n"));
    for options in [vec![], vec!["--device", "reference"]] {
        place.refuses(&options, "train.moments: expected \"f32\" unless --device is cuda, found \"bf16\"");
    }
}

#[test]
fn a_top_k_by_a_product_is_refused_without_a_gpu_and_beside_a_screen() {
    let place = Place::new(&EXPERIMENT.replace("log_every = 1\n", "log_every = 1\nselect_by = \"bf16\"\n"));
    for (options, expected) in [
        (vec![], "train.select_by: expected \"score\" unless --device is cuda, found \"bf16\""),
        (vec!["--device", "reference"], "train.select_by: expected \"score\" unless --device is cuda"),
        (vec!["--device", "cuda", "--screen", "bf16"], "--screen: expected train.select_by = \"score\""),
    ] {
        place.refuses(&options, expected);
    }
}

#[test]
fn rows_that_only_a_gpu_can_gather_in_bf16_are_refused_elsewhere() {
    let place = Place::new(&EXPERIMENT.replace("log_every = 1\n", "log_every = 1\ngather = \"bf16\"\n"));
    for options in [vec![], vec!["--device", "reference"]] {
        place.refuses(&options, "train.gather: expected \"f32\" unless --device is cuda, found \"bf16\"");
    }
}

#[test]
fn two_ranks_train_into_one_folder_and_repeat_byte_for_byte() {
    let ranks = EXPERIMENT.replace("1500", "30").replace("steps = [300, 700]", "steps = [10]");
    let place = Place::new(&ranks.replace("log_every = 1\n", "log_every = 1\nranks = 2\n"));
    let (whole, parts) = (place.run("whole"), place.run("parts"));
    assert_eq!(status(&place.train(&whole, &[])), 0);
    assert_eq!(status(&place.train(&parts, &["--max-steps", "13", "--threads", "1"])), 0);
    assert_eq!(status(&place.train(&parts, &["--resume"])), 0);
    assert_same(&whole, &parts);
    assert!(fs::read_to_string(whole.join("provenance.json")).unwrap().contains("2 ranks"));
}

#[test]
fn latents_on_several_ranks_train_into_one_folder_and_go_on_on_one() {
    let place = Place::new(&EXPERIMENT.replace("1500", "30").replace("steps = [300, 700]", "steps = [10]"));
    let (whole, parts, mixed) = (place.run("whole"), place.run("parts"), place.run("mixed"));
    assert_eq!(status(&place.train(&whole, &["--shard-latents", "2"])), 0);
    assert_eq!(status(&place.train(&parts, &["--shard-latents", "2", "--max-steps", "13"])), 0);
    assert_eq!(status(&place.train(&parts, &["--shard-latents", "2", "--resume"])), 0);
    assert_same(&whole, &parts);
    assert!(fs::read_to_string(whole.join("provenance.json")).unwrap().contains("2 ranks with a part of the latents"));
    assert_eq!(status(&place.train(&mixed, &["--max-steps", "13"])), 0);
    assert_eq!(status(&place.train(&mixed, &["--shard-latents", "3", "--max-steps", "20", "--resume"])), 0);
    assert_eq!(status(&place.train(&mixed, &["--resume"])), 0);
    assert!(mixed.join("result.json").exists());
}

#[test]
fn latents_that_cannot_be_divided_are_refused_in_one_line_before_anything_is_begun() {
    let shared = EXPERIMENT.replace("log_every = 1\n", "log_every = 1\nranks = 2\n");
    for (experiment, options, expected) in [
        (EXPERIMENT, vec!["--device", "reference"], "--shard-latents: expected --device cpu or cuda"),
        (EXPERIMENT, vec!["--device", "auto"], "--shard-latents: expected --device cpu or cuda"),
        (&shared, vec![], "--shard-latents: expected 1 as train.ranks, whose ranks share batches, found 2"),
        (
            "[model]\nlatents = 1\nactivation = { kind = \"relu\" }",
            vec![],
            "expected at most the 1 of model.latents, found 2",
        ),
        (EXPERIMENT, vec!["--device", "cuda"], "2 ranks are as many processes, each with a --rank from 0"),
        (EXPERIMENT, vec!["--device", "cuda", "--rank", "2", "--meeting", "m"], "less than the 2 of --shard-latents"),
        (EXPERIMENT, vec!["--rank", "0", "--meeting", "m"], "--rank: expected --device cuda"),
    ] {
        let place = Place::new(experiment);
        place.refuses(&[&["--shard-latents", "2"][..], &options].concat(), expected);
    }
}

#[test]
fn the_memory_of_a_rank_with_a_part_of_the_latents_is_foretold() {
    let place = Place::new(EXPERIMENT);
    let foretold = |options: &[&str]| {
        let output = place.train(&place.run("run"), &[options, &["--dry-run", "--json"]].concat());
        assert_eq!(status(&output), 0, "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()["memory"].clone()
    };
    let [one, two, gpu, half] =
        [&[][..], &["--shard-latents", "2"], &["--device", "cuda"], &["--device", "cuda", "--shard-latents", "2"]]
            .map(foretold);
    assert!(one["rank"].is_null() && two["rank"].as_u64() < one["training"].as_u64(), "{one}, {two}");
    assert!(half["training"].as_u64() < gpu["training"].as_u64(), "{gpu}, {half}");
}
