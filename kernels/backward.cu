// Gradients. A latent's rows of W_E and W_D are summed by one block over the latent's codes by increasing row, so that a sum has one order and
// no atomic operation on floating-point numbers is needed.
#include "common.cuh"

// Codes that a block takes at a time.
#define CHUNK 32

// For every latent with codes, with u_b the derivative of the loss by Σ z_i v_i at the code's level and x'_b the input:
//   d_b = ⟨v_i, u_b⟩ + w_b λ₁ c_i sign z_b,   ∂V_i = Σ z_b u_b (+ Σ w_b λ₁ |z_b| v_i/‖v_i‖),   ∂W_i = Σ d_b x'_b,   ∂b_E = Σ d_b
// With gates (π and s of each code in `second`, `third`; g_b the derivative of the gates' reconstruction), ρ the scale:
//   a_b = [z_b ≠ 0] ⟨v_i, u_b⟩,   h_b = ⟨v_i, g_b⟩ + w_b λ₁ c_i,   ∂W_i = Σ (h_b + a_b ρ) x'_b,   ∂b_E = Σ h_b,   ∂r = Σ a_b ρ s_b,   ∂m = Σ a_b
// `sums` receives Σ of the factors of x'_b. With `adds` the results are added to what is there, where the latent is live.
// Grid: one block a latent. Traffic: a code reads 4 (n_p + n_r) bytes, and u_b once more from L1; a latent writes as much. Floor: the same.
KERNEL(backward)
(const u32* __restrict__ starts, const u32* __restrict__ rows, const u64* __restrict__ places, const float* __restrict__ values,
 const u32* __restrict__ levels, const float* __restrict__ second, const float* __restrict__ third, const float* __restrict__ x,
 const float* __restrict__ upstream, u32 parts, const float* __restrict__ gates, u32 gated, const float* __restrict__ v,
 const float* __restrict__ rho, const float* __restrict__ column_norms, u32 has_norms, const float* __restrict__ weights, float l1, u32 adds,
 u32* __restrict__ live, float* __restrict__ g_w, float* __restrict__ g_v, float* __restrict__ g_bias, float* __restrict__ sums,
 float* __restrict__ g_scale, float* __restrict__ g_shift, u32 n_p, u32 n_r) {
  __shared__ float by_score[CHUNK], by_bias[CHUNK], by_scale[CHUNK], by_shift[CHUNK], along[CHUNK], z[CHUNK];
  __shared__ u32 row_of[CHUNK];
  __shared__ u64 upstream_of[CHUNK];
  __shared__ float total[5];
  u32 i = blockIdx.x, first = starts[i], end = starts[i + 1];
  if (first == end) return;
  const float* column = v + (u64)i * n_r;
  float norm = has_norms ? column_norms[i] : 1.0f;
  bool was_live = adds && live[i] != 0;
  if (threadIdx.x < 5) total[threadIdx.x] = 0.0f;
  // The mark is read by all before it is set.
  __syncthreads();
  for (u32 base = first; base < end; base += CHUNK) {
    u32 count = min(end - base, (u32)CHUNK);
    for (u32 c = warp_of(); c < count; c += warps_of()) {
      u32 row = rows[base + c];
      u64 place = places[base + c], at = ((u64)row * parts + levels[place]) * n_r;
      float value = values[place], by_code = warp_dot(column, upstream + at, n_r);
      float by_gate = gated ? warp_dot(column, gates + (u64)row * n_r, n_r) : 0.0f;
      if (lane_of() == 0) {
        float penalty = weights[row] * l1, size = gated ? second[place] : fabsf(value);
        row_of[c] = row;
        upstream_of[c] = at;
        z[c] = value;
        along[c] = has_norms && norm > 0.0f ? penalty * size / norm : 0.0f;
        if (gated) {
          float gate = fmaf(penalty, norm, by_gate), code = value != 0.0f ? by_code : 0.0f, scaled = code * rho[i];
          by_bias[c] = gate;
          by_score[c] = gate + scaled;
          by_scale[c] = scaled * third[place];
          by_shift[c] = code;
        } else {
          float sign = value > 0.0f ? 1.0f : value < 0.0f ? -1.0f : 0.0f;
          by_score[c] = by_bias[c] = fmaf(sign * penalty, norm, by_code);
        }
      }
    }
    __syncthreads();
    bool begins = base == first && !was_live;
    for (u32 k = threadIdx.x; k < n_r; k += blockDim.x) {
      float sum = begins ? 0.0f : g_v[(u64)i * n_r + k];
#pragma unroll 4
      for (u32 c = 0; c < count; ++c) sum = fmaf(z[c], upstream[upstream_of[c] + k], sum);
      g_v[(u64)i * n_r + k] = sum;
    }
    for (u32 k = threadIdx.x; k < n_p; k += blockDim.x) {
      float sum = begins ? 0.0f : g_w[(u64)i * n_p + k];
#pragma unroll 4
      for (u32 c = 0; c < count; ++c) sum = fmaf(by_score[c], x[(u64)row_of[c] * n_p + k], sum);
      g_w[(u64)i * n_p + k] = sum;
    }
    if (warp_of() == 0) {
      bool in = lane_of() < count;
      float parts_of[5] = {in ? by_score[lane_of()] : 0.0f, in ? by_bias[lane_of()] : 0.0f, in ? along[lane_of()] : 0.0f,
                           in && gated ? by_scale[lane_of()] : 0.0f, in && gated ? by_shift[lane_of()] : 0.0f};
#pragma unroll
      for (u32 q = 0; q < 5; ++q) {
        float sum = warp_sum(parts_of[q]);
        if (lane_of() == 0) total[q] += sum;
      }
    }
    __syncthreads();
  }
  if (has_norms)
    for (u32 k = threadIdx.x; k < n_r; k += blockDim.x) g_v[(u64)i * n_r + k] = fmaf(total[2], column[k], g_v[(u64)i * n_r + k]);
  if (threadIdx.x == 0) {
    sums[i] += total[0];
    g_bias[i] += total[1];
    if (gated) {
      g_scale[i] += total[3];
      g_shift[i] += total[4];
    }
    live[i] = 1;
  }
}
REGISTER(backward)

// Zeros for the gradients of latents that have none, so that they can be added to those of other ranks.
// Grid: one block a latent. Traffic: 4 (n_p + n_r) bytes written for a latent without a gradient. Floor: the same.
KERNEL(clear_silent)(const u32* __restrict__ live, float* __restrict__ g_w, float* __restrict__ g_v, u32 n_p, u32 n_r) {
  u32 i = blockIdx.x;
  if (live[i] != 0) return;
  for (u32 k = threadIdx.x; k < n_p; k += blockDim.x) g_w[(u64)i * n_p + k] = 0.0f;
  for (u32 k = threadIdx.x; k < n_r; k += blockDim.x) g_v[(u64)i * n_r + k] = 0.0f;
}
REGISTER(clear_silent)

// Straight-through estimates in log θ: −Σ (θ² (⟨v_i, u_b⟩ + w_b λ₁ c_i sign z_b) + w_b λ₀ θ)/ε over the codes near their threshold.
// Grid: one block a latent. Traffic: 4 n_r bytes a code. Floor: the same.
KERNEL(band)
(const u32* __restrict__ starts, const u32* __restrict__ rows, const u64* __restrict__ places, const float* __restrict__ values,
 const u32* __restrict__ levels, const float* __restrict__ upstream, u32 parts, const float* __restrict__ v, const float* __restrict__ theta,
 const float* __restrict__ column_norms, u32 has_norms, const float* __restrict__ weights, float l1, float l0, float bandwidth,
 float* __restrict__ out, u32 n_r) {
  __shared__ float space[WARPS];
  u32 i = blockIdx.x, first = starts[i], end = starts[i + 1];
  if (first == end) {
    if (threadIdx.x == 0) out[i] = 0.0f;
    return;
  }
  float sum = 0.0f, limit = theta[i], norm = has_norms ? column_norms[i] : 1.0f;
  for (u32 c = first + warp_of(); c < end; c += warps_of()) {
    u64 place = places[c];
    u32 row = rows[c];
    float by_code = warp_dot(v + (u64)i * n_r, upstream + ((u64)row * parts + levels[place]) * n_r, n_r);
    float value = values[place], sign = value > 0.0f ? 1.0f : value < 0.0f ? -1.0f : 0.0f;
    by_code = fmaf(sign * weights[row] * l1, norm, by_code);
    sum += (limit * limit * by_code + weights[row] * l0 * limit) / bandwidth;
  }
  if (lane_of() == 0) space[warp_of()] = sum;
  __syncthreads();
  if (threadIdx.x == 0) {
    float all = 0.0f;
    for (u32 w = 0; w < warps_of(); ++w) all += space[w];
    out[i] = -all;
  }
}
REGISTER(band)

// Σ f_j m_j over the rows of a matrix, by groups of rows: `factors` (has_factors) or 1; rows with a factor 0 are left out, whatever they hold.
// Row j begins at j·row_stride. Grid: (columns; groups of rows). Traffic: 4 bytes a number. Floor: the same.
KERNEL(column_sums)
(const float* __restrict__ matrix, u64 row_stride, const float* __restrict__ factors, u32 has_factors, u32 rows, u32 columns, u32 group,
 float* __restrict__ partial) {
  u32 c = blockIdx.x * blockDim.x + threadIdx.x, begin = blockIdx.y * group, end = min(begin + group, rows);
  if (c >= columns) return;
  float sum = 0.0f;
  for (u32 j = begin; j < end; ++j) {
    float factor = has_factors ? factors[j] : 1.0f;
    if (factor != 0.0f) sum = fmaf(factor, matrix[(u64)j * row_stride + c], sum);
  }
  partial[(u64)blockIdx.y * columns + c] = sum;
}
REGISTER(column_sums)

// sign · the sum of the groups. Grid: one thread a column. Traffic: 4 bytes a number. Floor: the same.
KERNEL(join_sums)(const float* __restrict__ partial, u32 groups, u32 columns, float sign, float* __restrict__ out) {
  u32 c = blockIdx.x * blockDim.x + threadIdx.x;
  if (c >= columns) return;
  float sum = 0.0f;
  for (u32 g = 0; g < groups; ++g) sum += partial[(u64)g * columns + c];
  out[c] = sign * sum;
}
REGISTER(join_sums)
