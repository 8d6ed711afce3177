package dev.hone.engine;

import dev.hone.kernel.cpu.HostPages;
import dev.hone.model.ModelSpec;
import dev.hone.model.ParameterShape;
import dev.hone.tensor.Tensor;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * A mapped base that is larger than the memory it may take: the pages of the last layers stay, those of the others
 * are read one layer ahead of the walk and let go of behind it. The head is read when the walk arrives at the loss
 * and let go of when it returns, as is what was read of the embedding. Results are those of the base itself, bit for
 * bit.
 */
public final class MappedBase implements WeightSource, LayerWalk {
  /** Layers that are in memory besides those that stay: the one at work and the one that is read ahead. */
  private static final int PASSING = 2;

  private final WeightSource base;
  private final int layers;
  private final String head;
  private final Map<String, Tensor> tensors = new LinkedHashMap<>();
  private final Map<String, HostPages> pages = new LinkedHashMap<>();
  private final int streamed;
  private String opened = "";
  private int last = -1;
  private int ahead = -1;

  /**
   * The base so that about {@code room} bytes of its mapped weights are in memory at most, though at least two layers
   * and the head. Where all of it fits, no page is let go of: pages cost time to come back.
   *
   * @param base whose weights are read where they are mapped; must stay open as long as this is used
   * @param room bytes
   */
  public MappedBase(WeightSource base, ModelSpec spec, long room) {
    this.base = base;
    layers = spec.layers();
    head = spec.tiedHead() ? LayerCache.EMBEDDING : LayerCache.HEAD;
    Map<String, List<Tensor>> segments = new LinkedHashMap<>();
    for (ParameterShape p : ParameterShape.ofModel(spec)) {
      long[] shape = p.shape().stream().mapToLong(Long::longValue).toArray();
      boolean linear = shape.length == 2 && p.name().startsWith("model.layers.");
      Tensor tensor = linear ? base.weight(p.name(), shape[0], shape[1]) : base.tensor(p.name(), shape);
      tensors.put(p.name(), tensor);
      segments.computeIfAbsent(LayerCache.segment(p.name()), segment -> new ArrayList<>()).add(tensor);
    }
    segments.forEach((segment, of) -> pages.put(segment, HostPages.of(of)));
    long largest = 1;
    for (int layer = 0; layer < layers; layer++) {
      largest = Math.max(largest, pages.get(LayerCache.layer(layer)).bytes());
    }
    long stay = (room - pages.get(head).bytes()) / largest - PASSING;
    streamed = mappedBytes() <= room ? 0 : layers - Math.clamp(stay, 0, layers);
  }

  /** Bytes of all weights that are mapped. */
  public long mappedBytes() {
    return pages.values().stream().mapToLong(HostPages::bytes).sum();
  }

  /** Layers whose pages stay in memory, the last ones. */
  public int residentLayers() {
    return layers - streamed;
  }

  @Override
  public Tensor tensor(String name, long... shape) {
    open(LayerCache.segment(name));
    return tensors.containsKey(name) ? tensors.get(name) : base.tensor(name, shape);
  }

  @Override
  public Tensor weight(String name, long out, long in) {
    open(LayerCache.segment(name));
    return tensors.containsKey(name) ? tensors.get(name) : base.weight(name, out, in);
  }

  /** Whoever asks for weights may look at their numbers, and has done so when it asks for those of the next segment. */
  private void open(String segment) {
    if (!segment.equals(opened)) {
      release(opened);
      opened = segment;
    }
  }

  @Override
  public boolean isPlaced() {
    return base.isPlaced();
  }

  @Override
  public boolean isChecked() {
    return base.isChecked();
  }

  private void release(String segment) {
    if (streamed > 0 && pages.containsKey(segment)) {
      pages.get(segment).release();
    }
  }

  private void prefetch(int layer) {
    if (layer >= 0 && layer < streamed && layer != ahead) {
      pages.get(LayerCache.layer(layer)).prefetch();
    }
  }

  @Override
  public void before(int layer) {
    prefetch(layer);
    // A walk goes up from layer 0; coming again to the layer it came from, or below it, it goes down.
    int next = layer == 0 || layer > last ? layer + 1 : layer - 1;
    prefetch(next);
    ahead = next;
    last = layer;
  }

  @Override
  public void after(int layer, int next) {
    if (layer < streamed && next >= 0) {
      release(LayerCache.layer(layer));
    }
    if (layer == 0 || layer == layers - 1) {
      release(LayerCache.EMBEDDING);
      release(LayerCache.HEAD);
    }
    if (streamed > 0 && layer == layers - 1 && next < 0) {
      pages.get(head).prefetch();
    }
  }

  @Override
  public void close() {}
}
