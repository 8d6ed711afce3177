/* attention_avx512.c - the tiles of attention_tile.h with 512-bit vectors. */
#if defined(__x86_64__)
#include "vectors_avx512.h"

#define ATTENTION_PATH hone_attention_avx512
#include "attention_tile.h"
#endif
