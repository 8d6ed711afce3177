/*
 * RMSNorm: rows divided by their root mean square.
 *
 * Forward.   x = a + multiplier b where a residual addition comes before it, rounded as x is stored.
 *            r_m = 1 / sqrt(mean_c x_mc^2 + eps),   y_mc = x_mc r_m g_c,   g = weight_offset + w
 * Backward.  With r a function of x:  dr/dx_c = -r^3 x_c / C.   Let s = sum_k dy_k g_k x_k.
 *              dx_c = r g_c dy_c + s dr/dx_c = r g_c dy_c - x_c r^3 s / C
 *              dw_c += sum_m dy_mc x_mc r_m
 *            dw is summed first, threads sharing out the columns and going through the rows in order, so it does not
 *            depend on the thread count, and dx may then overwrite dy.
 * Shapes.    y, x, a, b, dy, dx (M,C) f32|bf16   w (C) f32|bf16|f16   rstd (M) f32, saved   dw (C) f32, accumulated.
 *            dx overwritten, or accumulated by the argument. y may be x, x may be a or b; dx may be dy.
 * Memory.    forward reads x, writes y, with the addition reads a and b, writes x and y; backward reads dy and x, writes
 *            dx (twice dy and x with dw). Scratch: g, C*4 bytes; with bf16 rows up to four rows of f32 a thread.
 * Rounding.  The sums in f64, rstd rounded to f32, the rest f32; in bf16 y and dx are rounded once. (transformers rounds
 *            x r to bf16 before it multiplies by w in Llama's kind of norm, not in Gemma's: docs/numerics.md has what
 *            that costs the gradients.)
 * Mirrors.   Kernels.rmsNormForward/Backward, residualNormForward - RmsNormTest
 */
#include <math.h>

#include "rows.h"

static int32_t check(const char *op, const hone_tensor *y, const hone_tensor *x, const hone_tensor *w,
                     const hone_tensor *rstd) {
  HONE_CHECK2(op, y, HONE_ACTIVATIONS, -1, -1);
  HONE_CHECK2(op, x, HONE_DTYPE_BIT(y->dtype), y->shape[0], y->shape[1]);
  HONE_CHECK1(op, w, HONE_FLOATS, y->shape[1]);
  HONE_CHECK1(op, rstd, HONE_DTYPE_BIT(HONE_F32), y->shape[0]);
  return HONE_OK;
}

/* g in slot 0 of the calling thread; every thread reads it. */
static float *gain(const hone_tensor *w, float weight_offset) {
  int64_t hidden = w->shape[0];
  float *g = hone_workspace(0, (size_t)hidden * sizeof(float));
  if (!g) return NULL;
  hone_load(g, w, 0, hidden);
  for (int64_t c = 0; c < hidden; c++) g[c] += weight_offset;
  return g;
}

static int32_t no_memory(const char *op, int64_t hidden) {
  return hone_fail(HONE_OUT_OF_MEMORY, "%s: no memory for rows of %lld", op, (long long)hidden);
}

/* What x is before it is normed: a + multiplier b, or x itself where a is null. */
typedef struct sum_of {
  const hone_tensor *a, *b;
  float multiplier;
} sum_of;

/* Row `at` of x, made where it is a sum. */
static const float *row_of_x(const hone_rows *rows, const hone_tensor *x, const sum_of *sum, int64_t at, int64_t hidden,
                             float *buffer) {
  if (!sum->a) return hone_row_in(rows, buffer, x, at, hidden);
  float *out = hone_row_out(buffer, x, at);
  const float *a = hone_row_in(rows, buffer, sum->a, at, hidden);
  rows->add_scaled(out, a, hone_row_in(rows, buffer + hidden, sum->b, at, hidden), sum->multiplier, hidden);
  hone_row_done(rows, x, at, out, hidden);
  return hone_row_in(rows, buffer, x, at, hidden); /* as it was rounded */
}

static int32_t forward(const char *op, const hone_tensor *y, const hone_tensor *rstd, const hone_tensor *x,
                       const sum_of *sum, const hone_tensor *w, float eps, float weight_offset) {
  const hone_rows *rows = hone_rows_now();
  int64_t tokens = y->shape[0], hidden = y->shape[1];
  const float *g = gain(w, weight_offset);
  if (!g) return no_memory(op, hidden);
  bool memory = true;
#pragma omp parallel reduction(&& : memory)
  {
    float *buffer = y->dtype == HONE_F32 ? NULL : hone_workspace(1, 2 * (size_t)hidden * sizeof(float));
    memory = buffer || y->dtype == HONE_F32;
#pragma omp for schedule(static)
    for (int64_t m = 0; m < tokens; m++) {
      if (!memory) continue;
      const float *in = row_of_x(rows, x, sum, m * hidden, hidden, buffer);
      float *out = hone_row_out(buffer, y, m * hidden);
      float r = (float)(1.0 / sqrt(rows->sum_squares(in, hidden) / (double)hidden + (double)eps));
      ((float *)rstd->data)[m] = r;
      rows->norm(out, in, g, r, hidden);
      hone_row_done(rows, y, m * hidden, out, hidden);
    }
  }
  return memory ? HONE_OK : no_memory(op, hidden);
}

int32_t hone_rmsnorm_forward(const hone_tensor *y, const hone_tensor *rstd, const hone_tensor *x, const hone_tensor *w,
                             float eps, float weight_offset) {
  const char *op = "rmsnorm_forward";
  HONE_TRY(check(op, y, x, w, rstd));
  return forward(op, y, rstd, x, &(sum_of){0}, w, eps, weight_offset);
}

int32_t hone_residual_rmsnorm_forward(const hone_tensor *y, const hone_tensor *rstd, const hone_tensor *x,
                                      const hone_tensor *a, const hone_tensor *b, float multiplier,
                                      const hone_tensor *w, float eps, float weight_offset) {
  const char *op = "residual_rmsnorm_forward";
  HONE_TRY(check(op, y, x, w, rstd));
  HONE_CHECK2(op, a, HONE_DTYPE_BIT(y->dtype), y->shape[0], y->shape[1]);
  HONE_CHECK2(op, b, HONE_DTYPE_BIT(y->dtype), y->shape[0], y->shape[1]);
  return forward(op, y, rstd, x, &(sum_of){a, b, multiplier}, w, eps, weight_offset);
}

enum { COLUMNS = 256 };

static void weight_gradient(const hone_rows *rows, const hone_tensor *dw, const hone_tensor *dy, const hone_tensor *x,
                            const float *rstd) {
  int64_t tokens = x->shape[0], hidden = x->shape[1], blocks = (hidden + COLUMNS - 1) / COLUMNS;
#pragma omp parallel for schedule(static)
  for (int64_t b = 0; b < blocks; b++) {
    float dy_buffer[COLUMNS], x_buffer[COLUMNS], *out = (float *)dw->data + b * COLUMNS;
    double sum[COLUMNS] = {0};
    int64_t c = b * COLUMNS, n = hidden - c < COLUMNS ? hidden - c : COLUMNS;
    for (int64_t m = 0; m < tokens; m++) {
      rows->norm_weight(sum, hone_row_in(rows, dy_buffer, dy, m * hidden + c, n),
                        hone_row_in(rows, x_buffer, x, m * hidden + c, n), rstd[m], n);
    }
    for (int64_t i = 0; i < n; i++) out[i] = (float)((double)out[i] + sum[i]);
  }
}

int32_t hone_rmsnorm_backward(const hone_tensor *dx, const hone_tensor *dw, const hone_tensor *dy, const hone_tensor *x,
                              const hone_tensor *w, const hone_tensor *rstd, float weight_offset, int32_t accumulate) {
  const char *op = "rmsnorm_backward";
  HONE_TRY(check(op, dx, x, w, rstd));
  HONE_CHECK2(op, dy, HONE_DTYPE_BIT(dx->dtype), dx->shape[0], dx->shape[1]);
  if (dw) HONE_CHECK1(op, dw, HONE_DTYPE_BIT(HONE_F32), dx->shape[1]);
  const hone_rows *rows = hone_rows_now();
  int64_t tokens = dx->shape[0], hidden = dx->shape[1];
  const float *g = gain(w, weight_offset), *saved = rstd->data;
  if (!g) return no_memory(op, hidden);
  if (dw) weight_gradient(rows, dw, dy, x, saved);
  bool memory = true;
#pragma omp parallel reduction(&& : memory)
  {
    float *buffer = dx->dtype == HONE_F32 ? NULL : hone_workspace(1, 3 * (size_t)hidden * sizeof(float));
    memory = buffer || dx->dtype == HONE_F32;
#pragma omp for schedule(static)
    for (int64_t m = 0; m < tokens; m++) {
      if (!memory) continue;
      int64_t at = m * hidden;
      const float *dyr = hone_row_in(rows, buffer, dy, at, hidden);
      const float *xr = hone_row_in(rows, buffer + hidden, x, at, hidden);
      const float *base = accumulate ? hone_row_in(rows, buffer + 2 * hidden, dx, at, hidden) : NULL;
      float *out = hone_row_out(buffer, dx, at);
      double r = saved[m], s = rows->dot3(dyr, g, xr, hidden);
      rows->norm_backward(out, base, dyr, xr, g, saved[m], (float)(r * r * r * s / (double)hidden), hidden);
      hone_row_done(rows, dx, at, out, hidden);
    }
  }
  return memory ? HONE_OK : no_memory(op, hidden);
}
