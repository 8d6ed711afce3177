package dev.hone.engine;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import dev.hone.data.MicroBatch;
import dev.hone.format.PeftConfig;
import dev.hone.format.SafetensorsFile;
import dev.hone.kernel.Kernels;
import dev.hone.kernel.cpu.CpuKernels;
import dev.hone.model.Tuning;
import dev.hone.plan.StepShape;
import dev.hone.tensor.DType;
import dev.hone.tensor.Tensor;
import dev.hone.testing.Golden;
import dev.hone.testing.GoldenCase;
import dev.hone.testing.StandIn;
import java.lang.foreign.Arena;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * An int8 base on a card against the same base on the CPU in f32: its codes, its losses and gradients, its decoding.
 */
class CardInt8Test {
  /** As in CardGoldenTest: what 16-bit activations cost. */
  private static final double LOSS = 1e-2;

  /** The worst projection turns by 0.99805 (qwen2 in bf16), of whose nearly uniform attention that test tells. */
  private static final double COSINE = 0.997;

  /** Keeps f16 gradients above their smallest number. */
  private static final float SCALE = 1024;

  @TempDir
  private Path folder;

  private record Result(double loss, double evaluated, List<float[]> gradients) {}

  private static Result run(Kernels kernels, BaseModel base, WeightSource source, Path golden, Arena arena) {
    StepShape step = new StepShape(kernels.computeDtype(DType.F32), true, 256, 8, 256);
    Path start = golden.resolve("adapter_init");
    Tuning.Lora lora = Adapters.tuning(base.spec(), PeftConfig.read(start), 0f);
    SafetensorsFile forward = SafetensorsFile.open(golden.resolve("forward.safetensors"), arena);
    MicroBatch batch = GoldenCase.batch(forward, GoldenCase.NAMES.getFirst());
    try (Model model = Model.open(kernels, base.spec(), source, lora, Storage.INT8, step)) {
      SafetensorsFile adapter = SafetensorsFile.open(start.resolve("adapter_model.safetensors"), arena);
      model.parameters().all().forEach(p -> p.value().set(adapter.floats(p.name())));
      double loss = model.train(batch, SCALE / batch.validTargets(), 0, 0) / batch.validTargets();
      List<float[]> gradients = new ArrayList<>();
      model.parameters().all().forEach(p -> gradients.add(p.gradient().toFloats()));
      return new Result(loss, model.evaluate(batch) / batch.validTargets(), gradients);
    }
  }

  @ParameterizedTest
  @CsvSource({"cc=8.0, models/llama", "cc=8.0, models/qwen2", "cc=7.5, models/llama", "cc=7.5, models/gemma2"})
  void lossesAndGradientsAreThoseOfTheCpu(String card, String name) {
    Path golden = Golden.committed(name).resolve("golden");
    try (CpuKernels cpu = new CpuKernels(); Kernels kernels = StandIn.open(card); Arena arena = Arena.ofConfined();
        BaseModel base = BaseModel.open(Golden.committed(name));
        LayerCache cache = LayerCache.open(cpu, base, Storage.INT8, folder, note -> {})) {
      Result want = run(cpu, base, base, golden, arena);
      Result got = run(kernels, base, cache, golden, arena);
      assertThat(got.loss).isCloseTo(want.loss, within(LOSS * want.loss));
      assertThat(got.evaluated).isEqualTo(got.loss);
      double least = 1;
      for (int i = 0; i < want.gradients.size(); i++) {
        least = Math.min(least, cosine(got.gradients.get(i), want.gradients.get(i)));
      }
      assertThat(least).as("cosine of the worst gradient").isGreaterThan(COSINE);
      System.out.printf(
          "%s %s int8: loss %.5f for %.5f, cosine of the worst gradient %.5f%n", card, name, got.loss, want.loss, least);
      Result quantisedThere = run(kernels, base, base, golden, arena);
      assertThat(quantisedThere.loss).isEqualTo(got.loss);
      assertThat(quantisedThere.gradients).usingRecursiveComparison().isEqualTo(got.gradients);
    }
  }

  private static double cosine(float[] a, float[] b) {
    double dot = 0;
    double aa = 0;
    double bb = 0;
    for (int i = 0; i < a.length; i++) {
      dot += (double) a[i] * b[i];
      aa += (double) a[i] * a[i];
      bb += (double) b[i] * b[i];
    }
    return dot / Math.sqrt(aa * bb);
  }

  /** Codes and scales are the CPU's bit for bit, from every dtype, on the card and from the host. */
  @ParameterizedTest
  @ValueSource(strings = {"cc=8.0", "cc=7.5"})
  void codesAreThoseOfTheCpu(String card) {
    try (CpuKernels cpu = new CpuKernels(); Kernels kernels = StandIn.open(card); Arena arena = Arena.ofConfined()) {
      for (DType dtype : new DType[] {DType.F32, DType.BF16, DType.F16}) {
        Tensor w = Tensor.allocate(arena, "w", dtype, 9, 300);
        float[] values = new float[9 * 300];
        for (int i = 600; i < values.length; i++) { // two rows of zeros
          values[i] = (float) Math.sin(i * 0.37) * (1 + i % 13);
        }
        cpu.cast(w, Tensor.allocate(arena, "values", DType.F32, 9, 300).set(values));
        Tensor want = new Quantizer(cpu, arena).int8(w);
        Tensor got = new Quantizer(kernels, arena).int8(w);
        assertThat(got.hostBytes().mismatch(want.hostBytes())).as(dtype.toString()).isEqualTo(-1);
        assertThat(got.quant().absmax().toFloats()).isEqualTo(want.quant().absmax().toFloats());
      }
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"cc=8.0", "cc=7.5"})
  void decodingFollowsTheCpu(String card) {
    try (CpuKernels cpu = new CpuKernels(); Kernels kernels = StandIn.open(card);
        BaseModel base = BaseModel.open(Golden.committed("models/llama"))) {
      float[] want = logits(cpu, base);
      assertThat(cosine(logits(kernels, base), want)).isGreaterThan(COSINE);
    }
  }

  /** A prompt in one piece, then a token alone, which takes the kernels for few rows. */
  private static float[] logits(Kernels kernels, BaseModel base) {
    DType compute = kernels.computeDtype(DType.F32);
    try (Decoder decoder = Decoder.open(kernels, base.spec(), base, new Tuning.None(), Storage.INT8, compute, 32)) {
      decoder.feed(5, 9, 33, 7, 80, 2, 41, 11, 60, 3, 12, 14);
      return decoder.feed(6);
    }
  }
}
