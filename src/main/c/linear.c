/*
 * Linear: y = x W^T + b over weights as they are stored.
 *
 * Forward.   y[m,n] = b[n] + sum_k x[m,k] W[n,k], or += that: y then holds the branch of an adapter
 * Backward.  With dy = dL/dy:  dL/dx[m,k] = sum_n dL/dy[m,n] W[n,k], dL/dW[n,k] = sum_m dL/dy[m,n] x[m,k]:
 *            dx = dy W,   dW = dy^T x,   db = sum_m dy[m,:]
 * Shapes.    x, dx (M,K)   W, dW (N,K)   y, dy (M,N)   b, db (N)
 * Memory.    W is read once a call (for M above 1024 tokens, once for each 1024 or less) and decoded panel by panel
 *            into cache: it never exists whole in another dtype. Scratch: packed panels of gemm.c, or one row a thread
 *            here.
 * Rounding.  f32 activations: f32 products of exactly decoded weights. As soon as one activation of the product is
 *            bf16: every operand rounded to bf16 (weights and an f32 dy too), products summed in f32, one rounding on
 *            the way out.
 * Mirrors.   LinearTest; blocked form for HONE_ISA_AVX2 and above: gemm.c
 */
#include "gemm.h"
#include "product.h"

enum { WEIGHT_ROW = 0, INPUT_ROW = 1, SUM_ROW = 1 }; /* workspace slots */

static size_t floats(int64_t n) { return (size_t)(n > 0 ? n : 1) * sizeof(float); }

/* ---- forward ----------------------------------------------------------------------------------------------------- */

static int32_t forward_reference(const hone_tensor *y, const hone_tensor *x, const hone_tensor *w,
                                 const hone_tensor *bias, bool accumulate) {
  const int64_t M = x->shape[0], K = x->shape[1], N = w->shape[0];
  const bool bf16 = x->dtype == HONE_BF16;
  bool failed = false;
#pragma omp parallel for schedule(static) reduction(|| : failed) if (M * N * K > HONE_SMALL_PRODUCT)
  for (int64_t m = 0; m < M; m++) {
    float *x_buffer = hone_workspace(INPUT_ROW, floats(K)), *w_buffer = hone_workspace(WEIGHT_ROW, floats(K));
    if (!x_buffer || !w_buffer) {
      failed = true;
      continue;
    }
    const float *x_row = hone_operand_row(x_buffer, x, m * K, K, bf16);
    for (int64_t n = 0; n < N; n++) {
      float sum = hone_dot(x_row, hone_operand_row(w_buffer, w, n * K, K, bf16), K);
      if (bias) sum += hone_operand_at(bias, n, false);
      hone_store(y, m * N + n, &sum, 1, accumulate);
    }
  }
  HONE_REQUIRE_MEMORY(!failed, "linear_forward: no memory for a row of %lld", (long long)K);
  return HONE_OK;
}

int32_t hone_linear_forward(const hone_tensor *y, const hone_tensor *x, const hone_tensor *w, const hone_tensor *bias,
                            int32_t accumulate) {
  HONE_CHECK2("linear_forward", x, HONE_ACTIVATIONS, -1, -1);
  HONE_CHECK2("linear_forward", w, HONE_WEIGHTS, -1, x->shape[1]);
  HONE_CHECK2("linear_forward", y, HONE_DTYPE_BIT(HONE_F32) | HONE_DTYPE_BIT(x->dtype), x->shape[0], w->shape[0]);
  if (bias) HONE_CHECK1("linear_forward", bias, HONE_FLOATS, w->shape[0]);
  if (hone_isa() == HONE_ISA_REFERENCE) return forward_reference(y, x, w, bias, accumulate);
  if (x->shape[0] <= HONE_GEMV_TOKENS) return hone_gemv("linear_forward", y, x, w, bias, accumulate);
  return hone_gemm("linear_forward",
                   &(hone_gemm_result){.tensor = y, .bias = bias, .scale = 1, .accumulate = accumulate},
                   &(hone_gemm_operand){.tensor = x}, &(hone_gemm_operand){.tensor = w}, x->shape[1],
                   x->dtype == HONE_BF16);
}

/* ---- backward to the input --------------------------------------------------------------------------------------- */

static int32_t backward_input_reference(const hone_tensor *dx, const hone_tensor *dy, const hone_tensor *w,
                                        bool accumulate) {
  const int64_t M = dy->shape[0], K = w->shape[1], N = w->shape[0];
  const bool bf16 = hone_product_is_bf16(dx, dy);
  bool failed = false;
#pragma omp parallel for schedule(static) reduction(|| : failed) if (M * N * K > HONE_SMALL_PRODUCT)
  for (int64_t m = 0; m < M; m++) {
    float *sum = hone_workspace(SUM_ROW, floats(K)), *w_buffer = hone_workspace(WEIGHT_ROW, floats(K));
    if (!sum || !w_buffer) {
      failed = true;
      continue;
    }
    memset(sum, 0, floats(K));
    for (int64_t n = 0; n < N; n++) {
      hone_axpy(sum, hone_operand_at(dy, m * N + n, bf16), hone_operand_row(w_buffer, w, n * K, K, bf16), K);
    }
    hone_store(dx, m * K, sum, K, accumulate);
  }
  HONE_REQUIRE_MEMORY(!failed, "linear_backward_input: no memory for a row of %lld", (long long)K);
  return HONE_OK;
}

int32_t hone_linear_backward_input(const hone_tensor *dx, const hone_tensor *dy, const hone_tensor *w,
                                   int32_t accumulate) {
  HONE_CHECK2("linear_backward_input", w, HONE_WEIGHTS, -1, -1);
  HONE_CHECK2("linear_backward_input", dy, HONE_ACTIVATIONS, -1, w->shape[0]);
  HONE_CHECK2("linear_backward_input", dx, HONE_ACTIVATIONS, dy->shape[0], w->shape[1]);
  if (hone_isa() == HONE_ISA_REFERENCE) return backward_input_reference(dx, dy, w, accumulate);
  return hone_gemm("linear_backward_input", &(hone_gemm_result){.tensor = dx, .scale = 1, .accumulate = accumulate},
                   &(hone_gemm_operand){.tensor = dy}, &(hone_gemm_operand){.tensor = w, .across = true}, w->shape[0],
                   hone_product_is_bf16(dx, dy));
}

/* ---- backward to the weight -------------------------------------------------------------------------------------- */

static int32_t backward_weight_reference(const hone_tensor *dw, const hone_tensor *dy, const hone_tensor *x) {
  const int64_t M = dy->shape[0], K = x->shape[1], N = dy->shape[1];
  const bool bf16 = hone_product_is_bf16(dy, x);
  bool failed = false;
#pragma omp parallel for schedule(static) reduction(|| : failed) if (M * N * K > HONE_SMALL_PRODUCT)
  for (int64_t n = 0; n < N; n++) {
    float *sum = hone_workspace(SUM_ROW, floats(K)), *x_buffer = hone_workspace(WEIGHT_ROW, floats(K));
    if (!sum || !x_buffer) {
      failed = true;
      continue;
    }
    memset(sum, 0, floats(K));
    for (int64_t m = 0; m < M; m++) {
      hone_axpy(sum, hone_operand_at(dy, m * N + n, bf16), hone_operand_row(x_buffer, x, m * K, K, bf16), K);
    }
    hone_store(dw, n * K, sum, K, true);
  }
  HONE_REQUIRE_MEMORY(!failed, "linear_backward_weight: no memory for a row of %lld", (long long)K);
  return HONE_OK;
}

/* db += sum_m dy[m,:], in order of m, a strip of columns at a time */
static void backward_bias(const hone_tensor *dbias, const hone_tensor *dy) {
  enum { STRIP = 256 };
  const int64_t M = dy->shape[0], N = dy->shape[1];
#pragma omp parallel for schedule(static) if (M * N > HONE_SMALL_PRODUCT)
  for (int64_t at = 0; at < N; at += STRIP) {
    float sum[STRIP] = {0}, buffer[STRIP];
    int64_t count = N - at < STRIP ? N - at : STRIP;
    for (int64_t m = 0; m < M; m++) hone_axpy(sum, 1, hone_row(buffer, dy, m * N + at, count), count);
    hone_store(dbias, at, sum, count, true);
  }
}

int32_t hone_linear_backward_weight(const hone_tensor *dw, const hone_tensor *dbias, const hone_tensor *dy,
                                    const hone_tensor *x) {
  HONE_CHECK2("linear_backward_weight", dy, HONE_ACTIVATIONS, -1, -1);
  HONE_CHECK2("linear_backward_weight", x, HONE_ACTIVATIONS, dy->shape[0], -1);
  HONE_CHECK2("linear_backward_weight", dw, HONE_DTYPE_BIT(HONE_F32), dy->shape[1], x->shape[1]);
  if (dbias) HONE_CHECK1("linear_backward_weight", dbias, HONE_DTYPE_BIT(HONE_F32), dy->shape[1]);
  if (hone_isa() == HONE_ISA_REFERENCE) {
    HONE_TRY(backward_weight_reference(dw, dy, x));
  } else {
    HONE_TRY(hone_gemm("linear_backward_weight", &(hone_gemm_result){.tensor = dw, .scale = 1, .accumulate = true},
                       &(hone_gemm_operand){.tensor = dy, .across = true},
                       &(hone_gemm_operand){.tensor = x, .across = true}, dy->shape[0], hone_product_is_bf16(dy, x)));
  }
  if (dbias) backward_bias(dbias, dy);
  return HONE_OK;
}
