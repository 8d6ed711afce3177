package dev.hone.config;

/**
 * Where a setting stands.
 *
 * @param file as the user named it, or {@link #COMMAND_LINE}
 * @param line from 1; 0 when the setting has no line (a default, the command line)
 * @param column from 1; 0 likewise
 */
public record Origin(String file, int line, int column) {
  static final String COMMAND_LINE = "command line";

  /** {@code file:line}, as editors and compilers spell it. */
  @Override
  public String toString() {
    return line == 0 ? file : file + ":" + line;
  }
}
