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

    def train(self, name, *options, setting="seed=1", expected=0, device="cuda"):
        """One training into a folder; its output."""
        environment = {**os.environ, "LD_LIBRARY_PATH": str(self.libraries), "SDLAB_STAND_IN": setting, "XDG_CACHE_HOME": str(self.folder)}
        command = [self.program, "train", "experiment.toml", "--device", device, "--out", name, *options]
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != expected:
            self.wrong.append(f"{name}: exit code {done.returncode}, {expected} expected: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout + done.stderr

    def expect(self, condition, text):
        if not condition:
            self.wrong.append(text)

    def losses(self, name):
        records = (self.folder / name / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(record)["loss"] for record in records if "loss" in json.loads(record)]

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
        pairs = list(zip(checks.losses("whole"), checks.losses("processor"), strict=True))
        checks.expect(len(pairs) >= 6, f"{len(pairs)} records")
        for step, (device, processor) in enumerate(pairs):
            checks.expect(abs(device - processor) <= 1e-5 * processor, f"step {step}: loss {device}, on the processor {processor}")
        said = checks.train("none", setting="no-device", expected=2)
        checks.expect("finds no device" in said and said.count("\n") == 1, f"no device: {said}")
        said = checks.train("auto", setting="no-device", device="auto")
        checks.expect("training on the processor: the CUDA driver finds no device" in said, f"--device auto: {said}")
        said = checks.train("full", setting="memory=40000000", expected=2)
        checks.expect("cannot be allocated on the device" in said, f"no memory: {said}")
        said = checks.train("failing", setting="fail=cuGraphLaunch:3", expected=2)
        checks.expect("a graph of kernels" in said and "--no-graphs" in said, f"a failing graph: {said}")
    print("\n".join(checks.wrong) if checks.wrong else "trainings on the stand-in of a GPU: as on the processor, however work is ordered")
    sys.exit(1 if checks.wrong else 0)


if __name__ == "__main__":
    main()
