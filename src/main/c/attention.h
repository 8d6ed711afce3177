/* attention.h - what the reference and the tiled paths of attention (attention.c) share. Not part of the ABI. */
#ifndef HONE_ATTENTION_H
#define HONE_ATTENTION_H

#include "internal.h"

/* One checked call. Decode has one document, whose queries are the positions start .. start+tokens-1. */
typedef struct hone_attention {
  const hone_tensor *o, *lse, *q, *k, *v;        /* lse null in decode */
  const hone_tensor *dq, *dk, *dv, *delta, *dout; /* backward only */
  const int32_t *docs;                            /* null in decode */
  int64_t documents, tokens, heads, kv_heads, dim, start;
  int64_t window; /* INT32_MAX when there is none: then nothing is outside it */
  float scale, softcap;
} hone_attention;

/* A run of rows of one document, counted from the document's first token. */
typedef struct hone_attention_rows {
  int64_t first_token; /* of the document in k and v */
  int64_t begin, end;  /* positions of the rows in the document */
  int64_t length;      /* keys of the document */
  int64_t cost;        /* query-key pairs, for balance */
} hone_attention_rows;

/* The part of one backward that a work item computes: queries [q_begin, q_end) of some query heads of a kv head against
 * the keys [k_begin, k_end) of a document. */
typedef struct hone_attention_range {
  int64_t first_token, kv_head, head_begin, head_end, q_begin, q_end, k_begin, k_end;
  bool want_dq;  /* dq and delta of these queries: the range must hold every key that they see */
  bool want_dkv; /* dk, dv of these keys: the range must hold every query and head of the group that sees them */
} hone_attention_range;

/* The tiled path of one instruction set (attention_tile.h). Each function computes one work item in the calling thread;
 * `scratch` has the bytes that its sizing function asks for. */
typedef struct hone_attention_path {
  size_t (*forward_bytes)(const hone_attention *a);
  void (*forward)(const hone_attention *a, void *scratch, const hone_attention_rows *rows, int64_t head);
  size_t (*backward_bytes)(const hone_attention *a, int64_t keys);
  void (*backward)(const hone_attention *a, void *scratch, const hone_attention_range *range);
  size_t (*decode_bytes)(const hone_attention *a, int64_t heads);
  void (*decode)(const hone_attention *a, void *scratch, int64_t row, int64_t head_begin, int64_t head_end);
} hone_attention_path;

extern const hone_attention_path hone_attention_avx2, hone_attention_avx512;

/* Queries and keys of a tile; tiles start at multiples of these in a document, whatever else the call holds. A tile of
 * scores (24 KiB) and q^T at D = 64 (16 KiB) lie together in a first-level cache of 48 KiB. */
enum { HONE_QUERY_TILE = 64, HONE_KEY_TILE = 96 };

int32_t hone_attention_reference_forward(const hone_attention *a);
int32_t hone_attention_reference_backward(const hone_attention *a);

/* Element offset of head `head` of token `token` in a (tokens, heads, dim) tensor. */
static inline int64_t hone_head_offset(int64_t token, int64_t heads, int64_t head, int64_t dim) {
  return (token * heads + head) * dim;
}

#endif
