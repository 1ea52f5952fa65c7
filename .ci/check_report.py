#!/usr/bin/env python3
"""Fails if a report's folder lacks what the page names, or its parts disagree.

    python3 .ci/check_report.py FOLDER
"""

import csv
import json
import pathlib
import re
import sys

FORMATS = {"figures": {"svg", "pdf", "png", "csv", "json"}, "tables": {"tex", "csv", "json"}}
HEAVIEST = 8_000_000


def rows_of(layer):
    """How many rows a layer of a figure has in its CSV."""
    if layer["kind"] == "note":
        return 1
    return next(len(layer[key]) for key in ("points", "values", "arrows", "corners", "bars") if key in layer)


def disagreements(folder):
    """Data files that do not say the same in CSV and JSON."""
    wrong = []
    for path in sorted(folder.glob("figures/*.json")):
        figure = json.loads(path.read_text(encoding="utf-8"))
        with open(path.with_suffix(".csv"), encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        expected = sum(rows_of(layer) for panel in figure["panels"] for layer in panel["layers"])
        points = [point for panel in figure["panels"] for layer in panel["layers"] if layer["kind"] in ("line", "points")
                  for point in layer["points"]]
        shown = [[float(row[key]) if row[key] else None for key in ("x", "y")] for row in rows if row["kind"] in ("line", "points")]
        if len(rows) != expected or shown != points:
            wrong.append(f"{path}: {expected} rows in JSON, {len(rows)} in CSV, or other numbers")
    for path in sorted(folder.glob("tables/*.json")):
        table = json.loads(path.read_text(encoding="utf-8"))
        with open(path.with_suffix(".csv"), encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))
        if len(rows) != len(table["rows"]) + 1 or len({len(row) for row in rows}) != 1:
            wrong.append(f"{path}: CSV has other rows")
    return wrong


def main():
    folder = pathlib.Path(sys.argv[1])
    page = (folder / "index.html").read_text(encoding="utf-8")
    links = [link for link in re.findall(r'(?:href|src)="([^"]+)"', page) if not link.startswith("#")]
    wrong = [f"{link}: missing or empty" for link in links if not (folder / link).is_file() or (folder / link).stat().st_size == 0]
    wrong += [f"{link}: from elsewhere" for link in links if "://" in link]
    anchors = set(re.findall(r'\bid="([^"]+)"', page))
    wrong += [f"#{link}: leads nowhere" for link in re.findall(r'href="#([^"]+)"', page) if link not in anchors]
    for kind, formats in FORMATS.items():
        for path in folder.glob(f"{kind}/*.json"):
            wrong += [f"{path.with_suffix('.' + f)}: missing" for f in formats if not path.with_suffix("." + f).is_file()]
    wrong += disagreements(folder)
    if len(page.encode()) > HEAVIEST:
        wrong.append(f"index.html: {len(page.encode())} bytes, more than {HEAVIEST}")
    verdicts = json.loads((folder / "verdicts.json").read_text(encoding="utf-8"))
    if not verdicts["as_expected"] or not verdicts["claims"]:
        wrong.append("verdicts.json: other verdicts than those of the snapshot, or none")
    names = re.findall(r"\\newcommand\{\\(\w+)\}", (folder / "macros.tex").read_text(encoding="utf-8"))
    quoted = [quantity["macro"] for claim in verdicts["claims"] for quantity in claim["quantities"]]
    wrong += [f"macros.tex lacks {name}" for name in quoted if name not in names]
    if len(set(names)) != len(names) or len(set(quoted)) != len(quoted):
        wrong.append("macros.tex: a name is given twice")
    counts = {kind: len(list(folder.glob(pattern))) for kind, pattern in {
        "certificates": "certificates/*.json", "figures": "figures/*.svg", "tables": "tables/*.tex",
    }.items()}
    wrong += [f"no {kind}" for kind, n in counts.items() if n == 0]
    print(f"{len(verdicts['claims'])} claims, {len(links)} links,", ", ".join(f"{n} {kind}" for kind, n in counts.items()) +
          f", {len(names)} macros, page of {len(page.encode()) / 1e6:.1f} MB")
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
