package dev.hone.bench;

import dev.hone.tensor.DType;
import dev.hone.tensor.Tensor;
import org.openjdk.jmh.annotations.Benchmark;

/** Quantising gate_proj's weight to NF4 in blocks of 64, its scales to 8 bits, and widening the result to bf16. */
public class Nf4Bench extends OpBench {
  private static final int BLOCK = 64;

  private Tensor w;
  private Tensor codes;
  private Tensor absmax;
  private Tensor quantised;
  private Tensor nested;
  private Tensor offset;
  private Tensor nf4;
  private Tensor wide;

  @Override
  protected void prepare(Shape size) {
    w = weight("w", DType.BF16, size.ffn(), size.hidden());
    long blocks = Math.ceilDiv(w.elements(), (long) BLOCK);
    codes = zeros("codes", DType.U8, Math.ceilDiv(w.elements(), 2L));
    absmax = zeros("absmax", DType.F32, blocks);
    quantised = zeros("quantised", DType.U8, blocks);
    nested = zeros("nested", DType.F32, Math.ceilDiv(blocks, 256L));
    offset = zeros("offset", DType.F32, 1);
    nf4 = weight("nf4", DType.NF4, size.ffn(), size.hidden());
    wide = zeros("wide", DType.BF16, size.ffn(), size.hidden());
  }

  @Benchmark
  public void quantise(Traffic bytes) {
    kernels.nf4Quantize(codes, absmax, w, BLOCK);
    kernels.nf4QuantizeAbsmax(quantised, nested, offset, absmax);
    bytes.add(Traffic.of(w, codes, absmax, absmax, quantised, nested));
  }

  @Benchmark
  public void dequantise(Traffic bytes) {
    kernels.cast(wide, nf4);
    bytes.add(Traffic.of(nf4, wide));
  }
}
