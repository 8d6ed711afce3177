package dev.hone.model;

import java.util.ArrayList;
import java.util.List;

/**
 * A named weight of a model or adapter.
 *
 * @param name the checkpoint's name, or PEFT's key for adapter matrices
 * @param shape (out, in) of a matrix, (n) of a vector
 * @param decay whether AdamW's weight decay applies: to matrices, not to norms and biases, as in transformers' Trainer
 */
public record ParameterShape(String name, List<Long> shape, boolean decay) {
  /** What PEFT puts before the base model's module names in adapter files. */
  public static final String PEFT_PREFIX = "base_model.model.";

  /** The checkpoint's name of the embedding. */
  public static final String EMBEDDING = "model.embed_tokens.weight";

  public long elements() {
    return shape.stream().reduce(1L, Math::multiplyExact);
  }

  private static ParameterShape matrix(String name, long out, long in) {
    return new ParameterShape(name, List.of(out, in), true);
  }

  private static ParameterShape norm(String name, long n) {
    return new ParameterShape(name, List.of(n), false);
  }

  /** PEFT's key of a target's A, {@code [r, in]}. */
  public static String loraA(String module) {
    return PEFT_PREFIX + module + ".lora_A.weight";
  }

  /** PEFT's key of a target's B, {@code [out, r]}. */
  public static String loraB(String module) {
    return PEFT_PREFIX + module + ".lora_B.weight";
  }

  /** Every weight of a checkpoint of this shape, in the order of the forward pass; a tied head is not listed again. */
  public static List<ParameterShape> ofModel(ModelSpec spec) {
    List<ParameterShape> all = new ArrayList<>();
    all.add(matrix(EMBEDDING, spec.vocab(), spec.hidden()));
    for (int layer = 0; layer < spec.layers(); layer++) {
      String block = "model.layers." + layer + ".";
      all.add(norm(block + "input_layernorm.weight", spec.hidden()));
      for (Projection p : Projection.values()) {
        all.add(matrix(p.module(layer) + ".weight", p.out(spec), p.in(spec)));
        if (spec.biases().contains(p)) {
          all.add(norm(p.module(layer) + ".bias", p.out(spec)));
        }
      }
      if (spec.qkNorm()) {
        all.add(norm(block + "self_attn.q_norm.weight", spec.headDim()));
        all.add(norm(block + "self_attn.k_norm.weight", spec.headDim()));
      }
      all.add(norm(block + "post_attention_layernorm.weight", spec.hidden()));
      if (spec.postNorms()) {
        all.add(norm(block + "pre_feedforward_layernorm.weight", spec.hidden()));
        all.add(norm(block + "post_feedforward_layernorm.weight", spec.hidden()));
      }
    }
    all.add(norm("model.norm.weight", spec.hidden()));
    if (!spec.tiedHead()) {
      all.add(matrix("lm_head.weight", spec.vocab(), spec.hidden()));
    }
    return all;
  }

  /** What a run trains. */
  public static List<ParameterShape> trained(ModelSpec spec, Tuning tuning) {
    return switch (tuning) {
      case Tuning.None none -> List.of();
      case Tuning.Full full -> ofModel(spec);
      case Tuning.Lora lora -> {
        List<ParameterShape> all = new ArrayList<>();
        for (Tuning.Lora.Target t : lora.targets()) {
          all.add(matrix(loraA(t.module()), t.rank(), t.projection().in(spec)));
          all.add(matrix(loraB(t.module()), t.projection().out(spec), t.rank()));
        }
        yield all;
      }
    };
  }
}
