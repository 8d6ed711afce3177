package dev.hone.bench;

import dev.hone.tensor.DType;
import dev.hone.tensor.Tensor;
import org.openjdk.jmh.annotations.AuxCounters;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.State;

/** Bytes that an op must read and write: each input once, each output once, a tensor that it adds to twice. */
@State(Scope.Thread)
@AuxCounters(AuxCounters.Type.OPERATIONS)
public class Traffic {
  public double gbyte;

  void add(long bytes) {
    gbyte += bytes * 1e-9;
  }

  /** Bytes of the tensors together, side data of NF4 included. */
  static long of(Tensor... tensors) {
    long bytes = 0;
    for (Tensor t : tensors) {
      bytes += t.bytes() + (t.dtype() == DType.NF4 ? t.quant().bytes() : 0);
    }
    return bytes;
  }
}
