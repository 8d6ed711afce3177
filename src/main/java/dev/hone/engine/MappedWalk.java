package dev.hone.engine;

import dev.hone.format.LayerCacheFile;
import java.util.concurrent.SynchronousQueue;

/**
 * Layers that are read where their file is mapped, of a model larger than memory: while one is computed a thread brings the next one's
 * pages in, and those of the last one are given back. What is computed does not depend on it.
 */
final class MappedWalk implements LayerWalk {
  private static final Integer END = -1;

  private final LayerCacheFile file;
  private final Integer[] numbers;
  private final SynchronousQueue<Integer> wanted = new SynchronousQueue<>();
  private final Thread reader;

  MappedWalk(LayerCacheFile file, int layers) {
    this.file = file;
    numbers = new Integer[layers];
    for (int layer = 0; layer < layers; layer++) {
      numbers[layer] = layer;
    }
    reader = Thread.ofPlatform().daemon().name("layer reader").start(this::read);
  }

  private void read() {
    try {
      for (Integer layer = wanted.take(); !layer.equals(END); layer = wanted.take()) {
        file.load(LayerCache.layer(layer));
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  @Override
  public void before(int layer) {}

  /** A reader that is still busy is left alone: then the disk is the bottleneck, and the layer's pages come as they are touched. */
  @Override
  public void after(int layer, int next) {
    if (next < 0) {
      return;
    }
    file.unload(LayerCache.layer(layer));
    int later = next + (next - layer);
    if (later >= 0 && later < numbers.length) {
      wanted.offer(numbers[later]);
    }
  }

  @Override
  public void close() {
    reader.interrupt();
    try {
      reader.join();
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }
}
