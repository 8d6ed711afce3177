/*
 * Sum of squares, for the global gradient norm.
 *
 * Forward.   out += sum x^2
 * Backward.  None.
 * Shapes.    x any shape, f32   out (1) f64, accumulated
 * Memory.    reads x once; one f64 for each block of 65536 elements.
 * Rounding.  f64 throughout. Blocks are summed on their own and then in order: the thread count does not show.
 * Mirrors.   Kernels.sumSquares - SumSquaresTest
 */
#include "rows.h"

enum { BLOCK = 65536 };

int32_t hone_sum_squares(const hone_tensor *out, const hone_tensor *x) {
  const char *op = "sum_squares";
  HONE_CHECK1(op, out, HONE_DTYPE_BIT(HONE_F64), 1);
  HONE_REQUIRE(x, "%s: a required tensor is null", op);
  HONE_TRY(hone_check(op, x, HONE_DTYPE_BIT(HONE_F32), x->rank, x->shape));
  const hone_rows *rows = hone_rows_now();
  int64_t count = hone_elements(x), blocks = (count + BLOCK - 1) / BLOCK;
  if (!blocks) return HONE_OK;
  double *partial = hone_workspace(0, (size_t)blocks * sizeof(double)), sum = 0;
  if (!partial) return hone_fail(HONE_OUT_OF_MEMORY, "%s: no memory for %lld partial sums", op, (long long)blocks);
#pragma omp parallel for schedule(static)
  for (int64_t b = 0; b < blocks; b++) {
    int64_t at = b * BLOCK;
    partial[b] = rows->sum_squares((const float *)x->data + at, count - at < BLOCK ? count - at : BLOCK);
  }
  for (int64_t b = 0; b < blocks; b++) sum += partial[b];
  *(double *)out->data += sum;
  return HONE_OK;
}
