/*
 * head_tile.h - the head's product, softmax and backward in one walk over the vocabulary, compiled once per instruction
 * set (vectors_*.h). Formulas and the choice between this and whole rows of logits: cross_entropy.c.
 *
 * As in attention, everything lies transposed, tokens along the vector lanes, a panel of them at a time:
 *   A^T  = U h^T          a block of U's rows, broadcast as they lie, by h^T, packed once
 *   E^T  = exp(Z^T - top) overwrites it; top, sum and rescaling are vertical, no lane ever crosses
 *   D^T += U^T E^T        the same rows of U, broadcast along the other axis, while they are in the cache
 * so that no logit leaves the first-level cache and U is read once. The target's own logit is taken out before the
 * exponential: what is summed is the others', and 1 - p of the target has nothing to cancel:
 *   lse = log(others + e^z_y),   dh = factor (D - others U_y) / (others + e^z_y)     all relative to e^top
 * Smoothed labels add eps (z_y - mean_v z_v) to a row's loss and factor eps (U_y - mean_v U_v) to its dh.
 */
#include <math.h>

#include "head.h"
#include "tile_product.h"
#include "vecmath.h"

enum {
  PANEL = WIDE * LANES, /* tokens */
  BLOCK = 96,           /* rows of U: with the panel's logits in L1, with their own columns in L2 */
  STRETCH = 400,        /* columns of U in a product: so much of a panel of h^T stays in L1 */
  CHUNK = 256,          /* elements of a row of U that are decoded at a time */
};

typedef struct {
  float *ht, *dt;       /* run / PANEL x (C, PANEL) */
  float *z;             /* (BLOCK, PANEL) */
  float *slope;         /* (BLOCK, PANEL), 1 - (z / softcap)^2 */
  float *rows;          /* (PANEL, C) */
  float *u;             /* (BLOCK, C), rows apart(C) floats apart */
  float *top, *factor;  /* (run): largest of the others so far; (PANEL): what older sums are worth */
  float *of_target;     /* (run) */
  double *others;       /* (run): sum of e^(z - top) */
} head_scratch;

/* Distance of the rows of a block of U: an odd number of cache lines, so that a column of it meets every set of a cache. */
static int64_t apart(int64_t hidden) { return ((hidden + 15) / 16 | 1) * 16; }

static size_t head_layout(const hone_head *head, char *at, head_scratch *out) {
  const int64_t hidden = head->h->shape[1], run = head->run;
  head_scratch x;
  char *start = at;
  x.ht = (float *)at, at += hidden * run * 4;
  x.dt = (float *)at, at += hidden * run * 4;
  x.z = (float *)at, at += BLOCK * PANEL * 4;
  x.slope = (float *)at, at += head->softcap > 0 ? BLOCK * PANEL * 4 : 0;
  x.others = (double *)at, at += run * 8;
  x.top = (float *)at, at += run * 4;
  x.factor = (float *)at, at += PANEL * 4;
  x.of_target = (float *)at, at += run * 4;
  x.rows = (float *)at, at += PANEL * hidden * 4;
  x.u = (float *)at, at += BLOCK * apart(hidden) * 4;
  if (out) *out = x;
  return (size_t)(at - start);
}

static size_t head_bytes(const hone_head *head) { return head_layout(head, NULL, NULL); }

/* Rows of U decoded to f32, rounded for bf16 activations. */
static void load_block(const hone_head *head, const head_scratch *x, int64_t first, int64_t count) {
  const hone_tensor *u = head->u;
  const int64_t hidden = u->shape[1];
  const bool rounded = head->h->dtype == HONE_BF16 && u->dtype != HONE_BF16;
  for (int64_t i = 0; i < count; i++) {
    float *row = x->u + i * apart(hidden);
    hone_load(row, u, (first + i) * hidden, hidden);
    for (int64_t c = 0; rounded && c < hidden; c++) row[c] = hone_bf16_to_f32(hone_f32_to_bf16(row[c]));
  }
}

/* h^T of the item's rows times logit_scale, padded with zeros. */
static void pack_rows(const hone_head *head, const head_scratch *x, int64_t first, int64_t count) {
  const int64_t hidden = head->h->shape[1];
  for (int64_t p = 0; p * PANEL < count; p++) {
    for (int64_t i = 0; i < PANEL; i++) {
      float *row = x->rows + i * hidden;
      if (p * PANEL + i < count) {
        hone_load(row, head->h, head->token[first + p * PANEL + i] * hidden, hidden);
        for (int64_t c = 0; c < hidden; c++) row[c] *= head->logit_scale;
      } else {
        memset(row, 0, (size_t)hidden * sizeof(float));
      }
    }
    transpose(x->ht + p * hidden * PANEL, PANEL, x->rows, hidden, PANEL, hidden);
  }
}

/* z = c tanh(z / c), and the slope of that. */
static void cap_logits(float *restrict z, float *restrict slope, int64_t n, float softcap) {
  const float inverse = 1.0f / softcap;
  for (int64_t i = 0; i < n; i++) {
    float t = hone_tanh(z[i] * inverse);
    z[i] = softcap * t;
    slope[i] = 1.0f - t * t;
  }
}

static void times(float *restrict z, const float *restrict slope, int64_t n) {
  for (int64_t i = 0; i < n; i++) z[i] *= slope[i];
}

/* z = e^(z - top) with top rising to the block's largest, sums with it; whether top rose: then `factor` says by how much. */
static bool online_exp(float *restrict z, int64_t count, float *restrict top, float *restrict factor,
                       double *restrict others) {
  float most[PANEL], sum[PANEL];
  bool rose = false;
  for (int t = 0; t < PANEL; t++) most[t] = top[t], sum[t] = 0;
  for (int64_t v = 0; v < count; v++) {
    for (int t = 0; t < PANEL; t++) most[t] = z[v * PANEL + t] > most[t] ? z[v * PANEL + t] : most[t];
  }
  for (int t = 0; t < PANEL; t++) rose |= most[t] != top[t];
  if (rose) {
    for (int t = 0; t < PANEL; t++) factor[t] = hone_exp_flushed(top[t] - most[t]);
    for (int t = 0; t < PANEL; t++) others[t] *= (double)factor[t], top[t] = most[t];
  }
  for (int64_t v = 0; v < count; v++) {
    for (int t = 0; t < PANEL; t++) {
      float e = hone_exp_flushed(z[v * PANEL + t] - most[t]);
      z[v * PANEL + t] = e;
      sum[t] += e;
    }
  }
  for (int t = 0; t < PANEL; t++) others[t] += (double)sum[t];
  return rose;
}

/* A block of U's rows against one panel of tokens, item rows panel .. panel+lanes-1. */
static void head_step(const hone_head *head, const head_scratch *x, int64_t row, int64_t count, int64_t first,
                      int64_t panel, int64_t lanes) {
  const int64_t hidden = head->h->shape[1], ld = apart(hidden);
  const float *ht = x->ht + panel * hidden;
  const int64_t stretches = (hidden + STRETCH - 1) / STRETCH, stretch = (hidden + stretches - 1) / stretches;
  for (int64_t c = 0; c < hidden; c += stretch) {
    const int64_t depth = hone_min(stretch, hidden - c);
    tile_product(count, PANEL, x->z, PANEL, x->u + c, ld, 1, ht + c * PANEL, PANEL, depth, c ? TILE_ADD : TILE_SET, NULL);
  }
  if (head->softcap > 0) cap_logits(x->z, x->slope, count * PANEL, head->softcap);
  for (int64_t t = 0; t < lanes; t++) {
    const int64_t own = head->target[head->token[first + panel + t]] - row;
    if (own < 0 || own >= count) continue;
    x->of_target[panel + t] = x->z[own * PANEL + t];
    x->z[own * PANEL + t] = -INFINITY;
  }
  const bool rose = online_exp(x->z, count, x->top + panel, x->factor, x->others + panel);
  if (!head->dh) return;
  if (head->softcap > 0) times(x->z, x->slope, count * PANEL);
  tile_product(hidden, PANEL, x->dt + panel * hidden, PANEL, x->u, 1, ld, x->z, PANEL, count,
               rose ? TILE_RESCALE : TILE_ADD, x->factor);
}

/* What smoothing adds to the loss of a row whose own logit is given. */
static double smoothed_loss(const hone_head *head, int64_t token, double own) {
  const int64_t hidden = head->h->shape[1];
  float h[CHUNK];
  double mean = 0;
  for (int64_t c = 0; c < hidden; c += CHUNK) {
    const int64_t n = hone_min(CHUNK, hidden - c);
    hone_load(h, head->h, token * hidden + c, n);
    for (int64_t j = 0; j < n; j++) mean += (double)h[j] * (double)head->mean[c + j];
  }
  return (double)head->smoothing * (own - (double)head->logit_scale * mean);
}

/* The loss of the item's row i and, from its row of D, dh. */
static void finish_row(const hone_head *head, const head_scratch *x, int64_t first, int64_t i, float *d) {
  const int64_t hidden = head->h->shape[1], token = head->token[first + i];
  const double own = x->of_target[i], base = own > (double)x->top[i] ? own : (double)x->top[i];
  const double scale = exp((double)x->top[i] - base), others = x->others[i] * scale, of_own = exp(own - base);
  const double sum = others + of_own;
  head->loss[first + i] = own == base ? log1p(others) : base - own + log(sum);
  if (head->mean) head->loss[first + i] += smoothed_loss(head, token, own);
  if (!head->dh) return;
  double share = others / sum - (double)head->smoothing; /* 1 - p, less the others' share of a smoothed label */
  if (head->softcap > 0) share *= 1 - own / (double)head->softcap * (own / (double)head->softcap);
  const float of_d = (float)((double)head->factor * scale / sum), of_u = (float)((double)head->factor * share);
  float buffer[CHUNK];
  for (int64_t c = 0; c < hidden; c += CHUNK) {
    const int64_t n = hone_min(CHUNK, hidden - c);
    hone_load(buffer, head->u, head->target[token] * hidden + c, n);
    for (int64_t j = 0; j < n; j++) d[c + j] = of_d * d[c + j] - of_u * buffer[j];
    for (int64_t j = 0; head->mean && j < n; j++) d[c + j] -= head->factor * head->smoothing * head->mean[c + j];
  }
  hone_store(head->dh, token * hidden, d, hidden, false);
}

static void head_walk(const hone_head *head, void *scratch, int64_t first, int64_t count, int64_t begin, int64_t end) {
  const int64_t hidden = head->h->shape[1], panels = (count + PANEL - 1) / PANEL;
  head_scratch x;
  head_layout(head, scratch, &x);
  pack_rows(head, &x, first, count);
  memset(x.dt, 0, (size_t)(hidden * head->run) * sizeof(float));
  for (int64_t i = 0; i < head->run; i++) x.top[i] = -0x1.fffffep+127f, x.of_target[i] = 0, x.others[i] = 0;

  for (int64_t row = begin, rows; row < end; row += rows) {
    rows = hone_min(BLOCK, end - row);
    load_block(head, &x, row, rows);
    for (int64_t panel = 0; panel < panels; panel++) {
      head_step(head, &x, row, rows, first, panel * PANEL, hone_min(PANEL, count - panel * PANEL));
    }
  }
}

/* Adds what a walk over another part of the vocabulary found for the same rows. */
static void head_merge(const hone_head *head, void *into, void *from, int64_t count) {
  const int64_t hidden = head->h->shape[1];
  head_scratch x, y;
  head_layout(head, into, &x);
  head_layout(head, from, &y);
  for (int64_t i = 0; i < count; i++) {
    const float top = y.top[i] > x.top[i] ? y.top[i] : x.top[i];
    const float of_x = hone_exp_flushed(x.top[i] - top), of_y = hone_exp_flushed(y.top[i] - top);
    const int64_t at = i / PANEL * PANEL * hidden + i % PANEL;
    for (int64_t c = at; c < at + hidden * PANEL; c += PANEL) x.dt[c] = of_x * x.dt[c] + of_y * y.dt[c];
    x.others[i] = (double)of_x * x.others[i] + (double)of_y * y.others[i];
    x.of_target[i] += y.of_target[i]; /* one of them is 0 */
    x.top[i] = top;
  }
}

static void head_finish(const hone_head *head, void *scratch, int64_t first, int64_t count) {
  const int64_t hidden = head->h->shape[1];
  head_scratch x;
  head_layout(head, scratch, &x);
  for (int64_t panel = 0; panel < count; panel += PANEL) {
    if (head->dh) transpose(x.rows, hidden, x.dt + panel * hidden, PANEL, hidden, PANEL);
    for (int64_t i = panel; i < hone_min(count, panel + PANEL); i++) {
      finish_row(head, &x, first, i, x.rows + (i - panel) * hidden);
    }
  }
}

const hone_head_path HEAD_PATH = {PANEL, head_bytes, head_walk, head_merge, head_finish};
