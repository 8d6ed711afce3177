package dev.hone.kernel.cuda;

import dev.hone.kernel.NativeException;
import dev.hone.tensor.DType;
import dev.hone.tensor.Tensor;

/**
 * Checks of arguments, with the words of libhone: op, tensor, got and want. Nothing is launched before all have passed,
 * and nothing is allocated when they pass.
 */
final class Args {
  /** HONE_BAD_ARGUMENT and HONE_UNSUPPORTED of hone.h. */
  private static final int BAD_ARGUMENT = 1;

  private static final int UNSUPPORTED = 3;
  static final long ANY = -1;

  private Args() {}

  /** Any shape. */
  static void dtype(String op, Tensor tensor, DType want) {
    if (tensor == null) {
      throw bad(op + ": a required tensor is null");
    }
    if (tensor.dtype() != want) {
      throw bad(op + ": " + tensor + ", want " + want);
    }
  }

  static void vector(String op, Tensor tensor, DType want, long n) {
    dtype(op, tensor, want);
    if (tensor.rank() != 1 || n != ANY && tensor.shape(0) != n) {
      throw bad(op + ": " + tensor + ", want (" + (n == ANY ? "any" : n) + ")");
    }
  }

  static void matrix(String op, Tensor tensor, DType want, long rows, long columns) {
    dtype(op, tensor, want);
    shape(op, tensor, rows, columns);
  }

  /** A weight: {@code compute}, NF4 or I8. */
  static void weight(String op, Tensor tensor, DType compute, long rows, long columns) {
    if (tensor == null || !tensor.dtype().isQuantised()) {
      dtype(op, tensor, compute);
    }
    shape(op, tensor, rows, columns);
  }

  private static void shape(String op, Tensor tensor, long rows, long columns) {
    if (tensor.rank() != 2 || rows != ANY && tensor.shape(0) != rows || columns != ANY && tensor.shape(1) != columns) {
      throw bad(op + ": " + tensor + ", want (" + word(rows) + "," + word(columns) + ")");
    }
  }

  /** (M,H,D). */
  static void heads(String op, Tensor tensor, DType want, long tokens, long heads, long dim) {
    dtype(op, tensor, want);
    if (tensor.rank() != 3 || tokens != ANY && tensor.shape(0) != tokens || heads != ANY && tensor.shape(1) != heads
        || dim != ANY && tensor.shape(2) != dim) {
      throw bad(op + ": " + tensor + ", want (" + word(tokens) + "," + word(heads) + "," + word(dim) + ")");
    }
  }

  static void elements(String op, Tensor tensor, DType want, long elements) {
    dtype(op, tensor, want);
    if (tensor.elements() != elements) {
      throw bad(op + ": " + tensor + ", want " + elements + " elements");
    }
  }

  /** Numbers of at most {@code all} rows. */
  static void rows(String op, Tensor tensor, long all) {
    vector(op, tensor, DType.I32, ANY);
    if (tensor.shape(0) > all) {
      throw bad(op + ": " + tensor + ", want at most " + all + " rows");
    }
  }

  /** Scratch of at least so many bytes. */
  static void atLeast(String op, Tensor scratch, long bytes) {
    dtype(op, scratch, DType.U8);
    if (scratch.bytes() < bytes) {
      throw bad(op + ": " + scratch + ", want " + bytes + " bytes");
    }
  }

  /** Of an optimiser, counted from 1. */
  static void step(String op, long step) {
    if (step < 1) {
      throw bad(op + ": step " + step + ", want 1 or more");
    }
  }

  /** For ops outside a step: the words are put together even where nothing is wrong. */
  static void require(boolean good, String op, String what) {
    if (!good) {
      throw bad(op + ": " + what);
    }
  }

  /** What trains whole weights: not on a card. */
  static void frozen(String op, Tensor gradient) {
    if (gradient != null) {
      throw new NativeException(
          UNSUPPORTED,
          op + ": " + gradient + ": a card trains adapters, not whole weights; use finetuning_type: lora or --device cpu");
    }
  }

  private static String word(long extent) {
    return extent == ANY ? "any" : Long.toString(extent);
  }

  static NativeException bad(String message) {
    return new NativeException(BAD_ARGUMENT, message);
  }
}
