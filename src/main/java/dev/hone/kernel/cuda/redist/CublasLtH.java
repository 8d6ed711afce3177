package dev.hone.kernel.cuda.redist;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.SymbolLookup;
import java.lang.invoke.MethodHandle;

/**
 * The functions, values and the one structure of cublasLt.h that {@link CublasLt} uses; the same in every release from
 * 11 on. A cublasStatus_t is an int, handles and descriptors are pointers, device addresses are passed as pointers.
 */
final class CublasLtH {
  static final int COMPUTE_32F = 68; // cublasComputeType_t
  static final int R_32F = 0; // cudaDataType_t
  static final int R_16F = 2;
  static final int R_16BF = 14;
  static final int OP_N = 0; // cublasOperation_t
  static final int OP_T = 1;
  static final int MATMUL_DESC_TRANSA = 3; // cublasLtMatmulDescAttributes_t
  static final int MATMUL_DESC_TRANSB = 4;
  static final int MATMUL_PREF_MAX_WORKSPACE_BYTES = 1; // cublasLtMatmulPreferenceAttributes_t

  /** cublasLtMatmulAlgo_t is opaque: eight 64-bit words that are handed back. */
  static final MemoryLayout ALGO = MemoryLayout.sequenceLayout(8, JAVA_LONG);

  /** cublasLtMatmulHeuristicResult_t. */
  static final MemoryLayout HEURISTIC_RESULT = MemoryLayout.structLayout(
      ALGO.withName("algo"), JAVA_LONG.withName("workspaceSize"), JAVA_INT.withName("state"),
      JAVA_FLOAT.withName("wavesCount"), MemoryLayout.sequenceLayout(4, JAVA_INT).withName("reserved"));

  final MethodHandle getVersion;
  final MethodHandle create;
  final MethodHandle destroy;
  final MethodHandle matmulDescCreate;
  final MethodHandle matmulDescDestroy;
  final MethodHandle matmulDescSetAttribute;
  final MethodHandle matrixLayoutCreate;
  final MethodHandle matrixLayoutDestroy;
  final MethodHandle preferenceCreate;
  final MethodHandle preferenceDestroy;
  final MethodHandle preferenceSetAttribute;
  final MethodHandle algoGetHeuristic;
  final MethodHandle matmul;

  private final SymbolLookup library;

  CublasLtH(SymbolLookup library) {
    this.library = library;
    getVersion = function("cublasLtGetVersion", JAVA_LONG);
    create = function("cublasLtCreate", JAVA_INT, ADDRESS);
    destroy = function("cublasLtDestroy", JAVA_INT, ADDRESS);
    matmulDescCreate = function("cublasLtMatmulDescCreate", JAVA_INT, ADDRESS, JAVA_INT, JAVA_INT);
    matmulDescDestroy = function("cublasLtMatmulDescDestroy", JAVA_INT, ADDRESS);
    matmulDescSetAttribute =
        function("cublasLtMatmulDescSetAttribute", JAVA_INT, ADDRESS, JAVA_INT, ADDRESS, JAVA_LONG);
    matrixLayoutCreate =
        function("cublasLtMatrixLayoutCreate", JAVA_INT, ADDRESS, JAVA_INT, JAVA_LONG, JAVA_LONG, JAVA_LONG);
    matrixLayoutDestroy = function("cublasLtMatrixLayoutDestroy", JAVA_INT, ADDRESS);
    preferenceCreate = function("cublasLtMatmulPreferenceCreate", JAVA_INT, ADDRESS);
    preferenceDestroy = function("cublasLtMatmulPreferenceDestroy", JAVA_INT, ADDRESS);
    preferenceSetAttribute =
        function("cublasLtMatmulPreferenceSetAttribute", JAVA_INT, ADDRESS, JAVA_INT, ADDRESS, JAVA_LONG);
    // handle, operation, layouts of A B C D, preference, asked for, results, found
    algoGetHeuristic = function(
        "cublasLtMatmulAlgoGetHeuristic", JAVA_INT, ADDRESS, ADDRESS, ADDRESS, ADDRESS, ADDRESS, ADDRESS, ADDRESS,
        JAVA_INT,
        ADDRESS, ADDRESS);
    // handle, operation, alpha, A, its layout, B, its layout, beta, C, its layout, D, its layout, algorithm, workspace,
    // bytes, stream; the matrices' device addresses as numbers, for which no segment is made
    matmul = function(
        "cublasLtMatmul", JAVA_INT, ADDRESS, ADDRESS, ADDRESS, JAVA_LONG, ADDRESS, JAVA_LONG, ADDRESS, ADDRESS,
        JAVA_LONG, ADDRESS, JAVA_LONG, ADDRESS, ADDRESS, ADDRESS, JAVA_LONG, ADDRESS);
  }

  private MethodHandle function(String name, MemoryLayout result, MemoryLayout... parameters) {
    return Linker.nativeLinker().downcallHandle(
        library.find(name).orElseThrow(() -> new UnsatisfiedLinkError("this cuBLASLt has no " + name)),
        FunctionDescriptor.of(result, parameters));
  }
}
