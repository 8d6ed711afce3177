package dev.hone.engine;

import dev.hone.format.SafetensorsWriter;
import dev.hone.kernel.Kernels;
import dev.hone.model.ParameterShape;
import dev.hone.tensor.DType;
import dev.hone.tensor.Tensor;
import java.lang.foreign.Arena;
import java.nio.file.Path;

/** The trained weights of a whole model as a checkpoint. */
public final class FullWeights {
  private FullWeights() {}

  /** Writes all weights in the dtype that the base's config.json names (f32 where it names none), rounded to nearest even. */
  public static void save(Path file, BaseModel base, Parameters parameters, Kernels kernels) {
    DType dtype =
        switch (base.config().text("dtype", base.config().text("torch_dtype", "float32"))) {
          case "bfloat16" -> DType.BF16;
          case "float16" -> DType.F16;
          default -> DType.F32;
        };
    SafetensorsWriter writer = new SafetensorsWriter().metadata("format", "pt");
    try (Arena arena = Arena.ofShared()) {
      for (ParameterShape shape : ParameterShape.ofModel(base.spec())) {
        Tensor value = parameters.get(shape.name()).value();
        if (dtype != DType.F32) {
          Tensor rounded = Tensor.allocate(kernels.memory(), arena, shape.name(), dtype, value.shape());
          kernels.cast(rounded, value);
          value = rounded;
        }
        writer.add(shape.name(), value);
      }
      writer.write(file);
    }
  }
}
