#!/usr/bin/env python3
"""Answers on one GPU, in one run of minutes, what cannot be answered without: does it compute what it should, how fast, and beside which peers.

    python3 benches/gpu/run.py --sdlab target/release/sdlab --out target/gpu [--only STEP,..] [--seconds 840] [--libraries FOLDER,..] [--tiny]

It needs the program, Python 3.9 or later, an NVIDIA driver, and NVRTC and cuBLASLt, which an installation of PyTorch brings; no Rust, and no network.
`strip -o NEW target/release/sdlab` makes the program ten times smaller for the way there.

| step | what |
|---|---|
| device | name, driver, versions of libraries |
| checks | products against f64, trainings bit for bit, a part of the conformance suite with every screen (`sdlab device check`) |
| small | steps of n_p = 768, n_q = 16,000, k = 64, batch 4096, kernel by kernel, by every product and screen (`sdlab device time`) |
| small-peers | the same step in PyTorch, dense, sparse by Triton, and by sparsify (benches/gpu/peers.py) |
| large | steps of n_p = 4096, n_q = 131,072, k = 64, batch 4096 |
| large-peers | the same in PyTorch |
| later | steps after 3000 others, when scores are no longer those of the start |
| table1 | the TopK rows of Table 1 at paper size, beside the stored results of the processor |
| train | the configurations of configs/gpu, some hundred steps of the command itself |
| suite | the whole conformance suite |
| sanitizer | compute-sanitizer over a small training, if it is there |

Every command has a limit of its own; what it has found is a line of OUT/results.jsonl at once, so that a run which is cut off leaves what it had. A
second run into the same folder replaces what it finds anew. At the end, and with --summary alone, OUT/summary.md has the tables.

With --tiny all sizes are small, for the stand-in of a GPU that kernels/check builds: nothing is measured then, only the way is tried.
"""

import argparse
import importlib.util
import json
import os
import pathlib
import platform
import shutil
import signal
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SIZES = {"small": (768, 16000, 64, 4096), "large": (4096, 131072, 64, 4096)}
TINY = {"small": (16, 60, 4, 24), "large": (24, 90, 4, 24)}
# How latents are selected: by a product of tensor cores, or by the score that a screen finds.
BY_PRODUCT, SCREENS = ("bf16", "tf32"), ("tf32", "f32", "bf16")
# Bars: milliseconds of a step that selects by the product in bf16, and how many times as fast as the best PyTorch step.
BARS = {"small": (1.5 * 0.35, 4.0), "large": (1.5 * 15.0, 2.0)}
# What a device reaches: bytes a second, and operations a second by precision; those of an H200.
BYTES, OPERATIONS = 4.3e12, {"bf16": 790e12, "tf32": 395e12, "f32": 60e12}


class Run:
    """Commands with limits, and lines of what they have found."""

    def __init__(self, arguments):
        self.arguments, self.out = arguments, arguments.out
        self.out.mkdir(parents=True, exist_ok=True)
        self.file = self.out / "results.jsonl"
        self.end = time.monotonic() + arguments.seconds
        found = [str(folder) for folder in libraries(arguments.libraries)]
        before = os.environ.get("LD_LIBRARY_PATH", "")
        self.environment = {**os.environ, "LD_LIBRARY_PATH": ":".join(found + ([before] if before else []))}
        # Kernels that were built are kept there, for all commands of a run.
        self.environment.setdefault("XDG_CACHE_HOME", str(self.out.resolve() / "cache"))
        self.sizes = TINY if arguments.tiny else SIZES

    def write(self, step, what, line):
        """Keeps a line at once."""
        line = {"step": step, "what": what, "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **line}
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())
        state = line.get("error") or "done"
        print(f"{step}: {what}: {state} ({line.get('seconds', 0):.1f} s)", flush=True)
        return line

    def command(self, words, limit, expected=(0,)):
        """Runs a command; its standard output, and a line that says how it ended."""
        words = [str(word) for word in words]
        line, left = {"command": " ".join(words)}, self.end - time.monotonic()
        if left < 5:
            return "", {**line, "error": "no time left"}
        # A processor in the place of a device takes what it takes.
        limit, begun = min(10 * limit if self.arguments.tiny else limit, left), time.monotonic()
        process = subprocess.Popen(
            words, cwd=ROOT, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        try:
            said, wrong = process.communicate(timeout=limit)
            if process.returncode not in expected:
                line["error"] = f"exit status {process.returncode}: {last_line(wrong or said)}"
        except subprocess.TimeoutExpired:
            # All that it has started, too.
            os.killpg(process.pid, signal.SIGKILL)
            said, wrong = process.communicate()
            line["error"] = f"stopped after {limit:.0f} s"
        with (self.out / "log.txt").open("a", encoding="utf-8") as log:
            log.write(f"$ {line['command']}\n{said}{wrong}\n")
        return said, {**line, "seconds": time.monotonic() - begun}

    def sdlab(self, step, what, words, limit, keep, expected=(0,)):
        """Runs the program with --json; keep(document) is what is kept of what it prints. Whether that went well."""
        said, line = self.command([self.arguments.sdlab, "--json", *words], limit, expected)
        if "error" not in line:
            try:
                line.update(keep(json.loads(said)))
            except (ValueError, KeyError) as error:
                line["error"] = f"what it prints is not understood: {error!r}"
        return "error" not in self.write(step, what, line)


def last_line(text):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no message"


def libraries(given):
    """Folders with libraries of CUDA: those that are given, those beside PyTorch, those of a toolkit."""
    folders = [pathlib.Path(folder).resolve() for folder in given]
    places = set()
    for package in ("nvidia", "torch"):
        try:
            spec = importlib.util.find_spec(package)
        except (ImportError, ValueError):
            spec = None
        places.update(map(pathlib.Path, (spec.submodule_search_locations if spec else None) or []))
    for place in sorted(places):
        folders += sorted({path.parent for name in ("libnvrtc.so*", "libcublasLt.so*", "libnccl.so*") for path in place.glob(f"**/{name}")})
    folders += sorted(pathlib.Path("/usr/local").glob("cuda*/lib64"))
    return list(dict.fromkeys(folders))


def device(run):
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total,clocks.max.sm,power.limit", "--format=csv,noheader"]
    said, line = run.command(query, 20) if shutil.which("nvidia-smi") else ("it is not there", {})
    run.write("device", "nvidia-smi", {"said": said.strip(), "machine": platform.platform(), "processors": os.cpu_count(), **line})
    run.sdlab("device", "sdlab", ["device"], 120, lambda document: document)


def checked(document):
    """What is kept of a check; one that deviates is no error of the command."""
    return {"device": document["device"]["name"], "seed": document["seed"], "checks": document["checks"]}


def checks(run):
    seed = int.from_bytes(os.urandom(4), "little")
    more = ["--small"] if run.arguments.tiny else []
    every = 200 if run.arguments.tiny else 16
    for name, limit in (("products", 60), ("repeat", 60), ("exact", 60), ("tf32", 60), ("bf16", 60), ("f32", 60), ("moments", 60), ("gathers", 60)):
        words = ["device", "check", name, "--every", every, "--seed", seed, *more]
        run.sdlab("checks", name, words, limit, checked, (0, 1))


def suite(run):
    for name in ("exact", "tf32", "bf16", "f32", "moments", "gathers"):
        words = ["device", "check", name, "--every", 150 if run.arguments.tiny else 1, *(["--small"] if run.arguments.tiny else [])]
        run.sdlab("suite", name, words, 240, checked, (0, 1))


def timed(run, step, size, how, limit, *more):
    n_p, n_q, k, batch = run.sizes[size]
    words = ["device", "time", "--shape", f"{n_p},{n_q},{k}", "--batch", batch, *how, *more]
    few = ["--times", 2, "--steps", 2, "--before", 0] if run.arguments.tiny else []
    what = " ".join(map(str, [size, *how, *more]))
    run.sdlab(step, what, [*words, *few], limit, lambda document: {"size": size, "more": list(map(str, more)), **document})


def small(run):
    steps = [] if run.arguments.tiny else ["--steps", 50]
    for by in BY_PRODUCT:
        timed(run, "small", "small", ["--select-by", by], 60, *steps)
    timed(run, "small", "small", ["--select-by", "bf16"], 60, "--no-graphs")
    timed(run, "small", "small", ["--select-by", "bf16"], 60, "--bf16-moments", *steps)
    timed(run, "small", "small", ["--select-by", "bf16"], 60, "--gather", "bf16", *steps)
    for screen in SCREENS:
        timed(run, "small", "small", ["--screen", screen], 60, *steps)


def large(run):
    timed(run, "large", "large", ["--select-by", "bf16"], 120)
    timed(run, "large", "large", ["--select-by", "bf16"], 120, "--bf16-moments")
    timed(run, "large", "large", ["--select-by", "bf16"], 120, "--gather", "bf16")
    timed(run, "large", "large", ["--select-by", "tf32"], 120)
    timed(run, "large", "large", ["--screen", "tf32"], 120)
    timed(run, "large", "large", ["--screen", "f32"], 120)


def later(run):
    for how in (["--select-by", "bf16"], ["--screen", "tf32"]):
        timed(run, "later", "small", how, 60, *([] if run.arguments.tiny else ["--before", 3000, "--steps", 50]))
    timed(run, "later", "large", ["--select-by", "bf16"], 150, *([] if run.arguments.tiny else ["--before", 3000]))


def peers(run, step, size, limit):
    n_p, n_q, k, batch = run.sizes[size]
    words = [sys.executable, HERE / "peers.py", "--shape", f"{n_p},{n_q},{k}", "--batch", batch]
    for row in ("sparse", "dense", "sparsify"):
        tiny = ["--tiny", "--device", "cpu"] if run.arguments.tiny else []
        said, line = run.command([*words, "--rows", row, *tiny], limit)
        lines = [json.loads(text) for text in said.splitlines() if text.startswith("{")]
        run.write(step, row, {"size": size, **line, **(lines[-1] if lines else {})})


def stored(method, anchored):
    """What the processor has found at paper size."""
    lines = (ROOT / "reports/results/full.jsonl").read_text(encoding="utf-8").splitlines()
    wanted = {"table": 1, "method": method, "anchored": anchored}
    return next((line for line in map(json.loads, lines) if line["published"] == wanted), None)


def noise(method, anchored):
    """The share of the last loss by which trainings of other seeds part: the range of five of them at small size."""
    lines = map(json.loads, (ROOT / "reports/results/small.jsonl").read_text(encoding="utf-8").splitlines())
    wanted = {"table": 1, "method": method, "anchored": anchored}
    losses = [line["trace"][-1]["loss"] for line in lines if line["published"] == wanted]
    return (max(losses) - min(losses)) / (sum(losses) / len(losses)) if losses else 0.0


def table1(run):
    folder = "configs/small/table1" if run.arguments.tiny else "configs/table1"
    for name, method, anchored, seeds in (
        ("topk", "TopK SAE", False, 3),
        ("topk-anchored", "TopK SAE", True, 3),
        ("matryoshka", "Matryoshka SAE", False, 1),
        ("transcoder", "Transcoder", False, 1),
        ("crosscoder", "Crosscoder", False, 1),
    ):
        for seed in range(1 if run.arguments.tiny else seeds):
            into = run.out / "table1" / f"{name}-{seed}"
            shutil.rmtree(into, ignore_errors=True)
            short = ["--max-steps", 2] if run.arguments.tiny else []
            words = ["train", f"{folder}/{name}.toml", "--device", "cuda", "--seed", seed, "--out", into.resolve(), *short]
            what = name if seed == 0 else f"{name}, seed {seed}"
            there = stored(method, anchored) if seed == 0 else None
            run.sdlab("table1", what, words, 60, lambda document: {"row": name, **compared(into, document, there, noise(method, anchored))})


def compared(folder, document, there, small):
    """Losses and recovery of a run on the way and at its end, beside those of the processor where that has trained the same."""
    if document["result"] is None:
        return {"end": document["end"]}
    points = [json.loads(line) for line in (folder / "trace.jsonl").read_text(encoding="utf-8").splitlines()]
    scores = document["result"]["scores"]["decoder"]["whole"]["normalised"]["all"]
    found = {"end": document["end"], "steps": document["steps"], "last_loss": points[-1]["loss"], "noise_of_small": small}
    if there is None:
        return found
    pairs = [(here, other) for here in points for other in there["trace"] if here["step"] == other["step"]]
    return {
        **found,
        "losses_apart": [(here["step"], abs(here["loss"] - other["loss"]) / other["loss"]) for here, other in pairs if other["loss"] > 0],
        "recovery": [(here["step"], here["decoder"], other["decoder"]) for here, other in pairs],
        "mip": [scores["mip"], there["decoder"]["normalised"]["mip"]],
        "l0": [document["result"]["last"]["l0"], there["l0"]],
    }


def train(run):
    """The command itself: with what it records, and what a resumed run costs."""
    for name, steps, limit in (("small", 2000, 60), ("llama", 300, 180)):
        path = ROOT / "configs/gpu" / f"{name}.toml"
        if run.arguments.tiny:
            path = ROOT / "configs/small/table1/topk.toml"
        words = ["train", path, "--device", "cuda"]
        if not run.sdlab("train", f"{name} dry run", [*words, "--dry-run"], 60, lambda document: {"memory": document["memory"]}):
            continue
        into = run.out / "train" / name
        shutil.rmtree(into, ignore_errors=True)
        words += ["--out", into.resolve(), "--max-steps", 3 if run.arguments.tiny else steps]
        run.sdlab("train", name, words, limit, lambda _: {"samples_per_second": rates(into)})
        # A checkpoint of the large model takes 13 GB.
        (into / "checkpoint.safetensors").unlink(missing_ok=True)


def rates(folder):
    path = folder / "timings.jsonl"
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    return [line["samples_per_second"] for line in lines]


def sanitizer(run):
    places = [*pathlib.Path("/usr/local").glob("cuda*/bin"), *pathlib.Path("/usr/local").glob("cuda*/compute-sanitizer")]
    for folder in libraries(run.arguments.libraries):
        places += [folder.parent / "bin", folder.parent / "compute-sanitizer", folder.parent.parent / "bin"]
    found = shutil.which("compute-sanitizer", path=os.pathsep.join([os.environ.get("PATH", ""), *map(str, places)]))
    if not found:
        run.write("sanitizer", "compute-sanitizer", {"said": "compute-sanitizer is not there"})
        return
    for tool in ("memcheck", "racecheck", "synccheck", "initcheck"):
        words = [found, "--tool", tool, "--error-exitcode", 9, run.arguments.sdlab, "device", "check", "repeat", "--small"]
        said, line = run.command(words, 90)
        run.write("sanitizer", tool, {**line, "said": last_line(said)})


STEPS = {
    "device": device,
    "checks": checks,
    "small": small,
    "small-peers": lambda run: peers(run, "small-peers", "small", 120),
    "large": large,
    "large-peers": lambda run: peers(run, "large-peers", "large", 120),
    "later": later,
    "table1": table1,
    "train": train,
    "suite": suite,
    "sanitizer": sanitizer,
}


def work(n_p, n_q, k, batch, select_by, screen, gather, bf16_moments):
    """Operations, their precision, and bytes that have to cross DRAM, of each kernel of a step; as in reports/gpu.md."""
    entries, rows = batch * k, 2 * n_p
    precision = screen or select_by
    width, most = (2 if precision == "bf16" else 4), 4 * k + 512 if screen else k
    moments = 20 if bf16_moments else 28
    halves = 2 * n_p * n_q * [precision, gather].count("bf16")
    # Bytes of a number that is gathered.
    gathered = 2 if gather == "bf16" else 4
    scored = 2 if gather == select_by == "bf16" else 4
    return {
        f"cuBLASLt in {precision}": (2 * batch * n_q * n_p, precision, width * n_p * (batch + n_q) + 4 * batch * n_q),
        "first_of_row": (0, "f32", 4 * batch * n_q),
        "candidates": (0, "f32", 4 * batch * n_q),
        "score_candidates": (2 * batch * most * n_p, "f32", scored * min(n_p * n_q, batch * most * n_p)),
        "first_of_candidates": (0, "f32", 8 * batch * most),
        "decode": (2 * entries * n_p, "f32", gathered * n_p * n_q + 16 * batch * n_p),
        "pack_rows": (0, "f32", 6 * batch * rows),
        "backward": (4 * entries * rows, "f32", gathered * rows * batch + 8 * rows * n_q),
        "gradient_squares": (2 * rows * n_q, "f32", 4 * rows * n_q),
        "update_rows": (12 * rows * n_q, "f32", moments * rows * n_q + halves),
        "update_rows_bf16": (12 * rows * n_q, "f32", moments * rows * n_q + halves),
    }


def latest(run):
    """The last line of each thing that was looked at, in the order of the steps."""
    lines = {}
    if run.file.exists():
        for text in run.file.read_text(encoding="utf-8").splitlines():
            try:
                line = json.loads(text)
            except ValueError:
                # The last one of a run that was cut off.
                continue
            lines[line["step"], line["what"]] = line
    order = list(STEPS)
    return sorted(lines.values(), key=lambda line: order.index(line["step"]) if line["step"] in order else len(order))


def ms(seconds):
    return f"{1e3 * seconds:.3f}" if seconds < 0.1 else f"{1e3 * seconds:.1f}"


def selection(line):
    """What selects, in words."""
    return f"score, {line['screen']} screen" if line["screen"] else f"product in {line['select_by']}"


def kernels(line):
    """The kernels of a step as a table, with the share of what a device reaches."""
    works = work(*(line[name] for name in ("n_p", "n_q", "k", "batch", "select_by", "screen", "gather", "bf16_moments")))
    yield "| operation | kernel | calls a step | ms | floor, ms | operations | bytes | reaches |"
    yield "|---|---|---|---|---|---|---|---|"
    for kernel in line["kernels"]:
        cells = [kernel["operation"], f"`{kernel['kernel']}`", str(kernel["calls"]), ms(kernel["seconds"])]
        if kernel["kernel"] in works and kernel["seconds"] > 0:
            operations, precision, traffic = works[kernel["kernel"]]
            bounds = {"of bandwidth": traffic / BYTES, f"of {precision}": operations / OPERATIONS[precision]}
            bound = max(bounds, key=bounds.get)
            cells += [ms(bounds[bound]), f"{operations:.2e}", f"{traffic:.2e}", f"{bounds[bound] / kernel['seconds']:.0%} {bound}"]
        else:
            cells += ["", "", "", ""]
        yield "| " + " | ".join(cells) + " |"


def summary(run):
    """All of it as Markdown, in the form of reports/gpu.md."""
    lines = latest(run)
    by = {(line["step"], line["what"]): line for line in lines}
    yield f"## Measured on {time.strftime('%Y-%m-%d', time.gmtime())}\n"
    known = by.get(("device", "sdlab"), {})
    if "device" in known:
        of, memory = known["device"], known["memory"]
        yield f"{of['name']}, architecture {of['architecture']}, driver for CUDA {of['driver']}, NVRTC {of['nvrtc']}, cuBLASLt {of['cublaslt']}, "
        yield f"{memory['total'] / 2**30:.1f} GiB, of which {memory['free'] / 2**30:.1f} GiB were free."
    if "said" in by.get(("device", "nvidia-smi"), {}):
        yield f"nvidia-smi: {by['device', 'nvidia-smi']['said']}. {by['device', 'nvidia-smi']['machine']}, {by['device', 'nvidia-smi']['processors']} processors."
    yield f"Command: `python3 benches/gpu/run.py {' '.join(sys.argv[1:])}`.\n"
    failed = [line for line in lines if "error" in line]
    if failed:
        yield "Not done:\n"
        yield from (f"* {line['step']}, {line['what']}: {line['error']}" for line in failed)
        yield ""
    yield "### What it computes\n"
    yield "| check | result | s |"
    yield "|---|---|---|"
    for line in lines:
        for check in line.get("checks", []):
            verdict = check["deviates"] or "agrees"
            whole = " (whole suite)" if line["step"] == "suite" else ""
            yield f"| {check['check']}{whole}: {check['what']} | {verdict} | {check['seconds']:.1f} |"
    yield ""
    numbers = [found for line in lines for check in line.get("checks", []) for found in check["found"]]
    if numbers:
        yield f"Numbers of the checks (seed {by.get(('checks', 'products'), {}).get('seed')}):\n"
        yield from ("| number | found | at most |", "|---|---|---|")
        yield from dict.fromkeys(f"| {found['what']} | {found['value']:.2e} | {found['bound']:g} |" for found in numbers)
        yield ""
    yield "### Steps\n"
    yield from ("| size | selection | step, ms (least to most) | kernels alone, ms | samples/s | GiB taken (said before) | L0 |", "|---|---|---|---|---|---|---|")
    for line in lines:
        if "step_seconds" in line and "select_by" in line:
            step, memory = line["step_seconds"], line["memory"]
            alone = sum(kernel["seconds"] for kernel in line["kernels"])
            more = " ".join([selection(line), *line["more"]])
            taken = f"{memory['taken'] / 2**30:.2f} ({memory['said'] / 2**30:.2f})"
            span = f"{ms(step['median'])} ({ms(step['least'])} to {ms(step['most'])})"
            yield f"| {line['size']} | {more} | {span} | {ms(alone)} | {line['samples_per_second']:.0f} | {taken} | {line['l0']:.1f} |"
    yield ""
    for size in SIZES:
        ours = [line for line in lines if line.get("size") == size and line["step"] == size and line.get("select_by") == "bf16" and "step_seconds" in line]
        ours = [line for line in ours if not {"--no-graphs", "--bf16-moments"} & set(line["more"])]
        ours, gathering = ([line for line in ours if line["gather"] == gather] for gather in ("f32", "bf16"))
        rows = [line for line in lines if line["step"] == f"{size}-peers" and "step_seconds" in line]
        if ours:
            step = ours[0]["step_seconds"]["median"]
            bar, times = BARS[size]
            yield f"Bar of the {size} size: at most {bar:.3f} ms a step, found {ms(step)}: {'reached' if 1e3 * step <= bar else 'missed'}."
            if rows:
                best = min(rows, key=lambda line: line["step_seconds"]["median"])
                ratio = best["step_seconds"]["median"] / step
                yield f"At least {times:g} times as fast as the best PyTorch step ({best['row']}, {best['how']}), found {ratio:.2f}: {'reached' if ratio >= times else 'missed'}."
            yield ""
        if rows:
            yield from (f"| {size}: peer | step, ms | GiB | ours is so many times as fast | how |", "|---|---|---|---|---|")
            for line in rows:
                ratio = f"{line['step_seconds']['median'] / ours[0]['step_seconds']['median']:.2f}" if ours else ""
                taken = f"{line['bytes'] / 2**30:.2f}" if line["bytes"] else ""
                note = "; ".join(filter(None, [line["how"], line["note"], f"torch {line['torch']}"]))
                yield f"| {line['row']} | {ms(line['step_seconds']['median'])} | {taken} | {ratio} | {note} |"
            yield ""
        for line in ours + gathering:
            yield f"Kernels of a step, {size}, selection by {selection(line)}, gathers in {line['gather']}, launched one by one (events before and behind each; short ones are measured too long):\n"
            yield from kernels(line)
            yield ""
    rows = [line for line in lines if line["step"] == "table1" and "losses_apart" in line]
    if rows:
        yield "### Table 1 at paper size, beside the processor\n"
        yield from ("| row | losses apart: first 100 steps; largest; last | recovery of the decoder (processor) | MIP (processor) | L0 (processor) | within seed noise |", "|---|---|---|---|---|---|")
        for line in rows:
            losses = [other["last_loss"] for other in lines if other.get("row") == line["row"] and "last_loss" in other]
            seeds = (max(losses) - min(losses)) / (sum(losses) / len(losses)) if len(losses) > 1 else line["noise_of_small"]
            of = f"{len(losses)} seeds here" if len(losses) > 1 else "5 seeds, small"
            apart = line["losses_apart"]
            early = max((share for step, share in apart if step <= 100), default=0.0)
            worst, last = max(share for _, share in apart), apart[-1][1]
            _, here, there = line["recovery"][-1]
            yield (
                f"| {line['what']} | {early:.1e}; {worst:.1e}; {last:.1e} | {here:.3f} ({there:.3f}) | {line['mip'][0]:.4f} ({line['mip'][1]:.4f}) | "
                f"{line['l0'][0]:.1f} ({line['l0'][1]:.1f}) | {'yes' if last <= seeds else 'no'} ({seeds:.0%}, {of}) |"
            )
        yield ""
    rows = [line for line in lines if line["step"] == "train" and line.get("samples_per_second")]
    if rows:
        yield "### The command itself, records included\n"
        for line in rows:
            rates = sorted(line["samples_per_second"])
            yield f"* {line['what']}: {rates[len(rates) // 2]:.0f} samples/s (median of {len(rates)} records), {line['seconds']:.0f} s in all: `{line['command']}`"
        yield ""
    rows = [line for line in lines if line["step"] == "sanitizer"]
    if rows:
        yield "### compute-sanitizer\n"
        yield from (f"* {line['what']}: {line.get('error') or line.get('said')}" for line in rows)
        yield ""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sdlab", type=pathlib.Path, default=ROOT / "target/release/sdlab", help="the program")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="the folder of results")
    parser.add_argument("--only", default=",".join(STEPS), help="steps, with commas between them")
    parser.add_argument("--without", default="", help="steps that are left out")
    parser.add_argument("--seconds", type=float, default=840, help="for all of it")
    parser.add_argument("--libraries", default="", help="folders with libraries of CUDA, before those that are found")
    parser.add_argument("--tiny", action="store_true", help="small sizes, for the stand-in of a GPU")
    parser.add_argument("--summary", action="store_true", help="write the tables of what is there, and run nothing")
    arguments = parser.parse_args()
    arguments.libraries = [folder for folder in arguments.libraries.split(",") if folder]
    wanted, left_out = arguments.only.split(","), [step for step in arguments.without.split(",") if step]
    unknown = {*wanted, *left_out} - STEPS.keys()
    if unknown:
        parser.error(f"expected some of {', '.join(STEPS)}, found {', '.join(sorted(unknown))}")
    arguments.sdlab = arguments.sdlab.resolve()
    if not arguments.summary and not arguments.sdlab.exists():
        parser.error(f"--sdlab: {arguments.sdlab} is not there; `cargo build --release` builds it")
    run = Run(arguments)
    try:
        for name, step in STEPS.items():
            if not arguments.summary and name in wanted and name not in left_out:
                step(run)
    finally:
        text = "\n".join(summary(run)) + "\n"
        (run.out / "summary.md").write_text(text, encoding="utf-8")
        print(f"\n{text}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
