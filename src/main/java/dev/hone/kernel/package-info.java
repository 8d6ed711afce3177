/** Floor 1: the op contract ({@link dev.hone.kernel.Kernels}) and, below it, one package for each device. */
package dev.hone.kernel;
