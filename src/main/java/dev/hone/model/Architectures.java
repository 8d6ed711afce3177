package dev.hone.model;

import dev.hone.config.UserError;
import dev.hone.format.HfConfig;
import dev.hone.kernel.Activation;
import java.util.ArrayList;
import java.util.Collections;
import java.util.EnumSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;

/**
 * From config.json to {@link ModelSpec}, for each model_type that Hone runs. Defaults of absent keys are those of
 * transformers 5.18's configuration classes.
 */
public final class Architectures {
  /** model_type to mapping; sorted, as messages list it. */
  private static final Map<String, Mapping> MAPPINGS =
      new TreeMap<>(
          Map.of(
              "llama", Architectures::llama,
              "mistral", Architectures::mistral,
              "qwen2", Architectures::qwen2,
              "qwen3", Architectures::qwen3,
              "gemma", Architectures::gemma,
              "gemma2", Architectures::gemma2,
              "granite", Architectures::granite));

  private static final Set<Projection> ATTENTION = EnumSet.of(Projection.Q, Projection.K, Projection.V, Projection.O);
  private static final Set<Projection> QKV = EnumSet.of(Projection.Q, Projection.K, Projection.V);
  private static final Set<Projection> MLP = EnumSet.of(Projection.GATE, Projection.UP, Projection.DOWN);

  private Architectures() {}

  @FunctionalInterface
  private interface Mapping {
    ModelSpec map(HfConfig config);
  }

  /** The model types that {@link #of} knows, sorted. */
  public static List<String> supported() {
    return List.copyOf(MAPPINGS.keySet());
  }

  /**
   * The model's description.
   *
   * @throws UserError when model_type or a value is not supported, a key is missing or values contradict each other
   */
  public static ModelSpec of(HfConfig config) {
    String type = config.text("model_type");
    Mapping mapping = MAPPINGS.get(type);
    if (mapping == null) {
      throw new UserError(
          config.where()
              + ": model_type '" + type + "' is not supported; supported: " + String.join(", ", supported()));
    }
    requireKnownQuantisation(config);
    return mapping.map(config);
  }

  private static ModelSpec llama(HfConfig c) {
    return base(c, "silu").biases(llamaBiases(c)).build();
  }

  private static ModelSpec mistral(HfConfig c) {
    // An absent sliding_window is 4096 in transformers; null means none.
    int window = c.declares("sliding_window") ? c.integer("sliding_window", 0) : 4096;
    return base(c, "silu").window(window).build();
  }

  private static ModelSpec qwen2(HfConfig c) {
    return base(c, "silu").biases(QKV).windows(qwenWindows(c)).build();
  }

  private static ModelSpec qwen3(HfConfig c) {
    SpecBuilder b = base(c, "silu").headDim(c.integer("head_dim", 128)).windows(qwenWindows(c)).qkNorm();
    return b.biases(attentionBiases(c)).build();
  }

  private static ModelSpec gemma(HfConfig c) {
    return gemmaBase(c).build();
  }

  private static ModelSpec gemma2(HfConfig c) {
    int layers = c.positive("num_hidden_layers");
    int window = c.declares("sliding_window") ? c.integer("sliding_window", 0) : 4096;
    List<String> types = c.texts("layer_types");
    List<Integer> windows = new ArrayList<>();
    for (int i = 0; i < layers; i++) {
      windows.add(i % 2 == 0 ? window : 0);
    }
    return gemmaBase(c)
        .windows(types.isEmpty() ? windows : windowsOf(c, types, window))
        .postNorms()
        .attentionScale(1 / Math.sqrt(c.number("query_pre_attn_scalar", 256)))
        .softcaps(softcap(c, "attn_logit_softcapping", 50), softcap(c, "final_logit_softcapping", 30))
        .build();
  }

  private static ModelSpec granite(HfConfig c) {
    return base(c, "silu")
        .biases(llamaBiases(c))
        .embeddingScale((float) c.number("embedding_multiplier", 1))
        .residualMultiplier((float) c.number("residual_multiplier", 1))
        .attentionScale(c.number("attention_multiplier", 1))
        .logitScale((float) (1 / c.number("logits_scaling", 1)))
        .build();
  }

  private static SpecBuilder gemmaBase(HfConfig c) {
    if (c.flag("use_bidirectional_attention", false)) {
      throw new UserError(c.where() + ": use_bidirectional_attention true is not supported");
    }
    // Gemma 1 files name the activation twice: hidden_act "gelu" is a legacy value that means the tanh form.
    String activation = c.text("hidden_activation", c.text("hidden_act", "gelu_pytorch_tanh"));
    return base(c, "gelu_pytorch_tanh")
        .headDim(c.integer("head_dim", 256))
        .activation(activation.equals("gelu") ? Activation.GELU_TANH : SpecBuilder.activation(c, activation))
        .biases(attentionBiases(c))
        .normWeightOffset(1)
        .tied(c.flag("tie_word_embeddings", true))
        .embeddingScale(rounded(Math.sqrt(c.positive("hidden_size")), c));
  }

  private static SpecBuilder base(HfConfig config, String activation) {
    return new SpecBuilder(config, activation);
  }

  private static Set<Projection> attentionBiases(HfConfig c) {
    return c.flag("attention_bias", false) ? ATTENTION : Set.of();
  }

  private static Set<Projection> llamaBiases(HfConfig c) {
    Set<Projection> biases = EnumSet.noneOf(Projection.class);
    biases.addAll(attentionBiases(c));
    if (c.flag("mlp_bias", false)) {
      biases.addAll(MLP);
    }
    return biases;
  }

  /**
   * Qwen: a window only with use_sliding_window, then on the layers from max_window_layers on, or as layer_types says.
   */
  private static List<Integer> qwenWindows(HfConfig c) {
    int layers = c.positive("num_hidden_layers");
    if (!c.flag("use_sliding_window", false)) {
      return Collections.nCopies(layers, 0);
    }
    int window = c.declares("sliding_window") ? c.integer("sliding_window", 0) : 4096;
    List<String> types = c.texts("layer_types");
    if (!types.isEmpty()) {
      return windowsOf(c, types, window);
    }
    int full = c.integer("max_window_layers", 28);
    List<Integer> windows = new ArrayList<>();
    for (int i = 0; i < layers; i++) {
      windows.add(i >= full ? window : 0);
    }
    return windows;
  }

  private static List<Integer> windowsOf(HfConfig c, List<String> types, int window) {
    return types.stream()
        .map(
            type ->
                switch (type) {
                  case "full_attention" -> 0;
                  case "sliding_attention" -> window;
                  default ->
                      throw c.wrong("layer_types", "'" + type + "'", "full_attention or sliding_attention");
                })
        .toList();
  }

  private static float softcap(HfConfig c, String key, double absent) {
    return (float) (c.declares(key) ? c.number(key, 0) : absent);
  }

  /** Gemma multiplies embeddings by sqrt(hidden) in the dtype that the checkpoint is run in. */
  private static float rounded(double value, HfConfig c) {
    return switch (c.text("dtype", c.text("torch_dtype", "float32"))) {
      case "bfloat16" -> {
        int bits = Float.floatToRawIntBits((float) value);
        yield Float.intBitsToFloat((bits + 0x7fff + (bits >>> 16 & 1)) & 0xffff0000);
      }
      case "float16" -> Float.float16ToFloat(Float.floatToFloat16((float) value));
      default -> (float) value;
    };
  }

  private static void requireKnownQuantisation(HfConfig config) {
    HfConfig quantisation = config.object("quantization_config").orElse(null);
    if (quantisation == null) {
      return;
    }
    String where = config.where() + ": quantization_config: ";
    String method =
        quantisation.text("quant_method", quantisation.has("load_in_4bit") ? "bitsandbytes" : "unknown");
    if (!method.equals("bitsandbytes")) {
      throw new UserError(where + "quant_method '" + method + "' is not supported; supported: bitsandbytes (nf4)");
    }
    if (!quantisation.flag("load_in_4bit", quantisation.flag("_load_in_4bit", false))) {
      throw new UserError(where + "8-bit bitsandbytes weights are not supported; supported: 4-bit nf4");
    }
    String type = quantisation.text("bnb_4bit_quant_type", "fp4");
    if (!type.equals("nf4")) {
      throw new UserError(where + "bnb_4bit_quant_type '" + type + "' is not supported; supported: nf4");
    }
  }
}
