// The scheduler of the stand-in for CUDA: see shim.h.
#include "shim.h"

#include <cstdio>
#include <cstdlib>
#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
extern "C" const char* __asan_default_options() { return "detect_leaks=0:detect_stack_use_after_return=0"; }
#endif

namespace shim {

Index thread, block, threads, blocks;

namespace {

constexpr size_t STACK = 256 * 1024;

enum State { RUNS, WAITS_FOR_BLOCK, WAITS_FOR_WARP, DONE };

struct Copy {
  void* to;
  const void* from;
};

struct Fiber {
  void* at = nullptr;
  char* stack = nullptr;
  State state = DONE;
  unsigned parity = 0;
  void* fake = nullptr;
  // Copies that are under way, and those of the group that has not ended.
  std::deque<std::vector<Copy>> copies;
  std::vector<Copy> group;
};

struct Warp {
  unsigned arrived = 0;
  uint64_t slots[2][32];
};

struct Machine {
  std::vector<Fiber> fibers;
  std::vector<Warp> warps;
  unsigned count = 0, arrived = 0, alive = 0, current = 0;
  void* scheduler = nullptr;
  void* scheduler_fake = nullptr;
  const void* scheduler_stack = nullptr;
  size_t scheduler_size = 0;
  Call call = nullptr;
  void** arguments = nullptr;
  uint64_t random = 0;
};

Machine machine;
std::mutex one_at_a_time;

struct Kernel {
  Call call;
  Signature signature;
};

std::map<std::string, Kernel>& table() {
  static std::map<std::string, Kernel> kernels;
  return kernels;
}

uint64_t draw() {
  uint64_t& s = machine.random;
  s ^= s << 13;
  s ^= s >> 7;
  s ^= s << 17;
  return s;
}

template <class T>
void shuffle(std::vector<T>& items) {
  for (size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[draw() % i]);
}

}  // namespace

#if defined(__x86_64__)
extern "C" void shim_switch(void** from, void* to);
asm(R"(
.text
.globl shim_switch
.type shim_switch,@function
shim_switch:
  push %rbp
  push %rbx
  push %r12
  push %r13
  push %r14
  push %r15
  mov %rsp,(%rdi)
  mov %rsi,%rsp
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %rbx
  pop %rbp
  ret
.size shim_switch,.-shim_switch
)");
#elif defined(__aarch64__)
extern "C" void shim_switch(void** from, void* to);
asm(R"(
.text
.globl shim_switch
.type shim_switch,%function
shim_switch:
  sub sp, sp, #160
  stp x19, x20, [sp, #0]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #0]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
.size shim_switch,.-shim_switch
)");
#else
#error "shim_switch is written for x86-64 and AArch64"
#endif

namespace {

void to_scheduler() {
  Fiber& fiber = machine.fibers[machine.current];
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_start_switch_fiber(fiber.state == DONE ? nullptr : &fiber.fake, machine.scheduler_stack, machine.scheduler_size);
#endif
  shim_switch(&fiber.at, machine.scheduler);
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(fiber.fake, nullptr, nullptr);
#endif
}

void to_fiber(unsigned i) {
  machine.current = i;
  // Blocks have one dimension.
  thread = {i, 0, 0};
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_start_switch_fiber(&machine.scheduler_fake, machine.fibers[i].stack, STACK);
#endif
  shim_switch(&machine.scheduler, machine.fibers[i].at);
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(machine.scheduler_fake, nullptr, nullptr);
#endif
}

void enter() {
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_finish_switch_fiber(nullptr, &machine.scheduler_stack, &machine.scheduler_size);
#endif
  machine.call(machine.arguments);
  machine.fibers[machine.current].state = DONE;
  --machine.alive;
  to_scheduler();
  std::abort();
}

void prepare(Fiber& fiber) {
  if (!fiber.stack) fiber.stack = static_cast<char*>(std::aligned_alloc(64, STACK));
#ifdef __SANITIZE_ADDRESS__
  // A block that was given up has left its marks.
  ASAN_UNPOISON_MEMORY_REGION(fiber.stack, STACK);
#endif
#if defined(__x86_64__)
  void** top = reinterpret_cast<void**>(fiber.stack + STACK - 64);
  *--top = nullptr;
  *--top = reinterpret_cast<void*>(&enter);
  for (int k = 0; k < 6; ++k) *--top = nullptr;
#else
  void** top = reinterpret_cast<void**>(fiber.stack + STACK - 64) - 20;
  std::memset(top, 0, 160);
  top[11] = reinterpret_cast<void*>(&enter);
#endif
  fiber.at = top;
  fiber.state = RUNS;
  fiber.parity = 0;
  fiber.copies.clear();
  fiber.group.clear();
}

// False if some threads wait for others that never come.
bool run(uint64_t seed) {
  for (unsigned i = 0; i < machine.count; ++i) prepare(machine.fibers[i]);
  for (Warp& warp : machine.warps) {
    warp.arrived = 0;
    std::memset(warp.slots, 0xCD, sizeof warp.slots);
  }
  machine.arrived = 0;
  machine.alive = machine.count;
  unsigned mask = 31;
  while (mask + 1 < machine.count) mask = 2 * mask + 1;
  // Each round goes through all threads: as numbered, backwards, or from a random one on by a random odd step, modulo a power of two.
  unsigned start = 0, step = seed % 8 == 1 ? mask : 1;
  while (machine.alive) {
    if (seed % 8 > 1) {
      uint64_t random = draw();
      start = unsigned(random >> 40);
      step = unsigned(random >> 8) | 1;
    }
    bool any = false;
    for (unsigned q = 0; q <= mask; ++q) {
      unsigned i = (start + step * q) & mask;
      if (i >= machine.count || machine.fibers[i].state != RUNS) continue;
      any = true;
      to_fiber(i);
    }
    if (!any) return false;
  }
  return true;
}

}  // namespace

void wait_block() {
  machine.fibers[machine.current].state = WAITS_FOR_BLOCK;
  if (++machine.arrived == machine.count) {
    machine.arrived = 0;
    for (unsigned i = 0; i < machine.count; ++i) machine.fibers[i].state = RUNS;
  }
  to_scheduler();
}

void wait_warp() {
  unsigned w = machine.current / 32, first = 32 * w;
  machine.fibers[machine.current].state = WAITS_FOR_WARP;
  if (++machine.warps[w].arrived == 32) {
    machine.warps[w].arrived = 0;
    for (unsigned i = first; i < first + 32; ++i) machine.fibers[i].state = RUNS;
  }
  to_scheduler();
}

void copy_later(void* to, const void* from) {
  // What the device does not copy.
  if ((reinterpret_cast<uintptr_t>(to) | reinterpret_cast<uintptr_t>(from)) % 16 != 0) std::abort();
  machine.fibers[machine.current].group.push_back({to, from});
}

void end_copies() {
  Fiber& fiber = machine.fibers[machine.current];
  fiber.copies.push_back(std::move(fiber.group));
  fiber.group.clear();
}

void wait_copies(unsigned most) {
  Fiber& fiber = machine.fibers[machine.current];
  for (; fiber.copies.size() > most; fiber.copies.pop_front())
    for (const Copy& copy : fiber.copies.front()) std::memcpy(copy.to, copy.from, 16);
}

unsigned self() { return machine.current; }

uint64_t* slots() { return machine.warps[machine.current / 32].slots[machine.fibers[machine.current].parity ^= 1]; }

Registration::Registration(const char* name, Call call, Signature signature) { table()[name] = {call, signature}; }

}  // namespace shim

#ifndef __SANITIZE_ADDRESS__
extern char __start_shim_shared[] __attribute__((weak));
extern char __stop_shim_shared[] __attribute__((weak));
#endif

// Runs a kernel. 0: done. 1: no kernel of that name. 2: threads wait for others that never come. 3: no such shape of a block.
extern "C" int sdlab_shim_launch(const char* name, const unsigned* grid, unsigned width, void** arguments, uint64_t seed) {
  using namespace shim;
  std::lock_guard<std::mutex> lock(one_at_a_time);
  auto found = table().find(name);
  if (found == table().end()) return 1;
  if (width == 0 || width % 32 != 0 || width > 1024) return 3;
  threads = {width, 1, 1};
  blocks = {grid[0], grid[1], grid[2]};
  machine.count = width;
  if (machine.fibers.size() < width) machine.fibers.resize(width);
  machine.warps.resize(width / 32);
  machine.call = found->second.call;
  machine.arguments = arguments;
  machine.random = seed * 0x9E3779B97F4A7C15ull + 0x1234567ull;
  std::vector<Index> all;
  for (unsigned z = 0; z < grid[2]; ++z)
    for (unsigned y = 0; y < grid[1]; ++y)
      for (unsigned x = 0; x < grid[0]; ++x) all.push_back({x, y, z});
  if (seed % 8 != 0) shuffle(all);
  for (const Index& index : all) {
    block = index;
#ifndef __SANITIZE_ADDRESS__
    // Before the first block and some of the others, for it takes longer than a small block.
    if (__start_shim_shared && (&index == &all.front() || draw() % 8 == 0))
      std::memset(__start_shim_shared, 0xCD, size_t(__stop_shim_shared - __start_shim_shared));
#endif
    if (!run(seed)) return 2;
  }
  return 0;
}

// What a kernel takes. 1: no kernel of that name.
extern "C" int sdlab_shim_describe(const char* name, unsigned* parameters, uint64_t* pointers) {
  auto found = shim::table().find(name);
  if (found == shim::table().end()) return 1;
  if (parameters) *parameters = found->second.signature.parameters;
  if (pointers) *pointers = found->second.signature.pointers;
  return 0;
}

// Memory of the device, from an allocator that AddressSanitizer guards.
extern "C" void* sdlab_shim_allocate(size_t bytes) { return std::calloc(bytes ? bytes : 1, 1); }
extern "C" void sdlab_shim_free(void* at) { std::free(at); }
