package dev.hone.engine;

import dev.hone.kernel.Kernels;
import dev.hone.model.ModelSpec;
import dev.hone.model.ParameterShape;
import dev.hone.model.Tuning;
import dev.hone.plan.Plan;
import dev.hone.plan.TrainingPlan;
import dev.hone.tensor.Tensor;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * What a run trains: named f32 tensors over a few flat buffers, so that clearing, clipping and the optimiser are one call a buffer
 * however many adapters there are.
 */
public final class Parameters {

  /**
   * One trained tensor.
   *
   * @param name the checkpoint's or PEFT's key
   * @param gradient summed over the micro-batches of a step; null outside training
   * @param m AdamW's first moment; null outside training
   * @param v AdamW's second moment; null outside training
   */
  public record Parameter(String name, Tensor value, Tensor gradient, Tensor m, Tensor v) {}

  /** A flat buffer of parameters that share their weight decay. */
  private record Group(Tensor value, Tensor gradient, Tensor m, Tensor v, boolean decay) {}

  private final Map<String, Parameter> byName = new LinkedHashMap<>();
  private final List<Group> groups = new ArrayList<>();
  private final Tensor sum;

  Parameters(Plan.Memory memory, Arena arena, ModelSpec spec, Tuning tuning) {
    sum = memory.tensor("sum");
    long[] at = new long[2];
    for (ParameterShape shape : ParameterShape.trained(spec, tuning)) {
      int group = shape.decay() ? 1 : 0;
      byName.put(
          shape.name(),
          new Parameter(
              shape.name(),
              part(memory, arena, "values", shape, at[group]),
              part(memory, arena, "gradients", shape, at[group]),
              part(memory, arena, "adam.m", shape, at[group]),
              part(memory, arena, "adam.v", shape, at[group])));
      at[group] += shape.elements();
    }
    for (boolean decay : new boolean[] {true, false}) {
      if (at[decay ? 1 : 0] > 0) {
        groups.add(
            new Group(
                flat(memory, "values", decay), flat(memory, "gradients", decay),
                flat(memory, "adam.m", decay), flat(memory, "adam.v", decay), decay));
      }
    }
  }

  private static Tensor flat(Plan.Memory memory, String what, boolean decay) {
    String name = TrainingPlan.flat(what, decay);
    return memory.has(name) ? memory.tensor(name) : null;
  }

  private static Tensor part(Plan.Memory memory, Arena arena, String what, ParameterShape shape, long offset) {
    Tensor flat = flat(memory, what, shape.decay());
    return flat == null
        ? null
        : flat.view(arena, shape.name(), offset, shape.shape().stream().mapToLong(Long::longValue).toArray());
  }

  public List<Parameter> all() {
    return List.copyOf(byName.values());
  }

  public Parameter get(String name) {
    Parameter parameter = byName.get(name);
    if (parameter == null) {
      throw new IllegalArgumentException(name + " does not train here");
    }
    return parameter;
  }

  public boolean has(String name) {
    return byName.containsKey(name);
  }

  /** Trained numbers. */
  public long elements() {
    return groups.stream().mapToLong(g -> g.value.elements()).sum();
  }

  public void zeroGradients() {
    groups.forEach(g -> g.gradient.zero());
  }

  /** The L2 norm over all gradients together, in f64. */
  public double gradientNorm(Kernels kernels) {
    sum.zero();
    for (Group group : groups) {
      kernels.sumSquares(sum, group.gradient);
    }
    return Math.sqrt(sum.toDouble());
  }

  /** The settings of one AdamW step; see {@link Kernels#adamwStep}. */
  public record AdamW(float lr, float beta1, float beta2, float epsilon, float weightDecay) {}

  /** One optimiser step; gradients are scaled by {@code gradientScale}, step counts from 1. */
  public void step(Kernels kernels, AdamW adam, float gradientScale, long step) {
    for (Group g : groups) {
      kernels.adamwStep(
          g.value, g.m, g.v, g.gradient, adam.lr, adam.beta1, adam.beta2, adam.epsilon,
          g.decay ? adam.weightDecay : 0f, gradientScale, step);
    }
  }
}
