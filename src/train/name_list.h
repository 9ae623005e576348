/* The first few names of a sort, and how many there are in all, for messages. */
#ifndef GP_TRAIN_NAME_LIST_H
#define GP_TRAIN_NAME_LIST_H

#include <gausspool/gausspool.h>

/* Zero-initialise. */
typedef struct name_list {
  int64_t count;
  char names[512]; /* "a, b, c, …" */
} name_list;

void name_list_add(name_list *list, const char *name);

#endif
