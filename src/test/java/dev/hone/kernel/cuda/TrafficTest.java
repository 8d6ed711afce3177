package dev.hone.kernel.cuda;

import static org.assertj.core.api.Assertions.assertThat;

import dev.hone.kernel.Activation;
import dev.hone.kernel.Kernels;
import dev.hone.tensor.DType;
import dev.hone.tensor.Quant;
import dev.hone.tensor.Tensor;
import dev.hone.testing.StandIn;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import org.junit.jupiter.api.Test;

/**
 * What the kernels' accesses to memory would cost a card, counted by the stand-in while it runs them over shapes that are aligned
 * as those of a model are: sectors of global memory over those that the bytes fill, passes through shared memory's banks over those
 * without conflicts. kernels/TRAFFIC.md has the table; {@code -Dhone.docs=write} brings it up to date.
 */
class TrafficTest {
  private static final int TOKENS = 256;
  private static final int HIDDEN = 1024;
  private static final int FFN = 1536;
  private static final int VOCAB = 2048;
  private static final int RANK = 16;

  /** Eight f32 are two accesses, each of every other half sector: so come tables and norm weights, then from L1. */
  private static final double SECTORS = 1.45;
  private static final double WAVEFRONTS = 1.2;
  /** Once a step or a run: f32 beside codes of a byte, single elements, and the gradient of B, which is written transposed. */
  private static final Map<String, Double> FORGIVEN =
      Map.of("hone_adamw_8bit_f32", 1.7, "hone_nf4_quantize_bf16", 1.85, "hone_nf4_quantize_f16", 1.85, "hone_lora_reduce_f32", 3.85);

  private static final String BEGIN = "<!-- begin: written by TrafficTest -->\n";
  private static final String END = "<!-- end -->\n";

  /** One kernel's counts. */
  private record Counted(String entry, long instructions, long mma, double sectors, double wavefronts) {
    static Counted of(String entry) {
      return new Counted(
          entry, StandIn.counter("instructions:" + entry), StandIn.counter("mma:" + entry), ratio("sectors", entry),
          ratio("wavefronts", entry));
    }

    /** 0 where there was nothing to count. */
    private static double ratio(String what, String entry) {
      long least = StandIn.counter("least_" + what + ":" + entry);
      return least == 0 ? 0 : (double) StandIn.counter(what + ":" + entry) / least;
    }

    String row(String tier) {
      return "| " + tier + " | " + entry.replace("hone_", "") + " | " + text(sectors) + " | " + text(wavefronts) + " | "
          + (mma == 0 ? "" : String.format(Locale.ROOT, "%.1f", (double) instructions / mma)) + " |\n";
    }

    private static String text(double ratio) {
      return ratio == 0 ? "" : String.format(Locale.ROOT, "%.2f", ratio);
    }
  }

  @Test
  void noKernelWastesMoreThanItsTableSays() throws IOException {
    StringBuilder table = new StringBuilder("| tier | kernel | sectors | wavefronts | instructions an mma |\n|---|---|---|---|---|\n");
    for (Card.Tier tier : List.of(Card.Tier.SM_80, Card.Tier.SM_75)) {
      for (Counted c : counted(tier == Card.Tier.SM_80 ? "cc=8.0 traffic=1" : "cc=7.5 traffic=1").values()) {
        table.append(c.row(tier.target()));
        assertThat(c.wavefronts).as(c.entry + " wavefronts").isLessThan(WAVEFRONTS);
        assertThat(c.sectors).as(c.entry + " sectors").isLessThan(FORGIVEN.getOrDefault(c.entry, SECTORS));
      }
    }
    Path doc = Path.of(System.getProperty("hone.root", "."), "kernels/TRAFFIC.md");
    String text = Files.readString(doc);
    assertThat(text).contains(BEGIN, END);
    int begin = text.indexOf(BEGIN) + BEGIN.length();
    int end = text.indexOf(END);
    if ("write".equals(System.getProperty("hone.docs"))) {
      Files.writeString(doc, text.substring(0, begin) + table + text.substring(end));
      return;
    }
    assertThat(text.substring(begin, end)).as("run mvn test -Dtest=TrafficTest -Dhone.docs=write").isEqualTo(table.toString());
  }

  private static Map<String, Counted> counted(String card) {
    Map<String, Counted> all = new TreeMap<>();
    try (CudaKernels kernels = StandIn.open(card); Arena arena = Arena.ofShared()) {
      new Workload(kernels, arena).run();
      for (Manifest.Entry entry : Manifest.ofBuild().entries()) {
        if (StandIn.counter("kernel:" + entry.entry()) > 0) {
          all.put(entry.entry(), Counted.of(entry.entry()));
        }
      }
    }
    return all;
  }

  /** The ops of training and decoding once each, by several shapes where shapes choose among kernels. */
  private static final class Workload {
    private final Kernels card;
    private final Arena arena;
    private final DType compute;

    Workload(CudaKernels device, Arena arena) {
      this.arena = arena;
      compute = device.computeDtype(DType.F32);
      var largest = new Kernels.Largest(TOKENS, VOCAB, (long) FFN * HIDDEN, RANK);
      Tensor workspace = Tensor.allocate(device.memory(), arena, "workspace", DType.U8, device.workspaceBytes(largest));
      card = device.withWorkspace(workspace);
    }

    void run() {
      for (int tokens : new int[] {TOKENS, 48, 16, 1}) {
        products(tokens);
      }
      for (int dim : new int[] {64, 128}) {
        attention(dim);
      }
      rows();
      gated();
      for (int rank : new int[] {RANK, 64}) {
        lora(rank);
      }
      crossEntropy();
      optimiser();
    }

    private void products(int tokens) {
      Tensor x = values("x", tokens, HIDDEN);
      Tensor y = values("y", tokens, FFN);
      Tensor dx = values("dx", tokens, HIDDEN);
      for (Tensor w : List.of(values("w", FFN, HIDDEN), nf4(FFN, HIDDEN), int8(FFN, HIDDEN))) {
        card.linearForward(y, x, w, null, false);
        card.linearForward(y, x, w, null, true);
        card.linearBackwardInput(dx, y, w, false);
      }
    }

    private void attention(int dim) {
      int heads = 4;
      int keyHeads = 2;
      Tensor q = values("q", TOKENS, heads, dim);
      Tensor k = values("k", TOKENS, keyHeads, dim);
      Tensor v = values("v", TOKENS, keyHeads, dim);
      Tensor o = values("o", TOKENS, heads, dim);
      Tensor lse = floats("lse", heads, TOKENS);
      Tensor delta = floats("delta", heads, TOKENS);
      Tensor docs = empty("docs", DType.I32, 3).set(new int[] {0, TOKENS / 4, TOKENS});
      var settings = new Kernels.Attention(0.1f, 0, 0);
      card.attentionForward(o, lse, q, k, v, docs, settings);
      card.attentionBackward(
          values("dq", TOKENS, heads, dim), values("dk", TOKENS, keyHeads, dim), values("dv", TOKENS, keyHeads, dim), delta,
          values("do", TOKENS, heads, dim), o, lse, q, k, v, docs, settings);
      card.attentionDecode(values("o1", 1, heads, dim), values("q1", 1, heads, dim), k, v, TOKENS - 1, settings);
    }

    private void rows() {
      Tensor x = values("x", TOKENS, HIDDEN);
      Tensor y = values("y", TOKENS, HIDDEN);
      Tensor branch = values("branch", TOKENS, HIDDEN);
      Tensor wide = values("wide", 16, 4096);
      for (Tensor rows : List.of(x, wide)) {
        long m = rows.shape(0);
        long c = rows.shape(1);
        Tensor w = floats("w", c);
        Tensor rstd = floats("rstd", m);
        Tensor to = values("to", m, c);
        card.rmsNormForward(to, rstd, rows, w, 1e-5f, 0);
        card.residualNormForward(to, rstd, values("sum", m, c), rows, rows, 1, w, 1e-5f, 0);
        card.rmsNormBackward(values("dx", m, c), null, to, rows, w, rstd, 0, true);
      }
      card.residualForward(y, x, branch, 1);
      card.residualBackward(y, branch, 0.5f);
      Tensor table = values("table", VOCAB, HIDDEN);
      Tensor ids = counting("ids", TOKENS);
      card.embeddingForward(y, ids, table, 1);
      Tensor cos = floats("cos", TOKENS, 64);
      Tensor sin = floats("sin", TOKENS, 64);
      card.ropeForward(values("q", TOKENS, 4, 128), values("k", TOKENS, 2, 128), cos, sin, ids);
      card.ropeBackward(values("q", TOKENS, 4, 128), values("k", TOKENS, 2, 128), cos, sin, ids);
      card.countNonFinite(empty("count", DType.F64, 1), x);
    }

    private void gated() {
      Tensor gate = values("gate", TOKENS, FFN);
      Tensor up = values("up", TOKENS, FFN);
      Tensor y = values("y", TOKENS, FFN);
      card.gatedForward(y, gate, up, Activation.SILU);
      card.gatedBackward(values("dgate", TOKENS, FFN), values("dup", TOKENS, FFN), y, gate, up, Activation.SILU);
    }

    private void lora(int rank) {
      Tensor x = values("x", TOKENS, HIDDEN);
      Tensor y = values("y", TOKENS, FFN);
      Tensor u = values("u", TOKENS, rank);
      Tensor a = floats("a", rank, HIDDEN);
      Tensor b = floats("b", FFN, rank);
      card.loraForward(y, u, x, a, b, 2, 0, 0);
      card.loraBackward(
          values("dx", TOKENS, HIDDEN), floats("da", rank, HIDDEN), floats("db", FFN, rank), values("e", TOKENS, rank), y, x, u, a,
          b, 2, 0, 0);
    }

    private void crossEntropy() {
      Tensor h = values("h", TOKENS, HIDDEN);
      Tensor head = values("head", VOCAB, HIDDEN);
      Tensor ids = counting("ids", TOKENS);
      Tensor scratch =
          empty("scratch", DType.U8, card.crossEntropyScratchBytes(TOKENS, HIDDEN, VOCAB, compute, false, 0));
      card.crossEntropy(
          empty("loss", DType.F64, 1), values("dh", TOKENS, HIDDEN), null, scratch, h, head, ids, ids, 1f / TOKENS, 1, 0, 0);
    }

    private void optimiser() {
      long n = 1 << 16;
      Tensor p = floats("p", n);
      Tensor grad = floats("grad", n);
      card.sumSquares(empty("sum", DType.F64, 1), grad);
      card.adamwStep(p, floats("m", n), floats("v", n), grad, 1e-4f, 0.9f, 0.999f, 1e-8f, 0.01f, 1, 1);
      card.adamw8Step(
          p, empty("m", DType.U8, n), empty("v", DType.U8, n), floats("absmax", n / 256), floats("absmax", n / 256), grad, 1e-4f,
          0.9f, 0.999f, 1e-8f, 0.01f, 1, 1);
      Tensor logits = floats("z", 1, VOCAB);
      card.softcapForward(logits, 1, 30);
      assertThat(logits.toFloats()[0]).isPositive(); // waits: what is queued has not been counted yet
    }

    private Tensor empty(String name, DType dtype, long... shape) {
      return Tensor.allocate(card.memory(), arena, name, dtype, shape);
    }

    /** All ones: what is counted does not depend on values. */
    private Tensor floats(String name, long... shape) {
      Tensor tensor = empty(name, DType.F32, shape);
      float[] ones = new float[Math.toIntExact(tensor.elements())];
      Arrays.fill(ones, 1);
      return tensor.set(ones);
    }

    private Tensor values(String name, long... shape) {
      Tensor tensor = empty(name, compute, shape);
      card.cast(tensor, floats(name, shape));
      return tensor;
    }

    private Tensor counting(String name, int n) {
      int[] values = new int[n];
      Arrays.setAll(values, i -> i);
      return empty(name, DType.I32, n).set(values);
    }

    private Tensor int8(long out, long in) {
      Tensor codes = empty("codes", DType.U8, out * in);
      Tensor scale = empty("scale", DType.F32, out);
      card.int8Quantize(codes, scale, values("w", out, in));
      return Tensor.ofInt8(card.memory(), arena, "w", codes.data(), scale, out, in);
    }

    private Tensor nf4(long out, long in) {
      Tensor code = empty("code", DType.F32, 16);
      Tensor dynamic = empty("dynamic", DType.F32, 256);
      card.nf4Tables(code, dynamic);
      Tensor codes = empty("codes", DType.U8, out * in / 2);
      Tensor absmax = empty("absmax", DType.F32, out * in / 64);
      card.nf4Quantize(codes, absmax, values("w", out, in), 64);
      Tensor quantised = empty("absmax", DType.U8, out * in / 64);
      Tensor maxima = empty("nested_absmax", DType.F32, Math.ceilDiv(out * in / 64, 256L));
      Tensor offset = empty("offset", DType.F32, 1);
      card.nf4QuantizeAbsmax(quantised, maxima, offset, absmax);
      var quant = new Quant(code, quantised, dynamic, maxima, offset.toFloats()[0], 64, 256);
      return Tensor.ofNf4(card.memory(), arena, "w", codes.data(), quant, out, in);
    }
  }
}
