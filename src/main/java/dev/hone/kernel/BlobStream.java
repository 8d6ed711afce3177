package dev.hone.kernel;

import dev.hone.tensor.Tensor;

/**
 * Brings blobs of mapped host memory into a few slots of a device's memory while its kernels run. A slot's bytes begin to travel when
 * the kernels that read what it held before have ended; kernels that {@link #await} a slot begin when its bytes are there.
 */
public interface BlobStream extends AutoCloseable {
  /** Begins to bring {@code blob}, u8 on the host, into a slot; what the slot held is lost. */
  void fetch(int slot, Tensor blob);

  /** Kernels begun from now on wait for the slot's bytes. */
  void await(int slot);

  /** Kernels begun so far are the last that read the slot. */
  void release(int slot);

  @Override
  void close();
}
