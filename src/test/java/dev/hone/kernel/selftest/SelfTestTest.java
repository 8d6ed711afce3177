package dev.hone.kernel.selftest;

import static org.assertj.core.api.Assertions.assertThat;

import dev.hone.kernel.Kernels;
import dev.hone.kernel.cpu.CpuKernels;
import dev.hone.tensor.DType;
import dev.hone.testing.StandIn;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Every op of every device within its bounds, and a wrong op found out. */
class SelfTestTest {
  private static List<SelfTest.Row> run(Kernels device) {
    try (CpuKernels reference = new CpuKernels()) {
      return new SelfTest(device, reference).run(row -> {});
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"cc=8.0", "cc=8.6", "cc=7.5"})
  void everyOpOfACardIsWithinItsBounds(String card) {
    try (Kernels kernels = StandIn.open(card)) {
      List<SelfTest.Row> rows = run(kernels);
      assertThat(rows).filteredOn(row -> !row.good()).isEmpty();
      assertThat(rows).hasSizeGreaterThan(200);
    }
  }

  @Test
  void everyOpOfTheCpuIsWithinItsBounds() {
    try (Kernels kernels = new CpuKernels()) {
      List<SelfTest.Row> rows = run(kernels);
      assertThat(rows).filteredOn(row -> !row.good()).isEmpty();
      assertThat(rows).hasSizeGreaterThan(400);
    }
  }

  @Test
  void aWrongOpIsFoundOut() {
    SelfTest.Row wrong = new SelfTest.Row("RoPE", "", "x", DType.BF16, 1e-2, 5e-3, 0, null);
    assertThat(wrong.good()).isFalse();
    SelfTest.Row missing = new SelfTest.Row("RoPE", "", "", DType.BF16, Double.NaN, 0, 0, "no kernel");
    assertThat(missing.good()).isFalse();
    SelfTest.Row notANumber =
        new SelfTest.Row("RoPE", "", "x", DType.BF16, Double.POSITIVE_INFINITY, 5e-3, 0, null);
    assertThat(notANumber.good()).isFalse();
  }
}
