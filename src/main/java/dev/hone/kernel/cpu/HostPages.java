package dev.hone.kernel.cpu;

import dev.hone.kernel.NativeException;
import dev.hone.tensor.MemorySpace;
import dev.hone.tensor.Quant;
import dev.hone.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;

/**
 * Pages by the system's own means. An instance: the pages of files that some mapped tensors lie in. They can be read before they are needed and let go of afterwards: advice to the
 * system, which changes when bytes are in memory and never what they are. Memory that is no file's is left alone.
 */
public final class HostPages {
  /** HONE_OUT_OF_MEMORY of hone.h. */
  private static final int OUT_OF_MEMORY = 2;

  /** Slices of mappings: a call with one whose file was unmapped fails, instead of reaching what lies there now. */
  private final List<MemorySegment> ranges;
  private final long bytes;

  private HostPages(List<MemorySegment> ranges) {
    this.ranges = ranges;
    bytes = ranges.stream().mapToLong(MemorySegment::byteSize).sum();
  }

  /** The pages of tensors with their side data, as far as they are mapped. */
  public static HostPages of(List<Tensor> tensors) {
    List<MemorySegment> parts = new ArrayList<>();
    for (Tensor tensor : tensors) {
      add(parts, tensor);
      Quant quant = tensor.quant();
      if (quant != null) {
        add(parts, quant.absmax());
        add(parts, quant.nestedAbsmax());
      }
    }
    return new HostPages(List.copyOf(parts));
  }

  private static void add(List<MemorySegment> parts, Tensor tensor) {
    if (tensor != null && tensor.memory() == MemorySpace.HOST && tensor.data().isMapped() && tensor.bytes() > 0) {
      parts.add(tensor.data().asSlice(0, tensor.bytes()));
    }
  }

  /**
   * Zeroed memory, aligned to pages, that lives as long as {@code arena} and takes room when it is touched.
   *
   * @throws NativeException when the system has not as much
   */
  static MemorySegment allocate(Arena arena, long bytes) {
    MemorySegment pages;
    try {
      pages = (MemorySegment) HoneH.PAGES_ALLOCATE.invokeExact(bytes);
    } catch (Throwable t) {
      throw CpuKernels.mismatch("hone_pages_allocate", t);
    }
    CpuKernels.check(pages.address() == 0 ? OUT_OF_MEMORY : 0);
    return pages.reinterpret(bytes, arena, HostPages::free);
  }

  private static void free(MemorySegment pages) {
    int status;
    try {
      status = (int) HoneH.PAGES_FREE.invokeExact(pages, pages.byteSize());
    } catch (Throwable t) {
      throw CpuKernels.mismatch("hone_pages_free", t);
    }
    CpuKernels.check(status);
  }

  /** Bytes of the tensors; 0 when none is mapped. */
  public long bytes() {
    return bytes;
  }

  /** Begins to read them; returns before they are there. */
  public void prefetch() {
    for (MemorySegment range : ranges) {
      int status;
      try {
        status = (int) HoneH.PAGES_PREFETCH.invokeExact(range, range.byteSize());
      } catch (Throwable t) {
        throw CpuKernels.mismatch("hone_pages_prefetch", t);
      }
      CpuKernels.check(status);
    }
  }

  /** Takes them out of this process; touched again, they come from the system's cache or the file. */
  public void release() {
    for (MemorySegment range : ranges) {
      int status;
      try {
        status = (int) HoneH.PAGES_RELEASE.invokeExact(range, range.byteSize());
      } catch (Throwable t) {
        throw CpuKernels.mismatch("hone_pages_release", t);
      }
      CpuKernels.check(status);
    }
  }
}
