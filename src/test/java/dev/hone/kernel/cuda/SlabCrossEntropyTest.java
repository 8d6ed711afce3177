package dev.hone.kernel.cuda;

import static org.assertj.core.api.Assertions.assertThat;

import dev.hone.kernel.BlobStream;
import dev.hone.kernel.Kernels;
import dev.hone.kernel.Slabs;
import dev.hone.kernel.cpu.CpuKernels;
import dev.hone.tensor.DType;
import dev.hone.tensor.Tensor;
import dev.hone.testing.StandIn;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.stream.IntStream;
import org.assertj.core.data.Offset;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** The loss over slabs of the head: the bits of the loss with a whole head, and the reference's numbers. */
class SlabCrossEntropyTest {
  private static final int IGNORED = -100;

  /** What the cases differ in; {@code slabRows} rows have room in a slot. */
  private record Shape(int m, int c, int v, int slabRows, float scale, float softcap, float smoothing) {}

  private record Result(double loss, float[] dh, double evaluated) {}

  private static float[] random(Random random, int n, double deviation) {
    float[] values = new float[n];
    for (int i = 0; i < n; i++) {
      values[i] = (float) (random.nextGaussian() * deviation);
    }
    return values;
  }

  private static int[] targets(Shape s) {
    int[] targets = new int[s.m];
    for (int i = 0; i < s.m; i++) {
      targets[i] = i % 4 == 1 ? IGNORED : (i * 31 + 7) % s.v;
    }
    targets[s.m - 1] = s.v - 1;
    return targets;
  }

  /** A loss that begins at a number of its own and dh that begins as another one: added to, and overwritten. */
  private static final double BEFORE = 3;

  private interface Loss {
    void run(Tensor loss, Tensor dh);
  }

  private static Result result(Kernels kernels, Arena arena, Shape s, DType compute, Loss op) {
    Tensor loss = Tensor.allocate(kernels.memory(), arena, "loss", DType.F64, 1);
    Tensor before = Tensor.allocate(arena, "before", DType.F64, 1);
    before.data().set(java.lang.foreign.ValueLayout.JAVA_DOUBLE, 0, BEFORE);
    Tensor dh = Tensor.allocate(kernels.memory(), arena, "dh", compute, s.m, s.c);
    loss.copyFrom(before);
    op.run(loss, dh);
    double trained = loss.toDouble() - BEFORE;
    loss.copyFrom(before);
    op.run(loss, null);
    return new Result(trained, dh.toFloats(), loss.toDouble() - BEFORE);
  }

  private static Tensor rounded(CpuKernels host, Arena arena, String name, DType dtype, float[] values, long... shape) {
    Tensor wide = Tensor.allocate(arena, name, DType.F32, shape).set(values);
    Tensor out = Tensor.allocate(arena, name, dtype, shape);
    host.cast(out, wide);
    return out;
  }

  private static void compare(String card, Shape s, int[] labels) {
    try (CpuKernels host = new CpuKernels(); Kernels kernels = StandIn.open(card); Arena arena = Arena.ofShared()) {
      DType compute = kernels.computeDtype(DType.F32);
      Random random = new Random(s.v);
      Tensor hHost = rounded(host, arena, "h", compute, random(random, s.m * s.c, 1), s.m, s.c);
      Tensor uHost = rounded(host, arena, "u", compute, random(random, s.v * s.c, 1 / Math.sqrt(s.c)), s.v, s.c);
      Tensor h = Tensor.allocate(kernels.memory(), arena, "h", compute, s.m, s.c).copyFrom(hHost);
      Tensor u = Tensor.allocate(kernels.memory(), arena, "u", compute, s.v, s.c).copyFrom(uHost);
      Tensor targets = Tensor.allocate(kernels.memory(), arena, "targets", DType.I32, s.m).set(labels);
      int[] labelled = IntStream.range(0, s.m).filter(i -> labels[i] != IGNORED).toArray();
      Tensor rows = Tensor.allocate(kernels.memory(), arena, "rows", DType.I32, s.m);
      rows.rows(labelled.length).set(labelled);
      Tensor everyRow = Tensor.allocate(kernels.memory(), arena, "rows", DType.I32, s.m);
      everyRow.set(IntStream.range(0, s.m).toArray());
      float inverse = 1f / s.m;

      Tensor scratch = Tensor.allocate(
          kernels.memory(), arena, "scratch", DType.U8,
          kernels.crossEntropyScratchBytes(s.m, s.c, s.v, compute, false, s.softcap));
      Result whole = result(kernels, arena, s, compute, (loss, dh) -> kernels.crossEntropy(
          loss, dh, null, scratch, h, u, targets, rows, inverse, s.scale, s.softcap, s.smoothing));
      Result every = result(kernels, arena, s, compute, (loss, dh) -> kernels.crossEntropy(
          loss, dh, null, scratch, h, u, targets, everyRow, inverse, s.scale, s.softcap, s.smoothing));

      List<Tensor> slots = new ArrayList<>();
      for (int slot = 0; slot < 2; slot++) {
        slots.add(
            Tensor.allocate(kernels.memory(), arena, "slot", DType.U8, compute.bytes((long) s.slabRows * s.c)));
      }
      Result slabbed;
      try (BlobStream stream = kernels.blobStream(slots, 4096)) {
        Slabs slabs = new Slabs(stream, 0, slots, uHost, arena);
        Tensor slabScratch = Tensor.allocate(
            kernels.memory(), arena, "scratch", DType.U8,
            kernels.slabCrossEntropyScratchBytes(s.m, s.c, slabs.slabRows()));
        slabbed = result(kernels, arena, s, compute, (loss, dh) -> kernels.crossEntropy(
            loss, dh, slabScratch, h, slabs, targets, rows, inverse, s.scale, s.softcap, s.smoothing));
      }
      assertThat(slabbed.loss).isEqualTo(whole.loss).isEqualTo(slabbed.evaluated);
      assertThat(slabbed.evaluated).isEqualTo(whole.evaluated);
      assertThat(slabbed.dh).isEqualTo(whole.dh).isEqualTo(every.dh);
      // sums in f64, with the zeros of the rows without a label in other places
      assertThat(every.loss).isCloseTo(whole.loss, Offset.offset(s.m * Math.ulp(whole.loss)));
      reference(host, arena, s, labels, hHost, uHost, slabbed);
    }
  }

  /** Against f32 on the host: logits and dz are rounded to the card's dtype once each, dh once more. */
  private static void reference(
      CpuKernels host, Arena arena, Shape s, int[] labels, Tensor h16, Tensor u, Result got) {
    DType compute = h16.dtype();
    Tensor h = Tensor.allocate(arena, "h", DType.F32, s.m, s.c);
    host.cast(h, h16);
    Tensor targets = Tensor.allocate(arena, "targets", DType.I32, s.m).set(labels);
    Tensor scratch = Tensor.allocate(
        arena, "scratch", DType.U8, host.crossEntropyScratchBytes(s.m, s.c, s.v, DType.F32, false, s.softcap));
    Result want = result(host, arena, s, DType.F32, (loss, dh) -> host.crossEntropy(
        loss, dh, null, scratch, h, u, targets, null, 1f / s.m, s.scale, s.softcap, s.smoothing));
    double unit = compute == DType.BF16 ? 0x1p-8 : 0x1p-11;
    // a logit of at most about 4 (and its scale) is off by half a unit in its place; both ends of lse - s_y are
    assertThat(got.loss / s.m).isCloseTo(want.loss / s.m, Offset.offset(4 * s.scale * unit));
    double largest = 0;
    for (float d : want.dh) {
      largest = Math.max(largest, Math.abs(d));
    }
    for (int i = 0; i < want.dh.length; i++) {
      assertThat((double) got.dh[i]).as("dh %d", i)
          .isCloseTo(want.dh[i], Offset.offset(4 * s.scale * unit * largest));
    }
  }

  @ParameterizedTest
  @CsvSource({
      "cc=8.0, 19,  40,  101,  24, 1, 0, 0",
      "cc=8.0, 150, 64,  520, 136, 2, 0, 0.1",
      "cc=8.0, 33,  128, 4100, 1024, 1, 30, 0",
      "cc=8.0, 9,   64,  96,   96, 0.5, 20, 0.2",
      "cc=8.0, 512, 256, 640, 160, 1, 0, 0",
      "cc=7.5, 19,  40,  101,  24, 1, 0, 0",
      "cc=7.5, 150, 64,  520, 136, 2, 0, 0.1",
      "cc=7.5, 33,  128, 4100, 1024, 1, 30, 0"
  })
  void slabsGiveTheBitsOfTheWhole(
      String card, int m, int c, int v, int slabRows, float scale, float softcap, float smoothing) {
    Shape shape = new Shape(m, c, v, slabRows, scale, softcap, smoothing);
    compare(card, shape, targets(shape));
  }

  @Test
  void aLabelOutsideTheVocabularyIsNaN() {
    Shape s = new Shape(5, 16, 40, 16, 1, 0, 0);
    try (Kernels kernels = StandIn.open("cc=8.0"); Arena arena = Arena.ofShared();
        CpuKernels host = new CpuKernels()) {
      Tensor u = rounded(host, arena, "u", DType.BF16, random(new Random(1), s.v * s.c, 1), s.v, s.c);
      Tensor h = Tensor.allocate(kernels.memory(), arena, "h", DType.BF16, s.m, s.c);
      Tensor targets = Tensor.allocate(kernels.memory(), arena, "targets", DType.I32, s.m).set(0, 1, 40, -100, -7);
      Tensor rows = Tensor.allocate(kernels.memory(), arena, "rows", DType.I32, 4).set(0, 1, 2, 4);
      List<Tensor> slots = List.of(
          Tensor.allocate(kernels.memory(), arena, "slot", DType.U8, 2L * 16 * s.c),
          Tensor.allocate(kernels.memory(), arena, "slot", DType.U8, 2L * 16 * s.c));
      try (BlobStream stream = kernels.blobStream(slots, 4096)) {
        Slabs slabs = new Slabs(stream, 0, slots, u, arena);
        Tensor scratch = Tensor.allocate(
            kernels.memory(), arena, "scratch", DType.U8, kernels.slabCrossEntropyScratchBytes(s.m, s.c, 16));
        Tensor loss = Tensor.allocate(kernels.memory(), arena, "loss", DType.F64, 1);
        kernels.crossEntropy(loss, null, scratch, h, slabs, targets, rows, 1, 1, 0, 0);
        assertThat(loss.toDouble()).isNaN();
      }
    }
  }
}
