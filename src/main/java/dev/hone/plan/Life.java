package dev.hone.plan;

import java.util.ArrayList;
import java.util.BitSet;
import java.util.List;

/** When a buffer holds something that is still needed: a set of moments of {@link StepClock}. Two may share memory when they never meet. */
public final class Life {
  private final BitSet moments;

  private Life(BitSet moments) {
    this.moments = moments;
  }

  /** No moment yet. */
  static Life none() {
    return new Life(new BitSet());
  }

  /** This life and the moments {@code from .. to}, both included. */
  Life and(int from, int to) {
    BitSet more = (BitSet) moments.clone();
    more.set(from, to + 1);
    return new Life(more);
  }

  /** The moments of both. */
  Life and(Life other) {
    BitSet more = (BitSet) moments.clone();
    more.or(other.moments);
    return new Life(more);
  }

  boolean meets(Life other) {
    return moments.intersects(other.moments);
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof Life life && moments.equals(life.moments);
  }

  @Override
  public int hashCode() {
    return moments.hashCode();
  }

  boolean at(int moment) {
    return moments.get(moment);
  }

  /** Counts {@code bytes} where this life begins and takes them off behind each of its ends: their running sum is what is alive. */
  void count(long bytes, long[] changes) {
    for (int from = moments.nextSetBit(0); from >= 0; ) {
      int end = moments.nextClearBit(from);
      changes[from] += bytes;
      changes[end] -= bytes;
      from = moments.nextSetBit(end);
    }
  }

  /** The moments as ranges, both ends included, for reports. */
  public List<int[]> ranges() {
    List<int[]> ranges = new ArrayList<>();
    for (int from = moments.nextSetBit(0); from >= 0; ) {
      int end = moments.nextClearBit(from);
      ranges.add(new int[] {from, end - 1});
      from = moments.nextSetBit(end);
    }
    return ranges;
  }
}
