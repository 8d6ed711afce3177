package dev.hone.plan;

import dev.hone.model.ModelSpec;
import dev.hone.model.ParameterShape;
import dev.hone.model.Projection;
import dev.hone.model.Tuning;
import dev.hone.tensor.DType;
import java.util.Arrays;
import java.util.List;

/**
 * A micro-batch on a card, simulated: one queue of kernels, one of copies to the card, one of copies from it.
 *
 * <pre>
 *   a layer's kernels begin when the queue is free and the layer's blob (and what was offloaded of it) is there
 *   a blob begins to travel when the link is free and the slot it goes to is: {@value Layout#SLOTS} layers before it have been computed
 *   what is offloaded of a layer leaves behind its forward and is out before the second layer above runs;
 *   it comes back like a blob
 *   products take 2 M N K operations at the achieved rate; attention 4 M^2 H D / 2 forward, 2.5 times that backward
 * </pre>
 *
 * A step of the optimiser on the device is left out, being short. One on the host is counted in full for each micro-batch, though it may
 * come once in many: gradients and values travel while the host reads and writes 28 bytes a parameter at {@value #HOST_RATE} bytes a
 * second, which two memory channels reach; the slower of the two counts.
 */
public final class Timeline {
  private static final double HOST_RATE = 1e10;

  private final ModelSpec spec;
  private final BlobBytes blobs;
  private final CardSpec card;
  private final double linear;
  private final double adapters;
  private final double trained;

  Timeline(ModelSpec spec, Tuning tuning, BlobBytes blobs, CardSpec card) {
    this.spec = spec;
    this.blobs = blobs;
    this.card = card;
    linear = Arrays.stream(Projection.values()).mapToDouble(p -> (double) p.out(spec) * p.in(spec)).sum();
    double all = 0;
    if (tuning instanceof Tuning.Lora lora) {
      for (Tuning.Lora.Target t : lora.targets()) {
        all += t.rank() * (t.projection().out(spec) + (double) t.projection().in(spec));
      }
    }
    adapters = all / spec.layers();
    trained = ParameterShape.trained(spec, tuning).stream().mapToDouble(ParameterShape::elements).sum();
  }

  /**
   * Tokens a second of training.
   *
   * @param travelling what goes to the host between forward and backward, by layers from the first on
   */
  double tokensPerSecond(Layout layout, StepShape step, List<Plan.Offloaded> travelling) {
    return step.tokens() / new MicroBatch(layout, step, travelling).seconds();
  }

  /**
   * The tokens from which on a streamed forward takes no longer than a resident one, in the simulation: the first count at which a
   * layer is computed as long as its blob travels.
   */
  public static int crossover(ModelSpec spec, Tuning tuning, BlobBytes blobs, DType compute, CardSpec card) {
    Timeline timeline = new Timeline(spec, tuning, blobs, card);
    Layout resident =
        new Layout(Layout.Weights.ARENA, spec.layers(), Layout.Activations.RECOMPUTE, true, false, true);
    Layout streamed = resident.withResidentLayers(0);
    int low = 1;
    int high = 1 << 20;
    while (low < high) {
      int middle = (low + high) / 2;
      StepShape step = new StepShape(compute, true, middle, 1, middle);
      double first = blobs.layer() / card.linkRate(); // nothing hides the first blob
      boolean hidden =
          timeline.new MicroBatch(streamed, step, List.of()).forward() - first
              <= timeline.new MicroBatch(resident, step, List.of()).forward() * 1.0001;
      if (hidden) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    return low;
  }

  /** One run of the simulation. */
  private final class MicroBatch {
    private final Layout layout;
    private final StepShape step;
    private final double layerFlops;
    private final double attentionFlops;
    private final long[] travelling;
    private double kernels;
    private double in;
    private double lossEnd;
    private final double[] computed = new double[2 * spec.layers()];
    private int walked;

    private MicroBatch(Layout layout, StepShape step, List<Plan.Offloaded> sets) {
      this.layout = layout;
      this.step = step;
      layerFlops = 2.0 * step.tokens() * (linear + adapters);
      double row = Math.max(1, (double) step.tokens() / Math.max(1, step.documents()));
      attentionFlops = 2.0 * step.tokens() * row * spec.queryDim();
      travelling = new long[spec.layers()];
      sets.forEach(set -> travelling[set.layer()] = set.copied());
    }

    /** Seconds of forward and backward. */
    private double seconds() {
      forward();
      loss();
      lossEnd = kernels;
      int layers = spec.layers();
      for (int layer = layers - 1; layer >= 0; layer--) {
        double passes = layout.activations(layer, layers).again() ? layerFlops + attentionFlops : 0;
        compute(
            layer, travelling[layer],
            (passes + layerFlops + adapterGradients() + 2.5 * attentionFlops) / card.achieved());
      }
      return kernels + (layout.optimizer() ? 0 : trained * Math.max(8 / card.linkRate(), 28 / HOST_RATE));
    }

    /** Seconds of the layers' forward alone: where streaming shows first. */
    private double forward() {
      double[] out = new double[spec.layers()];
      for (int layer = 0; layer < spec.layers(); layer++) {
        compute(layer, 0, (layerFlops + attentionFlops) / card.achieved());
        out[layer] = Math.max(kernels, layer > 0 ? out[layer - 1] : 0) + travelling[layer] / card.linkRate();
        if (layer > 0 && travelling[layer - 1] > 0) {
          kernels = Math.max(kernels, out[layer - 1]); // what comes next may use its memory
        }
      }
      return kernels;
    }

    /** dA and dB beside dx: a product pass over the adapters again. */
    private double adapterGradients() {
      return layerFlops - 2.0 * step.tokens() * linear;
    }

    private void compute(int layer, double back, double seconds) {
      double begin = kernels;
      boolean streamed = layout.weights() == Layout.Weights.ARENA && !layout.isResident(layer, spec.layers());
      if (streamed || back > 0) {
        // The layers at the turn are still in their slots when backward begins.
        int passing = spec.layers() - layout.residentLayers();
        boolean there = walked >= spec.layers() && layer >= passing - Layout.SLOTS;
        double bytes = (streamed && !there ? blobs.layer() : 0) + back;
        double free = walked >= Layout.SLOTS ? computed[walked - Layout.SLOTS] : 0;
        in = Math.max(in, back > 0 ? Math.max(free, lossEnd) : free) + bytes / card.linkRate();
        begin = Math.max(begin, bytes > 0 ? in : begin);
      }
      kernels = begin + seconds;
      computed[walked++] = kernels;
    }

    /** Logits, and their gradient's way back: two products with the head. A streamed one travels twice, with the logits made again. */
    private void loss() {
      double head = 2.0 * step.tokens() * spec.vocab() * spec.hidden();
      double seconds = 2 * head / card.achieved();
      if (!layout.head() && layout.weights() == Layout.Weights.ARENA) {
        double bytes = blobs.head() == 0 ? blobs.embedding() : blobs.head();
        seconds = Math.max(3 * head / card.achieved(), 2.0 * bytes / card.linkRate());
        in = Math.max(in, kernels + seconds);
      }
      kernels += seconds;
    }
  }
}
