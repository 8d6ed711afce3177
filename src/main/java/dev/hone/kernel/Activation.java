package dev.hone.kernel;

/** The gate's activation; {@link #code} is the value of hone.h. */
public enum Activation {
  SILU(0),
  GELU_TANH(1),
  GELU_ERF(2);

  private final int code;

  Activation(int code) {
    this.code = code;
  }

  public int code() {
    return code;
  }
}
