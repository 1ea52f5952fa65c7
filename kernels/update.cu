// One update: anchoring, projection, the norm of the gradient, clipping, the rule of the optimizer, unit columns, dead counters, the threshold.
#include "common.cuh"

// Marks anchored latents as having a gradient, with zeros where they had none, and adds 2λ(w_i − w̃_p) and 2λ(v_i − w̃_r).
// Grid: one block an anchor. Traffic: 16 (n_p + n_r) bytes. Floor: the same.
KERNEL(anchor)
(const u32* __restrict__ latents, const float* __restrict__ inputs, const float* __restrict__ targets, float factor, u32* __restrict__ live,
 const float* __restrict__ w, const float* __restrict__ v, float* __restrict__ g_w, float* __restrict__ g_v, u32 n_p, u32 n_r) {
  u32 i = latents[blockIdx.x];
  bool was_live = live[i] != 0;
  __syncthreads();
  for (u32 k = threadIdx.x; k < n_p; k += blockDim.x) {
    u64 at = (u64)i * n_p + k;
    g_w[at] = fmaf(factor, w[at] - inputs[(u64)blockIdx.x * n_p + k], was_live ? g_w[at] : 0.0f);
  }
  for (u32 k = threadIdx.x; k < n_r; k += blockDim.x) {
    u64 at = (u64)i * n_r + k;
    g_v[at] = fmaf(factor, v[at] - targets[(u64)blockIdx.x * n_r + k], was_live ? g_v[at] : 0.0f);
  }
  if (threadIdx.x == 0) live[i] = 1;
}
REGISTER(anchor)

// λ_anchor-free squared distances of anchored rows from what they are pulled to, one number an anchor.
// Grid: one block an anchor. Traffic: 8 (n_p + n_r) bytes. Floor: the same.
KERNEL(anchor_distances)
(const u32* __restrict__ latents, const float* __restrict__ inputs, const float* __restrict__ targets, const float* __restrict__ w,
 const float* __restrict__ v, double* __restrict__ out, u32 n_p, u32 n_r) {
  __shared__ double space[WARPS];
  u32 i = latents[blockIdx.x];
  double sum = 0.0;
  for (u32 k = threadIdx.x; k < n_p; k += blockDim.x) {
    double e = (double)w[(u64)i * n_p + k] - inputs[(u64)blockIdx.x * n_p + k];
    sum += e * e;
  }
  for (u32 k = threadIdx.x; k < n_r; k += blockDim.x) {
    double e = (double)v[(u64)i * n_r + k] - targets[(u64)blockIdx.x * n_r + k];
    sum += e * e;
  }
  sum = block_sum(sum, space);
  if (threadIdx.x == 0) out[blockIdx.x] = sum;
}
REGISTER(anchor_distances)

// Removes from the gradient of a decoder column its part along the column (`unit`), and sums the squares of both gradients of a latent, in f64.
// Without clipping it is launched for the projection alone, with n_p = 0, or for those who ask for the norm.
// Grid: one block a latent; latents without a gradient read nothing. Traffic: 4 (n_p + n_r) bytes, with `unit` 8 n_r more, and 8 n_r from L1 or L2.
// Floor: the same.
KERNEL(gradient_squares)
(const u32* __restrict__ live, const float* __restrict__ g_w, float* __restrict__ g_v, const float* __restrict__ v, u32 unit,
 double* __restrict__ squares, u32 n_p, u32 n_r) {
  __shared__ double space[WARPS];
  u32 i = blockIdx.x;
  if (live[i] == 0) {
    if (threadIdx.x == 0) squares[i] = 0.0;
    return;
  }
  u64 at = (u64)i * n_r;
  double share = 0.0;
  if (unit) {
    double along = 0.0, square = 0.0;
    for (u32 k = threadIdx.x; k < n_r; k += blockDim.x) {
      along += (double)g_v[at + k] * v[at + k];
      square += (double)v[at + k] * v[at + k];
    }
    along = block_sum(along, space);
    square = block_sum(square, space);
    if (square > 0.0) share = along / square;
  }
  double sum = 0.0;
  for (u32 k = threadIdx.x; k < n_r; k += blockDim.x) {
    float g = g_v[at + k];
    if (share != 0.0) {
      g = (float)(g - share * v[at + k]);
      g_v[at + k] = g;
    }
    sum += (double)g * g;
  }
  for (u32 k = threadIdx.x; k < n_p; k += blockDim.x) sum += (double)g_w[(u64)i * n_p + k] * g_w[(u64)i * n_p + k];
  sum = block_sum(sum, space);
  if (threadIdx.x == 0) squares[i] = sum;
}
REGISTER(gradient_squares)

// Sums of squares of numbers, by groups of `group`, into out[offset + group]. Grid: one block a group. Traffic: 4 bytes a number. Floor: the same.
KERNEL(sum_squares)(const float* __restrict__ x, u64 count, u64 group, double* __restrict__ out, u32 offset) {
  __shared__ double space[WARPS];
  u64 end = min((u64)(blockIdx.x + 1) * group, count);
  double sum = 0.0;
  for (u64 j = (u64)blockIdx.x * group + threadIdx.x; j < end; j += blockDim.x) sum += (double)x[j] * x[j];
  sum = block_sum(sum, space);
  if (threadIdx.x == 0) out[offset + blockIdx.x] = sum;
}
REGISTER(sum_squares)

// The norm of the whole gradient from sums of squares, into out[0], and what clipping multiplies it with, into out[1].
// Grid: one block. Traffic: 8 bytes a sum, from L2, 16 at once a thread. Floor: a launch; 8 n_q bytes by one multiprocessor.
KERNEL(clipping)(const double* __restrict__ squares, u32 count, double clip, double* __restrict__ out) {
  __shared__ double space[WARPS];
  double sum = 0.0;
#pragma unroll 16
  for (u32 j = threadIdx.x; j < count; j += blockDim.x) sum += squares[j];
  sum = sqrt(block_sum(sum, space));
  if (threadIdx.x == 0) {
    out[0] = sum;
    out[1] = clip > 0.0 && sum > clip ? clip / sum : 1.0;
  }
}
REGISTER(clipping)

// The numbers of a rule at one step: rate is η or η/(1 − β₁ᵗ), correction 1/√(1 − β₂ᵗ), keep 1 − η·decay.
struct Rule {
  u32 is_sgd;
  float rate, correction, beta_1, rest_1, beta_2, rest_2, epsilon;
};

// The rule for one number; returns the new parameter.
__device__ __forceinline__ float apply_rule(const Rule& rule, float keep, float w, float g, float* m, float* v) {
  if (rule.is_sgd) {
    *m = fmaf(rule.beta_1, *m, g);
    return w - rule.rate * *m;
  }
  float first = fmaf(rule.beta_1, *m, rule.rest_1 * g), second = fmaf(rule.beta_2, *v, rule.rest_2 * (g * g));
  *m = first;
  *v = second;
  return keep * w - rule.rate * (first / fmaf(sqrtf(second), rule.correction, rule.epsilon));
}

// Rescales a row to norm 1 (`unit`), and writes an upper bound of its norm (`bounds`), from the sum of squares of what each thread has written.
__device__ __forceinline__ void finish_row(float* w, u64 begin, u32 columns, double square, u32 unit, u32 bounds, float* norms, double* space) {
  if (!unit && !bounds) return;
  double norm = sqrt(block_sum(square, space));
  if (unit && norm > 0.0 && norm <= 1e300)
    for (u32 k = threadIdx.x; k < columns; k += blockDim.x) w[begin + k] = (float)(w[begin + k] / norm);
  if (bounds && threadIdx.x == 0) {
    float above = (float)(norm * (1.0 + 1e-6));
    norms[blockIdx.x] = above <= 1e18f ? above : __uint_as_float(0x7f800000u);
  }
}

// Packs a row that all threads have written.
__device__ __forceinline__ void pack_updated(const float* w, unsigned short* half, u32 row, u32 columns) {
  __syncthreads();
  pack_row(w + (u64)row * columns, half + (u64)row * packed(columns), columns);
}

// One row of a matrix of latents: the rule, with `unit` the rescaling to norm 1, and the upper bound of the row's norm into `norms` with
// `bounds`, as a screen needs it; with `halves` (never together with `unit`) the row in bf16 into `half`, as a screen in bf16 reads it; with `packs`
// (never together with `halves`) the packed row, as `decode` gathers it. The gradient of a latent that is not live is 0 and is not read.
// Grid: one block a latent. Traffic: 28 bytes a number (parameter, two moments: read and written; gradient: read), with `unit` 8 more from L1,
// with `halves` 2 more, with `packs` 2 more and 4 from L1 or L2.
// Floor: the same; 24 where there is no gradient.
KERNEL(update_rows)
(const u32* __restrict__ live, const float* __restrict__ g, const double* __restrict__ clip, float* __restrict__ w, float* __restrict__ m,
 float* __restrict__ v, u32 is_sgd, float rate, float correction, float beta_1, float rest_1, float beta_2, float rest_2, float epsilon,
 float keep, u32 unit, float* __restrict__ norms, u32 bounds, unsigned short* __restrict__ half, u32 halves, u32 packs, u32 columns) {
  __shared__ double space[WARPS];
  Rule rule = {is_sgd, rate, correction, beta_1, rest_1, beta_2, rest_2, epsilon};
  u32 i = blockIdx.x;
  bool has = live[i] != 0;
  float factor = (float)clip[1];
  double square = 0.0;
  for (u32 k = threadIdx.x; k < columns; k += blockDim.x) {
    u64 at = (u64)i * columns + k;
    float first = m[at], second = is_sgd ? 0.0f : v[at];
    float now = apply_rule(rule, keep, w[at], has ? factor * g[at] : 0.0f, &first, &second);
    m[at] = first;
    if (!is_sgd) v[at] = second;
    w[at] = now;
    if (halves) half[at] = nearest_bf16(now);
    square += (double)now * now;
  }
  finish_row(w, (u64)i * columns, columns, square, unit, bounds, norms, space);
  if (packs) pack_updated(w, half, i, columns);
}
REGISTER(update_rows)

// The rule for a vector or a matrix whose rows are no latents.
// Grid: any number of threads. Traffic: 28 bytes a number. Floor: the same.
KERNEL(update_flat)
(const float* __restrict__ g, const double* __restrict__ clip, float* __restrict__ w, float* __restrict__ m, float* __restrict__ v, u32 is_sgd,
 float rate, float correction, float beta_1, float rest_1, float beta_2, float rest_2, float epsilon, float keep, u64 count) {
  Rule rule = {is_sgd, rate, correction, beta_1, rest_1, beta_2, rest_2, epsilon};
  float factor = (float)clip[1];
  u64 stride = (u64)gridDim.x * blockDim.x;
  for (u64 at = (u64)blockIdx.x * blockDim.x + threadIdx.x; at < count; at += stride) {
    float first = m[at], second = is_sgd ? 0.0f : v[at];
    w[at] = apply_rule(rule, keep, w[at], factor * g[at], &first, &second);
    m[at] = first;
    if (!is_sgd) v[at] = second;
  }
}
REGISTER(update_flat)

// One of the two bf16 that enclose x, such that the mean over all r from 0 to 2¹⁶ − 1 is x: what is cut off, plus r, carries into what is kept
// for a share of the r that is the place of x between the two. Infinities and NaN stay what they are, and a finite number stays finite.
__device__ __forceinline__ unsigned short round_at_random(float x, u32 r) {
  u32 bits = __float_as_uint(x);
  if (!is_finite(x)) return (bits & 0x7fffffu) != 0 ? 0x7fc0u : (unsigned short)(bits >> 16);
  u32 carried = (bits + r) >> 16;
  return (unsigned short)((carried & 0x7f80u) == 0x7f80u ? bits >> 16 : carried);
}

// Numbers that share 32 blocks of the generator.
#define SHARED 128

// Where random words come from: the key of a parameter, and the updates done.
struct Words {
  u32 key_0, key_1;
  u64 step;
};

// Calls `take(at, word)` for the numbers begin .. end of a parameter, of which this is warp `warp` of `warps`. Number `at` has word
// ⌊(at mod 128)/32⌋ at the counter (32 ⌊at/128⌋ + at mod 32, step), whoever asks. A lane takes every 32nd number, so that a warp reads numbers
// side by side, and all four words of a block are used by the lane that makes it.
template <class Take>
__device__ __forceinline__ void with_words(const Words& words, u64 begin, u64 end, u64 warp, u64 warps, Take take) {
  for (u64 group = begin / SHARED + warp; group * SHARED < end; group += warps) {
    u64 block = group * 32 + lane_of();
    u32 counter[4] = {(u32)block, (u32)(block >> 32), (u32)words.step, (u32)(words.step >> 32)};
    philox(words.key_0, words.key_1, counter);
#pragma unroll
    for (u32 j = 0; j < 4; ++j) {
      u64 at = group * SHARED + 32 * j + lane_of();
      if (at >= begin && at < end) take(at, counter[j]);
    }
  }
}

// The rule for one number whose moments are kept in bf16: the low half of the word rounds the first, the high half the second. The parameter
// moves by the moments before they are rounded.
__device__ __forceinline__ float apply_rounded(const Rule& rule, float keep, float w, float g, unsigned short* m, unsigned short* v, u32 word) {
  float first = widened(*m), second = rule.is_sgd ? 0.0f : widened(*v);
  float now = apply_rule(rule, keep, w, g, &first, &second);
  *m = round_at_random(first, word & 0xffffu);
  if (!rule.is_sgd) *v = round_at_random(second, word >> 16);
  return now;
}

// `update_rows` with moments in bf16.
// Grid: one block a latent. Traffic: 20 bytes a number, with `unit` 8 more from L1, with `halves` 2 more, with `packs` 2 more and 4 from L1 or L2.
// Floor: the same; 16 where there is no gradient. A quarter of a generator block (10 rounds of four products) a number.
KERNEL(update_rows_bf16)
(const u32* __restrict__ live, const float* __restrict__ g, const double* __restrict__ clip, float* __restrict__ w,
 unsigned short* __restrict__ m, unsigned short* __restrict__ v, u32 is_sgd, float rate, float correction, float beta_1, float rest_1,
 float beta_2, float rest_2, float epsilon, float keep, u32 unit, float* __restrict__ norms, u32 bounds, unsigned short* __restrict__ half,
 u32 halves, u32 packs, u32 columns, u32 key_0, u32 key_1, u64 step) {
  __shared__ double space[WARPS];
  Rule rule = {is_sgd, rate, correction, beta_1, rest_1, beta_2, rest_2, epsilon};
  u64 begin = (u64)blockIdx.x * columns;
  bool has = live[blockIdx.x] != 0;
  float factor = (float)clip[1];
  double square = 0.0;
  with_words({key_0, key_1, step}, begin, begin + columns, warp_of(), warps_of(), [&](u64 at, u32 word) {
    float now = apply_rounded(rule, keep, w[at], has ? factor * g[at] : 0.0f, m + at, v + at, word);
    w[at] = now;
    if (halves) half[at] = nearest_bf16(now);
    square += (double)now * now;
  });
  finish_row(w, begin, columns, square, unit, bounds, norms, space);
  if (packs) pack_updated(w, half, blockIdx.x, columns);
}
REGISTER(update_rows_bf16)

// `update_flat` with moments in bf16. Grid: any number of threads. Traffic: 20 bytes a number. Floor: the same.
KERNEL(update_flat_bf16)
(const float* __restrict__ g, const double* __restrict__ clip, float* __restrict__ w, unsigned short* __restrict__ m,
 unsigned short* __restrict__ v, u32 is_sgd, float rate, float correction, float beta_1, float rest_1, float beta_2, float rest_2,
 float epsilon, float keep, u64 count, u32 key_0, u32 key_1, u64 step) {
  Rule rule = {is_sgd, rate, correction, beta_1, rest_1, beta_2, rest_2, epsilon};
  float factor = (float)clip[1];
  u64 warp = (u64)blockIdx.x * warps_of() + warp_of(), warps = (u64)gridDim.x * warps_of();
  with_words({key_0, key_1, step}, 0, count, warp, warps, [&](u64 at, u32 word) {
    w[at] = apply_rounded(rule, keep, w[at], factor * g[at], m + at, v + at, word);
  });
}
REGISTER(update_flat_bf16)

// idle_i ← 0 if the latent was active, else idle_i + B. Grid: one thread a latent. Traffic: 20 bytes a latent. Floor: the same.
KERNEL(count_idle)(const u32* __restrict__ active, u64* __restrict__ idle, u32 rows, u32 n_q) {
  u32 i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n_q) idle[i] = active[i] != 0 ? 0 : idle[i] + rows;
}
REGISTER(count_idle)

// θ of BatchTopK: theta[0] is θ, theta[1] is 1 once there is one; `least` is the key of the least value kept, all ones if nothing was.
// Grid: one thread. Traffic: 12 bytes. Floor: a launch.
KERNEL(update_threshold)(float* __restrict__ theta, const u32* __restrict__ least, double decay) {
  if (blockIdx.x != 0 || threadIdx.x != 0 || least[0] == 0xffffffffu) return;
  // Values that are kept are positive.
  float found = __uint_as_float(least[0] & 0x7fffffffu);
  theta[0] = theta[1] != 0.0f ? (float)(decay * theta[0] + (1.0 - decay) * found) : found;
  theta[1] = 1.0f;
}
REGISTER(update_threshold)
