package dev.hone.engine;

import dev.hone.format.LayerCacheIndex;
import dev.hone.format.LayerCacheWriter;
import dev.hone.kernel.cpu.CpuKernels;
import dev.hone.model.ModelSpec;
import dev.hone.model.ParameterShape;
import dev.hone.plan.BlobBytes;
import dev.hone.tensor.DType;
import dev.hone.tensor.Tensor;
import java.util.Map;

/** A base that goes to a device without a layer cache: its blobs are made one by one in memory, and only what stays is sent. */
public final class UncachedBase implements BaseBlobs {
  private final BaseModel base;
  private final Storage storage;
  private final DType matrices;

  /**
   * @param base must stay open as long as this is used
   * @param matrices dtype of matrices that are not quantised
   */
  public UncachedBase(BaseModel base, Storage storage, DType matrices) {
    this.base = base;
    this.storage = storage;
    this.matrices = matrices;
  }

  /** The bytes that a base's blobs have, or would have in a layer cache; reads no weights. */
  public static BlobBytes bytes(BaseModel base, Storage storage, DType matrices) {
    return BlobBytes.of(base.spec(), p -> form(base, storage, p), matrices);
  }

  /** The form that a linear layer's weight has in the blobs. */
  static BlobBytes.Form form(BaseModel base, Storage storage, ParameterShape p) {
    BlobBytes.Form stored = base.form(p.name(), p.shape().get(0), p.shape().get(1));
    return stored != BlobBytes.Form.STORED ? stored : switch (storage) {
      case AS_STORED -> BlobBytes.Form.STORED;
      case NF4 -> BlobBytes.Form.NF4;
      case NF4_DOUBLE_QUANTISED -> BlobBytes.Form.NF4_DOUBLE;
      case INT8 -> BlobBytes.Form.INT8;
    };
  }

  @Override
  public BlobBytes blobs(ModelSpec spec) {
    return bytes(base, storage, matrices);
  }

  @Override
  public LayerCacheIndex fill(Map<String, Tensor> places) {
    long largest = places.values().stream().mapToLong(Tensor::bytes).max().orElse(0);
    try (CpuKernels host = new CpuKernels()) {
      return LayerCacheWriter.pass(
          largest, LayerCache.content(host, base, storage, matrices, places::containsKey),
          (segment, blob) -> {
            Tensor place = places.get(segment);
            place.memory().write(place.data(), blob);
          });
    }
  }

  @Override
  public Tensor blob(String segment) {
    throw new IllegalStateException("the base is in no layer cache, so nothing of it can travel: " + segment);
  }

  @Override
  public Tensor tensor(String name, long... shape) {
    return base.tensor(name, shape);
  }

  @Override
  public Tensor weight(String name, long out, long in) {
    return base.weight(name, out, in);
  }
}
