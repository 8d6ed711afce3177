package dev.hone.text;

/**
 * One turn of a conversation.
 *
 * @param role who speaks
 * @param content what is said
 * @param input the {@code input} field of an alpaca row, empty elsewhere: most templates join it to the content with a
 *     newline
 * @param trained an answer that training learns; false keeps it as context (OpenAI's {@code weight: 0})
 */
public record Message(Role role, String content, String input, boolean trained) {
  public static Message user(String content) {
    return new Message(Role.USER, content, "", false);
  }

  public static Message assistant(String content) {
    return new Message(Role.ASSISTANT, content, "", true);
  }

  public static Message of(Role role, String content) {
    return new Message(role, content, "", role.answers());
  }
}
