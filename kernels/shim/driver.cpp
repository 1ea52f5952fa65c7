// A stand-in for the driver (libcuda), the compiler of kernels (libnvrtc), the dense products (libcublasLt) and what connects ranks (libnccl), so
// that the layer that calls them runs where there is no GPU. All four are this one library.
//
// Work on a stream is kept and done later: a seed chooses among the streams whose next piece may run, one of them at random, the oldest or the
// youngest, so that a program which relies on an order that it has not asked for gives a wrong result. With the seed 0 everything is done at once. An address of the device is no address of the
// host, and a kernel or a copy that leaves its memory is refused. What the environment variable SDLAB_STAND_IN holds, separated by commas:
//
//   seed=N            the order of work                    no-device          there is a driver and no device
//   driver=N          the version of the driver            products=N         the version of cuBLASLt
//   compiler=N        the major version of the compiler    refuse             it refuses every text
//   memory=N          bytes of the device                  devices=N          how many there are
//   free=N            what it says is left of them
//   die=NAME:N        the process ends at call N of the function NAME
//   fail=NAME:N       call N (from 1) of the function NAME fails, and no other
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include <sys/stat.h>
#include <unistd.h>

extern "C" int sdlab_shim_launch(const char* name, const unsigned* grid, unsigned width, void** arguments, uint64_t seed);
extern "C" int sdlab_shim_describe(const char* name, unsigned* parameters, uint64_t* pointers);

namespace {

// As in cuda.h.
enum Result {
  SUCCESS = 0,
  INVALID_VALUE = 1,
  OUT_OF_MEMORY = 2,
  NOT_INITIALIZED = 3,
  NO_DEVICE = 100,
  INVALID_DEVICE = 101,
  INVALID_IMAGE = 200,
  INVALID_CONTEXT = 201,
  INVALID_HANDLE = 400,
  NOT_FOUND = 500,
  NOT_READY = 600,
  ILLEGAL_ADDRESS = 700,
  LAUNCH_FAILED = 719,
  CAPTURE_UNSUPPORTED = 900,
  CAPTURE_INVALIDATED = 901,
  GRAPH_UPDATE_FAILURE = 910,
};

const std::map<int, const char*> NAMES = {
    {INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE"},
    {OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY"},
    {NOT_INITIALIZED, "CUDA_ERROR_NOT_INITIALIZED"},
    {NO_DEVICE, "CUDA_ERROR_NO_DEVICE"},
    {INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE"},
    {INVALID_IMAGE, "CUDA_ERROR_INVALID_IMAGE"},
    {INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT"},
    {INVALID_HANDLE, "CUDA_ERROR_INVALID_HANDLE"},
    {NOT_FOUND, "CUDA_ERROR_NOT_FOUND"},
    {NOT_READY, "CUDA_ERROR_NOT_READY"},
    {ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS"},
    {LAUNCH_FAILED, "CUDA_ERROR_LAUNCH_FAILED"},
    {CAPTURE_UNSUPPORTED, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"},
    {CAPTURE_INVALIDATED, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED"},
    {GRAPH_UPDATE_FAILURE, "CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE"},
};

struct Event {
  // Of its recordings: how many were asked for, and how many are done.
  uint64_t asked = 0, done = 0;
  bool is_timed = false;
  // When the last of them was done.
  std::chrono::steady_clock::time_point at;
};

struct Piece {
  // Kind and kernel: what an update of a graph must not change.
  std::string what;
  std::function<int()> work;
  std::shared_ptr<Event> event = nullptr;
  uint64_t until = 0;
  // Whether other processes let it go on; asked again and again once it is the next of its stream.
  std::function<bool()> is_ready = nullptr;
};

struct Graph {
  std::vector<Piece> pieces;
};

struct Stream {
  std::deque<Piece> queue;
  std::unique_ptr<Graph> captured;
  bool is_spoilt = false;
};

struct Program {
  std::string text, log, image;
};

struct Handle {
  int kind;
};

struct Layout : Handle {
  int type;
  uint64_t rows, columns;
  int64_t stride;
};

struct Task : Handle {
  int compute = 0;
  int32_t transposed[2] = {0, 0};
};

struct Preference : Handle {
  uint64_t workspace = 0;
};

enum Kind { LIBRARY = 1, LAYOUT, TASK, PREFERENCE };

constexpr uint64_t TAG = 0x4BAD000000000000ull;
constexpr uint64_t TAG_MASK = 0xFFFF000000000000ull;
constexpr const char* IMAGE = "machine code of the stand-in\n";
constexpr uint64_t MARK_OF_ALGORITHM = 0x5D1AB;

struct Machine {
  std::recursive_mutex lock;
  std::map<std::string, std::string> settings;
  std::map<std::string, uint64_t> calls;
  std::vector<Stream*> streams;
  std::map<Event*, std::shared_ptr<Event>> events;
  std::set<Handle*> handles;
  std::set<std::string> kernels;
  // Memory of the device and locked memory of the host: begin and length.
  std::map<uint64_t, uint64_t> memory, locked;
  uint64_t used = 0, random = 1, launches = 0, graphs = 0;
  int retained = 0, is_initialized = 0;
  // The first piece of work that failed: everything after it fails alike.
  int sticky = 0;

  Machine() {
    const char* text = std::getenv("SDLAB_STAND_IN");
    std::string all = text ? text : "";
    for (size_t at = 0; at < all.size();) {
      size_t end = all.find(',', at);
      if (end == std::string::npos) end = all.size();
      std::string one = all.substr(at, end - at);
      size_t equal = one.find('=');
      settings[one.substr(0, equal)] = equal == std::string::npos ? "" : one.substr(equal + 1);
      at = end + 1;
    }
    random = number("seed", 0) * 0x9E3779B97F4A7C15ull + 1;
  }

  uint64_t number(const char* name, uint64_t otherwise) const {
    auto found = settings.find(name);
    return found == settings.end() ? otherwise : std::strtoull(found->second.c_str(), nullptr, 10);
  }

  bool is_stream(Stream* stream) const { return std::find(streams.begin(), streams.end(), stream) != streams.end(); }

  bool is_eager() const { return number("seed", 0) == 0; }

  uint64_t draw() {
    random ^= random << 13;
    random ^= random >> 7;
    random ^= random << 17;
    return random;
  }

  // Counts a call, and says whether it is the one that fails.
  bool fails(const char* name) {
    std::string call = std::string(name) + ":" + std::to_string(++calls[name]);
    auto is_it = [&](const char* what) {
      auto found = settings.find(what);
      return found != settings.end() && found->second == call;
    };
    if (is_it("die")) _exit(9);
    return is_it("fail");
  }

  static bool holds(const std::map<uint64_t, uint64_t>& ranges, uint64_t at, uint64_t bytes) {
    auto after = ranges.upper_bound(at);
    if (after == ranges.begin()) return false;
    auto range = std::prev(after);
    return at - range->first <= range->second && bytes <= range->second - (at - range->first);
  }

  // Does the next piece of some stream; false if none may run.
  bool advance() {
    std::vector<Stream*> ready;
    for (Stream* stream : streams) {
      if (stream->queue.empty()) continue;
      const Piece& piece = stream->queue.front();
      if (piece.is_ready && sticky == 0 && !piece.is_ready()) continue;
      if (!piece.event || piece.what == "record" || piece.event->done >= piece.until) ready.push_back(stream);
    }
    if (ready.empty()) return false;
    uint64_t kind = number("seed", 0) % 3;
    Stream* stream = kind == 0 ? ready[draw() % ready.size()] : kind == 1 ? ready.front() : ready.back();
    Piece piece = stream->queue.front();
    stream->queue.pop_front();
    if (piece.what == "record") {
      piece.event->done = piece.until;
      piece.event->at = std::chrono::steady_clock::now();
    }
    if (piece.work && sticky == 0) sticky = piece.work();
    return true;
  }

  template <class Done>
  int wait(Done done) {
    while (!done()) {
      if (!advance()) {
        if (waits_for_ranks()) {
          usleep(200);
          continue;
        }
        std::fprintf(stderr, "the stand-in: a stream waits for what never comes\n");
        std::abort();
      }
    }
    return sticky;
  }

  bool waits_for_ranks() const {
    auto waits = [](Stream* stream) { return !stream->queue.empty() && stream->queue.front().is_ready; };
    return std::any_of(streams.begin(), streams.end(), waits);
  }

  int put(Stream* stream, Piece piece) {
    if (stream->captured) {
      if (piece.event) {
        stream->is_spoilt = true;
        return CAPTURE_UNSUPPORTED;
      }
      stream->captured->pieces.push_back(std::move(piece));
      return SUCCESS;
    }
    stream->queue.push_back(std::move(piece));
    if (is_eager() && !waits_for_ranks()) return wait([&] { return stream->queue.empty(); });
    // Some of it now, or nothing before it is waited for, so that a program meets every distance between asking and doing.
    for (uint64_t left = number("seed", 0) < 4 ? draw() % 3 : 0; left > 0 && advance(); --left) {
    }
    return sticky;
  }
};

Machine& machine() {
  static Machine* const only = new Machine;
  return *only;
}

thread_local int has_context = 0;

void* host(uint64_t address) { return reinterpret_cast<void*>(address & ~TAG_MASK); }

bool is_of_device(uint64_t address, uint64_t bytes) {
  return (address & TAG_MASK) == TAG && Machine::holds(machine().memory, address & ~TAG_MASK, bytes);
}

// What every function begins with, and what it returns where it is told to fail.
#define ENTER_OR(name, failure)                        \
  Machine& m = machine();                              \
  std::lock_guard<std::recursive_mutex> guard(m.lock); \
  if (m.fails(#name)) return failure;
#define ENTER(name) ENTER_OR(name, LAUNCH_FAILED)
#define NEED_CONTEXT()                       \
  if (!m.is_initialized) return NOT_INITIALIZED; \
  if (!has_context || m.retained == 0) return INVALID_CONTEXT;
#define NEED_STREAM(stream) \
  if (!m.is_stream(stream)) return INVALID_HANDLE;

float widened(const void* at, int type, uint64_t place, bool is_cut) {
  if (type == 14) {
    uint16_t half;
    std::memcpy(&half, static_cast<const char*>(at) + 2 * place, 2);
    uint32_t bits = uint32_t(half) << 16;
    float x;
    std::memcpy(&x, &bits, 4);
    return x;
  }
  uint32_t bits;
  std::memcpy(&bits, static_cast<const char*>(at) + 4 * place, 4);
  // What tf32 keeps where it cuts off.
  if (is_cut) bits &= ~0x1FFFu;
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
}

template <class T>
T* known(void* handle, int kind) {
  Handle* one = static_cast<Handle*>(handle);
  return machine().handles.count(one) && one->kind == kind ? static_cast<T*>(one) : nullptr;
}

template <class T>
int destroyed(void* handle, int kind) {
  T* one = known<T>(handle, kind);
  if (!one) return 7;
  machine().handles.erase(one);
  delete one;
  return 0;
}

}  // namespace

extern "C" {

// How often a function was called.
uint64_t sdlab_stand_in_calls(const char* name) {
  Machine& m = machine();
  std::lock_guard<std::recursive_mutex> guard(m.lock);
  auto found = m.calls.find(name);
  return found == m.calls.end() ? 0 : found->second;
}

// Bytes of the device and locked bytes of the host that were not given back.
uint64_t sdlab_stand_in_held() {
  Machine& m = machine();
  std::lock_guard<std::recursive_mutex> guard(m.lock);
  uint64_t held = 0;
  for (const auto* ranges : {&m.memory, &m.locked})
    for (const auto& range : *ranges) held += range.second;
  return held;
}

// Streams, events, graphs and handles that were not destroyed, contexts that were not released.
uint64_t sdlab_stand_in_handles() {
  Machine& m = machine();
  std::lock_guard<std::recursive_mutex> guard(m.lock);
  return m.streams.size() + m.events.size() + m.handles.size() + m.graphs + m.retained;
}

// ---- the driver

int cuInit(unsigned) {
  ENTER(cuInit)
  if (m.settings.count("no-device")) return NO_DEVICE;
  m.is_initialized = 1;
  return SUCCESS;
}

int cuDriverGetVersion(int* version) {
  ENTER(cuDriverGetVersion)
  *version = int(m.number("driver", 13000));
  return SUCCESS;
}

int cuDeviceGet(int* device, int ordinal) {
  ENTER(cuDeviceGet)
  if (!m.is_initialized) return NOT_INITIALIZED;
  if (ordinal < 0 || uint64_t(ordinal) >= m.number("devices", 1)) return INVALID_DEVICE;
  *device = 0;
  return SUCCESS;
}

int cuDeviceGetName(char* name, int room, int) {
  ENTER(cuDeviceGetName)
  std::snprintf(name, size_t(room), "stand-in");
  return SUCCESS;
}

int cuDeviceGetAttribute(int* value, int attribute, int) {
  ENTER(cuDeviceGetAttribute)
  if (attribute == 75) *value = 9;
  else if (attribute == 76) *value = 0;
  else return INVALID_VALUE;
  return SUCCESS;
}

int cuDevicePrimaryCtxRetain(void** context, int) {
  ENTER(cuDevicePrimaryCtxRetain)
  if (!m.is_initialized) return NOT_INITIALIZED;
  ++m.retained;
  *context = &m.retained;
  return SUCCESS;
}

int cuDevicePrimaryCtxRelease_v2(int) {
  ENTER(cuDevicePrimaryCtxRelease_v2)
  if (m.retained == 0) return INVALID_CONTEXT;
  --m.retained;
  return SUCCESS;
}

int cuCtxSetCurrent(void* context) {
  ENTER(cuCtxSetCurrent)
  if (context && (context != &m.retained || m.retained == 0)) return INVALID_CONTEXT;
  has_context = context != nullptr;
  return SUCCESS;
}

int cuGetErrorName(int error, const char** text) {
  auto found = NAMES.find(error);
  *text = found == NAMES.end() ? nullptr : found->second;
  return found == NAMES.end() ? INVALID_VALUE : SUCCESS;
}

int cuGetErrorString(int error, const char** text) { return cuGetErrorName(error, text); }

int cuStreamCreate(Stream** stream, unsigned) {
  ENTER(cuStreamCreate)
  NEED_CONTEXT()
  *stream = new Stream;
  m.streams.push_back(*stream);
  return SUCCESS;
}

int cuStreamSynchronize(Stream* stream) {
  ENTER(cuStreamSynchronize)
  NEED_CONTEXT()
  NEED_STREAM(stream)
  if (stream->captured) {
    stream->is_spoilt = true;
    return CAPTURE_UNSUPPORTED;
  }
  return m.wait([&] { return stream->queue.empty(); });
}

int cuStreamQuery(Stream* stream) {
  ENTER(cuStreamQuery)
  NEED_CONTEXT()
  NEED_STREAM(stream)
  while (!stream->queue.empty() && m.advance()) {
  }
  return m.sticky ? m.sticky : stream->queue.empty() ? SUCCESS : NOT_READY;
}

int cuStreamDestroy_v2(Stream* stream) {
  ENTER(cuStreamDestroy_v2)
  NEED_CONTEXT()
  NEED_STREAM(stream)
  int result = m.waits_for_ranks() ? SUCCESS : m.wait([&] { return stream->queue.empty(); });
  m.streams.erase(std::find(m.streams.begin(), m.streams.end(), stream));
  delete stream;
  return result;
}

int cuStreamWaitEvent(Stream* stream, Event* event, unsigned) {
  ENTER(cuStreamWaitEvent)
  NEED_CONTEXT()
  NEED_STREAM(stream)
  auto found = m.events.find(event);
  if (found == m.events.end()) return INVALID_HANDLE;
  return m.put(stream, {"wait", nullptr, found->second, event->asked});
}

int cuEventCreate(Event** event, unsigned flags) {
  ENTER(cuEventCreate)
  NEED_CONTEXT()
  auto one = std::make_shared<Event>();
  // 2 is CU_EVENT_DISABLE_TIMING.
  one->is_timed = (flags & 2) == 0;
  *event = one.get();
  m.events[one.get()] = one;
  return SUCCESS;
}

int cuEventRecord(Event* event, Stream* stream) {
  ENTER(cuEventRecord)
  NEED_CONTEXT()
  NEED_STREAM(stream)
  auto found = m.events.find(event);
  if (found == m.events.end()) return INVALID_HANDLE;
  return m.put(stream, {"record", nullptr, found->second, ++event->asked});
}

int cuEventSynchronize(Event* event) {
  ENTER(cuEventSynchronize)
  NEED_CONTEXT()
  auto found = m.events.find(event);
  if (found == m.events.end()) return INVALID_HANDLE;
  auto one = found->second;
  return m.wait([&] { return one->done >= one->asked; });
}

int cuEventElapsedTime(float* milliseconds, Event* from, Event* to) {
  ENTER(cuEventElapsedTime)
  NEED_CONTEXT()
  auto first = m.events.find(from), last = m.events.find(to);
  if (first == m.events.end() || last == m.events.end()) return INVALID_HANDLE;
  for (const auto* one : {first->second.get(), last->second.get()}) {
    if (!one->is_timed || one->asked == 0) return INVALID_HANDLE;
    if (one->done < one->asked) return NOT_READY;
  }
  *milliseconds = std::chrono::duration<float, std::milli>(to->at - from->at).count();
  return SUCCESS;
}

int cuEventDestroy_v2(Event* event) {
  ENTER(cuEventDestroy_v2)
  return m.events.erase(event) ? SUCCESS : INVALID_HANDLE;
}

int cuMemGetInfo_v2(size_t* left, size_t* total) {
  ENTER(cuMemGetInfo_v2)
  NEED_CONTEXT()
  *total = m.number("memory", uint64_t(1) << 40);
  *left = m.number("free", *total - m.used);
  return SUCCESS;
}

int cuMemAllocAsync(uint64_t* address, size_t bytes, Stream* stream) {
  ENTER(cuMemAllocAsync)
  NEED_CONTEXT()
  NEED_STREAM(stream)
  if (stream->captured) {
    stream->is_spoilt = true;
    return CAPTURE_UNSUPPORTED;
  }
  if (bytes == 0) return INVALID_VALUE;
  if (bytes > m.number("memory", uint64_t(1) << 40) - m.used) return OUT_OF_MEMORY;
  void* at = std::malloc(bytes);
  if (!at) return OUT_OF_MEMORY;
  std::memset(at, 0xCD, bytes);
  m.used += bytes;
  m.memory[uint64_t(at)] = bytes;
  *address = uint64_t(at) | TAG;
  return SUCCESS;
}

int cuMemFreeAsync(uint64_t address, Stream* stream) {
  ENTER(cuMemFreeAsync)
  NEED_CONTEXT()
  NEED_STREAM(stream)
  if (stream->captured) {
    stream->is_spoilt = true;
    return CAPTURE_UNSUPPORTED;
  }
  return m.put(stream, {"free", [&m, address]() -> int {
    auto found = m.memory.find(address & ~TAG_MASK);
    if ((address & TAG_MASK) != TAG || found == m.memory.end()) return INVALID_VALUE;
    m.used -= found->second;
    std::memset(host(address), 0xDD, found->second);
    m.memory.erase(found);
    std::free(host(address));
    return SUCCESS;
  }});
}

int cuMemHostAlloc(void** at, size_t bytes, unsigned) {
  ENTER(cuMemHostAlloc)
  NEED_CONTEXT()
  if (bytes == 0) return INVALID_VALUE;
  *at = std::malloc(bytes);
  if (!*at) return OUT_OF_MEMORY;
  m.locked[uint64_t(*at)] = bytes;
  return SUCCESS;
}

int cuMemFreeHost(void* at) {
  ENTER(cuMemFreeHost)
  NEED_CONTEXT()
  if (!m.locked.erase(uint64_t(at))) return INVALID_VALUE;
  std::free(at);
  return SUCCESS;
}

int cuMemsetD8Async(uint64_t address, unsigned char byte, size_t bytes, Stream* stream) {
  ENTER(cuMemsetD8Async)
  NEED_CONTEXT()
  NEED_STREAM(stream)
  return m.put(stream, {"fill", [=]() -> int {
    if (!is_of_device(address, bytes)) return ILLEGAL_ADDRESS;
    std::memset(host(address), byte, bytes);
    return SUCCESS;
  }});
}

int cuMemcpyHtoDAsync_v2(uint64_t to, const void* from, size_t bytes, Stream* stream) {
  ENTER(cuMemcpyHtoDAsync_v2)
  NEED_CONTEXT()
  NEED_STREAM(stream)
  if (stream->captured) {
    stream->is_spoilt = true;
    return CAPTURE_UNSUPPORTED;
  }
  // Locked memory is read when the copy is done, other memory before the call returns.
  bool is_locked = Machine::holds(m.locked, uint64_t(from), bytes);
  const char* begin = static_cast<const char*>(from);
  auto kept = std::make_shared<std::vector<char>>();
  if (!is_locked) kept->assign(begin, begin + bytes);
  return m.put(stream, {"upload", [=]() -> int {
    if (!is_of_device(to, bytes)) return ILLEGAL_ADDRESS;
    std::memcpy(host(to), is_locked ? from : kept->data(), bytes);
    return SUCCESS;
  }});
}

int cuMemcpyDtoHAsync_v2(void* to, uint64_t from, size_t bytes, Stream* stream) {
  ENTER(cuMemcpyDtoHAsync_v2)
  NEED_CONTEXT()
  NEED_STREAM(stream)
  if (stream->captured) {
    stream->is_spoilt = true;
    return CAPTURE_UNSUPPORTED;
  }
  return m.put(stream, {"download", [=]() -> int {
    if (!is_of_device(from, bytes)) return ILLEGAL_ADDRESS;
    std::memcpy(to, host(from), bytes);
    return SUCCESS;
  }});
}

int cuModuleLoadData(void** module, const void* image) {
  ENTER(cuModuleLoadData)
  NEED_CONTEXT()
  if (std::strncmp(static_cast<const char*>(image), IMAGE, std::strlen(IMAGE)) != 0) return INVALID_IMAGE;
  *module = &m;
  return SUCCESS;
}

int cuModuleGetFunction(const char** function, void* module, const char* name) {
  ENTER(cuModuleGetFunction)
  NEED_CONTEXT()
  if (module != &m) return INVALID_HANDLE;
  if (sdlab_shim_describe(name, nullptr, nullptr) != 0) return NOT_FOUND;
  *function = m.kernels.insert(name).first->c_str();
  return SUCCESS;
}

int cuLaunchKernel(const char* function, unsigned x, unsigned y, unsigned z, unsigned width, unsigned, unsigned, unsigned shared, Stream* stream,
                   void** arguments, void** extra) {
  ENTER(cuLaunchKernel)
  NEED_CONTEXT()
  NEED_STREAM(stream)
  if (x == 0 || y == 0 || z == 0 || y > 65535 || z > 65535 || width == 0 || width > 1024 || shared || extra) return INVALID_VALUE;
  unsigned count = 0;
  uint64_t pointers = 0;
  if (sdlab_shim_describe(function, &count, &pointers) != 0) return INVALID_HANDLE;
  std::vector<uint64_t> words(count);
  for (unsigned k = 0; k < count; ++k) std::memcpy(&words[k], arguments[k], 8);
  std::string name = function;
  return m.put(stream, {"kernel " + name, [&m, name, x, y, z, width, words, pointers]() -> int {
    std::vector<uint64_t> own = words;
    std::vector<void*> places(own.size());
    for (size_t k = 0; k < own.size(); ++k) {
      if (pointers >> k & 1) {
        if (!is_of_device(own[k], 0)) {
          std::fprintf(stderr, "the stand-in: argument %zu of %s is no memory of the device\n", k, name.c_str());
          return ILLEGAL_ADDRESS;
        }
        own[k] = uint64_t(host(own[k]));
      }
      places[k] = &own[k];
    }
    unsigned grid[3] = {x, y, z};
    return sdlab_shim_launch(name.c_str(), grid, width, places.data(), m.launches++) == 0 ? SUCCESS : LAUNCH_FAILED;
  }});
}

int cuStreamBeginCapture_v2(Stream* stream, int) {
  ENTER(cuStreamBeginCapture_v2)
  NEED_CONTEXT()
  NEED_STREAM(stream)
  if (stream->captured) return CAPTURE_UNSUPPORTED;
  stream->captured = std::make_unique<Graph>();
  stream->is_spoilt = false;
  return SUCCESS;
}

int cuStreamEndCapture(Stream* stream, Graph** graph) {
  ENTER(cuStreamEndCapture)
  NEED_CONTEXT()
  NEED_STREAM(stream)
  if (!stream->captured) return INVALID_VALUE;
  std::unique_ptr<Graph> captured = std::move(stream->captured);
  *graph = stream->is_spoilt ? nullptr : captured.release();
  m.graphs += !stream->is_spoilt;
  return stream->is_spoilt ? CAPTURE_INVALIDATED : SUCCESS;
}

int cuGraphInstantiateWithFlags(Graph** exec, Graph* graph, unsigned long long) {
  ENTER(cuGraphInstantiateWithFlags)
  NEED_CONTEXT()
  *exec = new Graph(*graph);
  ++m.graphs;
  return SUCCESS;
}

int cuGraphExecUpdate_v2(Graph* exec, Graph* graph, void* info) {
  ENTER(cuGraphExecUpdate_v2)
  NEED_CONTEXT()
  std::memset(info, 0, 24);
  bool is_same = exec->pieces.size() == graph->pieces.size();
  for (size_t k = 0; is_same && k < exec->pieces.size(); ++k) is_same = exec->pieces[k].what == graph->pieces[k].what;
  if (!is_same) return GRAPH_UPDATE_FAILURE;
  *exec = *graph;
  return SUCCESS;
}

int cuGraphLaunch(Graph* exec, Stream* stream) {
  ENTER(cuGraphLaunch)
  NEED_CONTEXT()
  NEED_STREAM(stream)
  if (stream->captured) {
    stream->is_spoilt = true;
    return CAPTURE_UNSUPPORTED;
  }
  int result = m.sticky;
  for (const Piece& piece : exec->pieces) result = m.put(stream, piece);
  return result;
}

int cuGraphDestroy(Graph* graph) {
  ENTER(cuGraphDestroy)
  NEED_CONTEXT()
  --m.graphs;
  delete graph;
  return SUCCESS;
}

int cuGraphExecDestroy(Graph* exec) {
  ENTER(cuGraphExecDestroy)
  NEED_CONTEXT()
  --m.graphs;
  delete exec;
  return SUCCESS;
}

// ---- the compiler of kernels

// 3 is NVRTC_ERROR_INVALID_INPUT, 6 COMPILATION, 11 INTERNAL_ERROR.
int nvrtcVersion(int* major, int* minor) {
  ENTER_OR(nvrtcVersion, 11)
  *major = int(m.number("compiler", 13));
  *minor = 0;
  return 0;
}

const char* nvrtcGetErrorString(int) { return "an error of the stand-in"; }

int nvrtcCreateProgram(Program** program, const char* text, const char*, int, const char* const*, const char* const*) {
  ENTER_OR(nvrtcCreateProgram, 1)
  *program = new Program{text, "", ""};
  return 0;
}

int nvrtcCompileProgram(Program* program, int count, const char* const* options) {
  ENTER_OR(nvrtcCompileProgram, 11)
  bool has_architecture = false;
  for (int k = 0; k < count; ++k) has_architecture |= std::strcmp(options[k], "--gpu-architecture=sm_90") == 0;
  if (m.settings.count("refuse") || !has_architecture) {
    program->log = "sdlab.cu(1): error:\n  the stand-in refuses it\n";
    return 6;
  }
  program->image = std::string(IMAGE) + std::to_string(program->text.size());
  return 0;
}

int nvrtcGetProgramLogSize(Program* program, size_t* size) {
  *size = program->log.size() + 1;
  return 0;
}

int nvrtcGetProgramLog(Program* program, char* log) {
  std::memcpy(log, program->log.c_str(), program->log.size() + 1);
  return 0;
}

int nvrtcGetCUBINSize(Program* program, size_t* size) {
  ENTER_OR(nvrtcGetCUBINSize, 3)
  *size = program->image.size();
  return 0;
}

int nvrtcGetCUBIN(Program* program, char* image) {
  ENTER_OR(nvrtcGetCUBIN, 3)
  std::memcpy(image, program->image.data(), program->image.size());
  return 0;
}

int nvrtcDestroyProgram(Program** program) {
  delete *program;
  *program = nullptr;
  return 0;
}

// ---- dense products: 1 is CUBLAS_STATUS_NOT_INITIALIZED, 7 INVALID_VALUE, 13 EXECUTION_FAILED, 14 INTERNAL_ERROR

size_t cublasLtGetVersion() { return machine().number("products", 130000); }

int cublasLtCreate(void** handle) {
  ENTER_OR(cublasLtCreate, 14)
  if (!has_context) return 1;
  Handle* one = new Handle{LIBRARY};
  m.handles.insert(one);
  *handle = one;
  return 0;
}

int cublasLtDestroy(void* handle) { return destroyed<Handle>(handle, LIBRARY); }

int cublasLtMatrixLayoutCreate(void** layout, int type, uint64_t rows, uint64_t columns, int64_t stride) {
  ENTER_OR(cublasLtMatrixLayoutCreate, 14)
  if ((type != 0 && type != 14) || rows == 0 || columns == 0 || stride < int64_t(rows)) return 7;
  Layout* one = new Layout;
  one->kind = LAYOUT;
  one->type = type;
  one->rows = rows;
  one->columns = columns;
  one->stride = stride;
  m.handles.insert(one);
  *layout = one;
  return 0;
}

int cublasLtMatrixLayoutDestroy(void* layout) { return destroyed<Layout>(layout, LAYOUT); }

int cublasLtMatmulDescCreate(void** task, int compute, int scale) {
  ENTER_OR(cublasLtMatmulDescCreate, 14)
  if (scale != 0) return 7;
  Task* one = new Task;
  one->kind = TASK;
  one->compute = compute;
  m.handles.insert(one);
  *task = one;
  return 0;
}

int cublasLtMatmulDescDestroy(void* task) { return destroyed<Task>(task, TASK); }

int cublasLtMatmulDescSetAttribute(void* task, int which, const void* at, size_t bytes) {
  ENTER_OR(cublasLtMatmulDescSetAttribute, 14)
  Task* one = known<Task>(task, TASK);
  if (!one || (which != 3 && which != 4) || bytes != 4) return 7;
  std::memcpy(&one->transposed[which - 3], at, 4);
  return 0;
}

int cublasLtMatmulPreferenceCreate(void** preference) {
  ENTER_OR(cublasLtMatmulPreferenceCreate, 14)
  Preference* one = new Preference;
  one->kind = PREFERENCE;
  m.handles.insert(one);
  *preference = one;
  return 0;
}

int cublasLtMatmulPreferenceDestroy(void* preference) { return destroyed<Preference>(preference, PREFERENCE); }

int cublasLtMatmulPreferenceSetAttribute(void* preference, int which, const void* at, size_t bytes) {
  ENTER_OR(cublasLtMatmulPreferenceSetAttribute, 14)
  Preference* one = known<Preference>(preference, PREFERENCE);
  if (!one || which != 1 || bytes != 8) return 7;
  std::memcpy(&one->workspace, at, 8);
  return 0;
}

struct Algorithm {
  uint64_t words[8];
};

struct Advice {
  Algorithm algorithm;
  size_t workspace;
  int status;
  float waves;
  int reserved[4];
};

int cublasLtMatmulAlgoGetHeuristic(void* handle, void* task, void* a, void* b, void* c, void* d, void* preference, int asked, Advice* advice,
                                   int* count) {
  ENTER_OR(cublasLtMatmulAlgoGetHeuristic, 14)
  Layout *of_a = known<Layout>(a, LAYOUT), *of_b = known<Layout>(b, LAYOUT);
  bool is_whole = known<Handle>(handle, LIBRARY) && known<Task>(task, TASK) && of_a && of_b && known<Layout>(c, LAYOUT) &&
                  known<Layout>(d, LAYOUT) && known<Preference>(preference, PREFERENCE) && asked >= 1;
  if (!is_whole || of_a->type != of_b->type) return 7;
  std::memset(advice, 0, sizeof *advice);
  advice->algorithm.words[0] = MARK_OF_ALGORITHM;
  advice->workspace = known<Preference>(preference, PREFERENCE)->workspace;
  *count = 1;
  return 0;
}

int cublasLtMatmul(void* handle, void* task, const float* alpha, uint64_t a, void* a_layout, uint64_t b, void* b_layout, const float* beta, uint64_t c,
                   void* c_layout, uint64_t d, void* d_layout, const Algorithm* algorithm, uint64_t workspace, size_t bytes, Stream* stream) {
  ENTER_OR(cublasLtMatmul, 14)
  Task* one = known<Task>(task, TASK);
  Layout *of_a = known<Layout>(a_layout, LAYOUT), *of_b = known<Layout>(b_layout, LAYOUT), *of_d = known<Layout>(d_layout, LAYOUT);
  if (!known<Handle>(handle, LIBRARY) || !one || !of_a || !of_b || !of_d || !known<Layout>(c_layout, LAYOUT) || c != d) return 7;
  if (algorithm->words[0] != MARK_OF_ALGORITHM || *alpha != 1.0f || *beta != 0.0f || !m.is_stream(stream)) return 7;
  auto sized = [](const Layout& of, bool turned) { return turned ? std::make_pair(of.columns, of.rows) : std::make_pair(of.rows, of.columns); };
  auto [rows, inner] = sized(*of_a, one->transposed[0]);
  auto [same, columns] = sized(*of_b, one->transposed[1]);
  if (inner != same || of_d->rows != rows || of_d->columns != columns || of_d->type != 0) return 7;
  Layout la = *of_a, lb = *of_b, ld = *of_d;
  Task t = *one;
  int result = m.put(stream, {"product", [=, inner = inner]() -> int {
    auto size = [](const Layout& of) { return (of.stride * (of.columns - 1) + of.rows) * (of.type == 14 ? 2 : 4); };
    if (!is_of_device(a, size(la)) || !is_of_device(b, size(lb)) || !is_of_device(d, size(ld)) || !is_of_device(workspace, bytes))
      return ILLEGAL_ADDRESS;
    auto place = [](const Layout& of, bool turned, uint64_t r, uint64_t q) { return turned ? q + r * of.stride : r + q * of.stride; };
    bool is_cut = t.compute == 77;
    for (uint64_t column = 0; column < ld.columns; ++column) {
      for (uint64_t row = 0; row < ld.rows; ++row) {
        float sum = 0;
        for (uint64_t q = 0; q < inner; ++q)
          sum += widened(host(a), la.type, place(la, t.transposed[0], row, q), is_cut) *
                 widened(host(b), lb.type, place(lb, t.transposed[1], q, column), is_cut);
        std::memcpy(static_cast<char*>(host(d)) + 4 * (row + column * ld.stride), &sum, 4);
      }
    }
    return SUCCESS;
  }});
  return result == SUCCESS ? 0 : 13;
}

// ---- what connects ranks: 2 is ncclSystemError, 4 ncclInvalidArgument, 6 ncclRemoteError
//
// Ranks leave what they give for an operation as files in a folder, and go on when all have come.

struct Identification {
  char path[128];
};

struct Connection {
  std::string folder;
  int rank, ranks;
  uint64_t operations = 0;
  std::shared_ptr<bool> is_aborted = std::make_shared<bool>(false);

  std::string file(uint64_t operation, int of) const { return folder + "/" + std::to_string(operation) + "." + std::to_string(of); }

  void give(uint64_t operation, const void* bytes, size_t count) const {
    std::string place = file(operation, rank), fresh = place + ".new";
    if (FILE* out = std::fopen(fresh.c_str(), "wb")) {
      std::fwrite(bytes, 1, count, out);
      std::fclose(out);
    }
    std::rename(fresh.c_str(), place.c_str());
    // Whoever gives for this operation has taken what was given for those before the last.
    if (operation > 1) unlink(file(operation - 2, rank).c_str());
  }

  bool is_complete(uint64_t operation) const {
    struct stat found;
    for (int of = 0; of < ranks; ++of)
      if (stat(file(operation, of).c_str(), &found) != 0) return false;
    return true;
  }

  std::vector<char> taken(uint64_t operation, int of, size_t count) const {
    std::vector<char> bytes(count);
    size_t read = 0;
    if (FILE* in = std::fopen(file(operation, of).c_str(), "rb")) {
      read = std::fread(bytes.data(), 1, count, in);
      if (std::fgetc(in) != EOF) read = count + 1;
      std::fclose(in);
    }
    if (read != count) {
      std::fprintf(stderr, "the stand-in: ranks give different lengths\n");
      std::abort();
    }
    return bytes;
  }
};

const char* ncclGetErrorString(int) { return "an error of the stand-in"; }

int ncclGetUniqueId(Identification* id) {
  ENTER_OR(ncclGetUniqueId, 2)
  const char* place = std::getenv("TMPDIR");
  std::snprintf(id->path, sizeof id->path, "%s/sdlab-ranks-XXXXXX", place ? place : "/tmp");
  return mkdtemp(id->path) ? 0 : 2;
}

int ncclCommInitRank(Connection** connection, int ranks, Identification id, int rank) {
  ENTER_OR(ncclCommInitRank, 2)
  if (rank < 0 || rank >= ranks || !has_context) return 4;
  *connection = new Connection{id.path, rank, ranks};
  Connection& one = **connection;
  one.give(one.operations, "", 0);
  while (!one.is_complete(one.operations)) usleep(200);
  ++one.operations;
  return 0;
}

// One operation on a stream: what this rank gives is read when its turn comes, and `join` takes what all gave.
static int exchanged(Connection* of, uint64_t from, size_t bytes, Stream* stream, std::function<int(const std::vector<std::vector<char>>&)> join) {
  Machine& m = machine();
  if (!m.is_stream(stream)) return 4;
  auto one = std::make_shared<Connection>(*of);
  uint64_t operation = of->operations++;
  auto has_given = std::make_shared<bool>(false);
  Piece piece;
  piece.what = "ranks";
  piece.is_ready = [=]() {
    if (*one->is_aborted || !is_of_device(from, bytes)) return true;
    if (!*has_given) one->give(operation, host(from), bytes);
    *has_given = true;
    return one->is_complete(operation);
  };
  piece.work = [=]() -> int {
    if (*one->is_aborted) return SUCCESS;
    if (!is_of_device(from, bytes)) return ILLEGAL_ADDRESS;
    std::vector<std::vector<char>> all;
    for (int rank = 0; rank < one->ranks; ++rank) all.push_back(one->taken(operation, rank, bytes));
    return join(all);
  };
  return m.put(stream, std::move(piece)) == SUCCESS ? 0 : 6;
}

int ncclAllReduce(uint64_t from, uint64_t to, size_t count, int type, int how, Connection* connection, Stream* stream) {
  ENTER_OR(ncclAllReduce, 2)
  // Sums of floats, and maxima of words.
  if (!((type == 7 && how == 0) || (type == 3 && how == 2))) return 4;
  return exchanged(connection, from, 4 * count, stream, [=](const std::vector<std::vector<char>>& all) -> int {
    if (!is_of_device(to, 4 * count)) return ILLEGAL_ADDRESS;
    for (size_t k = 0; k < count; ++k) {
      float sum = 0;
      uint32_t most = 0;
      for (size_t rank = 0; rank < all.size(); ++rank) {
        float x;
        uint32_t word;
        std::memcpy(&x, &all[rank][4 * k], 4);
        std::memcpy(&word, &all[rank][4 * k], 4);
        sum = rank == 0 ? x : sum + x;
        most = std::max(most, word);
      }
      std::memcpy(static_cast<char*>(host(to)) + 4 * k, type == 7 ? static_cast<void*>(&sum) : &most, 4);
    }
    return SUCCESS;
  });
}

int ncclAllGather(uint64_t from, uint64_t to, size_t count, int type, Connection* connection, Stream* stream) {
  ENTER_OR(ncclAllGather, 2)
  if (type != 1) return 4;
  return exchanged(connection, from, count, stream, [=](const std::vector<std::vector<char>>& all) -> int {
    if (!is_of_device(to, count * all.size())) return ILLEGAL_ADDRESS;
    for (size_t rank = 0; rank < all.size(); ++rank) std::memcpy(static_cast<char*>(host(to)) + rank * count, all[rank].data(), count);
    return SUCCESS;
  });
}

int ncclCommFinalize(Connection*) {
  ENTER_OR(ncclCommFinalize, 2)
  return m.wait([&] { return !m.waits_for_ranks(); }) == SUCCESS ? 0 : 6;
}

int ncclCommDestroy(Connection* connection) {
  ENTER_OR(ncclCommDestroy, 2)
  delete connection;
  return 0;
}

int ncclCommAbort(Connection* connection) {
  ENTER_OR(ncclCommAbort, 2)
  *connection->is_aborted = true;
  delete connection;
  return 0;
}

}  // extern "C"
