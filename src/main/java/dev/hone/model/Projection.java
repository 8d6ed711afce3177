package dev.hone.model;

/** The seven linear layers of a decoder block; {@link #path} is the module path inside {@code model.layers.N}. */
public enum Projection {
  Q("self_attn.q_proj"),
  K("self_attn.k_proj"),
  V("self_attn.v_proj"),
  O("self_attn.o_proj"),
  GATE("mlp.gate_proj"),
  UP("mlp.up_proj"),
  DOWN("mlp.down_proj");

  private final String path;

  Projection(String path) {
    this.path = path;
  }

  public String path() {
    return path;
  }

  /** The name that LoRA targets use, such as {@code q_proj}. */
  public String target() {
    return path.substring(path.indexOf('.') + 1);
  }

  /** The checkpoint's module name, such as {@code model.layers.3.self_attn.q_proj}. */
  public String module(int layer) {
    return "model.layers." + layer + "." + path;
  }

  /** Output features in a model of this shape. */
  public int out(ModelSpec spec) {
    return switch (this) {
      case Q -> spec.heads() * spec.headDim();
      case K, V -> spec.kvHeads() * spec.headDim();
      case O, DOWN -> spec.hidden();
      case GATE, UP -> spec.intermediate();
    };
  }

  /** Input features in a model of this shape. */
  public int in(ModelSpec spec) {
    return switch (this) {
      case Q, K, V, GATE, UP -> spec.hidden();
      case O -> spec.heads() * spec.headDim();
      case DOWN -> spec.intermediate();
    };
  }
}
