#!/usr/bin/env python3
"""Fails if a report's folder lacks what the page names.

    python3 .ci/check_report.py FOLDER
"""

import json
import pathlib
import re
import sys


def main():
    folder = pathlib.Path(sys.argv[1])
    page = (folder / "index.html").read_text(encoding="utf-8")
    links = [link for link in re.findall(r'(?:href|src)="([^"]+)"', page) if not link.startswith("#")]
    missing = [link for link in links if not (folder / link).is_file() or (folder / link).stat().st_size == 0]
    foreign = [link for link in links if "://" in link]
    verdicts = json.loads((folder / "verdicts.json").read_text(encoding="utf-8"))
    counts = {kind: len(list(folder.glob(pattern))) for kind, pattern in {
        "certificates": "certificates/*.json", "figures": "figures/*.svg", "pictures": "figures/*.png",
    }.items()}
    print(f"{len(verdicts['claims'])} claims, {len(links)} links,", ", ".join(f"{n} {kind}" for kind, n in counts.items()))
    for link in missing + foreign:
        print(f"{link}: missing, empty, or from elsewhere", file=sys.stderr)
    bad = missing or foreign or not verdicts["as_expected"] or not verdicts["claims"] or not all(counts.values())
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
