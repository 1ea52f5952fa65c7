#!/usr/bin/env python3
"""Writes the experiments of this folder: one TOML file for every row of tables 1, 4, 5, 6 and 7, at paper size and small.

    python3 configs/make.py            writes all of them
    python3 configs/make.py --check    exit status 1 if a file is missing, differs, or is not one of them

The rows are read from reports/published. Only what the standard library of Python 3.11 offers is needed.
"""

import pathlib
import sys
import tomllib

HERE = pathlib.Path(__file__).resolve().parent
PUBLISHED = HERE.parent / "reports" / "published"

# What the two sizes differ in. The small one is 1/16 of the paper's in n, n_p, n_q and the number of anchors. Its features fire more often, since at
# S = 0.99 most of its samples would be empty, and k is smaller in proportion.
PAPER = {
    "folder": "",
    "n": 1000,
    "n_p": 768,
    "n_q": 16000,
    "samples": 100_000,
    "sparsity": {"": 0.99, "0.005": 0.995, "0.01": 0.99, "0.1": 0.9},
    "n_at": {str(n): n for n in range(800, 1401, 100)},
    "k": 64,
    "k_at": {"32": 32, "64": 64, "128": 128},
    "anchors": 100,
    "batch": 1024,
    "epochs": 20,
    "plateau": 0.01,
    "rate": 0.001,
}
SMALL = {
    "folder": "small",
    "n": 62,
    "n_p": 48,
    "n_q": 1000,
    "samples": 4000,
    "sparsity": {"": 0.95, "0.005": 0.975, "0.01": 0.95, "0.1": 0.7},
    "n_at": {"800": 50, "900": 56, "1000": 62, "1100": 69, "1200": 75, "1300": 81, "1400": 88},
    "k": 16,
    "k_at": {"32": 8, "64": 16, "128": 32},
    "anchors": 6,
    "batch": 128,
    "epochs": 20,
    "rate": 0.003,
}

# Name of the file, σ and penalties of each method as the tables print it; k is filled in.
METHODS = {
    "ReLU SAE": ("relu", 'kind = "relu"', ["l1 = 0.05"]),
    "SAE": ("relu", 'kind = "relu"', ["l1 = 0.05"]),
    "JumpReLU SAE": ("jumprelu", 'kind = "jump-relu", theta = 0.1, bandwidth = 0.1', ["l0 = 0.01"]),
    "TopK SAE": ("topk", 'kind = "top-k", k = {k}', []),
    "BatchTopK SAE": ("batchtopk", 'kind = "batch-top-k", k = {k}', []),
    "Matryoshka SAE": (
        "matryoshka",
        'kind = "top-k", k = {k}',
        ['scales = {{ kind = "top-k", ks = [{quarter}, {half}, {k}], weights = [1.0, 1.0, 1.0] }}'],
    ),
    "Transcoder": ("transcoder", 'kind = "top-k", k = {k}', []),
    "Crosscoder": ("crosscoder", 'kind = "top-k", k = {k}', []),
}
SOURCES = 2
ANCHOR_WEIGHT = 0.1

# The column that a table varies, and how its value stands in the name of a file.
VARIED = {1: None, 4: ("n", "n{}"), 5: ("interference", "m{}"), 6: ("sparsity", "p{}"), 7: ("top-k", "k{}")}


def rows(number):
    """Every row as (method, anchored, printed value of the varied column or None, the printed cells)."""
    table = tomllib.loads((PUBLISHED / f"table-{number}.toml").read_text())
    kinds = [column["kind"] for column in table["columns"]]
    varied = VARIED[number] and VARIED[number][0]
    method = None
    for group in table["groups"]:
        for cells in group["rows"]:
            anchored = cells[0].startswith("+")
            method = method if anchored else cells[0]
            at = cells[kinds.index(varied)] if varied else None
            printed = [
                f"{column['header'].rstrip(' ↑↓')} {cell}"
                for column, cell in zip(table["columns"], cells)
                if column["kind"] in ("recovery", "mip", "l0")
            ]
            yield method, anchored, at, printed


def published(number):
    """Which symbols the table gives, and which it does not."""
    table = tomllib.loads((PUBLISHED / f"table-{number}.toml").read_text())
    return [setting["symbol"] for setting in table["settings"]]


def text(size, number, method, anchored, at, printed):
    """The file of one row, and its name."""
    name, activation, penalties = METHODS[method]
    dense = name in ("relu", "jumprelu")
    n = size["n_at"][at] if number == 4 else size["n"]
    interference = float(at) if number == 5 else 0.1
    sparsity = size["sparsity"][at if number == 6 else ""]
    k = size["k_at"][at] if number == 7 else size["k"]
    fill = {"k": k, "half": k // 2, "quarter": k // 4}
    where = f"{VARIED[number][0]} {at}, " if at else ""
    lines = [
        f"# Table {number}, {where}{method}{' + Feature Anchoring' if anchored else ''}. Printed: {', '.join(printed)}.",
        "#",
    ]
    given = [s for s in published(number) if s not in ("k", "λ_{anchor}")] + {4: ["n"], 5: ["M"], 6: [], 7: ["k"]}.get(number, [])
    defaults = [s for s, where in (("n", "n"), ("M", "M"), ("S", "S")) if where not in given]
    if size is PAPER:
        lines.append(f"# Published: {', '.join(given)} with the table; N{''.join(', ' + s for s in defaults)} as in Table 3.")
        if "n_q" not in given:
            lines.append("# Not published with this table: n_q; it is that of tables 1 and 7.")
    else:
        lines.append("# A small version, of seconds: n, n_p, n_q and the number of anchors are 1/16 of the paper's, N is 4000, features fire")
        lines.append("# more often (S) and k is smaller, so that a sample has a few active features.")
    if number == 6:
        lines.append('# The column "Sparsity" is 1 - S: its .01 rows repeat Table 1, whose S is .99.')
    lines.append("# Not published and our choice: optimizer, learning rate, batch, epochs, init, c_min, β, and the score of which side (both here).")
    if method in ("ReLU SAE", "SAE"):
        lines.append("# So is λ of the L1 penalty.")
    elif method == "JumpReLU SAE":
        lines.append("# So are θ at the start, the width of its straight-through estimate, and the weight of the L0 penalty.")
    elif number != 7:
        lines.append(f"# So is k. It is {k} by eq. 7, which keeps negative values, so that L0 is k exactly where the activation is a TopK.")
    else:
        lines.append("# The activation is eq. 7, which keeps negative values.")
    if method == "Matryoshka SAE":
        lines.append("# So are the other k of eq. 9 and their weights.")
    if method == "Crosscoder":
        lines.append(f"# So is the number of sources, {SOURCES}, each of n_p dimensions.")
    if method == "Transcoder":
        lines.append("# W_E starts on its own, since inputs and targets have different features.")
    if dense and "plateau" in size:
        lines.append(f"# Ends before that once the mean loss of an epoch has fallen by at most {size['plateau']:.0%}, since its steps need five dense products.")
    if anchored:
        own = "The number of anchors and λ are those of Table 4's caption" if number != 4 else "The number of anchors and λ are published"
        lines.append(f"# {own}; the subset is drawn by the seed.")
    lines += ["", "[published]", f"table = {number}", f'method = "{method}"', f"anchored = {str(anchored).lower()}"]
    if at:
        lines.append(f'at = "{at}"')
    lines += [
        "",
        "[bench]",
        f"n = {n}",
        f"n_p = {size['n_p']}",
        f"samples = {size['samples']}",
        f"sparsity = {sparsity}",
        f"interference = {interference}",
        "c_min = 1.0",
        "beta = 1.0",
    ]
    if method == "Transcoder":
        lines.append(f'task = {{ kind = "transcoder", n_r = {size["n_p"]} }}')
    if method == "Crosscoder":
        lines.append(f'task = {{ kind = "crosscoder", sources = {SOURCES} }}')
    lines += ["", "[model]", f"latents = {size['n_q']}", f"activation = {{ {activation.format(**fill)} }}"]
    tied = str(method != "Transcoder").lower()
    lines.append(f'init = {{ weights = "unit", scale = 1.0, tied = {tied} }}')
    if penalties:
        lines += ["", "[objective]"] + [penalty.format(**fill) for penalty in penalties]
    lines += ["", "[optimizer]", 'rule = "adam"', f"learning_rate = {size['rate']}"]
    if anchored:
        lines += ["", "[anchors]", 'source = "ground-truth"', f"count = {size['anchors']}", f"weight = {ANCHOR_WEIGHT}"]
    lines += ["", "[train]", f"batch = {size['batch']}", f"epochs = {size['epochs']}"]
    if dense and "plateau" in size:
        lines.append(f"plateau = {size['plateau']}")
    stem = name + (f"-{VARIED[number][1].format(at)}" if at else "") + ("-anchored" if anchored else "")
    return pathlib.Path(size["folder"]) / f"table{number}" / f"{stem}.toml", "\n".join(lines) + "\n"


def main():
    files = {}
    for size in (PAPER, SMALL):
        for number in VARIED:
            for row in rows(number):
                path, content = text(size, number, *row)
                assert path not in files, path
                files[path] = content
    present = {path.relative_to(HERE) for path in HERE.rglob("*.toml") if "table" in path.parent.name}
    if "--check" in sys.argv[1:]:
        wrong = [p for p in files if not (HERE / p).exists() or (HERE / p).read_text() != files[p]] + sorted(present - files.keys())
        for path in wrong:
            print(f"configs/{path}: differs from what configs/make.py writes")
        return 1 if wrong else 0
    for path, content in files.items():
        (HERE / path).parent.mkdir(parents=True, exist_ok=True)
        (HERE / path).write_text(content)
    print(f"{len(files)} files")
    return 0


if __name__ == "__main__":
    sys.exit(main())
