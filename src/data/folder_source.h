/* A data set as a folder of images: DIR/train/<class>/<file>, tests in DIR/val_dir, DIR/val or DIR/test; or packed. */
#ifndef GP_DATA_FOLDER_SOURCE_H
#define GP_DATA_FOLDER_SOURCE_H

#include "data/source_impl.h"

/* Opens a split, as the table of data sets does it. Classes are the training set's folders, sorted; where there is no
 * training set, the split's own; or those of the desc. Errors: GP_ERROR_NOT_FOUND, GP_ERROR_CORRUPT (a class without
 * images, or one that is not in the training set, unless desc->lenient), GP_ERROR_IO, out of memory. */
GP_NODISCARD gp_status data_folder_open(data_source **out, const data_set *set, const data_source_desc *desc);

#endif
