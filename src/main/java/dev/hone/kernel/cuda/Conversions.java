package dev.hone.kernel.cuda;

import dev.hone.kernel.cuda.Program.Op;
import dev.hone.tensor.DType;
import dev.hone.tensor.MemorySpace;
import dev.hone.tensor.Quant;
import dev.hone.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/**
 * Casts, copies, quantisation and counts. A source on the host is a file's weight, read once when a model is opened: it
 * goes through a passing buffer on the card in chunks, so that the card holds no second copy of it.
 */
final class Conversions {
  /** Of a source on the host: small beside any card, long beside the start of a copy. */
  private static final long CHUNK_BYTES = 32 << 20;

  private final Stage stage;
  private final Products products;

  Conversions(Stage stage, Products products) {
    this.stage = stage;
    this.products = products;
  }

  /** What is done with one chunk: {@code part} holds the source's elements from {@code first} on. */
  private interface Chunk {
    void run(Tensor part, long first);
  }

  /** Runs over a source: at once where it lies on the card, else in chunks of a multiple of {@code unit} elements. */
  private void each(Tensor source, long unit, Chunk chunk) {
    if (source.memory() != MemorySpace.HOST) {
      chunk.run(source, 0);
      return;
    }
    DType dtype = source.dtype();
    long most = Math.max(1, CHUNK_BYTES / dtype.bytes(2) * 2 / unit) * unit;
    long elements = source.elements();
    try (Arena passing = Arena.ofShared()) {
      Tensor part =
          Tensor.allocate(stage.device().memory(), passing, source.name(), dtype, Math.min(most, elements));
      for (long first = 0; first < elements; first += most) {
        part.rows(Math.min(most, elements - first));
        MemorySegment bytes = source.data().asSlice(dtype.bytes(first), part.bytes());
        part.memory().write(part.data(), bytes);
        chunk.run(part, first);
      }
      stage.device().synchronize();
    }
  }

  void cast(Tensor out, Tensor in) {
    Args.elements("cast", in, in.dtype(), out.elements());
    if (in.dtype().isQuantised()) {
      Args.dtype("cast", out, stage.compute());
      Args.require(in.rank() == 2, "cast", in + ", want (N,K)");
      products.dequantize(out, in, 0, in.shape(0), 0, in.shape(1));
    } else {
      each(in, 1, (part, first) -> cast(out, first, part, 0, part.elements()));
    }
  }

  /** n elements of out from one place on = n elements of in. */
  private void cast(Tensor out, long outFirst, Tensor in, long inFirst, long n) {
    long outAt = out.dtype().bytes(outFirst);
    long inAt = in.dtype().bytes(inFirst);
    if (out.dtype() == DType.F32 && in.dtype() == DType.F32) {
      stage.copy(out.data().address() + outAt, in.data().address() + inAt, out.dtype().bytes(n));
    } else {
      stage.begin(castOp(in.dtype(), out.dtype()), out.dtype()).tensor(out, outAt).tensor(in, inAt).count(n).flat(n);
    }
  }

  /**
   * A copy of 16-bit elements is a kernel too: rows of a cache go to another place each time, which a graph can tell a
   * kernel.
   */
  private static String castOp(DType from, DType to) {
    return switch (from) {
      case F32 -> to == DType.BF16 ? "cast_f32_bf16" : "cast_f32_f16";
      case BF16 -> to == DType.F32 ? "cast_bf16_f32" : to == DType.F16 ? "cast_bf16_f16" : "cast_bf16_bf16";
      case F16 -> to == DType.F32 ? "cast_f16_f32" : to == DType.BF16 ? "cast_f16_bf16" : "cast_f16_f16";
      default -> throw Args.bad("cast: from " + from + " to " + to);
    };
  }

  void copyRows(Tensor out, long outRow, Tensor in, long inRow) {
    String op = "copy_rows";
    Args.matrix(op, in, in.dtype(), Args.ANY, Args.ANY);
    Args.matrix(op, out, out.dtype(), Args.ANY, in.shape(1));
    long rows = Math.min(out.shape(0) - outRow, in.shape(0) - inRow);
    if (outRow < 0 || inRow < 0 || rows <= 0) {
      throw Args.bad(op + ": row " + inRow + " of " + in + " to row " + outRow + " of " + out);
    }
    long columns = in.shape(1);
    cast(out, outRow * columns, in, inRow * columns, rows * columns);
  }

  void countNonFinite(Tensor count, Tensor x) {
    String op = "count_nonfinite";
    Args.vector(op, count, DType.F64, 1);
    Args.require(x.dtype().isFloat(), op, x + ", want floats");
    count.zero();
    each(x, 1, (part, first) -> sum("count_nonfinite", count, part));
  }

  /** out += the sum over x that an op makes in parts. */
  void sum(String name, Tensor out, Tensor x) {
    Op op = stage.device().program().op(name, x.dtype());
    int parts = op.only().entry().constant("PARTS");
    Tensor partials = stage.fixed().partials();
    stage.begin(name, x.dtype()).tensor(partials).tensor(x).count(x.elements()).blocks(parts, 1);
    stage.begin("sum_partials", DType.F64).tensor(out).tensor(partials).dim(parts).blocks(1, 1);
  }

  void nf4Quantize(Tensor codes, Tensor absmax, Tensor w, int block) {
    String op = "nf4_quantize";
    Args.require(block == 64, op, "a block of " + block + ", want 64");
    Args.require(w.dtype().isFloat(), op, w + ", want floats");
    long elements = w.elements();
    Args.elements(op, codes, DType.U8, Math.ceilDiv(elements, 2L));
    Args.elements(op, absmax, DType.F32, Math.ceilDiv(elements, (long) block));
    each(w, block, (part, first) -> {
      long n = part.elements();
      stage.begin("nf4_quantize", w.dtype()).tensor(codes, first / 2).tensor(absmax, DType.F32.bytes(first / block))
          .tensor(part).count(n).dim(block).flat(n);
    });
  }

  void int8Quantize(Tensor codes, Tensor scale, Tensor w) {
    String op = "int8_quantize";
    Args.require(w.dtype().isFloat() && w.rank() == 2, op, w + ", want floats (N,K)");
    Args.elements(op, codes, DType.U8, w.elements());
    Args.vector(op, scale, DType.F32, w.shape(0));
    long k = w.shape(1);
    each(w, k, (part, first) -> {
      long rows = part.elements() / k;
      stage.begin("int8_quantize", w.dtype()).tensor(codes, first).tensor(scale, DType.F32.bytes(first / k))
          .tensor(part).dim(rows).dim(k).rows(rows, k);
    });
  }

  void nf4QuantizeAbsmax(Tensor quantised, Tensor nestedAbsmax, Tensor offset, Tensor absmax) {
    String op = "nf4_quantize_absmax";
    Args.vector(op, absmax, DType.F32, Args.ANY);
    long blocks = absmax.shape(0);
    Args.vector(op, quantised, DType.U8, blocks);
    Args.vector(op, nestedAbsmax, DType.F32, Math.ceilDiv(blocks, 256L));
    Args.vector(op, offset, DType.F32, 1);
    stage.begin("nf4_absmax_mean", DType.F32).tensor(offset).tensor(absmax).count(blocks).blocks(1, 1);
    stage.begin("nf4_quantize_absmax", DType.F32).tensor(quantised).tensor(nestedAbsmax).tensor(offset).tensor(absmax)
        .tensor(stage.fixed().signed()).count(blocks).flat(blocks);
  }

  /** Vectors in f32, matrices in the compute dtype, NF4 and I8 with their side data as they are. */
  Tensor resident(Tensor stored, Arena arena) {
    if (stored.dtype().isQuantised()) {
      return quantised(stored, arena);
    }
    DType dtype = stored.rank() == 1 ? DType.F32 : stage.compute();
    Tensor there = Tensor.allocate(stage.device().memory(), arena, stored.name(), dtype, stored.shape());
    cast(there, stored);
    return there;
  }

  private Tensor quantised(Tensor stored, Arena arena) {
    CudaMemory memory = stage.device().memory();
    Quant q = stored.quant();
    MemorySegment codes = memory.allocate(arena, stored.bytes(), 64);
    memory.write(codes, stored.data().asSlice(0, stored.bytes()));
    if (stored.dtype() == DType.I8) {
      return Tensor.ofInt8(
          memory, arena, stored.name(), codes, copy(q.absmax(), arena), stored.shape(0), stored.shape(1));
    }
    Quant there = new Quant(
        copy(q.code(), arena), copy(q.absmax(), arena), copy(q.nestedCode(), arena), copy(q.nestedAbsmax(), arena),
        q.nestedOffset(), q.block(), q.nestedBlock());
    return Tensor.ofNf4(memory, arena, stored.name(), codes, there, stored.shape());
  }

  private Tensor copy(Tensor source, Arena arena) {
    if (source == null) {
      return null;
    }
    CudaMemory memory = stage.device().memory();
    return Tensor.allocate(memory, arena, source.name(), source.dtype(), source.shape()).copyFrom(source);
  }
}
