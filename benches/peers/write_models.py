#!/usr/bin/env python3
"""Writes one small model for each class of SAELens, dictionary_learning and sparsify, with what that class makes of some inputs.

    python3 benches/peers/write_models.py [FOLDER] [--venv DIR]

Every folder holds the files that the trainer itself saves, x.npy, and output.npy; the default FOLDER is target/peers, where
`cargo bench --bench peer_models` reads them. The state of dictionary_learning, which it pickles, is saved under the same names as safetensors. Installs the trainers from PyPI into the
virtual environment, several gigabytes; not part of CI.
"""

import json
import os
import sys
import types

import environment

D_IN, D_OUT, D_SAE, K, SAMPLES = 6, 7, 12, 3, 20


def randomised(module, torch):
    """Every parameter and threshold gets numbers of its own, so that no two can be confused."""
    with torch.no_grad():
        for name, value in module.named_parameters():
            value.data = 0.5 * torch.randn(value.shape)
            if name == "threshold":
                value.data = value.data.abs()
    return module


def write(root):
    import numpy as np
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    x = torch.randn(SAMPLES, D_IN)

    def put(name, save, output):
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        save(folder)
        np.save(folder / "x.npy", x.numpy())
        with torch.no_grad():
            np.save(folder / "output.npy", output(x).numpy())
        print(f"{name}: {', '.join(sorted(path.name for path in folder.iterdir()))}")

    saelens(put, torch)
    sparsify(put, torch)
    dictionary_learning(put, torch, save_file)


def saelens(put, torch):
    import sae_lens as s

    sizes = {"d_in": D_IN, "d_sae": D_SAE}
    wide = {**sizes, "d_out": D_OUT, "apply_b_dec_to_input": False}
    models = {
        "standard": s.StandardSAE(s.StandardSAEConfig(**sizes)),
        "standard-no-input-bias": s.StandardSAE(s.StandardSAEConfig(**sizes, apply_b_dec_to_input=False)),
        "topk": s.TopKSAE(s.TopKSAEConfig(**sizes, k=K)),
        "topk-rescaled": s.TopKSAE(s.TopKSAEConfig(**sizes, k=K, rescale_acts_by_decoder_norm=True)),
        "jumprelu": s.JumpReLUSAE(s.JumpReLUSAEConfig(**sizes)),
        "gated": s.GatedSAE(s.GatedSAEConfig(**sizes)),
        "transcoder": s.Transcoder(s.TranscoderConfig(**wide)),
        "skip-transcoder": s.SkipTranscoder(s.SkipTranscoderConfig(**wide)),
        "jumprelu-transcoder": s.JumpReLUTranscoder(s.JumpReLUTranscoderConfig(**wide)),
        "jumprelu-skip-transcoder": s.JumpReLUSkipTranscoder(s.JumpReLUSkipTranscoderConfig(**wide)),
    }
    for name, sae in models.items():
        put(f"saelens-{name}", randomised(sae, torch).save_model, sae)
    # In training BatchTopK is saved with its running threshold; SAELens itself infers with the JumpReLU that it makes of that.
    training = randomised(s.BatchTopKTrainingSAE(s.BatchTopKTrainingSAEConfig(**sizes, k=K)), torch)
    training.topk_threshold.fill_(0.6)

    def inferred(x):
        import tempfile

        with tempfile.TemporaryDirectory() as scratch:
            training.save_inference_model(scratch)
            return s.SAE.load_from_disk(scratch)(x)

    put("saelens-batchtopk", training.save_model, inferred)


def sparsify(put, torch):
    # Its kernels need a GPU.
    os.environ["SPARSIFY_DISABLE_TRITON"] = "1"
    from sparsify import SparseCoder, SparseCoderConfig

    for name, more in (("topk", {}), ("skip-transcoder", {"transcode": True, "skip_connection": True})):
        coder = randomised(SparseCoder(D_IN, SparseCoderConfig(num_latents=D_SAE, k=K, **more)), torch)
        put(f"sparsify-{name}", coder.save_to_disk, lambda x, coder=coder: coder(x).sae_out)


def dictionary_learning(put, torch, save_file):
    # Its package imports a library for language models, which none of the classes below uses.
    stub = types.ModuleType("nnsight")
    stub.LanguageModel = object
    sys.modules["nnsight"] = stub
    from dictionary_learning import dictionary as d
    from dictionary_learning.trainers.batch_top_k import BatchTopKSAE
    from dictionary_learning.trainers.matryoshka_batch_top_k import MatryoshkaBatchTopKSAE
    from dictionary_learning.trainers.top_k import AutoEncoderTopK

    models = [
        d.AutoEncoder(D_IN, D_SAE),
        d.AutoEncoderNew(D_IN, D_SAE),
        d.GatedAutoEncoder(D_IN, D_SAE),
        d.JumpReluAutoEncoder(D_IN, D_SAE),
        AutoEncoderTopK(D_IN, D_SAE, K),
        BatchTopKSAE(D_IN, D_SAE, K),
        MatryoshkaBatchTopKSAE(D_IN, D_SAE, K, [4, 8]),
    ]
    for model in models:
        randomised(model, torch)
        if hasattr(model, "k"):
            model.threshold.fill_(0.6)
        name = type(model).__name__

        def save(folder):
            save_file({key: value.contiguous() for key, value in model.state_dict().items()}, folder / "ae.safetensors")
            config = {"trainer": {"dict_class": name, "activation_dim": D_IN, "dict_size": D_SAE, "k": K}}
            (folder / "config.json").write_text(json.dumps(config, indent=4))

        put(f"dictionary-learning-{name}", save, model)


if __name__ == "__main__":
    # The last one asks for a language model library that its classes do not need.
    packages = [["sae-lens", "eai-sparsify"], ["--no-deps", "dictionary-learning"]]
    sys.exit(environment.main(__file__, __doc__, "target/peers", write, packages))
