/*
 * NF4 decoding of a slab: rows and columns of a 4-bit weight as T, for the products that follow.
 *
 * Forward.   out[r,c] = round(code[q] * a),  element (row0 + r) K + col0 + c of W; the scale a as in nf4.cuh
 * Backward.  None: a frozen weight has no gradient.
 * Shapes.    out (rows,cols) T, overwritten, contiguous   codes u8 (N K / 2)   absmax (N K / 64) f32, or absmax_u8 with
 *            nested_code (256) f32, nested_absmax (N K / 16384) f32 and offset   code (16) f32
 *            N and K are any whose blocks of 64 run on from row to row.
 * Memory.    reads rows*cols/2 bytes of codes and 1/64 of scales, writes 2 rows*cols: 2.5 bytes an element. A lane
 *            decodes eight elements from one 32-bit word and writes 16 bytes; a warp's words and its stores are
 *            contiguous. Four packs a thread, their loads independent.
 * Rounding.  product in f32, then once to T: the bits of hone_cast from NF4.
 * Mirrors.   src/main/c/nf4.c (hone_nf4_load) - check_rows.py
 */
// tiers: sm_75 sm_80
// entry: hone_nf4_dequant_{T} op=nf4_dequant block=256 consts=PER_BLOCK:8192
#include "nf4.cuh"

constexpr int PACKS = 4; /* of a thread: PER_BLOCK = THREADS * PACKS * PACK = 8192 */

HONE_KERNEL HONE_ENTRY(nf4_dequant)(T *__restrict__ out, const uint8_t *__restrict__ codes,
                                    const float *__restrict__ absmax, const uint8_t *__restrict__ absmax_u8,
                                    const float *__restrict__ nested_code, const float *__restrict__ nested_absmax,
                                    float offset, const float *__restrict__ code, int64_t row0, int rows, int col0,
                                    int cols, int K) {
  __shared__ Nf4Books books;
  books.copy(code, absmax_u8 ? nested_code : nullptr);
  __syncthreads();
  const Nf4 w = {codes, absmax, absmax_u8, nested_code, nested_absmax, offset};
  const int64_t n = static_cast<int64_t>(rows) * cols, first = row0 * K + col0;
  const bool whole = cols == K; /* the slab is one run of W */
  const bool vector = cols % PACK == 0 && K % PACK == 0 && first % PACK == 0 && aligned(out) &&
                      reinterpret_cast<uintptr_t>(codes) % 4 == 0;
  const int64_t block = static_cast<int64_t>(blockIdx.x) * THREADS * PACKS;
  if (vector) {
#pragma unroll
    for (int p = 0; p < PACKS; p++) {
      const int64_t at = (block + p * THREADS + threadIdx.x) * PACK;
      if (at >= n) return;
      float v[PACK];
      nf4_pack(v, w, books, first + (whole ? at : at / cols * K + at % cols));
      store(out + at, v, PACK, true);
    }
  } else {
    for (int i = 0; i < PACKS * PACK; i++) {
      const int64_t at = block * PACK + i * THREADS + threadIdx.x;
      if (at >= n) return;
      out[at] = from_f32<T>(nf4_element(w, books, first + at / cols * K + at % cols));
    }
  }
}
