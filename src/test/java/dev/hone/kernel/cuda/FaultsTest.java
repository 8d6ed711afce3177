package dev.hone.kernel.cuda;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.hone.config.UserError;
import dev.hone.kernel.NativeException;
import dev.hone.kernel.cuda.Manifest.Entry;
import dev.hone.kernel.cuda.Manifest.Parameter;
import dev.hone.tensor.DType;
import dev.hone.tensor.Tensor;
import dev.hone.testing.StandIn;
import java.lang.foreign.Arena;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** Kernels and launches with planted mistakes: each is told in words that name it. */
class FaultsTest {
  private static final String CARD = "cc=8.0 driver=12000";

  @AfterEach
  void aWholeCardForTheNextTest() {
    StandIn.library(CARD);
  }

  /**
   * Stores 4096 bytes behind its output, stores beyond 1024 bytes of shared memory, reads a copy it did not wait for.
   */
  private static final String PTX =
      """
      .version %s
      .target sm_80
      .address_size 64
      .extern .shared .align 16 .b8 pool[];
      .visible .entry planted_far(.param .u64 planted_far_param_0, .param .u32 planted_far_param_1)
      {
        .reg .b32 %%r<2>;
        .reg .b64 %%rd<3>;
        ld.param.u64 %%rd1, [planted_far_param_0];
        cvta.to.global.u64 %%rd2, %%rd1;
        mov.u32 %%r1, 7;
        st.global.u32 [%%rd2+4096], %%r1;
        ret;
      }
      .visible .entry planted_shared(.param .u64 planted_shared_param_0, .param .u32 planted_shared_param_1)
      {
        .reg .b32 %%r<3>;
        mov.u32 %%r1, 7;
        mov.u32 %%r2, pool;
        st.shared.u32 [%%r2+2048], %%r1;
        ret;
      }
      .visible .entry planted_hasty(.param .u64 planted_hasty_param_0, .param .u32 planted_hasty_param_1)
      {
        .reg .b32 %%r<3>;
        .reg .b64 %%rd<3>;
        ld.param.u64 %%rd1, [planted_hasty_param_0];
        cvta.to.global.u64 %%rd2, %%rd1;
        mov.u32 %%r1, pool;
        cp.async.ca.shared.global [%%r1], [%%rd2], 16;
        cp.async.commit_group;
        ld.shared.u32 %%r2, [%%r1];
        st.global.u32 [%%rd2+16], %%r2;
        cp.async.wait_group 0;
        ret;
      }
      """;

  private static Entry entry(String op, int shared, Map<String, Integer> divisible) {
    return new Entry(
        "planted_" + op, op, "sm_80", "f32", "planted.ptx",
        List.of(new Parameter("out", "u64"), new Parameter("n", "s32")), 0, 32, shared, 0, Map.of("PER_BLOCK", 32),
        divisible, "7.8", List.of(), "");
  }

  private static CudaDevice open(String ptxVersion) {
    Driver driver = Driver.open(StandIn.library(CARD).toString());
    byte[] text = PTX.formatted(ptxVersion).getBytes(StandardCharsets.US_ASCII);
    List<Entry> entries =
        List.of(
            entry("far", 0, Map.of()), entry("shared", 1024, Map.of()), entry("hasty", 1024, Map.of()),
            entry("aligned", 0, Map.of("n", 16)));
    return new CudaDevice(driver, CudaDevice.cards(driver).getFirst(), DType.F32, new Manifest(entries, file -> text));
  }

  private static void run(CudaDevice device, String op, Tensor out) {
    device.program().launcher().begin(device.program().op(op, DType.F32)).tensor(out).dim(out.elements()).flat(32);
    device.synchronize();
  }

  @Test
  void aStoreBehindATensorNamesKernelAndTensor() {
    try (CudaDevice device = open("7.8"); Arena arena = Arena.ofShared()) {
      Tensor out = Tensor.allocate(device.memory(), arena, "layers.3.q", DType.F32, 64);
      assertThatThrownBy(() -> run(device, "far", out)).isInstanceOf(NativeException.class)
          .hasMessageContaining("CUDA_ERROR_ILLEGAL_ADDRESS").hasMessageContaining("planted_far")
          .hasMessageContaining("out = layers.3.q f32[64], n = 64");
    }
  }

  @Test
  void tooLittleSharedMemoryIsFoundOut() {
    try (CudaDevice device = open("7.8"); Arena arena = Arena.ofShared()) {
      Tensor out = Tensor.allocate(device.memory(), arena, "out", DType.F32, 64);
      assertThatThrownBy(() -> run(device, "shared", out)).isInstanceOf(NativeException.class)
          .hasMessageContaining("CUDA_ERROR_ILLEGAL_ADDRESS").hasMessageContaining("planted_shared");
    }
  }

  @Test
  void aMissingWaitGivesNoNumber() {
    try (CudaDevice device = open("7.8"); Arena arena = Arena.ofShared()) {
      Tensor out = Tensor.allocate(device.memory(), arena, "out", DType.F32, 8).set(1f, 2f, 3f, 4f, 0f, 0f, 0f, 0f);
      run(device, "hasty", out);
      assertThat(out.toFloats()[4]).as("read before its copy had come").isNotEqualTo(1f).isNaN();
    }
  }

  @Test
  void tooNewPtxIsRefusedWithTheFilesName() {
    try (CudaDevice device = open("9.0"); Arena arena = Arena.ofShared()) {
      Tensor out = Tensor.allocate(device.memory(), arena, "out", DType.F32, 64);
      assertThatThrownBy(() -> run(device, "far", out)).isInstanceOf(NativeException.class)
          .hasMessageContaining("cuModuleLoadDataEx").hasMessageContaining("CUDA_ERROR_UNSUPPORTED_PTX_VERSION")
          .hasMessageContaining("planted.ptx");
    }
  }

  @Test
  void argumentsThatTheManifestDoesNotHaveAreRefused() {
    try (CudaDevice device = open("7.8"); Arena arena = Arena.ofShared()) {
      Tensor out = Tensor.allocate(device.memory(), arena, "out", DType.F32, 64);
      Program.Op far = device.program().op("far", DType.F32);
      Launcher launcher = device.program().launcher();
      assertThatThrownBy(() -> launcher.begin(far).dim(64)).hasMessageContaining("argument 1 is s32");
      assertThatThrownBy(() -> launcher.begin(far).tensor(out).count(64)).hasMessageContaining("argument 2 is s64");
      assertThatThrownBy(() -> launcher.begin(far).tensor(out).dim(64).dim(1))
          .hasMessageContaining("argument 3 is s32");
      assertThatThrownBy(() -> launcher.begin(far).tensor(out).flat(32)).hasMessageContaining("planted_far");
      assertThatThrownBy(() -> launcher.begin(far).tensor(out).dim(1L << 31)).hasMessageContaining("n = 2147483648");
      Tensor elsewhere = Tensor.allocate(arena, "elsewhere", DType.F32, 64);
      assertThatThrownBy(() -> launcher.begin(far).tensor(elsewhere)).hasMessageContaining("lies in host memory");
      Program.Op aligned = device.program().op("aligned", DType.F32);
      assertThatThrownBy(() -> launcher.begin(aligned).tensor(out).dim(24).flat(32)).hasMessageContaining("n = 24");
      assertThatThrownBy(() -> device.program().op("absent"))
          .hasMessageContaining("no kernel absent for bf16 on sm_80");
    }
  }

  @Test
  void cardsAndDriversThatAreTooOldGetOneLine() {
    assertThatThrownBy(() -> StandIn.open("cc=6.1")).isInstanceOf(UserError.class)
        .hasMessageContaining("compute capability 6.1").hasMessageContaining("--device cpu");
    assertThatThrownBy(() -> StandIn.open("cc=8.6 driver=11040")).isInstanceOf(UserError.class)
        .hasMessageContaining("CUDA 11.4").hasMessageContaining("update the driver");
    String library = StandIn.library(CARD).toString();
    assertThatThrownBy(() -> CudaKernels.open(library, 3)).isInstanceOf(UserError.class)
        .hasMessage("there is no cuda:3; the NVIDIA driver has one card, cuda:0");
    assertThatThrownBy(() -> CudaKernels.open("/nowhere/libcuda.so.1", 0)).isInstanceOf(UserError.class)
        .hasMessageContaining("no NVIDIA driver: /nowhere/libcuda.so.1 cannot be loaded");
  }

  @Test
  void tooLittleMemoryIsToldWithWhatWouldHelp() {
    try (CudaKernels kernels = StandIn.open("cc=8.0 vram=100000000"); Arena arena = Arena.ofShared()) {
      assertThatThrownBy(() -> kernels.memory().allocate(arena, 1L << 30, 64)).isInstanceOf(UserError.class)
          .hasMessageContaining("needs 1.00 GiB more").hasMessageContaining("quantization_bit: 4");
    }
  }

  @Test
  void whatTrainsWholeWeightsIsRefused() {
    try (CudaKernels kernels = StandIn.open(CARD); Arena arena = Arena.ofShared()) {
      Tensor dw = Tensor.allocate(kernels.memory(), arena, "dw", DType.F32, 4, 4);
      assertThatThrownBy(() -> kernels.linearBackwardWeight(dw, null, null, null)).isInstanceOf(NativeException.class)
          .hasMessageContaining("finetuning_type: lora");
    }
  }
}
