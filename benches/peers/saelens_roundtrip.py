#!/usr/bin/env python3
"""Loads models that sdlab has written with SAELens and compares what both reconstruct.

    python3 benches/peers/saelens_roundtrip.py [FOLDER] [--venv DIR]

FOLDER is what tests/formats.rs leaves: one folder per model, with inputs and what the reference backend makes of them (default:
target/tmp/formats). Installs sae-lens from PyPI into the virtual environment, several gigabytes; not part of CI.
"""

import sys

import environment


def compare(root):
    import tempfile
    import warnings

    import numpy as np
    import sae_lens
    import torch

    warnings.filterwarnings("ignore")
    sys.path.insert(0, str(environment.ROOT / "docs/python"))
    from read_run import Model

    print(f"SAELens {sae_lens.__version__}, torch {torch.__version__}; largest differences")
    print(f"{'model':26} {'class':24} {'L0':>6} {'codes':>9} {'output':>9} {'saved again':>12}")
    wrong, count = [], 0
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        count += 1
        x, codes, output = (np.load(folder / f"{name}.npy") for name in ("x", "codes", "reconstruction"))
        inputs = torch.from_numpy(x)
        try:
            sae = sae_lens.SAE.load_from_disk(folder)
        except Exception as error:
            # It must be one of the models of which cfg.json says that SAELens refuses them.
            announced = any("refuses" in note for note in Model.read(folder).notes)
            print(f"{folder.name:26} refused{', as announced' if announced else ''}: {error!r}")
            wrong += [] if announced else [folder.name]
            continue
        with torch.no_grad(), tempfile.TemporaryDirectory() as scratch:
            z, y = sae.encode(inputs).numpy(), sae(inputs).numpy()
            sae.save_model(scratch)
            kept = float(np.abs(sae_lens.SAE.load_from_disk(scratch)(inputs).numpy() - y).max())
        off = [float(np.abs(a - b).max()) for a, b in ((z, codes), (y, output))]
        l0 = np.count_nonzero(codes, axis=1).mean()
        print(f"{folder.name:26} {type(sae).__name__:24} {l0:6.2f} {off[0]:9.1e} {off[1]:9.1e} {kept:12.1e}")
        # Sums of 12 products and then of up to 40, in f32, of numbers below 8: at most 52 roundings of 8 * 2^-24 each.
        wrong += [folder.name] if max(off) > 52 * 8 * 2.0**-24 or kept > 0 else []
    print(f"{count} models; " + (f"different: {', '.join(wrong)}" if wrong else "all equal to rounding, or refused as announced"))
    return 1 if wrong or not count else 0


if __name__ == "__main__":
    sys.exit(environment.main(__file__, __doc__, "target/tmp/formats", compare, [["sae-lens"]]))
