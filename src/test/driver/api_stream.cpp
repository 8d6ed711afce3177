// Driver API: streams, events, capture and graphs.
#include <algorithm>

#include "api.h"

using namespace standin;

namespace {

int create_stream(const char* name, void** stream, unsigned flags) {
  return call(name, Needs::Context, [&](State& s) {
    need(flags <= 1, "unknown stream flags");
    const auto created = s.streams.create(flags == 0);
    *stream = created.get();
    s.streams_by_handle[*stream] = created;
  });
}

bool is_done(const Event& event) {
  return !event.recorded || event.mark.stream == nullptr || event.mark.stream->done >= event.mark.sequence;
}

}  // namespace

STANDIN_API int cuStreamCreate(void** stream, unsigned flags) { return create_stream("cuStreamCreate", stream, flags); }
STANDIN_API int cuStreamCreateWithPriority(void** stream, unsigned flags, int) {
  return create_stream("cuStreamCreateWithPriority", stream, flags);
}

STANDIN_API int cuStreamDestroy_v2(void* stream) {
  return call("cuStreamDestroy", Needs::Context, [&](State& s) {
    const auto found = s.streams_by_handle.find(stream);
    if (found == s.streams_by_handle.end()) throw Fault(kInvalidHandle, "no such stream");
    s.streams.destroy(found->second);
    s.streams_by_handle.erase(found);
  });
}

STANDIN_API int cuStreamSynchronize(void* stream) {
  return call("cuStreamSynchronize", Needs::Context, [&](State& s) {
    ++s.counters.synchronisations;
    const auto target = s.stream(stream);
    s.streams.finish(target);
    // The default stream is done when the blocking streams before it are.
    if (target == s.streams.default_stream()) {
      s.streams.submit(target, Work::Copy, [] {});
      s.streams.finish(target);
    }
  });
}

STANDIN_API int cuStreamQuery(void* stream) {
  return call("cuStreamQuery", Needs::Context, [&](State& s) {
    const auto target = s.stream(stream);
    if (target->done == target->submitted) return;
    s.streams.advance(target);
    throw Fault(kNotReady, "the stream has work");
  });
}

STANDIN_API int cuStreamWaitEvent(void* stream, void* event, unsigned) {
  return call("cuStreamWaitEvent", Needs::Context,
              [&](State& s) { s.streams.wait(s.stream(stream), s.event(event)); });
}

STANDIN_API int cuEventCreate(void** event, unsigned flags) {
  return call("cuEventCreate", Needs::Context, [&](State& s) {
    auto created = std::make_unique<Event>();
    created->timed = (flags & 2) == 0;
    *event = created.get();
    s.events.emplace(*event, std::move(created));
  });
}

STANDIN_API int cuEventDestroy_v2(void* event) {
  return call("cuEventDestroy", Needs::Context, [&](State& s) {
    s.event(event);
    s.events.erase(event);
  });
}

STANDIN_API int cuEventRecord(void* event, void* stream) {
  return call("cuEventRecord", Needs::Context,
              [&](State& s) { s.streams.record(s.event(event), s.stream(stream)); });
}

STANDIN_API int cuEventSynchronize(void* event) {
  return call("cuEventSynchronize", Needs::Context, [&](State& s) {
    ++s.counters.synchronisations;
    const Event& e = s.event(event);
    if (e.capture != nullptr) throw Fault(kStreamCaptureUnsupported, "the event belongs to a capture");
    if (!is_done(e)) s.streams.finish(e.mark.stream, e.mark.sequence);
  });
}

STANDIN_API int cuEventQuery(void* event) {
  return call("cuEventQuery", Needs::Context, [&](State& s) {
    const Event& e = s.event(event);
    if (is_done(e)) return;
    s.streams.advance(e.mark.stream);
    throw Fault(kNotReady, "the event has not happened");
  });
}

STANDIN_API int cuEventElapsedTime(float* milliseconds, void* start, void* end) {
  return call("cuEventElapsedTime", Needs::Context, [&](State& s) {
    const Event& a = s.event(start);
    const Event& b = s.event(end);
    if (!a.timed || !b.timed || !a.recorded || !b.recorded) throw Fault(kInvalidHandle, "an event without a time");
    if (!is_done(a) || !is_done(b)) throw Fault(kNotReady, "an event has not happened");
    *milliseconds = std::chrono::duration<float, std::milli>(*b.time - *a.time).count();
  });
}

STANDIN_API int cuStreamBeginCapture_v2(void* stream, int) {
  return call("cuStreamBeginCapture", Needs::Context, [&](State& s) { s.streams.begin_capture(s.stream(stream)); });
}

STANDIN_API int cuStreamIsCapturing(void* stream, int* status) {
  return call("cuStreamIsCapturing", Needs::Context, [&](State& s) {
    const auto target = s.stream(stream);
    *status = target->capture == nullptr ? 0 : target->capture->invalid ? 2 : 1;
  });
}

// The nodes that the stream's next one would come after; the array lives until the next such call or the capture's end.
STANDIN_API int cuStreamGetCaptureInfo_v2(void* stream, int* status, u64* id, void** graph, void* const** dependencies,
                                          size_t* count) {
  return call("cuStreamGetCaptureInfo", Needs::Context, [&](State& s) {
    need(status != nullptr, "status is null");
    const auto target = s.stream(stream);
    const auto& capture = target->capture;
    *status = capture == nullptr ? 0 : capture->invalid ? 2 : 1;
    if (*status != 1) return;
    if (id != nullptr) *id = reinterpret_cast<u64>(capture.get());
    if (graph != nullptr) *graph = capture.get();
    capture->frontier.clear();
    for (const int node : target->frontier) {
      capture->frontier.push_back(reinterpret_cast<void*>(capture->nodes[static_cast<size_t>(node)].handle));
    }
    if (dependencies != nullptr) *dependencies = capture->frontier.data();
    if (count != nullptr) *count = capture->frontier.size();
  });
}

STANDIN_API int cuStreamEndCapture(void* stream, void** graph) {
  return call("cuStreamEndCapture", Needs::Context, [&](State& s) {
    *graph = nullptr;
    auto captured = s.streams.end_capture(s.stream(stream));
    *graph = captured.get();
    s.graphs.emplace(*graph, std::move(captured));
  });
}

STANDIN_API int cuGraphInstantiateWithFlags(void** executable, void* graph, unsigned long long) {
  return call("cuGraphInstantiate", Needs::Context, [&](State& s) {
    const auto found = s.graphs.find(graph);
    if (found == s.graphs.end()) throw Fault(kInvalidHandle, "no such graph");
    auto copy = std::make_shared<Graph>(*found->second);
    const u64 bytes = copy->nodes.size() * card().graph_node;
    const u64 address = bytes == 0 ? 0 : device().memory.allocate(bytes, false);
    *executable = copy.get();
    if (address != 0) s.executable_memory.emplace(*executable, address);
    s.executables.emplace(*executable, std::move(copy));
  });
}

STANDIN_API int cuGraphLaunch(void* executable, void* stream) {
  return call("cuGraphLaunch", Needs::Context, [&](State& s) {
    const auto found = s.executables.find(executable);
    if (found == s.executables.end()) throw Fault(kInvalidHandle, "no such executable graph");
    s.streams.submit(s.stream(stream), Work::Kernel, [graph = found->second] {
      ++state().counters.graph_launches;
      Streams::run(*graph);
    });
  });
}

namespace {

// CUDA_KERNEL_NODE_PARAMS_v1.
struct KernelNodeParameters {
  void* function;
  unsigned grid[3], block[3], shared;
  void** arguments;
  void** extra;
};

}  // namespace

// Counts for launches to come: what was launched before and has not run yet keeps its parameters.
STANDIN_API int cuGraphExecKernelNodeSetParams(void* executable, void* node, const KernelNodeParameters* p) {
  return call("cuGraphExecKernelNodeSetParams", Needs::Context, [&](State& s) {
    const auto found = s.executables.find(executable);
    if (found == s.executables.end()) throw Fault(kInvalidHandle, "no such executable graph");
    need(p != nullptr && p->extra == nullptr, "'extra' is not supported, use kernelParams");
    std::shared_ptr<Graph>& graph = found->second;
    if (graph.use_count() > 1) graph = std::make_shared<Graph>(*graph);
    const auto at = std::find_if(graph->nodes.begin(), graph->nodes.end(), [node](const Node& each) {
      return each.handle == reinterpret_cast<u64>(node);
    });
    if (at == graph->nodes.end() || !at->kernel) throw Fault(kInvalidHandle, "no such kernel node in the graph");
    const Grid grid{{p->grid[0], p->grid[1], p->grid[2]}, {p->block[0], p->block[1], p->block[2]}, p->shared};
    at->run = kernel_work(s, p->function, grid, p->arguments);
  });
}

STANDIN_API int cuGraphExecDestroy(void* executable) {
  return call("cuGraphExecDestroy", Needs::Context, [&](State& s) {
    if (s.executables.erase(executable) == 0) throw Fault(kInvalidHandle, "no such executable graph");
    const auto memory = s.executable_memory.find(executable);
    if (memory == s.executable_memory.end()) return;
    device().memory.free(memory->second);
    s.executable_memory.erase(memory);
  });
}

STANDIN_API int cuGraphDestroy(void* graph) {
  return call("cuGraphDestroy", Needs::Context, [&](State& s) {
    if (s.graphs.erase(graph) == 0) throw Fault(kInvalidHandle, "no such graph");
  });
}

STANDIN_API int cuGraphGetNodes(void* graph, void**, size_t* count) {
  return call("cuGraphGetNodes", Needs::Context, [&](State& s) {
    const auto found = s.graphs.find(graph);
    if (found == s.graphs.end()) throw Fault(kInvalidHandle, "no such graph");
    *count = found->second->nodes.size();
  });
}
