/* A promise to the compiler. */
#ifndef GP_BASE_VECTORIZE_H
#define GP_BASE_VECTORIZE_H

/* Before a loop whose iterations do not depend on each other although its pointers may be equal (work in place). */
#if defined(__clang__)
#define GP_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#elif defined(__GNUC__)
#define GP_INDEPENDENT _Pragma("GCC ivdep")
#else
#define GP_INDEPENDENT
#endif

#endif
