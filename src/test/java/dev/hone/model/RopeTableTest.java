package dev.hone.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import dev.hone.model.RopeSpec.Scaling.Default;
import dev.hone.model.RopeSpec.Scaling.Dynamic;
import dev.hone.model.RopeSpec.Scaling.Linear;
import dev.hone.model.RopeSpec.Scaling.Llama3;
import dev.hone.model.RopeSpec.Scaling.LongRope;
import dev.hone.model.RopeSpec.Scaling.Yarn;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * Against numbers that this project printed from transformers 5.18 (LlamaRotaryEmbedding, torch 2.13 CPU, f32) for
 * these settings and position ids 0 .. positions-1.
 */
class RopeTableTest {
  private static final double[] SHORT = {1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7};
  private static final double[] LONG = {1.0, 2.0, 3.0, 4.5, 6.0, 8.0, 12.0, 20.0};

  /**
   * @param inverse index, inverse frequency, ...
   * @param entries position, index, cos, sin, ...
   */
  record Case(String name, RopeSpec spec, int positions, double[] inverse, double[] entries) {
    @Override
    public String toString() {
      return name;
    }
  }

  static Stream<Case> cases() {
    return Stream.of(
        new Case(
            "default",
            new RopeSpec(10000.0, 16, new Default()),
            40,
            new double[] {
              0, 1, 1, 0.31622776, 2, 0.1, 3, 0.03162278, 4, 0.01, 5, 0.0031622779, 6, 0.001, 7, 0.0003162278
            },
            new double[] {
              39, 1, 0.97286534, -0.23137201, 39, 4, 0.92490906, 0.3801884, 39, 7, 0.99992394, 0.012332571
            }),
        new Case(
            "theta5e5_24",
            new RopeSpec(500000.0, 24, new Default()),
            300,
            new double[] {
              0, 1, 1, 0.33503163, 2, 0.11224619, 3, 0.03760603, 4, 0.012599208, 5, 0.004221135, 6, 0.0014142134,
              7, 0.0004738064, 8, 0.00015874006, 9, 5.3182957e-05, 10, 1.781798e-05, 11, 5.9695835e-06
            },
            new double[] {
              299, 1, 0.93712014, -0.34900692, 299, 6, 0.91192317, 0.41036096, 299, 11, 0.9999984, 0.0017849045
            }),
        new Case(
            "linear",
            new RopeSpec(10000.0, 16, new Linear(2.5)),
            64,
            new double[] {
              0, 0.4, 1, 0.1264911, 2, 0.04, 3, 0.012649111, 4, 0.0039999997, 5, 0.0012649111, 6, 0.00040000002,
              7, 0.00012649111
            },
            new double[] {
              63, 1, -0.11470464, 0.9933996, 63, 4, 0.9684157, 0.24934126, 63, 7, 0.99996823, 0.007968855
            }),
        new Case(
            "dynamic_short",
            new RopeSpec(10000.0, 16, new Dynamic(4.0, 64)),
            64,
            new double[] {
              0, 1, 1, 0.31622776, 2, 0.1, 3, 0.03162278, 4, 0.01, 5, 0.0031622779, 6, 0.001, 7, 0.0003162278
            },
            new double[] {63, 1, 0.47767144, 0.87853855, 63, 4, 0.8080275, 0.58914477, 63, 7, 0.9998016, 0.01992103}),
        new Case(
            "dynamic_long",
            new RopeSpec(10000.0, 16, new Dynamic(4.0, 64)),
            150,
            new double[] {
              0, 1, 1, 0.2427025, 2, 0.05890451, 3, 0.014296271, 4, 0.0034697407, 5, 0.0008421148, 6, 0.00020438337,
              7, 4.9604358e-05
            },
            new double[] {
              149, 1, 0.034351673, -0.9994098, 149, 4, 0.8693102, 0.49426696, 149, 7, 0.9999727, 0.0073909815
            }),
        new Case(
            "llama3",
            new RopeSpec(500000.0, 24, new Llama3(8.0, 1.0, 4.0, 32)),
            100,
            new double[] {
              0, 1, 1, 0.11089707, 2, 0.014030774, 3, 0.004700754, 4, 0.001574901, 5, 0.00052764185,
              6, 0.00017677668, 7, 5.92258e-05, 8, 1.9842508e-05, 9, 6.6478697e-06, 10, 2.2272475e-06,
              11, 7.4619794e-07
            },
            new double[] {99, 1, -0.016763192, -0.9998595, 99, 6, 0.9998469, 0.017499998, 99, 11, 1, 7.38736e-05}),
        new Case(
            "llama31_8b",
            new RopeSpec(500000.0, 128, new Llama3(8.0, 1.0, 4.0, 8192)),
            2048,
            new double[] {0, 1, 17, 0.03063452, 30, 0.0013718937, 40, 3.4281024e-05, 63, 3.068926e-07},
            new double[] {
              2047, 1, -0.78740114, 0.61644095, 2047, 32, 0.4762953, 0.8792854, 2047, 63, 0.9999998, 0.0006282091
            }),
        new Case(
            "yarn",
            new RopeSpec(10000.0, 32, new Yarn(4.0, 64, 32.0, 1.0, 1.138629436111989, true)),
            200,
            new double[] {0, 1, 3, 0.097805366, 7, 0.0044456986, 11, 0.00044456986, 15, 4.4456985e-05},
            new double[] {
              199, 1, 0.7322553, 0.8719399, 199, 8, 1.000603, 0.54338825, 199, 15, 1.1385849, 0.010073256
            }),
        new Case(
            "yarn_qwen",
            new RopeSpec(1000000.0, 128, new Yarn(4.0, 32768, 32.0, 1.0, 1.138629436111989, true)),
            512,
            new double[] {0, 1, 17, 0.025482967, 30, 0.001064361, 40, 4.4456985e-05, 63, 3.1023444e-07},
            new double[] {
              511, 1, -1.1068726, -0.26703966, 511, 32, 1.0850121, 0.34529102, 511, 63, 1.1386294, 0.0001805067
            }),
        new Case(
            "yarn_opts",
            new RopeSpec(10000.0, 32, new Yarn(8.0, 64, 16.0, 2.0, 1.094179988101349, false)),
            100,
            new double[] {0, 1, 3, 0.022228492, 7, 0.0022228493, 11, 0.00022228493, 15, 2.2228493e-05},
            new double[] {
              99, 1, 0.80300486, 0.7432449, 99, 8, 1.0858124, 0.13505943, 99, 15, 1.0941774, 0.002407873
            }),
        new Case(
            "longrope_short",
            new RopeSpec(10000.0, 16, new LongRope(SHORT, LONG, 64, 1.224744871391589)),
            64,
            new double[] {
              0, 1, 1, 0.28747976, 2, 0.083333336, 3, 0.024325214, 4, 0.007142857, 5, 0.0021081853, 6, 0.000625,
              7, 0.00018601633
            },
            new double[] {63, 1, 0.9058128, -0.8243199, 63, 4, 1.102818, 0.5327218, 63, 7, 1.2246609, 0.014352492}),
        new Case(
            "longrope_long",
            new RopeSpec(10000.0, 16, new LongRope(SHORT, LONG, 64, 1.224744871391589)),
            65,
            new double[] {
              0, 1, 1, 0.15811388, 2, 0.033333335, 3, 0.007027284, 4, 0.0016666667, 5, 0.00039528473,
              6, 8.333333e-05, 7, 1.5811389e-05
            },
            new double[] {64, 1, -0.9410537, -0.7838483, 64, 4, 1.217784, 0.13039187, 64, 7, 1.2247443, 0.0012393546}));
  }

  @ParameterizedTest
  @MethodSource("cases")
  void agreesWithTransformers(Case c) {
    float[] inverse = RopeTable.inverseFrequencies(c.spec(), c.positions());
    assertThat(inverse).hasSize(c.spec().rotaryDims() / 2);
    for (int i = 0; i < c.inverse().length; i += 2) {
      float wanted = (float) c.inverse()[i + 1];
      // One ulp: torch's vectorised pow may round the other way than Math.pow, which is correct to half an ulp.
      int index = (int) c.inverse()[i];
      assertThat(inverse[index]).as("frequency %d", index).isCloseTo(wanted, within(Math.ulp(wanted)));
    }
    RopeTable table = RopeTable.of(c.spec(), c.positions());
    assertThat(table.cos()).hasSize(c.positions() * table.half());
    for (int i = 0; i < c.entries().length; i += 4) {
      int at = (int) c.entries()[i] * table.half() + (int) c.entries()[i + 1];
      // Two ulps of 1 for the rounding of cos or sin and of the attention factor; the frequency's ulp times the position.
      double tolerance = 2.4e-7 + c.entries()[i] * Math.ulp(inverse[(int) c.entries()[i + 1]]);
      assertThat((double) table.cos()[at]).isCloseTo(c.entries()[i + 2], within(tolerance));
      assertThat((double) table.sin()[at]).isCloseTo(c.entries()[i + 3], within(tolerance));
    }
  }

  @Test
  void startsAtTheIdentity() {
    RopeTable table = RopeTable.of(new RopeSpec(10000, 8, new Default()), 3);
    assertThat(java.util.Arrays.copyOf(table.cos(), 4)).containsOnly(1f);
    assertThat(java.util.Arrays.copyOf(table.sin(), 4)).containsOnly(0f);
    assertThat(table.cos()[4]).isEqualTo((float) Math.cos(1));
    assertThat(table.sin()[8]).isEqualTo((float) Math.sin(2));
  }

  @Test
  void saysWhenLengthMatters() {
    var dynamic = new RopeSpec(10000, 16, new Dynamic(4, 64));
    var longRope = new RopeSpec(10000, 16, new LongRope(SHORT, LONG, 64, 1.2));
    var linear = new RopeSpec(10000, 16, new Linear(4));
    for (RopeSpec spec : new RopeSpec[] {dynamic, longRope}) {
      assertThat(RopeTable.variesWithLength(spec, 64)).isFalse();
      assertThat(RopeTable.variesWithLength(spec, 65)).isTrue();
      assertThat(RopeTable.of(spec, 65).cos()[17]).isNotEqualTo(RopeTable.of(spec, 64).cos()[17]);
    }
    assertThat(RopeTable.variesWithLength(linear, 1000)).isFalse();
    assertThat(RopeTable.of(linear, 1000).cos()[17]).isEqualTo(RopeTable.of(linear, 64).cos()[17]);
  }
}
