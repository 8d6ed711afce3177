/*
 * attention_tile.h - forward and backward of attention by tiles, compiled once per instruction set (attention_panel.h
 * says what the including file defines). Formulas and the choice of work items: attention.c.
 *
 * Scores lie transposed: a tile is keys x queries, queries along the vector lanes.
 *   S^T  = K Q^T        K's rows broadcast as they lie, Q^T packed once a query tile
 *   O^T += V^T P^T      P^T overwrites S^T; maximum, sum and rescaling of the softmax are vertical, no lane ever crosses
 *   dP^T = V dO^T       dV += P^T dO     dK += dS^T Q     dQ^T += K^T dS^T
 * Each is one call of tile_product; only q, dout and the results are transposed, once a query tile.
 *
 * A key tile inside the causal and window borders of all queries is one step; one on a border is cut into groups of
 * EDGE_QUERIES queries, each against the keys that some query of the group sees, the rest masked.
 */
#include <math.h>

#include "attention_panel.h"
#include "vecmath.h"

enum { QT = HONE_QUERY_TILE, KT = HONE_KEY_TILE, EDGE_QUERIES = 32 };

static inline int64_t round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

/* What a step works on: keys [k_begin, k_end) of the document against queries column .. column+rows-1 of the tile, whose
 * first is position `query`; `lanes` is rows rounded up to whole vectors. */
typedef struct {
  int64_t query, column, rows, lanes, k_begin, k_end;
  bool edge; /* some pair of the step is masked */
} tile_step;

/* The next step of query tile [q_begin, q_begin + rows) within key tile [k_begin, k_end) after the queries before
 * *column; false when there is none left. */
static bool next_step(tile_step *step, int64_t *column, int64_t q_begin, int64_t rows, int64_t k_begin, int64_t k_end,
                      int64_t window) {
  int64_t q_last = q_begin + rows - 1;
  bool whole = k_end - 1 <= q_begin && k_begin > q_last - window;
  while (*column < rows) {
    int64_t at = *column, take = whole ? rows : hone_min(EDGE_QUERIES, rows - at);
    *column += take;
    int64_t first = q_begin + at, last = first + take - 1;
    *step = (tile_step){first, at, take, round_up(take, LANES), hone_max(k_begin, first - window + 1),
                        hone_min(k_end, last + 1), false};
    step->edge = step->k_end - 1 > first || step->k_begin <= last - window;
    if (step->k_begin < step->k_end) return true;
  }
  return false;
}

/* Sets to `value` the pairs of a tile (keys, QT) that no query may see. */
static void mask(float *restrict tile, const tile_step *step, int64_t window, float value) {
  int32_t lanes = (int32_t)step->lanes;
  for (int64_t key = step->k_begin; key < step->k_end; key++, tile += QT) {
    int32_t from = (int32_t)hone_max(key - step->query, 0);                        /* the first query not ahead of the key */
    uint32_t seen = (uint32_t)hone_max(key + window - step->query - from, 0);      /* queries from there in the window */
    for (int32_t q = 0; q < lanes; q++) tile[q] = (uint32_t)(q - from) < seen ? tile[q] : value;
  }
}

/* s = c tanh(s / c) over a tile. */
static void cap(float *restrict tile, int64_t keys, int64_t lanes, float softcap) {
  float inverse = 1.0f / softcap;
  for (int64_t key = 0; key < keys; key++, tile += QT) {
    for (int64_t q = 0; q < lanes; q++) tile[q] = softcap * hone_tanh(tile[q] * inverse);
  }
}

/* ---- forward ------------------------------------------------------------------------------------------------------- */

typedef struct {
  float *qt, *ot;       /* (dim, QT) */
  float *s;             /* (KT, QT) */
  float *rows;          /* (QT, ld) */
  float *key, *value;   /* (KT, dim), bf16 only */
  float *top, *sum, *factor; /* (QT) */
} forward_scratch;

static size_t forward_layout(const hone_attention *a, float *at, forward_scratch *out) {
  int64_t dim = a->dim, panel = a->k->dtype == HONE_F32 ? 0 : KT * round_up(dim, 16);
  forward_scratch x;
  float *start = at;
  x.qt = at, at += dim * QT;
  x.ot = at, at += dim * QT;
  x.s = at, at += KT * QT;
  x.rows = at, at += QT * round_up(dim, LANES);
  x.key = at, at += panel;
  x.value = at, at += panel;
  x.top = at, at += QT;
  x.sum = at, at += QT;
  x.factor = at, at += QT;
  if (out) *out = x;
  return (size_t)(at - start) * sizeof(float);
}

static size_t forward_bytes(const hone_attention *a) { return forward_layout(a, NULL, NULL); }

/* Turns scores into exp(s - top), top rising with this tile, and keeps the sums; factor = what older sums and outputs are
 * worth under the new top. */
static void online_softmax(float *restrict s, int64_t keys, int64_t lanes, float *restrict top, float *restrict sum,
                           float *restrict factor) {
  for (int64_t q = 0; q < lanes; q++) factor[q] = top[q];
  for (int64_t key = 0; key < keys; key++) {
    const float *row = s + key * QT;
    for (int64_t q = 0; q < lanes; q++) top[q] = row[q] > top[q] ? row[q] : top[q];
  }
  for (int64_t q = 0; q < lanes; q++) {
    factor[q] = hone_exp_flushed(factor[q] - top[q]);
    sum[q] *= factor[q];
  }
  for (int64_t key = 0; key < keys; key++) {
    float *row = s + key * QT;
    for (int64_t q = 0; q < lanes; q++) {
      float p = hone_exp_flushed(row[q] - top[q]);
      row[q] = p;
      sum[q] += p;
    }
  }
}

static void forward_step(const hone_attention *a, const forward_scratch *x, const tile_step *step, const float *k,
                         int64_t k_step, const float *v, int64_t v_step) {
  int64_t keys = step->k_end - step->k_begin, dim = a->dim, column = step->column;
  tile_product(keys, step->lanes, x->s, QT, k, k_step, 1, x->qt + column, QT, dim, TILE_SET, NULL);
  if (a->softcap > 0) cap(x->s, keys, step->lanes, a->softcap);
  if (step->edge) mask(x->s, step, a->window, -INFINITY);
  online_softmax(x->s, keys, step->lanes, x->top + column, x->sum + column, x->factor);
  tile_product(dim, step->lanes, x->ot + column, QT, v, 1, v_step, x->s, QT, keys, TILE_RESCALE, x->factor);
}

static void forward_tile(const hone_attention *a, void *scratch, const hone_attention_rows *tile, int64_t head) {
  forward_scratch x;
  forward_layout(a, scratch, &x);
  int64_t dim = a->dim, ld = round_up(dim, LANES), rows = tile->end - tile->begin, lanes = round_up(rows, LANES);
  int64_t kv_head = head / (a->heads / a->kv_heads), token = tile->first_token + tile->begin - a->start;
  load_panel(x.rows, ld, a->q, a->heads, head, dim, token, rows, a->scale);
  memset(x.rows + rows * ld, 0, (size_t)((lanes - rows) * ld) * sizeof(float));
  transpose(x.qt, QT, x.rows, ld, lanes, dim);
  memset(x.ot, 0, (size_t)(dim * QT) * sizeof(float));
  for (int64_t q = 0; q < lanes; q++) x.top[q] = -0x1.fffffep+127f, x.sum[q] = 0;

  for (int64_t k = hone_max(0, tile->begin - a->window + 1) / KT * KT; k < tile->end; k += KT) {
    int64_t k_end = hone_min(k + KT, tile->end), k_step, v_step, column = 0;
    const float *key = key_rows(x.key, &k_step, a->k, a->kv_heads, kv_head, dim, tile->first_token + k, k_end - k);
    const float *value = key_rows(x.value, &v_step, a->v, a->kv_heads, kv_head, dim, tile->first_token + k, k_end - k);
    tile_step step;
    while (next_step(&step, &column, tile->begin, rows, k, k_end, a->window)) {
      int64_t skip = step.k_begin - k;
      forward_step(a, &x, &step, key + skip * k_step, k_step, value + skip * v_step, v_step);
    }
  }

  for (int64_t q = 0; q < lanes; q++) x.factor[q] = 1.0f / x.sum[q];
  for (int64_t d = 0; d < dim; d++) {
    for (int64_t q = 0; q < lanes; q++) x.ot[d * QT + q] *= x.factor[q];
  }
  transpose(x.rows, ld, x.ot, QT, dim, rows);
  store_panel(a->o, a->heads, head, dim, token, rows, x.rows, ld);
  if (!a->lse) return;
  float *lse = (float *)a->lse->data + head * a->tokens + token;
  for (int64_t q = 0; q < rows; q++) lse[q] = x.top[q] + logf(x.sum[q]);
}

/* ---- backward ------------------------------------------------------------------------------------------------------ */

typedef struct {
  float *qt, *dot, *dqt; /* (dim, QT) */
  float *q, *dout;       /* (QT, ld); q times scale */
  float *p, *ds;         /* (KT, QT) */
  float *rows;           /* (QT, ld) */
  float *key, *value;    /* (KT, dim), bf16 only */
  float *lse, *delta;    /* (QT) */
  float *dk, *dv;        /* (keys of the range, ld) */
} backward_scratch;

static size_t backward_layout(const hone_attention *a, int64_t keys, float *at, backward_scratch *out) {
  int64_t dim = a->dim, ld = round_up(dim, LANES), panel = a->k->dtype == HONE_F32 ? 0 : KT * round_up(dim, 16);
  backward_scratch x;
  float *start = at;
  x.qt = at, at += dim * QT;
  x.dot = at, at += dim * QT;
  x.dqt = at, at += dim * QT;
  x.q = at, at += QT * ld;
  x.dout = at, at += QT * ld;
  x.p = at, at += KT * QT;
  x.ds = at, at += KT * QT;
  x.rows = at, at += QT * ld;
  x.key = at, at += panel;
  x.value = at, at += panel;
  x.lse = at, at += QT;
  x.delta = at, at += QT;
  x.dk = at, at += keys * ld;
  x.dv = at, at += keys * ld;
  if (out) *out = x;
  return (size_t)(at - start) * sizeof(float);
}

static size_t backward_bytes(const hone_attention *a, int64_t keys) { return backward_layout(a, keys, NULL, NULL); }

/* p = exp(s - lse), ds = p (dp - delta) times the cap's slope; s in p and dp in ds on entry. */
static void score_gradients(float *restrict p, float *restrict ds, int64_t keys, int64_t lanes,
                            const float *restrict lse, const float *restrict delta, float softcap) {
  float inverse = softcap > 0 ? 1.0f / softcap : 0;
  for (int64_t key = 0; key < keys; key++, p += QT, ds += QT) {
    if (softcap > 0) {
      for (int64_t q = 0; q < lanes; q++) {
        float t = hone_tanh(p[q] * inverse);
        p[q] = hone_exp_flushed(softcap * t - lse[q]);
        ds[q] = p[q] * (ds[q] - delta[q]) * (1.0f - t * t);
      }
    } else {
      for (int64_t q = 0; q < lanes; q++) {
        p[q] = hone_exp_flushed(p[q] - lse[q]);
        ds[q] = p[q] * (ds[q] - delta[q]);
      }
    }
  }
}

static void backward_step(const hone_attention *a, const backward_scratch *x, const hone_attention_range *range,
                          const tile_step *step, const float *k, int64_t k_step, const float *v, int64_t v_step) {
  int64_t keys = step->k_end - step->k_begin, dim = a->dim, ld = round_up(dim, LANES), column = step->column;
  tile_product(keys, step->lanes, x->p, QT, k, k_step, 1, x->qt + column, QT, dim, TILE_SET, NULL);
  tile_product(keys, step->lanes, x->ds, QT, v, v_step, 1, x->dot + column, QT, dim, TILE_SET, NULL);
  score_gradients(x->p, x->ds, keys, step->lanes, x->lse + column, x->delta + column, a->softcap);
  if (step->edge) {
    mask(x->p, step, a->window, 0);
    mask(x->ds, step, a->window, 0);
  }
  if (range->want_dkv) {
    int64_t at = (step->k_begin - range->k_begin) * ld;
    tile_product(keys, ld, x->dv + at, ld, x->p, QT, 1, x->dout + column * ld, ld, step->rows, TILE_ADD, NULL);
    tile_product(keys, ld, x->dk + at, ld, x->ds, QT, 1, x->q + column * ld, ld, step->rows, TILE_ADD, NULL);
  }
  if (range->want_dq) {
    tile_product(dim, step->lanes, x->dqt + column, QT, k, 1, k_step, x->ds, QT, keys, TILE_ADD, NULL);
  }
}

/* delta = rowsum(dout o) of the tile's rows, kept in the call's delta for a later range. */
static void compute_delta(const hone_attention *a, const backward_scratch *x, int64_t head, int64_t token, int64_t rows) {
  int64_t ld = round_up(a->dim, LANES);
  load_panel(x->rows, ld, a->o, a->heads, head, a->dim, token, rows, 1.0f);
  for (int64_t r = 0; r < rows; r++) {
    VEC sum = ZERO();
    for (int64_t d = 0; d < ld; d += LANES) sum = FMA(LOAD(x->rows + r * ld + d), LOAD(x->dout + r * ld + d), sum);
    x->delta[r] = SUM(sum);
  }
  memcpy((float *)a->delta->data + head * a->tokens + token, x->delta, (size_t)rows * sizeof(float));
}

static void backward_queries(const hone_attention *a, const backward_scratch *x, const hone_attention_range *range,
                             int64_t head, int64_t q_begin, int64_t q_end) {
  int64_t dim = a->dim, ld = round_up(dim, LANES), rows = q_end - q_begin, lanes = round_up(rows, LANES);
  int64_t token = range->first_token + q_begin, at = head * a->tokens + token;
  size_t padding = (size_t)((lanes - rows) * ld) * sizeof(float);
  load_panel(x->q, ld, a->q, a->heads, head, dim, token, rows, a->scale);
  load_panel(x->dout, ld, a->dout, a->heads, head, dim, token, rows, 1.0f);
  memset(x->q + rows * ld, 0, padding);
  memset(x->dout + rows * ld, 0, padding);
  transpose(x->qt, QT, x->q, ld, lanes, dim);
  transpose(x->dot, QT, x->dout, ld, lanes, dim);
  memcpy(x->lse, (const float *)a->lse->data + at, (size_t)rows * sizeof(float));
  if (range->want_dq) {
    compute_delta(a, x, head, token, rows);
    memset(x->dqt, 0, (size_t)(dim * QT) * sizeof(float));
  } else {
    memcpy(x->delta, (const float *)a->delta->data + at, (size_t)rows * sizeof(float));
  }
  for (int64_t q = rows; q < lanes; q++) x->lse[q] = INFINITY, x->delta[q] = 0; /* padding: p = 0 */

  int64_t k = hone_max(range->k_begin, hone_max(0, q_begin - a->window + 1) / KT * KT);
  for (int64_t last = hone_min(range->k_end, q_end); k < last; k += KT) {
    int64_t k_end = hone_min(k + KT, last), k_step, v_step, column = 0;
    const float *key = key_rows(x->key, &k_step, a->k, a->kv_heads, range->kv_head, dim, range->first_token + k, k_end - k);
    const float *value =
        key_rows(x->value, &v_step, a->v, a->kv_heads, range->kv_head, dim, range->first_token + k, k_end - k);
    tile_step step;
    while (next_step(&step, &column, q_begin, rows, k, k_end, a->window)) {
      int64_t skip = step.k_begin - k;
      backward_step(a, x, range, &step, key + skip * k_step, k_step, value + skip * v_step, v_step);
    }
  }
  if (!range->want_dq) return;
  for (int64_t d = 0; d < dim; d++) {
    for (int64_t q = 0; q < lanes; q++) x->dqt[d * QT + q] *= a->scale;
  }
  transpose(x->rows, ld, x->dqt, QT, dim, rows);
  store_panel(a->dq, a->heads, head, dim, token, rows, x->rows, ld);
}

static void backward_range(const hone_attention *a, void *scratch, const hone_attention_range *range) {
  int64_t ld = round_up(a->dim, LANES), keys = range->k_end - range->k_begin;
  backward_scratch x;
  backward_layout(a, range->want_dkv ? keys : 0, scratch, &x);
  if (range->want_dkv) {
    memset(x.dk, 0, (size_t)(keys * ld) * sizeof(float));
    memset(x.dv, 0, (size_t)(keys * ld) * sizeof(float));
  }
  for (int64_t head = range->head_begin; head < range->head_end; head++) {
    for (int64_t q = range->q_begin; q < range->q_end; q += QT) {
      backward_queries(a, &x, range, head, q, hone_min(q + QT, range->q_end));
    }
  }
  if (range->want_dkv) {
    int64_t token = range->first_token + range->k_begin;
    store_panel(a->dk, a->kv_heads, range->kv_head, a->dim, token, keys, x.dk, ld);
    store_panel(a->dv, a->kv_heads, range->kv_head, a->dim, token, keys, x.dv, ld);
  }
}

#include "attention_row.h"

const hone_attention_path ATTENTION_PATH = {forward_bytes, forward_tile,   backward_bytes,
                                            backward_range, decode_bytes, decode_row};
