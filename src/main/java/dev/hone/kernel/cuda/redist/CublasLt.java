package dev.hone.kernel.cuda.redist;

import static dev.hone.kernel.cuda.redist.CublasLtH.HEURISTIC_RESULT;
import static dev.hone.kernel.cuda.redist.CublasLtH.OP_N;
import static dev.hone.kernel.cuda.redist.CublasLtH.OP_T;
import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import dev.hone.kernel.NativeException;
import dev.hone.tensor.DType;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * The dense product by cuBLASLt, where that library is found.
 *
 * <p>cuBLASLt counts by columns: a row-major (R,C) matrix with leading dimension ld is its (C,R) one with the same ld.
 * So
 *
 * <pre>
 *   y  = x w^T    is   y^T (N,M)  = w (N,K) x^T (K,M):    A = w transposed from (K,N),  B = x^T (K,M)
 *   dx = dy w     is   dx^T (K,M) = w^T (K,N) dy^T (N,M): A = w^T (K,N) as it lies,     B = dy^T (N,M)
 * </pre>
 *
 * The descriptors and the algorithm of a shape are made at its first call and kept: later calls allocate nothing. The
 * algorithm is the heuristic's first, so equal shapes give equal bits in every run with the same library and card.
 */
public final class CublasLt implements AutoCloseable {
  /** Names the library's file; {@code none} turns cuBLASLt off. */
  public static final String VARIABLE = "HONE_CUBLASLT";

  static final OptionalLibrary LIBRARY = OptionalLibrary.windows()
      ? new OptionalLibrary(VARIABLE, List.of("cublasLt64_13.dll", "cublasLt64_12.dll"), List.of())
      : new OptionalLibrary(VARIABLE, List.of("libcublasLt.so.13", "libcublasLt.so.12"), List.of());

  /** Where the library is and what it is, before a card is opened. */
  public record Found(OptionalLibrary.Loaded library, long version) {
    public String where() {
      return library.where();
    }

    /** 13.1.0 of 130100. */
    public String release() {
      return version / 10000 + "." + version % 10000 / 100 + "." + version % 100;
    }
  }

  /** An object of the library that must be given back. */
  private record Owned(String function, MethodHandle destroy, MemorySegment object) {}

  /** What cuBLASLt keeps for a shape. */
  private record Plan(
      MemorySegment operation, MemorySegment a, MemorySegment b, MemorySegment out, MemorySegment algorithm) {}

  private final CublasLtH calls;
  private final Arena arena = Arena.ofShared();
  private final MemorySegment handle;
  private final MemorySegment preference;
  private final MemorySegment workspace;
  private final long workspaceBytes;
  private final MemorySegment one = arena.allocateFrom(JAVA_FLOAT, 1.0f);
  private final MemorySegment zero = arena.allocateFrom(JAVA_FLOAT, 0.0f);
  private final Deque<Owned> owned = new ArrayDeque<>();
  private final Map<DenseProduct, Optional<Plan>> plans = new HashMap<>();

  /** The library of this machine; empty where there is none. */
  public static Optional<Found> find() {
    return find(System.getenv());
  }

  public static Optional<Found> find(Map<String, String> environment) {
    return LIBRARY.load(environment).map(loaded -> {
      try {
        return new Found(loaded, (long) new CublasLtH(loaded.symbols()).getVersion.invokeExact());
      } catch (Throwable t) {
        throw mismatch("cublasLtGetVersion", t);
      }
    });
  }

  /**
   * Opens the library on the card whose context is current on this thread.
   *
   * @param workspace device address of scratch for split products, or 0
   */
  public CublasLt(Found found, long workspace, long workspaceBytes) {
    calls = new CublasLtH(found.library().symbols());
    this.workspace = MemorySegment.ofAddress(workspace);
    this.workspaceBytes = workspaceBytes;
    handle = create("cublasLt", calls.create, calls.destroy);
    preference = create("cublasLtMatmulPreference", calls.preferenceCreate, calls.preferenceDestroy);
    try (Arena call = Arena.ofConfined()) {
      set("cublasLtMatmulPreferenceSetAttribute", calls.preferenceSetAttribute, preference,
          CublasLtH.MATMUL_PREF_MAX_WORKSPACE_BYTES, call.allocateFrom(JAVA_LONG, workspaceBytes), Long.BYTES);
    }
  }

  /** Whether the library offers an algorithm for this product; asked once for each. */
  public boolean offers(DenseProduct product) {
    return plan(product).isPresent();
  }

  /**
   * Computes the product on a stream. Addresses are the device's.
   *
   * @throws NativeException when the library offers no algorithm for it, or refuses
   */
  public void run(DenseProduct product, long out, long in, long weight, MemorySegment stream) {
    Plan plan = plan(product).orElse(null);
    if (plan == null) {
      throw new NativeException(15, "cuBLASLt offers no algorithm for " + product.key());
    }
    MemorySegment beta = product.accumulate() ? one : zero;
    int status;
    try {
      status = (int) calls.matmul.invokeExact(
          handle, plan.operation, one, weight, plan.a, in, plan.b, beta, out, plan.out, out, plan.out, plan.algorithm,
          workspace, workspaceBytes, stream);
    } catch (Throwable t) {
      throw mismatch("cublasLtMatmul", t);
    }
    if (status != 0) {
      require("cublasLtMatmul of " + product.key(), status);
    }
  }

  private Optional<Plan> plan(DenseProduct product) {
    Optional<Plan> known = plans.get(product);
    if (known == null) {
      known = make(product);
      plans.put(product, known);
    }
    return known;
  }

  private Optional<Plan> make(DenseProduct p) {
    int type = switch (p.dtype()) {
      case BF16 -> CublasLtH.R_16BF;
      case F16 -> CublasLtH.R_16F;
      default -> throw new NativeException(7, "cuBLASLt: a product of " + p.dtype() + "; want bf16 or f16");
    };
    MemorySegment operation = operation(p.forward() ? OP_T : OP_N);
    MemorySegment a = layout(type, p.k(), p.n(), p.ldWeight());
    MemorySegment b = layout(type, p.forward() ? p.k() : p.n(), p.m(), p.ldIn());
    MemorySegment out = layout(type, p.forward() ? p.n() : p.k(), p.m(), p.ldOut());
    MemorySegment result = arena.allocate(HEURISTIC_RESULT);
    MemorySegment count = arena.allocate(JAVA_INT);
    int status;
    try {
      status = (int) calls.algoGetHeuristic.invokeExact(
          handle, operation, a, b, out, out, preference, 1, result, count);
    } catch (Throwable t) {
      throw mismatch("cublasLtMatmulAlgoGetHeuristic", t);
    }
    boolean found = status == 0 && count.get(JAVA_INT, 0) > 0;
    MemorySegment algorithm = result.asSlice(0, CublasLtH.ALGO.byteSize());
    return found ? Optional.of(new Plan(operation, a, b, out, algorithm)) : Optional.empty();
  }

  private MemorySegment operation(int transposeA) {
    MemorySegment operation;
    try (Arena call = Arena.ofConfined()) {
      MemorySegment out = call.allocate(ADDRESS);
      int status;
      try {
        status = (int) calls.matmulDescCreate.invokeExact(out, CublasLtH.COMPUTE_32F, CublasLtH.R_32F);
      } catch (Throwable t) {
        throw mismatch("cublasLtMatmulDescCreate", t);
      }
      operation = owned("cublasLtMatmulDesc", status, out, calls.matmulDescDestroy);
      set("cublasLtMatmulDescSetAttribute", calls.matmulDescSetAttribute, operation, CublasLtH.MATMUL_DESC_TRANSA,
          call.allocateFrom(JAVA_INT, transposeA), Integer.BYTES);
      set("cublasLtMatmulDescSetAttribute", calls.matmulDescSetAttribute, operation, CublasLtH.MATMUL_DESC_TRANSB,
          call.allocateFrom(JAVA_INT, OP_N), Integer.BYTES);
    }
    return operation;
  }

  /** A matrix of columns: {@code rows} elements lie one after the other. */
  private MemorySegment layout(int type, long rows, long columns, long ld) {
    try (Arena call = Arena.ofConfined()) {
      MemorySegment out = call.allocate(ADDRESS);
      int status;
      try {
        status = (int) calls.matrixLayoutCreate.invokeExact(out, type, rows, columns, ld);
      } catch (Throwable t) {
        throw mismatch("cublasLtMatrixLayoutCreate", t);
      }
      return owned("cublasLtMatrixLayout", status, out, calls.matrixLayoutDestroy);
    }
  }

  private MemorySegment create(String type, MethodHandle create, MethodHandle destroy) {
    try (Arena call = Arena.ofConfined()) {
      MemorySegment out = call.allocate(ADDRESS);
      int status;
      try {
        status = (int) create.invokeExact(out);
      } catch (Throwable t) {
        throw mismatch(type + "Create", t);
      }
      return owned(type, status, out, destroy);
    }
  }

  private MemorySegment owned(String type, int status, MemorySegment out, MethodHandle destroy) {
    require(type + "Create", status);
    owned.push(new Owned(type + "Destroy", destroy, out.get(ADDRESS, 0)));
    return out.get(ADDRESS, 0);
  }

  private static void set(
      String function, MethodHandle call, MemorySegment of, int what, MemorySegment value, long bytes) {
    int status;
    try {
      status = (int) call.invokeExact(of, what, value, bytes);
    } catch (Throwable t) {
      throw mismatch(function, t);
    }
    require(function + " " + what, status);
  }

  private static void require(String what, int status) {
    if (status != 0) {
      throw new NativeException(status, what + ": " + name(status));
    }
  }

  /** cublasStatus_t. */
  private static String name(int status) {
    return switch (status) {
      case 1 -> "CUBLAS_STATUS_NOT_INITIALIZED (is the driver new enough for this cuBLASLt?)";
      case 3 -> "CUBLAS_STATUS_ALLOC_FAILED";
      case 7 -> "CUBLAS_STATUS_INVALID_VALUE";
      case 8 -> "CUBLAS_STATUS_ARCH_MISMATCH";
      case 11 -> "CUBLAS_STATUS_MAPPING_ERROR";
      case 13 -> "CUBLAS_STATUS_EXECUTION_FAILED";
      case 14 -> "CUBLAS_STATUS_INTERNAL_ERROR";
      case 15 -> "CUBLAS_STATUS_NOT_SUPPORTED";
      default -> "cublasStatus_t " + status;
    };
  }

  private static AssertionError mismatch(String function, Throwable t) {
    return new AssertionError(function + ": the binding does not match cublasLt.h", t);
  }

  @Override
  public void close() {
    plans.clear();
    while (!owned.isEmpty()) {
      Owned last = owned.pop();
      int status;
      try {
        status = (int) last.destroy.invokeExact(last.object);
      } catch (Throwable t) {
        throw mismatch(last.function, t);
      }
      require(last.function, status);
    }
    arena.close();
  }
}
