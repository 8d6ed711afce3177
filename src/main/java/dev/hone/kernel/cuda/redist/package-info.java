/**
 * Libraries that Hone uses where they happen to be and never needs: NVRTC, which compiles the kernels' sources for the
 * one card at hand, and cuBLASLt, which offers the dense product. Each must measure faster than the shipped kernel to
 * be used.
 */
package dev.hone.kernel.cuda.redist;
