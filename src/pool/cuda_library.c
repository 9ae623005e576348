/* gausspool_cuda.h in libgausspool: each function hands its arguments to the one of the same name in libgausspool_cuda, which is
 * loaded on first use, so that nothing here depends on CUDA. */
#include <gausspool/gausspool_cuda.h>

#include "base/status.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIBRARY "libgausspool_cuda.so.0"

enum { MESSAGE_SIZE = 600, PATH_SIZE = 4096 };

/* The functions of the library. */
static struct {
  gp_status (*available)(void);
  gp_status (*forward_workspace)(const gp_pool_desc *desc, size_t *bytes);
  gp_status (*backward_workspace)(const gp_pool_desc *desc, size_t *bytes);
  gp_status (*forward)(const gp_pool_desc *desc, const gp_pool_forward_args *args, void *stream);
  gp_status (*backward)(const gp_pool_desc *desc, const gp_pool_backward_args *args, void *stream);
  const char *(*last_error)(void);
  const char *(*version)(void);
} cuda;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool loaded;
static char reason[MESSAGE_SIZE]; /* why not */

/* Its path beside the file that this function is part of. */
static bool path_beside(char path[PATH_SIZE]) {
  Dl_info info;
  void *self;
  gp_status (*own)(void) = gp_cuda_available;
  memcpy(&self, &own, sizeof self);
  const char *slash = dladdr(self, &info) != 0 && info.dli_fname != NULL ? strrchr(info.dli_fname, '/') : NULL;
  if (slash == NULL) return false;
  int length = (int)(slash - info.dli_fname) + 1;
  return snprintf(path, PATH_SIZE, "%.*s" LIBRARY, length, info.dli_fname) < PATH_SIZE;
}

static void *open_library(void) {
  const char *given = getenv("GAUSSPOOL_CUDA_LIBRARY");
  if (given != NULL && given[0] != '\0') return dlopen(given, RTLD_NOW | RTLD_LOCAL);
  char path[PATH_SIZE];
  void *library = path_beside(path) ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
  return library != NULL ? library : dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
}

/* ISO C has no cast from a pointer to data, which dlsym gives, to one to a function. */
static bool find(void *library, const char *name, void *function) {
  void *symbol = dlsym(library, name);
  memcpy(function, &symbol, sizeof symbol);
  return symbol != NULL;
}

static void load(void) {
  void *library = open_library();
  if (library == NULL) {
    const char *error = dlerror();
    snprintf(reason, sizeof reason,
             "pooling on CUDA needs " LIBRARY
             " (built where nvcc is found) in GAUSSPOOL_CUDA_LIBRARY, beside libgausspool or "
             "where the system looks: %s",
             error != NULL ? error : "not found");
    return;
  }
  bool complete = find(library, "gp_cuda_available", &cuda.available) &&
                  find(library, "gp_cuda_pool_forward_workspace", &cuda.forward_workspace) &&
                  find(library, "gp_cuda_pool_backward_workspace", &cuda.backward_workspace) &&
                  find(library, "gp_cuda_pool_forward", &cuda.forward) &&
                  find(library, "gp_cuda_pool_backward", &cuda.backward) &&
                  find(library, "gp_last_error", &cuda.last_error) && find(library, "gp_version", &cuda.version);
  if (!complete)
    snprintf(reason, sizeof reason, LIBRARY ": not gausspool's library of that name: functions are missing");
  else if (strcmp(cuda.version(), gp_version()) != 0)
    snprintf(reason, sizeof reason, "expected " LIBRARY " of version %s, as libgausspool, found %s", gp_version(),
             cuda.version());
  else
    loaded = true;
  /* It stays open: its functions may be running. */
}

static gp_status need(void) {
  pthread_once(&once, load);
  return loaded ? GP_OK : gp_fail(GP_ERROR_NOT_FOUND, "%s", reason);
}

/* Its message becomes ours. */
static gp_status told(gp_status status) { return status == GP_OK ? GP_OK : gp_fail(status, "%s", cuda.last_error()); }

gp_status gp_cuda_available(void) {
  gp_status status = need();
  return status == GP_OK ? told(cuda.available()) : status;
}

gp_status gp_cuda_pool_forward_workspace(const gp_pool_desc *desc, size_t *bytes) {
  gp_status status = need();
  return status == GP_OK ? told(cuda.forward_workspace(desc, bytes)) : status;
}

gp_status gp_cuda_pool_backward_workspace(const gp_pool_desc *desc, size_t *bytes) {
  gp_status status = need();
  return status == GP_OK ? told(cuda.backward_workspace(desc, bytes)) : status;
}

gp_status gp_cuda_pool_forward(const gp_pool_desc *desc, const gp_pool_forward_args *args, void *stream) {
  gp_status status = need();
  return status == GP_OK ? told(cuda.forward(desc, args, stream)) : status;
}

gp_status gp_cuda_pool_backward(const gp_pool_desc *desc, const gp_pool_backward_args *args, void *stream) {
  gp_status status = need();
  return status == GP_OK ? told(cuda.backward(desc, args, stream)) : status;
}
