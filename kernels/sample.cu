// Samples of the bench, drawn on the device with the bits of the processor: Philox4x32-10 at the counter (sample, feature), magnitudes by a
// logarithm with a stated order of operations in f64, and directions added by increasing feature.
#include "common.cuh"

// −ln((2w + 1)/2³³), as `bench::philox::exponential` defines it: no product and sum may be contracted.
__device__ __forceinline__ double exponential(u32 word) {
  long long bits = __double_as_longlong(2.0 * (double)word + 1.0);
  int exponent = (int)(bits >> 52) - 1023;
  double mantissa = __longlong_as_double((bits & ((1LL << 52) - 1)) | 0x3ff0000000000000LL);
  if (mantissa >= 1.41421356237309504880) {
    mantissa /= 2.0;
    exponent += 1;
  }
  double s = (mantissa - 1.0) / (mantissa + 1.0), square = s * s, sum = 1.0 / 21.0;
#pragma unroll
  for (int k = 9; k >= 0; --k) sum = sum * square + 1.0 / (double)(2 * k + 1);
  return (double)(33 - exponent) * 0.693147180559945309417 - 2.0 * s * sum;
}

// Features that a block takes at a time, four a thread.
#define FEATURES 4096

// x = Σ x_d w_d of every sample: feature d fires iff its word is below thresholds[d] (of 2³²), with magnitude scales[d] (c_min + β E).
// Grid: one block a sample. Traffic: 4 dimension bytes for each active feature, from L2, and 4 dimension bytes written; 16 n bytes of tables
// from L2. Floor: 4 dimension bytes a sample; a generator block (10 rounds of four products) for four features.
KERNEL(draw)
(u32 key_0, u32 key_1, const u64* __restrict__ thresholds, const double* __restrict__ scales, double c_min, double beta,
 const u64* __restrict__ indices, const float* __restrict__ directions, u32 n, u32 dimension, float* __restrict__ out) {
  __shared__ u32 features[FEATURES];
  __shared__ float values[FEATURES];
  __shared__ u32 space[WARPS];
  u64 index = indices[blockIdx.x];
  u32 low = (u32)index, high = (u32)(index >> 32);
  float* x = out + (u64)blockIdx.x * dimension;
  for (u32 c = threadIdx.x; c < dimension; c += blockDim.x) x[c] = 0.0f;
  for (u32 base = 0; base < n; base += 4 * blockDim.x) {
    u32 first = base + 4 * threadIdx.x, fires = 0;
    u32 words[4] = {low, high, first / 4, 0};
    philox(key_0, key_1, words);
#pragma unroll
    for (u32 j = 0; j < 4; ++j)
      if (first + j < n && (u64)words[j] < thresholds[first + j]) fires |= 1u << j;
    u32 total, place = block_scan(__popc(fires), space, &total);
#pragma unroll
    for (u32 j = 0; j < 4; ++j)
      if ((fires >> j) & 1u) {
        u32 d = first + j, counter[4] = {low, high, d, 1};
        philox(key_0, key_1, counter);
        features[place] = d;
        values[place] = (float)(scales[d] * (c_min + beta * exponential(counter[0])));
        ++place;
      }
    __syncthreads();
    for (u32 c = threadIdx.x; c < dimension; c += blockDim.x) {
      float sum = x[c];
      for (u32 j = 0; j < total; ++j) sum = __fadd_rn(sum, __fmul_rn(values[j], directions[(u64)features[j] * dimension + c]));
      x[c] = sum;
    }
    __syncthreads();
  }
}
REGISTER(draw)
