// Gradients. The rows of W_E and W_D that belong to a latent are summed over the latent's codes by increasing row: first within pieces of PIECE
// codes, each from 0 on and by one block, then over the pieces by increasing piece. A sum has this one order whichever blocks take the pieces and
// wherever their sums are kept, and no atomic operation on floating-point numbers is needed.
#include "common.cuh"

// Codes of a piece.
#define PIECE 128
// An entry of `cut` that no list has taken.
#define NOBODY 0xffffffffu

// What a step does with the lists of codes, counted: pieces that were asked for, lists that are cut, lists that are not, and pieces and lists that
// blocks have taken.
#define ASKED 0
#define CUT 1
#define WHOLE 2
#define TAKEN 3

// Distributes the lists that are not empty: one of more than PIECE codes is cut if `slots` has room for its pieces, else it goes to `whole`. An
// entry is twice the latent, and 1 more if its gradient is added to one that is there (`adds`, and the latent is live). Slot s holds in cut[2s] an
// entry and in cut[2s + 1] the number of a piece; joins[2j] is an entry and joins[2j + 1] its first slot. Where lists stand depends on the order of
// threads; what their sums are does not. All latents with codes become live. `tally` is 0 before.
// Grid: one thread a latent. Traffic: 8 bytes a latent read, 8 written for one with codes; 8 a piece. Floor: the same.
KERNEL(cut_lists)
(const u32* __restrict__ starts, u32 adds, u32* __restrict__ live, u32 slots, u32* __restrict__ tally, u32* __restrict__ whole,
 u32* __restrict__ cut, u32* __restrict__ joins, u32 n_q) {
  __shared__ u32 space[WARPS], base;
  u32 i = blockIdx.x * blockDim.x + threadIdx.x, count = i < n_q ? starts[i + 1] - starts[i] : 0, entry = 2 * i;
  bool is_whole = count > 0;
  if (count > 0) {
    if (adds && live[i] != 0) ++entry;
    live[i] = 1;
  }
  if (count > PIECE && slots > 0) {
    u32 pieces = (count + PIECE - 1) / PIECE, at = atomicAdd(&tally[ASKED], pieces);
    if (at + pieces <= slots) {
      is_whole = false;
      u32 j = atomicAdd(&tally[CUT], 1u);
      joins[2 * j] = entry;
      joins[2 * j + 1] = at;
      for (u32 piece = 0; piece < pieces; ++piece) {
        cut[2 * (at + piece)] = entry;
        cut[2 * (at + piece) + 1] = piece;
      }
    } else {
      for (u32 s = at; s < slots; ++s) cut[2 * s] = NOBODY;
    }
  }
  u32 all, before = block_rank(is_whole, space, &all);
  if (threadIdx.x == 0) base = atomicAdd(&tally[WHOLE], all);
  __syncthreads();
  if (is_whole) whole[base + before] = entry;
}
REGISTER(cut_lists)

// From one number for each of ABREAST codes in every lane: the sums over the warp, that of code c in the lanes 8c .. 8c + 7, in a fixed tree. Lanes that are 16
// apart share the codes among themselves, then lanes that are 8 apart.
__device__ __forceinline__ float share_sums(const float x[ABREAST]) {
  static_assert(ABREAST == 4, "two bits of a lane choose its code");
  bool upper = lane_of() & 16, odd = lane_of() & 8;
  float even_sum = (upper ? x[2] : x[0]) + __shfl_xor_sync(ALL_LANES, upper ? x[0] : x[2], 16);
  float odd_sum = (upper ? x[3] : x[1]) + __shfl_xor_sync(ALL_LANES, upper ? x[1] : x[3], 16);
  float sum = (odd ? odd_sum : even_sum) + __shfl_xor_sync(ALL_LANES, odd ? even_sum : odd_sum, 8);
  for (u32 width = 4; width > 0; width /= 2) sum += __shfl_xor_sync(ALL_LANES, sum, width);
  return sum;
}

// Reads the rows `which` of a matrix once. With DOTS leaves ⟨column, row⟩ over the numbers that this warp takes in `dots`, of this warp; with SUMS
// writes Σ factor·row, by increasing code, to `out`, or adds it there unless it `begins`. A warp takes every warps_of()-th stripe of a row.
template <bool DOTS, bool SUMS, class T>
__device__ __forceinline__ void gather_rows(const T* __restrict__ matrix, const u32* which, u32 count, u32 n, const float* __restrict__ column,
                                            float* dots, const float* factors, bool begins, float* __restrict__ out) {
  // A product of two words and a sum of two double words are one instruction.
  u32 bytes = Gathered<T>::bytes(n);
#pragma unroll 1
  for (u32 stripe = warp_of(); stripe * STRIPE < n; stripe += warps_of()) {
    u32 k = stripe * STRIPE + lane_of();
    const char* begin = Gathered<T>::begin(matrix, stripe);
    float along[NUMBERS], sum[NUMBERS];
#pragma unroll
    for (u32 q = 0; q < NUMBERS; ++q) {
      along[q] = DOTS && k + 32 * q < n ? column[k + 32 * q] : 0.0f;
      sum[q] = 0.0f;
    }
#pragma unroll 1
    for (u32 c = 0; c < count; c += ABREAST) {
      float read[ABREAST][NUMBERS];
#pragma unroll
      for (u32 a = 0; a < ABREAST; ++a) {
        // Behind the last code the last one again, from L1, and left out below.
        Gathered<T>::read(begin + (u64)which[min(c + a, count - 1)] * bytes, k, n, read[a]);
      }
      if (DOTS) {
        float part[ABREAST];
#pragma unroll
        for (u32 a = 0; a < ABREAST; ++a) {
          part[a] = 0.0f;
#pragma unroll
          for (u32 q = 0; q < NUMBERS; ++q) part[a] = fmaf(along[q], read[a][q], part[a]);
        }
        float dot = share_sums(part);
        u32 code = c + lane_of() / 8;
        if (lane_of() % 8 == 0 && code < count) dots[code] = stripe == warp_of() ? dot : dots[code] + dot;
      }
      if (SUMS) {
#pragma unroll
        for (u32 a = 0; a < ABREAST; ++a) {
          if (c + a >= count) break;
          float factor = factors[c + a];
#pragma unroll
          for (u32 q = 0; q < NUMBERS; ++q) sum[q] = fmaf(factor, read[a][q], sum[q]);
        }
      }
    }
    if (SUMS) {
#pragma unroll
      for (u32 q = 0; q < NUMBERS; ++q)
        if (k + 32 * q < n) out[k + 32 * q] = begins ? sum[q] : out[k + 32 * q] + sum[q];
    }
  }
}

// The same of the rows in f32, or with `halves` of those that are packed.
template <bool DOTS, bool SUMS>
__device__ __forceinline__ void gather(const float* __restrict__ matrix, const unsigned short* __restrict__ in_halves, u32 halves, const u32* which,
                                       u32 count, u32 n, const float* __restrict__ column, float* dots, const float* factors, bool begins,
                                       float* __restrict__ out) {
  if (halves) gather_rows<DOTS, SUMS>(in_halves, which, count, n, column, dots, factors, begins, out);
  else gather_rows<DOTS, SUMS>(matrix, which, count, n, column, dots, factors, begins, out);
}

// What a block takes at a time: codes `first` .. `end` of a latent, which are a piece with a slot of its own, or the whole list.
struct List {
  u32 latent, first, end, is_piece, begins;
  u64 slot;
};

// Item `item`: pieces first, then whole lists. The latent is NOBODY behind the last one. A slot that no list has taken is a piece without codes.
__device__ __forceinline__ List list_of(u32 item, u32 slots, const u32* tally, const u32* __restrict__ whole, const u32* __restrict__ cut,
                                        const u32* __restrict__ starts) {
  u32 pieces = min(tally[ASKED], slots);
  bool is_piece = item < pieces;
  if (!is_piece && item - pieces >= tally[WHOLE]) return {NOBODY, 0, 0, 0, 0, 0};
  u32 entry = is_piece ? cut[2 * item] : whole[item - pieces];
  if (entry == NOBODY) return {0, 0, 0, 1, 1, item};
  u32 latent = entry / 2, first = starts[latent], end = starts[latent + 1];
  if (!is_piece) return {latent, first, end, 0, entry % 2 == 0, 0};
  first += cut[2 * item + 1] * PIECE;
  return {latent, first, min(end, first + PIECE), 1, 1, item};
}

// The sum of the warps' shares of a dot product, by increasing warp. Warps without a stripe have left nothing.
__device__ __forceinline__ float sum_of(const float (*dots)[PIECE], u32 c, u32 n) {
  float sum = 0.0f;
  u32 takers = min(warps_of(), (n + STRIPE - 1) / STRIPE);
  for (u32 w = 0; w < takers; ++w) sum += dots[w][c];
  return sum;
}

// For every latent with codes, with u_b the derivative of the loss by Σ z_i v_i at the code's level and x'_b the input:
//   d_b = ⟨v_i, u_b⟩ + w_b λ₁ c_i sign z_b,   ∂V_i = Σ z_b u_b (+ Σ w_b λ₁ |z_b| v_i/‖v_i‖),   ∂W_i = Σ d_b x'_b,   ∂b_E = Σ d_b
// With gates (π and s of each code in `second`, `third`; g_b the derivative of the gates' reconstruction), ρ the scale:
//   a_b = [z_b ≠ 0] ⟨v_i, u_b⟩,   h_b = ⟨v_i, g_b⟩ + w_b λ₁ c_i,   ∂W_i = Σ (h_b + a_b ρ) x'_b,   ∂b_E = Σ h_b,   ∂r = Σ a_b ρ s_b,   ∂m = Σ a_b
// `sums` receives Σ of the factors of x'_b. Blocks take pieces and whole lists of `cut_lists` one after the other, pieces first. The sums of a piece go
// to its slot of `scratch`, ∂V_i and then ∂W_i, and of `totals`; those of a whole list to the gradients. With `halves` rows of x', u and g are gathered
// from `packed_x`, `packed_upstream` and `packed_gates`; v_i, all sums and what they are written to are in f32 nevertheless.
// Grid: any number of blocks; as many as the device holds at once are enough. Traffic: a code gathers 4 (n_p + n_r) bytes, with gates 4 n_r more, with
// `halves` half as many, through L2, from DRAM where the batch does not fit; a list reads 4 n_r and writes 4 (n_p + n_r), a piece the same; 40 bytes a
// code in lists and scalars, through L2. Floor: the gathers, by what L2 gives. Operations: 2 (n_p + 2 n_r) a code; 220 instructions of a warp for 512
// numbers of u and as many of x', with `halves` 206.
KERNEL(backward)
(const u32* __restrict__ starts, const u32* __restrict__ rows, const u64* __restrict__ places, const float* __restrict__ values,
 const u32* __restrict__ levels, const float* __restrict__ second, const float* __restrict__ third, const float* __restrict__ x,
 const float* __restrict__ upstream, u32 parts, const float* __restrict__ gates, u32 gated, const unsigned short* __restrict__ packed_x,
 const unsigned short* __restrict__ packed_upstream, const unsigned short* __restrict__ packed_gates, u32 halves, const float* __restrict__ v,
 const float* __restrict__ rho, const float* __restrict__ column_norms, u32 has_norms, const float* __restrict__ weights, float l1, u32 slots,
 u32* __restrict__ tally, const u32* __restrict__ whole, const u32* __restrict__ cut, float* __restrict__ scratch, float* __restrict__ totals,
 float* __restrict__ g_w, float* __restrict__ g_v, float* __restrict__ g_bias, float* __restrict__ sums, float* __restrict__ g_scale,
 float* __restrict__ g_shift, u32 n_p, u32 n_r) {
  __shared__ float dots[WARPS][PIECE];
  __shared__ float by_score[PIECE], by_bias[PIECE], by_scale[PIECE], by_shift[PIECE], along[PIECE], price[PIECE], z[PIECE];
  __shared__ u32 row_of[PIECE], upstream_of[PIECE];
  __shared__ float total[5];
  // Here rather than in registers, of which rows that are read at once need many.
  __shared__ List list;
  u32 next = 0;
  if (threadIdx.x == 0) next = atomicAdd(&tally[TAKEN], 1u);
  for (;;) {
    // What the list before has left in shared memory has been read.
    __syncthreads();
    if (threadIdx.x == 0) {
      list = list_of(next, slots, tally, whole, cut, starts);
      // The answer is waited for when this list is done.
      next = atomicAdd(&tally[TAKEN], 1u);
    }
    if (threadIdx.x < 5) total[threadIdx.x] = 0.0f;
    __syncthreads();
    if (list.latent == NOBODY) return;
    for (u32 base = list.first; base < list.end; base += PIECE) {
      u32 count = min(list.end - base, (u32)PIECE);
      bool begins = list.begins && base == list.first;
      const float* column = v + (u64)list.latent * n_r;
      {
        float norm = has_norms ? column_norms[list.latent] : 1.0f;
        for (u32 c = threadIdx.x; c < count; c += blockDim.x) {
          u32 row = rows[base + c];
          u64 place = places[base + c];
          float value = values[place];
          row_of[c] = row;
          upstream_of[c] = parts > 1 ? row * parts + levels[place] : row;
          z[c] = value;
          price[c] = weights[row] * l1;
          along[c] = has_norms && norm > 0.0f ? price[c] * (gated ? second[place] : fabsf(value)) / norm : 0.0f;
        }
      }
      __syncthreads();
      if (gated) {
        gather<true, false>(gates, packed_gates, halves, row_of, count, n_r, column, dots[warp_of()], nullptr, false, nullptr);
        __syncthreads();
        float norm = has_norms ? column_norms[list.latent] : 1.0f;
        for (u32 c = threadIdx.x; c < count; c += blockDim.x) by_bias[c] = fmaf(price[c], norm, sum_of(dots, c, n_r));
        __syncthreads();
      }
      gather<true, true>(upstream, packed_upstream, halves, upstream_of, count, n_r, column, dots[warp_of()], z, begins,
                         list.is_piece ? scratch + list.slot * (n_r + n_p) : g_v + (u64)list.latent * n_r);
      __syncthreads();
      {
        float norm = has_norms ? column_norms[list.latent] : 1.0f;
        for (u32 c = threadIdx.x; c < count; c += blockDim.x) {
          float by_code = sum_of(dots, c, n_r);
          if (gated) {
            float code = z[c] != 0.0f ? by_code : 0.0f, scaled = code * rho[list.latent];
            by_score[c] = by_bias[c] + scaled;
            by_scale[c] = scaled * third[places[base + c]];
            by_shift[c] = code;
          } else {
            float sign = z[c] > 0.0f ? 1.0f : z[c] < 0.0f ? -1.0f : 0.0f;
            by_score[c] = by_bias[c] = fmaf(sign * price[c], norm, by_code);
          }
        }
      }
      __syncthreads();
      gather<false, true>(x, packed_x, halves, row_of, count, n_p, nullptr, nullptr, by_score, begins,
                          list.is_piece ? scratch + list.slot * (n_r + n_p) + n_r : g_w + (u64)list.latent * n_p);
      // The last warp, which may have the fewest stripes.
      if (warp_of() == warps_of() - 1) {
        float parts_of[5] = {0.0f, 0.0f, 0.0f, 0.0f, 0.0f};
        for (u32 c = lane_of(); c < count; c += 32) {
          parts_of[0] += by_score[c];
          parts_of[1] += by_bias[c];
          parts_of[2] += along[c];
          if (gated) {
            parts_of[3] += by_scale[c];
            parts_of[4] += by_shift[c];
          }
        }
#pragma unroll
        for (u32 q = 0; q < 5; ++q) {
          float sum = warp_sum(parts_of[q]);
          if (lane_of() == 0) total[q] += sum;
        }
      }
      __syncthreads();
    }
    if (list.is_piece) {
      if (threadIdx.x < 5) totals[5 * list.slot + threadIdx.x] = total[threadIdx.x];
      continue;
    }
    u32 i = list.latent;
    if (has_norms)
      for (u32 k = threadIdx.x; k < n_r; k += blockDim.x) g_v[(u64)i * n_r + k] = fmaf(total[2], v[(u64)i * n_r + k], g_v[(u64)i * n_r + k]);
    if (threadIdx.x == 0) {
      sums[i] += total[0];
      g_bias[i] += total[1];
      if (gated) {
        g_scale[i] += total[3];
        g_shift[i] += total[4];
      }
    }
  }
}
REGISTER(backward)

// The gradients of a list that is cut, from the sums of its pieces, by increasing piece.
// Grid: (any number of blocks, among which lists are shared; columns of W_D and W_E). Traffic: 4 (n_p + n_r) bytes a piece, from L2 or DRAM, and as many
// written for a list. Floor: the same; a launch where no list is cut.
KERNEL(join_pieces)
(const u32* __restrict__ starts, const u32* __restrict__ tally, const u32* __restrict__ joins, const float* __restrict__ scratch,
 const float* __restrict__ totals, const float* __restrict__ v, u32 has_norms, u32 gated, float* __restrict__ g_w, float* __restrict__ g_v,
 float* __restrict__ g_bias, float* __restrict__ sums, float* __restrict__ g_scale, float* __restrict__ g_shift, u32 n_p, u32 n_r) {
  u32 c = blockIdx.y * blockDim.x + threadIdx.x, width = n_r + n_p, lists = tally[CUT];
  for (u32 j = blockIdx.x; j < lists; j += gridDim.x) {
    u32 entry = joins[2 * j], i = entry / 2, pieces = (starts[i + 1] - starts[i] + PIECE - 1) / PIECE;
    bool adds = entry % 2 != 0;
    u64 at = joins[2 * j + 1];
    if (c < width) {
      float* out = c < n_r ? g_v + (u64)i * n_r + c : g_w + (u64)i * n_p + (c - n_r);
      const float* from = scratch + at * width + c;
      float sum = adds ? *out : *from;
#pragma unroll 8
      for (u32 piece = adds ? 0 : 1; piece < pieces; ++piece) sum += from[(u64)piece * width];
      if (has_norms && c < n_r) {
        float along = 0.0f;
        for (u32 piece = 0; piece < pieces; ++piece) along += totals[5 * (at + piece) + 2];
        sum = fmaf(along, v[(u64)i * n_r + c], sum);
      }
      *out = sum;
    }
    if (blockIdx.y == 0 && threadIdx.x < 5) {
      float total = 0.0f;
      for (u32 piece = 0; piece < pieces; ++piece) total += totals[5 * (at + piece) + threadIdx.x];
      if (threadIdx.x == 0) sums[i] += total;
      if (threadIdx.x == 1) g_bias[i] += total;
      if (gated && threadIdx.x == 3) g_scale[i] += total;
      if (gated && threadIdx.x == 4) g_shift[i] += total;
    }
  }
}
REGISTER(join_pieces)

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

// Rows that a thread reads at once where columns are summed.
#define AT_ONCE 16

// Σ f_j m_j over the rows of a matrix, by groups of rows: `factors` (has_factors) or 1; rows with a factor 0 are left out, whatever they hold.
// Row j begins at j·row_stride. Grid: (columns; groups of rows). Traffic: 4 bytes a number, from DRAM unless it was just written and fits L2. Floor: the same.
KERNEL(column_sums)
(const float* __restrict__ matrix, u64 row_stride, const float* __restrict__ factors, u32 has_factors, u32 rows, u32 columns, u32 group,
 float* __restrict__ partial) {
  u32 c = blockIdx.x * blockDim.x + threadIdx.x, begin = blockIdx.y * group, end = min(begin + group, rows);
  if (c >= columns) return;
  float sum = 0.0f;
  for (u32 j = begin; j < end; j += AT_ONCE) {
    float factor[AT_ONCE], read[AT_ONCE];
#pragma unroll
    for (u32 a = 0; a < AT_ONCE; ++a) {
      factor[a] = j + a >= end ? 0.0f : has_factors ? factors[j + a] : 1.0f;
      read[a] = factor[a] != 0.0f ? matrix[(u64)(j + a) * row_stride + c] : 0.0f;
    }
#pragma unroll
    for (u32 a = 0; a < AT_ONCE; ++a)
      if (factor[a] != 0.0f) sum = fmaf(factor[a], read[a], sum);
  }
  partial[(u64)blockIdx.y * columns + c] = sum;
}
REGISTER(column_sums)

// sign · the sum of the groups. Grid: one thread a column. Traffic: 4 bytes a number, from L2. Floor: a launch, and one wait for L2 for every 16 groups.
KERNEL(join_sums)(const float* __restrict__ partial, u32 groups, u32 columns, float sign, float* __restrict__ out) {
  u32 c = blockIdx.x * blockDim.x + threadIdx.x;
  if (c >= columns) return;
  float sum = 0.0f;
#pragma unroll 16
  for (u32 g = 0; g < groups; ++g) sum += partial[(u64)g * columns + c];
  out[c] = sign * sum;
}
REGISTER(join_sums)
