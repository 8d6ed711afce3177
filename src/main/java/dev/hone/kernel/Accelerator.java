package dev.hone.kernel;

/**
 * What a device with memory of its own can do, as far as it says so itself.
 *
 * @param name as its driver calls it
 * @param memory bytes
 * @param free bytes of it that nobody uses, now that Hone has opened the device
 * @param linkRate bytes a second from pinned host memory, measured
 * @param flops dense 16-bit tensor operations a second with f32 accumulation, by its multiprocessors and clock
 * @param memoryRate bytes a second of its memory, by clock and bus
 */
public record Accelerator(String name, long memory, long free, double linkRate, double flops, double memoryRate) {}
