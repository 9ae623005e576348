/* Shared by the option sources and by recipes. */
#ifndef GP_TRAIN_OPTION_IMPL_H
#define GP_TRAIN_OPTION_IMPL_H

#include "train/option.h"

/* Sets one field from text; a message begins with prefix and name. */
GP_NODISCARD gp_status option_set_text(const option_desc *option, void *config, const char *prefix, const char *text);

/* Whether the field is a string. */
bool option_is_text(const option_desc *option);

/* The option whose name is nearest by edit distance, or NULL if none is near. */
const option_desc *option_nearest(const option_table *table, const char *name);

#endif
