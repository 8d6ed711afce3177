package dev.hone.format;

import dev.hone.tensor.DType;
import java.util.Locale;
import java.util.Optional;

/**
 * Element types that a safetensors header may name, in the format's spelling. Hone computes on some of them: {@link
 * #dtype}.
 */
public enum StoredType {
  F64(8, DType.F64),
  F32(4, DType.F32),
  F16(2, DType.F16),
  BF16(2, DType.BF16),
  I64(8, null),
  U64(8, null),
  I32(4, DType.I32),
  U32(4, null),
  I16(2, null),
  U16(2, null),
  I8(1, null),
  U8(1, DType.U8),
  F8_E4M3(1, null),
  F8_E5M2(1, null),
  BOOL(1, null);

  private final int bytes;
  private final DType dtype;

  StoredType(int bytes, DType dtype) {
    this.bytes = bytes;
    this.dtype = dtype;
  }

  /** Bytes of one element. */
  public int bytes() {
    return bytes;
  }

  /** The type that tensors of this kind have in memory; empty where Hone has none. */
  public Optional<DType> dtype() {
    return Optional.ofNullable(dtype);
  }

  /** The stored form of a tensor's type; NF4 has none of its own (its codes are U8). */
  public static StoredType of(DType dtype) {
    for (StoredType type : values()) {
      if (type.dtype == dtype) {
        return type;
      }
    }
    throw new IllegalArgumentException("safetensors has no type for " + dtype);
  }

  /** The type with this name, as in a header. */
  static Optional<StoredType> named(String name) {
    for (StoredType type : values()) {
      if (type.name().equals(name.toUpperCase(Locale.ROOT))) {
        return Optional.of(type);
      }
    }
    return Optional.empty();
  }
}
