package dev.hone.engine;

/** Told of the walk through the layers, so that a layer's weights are there when it runs and may go when it has. */
interface LayerWalk extends AutoCloseable {
  /** All weights are there all the time. */
  LayerWalk NONE =
      new LayerWalk() {
        @Override
        public void before(int layer) {}

        @Override
        public void after(int layer, int next) {}

        @Override
        public void close() {}
      };

  /** The kernels of a layer are about to begin. */
  void before(int layer);

  /** The kernels of a layer have begun; {@code next} is the layer that follows, -1 where the walk turns or ends. */
  void after(int layer, int next);

  @Override
  void close();
}
