package dev.hone.kernel.cpu;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.SymbolLookup;
import java.lang.invoke.MethodHandle;

/** The functions of hone.h, one handle each, in the header's order. HoneHeaderTest fails when the two differ. */
final class HoneH {
  private static final Linker LINKER = Linker.nativeLinker();
  private static final SymbolLookup LIBRARY = NativeLibrary.lookup();

  static final MethodHandle ABI_VERSION =
      function("hone_abi_version", JAVA_INT);
  static final MethodHandle LAST_ERROR =
      function("hone_last_error", ADDRESS);
  static final MethodHandle BEST_ISA =
      function("hone_best_isa", JAVA_INT);
  static final MethodHandle ISA =
      function("hone_isa", JAVA_INT);
  static final MethodHandle SET_ISA =
      function("hone_set_isa", JAVA_INT, JAVA_INT);
  static final MethodHandle THREADS =
      function("hone_threads", JAVA_INT);
  static final MethodHandle SET_THREADS =
      function("hone_set_threads", JAVA_INT, JAVA_INT);
  static final MethodHandle THREAD_WORKSPACE_BYTES =
      function("hone_thread_workspace_bytes", JAVA_LONG);
  static final MethodHandle PAGES_PREFETCH =
      function("hone_pages_prefetch", JAVA_INT, ADDRESS, JAVA_LONG);
  static final MethodHandle PAGES_RELEASE =
      function("hone_pages_release", JAVA_INT, ADDRESS, JAVA_LONG);
  static final MethodHandle PAGES_ALLOCATE =
      function("hone_pages_allocate", ADDRESS, JAVA_LONG);
  static final MethodHandle PAGES_FREE =
      function("hone_pages_free", JAVA_INT, ADDRESS, JAVA_LONG);
  static final MethodHandle EMBEDDING_FORWARD =
      function("hone_embedding_forward", JAVA_INT, ADDRESS, ADDRESS, ADDRESS, JAVA_FLOAT);
  static final MethodHandle EMBEDDING_BACKWARD =
      function("hone_embedding_backward", JAVA_INT, ADDRESS, ADDRESS, ADDRESS, JAVA_FLOAT);
  static final MethodHandle RMSNORM_FORWARD =
      function("hone_rmsnorm_forward", JAVA_INT, ADDRESS, ADDRESS, ADDRESS, ADDRESS, JAVA_FLOAT, JAVA_FLOAT);
  static final MethodHandle RESIDUAL_RMSNORM_FORWARD =
      function("hone_residual_rmsnorm_forward", JAVA_INT, ADDRESS, ADDRESS, ADDRESS, ADDRESS, ADDRESS, JAVA_FLOAT, ADDRESS, JAVA_FLOAT, JAVA_FLOAT);
  static final MethodHandle RMSNORM_BACKWARD =
      function("hone_rmsnorm_backward", JAVA_INT, ADDRESS, ADDRESS, ADDRESS, ADDRESS, ADDRESS, ADDRESS, JAVA_FLOAT, JAVA_INT);
  static final MethodHandle LINEAR_FORWARD =
      function("hone_linear_forward", JAVA_INT, ADDRESS, ADDRESS, ADDRESS, ADDRESS, JAVA_INT);
  static final MethodHandle LINEAR_BACKWARD_INPUT =
      function("hone_linear_backward_input", JAVA_INT, ADDRESS, ADDRESS, ADDRESS, JAVA_INT);
  static final MethodHandle LINEAR_BACKWARD_WEIGHT =
      function("hone_linear_backward_weight", JAVA_INT, ADDRESS, ADDRESS, ADDRESS, ADDRESS);
  static final MethodHandle LORA_FORWARD =
      function("hone_lora_forward", JAVA_INT, ADDRESS, ADDRESS, ADDRESS, ADDRESS, ADDRESS, JAVA_FLOAT, JAVA_FLOAT, JAVA_LONG);
  static final MethodHandle LORA_BACKWARD =
      function("hone_lora_backward", JAVA_INT, ADDRESS, ADDRESS, ADDRESS, ADDRESS, ADDRESS, ADDRESS, ADDRESS, ADDRESS, ADDRESS, JAVA_FLOAT, JAVA_FLOAT, JAVA_LONG);
  static final MethodHandle ROPE_FORWARD =
      function("hone_rope_forward", JAVA_INT, ADDRESS, ADDRESS, ADDRESS, ADDRESS, ADDRESS);
  static final MethodHandle ROPE_BACKWARD =
      function("hone_rope_backward", JAVA_INT, ADDRESS, ADDRESS, ADDRESS, ADDRESS, ADDRESS);
  static final MethodHandle ATTENTION_FORWARD =
      function("hone_attention_forward", JAVA_INT, ADDRESS, ADDRESS, ADDRESS, ADDRESS, ADDRESS, ADDRESS, JAVA_FLOAT, JAVA_INT, JAVA_FLOAT);
  static final MethodHandle ATTENTION_BACKWARD =
      function("hone_attention_backward", JAVA_INT, ADDRESS, ADDRESS, ADDRESS, ADDRESS, ADDRESS, ADDRESS, ADDRESS, ADDRESS, ADDRESS, ADDRESS, ADDRESS, JAVA_FLOAT, JAVA_INT, JAVA_FLOAT);
  static final MethodHandle ATTENTION_DECODE =
      function("hone_attention_decode", JAVA_INT, ADDRESS, ADDRESS, ADDRESS, ADDRESS, JAVA_LONG, JAVA_FLOAT, JAVA_INT, JAVA_FLOAT);
  static final MethodHandle GATED_FORWARD =
      function("hone_gated_forward", JAVA_INT, ADDRESS, ADDRESS, ADDRESS, JAVA_INT);
  static final MethodHandle GATED_BACKWARD =
      function("hone_gated_backward", JAVA_INT, ADDRESS, ADDRESS, ADDRESS, ADDRESS, ADDRESS, JAVA_INT);
  static final MethodHandle RESIDUAL_FORWARD =
      function("hone_residual_forward", JAVA_INT, ADDRESS, ADDRESS, ADDRESS, JAVA_FLOAT);
  static final MethodHandle RESIDUAL_BACKWARD =
      function("hone_residual_backward", JAVA_INT, ADDRESS, ADDRESS, JAVA_FLOAT);
  static final MethodHandle CROSS_ENTROPY_SCRATCH_BYTES =
      function("hone_cross_entropy_scratch_bytes", JAVA_LONG, JAVA_LONG, JAVA_LONG, JAVA_LONG, JAVA_INT, JAVA_INT, JAVA_FLOAT);
  static final MethodHandle CROSS_ENTROPY =
      function("hone_cross_entropy", JAVA_INT, ADDRESS, ADDRESS, ADDRESS, ADDRESS, ADDRESS, ADDRESS, ADDRESS, JAVA_FLOAT, JAVA_FLOAT, JAVA_FLOAT, JAVA_FLOAT);
  static final MethodHandle SOFTCAP_FORWARD =
      function("hone_softcap_forward", JAVA_INT, ADDRESS, JAVA_FLOAT, JAVA_FLOAT);
  static final MethodHandle SUM_SQUARES =
      function("hone_sum_squares", JAVA_INT, ADDRESS, ADDRESS);
  static final MethodHandle ADAMW_STEP =
      function("hone_adamw_step", JAVA_INT, ADDRESS, ADDRESS, ADDRESS, ADDRESS, JAVA_FLOAT, JAVA_FLOAT, JAVA_FLOAT, JAVA_FLOAT, JAVA_FLOAT, JAVA_FLOAT, JAVA_LONG);
  static final MethodHandle ADAMW8_STEP =
      function("hone_adamw8_step", JAVA_INT, ADDRESS, ADDRESS, ADDRESS, ADDRESS, ADDRESS, ADDRESS, JAVA_FLOAT, JAVA_FLOAT, JAVA_FLOAT, JAVA_FLOAT, JAVA_FLOAT, JAVA_FLOAT, JAVA_LONG);
  static final MethodHandle ADAMW8_MAPS =
      function("hone_adamw8_maps", JAVA_INT, ADDRESS, ADDRESS);
  static final MethodHandle NF4_QUANTIZE =
      function("hone_nf4_quantize", JAVA_INT, ADDRESS, ADDRESS, ADDRESS, JAVA_INT);
  static final MethodHandle NF4_QUANTIZE_ABSMAX =
      function("hone_nf4_quantize_absmax", JAVA_INT, ADDRESS, ADDRESS, ADDRESS, ADDRESS);
  static final MethodHandle NF4_TABLES =
      function("hone_nf4_tables", JAVA_INT, ADDRESS, ADDRESS);
  static final MethodHandle INT8_QUANTIZE =
      function("hone_int8_quantize", JAVA_INT, ADDRESS, ADDRESS, ADDRESS);
  static final MethodHandle CAST =
      function("hone_cast", JAVA_INT, ADDRESS, ADDRESS);
  static final MethodHandle COPY_ROWS =
      function("hone_copy_rows", JAVA_INT, ADDRESS, JAVA_LONG, ADDRESS, JAVA_LONG);
  static final MethodHandle COUNT_NONFINITE =
      function("hone_count_nonfinite", JAVA_INT, ADDRESS, ADDRESS);

  private HoneH() {}

  private static MethodHandle function(String name, MemoryLayout result, MemoryLayout... parameters) {
    return LINKER.downcallHandle(
        LIBRARY.find(name).orElseThrow(() -> new UnsatisfiedLinkError("libhone has no " + name)),
        FunctionDescriptor.of(result, parameters));
  }
}
