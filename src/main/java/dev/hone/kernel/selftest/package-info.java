/** Every op of a device against the plain f32 reference: what {@code hone selftest} runs. */
package dev.hone.kernel.selftest;
