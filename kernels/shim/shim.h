// A small stand-in for CUDA on the processor, so that the kernels run where there is no GPU.
//
// The threads of a block are fibers of one thread of the system. A fiber runs until it meets a barrier or a collective operation of its warp;
// then the scheduler goes on with another one, in an order that a seed chooses. A program whose result depends on that order lacks a
// barrier. Blocks run one after the other, in an order that the seed chooses too. Only what the kernels use is here, and nothing models time.
#pragma once
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <type_traits>
#include <utility>

typedef uint32_t u32;
typedef unsigned long long u64;

#define __device__
#define __forceinline__ inline __attribute__((always_inline))
#define __restrict__ __restrict
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))
// Shared memory lies in a section of its own, which is filled with rubbish before a launch and before some of its blocks; AddressSanitizer guards ordinary variables only.
#ifdef __SANITIZE_ADDRESS__
#define __shared__ static
#else
#define __shared__ static __attribute__((section("shim_shared")))
#endif

namespace shim {

struct Index {
  unsigned x, y, z;
};

extern Index thread, block, threads, blocks;

/// Waits for all threads of the block.
void wait_block();
/// Waits for all threads of the warp.
void wait_warp();
/// The number of this thread in its block.
unsigned self();
/// A place of the warp where each lane leaves a word for the others; it alternates between two, so that one barrier an exchange suffices.
uint64_t* slots();
/// Copies 16 bytes when this thread waits for the group that it is in, and not before.
void copy_later(void* to, const void* from);
/// Ends a group of copies.
void end_copies();
/// Makes the copies of this thread but those of the last groups, so many.
void wait_copies(unsigned most);
/// False if the block has fewer threads than that.
bool exists(unsigned thread);

template <class T>
inline T exchange(T value, unsigned lane) {
  static_assert(sizeof(T) <= 8 && std::is_trivially_copyable<T>::value, "a word");
  uint64_t* at = slots();
  uint64_t word = 0;
  std::memcpy(&word, &value, sizeof(T));
  at[self() % 32] = word;
  wait_warp();
  T result;
  std::memcpy(&result, &at[lane & 31], sizeof(T));
  return result;
}

template <class T>
inline T integer(T value) {
  static_assert(std::is_integral<T>::value, "atomic operations on floating-point numbers would depend on the order of threads");
  return value;
}

typedef void (*Call)(void** arguments);

/// What a kernel takes: how many parameters, and a bit for each that is a pointer.
struct Signature {
  unsigned parameters;
  uint64_t pointers;
};

template <class... A>
inline Signature signature(void (*)(A...)) {
  static_assert(sizeof...(A) <= 64, "a bit for each parameter");
  Signature result = {sizeof...(A), 0};
  unsigned k = 0;
  (void)std::initializer_list<int>{(result.pointers |= uint64_t(std::is_pointer<A>::value) << k++, 0)...};
  return result;
}

/// Adds a kernel to the table of those that can be launched.
struct Registration {
  Registration(const char* name, Call call, Signature signature);
};

template <class... A, size_t... I>
inline void apply(void (*kernel)(A...), void** arguments, std::index_sequence<I...>) {
  kernel(*reinterpret_cast<std::remove_const_t<A>*>(arguments[I])...);
}

template <class... A>
inline void apply(void (*kernel)(A...), void** arguments) {
  apply(kernel, arguments, std::index_sequence_for<A...>{});
}

}  // namespace shim

#define threadIdx shim::thread
#define blockIdx shim::block
#define blockDim shim::threads
#define gridDim shim::blocks

#ifndef SHIM_PREFIX
#define SHIM_PREFIX ""
#endif
// `KERNEL(name)(parameters) { .. }` defines one, `REGISTER(name)` after it makes it known.
#define KERNEL(name) static void name
#define REGISTER(name) \
  static shim::Registration registration_of_##name(SHIM_PREFIX #name, [](void** arguments) { shim::apply(name, arguments); }, shim::signature(name));

inline void __syncthreads() { shim::wait_block(); }
inline void __syncwarp(unsigned = 0xffffffffu) { shim::wait_warp(); }

template <class T>
inline T __shfl_sync(unsigned, T value, unsigned lane) {
  return shim::exchange(value, lane);
}
template <class T>
inline T __shfl_xor_sync(unsigned, T value, unsigned mask) {
  return shim::exchange(value, (shim::self() % 32) ^ mask);
}
template <class T>
inline T __shfl_up_sync(unsigned, T value, unsigned by) {
  unsigned lane = shim::self() % 32;
  return shim::exchange(value, lane >= by ? lane - by : lane);
}
template <class T>
inline T __shfl_down_sync(unsigned, T value, unsigned by) {
  unsigned lane = shim::self() % 32;
  return shim::exchange(value, lane + by < 32 ? lane + by : lane);
}
inline unsigned __ballot_sync(unsigned, int predicate) {
  uint64_t* at = shim::slots();
  at[shim::self() % 32] = predicate != 0;
  shim::wait_warp();
  unsigned result = 0;
  for (unsigned lane = 0; lane < 32; ++lane) result |= unsigned(at[lane] & 1) << lane;
  return result;
}

struct __align__(16) float4 {
  float x, y, z, w;
};
struct __align__(8) uint2 {
  unsigned x, y;
};
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline unsigned __float_as_uint(float x) {
  unsigned bits;
  std::memcpy(&bits, &x, 4);
  return bits;
}
inline float __uint_as_float(unsigned bits) {
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
}
inline long long __double_as_longlong(double x) {
  long long bits;
  std::memcpy(&bits, &x, 8);
  return bits;
}
inline double __longlong_as_double(long long bits) {
  double x;
  std::memcpy(&x, &bits, 8);
  return x;
}
inline unsigned __umulhi(unsigned a, unsigned b) { return unsigned((uint64_t(a) * b) >> 32); }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }

template <class T>
inline T atomicAdd(T* at, T value) {
  T old = shim::integer(*at);
  *at = T(old + value);
  return old;
}
template <class T>
inline T atomicOr(T* at, T value) {
  T old = shim::integer(*at);
  *at = T(old | value);
  return old;
}
template <class T>
inline T atomicMin(T* at, T value) {
  T old = shim::integer(*at);
  if (value < old) *at = value;
  return old;
}
template <class T>
inline T min(T a, T b) {
  return b < a ? b : a;
}
template <class T>
inline T max(T a, T b) {
  return a < b ? b : a;
}
