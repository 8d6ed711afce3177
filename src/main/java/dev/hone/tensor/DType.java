package dev.hone.tensor;

/** Element types; {@link #code} is the value of hone.h. */
public enum DType {
  F32(0, 32),
  BF16(1, 16),
  F16(2, 16),
  I32(3, 32),
  U8(4, 8),
  /** 4-bit normal float, two codes a byte, with block scales beside it (see {@link Quant}). */
  NF4(5, 4),
  F64(6, 64),
  /** Signed bytes with a scale for each row beside them (see {@link Quant}). */
  I8(7, 8);

  private final int code;
  private final int bits;

  DType(int code, int bits) {
    this.code = code;
    this.bits = bits;
  }

  public int code() {
    return code;
  }

  /** Bytes that {@code elements} of this type occupy; an odd last NF4 element takes a whole byte. */
  public long bytes(long elements) {
    return Math.ceilDiv(Math.multiplyExact(elements, (long) bits), 8L);
  }

  /** Whether tensors of this type have side data. */
  public boolean isQuantised() {
    return this == NF4 || this == I8;
  }

  public boolean isFloat() {
    return this == F32 || this == BF16 || this == F16;
  }

  @Override
  public String toString() {
    return name().toLowerCase(java.util.Locale.ROOT);
  }
}
