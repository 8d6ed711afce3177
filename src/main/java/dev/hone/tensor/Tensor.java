package dev.hone.tensor;

import java.lang.foreign.Arena;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;

/**
 * A dense row-major array outside the heap with the descriptor that native code checks (hone_tensor of hone.h).
 *
 * <p>The shape may change within what was allocated ({@link #rows}, {@link #reshape}), so that one buffer serves micro-batches of
 * different lengths without an allocation. The elements lie in a {@link MemorySpace}: {@link #set}, {@link #toFloats}, {@link #toDouble},
 * {@link #zero}, {@link #copyFrom} and {@link #hostBytes} work wherever that is; {@link #data} of a device's tensor is an address for
 * its kernels.
 */
public final class Tensor {
  private static final long DATA = 0;
  private static final long QUANT = 8;
  private static final long NAME = 16;
  private static final long SHAPE = 24;
  private static final long DTYPE = 56;
  private static final long RANK = 60;

  /** struct hone_tensor. */
  public static final MemoryLayout LAYOUT =
      MemoryLayout.structLayout(
          ValueLayout.ADDRESS.withName("data"),
          ValueLayout.ADDRESS.withName("quant"),
          ValueLayout.ADDRESS.withName("name"),
          MemoryLayout.sequenceLayout(4, ValueLayout.JAVA_LONG).withName("shape"),
          ValueLayout.JAVA_INT.withName("dtype"),
          ValueLayout.JAVA_INT.withName("rank"));

  /** struct hone_quant. */
  public static final MemoryLayout QUANT_LAYOUT =
      MemoryLayout.structLayout(
          ValueLayout.ADDRESS.withName("code"),
          ValueLayout.ADDRESS.withName("absmax_f32"),
          ValueLayout.ADDRESS.withName("absmax_u8"),
          ValueLayout.ADDRESS.withName("nested_code"),
          ValueLayout.ADDRESS.withName("nested_absmax"),
          ValueLayout.JAVA_FLOAT.withName("nested_offset"),
          ValueLayout.JAVA_INT.withName("block"),
          ValueLayout.JAVA_INT.withName("nested_block"),
          MemoryLayout.paddingLayout(4));

  private final String name;
  private final DType dtype;
  private final MemorySpace memory;
  private long[] shape;
  private final MemorySegment data;
  private final MemorySegment descriptor;
  private final Quant quant;

  private Tensor(
      MemorySpace memory, Arena arena, String name, DType dtype, MemorySegment data, Quant quant, long... shape) {
    if (shape.length < 1 || shape.length > 4) {
      throw new IllegalArgumentException(name + ": rank " + shape.length + ", want 1 to 4");
    }
    if (dtype.isQuantised() != (quant != null)) {
      throw new IllegalArgumentException(name + ": quantised tensors, and only they, have side data");
    }
    this.memory = memory;
    this.name = name;
    this.dtype = dtype;
    this.shape = shape.clone();
    this.data = data;
    this.quant = quant;
    if (data.byteSize() < bytes()) {
      throw new IllegalArgumentException(
          name + ": " + data.byteSize() + " bytes cannot hold " + dtype + " " + Arrays.toString(shape));
    }
    descriptor = arena.allocate(LAYOUT);
    descriptor.set(ValueLayout.ADDRESS, DATA, data);
    descriptor.set(ValueLayout.ADDRESS, NAME, arena.allocateFrom(name));
    for (int i = 0; i < 4; i++) {
      descriptor.setAtIndex(ValueLayout.JAVA_LONG, SHAPE / 8 + i, i < shape.length ? shape[i] : 1);
    }
    descriptor.set(ValueLayout.JAVA_INT, DTYPE, dtype.code());
    descriptor.set(ValueLayout.JAVA_INT, RANK, shape.length);
    if (quant != null) {
      descriptor.set(ValueLayout.ADDRESS, QUANT, quantDescriptor(arena, quant));
    }
  }

  /** A tensor over existing host memory, which must outlive it; {@code arena} holds the descriptor. */
  public static Tensor of(Arena arena, String name, DType dtype, MemorySegment data, long... shape) {
    return of(MemorySpace.HOST, arena, name, dtype, data, shape);
  }

  /** As {@link #of(Arena, String, DType, MemorySegment, long...)}, over memory of {@code space}. */
  public static Tensor of(
      MemorySpace space, Arena arena, String name, DType dtype, MemorySegment data, long... shape) {
    return new Tensor(space, arena, name, dtype, data, null, shape);
  }

  /** An NF4 tensor in host memory: {@code codes} holds two a byte, {@code shape} is the weight's. */
  public static Tensor ofNf4(Arena arena, String name, MemorySegment codes, Quant quant, long... shape) {
    return ofNf4(MemorySpace.HOST, arena, name, codes, quant, shape);
  }

  /** An NF4 tensor whose codes and side data lie in {@code space}. */
  public static Tensor ofNf4(
      MemorySpace space, Arena arena, String name, MemorySegment codes, Quant quant, long... shape) {
    return new Tensor(space, arena, name, DType.NF4, codes, quant, shape);
  }

  /** An I8 tensor of shape (out,in): {@code codes} are signed bytes, {@code scale} f32 (out) stands beside them. */
  public static Tensor ofInt8(
      MemorySpace space, Arena arena, String name, MemorySegment codes, Tensor scale, long out, long in) {
    Quant quant = new Quant(null, scale, null, null, 0, Math.toIntExact(in), 0);
    return new Tensor(space, arena, name, DType.I8, codes, quant, out, in);
  }

  /** A zeroed tensor with host memory of its own in {@code arena}, aligned to 64 bytes. */
  public static Tensor allocate(Arena arena, String name, DType dtype, long... shape) {
    return allocate(MemorySpace.HOST, arena, name, dtype, shape);
  }

  /** A zeroed tensor with memory of its own in {@code space}, as long as {@code arena} lives. */
  public static Tensor allocate(MemorySpace space, Arena arena, String name, DType dtype, long... shape) {
    long elements = 1;
    for (long extent : shape) {
      elements = Math.multiplyExact(elements, extent);
    }
    return of(space, arena, name, dtype, space.allocate(arena, Math.max(64, dtype.bytes(elements)), 64), shape);
  }

  private static MemorySegment quantDescriptor(Arena arena, Quant quant) {
    MemorySegment struct = arena.allocate(QUANT_LAYOUT);
    if (quant.code() != null) {
      struct.set(ValueLayout.ADDRESS, 0, quant.code().data);
    }
    struct.set(ValueLayout.ADDRESS, quant.isDouble() ? 16 : 8, quant.absmax().data);
    if (quant.isDouble()) {
      struct.set(ValueLayout.ADDRESS, 24, quant.nestedCode().data);
      struct.set(ValueLayout.ADDRESS, 32, quant.nestedAbsmax().data);
    }
    struct.set(ValueLayout.JAVA_FLOAT, 40, quant.nestedOffset());
    struct.set(ValueLayout.JAVA_INT, 44, quant.block());
    struct.set(ValueLayout.JAVA_INT, 48, quant.nestedBlock());
    return struct;
  }

  /**
   * The same memory under another shape, from row {@code firstRow} of this tensor's first extent. Not for quantised ones.
   *
   * @throws IllegalArgumentException when it would reach past this tensor
   */
  public Tensor view(Arena arena, String viewName, long firstRow, long... viewShape) {
    if (quant != null) {
      throw new IllegalArgumentException(name + ": a quantised tensor has no views");
    }
    long offset = dtype.bytes(firstRow * rowElements());
    return of(memory, arena, viewName, dtype, data.asSlice(offset), viewShape);
  }

  /** Sets the first extent for the coming calls; see {@link #reshape}. */
  public Tensor rows(long rows) {
    if (shape[0] != rows) {
      requireRoom(rows * rowElements());
      shape[0] = rows;
      descriptor.set(ValueLayout.JAVA_LONG, SHAPE, rows);
    }
    return this;
  }

  /**
   * Sets the shape for the coming calls, over the same memory from its start.
   *
   * @throws IllegalArgumentException when the memory is too small for it
   */
  public Tensor reshape(long... extents) {
    long elements = 1;
    for (long extent : extents) {
      elements = Math.multiplyExact(elements, extent);
    }
    requireRoom(elements);
    if (shape.length != extents.length) {
      shape = new long[extents.length];
      descriptor.set(ValueLayout.JAVA_INT, RANK, extents.length);
    }
    for (int i = 0; i < 4; i++) {
      descriptor.setAtIndex(ValueLayout.JAVA_LONG, SHAPE / 8 + i, i < extents.length ? extents[i] : 1);
    }
    System.arraycopy(extents, 0, shape, 0, extents.length);
    return this;
  }

  /** As {@link #reshape(long...)} of a matrix; allocates nothing where it was one before. */
  public Tensor reshape(long rows, long columns) {
    if (shape.length != 2) {
      return reshape(new long[] {rows, columns});
    }
    requireRoom(Math.multiplyExact(rows, columns));
    shape[0] = rows;
    shape[1] = columns;
    descriptor.setAtIndex(ValueLayout.JAVA_LONG, SHAPE / 8, rows);
    descriptor.setAtIndex(ValueLayout.JAVA_LONG, SHAPE / 8 + 1, columns);
    return this;
  }

  private void requireRoom(long elements) {
    if (elements < 0 || dtype.bytes(elements) > data.byteSize()) {
      throw new IllegalArgumentException(name + ": " + elements + " elements of " + dtype + " in " + data.byteSize() + " bytes");
    }
  }

  public String name() {
    return name;
  }

  public DType dtype() {
    return dtype;
  }

  public int rank() {
    return shape.length;
  }

  public long shape(int axis) {
    return shape[axis];
  }

  public long[] shape() {
    return shape.clone();
  }

  /** Side data of an NF4 or I8 tensor, else null. */
  public Quant quant() {
    return quant;
  }

  public long elements() {
    long n = 1;
    for (long extent : shape) {
      n = Math.multiplyExact(n, extent);
    }
    return n;
  }

  private long rowElements() {
    long n = 1;
    for (int i = 1; i < shape.length; i++) {
      n *= shape[i];
    }
    return n;
  }

  /** Bytes of the elements; a quantised tensor's side data is counted by {@link Quant#bytes}. */
  public long bytes() {
    return dtype.bytes(elements());
  }

  /** Where the elements lie. */
  public MemorySpace memory() {
    return memory;
  }

  /** The elements' memory; of a device's tensor only an address for its kernels. */
  public MemorySegment data() {
    return data;
  }

  /** The elements' bytes on the host: the tensor's own memory there, or a copy of a device's. */
  public MemorySegment hostBytes() {
    MemorySegment own = data.asSlice(0, bytes());
    if (memory == MemorySpace.HOST) {
      return own;
    }
    MemorySegment copy = Arena.ofAuto().allocate(Math.max(1, bytes()), 64).asSlice(0, bytes());
    memory.read(copy, own);
    return copy;
  }

  /** The native descriptor, for kernels. */
  public MemorySegment descriptor() {
    return descriptor;
  }

  public void zero() {
    memory.zero(data, bytes());
  }

  /**
   * Copies the elements of a tensor of the same dtype and size that lies on the host, here or on a device.
   *
   * @throws IllegalArgumentException when they do not fit, or {@code source} is a device's
   */
  public Tensor copyFrom(Tensor source) {
    if (source.dtype != dtype || source.elements() != elements() || source.memory != MemorySpace.HOST) {
      throw new IllegalArgumentException(this + ": copy of " + source + " in " + source.memory);
    }
    memory.write(data, source.data.asSlice(0, bytes()));
    return this;
  }

  /** The elements as f32, widened from bf16 or f16 where they are stored so. */
  public float[] toFloats() {
    int n = Math.toIntExact(elements());
    float[] out = new float[n];
    if (!dtype.isFloat()) {
      throw new IllegalStateException(name + ": " + dtype + " has no plain float values");
    }
    if (dtype == DType.F32) {
      memory.read(MemorySegment.ofArray(out), data);
      return out;
    }
    MemorySegment stored = hostBytes();
    for (int i = 0; i < n; i++) {
      short bits = stored.getAtIndex(ValueLayout.JAVA_SHORT_UNALIGNED, i);
      out[i] = dtype == DType.BF16 ? Float.intBitsToFloat(bits << 16) : Float.float16ToFloat(bits);
    }
    return out;
  }

  /** The value of an F64 tensor of one element. */
  public double toDouble() {
    if (dtype != DType.F64 || elements() != 1) {
      throw new IllegalStateException(this + " is not one f64");
    }
    return memory.readDouble(data);
  }

  /** Fills an F32 tensor; lengths must agree. */
  public Tensor set(float... values) {
    requireLength(values.length, DType.F32);
    memory.write(data, MemorySegment.ofArray(values));
    return this;
  }

  /** As {@link #set(float...)} for I32. */
  public Tensor set(int... values) {
    requireLength(values.length, DType.I32);
    memory.write(data, MemorySegment.ofArray(values));
    return this;
  }

  /** Writes an I32 tensor's elements from {@code at} on; on the host only. */
  public void put(long at, int... values) {
    requirePut(at, values.length);
    MemorySegment.copy(values, 0, data, ValueLayout.JAVA_INT, at * Integer.BYTES, values.length);
  }

  /** Writes raw little-endian bytes from byte {@code at} on; on the host only. */
  public void putBytes(long at, byte[] bytes, int count) {
    MemorySegment.copy(bytes, 0, data, ValueLayout.JAVA_BYTE, at, count);
  }

  /** Writes one element of an I32 tensor; on the host only. */
  public void put(long at, int value) {
    requirePut(at, 1);
    data.setAtIndex(ValueLayout.JAVA_INT, at, value);
  }

  private void requirePut(long at, int length) {
    if (dtype != DType.I32 || at < 0 || at + length > elements() || memory != MemorySpace.HOST) {
      throw new IllegalArgumentException(this + " in " + memory + ": put of " + length + " i32 values at " + at);
    }
  }

  private void requireLength(int length, DType wanted) {
    if (dtype != wanted || elements() != length) {
      throw new IllegalArgumentException(this + ": set with " + length + " " + wanted + " values");
    }
  }

  @Override
  public String toString() {
    return name + " " + dtype + Arrays.toString(shape);
  }
}
