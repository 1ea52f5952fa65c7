#!/usr/bin/env python3
"""A second checker of sdlab certificates, written from FORMAT.md alone.

It shares no code with the first checker, needs nothing but the standard library of Python 3.9 or later, and decides
with integers only. Section numbers in the docstrings are those of FORMAT.md, the file beside this one.

    python3 check.py FILE|DIR ..      one line per file; exit 0: all accepted, 1: some refused, 2: usage or I/O
    python3 check.py --corpus DIR     DIR/accepted must be accepted, DIR/refused must be refused

The file reads from top to bottom: strict JSON, exact numbers, definiteness, the problem, then one function per kind.
"""

import argparse
import functools
import hashlib
import itertools
import json
import math
import os
import re
import sys
from types import SimpleNamespace as Record

MAX_BYTES = 32 << 20
MAX_DIGITS = 200_000
MAX_SIZE = 4096  # of n, n_q, n_p, n_r
MAX_DEGREE = 64
MAX_ARGUMENT = 100_000  # of pow and binomial
MAX_BITS = 2_000_000  # of an arithmetic value
MAX_NODES = 200_000
MAX_ENTRIES = 4_000_000  # of a jacobian-rank matrix
MAX_DEPTH = 64
MAX_VALUES = 4_000_000  # commas and opening brackets: bounds the memory that parsing takes
MAX_PRECISION = 4096  # bits of α used to prove a matrix positive definite
BUDGET = 5 * 10**10  # of work; a unit is about a nanosecond


class Refused(Exception):
    """The certificate is refused; the text says why."""


def need(condition, reason):
    """Refuses unless the condition holds."""
    if not condition:
        raise Refused(reason)


work = 0


def spend(units):
    """Charges the work budget before the work is done."""
    global work
    work += units
    if work > BUDGET:
        raise Refused("the work budget is exhausted")


def cost(bits_a, bits_b):
    """About how many nanoseconds the product of two integers of so many bits takes."""
    a, b = bits_a // 30 + 1, bits_b // 30 + 1
    return a * b if a < 70 or b < 70 else int(6 * max(a, b) * min(a, b) ** 0.585)


def slow(bits_a, bits_b):
    """The same for a gcd or a division, which are quadratic."""
    return 3 * (bits_a // 30 + 1) * (bits_b // 30 + 1)


def lcm(a, b):
    """The least common multiple, charged."""
    spend(100 + 2 * slow(a.bit_length(), b.bit_length()))
    return a if a == b else math.lcm(a, b)


def bits(integers):
    """The bit length of the largest of some integers."""
    return max(map(int.bit_length, integers), default=0) if len(integers) != 1 else integers[0].bit_length()


# ---------------------------------------------------------------------------------------------------------------------
# Strict JSON (§1, §6)


def parse(text):
    """§1: JSON without duplicate keys, floats, nulls as members, negative integers or deep nesting."""
    try:
        need(len(text.encode()) <= MAX_BYTES, "the file is over 32 MiB")
    except UnicodeEncodeError:
        raise Refused("not UTF-8") from None
    depth = values = 0
    in_string = False
    for token in re.finditer(r'\\.|["\[\]{},]', text, re.DOTALL):
        mark = token.group()
        if mark == '"':
            in_string = not in_string
        elif not in_string and mark in "[{,":
            depth += mark != ","
            values += 1
            need(depth <= MAX_DEPTH, "nesting deeper than 64")
            need(values <= MAX_VALUES, "too many values")
        elif not in_string and mark in "]}":
            depth -= 1

    def members(pairs):
        value = dict(pairs)
        need(len(value) == len(pairs), "a duplicate key")
        need(None not in value.values(), "null is never a value")
        return value

    def integer(digits):
        need(re.fullmatch("[0-9]{1,15}", digits), "an index is not an integer of at most 15 digits")
        return int(digits)

    def forbidden(_):
        raise Refused("a JSON number that is not an integer")

    try:
        return json.loads(
            text, object_pairs_hook=members, parse_int=integer, parse_float=forbidden, parse_constant=forbidden
        )
    except json.JSONDecodeError as error:
        raise Refused(f"not JSON: {error.msg}, line {error.lineno}") from None


def obj(value, required, optional=""):
    """The members of an object, required ones first; an absent optional member is None, any other key is refused."""
    need(type(value) is dict, f"expected an object with {required}")
    names, more = required.split(), optional.split()
    for name in names:
        need(name in value, f"the key {name} is missing")
    for name in value:
        need(name in names or name in more, f"unknown key {ascii(name)[:40]}")
    return [value.get(name) for name in names + more]


def arr(value, length=None):
    """An array, of a given length if one is given."""
    need(type(value) is list, "expected an array")
    need(length is None or len(value) == length, f"an array has the wrong length, {len(value)} for {length}")
    return value


def index(value, below):
    """An index (§1) less than `below`."""
    need(type(value) is int and 0 <= value < below, "an index is not an integer or out of range")
    return value


def rat(value):
    """A rational (§1) in canonical form."""
    need(type(value) is str, "expected a rational string")
    need(re.fullmatch("(0|-?[1-9][0-9]*)(/[1-9][0-9]*)?", value), f"not a rational: {ascii(value)[:40]}")
    parts = value.lstrip("-").split("/")
    need(max(map(len, parts)) <= MAX_DIGITS, "a number has over 200,000 digits")
    spend(5000 + len(value) ** 2 // 100)
    top, bottom = int(parts[0]), int(parts[1]) if len(parts) == 2 else 1
    if len(parts) == 2:
        spend(slow(top.bit_length(), bottom.bit_length()))
        need(bottom >= 2 and math.gcd(top, bottom) == 1, "a rational is not in lowest terms")
    return Num((-top if value[0] == "-" else top,), bottom)


def num(value, field=None):
    """A number (§1): a rational, or an array of coefficients if a field is declared."""
    if type(value) is str:
        return rat(value)
    need(field is not None, "an array of coefficients, but no field is declared")
    need(1 <= len(arr(value)) <= field.degree, "a number's array is empty or longer than the degree of its field")
    (row,), d = integral([[rat(term) for term in value]])
    return Num([x for (x,) in row], d, field)


def vec(value, length, field=None):
    """An array of so many numbers."""
    return [num(entry, field) for entry in arr(value, length)]


def mat(value, rows, columns, field=None):
    """An array of so many arrays of so many numbers; `rows` None means 1 to 4096."""
    need(rows is not None or 1 <= len(arr(value)) <= MAX_SIZE, "there must be 1 to 4096 neurons")
    return [vec(row, columns, field) for row in arr(value, rows)]


def entries(value, bounds, read=num):
    """Sparse entries [index, .., NUM] with distinct indices below `bounds`, as a dict."""
    found = {}
    for entry in arr(value):
        arr(entry, len(bounds) + 1)
        key = tuple(index(k, bound) for k, bound in zip(entry, bounds))
        key = key[0] if len(key) == 1 else key
        need(key not in found, "an entry is listed twice")
        found[key] = read(entry[-1])
    return found


def positive_entries(value, bounds, field=None):
    """Sparse entries whose numbers are all positive."""
    found = entries(value, bounds, lambda entry: num(entry, field))
    need(all(sign(x) > 0 for x in found.values()), "a coefficient is not positive")
    return found


def by_neuron(listed, n_q):
    """Entries keyed (i, d), as one dict keyed d for every neuron i."""
    rows = [{} for _ in range(n_q)]
    for (i, d), x in listed.items():
        rows[i][d] = x
    return rows


# ---------------------------------------------------------------------------------------------------------------------
# Exact numbers (§3)


class Num:
    """The number Σ c[k] α^k / d of one field, or a rational when c has length 1. Immutable, in lowest terms."""

    __slots__ = ("c", "d", "field", "size")

    def __init__(self, c, d=1, field=None):
        while len(c) > 1 and not c[-1]:
            c = c[:-1]
        if d != 1:
            spend(len(c) * slow(bits(c), d.bit_length()))  # the gcd, and the divisions by it
            common = math.gcd(d, *c)
            if common != 1:
                c, d = [x // common for x in c], d // common
        self.c, self.d, self.field = tuple(c), d, field if len(c) > 1 else None
        self.size = max(bits(c), d.bit_length())

    def _with(self, other):
        need(not (self.field and other.field) or self.field is other.field, "numbers of two fields meet")
        return self.field or other.field

    def __add__(self, other):
        spend(5000 + self.size + other.size)
        d, f, g = self.d, 1, 1
        if self.d != other.d:
            d = lcm(self.d, other.d)
            f, g = d // self.d, d // other.d
            spend(len(self.c) * cost(self.size, f.bit_length()) + len(other.c) * cost(other.size, g.bit_length()))
        short, long = sorted(([x * f for x in self.c], [x * g for x in other.c]), key=len)
        return Num([x + y for x, y in zip(short, long)] + long[len(short) :], d, self._with(other))

    def __neg__(self):
        return Num([-x for x in self.c], self.d, self.field)

    def __sub__(self, other):
        return self + -other

    def __mul__(self, other):
        spend(5000 + (len(self.c) * len(other.c) + 1) * (60 + cost(self.size, other.size)))
        if len(self.c) == len(other.c) == 1:
            return Num((self.c[0] * other.c[0],), self.d * other.d)
        c = [0] * (len(self.c) + len(other.c) - 1)
        for i, x in enumerate(self.c):
            for j, y in enumerate(other.c):
                c[i + j] += x * y
        return Num(c, self.d * other.d, self._with(other))


ZERO, ONE, TWO = Num((0,)), Num((1,)), Num((2,))


def inverse(x):
    """1/x of a non-zero rational."""
    need(not x.field and x.c[0], "division by zero")
    return Num((x.d if x.c[0] > 0 else -x.d,), abs(x.c[0]))


def sign(x):
    """-1, 0 or 1, exactly (§3)."""
    return x.field.sign(x.c) if x.field else sgn(x.c[0])


def zero(x):
    """Whether the number is 0, exactly (§3)."""
    return x.field.vanishes(x.c) if x.field else not x.c[0]


def sgn(k):
    """The sign of an integer."""
    return (k > 0) - (k < 0)


def total(numbers):
    """The sum of some numbers."""
    return functools.reduce(Num.__add__, numbers, ZERO)


def dot(u, v):
    """⟨u, v⟩. Rationals are summed over a running common denominator, with one reduction at the end."""
    spend(1500 + 100 * len(v))
    top, bottom, rest = 0, 1, ZERO
    for x, y in zip(u, v):
        if x.field or y.field:
            rest = rest + x * y
        elif x.c[0] and y.c[0]:
            spend(700 + 2 * cost(x.size, y.size))
            n, d = x.c[0] * y.c[0], x.d * y.d
            if d != bottom:
                grown = lcm(bottom, d)
                spend(200 + cost(bits((top, bottom)), bits((d, n))))
                n, top, bottom = n * (grown // d), top * (grown // bottom), grown
            top += n
    return Num((top,), bottom) + rest if rest.c != (0,) else Num((top,), bottom)


def norm2(u):
    """‖u‖²."""
    return dot(u, u)


def combine(weights, vectors, length):
    """Σ weights[k] vectors[k] over the keys of the dict `weights`, a vector of the given length."""
    keys = [k for k in weights if weights[k].c != (0,)]
    coefficients = [weights[k] for k in keys]
    return [dot(coefficients, [vectors[k][j] for k in keys]) for j in range(length)]


def minus(u, v):
    """u - v."""
    return [x - y for x, y in zip(u, v)]


def is_zero(u):
    """Whether every coordinate is 0."""
    return all(map(zero, u))


def primitive(p):
    """A polynomial (integers, constant first; [] is 0) divided by the positive gcd of its coefficients."""
    while p and not p[-1]:
        p = p[:-1]
    spend(len(p) * slow(bits(p), bits(p)))
    content = math.gcd(*p)
    return [x // content for x in p] if content > 1 else list(p)


def remainder(p, q):
    """The primitive part of a *positive* multiple of p mod q."""
    p, q, lead = list(p), list(q), q[-1]
    while len(p) >= len(q):
        top = p.pop() * sgn(lead)
        if top:
            spend(slow(bits((top,)), bits((lead,))) + 2 * len(p) * (100 + cost(bits(p + q), bits((top, lead)))))
            common = math.gcd(top, lead)
            scale, top, shift = abs(lead) // common, top // common, len(p) - len(q) + 1
            p = [scale * x for x in p]
            for k, y in enumerate(q[:-1]):
                p[shift + k] -= top * y
    return primitive(p)


def evaluate(p, x, q):
    """p(x/q) q^deg p: an integer with the sign of p(x/q), for q > 0."""
    value, power, size, height = 0, 1, bits((x, q)), bits(p)
    for k, coefficient in enumerate(reversed(p)):
        spend(100 + 3 * cost(max(size, height), height + k * size))
        value, power = value * x + coefficient * power, power * q
    return value


class Field:
    """Q(α), where α is the only root of a squarefree f in (lo, hi) (§3). f may be reducible."""

    def __init__(self, value):
        hi, lo, poly = obj(value, "hi lo poly")
        need(2 <= len(arr(poly)) <= MAX_DEGREE + 1, "the degree of a field is not 1 to 64")
        poly, lo, hi = [rat(c) for c in poly], rat(lo), rat(hi)
        need(all(c.d == 1 for c in poly), "a field's polynomial has a coefficient that is not an integer")
        need(poly[-1].c[0], "the leading coefficient of a field's polynomial is 0")
        need(sign(hi - lo) > 0, "a field's interval is empty")
        self.f = primitive([c.c[0] for c in poly])
        self.degree = len(self.f) - 1
        self.alpha = Num((0, 1), 1, self)
        self.q = math.lcm(lo.d, hi.d)
        self.lo, self.hi = lo.c[0] * (self.q // lo.d), hi.c[0] * (self.q // hi.d)
        self.ends = (self.lo, self.q), (self.hi, self.q)
        self.pieces, self.known = 4, {}
        chain = [self.f, primitive([k * c for k, c in enumerate(self.f)][1:])]
        while len(chain[-1]) > 1:
            rest = [-c for c in remainder(chain[-2], chain[-1])]
            need(rest, "a field's polynomial is not squarefree")
            chain.append(rest)
        changes = []
        for x, q in self.ends:
            signs = [s for s in (sgn(evaluate(p, x, q)) for p in chain) if s]
            changes.append(sum(s != t for s, t in zip(signs, signs[1:])))
        self.below, above = (sgn(evaluate(self.f, *end)) for end in self.ends)
        need(self.below and above, "a field's polynomial vanishes at an end of its interval")
        need(changes[0] - changes[1] == 1, "a field's polynomial has not exactly one root in its interval")

    def vanishes(self, c):
        """Whether g(α) = 0: iff gcd(f, g) has a root in (lo, hi), at which it changes sign."""
        common, rest = self.f, remainder(c, self.f)
        while rest:
            common, rest = rest, remainder(common, rest)
        (x, q), (y, _) = self.ends
        return len(common) > 1 and evaluate(common, x, q) * evaluate(common, y, q) < 0

    def refine(self):
        """Shrinks the interval: cut it into equal pieces, keep the one in which the secant puts α if α is there."""
        pieces, step = self.pieces, self.hi - self.lo
        lo, hi, self.q = self.lo * pieces, self.hi * pieces, self.q * pieces
        at_lo, at_hi = abs(evaluate(self.f, lo, self.q)), abs(evaluate(self.f, hi, self.q))
        guess = min(pieces * at_lo // (at_lo + at_hi), pieces - 1)
        hit = True
        for end, side in ((lo + guess * step, self.below), (lo + guess * step + step, -self.below)):
            here = sgn(evaluate(self.f, end, self.q))
            if here == 0:
                self.lo = self.hi = end
                return
            hit = hit and here == side
            if lo < end < hi:
                lo, hi = (end, hi) if here == self.below else (lo, end)
        self.lo, self.hi = lo, hi
        self.pieces = pieces**2 if hit else max(2, math.isqrt(pieces))

    def enclosure(self, precision):
        """Integers a ≤ 2^precision α ≤ b, close to each other."""
        if precision not in self.known:
            while self.hi - self.lo << precision > self.q:
                self.refine()
            self.known[precision] = (self.lo << precision) // self.q, -((-self.hi << precision) // self.q)
        return self.known[precision]

    def bounds(self, c, precision):
        """Integers u ≤ 2^precision g(α) ≤ v by Horner's rule on intervals, rounded outwards."""
        a, b = self.enclosure(precision)
        u = v = c[-1] << precision
        for coefficient in reversed(c[:-1]):
            spend(1000 + 4 * cost(max(u.bit_length(), v.bit_length()), b.bit_length()))
            products = u * a, u * b, v * a, v * b
            u = (min(products) >> precision) + (coefficient << precision)
            v = -(-max(products) >> precision) + (coefficient << precision)
        return u, v

    def sign(self, c):
        """The sign of g(α): two cheap looks, the test for zero, then as many bits as it takes."""
        precision = 64
        while True:
            u, v = self.bounds(c, precision)
            if u > 0 or v < 0:
                return sgn(u + v)
            if precision == 256 and self.vanishes(c):
                return 0
            precision *= 2 if precision > 64 else 4


# ---------------------------------------------------------------------------------------------------------------------
# Definiteness and rank, by fraction-free elimination


def definite(matrix):
    """The rank of a symmetric integer matrix if it is positive semidefinite, else -1."""
    a, live, last = [list(row) for row in matrix], list(range(len(matrix))), 1
    while any(a[i][j] for i in live for j in live):
        spend(50 * len(live) ** 2)
        k = max(live, key=lambda i: a[i][i] > 0)
        if a[k][k] <= 0 or any(a[i][i] < 0 for i in live):
            return -1  # a negative diagonal entry, or a zero diagonal beside entries that are not 0
        live.remove(k)
        eliminate(a, k, live, live, k, last)
        last = a[k][k]
    return len(matrix) - len(live)


def eliminate(a, k, rows, columns, pivot_column, last):
    """One Bareiss step: updates `rows` by row k at `columns`; all entries stay minors of the first matrix."""
    pivot_row = a[k]
    pivot, height = pivot_row[pivot_column], bits(pivot_row)
    for row in (a[i] for i in rows):
        size = max(height, bits(row))
        spend(len(columns) * (300 + 2 * cost(size, size) + slow(size, size)))
        factor = row[pivot_column]
        for j in columns:
            row[j] = (pivot * row[j] - factor * pivot_row[j]) // last


def rank(matrix):
    """The rank of an integer matrix."""
    a, last, found = [list(row) for row in matrix], 1, 0
    for column in range(len(a[0])):
        pivot = next((i for i in range(found, len(a)) if a[i][column]), None)
        if pivot is not None:
            a[found], a[pivot] = a[pivot], a[found]
            eliminate(a, found, range(found + 1, len(a)), range(column + 1, len(a[0])), column, last)
            last = a[found][column]
            found += 1
    return found


def integral(rows):
    """The coefficient tuples of a matrix of numbers over one common positive denominator, and that denominator."""
    d = 1
    for x in (x for row in rows for x in row):
        d = lcm(d, x.d)
    length = d.bit_length()
    for x in (x for row in rows for x in row):
        spend(1000 + slow(length, x.size) + len(x.c) * cost(x.size, length))
    return [[[c * (d // x.d) for c in x.c] for x in row] for row in rows], d


def positive_semidefinite(rows):
    """Whether a symmetric rational matrix is positive semidefinite."""
    return definite([[c[0] for c in row] for row in integral(rows)[0]]) >= 0


def positive_definite(rows):
    """Whether a symmetric matrix of numbers is proved positive definite with at most 4096 bits of α.

    If every entry lies within radius_ij of mid_ij, the difference has norm at most r = max_i Σ_j radius_ij, so that
    mid - r I positive definite suffices."""
    field = next((x.field for row in rows for x in row if x.field), None)
    polys, n, precision = integral(rows)[0], len(rows), 64
    if not field:
        return definite([[c[0] for c in row] for row in polys]) == n
    while precision <= MAX_PRECISION:
        boxes = [[field.bounds(c, precision) for c in row] for row in polys]
        radius = max(sum(v - u for u, v in row) for row in boxes)
        if definite([[u + v - radius * (i == j) for j, (u, v) in enumerate(row)] for i, row in enumerate(boxes)]) == n:
            return True
        precision *= 2
    return False


# ---------------------------------------------------------------------------------------------------------------------
# The problem, patterns, points, the loss (§2)


def read_problem(value):
    """PROBLEM of §2."""
    activation, features, version = obj(value, "activation features format")
    need(type(version) is int and version == 1, "the problem's format is not 1")
    need(1 <= len(arr(features)) <= MAX_SIZE, "there must be 1 to 4096 features")
    problem = Record(n=len(features), M=[], p=[], r=[], n_p=None, n_r=None, c=None, k=None)
    for feature in features:
        mass, w_p, w_r = obj(feature, "mass w_p w_r")
        problem.M.append(rat(mass))
        need(sign(problem.M[-1]) > 0, "a mass is not positive")
        problem.p.append(vec(w_p, problem.n_p))
        problem.r.append(vec(w_r, problem.n_r))
        problem.n_p, problem.n_r = len(w_p), len(w_r)
    need(1 <= problem.n_p <= MAX_SIZE and 1 <= problem.n_r <= MAX_SIZE, "the dimensions must be 1 to 4096")
    need(type(activation) is dict, "the activation is not an object")
    problem.activation = activation.get("kind")
    if problem.activation == "threshold":
        problem.c = rat(obj(activation, "c kind")[0])
        need(sign(problem.c) >= 0, "the threshold is negative")
    else:
        need(problem.activation in ("top-k", "top-k-relu"), "unknown activation")
        problem.k = index(obj(activation, "k kind")[0], 10**15)
        need(problem.k >= 1, "k is 0")
    return problem


def read_pattern(value, problem, n_q=None):
    """A pattern (§2) as a list of sets, with n_q neurons if that is given."""
    need(1 <= len(arr(value, n_q)) <= MAX_SIZE, "there must be 1 to 4096 neurons")
    pattern = [{index(d, problem.n) for d in arr(features)} for features in value]
    need(all(len(F) == len(features) for F, features in zip(pattern, value)), "a pattern repeats a feature")
    return pattern


def read_point(value, problem):
    """A point (§2)."""
    w_d, w_e = obj(value, "w_d w_e")
    w_e = mat(w_e, None, problem.n_p)
    return Record(w_e=w_e, w_d=mat(w_d, len(w_e), problem.n_r))


def firing(problem, w_e, inputs=None):
    """The pre-activations z[i][d] and the firing sets F_i (§2) of an encoder on the p_d, or on other inputs."""
    inputs = problem.p if inputs is None else inputs
    z = [[dot(w, p) for p in inputs] for w in w_e]
    if problem.activation == "threshold":
        return z, [{d for d, x in enumerate(row) if sign(x - problem.c) > 0} for row in z]
    sets = [set() for _ in w_e]
    by_size = functools.cmp_to_key(lambda i, j: sign(z[j][d] - z[i][d]) or i - j)
    for d in range(len(inputs)):
        for i in sorted(range(len(w_e)), key=by_size)[: problem.k]:
            if problem.activation == "top-k" or sign(z[i][d]) > 0:
                sets[i].add(d)
    return z, sets


def residual(target, d, z, sets, w_d):
    """target - Σ_{i: d ∈ F_i} z_id v_i."""
    return minus(target, combine({i: z[i][d] for i, F in enumerate(sets) if d in F}, w_d, len(target)))


def loss_of(problem, point, masses=None):
    """L̃ (§2) at a point."""
    z, sets = firing(problem, point.w_e)
    return dot(masses or problem.M, [norm2(residual(r, d, z, sets, point.w_d)) for d, r in enumerate(problem.r)])


def threshold_only(problem):
    """Refuses an activation for which a kind is not defined."""
    need(problem.activation == "threshold", "this kind is for the threshold activation")


# ---------------------------------------------------------------------------------------------------------------------
# Point certificates (§4)


def weighted(problem, F, x):
    """Σ_{d ∈ F} M_d ⟨x, p_d⟩ r_d and the numbers ⟨x, p_d⟩, d ∈ F, from which A x and xᵀAx follow."""
    b = {d: dot(x, problem.p[d]) for d in F}
    return combine({d: problem.M[d] * b[d] for d in F}, problem.r, problem.n_r), b


def apply_A_and_B(problem, F, x):
    """A x and B x (§4)."""
    s, b = weighted(problem, F, x)
    Ax = combine({d: problem.M[d] * dot(problem.r[d], s) for d in F}, problem.p, problem.n_p)
    return Ax, combine({d: problem.M[d] * b[d] for d in F}, problem.p, problem.n_p)


def apply_H(problem, F, mu, x):
    """(A - mu B) x."""
    Ax, Bx = apply_A_and_B(problem, F, x)
    return [a - mu * b for a, b in zip(Ax, Bx)]


def in_cell(problem, F, z, multipliers, c):
    """z > c on F, ≤ c off it, = c where there is a multiplier; returns the features off F at which z = c."""
    tight = set()
    for d, x in enumerate(z):
        side = sign(x - c)
        need((side > 0) == (d in F), "a row leaves the cell of the pattern")
        if side == 0:
            tight.add(d)
    need(set(multipliers) <= tight, "a multiplier stands at a feature that fires or is not on its face")
    return tight


def row_part(problem, pattern, part):
    """Row part (§4)."""
    _, i, mu, w, multipliers, field = obj(part, "form neuron mu w multipliers", "field")
    i = index(i, len(pattern))
    field = Field(field) if field is not None else None
    F = pattern[i]
    need(F, "a row part for a neuron without features")
    mu, w = num(mu, field), vec(w, problem.n_p, field)
    multipliers = positive_entries(multipliers, (problem.n,), field)
    need(not multipliers or zero(problem.c), "a multiplier although the threshold is positive")
    a = [dot(w, p) for p in problem.p]
    tight = in_cell(problem, F, a, multipliers, problem.c)
    gradient = minus(apply_H(problem, F, mu, w), combine(multipliers, problem.p, problem.n_p))
    need(is_zero(gradient), "H w is not the combination of its multipliers")
    loss = dot([problem.M[d] for d in F], [norm2(problem.r[d]) for d in F]) - mu
    return Record(form="row", neurons=[i], F=F, field=field, loss=loss, mu=mu, a=a, tight=tight,
                  multipliers=multipliers)


def joint_part(problem, pattern, part):
    """Joint part (§4)."""
    _, neurons, w_e, w_d, multipliers, field = obj(part, "form neurons w_e w_d multipliers", "field")
    need(len(arr(neurons)) > 0, "a joint part without neurons")
    neurons = [index(i, len(pattern)) for i in neurons]
    need(len(set(neurons)) == len(neurons), "a neuron stands twice in a part")
    field = Field(field) if field is not None else None
    w_e, w_d = mat(w_e, len(neurons), problem.n_p, field), mat(w_d, len(neurons), problem.n_r, field)
    listed = positive_entries(multipliers, (len(pattern), problem.n), field)
    need({i for i, _ in listed} <= set(neurons), "a multiplier of a neuron that is not in the part")
    by_row = by_neuron(listed, len(pattern))
    sets = [pattern[i] for i in neurons]
    F = set().union(*sets)
    z = [[dot(w, p) for p in problem.p] for w in w_e]
    E = {d: residual(problem.r[d], d, z, sets, w_d) for d in F}
    tight, forced = [], []
    for k, i in enumerate(neurons):
        here = by_row[i]
        tight.append(in_cell(problem, sets[k], z[k], here, problem.c))
        forced.append(set(here))
        in_v = combine({d: problem.M[d] * z[k][d] for d in sets[k]}, E, problem.n_r)
        need(is_zero(in_v), "the gradient in V is not zero")
        in_w = combine({d: TWO * problem.M[d] * dot(w_d[k], E[d]) for d in sets[k]}, problem.p, problem.n_p)
        need(is_zero(minus(combine(here, problem.p, problem.n_p), in_w)), "the gradient in W is not balanced")
    loss = total(problem.M[d] * norm2(E[d]) for d in F)
    return Record(form="joint", neurons=neurons, F=F, field=field, loss=loss, sets=sets, z=z, E=E, w_d=w_d,
                  tight=tight, forced=forced, multipliers=listed)


def read_parts(problem, pattern, parts, loss):
    """The parts (§4), and the word for the point."""
    threshold_only(problem)
    pattern, done, seen, covered = read_pattern(pattern, problem), [], set(), set()
    for part, claimed in zip(arr(parts), arr(loss, len(parts))):
        form = part.get("form") if type(part) is dict else None
        need(form in ("row", "joint"), "the form of a part is not row or joint")
        part = (row_part if form == "row" else joint_part)(problem, pattern, part)
        need(zero(num(claimed, part.field) - part.loss), "the loss of a part is wrong")
        need(seen.isdisjoint(part.neurons), "a neuron stands in two parts")
        need(covered.isdisjoint(part.F), "two parts share a feature")
        seen.update(part.neurons)
        covered |= part.F
        done.append(part)
    need(len(seen) == len(pattern), "a neuron stands in no part")
    return done, "boundary" if any(part.multipliers for part in done) else "interior"


def partial_optimum(problem, body):
    """`partial-optimum` (§4)."""
    return read_parts(problem, *obj(body, "pattern parts loss"))[1]


def into_cell(problem, direction, forced, tight):
    """The direction of a row keeps the faces with a multiplier and does not cross the other tight ones."""
    for e in tight:
        side = sign(dot(direction, problem.p[e]))
        need(side == 0 if e in forced else side <= 0, "the direction leaves the cell or the face of a multiplier")


def strict_saddle(problem, body):
    """`strict-saddle` (§4)."""
    pattern, parts, loss, saddle = obj(body, "pattern parts loss saddle")
    parts, kind = read_parts(problem, pattern, parts, loss)
    need(type(saddle) is dict, "the saddle is not an object")
    part = parts[index(saddle.get("part"), len(parts))]
    if part.form == "row":
        direction = vec(obj(saddle, "part direction")[1], problem.n_p, part.field)
        into_cell(problem, direction, part.multipliers, part.tight)
        s, b = weighted(problem, part.F, direction)
        curvature = norm2(s) - part.mu * total(problem.M[d] * x * x for d, x in b.items())
        need(sign(curvature) > 0, "the curvature along the direction is not negative")
        return kind
    _, w_e, w_d = obj(saddle, "part w_e w_d")
    w_e = mat(w_e, len(part.neurons), problem.n_p, part.field)
    w_d = mat(w_d, len(part.neurons), problem.n_r, part.field)
    for k, direction in enumerate(w_e):
        into_cell(problem, direction, part.forced[k], part.tight[k])
    curvature = ZERO
    for d in part.F:
        on = [k for k, F in enumerate(part.sets) if d in F]
        z, dz = {k: part.z[k][d] for k in on}, {k: dot(w_e[k], problem.p[d]) for k in on}
        first = [x + y for x, y in zip(combine(z, w_d, problem.n_r), combine(dz, part.w_d, problem.n_r))]
        second = combine(dz, w_d, problem.n_r)
        curvature = curvature + problem.M[d] * (norm2(first) - TWO * dot(part.E[d], second))
    need(sign(curvature) < 0, "the curvature along the direction is not negative")
    return kind


def local_min(problem, body):
    """`local-min` (§4)."""
    pattern, parts, loss, order = obj(body, "pattern parts loss order")
    parts, kind = read_parts(problem, pattern, parts, loss)
    need(all(part.form == "row" for part in parts if part.F), "a part with features is not a row part")
    rows = [part for part in parts if part.form == "row"]
    strict = [second_order(problem, part, entry) for part, entry in zip(rows, arr(order, len(rows)))]
    return kind + (", strict" if all(strict) else ", not strict")


def second_order(problem, part, order):
    """One ORDER of `local-min` (§4): proves its conditions 1 to 3 and says whether the block is strict."""
    u, products, kernel = obj(order, "u n kernel")
    n_p, p, F, slack = problem.n_p, problem.p, sorted(part.F), part.tight - set(part.multipliers)
    u = entries(u, (problem.n,), lambda x: vec(x, n_p, part.field))
    need(set(u) <= set(part.multipliers), "u at a feature without a multiplier")
    products = entries(products, (problem.n, problem.n), lambda x: num(x, part.field))
    need(all(e <= f and {e, f} <= slack for e, f in products), "n at a pair that is not ordered or not on slack faces")
    need(all(sign(x) >= 0 for x in products.values()), "a coefficient in n is negative")
    kernel = [vec(k, n_p, part.field) for k in arr(kernel)]
    left = [[problem.M[d] * problem.r[d][j] for d in F] for j in range(problem.n_r)]
    columns = [[p[d][j] for d in F] for j in range(n_p)]
    q = [[dot(row, column) for column in columns] for row in left]  # Σ_d M_d r_d p_dᵀ, so that A = qᵀq
    q = list(zip(*q))
    masses = [problem.M[d] for d in F]
    m = [[ZERO] * n_p for _ in range(n_p)]
    for i in range(n_p):
        for j in range(i + 1):
            b_ij = dot([x * y for x, y in zip(masses, columns[i])], columns[j])
            entry = part.mu * b_ij - dot(q[i], q[j])
            entry = entry + total(p[e][i] * u[e][j] + u[e][i] * p[e][j] for e in u)
            entry = entry - total(x * (p[e][i] * p[f][j] + p[f][i] * p[e][j]) for (e, f), x in products.items())
            m[i][j] = m[j][i] = entry
    need(all(is_zero([dot(row, k) for row in m]) for k in kernel), "M does not annihilate a kernel vector")
    lifted = [[total([m[i][j]] + [k[i] * k[j] for k in kernel]) for j in range(n_p)] for i in range(n_p)]
    need(positive_definite(lifted), "M plus the kernel is not proved positive definite")
    images = [[dot(k, p[d]) for d in F] for k in kernel]
    a = [part.a[d] for d in F]
    return all(zero(x * a[0] - image[0] * y) for image in images for x, y in zip(image, a))


# ---------------------------------------------------------------------------------------------------------------------
# The other kinds (§5)


def pattern_witness(problem, body):
    """`pattern-witness` (§5)."""
    pattern, w_e = obj(body, "pattern w_e")
    pattern = read_pattern(pattern, problem)
    need(firing(problem, mat(w_e, len(pattern), problem.n_p))[1] == pattern, "the encoder does not have this pattern")


def contradiction(problem, on, off):
    """Σ y p_d = Σ z p_e and c Σ y ≥ c Σ z with y not empty (§5), which no row can satisfy."""
    need(on, "no feature is on")
    sides = [combine(side, problem.p, problem.n_p) for side in (on, off)]
    need(is_zero(minus(*sides)), "the combinations of the on and off features differ")
    need(sign(problem.c * (total(on.values()) - total(off.values()))) >= 0, "the threshold outweighs the combination")


def farkas(problem, pattern, value):
    """FARKAS of §5: the pattern has no encoder."""
    if problem.activation == "threshold":
        neuron, on, off = obj(value, "neuron on off")
        F = pattern[index(neuron, len(pattern))]
        on, off = positive_entries(on, (problem.n,)), positive_entries(off, (problem.n,))
        need(set(on) <= F and F.isdisjoint(off), "on or off does not fit the pattern")
        return contradiction(problem, on, off)
    n, n_q, relu = problem.n, len(pattern), problem.activation == "top-k-relu"
    full = min(problem.k, n_q)
    count = [sum(d in F for F in pattern) for d in range(n)]
    wrong = [x > full if relu else x != full for x in count]
    if type(value) is dict and "count" in value:
        return need(wrong[index(obj(value, "count")[0], n)], "the feature's count is possible")
    need(not any(wrong), "a feature's count is impossible: the certificate must say so")
    comparisons, positives, nonpositives = obj(value, "comparisons positives nonpositives")
    comparisons = positive_entries(comparisons, (n, n_q, n_q))
    positives, nonpositives = positive_entries(positives, (n, n_q)), positive_entries(nonpositives, (n, n_q))
    need(relu or not (positives or nonpositives), "the sign of a pre-activation is free under top-k")
    terms = [{} for _ in pattern]

    def add(neuron, d, x):
        terms[neuron][d] = terms[neuron].get(d, ZERO) + x

    for (d, i, j), x in comparisons.items():
        need(d in pattern[i] and d not in pattern[j], "a comparison does not fit the pattern")
        need(count[d] == full, "a comparison at a feature with fewer than k firing neurons")
        add(i, d, x)
        add(j, d, -x)
    for (d, i), x in positives.items():
        need(d in pattern[i], "positives does not fit the pattern")
        add(i, d, x)
    for (d, j), x in nonpositives.items():
        need(d not in pattern[j] and count[d] < full, "nonpositives does not fit the pattern")
        add(j, d, -x)
    need(all(is_zero(combine(t, problem.p, problem.n_p)) for t in terms), "the combination is not zero")
    need(positives or any(i > j for _, i, j in comparisons), "no listed inequality is strict")


def pattern_empty(problem, body):
    """`pattern-empty` (§5)."""
    pattern, proof = obj(body, "pattern farkas")
    farkas(problem, read_pattern(pattern, problem), proof)


def no_partial_optimum(problem, body):
    """`no-partial-optimum` (§5)."""
    threshold_only(problem)
    pattern, neuron, chain = obj(body, "pattern neuron chain")
    pattern = read_pattern(pattern, problem)
    neuron = index(neuron, len(pattern))
    F = pattern[neuron]
    need(F, "the neuron has no features")
    need(all(F.isdisjoint(G) for j, G in enumerate(pattern) if j != neuron), "the neuron shares a feature")
    end = dot([problem.M[d] for d in F], [norm2(problem.r[d]) for d in F])
    others = set(range(problem.n)) - F
    here, at_alpha, declared, field, nodes = ZERO, False, None, None, [0]
    for link in arr(chain):
        to, tree, declaration = obj(link, "to tree", "field")
        need(not at_alpha or declaration == declared, "a link that starts at alpha must carry the same field")
        if declaration != declared:
            declared, field = declaration, Field(declaration) if declaration is not None else None
        need(to != "alpha" or field, "a link ends at alpha without a field")
        there = field.alpha if to == "alpha" else rat(to)
        if zero(problem.c):
            exclude(problem, F, tree, field, (here, there), set(), set(), others, nodes)
        else:
            exclude(problem, F, tree, field, (here, there), others, set(), set(), nodes)
        here, at_alpha = there, to == "alpha"
    need(not at_alpha and zero(here - end) and nodes[0], "the chain does not end at T")


def exclude(problem, F, node, field, ends, free, tight, undecided, nodes):
    """A NODE of `no-partial-optimum` (§5): no value of mu between `ends` is possible in this branch."""
    nodes[0] += 1
    need(nodes[0] <= MAX_NODES, "over 200,000 nodes")
    n, p, n_p = problem.n, problem.p, problem.n_p
    if type(node) is dict and "branch" in node:
        e, when_tight, when_free = obj(node, "branch tight free")
        need(index(e, n) in undecided, "a branch on a feature that is not open")
        exclude(problem, F, when_tight, field, ends, free, tight | {e}, undecided - {e}, nodes)
        return exclude(problem, F, when_free, field, ends, free | {e}, tight, undecided - {e}, nodes)
    x, *sides = obj(node, "x start end")
    x = vec(x, n_p, field)
    need(all(sign(dot(x, p[e])) <= 0 for e in tight | undecided), "x has a positive product with a possible face")
    Ax, Bx = apply_A_and_B(problem, F, x)
    for m, side in zip(ends, sides):
        y, z, s = obj(side, "y z s")
        y, z = positive_entries(y, (n,), field), positive_entries(z, (n,), field)
        s = entries(s, (n,), lambda value: num(value, field))
        need(y and set(y) <= F, "y is empty or leaves the firing features")
        need(set(z) <= free | undecided, "z at a feature that fires or is tight")
        need(set(s) <= tight and not any(map(zero, s.values())), "s is 0 or at a feature that is not tight")
        left = [a - m * b + c for a, b, c in zip(Ax, Bx, combine(s, p, n_p))]
        right = minus(combine(y, p, n_p), combine(z, p, n_p))
        need(is_zero(minus(left, right)), "the combination at an end of a link is wrong")
        need(sign(problem.c * (total(y.values()) - total(z.values()))) >= 0, "the threshold outweighs the combination")


def epsilon_partial_optimum(problem, body):
    """`epsilon-partial-optimum` (§5)."""
    threshold_only(problem)
    pattern, point, epsilon, dual_v, dual_w, slack = obj(body, "pattern point epsilon dual_v dual_w slack")
    pattern, point, epsilon = read_pattern(pattern, problem), read_point(point, problem), rat(epsilon)
    need(sign(epsilon) >= 0, "epsilon is negative")
    z, sets = firing(problem, point.w_e)
    need(sets == pattern, "the point does not have this pattern")
    dual_v, dual_w = (mat(dual, problem.n, problem.n_r) for dual in (dual_v, dual_w))
    slack = positive_entries(slack, (len(pattern), problem.n))
    loss, p, n_p = loss_of(problem, point), problem.p, problem.n_p

    def bound(dual):
        linear = total(dot(y, r) for y, r in zip(dual, problem.r))
        return TWO * linear - total(norm2(y) * inverse(mass) for y, mass in zip(dual, problem.M))

    pull = ZERO
    for i, (F, gamma) in enumerate(zip(pattern, by_neuron(slack, len(pattern)))):
        need(is_zero(combine({d: z[i][d] for d in F}, dual_v, problem.n_r)), "dual_v is not feasible")
        signed = {d: -x if d in F else x for d, x in gamma.items()}
        pull = pull + total(signed.values())
        left = combine({d: dot(point.w_d[i], dual_w[d]) for d in F}, p, n_p)
        need(is_zero(minus(left, combine(signed, p, n_p))), "dual_w is not feasible")
    need(sign(loss - bound(dual_v) - epsilon) <= 0, "the residual in V is not bounded by epsilon")
    lower = bound(dual_w) - TWO * problem.c * pull
    need(sign(loss - lower - epsilon) <= 0, "the residual in W is not bounded by epsilon")


def zero_loss(problem, body):
    """`zero-loss` (§5)."""
    point = read_point(obj(body, "point")[0], problem)
    z, sets = firing(problem, point.w_e)
    for d, r in enumerate(problem.r):
        need(is_zero(residual(r, d, z, sets, point.w_d)), "a feature is not reconstructed")


def loss_value(problem, body):
    """`loss-value` (§5)."""
    point, loss = obj(body, "point loss")
    need(zero(loss_of(problem, read_point(point, problem)) - rat(loss)), "the loss is another")


def lower_bound(problem, body):
    """`lower-bound` (§5)."""
    threshold_only(problem)
    latents, bound, tree, pattern = obj(body, "latents bound tree", "pattern")
    latents, bound, decided, faces, nodes = index(latents, MAX_SIZE + 1), rat(bound), {}, {}, [0]
    need(latents >= 1, "no latents")
    pattern = read_pattern(pattern, problem, latents) if pattern is not None else None

    def fires(i, d):
        """Whether neuron i fires on d; None if that is undecided."""
        return decided.get((i, d)) if pattern is None else d in pattern[i]

    def visit(node):
        nodes[0] += 1
        need(nodes[0] <= MAX_NODES, "over 200,000 nodes")
        need(type(node) is dict, "a node is not an object")
        if "branch" in node:
            pair, *children = obj(node, "branch on off")
            pair = index(arr(pair, 2)[0], latents), index(pair[1], problem.n)
            need(fires(*pair) is None, "a branch on a decided pair")
            for decided[pair], child in zip((True, False), children):
                visit(child)
            del decided[pair]
        elif "face" in node:
            pair, *children = obj(node, "face tight below")
            pair = index(arr(pair, 2)[0], latents), index(pair[1], problem.n)
            need(zero(problem.c), "the threshold is not 0")
            need(fires(*pair) is False, "a face of a feature that is not decided off")
            need(pair not in faces, "a decided face")
            for faces[pair], child in zip((True, False), children):
                visit(child)
            del faces[pair]
        elif "empty" in node:
            neuron, on, off = obj(obj(node, "empty")[0], "neuron on off")
            neuron = index(neuron, latents)
            on, off = positive_entries(on, (problem.n,)), positive_entries(off, (problem.n,))
            need(all(fires(neuron, d) is True for d in on), "on at a feature that is not decided on")
            need(all(fires(neuron, d) is False for d in off), "off at a feature that is not decided off")
            contradiction(problem, on, off)
        else:
            groups = arr(obj(node, "groups")[0])
            need(all(type(group) is dict and "features" in group for group in groups), "the key features is missing")
            used = [d for group in groups for d in arr(group["features"])]
            need(len({index(d, problem.n) for d in used}) == len(used), "the groups repeat a feature")
            reached = total(group_bound(problem, group, latents, fires, faces, nodes) for group in groups)
            need(sign(reached - bound) >= 0, "the groups do not reach the bound")

    visit(tree)


def group_bound(problem, group, latents, fires, faces, nodes):
    """The contribution of one group of a `lower-bound` leaf (§5)."""
    features = group["features"]
    need(features, "an empty group")
    spend(latents * len(features) * 100)
    if "conic" in group:
        value = conic_bound(problem, features, obj(group, "features conic")[1], latents, fires)
    elif "kernel" in group:
        value = kernel_bound(problem, features, obj(group, "features kernel")[1], latents, fires, faces, nodes)
    elif "code" in group:
        value = code_bound(problem, features, obj(group, "features code")[1], latents, fires, nodes)
    elif "cones" in group:
        value = cones_bound(problem, features, obj(group, "features cones")[1], latents, fires, nodes)
    else:
        value = rank_bound(problem, features, *obj(group, "features t y")[1:], latents, fires)
    return value if sign(value) > 0 else ZERO


def reaching(features, latents, fires):
    """The neurons that are not decided off on all features of a group."""
    return [i for i in range(latents) if any(fires(i, d) is not False for d in features)]


def conic_bound(problem, features, conic, latents, fires):
    """tr S - t for one neuron with codes ≥ 0."""
    t, n = obj(conic, "t n")
    t, n = rat(t), positive_entries(n, (problem.n, problem.n))
    need(sign(t) >= 0, "t is negative")
    need(len(reaching(features, latents, fires)) <= 1, "several neurons reach the group")
    need(all(d < e and d in features and e in features for d, e in n), "no two features of the group in order")

    def entry(d, e):
        value = -problem.M[d] * problem.M[e] * dot(problem.r[d], problem.r[e])
        if d == e:
            value = value + t * problem.M[d]
        return value - n.get((min(d, e), max(d, e)), ZERO)

    gap = [[entry(d, e) for e in features] for d in features]
    need(positive_semidefinite(gap), "tD - DGD - N is not positive semidefinite")
    return total(problem.M[d] * norm2(problem.r[d]) for d in features) - t


def kernel_bound(problem, features, kernel, latents, fires, faces, nodes):
    """s, which every x = Tξ in the kernel of the group's codes pays."""
    s, basis, tree = obj(kernel, "s basis tree")
    s, size = rat(s), len(arr(arr(basis, len(features))[0]))
    basis = mat(basis, len(features), size)
    need(size >= 1, "the basis is empty")
    need(rank(integral_rational(basis)) == size, "the columns of the basis are dependent")

    def annihilated(i):
        if any(fires(i, d) is None for d in features):
            return False
        weights = [(t, problem.p[d]) for d, t in zip(features, basis) if fires(i, d)]
        images = [[dot([t[l] for t, _ in weights], [p[j] for _, p in weights]) for j in range(problem.n_p)]
                  for l in range(size)]
        tight = [problem.p[e] for (k, e), touches in faces.items() if k == i and touches]
        if not tight:
            return all(is_zero(image) for image in images)
        return rank(integral_rational(tight + images)) == rank(integral_rational(tight))

    unmet = [i for i in range(latents) if not annihilated(i)]
    need(len(unmet) < size, "too many neurons may meet every x")
    images = [[dot([t[l] for t in basis], [problem.r[d][j] for d in features]) for j in range(problem.n_r)]
              for l in range(size)]
    scaled = [[s * inverse(problem.M[d]) * t[l] for d, t in zip(features, basis)] for l in range(size)]
    form = [[dot(images[a], images[b]) - dot([t[a] for t in basis], scaled[b]) for b in range(size)] for a in range(size)]

    def visit(node, forms, root=False):
        nodes[0] += 1
        need(nodes[0] <= MAX_NODES, "over 200,000 nodes")
        need(type(node) is dict, "a node is not an object")
        if "sign" in node:
            h, positive, other = obj(node, "sign positive other")
            h, opposite = vec(h, size), [-x for x in vec(h, size)]
            need(len(forms) < 60, "over 60 forms")
            visit(positive, [*forms, (h, True)])
            visit(other, [*forms, (opposite, False), *([(h, False)] if root else [])])
        elif "above" in node or "below" in node:
            side = "above" if "above" in node else "below"
            missed(obj(node, side)[0], forms, ONE if side == "above" else -ONE)
        else:
            n = positive_entries(obj(node, "n")[0], (len(forms), len(forms)))
            need(all(k < l for k, l in n), "two forms are not in order")

            def entry(a, b):
                taken = total(x * (forms[k][0][a] * forms[l][0][b] + forms[l][0][a] * forms[k][0][b])
                              for (k, l), x in n.items())
                return form[a][b] - taken

            gap = [[entry(a, b) for b in range(size)] for a in range(size)]
            need(positive_semidefinite(gap), "the form is not positive semidefinite")

    def missed(value, forms, side):
        i, on, off, free = obj(value, "neuron on off free")
        i, bounds = index(i, latents), (problem.n, len(forms))
        on, off, free = (positive_entries(listed, bounds) for listed in (on, off, free))
        need(i in unmet, "x need not meet this neuron")
        need(all(fires(i, d) is True for d, _ in on), "on at a feature that is not decided on")
        need(all(fires(i, d) is False for d, _ in off), "off at a feature that is not decided off")
        need(all(d in features and fires(i, d) is None for d, _ in free), "free at a feature that is decided")
        for l in range(size):
            left = {d: side * t[l] for d, t in zip(features, basis) if fires(i, d)}
            for (d, k), x in on.items():
                left[d] = left.get(d, ZERO) - x * forms[k][0][l]
            for (e, k), x in off.items():
                left[e] = left.get(e, ZERO) + x * forms[k][0][l]
            need(is_zero(combine(left, problem.p, problem.n_p)), "a column is not balanced")
            for d, t in zip(features, basis):
                if fires(i, d) is None:
                    given = total(x * forms[k][0][l] for (e, k), x in free.items() if e == d)
                    need(zero(side * t[l] - given), "a column is not balanced at a feature")
        for k in range(len(forms)):
            held = total(x for (_, f), x in on.items() if f == k) - total(x for (_, f), x in off.items() if f == k)
            need(sign(problem.c * held) >= 0, "the threshold outweighs a form")
        strict = {d for (d, k) in [*on, *free] if forms[k][1]}
        if any(fires(i, d) for d in features):
            proved = any(forms[k][1] for _, k in on) or any(forms[k][1] for e, k in off if faces.get((i, e)) is False)
        else:
            proved = all(d in strict for d in features if fires(i, d) is None)
        need(proved, "nothing is strictly positive")

    visit(tree, [], True)
    return s


def code_bound(problem, features, code, latents, fires, nodes):
    """s, which is paid by what is orthogonal to any code z ≥ 0 of a group."""
    s, weights, trees = obj(code, "s weights trees")
    s, size, reached = rat(s), len(features), len(reaching(features, latents, fires))
    need(size <= 64, "over 64 features by one code")
    need(1 <= reached < size, "no neurons reach the group, or as many as it has features")
    kappa = size - reached
    weights = [rat(weight) for weight in arr(weights, size)]
    need(all(sign(weight) > 0 for weight in weights), "a weight is not positive")
    masses = [problem.M[d] for d in features]
    gram = [[dot(problem.r[d], problem.r[e]) for e in features] for d in features]
    half = inverse(Num((2,)))

    def visit(node, vertices):
        nodes[0] += 1
        need(nodes[0] <= MAX_NODES, "over 200,000 nodes")
        need(type(node) is dict, "a cone is not an object")
        if "halve" in node:
            edge, first, second = obj(node, "halve first second")
            j, k = (index(at, len(vertices)) for at in arr(edge, 2))
            need(j != k, "the edge has one vertex")
            middle = [half * (a + b) for a, b in zip(vertices[j], vertices[k])]
            for at, child in ((j, first), (k, second)):
                visit(child, [middle if place == at else vertex for place, vertex in enumerate(vertices)])
            return
        mu, ends = obj(node, "mu ends")
        mu = [rat(x) for x in arr(mu, size)]
        for vertex, end in zip(vertices, arr(ends, len(vertices))):
            t, ys = obj(end, "t y")
            t, ys = rat(t), [[rat(x) for x in arr(y, size)] for y in arr(ys)]
            matrix = [[gram[d][e] + vertex[d] * mu[e] + mu[d] * vertex[e] + total(y[d] * y[e] for y in ys)
                       - (t * inverse(masses[d]) if d == e else ZERO) for e in range(size)] for d in range(size)]
            need(positive_semidefinite(matrix), "G + zm + mz - t/D + yy is not positive semidefinite")
            paid = Num((kappa,)) * t - total(m * y * y for vector in ys for m, y in zip(masses, vector))
            need(sign(paid - s) >= 0, "a vertex pays less than s")

    need(len(arr(trees)) == math.comb(size, kappa + 1), "the trees are not one for each set of features")
    for chosen, tree in zip(itertools.combinations(range(size), kappa + 1), trees):
        visit(tree, [[weights[d] if place == d else ZERO for place in range(size)] for d in chosen])
    return s


def cones_bound(problem, features, cones, latents, fires, nodes):
    """s, which a group loses whose neurons share features."""
    s, steps = obj(cones, "s steps")
    s, steps, size = rat(s), iter(enumerate(arr(steps))), len(features)
    need(size <= 12, "over 12 features in cones")
    reached = reaching(features, latents, fires)
    need(all(fires(i, d) is not None for i in reached for d in features), "a neuron is undecided on the group")
    need(1 <= len(reached) <= size, "no neurons reach the group, or more than it has features")
    # A ray is a place in the group and a sign.
    rays = [[(place, 1) for place, d in enumerate(features) if fires(i, d)] for i in reached]
    q, chosen = len(reached), {()}
    for listed in rays:
        chosen = {tuple(sorted((*places, place))) for places in chosen for place, _ in listed if place not in places}
    need(chosen, "the codes of the neurons are always dependent")
    t = total(problem.M[d] * norm2(problem.r[d]) for d in features) - s
    form = Form(problem, features, q, t)

    def vector(ray):
        return [Num((ray[1],)) if place == ray[0] else ZERO for place in range(size)]

    def child(listed, at, value):
        return [value if place == at else old for place, old in enumerate(listed)]

    def visit(rays, codes, cut, differences, depth):
        nodes[0] += 1
        need(nodes[0] <= MAX_NODES and depth <= 400, "over 200,000 nodes, or over 400 on a path")
        _, step = next(steps, (None, None))
        need(type(step) is dict, "a step is missing or not an object")
        if "minus" in step:
            i, j = (index(at, q) for at in arr(obj(step, "minus")[0], 2))
            need(i != j and not cut[j] and not any(differences), "minus with a cone that was cut, or with differences")
            need(all(g > 0 for _, g in rays[i]), "minus with negative rays")
            common = [ray for ray in rays[i] if ray in rays[j]]
            weighs = any(sign(v[place]) > 0 for place, _ in common for v in codes[i])
            need(weighs, "minus without a common ray")
            for ray in common:
                less = [other for other in rays[j] if other != ray]
                less += [(d, -g) for d, g in rays[i] if (d, g) not in rays[j] and (d, -g) not in rays[j]]
                visit(child(rays, j, less), child(codes, j, [vector(other) for other in less]), cut, differences,
                      depth + 1)
        elif "cut" in step:
            edge, of, weight = obj(step, "cut of weight")
            need(of in ("codes", "differences"), "neither codes nor differences are cut")
            i = index(arr(edge, 3)[0], q)
            cone = codes[i] if of == "codes" else differences[i]
            need(cone is not None, "no differences of this neuron")
            j, k = (index(at, len(cone)) for at in edge[1:])
            weight = rat(weight)
            need(j != k and sign(weight) > 0, "no cut between two vertices")
            middle = [a + weight * b for a, b in zip(cone[j], cone[k])]
            for at in (j, k):
                part = child(cone, at, middle)
                if of == "codes":
                    visit(rays, child(codes, i, part), child(cut, i, True), differences, depth + 1)
                else:
                    visit(rays, codes, cut, child(differences, i, part), depth + 1)
        elif "difference" in step:
            pair, h = obj(step, "difference form")
            i, j = (index(at, q) for at in arr(pair, 2))
            need(i < j and differences[j] is None, "no difference of a neuron without differences to one before it")
            h = [rat(x) for x in arr(h, size)]
            xs, ys = scaled(codes[i], h), scaled(codes[j], h)
            common = [(a, next(b for b, x in enumerate(xs) if equal(x, y))) for a, y in enumerate(ys)
                      if any(equal(x, y) for x in xs)]
            need(len(common) <= 12, "over 12 common vertices")
            pieces = []
            for signs in range(1 << len(common)):
                from_y = {a for at, (a, _) in enumerate(common) if not signs >> at & 1}
                from_x = {b for at, (_, b) in enumerate(common) if signs >> at & 1}
                staircases([y for a, y in enumerate(ys) if a not in from_y],
                           [x for b, x in enumerate(xs) if b not in from_x], pieces)
            for piece in pieces:
                visit(rays, codes, cut, child(differences, j, piece), depth + 1)
        else:
            of = obj(step, "bounded")[0]
            need(of in ("codes", "differences"), "neither codes nor differences are bounded")
            current = [code if of == "codes" or other is None else other for code, other in zip(codes, differences)]
            form.bounded(current)

    def equal(x, y):
        return all(zero(a - b) for a, b in zip(x, y))

    def scaled(cone, h):
        heights = [dot(h, v) for v in cone]
        need(all(sign(height) > 0 for height in heights), "a form that is not positive on all vertices")
        return [[x * inverse(height) for x in v] for v, height in zip(cone, heights)]

    visit(rays, [[vector(ray) for ray in listed] for listed in rays], [False] * q, [None] * q, 0)
    need(next(steps, None) is None, "steps behind the end of the tree")
    return s


def staircases(ys, xs, pieces):
    """The differences along the paths from the first pair of a y and an x to the last, steps in y before steps in x."""
    def walk(j, k, path):
        path = [*path, [a - b for a, b in zip(ys[j], xs[k])]]
        if j + 1 == len(ys) and k + 1 == len(xs):
            need(len(pieces) < 512, "over 512 cones of differences")
            pieces.append(path)
        if j + 1 < len(ys):
            walk(j + 1, k, path)
        if k + 1 < len(xs):
            walk(j, k + 1, path)

    if ys and xs:
        walk(0, 0, [])


class Form:
    """tD - N on the q×q minors of the codes of q neurons, times a positive number."""

    def __init__(self, problem, features, q, t):
        size = len(features)
        self.sets = list(itertools.combinations(range(size), q))
        M, r = [problem.M[d] for d in features], [problem.r[d] for d in features]

        def entry(left, right):
            union = sorted({*left, *right})
            if left == right:
                value = t - total(M[d] * norm2(r[d]) for d in left)
            elif len(union) == q + 1:
                (d,), (e,) = {*left} - {*right}, {*right} - {*left}
                value = dot(r[d], r[e])
                if (left.index(d) + right.index(e)) % 2 == 0:
                    value = -value
            else:
                return ZERO
            for d in union:
                value = value * M[d]
            return value

        self.matrix = integral_rational([[entry(left, right) for right in self.sets] for left in self.sets])

    def minors(self, rows):
        """The determinants of the columns of each set, by expansion along the last row."""
        w = {(): 1}
        for p, row in enumerate(rows):
            wider = {}
            for places in itertools.combinations(range(len(row)), p + 1):
                terms = ((-1) ** (p - at) * w[places[:at] + places[at + 1:]] * row[d] for at, d in enumerate(places))
                wider[places] = sum(terms)
            w = wider
        return [w[places] for places in self.sets]

    def bounded(self, cones):
        """Refuses unless all coefficients over the products of the cones are at least 0."""
        need(math.prod(len(cone) for cone in cones) <= 1024, "over 1024 products of vertices")
        cones = [integral_rational(cone) for cone in cones]
        length = max([x.bit_length() for cone in cones for v in cone for x in v] or [1])
        pairs = math.prod(len(cone) for cone in cones) ** 2
        spend(pairs * len(self.sets) * 60 * (1 + length * len(cones) // 300))
        products = {at: self.minors(rows) for at, rows in zip(
            itertools.product(*(range(len(cone)) for cone in cones)), itertools.product(*cones))}
        images = {at: [sum(a * x for a, x in zip(row, w) if a) for row in self.matrix] for at, w in products.items()}
        values = {}
        for left in products:
            for right in products:
                pair = min(left, right), max(left, right)
                if pair not in values:
                    values[pair] = sum(a * b for a, b in zip(products[pair[0]], images[pair[1]]))
        for edges in itertools.product(*(itertools.combinations_with_replacement(range(len(c)), 2) for c in cones)):
            value = 0
            for turned in itertools.product((0, 1), repeat=len(edges)):
                left = tuple(edge[turn] for edge, turn in zip(edges, turned))
                right = tuple(edge[1 - turn] for edge, turn in zip(edges, turned))
                value += values[min(left, right), max(left, right)]
            need(value >= 0, "a coefficient is negative")


def integral_rational(rows):
    """A rational matrix as the integer matrix of a multiple."""
    return [[c[0] for c in row] for row in integral(rows)[0]]


def rank_bound(problem, features, t, y, latents, fires):
    """tr S - m t - tr y."""
    size, t = problem.n_r, rat(t)
    y = mat(y, size, size)
    need(sign(t) >= 0, "t is negative")
    need(all(zero(y[i][j] - y[j][i]) for i in range(size) for j in range(i)), "y is not symmetric")
    need(positive_semidefinite(y), "y is not positive semidefinite")
    m = len(reaching(features, latents, fires))
    right = [[problem.r[d][j] for d in features] for j in range(size)]
    left = [[problem.M[d] * problem.r[d][j] for d in features] for j in range(size)]
    S = [[dot(u, v) for v in right] for u in left]
    gap = [[y[i][j] - S[i][j] + (t if i == j else ZERO) for j in range(size)] for i in range(size)]
    need(positive_semidefinite(gap), "tI + y - S is not positive semidefinite")
    return total(S[j][j] - y[j][j] for j in range(size)) - Num((m,)) * t


def not_convex(problem, body):
    """`not-convex` (§5)."""
    start, end, t, cell = obj(body, "from to t", "cell")
    start, end, t = read_point(start, problem), read_point(end, problem), rat(t)
    need(len(start.w_e) == len(end.w_e), "the points have different shapes")
    need(sign(t) > 0 and sign(ONE - t) > 0, "t is not between 0 and 1")

    def between(rows, others):
        return [[(ONE - t) * x + t * y for x, y in zip(u, v)] for u, v in zip(rows, others)]

    middle = Record(w_e=between(start.w_e, end.w_e), w_d=between(start.w_d, end.w_d))
    if cell is not None:
        pattern, threshold = obj(cell, "pattern threshold")
        pattern, region = read_pattern(pattern, problem, len(start.w_e)), Record(**vars(problem))
        region.activation, region.c = "threshold", rat(threshold)
        for point in (start, end, middle):
            need(firing(region, point.w_e)[1] == pattern, "a point leaves the cell")
    chord = (ONE - t) * loss_of(problem, start) + t * loss_of(problem, end)
    need(sign(loss_of(problem, middle) - chord) > 0, "the loss is not above the chord")


def not_partial_optimum(problem, body):
    """`not-partial-optimum` (§5)."""
    point, better = (read_point(value, problem) for value in obj(body, "point better"))
    need(len(point.w_e) == len(better.w_e), "the points have different shapes")
    need(firing(problem, point.w_e)[1] == firing(problem, better.w_e)[1], "the points have different firing sets")
    same = [is_zero([x for u, v in zip(a, b) for x in minus(u, v)])
            for a, b in ((point.w_d, better.w_d), (point.w_e, better.w_e))]
    need(any(same), "the points agree in neither block")
    need(sign(loss_of(problem, point) - loss_of(problem, better)) > 0, "the other point is not better")


def not_separable(problem, body):
    """`not-separable` (§5)."""
    threshold_only(problem)
    point, neurons, rows, difference = obj(body, "point neurons rows difference")
    point, difference = read_point(point, problem), rat(difference)
    i, j = (index(k, len(point.w_e)) for k in arr(neurons, 2))
    need(i != j, "the two neurons are one")
    rows = mat(rows, 2, problem.n_p)
    value, sets = ZERO, []
    for first in (False, True):
        for second in (False, True):
            w_e = list(point.w_e)
            w_e[i], w_e[j] = rows[0] if first else w_e[i], rows[1] if second else w_e[j]
            loss = loss_of(problem, Record(w_e=w_e, w_d=point.w_d))
            value = value + (loss if first == second else -loss)
            sets.append(firing(problem, w_e)[1])
    need(all(F == sets[0] for F in sets), "the encoders have different firing sets")
    need(zero(value - difference) and not zero(difference), "the difference is another, or 0")


def exact_loss(problem, body):
    """`exact-loss` (§5)."""
    point, distribution, loss, approximate = obj(body, "point distribution loss approximate")
    point, loss, approximate = read_point(point, problem), rat(loss), rat(approximate)
    samples, weights, masses = [], [], [ZERO] * problem.n
    for atom in arr(distribution):
        x, probability = obj(atom, "x probability")
        samples.append(vec(x, problem.n))
        weights.append(rat(probability))
        need(sign(weights[-1]) > 0, "a probability is not positive")
        need(all(sign(value) >= 0 for value in samples[-1]), "a sample is negative")
        support = [d for d, value in enumerate(samples[-1]) if not zero(value)]
        if len(support) == 1:
            masses[support[0]] += weights[-1] * samples[-1][support[0]] * samples[-1][support[0]]
    need(zero(total(weights) - ONE), "the probabilities do not add up to 1")
    need(len({tuple((v.c, v.d) for v in x) for x in samples}) == len(samples), "a sample is repeated")

    def mix(x, vectors, length):
        return combine(dict(enumerate(x)), vectors, length)

    z, sets = firing(problem, point.w_e, [mix(x, problem.p, problem.n_p) for x in samples])
    errors = [residual(mix(x, problem.r, problem.n_r), k, z, sets, point.w_d) for k, x in enumerate(samples)]
    need(zero(dot(weights, [norm2(error) for error in errors]) - loss), "the loss is another")
    need(zero(loss_of(problem, point, masses) - approximate), "the approximate loss is another")


def jacobian_rank(problem, body):
    """`jacobian-rank` (§5): one row per coordinate of a residual, columns for ΔV, then for ΔW."""
    threshold_only(problem)
    point, claimed = obj(body, "point rank")
    point, claimed, n_r, n_p = read_point(point, problem), index(claimed, MAX_ENTRIES + 1), problem.n_r, problem.n_p
    n_q = len(point.w_e)
    size = problem.n * n_r * n_q * (n_r + n_p)
    need(size <= MAX_ENTRIES, "the Jacobian has over 4,000,000 entries")
    spend(100 * size)
    z, sets = firing(problem, point.w_e)
    rows = []
    for d in range(problem.n):
        for coordinate in range(n_r):
            row = [ZERO] * (n_q * (n_r + n_p))
            for i, F in enumerate(sets):
                if d in F:
                    row[i * n_r + coordinate] = z[i][d]
                    start = n_q * n_r + i * n_p
                    row[start : start + n_p] = [point.w_d[i][coordinate] * x for x in problem.p[d]]
            rows.append([c[0] for c in integral([row])[0][0]])
    need(rank(rows) == claimed, "the rank is another")


def absorption(problem, body):
    """`absorption` (§5)."""
    pattern, w_e, neuron, split = obj(body, "pattern w_e neuron split")
    pattern = read_pattern(pattern, problem)
    need(firing(problem, mat(w_e, len(pattern), problem.n_p))[1] == pattern, "the encoder does not have this pattern")
    neuron = index(neuron, len(pattern))
    F = pattern[neuron]
    need(len(F) >= 2, "the neuron has fewer than two features")

    def without(d):
        need(d in F, "the split feature is not in the neuron's set")
        return [G - {d} if i == neuron else G for i, G in enumerate(pattern)] + [{d}]

    if type(split) is dict and "realizable" in split:
        d, w_e = obj(obj(split, "realizable")[0], "feature w_e")
        rows = mat(w_e, len(pattern) + 1, problem.n_p)
        need(firing(problem, rows)[1] == without(index(d, problem.n)), "the encoder does not realize the split")
        return "realizable"
    proofs = [obj(proof, "feature farkas") for proof in arr(obj(split, "none")[0])]
    features = [index(d, problem.n) for d, _ in proofs]
    need(len(features) == len(F) and set(features) == F, "the features are not those of the neuron, once each")
    for d, proof in proofs:
        farkas(problem, without(d), proof)
    return "none"


def arithmetic(_, body):
    """`arithmetic` (§5)."""
    steps = arr(obj(body, "steps")[0])
    need(steps, "no steps")
    for step in steps:
        left, relation, right = obj(step, "left relation right")
        side = sign(subtract(expression(left), expression(right)))
        holds = {"<": side < 0, "<=": side <= 0, "=": side == 0, ">": side > 0, ">=": side >= 0}
        need(type(relation) is str and holds.get(relation, False), "a relation is unknown or does not hold")


def limited(*sizes):
    """Refuses an operation whose result could have a numerator or denominator of over 2,000,000 bits (§6)."""
    need(max(sizes) <= MAX_BITS, "an arithmetic value of over 2,000,000 bits")


def subtract(x, y):
    return add(x, -y)


def add(x, y):
    (a, b), (c, d) = ((bits(v.c), v.d.bit_length() if x.d != y.d else 0) for v in (x, y))
    limited(a + d + 1, b + c + 1, b + d)
    return x + y


def multiply(x, y):
    limited(bits(x.c) + bits(y.c), x.d.bit_length() + y.d.bit_length())
    return x * y


def expression(value):
    """The value of an EXPR (§5)."""
    if type(value) is not dict:
        return rat(value)
    need(len(value) == 1, "an expression is not one operation")
    (operation, arguments), = value.items()
    if operation in ("add", "mul"):
        need(len(arr(arguments)) > 0, "an empty sum or product")
        return functools.reduce(add if operation == "add" else multiply, map(expression, arguments))
    need(operation in ("sub", "div", "pow", "binomial"), "unknown operation")
    first, second = arr(arguments, 2)
    if operation == "sub":
        return subtract(expression(first), expression(second))
    if operation == "div":
        return multiply(expression(first), inverse(expression(second)))
    second = index(second, MAX_ARGUMENT + 1)
    if operation == "pow":
        base = expression(first)
        sizes = bits(base.c) * second, base.d.bit_length() * second
        limited(*sizes)
        spend(sum(cost(size, size) for size in sizes) * 2)
        return Num((base.c[0] ** second,), base.d**second)
    first = index(first, MAX_ARGUMENT + 1)
    spend(100 + first * second)
    return Num((math.comb(first, second),))


# ---------------------------------------------------------------------------------------------------------------------
# The envelope (§2) and the command line

KINDS = {
    "partial-optimum": partial_optimum,
    "strict-saddle": strict_saddle,
    "local-min": local_min,
    "pattern-witness": pattern_witness,
    "pattern-empty": pattern_empty,
    "no-partial-optimum": no_partial_optimum,
    "epsilon-partial-optimum": epsilon_partial_optimum,
    "zero-loss": zero_loss,
    "loss-value": loss_value,
    "lower-bound": lower_bound,
    "not-convex": not_convex,
    "not-partial-optimum": not_partial_optimum,
    "not-separable": not_separable,
    "exact-loss": exact_loss,
    "jacobian-rank": jacobian_rank,
    "absorption": absorption,
    "arithmetic": arithmetic,
}


def certify(text):
    """Checks the text of a certificate; returns its kind and a word about what was proved, or raises Refused."""
    global work
    work = 0
    if hasattr(sys, "set_int_max_str_digits"):
        sys.set_int_max_str_digits(MAX_DIGITS + 1)
    try:
        value = parse(text)
        kind = value.get("kind") if type(value) is dict else None
        need(type(kind) is str and kind in KINDS, "unknown kind")
        head = "format kind body" if kind == "arithmetic" else "format kind body instance sha256"
        version, _, body, *rest, note = obj(value, head, "note")
        need(type(version) is int and version == 1, "the format is not 1")
        need(note is None or type(note) is str and note.encode() is not None, "note is not a string")
        problem = None
        if rest:
            problem = read_problem(rest[0])
            canonical = json.dumps(rest[0], sort_keys=True, separators=(",", ":"))
            need(rest[1] == hashlib.sha256(canonical.encode()).hexdigest(), "sha256 is not that of the instance")
        return kind, KINDS[kind](problem, body) or ""
    except Refused:
        raise
    except (Exception, RecursionError) as error:  # hostile input must end in a refusal, whatever it provokes
        raise Refused(f"unexpected {type(error).__name__}: {ascii(str(error))[:80]}") from None


def check(text):
    """The kind of an acceptable certificate; raises Refused otherwise."""
    return certify(text)[0]


def check_file(path):
    """The outcome of one file; raises OSError if it cannot be read."""
    with open(path, "rb") as file:
        data = file.read(MAX_BYTES + 1)
    try:
        need(len(data) <= MAX_BYTES, "the file is over 32 MiB")
        kind, detail = certify(data.decode())
        return {"file": path, "accepted": True, "kind": kind, "reason": detail}
    except UnicodeDecodeError:
        reason = "not UTF-8"
    except Refused as refusal:
        reason = str(refusal)
    return {"file": path, "accepted": False, "kind": None, "reason": reason}


def files_of(path):
    """The path itself, or every *.json below it if it is a directory."""
    if not os.path.isdir(path):
        return [path]

    def fail(error):
        raise error

    walk = os.walk(path, onerror=fail)
    found = [os.path.join(top, name) for top, _, names in walk for name in names if name.endswith(".json")]
    if not found:
        raise OSError(f"no *.json in {path}")
    return sorted(found)


def wrapped(path):
    """The text of the certificate in a file of the refused corpus."""
    with open(path, encoding="utf-8") as file:
        wrapper = json.load(file)
    keys = set(wrapper) - {"from"} if type(wrapper) is dict else set()
    if keys == {"changed", "text"} and type(wrapper["text"]) is str:
        return wrapper["text"]
    if keys == {"changed", "certificate"}:
        return json.dumps(wrapper["certificate"])
    raise ValueError(f"{path}: expected changed with certificate or text")


def check_corpus(path):
    """Checks both halves of a corpus, prints what is wrong and one summary line; the exit status."""
    wrong, sound, broken = 0, files_of(os.path.join(path, "accepted")), files_of(os.path.join(path, "refused"))
    for file in sound:
        outcome = check_file(file)
        if not outcome["accepted"]:
            wrong += 1
            print(f"refused  {file}: {outcome['reason']}", file=sys.stderr)
    for file in broken:
        try:
            kind = check(wrapped(file))
        except Refused:
            continue
        wrong += 1
        print(f"accepted  {kind}  {file}", file=sys.stderr)
    print(f"corpus: {len(sound)} to accept, {len(broken)} to refuse, {wrong} wrong")
    return 1 if wrong else 0


def main(arguments=None):
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Check sdlab certificates (FORMAT.md) with exact arithmetic.")
    parser.add_argument("paths", nargs="*", metavar="FILE|DIR")
    parser.add_argument("--json", action="store_true", help="print an array of outcomes")
    parser.add_argument("--corpus", metavar="DIR", help="check DIR/accepted and DIR/refused")
    options = parser.parse_args(arguments)
    if bool(options.paths) == bool(options.corpus):
        parser.error("give files, or --corpus DIR")
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")
    try:
        if options.corpus:
            return check_corpus(options.corpus)
        outcomes = []
        for file in (file for path in options.paths for file in files_of(path)):
            outcome = check_file(file)
            outcomes.append(outcome)
            if not options.json and outcome["accepted"]:
                print(f"accepted  {outcome['kind']}  {file}")
            elif not options.json:
                print(f"refused  {file}: {outcome['reason']}")
    except (OSError, ValueError) as error:
        print(f"check.py: {error}", file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps(outcomes, indent=1))
    return 0 if all(outcome["accepted"] for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
