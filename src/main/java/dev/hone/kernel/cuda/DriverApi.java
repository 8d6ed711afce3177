package dev.hone.kernel.cuda;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import dev.hone.config.UserError;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.SymbolLookup;
import java.lang.invoke.MethodHandle;

/**
 * The functions of the CUDA driver API that Hone calls, one handle each. Every one returns a CUresult. A CUdeviceptr is
 * JAVA_LONG, CUmodule, CUfunction, CUstream, CUevent, CUcontext, CUgraph, CUgraphExec and CUgraphNode are ADDRESS, a CUdevice is JAVA_INT; the names carry
 * the versions of cuda.h.
 */
final class DriverApi {
  final MethodHandle init;
  final MethodHandle driverGetVersion;
  final MethodHandle getErrorName;
  final MethodHandle getErrorString;
  final MethodHandle deviceGetCount;
  final MethodHandle deviceGet;
  final MethodHandle deviceGetName;
  final MethodHandle deviceTotalMem;
  final MethodHandle deviceGetAttribute;
  final MethodHandle primaryCtxRetain;
  final MethodHandle primaryCtxRelease;
  final MethodHandle ctxSetCurrent;
  final MethodHandle moduleLoadDataEx;
  final MethodHandle moduleUnload;
  final MethodHandle moduleGetFunction;
  final MethodHandle funcSetAttribute;
  final MethodHandle memGetInfo;
  final MethodHandle memAlloc;
  final MethodHandle memFree;
  final MethodHandle memAllocHost;
  final MethodHandle memFreeHost;
  final MethodHandle memcpyHtoDAsync;
  final MethodHandle memcpyDtoHAsync;
  final MethodHandle memcpyDtoDAsync;
  final MethodHandle memsetD8Async;
  final MethodHandle streamCreate;
  final MethodHandle streamDestroy;
  final MethodHandle streamSynchronize;
  final MethodHandle streamWaitEvent;
  final MethodHandle eventCreate;
  final MethodHandle eventDestroy;
  final MethodHandle eventRecord;
  final MethodHandle eventSynchronize;
  final MethodHandle eventElapsedTime;
  final MethodHandle launchKernel;
  final MethodHandle streamBeginCapture;
  final MethodHandle streamGetCaptureInfo;
  final MethodHandle streamEndCapture;
  final MethodHandle graphInstantiate;
  final MethodHandle graphLaunch;
  final MethodHandle graphExecKernelNodeSetParams;
  final MethodHandle graphExecDestroy;
  final MethodHandle graphDestroy;

  private final SymbolLookup library;
  private final String path;

  private DriverApi(String path, SymbolLookup library) {
    this.path = path;
    this.library = library;
    init = function("cuInit", JAVA_INT);
    driverGetVersion = function("cuDriverGetVersion", ADDRESS);
    getErrorName = function("cuGetErrorName", JAVA_INT, ADDRESS);
    getErrorString = function("cuGetErrorString", JAVA_INT, ADDRESS);
    deviceGetCount = function("cuDeviceGetCount", ADDRESS);
    deviceGet = function("cuDeviceGet", ADDRESS, JAVA_INT);
    deviceGetName = function("cuDeviceGetName", ADDRESS, JAVA_INT, JAVA_INT);
    deviceTotalMem = function("cuDeviceTotalMem_v2", ADDRESS, JAVA_INT);
    deviceGetAttribute = function("cuDeviceGetAttribute", ADDRESS, JAVA_INT, JAVA_INT);
    primaryCtxRetain = function("cuDevicePrimaryCtxRetain", ADDRESS, JAVA_INT);
    primaryCtxRelease = function("cuDevicePrimaryCtxRelease_v2", JAVA_INT);
    ctxSetCurrent = function("cuCtxSetCurrent", ADDRESS);
    moduleLoadDataEx = function("cuModuleLoadDataEx", ADDRESS, ADDRESS, JAVA_INT, ADDRESS, ADDRESS);
    moduleUnload = function("cuModuleUnload", ADDRESS);
    moduleGetFunction = function("cuModuleGetFunction", ADDRESS, ADDRESS, ADDRESS);
    funcSetAttribute = function("cuFuncSetAttribute", ADDRESS, JAVA_INT, JAVA_INT);
    memGetInfo = function("cuMemGetInfo_v2", ADDRESS, ADDRESS);
    memAlloc = function("cuMemAlloc_v2", ADDRESS, JAVA_LONG);
    memFree = function("cuMemFree_v2", JAVA_LONG);
    memAllocHost = function("cuMemAllocHost_v2", ADDRESS, JAVA_LONG);
    memFreeHost = function("cuMemFreeHost", ADDRESS);
    memcpyHtoDAsync = function("cuMemcpyHtoDAsync_v2", JAVA_LONG, ADDRESS, JAVA_LONG, ADDRESS);
    memcpyDtoHAsync = function("cuMemcpyDtoHAsync_v2", ADDRESS, JAVA_LONG, JAVA_LONG, ADDRESS);
    memcpyDtoDAsync = function("cuMemcpyDtoDAsync_v2", JAVA_LONG, JAVA_LONG, JAVA_LONG, ADDRESS);
    memsetD8Async = function("cuMemsetD8Async", JAVA_LONG, JAVA_BYTE, JAVA_LONG, ADDRESS);
    streamCreate = function("cuStreamCreate", ADDRESS, JAVA_INT);
    streamDestroy = function("cuStreamDestroy_v2", ADDRESS);
    streamSynchronize = function("cuStreamSynchronize", ADDRESS);
    streamWaitEvent = function("cuStreamWaitEvent", ADDRESS, ADDRESS, JAVA_INT);
    eventCreate = function("cuEventCreate", ADDRESS, JAVA_INT);
    eventDestroy = function("cuEventDestroy_v2", ADDRESS);
    eventRecord = function("cuEventRecord", ADDRESS, ADDRESS);
    eventSynchronize = function("cuEventSynchronize", ADDRESS);
    eventElapsedTime = function("cuEventElapsedTime", ADDRESS, ADDRESS, ADDRESS);
    launchKernel = function(
        "cuLaunchKernel", ADDRESS, JAVA_INT, JAVA_INT, JAVA_INT, JAVA_INT, JAVA_INT, JAVA_INT, JAVA_INT, ADDRESS,
        ADDRESS, ADDRESS);
    streamBeginCapture = function("cuStreamBeginCapture_v2", ADDRESS, JAVA_INT);
    streamGetCaptureInfo = function(
        "cuStreamGetCaptureInfo_v2", ADDRESS, ADDRESS, ADDRESS, ADDRESS, ADDRESS, ADDRESS);
    streamEndCapture = function("cuStreamEndCapture", ADDRESS, ADDRESS);
    graphInstantiate = function("cuGraphInstantiateWithFlags", ADDRESS, ADDRESS, JAVA_LONG);
    graphLaunch = function("cuGraphLaunch", ADDRESS, ADDRESS);
    graphExecKernelNodeSetParams = function("cuGraphExecKernelNodeSetParams", ADDRESS, ADDRESS, ADDRESS);
    graphExecDestroy = function("cuGraphExecDestroy", ADDRESS);
    graphDestroy = function("cuGraphDestroy", ADDRESS);
  }

  /**
   * Loads a driver library.
   *
   * @param library path, or the bare name by which the system finds it
   * @throws UserError when there is none, or it is no CUDA driver
   */
  static DriverApi open(String library) {
    SymbolLookup lookup;
    try {
      lookup = SymbolLookup.libraryLookup(library, Arena.global());
    } catch (IllegalArgumentException e) {
      throw new UserError(
          "no NVIDIA driver: " + library + " cannot be loaded; install the driver, or use --device cpu", e);
    }
    return new DriverApi(library, lookup);
  }

  String path() {
    return path;
  }

  private MethodHandle function(String name, MemoryLayout... parameters) {
    return Linker.nativeLinker().downcallHandle(
        library.find(name).orElseThrow(() -> UserError.of(
            "%s is no CUDA driver that Hone can use: it has no %s; update the driver", path, name)),
        FunctionDescriptor.of(JAVA_INT, parameters));
  }
}
