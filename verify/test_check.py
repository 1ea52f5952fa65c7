"""Tests of check.py: `python3 verify/test_check.py`. Standard library only.

Every certificate is built here, from tiny problems that can be followed by hand; every condition of FORMAT.md is then
violated once, and the reason of the refusal is compared, so that no mutation is refused by accident.
"""

import contextlib
import copy
import hashlib
import io
import itertools
import json
import os
import random
import re
import sys
import tempfile
import time
import unittest
from decimal import Decimal, getcontext
from fractions import Fraction

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import check  # noqa: E402

# ---------------------------------------------------------------------------------------------------------------------
# Builders


def text_of(x):
    """Fractions as FORMAT.md writes them, at any depth; everything else stays as it is."""
    if isinstance(x, Fraction):
        return str(x)
    if isinstance(x, (list, tuple)):
        return [text_of(y) for y in x]
    if isinstance(x, dict):
        return {key: text_of(y) for key, y in x.items()}
    return x


def q(text):
    """'1 -1/2' is a vector, '1 0; 0 1' a matrix of rationals."""
    rows = [row.split() for row in text.split(";")]
    return rows if len(rows) > 1 else rows[0]


def problem(p, r, masses, activation=None):
    features = [{"mass": m, "w_p": a, "w_r": b} for m, a, b in zip(masses, p, r)]
    return {"activation": activation or {"c": "0", "kind": "threshold"}, "features": features, "format": 1}


def sealed(certificate):
    """The certificate with the hash of its instance."""
    if "instance" in certificate:
        canonical = json.dumps(certificate["instance"], sort_keys=True, separators=(",", ":"))
        certificate["sha256"] = hashlib.sha256(canonical.encode()).hexdigest()
    return certificate


def certificate(kind, instance, **body):
    whole = {"format": 1, "kind": kind, "body": text_of(body)}
    if instance is not None:
        whole["instance"] = json.loads(json.dumps(instance))
    return sealed(whole)


def threshold(c):
    return {"c": c, "kind": "threshold"}


I2 = [["1", "0"], ["0", "1"]]
I3 = [["1", "0", "0"], ["0", "1", "0"], ["0", "0", "1"]]
TWO = problem(I2, I2, ["1", "2"])  # no partial optimum fires one neuron on both features
EQUAL = problem(I2, I2, ["1", "1"])  # Example 3.5 of the paper: a family of optima
ACUTE = problem(I2, [q("1 0 0 0"), q("1/2 1/2 1/2 1/2")], ["1", "2"])  # mu is a root of 2x^2 - 6x + 3
OBTUSE = problem(I2, [q("1 0 0 0"), q("-1/2 1/2 1/2 1/2")], ["1", "1"])  # mu = 1/2 is not the top value
FACE_P = [q("1 0"), q("0 1"), q("-4/5 3/5")]
FACE = problem(FACE_P, FACE_P, ["1", "2", "1"])  # a boundary optimum at w = (3, 4)
RAY_P = [q("1 0"), q("-7/25 24/25"), q("4/5 -3/5"), q("-4/5 3/5")]
RAY = problem(RAY_P, RAY_P, ["1"] * 4)  # a minimum only because two antipodal faces leave a ray
FAN_P = [q("1 0"), q("3/5 4/5"), q("-3/5 4/5")]
FAN = problem(FAN_P, FAN_P, ["1"] * 3)  # p_1 = (6/5) p_0 + p_2
BACK_P = [q("1 0"), q("0 1"), q("-1 -1")]
BACK = problem(BACK_P, BACK_P, ["1", "2", "1"])  # as TWO, with a feature that never fires with both
MU = {"poly": ["3", "-6", "2"], "lo": "2", "hi": "3"}
ROOT2 = {"poly": ["-2", "0", "1"], "lo": "1", "hi": "2"}
LINE = problem([["1"]], [["1"]], ["1"])


def row(neuron, mu, w, multipliers=(), **field):
    return {"form": "row", "neuron": neuron, "mu": mu, "w": w, "multipliers": list(multipliers), **field}


def joint(neurons, w_e, w_d, multipliers=(), **field):
    return {"form": "joint", "neurons": neurons, "w_e": w_e, "w_d": w_d, "multipliers": list(multipliers), **field}


def side(y, z=(), s=()):
    return {"y": list(y), "z": list(z), "s": list(s)}


def leaf(x, start, end):
    return {"x": x, "start": start, "end": end}


DEAD = joint([1], [q("-1 -1")], [q("5 0")])
DEAD_4 = joint([1], [q("-1 -1")], [q("0 0 0 7")])
CENTRE = {"w_e": [q("1 1")], "w_d": [q("1/3 2/3")]}  # of TWO: optimal for V, not for W
PERFECT = {"w_e": I2, "w_d": I2}
NO_ROWS = {"u": [], "n": [], "kernel": []}


def accepted():
    """One or more certificates of every kind, by name."""
    c = {}
    c["interior"] = certificate("partial-optimum", TWO, pattern=[[0], [1]], loss=["0", "0"],
                                parts=[row(0, "1", q("1 0")), row(1, "2", q("-1 3"))])
    c["irrational"] = certificate(
        "partial-optimum", ACUTE, pattern=[[0, 1], []], loss=[["3", "-1"], "0"],
        parts=[row(0, ["0", "1"], ["1", ["-1", "1"]], field=MU), DEAD_4])
    c["boundary"] = certificate("partial-optimum", FACE, pattern=[[1, 0]], loss=["50/41"],
                                parts=[row(0, "73/41", q("3 4"), [[2, "120/41"]])])
    c["joint boundary"] = certificate("partial-optimum", FACE, pattern=[[1, 0]], loss=["50/41"],
                                      parts=[joint([0], [q("3 4")], [q("3/41 8/41")], [[0, 2, "240/1681"]])])
    c["positive threshold"] = certificate(
        "partial-optimum", problem(I2, I2, ["1", "2"], threshold("1/2")), pattern=[[0], [1]], loss=["0", "0"],
        parts=[row(0, "1", q("1 1/2")), row(1, "2", q("-1 3"))])
    c["overlap"] = certificate(  # two neurons share feature 0, one part
        "partial-optimum", TWO, pattern=[[0], [0, 1]], loss=["0"],
        parts=[joint([1, 0], [q("1 1"), q("1 0")], [q("0 1"), q("1 -1")])])
    obtuse = dict(pattern=[[0, 1], []], loss=["3/2", "0"], parts=[row(0, "1/2", q("1 1")), DEAD_4])
    c["saddle"] = certificate("strict-saddle", OBTUSE, saddle={"part": 0, "direction": q("1 -1")}, **obtuse)
    c["joint saddle"] = certificate(
        "strict-saddle", OBTUSE, pattern=[[0, 1]], loss=["3/2"],
        parts=[joint([0], [q("1 1")], [q("1/4 1/4 1/4 1/4")])],
        saddle={"part": 0, "w_e": [q("1 -1")], "w_d": [q("3/4 -1/4 -1/4 -1/4")]})
    wide_p = [q("1 0 0"), q("0 1 0"), q("0 0 1")]  # OBTUSE with a third direction, so that a face can be tight
    wide = problem(wide_p, [q("1 0 0 0"), q("-1/2 1/2 1/2 1/2"), q("0 0 0 0")], ["1"] * 3)
    c["saddle on a face"] = certificate(
        "strict-saddle", wide, pattern=[[0, 1]], loss=["3/2"], parts=[row(0, "1/2", q("1 1 0"))],
        saddle={"part": 0, "direction": q("1 -1 -1")})
    c["minimum"] = certificate(
        "local-min", ACUTE, pattern=[[0, 1], []], loss=[["3", "-1"], "0"],
        parts=[row(0, ["0", "1"], ["1", ["-1", "1"]], field=MU), DEAD_4],
        order=[{"u": [], "n": [], "kernel": [["1", ["-1", "1"]]]}])
    c["boundary minimum"] = certificate(
        "local-min", FACE, pattern=[[1, 0]], loss=["50/41"], parts=[row(0, "73/41", q("3 4"), [[2, "120/41"]])],
        order=[{"u": [[2, q("72/205 96/205")]], "n": [], "kernel": [q("3 4")]}])
    c["minimum on a line"] = certificate("local-min", LINE, pattern=[[0]], loss=["0"], parts=[row(0, "1", ["1"])],
                                     order=[{"u": [], "n": [], "kernel": [["1"]]}])
    c["minimum on a ray"] = certificate(
        "local-min", RAY, pattern=[[0, 1]], loss=["32/25"], parts=[row(0, "18/25", q("3 4"))],
        order=[{"u": [], "n": [[2, 3, "1"]], "kernel": [q("3 4")]}])
    c["family"] = certificate(
        "local-min", EQUAL, pattern=[[0, 1]], loss=["1"], parts=[row(0, "1", q("2 1"))],
        order=[{"u": [], "n": [], "kernel": [q("1 0"), q("0 1")]}])
    c["witness"] = certificate("pattern-witness", TWO, pattern=[[1, 0], []], w_e=[q("1 1"), q("0 -2/3")])
    top = problem([["1"], ["2"]], [["1"], ["1"]], ["1", "1"], {"k": 1, "kind": "top-k"})
    relu = problem([["1"], ["2"]], [["1"], ["1"]], ["1", "1"], {"k": 1, "kind": "top-k-relu"})
    c["top-k tie"] = certificate("pattern-witness", top, pattern=[[0, 1], []], w_e=[["-1"], ["-1"]])
    c["top-k-relu"] = certificate("pattern-witness", relu, pattern=[[], []], w_e=[["-1"], ["0"]])
    c["empty"] = certificate("pattern-empty", FAN, pattern=[[], [1]],
                             farkas={"neuron": 1, "on": [[1, "1"]], "off": [[0, "6/5"], [2, "1"]]})
    c["empty count"] = certificate("pattern-empty", top, pattern=[[0], []], farkas={"count": 1})
    c["empty count relu"] = certificate("pattern-empty", relu, pattern=[[0, 1], [1]], farkas={"count": 1})
    c["empty top-k"] = certificate(
        "pattern-empty", top, pattern=[[0], [1]],
        farkas={"comparisons": [[0, 0, 1, "2"], [1, 1, 0, "1"]], "positives": [], "nonpositives": []})
    c["empty top-k twice"] = certificate(  # neuron 0 is compared twice at feature 0
        "pattern-empty", problem([["1"]] * 3, [["1"]] * 3, ["1"] * 3, {"k": 1, "kind": "top-k"}),
        pattern=[[0], [1], [2]],
        farkas={"comparisons": [[0, 0, 1, "1"], [0, 0, 2, "1"], [1, 1, 0, "1"], [2, 2, 0, "1"]], "positives": [],
                "nonpositives": []})
    c["empty top-k-relu"] = certificate(
        "pattern-empty", relu, pattern=[[0], []],
        farkas={"comparisons": [], "positives": [[0, 0, "2"]], "nonpositives": [[1, 0, "1"]]})
    up, left = leaf(q("0 1"), side([[1, "4"]]), side([[1, "1"]])), leaf(q("-1 0"), side([[0, "1/2"]]), side([[0, "2"]]))
    c["none"] = certificate("no-partial-optimum", TWO, pattern=[[], [0, 1]], neuron=1,
                            chain=[{"to": "3/2", "tree": up}, {"to": "3", "tree": left}])
    c["none at alpha"] = certificate(
        "no-partial-optimum", TWO, pattern=[[0, 1]], neuron=0,
        chain=[{"to": "alpha", "field": ROOT2, "tree": leaf(q("0 1"), side([[1, "4"]]), side([[1, ["4", "-2"]]]))},
               {"to": "3", "field": ROOT2, "tree": leaf(q("-1 0"), side([[0, ["-1", "1"]]]), side([[0, "2"]]))}])
    both = [[0, "1"], [1, "1"]]
    on_face = leaf(q("0 0"), side(both, s=[[2, "-1"]]), side(both, s=[[2, "-1"]]))
    c["none by branching"] = certificate(
        "no-partial-optimum", BACK, pattern=[[0, 1]], neuron=0,
        chain=[{"to": "3/2", "tree": up}, {"to": "3", "tree": {"branch": 2, "tight": on_face, "free": left}}])
    c["none with a threshold"] = certificate(
        "no-partial-optimum", problem(BACK_P, BACK_P, ["1", "2", "1"], threshold("1")), pattern=[[0, 1]], neuron=0,
        chain=[{"to": "3/2", "tree": up}, {"to": "3", "tree": left}])
    cell = leaf(q("0 0"), side([[1, "1"]], [[0, "6/5"], [2, "1"]]), side([[1, "1"]], [[0, "6/5"], [2, "1"]]))
    c["none in an empty cell"] = certificate("no-partial-optimum", FAN, pattern=[[1]], neuron=0,
                                             chain=[{"to": "1", "tree": cell}])
    residues = [q("4/5 -2/5"), q("-4/5 2/5")]
    c["epsilon"] = certificate(
        "epsilon-partial-optimum", TWO, pattern=[[0, 1]], point=CENTRE, epsilon="2/15",
        dual_v=[q("2/3 -2/3"), q("-2/3 2/3")], dual_w=residues, slack=[])
    # c = 2, w = (3,3), v = (1,2)/9: the best activations in the closure are (2, 18/5), the first one clipped at c
    c["epsilon with slack"] = certificate(
        "epsilon-partial-optimum", problem(I2, I2, ["1", "2"], threshold("2")), pattern=[[0, 1]],
        point={"w_e": [q("3 3")], "w_d": [q("1/9 2/9")]}, epsilon=Fraction(4, 3) - dual_bound_with_slack(),
        dual_v=[q("2/3 -2/3"), q("-2/3 2/3")],
        dual_w=[q("7/9 -4/9"), q("-4/5 2/5")], slack=[[0, 0, "1/81"]])
    c["epsilon zero"] = certificate(
        "epsilon-partial-optimum", TWO, pattern=[[0], [1]], point=PERFECT, epsilon="0", dual_v=[q("0 0")] * 2,
        dual_w=[q("0 0")] * 2, slack=[])
    c["zero"] = certificate("zero-loss", TWO, point=PERFECT)
    c["loss"] = certificate("loss-value", TWO, point=CENTRE, loss="4/3")
    zero2 = [q("0 0"), q("0 0")]
    c["bound"] = certificate("lower-bound", TWO, latents=1, bound="1",
                             tree={"groups": [{"features": [0, 1], "t": "2", "y": zero2}]})
    c["bound of a cell"] = certificate(
        "lower-bound", TWO, latents=2, pattern=[[0], []], bound="2",
        tree={"groups": [{"features": [1], "t": "2", "y": zero2},
                         {"features": [0], "t": "0", "y": [q("1 0"), q("0 0")]}]})
    # Without a pattern: if feature 1 fires, the emptiness of {1} leaves a second feature on.
    all_on = {"groups": [{"features": [0, 1, 2], "t": "9/5", "y": [q("0 0"), q("0 0")]}]}
    c["bound by branching"] = certificate(
        "lower-bound", FAN, latents=1, bound="1",
        tree={"branch": [0, 1], "off": {"groups": [{"features": [1], "t": "1", "y": zero2}]},
              "on": {"branch": [0, 0], "on": all_on, "off": {
                  "branch": [0, 2], "on": {"groups": [{"features": [0], "t": "1", "y": zero2}]},
                  "off": {"empty": {"neuron": 0, "on": [[1, "1"]], "off": [[0, "6/5"], [2, "1"]]}}}}})
    # One neuron and targets that point away from each other: the codes are ≥ 0, so that one feature alone is best.
    c["bound by a cone"] = certificate(
        "lower-bound", problem(I2, [q("1 0"), q("-1 1")], ["1", "1"], threshold("0")), latents=1, bound="1",
        tree={"groups": [{"features": [0, 1], "conic": {"t": "2", "n": [[0, 1, "1"]]}}]})
    # One neuron and opposite targets: what is orthogonal to a code ≥ 0 keeps one of them.
    plain, mu = {"t": "1", "y": []}, q("1 1/2")
    c["bound by a code"] = certificate(
        "lower-bound", problem(I2, [["1"], ["-1/2"]], ["1", "4"], threshold("0")), latents=1, bound="1",
        tree={"groups": [{"features": [0, 1], "code": {"s": "1", "weights": q("1 1/2"), "trees": [{
            "halve": [0, 1], "first": {"mu": mu, "ends": [plain, plain]},
            "second": {"mu": mu, "ends": [{"t": "2", "y": [q("0 1/2")]}, plain]}}]}}]})
    # Two neurons that share a feature: where the code of the first is near to that feature, the second loses it and gains a negative one.
    def codes(i, j, k, weight, of="codes"):
        return {"cut": [i, j, k], "of": of, "weight": weight}

    of_codes, of_both = {"bounded": "codes"}, {"bounded": "differences"}
    c["bound by cones"] = certificate(
        "lower-bound", problem(I3, [q("3/2 -1/2 -1"), q("-1/2 0 0"), q("1/2 -1/2 3/2")], q("4 4 1"), threshold("0")),
        latents=2, pattern=[[0, 1], [1, 2]], bound="97/100", tree={"groups": [{"features": [0, 1, 2], "cones": {
            "s": "97/100", "steps": [codes(0, 1, 0, "1"), codes(1, 0, 1, "2"), of_codes, of_codes, {"minus": [0, 1]},
                                     codes(1, 0, 1, "1/2"), of_codes, of_codes]}}]})
    # The same pattern: where both codes are near to the shared feature, the second is replaced by the difference.
    c["bound by differences"] = certificate(
        "lower-bound", problem(I3, [q("1 -1/2 -1/2"), q("1/2 3/2 -1/2"), q("1/2 0 3/2")], q("2 1 8"), threshold("0")),
        latents=2, pattern=[[0, 1], [1, 2]], bound="77/40", tree={"groups": [{"features": [0, 1, 2], "cones": {
            "s": "77/40", "steps": [
                codes(0, 0, 1, "11/8"), codes(1, 0, 1, "11/32"), of_codes, codes(0, 0, 1, "2"), codes(1, 0, 1, "11/16"), of_codes,
                {"difference": [0, 1], "form": q("9 64 17")}, codes(1, 0, 1, "3/2", "differences"), of_both, of_both, of_both,
                of_codes, of_codes]}}]})
    # Two neurons and targets that span the plane positively: x with Zx = 0 has mixed signs or zeros.
    unit = [q("1 0 0"), q("0 1 0"), q("0 0 1")]
    positive = {"neuron": 1, "on": [], "off": [], "free": [[0, 0, "1"], [1, 1, "1"], [2, 2, "1"]]}
    signs = {"sign": unit[0], "other": {"n": [[0, 1, "20"]]}, "positive": {
        "sign": unit[1], "other": {"n": [[0, 1, "5/8"]]}, "positive": {
            "sign": unit[2], "other": {"n": [[0, 2, "1"], [1, 2, "1"]]}, "positive": {"above": positive}}}}
    c["bound by a kernel"] = certificate(
        "lower-bound", problem(unit, [q("1 0"), q("0 1"), q("-1 -1")], ["1"] * 3, threshold("0")), latents=2, bound="3/8",
        tree={"groups": [{"features": [0, 1, 2], "kernel": {"s": "3/8", "basis": unit, "tree": signs}}]})
    # The row (3, 4) is the best one, on the face of feature 2; the codes are combinations of (1, 0) and (3, 4).
    c["bound by the kernel of a row"] = certificate(
        "lower-bound", problem([*I2, q("-4/5 3/5")], [*I2, q("-4/5 3/5")], ["1", "2", "1"], threshold("0")), latents=1,
        pattern=[[0, 1]], bound="11/5", tree={"groups": [{"features": [2], "t": "1", "y": zero2}, {
            "features": [0, 1], "kernel": {"s": "6/5", "basis": I2, "tree": {
                "sign": q("1 0"), "other": {"n": [[0, 1, "1/10"]]}, "positive": {
                    "sign": q("3 4"), "other": {"n": [[0, 1, "3/40"]]},
                    "positive": {"above": {"neuron": 0, "on": [[1, 1, "1/4"]], "off": [[2, 0, "5/4"]], "free": []}}}}}}]})
    # w = (w_1, w_2) with w_1 > 0 and w_2 ≥ 0 has the codes (w_1, w_1 + w_2): w_2 = 0 or w_2 > 0.
    c["bound by a face"] = certificate(
        "lower-bound", problem([q("1 0"), q("1 1"), q("0 -1")], [["1"], ["-1"], ["0"]], ["1"] * 3, threshold("0")),
        latents=1, pattern=[[0, 1]], bound="1/2", tree={
            "face": [0, 2],
            "tight": {"groups": [{"features": [0, 1], "kernel": {"s": "1/2", "basis": [["1"], ["-1"]], "tree": {"n": []}}}]},
            "below": {"groups": [{"features": [0, 1], "kernel": {"s": "1/2", "basis": I2, "tree": {
                "sign": q("0 1"), "other": {"n": [[0, 1, "3/4"]]}, "positive": {
                    "sign": q("-1 -1"), "positive": {"n": [[0, 1, "1"]]},
                    "other": {"above": {"neuron": 0, "on": [[0, 1, "1"]], "off": [[2, 0, "1"]], "free": []}}}}}}]}})
    one = problem([["1"]], [["1"]], ["1"], {"k": 1, "kind": "top-k"})
    c["not convex"] = certificate(
        "not-convex", one, t="1/2", cell={"pattern": [[0], [0]], "threshold": "0"},
        **{"from": {"w_e": [["1"], ["1/2"]], "w_d": [["1"], ["0"]]},
           "to": {"w_e": [["1"], ["5"]], "w_d": [["1"], ["0"]]}})
    c["not convex, sharp"] = certificate(
        "not-convex", one, t="1/2",
        **{"from": {"w_e": [["1"], ["1/2"]], "w_d": [["1/10"], ["0"]]},
           "to": {"w_e": [["1"], ["5"]], "w_d": [["1/10"], ["0"]]}})
    c["not optimal in W"] = certificate("not-partial-optimum", TWO, point=CENTRE,
                                        better={"w_e": [q("3/5 6/5")], "w_d": [q("1/3 2/3")]})
    c["not optimal in V"] = certificate("not-partial-optimum", TWO, point={"w_e": [q("1 1")], "w_d": [q("1 1")]},
                                        better=CENTRE)
    c["not separable"] = certificate("not-separable", LINE, point={"w_e": [["1"], ["1"]], "w_d": [["1"], ["1"]]},
                                     neurons=[1, 0], rows=[["2"], ["3"]], difference="4")
    c["exact loss"] = certificate(
        "exact-loss", problem([["1"]], [["1"]], ["1"], threshold("1")), point={"w_e": [["2"]], "w_d": [["1/2"]]},
        distribution=[{"x": ["0"], "probability": "1/2"}, {"x": ["1/4"], "probability": "1/4"},
                      {"x": ["1"], "probability": "1/4"}], loss="1/64", approximate="0")
    c["exact loss of a pair"] = certificate(
        "exact-loss", TWO, point=CENTRE,
        distribution=[{"x": q("1 1"), "probability": "1/2"}, {"x": q("2 0"), "probability": "1/2"}],
        loss="17/9", approximate="16/9")
    c["rank"] = certificate("jacobian-rank", TWO, point=PERFECT, rank=4)
    c["low rank"] = certificate("jacobian-rank", TWO, point=CENTRE, rank=3)
    c["absorbed"] = certificate("absorption", TWO, pattern=[[0, 1]], w_e=[q("1 1")], neuron=0,
                                split={"realizable": {"feature": 1, "w_e": [q("1 0"), q("0 1")]}})
    alone = {"on": [[1, "1"]], "off": [[0, "6/5"], [2, "1"]]}
    c["not absorbed"] = certificate(
        "absorption", FAN, pattern=[[0, 1]], w_e=[q("1 0")], neuron=0,
        split={"none": [{"feature": 1, "farkas": {"neuron": 1, **alone}},
                        {"feature": 0, "farkas": {"neuron": 0, **alone}}]})
    c["not absorbed under top-1"] = certificate(
        "absorption", problem([q("4/5 3/5"), q("4/5 -3/5"), q("0 1"), q("0 -1")], [["1"]] * 4, ["1"] * 4,
                              {"k": 1, "kind": "top-k-relu"}),
        pattern=[[0, 1]], w_e=[q("1 0")], neuron=0,
        split={"none": [{"feature": 0, "farkas": {"comparisons": [[0, 1, 0, "1"], [1, 0, 1, "1"]], "positives": [],
                                                  "nonpositives": [[2, 1, "6/5"], [3, 0, "6/5"]]}},
                        {"feature": 1, "farkas": {"comparisons": [[1, 1, 0, "1"], [0, 0, 1, "1"]], "positives": [],
                                                  "nonpositives": [[2, 0, "6/5"], [3, 1, "6/5"]]}}]})
    c["arithmetic"] = certificate("arithmetic", None, steps=[
        {"left": {"pow": [{"div": ["1", "3"]}, 2]}, "relation": "=", "right": {"mul": ["1/9", "1"]}},
        {"left": {"binomial": [5, 2]}, "relation": ">", "right": {"add": ["1", "2", {"sub": ["7", "1/2"]}]}},
        {"left": {"binomial": [2, 5]}, "relation": ">=", "right": "0"},
        {"left": {"pow": ["0", 0]}, "relation": "<=", "right": "1"},
        {"left": "-1", "relation": "<", "right": {"pow": ["-1", 100000]}}])
    return c


def dual_bound_with_slack():
    """The dual bound of `epsilon with slack`, from the formula of FORMAT.md."""
    y, masses, r = [[Fraction(7, 9), Fraction(-4, 9)], [Fraction(-4, 5), Fraction(2, 5)]], [1, 2], [[1, 0], [0, 1]]
    value = sum(2 * a * b for u, v in zip(y, r) for a, b in zip(u, v))
    value -= sum(a * a / m for u, m in zip(y, masses) for a in u)
    return value + 2 * 2 * Fraction(1, 81)



# ---------------------------------------------------------------------------------------------------------------------
# One mutation per condition: certificate, path of the change, new value, part of the reason

GONE = object()
B, P0 = "body", ("body", "parts", 0)
ORDER = ("body", "order", 0)
LINK, NODE0, NODE1 = ("body", "chain", 0), ("body", "chain", 0, "tree"), ("body", "chain", 1, "tree")
GROUP = ("body", "tree", "groups", 0)
CONE, KERNEL, CODE, CONES = (*GROUP, "conic"), (*GROUP, "kernel"), (*GROUP, "code"), (*GROUP, "cones")
TREE = (*CODE, "trees", 0)
STEP = ("body", "steps", 0)
FAR = ("body", "farkas")
RELU = {"k": 1, "kind": "top-k-relu"}

MUTATIONS = [
    # syntax and envelope (§1, §2)
    ("interior", ("format",), 2, "format is not 1"),
    ("interior", ("format",), True, "format is not 1"),
    ("interior", ("kind",), "optimum", "unknown kind"),
    ("interior", ("kind",), ["zero-loss"], "unknown kind"),
    ("interior", ("extra",), "1", "unknown key"),
    ("interior", ("note",), 1, "note"),
    ("interior", ("note",), "\ud800", "unexpected UnicodeEncodeError"),
    ("interior", ("sha256",), GONE, "sha256 is missing"),
    ("interior", ("sha256",), "0" * 64, "sha256"),
    ("interior", ("sha256",), hashlib.sha256(b"").hexdigest().upper(), "sha256"),
    ("interior", (B,), [], "expected an object"),
    ("arithmetic", ("instance",), TWO, "unknown key"),
    ("interior", ("instance", "format"), 2, "problem's format"),
    ("interior", ("instance", "features"), [], "1 to 4096 features"),
    ("interior", ("instance", "features", 0, "mass"), "0", "mass is not positive"),
    ("interior", ("instance", "features", 0, "mass"), "-1", "mass is not positive"),
    ("interior", ("instance", "features", 0, "mass"), 1, "expected a rational"),
    ("interior", ("instance", "features", 1, "w_p"), ["1"], "wrong length"),
    ("interior", ("instance", "features", 1, "w_r"), q("1 0 0"), "wrong length"),
    ("zero", ("instance", "features"), [{"mass": "1", "w_p": [], "w_r": []}], "dimensions"),
    ("interior", ("instance", "activation"), threshold("-1"), "threshold is negative"),
    ("interior", ("instance", "activation"), {"kind": "relu"}, "unknown activation"),
    ("top-k tie", ("instance", "activation"), {"k": 0, "kind": "top-k"}, "k is 0"),
    ("top-k tie", ("instance", "activation"), {"k": True, "kind": "top-k"}, "an index"),
    ("top-k tie", ("instance", "activation"), {"k": 1, "c": "0", "kind": "top-k"}, "unknown key"),
    ("interior", ("instance", "activation"), RELU, "threshold activation"),
    ("interior", (B, "pattern"), [], "1 to 4096 neurons"),
    ("interior", (B, "pattern", 0), [0, 0], "repeats a feature"),
    ("interior", (B, "pattern", 0), [2], "out of range"),
    ("interior", (B, "pattern", 0), ["0"], "not an integer"),
    ("interior", (B, "pattern", 0), [False], "not an integer"),
    # numbers and fields (§1, §3)
    *(("loss", (B, "loss"), bad, "not a rational") for bad in
      ("+4/3", "04/3", "4/03", "4/0", "1.0", "1e1", "", " 4/3", "4/3\n", "4/-3", "\u0664/3", "4/3/1", "--4/3", "4 /3")),
    *(("loss", (B, "loss"), bad, "lowest terms") for bad in ("8/6", "-8/6", "4/1")),
    *(("loss", (B, "loss"), bad, "") for bad in (4, True, ["4/3"], {"4/3": "4/3"})),
    *(("interior", (B, "loss", 0), bad, "rational") for bad in ("-0", "00", "0/1", "0/2", "")),
    ("interior", (B, "parts"), {}, "expected an array"),
    ("interior", (*P0, "w"), "10", "expected an array"),
    ("interior", ("instance", "activation"), "threshold", "not an object"),
    ("irrational", (*P0, "mu"), [], "empty or longer"),
    ("irrational", (*P0, "mu"), ["0", "1", "0"], "empty or longer"),
    ("irrational", (*P0, "field"), GONE, "no field"),
    ("irrational", (*P0, "field", "poly"), ["3"], "degree"),
    ("irrational", (*P0, "field", "poly"), ["0"] * 65 + ["1"], "degree"),
    ("irrational", (*P0, "field", "poly"), ["3", "-6", "2", "0"], "leading coefficient"),
    ("irrational", (*P0, "field", "poly"), ["3/2", "-3", "1"], "not an integer"),
    ("irrational", (*P0, "field", "poly"), ["9", "-36", "48", "-24", "4"], "squarefree"),
    ("irrational", (*P0, "field", "lo"), "0", "exactly one root"),
    ("irrational", (*P0, "field", "hi"), "9/4", "exactly one root"),
    ("irrational", (*P0, "field", "hi"), "2", "interval is empty"),
    ("irrational", (*P0, "field", "poly"), ["-6", "15", "-10", "2"], "vanishes at an end"),
    ("irrational", (*P0, "field", "lo"), "0", "exactly one root"),
    ("irrational", (*P0, "field"), {"poly": ["3", "-6", "2"], "lo": "0", "hi": "1"}, "leaves the cell"),
    # point certificates (§4)
    ("interior", (B, "parts"), [], "wrong length"),
    ("interior", (*P0, "form"), "column", "form"),
    ("interior", (B, "parts", 1, "neuron"), 0, "leaves the cell"),
    ("interior", (B, "parts", 1), row(0, "1", q("1 0")), "two parts"),
    ("interior", (B, "pattern"), [[0], [1], []], "stands in no part"),
    ("overlap", (B,), {"pattern": [[0], [0]], "loss": ["0", "0"],
                       "parts": [row(0, "1", q("1 0")), row(1, "1", q("1 0"))]},
     "share a feature"),
    ("interior", (*P0, "mu"), "2", "H w"),
    ("interior", (*P0, "w"), q("1 1"), "leaves the cell"),
    ("interior", (*P0, "w"), q("0 -1"), "leaves the cell"),
    ("interior", (*P0, "w"), q("1 -1"), None),
    ("positive threshold", (*P0, "w"), q("1/2 0"), "leaves the cell"),
    ("positive threshold", (*P0, "multipliers"), [[1, "1"]], "threshold is positive"),
    ("interior", (B, "loss"), ["0", "1"], "loss of a part"),
    ("interior", (B, "loss"), ["0"], "wrong length"),
    ("interior", (*P0, "multipliers"), [[1, "0"]], "not positive"),
    ("interior", (*P0, "multipliers"), [[1, "1"]], "H w"),
    ("irrational", (*P0, "w"), ["1", ["-1", "2"]], "H w"),
    ("irrational", (B, "loss", 0), "3", "loss of a part"),
    ("irrational", (B, "loss", 1), ["0"], "no field"),
    ("irrational", (B, "parts", 1), row(1, "0", q("-1 -1")), "without features"),
    ("boundary", (*P0, "multipliers"), [], "H w"),
    ("boundary", (*P0, "multipliers"), [[2, "-120/41"]], "not positive"),
    ("boundary", (*P0, "multipliers"), [[2, "60/41"], [2, "60/41"]], "listed twice"),
    ("boundary", (*P0, "multipliers"), [[0, "120/41"]], "not on its face"),
    ("boundary", (*P0, "multipliers"), [[2, "120/41", "1"]], "wrong length"),
    ("joint boundary", (*P0, "multipliers"), [[0, 2, "1"]], "gradient in W"),
    ("joint boundary", (*P0, "multipliers"), [[0, 2, "-240/1681"]], "not positive"),
    ("joint boundary", (*P0, "multipliers"), [[0, 1, "240/1681"]], "not on its face"),
    ("joint boundary", (*P0, "w_d"), [q("3/41 9/41")], "gradient in V"),
    ("joint boundary", (*P0, "w_e"), [q("3 5")], "leaves the cell"),
    ("joint boundary", (*P0, "neurons"), [], "without neurons"),
    ("joint boundary", (B, "loss"), ["49/41"], "loss of a part"),
    ("overlap", (*P0, "neurons"), [0, 0], "twice"),
    ("irrational", ("body", "parts", 1, "multipliers"), [[0, 0, "1"]], "not in the part"),
    ("overlap", (*P0, "neurons"), [0, 1], "leaves the cell"),
    ("overlap", (*P0, "w_d"), [q("0 1"), q("1 1")], "gradient in V"),
    ("saddle", (B, "saddle", "part"), 2, "out of range"),
    ("saddle", (B, "saddle", "part"), 1, "w_e is missing"),
    ("saddle", (B, "saddle", "direction"), q("1 1"), "not negative"),
    ("saddle", (B, "saddle", "w_e"), [], "unknown key"),
    ("saddle", (B, "saddle"), [], "saddle"),
    ("saddle", (B, "saddle"), GONE, "missing"),
    ("saddle on a face", (B, "saddle", "direction"), q("1 -1 1"), "leaves the cell"),
    ("saddle on a face", (*P0, "multipliers"), [[2, "1"]], "H w"),
    ("joint saddle", (B, "saddle", "w_d"), [q("0 0 0 0")], "not negative"),
    ("joint saddle", (B, "saddle", "w_d"), [q("-3/4 1/4 1/4 1/4")], "not negative"),
    ("joint saddle", (B, "saddle", "w_e"), [q("1 1")], "not negative"),
    ("joint saddle", (B, "saddle"), {"part": 0, "w_e": [q("0 0")], "w_d": [q("0 0 0 0")]}, "not negative"),
    ("joint saddle", ("kind",), "local-min", "order is missing"),
    ("minimum on a line", ("body",), {"pattern": [[0]], "loss": ["0"], "order": [],
                                      "parts": [joint([0], [["1"]], [["1"]])]},
     "not a row part"),
    ("joint saddle", (B, "saddle", "w_e"), [q("1 -1"), q("1 1")], "wrong length"),
    ("minimum", (B, "order"), [], "wrong length"),
    ("minimum", (*ORDER, "kernel"), [["1", "1"]], "annihilate"),
    ("minimum", (*ORDER, "kernel"), [], "positive definite"),
    ("minimum", (*ORDER, "u"), [[1, q("0 0")]], "without a multiplier"),
    ("boundary minimum", (*ORDER, "u"), [], "annihilate"),
    ("boundary minimum", (*ORDER, "u"), [[2, q("0 0")], [2, q("72/205 96/205")]], "listed twice"),
    ("boundary minimum", (*ORDER, "n"), [[2, 2, "0"]], "slack faces"),
    ("minimum on a ray", (*ORDER, "n"), [], "positive definite"),
    ("minimum on a ray", (*ORDER, "n"), [[2, 3, "-1"]], "negative"),
    ("minimum on a ray", (*ORDER, "n"), [[3, 2, "1"]], "not ordered"),
    ("minimum on a ray", (*ORDER, "n"), [[0, 2, "1"]], "slack faces"),
    ("minimum on a ray", (*ORDER, "n"), [[2, 2, "1"]], "positive definite"),
    ("family", (*ORDER, "kernel"), [q("2 1")], "positive definite"),
    # the other kinds (§5)
    ("witness", (B, "w_e", 0), q("1 0"), "does not have this pattern"),
    ("witness", (B, "w_e"), [q("1 1")], "wrong length"),
    ("top-k tie", (B, "w_e"), [["-1"], ["1"]], "does not have this pattern"),
    ("top-k tie", (B, "pattern"), [[], [0, 1]], "does not have this pattern"),
    ("top-k tie", ("instance", "activation"), RELU, "does not have this pattern"),
    ("top-k-relu", (B, "w_e"), [["-1"], ["1"]], "does not have this pattern"),
    ("empty", (*FAR, "neuron"), 2, "out of range"),
    ("empty", (*FAR, "neuron"), 0, "fit the pattern"),
    ("empty", (*FAR, "on"), [], "no feature is on"),
    ("empty", (*FAR, "off"), [[0, "6/5"]], "differ"),
    ("empty", (*FAR, "on"), [[1, "-1"]], "not positive"),
    ("empty", (*FAR, "on"), [[1, "1/2"], [1, "1/2"]], "listed twice"),
    ("empty", (*FAR, "off"), [[0, "6/5"], [2, "1"], [1, "1"]], "fit the pattern"),
    ("empty", ("instance", "activation"), threshold("1"), "outweighs"),
    ("empty", (FAR), {"count": 0}, "missing"),
    ("empty count", (*FAR, "count"), 0, "possible"),
    ("empty count", (*FAR, "count"), 2, "out of range"),
    ("empty count", FAR, {"comparisons": [[0, 0, 1, "1"]], "positives": [], "nonpositives": []}, "impossible"),
    ("empty count", ("instance", "activation"), RELU, "possible"),
    ("empty count relu", (*FAR, "count"), 0, "possible"),
    ("empty top-k", (*FAR, "comparisons"), [[0, 0, 1, "2"]], "not zero"),
    ("empty top-k", (*FAR, "comparisons"), [[0, 0, 1, "2"], [1, 1, 0, "0"]], "not positive"),
    ("empty top-k", (*FAR, "comparisons"), [[0, 0, 1, "1"], [0, 0, 1, "1"], [1, 1, 0, "1"]], "listed twice"),
    ("empty top-k", (*FAR, "comparisons"), [[0, 1, 0, "2"], [1, 0, 1, "1"]], "fit the pattern"),
    ("empty top-k", (*FAR, "comparisons"), [], "strict"),
    ("empty top-k", (*FAR, "positives"), [[0, 0, "1"]], "free under top-k"),
    ("empty top-k", (*FAR, "nonpositives"), [[0, 1, "1"]], "free under top-k"),
    ("empty top-k-relu", (*FAR, "positives"), [[0, 0, "1"]], "not zero"),
    ("empty top-k-relu", (*FAR, "positives"), [[1, 0, "1"]], "fit the pattern"),
    ("empty top-k-relu", (*FAR, "nonpositives"), [[0, 1, "1"]], "fit the pattern"),
    ("empty top-k-relu", (*FAR, "comparisons"), [[1, 0, 1, "1"]], "fit the pattern"),
    ("empty top-k-relu", (*FAR, "comparisons"), [[0, 0, 1, "1"]], "not zero"),
    ("empty top-k-relu", FAR, {"comparisons": [], "positives": [], "nonpositives": [[1, 0, "1"]]}, "not zero"),
    ("none", (B, "neuron"), 0, "no features"),
    ("none", (B, "pattern"), [[0], [0, 1]], "shares a feature"),
    ("none", (B, "chain"), [], "end at T"),
    ("none", (*LINK, "to"), "2", "wrong"),
    ("none", ("body", "chain", 1, "to"), "5/2", "wrong"),
    ("none", (*NODE0, "x"), q("0 -1"), "wrong"),
    ("none", (*NODE0, "start"), side([]), "y is empty"),
    ("none", (*NODE0, "start"), side([[1, "-4"]]), "not positive"),
    ("none", (*NODE0, "end"), side([[1, "2"]]), "wrong"),
    ("none", (*NODE0, "start", "z"), [[0, "1"]], "z at a feature"),
    ("none", (*NODE0, "start", "s"), [[0, "1"]], "s is 0"),
    ("none", (*NODE0,), {"branch": 0, "tight": {}, "free": {}}, "not open"),
    ("none", (*LINK, "to"), "alpha", "without a field"),
    ("none", (*LINK, "to"), 1, "expected a rational"),
    ("none at alpha", ("body", "chain", 1, "field"), GONE, "same field"),
    ("none at alpha", ("body", "chain", 1, "field"), {**ROOT2, "lo": "5/4"}, "same field"),
    ("none at alpha", ("body", "chain", 1), GONE, "end at T"),
    ("none at alpha", ("body", "chain", 1, "tree", "start"), side([[0, ["1", "-1"]]]), "not positive"),
    ("none at alpha", ("body", "chain", 1, "to"), ["3"], "expected a rational"),
    ("none in an empty cell", ("instance", "activation"), threshold("1"), "outweighs"),
    ("none by branching", (*NODE1, "branch"), 0, "not open"),
    ("none by branching", NODE1, leaf(q("-1 0"), side([[0, "1/2"]]), side([[0, "2"]])), "possible face"),
    ("none by branching", (*NODE1, "tight", "start", "s"), [[2, "0"]], "s is 0"),
    ("none by branching", (*NODE1, "tight", "start", "s"), [[1, "1"]], "s is 0"),
    ("none by branching", (*NODE1, "tight", "start", "z"), [[2, "1"]], "z at a feature"),
    ("none by branching", (*NODE1, "free", "start", "s"), [[2, "1"]], "s is 0"),
    ("none by branching", (*NODE1, "tight", "x"), q("-1 0"), "possible face"),
    ("none by branching", ("instance", "activation"), threshold("1"), "not open"),
    ("epsilon", (B, "epsilon"), "-1", "epsilon is negative"),
    ("epsilon", (B, "epsilon"), "1/15", "residual in W"),
    ("epsilon", (B, "pattern"), [[0]], "does not have this pattern"),
    ("epsilon", (B, "dual_v"), [q("0 0")] * 2, "residual in V"),
    ("epsilon", (B, "dual_v", 0), q("1 0"), "dual_v is not feasible"),
    ("epsilon", (B, "dual_v"), [q("0 0")], "wrong length"),
    ("epsilon", (B, "dual_w", 0), q("1 0"), "dual_w is not feasible"),
    ("epsilon", (B, "slack"), [[0, 0, "1"]], "dual_w is not feasible"),
    ("epsilon", (B, "slack"), [[0, 0, "0"]], "not positive"),
    ("epsilon with slack", (B, "slack"), [], "dual_w is not feasible"),
    ("epsilon with slack", (B, "slack"), [[0, 0, "1/162"], [0, 0, "1/162"]], "listed twice"),
    ("epsilon with slack", (B, "epsilon"), "1/100", "residual in W"),
    ("zero", (B, "point", "w_d", 0), q("1 1"), "not reconstructed"),
    ("zero", (B, "point", "w_d"), [q("1 0")], "wrong length"),
    ("loss", (B, "loss"), "5/3", "the loss is another"),
    ("bound", (B, "bound"), "11/10", "do not reach"),
    ("bound", (B, "latents"), 0, "no latents"),
    ("bound", (B, "latents"), 2, "do not reach"),
    ("bound", (B, "latents"), 5000, "out of range"),
    ("bound", (*GROUP, "t"), "-1", "t is negative"),
    ("bound", (*GROUP, "t"), "3/2", "tI + y - S"),
    ("bound", (*GROUP, "y"), [q("0 1"), q("0 0")], "not symmetric"),
    ("bound", (*GROUP, "y"), [q("0 1"), q("1 0")], "y is not positive"),
    ("bound", (*GROUP, "y"), [q("-1 0"), q("0 0")], "y is not positive"),
    ("bound", (*GROUP, "features"), [0, 1, 1], "repeat a feature"),
    ("bound", (*GROUP, "features"), [], "empty group"),
    ("bound", ("body", "tree"), [], "not an object"),
    ("bound", ("body", "tree"), {"groups": [{"features": [0], "t": "0", "y": [q("1 0"), q("0 0")]}] * 2}, "repeat"),
    ("bound", ("body", "tree"), {"empty": {"neuron": 0, "on": [[0, "1"]], "off": []}}, "not decided on"),
    ("bound", ("body", "tree"), {"empty": {"neuron": 0, "on": [], "off": [[0, "1"]]}}, "not decided off"),
    ("bound of a cell", (B, "pattern"), [[0]], "wrong length"),
    ("bound of a cell", (B, "pattern"), [[0], [1]], "do not reach"),
    ("bound of a cell", ("body", "tree"), {"branch": [0, 0], "on": {}, "off": {}}, "decided pair"),
    ("bound by branching", ("body", "tree", "on", "branch"), [0, 1], "decided pair"),
    ("bound by branching", ("body", "tree", "on", "off", "off", "empty", "on"), [[0, "1"]], "not decided on"),
    ("bound by branching", ("body", "tree", "on", "off", "off", "empty", "off"), [[0, "6/5"]], "differ"),
    ("bound by branching", ("body", "tree", "on"), {"groups": []}, "do not reach"),
    ("bound by a code", ("body", "bound"), "1000001/1000000", "do not reach"),
    ("bound by a code", (*CODE, "s"), "1000001/1000000", "less than s"),
    ("bound by a code", ("body", "latents"), 2, "as many as it has features"),
    ("bound by a code", ("body", "pattern"), [[]], "no neurons reach"),
    ("bound by a code", (*CODE, "weights", 1), "0", "weight is not positive"),
    ("bound by a code", (*CODE, "weights", 0), "1/1000", "not positive semidefinite"),
    ("bound by a code", (*CODE, "trees"), [], "one for each set"),
    ("bound by a code", (*TREE, "halve"), [1, 1], "one vertex"),
    ("bound by a code", (*TREE, "halve"), [0, 2], "out of range"),
    ("bound by a code", (*TREE, "first", "mu"), q("1/2 1/2"), "not positive semidefinite"),
    ("bound by a code", (*TREE, "first", "mu"), ["1"], "wrong length"),
    ("bound by a code", (*TREE, "first", "ends"), [{"t": "1", "y": []}], "wrong length"),
    ("bound by a code", (*TREE, "first", "ends", 1, "t"), "1000001/1000000", "not positive semidefinite"),
    ("bound by a code", (*TREE, "first", "ends", 1, "t"), "999999/1000000", "less than s"),
    ("bound by a code", (*TREE, "second", "ends", 0, "y"), [], "not positive semidefinite"),
    ("bound by a code", (*TREE, "second", "ends", 0, "y"), [q("0 3/5")], "less than s"),
    ("bound by cones", (B, "bound"), "49/50", "do not reach"),
    ("bound by cones", (*CONES, "s"), "2", "a coefficient is negative"),
    ("bound by cones", (B, "pattern"), [[1], [1]], "always dependent"),
    ("bound by cones", (B, "pattern"), [[], []], "no neurons reach"),
    ("bound by cones", (B, "pattern"), GONE, "undecided on the group"),
    ("bound by cones", (*CONES, "steps"), [], "a step is missing"),
    ("bound by cones", (*CONES, "steps"), [{"minus": [0, 1]}, {"minus": [1, 0]}], "negative rays"),
    ("bound by cones", (*CONES, "steps"), [{"bounded": "codes"}], "a coefficient is negative"),
    ("bound by cones", (*CONES, "steps", 0, "cut"), [0, 0, 1], "a coefficient is negative"),
    ("bound by cones", (*CONES, "steps", 0, "cut"), [0, 1, 1], "no cut between two vertices"),
    ("bound by cones", (*CONES, "steps", 0, "cut"), [0, 1, 2], "out of range"),
    ("bound by cones", (*CONES, "steps", 0, "of"), "differences", "no differences of this neuron"),
    ("bound by cones", (*CONES, "steps", 0, "weight"), "-1", "no cut between two vertices"),
    ("bound by cones", (*CONES, "steps", 4, "minus"), [1, 0], "a cone that was cut"),
    ("bound by cones", (*CONES, "steps", 4, "minus"), [1, 1], "a cone that was cut"),
    ("bound by cones", (*CONES, "steps", 7, "bounded"), "both", "neither codes nor differences"),
    ("bound by differences", (*CONES, "steps", 6, "difference"), [1, 0], "to one before it"),
    ("bound by differences", (*CONES, "steps", 6, "form"), q("0 0 0"), "not positive on all vertices"),
    ("bound by differences", (*CONES, "steps", 6, "form"), q("9 64"), "wrong length"),
    ("bound by differences", (*CONES, "steps", 7), {"difference": [0, 1], "form": q("9 64 17")}, "to one before it"),
    ("bound by differences", (*CONES, "steps", 7), {"minus": [0, 1]}, "a cone that was cut"),
    ("bound by differences", (*CONES, "steps", 8), {"bounded": "codes"}, "a coefficient is negative"),
    ("bound by a cone", (*CONE, "t"), "199/100", "tD - DGD - N"),
    ("bound by a cone", (*CONE, "t"), "-1", "t is negative"),
    ("bound by a cone", (*CONE, "n"), [], "tD - DGD - N"),
    ("bound by a cone", (*CONE, "n"), [[0, 1, "-1"]], "not positive"),
    ("bound by a cone", (*CONE, "n"), [[1, 0, "1"]], "in order"),
    ("bound by a cone", (B, "latents"), 2, "several neurons"),
    ("bound by a cone", (B, "bound"), "11/10", "do not reach"),
    ("bound by a kernel", (*KERNEL, "s"), "2/5", "the form is not positive"),
    ("bound by a kernel", (B, "latents"), 3, "too many neurons"),
    ("bound by a kernel", (*KERNEL, "basis"), [q("1 0 1"), q("0 1 0"), q("0 0 0")], "dependent"),
    ("bound by a kernel", (*KERNEL, "basis"), [q("1 0"), q("0 1"), q("0 0")], "too many neurons"),
    ("bound by a kernel", (*KERNEL, "tree", "positive", "other", "n"), [[0, 1, "-5/8"]], "not positive"),
    ("bound by a kernel", (*KERNEL, "tree", "positive", "other", "n"), [[1, 0, "5/8"]], "not in order"),
    ("bound by a kernel", (*KERNEL, "tree", "positive", "other", "n"), [[0, 2, "5/8"]], "out of range"),
    ("bound by a kernel", (*KERNEL, "tree", "positive", "other", "n"), [], "the form is not positive"),
    ("bound by a kernel", (*KERNEL, "tree", "positive", "positive", "positive", "above", "free"), [[0, 0, "1"], [1, 1, "1"]],
     "not balanced at a feature"),
    ("bound by a kernel", (*KERNEL, "tree", "positive", "positive", "positive", "above", "on"), [[0, 0, "1"]],
     "not decided on"),
    ("bound by a kernel", (*KERNEL, "tree", "positive", "positive", "positive", "above", "neuron"), 2, "out of range"),
    ("bound by a kernel", (*KERNEL, "tree", "other"),
     {"sign": q("0 1 0"), "other": {"n": [[0, 1, "20"]]}, "positive": {"sign": q("0 0 1"), "other": {"n": [[0, 1, "20"]]},
      "positive": {"above": {"neuron": 0, "on": [], "off": [], "free": [[0, 1, "1"], [1, 2, "1"], [2, 3, "1"]]}}}},
     "nothing is strictly positive"),
    ("bound by the kernel of a row", (B, "pattern"), [[0]], "not decided on"),
    ("bound by the kernel of a row", (B, "tree", "groups", 1, "kernel", "tree", "positive", "positive", "above", "on"),
     [[1, 1, "1/3"]], "a column is not balanced"),
    ("bound by the kernel of a row", ("instance", "activation", "c"), "1", "threshold outweighs a form"),
    ("bound by a face", ("instance", "activation", "c"), "1", "the threshold is not 0"),
    ("bound by a face", (B, "tree", "face"), [0, 1], "not decided off"),
    ("bound by a face", (B, "tree", "face"), [1, 2], "out of range"),
    ("bound by a face", (B, "tree", "below"), {"face": [0, 2], "tight": {"groups": []}, "below": {"groups": []}},
     "a decided face"),
    ("bound by a face", (B, "tree", "tight", "groups", 0, "kernel", "basis"), [["1"], ["1"]], "too many neurons"),
    ("bound by a face", ("instance", "features", 2, "w_p"), q("1 -1"), "too many neurons"),
    ("bound by a face", (B, "tree", "below", "groups", 0, "kernel", "tree", "positive", "other", "above"),
     {"neuron": 0, "on": [], "off": [[2, 0, "1"]], "free": []}, "a column is not balanced"),
    ("not convex", (B, "t"), "0", "between 0 and 1"),
    ("not convex", (B, "t"), "1", "between 0 and 1"),
    ("not convex", (B, "t"), "1/9", "above the chord"),
    ("not convex", (B, "cell", "threshold"), "1/2", "leaves the cell"),
    ("not convex", (B, "to", "w_e", 1), ["8/5"], None),
    ("not convex", (B, "to", "w_e", 1), ["3/2"], "above the chord"),  # a tie in the middle
    ("not convex", (B, "from", "w_d", 1), ["1"], "above the chord"),
    ("not convex", (B, "from"), {"w_e": [["1"]], "w_d": [["1"]]}, "different shapes"),
    ("not optimal in W", (B, "better"), CENTRE, "not better"),
    ("not optimal in W", (B, "better"), {"w_e": [q("3/5 6/5")], "w_d": [q("1/3 1/3")]}, "agree in neither"),
    ("not optimal in W", (B, "better"), {"w_e": [q("3/5 -6/5")], "w_d": [q("1/3 2/3")]}, "different firing sets"),
    ("not optimal in W", (B, "better"), PERFECT, "different shapes"),
    ("not separable", (B, "neurons"), [1, 1], "are one"),
    ("not separable", (B, "neurons"), [1], "wrong length"),
    ("not separable", (B, "difference"), "3", "difference"),
    ("not separable", (B, "rows", 0), ["-1"], "different firing sets"),
    ("not separable", (B,), {"point": {"w_e": [["1"], ["1"]], "w_d": [["1"], ["0"]]}, "neurons": [0, 1],
                             "rows": [["2"], ["3"]], "difference": "0"}, "or 0"),
    ("exact loss", (B, "loss"), "1/32", "the loss is another"),
    ("exact loss", (B, "approximate"), "1", "approximate loss"),
    ("exact loss", (B, "distribution", 0, "probability"), "1/4", "add up to 1"),
    ("exact loss", (B, "distribution", 0, "probability"), "-1/2", "not positive"),
    ("exact loss", (B, "distribution", 1, "x"), ["-1/4"], "negative"),
    ("exact loss", (B, "distribution", 1, "x"), ["1"], "repeated"),
    ("exact loss of a pair", (B, "approximate"), "8/9", "approximate loss"),
    ("rank", (B, "rank"), 3, "rank is another"),
    ("rank", (B, "rank"), "4", "an index"),
    ("low rank", (B, "rank"), 4, "rank is another"),
    ("absorbed", (B, "w_e"), [q("1 0")], "does not have this pattern"),
    ("absorbed", (B, "pattern"), [[0]], "does not have this pattern"),
    ("absorbed", (B,), {"pattern": [[0]], "w_e": [q("1 0")], "neuron": 0, "split": {"none": []}}, "fewer than two"),
    ("absorbed", (B, "split", "realizable", "w_e"), [q("0 1"), q("1 0")], "realize the split"),
    ("absorbed", (B, "split", "realizable", "w_e"), [q("1 0")], "wrong length"),
    ("absorbed", (B, "split", "realizable", "feature"), 2, "out of range"),
    ("not absorbed under top-1", (B, "split", "none", 1), GONE, "once each"),
    ("not absorbed under top-1", (B, "split", "none", 0, "farkas", "nonpositives"), [[2, 1, "6/5"], [3, 0, "1"]], "not zero"),
    ("not absorbed under top-1", (B, "split", "none", 0, "farkas"), {"neuron": 0, "on": [], "off": []}, "is missing"),
    ("not absorbed", (B, "split", "none", 1), GONE, "once each"),
    ("not absorbed", (B, "split", "none", 1, "feature"), 1, "once each"),
    ("not absorbed", (B, "split", "none", 1, "feature"), 2, "once each"),
    ("not absorbed", (B, "split", "none", 0, "farkas", "neuron"), 0, "fit the pattern"),
    ("not absorbed", (B, "split", "realizable"), {"feature": 2, "w_e": [q("1 0")] * 2}, "unknown key"),
    ("not absorbed", (B, "split"), {"realizable": {"feature": 2, "w_e": [q("1 0")] * 2}}, "not in the neuron"),
    ("arithmetic", (B, "steps"), [], "no steps"),
    ("arithmetic", (*STEP, "relation"), "<", "does not hold"),
    ("arithmetic", (*STEP, "relation"), "!=", "unknown"),
    ("arithmetic", (*STEP, "relation"), ["="], "unknown"),
    ("arithmetic", (*STEP, "left"), {"mul": []}, "empty sum"),
    ("arithmetic", (*STEP, "left"), {"div": ["1", {"sub": ["2", "2"]}]}, "division by zero"),
    ("arithmetic", (*STEP, "left"), {"sqrt": ["4"]}, "unknown operation"),
    ("arithmetic", (*STEP, "left"), {"add": ["1"], "mul": ["1"]}, "not one operation"),
    ("arithmetic", (*STEP, "left"), {"pow": ["2", -1]}, "index"),
    ("arithmetic", (*STEP, "left"), {"pow": ["2", "2"]}, "index"),
    ("arithmetic", (*STEP, "left"), {"pow": ["1", 100001]}, "index"),
    ("arithmetic", (*STEP, "left"), {"binomial": [100001, 1]}, "index"),
    ("arithmetic", (*STEP, "left"), {"pow": [{"pow": ["7", 1000]}, 1000]}, "2,000,000 bits"),
    ("arithmetic", (*STEP, "left"), 1, "rational"),
]


def mutated(whole, path, value):
    whole = copy.deepcopy(whole)
    holder = whole
    for key in path[:-1]:
        holder = holder[key]
    if value is GONE:
        del holder[path[-1]]
    else:
        holder[path[-1]] = copy.deepcopy(value)
    return sealed(whole) if path[0] == "instance" and "note" not in path else whole


class CertificatesByHand(unittest.TestCase):
    def test_a_certificate_of_every_kind_is_accepted(self):
        kinds = set()
        for name, whole in accepted().items():
            with self.subTest(name):
                kinds.add(check.check(json.dumps(whole)))
        self.assertEqual(kinds, set(check.KINDS))

    def test_every_violated_condition_is_named_in_the_refusal(self):
        valid = accepted()
        for name, path, value, reason in MUTATIONS:
            with self.subTest(f"{name}: {path} = {value!r:.60}"):
                text = json.dumps(mutated(valid[name], path, value))
                if reason is None:  # a change that keeps every condition
                    check.check(text)
                    continue
                with self.assertRaises(check.Refused) as caught:
                    check.check(text)
                self.assertIn(reason, str(caught.exception))
                if "unexpected" not in reason:
                    self.assertNotIn("unexpected", str(caught.exception))

    def test_a_missing_member_of_any_object_is_refused(self):
        optional = {"note", "cell", ("lower-bound", "pattern")}

        def paths(value, path=()):
            items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
            for key, inner in items:
                if isinstance(value, dict):
                    yield (*path, key)
                yield from paths(inner, (*path, key))

        for name, whole in accepted().items():
            for path in paths(whole):
                if path[-1] in optional or (whole["kind"], path[-1]) in optional and len(path) == 2:
                    continue
                with self.subTest(f"{name}: {path}"), self.assertRaises(check.Refused):
                    check.check(json.dumps(mutated(whole, path, GONE)))

    def test_what_the_words_say(self):
        words = {name: check.certify(json.dumps(whole))[1] for name, whole in accepted().items()}
        self.assertEqual(words["irrational"], "interior")
        self.assertEqual(words["boundary"], "boundary")
        self.assertEqual(words["minimum"], "interior, strict")
        self.assertEqual(words["boundary minimum"], "boundary, strict")
        self.assertEqual(words["minimum on a ray"], "interior, strict")
        self.assertEqual(words["family"], "interior, not strict")


class HostileText(unittest.TestCase):
    def refused(self, text, reason):
        with self.assertRaises(check.Refused) as caught:
            check.check(text)
        self.assertIn(reason, str(caught.exception))

    def test_syntax(self):
        good = json.dumps(accepted()["arithmetic"])
        check.check(good)
        check.check(" \n" + good.replace('"body"', r'"b\u006fdy"'))
        self.refused("", "not JSON")
        self.refused("[]", "unknown kind")
        self.refused("\ufeff" + good, "not JSON")
        self.refused(good + "x", "not JSON")
        self.refused(good[:-1] + ',"format":1}', "duplicate key")
        self.refused(good[:-1] + r',"form\u0061t":1}', "duplicate key")
        self.refused(good[:-1] + ',"note":null}', "null")
        self.refused(good[:-1] + ',"note":"\ud800"}', "UTF-8")
        for number in ("1.0", "1e0", "NaN", "Infinity", "-Infinity", "1E400"):
            self.refused(good.replace('"format": 1', f'"format": {number}'), "not an integer")
        for number in ("-0", "-1", "1" * 16, "1" * 100_000):
            self.refused(good.replace('"format": 1', f'"format": {number}'), "index")
        self.refused(good.replace('"format": 1', '"format": 01'), "not JSON")
        self.refused(good.replace('"1/9"', '"1/9\x00"'), "not JSON")

    def test_depth_is_counted_from_the_top_level_object(self):
        def nested(depth):  # object, body, steps, step: 4 levels; each add two more
            expression = "1"
            for _ in range(depth):
                expression = {"add": [expression]}
            step = {"left": expression, "relation": "=", "right": "1"}
            return json.dumps(certificate("arithmetic", None, steps=[step]))

        check.check(nested(30))
        self.refused(nested(31), "nesting")
        self.refused('{"note": "' + "[" * 100 + '"}', "unknown kind")
        self.refused("[" * 10**6, "nesting")
        self.refused('{"a":' * 10**6, "nesting")
        self.refused('"' + '\\"' * 10**6, "not JSON")
        self.refused('""' * 10**6, "not JSON")

    def test_sizes(self):
        digits = certificate("arithmetic", None, steps=[{"left": "1" * 200_000, "relation": ">", "right": "1"}])
        check.check(json.dumps(digits))
        digits["body"]["steps"][0]["left"] += "1"
        self.refused(json.dumps(digits), "200,000 digits")
        digits["body"]["steps"][0]["left"] = "1/" + "1" * 200_001
        self.refused(json.dumps(digits), "200,000 digits")
        self.refused(" " * (check.MAX_BYTES + 1), "32 MiB")
        self.refused("[" + "1," * check.MAX_VALUES, "too many values")
        big = certificate("zero-loss", LINE, point={"w_e": [["1"]] * 4097, "w_d": [["1"]] * 4097})
        self.refused(json.dumps(big), "4096")
        big = certificate("zero-loss", problem([["1"]] * 4097, [["1"]] * 4097, ["1"] * 4097), point=PERFECT)
        self.refused(json.dumps(big), "4096")
        wide = certificate("jacobian-rank", problem([["1"] * 100], [["1"] * 200], ["1"]),
                           point={"w_e": [["1"] * 100] * 100, "w_d": [["1"] * 200] * 100}, rank=0)
        self.refused(json.dumps(wide), "4,000,000")

    def test_a_tree_has_a_limited_number_of_nodes(self):
        limit, check.MAX_NODES = check.MAX_NODES, 2
        try:
            for name in ("none by branching", "bound by branching"):
                self.refused(json.dumps(accepted()[name]), "nodes")
        finally:
            check.MAX_NODES = limit

    def test_the_budget_ends_long_work(self):
        """With a thirtieth of the budget, so that the test is short: a unit of work is about a nanosecond."""
        rng = random.Random(1)
        power = {"mul": [{"pow": ["3/2", 100_000]}] * 7}
        coprime = [str(Fraction(1, rng.getrandbits(60_000) | 1)) for _ in range(300)]
        wide = problem([coprime], [["1"]], ["1"])
        poly = ["".join(rng.choices("123456789", k=180_000)) for _ in range(64)] + ["1"]
        part = row(0, "1", q("1 0"), field={"poly": poly, "lo": "0", "hi": "1"})
        many, line = [["1"] * 500] * 500, [["1"]] * 500
        cases = [
            certificate("arithmetic", None, steps=[{"left": power, "relation": ">", "right": "0"}] * 2000),
            certificate("arithmetic", None, steps=[{"left": {"add": coprime}, "relation": ">", "right": "0"}]),
            certificate("loss-value", wide, point={"w_e": [coprime[::-1]], "w_d": [["1"]]}, loss="0"),
            certificate("partial-optimum", TWO, pattern=[[0]], loss=["0"], parts=[part]),
            certificate("zero-loss", problem(many, line, ["1"] * 500), point={"w_e": many, "w_d": line}),
        ]
        budget, check.BUDGET = check.BUDGET, 10**9
        try:
            for whole in cases:
                started = time.monotonic()
                self.refused(json.dumps(whole), "budget")
                print(f"hostile {whole['kind']}: {time.monotonic() - started:.1f} s", file=sys.stderr)
        finally:
            check.BUDGET = budget


class Arithmetic(unittest.TestCase):
    def random_number(self, rng, field, length):
        return check.num([str(Fraction(rng.randint(-9, 9), rng.randint(1, 5))) for _ in range(length)], field)

    def test_signs_agree_with_forty_digits(self):
        """The norm of these small numbers is a rational of small denominator: below 1e-40 only 0 is left."""
        getcontext().prec = 60
        rng = random.Random(7)
        cases = [({"poly": ["-2", "0", "1"], "lo": "1", "hi": "2"}, Decimal(2).sqrt()),
                 ({"poly": ["-2", "0", "1"], "lo": "-7/3", "hi": "0"}, -Decimal(2).sqrt()),
                 ({"poly": ["-1", "3"], "lo": "0", "hi": "1"}, Decimal(1) / 3),
                 ({"poly": ["4", "-2", "-2", "1"], "lo": "1", "hi": "3/2"}, Decimal(2).sqrt()),  # (x^2-2)(x-2)
                 ({"poly": ["-1", "-1", "1"], "lo": "1", "hi": "100"}, (1 + Decimal(5).sqrt()) / 2)]
        zeros = 0
        for declaration, alpha in cases:
            field = check.Field(declaration)
            for _ in range(200):
                numbers = [self.random_number(rng, field, rng.randint(1, field.degree)) for _ in range(3)]
                product = numbers[0] * numbers[1] - numbers[2] * numbers[2]
                if rng.random() < 0.3:
                    square = field.alpha * field.alpha
                    product = product * (square - check.TWO)
                value = sum(Decimal(x) * alpha**k for k, x in enumerate(product.c)) / product.d
                expected = 0 if abs(value) < Decimal("1e-40") else 1 if value > 0 else -1
                zeros += expected == 0
                self.assertEqual(check.sign(product), expected)
                self.assertEqual(check.zero(product), expected == 0)
        self.assertGreater(zeros, 50)

    def test_a_root_of_a_factor_elsewhere_is_not_zero(self):
        field = check.Field({"poly": ["4", "-2", "-2", "1"], "lo": "1", "hi": "3/2"})  # (x^2 - 2)(x - 2) at sqrt 2
        self.assertFalse(check.zero(field.alpha - check.TWO))
        self.assertTrue(check.zero(field.alpha * field.alpha - check.TWO))

    def test_a_field_is_accepted_iff_its_interval_holds_one_root(self):
        rng, seen = random.Random(2), set()
        for _ in range(400):
            roots = rng.sample([Fraction(k, 3) for k in range(-12, 13)], rng.randint(1, 6))
            poly = [Fraction(rng.choice((-2, 1, 3)))]
            if rng.random() < 0.5:
                poly = [5 * poly[0], poly[0] * rng.randint(-4, 4), poly[0]]  # no real root: the discriminant is < 0
            for root in roots:
                poly = [3 * (below - root * here) for below, here in zip([0, *poly], [*poly, 0])]
            lo, hi = sorted(rng.sample([Fraction(k, 3) + Fraction(1, 7) for k in range(-13, 13)], 2))
            expected = sum(lo < root < hi for root in roots)
            try:
                field = check.Field({"poly": text_of(poly), "lo": str(lo), "hi": str(hi)})
                (root,) = [root for root in roots if lo < root < hi]
                self.assertEqual(check.sign(field.alpha - check.rat(str(root))), 0)
                low, high = field.enclosure(500)
                self.assertTrue(low <= root * 2**500 <= high <= low + 4)
            except check.Refused as refusal:
                self.assertIn("exactly one root", str(refusal))
                self.assertNotEqual(expected, 1)
            else:
                self.assertEqual(expected, 1)
            seen.add((len(roots), expected))
        self.assertGreater(len(seen), 20)

    def test_a_tiny_difference_is_not_zero(self):
        field = check.Field(ROOT2)
        a, b = 1, 1  # convergents a/b of the square root of 2: a^2 - 2b^2 = ±1
        for _ in range(1500):
            a, b = a + 2 * b, a + b
        near = field.alpha - check.Num((a,), b)
        self.assertEqual(check.sign(near), -1 if a * a > 2 * b * b else 1)

    def test_sums_and_products_agree_with_fractions(self):
        rng = random.Random(3)
        for _ in range(300):
            u, v = ([Fraction(rng.randint(-50, 50), rng.randint(1, 30)) for _ in range(6)] for _ in range(2))
            s, t = ([check.rat(str(x)) for x in w] for w in (u, v))
            result, expected = check.dot(s, t), sum(x * y for x, y in zip(u, v))
            self.assertEqual((result.c[0], result.d), (expected.numerator, expected.denominator))
            result, expected = s[0] * t[0] - s[1] + t[1], u[0] * v[0] - u[1] + v[1]
            self.assertEqual((result.c[0], result.d), (expected.numerator, expected.denominator))

    def test_definiteness_and_rank_agree_with_minors(self):
        def determinant(m):
            if not m:
                return 1
            return sum((-1) ** j * m[0][j] * determinant([r[:j] + r[j + 1:] for r in m[1:]]) for j in range(len(m)))

        rng, seen = random.Random(11), set()
        for _ in range(1500):
            n, k = rng.randint(1, 4), rng.randint(1, 4)
            b = [[rng.randint(-2, 2) for _ in range(n)] for _ in range(k)]
            m = [[sum(r[i] * r[j] for r in b) - (rng.random() < 0.02) for j in range(n)] for i in range(n)]
            m = [[m[max(i, j)][min(i, j)] for j in range(n)] for i in range(n)]
            subsets = [s for size in range(1, n + 1) for s in itertools.combinations(range(n), size)]
            psd = all(determinant([[m[i][j] for j in s] for i in s]) >= 0 for s in subsets)
            true_rank = max((len(s) for s in subsets if any(
                determinant([[m[i][j] for j in t] for i in s]) for t in subsets if len(t) == len(s))), default=0)
            self.assertEqual(check.rank(m), true_rank)
            self.assertEqual(check.definite(m), true_rank if psd else -1)
            seen.add((n, psd, true_rank))
        self.assertGreater(len(seen), 15)

    def test_a_field_of_degree_twelve_checks_in_seconds(self):
        """A block of twelve features with random masses; its optimum has coordinates of some thousand bits."""
        n, rng = 12, random.Random(5)
        r = [[Fraction(rng.randint(1, 2**60), 2**60 + 7) for _ in range(n)] for _ in range(n)]
        masses = [Fraction(rng.randint(1, 2**60), 2**60 - 3) for _ in range(n)]
        k = [[sum(x * y for x, y in zip(u, v)) * m for v, m in zip(r, masses)] for u in r]  # a ↦ G D a
        # Faddeev-LeVerrier: the characteristic polynomial and the first column of the adjugate of xI - K
        unit = [[Fraction(int(i == j)) for j in range(n)] for i in range(n)]
        poly, power, columns = [Fraction(1)], unit, [[row_[0] for row_ in unit]]
        for step in range(1, n + 1):
            product = [[sum(x * y for x, y in zip(u, v)) for v in zip(*power)] for u in k]
            poly.insert(0, -sum(product[i][i] for i in range(n)) / step)
            power = [[product[i][j] + poly[0] * (i == j) for j in range(n)] for i in range(n)]
            columns.insert(0, [row_[0] for row_ in power])
        w = [[columns[d + 1][i] for d in range(n)] for i in range(n)]
        vector = [1.0] * n
        for _ in range(200):
            vector = [sum(float(x) * y for x, y in zip(u, vector)) for u in k]
            size = max(vector)
            vector = [x / size for x in vector]
        common = 1
        for c in poly:
            common = common * c.denominator // check.math.gcd(common, c.denominator)
        field = {"poly": [str(c * common) for c in poly], "lo": str(Fraction(size) * 999 / 1000),
                 "hi": str(Fraction(size) * 1001 / 1000)}
        unit = text_of(unit)
        instance = problem(unit, text_of(r), text_of(masses))
        mu = ["0", "1"]
        loss = [str(sum(m * x * x for m, v in zip(masses, r) for x in v)), "-1"]
        body = dict(pattern=[list(range(n))], loss=[loss], parts=[row(0, mu, text_of(w), field=field)])
        started = time.monotonic()
        whole = certificate("local-min", instance, order=[{"u": [], "n": [], "kernel": [text_of(w)]}], **body)
        self.assertEqual(check.certify(json.dumps(whole))[1], "interior, strict")
        seconds = time.monotonic() - started
        size = max(len(x) for coordinate in w for x in map(str, coordinate))
        print(f"degree 12, numbers of {size} digits: {seconds:.1f} s, budget used {check.work:.1e}", file=sys.stderr)
        self.assertLess(seconds, 60)  # a guard against blow-up; about 2 s on an idle core


class CommandLine(unittest.TestCase):
    def run_main(self, *arguments):
        out, err = io.StringIO(), io.StringIO()
        out.reconfigure = err.reconfigure = lambda **_: None
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                status = check.main(list(arguments))
            except SystemExit as end:
                status = end.code
        return status, out.getvalue(), err.getvalue()

    def test_files_folders_json_and_exit_codes(self):
        with tempfile.TemporaryDirectory() as top:
            os.makedirs(os.path.join(top, "a", "b"))
            good, bad = os.path.join(top, "a", "good.json"), os.path.join(top, "a", "b", "bad.json")
            with open(good, "w", encoding="utf-8") as file:
                json.dump(accepted()["zero"], file)
            self.assertEqual(self.run_main(good), (0, f"accepted  zero-loss  {good}\n", ""))
            with open(bad, "wb") as file:
                file.write(b'{"format": 1, "note": "\xff"}')
            status, out, _ = self.run_main(top)
            self.assertEqual((status, out), (1, f"refused  {bad}: not UTF-8\naccepted  zero-loss  {good}\n"))
            status, out, _ = self.run_main("--json", good, bad)
            self.assertEqual((status, [(x["accepted"], x["kind"], x["reason"]) for x in json.loads(out)]),
                             (1, [(True, "zero-loss", ""), (False, None, "not UTF-8")]))
            self.assertEqual(self.run_main()[0], 2)
            self.assertEqual(self.run_main(good, "--corpus", top)[0], 2)
            self.assertEqual(self.run_main(os.path.join(top, "absent.json"))[0], 2)
            os.mkdir(os.path.join(top, "empty"))
            self.assertEqual(self.run_main(os.path.join(top, "empty"))[0], 2)

    def test_a_corpus_is_right_only_if_both_halves_are(self):
        with tempfile.TemporaryDirectory() as top:
            for half in ("accepted", "refused"):
                os.mkdir(os.path.join(top, half))
            good = accepted()["zero"]

            def write(half, name, value):
                with open(os.path.join(top, half, name), "w", encoding="utf-8") as file:
                    json.dump(value, file)

            write("accepted", "zero.json", good)
            write("refused", "kind.json", {"changed": "the kind", "certificate": {**good, "kind": "loss-value"}})
            write("refused", "syntax.json", {"changed": "cut short", "text": json.dumps(good)[:-1]})
            self.assertEqual(self.run_main("--corpus", top),
                             (0, "corpus: 1 to accept, 2 to refuse, 0 wrong\n", ""))
            write("refused", "nothing.json", {"changed": "nothing", "certificate": good})
            self.assertEqual(self.run_main("--corpus", top)[0], 1)
            write("refused", "nothing.json", {"certificate": good})
            self.assertEqual(self.run_main("--corpus", top)[0], 2)


if __name__ == "__main__":
    started = time.monotonic()
    outcome = unittest.main(exit=False, verbosity=1)
    print(f"wall time {time.monotonic() - started:.1f} s", file=sys.stderr)
    sys.exit(not outcome.result.wasSuccessful())
