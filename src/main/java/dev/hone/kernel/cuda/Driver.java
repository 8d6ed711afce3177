package dev.hone.kernel.cuda;

import dev.hone.kernel.NativeException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/**
 * An initialised CUDA driver: its functions with every result checked. A call that fails throws a {@link
 * NativeException} that names the call, the code by the driver's own name and what was asked of it. Used by one thread
 * at a time.
 */
final class Driver {
  /** CUDA_ERROR_OUT_OF_MEMORY. */
  static final int OUT_OF_MEMORY = 2;

  /** CUDA_ERROR_OPERATING_SYSTEM: the system refused, as where it limits locked pages. */
  static final int OPERATING_SYSTEM = 304;

  private final DriverApi api;
  /** Where calls leave their results. */
  private final MemorySegment result = Arena.global().allocate(16, 8);

  private Driver(DriverApi api) {
    this.api = api;
  }

  /**
   * Loads and initialises a driver library.
   *
   * @throws dev.hone.config.UserError when there is none
   * @throws NativeException when it cannot be initialised, as where there is no card
   */
  static Driver open(String library) {
    Driver driver = new Driver(DriverApi.open(library));
    driver.init();
    return driver;
  }

  String path() {
    return api.path();
  }

  private void init() {
    int code;
    try {
      code = (int) api.init.invokeExact(0);
    } catch (Throwable t) {
      throw mismatch("cuInit", t);
    }
    check("cuInit", code);
  }

  /** The CUDA version that the driver serves: 1000 major + 10 minor. */
  int version() {
    int code;
    try {
      code = (int) api.driverGetVersion.invokeExact(result);
    } catch (Throwable t) {
      throw mismatch("cuDriverGetVersion", t);
    }
    check("cuDriverGetVersion", code);
    return result.get(ValueLayout.JAVA_INT, 0);
  }

  int deviceCount() {
    int code;
    try {
      code = (int) api.deviceGetCount.invokeExact(result);
    } catch (Throwable t) {
      throw mismatch("cuDeviceGetCount", t);
    }
    check("cuDeviceGetCount", code);
    return result.get(ValueLayout.JAVA_INT, 0);
  }

  int device(int ordinal) {
    int code;
    try {
      code = (int) api.deviceGet.invokeExact(result, ordinal);
    } catch (Throwable t) {
      throw mismatch("cuDeviceGet", t);
    }
    check("cuDeviceGet", code);
    return result.get(ValueLayout.JAVA_INT, 0);
  }

  String deviceName(int device) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment name = arena.allocate(256);
      int code;
      try {
        code = (int) api.deviceGetName.invokeExact(name, (int) name.byteSize(), device);
      } catch (Throwable t) {
        throw mismatch("cuDeviceGetName", t);
      }
      check("cuDeviceGetName", code);
      return name.getString(0);
    }
  }

  long deviceMemory(int device) {
    int code;
    try {
      code = (int) api.deviceTotalMem.invokeExact(result, device);
    } catch (Throwable t) {
      throw mismatch("cuDeviceTotalMem_v2", t);
    }
    check("cuDeviceTotalMem_v2", code);
    return result.get(ValueLayout.JAVA_LONG, 0);
  }

  /** A CUdevice_attribute. */
  int attribute(int attribute, int device) {
    int code;
    try {
      code = (int) api.deviceGetAttribute.invokeExact(result, attribute, device);
    } catch (Throwable t) {
      throw mismatch("cuDeviceGetAttribute", t);
    }
    if (code != 0) {
      throw failed("cuDeviceGetAttribute", code, "attribute " + attribute);
    }
    return result.get(ValueLayout.JAVA_INT, 0);
  }

  /** The primary context of a device, which other users of it in this process share. */
  MemorySegment retainPrimaryContext(int device) {
    int code;
    try {
      code = (int) api.primaryCtxRetain.invokeExact(result, device);
    } catch (Throwable t) {
      throw mismatch("cuDevicePrimaryCtxRetain", t);
    }
    check("cuDevicePrimaryCtxRetain", code);
    return result.get(ValueLayout.ADDRESS, 0);
  }

  void releasePrimaryContext(int device) {
    int code;
    try {
      code = (int) api.primaryCtxRelease.invokeExact(device);
    } catch (Throwable t) {
      throw mismatch("cuDevicePrimaryCtxRelease_v2", t);
    }
    check("cuDevicePrimaryCtxRelease_v2", code);
  }

  /** Makes a context the current one of the calling thread. */
  void setCurrent(MemorySegment context) {
    int code;
    try {
      code = (int) api.ctxSetCurrent.invokeExact(context);
    } catch (Throwable t) {
      throw mismatch("cuCtxSetCurrent", t);
    }
    check("cuCtxSetCurrent", code);
  }

  /** CU_JIT_ERROR_LOG_BUFFER and CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES. */
  private static final int[] JIT_ERROR_LOG = {5, 6};

  private static final int LOG_BYTES = 8192;

  /**
   * Loads PTX, which the driver compiles for the card.
   *
   * @param ptx text with a 0 behind it
   * @throws NativeException with the compiler's own words when it refuses the text
   */
  MemorySegment loadModule(String file, MemorySegment ptx) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment log = arena.allocate(LOG_BYTES);
      MemorySegment options = arena.allocateFrom(ValueLayout.JAVA_INT, JIT_ERROR_LOG);
      MemorySegment values = arena.allocate(ValueLayout.ADDRESS, 2);
      values.setAtIndex(ValueLayout.ADDRESS, 0, log);
      values.setAtIndex(ValueLayout.ADDRESS, 1, MemorySegment.ofAddress(LOG_BYTES));
      int code;
      try {
        code = (int) api.moduleLoadDataEx.invokeExact(result, ptx, JIT_ERROR_LOG.length, options, values);
      } catch (Throwable t) {
        throw mismatch("cuModuleLoadDataEx", t);
      }
      if (code != 0) {
        String said = log.getString(0).strip();
        throw failed("cuModuleLoadDataEx", code, file + (said.isEmpty() ? "" : ": " + said));
      }
      return result.get(ValueLayout.ADDRESS, 0);
    }
  }

  void unloadModule(MemorySegment module) {
    int code;
    try {
      code = (int) api.moduleUnload.invokeExact(module);
    } catch (Throwable t) {
      throw mismatch("cuModuleUnload", t);
    }
    check("cuModuleUnload", code);
  }

  MemorySegment function(MemorySegment module, String entry) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment name = arena.allocateFrom(entry);
      int code;
      try {
        code = (int) api.moduleGetFunction.invokeExact(result, module, name);
      } catch (Throwable t) {
        throw mismatch("cuModuleGetFunction", t);
      }
      if (code != 0) {
        throw failed("cuModuleGetFunction", code, entry);
      }
      return result.get(ValueLayout.ADDRESS, 0);
    }
  }

  /** Sets a CUfunction_attribute. */
  void setFunctionAttribute(MemorySegment function, int attribute, int value, String entry) {
    int code;
    try {
      code = (int) api.funcSetAttribute.invokeExact(function, attribute, value);
    } catch (Throwable t) {
      throw mismatch("cuFuncSetAttribute", t);
    }
    if (code != 0) {
      throw failed("cuFuncSetAttribute", code, entry + ", attribute " + attribute + " = " + value);
    }
  }

  /** Bytes of the current context's card that are free. */
  long freeMemory() {
    int code;
    try {
      code = (int) api.memGetInfo.invokeExact(result, result.asSlice(8));
    } catch (Throwable t) {
      throw mismatch("cuMemGetInfo_v2", t);
    }
    check("cuMemGetInfo_v2", code);
    return result.get(ValueLayout.JAVA_LONG, 0);
  }

  /** The address of new memory on the card, not zeroed. */
  long allocate(long bytes) {
    int code;
    try {
      code = (int) api.memAlloc.invokeExact(result, bytes);
    } catch (Throwable t) {
      throw mismatch("cuMemAlloc_v2", t);
    }
    if (code != 0) {
      throw failed("cuMemAlloc_v2", code, bytes + " bytes");
    }
    return result.get(ValueLayout.JAVA_LONG, 0);
  }

  void free(long address) {
    int code;
    try {
      code = (int) api.memFree.invokeExact(address);
    } catch (Throwable t) {
      throw mismatch("cuMemFree_v2", t);
    }
    check("cuMemFree_v2", code);
  }

  /** Host memory that does not move, so that copies of it run by themselves. */
  MemorySegment allocatePinned(long bytes) {
    int code;
    try {
      code = (int) api.memAllocHost.invokeExact(result, bytes);
    } catch (Throwable t) {
      throw mismatch("cuMemAllocHost_v2", t);
    }
    if (code != 0) {
      throw failed("cuMemAllocHost_v2", code, bytes + " bytes");
    }
    return result.get(ValueLayout.ADDRESS, 0).reinterpret(bytes);
  }

  void freePinned(MemorySegment memory) {
    int code;
    try {
      code = (int) api.memFreeHost.invokeExact(memory);
    } catch (Throwable t) {
      throw mismatch("cuMemFreeHost", t);
    }
    check("cuMemFreeHost", code);
  }

  /** Begins a copy from off-heap host memory; at once only from pinned memory. */
  void copyIn(long target, MemorySegment host, long bytes, MemorySegment stream) {
    int code;
    try {
      code = (int) api.memcpyHtoDAsync.invokeExact(target, host, bytes, stream);
    } catch (Throwable t) {
      throw mismatch("cuMemcpyHtoDAsync_v2", t);
    }
    if (code != 0) {
      throw failed("cuMemcpyHtoDAsync_v2", code, bytes + " bytes");
    }
  }

  /** Begins a copy to off-heap host memory. */
  void copyOut(MemorySegment host, long source, long bytes, MemorySegment stream) {
    int code;
    try {
      code = (int) api.memcpyDtoHAsync.invokeExact(host, source, bytes, stream);
    } catch (Throwable t) {
      throw mismatch("cuMemcpyDtoHAsync_v2", t);
    }
    if (code != 0) {
      throw failed("cuMemcpyDtoHAsync_v2", code, bytes + " bytes");
    }
  }

  /** Begins a copy within the card. */
  void copy(long target, long source, long bytes, MemorySegment stream) {
    int code;
    try {
      code = (int) api.memcpyDtoDAsync.invokeExact(target, source, bytes, stream);
    } catch (Throwable t) {
      throw mismatch("cuMemcpyDtoDAsync_v2", t);
    }
    if (code != 0) {
      throw failed("cuMemcpyDtoDAsync_v2", code, bytes + " bytes");
    }
  }

  /** Begins to set bytes to 0. */
  void zero(long target, long bytes, MemorySegment stream) {
    int code;
    try {
      code = (int) api.memsetD8Async.invokeExact(target, (byte) 0, bytes, stream);
    } catch (Throwable t) {
      throw mismatch("cuMemsetD8Async", t);
    }
    if (code != 0) {
      throw failed("cuMemsetD8Async", code, bytes + " bytes");
    }
  }

  /** A stream that does not wait for the default one (CU_STREAM_NON_BLOCKING). */
  MemorySegment createStream() {
    int code;
    try {
      code = (int) api.streamCreate.invokeExact(result, 1);
    } catch (Throwable t) {
      throw mismatch("cuStreamCreate", t);
    }
    check("cuStreamCreate", code);
    return result.get(ValueLayout.ADDRESS, 0);
  }

  void destroyStream(MemorySegment stream) {
    int code;
    try {
      code = (int) api.streamDestroy.invokeExact(stream);
    } catch (Throwable t) {
      throw mismatch("cuStreamDestroy_v2", t);
    }
    check("cuStreamDestroy_v2", code);
  }

  /** Waits for all of a stream's work and returns its CUresult: a fault of a kernel comes out here. */
  int synchronize(MemorySegment stream) {
    try {
      return (int) api.streamSynchronize.invokeExact(stream);
    } catch (Throwable t) {
      throw mismatch("cuStreamSynchronize", t);
    }
  }

  /** Lets the coming work of a stream wait for an event. */
  void waitFor(MemorySegment stream, MemorySegment event) {
    int code;
    try {
      code = (int) api.streamWaitEvent.invokeExact(stream, event, 0);
    } catch (Throwable t) {
      throw mismatch("cuStreamWaitEvent", t);
    }
    check("cuStreamWaitEvent", code);
  }

  MemorySegment createEvent() {
    int code;
    try {
      code = (int) api.eventCreate.invokeExact(result, 0);
    } catch (Throwable t) {
      throw mismatch("cuEventCreate", t);
    }
    check("cuEventCreate", code);
    return result.get(ValueLayout.ADDRESS, 0);
  }

  void destroyEvent(MemorySegment event) {
    int code;
    try {
      code = (int) api.eventDestroy.invokeExact(event);
    } catch (Throwable t) {
      throw mismatch("cuEventDestroy_v2", t);
    }
    check("cuEventDestroy_v2", code);
  }

  void record(MemorySegment event, MemorySegment stream) {
    int code;
    try {
      code = (int) api.eventRecord.invokeExact(event, stream);
    } catch (Throwable t) {
      throw mismatch("cuEventRecord", t);
    }
    check("cuEventRecord", code);
  }

  void synchronizeEvent(MemorySegment event) {
    int code;
    try {
      code = (int) api.eventSynchronize.invokeExact(event);
    } catch (Throwable t) {
      throw mismatch("cuEventSynchronize", t);
    }
    check("cuEventSynchronize", code);
  }

  /** Milliseconds between two events that have happened. */
  float elapsed(MemorySegment from, MemorySegment to) {
    int code;
    try {
      code = (int) api.eventElapsedTime.invokeExact(result, from, to);
    } catch (Throwable t) {
      throw mismatch("cuEventElapsedTime", t);
    }
    check("cuEventElapsedTime", code);
    return result.get(ValueLayout.JAVA_FLOAT, 0);
  }

  /**
   * Begins a kernel.
   *
   * @param parameters one pointer for each parameter
   * @return the CUresult: the launcher knows what to say about it
   */
  int launch(
      MemorySegment function, int gridX, int gridY, int gridZ, int block, int sharedBytes, MemorySegment stream,
      MemorySegment parameters) {
    try {
      return (int) api.launchKernel.invokeExact(
          function, gridX, gridY, gridZ, block, 1, 1, sharedBytes, stream, parameters, MemorySegment.NULL);
    } catch (Throwable t) {
      throw mismatch("cuLaunchKernel", t);
    }
  }

  /** What a failed call is told as: the call, the code's name and meaning, and what was asked. */
  NativeException failed(String call, int code, String detail) {
    String meaning = text(code, false);
    return new NativeException(
        code, call + ": " + text(code, true) + (meaning.isEmpty() ? "" : " (" + meaning + ")")
            + (detail.isEmpty() ? "" : "; " + detail));
  }

  private void check(String call, int code) {
    if (code != 0) {
      throw failed(call, code, "");
    }
  }

  /** The driver's name of a code, or its sentence about it. */
  private String text(int code, boolean name) {
    int status;
    try {
      status =
          name
              ? (int) api.getErrorName.invokeExact(code, result)
              : (int) api.getErrorString.invokeExact(code, result);
    } catch (Throwable t) {
      throw mismatch(name ? "cuGetErrorName" : "cuGetErrorString", t);
    }
    MemorySegment text = result.get(ValueLayout.ADDRESS, 0);
    if (status != 0 || text.equals(MemorySegment.NULL)) {
      return name ? "CUDA error " + code : "";
    }
    return text.reinterpret(Long.MAX_VALUE).getString(0);
  }

  private static AssertionError mismatch(String function, Throwable cause) {
    return new AssertionError(function + ": the binding does not match cuda.h", cause);
  }
}
