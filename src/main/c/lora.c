/*
 * LoRA: y = s (d(x) A^T) B^T, the trainable part of a linear whose weight is frozen.
 *
 * Forward.   d[m,k] = keep[m,k] x[m,k] / (1-p),   keep[m,k] = uniform(seed, m K + k) >= p
 *            u = d(x) A^T,   y = s u B^T, to which linear.c adds the frozen part
 * Backward.  From y = s u B^T:  dL/du = s dy B =: e,  dB = s dy^T u;  from u = d A^T:  dA = e^T d,  dL/dd = e A;
 *            d is linear in x:  dx += keep / (1-p) * (e A).
 * Shapes.    x, dx (M,K)   A, dA (R,K)   B, dB (N,R)   y, dy (M,N)   u, e (M,R)
 * Memory.    saved: u besides x. The mask is never stored: it is a function of (seed, element) and made again.
 * Rounding.  1/(1-p) multiplies sums, not elements, so a bf16 x is multiplied as it is. f32 activations: f32. When x or
 *            y (dy) is bf16: every operand rounded to bf16 (A, B and an f32 u or e too), sums in f32, u, e and y
 *            rounded once.
 * Mirrors.   LoraTest; blocked form for HONE_ISA_AVX2 and above: gemm.c
 */
#include "gemm.h"
#include "product.h"

enum { X_ROW = 0, SUM_ROW = 1, WEIGHT_ROW = 2, RANK_ROW = 3 }; /* workspace slots */

typedef struct lora_dropout {
  hone_mask mask;
  float scale; /* 1 / (1-p) */
} lora_dropout;

/* row keeps its elements first .. first+n-1 of the mask and loses the others */
static void drop(float *row, int64_t first, int64_t n, const lora_dropout *d) {
  for (int64_t i = 0; i < n; i++) {
    if (hone_uniform(d->mask.seed, (uint64_t)(first + i)) < d->mask.p) row[i] = 0;
  }
}

/* x[m,:] behind the mask, unscaled, in `row` */
static void masked_row(float *row, const hone_tensor *x, int64_t m, bool bf16, const lora_dropout *d) {
  int64_t K = x->shape[1];
  const float *in = hone_operand_row(row, x, m * K, K, bf16);
  if (in != row) memcpy(row, in, (size_t)K * sizeof(float));
  if (d->mask.p > 0) drop(row, m * K, K, d);
}

static float *row_buffer(int slot, int64_t n) { return hone_workspace(slot, (size_t)(n > 0 ? n : 1) * sizeof(float)); }

static int32_t check(const char *op, const hone_tensor *y, const hone_tensor *u, const hone_tensor *x,
                     const hone_tensor *a, const hone_tensor *b, float dropout) {
  const uint32_t f32 = HONE_DTYPE_BIT(HONE_F32);
  HONE_CHECK2(op, x, HONE_ACTIVATIONS, -1, -1);
  HONE_CHECK2(op, a, f32, -1, x->shape[1]);
  HONE_CHECK2(op, b, f32, -1, a->shape[0]);
  HONE_CHECK2(op, y, HONE_ACTIVATIONS, x->shape[0], b->shape[0]);
  HONE_CHECK2(op, u, HONE_ACTIVATIONS, x->shape[0], a->shape[0]);
  HONE_REQUIRE(dropout >= 0 && dropout < 1, "%s: dropout %g, want 0 <= dropout < 1", op, (double)dropout);
  return HONE_OK;
}

/* ---- forward ----------------------------------------------------------------------------------------------------- */

static int32_t forward_reference(const hone_tensor *y, const hone_tensor *u, const hone_tensor *x, const hone_tensor *a,
                                 const hone_tensor *b, float scale, const lora_dropout *d) {
  const int64_t M = x->shape[0], K = x->shape[1], R = a->shape[0], N = b->shape[0];
  const bool bf16 = hone_product_is_bf16(x, y);
  bool failed = false;
#pragma omp parallel for schedule(static) reduction(|| : failed) if (M * N * K > HONE_SMALL_PRODUCT)
  for (int64_t m = 0; m < M; m++) {
    float *x_row = row_buffer(X_ROW, K), *sum = row_buffer(SUM_ROW, N);
    float *weight = row_buffer(WEIGHT_ROW, K + R), *u_row = row_buffer(RANK_ROW, R);
    if (!x_row || !sum || !weight || !u_row) {
      failed = true;
      continue;
    }
    masked_row(x_row, x, m, bf16, d);
    for (int64_t r = 0; r < R; r++) {
      u_row[r] = d->scale * hone_dot(x_row, hone_operand_row(weight, a, r * K, K, bf16), K);
    }
    hone_store(u, m * R, u_row, R, false);
    const float *saved = hone_operand_row(u_row, u, m * R, R, bf16);
    for (int64_t n = 0; n < N; n++) sum[n] = scale * hone_dot(saved, hone_operand_row(weight, b, n * R, R, bf16), R);
    hone_store(y, m * N, sum, N, false);
  }
  HONE_REQUIRE_MEMORY(!failed, "lora_forward: no memory for rows of %lld", (long long)(K + N));
  return HONE_OK;
}

static int32_t forward_blocked(const hone_tensor *y, const hone_tensor *u, const hone_tensor *x, const hone_tensor *a,
                               const hone_tensor *b, float scale, const lora_dropout *d) {
  const bool bf16 = hone_product_is_bf16(x, y);
  HONE_TRY(hone_gemm("lora_forward", &(hone_gemm_result){.tensor = u, .scale = d->scale},
                     &(hone_gemm_operand){.tensor = x, .mask = d->mask}, &(hone_gemm_operand){.tensor = a}, x->shape[1],
                     bf16));
  return hone_gemm("lora_forward", &(hone_gemm_result){.tensor = y, .scale = scale},
                   &(hone_gemm_operand){.tensor = u}, &(hone_gemm_operand){.tensor = b}, u->shape[1], bf16);
}

int32_t hone_lora_forward(const hone_tensor *y, const hone_tensor *u, const hone_tensor *x, const hone_tensor *a,
                          const hone_tensor *b, float scale, float dropout, uint64_t seed) {
  HONE_TRY(check("lora_forward", y, u, x, a, b, dropout));
  lora_dropout d = {{seed, dropout}, 1 / (1 - dropout)};
  return (hone_isa() == HONE_ISA_REFERENCE ? forward_reference : forward_blocked)(y, u, x, a, b, scale, &d);
}

/* ---- backward ---------------------------------------------------------------------------------------------------- */

/* e = s dy B, then dx += keep / (1-p) * (e A), token by token */
static bool backward_tokens(const hone_tensor *dx, const hone_tensor *e, const hone_tensor *dy, const hone_tensor *a,
                            const hone_tensor *b, float scale, bool bf16, const lora_dropout *d) {
  const int64_t M = dy->shape[0], K = a->shape[1], R = a->shape[0], N = b->shape[0];
  bool failed = false;
#pragma omp parallel for schedule(static) reduction(|| : failed) if (M * N * K > HONE_SMALL_PRODUCT)
  for (int64_t m = 0; m < M; m++) {
    float *weight = row_buffer(WEIGHT_ROW, K + R), *sum = row_buffer(SUM_ROW, K), *e_row = row_buffer(RANK_ROW, R);
    if (!weight || !sum || !e_row) {
      failed = true;
      continue;
    }
    memset(e_row, 0, (size_t)R * sizeof(float));
    for (int64_t n = 0; n < N; n++) {
      float s = scale * hone_operand_at(dy, m * N + n, bf16);
      hone_axpy(e_row, s, hone_operand_row(weight, b, n * R, R, bf16), R);
    }
    hone_store(e, m * R, e_row, R, false);
    if (!dx) continue;
    memset(sum, 0, (size_t)K * sizeof(float));
    for (int64_t r = 0; r < R; r++) {
      hone_axpy(sum, d->scale * hone_operand_at(e, m * R + r, bf16), hone_operand_row(weight, a, r * K, K, bf16), K);
    }
    if (d->mask.p > 0) drop(sum, m * K, K, d);
    hone_store(dx, m * K, sum, K, true);
  }
  return !failed;
}

static int32_t backward_reference(const hone_tensor *dx, const hone_tensor *da, const hone_tensor *db,
                                  const hone_tensor *e, const hone_tensor *dy, const hone_tensor *x,
                                  const hone_tensor *u, const hone_tensor *a, const hone_tensor *b, float scale,
                                  const lora_dropout *d) {
  const int64_t M = x->shape[0], K = x->shape[1], R = a->shape[0], N = b->shape[0];
  const bool bf16 = hone_product_is_bf16(x, dy);
  float *row = row_buffer(X_ROW, K + R);
  if (!row || !backward_tokens(dx, e, dy, a, b, scale, bf16, d)) {
    return hone_fail(HONE_OUT_OF_MEMORY, "lora_backward: no memory for rows of %lld", (long long)(2 * K + 2 * R));
  }
  for (int64_t m = 0; m < M; m++) {
    masked_row(row, x, m, bf16, d);
    for (int64_t r = 0; r < R; r++) {
      hone_axpy((float *)da->data + r * K, d->scale * hone_operand_at(e, m * R + r, bf16), row, K);
    }
    const float *u_row = hone_operand_row(row, u, m * R, R, bf16);
    for (int64_t n = 0; n < N; n++) {
      hone_axpy((float *)db->data + n * R, scale * hone_operand_at(dy, m * N + n, bf16), u_row, R);
    }
  }
  return HONE_OK;
}

static int32_t backward_blocked(const hone_tensor *dx, const hone_tensor *da, const hone_tensor *db,
                                const hone_tensor *e, const hone_tensor *dy, const hone_tensor *x,
                                const hone_tensor *u, const hone_tensor *a, const hone_tensor *b, float scale,
                                const lora_dropout *d) {
  const int64_t M = x->shape[0], R = a->shape[0], N = b->shape[0];
  const bool bf16 = hone_product_is_bf16(x, dy);
  HONE_TRY(hone_gemm("lora_backward", &(hone_gemm_result){.tensor = e, .scale = scale},
                     &(hone_gemm_operand){.tensor = dy}, &(hone_gemm_operand){.tensor = b, .across = true}, N, bf16));
  if (dx) {
    const hone_gemm_result sum = {.tensor = dx, .scale = d->scale, .accumulate = true, .mask = d->mask};
    HONE_TRY(hone_gemm("lora_backward", &sum, &(hone_gemm_operand){.tensor = e},
                       &(hone_gemm_operand){.tensor = a, .across = true}, R, bf16));
  }
  HONE_TRY(hone_gemm("lora_backward", &(hone_gemm_result){.tensor = da, .scale = d->scale, .accumulate = true},
                     &(hone_gemm_operand){.tensor = e, .across = true},
                     &(hone_gemm_operand){.tensor = x, .across = true, .mask = d->mask}, M, bf16));
  return hone_gemm("lora_backward", &(hone_gemm_result){.tensor = db, .scale = scale, .accumulate = true},
                   &(hone_gemm_operand){.tensor = dy, .across = true},
                   &(hone_gemm_operand){.tensor = u, .across = true}, M, bf16);
}

int32_t hone_lora_backward(const hone_tensor *dx, const hone_tensor *da, const hone_tensor *db, const hone_tensor *e,
                           const hone_tensor *dy, const hone_tensor *x, const hone_tensor *u, const hone_tensor *a,
                           const hone_tensor *b, float scale, float dropout, uint64_t seed) {
  HONE_TRY(check("lora_backward", dy, u, x, a, b, dropout));
  if (dx) HONE_CHECK2("lora_backward", dx, HONE_ACTIVATIONS, x->shape[0], x->shape[1]);
  HONE_CHECK2("lora_backward", da, HONE_DTYPE_BIT(HONE_F32), a->shape[0], a->shape[1]);
  HONE_CHECK2("lora_backward", db, HONE_DTYPE_BIT(HONE_F32), b->shape[0], b->shape[1]);
  HONE_CHECK2("lora_backward", e, HONE_ACTIVATIONS, u->shape[0], u->shape[1]);
  lora_dropout d = {{seed, dropout}, 1 / (1 - dropout)};
  const bool plain = hone_isa() == HONE_ISA_REFERENCE;
  return (plain ? backward_reference : backward_blocked)(dx, da, db, e, dy, x, u, a, b, scale, &d);
}
