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

// What follows makes scores with the bits of their definition as a product of matrices. The 64 lanes of a score are chains of fused
// multiply-adds, so that they can be made one after the other: first matrices are copied lane by lane, then a product of columns adds up one
// lane at a time and folds finished lanes by the tree.

// Lane t in the order that folds: the bits of t backwards, since the tree first adds lanes that are 32 apart.
__device__ __forceinline__ u32 folded(u32 t) {
  u32 lane = 0;
#pragma unroll
  for (u32 bit = 0; bit < 6; ++bit) lane |= (t >> bit & 1u) << (5 - bit);
  return lane;
}

// Copies by lane have zeros up to a multiple of so many rows.
#define PADDED 128u

// Rows as columns, lane by lane: with J = ceil(n/64) numbers a lane, number 64 j + folded(t) of row r goes to out[(t J + j) stride + r]. Behind
// the last number and the last row there are zeros, up to 64 J numbers and a multiple of 128 rows, for which `stride` has room.
// The rows are `first` and those after it (`listed` 0); or those of a list, whose first word is their number (1); or the same as with 0 unless the list is empty (2).
// Grid: any number of blocks, one a tile of 32 rows and 32 numbers at a time. Traffic: 8 bytes a number. Floor: the same.
KERNEL(by_lane)
(const float* __restrict__ x, const u32* __restrict__ list, u32 listed, u32 first, float* __restrict__ out, u32 rows, u32 n, u32 stride) {
  __shared__ float tile[32][33];
  if (listed != 0 && list[0] == 0) return;
  u32 count = listed == 1 ? list[0] : rows, steps = (n + 63) / 64;
  u32 wide = 2 * steps, tiles = wide * ((count + PADDED - 1) / PADDED * (PADDED / 32));
  for (u32 at = blockIdx.x; at < tiles; at += gridDim.x) {
    u32 k = at % wide * 32, r = at / wide * 32;
    for (u32 e = warp_of(); e < 32; e += warps_of()) {
      bool in = r + e < count && k + lane_of() < n;
      u32 row = listed == 1 && r + e < count ? list[1 + r + e] : first + r + e;
      tile[e][lane_of()] = in ? x[(u64)row * n + k + lane_of()] : 0.0f;
    }
    __syncthreads();
    for (u32 e = warp_of(); e < 32; e += warps_of()) {
      u32 to = folded((k + e) % 64) * steps + (k + e) / 64;
      out[(u64)to * stride + r + lane_of()] = tile[lane_of()][e];
    }
    __syncthreads();
  }
}
REGISTER(by_lane)

// Rows and latents of a block's tile, and of a thread's.
#define TILE_ROWS 64u
#define TILE_LATENTS 128u
#define OWN_ROWS 4u
#define OWN_LATENTS 8u
#define OWN (OWN_ROWS * OWN_LATENTS)
// Numbers of a column that a block holds at once.
#define DEPTH 8u
// Threads that compute.
#define SCORERS 256

// s = W_E x' for `latents` latents from `first` on, with the bits of the score, from copies by lane. Of all rows, or of the rows of a list.
// Grid: any number of blocks, one a tile of 64 rows and 128 latents at a time (of 256 threads; fewer take smaller tiles), rows first, so that W_E
// comes from DRAM once. A thread has 32 scores. It adds up one lane of them at a time, 32 fused multiply-adds for 12 numbers from shared memory,
// which give those at most two thirds of the time, and keeps the sums of lanes that wait for others: of 1, 2, 4 and 8 lanes in registers, of 16 in
// shared memory, of 32 where the score will be. Traffic: the copies, each from L2 as often as there are tiles of the other: 12 bytes a clock and
// multiprocessor at full speed; 12 bytes a score. Floor: 2 rows n_q n_p operations on the f32 units.
KERNEL(scores)
(const float* __restrict__ x, const float* __restrict__ w, const u32* __restrict__ list, u32 has_list, float* __restrict__ s, u32 rows,
 u32 first, u32 latents, u32 n_q, u32 n_p, u32 x_stride, u32 w_stride) {
  __shared__ __align__(16) float xs[2][DEPTH][TILE_ROWS];
  __shared__ __align__(16) float ws[2][DEPTH][TILE_LATENTS];
  __shared__ float sixteen[OWN][SCORERS];
  u32 count = has_list ? list[0] : rows, steps = (n_p + 63) / 64;
  // A warp takes 32 rows and 32 latents.
  u32 high = warps_of() < 2 ? 1 : 2, wide = warps_of() < 4 ? 1 : warps_of() < 8 ? 2 : 4;
  u32 tile_rows = 32 * high, tile_latents = 32 * wide;
  u32 x_at = warp_of() % high * 32 + lane_of() % 8 * 4, w_at = warp_of() / high * 32 + lane_of() / 8 * 8;
  u32 row_tiles = (count + tile_rows - 1) / tile_rows, tiles = row_tiles * ((latents + tile_latents - 1) / tile_latents);
  for (u32 tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    u32 row = tile % row_tiles * tile_rows, latent = tile / row_tiles * tile_latents;
    bool scores = warp_of() < high * wide && row + x_at < count && latent + w_at < latents;
    auto stage = [&](u32 number) {
      u32 k = number * DEPTH, to = number % 2, column = lane_of() * 4;
      for (u32 line = warp_of(); line < DEPTH; line += warps_of()) {
        if (column < tile_latents) copy_16(&ws[to][line][column], w + (u64)(k + line) * w_stride + latent + column);
        if (column < tile_rows) copy_16(&xs[to][line][column], x + (u64)(k + line) * x_stride + row + column);
      }
      copies_end();
    };
    // Puts the own sums of 16 lanes, or of 32 in their place, where the scores will be, and later adds what stands there.
    auto put = [&](bool last) {
#pragma unroll 1
      for (u32 r = 0; r < OWN_ROWS; ++r) {
        u32 slot = row + x_at + r, i = latent + w_at;
        if (slot >= count) break;
        float* to = s + (u64)(has_list ? list[1 + slot] : slot) * n_q + first + i;
#pragma unroll 2
        for (u32 c = 0; c < OWN_LATENTS; c += 4) {
          float sum[4];
#pragma unroll
          for (u32 e = 0; e < 4; ++e) sum[e] = sixteen[r * OWN_LATENTS + c + e][threadIdx.x];
          if (n_q % 4 == 0 && i + c + 4 <= latents) {
            float4* four = (float4*)(to + c);
            if (last) {
              float4 half = *four;
              sum[0] += half.x, sum[1] += half.y, sum[2] += half.z, sum[3] += half.w;
            }
            *four = make_float4(sum[0] + 0.0f, sum[1] + 0.0f, sum[2] + 0.0f, sum[3] + 0.0f);
          } else {
#pragma unroll 1
            for (u32 e = 0; e < 4; ++e)
              if (i + c + e < latents) to[c + e] = (last ? sixteen[r * OWN_LATENTS + c + e][threadIdx.x] + to[c + e] : sixteen[r * OWN_LATENTS + c + e][threadIdx.x]) + 0.0f;
          }
        }
      }
    };
    float sums[OWN], waiting[4][OWN];
#pragma unroll
    for (u32 e = 0; e < OWN; ++e) sums[e] = 0.0f;
    stage(0);
    u32 lane = 0, left = steps;
    for (u32 number = 0; number < steps * 64 / DEPTH; ++number) {
      copies_wait<0>();
      __syncthreads();
      if (number + 1 < steps * 64 / DEPTH) stage(number + 1);
      if (!scores) continue;
      const float* a_of = &xs[number % 2][0][x_at];
      const float* b_of = &ws[number % 2][0][w_at];
      for (u32 k = 0; k < DEPTH;) {
        u32 end = min(DEPTH, k + left);
        left -= end - k;
#pragma unroll 4
        for (; k < end; ++k) {
          float4 a = *(const float4*)(a_of + k * TILE_ROWS), b = *(const float4*)(b_of + k * TILE_LATENTS);
          float4 c = *(const float4*)(b_of + k * TILE_LATENTS + 4);
          const float as[OWN_ROWS] = {a.x, a.y, a.z, a.w}, bs[OWN_LATENTS] = {b.x, b.y, b.z, b.w, c.x, c.y, c.z, c.w};
#pragma unroll
          for (u32 e = 0; e < OWN; ++e) sums[e] = fmaf(bs[e % OWN_LATENTS], as[e / OWN_LATENTS], sums[e]);
        }
        if (left != 0 || lane == 63) continue;
        // A lane is done: it joins those before it like a bit that is added to a number.
        left = steps;
        bool joins = true;
#pragma unroll
        for (u32 level = 0; level < 4; ++level) {
          if (joins && (lane >> level & 1u) != 0) {
#pragma unroll
            for (u32 e = 0; e < OWN; ++e) sums[e] += waiting[level][e];
          } else if (joins) {
#pragma unroll
            for (u32 e = 0; e < OWN; ++e) waiting[level][e] = sums[e];
            joins = false;
          }
        }
        if (joins) {
#pragma unroll
          for (u32 e = 0; e < OWN; ++e) {
            float* waits = &sixteen[e][threadIdx.x];
            *waits = lane == 31 ? sums[e] + *waits : sums[e];
          }
          if (lane == 31) put(false);
        }
#pragma unroll
        for (u32 e = 0; e < OWN; ++e) sums[e] = 0.0f;
        ++lane;
      }
    }
    // Before the stages of the next tile are filled.
    __syncthreads();
    if (!scores) continue;
#pragma unroll
    for (u32 e = 0; e < OWN; ++e) {
#pragma unroll
      for (u32 level = 0; level < 4; ++level) sums[e] += waiting[level][e];
      sixteen[e][threadIdx.x] += sums[e];
    }
    put(true);
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

// Packs rows for those who gather them.
// Grid: any number of blocks, among which rows are shared. Traffic: 6 bytes a number. Floor: the same.
KERNEL(pack_rows)(const float* __restrict__ x, unsigned short* __restrict__ out, u32 rows, u32 n) {
  for (u32 row = blockIdx.x; row < rows; row += gridDim.x) pack_row(x + (u64)row * n, out + (u64)row * packed(n), n);
}
REGISTER(pack_rows)
