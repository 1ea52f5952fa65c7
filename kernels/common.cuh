// What all kernels share: words, random words, sums of a block, the score of a latent, the order of pre-activations, and the selection of the
// first k.
//
// Kernels are compiled for the device by NVRTC and, for tests, for the processor through shim/shim.h. They use 32-bit words, shuffles and
// ballots of whole warps, barriers, shared memory and atomic operations on integers, nothing else: no atomic operation on floating-point
// numbers, so that a result does not depend on the order of threads. Products and sums are contracted only where `fmaf` is written
// (`-fmad=false`). A block has a multiple of 32 threads and at most 1024; every kernel works with any such number.
#pragma once
#ifdef SDLAB_SHIM
#include "shim/shim.h"
#else
typedef unsigned int u32;
typedef unsigned long long u64;
#define KERNEL(name) extern "C" __global__ void name
#define REGISTER(name)
#endif

// Copies of 16 bytes from global to shared memory that go on beside other work, in groups: those since the last `copies_end` are one.
#ifdef SDLAB_SHIM
inline void copy_16(void* to, const void* from) { shim::copy_later(to, from); }
inline void copies_end() { shim::end_copies(); }
template <u32 most>
inline void copies_wait() {
  shim::wait_copies(most);
}
#else
__device__ __forceinline__ void copy_16(void* to, const void* from) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"((u32)__cvta_generic_to_shared(to)), "l"(from) : "memory");
}
__device__ __forceinline__ void copies_end() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Until this thread has at most so many groups under way.
template <u32 most>
__device__ __forceinline__ void copies_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(most) : "memory");
}
#endif

#define ALL_LANES 0xffffffffu
// Warps of the largest block.
#define WARPS 32
// Where rows of a matrix are gathered: rows that a warp reads at once, and numbers that a lane takes of each, every 32nd.
#define ABREAST 4
#define NUMBERS 4
// Numbers of a row that a warp takes.
#define STRIPE (32 * NUMBERS)

__device__ __forceinline__ u32 lane_of() { return threadIdx.x % 32; }
__device__ __forceinline__ u32 warp_of() { return threadIdx.x / 32; }
__device__ __forceinline__ u32 warps_of() { return blockDim.x / 32; }

// True for numbers that are neither infinite nor NaN.
__device__ __forceinline__ bool is_finite(float x) { return (__float_as_uint(x) & 0x7f800000u) != 0x7f800000u; }

// Salmon, Moraes, Dror and Shaw 2011, Table 2 and §4.3. Four words at a counter.
__device__ __forceinline__ void philox(u32 key_0, u32 key_1, u32 counter[4]) {
#pragma unroll
  for (u32 round = 0; round < 10; ++round) {
    u32 left_high = __umulhi(0xD2511F53u, counter[0]), left_low = 0xD2511F53u * counter[0];
    u32 right_high = __umulhi(0xCD9E8D57u, counter[2]), right_low = 0xCD9E8D57u * counter[2];
    counter[0] = right_high ^ counter[1] ^ key_0;
    counter[2] = left_high ^ counter[3] ^ key_1;
    counter[1] = right_low;
    counter[3] = left_low;
    key_0 += 0x9E3779B9u;
    key_1 += 0xBB67AE85u;
  }
}

// The sum over a warp, in every lane, in a fixed tree.
template <class T>
__device__ __forceinline__ T warp_sum(T x) {
  for (u32 width = 16; width > 0; width /= 2) x += __shfl_xor_sync(ALL_LANES, x, width);
  return x;
}

// The sum over a block, in every thread, in a fixed order. `space` holds WARPS numbers; it may be used again after the call.
template <class T>
__device__ __forceinline__ T block_sum(T x, T* space) {
  x = warp_sum(x);
  if (lane_of() == 0) space[warp_of()] = x;
  __syncthreads();
  T sum = 0;
  for (u32 w = 0; w < warps_of(); ++w) sum += space[w];
  __syncthreads();
  return sum;
}

// The sum of what the warps before this one have written to `space`, and in `total` that of all warps.
__device__ __forceinline__ u32 warps_before(const u32* space, u32* total) {
  __syncthreads();
  u32 before = 0, all = 0;
  for (u32 w = 0; w < warps_of(); ++w) {
    if (w < warp_of()) before += space[w];
    all += space[w];
  }
  __syncthreads();
  *total = all;
  return before;
}

// The number of threads before this one that have set their flag, and in `total` that of all. `space` holds WARPS words.
__device__ __forceinline__ u32 block_rank(bool flag, u32* space, u32* total) {
  u32 ballot = __ballot_sync(ALL_LANES, flag);
  if (lane_of() == 0) space[warp_of()] = __popc(ballot);
  return warps_before(space, total) + __popc(ballot & ((1u << lane_of()) - 1u));
}

// The sum of the numbers of the threads before this one, and in `total` that of all. `space` holds WARPS words.
__device__ __forceinline__ u32 block_scan(u32 x, u32* space, u32* total) {
  u32 inclusive = x;
  for (u32 by = 1; by < 32; by *= 2) {
    u32 other = __shfl_up_sync(ALL_LANES, inclusive, by);
    if (lane_of() >= by) inclusive += other;
  }
  if (lane_of() == 31) space[warp_of()] = inclusive;
  return warps_before(space, total) + inclusive - x;
}

// From the sums of the lanes l and l + 32 of each thread: the tree of halves of the score, in every lane.
__device__ __forceinline__ float score_tree(float low, float high) {
  float x = low + high;
  for (u32 width = 16; width > 0; width /= 2) x += __shfl_xor_sync(ALL_LANES, x, width);
  return x + 0.0f;
}

// A number that is stored in f32 or in bf16.
__device__ __forceinline__ float widened(float x) { return x; }
__device__ __forceinline__ float widened(unsigned short x) { return __uint_as_float((u32)x << 16); }

// The score of two vectors by one warp: element k goes to lane k mod 64, of which each thread holds two.
template <class T>
__device__ __forceinline__ float score(const T* __restrict__ a, const float* __restrict__ b, u32 n) {
  float low = 0.0f, high = 0.0f;
  for (u32 k = lane_of(); k < n; k += 64) {
    low = fmaf(widened(a[k]), b[k], low);
    if (k + 32 < n) high = fmaf(widened(a[k + 32]), b[k + 32], high);
  }
  return score_tree(low, high);
}

// Plain scalar product by one warp, in every lane.
__device__ __forceinline__ float warp_dot(const float* __restrict__ a, const float* __restrict__ b, u32 n) {
  float sum = 0.0f;
  for (u32 k = lane_of(); k < n; k += 32) sum = fmaf(a[k], b[k], sum);
  return warp_sum(sum);
}

// The key of +0; those of positive numbers are greater.
#define KEY_OF_ZERO 0x80000000u

// Words in the order of a top-k: a greater key comes first. NaN has the least key of all, and -0 that of +0.
__device__ __forceinline__ u32 key_of(float x) {
  u32 bits = __float_as_uint(x + 0.0f);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return 0;
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

// Of the entries with this key or a greater one, the first k in the order: all with a greater key, and the first `ties` with this key.
struct Cut {
  u32 key;
  u32 ties;
};

// Shared memory of `radix_cut`.
struct RadixSpace {
  u32 histogram[256];
  u32 digit;
  u32 rest;
};

// Finds in a histogram of 256 digits the one that holds the rest-th entry from above, and how many of that digit are still needed.
// By the first warp; `histogram` must be complete.
__device__ __forceinline__ void find_digit(const u32* histogram, u32 rest, u32* digit, u32* left) {
  u32 top = 255 - 8 * lane_of(), sum = 0;
  for (u32 j = 0; j < 8; ++j) sum += histogram[top - j];
  u32 inclusive = sum;
  for (u32 by = 1; by < 32; by *= 2) {
    u32 other = __shfl_up_sync(ALL_LANES, inclusive, by);
    if (lane_of() >= by) inclusive += other;
  }
  u32 before = inclusive - sum;
  if (before < rest && rest <= inclusive) {
    u32 j = 0;
    while (before + histogram[top - j] < rest) before += histogram[top - j++];
    *digit = top - j;
    *left = rest - before;
  }
}

// The cut behind the first k of m entries, in every thread; `of(i)` is the key of entry i. Four passes of 8 bits over the entries, with
// integer atomics in shared memory. With `from` bits left out below, the key of the cut has zeros there.
template <class Key>
__device__ Cut radix_cut(Key of, u32 m, u32 k, RadixSpace* space, u32 from = 0) {
  if (k >= m) return {0, m};
  if (k == 0) return {0xffffffffu, 0};
  u32 prefix = 0, rest = k;
  for (u32 shift = 32; shift > from;) {
    shift -= 8;
    for (u32 d = threadIdx.x; d < 256; d += blockDim.x) space->histogram[d] = 0;
    __syncthreads();
    for (u32 i = threadIdx.x; i < m; i += blockDim.x) {
      u32 key = of(i);
      // A shift by 32 is not defined.
      if (shift == 24 || (key >> (shift + 8)) == (prefix >> (shift + 8))) atomicAdd(&space->histogram[(key >> shift) & 255u], 1u);
    }
    __syncthreads();
    if (warp_of() == 0) find_digit(space->histogram, rest, &space->digit, &space->rest);
    __syncthreads();
    prefix |= space->digit << shift;
    rest = space->rest;
    __syncthreads();
  }
  return {prefix, rest};
}

// Entries of a row that may be among its first k are put into a list in shared memory: its room, which bounds k and the ties that it can hold.
#define LIST 2048u

struct ShortList {
  u32 keys[LIST];
  u32 entries[LIST];
  // A bit for an entry, of 32·LIST of them at a time.
  u32 bits[LIST];
  u32 count;
  u32 last;
};

// Rows up to this length are looked at as a whole for a floor, longer ones in samples of about so many numbers.
#define SAMPLED 32768u
// Quads that a thread has under way.
#define AHEAD 4u

// Four neighbouring numbers, from place i on, which is a multiple of four. If not `whole`, n is none, and numbers behind the last are 0.
template <bool whole>
__device__ __forceinline__ float4 quad(const float* __restrict__ x, u32 i, u32 n) {
  if (whole) return *(const float4*)(x + i);
  return make_float4(x[i], i + 1 < n ? x[i + 1] : 0.0f, i + 2 < n ? x[i + 2] : 0.0f, i + 3 < n ? x[i + 3] : 0.0f);
}

__device__ __forceinline__ float part_of(const float4& four, u32 c) { return c == 0 ? four.x : c == 1 ? four.y : c == 2 ? four.z : four.w; }

// The number with this key.
__device__ __forceinline__ float of_key(u32 key) { return __uint_as_float(key & 0x80000000u ? key & 0x7fffffffu : ~key); }

#define MINUS_INFINITY __uint_as_float(0xff800000u)

// Lists the entries of a row of n that may be among the first k, and some more, in no order: all whose upper bound is not below the floor, a number
// that the lower bounds of at least k entries reach. Returns how many there are, in every thread; if more than LIST, or if k is too large, the list is
// no good. One pass over a sample of the row, or all of a short one, for the floor: each thread keeps the greatest lower bounds of four classes of
// entries, and the floor is the k-th of all those, rounded down. It is near the k-th entry of the sample, since most of the first k are in classes of
// their own. Then one pass over the row, which compares and does little else.
//   of.load<whole>(i): a quad.  of.lower(quad, c), of.upper(quad, c): bounds of its number c, NaN where there is none.
//   of.counts(i): takes part at all; asked where of.picks.  of.key(quad, c): by which listed entries are ordered.
template <bool whole, class Row>
__device__ u32 short_list(const Row& of, u32 n, u32 k, ShortList* list, RadixSpace* radix) {
  u32 width = blockDim.x, floor = 0;
  if (n > LIST && k <= 4 * width && k <= LIST) {
    float best[4] = {MINUS_INFINITY, MINUS_INFINITY, MINUS_INFINITY, MINUS_INFINITY};
    u32 stride = 4 * width * max(n / SAMPLED, 1u);
    for (u32 base = 4 * threadIdx.x; base < n; base += AHEAD * stride) {
      typename Row::Quad quads[AHEAD];
#pragma unroll
      for (u32 j = 0; j < AHEAD; ++j)
        if (base + j * stride < n) quads[j] = of.template load<whole>(base + j * stride, n);
#pragma unroll
      for (u32 j = 0; j < AHEAD; ++j) {
        u32 i = base + j * stride;
        if (i >= n) break;
#pragma unroll
        for (u32 c = 0; c < 4; ++c) {
          bool in = (whole || i + c < n) && (!of.picks || of.counts(i + c));
          // NaN is not the greater one.
          best[c] = fmaxf(best[c], in ? of.lower(quads[j], c) : MINUS_INFINITY);
        }
      }
    }
    auto greatest = [&](u32 i) -> u32 {
      return key_of(i < width ? best[0] : i < 2 * width ? best[1] : i < 3 * width ? best[2] : best[3]);
    };
    floor = radix_cut(greatest, 4 * width, k, radix, 16).key;
  }
  // Not a number: everything passes. Bounds near the largest numbers may have overflowed.
  float least = of_key(floor);
  if (!(least > -1e38f)) least = __uint_as_float(0x7fc00000u);
  if (threadIdx.x == 0) list->count = 0;
  __syncthreads();
  u32 stride = 4 * width;
  for (u32 base = 4 * threadIdx.x; base < n; base += AHEAD * stride) {
    typename Row::Quad quads[AHEAD];
#pragma unroll
    for (u32 j = 0; j < AHEAD; ++j)
      if (base + j * stride < n) quads[j] = of.template load<whole>(base + j * stride, n);
#pragma unroll
    for (u32 j = 0; j < AHEAD; ++j) {
      u32 i = base + j * stride;
      if (i >= n) break;
      bool passes[4];
#pragma unroll
      for (u32 c = 0; c < 4; ++c) passes[c] = !(of.upper(quads[j], c) < least);
      if (passes[0] || passes[1] || passes[2] || passes[3]) {
#pragma unroll
        for (u32 c = 0; c < 4; ++c) {
          if (!passes[c] || (!whole && i + c >= n) || (of.picks && !of.counts(i + c))) continue;
          u32 place = atomicAdd(&list->count, 1u);
          if (place < LIST) {
            list->keys[place] = of.key(quads[j], c);
            list->entries[place] = i + c;
          }
        }
      }
    }
  }
  __syncthreads();
  return list->count;
}

// Goes through those of m listed entries below n for which `among(j)` holds, by increasing entry, and calls `take(entry, place)` with consecutive
// places from 0. Returns how many there were, in every thread. `space` holds WARPS words.
template <class Among, class Take>
__device__ u32 in_order(Among among, u32 m, u32 n, Take take, ShortList* list, u32* space) {
  u32 taken = 0;
  for (u32 base = 0; base < n; base += 32 * LIST) {
    u32 words = (min(n - base, 32 * LIST) + 31) / 32;
    for (u32 w = threadIdx.x; w < words; w += blockDim.x) list->bits[w] = 0;
    __syncthreads();
    for (u32 j = threadIdx.x; j < m; j += blockDim.x) {
      u32 at = list->entries[j] - base;
      if (at < 32 * LIST && among(j)) atomicOr(&list->bits[at / 32], 1u << (at % 32));
    }
    __syncthreads();
    u32 each = (words + blockDim.x - 1) / blockDim.x;
    u32 from = min(threadIdx.x * each, words), to = min(from + each, words), mine = 0, all;
    for (u32 w = from; w < to; ++w) mine += __popc(list->bits[w]);
    u32 place = taken + block_scan(mine, space, &all);
    for (u32 w = from; w < to; ++w)
      for (u32 bits = list->bits[w]; bits != 0; bits &= bits - 1) take(base + 32 * w + __ffs((int)bits) - 1, place++);
    taken += all;
    __syncthreads();
  }
  return taken;
}

// The nearest bf16, ties to even.
__device__ __forceinline__ unsigned short nearest_bf16(float x) {
  u32 bits = __float_as_uint(x);
  return (bits & 0x7fffffffu) > 0x7f800000u ? 0x7fc0u : (unsigned short)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

// Numbers of a packed row: in bf16, by stripes, the last of which is filled up with zeros. In a stripe the numbers of a lane stand side by side, so that it
// reads them at once: 8 bytes, whatever n is. They are the numbers that it takes of a row in f32, so that sums have the same order.
__device__ __forceinline__ u32 packed(u32 n) { return (n + STRIPE - 1) / STRIPE * STRIPE; }

// Packs a row, by a block.
__device__ __forceinline__ void pack_row(const float* row, unsigned short* __restrict__ out, u32 n) {
  static_assert(NUMBERS == 4, "two words have the numbers of a lane");
  for (u32 j = threadIdx.x; j < packed(n) / NUMBERS; j += blockDim.x) {
    u32 k = j / 32 * STRIPE + j % 32, words[NUMBERS];
#pragma unroll
    for (u32 q = 0; q < NUMBERS; ++q) words[q] = k + 32 * q < n ? nearest_bf16(row[k + 32 * q]) : 0;
    *reinterpret_cast<uint2*>(out + NUMBERS * j) = make_uint2(words[0] | words[1] << 16, words[2] | words[3] << 16);
  }
}

// How the rows of a matrix that are gathered lie in memory, one behind the other: in f32 as they are, in bf16 packed.
template <class T>
struct Gathered;

template <>
struct Gathered<float> {
  // Bytes of a row.
  static __device__ __forceinline__ u32 bytes(u32 n) { return 4 * n; }
  // What this lane takes of a stripe of the first row.
  static __device__ __forceinline__ const char* begin(const float* matrix, u32 stripe) {
    return reinterpret_cast<const char*>(matrix + stripe * STRIPE + lane_of());
  }
  // Reads that of the row which begins so many bytes later, its numbers k, k + 32 and so on; zeros behind the last one.
  static __device__ __forceinline__ void read(const char* row, u32 k, u32 n, float out[NUMBERS]) {
    const float* from = reinterpret_cast<const float*>(row);
#pragma unroll
    for (u32 q = 0; q < NUMBERS; ++q) out[q] = k + 32 * q < n ? from[32 * q] : 0.0f;
  }
};

template <>
struct Gathered<unsigned short> {
  static __device__ __forceinline__ u32 bytes(u32 n) { return 2 * packed(n); }
  static __device__ __forceinline__ const char* begin(const unsigned short* matrix, u32 stripe) {
    return reinterpret_cast<const char*>(matrix + stripe * STRIPE + NUMBERS * lane_of());
  }
  static __device__ __forceinline__ void read(const char* row, u32, u32, float out[NUMBERS]) {
    uint2 words = *reinterpret_cast<const uint2*>(row);
    out[0] = __uint_as_float(words.x << 16);
    out[1] = __uint_as_float(words.x & 0xffff0000u);
    out[2] = __uint_as_float(words.y << 16);
    out[3] = __uint_as_float(words.y & 0xffff0000u);
  }
};

// Goes through m entries by increasing index and calls `take(i, place)` for those before the cut that are above `least`, with consecutive
// places from 0. Returns how many there were, in every thread. `space` holds 2·WARPS words.
template <class Key, class Take>
__device__ u32 take_until(Cut cut, u32 least, Key of, u32 m, Take take, u32* space) {
  u32 ties = 0, taken = 0;
  for (u32 base = 0; base < m; base += blockDim.x) {
    u32 i = base + threadIdx.x;
    u32 key = i < m ? of(i) : 0;
    bool tie = i < m && key == cut.key;
    u32 all;
    u32 before = ties + block_rank(tie, space, &all);
    ties += all;
    bool chosen = i < m && key > least && (key > cut.key || (tie && before < cut.ties));
    u32 place = taken + block_rank(chosen, space + WARPS, &all);
    taken += all;
    if (chosen) take(i, place);
  }
  return taken;
}
