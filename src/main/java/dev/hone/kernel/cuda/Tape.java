package dev.hone.kernel.cuda;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;

/**
 * What a graph holds, launch by launch. While work is recorded, each launch is noted with the node that it became. Later
 * the same work runs again without launching: each launch is held against the one noted, and the node of a kernel whose
 * arguments are others now - a dropout's seed, a count, a position in a cache - gets the new ones. So the graph is right
 * whatever the work's scalars depend on.
 *
 * <pre>
 *   kernel   function  gridX  gridY  node  n  arguments (n)
 *   other    -kind     a      b      c          a copy, a fill, a library's product: must be what it was
 * </pre>
 */
final class Tape {
  /** Device memory set to 0: address, bytes. */
  static final long ZERO = 1;
  /** A copy inside the card: target, source, bytes. */
  static final long COPY = 2;
  /** A library's product: its three matrices. */
  static final long PRODUCT = 3;

  private static final int HEAD = 5;
  private static final int OTHER = 4;

  /** The work is not what was recorded. */
  static final class Changed extends RuntimeException {
    private static final long serialVersionUID = 1;

    Changed(String message) {
      super(message, null, false, false);
    }
  }

  private final GraphDriver driver;
  private final MemorySegment stream;
  private long[] words = new long[1 << 12];
  private int used;
  private int at;
  private int kernels;
  private int updates;
  private MemorySegment executable;

  /** A tape that records what the stream captures. */
  Tape(GraphDriver driver, MemorySegment stream) {
    this.driver = driver;
    this.stream = stream;
  }

  /** Ends recording: from now on launches are compared, and their nodes are those of a graph made ready. */
  void replays(MemorySegment graph) {
    executable = graph;
  }

  /** Before the work runs again. */
  void rewind() {
    at = 0;
    updates = 0;
  }

  /** After it ran: everything recorded was met. */
  void finish() {
    if (at != used) {
      throw new Changed("the work ended early");
    }
  }

  int kernels() {
    return kernels;
  }

  /** Kernels whose arguments were set anew since {@link #rewind}. */
  int updates() {
    return updates;
  }

  /**
   * A kernel is about to be launched.
   *
   * @param values the arguments, 8 bytes each
   * @param pointers to them
   * @return whether it is to be launched, and {@link #launched} to be told
   */
  boolean kernel(
      MemorySegment function, int gridX, int gridY, int block, int sharedBytes, MemorySegment values, int count,
      MemorySegment pointers) {
    if (executable == null) {
      room(HEAD + count);
      words[used] = function.address();
      words[used + 1] = gridX;
      words[used + 2] = gridY;
      words[used + 4] = count;
      for (int i = 0; i < count; i++) {
        words[used + HEAD + i] = values.getAtIndex(ValueLayout.JAVA_LONG, i);
      }
      return true;
    }
    boolean same = at + HEAD + count <= used && words[at] == function.address() && words[at + 1] == gridX
        && words[at + 2] == gridY && words[at + 4] == count;
    if (!same) {
      throw new Changed("another kernel");
    }
    boolean equal = true;
    for (int i = 0; i < count; i++) {
      long value = values.getAtIndex(ValueLayout.JAVA_LONG, i);
      equal &= words[at + HEAD + i] == value;
      words[at + HEAD + i] = value;
    }
    if (!equal) {
      MemorySegment node = MemorySegment.ofAddress(words[at + 3]);
      driver.setKernel(executable, node, function, gridX, gridY, block, sharedBytes, pointers);
      updates++;
    }
    at += HEAD + count;
    return false;
  }

  /** The kernel that {@link #kernel} let pass has been recorded. */
  void launched() {
    words[used + 3] = driver.lastNode(stream).address();
    used += HEAD + (int) words[used + 4];
    kernels++;
  }

  /** As {@link #kernel} for work whose arguments cannot be set anew; nobody needs to be told that it was begun. */
  boolean other(long kind, long a, long b, long c) {
    if (executable == null) {
      room(OTHER);
      words[used] = -kind;
      words[used + 1] = a;
      words[used + 2] = b;
      words[used + 3] = c;
      used += OTHER;
      return true;
    }
    boolean same = at + OTHER <= used && words[at] == -kind && words[at + 1] == a && words[at + 2] == b
        && words[at + 3] == c;
    if (!same) {
      throw new Changed("another copy");
    }
    at += OTHER;
    return false;
  }

  private void room(int more) {
    if (used + more > words.length) {
      words = Arrays.copyOf(words, 2 * words.length);
    }
  }
}
