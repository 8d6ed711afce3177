package dev.hone.engine;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import com.fasterxml.jackson.databind.JsonNode;
import dev.hone.data.MicroBatch;
import dev.hone.format.SafetensorsFile;
import dev.hone.kernel.Kernels;
import dev.hone.kernel.cpu.CpuKernels;
import dev.hone.model.ModelSpec;
import dev.hone.model.Tuning;
import dev.hone.plan.StepShape;
import dev.hone.tensor.DType;
import dev.hone.testing.Golden;
import dev.hone.testing.GoldenCase;
import java.lang.foreign.Arena;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * Logits, hidden states, losses, every LoRA gradient and a run of 20 optimiser steps against transformers + PEFT in fp32. Tolerances
 * are those of golden/README.md: about ten times the distance between fp32 and fp64 runs of the reference itself.
 */
class GoldenModelTest {
  private static final double LOGITS = 2e-4;
  private static final double LOSS = 2e-5;
  private static final double GRADIENT = 1e-4;
  private static final double TRAINING_LOSS = 1e-4;
  private static final double GRADIENT_NORM = 1e-4;
  private static final double ADAPTER = 1e-4;

  static Stream<String> models() {
    return Stream.of(
        "models/llama", "models/llama3_rope", "models/qwen2", "models/qwen3", "models/mistral", "models/gemma2",
        "models/llama_bf16_sharded", "qlora/llama_nf4_dq", "qlora/qwen2_nf4");
  }

  @ParameterizedTest
  @MethodSource("models")
  void matchesTransformersAndPeft(String model) {
    check(Golden.committed(model), false);
    checkTraining(Golden.committed(model), false, TRAINING_LOSS, GRADIENT_NORM, ADAPTER, ADAPTER);
  }

  @ParameterizedTest
  @MethodSource("models")
  void recomputingChangesNothing(String model) {
    check(Golden.committed(model), true);
  }

  @Test
  void matchesOnTheTrainedStoriesModel() {
    Path stories = Golden.beside("stories260K");
    check(stories, false);
    // Near-zero gradients there let Adam's m/sqrt(v) amplify rounding: golden/README.md, exception.
    checkTraining(stories, false, 2e-3, 1e-2, Double.POSITIVE_INFINITY, 2e-4);
  }

  private static void check(Path folder, boolean recompute) {
    Path golden = folder.resolve("golden");
    JsonNode expected = Golden.json(golden.resolve("golden.json"));
    try (CpuKernels kernels = new CpuKernels();
        Arena arena = Arena.ofConfined();
        BaseModel base = BaseModel.open(folder);
        Model model = open(kernels, base, golden, recompute, DType.F32)) {
      SafetensorsFile forward = SafetensorsFile.open(golden.resolve("forward.safetensors"), arena);
      SafetensorsFile gradients = SafetensorsFile.open(golden.resolve("lora_grads.safetensors"), arena);
      for (String name : GoldenCase.NAMES) {
        MicroBatch batch = GoldenCase.batch(forward, name);
        String at = folder.getFileName() + " " + name;
        assertClose(at + " logits", model.logits(batch), GoldenCase.unpadded(forward, name, "lora_logits"), LOGITS);

        model.parameters().zeroGradients();
        double loss = model.train(batch, 1f / batch.validTargets(), 0, 0) / batch.validTargets();
        JsonNode want = expected.path("cases").path(name);
        assertThat(batch.validTargets()).isEqualTo(want.path("n_targets").asInt());
        assertThat(loss).as(at + " loss").isCloseTo(want.path("lora_loss").asDouble(), within(LOSS));
        assertThat(model.parameters().gradientNorm(kernels))
            .as(at + " gradient norm")
            .isCloseTo(want.path("lora_grad_norm").asDouble(), within(GRADIENT_NORM * want.path("lora_grad_norm").asDouble()));
        for (Parameters.Parameter p : model.parameters().all()) {
          float[] reference = gradients.floats(name + "/" + p.name());
          assertClose(at + " " + p.name(), p.gradient().toFloats(), reference, GRADIENT * maxAbs(reference));
        }
        assertThat(model.evaluate(batch) / batch.validTargets()).as(at + " eval loss").isCloseTo(loss, within(LOSS));
      }
      if (forward.has("plain.hidden.0")) {
        checkBase(kernels, base, forward);
      }
    }
  }

  private static void checkBase(CpuKernels kernels, BaseModel base, SafetensorsFile forward) {
    MicroBatch batch = GoldenCase.batch(forward, "plain");
    StepShape step = new StepShape(DType.F32, false, batch.tokens(), 1, batch.tokens());
    try (Model model = Model.open(kernels, base.spec(), base, new Tuning.None(), Storage.AS_STORED, step)) {
      assertClose("base logits", model.logits(batch), forward.floats("plain.base_logits"), LOGITS);
      List<float[]> states = model.hiddenStates(batch);
      for (int i = 0; i < states.size(); i++) {
        assertClose("hidden " + i, states.get(i), forward.floats("plain.hidden." + i), LOGITS);
      }
    }
  }

  private static void checkTraining(
      Path folder, boolean recompute, double lossTolerance, double normTolerance, double adapterMax, double adapterMean) {
    Path golden = folder.resolve("golden");
    JsonNode log = Golden.json(golden.resolve("golden.json")).path("train").path("log");
    try (CpuKernels kernels = new CpuKernels();
        Arena arena = Arena.ofConfined();
        BaseModel base = BaseModel.open(folder);
        Model model = open(kernels, base, golden, recompute, DType.F32)) {
      List<MicroBatch> batches = GoldenCase.training(golden);
      Parameters parameters = model.parameters();
      for (int step = 0; step < log.size(); step++) {
        JsonNode want = log.get(step);
        List<MicroBatch> micro = batches.subList(2 * step, 2 * step + 2);
        int items = micro.stream().mapToInt(MicroBatch::validTargets).sum();
        assertThat(items).isEqualTo(want.path("num_items").asInt());
        parameters.zeroGradients();
        double sum = 0;
        for (MicroBatch batch : micro) {
          sum += model.train(batch, 1f / items, 0, 0);
        }
        double norm = parameters.gradientNorm(kernels);
        String at = folder.getFileName() + " step " + (step + 1);
        assertThat(sum / items).as(at + " loss").isCloseTo(want.path("loss").asDouble(), within(lossTolerance));
        double wantNorm = want.path("grad_norm").asDouble();
        assertThat(norm).as(at + " gradient norm").isCloseTo(wantNorm, within(normTolerance * wantNorm));
        float clip = (float) Math.min(1, 1.0 / (norm + 1e-6));
        float lr = (float) want.path("lr").asDouble();
        parameters.step(kernels, new Parameters.AdamW(lr, 0.9f, 0.999f, 1e-8f, 0.01f), clip, step + 1);
      }
      SafetensorsFile adapter = SafetensorsFile.open(golden.resolve("adapter_final/adapter_model.safetensors"), arena);
      for (Parameters.Parameter p : parameters.all()) {
        float[] got = p.value().toFloats();
        float[] want = adapter.floats(p.name());
        assertClose(p.name() + " after the run", got, want, adapterMax);
        double mean = 0;
        for (int i = 0; i < got.length; i++) {
          mean += Math.abs((double) got[i] - want[i]) / got.length;
        }
        assertThat(mean).as(p.name() + " mean distance after the run").isLessThan(adapterMean);
      }
    }
  }

  /** A model with the golden adapter on it, big enough for every golden batch. */
  static Model open(Kernels kernels, BaseModel base, Path golden, boolean recompute, DType compute) {
    return open(kernels, base.spec(), base, golden, recompute, compute);
  }

  static Model open(
      Kernels kernels, ModelSpec spec, WeightSource weights, Path golden, boolean recompute, DType compute) {
    Path folder = golden.resolve("adapter_init");
    try (Arena arena = Arena.ofConfined()) {
      Tuning.Lora lora = Adapters.tuning(spec, dev.hone.format.PeftConfig.read(folder), 0f);
      Model model =
          Model.open(kernels, spec, weights, lora, Storage.AS_STORED, new StepShape(compute, recompute, 256, 8, 256));
      SafetensorsFile adapter = SafetensorsFile.open(folder.resolve("adapter_model.safetensors"), arena);
      for (Parameters.Parameter p : model.parameters().all()) {
        p.value().set(adapter.floats(p.name()));
      }
      return model;
    }
  }

  static void assertClose(String what, float[] got, float[] want, double tolerance) {
    assertThat(got.length).as(what + ": length").isEqualTo(want.length);
    int worst = 0;
    for (int i = 0; i < got.length; i++) {
      // A NaN never compares as larger: look for it by itself.
      assertThat(Float.isFinite(got[i])).as("%s[%d] is %s", what, i, got[i]).isTrue();
      if (Math.abs(got[i] - want[i]) > Math.abs(got[worst] - want[worst])) {
        worst = i;
      }
    }
    assertThat((double) got[worst]).as("%s[%d]", what, worst).isCloseTo(want[worst], within(tolerance + 1e-9));
  }

  static double maxAbs(float[] values) {
    double max = 0;
    for (float v : values) {
      max = Math.max(max, Math.abs(v));
    }
    return max;
  }
}
