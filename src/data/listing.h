/* The files of an image folder's split: names and labels, by class. Made by scanning the folder, or read from an index. */
#ifndef GP_DATA_LISTING_H
#define GP_DATA_LISTING_H

#include <gausspool/gausspool.h>

/* Zero-initialise; data_listing_free() when done. */
typedef struct data_listing {
  int32_t classes;
  char **class_names; /* [classes] */
  int64_t count;
  int32_t *labels;   /* [count] */
  uint64_t *name_at; /* [count], where the sample's name begins in `text` */
  char *text;        /* names of files without their folders, each with its final zero */
  size_t text_bytes;
  size_t label_room, name_room, text_room; /* elements behind the arrays */
} data_listing;

void data_listing_free(data_listing *listing);

/* Takes copies of the names. Before any sample is added. */
GP_NODISCARD gp_status data_listing_set_classes(data_listing *listing, const char *const *names, int32_t classes);

/* Adds a sample at the end. */
GP_NODISCARD gp_status data_listing_add(data_listing *listing, const char *name, int32_t label);

/* The class of that name; -1: there is none. Names need not be in order. */
int32_t data_listing_find_class(const data_listing *listing, const char *name);

static inline const char *data_listing_name(const data_listing *listing, int64_t index) {
  return listing->text + listing->name_at[index];
}

#endif
