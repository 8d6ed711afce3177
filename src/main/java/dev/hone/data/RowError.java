package dev.hone.data;

/** What is wrong with a row. Whoever knows the file and the line makes a UserError of it. */
final class RowError extends RuntimeException {
  private static final long serialVersionUID = 1L;

  RowError(String message) {
    super(message);
  }
}
