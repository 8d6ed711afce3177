// The driver's calls: faults that stick, events, streams, graphs, host memory, what a launch checks.
#include "card.h"

namespace standin::test {
namespace {

const std::string kStore =
    kernel_of(with_pointers("mad.wide.u32 %rd5, %r0, 4, %rd1; st.global.u32 [%rd5], %r0;", 1), 1);

TEST(faults_stick_to_the_context) {
  {
    TestCard card;
    void* function = card.load(kStore);
    const u64 good = card.allocate(128);
    fine(card.launch(function, {1, 1, 1}, {32, 1, 1}, {good - 4096}));
    // The launch itself has not failed: what waits for it does, and then everything.
    refused(cuCtxSynchronize(), 700, "4 bytes of global memory");
    refused(cuCtxSynchronize(), 700);
    u64 more = 0;
    u32 word = 0;
    refused(cuMemAlloc_v2(&more, 16), 700);
    refused(cuMemcpyDtoH_v2(&word, good, 4), 700);
    refused(card.launch(function, {1, 1, 1}, {32, 1, 1}, {good}), 700);
    void* stream = nullptr;
    refused(cuStreamCreate(&stream, 0), 700);
    contains("the first fault is kept", standin_last_fault(), "kernel test");
  }
  // The next context is sound.
  TestCard card;
  const u64 out = card.allocate(128);
  fine(card.run(card.load(kStore), 32, {out}));
  equal("after a new context", card.download<u32>(out, 32)[31], 31u);
}

TEST(refusals_do_not_stick) {
  TestCard card("vram=1048576");
  u64 address = 0;
  refused(cuMemAlloc_v2(&address, 2 << 20), 2);
  refused(cuMemFree_v2(4711), 1);
  void* function = card.load(kStore);
  const u64 out = card.allocate(128);
  refused(card.launch(function, {1, 1, 1}, {1025, 1, 1}, {out}), 1, "a block of 1025 x 1 x 1 threads");
  refused(card.launch(function, {0, 1, 1}, {32, 1, 1}, {out}), 1, "a grid of 0 x 1 x 1 blocks");
  void* nothing[] = {nullptr};
  refused(cuLaunchKernel(function, 1, 1, 1, 32, 1, 1, 0, nullptr, nothing, nullptr), 1, "kernelParams[0] is null");
  refused(cuLaunchKernel(function, 1, 1, 1, 32, 1, 1, 0, nullptr, nullptr, nullptr), 1, "kernelParams is null");
  fine(card.run(function, 32, {out}));
}

TEST(launches_keep_to_maxntid) {
  std::string ptx = kernel_of("", 0);
  ptx.insert(ptx.find(") {") + 1, " .maxntid 64, 1, 1 ");
  TestCard card;
  void* function = card.load(ptx);
  fine(card.run(function, 64, {}));
  refused(card.run(function, 65, {}), 1, ".maxntid allows 64");
}

TEST(events_tell_what_is_done) {
  TestCard card;
  void* function = card.load(kStore);
  const u64 out = card.allocate(128);
  void *before = nullptr, *after = nullptr, *untimed = nullptr, *stream = nullptr;
  fine(cuEventCreate(&before, 0));
  fine(cuEventCreate(&after, 0));
  fine(cuEventCreate(&untimed, 2));
  fine(cuStreamCreate(&stream, 1));
  u64 argument = out;
  void* arguments[] = {&argument};
  refused(cuEventQuery(before), 0);  // never recorded: nothing to wait for
  float time = -1;
  refused(cuEventElapsedTime(&time, before, after), 400);
  fine(cuEventRecord(before, stream));
  fine(cuLaunchKernel(function, 1, 1, 1, 32, 1, 1, 0, stream, arguments, nullptr));
  fine(cuEventRecord(after, stream));
  fine(cuEventRecord(untimed, stream));
  refused(cuEventElapsedTime(&time, before, after), 600);
  refused(cuStreamQuery(stream), 600);
  // A program that polls gets there: each query lets the card do a piece.
  int polls = 0;
  for (int code = 600; code == 600 && polls < 10; ++polls) code = cuEventQuery(after);
  hold(polls > 1 && polls < 10, "polls until the event has happened: " + std::to_string(polls));
  fine(cuEventSynchronize(after));
  fine(cuEventElapsedTime(&time, before, after));
  hold(time >= 0, "the time between two events is negative");
  refused(cuEventElapsedTime(&time, before, untimed), 400);
  fine(cuStreamSynchronize(stream));
  fine(cuStreamQuery(stream));
  equal("the kernel has run", card.download<u32>(out, 32)[31], 31u);
  for (void* event : {before, after, untimed}) fine(cuEventDestroy_v2(event));
  refused(cuEventQuery(before), 400);
  fine(cuStreamDestroy_v2(stream));
}

TEST(streams_run_as_late_as_they_may) {
  TestCard card;
  void *first = nullptr, *second = nullptr, *event = nullptr;
  fine(cuStreamCreate(&first, 1));
  fine(cuStreamCreate(&second, 1));
  fine(cuEventCreate(&event, 0));
  const u64 cell = card.upload(std::vector<u32>{1});
  std::vector<u32> got;
  for (const bool ordered : {false, true}) {
    fine(cuMemsetD32Async(cell, ordered ? 3 : 2, 1, first));
    fine(cuEventRecord(event, first));
    if (ordered) fine(cuStreamWaitEvent(second, event, 0));
    void* host = nullptr;
    fine(cuMemHostAlloc(&host, 4, 0));
    fine(cuMemcpyDtoHAsync_v2(host, cell, 4, second));
    fine(cuStreamSynchronize(second));
    got.push_back(*static_cast<u32*>(host));
    fine(cuStreamSynchronize(first));
    fine(cuMemFreeHost(host));
  }
  // Without the wait the copy sees the old value, every time.
  equal("what the second stream saw", got, std::vector<u32>{1, 3});
}

TEST(host_memory_registered) {
  TestCard card;
  void* stream = nullptr;
  fine(cuStreamCreate(&stream, 1));
  std::vector<u32> host(1024, 5);
  const u64 device = card.allocate(4096);
  // Pageable memory is read at the call, registered memory when the copy runs.
  fine(cuMemcpyHtoDAsync_v2(device, host.data(), 4096, stream));
  std::fill(host.begin(), host.end(), 6u);
  fine(cuStreamSynchronize(stream));
  equal("pageable", card.download<u32>(device, 1)[0], 5u);
  fine(cuMemHostRegister_v2(host.data(), 4096, 0));
  refused(cuMemHostRegister_v2(host.data(), 4096, 0), 712);
  fine(cuMemcpyHtoDAsync_v2(device, host.data(), 4096, stream));
  std::fill(host.begin(), host.end(), 7u);
  fine(cuStreamSynchronize(stream));
  equal("registered", card.download<u32>(device, 1)[0], 7u);
  fine(cuMemHostUnregister(host.data()));
  refused(cuMemHostUnregister(host.data()), 713);
  refused(cuMemHostRegister_v2(nullptr, 4096, 0), 1);
}

TEST(graphs_repeat_what_was_captured) {
  TestCard card;
  void *stream = nullptr, *graph = nullptr, *executable = nullptr;
  fine(cuStreamCreate(&stream, 1));
  void* function = card.load(kernel_of(with_pointers("ld.global.u32 %r1, [%rd1]; mad.lo.u32 %r1, %r1, 3, 1;\n"
                                                     "st.global.u32 [%rd1], %r1;", 1), 1));
  u64 cell = card.upload(std::vector<u32>{1});
  void* arguments[] = {&cell};
  fine(cuStreamBeginCapture_v2(stream, 0));
  for (int i = 0; i < 2; ++i) fine(cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, stream, arguments, nullptr));
  fine(cuStreamEndCapture(stream, &graph));
  const long long before = standin_counter("bytes_in_use");
  fine(cuGraphInstantiateWithFlags(&executable, graph, 0));
  equal("memory of two nodes", standin_counter("bytes_in_use") - before, 2ll * 256);
  equal("captured, not run", card.download<u32>(cell, 1)[0], 1u);
  for (int i = 0; i < 2; ++i) fine(cuGraphLaunch(executable, stream));
  fine(cuStreamSynchronize(stream));
  equal("two launches of two", card.download<u32>(cell, 1)[0], 121u);
  // Waiting for a stream that captures spoils the capture.
  fine(cuStreamBeginCapture_v2(stream, 0));
  refused(cuStreamSynchronize(stream), 900);
  refused(cuStreamEndCapture(stream, &graph), 901);
  fine(cuGraphExecDestroy(executable));
  equal("memory given back", standin_counter("bytes_in_use"), before);
}

TEST(a_graphs_kernel_takes_other_arguments) {
  TestCard card;
  void *stream = nullptr, *graph = nullptr, *executable = nullptr;
  fine(cuStreamCreate(&stream, 1));
  void* function = card.load(kernel_of(with_pointers("ld.global.u32 %r1, [%rd1]; add.u32 %r1, %r1, 1;\n"
                                                     "st.global.u32 [%rd1], %r1;", 1), 1));
  u64 first = card.upload(std::vector<u32>{0}), second = card.upload(std::vector<u32>{0});
  void* arguments[] = {&first};
  int status = -1;
  void* const* nodes = nullptr;
  size_t count = 9;
  fine(cuStreamGetCaptureInfo_v2(stream, &status, nullptr, nullptr, &nodes, &count));
  equal("not capturing", status, 0);
  fine(cuStreamBeginCapture_v2(stream, 1));
  fine(cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, stream, arguments, nullptr));
  fine(cuStreamGetCaptureInfo_v2(stream, &status, nullptr, nullptr, &nodes, &count));
  equal("capturing", status, 1);
  equal("the launch's node", count, size_t(1));
  void* node = nodes[0];
  fine(cuMemsetD32Async(second, 0, 1, stream));
  fine(cuStreamGetCaptureInfo_v2(stream, &status, nullptr, nullptr, &nodes, &count));
  void* fill = nodes[0];
  fine(cuStreamEndCapture(stream, &graph));
  fine(cuGraphInstantiateWithFlags(&executable, graph, 0));
  struct {
    void* function;
    unsigned grid[3], block[3], shared;
    void** arguments;
    void** extra;
  } parameters = {function, {1, 1, 1}, {1, 1, 1}, 0, arguments, nullptr};
  // What was launched before keeps its arguments, though it runs later.
  fine(cuGraphLaunch(executable, stream));
  u64 third = card.upload(std::vector<u32>{5});
  arguments[0] = &third;
  fine(cuGraphExecKernelNodeSetParams(executable, node, &parameters));
  refused(cuGraphExecKernelNodeSetParams(executable, fill, &parameters), 400);
  refused(cuGraphExecKernelNodeSetParams(executable, stream, &parameters), 400);
  fine(cuGraphLaunch(executable, stream));
  fine(cuStreamSynchronize(stream));
  equal("before", card.download<u32>(first, 1)[0], 1u);
  equal("after", card.download<u32>(third, 1)[0], 6u);
  equal("graph launches", standin_counter("graph_launches"), 2ll);
  fine(cuGraphExecDestroy(executable));
  fine(cuGraphDestroy(graph));
}

TEST(globals_by_name) {
  TestCard card;
  void* module = nullptr;
  const std::string ptx = kernel_of("", 0, ".global .align 4 .u32 table[3] = {7, 8, 9};\n");
  fine(cuModuleLoadData(&module, ptx.c_str()));
  u64 address = 0;
  size_t size = 0;
  fine(cuModuleGetGlobal_v2(&address, &size, module, "table"));
  equal("bytes", size, size_t(12));
  equal("table", card.download<u32>(address, 3), std::vector<u32>{7, 8, 9});
  refused(cuModuleGetGlobal_v2(&address, &size, module, "chair"), 500);
  fine(cuModuleUnload(module));
  u32 word = 0;
  refused(cuMemcpyDtoH_v2(&word, address, 4), 1);
}

TEST(counters_count) {
  TestCard card;
  void* function = card.load(kStore);
  const u64 out = card.allocate(256);
  const long long instructions = standin_counter("thread_instructions");
  fine(card.run(function, 48, {out}));
  equal("launches", standin_counter("launches"), 1ll);
  equal("of this kernel", standin_counter("kernel:test"), 1ll);
  equal("its blocks", standin_counter("blocks:test"), 1ll);
  // mov, ld.param, mad, st, ret for each thread.
  equal("instructions", standin_counter("thread_instructions") - instructions, 5ll * 48);
  equal("unknown", standin_counter("cups of tea"), -1ll);
}

}  // namespace
}  // namespace standin::test
