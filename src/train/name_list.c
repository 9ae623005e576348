#include "train/name_list.h"

#include <stdio.h>
#include <string.h>

enum { LISTED = 3 };

void name_list_add(name_list *list, const char *name) {
  const size_t used = strlen(list->names);
  list->count += 1;
  if (list->count > LISTED + 1) return;
  (void)snprintf(list->names + used, sizeof list->names - used, "%s%.150s", used > 0 ? ", " : "",
                 list->count <= LISTED ? name : "…");
}
