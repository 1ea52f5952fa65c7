// Which latents are selected: the first k of a row, the first k·B of a batch, those above a threshold. Decisions look at f32 bits only, in
// the order that the reference defines: larger first, NaN after all numbers, the lower row and then the lower latent first among equals.
//
// Codes of a row b stand at start(b) = b·stride .. start(b) + counts[b], by increasing latent.
#include "common.cuh"

namespace {

// Latents that a top-k may take: all, or those that were idle for at least `dead_after` samples.
struct Picks {
  const u64* idle;
  u64 dead_after;
  bool picks;

  __device__ __forceinline__ bool counts(u32 i) const { return idle[i] >= dead_after; }
};

// Pre-activations of a row as they are.
struct Plain : Picks {
  const float* s;
  const float* bias;

  typedef float4 Quad;
  template <bool whole>
  __device__ __forceinline__ Quad load(u32 i, u32 n) const {
    float4 a = quad<whole>(s, i, n), b = quad<whole>(bias, i, n);
    return make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w);
  }
  __device__ __forceinline__ float lower(const Quad& pi, u32 c) const { return part_of(pi, c); }
  __device__ __forceinline__ float upper(const Quad& pi, u32 c) const { return part_of(pi, c); }
  __device__ __forceinline__ u32 key(const Quad& pi, u32 c) const { return key_of(part_of(pi, c)); }
};

}  // namespace

// The first k of every row that is marked (of all rows without marks): TopK, Top-k∘ReLU (`positive`), and the dead latents of AuxK
// (`idle`: only latents that were idle for at least `dead_after` samples, and positive). By a list in shared memory; a row with too many equal
// pre-activations, or a k above a thousand, by a search of the whole row for the key of the cut.
// Grid: one block a row. Traffic: 4 n_q bytes, and once more from L2 where a row has at most 65,536 latents, else a quarter to a half of it; as much
// of the bias from L2. Without a list five times 4 n_q bytes. Floor: 4 n_q bytes a row.
KERNEL(first_of_row)
(const float* __restrict__ s, const float* __restrict__ bias, const u64* __restrict__ idle, u32 has_idle, u64 dead_after,
 const u32* __restrict__ marks, u32 has_marks, u32 k, u32 positive, u32 stride, u32* __restrict__ counts, u32* __restrict__ latents,
 float* __restrict__ values, u32 n_q) {
  __shared__ RadixSpace radix;
  __shared__ ShortList list;
  __shared__ u32 space[2 * WARPS];
  u32 row = blockIdx.x;
  if (has_marks && marks[row] == 0) return;
  const float* scores = s + (u64)row * n_q;
  u64 start = (u64)row * stride;
  auto take = [&](u32 i, u32 place) {
    latents[start + place] = i;
    values[start + place] = scores[i] + bias[i];
  };
  Plain plain = {{idle, dead_after, has_idle != 0}, scores, bias};
  u32 taken, m = n_q % 4 == 0 ? short_list<true>(plain, n_q, k, &list, &radix) : short_list<false>(plain, n_q, k, &list, &radix);
  // Keys start at 0, that of NaN: without `positive`, all of the first k are taken.
  if (m <= LIST) {
    Cut cut = radix_cut([&](u32 j) -> u32 { return list.keys[j]; }, m, k, &radix);
    // Of equal ones the first are taken: `last` is the last of them.
    u32 ties = 0, all;
    for (u32 j = threadIdx.x; j < m; j += blockDim.x) ties += list.keys[j] == cut.key;
    block_scan(ties, space, &all);
    if (threadIdx.x == 0) list.last = 0xffffffffu;
    if (all > cut.ties) {
      auto last = [&](u32 i, u32 place) {
        if (place + 1 == cut.ties) list.last = i;
      };
      in_order([&](u32 j) -> bool { return list.keys[j] == cut.key; }, m, n_q, last, &list, space);
    }
    __syncthreads();
    auto among = [&](u32 j) -> bool {
      u32 key = list.keys[j];
      return (key > cut.key || (key == cut.key && cut.ties != 0 && list.entries[j] <= list.last)) && (!positive || key > KEY_OF_ZERO);
    };
    taken = in_order(among, m, n_q, take, &list, space);
  } else {
    auto of = [&](u32 i) -> u32 {
      if (has_idle && idle[i] < dead_after) return 0;
      return key_of(scores[i] + bias[i]);
    };
    Cut cut = radix_cut(of, n_q, k, &radix);
    if (positive) {
      taken = take_until(cut, KEY_OF_ZERO, of, n_q, take, space);
    } else {
      // A cut at 0 takes NaN as ties.
      auto shifted = [&](u32 i) -> u32 { return max(of(i), 1u); };
      taken = take_until({max(cut.key, 1u), cut.ties}, 0, shifted, n_q, take, space);
    }
  }
  if (threadIdx.x == 0) counts[row] = taken;
}
REGISTER(first_of_row)

// The rows that are marked, in order, behind their number.
// Grid: one block. Traffic: 4 bytes a row and 4 bytes a marked one. Floor: a launch.
KERNEL(list_marked)(const u32* __restrict__ marks, u32* __restrict__ list, u32 rows) {
  __shared__ u32 space[WARPS];
  u32 taken = 0;
  for (u32 base = 0; base < rows; base += blockDim.x) {
    u32 row = base + threadIdx.x, all;
    bool marked = row < rows && marks[row] != 0;
    u32 place = taken + block_rank(marked, space, &all);
    if (marked) list[1 + place] = row;
    taken += all;
  }
  if (threadIdx.x == 0) list[0] = taken;
}
REGISTER(list_marked)

namespace {

// Bounds of the scores of a row from approximate ones.
struct Screened : Picks {
  const float* s;
  const float* bias;
  const float* norms;
  float x_norm, product, sum, least, share;

  struct Quad {
    float4 s, bias, norms;
  };
  template <bool whole>
  __device__ __forceinline__ Quad load(u32 i, u32 n) const {
    return {quad<whole>(s, i, n), quad<whole>(bias, i, n), quad<whole>(norms, i, n)};
  }
  __device__ __forceinline__ float error(const Quad& of, u32 c) const {
    float norm = part_of(of.norms, c), all = fmaf(product * x_norm, norm, fmaf(sum, x_norm + norm, least));
    return fmaf(share, fabsf(part_of(of.s, c)) + fabsf(part_of(of.bias, c)), all);
  }
  // A latent without a bound may have any score, NaN too.
  __device__ __forceinline__ float lower(const Quad& of, u32 c) const {
    float below = part_of(of.s, c) + part_of(of.bias, c) - error(of, c);
    return is_finite(below) ? below : __uint_as_float(0x7fc00000u);
  }
  __device__ __forceinline__ float upper(const Quad& of, u32 c) const { return part_of(of.s, c) + part_of(of.bias, c) + error(of, c); }
  __device__ __forceinline__ u32 key(const Quad& of, u32 c) const { return key_of(lower(of, c)); }
};

}  // namespace

// Candidates of the first k of every row: with approximate scores s~ of error at most err_i, the latents whose upper bound is not below the
// k-th largest lower bound. A row with more than `most` of them, or with a norm that is not finite, is marked, to be scored in full.
//   err_i = product ‖x'‖ ‖w_i‖ + sum (‖x'‖ + ‖w_i‖) + least + share (|s~| + |b_i|)
// A latent whose norm is not finite is always a candidate. `only` (of has_only) and `positive` restrict to dead latents and positive ones. By a
// list in shared memory, like `first_of_row`; a row whose list is too long by a search of the whole row for the lower bound.
// Grid: one block a row. Traffic: 4 n_q bytes, and once more from L2 where a row has at most 65,536 latents, else a quarter to a half of it; twice as
// much of bias and norms from L2. Without a list five times 4 n_q bytes. Floor: 4 n_q bytes a row.
KERNEL(candidates)
(const float* __restrict__ s, const float* __restrict__ bias, const float* __restrict__ x_norms, const float* __restrict__ w_norms,
 float product, float sum, float least, float share, const u64* __restrict__ idle, u32 has_idle, u64 dead_after, u32 k, u32 positive,
 u32 most, u32* __restrict__ counts, u32* __restrict__ latents, u32* __restrict__ marks, u32 n_q) {
  __shared__ RadixSpace radix;
  __shared__ ShortList list;
  __shared__ u32 space[2 * WARPS];
  u32 row = blockIdx.x;
  const float* scores = s + (u64)row * n_q;
  float x_norm = x_norms[row];
  if (!is_finite(x_norm)) {
    if (threadIdx.x == 0) {
      counts[row] = 0;
      marks[row] = 1;
    }
    return;
  }
  u64 start = (u64)row * most;
  auto take = [&](u32 i, u32 place) {
    if (place < most) latents[start + place] = i;
  };
  Screened screened = {{idle, dead_after, has_idle != 0}, scores, bias, w_norms, x_norm, product, sum, least, share};
  // 1: below the floor. 2: a candidate.
  auto against = [&](u32 i, u32 floor) -> u32 {
    if (screened.picks && !screened.counts(i)) return 1;
    Screened::Quad of = {make_float4(scores[i], 0.0f, 0.0f, 0.0f), make_float4(bias[i], 0.0f, 0.0f, 0.0f),
                         make_float4(w_norms[i], 0.0f, 0.0f, 0.0f)};
    float above = screened.upper(of, 0);
    if (!is_finite(above)) return 2;
    u32 key = key_of(above);
    return key >= floor && (!positive || key > KEY_OF_ZERO) ? 2 : 1;
  };
  u32 taken, m = n_q % 4 == 0 ? short_list<true>(screened, n_q, k, &list, &radix) : short_list<false>(screened, n_q, k, &list, &radix);
  if (m <= LIST) {
    Cut cut = radix_cut([&](u32 j) -> u32 { return list.keys[j]; }, m, k, &radix);
    auto among = [&](u32 j) -> bool { return against(list.entries[j], cut.key) == 2; };
    taken = in_order(among, m, n_q, take, &list, space);
  } else {
    auto lower = [&](u32 i) -> u32 {
      if (screened.picks && !screened.counts(i)) return 0;
      Screened::Quad of = {make_float4(scores[i], 0.0f, 0.0f, 0.0f), make_float4(bias[i], 0.0f, 0.0f, 0.0f),
                           make_float4(w_norms[i], 0.0f, 0.0f, 0.0f)};
      return screened.key(of, 0);
    };
    Cut cut = radix_cut(lower, n_q, k, &radix);
    taken = take_until({1, 0}, 1, [&](u32 i) -> u32 { return against(i, cut.key); }, n_q, take, space);
  }
  if (threadIdx.x == 0) {
    counts[row] = taken <= most ? taken : 0;
    marks[row] = taken > most;
  }
}
REGISTER(candidates)

// The scores of candidates, with the bits of the score, and π. With `halves` they are the scores of the rows in `half`, W_E in bf16.
// Grid: one block a row, one warp a candidate at a time. Traffic: 4 n_p bytes a candidate, with `halves` 2 n_p, mostly from L2. Floor: the same.
KERNEL(score_candidates)
(const float* __restrict__ x, const float* __restrict__ w, const unsigned short* __restrict__ half, u32 halves, const float* __restrict__ bias,
 const u32* __restrict__ counts, const u32* __restrict__ latents, float* __restrict__ pi, u32 most, u32 n_p) {
  u32 row = blockIdx.x;
  u64 start = (u64)row * most;
  for (u32 c = warp_of(); c < counts[row]; c += warps_of()) {
    u32 i = latents[start + c];
    const float* inputs = x + (u64)row * n_p;
    float s = halves ? score(half + (u64)i * n_p, inputs, n_p) : score(w + (u64)i * n_p, inputs, n_p);
    if (lane_of() == 0) pi[start + c] = s + bias[i];
  }
}
REGISTER(score_candidates)

// The first k among the candidates of every row that is not marked.
// Grid: one block a row. Traffic: 8 bytes a candidate, and as often again from L1. Floor: the same.
KERNEL(first_of_candidates)
(const u32* __restrict__ found, const u32* __restrict__ which, const float* __restrict__ pi, const u32* __restrict__ marks, u32 most, u32 k,
 u32 positive, u32 stride, u32* __restrict__ counts, u32* __restrict__ latents, float* __restrict__ values) {
  __shared__ RadixSpace radix;
  __shared__ u32 space[2 * WARPS];
  u32 row = blockIdx.x;
  if (marks[row] != 0) return;
  u64 from = (u64)row * most, start = (u64)row * stride;
  u32 m = found[row];
  auto of = [&](u32 j) -> u32 { return max(key_of(pi[from + j]), 1u); };
  Cut cut = radix_cut(of, m, k, &radix);
  auto take = [&](u32 j, u32 place) {
    latents[start + place] = which[from + j];
    values[start + place] = pi[from + j];
  };
  u32 taken = take_until(cut, positive ? KEY_OF_ZERO : 0, of, m, take, space);
  if (threadIdx.x == 0) counts[row] = taken;
}
REGISTER(first_of_candidates)

// Latents above their threshold: π > θ_i, where θ is one number a latent or (`is_common`) one for all. With `gated` the value is
// max(0, fma(ρ, s, m)), and π and s are kept in `second` and `third`. With `band` > 0, latents within it of their threshold instead, with
// value π if selected, else 0.
// Grid: one block a row. Traffic: 4 n_q bytes and 8 bytes a selected latent. Floor: the same.
KERNEL(above)
(const float* __restrict__ s, const float* __restrict__ bias, const float* __restrict__ theta, u32 is_common, float band, u32 gated,
 const float* __restrict__ rho, const float* __restrict__ shift, u32 stride, u32* __restrict__ counts, u32* __restrict__ latents,
 float* __restrict__ values, float* __restrict__ second, float* __restrict__ third, u32 n_q) {
  __shared__ u32 space[2 * WARPS];
  u32 row = blockIdx.x;
  const float* scores = s + (u64)row * n_q;
  u64 start = (u64)row * stride;
  auto of = [&](u32 i) -> u32 {
    float pi = scores[i] + bias[i], limit = theta[is_common ? 0 : i];
    return (band > 0.0f ? fabsf(pi - limit) < band : pi > limit) ? 2 : 1;
  };
  auto take = [&](u32 i, u32 place) {
    float pi = scores[i] + bias[i];
    latents[start + place] = i;
    if (gated) {
      values[start + place] = fmaxf(fmaf(rho[i], scores[i], shift[i]), 0.0f);
      second[start + place] = pi;
      third[start + place] = scores[i];
    } else {
      values[start + place] = band > 0.0f && !(pi > theta[is_common ? 0 : i]) ? 0.0f : pi;
    }
  };
  u32 taken = take_until({1, 0}, 1, of, n_q, take, space);
  if (threadIdx.x == 0) counts[row] = taken;
}
REGISTER(above)

// The search for the cut behind the first k·B of a batch: `state` holds the prefix of its key, how many are left, and a histogram of 256.
// Its beginning, with so many `wanted`. Grid: one block. Traffic: 1 KB. Floor: a launch.
KERNEL(batch_begin)(u32* __restrict__ state, u32 wanted) {
  for (u32 d = threadIdx.x; d < 256; d += blockDim.x) state[2 + d] = 0;
  if (threadIdx.x == 0) {
    state[0] = 0;
    state[1] = wanted;
  }
}
REGISTER(batch_begin)

// One pass of 8 bits. Grid: any number of blocks. Traffic: 4 B n_q bytes. Floor: the same; four passes are needed.
KERNEL(batch_histogram)
(const float* __restrict__ s, const float* __restrict__ bias, u32* __restrict__ state, u32 shift, u64 count, u32 n_q) {
  __shared__ u32 histogram[256];
  for (u32 d = threadIdx.x; d < 256; d += blockDim.x) histogram[d] = 0;
  __syncthreads();
  u32 prefix = state[0];
  u64 stride = (u64)gridDim.x * blockDim.x;
  for (u64 j = (u64)blockIdx.x * blockDim.x + threadIdx.x; j < count; j += stride) {
    u32 key = key_of(s[j] + bias[j % n_q]);
    if (shift == 24 || (key >> (shift + 8)) == (prefix >> (shift + 8))) atomicAdd(&histogram[(key >> shift) & 255u], 1u);
  }
  __syncthreads();
  for (u32 d = threadIdx.x; d < 256; d += blockDim.x)
    if (histogram[d] != 0) atomicAdd(&state[2 + d], histogram[d]);
}
REGISTER(batch_histogram)

// Takes the next digit of the cut from the histogram, and clears it. Grid: one block. Traffic: 1 KB. Floor: a launch.
KERNEL(batch_digit)(u32* __restrict__ state, u32 shift) {
  __shared__ u32 found[2];
  if (warp_of() == 0) find_digit(state + 2, state[1], &found[0], &found[1]);
  __syncthreads();
  for (u32 d = threadIdx.x; d < 256; d += blockDim.x) state[2 + d] = 0;
  if (threadIdx.x == 0) {
    state[0] |= found[0] << shift;
    state[1] = found[1];
  }
}
REGISTER(batch_digit)

// How many entries of each row have the key of the cut. Grid: one block a row. Traffic: 4 n_q bytes a row. Floor: the same.
KERNEL(batch_ties)
(const float* __restrict__ s, const float* __restrict__ bias, const u32* __restrict__ state, u32* __restrict__ ties, u32 n_q) {
  __shared__ u32 space[WARPS];
  u32 row = blockIdx.x, mine = 0;
  for (u32 i = threadIdx.x; i < n_q; i += blockDim.x) mine += key_of(s[(u64)row * n_q + i] + bias[i]) == state[0];
  u32 all;
  block_scan(mine, space, &all);
  if (threadIdx.x == 0) ties[row] = all;
}
REGISTER(batch_ties)

// The positive entries of each row before the cut; `ties_before` is the number of ties in the rows before. The least value kept goes into
// `least`, as a key. Grid: one block a row. Traffic: 4 n_q bytes and 8 bytes an entry that is kept. Floor: the same.
KERNEL(batch_take)
(const float* __restrict__ s, const float* __restrict__ bias, const u32* __restrict__ state, const u32* __restrict__ ties_before, u32 stride,
 u32* __restrict__ counts, u32* __restrict__ latents, float* __restrict__ values, u32* __restrict__ least, u32 n_q) {
  __shared__ u32 space[2 * WARPS];
  u32 row = blockIdx.x, before = ties_before[row];
  const float* scores = s + (u64)row * n_q;
  u64 start = (u64)row * stride;
  Cut cut = {state[0], state[1] > before ? state[1] - before : 0};
  auto of = [&](u32 i) -> u32 { return key_of(scores[i] + bias[i]); };
  auto take = [&](u32 i, u32 place) {
    latents[start + place] = i;
    values[start + place] = scores[i] + bias[i];
    atomicMin(least, of(i));
  };
  u32 taken = take_until(cut, KEY_OF_ZERO, of, n_q, take, space);
  if (threadIdx.x == 0) counts[row] = taken;
}
REGISTER(batch_take)
