/* attention_reference.c - attention in plain f32 with libm, one query row at a time. Formulas: attention.c. */
#include <math.h>

#include "attention.h"

static float dot(const float *a, const float *b, int64_t n) {
  float sum = 0;
  for (int64_t i = 0; i < n; i++) sum += a[i] * b[i];
  return sum;
}

static float score(const hone_attention *a, const float *q, const float *k) {
  float s = a->scale * dot(q, k, a->dim);
  return a->softcap > 0 ? a->softcap * tanhf(s / a->softcap) : s;
}

/* Output row of query `position` of a document into out, its log-sum-exp as the result. `row` holds the scores. */
static float forward_row(const hone_attention *a, int64_t first_token, int64_t position, int64_t query, int64_t head,
                         float *out, float *row, float *buffer) {
  int64_t dim = a->dim, kv_head = head / (a->heads / a->kv_heads), first = hone_max(0, position - a->window + 1);
  const float *q = hone_row(buffer, a->q, hone_head_offset(query, a->heads, head, dim), dim);
  float *other = buffer + dim, top = -INFINITY, sum = 0;
  for (int64_t key = first; key <= position; key++) {
    int64_t at = hone_head_offset(first_token + key, a->kv_heads, kv_head, dim);
    row[key - first] = score(a, q, hone_row(other, a->k, at, dim));
    top = fmaxf(top, row[key - first]);
  }
  for (int64_t d = 0; d < dim; d++) out[d] = 0;
  for (int64_t key = first; key <= position; key++) {
    int64_t at = hone_head_offset(first_token + key, a->kv_heads, kv_head, dim);
    const float *v = hone_row(other, a->v, at, dim);
    float p = expf(row[key - first] - top);
    sum += p;
    for (int64_t d = 0; d < dim; d++) out[d] += p * v[d];
  }
  for (int64_t d = 0; d < dim; d++) out[d] /= sum;
  return top + logf(sum);
}

int32_t hone_attention_reference_forward(const hone_attention *a) {
  int64_t longest = a->start + a->tokens;
  bool no_memory = false;
#pragma omp parallel for schedule(dynamic)
  for (int64_t head = 0; head < a->heads; head++) {
    float *row = hone_workspace(0, (size_t)(longest + 3 * a->dim) * sizeof(float));
    if (!row) {
#pragma omp atomic write
      no_memory = true;
      continue;
    }
    float *out = row + longest, *buffer = out + a->dim;
    for (int64_t j = 0; j < a->documents; j++) {
      int64_t first_token = a->docs ? a->docs[j] : 0, end = a->docs ? a->docs[j + 1] - first_token : longest;
      for (int64_t position = a->start; position < end; position++) {
        int64_t query = a->docs ? first_token + position : position - a->start;
        float lse = forward_row(a, first_token, position, query, head, out, row, buffer);
        hone_store(a->o, hone_head_offset(query, a->heads, head, a->dim), out, a->dim, false);
        if (a->lse) ((float *)a->lse->data)[head * a->tokens + query] = lse;
      }
    }
  }
  return no_memory ? hone_fail(HONE_OUT_OF_MEMORY, "attention_forward: no memory for a row of scores") : HONE_OK;
}

/* Adds query `position`'s share to dk, dv (length, dim) of its document and writes its row of dq and delta. */
static void backward_row(const hone_attention *a, int64_t first_token, int64_t position, int64_t head, float *dk, float *dv,
                         float *buffer) {
  int64_t dim = a->dim, kv_head = head / (a->heads / a->kv_heads), query = first_token + position;
  int64_t at = hone_head_offset(query, a->heads, head, dim);
  float *dq = buffer, *key_row = buffer + dim, *value_row = buffer + 2 * dim;
  const float *q = hone_row(buffer + 3 * dim, a->q, at, dim), *dout = hone_row(buffer + 4 * dim, a->dout, at, dim);
  float delta = dot(dout, hone_row(key_row, a->o, at, dim), dim);
  float lse = ((const float *)a->lse->data)[head * a->tokens + query];
  ((float *)a->delta->data)[head * a->tokens + query] = delta;
  for (int64_t d = 0; d < dim; d++) dq[d] = 0;
  for (int64_t key = hone_max(0, position - a->window + 1); key <= position; key++) {
    int64_t key_at = hone_head_offset(first_token + key, a->kv_heads, kv_head, dim);
    const float *k = hone_row(key_row, a->k, key_at, dim), *v = hone_row(value_row, a->v, key_at, dim);
    float s = score(a, q, k), p = expf(s - lse), ds = p * (dot(dout, v, dim) - delta);
    if (a->softcap > 0) ds *= 1 - (s / a->softcap) * (s / a->softcap);
    ds *= a->scale;
    for (int64_t d = 0; d < dim; d++) {
      dq[d] += ds * k[d];
      dk[key * dim + d] += ds * q[d];
      dv[key * dim + d] += p * dout[d];
    }
  }
  hone_store(a->dq, at, dq, dim, false);
}

int32_t hone_attention_reference_backward(const hone_attention *a) {
  int64_t dim = a->dim, group = a->heads / a->kv_heads, longest = 0;
  for (int64_t j = 0; j < a->documents; j++) longest = hone_max(longest, a->docs[j + 1] - a->docs[j]);
  bool no_memory = false;
#pragma omp parallel for schedule(dynamic)
  for (int64_t kv_head = 0; kv_head < a->kv_heads; kv_head++) {
    float *dk = hone_workspace(0, (size_t)(2 * longest * dim + 5 * dim) * sizeof(float));
    if (!dk) {
#pragma omp atomic write
      no_memory = true;
      continue;
    }
    float *dv = dk + longest * dim, *buffer = dv + longest * dim;
    for (int64_t j = 0; j < a->documents; j++) {
      int64_t first_token = a->docs[j], length = a->docs[j + 1] - first_token;
      for (int64_t i = 0; i < length * dim; i++) dk[i] = dv[i] = 0;
      for (int64_t head = kv_head * group; head < (kv_head + 1) * group; head++) {
        for (int64_t i = 0; i < length; i++) backward_row(a, first_token, i, head, dk, dv, buffer);
      }
      for (int64_t i = 0; i < length; i++) {
        int64_t at = hone_head_offset(first_token + i, a->kv_heads, kv_head, dim);
        hone_store(a->dk, at, dk + i * dim, dim, false);
        hone_store(a->dv, at, dv + i * dim, dim, false);
      }
    }
  }
  return no_memory ? hone_fail(HONE_OUT_OF_MEMORY, "attention_backward: no memory for dk and dv of a head") : HONE_OK;
}
