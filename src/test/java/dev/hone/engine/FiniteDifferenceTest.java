package dev.hone.engine;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import dev.hone.data.Example;
import dev.hone.data.MicroBatch;
import dev.hone.format.HfConfig;
import dev.hone.kernel.cpu.CpuKernels;
import dev.hone.model.Architectures;
import dev.hone.model.ModelSpec;
import dev.hone.model.Projection;
import dev.hone.model.Tuning;
import dev.hone.plan.StepShape;
import dev.hone.tensor.DType;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.stream.Stream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * The gradient of the whole model against central differences of its own loss: every trained tensor, both forms of training (adapters
 * on frozen weights, every weight), architectures that switch on each part of the block, odd shapes.
 */
class FiniteDifferenceTest {
  /**
   * Central differences in f32: the loss (about 4) is good to about 1e-7 relative, so that a step h leaves 4e-7/h of rounding and
   * h^2 of curvature; at h = 2e-2 both are near 1e-4 of gradients that are about 1e-2 to 1.
   */
  private static final float STEP = 2e-2f;

  private static final double TOLERANCE = 2e-3;

  static Stream<Arguments> models() {
    String llama =
        """
        {"model_type":"llama","vocab_size":37,"hidden_size":20,"num_hidden_layers":2,"num_attention_heads":4,
         "num_key_value_heads":2,"head_dim":6,"intermediate_size":27,"rms_norm_eps":1e-5,"max_position_embeddings":64,
         "hidden_act":"silu","tie_word_embeddings":false,"rope_theta":10000.0}""";
    String qwen =
        """
        {"model_type":"qwen2","vocab_size":33,"hidden_size":24,"num_hidden_layers":2,"num_attention_heads":3,
         "num_key_value_heads":1,"intermediate_size":31,"rms_norm_eps":1e-6,"max_position_embeddings":64,
         "hidden_act":"silu","tie_word_embeddings":true,"rope_theta":10000.0}""";
    String qwen3 =
        """
        {"model_type":"qwen3","vocab_size":35,"hidden_size":18,"num_hidden_layers":1,"num_attention_heads":2,
         "num_key_value_heads":2,"head_dim":10,"intermediate_size":22,"rms_norm_eps":1e-6,"max_position_embeddings":64,
         "hidden_act":"silu","tie_word_embeddings":false,"rope_theta":10000.0}""";
    String gemma2 =
        """
        {"model_type":"gemma2","vocab_size":29,"hidden_size":16,"num_hidden_layers":2,"num_attention_heads":2,
         "num_key_value_heads":1,"head_dim":8,"intermediate_size":21,"rms_norm_eps":1e-6,"max_position_embeddings":64,
         "hidden_activation":"gelu_pytorch_tanh","tie_word_embeddings":true,"rope_theta":10000.0,"sliding_window":4,
         "attn_logit_softcapping":5.0,"final_logit_softcapping":4.0,"query_pre_attn_scalar":8}""";
    String granite =
        """
        {"model_type":"granite","vocab_size":29,"hidden_size":16,"num_hidden_layers":2,"num_attention_heads":2,
         "num_key_value_heads":1,"intermediate_size":21,"rms_norm_eps":1e-6,"max_position_embeddings":64,
         "hidden_act":"silu","tie_word_embeddings":false,"rope_theta":10000.0,"embedding_multiplier":3.0,
         "attention_multiplier":0.3,"residual_multiplier":0.4,"logits_scaling":2.0}""";
    List<Arguments> all = new ArrayList<>();
    for (String config : List.of(llama, qwen, qwen3, gemma2, granite)) {
      all.add(Arguments.of(config, false));
      all.add(Arguments.of(config, true));
    }
    return all.stream();
  }

  @ParameterizedTest
  @MethodSource("models")
  void everyGradientIsTheSlopeOfTheLoss(String config, boolean full) {
    ModelSpec spec = Architectures.of(HfConfig.parse(config, "config"));
    Tuning tuning = full ? new Tuning.Full() : lora(spec);
    MicroBatch batch = batch(spec);
    float inverse = 1f / batch.validTargets();
    float smoothing = 0.1f;
    try (CpuKernels kernels = new CpuKernels();
        Arena arena = Arena.ofConfined();
        Model model =
            Model.open(
                kernels, spec, new RandomWeights(arena, 7, 0.3f, spec.normWeightOffset()), tuning, Storage.AS_STORED,
                new StepShape(DType.F32, full, batch.tokens(), batch.documents(), batch.tokens()))) {
      SplittableRandom random = new SplittableRandom(5);
      for (Parameters.Parameter p : model.parameters().all()) {
        if (!full || p.value().rank() == 1) {
          float[] values = p.value().toFloats();
          for (int i = 0; i < values.length; i++) {
            values[i] += (float) random.nextDouble(-0.3, 0.3);
          }
          p.value().set(values);
        }
      }
      model.parameters().zeroGradients();
      model.train(batch, inverse, 3, smoothing);
      Map<String, float[]> gradients = new HashMap<>();
      model.parameters().all().forEach(p -> gradients.put(p.name(), p.gradient().toFloats()));
      for (Parameters.Parameter p : model.parameters().all()) {
        float[] gradient = gradients.get(p.name());
        float[] values = p.value().toFloats();
        double scale = GoldenModelTest.maxAbs(gradient);
        assertThat(scale).as(p.name() + " has a gradient").isPositive();
        for (int probe = 0; probe < 3; probe++) {
          int i = probe == 0 ? largest(gradient) : random.nextInt(values.length);
          double slope = (loss(model, p, values, i, STEP, batch, inverse, smoothing)
              - loss(model, p, values, i, -STEP, batch, inverse, smoothing)) / (2 * STEP);
          assertThat((double) gradient[i]).as("%s %s[%d]", spec.architecture(), p.name(), i)
              .isCloseTo(slope, within(TOLERANCE + 2e-2 * Math.max(Math.abs(slope), scale * 0.1)));
        }
        p.value().set(values);
      }
    }
  }

  /** The smoothed loss of training with one number moved; its gradients are thrown away. */
  private static double loss(
      Model model, Parameters.Parameter p, float[] values, int i, float by, MicroBatch batch, float inverse, float smoothing) {
    float[] moved = values.clone();
    moved[i] += by;
    p.value().set(moved);
    double sum = model.train(batch, inverse, 3, smoothing);
    return sum * inverse;
  }

  private static int largest(float[] values) {
    int at = 0;
    for (int i = 1; i < values.length; i++) {
      if (Math.abs(values[i]) > Math.abs(values[at])) {
        at = i;
      }
    }
    return at;
  }

  /** Adapters of unequal rank on some layers only, with dropout. */
  private static Tuning.Lora lora(ModelSpec spec) {
    List<Tuning.Lora.Target> targets = new ArrayList<>();
    for (int layer = spec.layers() - 1; layer < spec.layers(); layer++) {
      for (Projection p : Projection.values()) {
        targets.add(new Tuning.Lora.Target(layer, p, 2 + p.ordinal(), 0.7f));
      }
    }
    return new Tuning.Lora(targets, 0.2f);
  }

  /** Three documents, one of a single token, some labels ignored. */
  private static MicroBatch batch(ModelSpec spec) {
    SplittableRandom random = new SplittableRandom(11);
    List<Example> rows = new ArrayList<>();
    for (int length : new int[] {9, 1, 5}) {
      int[] ids = random.ints(length, 0, spec.vocab()).toArray();
      int[] labels = ids.clone();
      if (length > 5) {
        labels[1] = Example.IGNORED;
        labels[2] = Example.IGNORED;
      }
      rows.add(Example.of(ids, labels));
    }
    return MicroBatch.of(rows);
  }
}
