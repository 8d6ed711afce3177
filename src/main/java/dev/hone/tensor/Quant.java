package dev.hone.tensor;

/**
 * Side data of an NF4 tensor of n elements, in bitsandbytes' layout: {@code w[i] = code[q[i]] * absmax[i / block]}, where absmax is
 * stored plain or quantised a second time. Of an I8 tensor: {@code w[i] = q[i] * absmax[i / block]}, block the length of a row.
 *
 * @param code f32 [16], null with I8
 * @param absmax f32 [ceil(n/block)], or u8 of the same length when double quantised
 * @param nestedCode f32 [256], null when absmax is plain
 * @param nestedAbsmax f32 [ceil(blocks/nestedBlock)], null when absmax is plain
 * @param nestedOffset added after the second level
 * @param block elements that share one absmax (64)
 * @param nestedBlock absmax values that share one nestedAbsmax (256)
 */
public record Quant(
    Tensor code,
    Tensor absmax,
    Tensor nestedCode,
    Tensor nestedAbsmax,
    float nestedOffset,
    int block,
    int nestedBlock) {

  public boolean isDouble() {
    return nestedAbsmax != null;
  }

  /** Bytes of the side data, the shared code books left out. */
  public long bytes() {
    return absmax.bytes() + (nestedAbsmax == null ? 0 : nestedAbsmax.bytes());
  }
}
