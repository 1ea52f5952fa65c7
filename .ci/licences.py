#!/usr/bin/env python3
"""Fails if a dependency's licence offers no choice within the permissive ones below.

    python3 .ci/licences.py METADATA     (the output of `cargo metadata --format-version 1`)
"""

import json
import re
import sys

PERMISSIVE = {
    "MIT", "MIT-0", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-2-Clause", "BSD-3-Clause", "ISC", "Zlib",
    "Unicode-3.0", "Unicode-DFS-2016", "0BSD", "BSL-1.0", "CC0-1.0", "Unlicense", "NCSA",
}


def permissive(expression):
    """Whether an SPDX expression (with `/` for OR, as older crates write it) can be met by permissive licences alone."""
    tokens = re.findall(r"\(|\)|[^\s()]+", expression.replace("/", " OR "))
    position = 0

    def either():
        nonlocal position
        result = both()
        while position < len(tokens) and tokens[position] == "OR":
            position += 1
            right = both()
            result = result or right
        return result

    def both():
        nonlocal position
        result = one()
        while position < len(tokens) and tokens[position] == "AND":
            position += 1
            right = one()
            result = result and right
        return result

    def one():
        nonlocal position
        token = tokens[position]
        position += 1
        if token == "(":
            result = either()
            position += 1
            return result
        if position + 1 < len(tokens) and tokens[position] == "WITH":
            token += " WITH " + tokens[position + 1]
            position += 2
        return token in PERMISSIVE

    return either()


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        packages = json.load(file)["packages"]
    refused = [
        f"{package['name']} {package['version']}: {package['license'] or 'no licence is stated'}"
        for package in packages
        if not package["license"] or not permissive(package["license"])
    ]
    for line in refused:
        print(line, file=sys.stderr)
    print(f"{len(packages)} packages, {len(refused)} without a permissive licence")
    return 1 if refused or not packages else 0


if __name__ == "__main__":
    sys.exit(main())
