package dev.hone.engine;

import dev.hone.format.LayerCacheIndex;
import dev.hone.model.ModelSpec;
import dev.hone.plan.BlobBytes;
import dev.hone.tensor.Tensor;
import java.util.Map;

/**
 * A base in the pieces in which it goes to a device: a blob for the embedding, for each layer, for the final norm and for the head. Must
 * stay open as long as a model that reads it.
 */
public interface BaseBlobs extends WeightSource {
  /** Bytes of the pieces. */
  BlobBytes blobs(ModelSpec spec);

  /**
   * Copies blobs to where they stay.
   *
   * @param places u8 on a device, by segment
   * @return where the tensors lie in the blobs
   */
  LayerCacheIndex fill(Map<String, Tensor> places);

  /**
   * A blob on the host, u8, to be brought to a device again and again.
   *
   * @throws IllegalStateException when the base lies in no file
   */
  Tensor blob(String segment);
}
