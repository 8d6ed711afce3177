package dev.hone.kernel.cuda;

import dev.hone.config.UserError;
import dev.hone.kernel.NativeException;
import dev.hone.tensor.DType;
import java.util.ArrayList;
import java.util.List;

/**
 * What a machine offers of cards: for {@code hone doctor}.
 *
 * @param library the driver library that was tried
 * @param problem why there is no driver to use; null when there is one
 * @param cards that it has
 */
public record CudaProbe(String library, String problem, List<Found> cards) {
  /**
   * One card.
   *
   * @param compute dtype of its activations; null when it is too old
   * @param free bytes of its memory
   * @param toCard bytes a second from pinned host memory
   * @param fromCard bytes a second to pinned host memory
   * @param problem why Hone cannot use it; null when it can
   */
  public record Found(Card card, DType compute, long free, double toCard, double fromCard, String problem) {}

  /** @param library of the driver, by path or name; null: the system's own */
  public static CudaProbe of(String library) {
    String name = library == null ? CudaDevice.defaultLibrary() : library;
    try {
      Driver driver = Driver.open(name);
      List<Found> found = new ArrayList<>();
      for (Card card : CudaDevice.cards(driver)) {
        found.add(look(driver, card));
      }
      return new CudaProbe(name, found.isEmpty() ? "the driver has no card" : null, found);
    } catch (UserError | NativeException e) {
      return new CudaProbe(name, e.getMessage(), List.of());
    }
  }

  private static Found look(Driver driver, Card card) {
    try (CudaDevice device = new CudaDevice(driver, card, DType.F32, Manifest.ofBuild())) {
      long free = driver.freeMemory();
      return new Found(card, device.tier().dtype(), free, Link.rate(device, true), Link.rate(device, false), null);
    } catch (UserError | NativeException e) {
      return new Found(card, null, 0, 0, 0, e.getMessage());
    }
  }
}
