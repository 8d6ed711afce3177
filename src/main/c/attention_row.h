/*
 * attention_row.h - one query row of some heads of a group against a cache, compiled once per instruction set; part of
 * attention_tile.h. A key or value row is read once for up to ROW_HEADS heads; the head dim lies along the lanes.
 */
enum { ROW_HEADS = 4 };

static size_t decode_bytes(const hone_attention *a, int64_t heads) {
  int64_t keys = hone_min(a->start + a->tokens, a->window), ld = round_up(a->dim, LANES);
  return (size_t)(heads * (round_up(keys, LANES) + 2 * ld)) * sizeof(float);
}

/* Elements d .. d+LANES-1 of a row of `dim`, zeros past its end. */
static inline __attribute__((always_inline)) VEC row_vector(const bool bf16, const void *data, int64_t at, int64_t d,
                                                            int64_t dim) {
  const float *f32 = (const float *)data + at + d;
  const uint16_t *half = (const uint16_t *)data + at + d;
  if (d + LANES <= dim) return bf16 ? LOAD_BF16(half) : LOAD(f32);
  float edge[LANES] = {0};
  for (int64_t i = 0; d + i < dim; i++) edge[i] = bf16 ? hone_bf16_to_f32(half[i]) : f32[i];
  return LOAD(edge);
}

/* Asks for the row ROWS_AHEAD keys on: rows of one head lie KV D elements apart, too far for the hardware to foresee. */
enum { ROWS_AHEAD = 12 };
static inline __attribute__((always_inline)) void prefetch_row(const bool bf16, const void *data, int64_t at,
                                                               int64_t stride, int64_t elements) {
  int64_t size = bf16 ? 2 : 4;
  const char *row = (const char *)data + (at + ROWS_AHEAD * stride) * size;
  for (int64_t i = 0; i < elements * size; i += 64) __builtin_prefetch(row + i);
}

/* s[h][key] = q[h] . k[key] for `heads` rows of q (ld apart) and s (lds apart). */
static inline __attribute__((always_inline)) void row_scores(const int heads, const bool bf16, float *s, int64_t lds,
                                                             const float *q, int64_t ld, const void *k, int64_t at,
                                                             int64_t stride, int64_t keys, int64_t dim) {
  for (int64_t key = 0; key < keys; key++, at += stride) {
    prefetch_row(bf16, k, at, stride, dim);
    VEC sum[ROW_HEADS];
    for (int h = 0; h < heads; h++) sum[h] = ZERO();
    for (int64_t d = 0; d < dim; d += LANES) {
      VEC row = row_vector(bf16, k, at, d, dim);
      for (int h = 0; h < heads; h++) sum[h] = FMA(row, LOAD(q + h * ld + d), sum[h]);
    }
    for (int h = 0; h < heads; h++) s[h * lds + key] = SUM(sum[h]);
  }
}

/* o[h][d .. d+nv LANES) = sum over keys of p[h][key] v[key] */
static inline __attribute__((always_inline)) void row_outputs(const int heads, const int nv, const bool bf16, float *o,
                                                              int64_t ld, const float *p, int64_t ldp, const void *v,
                                                              int64_t at, int64_t stride, int64_t keys, int64_t d,
                                                              int64_t dim) {
  VEC sum[ROW_HEADS][4];
  for (int h = 0; h < heads; h++) {
    for (int n = 0; n < nv; n++) sum[h][n] = ZERO();
  }
  for (int64_t key = 0; key < keys; key++, at += stride) {
    prefetch_row(bf16, v, at + d, stride, nv * LANES);
    for (int n = 0; n < nv; n++) {
      VEC row = row_vector(bf16, v, at, d + n * LANES, dim);
      for (int h = 0; h < heads; h++) sum[h][n] = FMA(SPLAT(p[h * ldp + key]), row, sum[h][n]);
    }
  }
  for (int h = 0; h < heads; h++) {
    for (int n = 0; n < nv; n++) STORE(o + h * ld + d + n * LANES, sum[h][n]);
  }
}

/* scores -> probabilities times the sum, which is the result */
static float row_softmax(float *restrict s, int64_t keys, float softcap) {
  float top = -0x1.fffffep+127f, sum = 0;
  if (softcap > 0) {
    float inverse = 1.0f / softcap;
    for (int64_t key = 0; key < keys; key++) s[key] = softcap * hone_tanh(s[key] * inverse);
  }
  for (int64_t key = 0; key < keys; key++) top = s[key] > top ? s[key] : top;
  for (int64_t key = 0; key < keys; key++) s[key] = hone_exp_flushed(s[key] - top);
  for (int64_t key = 0; key < keys; key++) sum += s[key];
  return sum;
}

static inline __attribute__((always_inline)) void row_heads(const int heads, const bool bf16, const hone_attention *a,
                                                            float *s, float *q, float *o, int64_t at, int64_t keys) {
  int64_t dim = a->dim, ld = round_up(dim, LANES), lds = round_up(keys, LANES), stride = a->kv_heads * dim, d = 0;
  row_scores(heads, bf16, s, lds, q, ld, a->k->data, at, stride, keys, dim);
  float sum[ROW_HEADS];
  for (int h = 0; h < heads; h++) sum[h] = row_softmax(s + h * lds, keys, a->softcap);
  for (; d + 4 * LANES <= ld; d += 4 * LANES) {
    row_outputs(heads, 4, bf16, o, ld, s, lds, a->v->data, at, stride, keys, d, dim);
  }
  for (; d < ld; d += LANES) row_outputs(heads, 1, bf16, o, ld, s, lds, a->v->data, at, stride, keys, d, dim);
  for (int h = 0; h < heads; h++) {
    float factor = 1.0f / sum[h];
    for (int64_t i = 0; i < ld; i++) o[h * ld + i] *= factor;
  }
}

static void decode_row(const hone_attention *a, void *scratch, int64_t row, int64_t head_begin, int64_t head_end) {
  int64_t dim = a->dim, ld = round_up(dim, LANES), position = a->start + row;
  int64_t first = hone_max(0, position - a->window + 1), keys = position - first + 1, lds = round_up(keys, LANES);
  int64_t kv_head = head_begin / (a->heads / a->kv_heads), at = hone_head_offset(first, a->kv_heads, kv_head, dim);
  bool bf16 = a->k->dtype == HONE_BF16;
  for (int64_t head = head_begin; head < head_end;) {
    int64_t take = head + ROW_HEADS <= head_end ? ROW_HEADS : 1;
    float *s = scratch, *q = s + take * lds, *o = q + take * ld;
    for (int64_t h = 0; h < take; h++) load_panel(q + h * ld, ld, a->q, a->heads, head + h, dim, row, 1, a->scale);
    if (take == ROW_HEADS) {
      if (bf16) row_heads(ROW_HEADS, true, a, s, q, o, at, keys);
      else row_heads(ROW_HEADS, false, a, s, q, o, at, keys);
    } else {
      if (bf16) row_heads(1, true, a, s, q, o, at, keys);
      else row_heads(1, false, a, s, q, o, at, keys);
    }
    for (int64_t h = 0; h < take; h++) store_panel(a->o, a->heads, head + h, dim, row, 1, o + h * ld, ld);
    head += take;
  }
}
