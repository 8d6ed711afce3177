package dev.hone.kernel.cuda.redist;

import static org.assertj.core.api.Assertions.assertThat;

import dev.hone.kernel.NativeException;
import dev.hone.kernel.cuda.redist.Choices.Timed;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class ChoicesTest {
  private static final Timed UNTOUCHED = () -> {
    throw new AssertionError("measured again");
  };

  @TempDir Path folder;
  private final List<String> log = new ArrayList<>();

  private Choices choices() {
    return new Choices(folder, "A card, driver for CUDA 12.4", log::add);
  }

  private static boolean wins(Choices choices, String work, Timed shipped, Timed rival) {
    return choices.rivalWins(work, "cublaslt 13.1.0", "cuda_products", shipped, rival);
  }

  @Test
  void theFasterOneWinsAndIsLoggedWithTheSettingThatOverrules() {
    assertThat(wins(choices(), "linear_fwd/bf16/8x8x8", () -> 100, () -> 50)).isTrue();
    assertThat(log).containsExactly(
        "linear_fwd/bf16/8x8x8: cublaslt 13.1.0, 50.0 us against 100.0 us of the shipped kernel"
        + " (measured; cuda_products overrules)");
    assertThat(wins(choices(), "linear_fwd/bf16/9x9x9", () -> 50, () -> 100)).isFalse();
    assertThat(log.getLast()).contains("the shipped kernel, 50.0 us against 100.0 us of cublaslt 13.1.0");
  }

  @Test
  void aTieStaysWithTheShippedKernel() {
    assertThat(wins(choices(), "w", () -> 100, () -> 98)).isFalse();
    assertThat(wins(choices(), "v", () -> 100, () -> 96)).isTrue();
  }

  /** One slow run among seven, as when another program uses the card, decides nothing. */
  @Test
  void anOutlierDecidesNothing() {
    AtomicInteger runs = new AtomicInteger();
    assertThat(wins(choices(), "w", () -> 100, () -> runs.incrementAndGet() % 4 == 0 ? 1000 : 90)).isTrue();
  }

  @Test
  void bothAreWarmedUpAndRunInTurn() {
    StringBuilder order = new StringBuilder();
    wins(choices(), "w", () -> {
      order.append('s');
      return 1;
    }, () -> {
      order.append('r');
      return 1;
    });
    assertThat(order).hasToString("sr".repeat(9));
  }

  @Test
  void aChoiceIsRememberedInTheRunAndByTheNext() {
    Choices first = choices();
    assertThat(wins(first, "w", () -> 100, () -> 50)).isTrue();
    assertThat(wins(first, "w", UNTOUCHED, UNTOUCHED)).isTrue();
    assertThat(wins(choices(), "w", UNTOUCHED, UNTOUCHED)).isTrue();
    assertThat(log.getLast()).contains("remembered");
    assertThat(wins(new Choices(folder, "Another card", log::add), "w", () -> 50, () -> 100)).isFalse();
  }

  @Test
  void processesKeepEachOthersChoices() {
    Choices one = choices();
    Choices two = choices();
    wins(one, "w", () -> 100, () -> 50);
    wins(two, "v", () -> 100, () -> 50);
    Choices later = choices();
    assertThat(wins(later, "w", UNTOUCHED, UNTOUCHED)).isTrue();
    assertThat(wins(later, "v", UNTOUCHED, UNTOUCHED)).isTrue();
  }

  @Test
  void aRivalThatFailsIsNotUsed() {
    assertThat(wins(choices(), "w", () -> 100, () -> {
      throw new NativeException(13, "cublasLtMatmul: CUBLAS_STATUS_EXECUTION_FAILED");
    })).isFalse();
    assertThat(log).containsExactly(
        "w: the shipped kernel, as cublaslt 13.1.0 failed: cublasLtMatmul: CUBLAS_STATUS_EXECUTION_FAILED");
  }

  @Test
  void linesThatSayNothingAreLeftOut() throws Exception {
    wins(choices(), "w", () -> 100, () -> 50);
    try (var files = Files.list(folder.resolve("choices"))) {
      Path file = files.findFirst().orElseThrow();
      Files.writeString(file, "half a li\nw cublaslt 13.1.0\trival\tmany\tfew\n");
    }
    assertThat(wins(choices(), "w", () -> 50, () -> 100)).isFalse();
  }
}
