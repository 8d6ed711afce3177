/*
 * Causal attention over documents laid end to end, flash style: no matrix of scores ever exists whole.
 *
 * Forward.   For a query i of a document and the keys j <= i of the same document with j > i - w (window w > 0):
 *              x_ij = scale q_i . k_j      s_ij = c tanh(x_ij / c), or x_ij without a cap
 *              lse_i = log sum_j exp(s_ij)    p_ij = exp(s_ij - lse_i)    o_i = sum_j p_ij v_j
 *            Query head h uses key and value head h / (H / KV).
 *            Tiles keep a running maximum t and sum l a query; a new tile with maximum t' > t first multiplies l and o by
 *            exp(t - t'). At the end o /= l and lse = t + log l.
 * Backward.  o_i is linear in v_j, so                       dv_j = sum_i p_ij do_i
 *            and the gradient of p_ij is                     dp_ij = do_i . v_j.
 *            p_i is a softmax: dp_ij / ds_ik = p_ij ([j = k] - p_ik), so
 *              ds_ij = p_ij (dp_ij - sum_k p_ik dp_ik) = p_ij (dp_ij - delta_i),
 *              delta_i = sum_k p_ik (do_i . v_k) = do_i . o_i, a row sum that needs no scores.
 *            The cap: dx_ij = ds_ij d(c tanh(x / c))/dx = ds_ij (1 - tanh^2(x_ij / c)) = ds_ij (1 - (s_ij / c)^2).
 *            x_ij is bilinear: dq_i = scale sum_j dx_ij k_j,   dk_j = scale sum_i dx_ij q_i.
 *            p_ij comes again from q, k and lse. dk and dv sum over the query heads of their group.
 * Work.      forward: (query head, query tile). Backward: either one pass for each (kv head, document) that makes dq, dk
 *            and dv from one computation of p and ds, 5 products of a tile; or, when those are too few to keep the threads
 *            busy, dq by (query head, query tile) and then dk, dv by (kv head, run of keys), 7 products. Longest first.
 *            Each element of a result has one writer that adds in one order, whatever the threads, the choice and the
 *            other documents: a packed document's results are bitwise those of the document alone.
 * Shapes.    q, o, dout, dq (M,H,D)   k, v, dk, dv (M,KV,D)   lse, delta (H,M) f32   docs (n+1) i32
 * Memory.    saved: o, lse. Scratch a thread: 64 x 96 tiles and 64 x D panels; backward in one pass 2 T D f32 for
 *            the document's dk and dv, at most ONE_PASS_BYTES, else 2 KEY_RUN D f32.
 * Rounding.  bf16 rows are widened on load; scores, p, sums and all products in f32; each result is rounded once.
 *            The tiled paths use exp and tanh of vecmath.h, the reference libm.
 * Mirrors.   attention_reference.c (plain C), attention_tile.h - AttentionTest, AttentionBackwardTest
 */
#include <omp.h>

#include "attention.h"

/* Keys a work item of the dk, dv pass takes, a multiple of both tiles: long enough to share a query tile's panels. */
enum { KEY_RUN = 4 * HONE_KEY_TILE };
_Static_assert(KEY_RUN % HONE_QUERY_TILE == 0, "runs of keys begin where query tiles do");
/* Beyond this the one-pass sums of dk and dv leave the second-level cache anyway. */
enum { ONE_PASS_BYTES = 8 << 20 };
/* The passes that split dq from dk, dv cost 7 products of a tile instead of 5. */
#define SPLIT_COST (7.0 / 5.0)

/* ---- checks -------------------------------------------------------------------------------------------------------- */

static int32_t check_inputs(const char *op, hone_attention *a, float scale, int32_t window, float softcap) {
  HONE_CHECK3(op, a->q, HONE_ACTIVATIONS, -1, -1, -1);
  a->tokens = a->q->shape[0], a->heads = a->q->shape[1], a->dim = a->q->shape[2];
  uint32_t dtype = HONE_DTYPE_BIT(a->q->dtype);
  HONE_CHECK3(op, a->k, dtype, -1, -1, a->dim);
  a->kv_heads = a->k->shape[1];
  HONE_REQUIRE(a->dim > 0 && a->heads > 0 && a->kv_heads > 0 && a->heads % a->kv_heads == 0,
               "%s: %s has %lld heads, %s %lld of dim %lld; want a multiple, all positive", op, a->q->name,
               (long long)a->heads, a->k->name, (long long)a->kv_heads, (long long)a->dim);
  HONE_CHECK3(op, a->v, dtype, a->k->shape[0], a->kv_heads, a->dim);
  HONE_CHECK3(op, a->o, dtype, a->tokens, a->heads, a->dim);
  HONE_REQUIRE(a->tokens <= INT32_MAX, "%s: %s has %lld tokens, want at most 2^31 - 1", op, a->q->name,
               (long long)a->tokens);
  HONE_REQUIRE(window >= 0, "%s: window is %d, want 0 (none) or more", op, window);
  HONE_REQUIRE(softcap >= 0 && softcap <= 3e38f, "%s: softcap is %g, want 0 (none) or a positive number", op, softcap);
  HONE_REQUIRE(scale >= -3e38f && scale <= 3e38f, "%s: scale is %g, want a number", op, scale);
  a->scale = scale, a->softcap = softcap, a->window = window ? window : INT32_MAX;
  return HONE_OK;
}

static int32_t check_documents(const char *op, hone_attention *a, const hone_tensor *docs) {
  HONE_CHECK1(op, docs, HONE_DTYPE_BIT(HONE_I32), -1);
  HONE_REQUIRE(docs->shape[0] >= 1, "%s: %s is empty, want the first token of each document and the token count", op,
               docs->name);
  const int32_t *at = docs->data;
  a->docs = at, a->documents = docs->shape[0] - 1;
  for (int64_t j = 0; j < a->documents; j++) {
    HONE_REQUIRE(at[j + 1] >= at[j], "%s: %s falls from %d to %d at %lld", op, docs->name, at[j], at[j + 1],
                 (long long)j + 1);
  }
  HONE_REQUIRE(at[0] == 0 && at[a->documents] == a->tokens, "%s: %s runs from %d to %d, want 0 to %lld tokens", op,
               docs->name, at[0], at[a->documents], (long long)a->tokens);
  return HONE_OK;
}

static const hone_attention_path *chosen_path(void) {
#if defined(__x86_64__)
  if (hone_isa() >= HONE_ISA_AVX512) return &hone_attention_avx512;
  if (hone_isa() >= HONE_ISA_AVX2) return &hone_attention_avx2;
#endif
  return NULL;
}

/* ---- work items ---------------------------------------------------------------------------------------------------- */

/* Pairs (query, key) with key in [k_begin, k_end) that the queries [q_begin, q_end) see. */
static int64_t pairs(int64_t q_begin, int64_t q_end, int64_t k_begin, int64_t k_end, int64_t window) {
  int64_t sum = 0;
  for (int64_t q = q_begin; q < q_end; q += HONE_QUERY_TILE) {
    int64_t middle = hone_min(q + HONE_QUERY_TILE / 2, q_end - 1), rows = hone_min(HONE_QUERY_TILE, q_end - q);
    int64_t seen = hone_min(k_end, middle + 1) - hone_max(k_begin, middle - window + 1);
    sum += rows * hone_max(seen, 1);
  }
  return sum;
}

static void sort_by_cost(hone_attention_rows *rows, int64_t count) {
  for (int64_t gap = count / 2; gap > 0; gap /= 2) {
    for (int64_t i = gap; i < count; i++) {
      hone_attention_rows moved = rows[i];
      int64_t j = i;
      for (; j >= gap && rows[j - gap].cost < moved.cost; j -= gap) rows[j] = rows[j - gap];
      rows[j] = moved;
    }
  }
}

/* Cuts each document into runs of at most `unit` rows from its first position on, costliest first: runs of queries against
 * all keys, or of keys against all queries. The list lies in the calling thread's slot 0. */
static hone_attention_rows *cut(const hone_attention *a, int64_t unit, bool keys, int64_t *count) {
  const int32_t one[2] = {0, (int32_t)a->tokens}, *docs = a->docs ? a->docs : one;
  int64_t documents = a->docs ? a->documents : 1, n = 0;
  for (int64_t j = 0; j < documents; j++) n += (docs[j + 1] - docs[j] + unit - 1) / unit;
  hone_attention_rows *rows = hone_workspace(0, (size_t)hone_max(n, 1) * sizeof(hone_attention_rows));
  if (!rows) return NULL;
  n = 0;
  for (int64_t j = 0; j < documents; j++) {
    int64_t length = docs[j + 1] - docs[j] + a->start;
    for (int64_t at = length > a->start ? a->start + (length - a->start - 1) / unit * unit : -1; at >= a->start;
         at -= unit) {
      int64_t end = hone_min(at + unit, length);
      int64_t cost = keys ? pairs(at, hone_min(length, end - 1 + a->window), at, end, a->window)
                          : pairs(at, end, 0, length, a->window);
      rows[n++] = (hone_attention_rows){docs[j], at, end, length, cost};
    }
  }
  sort_by_cost(rows, n);
  *count = n;
  return rows;
}

static int32_t no_memory(const char *op, size_t bytes) {
  return hone_fail(HONE_OUT_OF_MEMORY, "%s: no memory for %lld bytes of scratch in a thread", op, (long long)bytes);
}

/* ---- forward and decode -------------------------------------------------------------------------------------------- */

static int32_t forward(const char *op, const hone_attention *a, const hone_attention_path *path) {
  int64_t count, bytes = (int64_t)path->forward_bytes(a);
  const hone_attention_rows *tiles = cut(a, HONE_QUERY_TILE, false, &count);
  if (!tiles) return no_memory(op, (size_t)a->tokens);
  bool failed = false;
#pragma omp parallel for schedule(dynamic)
  for (int64_t i = 0; i < count * a->heads; i++) {
    void *scratch = hone_workspace(1, (size_t)bytes);
    if (scratch) {
      path->forward(a, scratch, tiles + i / a->heads, i % a->heads);
    } else {
#pragma omp atomic write
      failed = true;
    }
  }
  return failed ? no_memory(op, (size_t)bytes) : HONE_OK;
}

int32_t hone_attention_forward(const hone_tensor *o, const hone_tensor *lse, const hone_tensor *q, const hone_tensor *k,
                               const hone_tensor *v, const hone_tensor *docs, float scale, int32_t window,
                               float softcap) {
  const char *op = "attention_forward";
  hone_attention a = {.o = o, .lse = lse, .q = q, .k = k, .v = v};
  HONE_TRY(check_inputs(op, &a, scale, window, softcap));
  HONE_CHECK3(op, k, HONE_ACTIVATIONS, a.tokens, a.kv_heads, a.dim);
  HONE_CHECK2(op, lse, HONE_DTYPE_BIT(HONE_F32), a.heads, a.tokens);
  HONE_TRY(check_documents(op, &a, docs));
  const hone_attention_path *path = chosen_path();
  return path ? forward(op, &a, path) : hone_attention_reference_forward(&a);
}

/* From this many rows on, tiles beat single rows. */
enum { DECODE_TILE_ROWS = 8 };

int32_t hone_attention_decode(const hone_tensor *o, const hone_tensor *q, const hone_tensor *k_cache,
                              const hone_tensor *v_cache, int64_t start, float scale, int32_t window, float softcap) {
  const char *op = "attention_decode";
  hone_attention a = {.o = o, .q = q, .k = k_cache, .v = v_cache, .documents = 1, .start = start};
  HONE_TRY(check_inputs(op, &a, scale, window, softcap));
  HONE_REQUIRE(start >= 0 && start + a.tokens <= k_cache->shape[0],
               "%s: %s has room for %lld positions, want %lld from %lld on", op, k_cache->name,
               (long long)k_cache->shape[0], (long long)a.tokens, (long long)start);
  const hone_attention_path *path = chosen_path();
  if (!path) return hone_attention_reference_forward(&a);
  if (a.tokens >= DECODE_TILE_ROWS) return forward(op, &a, path);

  int64_t group = a.heads / a.kv_heads, share = group; /* query heads of an item: all of a group if threads allow */
  while (share > 1 && a.tokens * a.kv_heads * ((group + share - 1) / share) < omp_get_max_threads()) share--;
  int64_t shares = (group + share - 1) / share, bytes = (int64_t)path->decode_bytes(&a, share);
  bool failed = false;
#pragma omp parallel for schedule(dynamic)
  for (int64_t i = 0; i < a.tokens * a.kv_heads * shares; i++) {
    void *scratch = hone_workspace(1, (size_t)bytes);
    if (scratch) {
      int64_t row = i / (a.kv_heads * shares), kv_head = i / shares % a.kv_heads, part = i % shares;
      path->decode(&a, scratch, row, kv_head * group + part * share, kv_head * group + hone_min((part + 1) * share, group));
    } else {
#pragma omp atomic write
      failed = true;
    }
  }
  return failed ? no_memory(op, (size_t)bytes) : HONE_OK;
}

/* ---- backward ------------------------------------------------------------------------------------------------------ */

/* Runs items (run of rows, head) for heads 0 .. heads-1. */
static int32_t backward_pass(const hone_attention *a, const hone_attention_path *path, const hone_attention_rows *rows,
                             int64_t count, bool want_dq, bool want_dkv, int64_t keys) {
  int64_t heads = want_dkv ? a->kv_heads : a->heads, group = a->heads / a->kv_heads;
  size_t bytes = path->backward_bytes(a, want_dkv ? keys : 0);
  bool failed = false;
#pragma omp parallel for schedule(dynamic)
  for (int64_t i = 0; i < count * heads; i++) {
    void *scratch = hone_workspace(1, bytes);
    if (!scratch) {
#pragma omp atomic write
      failed = true;
      continue;
    }
    const hone_attention_rows *run = rows + i / heads;
    int64_t head = i % heads;
    hone_attention_range range = {.first_token = run->first_token, .want_dq = want_dq, .want_dkv = want_dkv};
    if (want_dkv) {
      range.kv_head = head, range.head_begin = head * group, range.head_end = (head + 1) * group;
      range.k_begin = run->begin, range.k_end = run->end;
      range.q_begin = run->begin; /* a multiple of the tile; the end too, so that both choices cut the same tiles */
      int64_t tiles = (run->end - 1 + a->window + HONE_QUERY_TILE - 1) / HONE_QUERY_TILE;
      range.q_end = hone_min(run->length, tiles * HONE_QUERY_TILE);
    } else {
      range.kv_head = head / group, range.head_begin = head, range.head_end = head + 1;
      range.k_begin = 0, range.k_end = run->length;
      range.q_begin = run->begin, range.q_end = run->end;
    }
    path->backward(a, scratch, &range);
  }
  return failed ? no_memory("attention_backward", bytes) : HONE_OK;
}

/* Whether whole documents, longest first, fill the threads well enough that 5 products beat 7. */
static bool one_pass_is_quicker(const hone_attention *a, const hone_attention_rows *documents, int64_t count) {
  enum { MOST_THREADS = 256 };
  int64_t load[MOST_THREADS] = {0}, total = 0, longest = 0;
  int64_t threads = hone_min(omp_get_max_threads(), MOST_THREADS);
  for (int64_t i = 0; i < count * a->kv_heads; i++) {
    int64_t least = 0, cost = documents[i / a->kv_heads].cost;
    for (int64_t t = 1; t < threads; t++) least = load[t] < load[least] ? t : least;
    load[least] += cost;
    total += cost;
    longest = hone_max(longest, load[least]);
  }
  return (double)longest * (double)threads <= SPLIT_COST * (double)total;
}

int32_t hone_attention_backward(const hone_tensor *dq, const hone_tensor *dk, const hone_tensor *dv,
                                const hone_tensor *delta, const hone_tensor *dout, const hone_tensor *o,
                                const hone_tensor *lse, const hone_tensor *q, const hone_tensor *k, const hone_tensor *v,
                                const hone_tensor *docs, float scale, int32_t window, float softcap) {
  const char *op = "attention_backward";
  hone_attention a = {.o = o, .lse = lse, .q = q, .k = k, .v = v, .dq = dq, .dk = dk, .dv = dv, .delta = delta, .dout = dout};
  HONE_TRY(check_inputs(op, &a, scale, window, softcap));
  uint32_t dtype = HONE_DTYPE_BIT(q->dtype);
  HONE_CHECK3(op, k, dtype, a.tokens, a.kv_heads, a.dim);
  HONE_CHECK2(op, lse, HONE_DTYPE_BIT(HONE_F32), a.heads, a.tokens);
  HONE_CHECK3(op, dq, dtype, a.tokens, a.heads, a.dim);
  HONE_CHECK3(op, dk, dtype, a.tokens, a.kv_heads, a.dim);
  HONE_CHECK3(op, dv, dtype, a.tokens, a.kv_heads, a.dim);
  HONE_CHECK2(op, delta, HONE_DTYPE_BIT(HONE_F32), a.heads, a.tokens);
  HONE_CHECK3(op, dout, dtype, a.tokens, a.heads, a.dim);
  HONE_TRY(check_documents(op, &a, docs));
  const hone_attention_path *path = chosen_path();
  if (!path) return hone_attention_reference_backward(&a);

  int64_t count, longest = 0;
  hone_attention_rows *rows = cut(&a, INT32_MAX, true, &count);
  if (!rows) return no_memory(op, (size_t)a.documents);
  for (int64_t i = 0; i < count; i++) longest = hone_max(longest, rows[i].length);
  if (2 * longest * a.dim * (int64_t)sizeof(float) <= ONE_PASS_BYTES && one_pass_is_quicker(&a, rows, count)) {
    return backward_pass(&a, path, rows, count, true, true, longest);
  }
  if (!(rows = cut(&a, HONE_QUERY_TILE, false, &count))) return no_memory(op, (size_t)a.tokens);
  HONE_TRY(backward_pass(&a, path, rows, count, true, false, 0));
  if (!(rows = cut(&a, KEY_RUN, true, &count))) return no_memory(op, (size_t)a.tokens);
  return backward_pass(&a, path, rows, count, false, true, KEY_RUN);
}
