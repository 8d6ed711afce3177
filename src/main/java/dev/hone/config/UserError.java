package dev.hone.config;

/**
 * A mistake of the person who runs Hone or in the files they gave it. The message is one line that says what, where (file:line where
 * there is one) and what to do; the CLI prints it without a stack trace and exits with 1.
 */
public final class UserError extends RuntimeException {
  private static final long serialVersionUID = 1L;

  public UserError(String message) {
    super(message);
  }

  public UserError(String message, Throwable cause) {
    super(message, cause);
  }

  /** {@code new UserError(String.format(...))}. */
  public static UserError of(String format, Object... args) {
    return new UserError(format.formatted(args));
  }
}
