// What learned directions are worth, without the n_q × n matrix of all cosines.
#include "common.cuh"

// Features that a warp compares with a latent at a time.
#define COMPARED 8

// True if the first match is better: the greater cosine, the lower latent among equals.
__device__ __forceinline__ bool is_better(float cosine, u32 latent, float than, u32 of) { return cosine > than || (cosine == than && latent < of); }

// For eight features and a group of latents: the greatest cosine ⟨w_i, p_d⟩/‖w_i‖ (`absolute`: its absolute value), and the first latent that has it.
// Rows of `truth` have norm 1. A latent of norm 0 has the cosine 0; one that is not a number is never the best. Without a match: -1 and n_q.
// Grid: (features by eights; groups of `group` latents). Traffic: 4 n_q n_p bytes for each eight features, from L2 where W fits, and 8 bytes a feature
// and group. Floor: 2 n n_q n_p operations in f32.
KERNEL(best_match)
(const float* __restrict__ w, const float* __restrict__ truth, u32 absolute, u32 group, u32 n, u32 n_q, u32 n_p, float* __restrict__ cosines,
 u32* __restrict__ latents) {
  __shared__ float best_of[WARPS][COMPARED];
  __shared__ u32 latent_of[WARPS][COMPARED];
  u32 first = blockIdx.x * COMPARED, begin = blockIdx.y * group, end = min(begin + group, n_q);
  float best[COMPARED];
  u32 which[COMPARED];
#pragma unroll
  for (u32 f = 0; f < COMPARED; ++f) {
    best[f] = -1.0f;
    which[f] = n_q;
  }
  for (u32 i = begin + warp_of(); i < end; i += warps_of()) {
    float square = 0.0f, sum[COMPARED];
#pragma unroll
    for (u32 f = 0; f < COMPARED; ++f) sum[f] = 0.0f;
    for (u32 k = lane_of(); k < n_p; k += 32) {
      float x = w[(u64)i * n_p + k];
      square = fmaf(x, x, square);
#pragma unroll
      for (u32 f = 0; f < COMPARED; ++f)
        if (first + f < n) sum[f] = fmaf(x, truth[(u64)(first + f) * n_p + k], sum[f]);
    }
    float norm = sqrtf(warp_sum(square));
#pragma unroll
    for (u32 f = 0; f < COMPARED; ++f) {
      float cosine = warp_sum(sum[f]) / (norm > 0.0f ? norm : 1.0f);
      if (absolute) cosine = fabsf(cosine);
      if (is_better(cosine, i, best[f], which[f])) {
        best[f] = cosine;
        which[f] = i;
      }
    }
  }
#pragma unroll
  for (u32 f = 0; f < COMPARED; ++f)
    if (lane_of() == 0) {
      best_of[warp_of()][f] = best[f];
      latent_of[warp_of()][f] = which[f];
    }
  __syncthreads();
  u32 f = threadIdx.x;
  if (f >= COMPARED || first + f >= n) return;
  float cosine = best_of[0][f];
  u32 latent = latent_of[0][f];
  for (u32 v = 1; v < warps_of(); ++v)
    if (is_better(best_of[v][f], latent_of[v][f], cosine, latent)) {
      cosine = best_of[v][f];
      latent = latent_of[v][f];
    }
  u64 at = (u64)blockIdx.y * n + first + f;
  cosines[at] = cosine;
  latents[at] = latent;
}
REGISTER(best_match)

// The best of all groups, into the first one. Grid: one thread a feature. Traffic: 8 bytes a feature and group. Floor: the same.
KERNEL(best_of_groups)(u32 groups, u32 n, float* __restrict__ cosines, u32* __restrict__ latents) {
  u32 d = blockIdx.x * blockDim.x + threadIdx.x;
  if (d >= n) return;
  for (u32 g = 1; g < groups; ++g) {
    u64 at = (u64)g * n + d;
    if (is_better(cosines[at], latents[at], cosines[d], latents[d])) {
      cosines[d] = cosines[at];
      latents[d] = latents[at];
    }
  }
}
REGISTER(best_of_groups)
