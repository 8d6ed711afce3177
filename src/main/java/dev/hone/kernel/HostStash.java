package dev.hone.kernel;

import dev.hone.tensor.Tensor;
import java.util.List;
import java.util.Optional;

/**
 * Pinned host memory in which sets of a device's tensors wait while others use the device's memory. Copies run beside
 * the kernels: each begins when the kernels begun before it have ended, and kernels that depend on it {@link #await}
 * it. One set has one copy at a time.
 */
public interface HostStash extends AutoCloseable {
  /** The sets that the host had memory for, the first ones of those asked for. */
  int sets();

  /** Why they are fewer than were asked for; empty when all are there. */
  Optional<String> refusal();

  /** Says which tensors a set is; as many of their elements as they have at each {@link #store} travel. */
  void bind(int set, List<Tensor> tensors);

  /** Begins to copy a set to the host, once the kernels begun so far have ended. */
  void store(int set);

  /** Begins to copy a set back, once the kernels begun so far have ended: the last that used the memory it comes to. */
  void fetch(int set);

  /** Kernels begun from now on wait for the set's copy, out or back. */
  void await(int set);

  @Override
  void close();
}
