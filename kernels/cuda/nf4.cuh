/* nf4.cuh - decoding of 4-bit weights, for the kernels that read them. Their encoding: nf4_quantize.cu. */
#ifndef HONE_NF4_CUH
#define HONE_NF4_CUH

#include "hone.cuh"

/* Weights a scale, scales a nested scale. */
constexpr int NF4_BLOCK = 64, NF4_NESTED_BLOCK = 256;

/*
 * A 4-bit tensor: w[e] = code[q[e]] * a[e / 64], rounded once to f32;
 *   a[b] = absmax[b]                                                   absmax_u8 null
 *        = nested_code[absmax_u8[b]] * nested_absmax[b / 256] + offset   each operation rounded
 * Element e is the high nibble of byte e/2 when e is even, else the low one.
 */
struct Nf4 {
  const uint8_t *codes;
  const float *absmax;
  const uint8_t *absmax_u8;
  const float *nested_code, *nested_absmax;
  float offset;
};

/*
 * The code books in shared memory: a look-up goes to one of 16 banks, so lanes never wait for each other in `code`.
 * All threads of the block call copy(), then one __syncthreads().
 */
struct Nf4Books {
  float code[16], nested[256];

  __device__ __forceinline__ void copy(const float *from_code, const float *from_nested) {
    if (threadIdx.x < 16) code[threadIdx.x] = from_code[threadIdx.x];
    if (from_nested) {
      for (int i = threadIdx.x; i < 256; i += blockDim.x) nested[i] = from_nested[i];
    }
  }
};

__device__ __forceinline__ float nf4_absmax(const Nf4 &w, const Nf4Books &books, int64_t block) {
  if (!w.absmax_u8) return w.absmax[block];
  /* Two roundings, as the C code: __fmul_rn and __fadd_rn are never contracted to one. */
  return __fadd_rn(__fmul_rn(books.nested[w.absmax_u8[block]], w.nested_absmax[block / NF4_NESTED_BLOCK]), w.offset);
}

/* v = elements e .. e+7, e a multiple of 8 and codes aligned to 4 bytes: they share a block and one 32-bit word. */
__device__ __forceinline__ void nf4_pack(float (&v)[PACK], const Nf4 &w, const Nf4Books &books, int64_t e) {
  const uint32_t word = *reinterpret_cast<const uint32_t *>(w.codes + e / 2);
  const float a = nf4_absmax(w, books, e / NF4_BLOCK);
#pragma unroll
  for (int i = 0; i < PACK; i++) {
    const int shift = i % 2 == 0 ? 4 * i + 4 : 4 * i - 4; /* byte i/2, the high nibble first */
    v[i] = books.code[word >> shift & 15] * a;
  }
}

__device__ __forceinline__ float nf4_element(const Nf4 &w, const Nf4Books &books, int64_t e) {
  const int byte = w.codes[e / 2];
  return books.code[e % 2 == 0 ? byte >> 4 : byte & 15] * nf4_absmax(w, books, e / NF4_BLOCK);
}

#endif
