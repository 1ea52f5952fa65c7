#!/usr/bin/env python3
"""Times alternating convex search of sdlab beside DBCP and a plain search in numpy on the same instances from the same starts.

    python3.12 benches/peers/biconvex.py [--venv DIR] [--installed] [--bench PROGRAM]

Needs Python 3.12 or later, which DBCP asks for; installs `dbcp` and `scipy` from PyPI into the virtual environment. Not part of CI.
`cargo bench --bench alternating -- --write FILE` writes 25 instances (n = n_p = n_r, c = 0, masses from 1/2 to 2; partition cells and overlapping ones).
DBCP solves each within its cell with every solver of SOLVERS; its best loss counts, at the time of the fastest solver that came within
1e-6 of it. On the two larger overlapping instances numpy searches from 400 starts, each in the cell of its own start: least squares for the decoder,
non-negative least squares (scipy) feature by feature for the encoder, until a sweep gains less than 1e-6 of the loss; only the best goes on until one
gains less than 1e-8. Everything runs on one thread, and their seconds are processor time, so that other work on the machine does not count.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import environment

SOLVERS = ("CLARABEL", "OSQP")


def biconvex(instance, solver):
    """Loss and seconds of DBCP, its building of the problem not counted."""
    import cvxpy
    import dbcp
    import numpy

    P = numpy.array(instance["features"]).T
    roots = numpy.sqrt(numpy.array(instance["masses"]))
    (n_p, n), n_q = P.shape, len(instance["cell"])
    on = numpy.zeros((n_q, n))
    for i, block in enumerate(instance["cell"]):
        on[i, block] = 1
    V, W = cvxpy.Variable((n_p, n_q)), cvxpy.Variable((n_q, n_p))
    V.value, W.value = numpy.array(instance["decoder"]), numpy.array(instance["encoder"])
    error = (P - V @ cvxpy.multiply(on, W @ P)) @ numpy.diag(roots)
    problem = dbcp.BiconvexProblem(cvxpy.Minimize(cvxpy.sum_squares(error)), [V], [W], [cvxpy.multiply(2 * on - 1, W @ P) >= 0])
    start = time.process_time()
    problem.solve(solver=solver)
    seconds = time.process_time() - start
    # Its end point may leave the cell by its solver's tolerance, which favours it.
    found = ((P - V.value @ (on * (W.value @ P))) * roots) ** 2
    return float(found.sum()), seconds


def search(P, roots, on, Z, gain):
    """The loss and the codes that a plain search in a cell reaches."""
    import numpy
    from scipy.optimize import nnls

    before = numpy.inf
    while True:
        V = numpy.linalg.lstsq((Z * roots).T, (P * roots).T, rcond=None)[0].T
        for d in range(P.shape[1]):
            firing = numpy.flatnonzero(on[:, d])
            if len(firing):
                Z[firing, d] = nnls(V[:, firing], P[:, d])[0]
        loss = float((((P - V @ Z) * roots) ** 2).sum())
        if before - loss <= gain * loss:
            return loss, Z
        before = loss


def starts(instance):
    """The best loss of many starts and their seconds."""
    import numpy

    P = numpy.array(instance["features"]).T
    roots = numpy.sqrt(numpy.array(instance["masses"]))
    random = numpy.random.default_rng(0)
    clock = time.process_time()
    best = float("inf"), None, None
    for _ in range(instance["starts"]):
        W = random.standard_normal((len(instance["cell"]), P.shape[0]))
        codes = W @ P / numpy.linalg.norm(W, axis=1, keepdims=True)
        on = codes > 0
        loss, Z = search(P, roots, on, numpy.where(on, codes, 0.0), 1e-6)
        best = min(best, (loss, on, Z), key=lambda found: found[0])
    loss, _ = search(P, roots, *best[1:], 1e-8)
    return loss, time.process_time() - clock


def inside(source, target):
    import warnings

    warnings.simplefilter("ignore")
    with open(target, "w") as file:
        for line in source.read_text().splitlines():
            instance = json.loads(line)
            runs = []
            for solver in SOLVERS:
                try:
                    # The first solve pays for what is loaded and compiled once.
                    runs.append((*min((biconvex(instance, solver) for _ in range(2)), key=lambda run: run[1]), solver))
                except Exception as error:
                    print(f"{instance['name']}: {solver}: {error}", file=sys.stderr)
            if not runs:
                continue
            least = min(loss for loss, _, _ in runs)
            loss, seconds, solver = min((run for run in runs if run[0] <= least * (1 + 1e-6)), key=lambda run: run[1])
            best = starts(instance) if instance["starts"] else None
            print(f"{instance['name']}: {solver} {loss:.8f} in {seconds * 1e3:.0f} ms {best or ''}", file=sys.stderr)
            file.write(json.dumps({"name": instance["name"], "solver": solver, "loss": loss, "seconds": seconds, "best": best}) + "\n")
            file.flush()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--venv", type=pathlib.Path, default=environment.ROOT / "target/biconvex-venv")
    parser.add_argument("--installed", action="store_true", help="the virtual environment has the packages already")
    parser.add_argument("--bench", type=pathlib.Path, help="a built `alternating` bench; cargo bench otherwise")
    parser.add_argument("--inside", nargs=2, type=pathlib.Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        return inside(*arguments.inside)
    if sys.version_info < (3, 12):
        return "DBCP needs Python 3.12 or later: run this script with one"
    python = environment.interpreter(arguments.venv)
    if not arguments.installed:
        environment.install(python, ["dbcp", "scipy"])
    bench = [arguments.bench] if arguments.bench else ["cargo", "bench", "--quiet", "--bench", "alternating", "--"]
    one = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")}
    with tempfile.TemporaryDirectory() as folder:
        instances, reached = pathlib.Path(folder) / "instances.jsonl", pathlib.Path(folder) / "reached.jsonl"
        subprocess.run([*bench, "--write", instances], check=True, cwd=environment.ROOT)
        subprocess.run([python, __file__, "--inside", instances, reached], check=True, env=os.environ | one)
        subprocess.run([*bench, "--against", reached], check=True, cwd=environment.ROOT, env=os.environ | one)


if __name__ == "__main__":
    sys.exit(main())
