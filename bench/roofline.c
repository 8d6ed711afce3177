/*
 * What the machine can do at most, measured: the yardstick of bench/run.sh, printed as lines of `name value`.
 *
 *   fma_f32     GFLOP/s of f32 fused multiply-adds that never leave the registers, all threads together
 *   dpbf16      the same with AVX512-BF16's dot products; no line on a machine without them
 *   copy_nMiB   GB/s of memcpy that reads n/2 MiB and writes n/2 MiB, both counted, split among the threads
 *
 * Each is the best of many short trials, since a disturbance can only slow a trial down.
 */
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define WIDTH 64
#define CHAINS 24 /* 2 units x 4 cycles need 8; 24 accumulators of 32 registers leave room for the factors */
#elif defined(__AVX__)
#define WIDTH 32
#define CHAINS 12
#else
#define WIDTH 16
#define CHAINS 12
#endif
#define ROUNDS 20000
#define TRIALS 60

typedef float vec __attribute__((vector_size(WIDTH)));

static volatile float factor = 0.999f, addend = 1e-3f, sink;

static void fma_rounds(void) {
  vec a = factor - (vec){0}, b = addend - (vec){0}, acc[CHAINS];
  for (int i = 0; i < CHAINS; i++) acc[i] = b * (float)i;
  for (int r = 0; r < ROUNDS; r++) {
    for (int i = 0; i < CHAINS; i++) acc[i] = acc[i] * a + b;
  }
  for (int i = 1; i < CHAINS; i++) acc[0] += acc[i];
  sink = acc[0][0];
}

#if defined(__AVX512BF16__)
static void dpbf16_rounds(void) {
  __m512bh a = _mm512_cvtne2ps_pbh(_mm512_set1_ps(factor), _mm512_set1_ps(factor));
  __m512bh b = _mm512_cvtne2ps_pbh(_mm512_set1_ps(addend), _mm512_set1_ps(addend));
  __m512 acc[CHAINS];
  for (int i = 0; i < CHAINS; i++) acc[i] = _mm512_set1_ps((float)i);
  for (int r = 0; r < ROUNDS; r++) {
    for (int i = 0; i < CHAINS; i++) acc[i] = _mm512_dpbf16_ps(acc[i], a, b);
  }
  for (int i = 1; i < CHAINS; i++) acc[0] = _mm512_add_ps(acc[0], acc[i]);
  sink = _mm512_reduce_add_ps(acc[0]);
}
#endif

/* Best GFLOP/s of all threads doing `flop` operations each at once. */
static double peak(void (*rounds)(void), double flop) {
  double best = 0;
  for (int t = 0; t < TRIALS; t++) {
    int threads = 1;
    double start = 0;
#pragma omp parallel
    {
#pragma omp barrier
#pragma omp master
      {
        threads = omp_get_num_threads();
        start = omp_get_wtime();
      }
#pragma omp barrier
      rounds();
    }
    double rate = threads * flop / (omp_get_wtime() - start) * 1e-9;
    if (rate > best) best = rate;
  }
  return best;
}

static double copy(char *to, const char *from, size_t bytes) {
  double best = 0;
  int times = (int)((64u << 20) / bytes) + 1;
  for (int t = 0; t < 12; t++) {
    double start = omp_get_wtime();
#pragma omp parallel
    {
      size_t n = (size_t)omp_get_num_threads(), me = (size_t)omp_get_thread_num();
      size_t begin = bytes * me / n, end = bytes * (me + 1) / n;
      for (int i = 0; i < times; i++) {
        memcpy(to + begin, from + begin, end - begin);
        __asm__ volatile("" ::: "memory");
      }
    }
    double rate = 2.0 * (double)bytes * times / (omp_get_wtime() - start) * 1e-9;
    if (rate > best) best = rate;
  }
  return best;
}

int main(void) {
  const size_t largest = 128u << 20;
  printf("fma_f32 %.2f\n", peak(fma_rounds, 2.0 * ROUNDS * CHAINS * (WIDTH / 4)));
#if defined(__AVX512BF16__)
  printf("dpbf16 %.2f\n", peak(dpbf16_rounds, 4.0 * ROUNDS * CHAINS * (WIDTH / 4)));
#endif
  char *from = malloc(largest), *to = malloc(largest);
  if (!from || !to) {
    fputs("roofline: no memory for the copies\n", stderr);
    return 1;
  }
  memset(from, 1, largest);
  memset(to, 2, largest);
  for (size_t mib = 1; mib <= 256; mib *= 4) printf("copy_%zuMiB %.2f\n", mib, copy(to, from, mib << 19));
  free(from);
  free(to);
  return 0;
}
