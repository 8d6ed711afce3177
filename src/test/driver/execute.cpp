#include "execute.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <functional>
#include <memory>
#include <thread>

#include "card.h"
#include "run.h"
#include "traffic.h"

namespace standin {
namespace {

std::atomic<u64> total_warp_instructions, total_thread_instructions;

// Memory that a worker keeps from launch to launch.
class Buffer {
 public:
  ~Buffer() { std::free(data_); }
  Buffer() = default;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  u8* at_least(size_t bytes) {
    if (bytes > size_) {
      std::free(data_);
      size_ = (bytes + 4095) / 4096 * 4096;
      data_ = static_cast<u8*>(std::aligned_alloc(4096, size_));
      if (data_ == nullptr) throw Fault(kOutOfMemory, "the host has no memory for a block's state");
      std::memset(data_, 0, size_);
    }
    return data_;
  }

 private:
  u8* data_ = nullptr;
  size_t size_ = 0;
};

struct Scratch {
  Buffer registers, shared, local;
  std::vector<Range> ranges;
  std::vector<Warp> warps;
};
thread_local Scratch scratch;

// A pool that lives as long as the process; the calling thread works as well.
class Pool {
 public:
  // Runs work(i) for i in [0, threads) at once.
  void run(int threads, const std::function<void(int)>& work) {
    std::unique_lock lock(mutex_);
    while (static_cast<int>(threads_.size()) < threads - 1) {
      const int index = static_cast<int>(threads_.size()) + 1;
      threads_.emplace_back([this, index, seen = generation_]() mutable { loop(index, seen); });
      threads_.back().detach();
    }
    work_ = &work;
    width_ = threads;
    running_ = threads - 1;
    ++generation_;
    lock.unlock();
    start_.notify_all();
    work(0);
    lock.lock();
    done_.wait(lock, [&] { return running_ == 0; });
    work_ = nullptr;
  }

 private:
  void loop(int index, u64 seen) {
    std::unique_lock lock(mutex_);
    while (true) {
      start_.wait(lock, [&] { return generation_ != seen; });
      seen = generation_;
      if (index >= width_) continue;
      const auto* work = work_;
      lock.unlock();
      (*work)(index);
      lock.lock();
      if (--running_ == 0) done_.notify_all();
    }
  }

  std::mutex mutex_;
  std::condition_variable start_, done_;
  std::vector<std::thread> threads_;
  const std::function<void(int)>* work_ = nullptr;
  int width_ = 0, running_ = 0;
  u64 generation_ = 0;
};

// Never destroyed: its threads sleep in it until the process ends.
Pool& pool() {
  static Pool* instance = new Pool;
  return *instance;
}

u32 special_value(const SpecialRegister& s, const Grid& g, const Warp& w, const Kernel& kernel, int lane) {
  const u32 thread = static_cast<u32>(w.index * kLanes + lane);
  const u32 bit = 1u << lane;
  switch (s.which) {
    case Special::TidX: return thread % g.block[0];
    case Special::TidY: return thread / g.block[0] % g.block[1];
    case Special::TidZ: return thread / g.block[0] / g.block[1];
    case Special::NtidX: return g.block[0];
    case Special::NtidY: return g.block[1];
    case Special::NtidZ: return g.block[2];
    case Special::NctaidX: return g.grid[0];
    case Special::NctaidY: return g.grid[1];
    case Special::NctaidZ: return g.grid[2];
    case Special::LaneId: return static_cast<u32>(lane);
    case Special::WarpId: return static_cast<u32>(w.index);
    case Special::NwarpId: return (g.block[0] * g.block[1] * g.block[2] + 31) / 32;
    case Special::MaskEq: return bit;
    case Special::MaskLt: return bit - 1;
    case Special::MaskLe: return bit | (bit - 1);
    case Special::MaskGt: return ~(bit | (bit - 1));
    case Special::MaskGe: return ~(bit - 1);
    case Special::DynamicShared: return g.dynamic_shared;
    case Special::TotalShared: return kernel.dynamic_offset + g.dynamic_shared;
    case Special::NsmId: return static_cast<u32>(card().multiprocessors);
    default: return 0;
  }
}

// All blocks that one host thread takes.
class Worker {
 public:
  Worker(const Kernel& kernel, const Grid& grid, const std::vector<u8>& parameters)
      : kernel_(kernel), grid_(grid), threads_(grid.block[0] * grid.block[1] * grid.block[2]) {
    const size_t warps = (threads_ + 31) / 32;
    const u32 static_shared = grid.dynamic_shared > 0 ? kernel.dynamic_offset : kernel.static_shared;
    block_.shared_bytes = static_shared + grid.dynamic_shared;
    block_.shared = scratch.shared.at_least(block_.shared_bytes + 64);
    block_.parameters = parameters.data();
    block_.parameter_bytes = kernel.parameter_bytes;
    const size_t local = (kernel.local_bytes + 15) / 16 * 16;
    u8* registers = scratch.registers.at_least(warps * kernel.register_bytes + 64);
    u8* locals = scratch.local.at_least(warps * local * kLanes + 64);
    scratch.ranges.assign(kernel.ranges + 1, Range{});
    scratch.warps.resize(warps);
    for (size_t i = 0; i < warps; ++i) {
      Warp& w = scratch.warps[i];
      w.registers = registers + i * kernel.register_bytes;
      w.local = locals + i * local * kLanes;
      w.local_bytes = static_cast<u32>(local);
      w.block = &block_;
      w.kernel = &kernel;
      w.ranges = scratch.ranges.data();
      w.index = static_cast<int>(i);
      w.warp_instructions = w.thread_instructions = 0;
      w.traffic = card().traffic ? &traffic_ : nullptr;
      fill_constants(w);
    }
  }

  ~Worker() {
    for (const Warp& w : scratch.warps) {
      total_warp_instructions += w.warp_instructions;
      total_thread_instructions += w.thread_instructions;
      traffic_.instructions += w.warp_instructions;
    }
    if (card().traffic) add_traffic(kernel_.name, traffic_);
  }

  void run(u64 number) {
    const u64 plane = static_cast<u64>(grid_.grid[0]) * grid_.grid[1];
    block_.x = static_cast<u32>(number % grid_.grid[0]);
    block_.y = static_cast<u32>(number / grid_.grid[0] % grid_.grid[1]);
    block_.z = static_cast<u32>(number / plane);
    // Shared memory holds anything at first: NaN bytes show who reads before writing.
    std::memset(block_.shared, 0xff, block_.shared_bytes);
    std::fill(arrived_, arrived_ + kBarriers, 0);
    for (Warp& w : scratch.warps) start(w);
    bool backwards = false;
    while (step(backwards)) backwards = !backwards;
  }

 private:
  void fill_constants(Warp& w) {
    for (const Constant& c : kernel_.constants) {
      if (c.width == 8) std::fill_n(w.lanes<u64>(c.place), kLanes, c.value);
      else if (c.width == 4) std::fill_n(w.lanes<u32>(c.place), kLanes, static_cast<u32>(c.value));
      else w.predicate(c.place) = static_cast<u32>(c.value);
    }
    for (const SpecialRegister& s : kernel_.specials) {
      for (int l = 0; l < kLanes; ++l) w.lanes<u32>(s.place)[l] = special_value(s, grid_, w, kernel_, l);
    }
  }

  void start(Warp& w) {
    const u32 rest = threads_ - static_cast<u32>(w.index) * kLanes;
    w.live = w.started = rest >= kLanes ? kAllLanes : (1u << rest) - 1;
    w.groups.assign(1, Group{w.live, 0});
    w.copies.clear();
    w.async.clear();
    w.instruction_limit = w.warp_instructions + card().instruction_limit;
    w.arrivals = arrived_;
    for (const SpecialRegister& s : kernel_.specials) {
      if (s.which == Special::CtaidX) std::fill_n(w.lanes<u32>(s.place), kLanes, block_.x);
      if (s.which == Special::CtaidY) std::fill_n(w.lanes<u32>(s.place), kLanes, block_.y);
      if (s.which == Special::CtaidZ) std::fill_n(w.lanes<u32>(s.place), kLanes, block_.z);
    }
  }

  // Runs every warp as far as it gets, in alternating order so that a missing barrier shows in one direction or the
  // other; then opens barriers. False when the block is done.
  bool step(bool backwards) {
    std::vector<Warp>& warps = scratch.warps;
    const size_t n = warps.size();
    for (size_t i = 0; i < n; ++i) run_warp(warps[backwards ? n - 1 - i : i]);
    if (std::all_of(warps.begin(), warps.end(), [](const Warp& w) { return w.groups.empty(); })) return false;
    if (!open_barriers()) stuck();
    return true;
  }

  bool open_barriers() {
    bool opened = false;
    for (u32 id = 0; id < kBarriers; ++id) {
      u32 waiting = arrived_[id], expected = 0, live = 0;
      bool any = false;
      for (const Warp& w : scratch.warps) {
        live += static_cast<u32>(std::popcount(w.live));
        for (const Group& g : w.groups) {
          if (g.state != Group::AtBarrier || g.barrier != id) continue;
          any = true;
          waiting += static_cast<u32>(std::popcount(g.mask));
          expected = g.expected;
        }
      }
      if (!any || waiting < (expected > 0 ? std::min(expected, threads_) : live)) continue;
      for (Warp& w : scratch.warps) {
        for (Group& g : w.groups) {
          if (g.state == Group::AtBarrier && g.barrier == id) g.state = Group::Ready;
        }
      }
      arrived_[id] = 0;
      opened = true;
    }
    return opened;
  }

  [[noreturn]] void stuck() {
    for (Warp& w : scratch.warps) {
      for (const Group& g : w.groups) {
        if (g.state != Group::AtSync) continue;
        const Instruction& in = kernel_.code[static_cast<size_t>(g.pc)];
        fault(w, in, std::countr_zero(g.mask), kIllegalInstruction,
              format("divergent: lanes 0x%08x wait here for lanes of the warp that never come", g.mask));
      }
    }
    for (Warp& w : scratch.warps) {
      for (const Group& g : w.groups) {
        const Instruction& in = kernel_.code[static_cast<size_t>(g.pc)];
        fault(w, in, std::countr_zero(g.mask), kLaunchTimeout,
              format("deadlock: lanes 0x%08x wait at a barrier that not all threads reach", g.mask));
      }
    }
    std::abort();
  }

  const Kernel& kernel_;
  const Grid& grid_;
  const u32 threads_;
  Block block_;
  Traffic traffic_;
  u32 arrived_[kBarriers] = {};
};

}  // namespace

void wait_at_barrier(Warp& w, Group& group, const Instruction& in) {
  const int lane = std::countr_zero(group.mask);
  const u32 id = w.lanes<u32>(in.src[0])[lane];
  if (id >= kBarriers) fault(w, in, lane, kIllegalInstruction, format("barrier %u of 16", id));
  group.state = Group::AtBarrier;
  group.barrier = id;
  group.expected = w.lanes<u32>(in.src[1])[lane];
  ++group.pc;
}

void arrive_at_barrier(Warp& w, const Instruction& in, u32 lanes) {
  const int lane = std::countr_zero(lanes);
  const u32 id = w.lanes<u32>(in.src[0])[lane];
  if (id >= kBarriers) fault(w, in, lane, kIllegalInstruction, format("barrier %u of 16", id));
  w.arrivals[id] += static_cast<u32>(std::popcount(lanes));
}

void execute(const Kernel& kernel, const Grid& grid, const std::vector<u8>& parameters) {
  const u64 blocks = static_cast<u64>(grid.grid[0]) * grid.grid[1] * grid.grid[2];
  std::atomic<u64> next{0};
  std::atomic<bool> failed{false};
  std::exception_ptr first;
  std::mutex first_mutex;
  const auto work = [&](int) {
    try {
      if (next.load() >= blocks) return;
      Worker worker(kernel, grid, parameters);
      for (u64 block; !failed.load() && (block = next++) < blocks;) worker.run(block);
    } catch (...) {
      const std::lock_guard lock(first_mutex);
      if (!failed.exchange(true)) first = std::current_exception();
    }
  };
  const int threads = static_cast<int>(std::min<u64>(blocks, static_cast<u64>(card().host_threads())));
  if (threads <= 1) work(0);
  else pool().run(threads, work);
  if (first) std::rethrow_exception(first);
}

void fault(const Warp& w, const Instruction& in, int lane, Result code, const std::string& what) {
  const Kernel& kernel = *w.kernel;
  std::string_view text;
  const auto& lines = kernel.module->lines;
  if (in.line >= 1 && static_cast<size_t>(in.line) <= lines.size()) text = lines[static_cast<size_t>(in.line) - 1];
  const size_t start = text.find_first_not_of(" \t");
  if (start != std::string_view::npos) text = text.substr(start);
  throw Fault(code,
              format("kernel %s, PTX line %d (%s), block (%u, %u, %u), thread %d: ", kernel.name.c_str(), in.line,
                     std::string(text).c_str(), w.block->x, w.block->y, w.block->z, w.index * kLanes + lane)
                  + what,
              lane);
}

u64 warp_instructions() { return total_warp_instructions; }
u64 thread_instructions() { return total_thread_instructions; }
void forget_instructions() { total_warp_instructions = total_thread_instructions = 0; }

}  // namespace standin
