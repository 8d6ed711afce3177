package dev.hone.config;

import java.util.List;
import java.util.Set;

/** A YAML value before its type is known. Text is kept as written, so that 1e-4 and 1.0e-4 are the same number. */
sealed interface Value {
  /** What YAML (and Python) write for no value. */
  Set<String> NULLS = Set.of("", "~", "null", "Null", "NULL", "None");

  /** One word or text; {@code quoted} keeps "null" apart from null. */
  record Scalar(String text, boolean quoted) implements Value {
    @Override
    public boolean isNull() {
      return !quoted && NULLS.contains(text);
    }

    @Override
    public String toString() {
      return text;
    }
  }

  /** A list of scalars. */
  record Items(List<String> texts) implements Value {
    @Override
    public String toString() {
      return texts.toString();
    }
  }

  /** A mapping or a nested list: no key takes one. */
  record Nested() implements Value {
    @Override
    public String toString() {
      return "a nested structure";
    }
  }

  default boolean isNull() {
    return false;
  }
}
