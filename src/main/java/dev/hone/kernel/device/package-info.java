/** Chooses among the devices that the kernel packages implement. */
package dev.hone.kernel.device;
