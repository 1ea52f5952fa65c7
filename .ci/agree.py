#!/usr/bin/env python3
"""Fails unless both checkers decide every certificate alike, and as its folder says.

    python3 .ci/agree.py SDLAB_VERIFY CORPUS FOLDER..

Below CORPUS, what stands in a folder `accepted` must be accepted and what stands in `refused` must be refused; everything in
the other folders must be accepted.
"""

import os
import pathlib
import subprocess
import sys

CHECK_PY = pathlib.Path(__file__).resolve().parent.parent / "verify" / "check.py"


def accepts(command, path):
    """True or False for exit status 0 or 1; anything else is a crash."""
    done = subprocess.run([*command, path], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode not in (0, 1):
        raise SystemExit(f"{' '.join(command)} {path}: exit status {done.returncode}\n{done.stderr}")
    return done.returncode == 0


def main():
    binary, corpus, *folders = sys.argv[1:]
    files = [(path, "refused" not in path.parts) for path in sorted(pathlib.Path(corpus).rglob("*.json"))]
    for folder in folders:
        files += [(path, True) for path in sorted(pathlib.Path(folder).rglob("*.json"))]
    wrong = 0
    for path, expected in files:
        answers = {"sdlab-verify": accepts([os.path.abspath(binary)], path), "check.py": accepts([sys.executable, CHECK_PY], path)}
        for checker, answer in answers.items():
            if answer != expected:
                wrong += 1
                print(f"{path}: {checker} {'accepts' if answer else 'refuses'} it", file=sys.stderr)
    refused = sum(not expected for _, expected in files)
    print(f"{len(files)} certificates, {refused} of them to be refused, {wrong} wrong answers")
    return 1 if wrong or not files or not refused else 0


if __name__ == "__main__":
    sys.exit(main())
