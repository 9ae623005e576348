#include "data/listing.h"

#include "base/memory.h"
#include "base/status.h"

#include <string.h>

static void free_classes(data_listing *listing) {
  for (int32_t i = 0; listing->class_names != NULL && i < listing->classes; ++i) gp_free(listing->class_names[i]);
  gp_free(listing->class_names);
  listing->class_names = NULL;
  listing->classes = 0;
}

void data_listing_free(data_listing *listing) {
  if (listing == NULL) return;
  free_classes(listing);
  gp_free(listing->labels);
  gp_free(listing->name_at);
  gp_free(listing->text);
  *listing = (data_listing){0};
}

gp_status data_listing_set_classes(data_listing *listing, const char *const *names, int32_t classes) {
  gp_status status = GP_OK;
  free_classes(listing);
  GP_TRY(GP_ALLOC(&listing->class_names, (size_t)classes));
  listing->classes = classes;
  for (int32_t i = 0; i < classes; ++i) GP_TRY(gp_strdup(&listing->class_names[i], names[i]));
cleanup:
  return status;
}

/* Room for `needed` elements, twice as much each time. */
static gp_status grow(void **array, size_t *room, size_t used, size_t needed, size_t size) {
  void *wider = NULL;
  size_t wanted = *room > 0 ? *room : 1024;
  if (needed <= *room) return GP_OK;
  while (wanted < needed) wanted *= 2;
  gp_status status = gp_alloc(&wider, wanted, size);
  if (status != GP_OK) return status;
  if (used > 0) memcpy(wider, *array, used * size);
  gp_free(*array);
  *array = wider;
  *room = wanted;
  return GP_OK;
}

gp_status data_listing_add(data_listing *listing, const char *name, int32_t label) {
  gp_status status = GP_OK;
  const size_t count = (size_t)listing->count, bytes = strlen(name) + 1;
  GP_TRY(grow((void **)&listing->labels, &listing->label_room, count, count + 1, sizeof *listing->labels));
  GP_TRY(grow((void **)&listing->name_at, &listing->name_room, count, count + 1, sizeof *listing->name_at));
  GP_TRY(grow((void **)&listing->text, &listing->text_room, listing->text_bytes, listing->text_bytes + bytes, 1));
  listing->labels[count] = label;
  listing->name_at[count] = listing->text_bytes;
  memcpy(listing->text + listing->text_bytes, name, bytes);
  listing->text_bytes += bytes;
  listing->count++;
cleanup:
  return status;
}

int32_t data_listing_find_class(const data_listing *listing, const char *name) {
  /* Class lists are nearly always sorted, as their folders are: look there first, then everywhere. */
  int32_t low = 0, high = listing->classes - 1;
  while (low <= high) {
    const int32_t middle = low + (high - low) / 2, order = strcmp(name, listing->class_names[middle]);
    if (order == 0) return middle;
    if (order < 0) high = middle - 1;
    if (order > 0) low = middle + 1;
  }
  for (int32_t i = 0; i < listing->classes; ++i)
    if (strcmp(name, listing->class_names[i]) == 0) return i;
  return -1;
}
