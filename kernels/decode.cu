// Reconstructions, residuals, and the terms of the loss, row by row.
#include "common.cuh"

// e^(s) = bias + linear + Σ z_i v_i over the codes of level ≤ s − target, for every part s; its squared norm; and the derivative of all parts
// by Σ z_i v_i of level s: u^(s) = 2 w λ_s e^(s) + u^(s+1). `linear` (has_linear) is W_S x_p.
// Without a target (`has_target`), which another rank has, e is what these latents have in it.
// Without levels (`has_levels`) all codes belong to the only part. AuxK is one part with e = Σ π_i v_i − target: its target is minus a residual (`from_residual`: the target is added instead), its factor λ_aux,
// and a row without codes adds nothing (`skip_empty`).
// Grid: one block a row. Traffic: 4 n_r bytes a code, from L2 where W_D fits; 8 n_r bytes a part written, 8 n_r read. Floor: the same.
KERNEL(decode)
(const u32* __restrict__ counts, const u32* __restrict__ latents, const float* __restrict__ values, const u32* __restrict__ levels, u32 has_levels,
 u32 stride, const float* __restrict__ v, const float* __restrict__ bias, u32 has_bias, const float* __restrict__ linear, u32 has_linear,
 const float* __restrict__ target, u32 has_target, u32 target_stride, u32 target_offset, u32 from_residual, u32 skip_empty,
 const float* __restrict__ weights, const float* __restrict__ lambdas, u32 parts, float* __restrict__ residuals, float* __restrict__ upstream, float* __restrict__ squares, u32 n_r) {
  __shared__ float space[WARPS];
  u32 row = blockIdx.x, count = counts[row];
  u64 start = (u64)row * stride;
  if (skip_empty && count == 0) {
    if (threadIdx.x == 0) squares[row] = 0.0f;
    return;
  }
  float twice = 2.0f * weights[row];
  for (u32 part = 0; part < parts; ++part) {
    float square = 0.0f;
    for (u32 c = threadIdx.x; c < n_r; c += blockDim.x) {
      // Parts are nested: the sum goes on from the part before, which stands in `upstream` meanwhile.
      u64 at = ((u64)row * parts + part) * n_r + c;
      float sum;
      if (part == 0) {
        sum = has_bias ? bias[c] : 0.0f;
        if (has_linear) sum += linear[(u64)row * n_r + c];
      } else {
        sum = upstream[at - n_r];
      }
      for (u32 j = 0; j < count; ++j)
        if (!has_levels || levels[start + j] == part) sum = fmaf(values[start + j], v[(u64)latents[start + j] * n_r + c], sum);
      float goal = has_target ? target[(u64)row * target_stride + target_offset + c] : 0.0f;
      float e = from_residual ? sum + goal : sum - goal;
      upstream[at] = sum;
      residuals[at] = e;
      square = fmaf(e, e, square);
    }
    square = block_sum(square, space);
    if (threadIdx.x == 0) squares[(u64)row * parts + part] = square;
  }
  // Each thread goes over the columns that it has written.
  for (u32 c = threadIdx.x; c < n_r; c += blockDim.x) {
    float later = 0.0f;
    for (u32 part = parts; part-- > 0;) {
      u64 at = ((u64)row * parts + part) * n_r + c;
      later = fmaf(twice * lambdas[part], residuals[at], later);
      upstream[at] = later;
    }
  }
}
REGISTER(decode)

// ‖e^(s)‖² and u^(s), as `decode` has them, from residuals that were added up over ranks. `counts` are the codes of each row on all ranks, which
// `skip_empty` alone asks for: a row without any adds nothing.
// Grid: one block a row. Traffic: 8 n_r bytes a part read, 4 n_r written. Floor: 4 n_r bytes less a part, where a row stays in L1.
KERNEL(residual_terms)
(const u32* __restrict__ counts, u32 skip_empty, const float* __restrict__ weights, const float* __restrict__ lambdas, u32 parts,
 const float* __restrict__ residuals, float* __restrict__ upstream, float* __restrict__ squares, u32 n_r) {
  __shared__ float space[WARPS];
  u32 row = blockIdx.x;
  if (skip_empty && counts[row] == 0) {
    if (threadIdx.x == 0) squares[row] = 0.0f;
    return;
  }
  float twice = 2.0f * weights[row];
  for (u32 part = 0; part < parts; ++part) {
    float square = 0.0f;
    for (u32 c = threadIdx.x; c < n_r; c += blockDim.x) {
      float e = residuals[((u64)row * parts + part) * n_r + c];
      square = fmaf(e, e, square);
    }
    square = block_sum(square, space);
    if (threadIdx.x == 0) squares[(u64)row * parts + part] = square;
  }
  for (u32 c = threadIdx.x; c < n_r; c += blockDim.x) {
    float later = 0.0f;
    for (u32 part = parts; part-- > 0;) {
      u64 at = ((u64)row * parts + part) * n_r + c;
      later = fmaf(twice * lambdas[part], residuals[at], later);
      upstream[at] = later;
    }
  }
}
REGISTER(residual_terms)

// λ₁ Σ c_i |z_i| (of π_i if the values are those of gates) + λ₀·(number of codes), and the number of codes that are not 0.
// Grid: one block a row. Traffic: 4 or 8 bytes a code. Floor: the same.
KERNEL(row_terms)
(const u32* __restrict__ counts, const u32* __restrict__ latents, const float* __restrict__ values, const float* __restrict__ sizes, u32 stride,
 const float* __restrict__ column_norms, u32 has_norms, float l1, float l0, float* __restrict__ penalties, u32* __restrict__ active) {
  __shared__ float space[WARPS];
  __shared__ u32 words[WARPS];
  u32 row = blockIdx.x, count = counts[row], mine = 0;
  u64 start = (u64)row * stride;
  float sum = 0.0f;
  for (u32 j = threadIdx.x; j < count; j += blockDim.x) {
    float size = fabsf(sizes[start + j]);
    sum = fmaf(size, has_norms ? column_norms[latents[start + j]] : 1.0f, sum);
    mine += values[start + j] != 0.0f;
  }
  sum = block_sum(sum, space);
  mine = block_sum(mine, words);
  if (threadIdx.x == 0) {
    penalties[row] = fmaf(l1, sum, l0 * (float)count);
    active[row] = mine;
  }
}
REGISTER(row_terms)
