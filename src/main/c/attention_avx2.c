/* attention_avx2.c - the tiles of attention_tile.h with 256-bit vectors. */
#if defined(__x86_64__)
#include "vectors_avx2.h"

#define ATTENTION_PATH hone_attention_avx2
#include "attention_tile.h"
#endif
