/*
 * RoPE, half-split (the layout of transformers): element i of a head's first rot dims pairs with element i + rot/2.
 *
 * Forward.   (x1, x2) -> (x1 cos - x2 sin, x2 cos + x1 sin) with cos, sin of the token's position, in place.
 *            The tables hold a cos and a sin, a the attention factor of the scaling (1 without).
 * Backward.  The map is a R(angle), R a rotation; its transpose is a R(-angle):
 *            (d1, d2) -> (d1 cos + d2 sin, d2 cos - d1 sin).   R(-angle) R(angle) = 1: with a = 1 it undoes forward.
 * Shapes.    q, dq (M,H,D), k, dk (M,KV,D) f32|bf16, in place   cos, sin (P, rot/2) f32, rot <= D
 *            positions (M) i32, 0 .. P-1
 *            Dims rot .. D-1 are not touched.
 * Memory.    reads and writes M*(H+KV)*rot; scratch none in f32, a head of f32 in bf16.
 * Rounding.  f32, rounded once.
 * Mirrors.   Kernels.ropeForward/Backward - RopeTest
 */
#include "rows.h"

typedef void turn_pass(float *x1, float *x2, const float *cos, const float *sin, int64_t n);

/* The heads of token m; buffer holds a turned part of a head, unless x is f32. */
static void turn_heads(const hone_rows *rows, const hone_tensor *x, int64_t m, const float *cos, const float *sin,
                       int64_t half, float *buffer, turn_pass *pass) {
  const int64_t heads = x->shape[1], dim = x->shape[2];
  for (int64_t at = m * heads * dim; at < (m + 1) * heads * dim; at += dim) {
    if (x->dtype == HONE_F32) {
      float *head = (float *)x->data + at;
      pass(head, head + half, cos, sin, half);
    } else {
      hone_row_in(rows, buffer, x, at, 2 * half);
      pass(buffer, buffer + half, cos, sin, half);
      hone_row_done(rows, x, at, buffer, 2 * half);
    }
  }
}

static int32_t turn(const char *op, const hone_tensor *q, const hone_tensor *k, const hone_tensor *cos,
                    const hone_tensor *sin, const hone_tensor *positions, const hone_rows *rows, turn_pass *pass) {
  HONE_CHECK3(op, q, HONE_ACTIVATIONS, -1, -1, -1);
  int64_t tokens = q->shape[0], dim = q->shape[2];
  HONE_CHECK3(op, k, HONE_DTYPE_BIT(q->dtype), tokens, -1, dim);
  HONE_CHECK2(op, cos, HONE_DTYPE_BIT(HONE_F32), -1, -1);
  HONE_CHECK2(op, sin, HONE_DTYPE_BIT(HONE_F32), cos->shape[0], cos->shape[1]);
  HONE_CHECK1(op, positions, HONE_DTYPE_BIT(HONE_I32), tokens);
  int64_t half = cos->shape[1];
  HONE_REQUIRE(2 * half <= dim, "%s: %s turns %lld dims, %s has heads of %lld", op, cos->name, (long long)(2 * half),
               q->name, (long long)dim);
  const int32_t *position = positions->data;
  for (int64_t m = 0; m < tokens; m++) {
    HONE_REQUIRE(position[m] >= 0 && position[m] < cos->shape[0],
                 "%s: %s[%lld] is %d, want 0 .. %lld, the rows of %s", op, positions->name, (long long)m, position[m],
                 (long long)cos->shape[0] - 1, cos->name);
  }
  bool memory = true;
#pragma omp parallel reduction(&& : memory)
  {
    float *buffer = q->dtype == HONE_F32 ? NULL : hone_workspace(1, 2 * (size_t)half * sizeof(float));
    memory = buffer || q->dtype == HONE_F32;
#pragma omp for schedule(static)
    for (int64_t m = 0; m < tokens; m++) {
      if (!memory) continue;
      const float *c = (const float *)cos->data + position[m] * half;
      const float *s = (const float *)sin->data + position[m] * half;
      turn_heads(rows, q, m, c, s, half, buffer, pass);
      turn_heads(rows, k, m, c, s, half, buffer, pass);
    }
  }
  return memory ? HONE_OK : hone_fail(HONE_OUT_OF_MEMORY, "%s: no memory for heads of %lld", op, (long long)dim);
}

int32_t hone_rope_forward(const hone_tensor *q, const hone_tensor *k, const hone_tensor *cos, const hone_tensor *sin,
                          const hone_tensor *positions) {
  const hone_rows *rows = hone_rows_now();
  return turn("rope_forward", q, k, cos, sin, positions, rows, rows->turn);
}

int32_t hone_rope_backward(const hone_tensor *dq, const hone_tensor *dk, const hone_tensor *cos, const hone_tensor *sin,
                           const hone_tensor *positions) {
  const hone_rows *rows = hone_rows_now();
  return turn("rope_backward", dq, dk, cos, sin, positions, rows, rows->turn_back);
}
