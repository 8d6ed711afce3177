package dev.hone.testing;

import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.hone.config.Rivalry;
import dev.hone.kernel.cuda.CudaKernels;
import dev.hone.tensor.DType;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.SymbolLookup;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import java.nio.file.Files;
import java.nio.file.Path;

/**
 * The stand-in driver of src/test/driver, which runs the committed PTX on the CPU. It is the file of the system
 * property {@code hone.standin}; a test that needs it is skipped, with the reason, where it was not built.
 */
public final class StandIn {
  private static final String PROPERTY = "hone.standin";

  private StandIn() {}

  /** The library as it was built. */
  public static Path library() {
    String path = System.getProperty(PROPERTY);
    boolean there = path != null && Files.exists(Path.of(path));
    if (!there) {
      System.out.println("skipped: no stand-in driver at -D" + PROPERTY + "=" + path);
    }
    assumeTrue(there, "no stand-in driver");
    return Path.of(path);
  }

  /** The library, set to be a fresh card such as {@code "cc=7.5 vram=2147483648"}; none may be open. */
  public static Path library(String settings) {
    Path library = library();
    SymbolLookup symbols = SymbolLookup.libraryLookup(library, Arena.global());
    MethodHandle reset =
        Linker.nativeLinker().downcallHandle(symbols.find("standin_reset").orElseThrow(), FunctionDescriptor.ofVoid());
    MethodHandle configure =
        Linker.nativeLinker().downcallHandle(
            symbols.find("standin_configure").orElseThrow(),
            FunctionDescriptor.of(ValueLayout.JAVA_INT, ValueLayout.ADDRESS));
    int status;
    try (Arena arena = Arena.ofConfined()) {
      reset.invokeExact();
      status = (int) configure.invokeExact(arena.allocateFrom(settings));
    } catch (Throwable e) {
      throw new AssertionError("the stand-in's own functions", e);
    }
    if (status != 0) {
      throw new IllegalArgumentException("the stand-in driver does not take " + settings);
    }
    return library;
  }

  /** Opens a card of the given settings in its own dtype. */
  public static CudaKernels open(String settings) {
    return open(settings, DType.F32);
  }

  /** Opens a card of the given settings for a wanted dtype of activations. */
  public static CudaKernels open(String settings, DType wanted) {
    return CudaKernels.open(library(settings).toString(), 0, Rivalry.NONE, wanted);
  }

  /** One of the driver's counters, such as {@code launches} or {@code peak_bytes}. */
  public static long counter(String name) {
    MethodHandle counter =
        Linker.nativeLinker().downcallHandle(
            SymbolLookup.libraryLookup(library(), Arena.global()).find("standin_counter").orElseThrow(),
            FunctionDescriptor.of(ValueLayout.JAVA_LONG, ValueLayout.ADDRESS));
    try (Arena arena = Arena.ofConfined()) {
      return (long) counter.invokeExact(arena.allocateFrom(name));
    } catch (Throwable e) {
      throw new AssertionError("standin_counter", e);
    }
  }
}
