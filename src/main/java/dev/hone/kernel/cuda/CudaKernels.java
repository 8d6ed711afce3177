package dev.hone.kernel.cuda;

import dev.hone.config.Rivalry;
import dev.hone.config.Rivalry.Use;
import dev.hone.config.UserCache;
import dev.hone.config.UserError;
import dev.hone.kernel.Accelerator;
import dev.hone.kernel.Activation;
import dev.hone.kernel.BlobStream;
import dev.hone.kernel.HostStash;
import dev.hone.kernel.Kernels;
import dev.hone.kernel.Replays;
import dev.hone.kernel.RoundTrips;
import dev.hone.kernel.Slabs;
import dev.hone.kernel.Uploads;
import dev.hone.tensor.DType;
import dev.hone.tensor.MemorySpace;
import dev.hone.tensor.Tensor;
import java.lang.foreign.Arena;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * The op contract on a card, composed of the kernels of {@code ptx/}: bf16 activations from compute capability 8.0 on,
 * f16 on 7.5. Ops begin in order and do not wait; reading a tensor on the host does. What trains whole weights is
 * refused.
 */
public final class CudaKernels implements Kernels {
  private final Stage stage;
  private final Products products;
  private final LoraProducts lora;
  private final AttentionOps attention;
  private final CrossEntropyOp crossEntropy;
  private final SlabCrossEntropyOp slabCrossEntropy;
  private final Conversions conversions;

  private CudaKernels(Stage stage) {
    this.stage = stage;
    products = new Products(stage);
    lora = new LoraProducts(stage);
    attention = new AttentionOps(stage);
    crossEntropy = new CrossEntropyOp(stage, products);
    slabCrossEntropy = new SlabCrossEntropyOp(stage, products);
    conversions = new Conversions(stage, products);
  }

  /**
   * Opens a card.
   *
   * @param library of the driver, by path or name; null: the system's own
   * @param ordinal number of the card with that driver
   * @param rivalry who may replace the kernels of this build
   * @param wanted dtype of activations: F16 gets it on every card, anything else what the card computes in by itself
   * @throws UserError when there is no driver, no such card, one of the two is too old, or a rival that must be used is
   *     missing
   */
  public static CudaKernels open(String library, int ordinal, Rivalry rivalry, DType wanted) {
    return open(library, ordinal, rivalry, wanted, UserCache.folder(), System.getenv());
  }

  /**
   * Opens a card.
   *
   * @param cache folder for compiled kernels and measured choices
   * @param environment may name or turn off the rivals' libraries
   */
  static CudaKernels open(
      String library, int ordinal, Rivalry rivalry, DType wanted, Path cache, Map<String, String> environment) {
    Driver driver = Driver.open(library == null ? CudaDevice.defaultLibrary() : library);
    List<Card> cards = CudaDevice.cards(driver);
    if (ordinal >= cards.size()) {
      throw UserError.of(
          "there is no cuda:%d; the NVIDIA driver has %s", ordinal,
          switch (cards.size()) {
            case 0 -> "no card: use --device cpu";
            case 1 -> "one card, cuda:0";
            default -> cards.size() + " cards";
          });
    }
    CudaDevice device = new CudaDevice(driver, cards.get(ordinal), wanted, Manifest.ofBuild());
    device.graphs(rivalry.graphs());
    device.rivals(Rivals.of(device, rivalry, cache, environment));
    return new CudaKernels(new Stage(device, null, Stage.Fixed.on(device)));
  }

  /** Opens a card in its own dtype, with the kernels of this build alone. */
  public static CudaKernels open(String library, int ordinal) {
    return open(library, ordinal, Rivalry.NONE, DType.F32);
  }

  /** The card. */
  public Card card() {
    return stage.device().card();
  }

  /**
   * Microseconds on the card from the beginning of the first kernel to the end of the last that {@code work} begins.
   */
  public double microseconds(Runnable work) {
    return stage.device().microseconds(work);
  }

  /** Bytes of the card's memory that nobody uses. */
  public long freeBytes() {
    return stage.device().use().freeMemory();
  }

  @Override
  public String describe() {
    return card().describe();
  }

  @Override
  public List<String> remarks() {
    List<String> remarks = new ArrayList<>(stage.device().remarks());
    if (stage.device().rivals() != null) {
      remarks.addAll(0, stage.device().rivals().remarks());
    }
    return List.copyOf(remarks);
  }

  @Override
  public Optional<Accelerator> accelerator() {
    Card card = card();
    long free = freeBytes();
    return Optional.of(
        new Accelerator(card.name(), card.memory(), free, Link.rate(stage.device(), true), card.flops(), card.memoryRate()));
  }

  @Override
  public long memoryBytes() {
    return card().memory();
  }

  @Override
  public MemorySpace memory() {
    return stage.device().memory();
  }

  /** The one dtype that the card was opened for, whatever is wanted now. */
  @Override
  public DType computeDtype(DType wanted) {
    return stage.compute();
  }

  @Override
  public long workspaceBytes(Largest largest) {
    return workspaceOf(largest);
  }

  /** Bytes of scratch that the ops of any card want, for plans without one. */
  public static long workspaceOf(Largest largest) {
    long products = Products.workspaceBytes(largest.features(), largest.weight());
    long gradients = LoraProducts.workspaceBytes(largest.features(), largest.rank());
    return Math.max(Math.max(products, gradients), AttentionOps.workspaceBytes(largest.tokens()));
  }

  @Override
  public CudaKernels withWorkspace(Tensor workspace) {
    return new CudaKernels(new Stage(stage.device(), workspace, stage.fixed()));
  }

  @Override
  public Tensor resident(Tensor stored, Arena arena) {
    return conversions.resident(stored, arena);
  }

  @Override
  public BlobStream blobStream(List<Tensor> slots, long ringBytes) {
    return new CopyStream(stage.device(), slots, ringBytes);
  }

  @Override
  public Replays replays(String what, String hindrance) {
    CudaDevice device = stage.device();
    String against = Launcher.WAIT ? "HONE_CUDA_WAIT waits for each" : hindrance;
    if (device.graphs() == Use.NEVER) {
      return Replays.NONE;
    }
    if (!against.isEmpty()) {
      String remark = "kernels are launched one by one, not as graphs: " + against;
      if (!device.remarks().contains(remark)) {
        device.remarks().add(remark);
      }
      return Replays.NONE;
    }
    return new Graphs(device, device.graphs(), what, device.remarks());
  }

  @Override
  public void limitReplays(long bytes, long spare) {
    stage.device().graphMemory().limit(bytes, spare);
  }

  @Override
  public Uploads uploads(List<Tensor> targets) {
    return new PinnedUploads(stage.device(), targets);
  }

  @Override
  public HostStash hostStash(List<Long> setBytes, long spareBytes) {
    return new PinnedStash(stage.device(), setBytes, spareBytes);
  }

  @Override
  public RoundTrips roundTrips(int tensors, long elements) {
    return new PinnedRoundTrips(stage.device(), tensors, elements);
  }

  @Override
  public void embeddingForward(Tensor out, Tensor ids, Tensor table, float scale) {
    String op = "embedding_forward";
    Args.matrix(op, table, stage.compute(), Args.ANY, Args.ANY);
    Args.vector(op, ids, DType.I32, Args.ANY);
    Args.matrix(op, out, stage.compute(), ids.shape(0), table.shape(1));
    stage.begin("embedding_fwd").tensor(out).tensor(ids).tensor(table).dim(ids.shape(0)).dim(table.shape(1))
        .dim(table.shape(0)).real(scale).rows(ids.shape(0), table.shape(1));
  }

  @Override
  public void embeddingBackward(Tensor dtable, Tensor ids, Tensor dout, float scale) {
    Args.frozen("embedding_backward", dtable);
  }

  @Override
  public void rmsNormForward(Tensor y, Tensor rstd, Tensor x, Tensor w, float eps, float weightOffset) {
    String op = "rmsnorm_forward";
    norm(op, y, rstd, x, w);
    stage.begin("rmsnorm_fwd").tensor(y).tensor(rstd).tensor(x).tensor(w).dim(x.shape(0)).dim(x.shape(1)).real(eps)
        .real(weightOffset).rows(x.shape(0), x.shape(1));
  }

  @Override
  public void residualNormForward(
      Tensor y, Tensor rstd, Tensor x, Tensor a, Tensor b, float multiplier, Tensor w, float eps, float weightOffset) {
    String op = "residual_rmsnorm_forward";
    norm(op, y, rstd, x, w);
    Args.matrix(op, a, stage.compute(), x.shape(0), x.shape(1));
    Args.matrix(op, b, stage.compute(), x.shape(0), x.shape(1));
    stage.begin("residual_rmsnorm_fwd").tensor(y).tensor(rstd).tensor(x).tensor(a).tensor(b).real(multiplier).tensor(w)
        .dim(x.shape(0)).dim(x.shape(1)).real(eps).real(weightOffset).rows(x.shape(0), x.shape(1));
  }

  @Override
  public void rmsNormBackward(
      Tensor dx, Tensor dw, Tensor dy, Tensor x, Tensor w, Tensor rstd, float weightOffset, boolean accumulate) {
    String op = "rmsnorm_backward";
    Args.frozen(op, dw);
    norm(op, dy, rstd, x, w);
    Args.matrix(op, dx, stage.compute(), x.shape(0), x.shape(1));
    stage.begin("rmsnorm_bwd").tensor(dx).tensor(dy).tensor(x).tensor(w).tensor(rstd).dim(x.shape(0)).dim(x.shape(1))
        .real(weightOffset).flag(accumulate).rows(x.shape(0), x.shape(1));
  }

  private void norm(String op, Tensor y, Tensor rstd, Tensor x, Tensor w) {
    Args.matrix(op, x, stage.compute(), Args.ANY, Args.ANY);
    Args.matrix(op, y, stage.compute(), x.shape(0), x.shape(1));
    Args.vector(op, rstd, DType.F32, x.shape(0));
    Args.vector(op, w, DType.F32, x.shape(1));
  }

  @Override
  public void linearForward(Tensor y, Tensor x, Tensor w, Tensor bias, boolean accumulate) {
    products.forward(y, x, w, bias, accumulate);
  }

  @Override
  public void linearBackwardInput(Tensor dx, Tensor dy, Tensor w, boolean accumulate) {
    products.backwardInput(dx, dy, w, accumulate);
  }

  @Override
  public void linearBackwardWeight(Tensor dw, Tensor dbias, Tensor dy, Tensor x) {
    Args.frozen("linear_backward_weight", dw);
  }

  @Override
  public void loraForward(Tensor y, Tensor u, Tensor x, Tensor a, Tensor b, float scale, float dropout, long seed) {
    lora.forward(y, u, x, a, b, scale, dropout, seed);
  }

  @Override
  public void loraBackward(
      Tensor dx, Tensor da, Tensor db, Tensor e, Tensor dy, Tensor x, Tensor u, Tensor a, Tensor b,
      float scale, float dropout, long seed) {
    lora.backward(dx, da, db, e, dy, x, u, a, b, scale, dropout, seed);
  }

  /** One pass over y where the product takes the branch along. */
  @Override
  public void adaptedForward(
      Tensor y, Tensor x, Tensor w, Tensor bias, Tensor u, Tensor a, Tensor b, float scale, float dropout, long seed) {
    if (products.takeBranch(x.shape(0), a.shape(0))) {
      lora.forward(products, y, x, w, bias, u, a, b, scale, dropout, seed);
    } else {
      Kernels.super.adaptedForward(y, x, w, bias, u, a, b, scale, dropout, seed);
    }
  }

  /** One pass over dx likewise, where no mask of dropout lies over the branch. */
  @Override
  public void adaptedBackward(
      Tensor dx, boolean accumulate, Tensor da, Tensor db, Tensor e, Tensor dy, Tensor x, Tensor w, Tensor u, Tensor a, Tensor b,
      float scale, float dropout, long seed) {
    if (dx != null && dropout == 0 && products.takeBranch(x.shape(0), a.shape(0))) {
      lora.backward(products, dx, accumulate, da, db, e, dy, x, w, u, a, b, scale);
    } else {
      Kernels.super.adaptedBackward(dx, accumulate, da, db, e, dy, x, w, u, a, b, scale, dropout, seed);
    }
  }

  @Override
  public void ropeForward(Tensor q, Tensor k, Tensor cos, Tensor sin, Tensor positions) {
    rope("rope_fwd", q, k, cos, sin, positions);
  }

  @Override
  public void ropeBackward(Tensor dq, Tensor dk, Tensor cos, Tensor sin, Tensor positions) {
    rope("rope_bwd", dq, dk, cos, sin, positions);
  }

  private void rope(String op, Tensor q, Tensor k, Tensor cos, Tensor sin, Tensor positions) {
    Args.heads(op, q, stage.compute(), Args.ANY, Args.ANY, Args.ANY);
    Args.heads(op, k, stage.compute(), q.shape(0), Args.ANY, q.shape(2));
    Args.matrix(op, cos, DType.F32, Args.ANY, Args.ANY);
    Args.matrix(op, sin, DType.F32, cos.shape(0), cos.shape(1));
    Args.vector(op, positions, DType.I32, q.shape(0));
    long half = cos.shape(1);
    if (2 * half > q.shape(2)) {
      throw Args.bad(op + ": " + cos + " turns more dims than " + q + " has");
    }
    stage.begin(op).tensor(q).tensor(k).tensor(cos).tensor(sin).tensor(positions).dim(q.shape(0)).dim(q.shape(1))
        .dim(k.shape(1)).dim(q.shape(2)).dim(half).flat(q.shape(0) * (q.shape(1) + k.shape(1)) * half);
  }

  @Override
  public void attentionForward(Tensor o, Tensor lse, Tensor q, Tensor k, Tensor v, Tensor docs, Attention settings) {
    attention.forward(o, lse, q, k, v, docs, settings);
  }

  @Override
  public void attentionBackward(
      Tensor dq, Tensor dk, Tensor dv, Tensor delta, Tensor dout, Tensor o, Tensor lse, Tensor q, Tensor k, Tensor v,
      Tensor docs, Attention settings) {
    attention.backward(dq, dk, dv, delta, dout, o, lse, q, k, v, docs, settings);
  }

  @Override
  public void attentionDecode(Tensor o, Tensor q, Tensor kCache, Tensor vCache, long start, Attention settings) {
    attention.decode(o, q, kCache, vCache, start, settings);
  }

  @Override
  public void gatedForward(Tensor y, Tensor gate, Tensor up, Activation activation) {
    String op = "gated_forward";
    long n = elements(op, y);
    Args.elements(op, gate, stage.compute(), n);
    Args.elements(op, up, stage.compute(), n);
    stage.begin("gated_fwd").tensor(y).tensor(gate).tensor(up).count(n).dim(activation.code()).flat(n);
  }

  @Override
  public void gatedBackward(Tensor dgate, Tensor dup, Tensor dy, Tensor gate, Tensor up, Activation activation) {
    String op = "gated_backward";
    long n = elements(op, dy);
    Args.elements(op, dgate, stage.compute(), n);
    Args.elements(op, dup, stage.compute(), n);
    Args.elements(op, gate, stage.compute(), n);
    Args.elements(op, up, stage.compute(), n);
    stage.begin("gated_bwd").tensor(dgate).tensor(dup).tensor(dy).tensor(gate).tensor(up).count(n)
        .dim(activation.code()).flat(n);
  }

  @Override
  public void residualForward(Tensor y, Tensor x, Tensor r, float multiplier) {
    String op = "residual_forward";
    long n = elements(op, y);
    Args.elements(op, x, stage.compute(), n);
    Args.elements(op, r, stage.compute(), n);
    stage.begin("residual_fwd").tensor(y).tensor(x).tensor(r).count(n).real(multiplier).flat(n);
  }

  @Override
  public void residualBackward(Tensor dr, Tensor dy, float multiplier) {
    String op = "residual_backward";
    long n = elements(op, dr);
    Args.elements(op, dy, stage.compute(), n);
    stage.begin("residual_bwd").tensor(dr).tensor(dy).count(n).real(multiplier).flat(n);
  }

  private long elements(String op, Tensor tensor) {
    Args.dtype(op, tensor, stage.compute());
    return tensor.elements();
  }

  @Override
  public long crossEntropyScratchBytes(
      long tokens, long hidden, long vocab, DType compute, boolean weightTrains, float softcap) {
    return CrossEntropyOp.scratchBytes(tokens, hidden, vocab);
  }

  /**
   * Bytes of scratch of the loss on any card, for plans without one.
   *
   * @param whole false: the head comes in slabs
   */
  public static long crossEntropyScratchOf(long tokens, long hidden, long vocab, boolean whole) {
    return whole ? CrossEntropyOp.scratchBytes(tokens, hidden, vocab)
        : SlabCrossEntropyOp.scratchBytes(tokens, hidden, Slabs.rows(vocab, DType.BF16.bytes(hidden)));
  }

  @Override
  public void crossEntropy(
      Tensor loss, Tensor dh, Tensor du, Tensor scratch, Tensor h, Tensor u, Tensor targets, Tensor rows,
      float invCount, float logitScale, float softcap, float labelSmoothing) {
    crossEntropy.run(loss, dh, du, scratch, h, u, targets, rows, invCount, logitScale, softcap, labelSmoothing);
  }

  @Override
  public long slabCrossEntropyScratchBytes(long tokens, long hidden, long slabRows) {
    return SlabCrossEntropyOp.scratchBytes(tokens, hidden, slabRows);
  }

  @Override
  public void crossEntropy(
      Tensor loss, Tensor dh, Tensor scratch, Tensor h, Slabs u, Tensor targets, Tensor rows,
      float invCount, float logitScale, float softcap, float labelSmoothing) {
    slabCrossEntropy.run(loss, dh, scratch, h, u, targets, rows, invCount, logitScale, softcap, labelSmoothing);
  }

  @Override
  public void softcapForward(Tensor z, float logitScale, float softcap) {
    Args.dtype("softcap_forward", z, DType.F32);
    long n = z.elements();
    stage.begin("softcap_fwd", DType.F32).tensor(z).count(n).real(logitScale).real(softcap).flat(n);
  }

  @Override
  public void sumSquares(Tensor out, Tensor x) {
    Args.vector("sum_squares", out, DType.F64, 1);
    Args.dtype("sum_squares", x, DType.F32);
    conversions.sum("sum_squares", out, x);
  }

  @Override
  public void adamwStep(
      Tensor p, Tensor m, Tensor v, Tensor grad,
      float lr, float beta1, float beta2, float eps, float weightDecay, float gradScale, long step) {
    String op = "adamw_step";
    Args.dtype(op, p, DType.F32);
    long n = p.elements();
    Args.elements(op, m, DType.F32, n);
    Args.elements(op, v, DType.F32, n);
    Args.elements(op, grad, DType.F32, n);
    Args.step(op, step);
    stage.begin("adamw_f32", DType.F32).tensor(p).tensor(m).tensor(v).tensor(grad).count(n).real(lr).real(beta1)
        .real(beta2).real(eps).real(weightDecay).real(gradScale).real(correction(beta1, step))
        .real(correction(beta2, step)).flat(n);
  }

  @Override
  public void adamw8Step(
      Tensor p, Tensor m, Tensor v, Tensor mAbsmax, Tensor vAbsmax, Tensor grad,
      float lr, float beta1, float beta2, float eps, float weightDecay, float gradScale, long step) {
    String op = "adamw8_step";
    Args.dtype(op, p, DType.F32);
    long n = p.elements();
    long blocks = Math.ceilDiv(n, 256L);
    Args.elements(op, m, DType.U8, n);
    Args.elements(op, v, DType.U8, n);
    Args.elements(op, mAbsmax, DType.F32, blocks);
    Args.elements(op, vAbsmax, DType.F32, blocks);
    Args.elements(op, grad, DType.F32, n);
    Args.step(op, step);
    stage.begin("adamw_8bit", DType.F32).tensor(p).tensor(m).tensor(v).tensor(mAbsmax).tensor(vAbsmax).tensor(grad)
        .tensor(stage.fixed().signed()).tensor(stage.fixed().unsigned()).count(n).real(lr).real(beta1).real(beta2)
        .real(eps).real(weightDecay).real(gradScale).real(correction(beta1, step)).real(correction(beta2, step))
        .flat(n);
  }

  @Override
  public void adamw8Maps(Tensor signedMap, Tensor unsignedMap) {
    signedMap.set(CodeBooks.signed());
    unsignedMap.set(CodeBooks.unsigned());
  }

  /**
   * 1 - beta^t in f64, of the beta that was written: the decimal of at most 7 places behind the float, as in adamw.c.
   */
  private static float correction(float beta, long step) {
    double decimal = Math.rint(beta * 1e7) / 1e7;
    return (float) (1 - Math.pow((float) decimal == beta ? decimal : beta, step));
  }

  @Override
  public void nf4Quantize(Tensor codes, Tensor absmax, Tensor w, int block) {
    conversions.nf4Quantize(codes, absmax, w, block);
  }

  @Override
  public void nf4QuantizeAbsmax(Tensor quantised, Tensor nestedAbsmax, Tensor offset, Tensor absmax) {
    conversions.nf4QuantizeAbsmax(quantised, nestedAbsmax, offset, absmax);
  }

  @Override
  public void nf4Tables(Tensor nf4, Tensor dynamic) {
    nf4.set(CodeBooks.nf4());
    dynamic.set(CodeBooks.signed());
  }

  @Override
  public void int8Quantize(Tensor codes, Tensor scale, Tensor w) {
    conversions.int8Quantize(codes, scale, w);
  }

  @Override
  public void cast(Tensor out, Tensor in) {
    conversions.cast(out, in);
  }

  @Override
  public void copyRows(Tensor out, long outRow, Tensor in, long inRow) {
    conversions.copyRows(out, outRow, in, inRow);
  }

  @Override
  public void countNonFinite(Tensor count, Tensor x) {
    conversions.countNonFinite(count, x);
  }

  @Override
  public void synchronize() {
    stage.device().synchronize();
  }

  @Override
  public void close() {
    try {
      stage.fixed().arena().close();
    } finally {
      stage.device().close();
    }
  }
}
