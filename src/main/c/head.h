/*
 * head.h - the tiled head of an instruction set (head_tile.h), between it and cross_entropy.c. Not part of the ABI.
 *
 * A work item is a run of labelled rows against a part of the vocabulary. What several parts find for the same rows is
 * merged in their order, then finished.
 */
#ifndef HONE_HEAD_H
#define HONE_HEAD_H

#include "internal.h"

/* One checked call of hone_cross_entropy without du. */
typedef struct hone_head {
  const hone_tensor *h, *u;  /* (M,C), (V,C) */
  const hone_tensor *dh;     /* (M,C), or null: then the loss alone */
  const int64_t *token;      /* the labelled rows of h */
  const int32_t *target;     /* the label of each row of h */
  double *loss;              /* = of row token[i] */
  const float *mean;         /* (C), of the rows of u; null: labels are not smoothed */
  float logit_scale, softcap;
  float smoothing;           /* above 0 with mean, and then softcap is 0 */
  float factor;              /* inv_count times logit_scale */
  int64_t run;               /* rows of an item at most, whole panels */
} hone_head;

/* Items are rows token[first] .. token[first+count-1], each item with scratch of its own, 64-byte aligned. */
typedef struct hone_head_path {
  int64_t panel;                          /* rows come in these */
  size_t (*bytes)(const hone_head *head); /* of an item's scratch */
  void (*walk)(const hone_head *head, void *scratch, int64_t first, int64_t count, int64_t begin, int64_t end);
  void (*merge)(const hone_head *head, void *into, void *from, int64_t count);
  void (*finish)(const hone_head *head, void *scratch, int64_t first, int64_t count);
} hone_head_path;

extern const hone_head_path hone_head_avx2, hone_head_avx512;

#endif
