"""What the scripts beside this file share: a virtual environment with the packages of the peers, and a second start inside it."""

import argparse
import pathlib
import subprocess
import sys
import venv

ROOT = pathlib.Path(__file__).resolve().parents[2]


def interpreter(folder):
    """Python in the virtual environment of this folder, which is made if it is not there."""
    python = folder.absolute() / "bin/python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    return python


def install(python, packages):
    """Installs packages from PyPI; `packages` are arguments of pip."""
    subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)


def main(script, text, default, work, installs):
    """Runs work(FOLDER) in a virtual environment that has the packages; `installs` are arguments of pip, one list for each call."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=pathlib.Path, default=ROOT / default)
    parser.add_argument("--venv", type=pathlib.Path, default=ROOT / "target/peers-venv")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        return work(arguments.folder)
    python = interpreter(arguments.venv)
    for packages in installs:
        install(python, packages)
    return subprocess.run([python, script, str(arguments.folder), "--inside"]).returncode


if __name__ == "__main__":
    sys.exit("this is no command; see the scripts beside it")
