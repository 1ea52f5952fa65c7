#!/usr/bin/env python3
"""Trains with `--device cuda` on the library that stands in for a GPU, and fails if the command does not do what it does on a processor.

    python3 .ci/check_device.py SDLAB FOLDER

SDLAB is the program, FOLDER has the stand-in of the driver and of its libraries, which kernels/check builds. What `sdlab device` prints is compared with
docs/schema/device.json, and benches/gpu/run.py is run at small sizes, so that it holds on the day that there is a GPU.
"""

import importlib.util
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


ROOT = pathlib.Path(__file__).resolve().parents[1]
# The steps of benches/gpu/run.py that need PyTorch.
WITH_PYTORCH = ("small-peers", "large-peers")


def misfit(schema, value, root, place="it"):
    """What of a value is not as a schema says, or None; the keywords that docs/schema/device.json uses."""
    if "$ref" in schema:
        return misfit(root["$defs"][schema["$ref"].rsplit("/", 1)[1]], value, root, place)
    if "oneOf" in schema:
        all_wrong = [misfit(one, value, root, place) for one in schema["oneOf"]]
        return None if all_wrong.count(None) == 1 else f"{place}: {all_wrong}"
    if "enum" in schema:
        return None if value in schema["enum"] else f"{place}: {value}"
    kinds = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int, "number": (int, float), "null": type(None)}
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    if not any(isinstance(value, kinds[kind]) and isinstance(value, bool) <= (kind == "boolean") for kind in types):
        return f"{place}: {value!r} is no {types}"
    if isinstance(value, (int, float)) and value < schema.get("minimum", value):
        return f"{place}: {value} is too small"
    if isinstance(value, list):
        return next(filter(None, (misfit(schema["items"], one, root, f"{place}[{k}]") for k, one in enumerate(value))), None)
    if isinstance(value, dict):
        known = schema["properties"]
        if set(schema["required"]) - value.keys() or value.keys() - known.keys():
            return f"{place}: has {sorted(value)}"
        return next(filter(None, (misfit(known[key], one, root, f"{place}.{key}") for key, one in value.items())), None)
    return None


class Checks:
    """Runs of the program, and what was wrong with them."""

    def __init__(self, program, libraries, folder):
        self.program, self.libraries, self.folder, self.wrong = program, libraries, folder, []
        (folder / "experiment.toml").write_text(EXPERIMENT, encoding="utf-8")
        (folder / "ranks.toml").write_text(EXPERIMENT + "ranks = 2\n", encoding="utf-8")
        (folder / "product.toml").write_text(EXPERIMENT + 'select_by = "bf16"\ngather = "bf16"\n', encoding="utf-8")

    def start(self, experiment, name, options, setting, device):
        """A process that trains into a folder."""
        environment = {**os.environ, **self.own(setting)}
        command = [self.program, "train", experiment, "--device", device, "--out", name, *options]
        return subprocess.Popen(command, cwd=self.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def end(self, process, name, expected):
        """Waits for a process; its output."""
        said, _ = process.communicate(timeout=300)
        if process.returncode != expected:
            self.wrong.append(f"{name}: exit code {process.returncode}, {expected} expected: {said.strip()}")
        return said

    def run(self, *words, setting="seed=1", expected=0):
        """What the program prints with --json."""
        environment = {**os.environ, **self.own(setting)}
        command = [self.program, "--json", *words]
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=300)
        if done.returncode != expected:
            self.wrong.append(f"{words}: exit code {done.returncode}, {expected} expected: {done.stderr.strip()}")
        return json.loads(done.stdout) if done.stdout else {}

    def device(self):
        """`sdlab device` against its schema."""
        schema = json.loads((ROOT / "docs/schema/device.json").read_text(encoding="utf-8"))
        timing = ["--shape", "16,60,4", "--batch", "24", "--times", "2", "--steps", "2"]
        for words in ([], ["check", "--small", "--every", "150"], ["time", *timing, "--select-by", "bf16", "--gather", "bf16"], ["time", *timing, "--no-graphs", "--bf16-moments"]):
            found = self.run("device", *words)
            wrong = misfit(schema, found, schema)
            self.expect(wrong is None, f"device {words}: {wrong}")
            for check in found.get("checks", []):
                self.expect(check["deviates"] is None, f"device check: {check}")
        failed = self.run("device", "check", "products", "--small", setting="fail=cublasLtMatmul:2", expected=1)
        self.expect("cuBLASLt" in (failed["checks"][0]["deviates"] or ""), f"a failing product: {failed}")

    def memory(self):
        """A training takes what was said before, and is refused where that is not free."""
        dry = self.run("train", "experiment.toml", "--device", "cuda", "--dry-run", setting="memory=1000000000")["memory"]
        self.expect(dry["free"] == 1000000000 and dry["training"] == dry["most"], f"a dry run: {dry}")
        # A few small arrays that do not grow with a model are not counted, nor is what records look at.
        self.train("fits", setting=f"seed=0,memory={dry['training'] + 65536}")
        said = self.train("too-large", setting=f"memory={dry['training'] - 1}", expected=2)
        expected = "expected a training that fits the memory of the device, of whose"
        self.expect(expected in said and said.count("\n") == 1 and not (self.folder / "too-large").exists(), f"no memory: {said}")

    def gpu_bench(self):
        """benches/gpu/run.py at small sizes; without PyTorch there are no peers."""
        out = self.folder / "gpu"
        command = [sys.executable, ROOT / "benches/gpu/run.py", "--sdlab", self.program, "--out", out, "--libraries", self.libraries, "--tiny"]
        if importlib.util.find_spec("torch") is None:
            command += ["--without", ",".join(WITH_PYTORCH)]
        environment = {**os.environ, **self.own("seed=0")}
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=900)
        self.expect(done.returncode == 0, f"benches/gpu/run.py: {done.stdout}")
        lines = [json.loads(line) for line in (out / "results.jsonl").read_text(encoding="utf-8").splitlines()]
        failed = [line for line in lines if "error" in line and line["step"] not in WITH_PYTORCH]
        self.expect(not failed, f"benches/gpu/run.py: {failed}")
        summary = (out / "summary.md").read_text(encoding="utf-8")
        for part in ("stand-in, architecture 9.0", "| products: ", "| small | product in bf16 ", "`update_rows`", "The command itself"):
            self.expect(part in summary, f"benches/gpu/run.py: no {part} in {summary}")

    def own(self, setting):
        """What the environment of the program has beside the usual."""
        return {
            "LD_LIBRARY_PATH": str(self.libraries),
            "SDLAB_STAND_IN": setting,
            "XDG_CACHE_HOME": str(self.folder),
            "TMPDIR": str(self.folder),
        }

    def train(self, name, *options, setting="seed=1", expected=0, device="cuda", experiment="experiment.toml"):
        """One training into a folder; its output."""
        return self.end(self.start(experiment, name, options, setting, device), name, expected)

    def ranks(self, name, *options, settings, expected):
        """Two ranks that train together; their outputs."""
        experiment = "experiment.toml" if "--shard-latents" in options else "ranks.toml"
        meeting = ["--meeting", f"{name}.meeting", "--patience", "4", *options]
        processes = [
            self.start(experiment, name, ["--rank", str(rank), *meeting], f"devices=2,{setting}", "cuda") for rank, setting in enumerate(settings)
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
        checks.expect("selection by a product in bf16, gathers in bf16" in backend, f"provenance: {backend}")
        said = checks.train("none", setting="no-device", expected=2)
        checks.expect("finds no device" in said and said.count("\n") == 1, f"no device: {said}")
        said = checks.train("auto", setting="no-device", device="auto")
        checks.expect("training on the processor: the CUDA driver finds no device" in said, f"--device auto: {said}")
        # A device that has less left than it says.
        said = checks.train("full", setting="memory=33558000,free=1000000000", expected=2)
        checks.expect("cannot be allocated on the device" in said, f"no memory: {said}")
        said = checks.train("old", setting="driver=12080", expected=2)
        checks.expect("install a driver for CUDA 13.0 or later" in said and said.count("\n") == 1, f"an old driver: {said}")
        checks.memory()
        checks.device()
        checks.gpu_bench()
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
        divided = ["--shard-latents", "2"]
        checks.ranks("divided", *divided, settings=["seed=3", "seed=4"], expected=[0, 0])
        checks.close("divided", "processor")
        checks.ranks("divided-parts", *divided, "--max-steps", "3", settings=["seed=1", "seed=2"], expected=[0, 0])
        checks.ranks("divided-parts", *divided, "--resume", settings=["seed=2", "seed=1"], expected=[0, 0])
        checks.expect(checks.weights("divided-parts") == checks.weights("divided"), "divided latents in parts: other weights than as a whole")
        checks.train("mixed", "--max-steps", "2")
        checks.ranks("mixed", *divided, "--max-steps", "4", "--resume", settings=["seed=2", "seed=1"], expected=[0, 0])
        checks.train("mixed", "--resume", device="cpu")
        checks.close("mixed", "processor")
        said, _ = checks.ranks("divided-broken", *divided, settings=["seed=2", "seed=2,fail=cuLaunchKernel:60"], expected=[2, 2])
        checks.expect("rank 1 has failed" in said, f"the other rank with latents fails: {said}")
    print("\n".join(checks.wrong) if checks.wrong else "trainings on the stand-in of a GPU: as on the processor, however work is ordered")
    sys.exit(1 if checks.wrong else 0)


if __name__ == "__main__":
    main()
