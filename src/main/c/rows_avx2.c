/* rows_avx2.c - rows.h's passes, vectorised by the compiler; CMakeLists.txt sets its flags by the file's name. */
#if defined(__x86_64__)
#include "vecmath.h"
#define ROWS hone_rows_avx2
#define ROWS_PRAGMA(text) _Pragma(#text)
#define ROWS_SIMD(...) ROWS_PRAGMA(omp simd __VA_ARGS__)
#define ROWS_EXP hone_exp
#define ROWS_TANH hone_tanh
#define ROWS_LOGISTIC hone_logistic
#include "rows_body.h"
#else
typedef int hone_rows_not_for_this_machine; /* a translation unit must not be empty */
#endif
