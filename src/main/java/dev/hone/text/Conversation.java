package dev.hone.text;

import java.util.List;
import java.util.Locale;

/**
 * What a template renders.
 *
 * @param system the system message, empty where there is none (the template's default is used)
 * @param tools a JSON list of tool descriptions, empty where there is none
 * @param messages a question (user or observation) and an answer (assistant or function) in turn; a last question
 *     without an answer is a prompt to generate from
 */
public record Conversation(String system, String tools, List<Message> messages) {
  public Conversation {
    messages = List.copyOf(messages);
  }

  public static Conversation of(Message... messages) {
    return new Conversation("", "", List.of(messages));
  }

  /** Why the turns do not alternate, or null when they do. {@code complete}: the last turn must be an answer. */
  public String flaw(boolean complete) {
    if (messages.isEmpty()) {
      return "there are no messages";
    }
    for (int i = 0; i < messages.size(); i++) {
      Role role = messages.get(i).role();
      if (role.answers() != (i % 2 == 1)) {
        return "turn "
            + (i + 1)
            + " is "
            + role.name().toLowerCase(Locale.ROOT)
            + " where "
            + (i % 2 == 0 ? "a question (user or observation)" : "an answer (assistant or function)")
            + " must stand";
      }
    }
    return complete && messages.size() % 2 == 1 ? "the last turn has no answer" : null;
  }
}
