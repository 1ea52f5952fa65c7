#!/usr/bin/env python3
"""Times dictionary learning with SPAMS and scikit-learn beside sdlab on the same samples, and says how many features each recovers.

    python3 benches/peers/dictionary.py [--seeds 5] [--repeats 3] [--threads 1] [--venv DIR] [--installed] [--bench PROGRAM]

Installs `spams-bin` and `scikit-learn` from PyPI into the virtual environment; not part of CI. `cargo bench --bench dictionary` writes the samples of
the bench (n = 200 features in R^128, S = 0.98, N = 20,000; other features, samples and starts for every seed) and times sdlab; then each package
learns K = 400 and K = 200 atoms from them. All of them use the lasso (with non-negative codes, but for scikit-learn, whose LARS has none), mini-batches of 512 in f32, and λ = 1.2 times the root mean
square of ‖x‖/√128. SPAMS is given several budgets, in multiples of the passes of sdlab, since it does not stop by itself. Seconds are
medians of the repeats; a ratio is that of the median over the seeds to that of sdlab. A feature is recovered at τ if some atom has a cosine above τ
with it. One thread each is the default: the threads of OpenMP and OpenBLAS wait by spinning, so that with more of them other work on the machine slows SPAMS
down by far more than its share.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import environment

PACKAGES = {"spams": "spams-bin", "sklearn": "scikit-learn"}
BATCH = 512
# Passes of sdlab over the samples, as in benches/dictionary.rs.
PASSES = {400: 1, 200: 2}


def spams(x, atoms, penalty, passes, threads, seed):
    """The atoms, n_r × K."""
    import numpy
    import spams

    numpy.random.seed(seed)
    count = round(passes * len(x) / BATCH)
    return spams.trainDL(
        numpy.asfortranarray(x.T), K=atoms, lambda1=penalty, iter=count, batchsize=BATCH, mode=2, posAlpha=True, numThreads=threads, verbose=False
    )


def sklearn(x, atoms, penalty, passes, threads, seed):
    from sklearn.decomposition import MiniBatchDictionaryLearning

    learner = MiniBatchDictionaryLearning(
        n_components=atoms, alpha=penalty, batch_size=BATCH, max_iter=passes, random_state=seed, tol=0.0, max_no_improvement=None
    )
    return learner.fit(x).components_.T


def recovered(features, atoms, tau):
    import numpy

    norms = numpy.maximum(numpy.linalg.norm(atoms, axis=0), 1e-30)
    unit = features / numpy.linalg.norm(features, axis=1, keepdims=True)
    return float((numpy.abs(unit @ (atoms / norms)).max(1) > tau).mean())


def inside(arguments):
    """One package at one K and budget: prints a line of JSON for every seed."""
    import warnings

    import numpy

    warnings.simplefilter("ignore")
    name, atoms, passes = arguments.inside.split(",")
    learn = {"spams": spams, "sklearn": sklearn}[name]
    for seed in range(arguments.seeds):
        x = numpy.load(arguments.samples / f"samples-{seed}.npy")
        features = numpy.load(arguments.samples / f"features-{seed}.npy")
        penalty = 1.2 * float(numpy.sqrt((x.astype(float) ** 2).sum(1).mean() / x.shape[1]))
        times = []
        for _ in range(arguments.repeats):
            start = time.perf_counter()
            found = learn(x, int(atoms), penalty, int(passes), arguments.threads, seed)
            times.append(time.perf_counter() - start)
        print(json.dumps({"seconds": statistics.median(times), "recovered": [recovered(features, found, tau) for tau in (0.9, 0.95)]}))


def threads_only(count):
    """The environment in which everything runs by so many threads."""
    return os.environ | {name: str(count) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")}


def last_line(text):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no message"


def run(name, atoms, passes, python, arguments, folder):
    """What a package did for every seed, or its error as a text."""
    command = [python, __file__, "--inside", f"{name},{atoms},{passes}", "--samples", folder]
    command += ["--seeds", arguments.seeds, "--repeats", arguments.repeats, "--threads", arguments.threads]
    done = subprocess.run(list(map(str, command)), env=threads_only(arguments.threads), capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    return list(map(json.loads, lines)) if done.returncode == 0 else last_line(done.stderr)


def ours(arguments, folder):
    """What sdlab did, by K, or its error as a text, and the line that names the machine."""
    command = [arguments.bench] if arguments.bench else ["cargo", "bench", "--quiet", "--bench", "dictionary", "--"]
    command += ["--seeds", arguments.seeds, "--repeats", arguments.repeats, "--save", folder, "online"]
    done = subprocess.run(
        list(map(str, command)), cwd=environment.ROOT, env=threads_only(arguments.threads), capture_output=True, text=True
    )
    if done.returncode != 0:
        return last_line(done.stderr), ""
    found = {}
    for words in (line.split() for line in done.stdout.splitlines() if line.startswith("online ")):
        found.setdefault(int(words[1]), []).append({"seconds": float(words[3]), "recovered": [float(words[5]), float(words[6])]})
    return found, done.stdout.splitlines()[0]


def row(title, atoms, found, base):
    if isinstance(found, str):
        return f"{title:34} {atoms:4}  {found}"
    seconds = [each["seconds"] for each in found]
    complete = [sum(each["recovered"][i] == 1.0 for each in found) for i in (0, 1)]
    least = [min(each["recovered"][i] for each in found) for i in (0, 1)]
    ratio = f"{statistics.median(seconds) / base:7.1f}" if base else f"{'-':>7}"
    share = "  ".join(f"{least[i]:.3f}, {complete[i]} of {len(found)}" for i in (0, 1))
    return f"{title:34} {atoms:4} {statistics.median(seconds):9.3f} {ratio}  {share}"


def outside(arguments):
    python, versions = environment.interpreter(arguments.venv), {}
    for name, package in PACKAGES.items():
        if not arguments.installed:
            environment.install(python, ["numpy", package])
        code = f"import importlib.metadata; print(importlib.metadata.version('{package}'))"
        versions[name] = subprocess.run([python, "-c", code], capture_output=True, text=True).stdout.strip() or "absent"
    with tempfile.TemporaryDirectory() as folder:
        print("sdlab", file=sys.stderr, flush=True)
        found, machine = ours(arguments, folder)
        if isinstance(found, str):
            print(f"sdlab: {found}")
            return 1
        print(f"{machine}; {arguments.seeds} seeds, medians of {arguments.repeats}")
        print(f"{'':34} {'K':>4} {'seconds':>9} {'theirs':>7}  recovered at .9  and at .95: least share, complete seeds")
        for atoms, passes in PASSES.items():
            base = statistics.median(each["seconds"] for each in found[atoms])
            print(row(f"sdlab, {passes} passes", atoms, found[atoms], base), flush=True)
            for factor in arguments.budgets:
                title = f"SPAMS {versions['spams']}, {factor * passes} passes"
                print(row(title, atoms, run("spams", atoms, factor * passes, python, arguments, folder), base), flush=True)
            title = f"scikit-learn {versions['sklearn']}, {passes} passes"
            print(row(title, atoms, run("sklearn", atoms, passes, python, arguments, folder), base), flush=True)
        again, _ = ours(arguments, folder)
        for atoms, each in ({} if isinstance(again, str) else again).items():
            base = statistics.median(each["seconds"] for each in found[atoms])
            print(row("sdlab again", atoms, each, base))
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--budgets", type=lambda text: [int(number) for number in text.split(",")], default=[1, 4, 10], help="of SPAMS, with commas between them")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--venv", type=pathlib.Path, default=environment.ROOT / "target/peers-venv")
    parser.add_argument("--installed", action="store_true", help="take the virtual environment as it is")
    parser.add_argument("--bench", type=pathlib.Path, help="the program of the bench dictionary, if it is built already")
    parser.add_argument("--samples", type=pathlib.Path, help=argparse.SUPPRESS)
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    return inside(arguments) if arguments.inside else outside(arguments)


if __name__ == "__main__":
    sys.exit(main())
