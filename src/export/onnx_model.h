/* An ONNX model being put together. Private to this floor.
 *
 *     onnx_value y = onnx_op(m, "Relu", x);
 *     y = onnx_node(m, &(onnx_node_desc){.op = "Concat", .in = {y, z}, .attributes = {ONNX_INT("axis", 1)}});
 *
 * Errors are sticky, as those of a graph (nn/nn.h): after the first, every function does nothing and gives NULL, and
 * onnx_model_commit() reports it. */
#ifndef GP_EXPORT_ONNX_MODEL_H
#define GP_EXPORT_ONNX_MODEL_H

#include "export/onnx.h"
#include "nn/nn.h"

typedef struct onnx_model onnx_model;

/* Name of a tensor, owned by the model. */
typedef const char *onnx_value;

GP_NODISCARD gp_status onnx_model_create(onnx_model **out);
void onnx_model_destroy(onnx_model **model);

/* Makes the model fail with a message. */
void onnx_model_fail(onnx_model *m, gp_status status, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* The first error so far, or GP_OK. */
GP_NODISCARD gp_status onnx_model_status(const onnx_model *m);

/* ---- Nodes ---- */

/* What the names of the nodes that follow begin with. */
void onnx_scope(onnx_model *m, const char *scope);

typedef enum onnx_attribute_kind {
  ONNX_ATTRIBUTE_INT = 0,
  ONNX_ATTRIBUTE_INTS,
  ONNX_ATTRIBUTE_FLOAT
} onnx_attribute_kind;

typedef struct onnx_attribute {
  const char *name; /* NULL: none, and none behind it */
  onnx_attribute_kind kind;
  int32_t count; /* of ints */
  int64_t ints[4];
  float number;
} onnx_attribute;

#define ONNX_INT(key, value)       \
  {                                \
    .name = key, .ints = { value } \
  }
#define ONNX_INTS2(key, a, b)                                              \
  {                                                                        \
    .name = key, .kind = ONNX_ATTRIBUTE_INTS, .count = 2, .ints = { a, b } \
  }
#define ONNX_INTS4(key, a, b, c, d)                                              \
  {                                                                              \
    .name = key, .kind = ONNX_ATTRIBUTE_INTS, .count = 4, .ints = { a, b, c, d } \
  }
#define ONNX_FLOAT(key, value) \
  { .name = key, .kind = ONNX_ATTRIBUTE_FLOAT, .number = value }

enum { ONNX_MAX_ATTRIBUTES = 6 };

typedef struct onnx_node_desc {
  const char *op;               /* a literal */
  onnx_value in[NN_MAX_INPUTS]; /* NULL: none, and none behind it */
  onnx_attribute attributes[ONNX_MAX_ATTRIBUTES];
} onnx_node_desc;

/* A node of one output. */
onnx_value onnx_node(onnx_model *m, const onnx_node_desc *desc);

/* Nodes without attributes. */
onnx_value onnx_op(onnx_model *m, const char *op, onnx_value x);
onnx_value onnx_op2(onnx_model *m, const char *op, onnx_value a, onnx_value b);
onnx_value onnx_op3(onnx_model *m, const char *op, onnx_value a, onnx_value b, onnx_value c);

/* ---- Constants ---- */

/* [count] integers; the same ones are stored once. */
onnx_value onnx_int64s(onnx_model *m, const int64_t *values, int32_t count);

/* A single number; the same ones are stored once. */
onnx_value onnx_number(onnx_model *m, double value);

/* Memory of the model's own for a tensor's elements; NULL after an error. GP_ERROR_UNSUPPORTED is one where the model gets
 * larger than a file may be. */
float *onnx_floats(onnx_model *m, int64_t elements);
int64_t *onnx_integers(onnx_model *m, int64_t elements);

/* The constant of that name, or NULL: those of a scope may be wanted several times. */
onnx_value onnx_find_constant(const onnx_model *m, const char *name, bool scoped);

/* Constants of the contents of such memory. The name is put behind the scope where `scoped`. */
onnx_value onnx_float_tensor(onnx_model *m, const char *name, bool scoped, const int64_t *shape, int32_t rank,
                             const float *values);
onnx_value onnx_int64_tensor(onnx_model *m, const char *name, bool scoped, const int64_t *shape, int32_t rank,
                             const int64_t *values);

/* ---- The whole ---- */

/* A float32 tensor whose first axis is the batch; shape is of the others. */
onnx_value onnx_input(onnx_model *m, const char *name, const int64_t *shape, int32_t rank);

/* Gives the value that name, and makes it the output. It must not be the input, and nobody may read it. */
void onnx_output(onnx_model *m, onnx_value value, const char *name, const int64_t *shape, int32_t rank);

/* An entry of metadata_props; a model_metadata_put (train/model_file.h). */
GP_NODISCARD gp_status onnx_model_describe(void *model, const char *key, const char *text);

/* Writes the file, atomically. */
GP_NODISCARD gp_status onnx_model_commit(onnx_model *m, const char *path, onnx_summary *summary);

#endif
