package dev.hone.plan;

import dev.hone.model.ModelSpec;
import dev.hone.model.ParameterShape;
import dev.hone.tensor.DType;
import java.util.Arrays;
import java.util.function.Function;

/**
 * Bytes of the pieces of a base in the layer cache's form: what a layer's blob takes in a slot.
 *
 * @param layer of a layer's blob; the largest one's where they differ
 * @param embedding of the embedding's table
 * @param head of the head; 0 when it is the embedding's table
 */
public record BlobBytes(long layer, long embedding, long head) {
  private static final long ALIGNMENT = 64;
  private static final String LAYERS = "model.layers.";

  /** Form of the linear layers. */
  public enum Form {
    STORED,
    NF4,
    NF4_DOUBLE,
    INT8
  }

  /**
   * The bytes that a cache of this form has.
   *
   * @param matrices dtype of matrices that are not quantised
   */
  public static BlobBytes of(ModelSpec spec, Form form, DType matrices) {
    return of(spec, weight -> form, matrices);
  }

  /**
   * The bytes of a cache whose linear layers have several forms.
   *
   * @param forms of each linear layer's weight
   * @param matrices dtype of matrices that are not quantised
   */
  public static BlobBytes of(ModelSpec spec, Function<ParameterShape, Form> forms, DType matrices) {
    long table = table(spec, matrices);
    return new BlobBytes(Arrays.stream(layers(spec, forms, matrices)).max().orElse(0), table, spec.tiedHead() ? 0 : table);
  }

  /** The bytes of all blobs of such a cache. */
  public static long total(ModelSpec spec, Function<ParameterShape, Form> forms, DType matrices) {
    return Arrays.stream(layers(spec, forms, matrices)).sum() + (spec.tiedHead() ? 1 : 2) * table(spec, matrices)
        + aligned(4L * spec.hidden());
  }

  private static long[] layers(ModelSpec spec, Function<ParameterShape, Form> forms, DType matrices) {
    long[] layers = new long[spec.layers()];
    for (ParameterShape p : ParameterShape.ofModel(spec)) {
      if (p.name().startsWith(LAYERS)) {
        int layer = Integer.parseInt(p.name().substring(LAYERS.length(), p.name().indexOf('.', LAYERS.length())));
        layers[layer] +=
            p.shape().size() == 1
                ? aligned(4 * p.elements()) : matrix(p.shape().get(0), p.shape().get(1), forms.apply(p), matrices);
      }
    }
    return layers;
  }

  private static long table(ModelSpec spec, DType matrices) {
    return aligned(matrices.bytes((long) spec.vocab() * spec.hidden()));
  }

  private static long matrix(long out, long in, Form form, DType matrices) {
    long elements = out * in;
    long blocks = Math.ceilDiv(elements, 64L);
    long codes = aligned(Math.ceilDiv(elements, 2L)) + aligned(16 * 4);
    return switch (form) {
      case STORED -> aligned(matrices.bytes(elements));
      case NF4 -> codes + aligned(4 * blocks);
      case NF4_DOUBLE -> codes + aligned(blocks) + aligned(256 * 4) + aligned(4 * Math.ceilDiv(blocks, 256L));
      case INT8 -> aligned(elements) + aligned(4 * out);
    };
  }

  private static long aligned(long bytes) {
    return Math.ceilDiv(bytes, ALIGNMENT) * ALIGNMENT;
  }
}
