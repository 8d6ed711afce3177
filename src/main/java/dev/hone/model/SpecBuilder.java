package dev.hone.model;

import dev.hone.config.UserError;
import dev.hone.format.HfConfig;
import dev.hone.kernel.Activation;
import java.util.Collections;
import java.util.List;
import java.util.Set;

/** Collects a {@link ModelSpec}: what every config.json says in the same words, then what an architecture changes. */
final class SpecBuilder {
  private final HfConfig config;
  private final int heads;
  private final int layers;
  private int headDim;
  private Activation activation;
  private boolean tied;
  private Set<Projection> biases = Set.of();
  private boolean qkNorm;
  private boolean postNorms;
  private float normWeightOffset;
  private float embeddingScale = 1;
  private float residualMultiplier = 1;
  private float logitScale = 1;
  private double attentionScale = Double.NaN;
  private float attentionSoftcap;
  private float finalSoftcap;
  private List<Integer> windows;

  SpecBuilder(HfConfig config, String activation) {
    this.config = config;
    heads = config.positive("num_attention_heads");
    layers = config.positive("num_hidden_layers");
    headDim = config.integer("head_dim", config.positive("hidden_size") / heads);
    this.activation = activation(config, config.text("hidden_act", activation));
    tied = config.flag("tie_word_embeddings", false);
    windows = Collections.nCopies(layers, 0);
  }

  /** Hugging Face's name of an activation. */
  static Activation activation(HfConfig config, String name) {
    return switch (name) {
      case "silu", "swish" -> Activation.SILU;
      case "gelu_pytorch_tanh", "gelu_new" -> Activation.GELU_TANH;
      case "gelu" -> Activation.GELU_ERF;
      default ->
          throw new UserError(
              config.where()
                  + ": hidden_act '" + name + "' is not supported; supported: silu, gelu, gelu_pytorch_tanh");
    };
  }

  SpecBuilder headDim(int value) {
    headDim = value;
    return this;
  }

  SpecBuilder activation(Activation value) {
    activation = value;
    return this;
  }

  SpecBuilder tied(boolean value) {
    tied = value;
    return this;
  }

  SpecBuilder biases(Set<Projection> value) {
    biases = Set.copyOf(value);
    return this;
  }

  SpecBuilder qkNorm() {
    qkNorm = true;
    return this;
  }

  SpecBuilder postNorms() {
    postNorms = true;
    return this;
  }

  SpecBuilder normWeightOffset(float value) {
    normWeightOffset = value;
    return this;
  }

  SpecBuilder embeddingScale(float value) {
    embeddingScale = value;
    return this;
  }

  SpecBuilder residualMultiplier(float value) {
    residualMultiplier = value;
    return this;
  }

  SpecBuilder logitScale(float value) {
    logitScale = value;
    return this;
  }

  SpecBuilder attentionScale(double value) {
    attentionScale = value;
    return this;
  }

  SpecBuilder softcaps(float attention, float last) {
    attentionSoftcap = attention;
    finalSoftcap = last;
    return this;
  }

  SpecBuilder window(int value) {
    return windows(Collections.nCopies(layers, value));
  }

  SpecBuilder windows(List<Integer> value) {
    windows = List.copyOf(value);
    return this;
  }

  ModelSpec build() {
    int kvHeads = config.integer("num_key_value_heads", heads);
    if (kvHeads < 1 || heads % kvHeads != 0) {
      throw config.wrong("num_key_value_heads", kvHeads, "a divisor of num_attention_heads " + heads);
    }
    if (headDim < 2 || headDim % 2 != 0) {
      throw config.wrong("head_dim", headDim, "an even number above 0");
    }
    if (windows.size() != layers) {
      throw config.wrong("layer_types", "a list of " + windows.size(), "num_hidden_layers " + layers);
    }
    if (windows.stream().anyMatch(window -> window < 0)) {
      throw config.wrong("sliding_window", Collections.min(windows), "a number above 0 or null");
    }
    double eps = config.number("rms_norm_eps", 1e-6);
    if (eps <= 0) {
      throw config.wrong("rms_norm_eps", eps, "a number above 0");
    }
    int maxPositions = config.positive("max_position_embeddings");
    return new ModelSpec(
        config.text("model_type"),
        config.positive("vocab_size"),
        config.positive("hidden_size"),
        layers,
        heads,
        kvHeads,
        headDim,
        config.positive("intermediate_size"),
        maxPositions,
        (float) eps,
        normWeightOffset,
        activation,
        tied,
        biases,
        qkNorm,
        postNorms,
        embeddingScale,
        residualMultiplier,
        logitScale,
        (float) (Double.isNaN(attentionScale) ? 1 / Math.sqrt(headDim) : attentionScale),
        attentionSoftcap,
        finalSoftcap,
        windows,
        RopeSpecs.of(config, headDim, maxPositions),
        config.tokenId("bos_token_id"),
        config.eosIds(),
        config.tokenId("pad_token_id"));
  }
}
