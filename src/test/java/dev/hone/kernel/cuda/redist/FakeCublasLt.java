package dev.hone.kernel.cuda.redist;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_INT;

import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.Optional;
import org.junit.jupiter.api.Assumptions;

/** The cuBLASLt of src/test/cublaslt: it computes on the host and refuses what does not fit. */
public final class FakeCublasLt {
  private static final String PROPERTY = "hone.cublaslt";
  private static final Path FILE = Path.of(System.getProperty(PROPERTY, "libfake_cublaslt.so"));

  private final SymbolLookup symbols;

  private FakeCublasLt() {
    symbols = SymbolLookup.libraryLookup(FILE, Arena.global());
  }

  /** The test is skipped where the build leaves it out. */
  public static FakeCublasLt open() {
    if (!Files.exists(FILE)) {
      System.out.println("skipped: this build has no cuBLASLt for tests at -D" + PROPERTY + "=" + FILE);
    }
    Assumptions.assumeTrue(Files.exists(FILE), "no cuBLASLt for tests");
    return new FakeCublasLt();
  }

  /** An environment in which it is this machine's cuBLASLt. */
  public Map<String, String> environment() {
    return Map.of(CublasLt.VARIABLE, FILE.toString());
  }

  CublasLt.Found found() {
    return CublasLt.find(environment()).orElseThrow();
  }

  /** Objects that were made and not destroyed. */
  int live() {
    try {
      return (int) Linker.nativeLinker()
          .downcallHandle(symbols.find("fake_cublaslt_live").orElseThrow(), FunctionDescriptor.of(JAVA_INT))
          .invokeExact();
    } catch (Throwable t) {
      throw new AssertionError(t);
    }
  }

  void offer(boolean yes) {
    try {
      Linker.nativeLinker()
          .downcallHandle(symbols.find("fake_cublaslt_offer").orElseThrow(), FunctionDescriptor.ofVoid(JAVA_INT))
          .invokeExact(yes ? 1 : 0);
    } catch (Throwable t) {
      throw new AssertionError(t);
    }
  }

  /** Lets matrices come and go by a driver's copies; null: they lie on the host. */
  public void useDriver(Path library) {
    SymbolLookup driver = library == null ? name -> Optional.of(MemorySegment.NULL)
        : SymbolLookup.libraryLookup(library, Arena.global());
    MemorySegment out = driver.find("cuMemcpyDtoHAsync_v2").orElseThrow();
    MemorySegment in = driver.find("cuMemcpyHtoDAsync_v2").orElseThrow();
    MemorySegment synchronize = driver.find("cuStreamSynchronize").orElseThrow();
    try {
      Linker.nativeLinker()
          .downcallHandle(
              symbols.find("fake_cublaslt_use_driver").orElseThrow(), FunctionDescriptor.ofVoid(ADDRESS, ADDRESS,
              ADDRESS))
          .invokeExact(out, in, synchronize);
    } catch (Throwable t) {
      throw new AssertionError(t);
    }
  }

  String refusal() {
    try {
      MemorySegment text = (MemorySegment) Linker.nativeLinker()
          .downcallHandle(symbols.find("fake_cublaslt_refusal").orElseThrow(), FunctionDescriptor.of(ADDRESS))
          .invokeExact();
      return text.reinterpret(256).getString(0);
    } catch (Throwable t) {
      throw new AssertionError(t);
    }
  }
}
