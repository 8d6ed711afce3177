package dev.hone.engine;

import dev.hone.config.Moments;
import dev.hone.kernel.Kernels;
import dev.hone.model.ModelSpec;
import dev.hone.model.ParameterShape;
import dev.hone.model.Tuning;
import dev.hone.plan.ParameterGroup;
import dev.hone.plan.Plan;
import dev.hone.plan.TrainingPlan;
import dev.hone.tensor.DType;
import dev.hone.tensor.Tensor;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * What a run trains: named f32 tensors over the flat buffers of their {@link ParameterGroup}s. Values and gradients are the device's; so are
 * AdamW's moments and its step, unless the plan has the moments on the host.
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
  public record Parameter(String name, Tensor value, Tensor gradient, Moment m, Moment v) {}

  /**
   * A moment of AdamW as it is kept.
   *
   * @param stored f32 in the parameter's shape, or u8 codes of all its blocks, (256 ceil(n/256))
   * @param absmax the maxima (ceil(n/256)) that the codes are times; null with f32
   */
  public record Moment(Tensor stored, Tensor absmax) {}

  /** The flat buffers of a group. */
  private record Group(Tensor value, Tensor gradient, Moment m, Moment v, boolean decay) {}

  private final Moments moments;
  private final Map<String, Parameter> byName = new LinkedHashMap<>();
  private final List<Group> groups = new ArrayList<>();
  private final Tensor sum;
  private final HostStep hostStep;

  Parameters(Kernels kernels, Plan.Memory memory, Arena arena, ModelSpec spec, Tuning tuning, Moments moments) {
    this.moments = moments;
    sum = memory.tensor("sum");
    ParameterShape.trained(spec, tuning).forEach(shape -> byName.put(shape.name(), null)); // fixes the order
    List<ParameterGroup> layouts = ParameterGroup.of(spec, tuning, moments);
    hostStep =
        memory.hasHost(TrainingPlan.HOST_CHUNKS) ? new HostStep(kernels, TrainingPlan.hostChunk(layouts)) : null;
    for (ParameterGroup layout : layouts) {
      Group group =
          new Group(
              flat(memory, layout, "values"), flat(memory, layout, "gradients"), moment(memory, layout, "adam.m"),
              moment(memory, layout, "adam.v"), layout.decay());
      groups.add(group);
      if (hostStep != null) {
        hostStep.add(group.value, group.gradient, group.m, group.v, group.decay, arena);
      }
      for (ParameterGroup.Member member : layout.members()) {
        byName.put(member.shape().name(), parameter(group, member, arena));
      }
    }
  }

  private static Tensor flat(Plan.Memory memory, ParameterGroup group, String what) {
    String name = group.buffer(what);
    return memory.has(name) ? memory.tensor(name) : null;
  }

  private static Moment moment(Plan.Memory memory, ParameterGroup group, String what) {
    String there = group.buffer("host." + what);
    if (memory.hasHost(there)) {
      DType dtype = group.eightBit() ? DType.U8 : DType.F32;
      String maxima = group.buffer("host." + what + ".absmax");
      return new Moment(
          memory.host(there, dtype, group.elements()),
          group.eightBit() ? memory.host(maxima, DType.F32, ParameterGroup.blocks(group.elements())) : null);
    }
    Tensor stored = flat(memory, group, what);
    return stored == null ? null : new Moment(stored, flat(memory, group, what + ".absmax"));
  }

  private static Parameter parameter(Group group, ParameterGroup.Member member, Arena arena) {
    String name = member.shape().name();
    return new Parameter(
        name, part(group.value, member, arena), part(group.gradient, member, arena), part(group.m, member, arena),
        part(group.v, member, arena));
  }

  private static Tensor part(Tensor flat, ParameterGroup.Member member, Arena arena) {
    ParameterShape shape = member.shape();
    return flat == null
        ? null
        : flat.view(arena, shape.name(), member.offset(), shape.shape().stream().mapToLong(Long::longValue).toArray());
  }

  private static Moment part(Moment flat, ParameterGroup.Member member, Arena arena) {
    if (flat == null || flat.absmax == null) {
      return flat == null ? null : new Moment(part(flat.stored, member, arena), null);
    }
    String name = member.shape().name();
    long blocks = ParameterGroup.blocks(member.shape().elements());
    return new Moment(
        flat.stored.view(arena, name, member.offset(), blocks * ParameterGroup.BLOCK),
        flat.absmax.view(arena, name, member.offset() / ParameterGroup.BLOCK, blocks));
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

  /** How AdamW's moments are kept. */
  public Moments moments() {
    return moments;
  }

  /** Trained numbers. */
  public long elements() {
    return byName.values().stream().mapToLong(p -> p.value.elements()).sum();
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
  public record AdamW(float lr, float beta1, float beta2, float epsilon, float weightDecay) {
    /** Changes values and moments by gradients. */
    void apply(Kernels kernels, Tensor value, Moment m, Moment v, Tensor gradient, boolean decay, float gradientScale, long step) {
      float weightDecay = decay ? this.weightDecay : 0;
      if (m.absmax == null) {
        kernels.adamwStep(value, m.stored, v.stored, gradient, lr, beta1, beta2, epsilon, weightDecay, gradientScale, step);
      } else {
        kernels.adamw8Step(
            value, m.stored, v.stored, m.absmax, v.absmax, gradient, lr, beta1, beta2, epsilon, weightDecay, gradientScale, step);
      }
    }
  }

  /** One optimiser step; gradients are scaled by {@code gradientScale}, step counts from 1. */
  public void step(Kernels kernels, AdamW adam, float gradientScale, long step) {
    if (hostStep != null) {
      hostStep.run(adam, gradientScale, step);
      return;
    }
    for (Group g : groups) {
      adam.apply(kernels, g.value, g.m, g.v, g.gradient, g.decay, gradientScale, step);
    }
  }

  void close() {
    if (hostStep != null) {
      hostStep.close();
    }
  }
}
