#!/usr/bin/env python3
"""Times one whole training step of TopK in PyTorch, dense and sparse, on one GPU. Prints a line of JSON for each row.

    python3 benches/gpu/peers.py [--shape 768,16000,64] [--batch 4096] [--rows dense,sparse,sparsify] [--device cuda|cpu] [--tiny]

| row | what |
|---|---|
| dense | what one writes first: products under bf16 autocast, weights in f32, codes as a dense matrix, gradients by autograd, fused Adam |
| sparse | the product of the encoder in bf16, top-k in one stage or two, whichever is faster here, decoder, values and both gradients by Triton kernels over lists sorted by latent, fused Adam |
| sparsify | SparseCoder of the package eai-sparsify with its Triton decoder, if it is installed |

Steps are captured as one CUDA graph where PyTorch can, else launched one by one; the row says which. Samples are those of benches/peers/speed.py.
Without a GPU, `--device cpu` runs the same steps by plain PyTorch, which is of use for their test only. The gradients of the sparse step are compared
with autograd before it is timed.
"""

import argparse
import json
import math
import statistics
import sys
import time

LEARNING_RATE = 3e-4
# Triton needs blocks whose length is a power of 2.
WIDEST = 1024


def samples(torch, n_p, batch, device):
    """Sums of 1 % of 1000 random directions with magnitudes 1 + Exp(1), four batches."""
    generator = torch.Generator(device=device).manual_seed(0)
    features = torch.nn.functional.normalize(torch.randn(1000, n_p, generator=generator, device=device), dim=1)
    all_batches = []
    for _ in range(4):
        magnitudes = 1 + torch.empty(batch, 1000, device=device).exponential_(generator=generator)
        all_batches.append((torch.rand(batch, 1000, generator=generator, device=device) < 0.01) * magnitudes @ features)
    return all_batches


def weights(torch, n_p, n_q, device):
    """A decoder of unit rows and a copy as the encoder, both with one row per latent."""
    generator = torch.Generator(device=device).manual_seed(1)
    decoder = torch.nn.functional.normalize(torch.randn(n_q, n_p, generator=generator, device=device), dim=1)
    return decoder.clone().requires_grad_(), decoder.requires_grad_()


def adam(torch, parameters, device):
    """Adam in one kernel for all parameters, with its step count where a graph can read it."""
    return torch.optim.Adam(parameters, lr=LEARNING_RATE, fused=True, **({"capturable": True} if device == "cuda" else {}))


def dense(torch, n_p, n_q, k, batch, device):
    encoder, decoder = weights(torch, n_p, n_q, device)
    optimizer = adam(torch, [encoder, decoder], device)

    def step(x):
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, dtype=torch.bfloat16):
            values, latents = (x @ encoder.T).topk(k, dim=1, sorted=False)
            codes = torch.zeros(len(x), n_q, dtype=values.dtype, device=device).scatter(1, latents, values)
            error = codes @ decoder - x
        loss = error.float().square().sum() / len(x)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def plain_kernels(torch):
    """The three sparse operations in plain PyTorch."""

    def decode(values, latents, decoder, x):
        return torch.nn.functional.embedding_bag(latents, decoder, per_sample_weights=values, mode="sum") - x

    def back(latents, decoder, upstream):
        return torch.einsum("bkr,br->bk", decoder[latents], upstream)

    def gradients(order, starts, latents, values, back, upstream, x, of_encoder, of_decoder):
        rows = torch.arange(len(x), device=x.device).repeat_interleave(latents.shape[1])
        of_decoder.zero_().index_add_(0, latents.flatten(), values.flatten()[:, None] * upstream[rows])
        of_encoder.zero_().index_add_(0, latents.flatten(), back.flatten()[:, None] * x[rows])

    return decode, back, gradients


def triton_kernels(torch):
    """The same in Triton: a program for each row, and for each latent one that writes its rows of both gradients once."""
    import triton
    import triton.language as tl

    @triton.jit
    def decode_kernel(values, latents, decoder, x, out, width, k: tl.constexpr, block: tl.constexpr):
        row = tl.program_id(0)
        columns = tl.program_id(1) * block + tl.arange(0, block)
        inside = columns < width
        total = -tl.load(x + row * width + columns, mask=inside, other=0.0)
        for place in range(k):
            latent = tl.load(latents + row * k + place).to(tl.int64)
            value = tl.load(values + row * k + place)
            total += value * tl.load(decoder + latent * width + columns, mask=inside, other=0.0)
        tl.store(out + row * width + columns, total, mask=inside)

    @triton.jit
    def back_kernel(latents, decoder, upstream, out, width, k: tl.constexpr, block: tl.constexpr):
        row = tl.program_id(0)
        latent = tl.load(latents + row * k + tl.program_id(1)).to(tl.int64)
        total = tl.zeros((block,), dtype=tl.float32)
        for begin in range(0, width, block):
            columns = begin + tl.arange(0, block)
            inside = columns < width
            total += tl.load(decoder + latent * width + columns, mask=inside, other=0.0) * tl.load(
                upstream + row * width + columns, mask=inside, other=0.0
            )
        tl.store(out + row * k + tl.program_id(1), tl.sum(total, axis=0))

    @triton.jit
    def gradient_kernel(order, starts, values, back, upstream, x, of_encoder, of_decoder, width, k: tl.constexpr, block: tl.constexpr):
        latent = tl.program_id(0).to(tl.int64)
        columns = tl.program_id(1) * block + tl.arange(0, block)
        inside = columns < width
        of_w = tl.zeros((block,), dtype=tl.float32)
        of_v = tl.zeros((block,), dtype=tl.float32)
        begin = tl.load(starts + latent)
        end = tl.load(starts + latent + 1)
        for place in range(begin, end):
            entry = tl.load(order + place)
            row = (entry // k).to(tl.int64)
            of_v += tl.load(values + entry) * tl.load(upstream + row * width + columns, mask=inside, other=0.0)
            of_w += tl.load(back + entry) * tl.load(x + row * width + columns, mask=inside, other=0.0)
        tl.store(of_encoder + latent * width + columns, of_w, mask=inside)
        tl.store(of_decoder + latent * width + columns, of_v, mask=inside)

    def block_of(width):
        return min(WIDEST, triton.next_power_of_2(width))

    def decode(values, latents, decoder, x):
        out, (rows, k), width = torch.empty_like(x), latents.shape, x.shape[1]
        block = block_of(width)
        decode_kernel[(rows, triton.cdiv(width, block))](values, latents, decoder, x, out, width, k, block)
        return out

    def back(latents, decoder, upstream):
        (rows, k), width = latents.shape, upstream.shape[1]
        out = torch.empty(rows, k, device=upstream.device)
        back_kernel[(rows, k)](latents, decoder, upstream, out, width, k, block_of(width))
        return out

    def gradients(order, starts, latents, values, back, upstream, x, of_encoder, of_decoder):
        width, k = x.shape[1], latents.shape[1]
        block = block_of(width)
        grid = (len(of_encoder), triton.cdiv(width, block))
        gradient_kernel[grid](order, starts, values, back, upstream, x, of_encoder, of_decoder, width, k, block)

    return decode, back, gradients


def in_two_stages(torch, scores, k):
    """The top-k of parts of each row, then that of what they have left."""
    rows, n_q = scores.shape
    parts = next((parts for parts in (32, 25, 20, 16, 10, 8, 5, 4, 2) if n_q % parts == 0 and n_q // parts >= 4 * k), 1)
    if parts == 1:
        return scores.topk(k, dim=1, sorted=False)
    values, places = scores.view(rows, parts, n_q // parts).topk(k, dim=2, sorted=False)
    places = places + torch.arange(0, n_q, n_q // parts, device=scores.device)[None, :, None]
    best, at = values.view(rows, -1).topk(k, dim=1, sorted=False)
    return best, places.view(rows, -1).gather(1, at)


def in_one_stage(torch, scores, k):
    return scores.topk(k, dim=1, sorted=False)


def sparse(torch, n_p, n_q, k, batch, device):
    encoder, decoder = weights(torch, n_p, n_q, device)
    optimizer = adam(torch, [encoder, decoder], device)
    decode, back, gradients = triton_kernels(torch) if device == "cuda" else plain_kernels(torch)
    encoder.grad, decoder.grad = torch.zeros_like(encoder), torch.zeros_like(decoder)
    half = torch.empty_like(encoder, dtype=torch.bfloat16, requires_grad=False)
    edges = torch.arange(n_q + 1, device=device)
    select = in_one_stage

    @torch.no_grad()
    def look(x):
        half.copy_(encoder)
        values, latents = select(torch, x.to(torch.bfloat16) @ half.T, k)
        values = values.float()
        upstream = decode(values, latents, decoder, x)
        loss = upstream.square().sum() / len(x)
        upstream.mul_(2 / len(x))
        of_values = back(latents, decoder, upstream)
        ordered, order = latents.flatten().sort()
        gradients(order, torch.searchsorted(ordered, edges), latents, values, of_values, upstream, x, encoder.grad, decoder.grad)
        return loss, values, latents

    def step(x):
        loss, _, _ = look(x)
        optimizer.step()
        return loss

    x = samples(torch, n_p, batch, device)[0]
    _, values, latents = look(x)
    found = [encoder.grad.clone(), decoder.grad.clone()]
    w, v = encoder.detach().clone().requires_grad_(), decoder.detach().clone().requires_grad_()
    # The values of the step, and the gradient through them.
    of_values = values.clone().requires_grad_()
    loss = (torch.nn.functional.embedding_bag(latents, v, per_sample_weights=of_values, mode="sum") - x).square().sum() / len(x)
    loss.backward()
    w.grad = torch.zeros_like(w)
    rows = torch.arange(len(x), device=device).repeat_interleave(k)
    w.grad.index_add_(0, latents.flatten(), of_values.grad.flatten()[:, None] * x[rows])
    for ours, theirs in zip(found, (w.grad, v.grad)):
        off = float((ours - theirs).norm() / theirs.norm())
        if not off < 1e-4:
            raise ArithmeticError(f"the gradients of the sparse step are wrong by {off:.1e} of their norm")
    del w, v, of_values, loss, found
    scores = x.to(torch.bfloat16) @ half.T
    one, two = (seconds(torch, device, lambda: way(torch, scores, k), 3) for way in (in_one_stage, in_two_stages))
    if two < one:
        select = in_two_stages
    step.note = f"top-k in {'two stages' if two < one else 'one stage'}: {1e3 * one:.3f} ms in one, {1e3 * two:.3f} ms in two"
    return step


def sparsify(torch, n_p, n_q, k, batch, device):
    from sparsify import SparseCoder, SparseCoderConfig

    model = SparseCoder(n_p, SparseCoderConfig(num_latents=n_q, k=k), device=device, dtype=torch.float32)
    optimizer = adam(torch, model.parameters(), device)

    def step(x):
        model.set_decoder_norm_to_unit_norm()
        with torch.autocast(device, dtype=torch.bfloat16):
            loss = model(x).fvu
        loss.backward()
        model.remove_gradient_parallel_to_decoder_directions()
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    return step


ROWS = {"dense": dense, "sparse": sparse, "sparsify": sparsify}


def seconds(torch, device, call, turns):
    """Seconds of a call, the mean of some."""
    call()
    if device == "cuda":
        torch.cuda.synchronize()
    begun = time.perf_counter()
    for _ in range(turns):
        call()
    if device == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - begun) / turns


def captured(torch, step, x):
    """A call that launches the step as one graph, and what its loss is in; None and why where that cannot be."""
    try:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                step(x)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            loss = step(x)
        return graph.replay, loss
    except Exception as error:  # whatever a package does within a step
        torch.cuda.synchronize()
        return None, str(error).splitlines()[0] if str(error) else type(error).__name__


def measured(torch, name, n_p, n_q, k, batch, device, times, steps):
    data = samples(torch, n_p, batch, device)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    step = ROWS[name](torch, n_p, n_q, k, batch, device)
    for turn in range(3):
        loss = step(data[turn])
    if not math.isfinite(float(loss)):
        raise ArithmeticError(f"the loss is {float(loss)}")
    found, notes = {}, [getattr(step, "note", "")]
    turn = iter(range(1 << 40))
    found["one by one"] = [seconds(torch, device, lambda: step(data[next(turn) % 4]), steps) for _ in range(times)]
    if device == "cuda":
        x = data[0].clone()
        replay, loss = captured(torch, step, x)
        if replay is None:
            notes.append(f"no graph: {loss}")
        else:
            def again():
                x.copy_(data[next(turn) % 4])
                replay()

            found["graph"] = [seconds(torch, device, again, steps) for _ in range(times)]
    best = min(found, key=lambda how: statistics.median(found[how]))
    return {
        "row": name,
        "n_p": n_p,
        "n_q": n_q,
        "k": k,
        "batch": batch,
        "step_seconds": {"median": statistics.median(found[best]), "least": min(found[best]), "most": max(found[best])},
        "how": best,
        "all": {how: statistics.median(times) for how, times in found.items()},
        "loss": float(loss),
        "bytes": torch.cuda.max_memory_allocated() if device == "cuda" else None,
        "note": "; ".join(note for note in notes if note),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default="768,16000,64", help="n_p, n_q and k with commas between them")
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--rows", default=",".join(ROWS), help="with commas between them")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--times", type=int, default=20, help="times that are taken")
    parser.add_argument("--steps", type=int, default=10, help="steps of each of them")
    parser.add_argument("--tiny", action="store_true", help="n_p = 32, n_q = 200, k = 8, batches of 64, two times of two steps")
    arguments = parser.parse_args()
    unknown = set(arguments.rows.split(",")) - ROWS.keys()
    if unknown:
        parser.error(f"--rows: expected some of {', '.join(ROWS)}, found {', '.join(sorted(unknown))}")
    n_p, n_q, k = (32, 200, 8) if arguments.tiny else map(int, arguments.shape.split(","))
    batch, times, steps = (64, 2, 2) if arguments.tiny else (arguments.batch, arguments.times, arguments.steps)
    try:
        import torch
    except ImportError:
        sys.exit("peers.py: PyTorch is not installed: expected the packages torch and triton")
    if arguments.device == "cuda" and not torch.cuda.is_available():
        sys.exit("peers.py: PyTorch finds no GPU; --device cpu runs the same steps without")
    torch.backends.cuda.matmul.allow_tf32 = True
    status = 0
    for name in arguments.rows.split(","):
        try:
            line = measured(torch, name, n_p, n_q, k, batch, arguments.device, times, steps)
        except Exception as error:  # a package that is missing or fails is one row less
            text = str(error).splitlines()
            line = {"row": name, "n_p": n_p, "n_q": n_q, "k": k, "batch": batch, "error": f"{type(error).__name__}: {text[0] if text else ''}"}
            # The sparse steps of others may not be there.
            status = status if name == "sparsify" else 1
        print(json.dumps(line), flush=True)
        if arguments.device == "cuda":
            torch.cuda.empty_cache()
    return status


if __name__ == "__main__":
    sys.exit(main())
