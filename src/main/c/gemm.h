/*
 * gemm.h - the blocked matrix product behind linear and LoRA on AVX2 and above. Not part of the ABI.
 *
 * C[i,j] = or += scale sum_k A(i,k) B(j,k) + bias[j], each operand of any dtype and either orientation.
 */
#ifndef HONE_GEMM_H
#define HONE_GEMM_H

#include "internal.h"

/* A random mask of inverted dropout over a tensor's elements; p = 0 keeps all. The factor 1/(1-p) is the caller's. */
typedef struct hone_mask {
  uint64_t seed;
  float p;
} hone_mask;

/* An operand with rows i and depth k: element (i,k) is tensor[i,k], or tensor[k,i] when `across`. */
typedef struct hone_gemm_operand {
  const hone_tensor *tensor;
  bool across;
  hone_mask mask;
} hone_gemm_operand;

typedef struct hone_gemm_result {
  const hone_tensor *tensor; /* (rows of A, rows of B), F32|BF16|F16 */
  const hone_tensor *bias;   /* (rows of B) or null */
  float scale;
  bool accumulate;
  hone_mask mask; /* what is masked adds 0 */
} hone_gemm_result;

/* bf16: operands are rounded to bf16; else f32. Uses the workspace slots 2 and 3. */
int32_t hone_gemm(const char *op, const hone_gemm_result *c, const hone_gemm_operand *a, const hone_gemm_operand *b,
                  int64_t depth, bool bf16);

/* y = or += x W^T + bias for the few tokens of decoding: W is read once, row by row, and never packed. */
int32_t hone_gemv(const char *op, const hone_tensor *y, const hone_tensor *x, const hone_tensor *w,
                  const hone_tensor *bias, bool accumulate);
enum { HONE_GEMV_TOKENS = 4 }; /* at most */

/* ---- what an instruction set provides ---------------------------------------------------------------------------- */

/* A tile's place in C, which is stored transposed when `swapped`: tile element (i,j) is C[column + j, row + i]. */
typedef struct hone_gemm_place {
  int64_t row, column;
  int32_t rows, columns;
  bool swapped;
} hone_gemm_place;

/*
 * A lane is 32 bits: one f32, or two bf16 neighbours along k (the first in the low half). A panel of B holds `columns`
 * operand rows by `steps` lanes, lane (s,j) at s * columns + j.
 */

/* `count` rows of A for a tile: lane (s,i) at lanes[i * row_step + s * depth_step]. */
typedef struct hone_gemm_rows {
  const uint32_t *lanes;
  int64_t row_step, depth_step;
  int32_t count;
} hone_gemm_rows;

typedef struct hone_gemm_kernel {
  int32_t rows, columns; /* of a full tile */
  int32_t strip;         /* operand rows that transpose() takes at a time */
  int32_t depth;         /* steps of a panel are a multiple of this, padded with zero lanes */
  int32_t stretch;       /* steps of a panel at most: a tile's rows of A lie in L1 with room to spare */
  bool pairs;            /* lanes are bf16 pairs */
  bool rows_whole;       /* A's rows lie one after the other whatever the operand, padded to 16 rows */
  void (*begin)(void);   /* null, or what a thread does before its first and after its last tile */
  void (*end)(void);
  /* out[rows][columns], its rows `stride` apart, = or += rows of A by panel b over `steps` lanes */
  void (*tile)(const hone_gemm_rows *a, int64_t steps, const uint32_t *b, float *out, int64_t stride, bool add);
  /* out[s * width + i] = lane s of row i; rows <= strip. Writes `fill` >= rows lanes a step, zeros after the rows'. */
  void (*transpose)(uint32_t *out, int64_t width, const void *in, int64_t stride, int32_t rows, int32_t fill,
                    int64_t steps);
  /* The same from bf16 values to f32 lanes; null where lanes are pairs. */
  void (*transpose_bf16)(uint32_t *out, int64_t width, const void *in, int64_t stride, int32_t rows, int32_t fill,
                         int64_t steps);
  /* out[p * apart + s * columns + j] = element p * columns + j of row s: `panels` panels of f32 or bf16 rows as f32
   * lanes, row by row, since rows are often a page apart; null where lanes are pairs. */
  void (*gather)(uint32_t *out, int64_t apart, int64_t panels, const void *in, int64_t stride, int64_t steps,
                 bool halves);
  /* f32 values of any stored dtype; the same rounded to bf16 */
  void (*load)(float *out, const hone_tensor *t, int64_t offset, int64_t n);
  void (*load_bf16)(uint16_t *out, const hone_tensor *t, int64_t offset, int64_t n, const hone_mask *mask);
  void (*round_bf16)(float *x, int64_t n);
  void (*pair)(uint32_t *out, const uint16_t *first, const uint16_t *second, int64_t n);
  void (*drop)(float *x, int64_t first, int64_t n, const hone_mask *mask);
  void (*finish)(const hone_gemm_result *c, const float *acc, const hone_gemm_place *place);
  /* out[t] = sum_k x[t * stride + k] w[offset + k] for `tokens` <= HONE_GEMV_TOKENS. With `split`, w is NF4; block,
   * offset and n are multiples of `columns`, and x holds the even elements of each `columns` before the odd ones. */
  void (*dot)(float *out, const float *x, int64_t stride, int32_t tokens, const hone_tensor *w, int64_t offset,
              int64_t n, bool bf16, bool split);
} hone_gemm_kernel;

/* The kernel of the instruction set in use, for products in bf16 or in f32; null for the reference. */
const hone_gemm_kernel *hone_gemm_kernel_now(bool bf16);

extern const hone_gemm_kernel hone_gemm_avx2, hone_gemm_avx512, hone_gemm_avx512bf16, hone_gemm_amx;

#endif
