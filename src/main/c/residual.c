/*
 * Residual add with a multiplier.
 *
 * Forward.   y = x + multiplier r      (Granite's residual_multiplier, else 1)
 * Backward.  dx = dy, which needs no op;  dr = multiplier dy.
 * Shapes.    any of equal size, f32|bf16, all in one dtype; y and dr overwritten. y may be x or r, dr may be dy.
 * Memory.    forward reads x and r, writes y; backward reads dy, writes dr.
 * Rounding.  product and sum in f32, rounded once to bf16.
 * Mirrors.   Kernels.residualForward/Backward - ResidualTest
 */
#include "rows.h"

/* t has the dtype and as many elements as y. */
static int32_t check(const char *op, const hone_tensor *y, const hone_tensor *t) {
  HONE_REQUIRE(t, "%s: a required tensor is null", op);
  HONE_TRY(hone_check(op, t, HONE_DTYPE_BIT(y->dtype), t->rank, t->shape));
  HONE_REQUIRE(hone_elements(t) == hone_elements(y), "%s: %s has %lld elements, %s has %lld", op, y->name,
               (long long)hone_elements(y), t->name, (long long)hone_elements(t));
  return HONE_OK;
}

int32_t hone_residual_forward(const hone_tensor *y, const hone_tensor *x, const hone_tensor *r, float multiplier) {
  const char *op = "residual_forward";
  HONE_REQUIRE(y, "%s: a required tensor is null", op);
  HONE_TRY(hone_check(op, y, HONE_ACTIVATIONS, y->rank, y->shape));
  HONE_TRY(check(op, y, x));
  HONE_TRY(check(op, y, r));
  const hone_rows *rows = hone_rows_now();
  int64_t count = hone_elements(y), blocks = (count + HONE_ROW_BLOCK - 1) / HONE_ROW_BLOCK;
#pragma omp parallel for schedule(static)
  for (int64_t b = 0; b < blocks; b++) {
    float x_buffer[HONE_ROW_BLOCK], r_buffer[HONE_ROW_BLOCK];
    int64_t at = b * HONE_ROW_BLOCK, n = count - at < HONE_ROW_BLOCK ? count - at : HONE_ROW_BLOCK;
    float *out = hone_row_out(x_buffer, y, at);
    rows->add_scaled(out, hone_row_in(rows, x_buffer, x, at, n), hone_row_in(rows, r_buffer, r, at, n), multiplier, n);
    hone_row_done(rows, y, at, out, n);
  }
  return HONE_OK;
}

int32_t hone_residual_backward(const hone_tensor *dr, const hone_tensor *dy, float multiplier) {
  const char *op = "residual_backward";
  HONE_REQUIRE(dr, "%s: a required tensor is null", op);
  HONE_TRY(hone_check(op, dr, HONE_ACTIVATIONS, dr->rank, dr->shape));
  HONE_TRY(check(op, dr, dy));
  const hone_rows *rows = hone_rows_now();
  int64_t count = hone_elements(dr), blocks = (count + HONE_ROW_BLOCK - 1) / HONE_ROW_BLOCK;
#pragma omp parallel for schedule(static)
  for (int64_t b = 0; b < blocks; b++) {
    float buffer[HONE_ROW_BLOCK];
    int64_t at = b * HONE_ROW_BLOCK, n = count - at < HONE_ROW_BLOCK ? count - at : HONE_ROW_BLOCK;
    float *out = hone_row_out(buffer, dr, at);
    rows->scale(out, hone_row_in(rows, buffer, dy, at, n), multiplier, n);
    hone_row_done(rows, dr, at, out, n);
  }
  return HONE_OK;
}
