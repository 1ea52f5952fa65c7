// Codes by latent: the transposition of the rows of codes, without sorting and without a dependence on the order of threads. A bit for each
// (latent, row) says whether the row holds the latent; counts are sums of bits, and the rows of a latent come out by increasing row.
#include "common.cuh"

// Levels of codes: the first part of the reconstruction that holds the latent. kind 0: one part; 1: by rank, `limits` are k_1 < k_2 < ..;
// 2: by latent, `limits` are sizes of prefixes. A rank counts the codes of the row that come before in the order of a top-k.
// Grid: one block a row. Traffic: 4 bytes a code, and its square from L1 for ranks. Floor: 8 bytes a code.
KERNEL(levels)
(const u32* __restrict__ counts, const u32* __restrict__ latents, const float* __restrict__ values, u32 stride, u32 kind,
 const u32* __restrict__ limits, u32 parts, u32* __restrict__ out) {
  u32 row = blockIdx.x, count = counts[row];
  u64 start = (u64)row * stride;
  for (u32 j = threadIdx.x; j < count; j += blockDim.x) {
    u32 place = latents[start + j], level = 0;
    if (kind == 1) {
      u32 key = key_of(values[start + j]), rank = 0;
      for (u32 q = 0; q < count; ++q) {
        u32 other = key_of(values[start + q]);
        rank += other > key || (other == key && q < j);
      }
      place = rank;
    }
    if (kind != 0)
      while (level < parts && limits[level] <= place) ++level;
    out[start + j] = level;
  }
}
REGISTER(levels)

// Sets the bit of every code, and `active` of latents with a value that is not 0.
// Grid: one block a row. Traffic: 8 bytes a code read, an atomic operation on 4 bytes each. Floor: 12 bytes a code.
KERNEL(mark)
(const u32* __restrict__ counts, const u32* __restrict__ latents, const float* __restrict__ values, u32 stride, u32 words,
 u32* __restrict__ bits, u32* __restrict__ active) {
  u32 row = blockIdx.x;
  u64 start = (u64)row * stride;
  for (u32 j = threadIdx.x; j < counts[row]; j += blockDim.x) {
    u32 i = latents[start + j];
    atomicOr(&bits[(u64)i * words + row / 32], 1u << (row % 32));
    if (values[start + j] != 0.0f) atomicOr(&active[i], 1u);
  }
}
REGISTER(mark)

// The number of bits of every latent.
// Grid: one warp a latent. Traffic: B/8 bytes a latent. Floor: the same.
KERNEL(count_bits)(const u32* __restrict__ bits, u32 words, u32* __restrict__ counts, u32 n_q) {
  u32 i = blockIdx.x * warps_of() + warp_of();
  if (i >= n_q) return;
  u32 sum = 0;
  for (u32 word = lane_of(); word < words; word += 32) sum += __popc(bits[(u64)i * words + word]);
  sum = warp_sum(sum);
  if (lane_of() == 0) counts[i] = sum;
}
REGISTER(count_bits)

// Sums of numbers before each one, within blocks of blockDim numbers; the sum of each block goes to `sums`.
// Grid: one thread a number. Traffic: 8 bytes a number. Floor: the same.
KERNEL(scan_blocks)(const u32* __restrict__ in, u32* __restrict__ out, u32* __restrict__ sums, u32 n) {
  __shared__ u32 space[WARPS];
  u32 i = blockIdx.x * blockDim.x + threadIdx.x, all;
  u32 before = block_scan(i < n ? in[i] : 0, space, &all);
  if (i < n) out[i] = before;
  if (threadIdx.x == 0) sums[blockIdx.x] = all;
}
REGISTER(scan_blocks)

// Adds to each number the sums of the blocks before; out[n] becomes the sum of all.
// Grid: one thread a number. Traffic: 8 bytes a number, and the sums from L2. Floor: the same.
KERNEL(scan_join)(u32* __restrict__ out, const u32* __restrict__ sums, u32 n) {
  __shared__ u32 space[WARPS];
  u32 mine = 0;
  for (u32 b = threadIdx.x; b < blockIdx.x; b += blockDim.x) mine += sums[b];
  u32 before = block_sum(mine, space), i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) out[i] += before;
  if (i == n - 1) out[n] = before + sums[blockIdx.x];
}
REGISTER(scan_join)

// For every latent its codes by increasing row: the row, and the place of the code among the codes of all rows.
// Grid: one warp a latent. Traffic: B/8 bytes a latent; a code needs a binary search among the latents of its row, in L2, and 12 bytes written.
// Floor: B/8 bytes a latent, 12 bytes a code.
KERNEL(by_latent)
(const u32* __restrict__ bits, u32 words, const u32* __restrict__ starts, const u32* __restrict__ counts, const u32* __restrict__ latents,
 u32 stride, u32* __restrict__ rows, u64* __restrict__ places, u32 n_q) {
  u32 i = blockIdx.x * warps_of() + warp_of();
  if (i >= n_q) return;
  u32 next = starts[i];
  for (u32 base = 0; base < words; base += 32) {
    u32 word = base + lane_of() < words ? bits[(u64)i * words + base + lane_of()] : 0, mine = __popc(word), inclusive = mine;
    for (u32 by = 1; by < 32; by *= 2) {
      u32 other = __shfl_up_sync(ALL_LANES, inclusive, by);
      if (lane_of() >= by) inclusive += other;
    }
    u32 at = next + inclusive - mine;
    while (word != 0) {
      u32 row = (base + lane_of()) * 32 + (u32)__ffs((int)word) - 1;
      word &= word - 1;
      u64 low = (u64)row * stride, high = low + counts[row];
      while (low + 1 < high) {
        u64 middle = (low + high) / 2;
        if (latents[middle] <= i) low = middle;
        else high = middle;
      }
      rows[at] = row;
      places[at] = low;
      ++at;
    }
    next += __shfl_sync(ALL_LANES, inclusive, 31);
  }
}
REGISTER(by_latent)
