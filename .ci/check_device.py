#!/usr/bin/env python3
"""Trains with `--device cuda` on the library that stands in for a GPU, and fails if the command does not do what it does on a processor.

    python3 .ci/check_device.py SDLAB FOLDER

SDLAB is the program, FOLDER has the stand-in of the driver and of its libraries, which kernels/check builds.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

EXPERIMENT = """
[bench]
n = 24
n_p = 16
samples = 64
sparsity = 0.9
interference = 0.5

[model]
latents = 40
activation = { kind = "top-k", k = 4 }
init = { weights = "unit", scale = 1.0, tied = true }

[optimizer]
rule = "adam"
learning_rate = 0.003

[train]
batch = 16
steps = 6
log_every = 1
checkpoint_every = 2
"""


class Checks:
    """Runs of the program, and what was wrong with them."""

    def __init__(self, program, libraries, folder):
        self.program, self.libraries, self.folder, self.wrong = program, libraries, folder, []
        (folder / "experiment.toml").write_text(EXPERIMENT, encoding="utf-8")
        (folder / "ranks.toml").write_text(EXPERIMENT + "ranks = 2\n", encoding="utf-8")
        (folder / "product.toml").write_text(EXPERIMENT + 'select_by = "bf16"\n', encoding="utf-8")

    def start(self, experiment, name, options, setting, device):
        """A process that trains into a folder."""
        environment = {
            **os.environ,
            "LD_LIBRARY_PATH": str(self.libraries),
            "SDLAB_STAND_IN": setting,
            "XDG_CACHE_HOME": str(self.folder),
            "TMPDIR": str(self.folder),
        }
        command = [self.program, "train", experiment, "--device", device, "--out", name, *options]
        return subprocess.Popen(command, cwd=self.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def end(self, process, name, expected):
        """Waits for a process; its output."""
        said, _ = process.communicate(timeout=300)
        if process.returncode != expected:
            self.wrong.append(f"{name}: exit code {process.returncode}, {expected} expected: {said.strip()}")
        return said

    def train(self, name, *options, setting="seed=1", expected=0, device="cuda", experiment="experiment.toml"):
        """One training into a folder; its output."""
        return self.end(self.start(experiment, name, options, setting, device), name, expected)

    def ranks(self, name, *options, settings, expected):
        """Two ranks that train together; their outputs."""
        meeting = ["--meeting", f"{name}.meeting", "--patience", "4", *options]
        processes = [
            self.start("ranks.toml", name, ["--rank", str(rank), *meeting], f"devices=2,{setting}", "cuda") for rank, setting in enumerate(settings)
        ]
        return [self.end(process, f"{name}, rank {rank}", code) for rank, (process, code) in enumerate(zip(processes, expected, strict=True))]

    def expect(self, condition, text):
        if not condition:
            self.wrong.append(text)

    def losses(self, name):
        records = (self.folder / name / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(record)["loss"] for record in records if "loss" in json.loads(record)]

    def close(self, name, other):
        """The losses of two trainings are the same up to the order of sums in f32."""
        pairs = list(zip(self.losses(name), self.losses(other), strict=True))
        self.expect(len(pairs) >= 6, f"{name}: {len(pairs)} records")
        for step, (one, two) in enumerate(pairs):
            self.expect(abs(one - two) <= 1e-5 * two, f"{name}: step {step} has the loss {one}, {other} has {two}")

    def weights(self, name):
        found = sorted((self.folder / name).rglob("sae_weights.safetensors"))
        self.expect(len(found) == 1, f"{name}: no weights")
        return found[0].read_bytes() if found else b""


def main():
    program, libraries = (pathlib.Path(argument).resolve() for argument in sys.argv[1:3])
    if not (libraries / "libcuda.so").exists():
        sys.exit(f"{libraries}: no libcuda.so; build kernels/check first")
    with tempfile.TemporaryDirectory() as folder:
        checks = Checks(program, libraries, pathlib.Path(folder))
        checks.train("whole")
        checks.train("processor", device="cpu")
        for name, options in {"single": ["--no-graphs"], "exact": ["--screen", "exact"], "half": ["--screen", "bf16"]}.items():
            checks.train(name, *options, setting="seed=2")
        checks.train("parts", "--max-steps", "3")
        checks.train("parts", "--resume", setting="seed=3")
        weights = checks.weights("whole")
        for name in ("single", "exact", "half", "parts"):
            checks.expect(checks.weights(name) == weights, f"{name}: other weights than the whole training")
        checks.close("whole", "processor")
        checks.train("product", experiment="product.toml", setting="seed=4")
        checks.train("product-parts", "--max-steps", "3", experiment="product.toml")
        said = checks.train("product-parts", "--resume", expected=2)
        checks.expect("product-parts" in said and said.count("\n") == 1, f"going on with another selection: {said}")
        checks.train("product-parts", "--resume", "--no-graphs", experiment="product.toml", setting="seed=5")
        checks.expect(checks.weights("product-parts") == checks.weights("product"), "selection by a product, in parts: other weights")
        backend = json.loads((checks.folder / "product" / "provenance.json").read_text(encoding="utf-8"))["backend"]
        checks.expect("selection by a product in bf16" in backend, f"provenance: {backend}")
        said = checks.train("none", setting="no-device", expected=2)
        checks.expect("finds no device" in said and said.count("\n") == 1, f"no device: {said}")
        said = checks.train("auto", setting="no-device", device="auto")
        checks.expect("training on the processor: the CUDA driver finds no device" in said, f"--device auto: {said}")
        said = checks.train("full", setting="memory=33558000", expected=2)
        checks.expect("cannot be allocated on the device" in said, f"no memory: {said}")
        said = checks.train("failing", setting="fail=cuGraphLaunch:3", expected=2)
        checks.expect("a graph of kernels" in said and "--no-graphs" in said, f"a failing graph: {said}")
        checks.ranks("two", settings=["seed=3", "seed=4"], expected=[0, 0])
        checks.close("two", "processor")
        checks.ranks("two-parts", "--max-steps", "3", settings=["seed=1", "seed=2"], expected=[0, 0])
        checks.ranks("two-parts", "--resume", settings=["seed=2", "seed=1"], expected=[0, 0])
        checks.expect(checks.weights("two-parts") == checks.weights("two"), "two ranks in parts: other weights than as a whole")
        said, _ = checks.ranks("killed", settings=["seed=2", "seed=2,die=cuLaunchKernel:60"], expected=[2, 9])
        checks.expect("waiting for other ranks" in said, f"the other rank is killed: {said}")
        said, _ = checks.ranks("broken", settings=["seed=2", "seed=2,fail=cuLaunchKernel:60"], expected=[2, 2])
        checks.expect("rank 1 has failed" in said, f"the other rank fails: {said}")
    print("\n".join(checks.wrong) if checks.wrong else "trainings on the stand-in of a GPU: as on the processor, however work is ordered")
    sys.exit(1 if checks.wrong else 0)


if __name__ == "__main__":
    main()
