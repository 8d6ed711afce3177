/*
 * I8 decoding of a slab: rows and columns of an 8-bit weight as T, for the products that follow.
 *
 * Forward.   out[r,c] = round(q * scale[row0 + r]),  q = element (row0 + r) K + col0 + c of W
 * Backward.  None: a frozen weight has no gradient.
 * Shapes.    out (rows,cols) T, overwritten, contiguous   codes i8 (N K)   scale (N) f32
 * Memory.    reads rows*cols bytes of codes and a scale a row, writes 2 rows*cols: 3 bytes an element. A lane decodes
 *            eight elements from 8 bytes and writes 16; a warp's reads and its stores are contiguous. Four packs a
 *            thread, their loads independent. A pack lies in one row: rows of a slab start on packs, or all is single.
 * Rounding.  product in f32, then once to T: the bits of hone_cast from I8.
 * Mirrors.   src/main/c/int8.c (hone_int8_load) - check_rows.py
 */
// tiers: sm_75 sm_80
// entry: hone_int8_dequant_{T} op=int8_dequant block=256 consts=PER_BLOCK:8192
#include "int8.cuh"

constexpr int PACKS = 4; /* of a thread: PER_BLOCK = THREADS * PACKS * PACK = 8192 */

HONE_KERNEL HONE_ENTRY(int8_dequant)(T *__restrict__ out, const int8_t *__restrict__ codes,
                                     const float *__restrict__ scale, int64_t row0, int rows, int col0, int cols,
                                     int K) {
  const int64_t n = static_cast<int64_t>(rows) * cols;
  const bool vector = cols % PACK == 0 && K % PACK == 0 && col0 % PACK == 0 && aligned(out) && int8_packed(codes);
  const int64_t block = static_cast<int64_t>(blockIdx.x) * THREADS * PACKS;
  if (vector) {
#pragma unroll
    for (int p = 0; p < PACKS; p++) {
      const int64_t at = (block + p * THREADS + threadIdx.x) * PACK;
      if (at >= n) return;
      const int64_t row = row0 + at / cols;
      float v[PACK];
      int8_pack(v, codes + row * K + col0 + at % cols, scale[row]);
      store(out + at, v, PACK, true);
    }
  } else {
    for (int i = 0; i < PACKS * PACK; i++) {
      const int64_t at = block * PACK + i * THREADS + threadIdx.x;
      if (at >= n) return;
      const int64_t row = row0 + at / cols;
      out[at] = from_f32<T>(static_cast<float>(codes[row * K + col0 + at % cols]) * scale[row]);
    }
  }
}
