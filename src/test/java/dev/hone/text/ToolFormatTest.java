package dev.hone.text;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import org.junit.jupiter.api.Test;

class ToolFormatTest {
  private static final String WEATHER =
      """
      [{"type": "function", "function": {"name": "weather", "description": "Of a city", "parameters": {"type": "object",
      "properties": {"city": {"type": "string", "description": "Name"},
      "unit": {"type": "string", "enum": ["C", "F"]}, "days": {"type": "array", "items": {"type": "integer"}}},
      "required": ["city"]}}}]\
      """;

  @Test
  void describesToolsInWords() {
    assertThat(ToolFormat.DEFAULT.describe(WEATHER))
        .contains(
            """
            > Tool Name: weather
            Tool Description: Of a city
            Tool Args:
              - city (string, required): Name
              - unit (string): , should be one of [C, F]
              - days (array): , where each item should be integer

            """)
        .contains("tool name (one of [weather])");
  }

  @Test
  void describesToolsAsJson() {
    String tool = "[{\"name\": \"now\", \"parameters\": {}}]";
    assertThat(ToolFormat.LLAMA3.describe(tool))
        .endsWith(
            """
            {
                "type": "function",
                "function": {
                    "name": "now",
                    "parameters": {}
                }
            }

            """);
    assertThat(ToolFormat.MISTRAL.describe(tool))
        .isEqualTo(
            "[AVAILABLE_TOOLS] [{\"type\": \"function\", \"function\": {\"name\": \"now\", \"parameters\":"
                + " {}}}][/AVAILABLE_TOOLS]");
    assertThat(ToolFormat.QWEN.describe("[]")).isEmpty();
  }

  @Test
  void takesArgumentsAsAStringOfJson() {
    assertThat(ToolFormat.QWEN.call("[{\"name\": \"f\", \"arguments\": \"{\\\"a\\\":[1,2.5,null,\\\"\\\\n\\\"]}\"}]"))
        .isEqualTo("<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": [1, 2.5, null, \"\\n\"]}}\n</tool_call>");
  }

  @Test
  void writesSeveralCalls() {
    String two = "[{\"name\": \"f\", \"arguments\": {}}, {\"name\": \"g\", \"arguments\": {}}]";
    assertThat(ToolFormat.LLAMA3.call(two))
        .isEqualTo("[{\"name\": \"f\", \"parameters\": {}}, {\"name\": \"g\", \"parameters\": {}}]");
    assertThat(ToolFormat.DEFAULT.call(two)).isEqualTo("Action: f\nAction Input: {}\nAction: g\nAction Input: {}");
  }

  @Test
  void saysWhatIsWrongWithACall() {
    assertThatThrownBy(() -> ToolFormat.QWEN.call("f(1)"))
        .hasMessageStartingWith("the function call is not valid JSON: ");
    assertThatThrownBy(() -> ToolFormat.QWEN.call("{\"name\": \"f\"}"))
        .hasMessage("a function call must have \"name\" and \"arguments\"");
    assertThatThrownBy(() -> ToolFormat.QWEN.describe("\"x\"")).hasMessage("tools must be JSON objects");
  }
}
