package dev.hone.engine;

/** Told of the walk through the layers, so that what a layer needs is there when it runs and may go when it has. */
interface LayerWalk extends AutoCloseable {
  /** All is there all the time. */
  LayerWalk NONE = new LayerWalk() {};

  /** The kernels of a layer are about to begin. */
  default void before(int layer) {}

  /** The kernels of a layer have begun; {@code next} is the layer that follows, -1 where the walk turns or ends. */
  default void after(int layer, int next) {}

  @Override
  default void close() {}
}
