// Scores of all latents: x' = x_p - b_p, exact scores, row norms for the bounds of a screen, and thresholds from their logarithms.
#include "common.cuh"

// x' = x - bias, in f32.
// Grid: any number of threads, each takes every (threads)-th number. Traffic: 8 bytes a number. Floor: the same.
KERNEL(centre)(const float* __restrict__ x, const float* __restrict__ bias, float* __restrict__ out, u32 rows, u32 n) {
  u64 all = (u64)rows * n, stride = (u64)gridDim.x * blockDim.x;
  for (u64 j = (u64)blockIdx.x * blockDim.x + threadIdx.x; j < all; j += stride) out[j] = x[j] - bias[j % n];
}
REGISTER(centre)

// out = e^x in f64, rounded to f32: thresholds and scales of latents.
// Grid: one thread a number. Traffic: 8 bytes a number. Floor: the same; n_q numbers a step do not count.
KERNEL(exponentials)(const float* __restrict__ x, float* __restrict__ out, u32 n) {
  u32 i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) out[i] = (float)exp((double)x[i]);
}
REGISTER(exponentials)

#define TILE_ROWS 8
#define TILE_LATENTS 8

// s = W_E x' for all latents of the rows that are marked (of all rows without marks), with the bits of the score.
// Grid: (groups of 8 latents, one a warp; groups of 8 rows). A warp holds the 64 lanes of 64 scores in registers, two lanes a thread, and
// reads 16 numbers for 64 fused multiply-adds. Traffic: x' and W_E once from DRAM if a row of blocks stays in L2, 4 bytes a score written.
// Floor: 2 rows n_q n_p operations on the f32 units.
KERNEL(scores)
(const float* __restrict__ x, const float* __restrict__ w, const u32* __restrict__ marks, u32 has_marks, float* __restrict__ s, u32 rows,
 u32 n_q, u32 n_p) {
  u32 row = blockIdx.y * TILE_ROWS, latent = (blockIdx.x * warps_of() + warp_of()) * TILE_LATENTS;
  if (latent >= n_q) return;
  if (has_marks) {
    bool any = false;
    for (u32 r = 0; r < TILE_ROWS; ++r) any |= row + r < rows && marks[row + r] != 0;
    if (!any) return;
  }
  const float* xs[TILE_ROWS];
  const float* ws[TILE_LATENTS];
  // Beyond the last one the last one is scored again, and not stored.
  for (u32 r = 0; r < TILE_ROWS; ++r) xs[r] = x + (u64)min(row + r, rows - 1) * n_p;
  for (u32 c = 0; c < TILE_LATENTS; ++c) ws[c] = w + (u64)min(latent + c, n_q - 1) * n_p;
  float sums[2][TILE_ROWS][TILE_LATENTS];
#pragma unroll
  for (u32 half = 0; half < 2; ++half)
#pragma unroll
    for (u32 r = 0; r < TILE_ROWS; ++r)
#pragma unroll
      for (u32 c = 0; c < TILE_LATENTS; ++c) sums[half][r][c] = 0.0f;
  for (u32 base = lane_of(); base < n_p + lane_of(); base += 64) {
#pragma unroll
    for (u32 half = 0; half < 2; ++half) {
      u32 k = base + 32 * half;
      bool in = k < n_p;
      float a[TILE_ROWS];
#pragma unroll
      for (u32 r = 0; r < TILE_ROWS; ++r) a[r] = in ? xs[r][k] : 0.0f;
#pragma unroll
      for (u32 c = 0; c < TILE_LATENTS; ++c) {
        float b = in ? ws[c][k] : 0.0f;
#pragma unroll
        for (u32 r = 0; r < TILE_ROWS; ++r) sums[half][r][c] = fmaf(b, a[r], sums[half][r][c]);
      }
    }
  }
#pragma unroll
  for (u32 r = 0; r < TILE_ROWS; ++r) {
    float mine = 0.0f;
#pragma unroll
    for (u32 c = 0; c < TILE_LATENTS; ++c) {
      float sum = score_tree(sums[0][r][c], sums[1][r][c]);
      if (lane_of() == c) mine = sum;
    }
    if (lane_of() < TILE_LATENTS && row + r < rows && latent + lane_of() < n_q && (!has_marks || marks[row + r] != 0))
      s[(u64)(row + r) * n_q + latent + lane_of()] = mine;
  }
}
REGISTER(scores)

// Upper bounds of the norms of rows; infinite where a norm is above 1e18 or not a number.
// Grid: one warp a row. Traffic: 4 bytes a number. Floor: the same.
KERNEL(norms_above)(const float* __restrict__ x, float* __restrict__ out, u32 rows, u32 n) {
  u32 row = blockIdx.x * warps_of() + warp_of();
  if (row >= rows) return;
  double sum = 0.0;
  for (u32 k = lane_of(); k < n; k += 32) sum += (double)x[(u64)row * n + k] * x[(u64)row * n + k];
  // Sums of squares of f32 in f64 neither overflow nor underflow; 1e-6 is above their rounding and that to f32.
  float above = (float)(sqrt(warp_sum(sum)) * (1.0 + 1e-6));
  if (lane_of() == 0) out[row] = above <= 1e18f ? above : __uint_as_float(0x7f800000u);
}
REGISTER(norms_above)

// Norms of rows, to rounding: the factors of a penalty by the norm of the decoder column.
// Grid: one warp a row. Traffic: 4 bytes a number. Floor: the same.
KERNEL(norms)(const float* __restrict__ x, float* __restrict__ out, u32 rows, u32 n) {
  u32 row = blockIdx.x * warps_of() + warp_of();
  if (row >= rows) return;
  double sum = 0.0;
  for (u32 k = lane_of(); k < n; k += 32) sum += (double)x[(u64)row * n + k] * x[(u64)row * n + k];
  sum = warp_sum(sum);
  if (lane_of() == 0) out[row] = (float)sqrt(sum);
}
REGISTER(norms)

// The nearest bf16 of each number, ties to even.
// Grid: any number of threads. Traffic: 6 bytes a number. Floor: the same.
KERNEL(to_bf16)(const float* __restrict__ x, unsigned short* __restrict__ out, u64 count) {
  u64 stride = (u64)gridDim.x * blockDim.x;
  for (u64 j = (u64)blockIdx.x * blockDim.x + threadIdx.x; j < count; j += stride) out[j] = nearest_bf16(x[j]);
}
REGISTER(to_bf16)
