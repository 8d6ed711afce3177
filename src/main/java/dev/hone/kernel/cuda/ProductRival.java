package dev.hone.kernel.cuda;

import dev.hone.config.Rivalry;
import dev.hone.kernel.cuda.Program.Kernel;
import dev.hone.kernel.cuda.redist.CublasLt;
import dev.hone.kernel.cuda.redist.DenseProduct;
import java.util.Map;
import java.util.Optional;

/**
 * cuBLASLt for the two dense products. A product with a bias stays with the shipped kernel: cuBLASLt wants it in 16
 * bits.
 */
final class ProductRival implements Rival {
  /** What NVIDIA asks for split products on Hopper and later, and before. */
  private static final long WORKSPACE_HOPPER = 32 << 20;
  private static final long WORKSPACE = 4 << 20;

  private final CudaDevice device;
  private final Rivalry.Use use;
  private final String name;
  private final long workspace;
  private final CublasLt library;

  ProductRival(CudaDevice device, CublasLt.Found found, Rivalry.Use use) {
    this.device = device;
    this.use = use;
    name = "cublaslt " + found.release();
    long bytes = device.card().major() >= 9 ? WORKSPACE_HOPPER : WORKSPACE;
    workspace = device.use().allocate(bytes);
    library = new CublasLt(found, workspace, bytes);
  }

  /** The library of this machine on the card, if any. */
  static Optional<Rival> find(CudaDevice device, Rivalry rivalry, Map<String, String> environment) {
    device.use();
    return CublasLt.find(environment).map(found -> new ProductRival(device, found, rivalry.products()));
  }

  @Override
  public String name() {
    return name;
  }

  @Override
  public String setting() {
    return "cuda_products";
  }

  @Override
  public Rivalry.Use use() {
    return use;
  }

  @Override
  public int outputs(Kernel kernel) {
    return kernel.entry().op().equals("linear_fwd") || kernel.entry().op().equals("linear_bwd_input") ? 1 : 0;
  }

  /** The product that the arguments ask for; null when it has a bias or an adapter's branch. */
  private DenseProduct product(Kernel kernel, Launcher launch) {
    var dtype = device.tier().dtype();
    if (launch.value("R") != 0) {
      return null;
    }
    if (kernel.entry().op().equals("linear_bwd_input")) {
      return DenseProduct.backward(
          dtype, launch.value("M"), launch.value("N"), launch.value("K"), launch.value("lddy"), launch.value("ldw"),
          launch.value("lddx"), launch.value("accumulate") != 0);
    }
    long k = launch.value("K");
    return launch.value("bias") != 0 ? null
        : DenseProduct.forward(dtype, launch.value("M"), launch.value("N"), k, k, launch.value("ldy"),
            launch.value("accumulate") != 0);
  }

  /** Which of the shipped tiles is used is theirs to choose, so the work has their name too. */
  @Override
  public String work(Kernel kernel, Launcher launch) {
    DenseProduct product = product(kernel, launch);
    return product == null || !library.offers(product) ? null
        : product.roundedUp().key() + " " + kernel.entry().entry() + "#" + kernel.entry().hash().substring(0, 8);
  }

  @Override
  public Work prepare(Kernel kernel, Launcher launch) {
    DenseProduct product = product(kernel, launch);
    return (now, gridX, gridY) -> {
      device.use();
      Tape tape = device.tape();
      if (tape == null || tape.other(Tape.PRODUCT, now.value(0), now.value(1), now.value(2))) {
        library.run(product, now.value(0), now.value(1), now.value(2), device.stream());
      }
    };
  }

  @Override
  public void close() {
    library.close();
    device.use().free(workspace);
  }
}
