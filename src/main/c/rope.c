/*
 * RoPE, half-split (the layout of transformers): element i of a head's first rot dims pairs with element i + rot/2.
 *
 * Forward.   (x1, x2) -> (x1 cos - x2 sin, x2 cos + x1 sin) with cos, sin of the token's position, in place.
 *            The tables hold a cos and a sin, a the attention factor of the scaling (1 without).
 * Backward.  The map is a R(angle), R a rotation; its transpose is a R(-angle):
 *            (d1, d2) -> (d1 cos + d2 sin, d2 cos - d1 sin).   R(-angle) R(angle) = 1: with a = 1 it undoes forward.
 * Shapes.    x, dx (M,H,D) f32|bf16, in place   cos, sin (P, rot/2) f32, rot <= D   positions (M) i32, 0 .. P-1
 *            Dims rot .. D-1 are not touched.
 * Memory.    reads and writes M*H*rot; scratch none in f32, a head of f32 in bf16.
 * Rounding.  f32, rounded once.
 * Mirrors.   Kernels.ropeForward/Backward - RopeTest
 */
#include "rows.h"

typedef void turn_pass(float *x1, float *x2, const float *cos, const float *sin, int64_t n);

static int32_t turn(const char *op, const hone_tensor *x, const hone_tensor *cos, const hone_tensor *sin,
                    const hone_tensor *positions, const hone_rows *rows, turn_pass *pass) {
  HONE_CHECK3(op, x, HONE_ACTIVATIONS, -1, -1, -1);
  int64_t tokens = x->shape[0], heads = x->shape[1], dim = x->shape[2];
  HONE_CHECK2(op, cos, HONE_DTYPE_BIT(HONE_F32), -1, -1);
  HONE_CHECK2(op, sin, HONE_DTYPE_BIT(HONE_F32), cos->shape[0], cos->shape[1]);
  HONE_CHECK1(op, positions, HONE_DTYPE_BIT(HONE_I32), tokens);
  int64_t half = cos->shape[1];
  HONE_REQUIRE(2 * half <= dim, "%s: %s turns %lld dims, %s has heads of %lld", op, cos->name, (long long)(2 * half),
               x->name, (long long)dim);
  const int32_t *position = positions->data;
  for (int64_t m = 0; m < tokens; m++) {
    HONE_REQUIRE(position[m] >= 0 && position[m] < cos->shape[0],
                 "%s: %s[%lld] is %d, want 0 .. %lld, the rows of %s", op, positions->name, (long long)m, position[m],
                 (long long)cos->shape[0] - 1, cos->name);
  }
  bool memory = true;
#pragma omp parallel reduction(&& : memory)
  {
    float *buffer = x->dtype == HONE_F32 ? NULL : hone_workspace(1, 2 * (size_t)half * sizeof(float));
    memory = buffer || x->dtype == HONE_F32;
#pragma omp for schedule(static)
    for (int64_t m = 0; m < tokens; m++) {
      if (!memory) continue;
      const float *c = (const float *)cos->data + position[m] * half;
      const float *s = (const float *)sin->data + position[m] * half;
      for (int64_t h = 0; h < heads; h++) {
        int64_t at = (m * heads + h) * dim;
        if (x->dtype == HONE_F32) {
          float *head = (float *)x->data + at;
          pass(head, head + half, c, s, half);
        } else {
          hone_row_in(rows, buffer, x, at, 2 * half);
          pass(buffer, buffer + half, c, s, half);
          hone_row_done(rows, x, at, buffer, 2 * half);
        }
      }
    }
  }
  return memory ? HONE_OK : hone_fail(HONE_OUT_OF_MEMORY, "%s: no memory for heads of %lld", op, (long long)dim);
}

int32_t hone_rope_forward(const hone_tensor *x, const hone_tensor *cos, const hone_tensor *sin,
                          const hone_tensor *positions) {
  const hone_rows *rows = hone_rows_now();
  return turn("rope_forward", x, cos, sin, positions, rows, rows->turn);
}

int32_t hone_rope_backward(const hone_tensor *dx, const hone_tensor *cos, const hone_tensor *sin,
                           const hone_tensor *positions) {
  const hone_rows *rows = hone_rows_now();
  return turn("rope_backward", dx, cos, sin, positions, rows, rows->turn_back);
}
