package dev.hone.kernel.cuda;

import java.lang.foreign.Arena;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/** A driver's functions for stream capture and graphs, with every result checked as {@link Driver} does. */
final class GraphDriver {
  /** CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: calls that a capture forbids fail on this thread, others go on. */
  private static final int THREAD_LOCAL = 1;
  /** CU_STREAM_CAPTURE_STATUS_ACTIVE. */
  private static final int ACTIVE = 1;

  /** CUDA_KERNEL_NODE_PARAMS_v1. */
  private static final MemoryLayout NODE =
      MemoryLayout.structLayout(
          ValueLayout.ADDRESS.withName("func"),
          MemoryLayout.sequenceLayout(3, ValueLayout.JAVA_INT).withName("gridDim"),
          MemoryLayout.sequenceLayout(3, ValueLayout.JAVA_INT).withName("blockDim"),
          ValueLayout.JAVA_INT.withName("sharedMemBytes"),
          MemoryLayout.paddingLayout(4),
          ValueLayout.ADDRESS.withName("kernelParams"),
          ValueLayout.ADDRESS.withName("extra"));

  private static final long GRID = 8;
  private static final long BLOCK = 20;
  private static final long SHARED = 32;
  private static final long PARAMETERS = 40;

  private final Driver driver;
  private final DriverApi api;
  /** Where calls leave status, dependencies and their number. */
  private final MemorySegment result = Arena.global().allocate(24, 8);
  private final MemorySegment node = Arena.global().allocate(NODE);

  GraphDriver(Driver driver, DriverApi api) {
    this.driver = driver;
    this.api = api;
  }

  /** From now on a stream's work is recorded, not done. */
  void beginCapture(MemorySegment stream) {
    int code;
    try {
      code = (int) api.streamBeginCapture.invokeExact(stream, THREAD_LOCAL);
    } catch (Throwable t) {
      throw Driver.mismatch("cuStreamBeginCapture_v2", t);
    }
    driver.check("cuStreamBeginCapture_v2", code);
  }

  /** The node that the stream's last recorded call made. */
  MemorySegment lastNode(MemorySegment stream) {
    int code;
    try {
      code = (int) api.streamGetCaptureInfo.invokeExact(
          stream, result, MemorySegment.NULL, MemorySegment.NULL, result.asSlice(8), result.asSlice(16));
    } catch (Throwable t) {
      throw Driver.mismatch("cuStreamGetCaptureInfo_v2", t);
    }
    driver.check("cuStreamGetCaptureInfo_v2", code);
    int status = result.get(ValueLayout.JAVA_INT, 0);
    long nodes = status == ACTIVE ? result.get(ValueLayout.JAVA_LONG, 16) : 0;
    if (nodes != 1) {
      throw driver.failed(
          "cuStreamGetCaptureInfo_v2", 0, "status " + status + ", the stream's next node comes after " + nodes);
    }
    return result.get(ValueLayout.ADDRESS, 8).reinterpret(8).get(ValueLayout.ADDRESS, 0);
  }

  /** The graph of what was recorded. */
  MemorySegment endCapture(MemorySegment stream) {
    int code;
    try {
      code = (int) api.streamEndCapture.invokeExact(stream, result);
    } catch (Throwable t) {
      throw Driver.mismatch("cuStreamEndCapture", t);
    }
    driver.check("cuStreamEndCapture", code);
    return result.get(ValueLayout.ADDRESS, 0);
  }

  /** A graph made ready to launch; takes memory on the card. */
  MemorySegment instantiate(MemorySegment graph) {
    int code;
    try {
      code = (int) api.graphInstantiate.invokeExact(result, graph, 0L);
    } catch (Throwable t) {
      throw Driver.mismatch("cuGraphInstantiateWithFlags", t);
    }
    driver.check("cuGraphInstantiateWithFlags", code);
    return result.get(ValueLayout.ADDRESS, 0);
  }

  /** Begins a graph; the CUresult, as of a kernel's launch. */
  int launch(MemorySegment executable, MemorySegment stream) {
    try {
      return (int) api.graphLaunch.invokeExact(executable, stream);
    } catch (Throwable t) {
      throw Driver.mismatch("cuGraphLaunch", t);
    }
  }

  /**
   * Sets a kernel's arguments for the launches to come.
   *
   * @param node of the graph that {@code executable} was made of
   * @param parameters one pointer for each parameter
   */
  void setKernel(
      MemorySegment executable, MemorySegment node, MemorySegment function, int gridX, int gridY, int block,
      int sharedBytes, MemorySegment parameters) {
    MemorySegment p = this.node;
    p.set(ValueLayout.ADDRESS, 0, function);
    set(p, GRID, gridX, gridY);
    set(p, BLOCK, block, 1);
    p.set(ValueLayout.JAVA_INT, SHARED, sharedBytes);
    p.set(ValueLayout.ADDRESS, PARAMETERS, parameters);
    int code;
    try {
      code = (int) api.graphExecKernelNodeSetParams.invokeExact(executable, node, p);
    } catch (Throwable t) {
      throw Driver.mismatch("cuGraphExecKernelNodeSetParams", t);
    }
    driver.check("cuGraphExecKernelNodeSetParams", code);
  }

  private static void set(MemorySegment p, long at, int x, int y) {
    p.set(ValueLayout.JAVA_INT, at, x);
    p.set(ValueLayout.JAVA_INT, at + 4, y);
    p.set(ValueLayout.JAVA_INT, at + 8, 1);
  }

  void destroyExecutable(MemorySegment executable) {
    int code;
    try {
      code = (int) api.graphExecDestroy.invokeExact(executable);
    } catch (Throwable t) {
      throw Driver.mismatch("cuGraphExecDestroy", t);
    }
    driver.check("cuGraphExecDestroy", code);
  }

  void destroyGraph(MemorySegment graph) {
    int code;
    try {
      code = (int) api.graphDestroy.invokeExact(graph);
    } catch (Throwable t) {
      throw Driver.mismatch("cuGraphDestroy", t);
    }
    driver.check("cuGraphDestroy", code);
  }
}
