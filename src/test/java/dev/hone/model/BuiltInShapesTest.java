package dev.hone.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.hone.config.UserError;
import java.util.Map;
import org.junit.jupiter.api.Test;

class BuiltInShapesTest {
  /** Parameter counts as the models' own cards state them, from their safetensors. */
  private static final Map<String, Long> PARAMETERS = Map.of(
      "tinyllama-1.1b", 1_100_048_384L,
      "llama-2-7b", 6_738_415_616L,
      "llama-2-13b", 13_015_864_320L,
      "llama-3-8b", 8_030_261_248L,
      "llama-3-70b", 70_553_706_496L,
      "mistral-7b", 7_248_023_552L,
      "qwen2.5-7b", 7_615_616_512L);

  @Test
  void everyShapeHasItsModelsParameters() {
    assertThat(BuiltInShapes.names()).hasSize(PARAMETERS.size());
    for (String name : BuiltInShapes.names()) {
      assertThat(Architectures.of(BuiltInShapes.config(name)).parameters()).as(name).isEqualTo(PARAMETERS.get(name));
    }
  }

  @Test
  void anUnknownNameListsThose() {
    assertThatThrownBy(() -> BuiltInShapes.config("llama-2-8b"))
        .isInstanceOf(UserError.class).hasMessageContaining("llama-2-8b; there are tinyllama-1.1b, llama-2-7b");
  }
}
