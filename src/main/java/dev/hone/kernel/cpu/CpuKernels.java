package dev.hone.kernel.cpu;

import dev.hone.kernel.Activation;
import dev.hone.kernel.BlobStream;
import dev.hone.kernel.HostStash;
import dev.hone.kernel.Kernels;
import dev.hone.kernel.NativeException;
import dev.hone.tensor.DType;
import dev.hone.tensor.MemorySpace;
import dev.hone.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.management.ManagementFactory;
import java.nio.file.Path;
import java.util.List;

/**
 * The op contract on the CPU: each method hands its descriptors to the function of the same name in libhone, which checks and
 * computes. Stateless but for libhone's own thread count and instruction set, which are the process's.
 */
public final class CpuKernels implements Kernels {
  static final int ABI_VERSION = 1;

  /** Instruction sets in rising order; the ordinal is HONE_ISA_* of hone.h. */
  public enum Isa {
    REFERENCE,
    AVX2,
    AVX512,
    AVX512_BF16,
    AMX
  }

  public CpuKernels() {
    int version;
    try {
      version = (int) HoneH.ABI_VERSION.invokeExact();
    } catch (Throwable t) {
      throw mismatch("hone_abi_version", t);
    }
    if (version != ABI_VERSION) {
      throw new UnsatisfiedLinkError("libhone has ABI version " + version + ", this jar wants " + ABI_VERSION);
    }
  }

  /** The file that libhone is loaded from; an UnsatisfiedLinkError says what to do when there is none. */
  public static Path libraryPath() {
    return NativeLibrary.path();
  }

  /** The best instruction set of this machine. */
  public Isa bestIsa() {
    try {
      return Isa.values()[(int) HoneH.BEST_ISA.invokeExact()];
    } catch (Throwable t) {
      throw mismatch("hone_best_isa", t);
    }
  }

  public Isa isa() {
    try {
      return Isa.values()[(int) HoneH.ISA.invokeExact()];
    } catch (Throwable t) {
      throw mismatch("hone_isa", t);
    }
  }

  /** Chooses an instruction set for the whole process; fails above {@link #bestIsa}. */
  public void useIsa(Isa isa) {
    int status;
    try {
      status = (int) HoneH.SET_ISA.invokeExact(isa.ordinal());
    } catch (Throwable t) {
      throw mismatch("hone_set_isa", t);
    }
    check(status);
  }

  public int threads() {
    try {
      return (int) HoneH.THREADS.invokeExact();
    } catch (Throwable t) {
      throw mismatch("hone_threads", t);
    }
  }

  public void useThreads(int threads) {
    int status;
    try {
      status = (int) HoneH.SET_THREADS.invokeExact(threads);
    } catch (Throwable t) {
      throw mismatch("hone_set_threads", t);
    }
    check(status);
  }

  /** Bytes of scratch that libhone holds for each thread. */
  public long threadWorkspaceBytes() {
    try {
      return (long) HoneH.THREAD_WORKSPACE_BYTES.invokeExact();
    } catch (Throwable t) {
      throw mismatch("hone_thread_workspace_bytes", t);
    }
  }

  @Override
  public String describe() {
    return "CPU, " + threads() + (threads() == 1 ? " thread, " : " threads, ") + isa();
  }

  /** The machine's, or less where a control group of Linux holds this process to less. */
  @Override
  public long memoryBytes() {
    long machine =
        ManagementFactory.getOperatingSystemMXBean() instanceof com.sun.management.OperatingSystemMXBean system
            ? system.getTotalMemorySize()
            : Long.MAX_VALUE;
    return Math.min(machine, ControlGroup.ofThisProcess().memoryLimit());
  }

  @Override
  public MemorySpace memory() {
    return MemorySpace.HOST;
  }

  /** Pages that take room when they are touched, aligned to pages whatever is asked for. */
  @Override
  public MemorySegment allocate(Arena arena, long bytes, long alignment) {
    return HostPages.allocate(arena, bytes);
  }

  /** F32 and bf16; f32, which holds all of it, for f16. */
  @Override
  public DType computeDtype(DType wanted) {
    return wanted == DType.F16 ? DType.F32 : wanted;
  }

  /** None: libhone has its own, see {@link #threadWorkspaceBytes}. */
  @Override
  public long workspaceBytes(Largest largest) {
    return 0;
  }

  @Override
  public Kernels withWorkspace(Tensor workspace) {
    return this;
  }

  @Override
  public Tensor resident(Tensor stored, Arena arena) {
    return stored;
  }

  @Override
  public long crossEntropyScratchBytes(
      long tokens, long hidden, long vocab, DType compute, boolean weightTrains, float softcap) {
    long bytes;
    try {
      bytes = (long) HoneH.CROSS_ENTROPY_SCRATCH_BYTES.invokeExact(
          tokens, hidden, vocab, compute.code(), weightTrains ? 1 : 0, softcap);
    } catch (Throwable t) {
      throw mismatch("hone_cross_entropy_scratch_bytes", t);
    }
    check(bytes < 0 ? 1 : 0);
    return bytes;
  }

  @Override
  public BlobStream blobStream(List<Tensor> slots, long ringBytes) {
    throw new UnsupportedOperationException("the CPU reads weights where they are mapped");
  }

  @Override
  public HostStash hostStash(List<Long> setBytes, long spareBytes) {
    throw new UnsupportedOperationException("the CPU's memory is the host's: nothing need leave it");
  }

  @Override
  public void embeddingForward(
      Tensor out, Tensor ids, Tensor table, float scale) {
    int status;
    try {
      status = (int) HoneH.EMBEDDING_FORWARD.invokeExact(
          at(out), at(ids), at(table), scale);
    } catch (Throwable t) {
      throw mismatch("hone_embedding_forward", t);
    }
    check(status);
  }

  @Override
  public void embeddingBackward(
      Tensor dtable, Tensor ids, Tensor dout, float scale) {
    int status;
    try {
      status = (int) HoneH.EMBEDDING_BACKWARD.invokeExact(
          at(dtable), at(ids), at(dout), scale);
    } catch (Throwable t) {
      throw mismatch("hone_embedding_backward", t);
    }
    check(status);
  }

  @Override
  public void rmsNormForward(
      Tensor y, Tensor rstd, Tensor x, Tensor w, float eps, float weightOffset) {
    int status;
    try {
      status = (int) HoneH.RMSNORM_FORWARD.invokeExact(
          at(y), at(rstd), at(x), at(w), eps, weightOffset);
    } catch (Throwable t) {
      throw mismatch("hone_rmsnorm_forward", t);
    }
    check(status);
  }

  @Override
  public void residualNormForward(
      Tensor y, Tensor rstd, Tensor x, Tensor a, Tensor b, float multiplier, Tensor w, float eps, float weightOffset) {
    int status;
    try {
      status = (int) HoneH.RESIDUAL_RMSNORM_FORWARD.invokeExact(
          at(y), at(rstd), at(x), at(a), at(b), multiplier, at(w), eps, weightOffset);
    } catch (Throwable t) {
      throw mismatch("hone_residual_rmsnorm_forward", t);
    }
    check(status);
  }

  @Override
  public void rmsNormBackward(
      Tensor dx, Tensor dw, Tensor dy, Tensor x, Tensor w, Tensor rstd, float weightOffset, boolean accumulate) {
    int status;
    try {
      status = (int) HoneH.RMSNORM_BACKWARD.invokeExact(
          at(dx), at(dw), at(dy), at(x), at(w), at(rstd), weightOffset, accumulate ? 1 : 0);
    } catch (Throwable t) {
      throw mismatch("hone_rmsnorm_backward", t);
    }
    check(status);
  }

  @Override
  public void linearForward(
      Tensor y, Tensor x, Tensor w, Tensor bias, boolean accumulate) {
    int status;
    try {
      status = (int) HoneH.LINEAR_FORWARD.invokeExact(
          at(y), at(x), at(w), at(bias), accumulate ? 1 : 0);
    } catch (Throwable t) {
      throw mismatch("hone_linear_forward", t);
    }
    check(status);
  }

  @Override
  public void linearBackwardInput(
      Tensor dx, Tensor dy, Tensor w, boolean accumulate) {
    int status;
    try {
      status = (int) HoneH.LINEAR_BACKWARD_INPUT.invokeExact(
          at(dx), at(dy), at(w), accumulate ? 1 : 0);
    } catch (Throwable t) {
      throw mismatch("hone_linear_backward_input", t);
    }
    check(status);
  }

  @Override
  public void linearBackwardWeight(
      Tensor dw, Tensor dbias, Tensor dy, Tensor x) {
    int status;
    try {
      status = (int) HoneH.LINEAR_BACKWARD_WEIGHT.invokeExact(
          at(dw), at(dbias), at(dy), at(x));
    } catch (Throwable t) {
      throw mismatch("hone_linear_backward_weight", t);
    }
    check(status);
  }

  @Override
  public void loraForward(
      Tensor y, Tensor u, Tensor x, Tensor a, Tensor b, float scale, float dropout, long seed) {
    int status;
    try {
      status = (int) HoneH.LORA_FORWARD.invokeExact(
          at(y), at(u), at(x), at(a), at(b), scale, dropout, seed);
    } catch (Throwable t) {
      throw mismatch("hone_lora_forward", t);
    }
    check(status);
  }

  @Override
  public void loraBackward(
      Tensor dx, Tensor da, Tensor db, Tensor e, Tensor dy, Tensor x, Tensor u, Tensor a, Tensor b, float scale, float dropout, long seed) {
    int status;
    try {
      status = (int) HoneH.LORA_BACKWARD.invokeExact(
          at(dx), at(da), at(db), at(e), at(dy), at(x), at(u), at(a), at(b), scale, dropout, seed);
    } catch (Throwable t) {
      throw mismatch("hone_lora_backward", t);
    }
    check(status);
  }

  @Override
  public void ropeForward(
      Tensor q, Tensor k, Tensor cos, Tensor sin, Tensor positions) {
    int status;
    try {
      status = (int) HoneH.ROPE_FORWARD.invokeExact(
          at(q), at(k), at(cos), at(sin), at(positions));
    } catch (Throwable t) {
      throw mismatch("hone_rope_forward", t);
    }
    check(status);
  }

  @Override
  public void ropeBackward(
      Tensor dq, Tensor dk, Tensor cos, Tensor sin, Tensor positions) {
    int status;
    try {
      status = (int) HoneH.ROPE_BACKWARD.invokeExact(
          at(dq), at(dk), at(cos), at(sin), at(positions));
    } catch (Throwable t) {
      throw mismatch("hone_rope_backward", t);
    }
    check(status);
  }

  @Override
  public void attentionForward(
      Tensor o, Tensor lse, Tensor q, Tensor k, Tensor v, Tensor docs, Attention attention) {
    int status;
    try {
      status = (int) HoneH.ATTENTION_FORWARD.invokeExact(
          at(o), at(lse), at(q), at(k), at(v), at(docs), attention.scale(), attention.window(), attention.softcap());
    } catch (Throwable t) {
      throw mismatch("hone_attention_forward", t);
    }
    check(status);
  }

  @Override
  public void attentionBackward(
      Tensor dq, Tensor dk, Tensor dv, Tensor delta, Tensor dout, Tensor o, Tensor lse, Tensor q, Tensor k, Tensor v, Tensor docs, Attention attention) {
    int status;
    try {
      status = (int) HoneH.ATTENTION_BACKWARD.invokeExact(
          at(dq), at(dk), at(dv), at(delta), at(dout), at(o), at(lse), at(q), at(k), at(v), at(docs), attention.scale(), attention.window(), attention.softcap());
    } catch (Throwable t) {
      throw mismatch("hone_attention_backward", t);
    }
    check(status);
  }

  @Override
  public void attentionDecode(
      Tensor o, Tensor q, Tensor kCache, Tensor vCache, long start, Attention attention) {
    int status;
    try {
      status = (int) HoneH.ATTENTION_DECODE.invokeExact(
          at(o), at(q), at(kCache), at(vCache), start, attention.scale(), attention.window(), attention.softcap());
    } catch (Throwable t) {
      throw mismatch("hone_attention_decode", t);
    }
    check(status);
  }

  @Override
  public void gatedForward(
      Tensor y, Tensor gate, Tensor up, Activation activation) {
    int status;
    try {
      status = (int) HoneH.GATED_FORWARD.invokeExact(
          at(y), at(gate), at(up), activation.code());
    } catch (Throwable t) {
      throw mismatch("hone_gated_forward", t);
    }
    check(status);
  }

  @Override
  public void gatedBackward(
      Tensor dgate, Tensor dup, Tensor dy, Tensor gate, Tensor up, Activation activation) {
    int status;
    try {
      status = (int) HoneH.GATED_BACKWARD.invokeExact(
          at(dgate), at(dup), at(dy), at(gate), at(up), activation.code());
    } catch (Throwable t) {
      throw mismatch("hone_gated_backward", t);
    }
    check(status);
  }

  @Override
  public void residualForward(
      Tensor y, Tensor x, Tensor r, float multiplier) {
    int status;
    try {
      status = (int) HoneH.RESIDUAL_FORWARD.invokeExact(
          at(y), at(x), at(r), multiplier);
    } catch (Throwable t) {
      throw mismatch("hone_residual_forward", t);
    }
    check(status);
  }

  @Override
  public void residualBackward(
      Tensor dr, Tensor dy, float multiplier) {
    int status;
    try {
      status = (int) HoneH.RESIDUAL_BACKWARD.invokeExact(
          at(dr), at(dy), multiplier);
    } catch (Throwable t) {
      throw mismatch("hone_residual_backward", t);
    }
    check(status);
  }

  @Override
  public void crossEntropy(
      Tensor loss, Tensor dh, Tensor du, Tensor scratch, Tensor h, Tensor u, Tensor targets, Tensor rows,
      float invCount, float logitScale, float softcap, float labelSmoothing) {
    int status;
    try {
      status = (int) HoneH.CROSS_ENTROPY.invokeExact(
          at(loss), at(dh), at(du), at(scratch), at(h), at(u), at(targets), invCount, logitScale, softcap, labelSmoothing);
    } catch (Throwable t) {
      throw mismatch("hone_cross_entropy", t);
    }
    check(status);
  }

  @Override
  public void softcapForward(
      Tensor z, float logitScale, float softcap) {
    int status;
    try {
      status = (int) HoneH.SOFTCAP_FORWARD.invokeExact(
          at(z), logitScale, softcap);
    } catch (Throwable t) {
      throw mismatch("hone_softcap_forward", t);
    }
    check(status);
  }

  @Override
  public void sumSquares(
      Tensor out, Tensor x) {
    int status;
    try {
      status = (int) HoneH.SUM_SQUARES.invokeExact(
          at(out), at(x));
    } catch (Throwable t) {
      throw mismatch("hone_sum_squares", t);
    }
    check(status);
  }

  @Override
  public void adamwStep(
      Tensor p, Tensor m, Tensor v, Tensor grad, float lr, float beta1, float beta2, float eps, float weightDecay, float gradScale, long step) {
    int status;
    try {
      status = (int) HoneH.ADAMW_STEP.invokeExact(
          at(p), at(m), at(v), at(grad), lr, beta1, beta2, eps, weightDecay, gradScale, step);
    } catch (Throwable t) {
      throw mismatch("hone_adamw_step", t);
    }
    check(status);
  }

  @Override
  public void adamw8Step(
      Tensor p, Tensor m, Tensor v, Tensor mAbsmax, Tensor vAbsmax, Tensor grad,
      float lr, float beta1, float beta2, float eps, float weightDecay, float gradScale, long step) {
    int status;
    try {
      status = (int) HoneH.ADAMW8_STEP.invokeExact(
          at(p), at(m), at(v), at(mAbsmax), at(vAbsmax), at(grad), lr, beta1, beta2, eps, weightDecay, gradScale, step);
    } catch (Throwable t) {
      throw mismatch("hone_adamw8_step", t);
    }
    check(status);
  }

  @Override
  public void adamw8Maps(
      Tensor signedMap, Tensor unsignedMap) {
    int status;
    try {
      status = (int) HoneH.ADAMW8_MAPS.invokeExact(
          at(signedMap), at(unsignedMap));
    } catch (Throwable t) {
      throw mismatch("hone_adamw8_maps", t);
    }
    check(status);
  }

  @Override
  public void nf4Quantize(
      Tensor codes, Tensor absmax, Tensor w, int block) {
    int status;
    try {
      status = (int) HoneH.NF4_QUANTIZE.invokeExact(
          at(codes), at(absmax), at(w), block);
    } catch (Throwable t) {
      throw mismatch("hone_nf4_quantize", t);
    }
    check(status);
  }

  @Override
  public void nf4QuantizeAbsmax(
      Tensor quantised, Tensor nestedAbsmax, Tensor offset, Tensor absmax) {
    int status;
    try {
      status = (int) HoneH.NF4_QUANTIZE_ABSMAX.invokeExact(
          at(quantised), at(nestedAbsmax), at(offset), at(absmax));
    } catch (Throwable t) {
      throw mismatch("hone_nf4_quantize_absmax", t);
    }
    check(status);
  }

  @Override
  public void nf4Tables(
      Tensor nf4, Tensor dynamic) {
    int status;
    try {
      status = (int) HoneH.NF4_TABLES.invokeExact(
          at(nf4), at(dynamic));
    } catch (Throwable t) {
      throw mismatch("hone_nf4_tables", t);
    }
    check(status);
  }

  @Override
  public void int8Quantize(
      Tensor codes, Tensor scale, Tensor w) {
    int status;
    try {
      status = (int) HoneH.INT8_QUANTIZE.invokeExact(
          at(codes), at(scale), at(w));
    } catch (Throwable t) {
      throw mismatch("hone_int8_quantize", t);
    }
    check(status);
  }

  @Override
  public void cast(
      Tensor out, Tensor in) {
    int status;
    try {
      status = (int) HoneH.CAST.invokeExact(
          at(out), at(in));
    } catch (Throwable t) {
      throw mismatch("hone_cast", t);
    }
    check(status);
  }

  @Override
  public void copyRows(Tensor out, long outRow, Tensor in, long inRow) {
    int status;
    try {
      status = (int) HoneH.COPY_ROWS.invokeExact(at(out), outRow, at(in), inRow);
    } catch (Throwable t) {
      throw mismatch("hone_copy_rows", t);
    }
    check(status);
  }

  @Override
  public void countNonFinite(
      Tensor count, Tensor x) {
    int status;
    try {
      status = (int) HoneH.COUNT_NONFINITE.invokeExact(
          at(count), at(x));
    } catch (Throwable t) {
      throw mismatch("hone_count_nonfinite", t);
    }
    check(status);
  }

  /** Every op is done when it returns. */
  @Override
  public void synchronize() {}

  @Override
  public void close() {}

  private static MemorySegment at(Tensor tensor) {
    if (tensor == null) {
      return MemorySegment.NULL;
    }
    if (tensor.memory() != MemorySpace.HOST) {
      throw new IllegalArgumentException(tensor + " lies in " + tensor.memory() + ", which the CPU does not reach");
    }
    return tensor.descriptor();
  }

  static AssertionError mismatch(String function, Throwable cause) {
    return new AssertionError(function + ": the binding does not match hone.h", cause);
  }

  static void check(int status) {
    if (status == 0) {
      return;
    }
    String message;
    try {
      MemorySegment text = (MemorySegment) HoneH.LAST_ERROR.invokeExact();
      message = text.reinterpret(Long.MAX_VALUE).getString(0);
    } catch (Throwable t) {
      throw mismatch("hone_last_error", t);
    }
    throw new NativeException(status, message);
  }
}
