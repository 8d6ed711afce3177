package dev.hone.plan;

import java.util.ArrayList;
import java.util.List;

/**
 * Offsets in an arena, given one buffer after the other: each gets the lowest at which it meets nothing that is alive with it.
 *
 * <p>What has been placed is kept as spans of bytes. Buffers of one place that take turns are one span, alive whenever one of them is,
 * and so are neighbours that live alike: the layers of a model become a few spans, and a search looks at those instead of at every
 * buffer. Neither changes an offset, since a search asks of a span no more than where it lies and whom it meets.
 */
final class Packing {
  private static final class Span {
    private final long from;
    private long end;
    private Life life;

    private Span(long from, long end, Life life) {
      this.from = from;
      this.end = end;
      this.life = life;
    }
  }

  private final List<Span> spans = new ArrayList<>(); // by from
  private Span last;
  private long end;

  /** The offset of the next buffer. */
  long place(long bytes, Life life) {
    long at = 0;
    for (Span span : spans) {
      if (span.end > at && span.life.meets(life)) {
        if (span.from >= at + bytes) {
          break;
        }
        at = span.end;
      }
    }
    add(at, Plan.aligned(at + bytes), life);
    return at;
  }

  /** Bytes from the arena's start to the last buffer's end. */
  long bytes() {
    return end;
  }

  private void add(long from, long to, Life life) {
    end = Math.max(end, to);
    if (last != null && last.end == from && last.life.equals(life)) {
      last.end = to;
    } else {
      last = new Span(from, to, life);
      spans.add(behind(from), last);
    }
    for (int i = behind(last.from) - 1; i >= 0 && spans.get(i).from == last.from; i--) {
      Span other = spans.get(i);
      if (other != last && other.end == last.end) {
        other.life = other.life.and(last.life);
        spans.remove(last);
        last = null;
        return;
      }
    }
  }

  /** The number of spans that begin at {@code from} or before. */
  private int behind(long from) {
    int low = 0;
    int high = spans.size();
    while (low < high) {
      int middle = (low + high) / 2;
      if (spans.get(middle).from <= from) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low;
  }
}
