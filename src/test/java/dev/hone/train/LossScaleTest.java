package dev.hone.train;

import static org.assertj.core.api.Assertions.assertThat;

import dev.hone.tensor.DType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** The loss scale of f16 runs. */
class LossScaleTest {
  private static LossScale fresh() {
    return new LossScale(DType.F16, LossScale.State.NONE);
  }

  @Test
  void overflowHalvesAndAsksForTheStepAgain() {
    LossScale scale = fresh();
    assertThat(scale.value()).isEqualTo(65536);
    assertThat(scale.accepts(Double.POSITIVE_INFINITY)).isFalse();
    assertThat(scale.accepts(Double.NaN)).isFalse();
    assertThat(scale.value()).isEqualTo(16384);
    assertThat(scale.accepts(1e9)).isTrue();
    assertThat(scale.value()).isEqualTo(16384);
  }

  @Test
  void twoThousandGoodStepsInARowDouble() {
    LossScale scale = fresh();
    for (int i = 0; i < LossScale.GROWTH_INTERVAL - 1; i++) {
      assertThat(scale.accepts(1)).isTrue();
    }
    assertThat(scale.value()).isEqualTo(65536);
    assertThat(scale.accepts(1)).isTrue();
    assertThat(scale.value()).isEqualTo(131072);
    assertThat(scale.accepts(Double.NaN)).isFalse();
    for (int i = 0; i < LossScale.GROWTH_INTERVAL; i++) {
      assertThat(scale.value()).as("step %d after the overflow", i).isEqualTo(65536);
      assertThat(scale.accepts(1)).isTrue();
    }
    assertThat(scale.value()).isEqualTo(131072);
  }

  @Test
  void gradientsThatNeverFitEndTheSearch() {
    LossScale scale = fresh();
    int tries = 0;
    while (scale.canFall()) {
      assertThat(scale.accepts(Double.NaN)).isFalse();
      tries++;
    }
    assertThat(tries).as("from 2^16 to 2^-16").isEqualTo(32);
    assertThat(scale.accepts(Double.NaN)).isTrue();
  }

  @Test
  void aResumedScaleGoesOn() {
    LossScale first = fresh();
    assertThat(first.accepts(Double.NaN)).isFalse();
    assertThat(first.accepts(1)).isTrue();
    LossScale second = new LossScale(DType.F16, first.state());
    assertThat(second.state()).isEqualTo(new LossScale.State(32768, 1)).isEqualTo(first.state());
    LossScale atOne = new LossScale(DType.F16, new LossScale.State(1, 5));
    assertThat(atOne.value()).as("a scale that has fallen to 1 is a scale").isEqualTo(1);
  }

  @ParameterizedTest
  @EnumSource(value = DType.class, names = {"F32", "BF16"})
  void otherDtypesHaveNone(DType dtype) {
    LossScale scale = new LossScale(dtype, LossScale.State.NONE);
    assertThat(scale.accepts(Double.NaN)).isTrue();
    assertThat(scale.canFall()).isFalse();
    for (int i = 0; i < 2 * LossScale.GROWTH_INTERVAL; i++) {
      assertThat(scale.accepts(1)).isTrue();
    }
    assertThat(scale.value()).isEqualTo(1);
    assertThat(scale.state()).isEqualTo(LossScale.State.NONE);
  }
}
