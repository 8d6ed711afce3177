package dev.hone.config;

import java.util.Optional;

/**
 * One row of the table of settings, from which reading, checking and docs/config.md all come.
 *
 * @param name as in the YAML
 * @param group heading in docs/config.md
 * @param status what Hone does with it
 * @param kind type and range
 * @param standard the default as it would be written in the YAML, or null when the key has none
 * @param meaning honoured: what it does; no effect: why; refused: why, and what to do instead
 * @param <T> type of the value
 */
record Key<T>(String name, Group group, Status status, Kind<T> kind, String standard, String meaning) {

  enum Status {
    HONOURED,
    /** Accepted, because the result is the same without it; the reason is said. */
    NO_EFFECT,
    /** An error unless it is set to its default, which asks for nothing. */
    REFUSED
  }

  enum Group {
    MODEL("Model"),
    METHOD("Method"),
    DATA("Data"),
    TRAINING("Training"),
    OUTPUT("Output and checkpoints"),
    EVALUATION("Evaluation"),
    MACHINE("Machine"),
    NO_EFFECT("Accepted, without effect here"),
    REFUSED("Refused");

    final String title;

    Group(String title) {
      this.title = title;
    }
  }

  /** The default as a value, empty when there is none. */
  Optional<T> standardValue() {
    return Optional.ofNullable(standard).flatMap(text -> kind.parse(new Value.Scalar(text, true)));
  }
}
