package dev.hone.text;

/** Who speaks in a turn of a conversation. */
public enum Role {
  USER,
  ASSISTANT,
  /** The assistant calls a tool: the content is JSON, {@code {"name": ..., "arguments": {...}}} or a list of such. */
  FUNCTION,
  /** What a tool answered. */
  OBSERVATION;

  /** The model speaks: its turns are what training learns. */
  public boolean answers() {
    return this == ASSISTANT || this == FUNCTION;
  }
}
