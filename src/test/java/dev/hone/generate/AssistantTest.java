package dev.hone.generate;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.JsonNode;
import dev.hone.config.DeviceChoice;
import dev.hone.config.UserError;
import dev.hone.engine.BaseModel;
import dev.hone.engine.Decoder;
import dev.hone.engine.Generator;
import dev.hone.engine.Sampling;
import dev.hone.engine.Storage;
import dev.hone.kernel.cpu.CpuKernels;
import dev.hone.model.Tuning;
import dev.hone.tensor.DType;
import dev.hone.testing.Golden;
import dev.hone.testing.GoldenFiles;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Optional;
import java.util.Set;
import java.util.stream.StreamSupport;
import org.junit.jupiter.api.Test;

/** The trained stories model continues its beginning as transformers and llama2.c do. */
class AssistantTest {
  private static int[] ints(JsonNode array) {
    return StreamSupport.stream(array.spliterator(), false).mapToInt(JsonNode::asInt).toArray();
  }

  private static Assistant open(Path model, int positions, boolean chat) {
    return Assistant.open(
        new Assistant.Options(
            model, Optional.empty(), Optional.empty(), Storage.AS_STORED, Optional.empty(), DType.F32, positions,
            DeviceChoice.ON_CPU, 1), chat);
  }

  @Test
  void greedyTokensAreTheReferences() {
    Path stories = GoldenFiles.find("stories260K");
    JsonNode golden = Golden.json(GoldenFiles.find("stories260K/golden_generate.json"));
    int[] prompt = ints(golden.path("prompt_ids"));
    int[] all = ints(golden.path("greedy_ids"));
    try (CpuKernels kernels = new CpuKernels();
        BaseModel base = BaseModel.open(stories);
        Decoder decoder =
            Decoder.open(kernels, base.spec(), base, new Tuning.None(), Storage.AS_STORED, DType.F32, 256)) {
      assertThat(all).startsWith(prompt);
      int[] made = new Generator(decoder, Set.of())
          .generate(prompt, all.length - prompt.length, Sampling.GREEDY, id -> true).ids();
      assertThat(made).isEqualTo(Arrays.copyOfRange(all, prompt.length, all.length));
    }
  }

  @Test
  void continuesTextAsItComes() {
    Path stories = GoldenFiles.find("stories260K");
    try (Assistant assistant = open(stories, 0, false)) {
      StringBuilder shown = new StringBuilder();
      Assistant.Reply reply = assistant.complete("Once upon a time", 60, Sampling.GREEDY, piece -> {
        shown.append(piece);
        return true;
      });
      assertThat(reply.text()).startsWith(", there was a little girl named Lily.").isEqualTo(shown.toString());
      assertThat(reply.tokens()).isEqualTo(60);
      assertThat(reply.stop()).isEqualTo(Generator.Stop.LENGTH);
      assertThat(assistant.context()).isEqualTo(512);
    }
  }

  @Test
  void saysWhenAPromptDoesNotFit() {
    Path stories = GoldenFiles.find("stories260K");
    try (Assistant assistant = open(stories, 16, false)) {
      assertThatThrownBy(() -> assistant.complete("a long story ".repeat(10), 5, Sampling.GREEDY, piece -> true))
          .isInstanceOf(UserError.class)
          .hasMessageContaining("the context takes 16");
      assertThat(assistant.complete("Once", 100, Sampling.GREEDY, piece -> true).stop())
          .isEqualTo(Generator.Stop.CONTEXT);
    }
    assertThatThrownBy(() -> open(stories, 513, false).close())
        .isInstanceOf(UserError.class)
        .hasMessageContaining("was made for 512");
  }

  @Test
  void aModelWithoutTokenizerIsRefused() {
    assertThatThrownBy(() -> open(Golden.committed("models/llama"), 0, false).close())
        .isInstanceOf(UserError.class)
        .hasMessageContaining("tokenizer.json");
  }
}
