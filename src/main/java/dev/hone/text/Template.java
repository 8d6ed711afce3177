package dev.hone.text;

import dev.hone.text.Segment.Text;
import java.util.ArrayList;
import java.util.List;

/**
 * How a conversation is written for a model, as data. Slots are texts with the placeholders {@code {{content}}} and
 * {@code {{input}}}, and special tokens.
 *
 * @param name as in LLaMA-Factory
 * @param prefix stands before everything
 * @param system around the system message
 * @param user around a user's turn
 * @param input around an alpaca row's input where {@code user} has a place for it, else null: the input is joined to
 *     the content
 * @param assistant around an answer
 * @param observation around a tool's answer
 * @param function around a tool call
 * @param defaultSystem the system message of a conversation that has none, may be empty
 * @param stopWords tokens that end an answer, besides EOS
 * @param efficientEos answers carry no end token: EOS is the label of the token that follows an answer, and closes the
 *     row
 * @param replaceEos the first stop word takes EOS's part
 * @param fuseSystem the system message is written inside the first user turn
 * @param tools how tools are described and called
 */
public record Template(
    String name,
    List<Segment> prefix,
    List<Segment> system,
    List<Segment> user,
    String input,
    List<Segment> assistant,
    List<Segment> observation,
    List<Segment> function,
    String defaultSystem,
    List<String> stopWords,
    boolean efficientEos,
    boolean replaceEos,
    boolean fuseSystem,
    ToolFormat tools) {
  private static final String CONTENT = "{{content}}";
  private static final String INPUT = "{{input}}";

  /**
   * A question and its answer.
   *
   * @param prompt never trained unless {@code train_on_prompt}
   * @param answer empty where an answer is still to be generated
   * @param trained whether the answer is learnt
   */
  public record Turn(List<Segment> prompt, List<Segment> answer, boolean trained) {}

  /**
   * The conversation's turns, a prompt to generate from last if it ends with a question.
   *
   * @throws IllegalArgumentException when turns do not alternate
   */
  public List<Turn> render(Conversation conversation) {
    String flaw = conversation.flaw(false);
    if (flaw != null) {
      throw new IllegalArgumentException(flaw);
    }
    List<Turn> turns = new ArrayList<>();
    List<Message> messages = conversation.messages();
    for (int i = 0; i < messages.size(); i += 2) {
      List<Segment> prompt = new ArrayList<>();
      String fused = "";
      if (i == 0) {
        prompt.addAll(prefix);
        String systemText = conversation.system().isEmpty() ? defaultSystem : conversation.system();
        if (!conversation.tools().isEmpty()) {
          systemText += tools.describe(conversation.tools());
        }
        if (!systemText.isEmpty() && fuseSystem) {
          fused = ((Text) fill(system, systemText, "").getFirst()).text();
        } else if (!systemText.isEmpty()) {
          prompt.addAll(fill(system, systemText, ""));
        }
      }
      prompt.addAll(question(messages.get(i), fused));
      if (i + 1 == messages.size()) {
        turns.add(new Turn(prompt, List.of(), false));
      } else {
        Message answer = messages.get(i + 1);
        turns.add(new Turn(prompt, answer(answer), answer.trained()));
      }
    }
    return turns;
  }

  private List<Segment> question(Message message, String fused) {
    if (message.role() == Role.OBSERVATION) {
      return fill(observation, message.content(), "");
    }
    if (input != null) {
      String part = message.input().isEmpty() ? "" : input.replace(INPUT, message.input());
      return fill(user, fused + message.content(), part);
    }
    String joint = message.content().isEmpty() || message.input().isEmpty() ? "" : "\n";
    return fill(user, fused + message.content() + joint + message.input(), "");
  }

  private List<Segment> answer(Message message) {
    return message.role() == Role.FUNCTION
        ? fill(function, tools.call(message.content()), "")
        : fill(assistant, message.content(), "");
  }

  private static List<Segment> fill(List<Segment> slots, String content, String input) {
    List<Segment> filled = new ArrayList<>(slots.size());
    for (Segment slot : slots) {
      filled.add(slot instanceof Text t ? new Text(fill(t.text(), content, input)) : slot);
    }
    return filled;
  }

  /** Placeholders are found in the slot alone: what is filled in may contain their text. */
  private static String fill(String slot, String content, String input) {
    int at = slot.indexOf(CONTENT);
    if (at < 0) {
      return slot;
    }
    String after = slot.substring(at + CONTENT.length()).replace(INPUT, input);
    return slot.substring(0, at) + content + after;
  }
}
