#!/usr/bin/env python3
"""Compiles every kernel for sm_80 and sm_90a, without a GPU: warnings are errors, and no register may be spilled.

    python3 .ci/kernels.py [--pip PIP] [--cache FOLDER]

The compiler comes from PyPI: pinned wheels, kept in FOLDER (by default ~/.cache/sdlab/cuda-13.0.88). With them comes NVRTC, the compiler
that a device uses, for a test of kernels/check: its library is in FOLDER/nvidia/cu13/lib.
"""

import argparse
import pathlib
import re
import subprocess
import sys
import tempfile

# A newer part of the compiler would write code that an older one refuses, and the wheels do not pin each other.
WHEELS = [
    "nvidia-cuda-nvcc==13.0.88",
    "nvidia-cuda-crt==13.0.88",
    "nvidia-nvvm==13.0.88",
    "nvidia-cuda-runtime==13.0.96",
    "nvidia-cuda-cccl==13.0.85",
    "nvidia-cuda-nvrtc==13.0.88",
]
ARCHITECTURES = ["sm_80", "sm_90a"]


def compiler(pip, cache):
    """The path of nvcc, fetched if it is not there."""
    nvcc = cache / "nvidia/cu13/bin/nvcc"
    if not nvcc.exists() or not (cache / "nvidia/cu13/lib/libnvrtc.so.13").exists():
        cache.mkdir(parents=True, exist_ok=True)
        fetch = [*pip, "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--upgrade", "--target", str(cache)]
        subprocess.run([*fetch, *WHEELS], check=True)
    return nvcc


def joined(files, folder):
    """All files as one, as the program gives them to the compiler of a device."""
    texts = [file.read_text(encoding="utf-8").replace('#include "common.cuh"\n', "").replace("#pragma once\n", "") for file in files]
    source = folder / "all.cu"
    source.write_text("".join(texts), encoding="utf-8")
    return source


def compile_one(nvcc, source, architecture, folder):
    """What is wrong with a file, and how many kernels it has."""
    command = [
        str(nvcc), "-std=c++17", "-O3", "-fmad=false", f"-arch={architecture}", "-cubin", "--resource-usage", "-Werror", "all-warnings",
        "-o", str(folder / f"{source.stem}.{architecture}.cubin"), str(source),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    log = done.stdout + done.stderr
    kernels = re.findall(r"Compiling entry function '(\w+)'", log)
    declared = re.findall(r"^KERNEL\((\w+)\)", source.read_text(encoding="utf-8"), re.MULTILINE)
    if done.returncode != 0:
        return log, 0
    if re.search(r"[1-9]\d* bytes spill", log):
        return f"registers are spilled:\n{log}", len(kernels)
    if sorted(kernels) != sorted(declared):
        return f"{declared} are declared, {kernels} are compiled", len(kernels)
    return None, len(kernels)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pip", default=None, help="the pip to fetch with [default: that of this Python]")
    parser.add_argument("--cache", type=pathlib.Path, default=pathlib.Path.home() / ".cache/sdlab/cuda-13.0.88")
    parser.add_argument("--kernels", type=pathlib.Path, default=pathlib.Path(__file__).parent.parent / "kernels")
    arguments = parser.parse_args()
    nvcc = compiler([arguments.pip] if arguments.pip else [sys.executable, "-m", "pip"], arguments.cache)
    sources, wrong = sorted(arguments.kernels.glob("*.cu")), 0
    with tempfile.TemporaryDirectory() as folder:
        sources.append(joined([arguments.kernels / "common.cuh", *sources], pathlib.Path(folder)))
        for source in sources:
            for architecture in ARCHITECTURES:
                fault, kernels = compile_one(nvcc, source, architecture, pathlib.Path(folder))
                print(f"{source.name} for {architecture}: {kernels} kernels" + ("" if fault is None else f"\n{fault}"))
                wrong += fault is not None
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
