package dev.hone.engine;

import dev.hone.config.UserError;
import dev.hone.kernel.Kernels;
import dev.hone.model.ModelSpec;
import dev.hone.model.ParameterShape;
import dev.hone.model.Projection;
import dev.hone.model.Tuning;
import dev.hone.plan.Plan;
import dev.hone.plan.TrainingPlan;
import dev.hone.tensor.DType;
import dev.hone.tensor.Tensor;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;

/**
 * The weights of a model in the form the engine walks them. Frozen weights stay as their source stores them, or are quantised
 * where that is asked for, each where and how the device reads it; trained weights are f32 copies inside the plan's arena.
 */
final class ModelWeights {

  final Tensor embedding;
  final Tensor embeddingGradient;
  final List<BlockWeights> blocks;
  final Norm finalNorm;
  final Head head;
  final LayerWalk walk;
  /** Why work with these weights cannot be recorded, empty when it can; see {@link Kernels#replays}. */
  final String hindrance;

  private final Kernels kernels;
  private final WeightSource source;
  private final Parameters parameters;
  private final Storage storage;
  private final Arena arena;
  private final Quantizer quantizer;
  private final Tensor nonFinite;

  ModelWeights(
      Kernels kernels, WeightSource source, ModelSpec spec, Tuning tuning, Storage storage, Plan.Memory memory,
      Parameters parameters, Arena arena) {
    this.kernels = kernels;
    this.source = source;
    this.parameters = parameters;
    this.storage = storage;
    this.arena = arena;
    nonFinite = source.isChecked() ? null : Tensor.allocate(kernels.memory(), arena, "non_finite", DType.F64, 1);
    quantizer = storage == Storage.AS_STORED || source.isPlaced() ? null : new Quantizer(kernels, arena);
    embedding = matrix("model.embed_tokens.weight", spec.vocab(), spec.hidden());
    embeddingGradient = gradient("model.embed_tokens.weight");
    Map<Integer, Map<Projection, Linear.Adapter>> adapters = adapters(tuning, memory);
    blocks = new ArrayList<>();
    for (int layer = 0; layer < spec.layers(); layer++) {
      blocks.add(block(spec, layer, adapters.getOrDefault(layer, Map.of())));
    }
    finalNorm = norm("model.norm.weight", spec.hidden());
    walk = source instanceof LayerWalk told ? told : LayerWalk.NONE;
    hindrance = source instanceof ArenaBase placed && placed.streams() ? "weights travel from the host beside them" : "";
    head = head(spec);
  }

  /** The device's ops with the plan's scratch for them, where it wants any. */
  static Kernels withWorkspace(Kernels device, Plan.Memory memory) {
    String name = TrainingPlan.WORKSPACE;
    return memory.has(name) ? device.withWorkspace(memory.tensor(name)) : device;
  }

  private Head head(ModelSpec spec) {
    Tensor gradient = spec.tiedHead() ? embeddingGradient : gradient(spec.headName());
    if (source instanceof ArenaBase placed) {
      return new Head(placed.headSlabs() == null ? placed.head(spec) : null, placed.headSlabs(), gradient);
    }
    return new Head(spec.tiedHead() ? embedding : matrix(spec.headName(), spec.vocab(), spec.hidden()), null, gradient);
  }

  private BlockWeights block(ModelSpec spec, int layer, Map<Projection, Linear.Adapter> adapters) {
    String at = "model.layers." + layer + ".";
    Map<Projection, Linear> projections = new EnumMap<>(Projection.class);
    for (Projection p : Projection.values()) {
      projections.put(p, linear(spec, layer, p, adapters.get(p)));
    }
    int headDim = spec.headDim();
    boolean post = spec.postNorms();
    return new BlockWeights(
        norm(at + "input_layernorm.weight", spec.hidden()),
        spec.qkNorm() ? norm(at + "self_attn.q_norm.weight", headDim) : null,
        spec.qkNorm() ? norm(at + "self_attn.k_norm.weight", headDim) : null,
        post ? norm(at + "post_attention_layernorm.weight", spec.hidden()) : null,
        norm(at + (post ? "pre_feedforward_layernorm.weight" : "post_attention_layernorm.weight"), spec.hidden()),
        post ? norm(at + "post_feedforward_layernorm.weight", spec.hidden()) : null,
        projections);
  }

  private Linear linear(ModelSpec spec, int layer, Projection p, Linear.Adapter adapter) {
    String module = p.module(layer);
    String name = module + ".weight";
    Tensor weight;
    if (parameters.has(name)) {
      weight = trained(name, finite(source.weight(name, p.out(spec), p.in(spec))));
    } else {
      weight = finite(source.weight(name, p.out(spec), p.in(spec)));
      if (quantizer != null && weight.dtype().isFloat()) {
        weight = quantizer.quantise(weight, storage);
      } else {
        weight = resident(weight, arena);
      }
    }
    Tensor bias = spec.biases().contains(p) ? vector(module + ".bias", p.out(spec)) : null;
    return new Linear(weight, bias, adapter, gradient(name), gradient(module + ".bias"));
  }

  private Map<Integer, Map<Projection, Linear.Adapter>> adapters(Tuning tuning, Plan.Memory memory) {
    Map<Integer, Map<Projection, Linear.Adapter>> adapters = new java.util.HashMap<>();
    if (tuning instanceof Tuning.Lora lora) {
      int index = 0;
      for (Tuning.Lora.Target target : lora.targets()) {
        Parameters.Parameter a = parameters.get(ParameterShape.loraA(target.module()));
        Parameters.Parameter b = parameters.get(ParameterShape.loraB(target.module()));
        Tensor u = memory.tensor(TrainingPlan.u(target.layer(), target.projection()));
        Tensor e = memory.has("e") ? memory.tensor("e") : null;
        adapters
            .computeIfAbsent(target.layer(), l -> new EnumMap<>(Projection.class))
            .put(
                target.projection(),
                new Linear.Adapter(
                    a.value(), b.value(), a.gradient(), b.gradient(), u, e, target.scale(), lora.dropout(), index++));
      }
    }
    return adapters;
  }

  private Norm norm(String name, long n) {
    return new Norm(vector(name, n), gradient(name));
  }

  private Tensor vector(String name, long n) {
    Tensor stored = finite(source.tensor(name, n));
    return parameters.has(name) ? trained(name, stored) : resident(stored, arena);
  }

  private Tensor matrix(String name, long rows, long columns) {
    Tensor stored = finite(source.tensor(name, rows, columns));
    return parameters.has(name) ? trained(name, stored) : resident(stored, arena);
  }

  private Tensor resident(Tensor stored, Arena lifetime) {
    return source.isPlaced() ? stored : kernels.resident(stored, lifetime);
  }

  /** A damaged checkpoint is told apart from a diverging run here, before the first step. */
  private Tensor finite(Tensor weight) {
    return source.isChecked() ? weight : requireFinite(kernels, nonFinite, weight);
  }

  /** @param counter f64 (1), scratch */
  static Tensor requireFinite(Kernels kernels, Tensor counter, Tensor weight) {
    Tensor values = weight;
    if (weight.quant() != null) {
      values = weight.quant().isDouble() ? weight.quant().nestedAbsmax() : weight.quant().absmax();
    }
    kernels.countNonFinite(counter, values);
    if (counter.toDouble() > 0) {
      throw UserError.of(
          "%s: %,.0f of its values are NaN or infinite; the checkpoint is damaged, fetch it again",
          weight.name(), counter.toDouble());
    }
    return weight;
  }

  private Tensor trained(String name, Tensor stored) {
    Tensor value = parameters.get(name).value();
    kernels.cast(value, stored);
    return value;
  }

  private Tensor gradient(String name) {
    return parameters.has(name) ? parameters.get(name).gradient() : null;
  }
}
