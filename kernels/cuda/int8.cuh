/* int8.cuh - decoding of 8-bit weights, for the kernels that read them. Their encoding: int8_quantize.cu. */
#ifndef HONE_INT8_CUH
#define HONE_INT8_CUH

#include "hone.cuh"

/* Whether int8_pack() may read codes here and at all multiples of PACK from here on. */
__device__ __forceinline__ bool int8_packed(const int8_t *codes) {
  return reinterpret_cast<uintptr_t>(codes) % PACK == 0;
}

/* v = eight neighbouring elements of a row: q * scale, each rounded once to f32. */
__device__ __forceinline__ void int8_pack(float (&v)[PACK], const int8_t *codes, float scale) {
  const uint2 words = *reinterpret_cast<const uint2 *>(codes);
#pragma unroll
  for (int i = 0; i < PACK; i++) {
    const uint32_t word = i < 4 ? words.x : words.y;
    v[i] = static_cast<float>(static_cast<int8_t>(word >> i % 4 * 8)) * scale;
  }
}

#endif
