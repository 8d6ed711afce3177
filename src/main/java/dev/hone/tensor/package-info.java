/** Floor 0: dtypes, tensors and the memory they live in. */
package dev.hone.tensor;
