package dev.hone.kernel.selftest;

import dev.hone.kernel.Kernels;
import dev.hone.tensor.DType;
import dev.hone.tensor.Quant;
import dev.hone.tensor.Tensor;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;

/**
 * One run of a case on one device: hands out its inputs, the same on every device, and keeps its outputs. Values of
 * activations and weights are exact in bf16 and f16, so that devices differ in their arithmetic alone.
 */
final class Trial implements AutoCloseable {
  /** Below this, halves of f16's subnormal range would be lost. */
  private static final float SMALLEST = 1f / 1024;

  private final Kernels kernels;
  private final DType compute;
  private final boolean naive;
  private final Arena arena = Arena.ofShared();
  private final SplittableRandom random;
  private final List<Output> outputs = new ArrayList<>();
  private long began;
  private long nanos;

  /** What bounds an output's error. */
  enum Kind {
    /** Twice the error of a naive 16-bit computation. */
    FORWARD(2),
    /** Three times, as gradients pass through more of it. */
    GRADIENT(3),
    /** Equal bytes. */
    EXACT(0);

    private final int factor;

    Kind(int factor) {
      this.factor = factor;
    }

    int factor() {
      return factor;
    }
  }

  /** A result and what it is held to. */
  record Output(String name, Kind kind, float[] values) {}

  /** @param naive whether this is the 16-bit computation that sets the bounds */
  Trial(Kernels device, Kernels.Largest largest, DType compute, boolean naive, long seed) {
    this.compute = compute;
    this.naive = naive;
    random = new SplittableRandom(seed);
    long bytes = device.workspaceBytes(largest);
    kernels =
        bytes == 0
            ? device
            : device.withWorkspace(Tensor.allocate(device.memory(), arena, "workspace", DType.U8, bytes));
  }

  Kernels kernels() {
    return kernels;
  }

  /** The dtype of activations. */
  DType compute() {
    return compute;
  }

  /** Whether this is the naive computation: what the reference keeps in f32 inside an op is then rounded too. */
  boolean naive() {
    return naive;
  }

  /** A zeroed tensor. */
  Tensor empty(String name, DType dtype, long... shape) {
    return Tensor.allocate(kernels.memory(), arena, name, dtype, shape);
  }

  /** Normal values times {@code scale} in the activations' dtype. */
  Tensor activation(String name, float scale, long... shape) {
    return values(name, compute, scale, shape);
  }

  /** Normal values times {@code scale}, f32 but exact in 16 bits. */
  Tensor floats(String name, float scale, long... shape) {
    return values(name, DType.F32, scale, shape);
  }

  /** A frozen weight as the device keeps it. */
  Tensor weight(String name, float scale, long... shape) {
    return kernels.resident(host(name, scale, shape), arena);
  }

  /** A frozen weight in NF4. */
  Tensor nf4(String name, boolean nested, long rows, long columns) {
    Tensor host = host(name, 1 / (float) Math.sqrt(columns), rows, columns);
    long elements = rows * columns;
    long blocks = Math.ceilDiv(elements, 64L);
    Tensor code = empty("code", DType.F32, 16);
    Tensor dynamic = empty("dynamic", DType.F32, 256);
    kernels.nf4Tables(code, dynamic);
    Tensor codes = empty(name, DType.U8, Math.ceilDiv(elements, 2L));
    Tensor absmax = empty("absmax", DType.F32, blocks);
    kernels.nf4Quantize(codes, absmax, host, 64);
    Quant quant = new Quant(code, absmax, null, null, 0, 64, 256);
    if (nested) {
      Tensor quantised = empty("absmax", DType.U8, blocks);
      Tensor maxima = empty("nested_absmax", DType.F32, Math.ceilDiv(blocks, 256L));
      Tensor offset = empty("offset", DType.F32, 1);
      kernels.nf4QuantizeAbsmax(quantised, maxima, offset, absmax);
      quant = new Quant(code, quantised, dynamic, maxima, offset.toFloats()[0], 64, 256);
    }
    return Tensor.ofNf4(kernels.memory(), arena, name, codes.data(), quant, rows, columns);
  }

  /** A frozen weight in I8. */
  Tensor int8(String name, long rows, long columns) {
    Tensor codes = empty(name, DType.U8, rows * columns);
    Tensor scale = empty("scale", DType.F32, rows);
    kernels.int8Quantize(codes, scale, host(name, 1 / (float) Math.sqrt(columns), rows, columns));
    return Tensor.ofInt8(kernels.memory(), arena, name, codes.data(), scale, rows, columns);
  }

  Tensor ints(String name, int... values) {
    return empty(name, DType.I32, values.length).set(values);
  }

  /** Uniform values below {@code bound}. */
  Tensor indices(String name, int n, int bound) {
    int[] values = new int[n];
    for (int i = 0; i < n; i++) {
      values[i] = random.nextInt(bound);
    }
    return ints(name, values);
  }

  /** A weight as a file holds it: f32 on the host. */
  Tensor host(String name, float scale, long... shape) {
    Tensor tensor = Tensor.allocate(arena, name, DType.F32, shape);
    return tensor.set(draw(Math.toIntExact(tensor.elements()), scale));
  }

  private Tensor values(String name, DType dtype, float scale, long... shape) {
    Tensor host = host(name, scale, shape);
    Tensor tensor = empty(name, dtype, shape);
    if (dtype == DType.F32) {
      tensor.copyFrom(host);
    } else {
      kernels.cast(tensor, host);
    }
    return tensor;
  }

  private float[] draw(int n, float scale) {
    float[] values = new float[n];
    for (int i = 0; i < n; i++) {
      float value = (float) (scale * random.nextGaussian());
      float cut = Float.intBitsToFloat(Float.floatToRawIntBits(value) & 0xffff0000);
      values[i] = Math.abs(cut) < SMALLEST ? 0 : cut;
    }
    return values;
  }

  /** Begins the time that is reported: everything before is preparation. */
  void begin() {
    kernels.synchronize();
    began = System.nanoTime();
  }

  /** Ends it. */
  void end() {
    kernels.synchronize();
    nanos += System.nanoTime() - began;
  }

  long nanos() {
    return nanos;
  }

  /** Holds a float, f64 or u8 tensor to its bound. */
  void check(Kind kind, String name, Tensor tensor) {
    float[] values =
        switch (tensor.dtype()) {
          case F64 -> new float[] {(float) tensor.toDouble()};
          case U8 -> bytes(tensor);
          default -> tensor.toFloats();
        };
    outputs.add(new Output(name, kind, values));
  }

  private static float[] bytes(Tensor tensor) {
    byte[] bytes = tensor.hostBytes().toArray(java.lang.foreign.ValueLayout.JAVA_BYTE);
    float[] values = new float[bytes.length];
    for (int i = 0; i < bytes.length; i++) {
      values[i] = bytes[i] & 0xff;
    }
    return values;
  }

  List<Output> outputs() {
    return outputs;
  }

  @Override
  public void close() {
    arena.close();
  }
}
