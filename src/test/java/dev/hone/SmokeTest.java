package dev.hone;

import static org.assertj.core.api.Assertions.assertThat;

import dev.hone.kernel.cpu.CpuKernels;
import dev.hone.tensor.DType;
import dev.hone.tensor.Tensor;
import java.lang.foreign.Arena;
import org.junit.jupiter.api.Test;

class SmokeTest {
  @Test
  void castsToBf16() {
    try (var arena = Arena.ofConfined(); var k = new CpuKernels()) {
      Tensor a = Tensor.allocate(arena, "a", DType.F32, 4).set(1f, 2f, 3.1415927f, -0.1f);
      Tensor b = Tensor.allocate(arena, "b", DType.BF16, 4);
      k.cast(b, a);
      assertThat(b.toFloats()).containsExactly(1f, 2f, 3.140625f, -0.100097656f);
    }
  }
}
