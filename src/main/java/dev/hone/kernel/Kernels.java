package dev.hone.kernel;

import dev.hone.tensor.DType;
import dev.hone.tensor.MemorySpace;
import dev.hone.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.List;
import java.util.Optional;

/**
 * The op contract: what a device must compute, forward and hand-derived backward. Shapes, dtypes, aliasing and rounding of each op
 * are those of {@code src/main/c/hone.h}, which is the reference text; the derivations stand in {@code src/main/c/<op>.c}.
 *
 * <p>Letters: M tokens (documents laid end to end, no padding), C hidden, H heads, KV key/value heads, D head dim, I intermediate,
 * V vocabulary, R rank. {@code =} overwritten, {@code +=} accumulated. Arguments said to be nullable may be null; every other one
 * may not. Tensors lie in {@link #memory}; {@link #resident}, {@link #countNonFinite}, {@link #cast}, {@link #nf4Quantize} and
 * {@link #int8Quantize} also read from the host, where the weights of files are mapped. Every method throws {@link NativeException} when the device refuses its
 * arguments, before computing anything.
 */
public interface Kernels extends AutoCloseable {

  /** What one attention call needs beside its tensors. Window and softcap 0 mean none. */
  record Attention(float scale, int window, float softcap) {}

  /**
   * The largest shapes that a run will bring.
   *
   * @param tokens of a micro-batch
   * @param features in or out of a linear layer
   * @param weight elements of a linear layer's weight
   * @param rank of an adapter, 0 none
   */
  record Largest(long tokens, long features, long weight, int rank) {}

  /** Device and instruction set in words, for reports. */
  String describe();

  /** What the device decided by itself since it was opened, with its reasons, a line each. */
  default List<String> remarks() {
    return List.of();
  }

  /** What the device can do, where it has memory of its own; takes some milliseconds, since the link is measured. */
  default Optional<Accelerator> accelerator() {
    return Optional.empty();
  }

  /** Bytes of memory that the device has. */
  long memoryBytes();

  /** Where the tensors of this device lie. */
  MemorySpace memory();

  /** Zeroed memory for the buffers of a run, as {@link MemorySpace#allocate} of {@link #memory}; large and seldom asked for. */
  default MemorySegment allocate(Arena arena, long bytes, long alignment) {
    return memory().allocate(arena, bytes, alignment);
  }

  /** The dtype in which activations are kept when {@code wanted} is asked for: a device may have but one. */
  DType computeDtype(DType wanted);

  /** Bytes of scratch that the device's ops want for themselves, beside what their arguments give them. */
  long workspaceBytes(Largest largest);

  /** These ops, with scratch of at least {@link #workspaceBytes}; closing is for the one this came from. */
  Kernels withWorkspace(Tensor workspace);

  /**
   * A frozen weight as this device's ops read it, for as long as {@code arena} lives: the stored tensor itself where it lies in
   * memory that they reach, else a copy - vectors in f32, matrices in the compute dtype, NF4 and I8 as they are.
   */
  Tensor resident(Tensor stored, Arena arena);

  /**
   * Copies into slots beside the kernels, for devices with memory of their own.
   *
   * @param slots u8, in {@link #memory}
   * @param ringBytes pinned host memory that a blob passes through, in two halves
   */
  BlobStream blobStream(List<Tensor> slots, long ringBytes);

  /** A way from the host to tensors in {@link #memory}, in the order of the ops. */
  default Uploads uploads(List<Tensor> targets) {
    return new Uploads.InPlace(List.copyOf(targets));
  }

  /**
   * For work that returns in the same shapes.
   *
   * @param what is done, for remarks
   * @param hindrance why it cannot be recorded; empty: it can
   */
  default Replays replays(String what, String hindrance) {
    return Replays.NONE;
  }

  /**
   * Sets what {@link #replays} may take of the device's memory, which no plan knows beforehand. Without a call there is no limit.
   *
   * @param bytes of all together
   * @param spare bytes that must stay free whatever they take
   */
  default void limitReplays(long bytes, long spare) {}

  /**
   * Pinned host memory for sets of tensors, for devices with memory of their own. The host may refuse some: the stash
   * then has the first ones.
   *
   * @param setBytes of each set, in which tensors lie at multiples of 64 bytes
   * @param spareBytes of pinned memory that must be left for others
   */
  HostStash hostStash(List<Long> setBytes, long spareBytes);

  /** A way to the host and back for as many f32 tensors at a time, each of so many elements at most. */
  default RoundTrips roundTrips(int tensors, long elements) {
    return new RoundTrips.InPlace();
  }

  /** out (M,C) = scale * table[ids]; ids (M) i32; table (V,C). */
  void embeddingForward(Tensor out, Tensor ids, Tensor table, float scale);

  /** dtable (V,C) f32 += scale * dout at ids. */
  void embeddingBackward(Tensor dtable, Tensor ids, Tensor dout, float scale);

  /** y (M,C) = x rstd (weightOffset + w); rstd (M) f32 = 1/sqrt(mean x^2 + eps). */
  void rmsNormForward(Tensor y, Tensor rstd, Tensor x, Tensor w, float eps, float weightOffset);

  /** {@link #residualForward} and the norm behind it in one pass: x (M,C) = a + multiplier b (may be either), y, rstd its norm. */
  void residualNormForward(
      Tensor y, Tensor rstd, Tensor x, Tensor a, Tensor b, float multiplier, Tensor w, float eps, float weightOffset);

  /** dx (M,C) = or += ; dw (C) f32 +=, nullable. dx may be dy. */
  void rmsNormBackward(
      Tensor dx, Tensor dw, Tensor dy, Tensor x, Tensor w, Tensor rstd, float weightOffset, boolean accumulate);

  /** y (M,N) = or += x w^T + bias, rounded once; w (N,K) f32, bf16, f16, nf4 or i8; bias (N) nullable. */
  void linearForward(Tensor y, Tensor x, Tensor w, Tensor bias, boolean accumulate);

  /** dx (M,K) = or += dy w. */
  void linearBackwardInput(Tensor dx, Tensor dy, Tensor w, boolean accumulate);

  /** dw (N,K) f32 += dy^T x; dbias (N) f32 +=, nullable. */
  void linearBackwardWeight(Tensor dw, Tensor dbias, Tensor dy, Tensor x);

  /** y (M,N) = scale u b^T with u (M,R) = dropout(x) a^T, saved. */
  void loraForward(Tensor y, Tensor u, Tensor x, Tensor a, Tensor b, float scale, float dropout, long seed);

  /** dx (M,K) +=, nullable; da (R,K), db (N,R) f32 +=; e (M,R) scratch. Dropout and seed as in forward. */
  void loraBackward(
      Tensor dx, Tensor da, Tensor db, Tensor e, Tensor dy, Tensor x, Tensor u, Tensor a, Tensor b,
      float scale, float dropout, long seed);

  /** {@link #loraForward} and the product it stands beside: y (M,N) = x w^T + bias (nullable) + scale u b^T. */
  default void adaptedForward(
      Tensor y, Tensor x, Tensor w, Tensor bias, Tensor u, Tensor a, Tensor b, float scale, float dropout, long seed) {
    loraForward(y, u, x, a, b, scale, dropout, seed);
    linearForward(y, x, w, bias, true);
  }

  /** {@link #loraBackward} and the product's: dx (M,K), nullable, = or += dy w and the branch's; da, db +=; e (M,R) scratch. */
  default void adaptedBackward(
      Tensor dx, boolean accumulate, Tensor da, Tensor db, Tensor e, Tensor dy, Tensor x, Tensor w, Tensor u, Tensor a, Tensor b,
      float scale, float dropout, long seed) {
    if (dx != null) {
      linearBackwardInput(dx, dy, w, accumulate);
    }
    loraBackward(dx, da, db, e, dy, x, u, a, b, scale, dropout, seed);
  }

  /** Turns q (M,H,D) and k (M,KV,D) in place by the tables cos, sin (P, rot/2) f32 at positions (M) i32. */
  void ropeForward(Tensor q, Tensor k, Tensor cos, Tensor sin, Tensor positions);

  /** Turns dq and dk back in place. */
  void ropeBackward(Tensor dq, Tensor dk, Tensor cos, Tensor sin, Tensor positions);

  /** o (M,H,D) and lse (H,M) f32 = causal attention inside each document; docs (n+1) i32 from 0 to M. */
  void attentionForward(Tensor o, Tensor lse, Tensor q, Tensor k, Tensor v, Tensor docs, Attention attention);

  /** dq, dk, dv =; delta (H,M) f32 scratch. */
  void attentionBackward(
      Tensor dq, Tensor dk, Tensor dv, Tensor delta, Tensor dout, Tensor o, Tensor lse, Tensor q, Tensor k, Tensor v,
      Tensor docs, Attention attention);

  /** o (M,H,D) for the positions start .. start+M-1 of one document whose keys and values lie in the caches (P,KV,D). */
  void attentionDecode(Tensor o, Tensor q, Tensor kCache, Tensor vCache, long start, Attention attention);

  /** y (M,I) = activation(gate) * up. */
  void gatedForward(Tensor y, Tensor gate, Tensor up, Activation activation);

  /** dgate, dup (M,I) =; dgate may be gate, dup may be up or dy. */
  void gatedBackward(Tensor dgate, Tensor dup, Tensor dy, Tensor gate, Tensor up, Activation activation);

  /** y = x + multiplier r; y may be x or r. */
  void residualForward(Tensor y, Tensor x, Tensor r, float multiplier);

  /** dr = multiplier dy; dr may be dy. */
  void residualBackward(Tensor dr, Tensor dy, float multiplier);

  /**
   * Bytes of scratch that {@link #crossEntropy} wants for M tokens.
   *
   * @param weightTrains whether there will be a du
   * @param softcap of the logits, 0 none
   */
  long crossEntropyScratchBytes(
      long tokens, long hidden, long vocab, DType compute, boolean weightTrains, float softcap);

  /**
   * loss (1) f64 += the sum over targets != -100 of the label-smoothed negative log-likelihood of h u^T; dh (M,C) = its gradient
   * times invCount, nullable for evaluation; du (V,C) f32 += likewise, nullable when u is frozen. targets (M) i32 are already
   * shifted. rows (N) i32, rising, are those whose target is not -100, for no other is computed: a device cannot wait to be
   * told their number by the targets; the CPU looks there and takes null as well.
   */
  void crossEntropy(
      Tensor loss, Tensor dh, Tensor du, Tensor scratch, Tensor h, Tensor u, Tensor targets, Tensor rows,
      float invCount, float logitScale, float softcap, float labelSmoothing);

  /** Bytes of scratch that the loss over slabs wants for M tokens. */
  default long slabCrossEntropyScratchBytes(long tokens, long hidden, long slabRows) {
    throw new UnsupportedOperationException("the CPU reads the head where it is mapped");
  }

  /** The same loss and dh with a frozen u that comes in slabs of its rows, for devices that {@link #blobStream} is for. */
  default void crossEntropy(
      Tensor loss, Tensor dh, Tensor scratch, Tensor h, Slabs u, Tensor targets, Tensor rows,
      float invCount, float logitScale, float softcap, float labelSmoothing) {
    throw new UnsupportedOperationException("the CPU reads the head where it is mapped");
  }

  /** z = softcap tanh(logitScale z / softcap) in place; softcap 0: z *= logitScale. */
  void softcapForward(Tensor z, float logitScale, float softcap);

  /** out (1) f64 += sum x^2. */
  void sumSquares(Tensor out, Tensor x);

  /** One decoupled AdamW step in torch's order, in place on p, m, v (f32); the gradient is scaled by gradScale (clipping). */
  void adamwStep(
      Tensor p, Tensor m, Tensor v, Tensor grad,
      float lr, float beta1, float beta2, float eps, float weightDecay, float gradScale, long step);

  /**
   * The same with 8-bit moments in blocks of 256, as bitsandbytes keeps them, in place on p (f32), m, v (u8) and mAbsmax, vAbsmax
   * (f32, ceil(n/256)); the decay follows the update. A fresh state is all zeros.
   */
  void adamw8Step(
      Tensor p, Tensor m, Tensor v, Tensor mAbsmax, Tensor vAbsmax, Tensor grad,
      float lr, float beta1, float beta2, float eps, float weightDecay, float gradScale, long step);

  /** signedMap, unsignedMap f32 (256): what the codes of {@link #adamw8Step}'s m and v stand for. */
  void adamw8Maps(Tensor signedMap, Tensor unsignedMap);

  /** codes u8 (ceil(n/2)), absmax f32 (ceil(n/block)) = NF4 of w, byte-exact with bitsandbytes. */
  void nf4Quantize(Tensor codes, Tensor absmax, Tensor w, int block);

  /** Second level: quantised u8 (B), nestedAbsmax f32 (ceil(B/256)), offset f32 (1) of absmax f32 (B). */
  void nf4QuantizeAbsmax(Tensor quantised, Tensor nestedAbsmax, Tensor offset, Tensor absmax);

  /** nf4 f32 (16), dynamic f32 (256): the code books. */
  void nf4Tables(Tensor nf4, Tensor dynamic);

  /** codes u8 (N*K), signed bytes, scale f32 (N) = the i8 form of w (N,K). */
  void int8Quantize(Tensor codes, Tensor scale, Tensor w);

  /** out = in, rounded to nearest even; in may be nf4 or i8. */
  void cast(Tensor out, Tensor in);

  /**
   * Rows of out from {@code outRow} on = rows of in from {@code inRow} on, as many as both have left; (P,C) and (M,C) f32, bf16 or
   * f16, cast where they differ.
   */
  void copyRows(Tensor out, long outRow, Tensor in, long inRow);

  /** count (1) f64 = NaN and infinite elements of x. */
  void countNonFinite(Tensor count, Tensor x);

  /** Waits for every op begun so far; a fault of one comes out here, or when a tensor is read on the host. */
  void synchronize();

  @Override
  void close();
}
