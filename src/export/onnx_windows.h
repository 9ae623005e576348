/* All windows of a pooling laid out, so that what is computed over one is a reduction over two axes. Private to the
 * poolings. Sizes are fixed when the file is written, but for the batch: what counts where is constants. */
#ifndef GP_EXPORT_ONNX_WINDOWS_H
#define GP_EXPORT_ONNX_WINDOWS_H

#include "export/onnx_model.h"
#include "pool/shape.h"

/* A pooling's windows along both axes. */
typedef struct onnx_geometry {
  gp_pool_plan plan;
  int64_t size[2], out[2]; /* of x and y */
  int64_t after[2]; /* padding behind the last element that some window reaches; in front it is the descriptor's */
  bool padded;      /* some window reaches beyond x */
  bool uneven;      /* the mean's divisor is not everywhere the kernel's number of elements */
} onnx_geometry;

GP_NODISCARD gp_status onnx_geometry_make(onnx_geometry *out, const gp_pool_desc *operation);

/* `values` is [n][c][rows…][columns…] with two axes for rows and two for columns, one of each the window's. Reductions keep
 * them, of size 1; results go through onnx_window_results(). */
typedef struct onnx_windows {
  const onnx_geometry *geometry;
  onnx_value values;    /* zeros where a window reaches beyond x */
  int64_t axes[2];      /* of values: row and column within the window */
  int64_t mask_dims[4]; /* shape of a [kernel][kernel] tensor that goes with values */
} onnx_windows;

onnx_windows onnx_windows_of(onnx_model *m, onnx_value x, const onnx_geometry *geometry);

onnx_value onnx_window_sum(onnx_model *m, const onnx_windows *w, onnx_value values);
onnx_value onnx_window_max(onnx_model *m, const onnx_windows *w, onnx_value values);

/* Values divided by the mean's divisor, or by the number of x's elements in the window. */
onnx_value onnx_window_divide(onnx_model *m, const onnx_windows *w, onnx_value values);
onnx_value onnx_window_divide_by_real(onnx_model *m, const onnx_windows *w, onnx_value values);

/* Values, 0 where the mean's divisor does not count the element. */
onnx_value onnx_window_counted(onnx_model *m, const onnx_windows *w, onnx_value values);

/* Values, -infinity where the element is none of x's. */
onnx_value onnx_window_real_or_least(onnx_model *m, const onnx_windows *w, onnx_value values);

/* A guide [n][c][1][1] that goes with values, and back: a result to [n][c][h'][w']. */
onnx_value onnx_window_guide(onnx_model *m, onnx_value guide);
onnx_value onnx_window_results(onnx_model *m, const onnx_windows *w, onnx_value y);

#endif
