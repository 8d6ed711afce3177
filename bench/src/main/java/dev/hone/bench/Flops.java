package dev.hone.bench;

import org.openjdk.jmh.annotations.AuxCounters;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.State;

/** Floating-point operations done, a multiplication and an addition counting as two; JMH shows them by second. */
@State(Scope.Thread)
@AuxCounters(AuxCounters.Type.OPERATIONS)
public class Flops {
  public double gflop;

  void add(double operations) {
    gflop += operations * 1e-9;
  }
}
