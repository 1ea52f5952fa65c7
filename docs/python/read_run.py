"""Reads what sdlab writes, with numpy, safetensors and the standard library alone.

    python3 read_run.py FOLDER        prints what a folder holds

or from Python:

    from read_run import Model, checkpoint, config, directions, metrics, records, resampling, result, samples, timings, trace

    model = Model.read("runs/topk")
    codes = model.encode(x)                    # rows of x_p -> rows of x_q
    x_hat = model.decode(codes, x)             # rows of x_q -> rows of x_r
"""

import hashlib
import json
import pathlib
import sys

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file

try:
    import tomllib
except ImportError:
    # Before Python 3.11; only `config` needs it.
    tomllib = None


class Model:
    """A trained model: x_q = act(W_E (x_p - b_p) + b_E), x_r ~ W_D x_q + b_D + W_S x_p.

    `parameters` holds the arrays that the model has, by the names that sdlab gives them: `encoder` (n_q x n_p), `decoder` (n_q x n_r, one
    column of W_D per row), `encoder-bias`, `decoder-bias`, `input-bias`, `log-threshold`, `gate-scale`, `magnitude-bias`, `skip` (n_r x n_p).
    `activation` is the table of the configuration, such as {"kind": "top-k", "k": 64}; `threshold` that of a trained BatchTopK; `notes` say
    what SAELens cannot express of it.
    """

    def __init__(self, parameters, activation, threshold, notes=()):
        self.parameters, self.activation, self.threshold, self.notes = parameters, activation, threshold, list(notes)

    @classmethod
    def read(cls, folder):
        """The model of a run directory, or of any directory that `cfg.json` says sdlab has written."""
        folder = pathlib.Path(folder)
        config = json.loads((folder / "cfg.json").read_text(encoding="utf-8"))
        own = config.get("metadata", {}).get("sdlab")
        if own is None or own["format"] != 1:
            raise ValueError(f"{folder / 'cfg.json'}: metadata.sdlab: expected format 1, found {own and own['format']}")
        weights = folder / "sae_weights.safetensors"
        if hashlib.sha256(weights.read_bytes()).hexdigest() != own["weights_sha256"]:
            raise ValueError(f"{weights}: other weights than cfg.json describes")
        tensors = load_file(weights)
        exact = load_file(folder / "sdlab.safetensors") if own["exact"] else {}
        gated = own["activation"]["kind"] == "gated"
        # How the parameters are called and stored for SAELens.
        stored = {
            "encoder": lambda: tensors["W_enc"].T,
            "decoder": lambda: tensors["W_dec"],
            "encoder-bias": lambda: tensors["b_gate" if gated else "b_enc"],
            "decoder-bias": lambda: tensors["b_dec"],
            "input-bias": lambda: tensors["b_dec"],
            "gate-scale": lambda: tensors["r_mag"],
            "magnitude-bias": lambda: tensors["b_mag"],
            "skip": lambda: tensors["W_skip"],
        }
        parameters = {name: exact[name] if name in own["exact"] else stored[name]() for name in own["parameters"]}
        return cls(parameters, own["activation"], own["threshold"], own["notes"])

    def encode(self, x):
        """Codes of rows of x_p, in f64."""
        get = lambda name: self.parameters[name].astype(np.float64) if name in self.parameters else 0.0
        s = (x.astype(np.float64) - get("input-bias")) @ get("encoder").T
        z = s + get("encoder-bias")
        kind = self.activation["kind"]
        if kind == "relu":
            return np.maximum(z, 0.0)
        if kind == "jump-relu":
            return np.where(z > np.exp(get("log-threshold")).astype(np.float32), z, 0.0)
        if kind == "batch-top-k":
            return np.where(z > (self.threshold or 0.0), z, 0.0)
        if kind == "gated":
            return np.where(z > 0.0, np.maximum(np.exp(get("gate-scale")) * s + get("magnitude-bias"), 0.0), 0.0)
        # Top-k: the lower latent wins among equals.
        kept = np.argsort(-z, axis=1, kind="stable")[:, : self.activation["k"]]
        codes = np.zeros_like(z)
        np.put_along_axis(codes, kept, np.take_along_axis(z, kept, axis=1), axis=1)
        return codes if kind == "top-k" else np.maximum(codes, 0.0)

    def decode(self, codes, x=None):
        """Reconstructions of rows of x_r, in f64. A model with a skip connection needs the rows of x_p too."""
        out = codes @ self.parameters["decoder"].astype(np.float64)
        if "decoder-bias" in self.parameters:
            out = out + self.parameters["decoder-bias"].astype(np.float64)
        if "skip" in self.parameters:
            out = out + x.astype(np.float64) @ self.parameters["skip"].astype(np.float64).T
        return out


def checkpoint(folder):
    """The checkpoint of a run: (arrays, metadata). Arrays are `idle`, `model.NAME`, `first.NAME` and `second.NAME`."""
    with safe_open(pathlib.Path(folder) / "checkpoint.safetensors", framework="numpy") as file:
        metadata = dict(file.metadata())
        arrays = {name: file.get_tensor(name) for name in file.keys()}
    # Numbers are stored as text, these two as their bits in hexadecimal.
    for name, bits, kind in (("threshold", "<u4", "<f4"), ("first_loss", "<u8", "<f8")):
        text = metadata[name]
        metadata[name] = None if text == "none" else float(np.array(int(text, 16), dtype=bits).view(kind))
    for name in ("step", "warm_up_from", "warm_up_steps"):
        metadata[name] = int(metadata[name])
    # Where a plateau may end training: sum of the losses of this epoch and number of its samples, then the means of the last two epochs.
    if "epochs" in metadata:
        total, samples, *means = metadata["epochs"].split(" ")
        number = lambda text: None if text == "none" else float(np.array(int(text, 16), dtype="<u8").view("<f8"))
        metadata["epochs"] = {"sum": number(total), "samples": int(samples, 16), "last": number(means[0]), "before": number(means[1])}
    return arrays, metadata


def lines(path):
    """Objects of a file with one JSON object per line. A line that is still being written is left out."""
    text = pathlib.Path(path).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.split("\n")[:-1]]


def config(folder):
    """The complete parameters in `config.toml`, of a run or of a data set of the bench, as nested dictionaries. Needs Python 3.11."""
    if tomllib is None:
        raise RuntimeError(f"config.toml: expected Python 3.11 or later, which reads TOML, found {sys.version.split()[0]}")
    return tomllib.loads((pathlib.Path(folder) / "config.toml").read_text(encoding="utf-8"))


def metrics(folder):
    """What training has recorded, one dictionary per record."""
    return lines(pathlib.Path(folder) / "metrics.jsonl")


def trace(folder):
    """Loss, L0 and recovery at a few steps of training, one dictionary per point; empty where features are not known."""
    path = pathlib.Path(folder) / "trace.jsonl"
    return lines(path) if path.is_file() else []


def resampling(folder):
    """Latents that have been moved, one dictionary per time: `step`, `latents`, and by how much each lowered the loss (`decreases`, empty
    where that is not known). Empty where none were moved."""
    path = pathlib.Path(folder) / "resampling.jsonl"
    return lines(path) if path.is_file() else []


def timings(folder):
    """Speed, one dictionary per record of every session: `step`, `seconds` since the session began, `samples_per_second` since the last record."""
    return lines(pathlib.Path(folder) / "timings.jsonl")


def records(path):
    """Stored results such as reports/results/small.jsonl, one dictionary per run; older ones have no `trace` and no `moved`."""
    return lines(path)


def result(folder):
    """How a run ended, with its scores."""
    return json.loads((pathlib.Path(folder) / "result.json").read_text(encoding="utf-8"))


def directions(folder):
    """The ground truth of a bench: {"w_p": n x n_p, "w_r": n x n_r}, one row per feature; without w_r they are the same."""
    return load_file(pathlib.Path(folder) / "directions.safetensors")


def samples(folder, shard=0):
    """Coefficients of the samples of one file of a bench: (offsets, features, values). Sample i has the entries offsets[i] : offsets[i + 1]."""
    tensors = load_file(pathlib.Path(folder) / f"samples-{shard:05}.safetensors")
    return tensors["offsets"], tensors["indices"], tensors["values"]


def representations(folder, side="w_p", shard=0):
    """x_p or x_r of the samples of one file of a bench, as dense rows."""
    ground = directions(folder)
    matrix = ground.get(side, ground["w_p"])
    offsets, features, values = samples(folder, shard)
    rows = np.zeros((len(offsets) - 1, matrix.shape[1]), dtype=np.float32)
    for i in range(len(rows)):
        # One feature after the other, as sdlab adds them, so that the bits are the same.
        for at in range(offsets[i], offsets[i + 1]):
            rows[i] += values[at] * matrix[features[at]]
    return rows


def describe(folder):
    """What is in a folder, as lines of text."""
    folder = pathlib.Path(folder)
    has = lambda name: (folder / name).is_file()
    if has("directions.safetensors"):
        shapes = {name: array.shape for name, array in directions(folder).items()}
        offsets, features, _ = samples(folder)
        yield f"bench: directions {shapes}, {len(offsets) - 1} samples in its first file, {len(features)} active features there"
    if has("cfg.json"):
        model = Model.read(folder)
        yield f"model: {model.activation}, " + ", ".join(f"{name} {array.shape}" for name, array in model.parameters.items())
        yield from (f"note: {note}" for note in model.notes)
    if has("metrics.jsonl") and metrics(folder):
        records = metrics(folder)
        yield f"metrics: {len(records)} records, the last at step {records[-1]['step']} with loss {records[-1]['loss']:.6g}"
    if trace(folder):
        last = trace(folder)[-1]
        yield f"trace: {len(trace(folder))} points, the last with {last['decoder']:.1%} of the features in the decoder, {last['encoder']:.1%} in the encoder"
    if resampling(folder):
        moved = resampling(folder)
        yield f"resampling: {sum(len(times['latents']) for times in moved)} latents moved, the last at step {moved[-1]['step']}"
    if has("timings.jsonl") and timings(folder):
        yield f"timings: {timings(folder)[-1]['samples_per_second']:.0f} samples/s at step {timings(folder)[-1]['step']}"
    if has("config.toml"):
        yield "config.toml: " + (", ".join(config(folder)) if tomllib else "is read with Python 3.11 or later")
    if has("checkpoint.safetensors"):
        arrays, metadata = checkpoint(folder)
        yield f"checkpoint: step {metadata['step']}, {sum(array.size for array in arrays.values())} numbers"
    for name in ("result.json", "provenance.json"):
        if has(name):
            yield f"{name}: " + ", ".join(json.loads((folder / name).read_text(encoding="utf-8")))
    for path in sorted(folder.glob("*.npy")):
        array = np.load(path, mmap_mode="r")
        yield f"{path.name}: {array.shape} {array.dtype}"


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    found = list(describe(sys.argv[1]))
    print("\n".join(found) if found else f"{sys.argv[1]}: nothing that sdlab writes")
    return 0 if found else 1


if __name__ == "__main__":
    sys.exit(main())
