// Reconstructions, residuals, and the terms of the loss, row by row.
#include "common.cuh"

// sum ← sum + Σ z_i v_i, by increasing code, over the codes of a row, with `has_levels` over those of this level: of a stripe the numbers of this lane.
template <class T>
__device__ __forceinline__ void add_codes(const T* __restrict__ v, const u32* __restrict__ latents, const float* __restrict__ values,
                                          const u32* __restrict__ levels, u32 has_levels, u32 level, u32 count, u32 stripe, u32 n_r,
                                          float sum[NUMBERS]) {
  u32 c = stripe * STRIPE + lane_of(), bytes = Gathered<T>::bytes(n_r);
  const char* begin = Gathered<T>::begin(v, stripe);
#pragma unroll 1
  for (u32 j = 0; j < count; j += ABREAST) {
    float read[ABREAST][NUMBERS];
    bool takes[ABREAST];
#pragma unroll
    for (u32 a = 0; a < ABREAST; ++a) {
      takes[a] = j + a < count && (!has_levels || levels[j + a] == level);
      // Where a code is not taken, the first one, from L1, and left out below.
      Gathered<T>::read(begin + (u64)latents[takes[a] ? j + a : 0] * bytes, c, n_r, read[a]);
    }
#pragma unroll
    for (u32 a = 0; a < ABREAST; ++a) {
      if (!takes[a]) continue;
      float value = values[j + a];
#pragma unroll
      for (u32 q = 0; q < NUMBERS; ++q) sum[q] = fmaf(value, read[a][q], sum[q]);
    }
  }
}

// e^(s) = bias + linear + Σ z_i v_i over the codes of level ≤ s − target, for every part s; its squared norm; and the derivative of all parts
// by Σ z_i v_i of level s: u^(s) = 2 w λ_s e^(s) + u^(s+1). `linear` (has_linear) is W_S x_p.
// Without a target (`has_target`), which another rank has, e is what these latents have in it.
// Without levels (`has_levels`) all codes belong to the only part. AuxK is one part with e = Σ π_i v_i − target: its target is minus a residual (`from_residual`: the target is added instead), its factor λ_aux,
// and a row without codes adds nothing (`skip_empty`). With `halves` the rows v_i are gathered from `packed_v`.
// Grid: one block a row; a warp takes a stripe of columns and reads it of ABREAST codes at once. Traffic: 4 n_r bytes a code through L2, with `halves`
// 2 n_r, from DRAM where W_D does not fit (then hot latents only are found in L2); a part reads 4 n_r from DRAM, writes 8 n_r there, and 8 n_r more
// through L2 between its two loops. Floor: the gathers, 4 or 2 n_r bytes a code, by what L2 gives.
KERNEL(decode)
(const u32* __restrict__ counts, const u32* __restrict__ latents, const float* __restrict__ values, const u32* __restrict__ levels, u32 has_levels,
 u32 stride, const float* __restrict__ v, const unsigned short* __restrict__ packed_v, u32 halves, const float* __restrict__ bias, u32 has_bias, const float* __restrict__ linear, u32 has_linear,
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
    for (u32 stripe = warp_of(); stripe * STRIPE < n_r; stripe += warps_of()) {
      u32 c = stripe * STRIPE + lane_of();
      // Parts are nested: the sum goes on from the part before, which stands in `upstream` meanwhile.
      u64 at = ((u64)row * parts + part) * n_r + c;
      float sum[NUMBERS];
#pragma unroll
      for (u32 q = 0; q < NUMBERS; ++q) {
        sum[q] = 0.0f;
        if (c + 32 * q >= n_r) continue;
        if (part == 0) {
          if (has_bias) sum[q] = bias[c + 32 * q];
          if (has_linear) sum[q] += linear[(u64)row * n_r + c + 32 * q];
        } else {
          sum[q] = upstream[at - n_r + 32 * q];
        }
      }
      if (halves) add_codes(packed_v, latents + start, values + start, levels + start, has_levels, part, count, stripe, n_r, sum);
      else add_codes(v, latents + start, values + start, levels + start, has_levels, part, count, stripe, n_r, sum);
#pragma unroll
      for (u32 q = 0; q < NUMBERS; ++q) {
        if (c + 32 * q >= n_r) continue;
        float goal = has_target ? target[(u64)row * target_stride + target_offset + c + 32 * q] : 0.0f;
        float e = from_residual ? sum[q] + goal : sum[q] - goal;
        upstream[at + 32 * q] = sum[q];
        residuals[at + 32 * q] = e;
        square = fmaf(e, e, square);
      }
    }
    square = block_sum(square, space);
    if (threadIdx.x == 0) squares[(u64)row * parts + part] = square;
  }
  // Each thread goes over the columns that it has written.
  for (u32 stripe = warp_of(); stripe * STRIPE < n_r; stripe += warps_of()) {
    for (u32 q = 0; q < NUMBERS; ++q) {
      u32 c = stripe * STRIPE + lane_of() + 32 * q;
      float later = 0.0f;
      for (u32 part = c < n_r ? parts : 0; part-- > 0;) {
        u64 at = ((u64)row * parts + part) * n_r + c;
        later = fmaf(twice * lambdas[part], residuals[at], later);
        upstream[at] = later;
      }
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
