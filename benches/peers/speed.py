#!/usr/bin/env python3
"""Times one whole training step of TopK with the packages of others, with plain and hand-tuned PyTorch, and with sdlab, side by side.

    python3 benches/peers/speed.py [--quick] [--n-p 768] [--n-q 16000] [--k 64] [--batch 4096,1024] [--threads 2] [--venv DIR]

Installs the packages from PyPI into the virtual environment, several gigabytes; not part of CI. The rows run one after another in
processes of their own, each on the same samples: sums of 1 % of 1000 random directions. sdlab runs first and last, by
`cargo bench --bench train_step`, and its rate is the mean of both. All is in f32 with Adam, from the initial weights of each. Other work on the
machine moves all figures, so ratios are what counts. A package that cannot be installed or run is reported with its error.
"""

import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time

import environment

LEARNING_RATE = 3e-4
# Largest norm of a gradient, as in the packages that clip.
CLIP = 1.0


def sizes(arguments):
    return arguments.n_p, arguments.n_q, arguments.k


def samples(torch, n_p, batch, seed):
    """Sums of 1 % of 1000 random directions with magnitudes 1 + Exp(1)."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.nn.functional.normalize(torch.randn(1000, n_p, generator=torch.Generator().manual_seed(0)), dim=1)
    magnitudes = 1 + torch.empty(batch, 1000).exponential_(generator=generator)
    return (torch.rand(batch, 1000, generator=generator) < 0.01) * magnitudes @ features


def saelens(torch, n_p, n_q, k, batch):
    """SAETrainer.step, the whole step of SAELens without what it logs."""
    from sae_lens.config import LoggingConfig, SAETrainerConfig
    from sae_lens.saes.topk_sae import TopKTrainingSAE, TopKTrainingSAEConfig
    from sae_lens.training.sae_trainer import SAETrainer

    model = TopKTrainingSAE(TopKTrainingSAEConfig(d_in=n_p, d_sae=n_q, k=k, dtype="float32", device="cpu"))
    logger = LoggingConfig(log_to_wandb=False)
    config = SAETrainerConfig(
        total_training_samples=1000 * batch, train_batch_size_samples=batch, lr=LEARNING_RATE, lr_end=LEARNING_RATE, logger=logger
    )
    trainer = SAETrainer(cfg=config, sae=model, data_provider=iter(()))

    def step(x):
        loss = trainer.step(x).loss
        trainer.n_training_steps += 1
        return float(loss)

    return step


def dictionary_learning(torch, n_p, n_q, k, batch):
    """TopKTrainer.update."""
    from dictionary_learning.trainers.top_k import TopKTrainer

    sizes = {"activation_dim": n_p, "dict_size": n_q, "k": k, "lr": LEARNING_RATE}
    trainer = TopKTrainer(steps=2000, layer=0, lm_name="none", device="cpu", warmup_steps=0, seed=0, **sizes)
    # Step 0 begins with a geometric median, which is no part of the others.
    return lambda x: trainer.update(1, x)


def overcomplete(torch, n_p, n_q, k, batch):
    """train_sae over one batch, without what it monitors."""
    from overcomplete.sae import TopKSAE, train_sae

    model = TopKSAE(n_p, n_q, top_k=k, device="cpu")
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    losses = []

    def criterion(x, x_hat, pre_codes, codes, dictionary):
        loss = (x - x_hat).square().mean()
        losses.append(loss.detach())
        return loss

    def step(x):
        train_sae(model, [x], criterion, optimizer, nb_epochs=1, clip_grad=CLIP, monitoring=0, device="cpu")
        return float(losses[-1])

    return step


def sparsify(torch, n_p, n_q, k, batch):
    """SparseCoder with the steps of sparsify's Trainer, which itself wants a language model; the eager path, since there is no GPU."""
    from sparsify import SparseCoder, SparseCoderConfig

    model = SparseCoder(n_p, SparseCoderConfig(num_latents=n_q, k=k), device="cpu", dtype=torch.float32)
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)

    def step(x):
        model.set_decoder_norm_to_unit_norm()
        loss = model(x).fvu
        loss.backward()
        model.remove_gradient_parallel_to_decoder_directions()
        optimizer.step()
        optimizer.zero_grad()
        return float(loss.detach())

    return step


def weights(torch, n_p, n_q):
    """A decoder of unit rows, and its transpose as the encoder, both with one row per latent."""
    decoder = torch.nn.functional.normalize(torch.randn(n_q, n_p, generator=torch.Generator().manual_seed(1)), dim=1)
    return decoder.clone().requires_grad_(), decoder.requires_grad_()


def plain(torch, n_p, n_q, k, batch):
    """What one writes first: codes as a dense matrix, gradients by autograd."""
    encoder, decoder = weights(torch, n_p, n_q)
    optimizer = torch.optim.Adam([encoder, decoder], lr=LEARNING_RATE)

    def step(x):
        optimizer.zero_grad()
        values, latents = (x @ encoder.T).topk(k, dim=1)
        codes = torch.zeros(len(x), n_q).scatter(1, latents, values)
        loss = (codes @ decoder - x).square().sum() / len(x)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return step


def tuned(torch, n_p, n_q, k, batch):
    """Sparse everywhere but in the product of the encoder, without autograd, memory allocated once where PyTorch allows it."""
    encoder, decoder = weights(torch, n_p, n_q)
    optimizer = torch.optim.Adam([encoder, decoder], lr=LEARNING_RATE, fused=True)
    scores = torch.empty(batch, n_q)
    rows = torch.arange(0, batch * k + 1, k)

    @torch.no_grad()
    def gradients(x):
        torch.mm(x, encoder.T, out=scores)
        values, latents = scores.topk(k, dim=1, sorted=False)
        # embedding_bag reads each row of the decoder that is wanted once, and adds.
        residual = torch.nn.functional.embedding_bag(latents, decoder, per_sample_weights=values, mode="sum").sub_(x)
        loss = float(residual.square().sum() / len(x))
        residual.mul_(2 / len(x))
        # One product per selected latent: those entries of residual · decoderᵀ.
        selected = torch.sparse_csr_tensor(rows, latents.flatten(), torch.zeros(batch * k), (batch, n_q), check_invariants=False)
        back = torch.sparse.sampled_addmm(selected, residual, decoder.T, beta=0.0).values()
        # The same pattern by latents, so that both gradients are products of a sparse and a dense matrix.
        order = latents.flatten().argsort()
        starts = torch.zeros(n_q + 1, dtype=torch.int64)
        starts[1:] = torch.bincount(latents.flatten(), minlength=n_q).cumsum(0)
        of_latent = lambda entries: torch.sparse_csr_tensor(
            starts, order.div(k, rounding_mode="floor"), entries[order], (n_q, batch), check_invariants=False
        )
        decoder.grad = of_latent(values.flatten()) @ residual
        encoder.grad = of_latent(back) @ x
        return loss

    def step(x):
        loss = gradients(x)
        optimizer.step()
        return loss

    # It must be the gradient of what `plain` computes.
    x = samples(torch, n_p, batch, 9)
    gradients(x)
    found = [encoder.grad, decoder.grad]
    encoder.grad = decoder.grad = None
    values, latents = (x @ encoder.T).topk(k, dim=1)
    loss = (torch.nn.functional.embedding_bag(latents, decoder, per_sample_weights=values, mode="sum") - x).square().sum() / batch
    loss.backward()
    for ours, theirs in zip(found, (encoder.grad, decoder.grad)):
        off = float((ours - theirs).norm() / theirs.norm())
        if not off < 1e-4:
            raise ArithmeticError(f"the gradients of the hand-tuned step are wrong by {off:.1e} of their norm")
    return step


# What a row is called, what runs it, and the package on PyPI.
ROWS = {
    "saelens": ("SAELens TopK", saelens, "sae-lens"),
    "dictionary_learning": ("dictionary_learning TopK", dictionary_learning, "dictionary-learning"),
    "overcomplete": ("overcomplete TopK", overcomplete, "overcomplete"),
    "sparsify": ("sparsify TopK, eager", sparsify, "eai-sparsify"),
    "plain": ("plain PyTorch, dense decode", plain, "torch"),
    "tuned": ("hand-tuned PyTorch, sparse", tuned, "torch"),
}
PYTORCH = ("plain", "tuned")
# What a package needs beside what it says it needs.
BESIDE = {"overcomplete": ["matplotlib<3.9"]}


def inside(arguments):
    """One row: prints its figures as one line of JSON, after whatever the package prints."""
    import importlib.metadata

    import torch

    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    _, make, package = ROWS[arguments.inside]
    found = {"version": importlib.metadata.version(package), "torch": torch.__version__, "seconds": {}}
    for batch in arguments.batch:
        data = [samples(torch, arguments.n_p, batch, seed) for seed in range(4)]
        step = make(torch, *sizes(arguments), batch)
        times = []
        # The first two steps warm caches, pages and threads and are not counted.
        for turn in range(arguments.steps + 2):
            start = time.perf_counter()
            loss = step(data[turn % len(data)])
            times.append(time.perf_counter() - start)
            if not loss < float("inf"):
                raise ArithmeticError(f"the loss is {loss}")
        found["seconds"][batch] = statistics.median(times[2:])
        del step
    print(json.dumps(found))


def threads_only(count):
    """The environment in which everything runs by so many threads."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")
    # There is no GPU code to be timed; sparsify would take Triton for its decoder where it is installed.
    return os.environ | {name: str(count) for name in names} | {"SPARSIFY_DISABLE_TRITON": "1", "CUDA_VISIBLE_DEVICES": ""}


def last_line(text):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no message"


def run(name, python, arguments, more=None):
    """The figures of a row, or its error as a text."""
    command = [python, __file__, "--inside", name, "--n-p", arguments.n_p, "--n-q", arguments.n_q, "--k", arguments.k]
    command += ["--batch", ",".join(map(str, arguments.batch)), "--threads", arguments.threads, "--steps", arguments.steps]
    with tempfile.TemporaryDirectory() as scratch:
        # Elsewhere, since a package may leave files where it runs.
        done = subprocess.run(
            list(map(str, command)), cwd=scratch, env=threads_only(arguments.threads) | (more or {}), capture_output=True, text=True
        )
    return json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else last_line(done.stderr)


def ours(arguments):
    """Samples per second of sdlab for each batch, or the error as a text."""
    command = [arguments.bench] if arguments.bench else ["cargo", "bench", "--quiet", "--bench", "train_step", "--"]
    command += ["--shape", f"{arguments.n_p},{arguments.n_q},{arguments.k}", "--batch", ",".join(map(str, arguments.batch)), "topk"]
    done = subprocess.run(
        list(map(str, command)), cwd=environment.ROOT, env=threads_only(arguments.threads), capture_output=True, text=True
    )
    lines = [line.split() for line in done.stdout.splitlines() if line.startswith("topk ")]
    if done.returncode != 0 or len(lines) != len(arguments.batch):
        return last_line(done.stderr)
    return {int(line[1]): float(line[-2]) for line in lines}


def fake_intel(scratch):
    """A library that tells MKL that the processor is an Intel one: MKL chooses slower code for others. None where there is no C compiler."""
    source, library = pathlib.Path(scratch) / "intel.c", pathlib.Path(scratch) / "intel.so"
    source.write_text("int mkl_serv_intel_cpu_true(void) { return 1; }\n")
    try:
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return library


def processor():
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    value = lambda key: next((line.split(":", 1)[1].strip() for line in lines if line.startswith(key)), "")
    return value("model name") or platform.processor() or platform.machine(), value("vendor_id")


def install(arguments):
    """Python with the packages, and what could not be installed."""
    python, errors = environment.interpreter(arguments.venv), {}
    for package in dict.fromkeys(["torch", *(package for _, _, package in ROWS.values())]):
        print(f"installing {package}", file=sys.stderr, flush=True)
        try:
            environment.install(python, [package, *BESIDE.get(package, [])])
        except subprocess.CalledProcessError as error:
            errors[package] = f"pip ends with {error.returncode}"
    return python, errors


def outside(arguments):
    python, errors = (environment.interpreter(arguments.venv), {}) if arguments.installed else install(arguments)
    name, vendor = processor()
    n_p, n_q, k = sizes(arguments)
    print(f"{name}, {arguments.threads} threads; n_p = n_r = {n_p}, n_q = {n_q}, k = {k}; medians of {arguments.steps} steps, f32, Adam")
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        # The first run builds it.
        print("sdlab", file=sys.stderr, flush=True)
        first = ours(arguments)
        for key, (title, _, package) in ROWS.items():
            print(title, file=sys.stderr, flush=True)
            rows.append((title, f"{package} cannot be installed: {errors[package]}" if package in errors else run(key, python, arguments)))
        if vendor == "AuthenticAMD":
            library = fake_intel(scratch)
            for key in PYTORCH:
                title = f"{ROWS[key][0]}, MKL unlocked"
                print(title, file=sys.stderr, flush=True)
                rows.append((title, run(key, python, arguments, {"LD_PRELOAD": str(library)}) if library else "no C compiler"))
        last = ours(arguments)
    rates = {}
    for found in (first, last):
        if isinstance(found, str):
            print(f"sdlab: {found}")
        else:
            rates = {batch: [*rates.get(batch, []), rate] for batch, rate in found.items()}
    columns = "".join(f" {f'B={batch}':>10} {'ours':>7}" for batch in arguments.batch)
    print(f"{'samples/s; ours: times as fast':44}{columns}  version")
    for title, found in rows:
        if isinstance(found, str):
            print(f"{title:44} {found}")
            continue
        cells = ""
        for batch in arguments.batch:
            rate = batch / found["seconds"][str(batch)]
            ratio = f"{statistics.mean(rates[batch]) / rate:7.1f}" if batch in rates else f"{'-':>7}"
            cells += f" {rate:10.0f} {ratio}"
        torch = "" if "PyTorch" in title else f", torch {found['torch']}"
        print(f"{title:44}{cells}  {found['version']}{torch}")
    if rates:
        mean = "".join(f" {statistics.mean(rates[batch]):10.0f} {1.0:7.1f}" for batch in arguments.batch)
        spread = "; ".join(f"B={batch}: " + ", then ".join(f"{rate:.0f}" for rate in rates[batch]) for batch in arguments.batch)
        print(f"{'sdlab':44}{mean}  {spread}")
    if vendor != "AuthenticAMD":
        print("MKL unlocked: does not apply, this is no AMD processor")
    return 0 if rates else 1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    numbers = lambda text: [int(number) for number in text.split(",")]
    parser.add_argument("--n-p", type=int, default=768)
    parser.add_argument("--n-q", type=int, default=16000)
    parser.add_argument("--k", type=int, default=64)
    parser.add_argument("--batch", type=numbers, default=[4096, 1024], help="sizes of batches, with commas between them")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=5, help="steps that are timed, after two that are not")
    parser.add_argument("--quick", action="store_true", help="n_p = 96, n_q = 2000, batches of 256")
    parser.add_argument("--venv", type=pathlib.Path, default=environment.ROOT / "target/peers-venv")
    parser.add_argument("--installed", action="store_true", help="take the virtual environment as it is")
    parser.add_argument("--bench", type=pathlib.Path, help="the program of the bench train_step, if it is built already")
    parser.add_argument("--inside", choices=ROWS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.n_p, arguments.n_q, arguments.batch = 96, 2000, [256]
    return inside(arguments) if arguments.inside else outside(arguments)


if __name__ == "__main__":
    sys.exit(main())
