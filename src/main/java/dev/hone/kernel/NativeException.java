package dev.hone.kernel;

/** A kernel refused its arguments or could not run; the message is the native one: op, tensor, got and want. */
public final class NativeException extends RuntimeException {
  private static final long serialVersionUID = 1L;
  private final int status;

  public NativeException(int status, String message) {
    super(message);
    this.status = status;
  }

  /** HONE_* of hone.h, or the device driver's code. */
  public int status() {
    return status;
  }
}
