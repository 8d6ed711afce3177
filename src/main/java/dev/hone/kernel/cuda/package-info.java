/** A card through the NVIDIA driver: bindings to libcuda, the PTX that the jar brings, and the op contract over them. */
package dev.hone.kernel.cuda;
