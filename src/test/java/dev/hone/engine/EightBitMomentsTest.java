package dev.hone.engine;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import dev.hone.config.Moments;
import dev.hone.kernel.Kernels;
import dev.hone.kernel.cpu.CpuKernels;
import dev.hone.model.ModelSpec;
import dev.hone.model.ParameterShape;
import dev.hone.model.Projection;
import dev.hone.model.Tuning;
import dev.hone.plan.Buffer;
import dev.hone.plan.ParameterGroup;
import dev.hone.plan.StepShape;
import dev.hone.tensor.DType;
import dev.hone.tensor.Tensor;
import dev.hone.testing.Golden;
import java.lang.foreign.Arena;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Flat buffers with 8-bit moments do what bitsandbytes does with each tensor by itself, under transformers' settings. */
class EightBitMomentsTest {
  private static final Parameters.AdamW ADAM = new Parameters.AdamW(1e-2f, 0.9f, 0.999f, 1e-8f, 0.1f);

  /** Rank 65 has tensors that end within a block of 256; full has an embedding, norms and matrices of fewer than 4096 elements. */
  private static Tuning tuning(String method, ModelSpec spec) {
    return method.equals("full")
        ? new Tuning.Full()
        : new Tuning.Lora(Arrays.stream(Projection.values()).map(p -> new Tuning.Lora.Target(1, p, 65, 2f)).toList(), 0);
  }

  private static Model open(Kernels kernels, BaseModel base, Tuning tuning) {
    StepShape step = new StepShape(DType.F32, true, 16, 1, 16, Moments.EIGHT_BIT);
    return Model.open(kernels, base.spec(), base, tuning, Storage.AS_STORED, step);
  }

  private static boolean inEightBits(ParameterShape p) {
    return p.elements() >= 4096 && !p.name().equals("model.embed_tokens.weight");
  }

  private static float[] normal(long elements, double scale, Random random) {
    float[] values = new float[Math.toIntExact(elements)];
    for (int i = 0; i < values.length; i++) {
      values[i] = (float) (scale * random.nextGaussian());
    }
    return values;
  }

  /** A tensor with memory of its own, and the scale of its gradients. */
  private record Alone(Tensor value, Tensor m, Tensor v, Tensor mAbsmax, Tensor vAbsmax, Tensor gradient, boolean decay, double scale) {
    static Alone of(Arena arena, ParameterShape p, Random random) {
      long n = p.elements();
      DType dtype = inEightBits(p) ? DType.U8 : DType.F32;
      long blocks = Math.ceilDiv(n, 256L);
      return new Alone(
          Tensor.allocate(arena, "p", DType.F32, n).set(normal(n, 1, random)), Tensor.allocate(arena, "m", dtype, n),
          Tensor.allocate(arena, "v", dtype, n), Tensor.allocate(arena, "m_absmax", DType.F32, blocks),
          Tensor.allocate(arena, "v_absmax", DType.F32, blocks), Tensor.allocate(arena, "g", DType.F32, n), p.decay(),
          Math.pow(10, -6 * random.nextDouble()));
    }

    void step(Kernels kernels, float gradientScale, int step) {
      float weightDecay = decay ? ADAM.weightDecay() : 0;
      if (m.dtype() == DType.U8) {
        kernels.adamw8Step(
            value, m, v, mAbsmax, vAbsmax, gradient, ADAM.lr(), ADAM.beta1(), ADAM.beta2(), ADAM.epsilon(), weightDecay,
            gradientScale, step);
      } else {
        kernels.adamwStep(
            value, m, v, gradient, ADAM.lr(), ADAM.beta1(), ADAM.beta2(), ADAM.epsilon(), weightDecay, gradientScale, step);
      }
    }
  }

  private static byte[] bytes(Tensor tensor) {
    return tensor.hostBytes().toArray(ValueLayout.JAVA_BYTE);
  }

  /** Gradients of scales far apart, five steps; every tensor beside the op on it alone, bit for bit. */
  @ParameterizedTest
  @ValueSource(strings = {"lora", "full"})
  void aTensorsStepIsItsOwn(String method) {
    try (Kernels kernels = new CpuKernels(); BaseModel base = BaseModel.open(Golden.committed("models/llama"));
        Model model = open(kernels, base, tuning(method, base.spec())); Arena arena = Arena.ofConfined()) {
      Random random = new Random(1);
      Parameters parameters = model.parameters();
      Map<String, Alone> alone = new LinkedHashMap<>();
      List<ParameterShape> trained = ParameterShape.trained(base.spec(), tuning(method, base.spec()));
      for (ParameterShape p : trained) {
        alone.put(p.name(), Alone.of(arena, p, random));
        parameters.get(p.name()).value().set(alone.get(p.name()).value.toFloats());
      }
      assertThat(trained).extracting(EightBitMomentsTest::inEightBits).contains(true, false);
      assertThat(parameters.elements()).isEqualTo(trained.stream().mapToLong(ParameterShape::elements).sum());
      for (int step = 1; step <= 5; step++) {
        double squares = 0;
        for (Parameters.Parameter p : parameters.all()) {
          Alone a = alone.get(p.name());
          float[] gradient = normal(p.value().elements(), a.scale, random);
          for (float g : gradient) {
            squares += (double) g * g;
          }
          p.gradient().set(gradient);
          a.gradient.set(gradient);
          a.step(kernels, 0.5f, step);
        }
        double norm = Math.sqrt(squares);
        assertThat(parameters.gradientNorm(kernels)).as("in another order").isCloseTo(norm, within(1e-12 * norm));
        parameters.step(kernels, ADAM, 0.5f, step);
      }
      for (Parameters.Parameter p : parameters.all()) {
        Alone a = alone.get(p.name());
        assertThat(p.value().toFloats()).as(p.name()).isEqualTo(a.value.toFloats());
        assertThat(bytes(p.m().stored())).as(p.name()).startsWith(bytes(a.m));
        assertThat(bytes(p.v().stored())).as(p.name()).startsWith(bytes(a.v));
        if (a.m.dtype() == DType.U8) {
          assertThat(p.m().absmax().toFloats()).as(p.name()).isEqualTo(a.mAbsmax.toFloats());
          assertThat(p.v().absmax().toFloats()).as(p.name()).isEqualTo(a.vAbsmax.toFloats());
        }
      }
    }
  }

  /** An f32 moment takes 4 bytes an element, an 8-bit one 260 bytes a block of 256. */
  @ParameterizedTest
  @ValueSource(strings = {"lora", "full"})
  void thePlanCountsTheirBytes(String method) {
    try (Kernels kernels = new CpuKernels(); BaseModel base = BaseModel.open(Golden.committed("models/llama"));
        Model model = open(kernels, base, tuning(method, base.spec()))) {
      long want = 0;
      for (ParameterShape p : ParameterShape.trained(base.spec(), tuning(method, base.spec()))) {
        want += 2 * (inEightBits(p) ? 260 * ParameterGroup.blocks(p.elements()) : 4 * p.elements());
      }
      long bytes = model.plan().buffers().stream().filter(b -> b.kind() == Buffer.Kind.OPTIMIZER).mapToLong(Buffer::bytes).sum();
      assertThat(bytes).isEqualTo(want);
    }
  }
}
