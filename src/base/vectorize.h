/* A promise to the compiler. */
#ifndef GP_BASE_VECTORIZE_H
#define GP_BASE_VECTORIZE_H

/* Before a loop whose iterations do not depend on each other although its pointers may be equal (work in place). Clang
 * checks for overlap at run time and vectorises without being told. */
#if defined(__GNUC__) && !defined(__clang__)
#define GP_INDEPENDENT _Pragma("GCC ivdep")
#else
#define GP_INDEPENDENT
#endif

#endif
