package dev.hone.plan;

import dev.hone.config.Moments;
import dev.hone.model.ModelSpec;
import dev.hone.model.ParameterShape;
import dev.hone.model.Tuning;
import java.util.ArrayList;
import java.util.List;

/**
 * Parameters that share their weight decay and the form of their moments. They lie end to end in flat buffers, one of values, one of
 * gradients and so on, so that clearing, clipping and the optimiser are one call a group however many adapters there are.
 *
 * <p>With {@link Moments#EIGHT_BIT} a parameter has 8-bit moments unless it has fewer than {@value #LEAST} elements (bitsandbytes'
 * {@code min_8bit_size}) or is the embedding (transformers overrides it). Each begins on a multiple of {@value #BLOCK} elements: a block's
 * maximum belongs to one tensor, as there, whose gradients are of one scale. What lies between is 0, and a step leaves it so.
 *
 * @param members in the order of {@link ParameterShape#trained}
 * @param elements of each flat buffer
 */
public record ParameterGroup(boolean decay, boolean eightBit, List<Member> members, long elements) {
  /** Elements of a block of 8-bit moments. */
  public static final long BLOCK = 256;

  private static final long LEAST = 4096;

  /** A parameter and its first element's place in the flat buffers. */
  public record Member(ParameterShape shape, long offset) {}

  /** The groups of a run, those that decay first; none is empty. */
  public static List<ParameterGroup> of(ModelSpec spec, Tuning tuning, Moments moments) {
    List<ParameterShape> trained = ParameterShape.trained(spec, tuning);
    List<ParameterGroup> groups = new ArrayList<>();
    for (boolean decay : new boolean[] {true, false}) {
      for (boolean eightBit : new boolean[] {true, false}) {
        ParameterGroup group =
            of(trained.stream().filter(p -> p.decay() == decay && eightBit(p, moments) == eightBit).toList(), decay, eightBit);
        if (group.elements > 0) {
          groups.add(group);
        }
      }
    }
    return List.copyOf(groups);
  }

  private static boolean eightBit(ParameterShape p, Moments moments) {
    return moments == Moments.EIGHT_BIT && p.elements() >= LEAST && !p.name().equals(ParameterShape.EMBEDDING);
  }

  private static ParameterGroup of(List<ParameterShape> shapes, boolean decay, boolean eightBit) {
    List<Member> members = new ArrayList<>();
    long at = 0;
    for (ParameterShape shape : shapes) {
      members.add(new Member(shape, at));
      at += eightBit ? BLOCK * blocks(shape.elements()) : shape.elements();
    }
    return new ParameterGroup(decay, eightBit, List.copyOf(members), at);
  }

  /** Blocks of 8-bit moments that hold so many elements. */
  public static long blocks(long elements) {
    return Math.ceilDiv(elements, BLOCK);
  }

  /** The name of the group's flat buffer of {@code what}. */
  public String buffer(String what) {
    return what + (decay ? ".decayed" : ".undecayed") + (eightBit ? ".8bit" : "");
  }
}
