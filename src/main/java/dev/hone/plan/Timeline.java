package dev.hone.plan;

import dev.hone.model.ModelSpec;
import dev.hone.model.ParameterShape;
import dev.hone.model.Projection;
import dev.hone.model.Tuning;

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
 * come once in many: gradients and values travel, and the host reads and writes 28 bytes a parameter at {@value #HOST_RATE} bytes a
 * second, which two memory channels reach.
 */
public final class Timeline {
  private static final double HOST_RATE = 1e10;

  private final ModelSpec spec;
  private final CardSpec card;
  private final Layout layout;
  private final StepShape step;
  private final BlobBytes blobs;
  private final double layerFlops;
  private final double attentionFlops;
  private final double hostStep;
  private final long[] offloaded;
  private double kernels;
  private double in;
  private double lossEnd;
  private double[] computed;
  private int walked;

  private Timeline(ModelSpec spec, Tuning tuning, Layout layout, StepShape step, BlobBytes blobs, CardSpec card) {
    this.spec = spec;
    this.card = card;
    this.layout = layout;
    this.step = step;
    this.blobs = blobs;
    double linear = 0;
    for (Projection p : Projection.values()) {
      linear += (double) p.out(spec) * p.in(spec);
    }
    double adapters = 0;
    if (tuning instanceof Tuning.Lora lora) {
      for (Tuning.Lora.Target t : lora.targets()) {
        adapters += t.rank() * (t.projection().out(spec) + (double) t.projection().in(spec));
      }
    }
    double trained = ParameterShape.trained(spec, tuning).stream().mapToDouble(ParameterShape::elements).sum();
    hostStep = layout.optimizer() ? 0 : trained * (8 / card.linkRate() + 28 / HOST_RATE);
    layerFlops = 2.0 * step.tokens() * (linear + adapters / spec.layers());
    offloaded = new long[spec.layers()];
    for (int layer = 0; layer < spec.layers(); layer++) {
      offloaded[layer] =
          TrainingPlan.offloaded(spec, tuning, step, layout, layer).stream().mapToLong(SavedTensor::bytes).sum();
    }
    double row = Math.max(1, (double) step.tokens() / Math.max(1, step.documents()));
    attentionFlops = 2.0 * step.tokens() * row * spec.queryDim();
  }

  /** Seconds of forward and backward of one micro-batch. */
  public static double seconds(
      ModelSpec spec, Tuning tuning, Layout layout, StepShape step, BlobBytes blobs, CardSpec card) {
    return new Timeline(spec, tuning, layout, step, blobs, card).run(true);
  }

  /** Tokens a second of training. */
  public static double tokensPerSecond(
      ModelSpec spec, Tuning tuning, Layout layout, StepShape step, BlobBytes blobs, CardSpec card) {
    return step.tokens() / seconds(spec, tuning, layout, step, blobs, card);
  }

  /** Seconds of the layers' forward alone: where streaming shows first. */
  static double forwardSeconds(
      ModelSpec spec, Tuning tuning, Layout layout, StepShape step, BlobBytes blobs, CardSpec card) {
    return new Timeline(spec, tuning, layout, step, blobs, card).run(false);
  }

  private double run(boolean backward) {
    int layers = spec.layers();
    computed = new double[2 * layers + Layout.SLOTS];
    double f = card.achieved();
    double[] out = new double[layers];
    for (int layer = 0; layer < layers; layer++) {
      compute(layer, 0, (layerFlops + attentionFlops) / f);
      out[layer] = Math.max(kernels, layer > 0 ? out[layer - 1] : 0) + offloaded[layer] / card.linkRate();
      if (layer > 0 && offloaded[layer - 1] > 0) {
        kernels = Math.max(kernels, out[layer - 1]); // what comes next may use its memory
      }
    }
    if (!backward) {
      return kernels;
    }
    loss(f);
    lossEnd = kernels;
    for (int layer = layers - 1; layer >= 0; layer--) {
      double passes = layout.activations(layer, layers).again() ? layerFlops + attentionFlops : 0;
      compute(layer, offloaded[layer], (passes + layerFlops + adapterGradients() + 2.5 * attentionFlops) / f);
    }
    return kernels + hostStep;
  }

  /** dA and dB beside dx: a product pass over the adapters again. */
  private double adapterGradients() {
    double linear = 0;
    for (Projection p : Projection.values()) {
      linear += 2.0 * step.tokens() * p.out(spec) * p.in(spec);
    }
    return layerFlops - linear;
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
  private void loss(double f) {
    double head = 2.0 * step.tokens() * spec.vocab() * spec.hidden();
    double seconds = 2 * head / f;
    if (!layout.head() && layout.weights() == Layout.Weights.ARENA) {
      double bytes = blobs.head() == 0 ? blobs.embedding() : blobs.head();
      seconds = Math.max(3 * head / f, 2.0 * bytes / card.linkRate());
      in = Math.max(in, kernels + seconds);
    }
    kernels += seconds;
  }

  /**
   * The tokens from which on a streamed forward takes no longer than a resident one, in the simulation: the first count at which a
   * layer is computed as long as its blob travels.
   */
  public static int crossover(ModelSpec spec, Tuning tuning, BlobBytes blobs, dev.hone.tensor.DType compute, CardSpec card) {
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
          forwardSeconds(spec, tuning, streamed, step, blobs, card) - first
              <= forwardSeconds(spec, tuning, resident, step, blobs, card) * 1.0001;
      if (hidden) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    return low;
  }
}
