package dev.hone.kernel.cuda.redist;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import dev.hone.kernel.NativeException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.stream.Collectors;

/**
 * NVIDIA's run-time compiler for CUDA C++, where it is found: PTX for a virtual architecture ({@code compute_80}), a
 * cubin for a real one ({@code sm_89}). It needs no card. NVRTC is thread-safe but compiles one program at a time.
 */
public final class Nvrtc {
  /** Names the library's file; {@code none} turns NVRTC off. */
  public static final String VARIABLE = "HONE_NVRTC";

  static final OptionalLibrary LIBRARY = OptionalLibrary.windows()
      ? new OptionalLibrary(VARIABLE, List.of("nvrtc64_130_0.dll", "nvrtc64_120_0.dll"), List.of("nvrtc-builtins64_"))
      : new OptionalLibrary(VARIABLE, List.of("libnvrtc.so.13", "libnvrtc.so.12"), List.of("libnvrtc-builtins.so."));

  /** A CUDA release, such as 13.3. */
  public record Version(int major, int minor) {
    /** Of the driver API's numbers: 13030 is 13.3. */
    public static Version of(int number) {
      return new Version(number / 1000, number % 1000 / 10);
    }

    @Override
    public String toString() {
      return major + "." + minor;
    }
  }

  private final NvrtcH calls;
  private final String where;
  private final Version version;
  private final Set<Integer> architectures;

  private Nvrtc(OptionalLibrary.Loaded library) {
    calls = new NvrtcH(library.symbols());
    where = library.where();
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment major = arena.allocate(JAVA_INT);
      MemorySegment minor = arena.allocate(JAVA_INT);
      check("nvrtcVersion", calls.version, major, minor);
      version = new Version(major.get(JAVA_INT, 0), minor.get(JAVA_INT, 0));
      MemorySegment count = arena.allocate(JAVA_INT);
      check("nvrtcGetNumSupportedArchs", calls.getNumSupportedArchs, count);
      MemorySegment list = arena.allocate(JAVA_INT, count.get(JAVA_INT, 0));
      check("nvrtcGetSupportedArchs", calls.getSupportedArchs, list);
      architectures = Arrays.stream(list.toArray(JAVA_INT)).boxed().collect(Collectors.toUnmodifiableSet());
    }
  }

  /** The compiler of this machine; empty where there is none. */
  public static Optional<Nvrtc> find() {
    return find(System.getenv());
  }

  public static Optional<Nvrtc> find(Map<String, String> environment) {
    return LIBRARY.load(environment).map(Nvrtc::new);
  }

  public Version version() {
    return version;
  }

  /** The file or name that it was loaded from. */
  public String where() {
    return where;
  }

  /** Whether it compiles for a compute capability such as 89. */
  public boolean knows(int capability) {
    return architectures.contains(capability);
  }

  /** A cubin for the real architecture {@code sm_<capability>}. */
  public byte[] cubin(KernelSource source, int capability) {
    return compile(source, "sm_" + capability, "CUBIN", calls.getCubinSize, calls.getCubin);
  }

  /** PTX text, with its closing zero, for the virtual architecture {@code compute_<capability>}. */
  public byte[] ptx(KernelSource source, int capability) {
    return compile(source, "compute_" + capability, "PTX", calls.getPtxSize, calls.getPtx);
  }

  /**
   * Lays the CUDA headers that come inside NVRTC 13.3 and later into a folder, unless they are there. False when this
   * NVRTC has none.
   */
  boolean installHeaders(Path folder) {
    if (calls.installBundledHeaders == null) {
      return false;
    }
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment path = arena.allocateFrom(folder.toString());
      int status = status("nvrtcInstallBundledHeaders", calls.installBundledHeaders, path, 0, MemorySegment.NULL);
      require("nvrtcInstallBundledHeaders", status);
      return true;
    }
  }

  private byte[] compile(KernelSource source, String target, String kind, MethodHandle sizeOf, MethodHandle read) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment program = create(arena, source);
      try {
        List<String> options = source.options();
        MemorySegment list = arena.allocate(ADDRESS, options.size() + 1L);
        list.setAtIndex(ADDRESS, 0, arena.allocateFrom("--gpu-architecture=" + target));
        for (int i = 0; i < options.size(); i++) {
          list.setAtIndex(ADDRESS, i + 1L, arena.allocateFrom(options.get(i)));
        }
        int status = status("nvrtcCompileProgram", calls.compileProgram, program, options.size() + 1, list);
        if (status != 0) {
          throw new NativeException(status, "NVRTC refused " + source.name() + " for " + target + " ("
              + errorName(status) + "):\n" + log(arena, program).strip());
        }
        MemorySegment size = arena.allocate(JAVA_LONG);
        check("nvrtcGet" + kind + "Size", sizeOf, program, size);
        MemorySegment out = arena.allocate(size.get(JAVA_LONG, 0));
        check("nvrtcGet" + kind, read, program, out);
        return out.toArray(JAVA_BYTE);
      } finally {
        MemorySegment holder = arena.allocateFrom(ADDRESS, program);
        check("nvrtcDestroyProgram", calls.destroyProgram, holder);
      }
    }
  }

  private MemorySegment create(Arena arena, KernelSource source) {
    Map<String, String> headers = source.sortedHeaders();
    MemorySegment texts = arena.allocate(ADDRESS, headers.size() + 1L);
    MemorySegment names = arena.allocate(ADDRESS, headers.size() + 1L);
    int i = 0;
    for (Map.Entry<String, String> header : headers.entrySet()) {
      names.setAtIndex(ADDRESS, i, arena.allocateFrom(header.getKey()));
      texts.setAtIndex(ADDRESS, i++, arena.allocateFrom(header.getValue()));
    }
    MemorySegment program = arena.allocate(ADDRESS);
    MemorySegment text = arena.allocateFrom(source.text());
    MemorySegment name = arena.allocateFrom(source.name());
    int status;
    try {
      status = (int) calls.createProgram.invokeExact(program, text, name, headers.size(), texts, names);
    } catch (Throwable t) {
      throw mismatch("nvrtcCreateProgram", t);
    }
    require("nvrtcCreateProgram", status);
    return program.get(ADDRESS, 0);
  }

  private String log(Arena arena, MemorySegment program) {
    MemorySegment size = arena.allocate(JAVA_LONG);
    check("nvrtcGetProgramLogSize", calls.getProgramLogSize, program, size);
    MemorySegment text = arena.allocate(Math.max(1, size.get(JAVA_LONG, 0)));
    check("nvrtcGetProgramLog", calls.getProgramLog, program, text);
    return text.getString(0);
  }

  private String errorName(int status) {
    try {
      MemorySegment name = (MemorySegment) calls.getErrorString.invokeExact(status);
      return name.reinterpret(128).getString(0);
    } catch (Throwable t) {
      throw mismatch("nvrtcGetErrorString", t);
    }
  }

  private void check(String function, MethodHandle handle, MemorySegment a) {
    int status;
    try {
      status = (int) handle.invokeExact(a);
    } catch (Throwable t) {
      throw mismatch(function, t);
    }
    require(function, status);
  }

  private void check(String function, MethodHandle handle, MemorySegment a, MemorySegment b) {
    int status;
    try {
      status = (int) handle.invokeExact(a, b);
    } catch (Throwable t) {
      throw mismatch(function, t);
    }
    require(function, status);
  }

  private int status(String function, MethodHandle handle, MemorySegment a, int n, MemorySegment b) {
    try {
      return (int) handle.invokeExact(a, n, b);
    } catch (Throwable t) {
      throw mismatch(function, t);
    }
  }

  private void require(String function, int status) {
    if (status != 0) {
      throw new NativeException(status, function + ": " + errorName(status));
    }
  }

  private static AssertionError mismatch(String function, Throwable t) {
    return new AssertionError(function + ": the binding does not match nvrtc.h", t);
  }
}
