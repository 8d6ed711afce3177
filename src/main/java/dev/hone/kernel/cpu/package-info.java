/** The CPU: bindings to libhone ({@code hone.h}) and the op contract over them. */
package dev.hone.kernel.cpu;
