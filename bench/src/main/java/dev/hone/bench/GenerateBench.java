package dev.hone.bench;

import dev.hone.engine.Decoder;
import dev.hone.engine.Storage;
import dev.hone.model.ModelSpec;
import dev.hone.model.Projection;
import dev.hone.model.Tuning;
import dev.hone.tensor.DType;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.Param;

/** The whole model for one more token after a text of 256, without an adapter: each weight is read once. */
public class GenerateBench extends OpBench {
  private static final int TEXT = 256;

  /** Of the stored base; over bf16 and nf4 the activations are bf16. */
  @Param({"f32", "bf16", "nf4"})
  public String base;

  private Decoder decoder;
  private long weights;

  @Override
  protected void prepare(Shape size) {
    ModelSpec spec = size.spec();
    DType stored = activations(dtype(base));
    Storage storage = base.equals("nf4") ? Storage.NF4_DOUBLE_QUANTISED : Storage.AS_STORED;
    Weights source = new Weights(kernels, arena, stored);
    decoder = Decoder.open(kernels, spec, source, new Tuning.None(), storage, stored, TEXT + 1);
    decoder.feed(numbers(TEXT, Shape.VOCAB));
    weights = stored.bytes((long) Shape.VOCAB * size.hidden());
    for (Projection p : Projection.values()) {
      // NF4 with doubly quantised scales: half a byte a weight, a byte for 64 and 4 bytes for 64 x 256 of them.
      double each = base.equals("nf4") ? 0.5 + 1.0 / 64 + 4.0 / (64 * 256) : stored.bytes(1);
      weights += (long) (size.layers() * each * p.in(spec) * p.out(spec));
    }
  }

  @Override
  protected void release() {
    decoder.close();
  }

  @Benchmark
  public float[] token(Tokens done, Traffic bytes) {
    decoder.rewind(TEXT);
    float[] logits = decoder.feed(1);
    done.tokens++;
    bytes.add(weights);
    return logits;
  }
}
