package dev.hone.kernel.cuda.redist;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_INT;

import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.SymbolLookup;
import java.lang.invoke.MethodHandle;

/** The functions of nvrtc.h that {@link Nvrtc} calls. nvrtcResult is an int, nvrtcProgram a pointer. */
final class NvrtcH {
  final MethodHandle version;
  final MethodHandle getNumSupportedArchs;
  final MethodHandle getSupportedArchs;
  final MethodHandle getErrorString;
  final MethodHandle createProgram;
  final MethodHandle destroyProgram;
  final MethodHandle compileProgram;
  final MethodHandle getProgramLogSize;
  final MethodHandle getProgramLog;
  final MethodHandle getPtxSize;
  final MethodHandle getPtx;
  final MethodHandle getCubinSize;
  final MethodHandle getCubin;
  /** Since 13.3; null before. */
  final MethodHandle installBundledHeaders;

  private final SymbolLookup library;

  NvrtcH(SymbolLookup library) {
    this.library = library;
    version = function("nvrtcVersion", JAVA_INT, ADDRESS, ADDRESS);
    getNumSupportedArchs = function("nvrtcGetNumSupportedArchs", JAVA_INT, ADDRESS);
    getSupportedArchs = function("nvrtcGetSupportedArchs", JAVA_INT, ADDRESS);
    getErrorString = function("nvrtcGetErrorString", ADDRESS, JAVA_INT);
    createProgram =
        function("nvrtcCreateProgram", JAVA_INT, ADDRESS, ADDRESS, ADDRESS, JAVA_INT, ADDRESS, ADDRESS);
    destroyProgram = function("nvrtcDestroyProgram", JAVA_INT, ADDRESS);
    compileProgram = function("nvrtcCompileProgram", JAVA_INT, ADDRESS, JAVA_INT, ADDRESS);
    getProgramLogSize = function("nvrtcGetProgramLogSize", JAVA_INT, ADDRESS, ADDRESS);
    getProgramLog = function("nvrtcGetProgramLog", JAVA_INT, ADDRESS, ADDRESS);
    getPtxSize = function("nvrtcGetPTXSize", JAVA_INT, ADDRESS, ADDRESS);
    getPtx = function("nvrtcGetPTX", JAVA_INT, ADDRESS, ADDRESS);
    getCubinSize = function("nvrtcGetCUBINSize", JAVA_INT, ADDRESS, ADDRESS);
    getCubin = function("nvrtcGetCUBIN", JAVA_INT, ADDRESS, ADDRESS);
    installBundledHeaders = library.find("nvrtcInstallBundledHeaders").isPresent()
        ? function("nvrtcInstallBundledHeaders", JAVA_INT, ADDRESS, JAVA_INT, ADDRESS)
        : null;
  }

  private MethodHandle function(String name, MemoryLayout result, MemoryLayout... parameters) {
    return Linker.nativeLinker().downcallHandle(
        library.find(name).orElseThrow(() -> new UnsatisfiedLinkError("this NVRTC has no " + name)),
        FunctionDescriptor.of(result, parameters));
  }
}
