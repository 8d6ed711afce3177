/*
 * mma.cuh - tensor-core products of 16-bit tiles: the instructions, the shared tiles they read, the lanes' layout.
 *
 * A warp multiplies fragments of 16x16 (A) and 16x8 (B) into 16x8 sums (C). With g = lane / 4 and t = lane % 4:
 *
 *            k: 2t 2t+1   8+2t 8+2t+1                 n: g                     n: 2t  2t+1
 *   A  row g    [ a0 ]       [ a2 ]          B  k 2t..    [ b0 ]     C  row g    c[0]  c[1]
 *      row g+8  [ a1 ]       [ a3 ]             k 8+2t..  [ b1 ]        row g+8  c[2]  c[3]
 *
 * Each a and b holds two elements. C of one product, packed in pairs, is A of the next: probabilities never leave
 * registers.
 *
 * A shared tile is rows of 16-byte chunks. ldmatrix reads eight rows of one chunk column at a time, so those must lie
 * in different groups of four banks; the chunks of a row are therefore permuted by an XOR with bits of the row number:
 *
 *   64 columns   row 0: 0 1 2 3 4 5 6 7        32 columns   rows 0 1: 0 1 2 3 | 0 1 2 3
 *                row 1: 1 0 3 2 5 4 7 6                     rows 2 3: 1 0 3 2 | 1 0 3 2     (128 bytes a line)
 *                row 2: 2 3 0 1 6 7 4 5                     rows 4 5: 2 3 0 1 | 2 3 0 1
 */
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <stdint.h>

namespace hone {

constexpr int WARP = 32;
constexpr int CHUNK = 8; /* elements of 16 bits in the widest load */
constexpr unsigned ALL_LANES = 0xffffffffu;

/* ---- pairs of elements in a register; an f32 beyond the type's range becomes infinite, which loss scaling watches  */

template <class T>
__device__ __forceinline__ uint32_t pack(float low, float high);
template <>
__device__ __forceinline__ uint32_t pack<__half>(float low, float high) {
  return __half_as_ushort(__float2half_rn(low)) | (uint32_t)__half_as_ushort(__float2half_rn(high)) << 16;
}
template <>
__device__ __forceinline__ uint32_t pack<__nv_bfloat16>(float low, float high) {
  return __bfloat16_as_ushort(__float2bfloat16_rn(low)) |
         (uint32_t)__bfloat16_as_ushort(__float2bfloat16_rn(high)) << 16;
}

template <class T>
__device__ __forceinline__ float widen(uint32_t bits);
template <>
__device__ __forceinline__ float widen<__half>(uint32_t bits) {
  return __half2float(__ushort_as_half((unsigned short)bits));
}
template <>
__device__ __forceinline__ float widen<__nv_bfloat16>(uint32_t bits) {
  return __uint_as_float(bits << 16);
}

/* ---- instructions ----------------------------------------------------------------------------------------------- */

/* c += a b with sums in f32. */
template <class T>
__device__ __forceinline__ void mma(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);

template <>
__device__ __forceinline__ void mma<__half>(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  /* Turing multiplies 8 deep, so the two halves of k follow each other. */
#pragma unroll
  for (int k = 0; k < 2; k++) {
    asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[2 * k]), "r"(a[2 * k + 1]), "r"(b[k]));
  }
}

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
template <>
__device__ __forceinline__ void mma<__nv_bfloat16>(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  /* bf16 has no 8-deep form worth using: from sm_80 on one instruction takes all of k. */
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#endif

/* Four 8x8 matrices whose rows the lanes address eight by eight: one instruction gives a whole A or two B fragments. */
__device__ __forceinline__ void ldmatrix(uint32_t (&r)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}

/* The same with every matrix transposed, for tiles that lie across the product's depth. */
__device__ __forceinline__ void ldmatrix_transposed(uint32_t (&r)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}

/* ---- shared tiles ----------------------------------------------------------------------------------------------- */

/*
 * ROWS  rows of the tile
 * COLS  16-bit elements of a row, a multiple of 16
 */
template <int ROWS_, int COLS_>
struct alignas(128) Tile {
  static constexpr int ROWS = ROWS_, COLS = COLS_, CHUNKS = COLS / CHUNK;
  static constexpr int LOW_BIT = CHUNKS & -CHUNKS; /* rows begin at multiples of this many chunks of a 128-byte line */
  static constexpr int MASK = (LOW_BIT < 8 ? LOW_BIT : 8) - 1;
  static constexpr int SHIFT = MASK == 7 ? 0 : MASK == 3 ? 1 : 2;
  static_assert(COLS % 16 == 0, "a row is a whole number of fragments");

  uint4 chunks[ROWS * CHUNKS];

  __device__ __forceinline__ static int turn(int row) { return row >> SHIFT & MASK; }
  __device__ __forceinline__ uint4 &at(int row, int chunk) { return chunks[row * CHUNKS + (chunk ^ turn(row))]; }
};

/* The order in which a lane's four registers take the 8x8 matrices of a 16x16 block. */
enum Order {
  ROWS_FIRST, /* (rows 0-7, columns 0-7) (rows 8-15, columns 0-7) (rows 0-7, columns 8-15) (rows 8-15, columns 8-15) */
  COLUMNS_FIRST
};

/* Reads 16x16 blocks of a tile as fragments; constructed once, it keeps what depends on the lane. */
template <class TILE, Order ORDER, bool TRANSPOSED>
struct Blocks {
  uint32_t row_address;
  uint32_t chunk_bytes;

  /* the blocks' rows count from `row`, a multiple of 8 */
  __device__ __forceinline__ Blocks(const TILE &tile, int row) {
    int lane = threadIdx.x % WARP, low = lane & 7, middle = lane >> 3 & 1, high = lane >> 4;
    int down = low + 8 * (ORDER == ROWS_FIRST ? middle : high);
    row_address = (uint32_t)__cvta_generic_to_shared(&tile) + (row + down) * TILE::CHUNKS * 16;
    chunk_bytes = ((ORDER == ROWS_FIRST ? high : middle) ^ TILE::turn(down)) * 16;
  }

  /*
   * `row` is a multiple of 8 and `col` of 16, so that the permutation is an XOR of the lane's chunk with the low bits
   * of a constant: four addresses serve a row of any length, the rest are offsets in the instruction.
   */
  __device__ __forceinline__ void read(uint32_t (&r)[4], int row, int col) const {
    const int low = col / CHUNK & TILE::MASK, high = col / CHUNK - low;
    const uint32_t address = row_address + (chunk_bytes ^ low * 16) + (row * TILE::CHUNKS + high) * 16;
    if (TRANSPOSED) ldmatrix_transposed(r, address);
    else ldmatrix(r, address);
  }
};

/* A[m][k]: tile rows are m, or, across, k; read(r, m, k) or read(r, k, m). */
template <class TILE, bool ACROSS>
using BlocksOfA = Blocks<TILE, ACROSS ? COLUMNS_FIRST : ROWS_FIRST, ACROSS>;
/* B[k][n], two fragments of 8 columns n: tile rows are n, or, across, k; read(r, n, k) or read(r, k, n). */
template <class TILE, bool ACROSS>
using BlocksOfB = Blocks<TILE, ACROSS ? ROWS_FIRST : COLUMNS_FIRST, ACROSS>;

/* c[0], c[1] += a (two fragments of B in the registers of one block) */
template <class T>
__device__ __forceinline__ void mma_pair(float (&left)[4], float (&right)[4], const uint32_t (&a)[4],
                                         const uint32_t (&b)[4]) {
  const uint32_t b_left[2] = {b[0], b[1]}, b_right[2] = {b[2], b[3]};
  mma<T>(left, a, b_left);
  mma<T>(right, a, b_right);
}

/*
 * Among the four lanes t of a row: register i of lane t goes to register t of lane i. A lane has columns 2t, 2t+1 of
 * four neighbouring fragments of C; after the exchange it has all eight columns of fragment t, one 16-byte access.
 */
__device__ __forceinline__ void exchange(uint32_t (&r)[4]) {
  const bool odd = threadIdx.x & 1, upper = threadIdx.x & 2;
#pragma unroll
  for (int i = 0; i < 4; i += 2) {
    uint32_t other = __shfl_xor_sync(ALL_LANES, odd ? r[i] : r[i + 1], 1);
    if (odd) r[i] = other;
    else r[i + 1] = other;
  }
#pragma unroll
  for (int i = 0; i < 2; i++) {
    uint32_t other = __shfl_xor_sync(ALL_LANES, upper ? r[i] : r[i + 2], 2);
    if (upper) r[i] = other;
    else r[i + 2] = other;
  }
}

} // namespace hone
