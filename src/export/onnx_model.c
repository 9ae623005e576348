/* The messages of onnx.proto, filled in. Everything they point to is in blocks that the model owns. */
#include "export/onnx_model.h"

#include "base/memory.h"
#include "base/status.h"
#include "export/onnx_file.h"

#include <inttypes.h>
#include <onnx.pb-c.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "tensors are little-endian, and written without swapping bytes"
#endif

enum { IR_VERSION = 7, NAME_SIZE = 512 }; /* the oldest that knows the opset */

/* In front of everything that is allocated. */
typedef struct block {
  struct block *next;
} block;

/* An array of pointers, as protobuf-c has repeated messages. */
typedef struct list {
  void **items;
  size_t count, capacity;
} list;

struct onnx_model {
  gp_status status; /* the first error; sticky */
  char message[1024];
  block *blocks;
  uint64_t bytes; /* of all tensors */
  Onnx__ModelProto model;
  Onnx__GraphProto graph;
  list nodes, initializers, metadata;
  char scope[NAME_SIZE];
  int64_t in_scope; /* nodes so far */
};

/* ---- Errors and memory ---- */

static void stick(onnx_model *m, gp_status status) {
  if (m->status != GP_OK) return;
  m->status = status;
  snprintf(m->message, sizeof m->message, "%s", gp_last_error());
}

void onnx_model_fail(onnx_model *m, gp_status status, const char *format, ...) {
  char message[sizeof m->message];
  va_list args;
  va_start(args, format);
  vsnprintf(message, sizeof message, format, args);
  va_end(args);
  stick(m, gp_fail(status, "%s", message));
}

gp_status onnx_model_status(const onnx_model *m) {
  return m->status == GP_OK ? GP_OK : gp_fail(m->status, "%s", m->message);
}

/* Zeroed memory that lives as long as the model; NULL after an error. */
static void *take(onnx_model *m, size_t count, size_t size) {
  size_t bytes = 0;
  block *made = NULL;
  gp_status status = GP_OK;
  if (m->status != GP_OK) return NULL;
  GP_TRY(gp_mul_size(&bytes, count, size));
  GP_TRY(gp_alloc((void **)&made, 1, bytes + GP_ALIGNMENT));
  made->next = m->blocks;
  m->blocks = made;
  return (char *)made + GP_ALIGNMENT;
cleanup:
  stick(m, status);
  return NULL;
}

static char *copy_text(onnx_model *m, const char *text) {
  char *copy = take(m, strlen(text) + 1, 1);
  if (copy != NULL) strcpy(copy, text);
  return copy;
}

static void append(onnx_model *m, list *l, void *item) {
  if (item == NULL || m->status != GP_OK) return;
  if (l->count == l->capacity) {
    size_t capacity = l->capacity == 0 ? 64 : 2 * l->capacity;
    void **items = take(m, capacity, sizeof *items);
    if (items == NULL) return;
    if (l->count > 0) memcpy(items, l->items, l->count * sizeof *items);
    l->items = items;
    l->capacity = capacity;
  }
  l->items[l->count++] = item;
}

/* A message, and an array with it as its only entry. */
#define NEW(m, variable, type, init)               \
  type *variable = take(m, 1, sizeof *(variable)); \
  if ((variable) != NULL) init(variable)

static void *only(onnx_model *m, void *item) {
  void **array = take(m, 1, sizeof *array);
  if (array != NULL) array[0] = item;
  return array;
}

gp_status onnx_model_create(onnx_model **out) {
  gp_status status = GP_ALLOC(out, 1);
  if (status != GP_OK) return status;
  onnx__model_proto__init(&(*out)->model);
  onnx__graph_proto__init(&(*out)->graph);
  return GP_OK;
}

void onnx_model_destroy(onnx_model **model) {
  onnx_model *m = *model;
  if (m == NULL) return;
  while (m->blocks != NULL) {
    block *next = m->blocks->next;
    gp_free(m->blocks);
    m->blocks = next;
  }
  gp_free(m);
  *model = NULL;
}

/* ---- Nodes ---- */

void onnx_scope(onnx_model *m, const char *scope) {
  snprintf(m->scope, sizeof m->scope, "%s", scope);
  m->in_scope = 0;
}

static Onnx__AttributeProto *make_attribute(onnx_model *m, const onnx_attribute *a) {
  NEW(m, attribute, Onnx__AttributeProto, onnx__attribute_proto__init);
  int64_t *ints = take(m, 4, sizeof *ints);
  char *name = copy_text(m, a->name);
  if (m->status != GP_OK) return NULL;
  attribute->name = name;
  attribute->has_type = true;
  switch (a->kind) {
    case ONNX_ATTRIBUTE_INT:
      attribute->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT;
      attribute->has_i = true;
      attribute->i = a->ints[0];
      break;
    case ONNX_ATTRIBUTE_INTS:
      attribute->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS;
      attribute->n_ints = (size_t)a->count;
      attribute->ints = memcpy(ints, a->ints, sizeof a->ints);
      break;
    case ONNX_ATTRIBUTE_FLOAT:
      attribute->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT;
      attribute->has_f = true;
      attribute->f = a->number;
      break;
  }
  return attribute;
}

/* "layer1.0.conv1/Conv"; the k-th further one in the scope gets a number. */
static char *name_node(onnx_model *m, const char *op) {
  char name[NAME_SIZE + 64], number[32] = "";
  if (m->in_scope > 0) snprintf(number, sizeof number, "_%" PRId64, m->in_scope);
  snprintf(name, sizeof name, "%s/%s%s", m->scope, op, number);
  ++m->in_scope;
  return copy_text(m, name);
}

onnx_value onnx_node(onnx_model *m, const onnx_node_desc *desc) {
  NEW(m, node, Onnx__NodeProto, onnx__node_proto__init);
  char *name = name_node(m, desc->op), *op = copy_text(m, desc->op), **output = only(m, name);
  char **input = take(m, NN_MAX_INPUTS, sizeof *input);
  Onnx__AttributeProto **attributes = take(m, ONNX_MAX_ATTRIBUTES, sizeof *attributes);
  if (m->status != GP_OK) return NULL;
  node->name = name;
  node->op_type = op;
  node->n_output = 1;
  node->output = output;
  node->input = input;
  for (int32_t i = 0; i < NN_MAX_INPUTS && desc->in[i] != NULL; ++i) input[node->n_input++] = (char *)desc->in[i];
  node->attribute = attributes;
  for (int32_t i = 0; i < ONNX_MAX_ATTRIBUTES && desc->attributes[i].name != NULL; ++i)
    attributes[node->n_attribute++] = make_attribute(m, &desc->attributes[i]);
  append(m, &m->nodes, node);
  return m->status == GP_OK ? name : NULL;
}

onnx_value onnx_op(onnx_model *m, const char *op, onnx_value x) {
  return onnx_node(m, &(onnx_node_desc){.op = op, .in = {x}});
}

onnx_value onnx_op2(onnx_model *m, const char *op, onnx_value a, onnx_value b) {
  return onnx_node(m, &(onnx_node_desc){.op = op, .in = {a, b}});
}

onnx_value onnx_op3(onnx_model *m, const char *op, onnx_value a, onnx_value b, onnx_value c) {
  return onnx_node(m, &(onnx_node_desc){.op = op, .in = {a, b, c}});
}

/* ---- Constants ---- */

/* Tensors' bytes, before they are taken: the rest of the model is small beside them. */
static void *take_elements(onnx_model *m, int64_t elements, size_t size) {
  uint64_t bytes = 0;
  if (m->status != GP_OK) return NULL;
  if (__builtin_mul_overflow((uint64_t)elements, size, &bytes) || bytes > INT32_MAX || m->bytes + bytes > INT32_MAX) {
    onnx_model_fail(m, GP_ERROR_UNSUPPORTED,
                    "the weights take more than 2 GiB, the most that an ONNX file may hold: expected a smaller net");
    return NULL;
  }
  m->bytes += bytes;
  return take(m, (size_t)elements, size);
}

float *onnx_floats(onnx_model *m, int64_t elements) { return take_elements(m, elements, sizeof(float)); }
int64_t *onnx_integers(onnx_model *m, int64_t elements) { return take_elements(m, elements, sizeof(int64_t)); }

static onnx_value add_tensor(onnx_model *m, const char *name, int32_t type, size_t size, const int64_t *shape,
                             int32_t rank, const void *values) {
  NEW(m, tensor, Onnx__TensorProto, onnx__tensor_proto__init);
  int64_t *dims = take(m, (size_t)rank, sizeof *dims);
  char *copy = copy_text(m, name);
  if (m->status != GP_OK) return NULL;
  tensor->name = copy;
  tensor->has_data_type = tensor->has_raw_data = true;
  tensor->data_type = type;
  tensor->n_dims = (size_t)rank;
  tensor->dims = dims;
  tensor->raw_data = (ProtobufCBinaryData){.len = size, .data = (uint8_t *)(uintptr_t)values};
  for (int32_t i = 0; i < rank; ++i) {
    dims[i] = shape[i];
    tensor->raw_data.len *= (size_t)shape[i];
  }
  append(m, &m->initializers, tensor);
  return m->status == GP_OK ? copy : NULL;
}

static const char *put_scope(const onnx_model *m, const char *name, bool scoped, char full[2 * NAME_SIZE]) {
  snprintf(full, 2 * NAME_SIZE, "%s%s%.400s", scoped ? m->scope : "", scoped ? "/" : "", name);
  return full;
}

onnx_value onnx_find_constant(const onnx_model *m, const char *name, bool scoped) {
  char full[2 * NAME_SIZE];
  put_scope(m, name, scoped, full);
  for (size_t i = 0; i < m->initializers.count; ++i) {
    const Onnx__TensorProto *tensor = m->initializers.items[i];
    if (strcmp(tensor->name, full) == 0) return tensor->name;
  }
  return NULL;
}

onnx_value onnx_float_tensor(onnx_model *m, const char *name, bool scoped, const int64_t *shape, int32_t rank,
                             const float *values) {
  char full[2 * NAME_SIZE];
  return add_tensor(m, put_scope(m, name, scoped, full), ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT, sizeof *values, shape,
                    rank, values);
}

onnx_value onnx_int64_tensor(onnx_model *m, const char *name, bool scoped, const int64_t *shape, int32_t rank,
                             const int64_t *values) {
  char full[2 * NAME_SIZE];
  return add_tensor(m, put_scope(m, name, scoped, full), ONNX__TENSOR_PROTO__DATA_TYPE__INT64, sizeof *values, shape,
                    rank, values);
}

onnx_value onnx_int64s(onnx_model *m, const int64_t *values, int32_t count) {
  char name[NAME_SIZE] = "constant";
  for (int32_t i = 0; i < count; ++i) {
    const size_t used = strlen(name);
    snprintf(name + used, sizeof name - used, "%c%" PRId64, i == 0 ? '/' : ',', values[i]);
  }
  onnx_value found = onnx_find_constant(m, name, false);
  if (found != NULL) return found;
  int64_t *copy = onnx_integers(m, count);
  if (copy == NULL) return NULL;
  memcpy(copy, values, (size_t)count * sizeof *copy);
  return onnx_int64_tensor(m, name, false, &(int64_t){count}, 1, copy);
}

onnx_value onnx_number(onnx_model *m, double value) {
  char name[64];
  snprintf(name, sizeof name, "number/%.9g", value);
  onnx_value found = onnx_find_constant(m, name, false);
  if (found != NULL) return found;
  float *copy = onnx_floats(m, 1);
  if (copy == NULL) return NULL;
  *copy = (float)value;
  return onnx_float_tensor(m, name, false, NULL, 0, copy);
}

/* ---- The whole ---- */

static Onnx__TensorShapeProto__Dimension *make_dimension(onnx_model *m, int64_t size) {
  NEW(m, dimension, Onnx__TensorShapeProto__Dimension, onnx__tensor_shape_proto__dimension__init);
  char *batch = copy_text(m, "batch");
  if (m->status != GP_OK) return NULL;
  dimension->value_case = size > 0 ? ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE
                                   : ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
  if (size > 0)
    dimension->dim_value = size;
  else
    dimension->dim_param = batch;
  return dimension;
}

/* Name, type and shape of an input or output, as the only one. */
static Onnx__ValueInfoProto **make_value_info(onnx_model *m, char *name, const int64_t *shape, int32_t rank) {
  NEW(m, info, Onnx__ValueInfoProto, onnx__value_info_proto__init);
  NEW(m, type, Onnx__TypeProto, onnx__type_proto__init);
  NEW(m, tensor, Onnx__TypeProto__Tensor, onnx__type_proto__tensor__init);
  NEW(m, whole, Onnx__TensorShapeProto, onnx__tensor_shape_proto__init);
  Onnx__TensorShapeProto__Dimension **dimensions = take(m, (size_t)rank + 1, sizeof *dimensions);
  if (m->status != GP_OK) return NULL;
  dimensions[0] = make_dimension(m, 0);
  for (int32_t i = 0; i < rank; ++i) dimensions[i + 1] = make_dimension(m, shape[i]);
  whole->n_dim = (size_t)rank + 1;
  whole->dim = dimensions;
  tensor->has_elem_type = true;
  tensor->elem_type = ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT;
  tensor->shape = whole;
  type->value_case = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
  type->tensor_type = tensor;
  info->name = name;
  info->type = type;
  return only(m, info);
}

onnx_value onnx_input(onnx_model *m, const char *name, const int64_t *shape, int32_t rank) {
  char *copy = copy_text(m, name);
  m->graph.input = make_value_info(m, copy, shape, rank);
  m->graph.n_input = m->graph.input != NULL;
  return m->status == GP_OK ? copy : NULL;
}

void onnx_output(onnx_model *m, onnx_value value, const char *name, const int64_t *shape, int32_t rank) {
  char *copy = copy_text(m, name);
  m->graph.output = make_value_info(m, copy, shape, rank);
  m->graph.n_output = m->graph.output != NULL;
  for (size_t i = 0; m->status == GP_OK && i < m->nodes.count; ++i) {
    const Onnx__NodeProto *node = m->nodes.items[i];
    if (node->output[0] == value) node->output[0] = copy;
  }
}

gp_status onnx_model_describe(void *model, const char *key, const char *text) {
  onnx_model *m = model;
  NEW(m, entry, Onnx__StringStringEntryProto, onnx__string_string_entry_proto__init);
  char *key_copy = copy_text(m, key), *value = copy_text(m, text);
  if (m->status != GP_OK) return onnx_model_status(m);
  entry->key = key_copy;
  entry->value = value;
  append(m, &m->metadata, entry);
  return onnx_model_status(m);
}

/* Everything that is not a node's or a tensor's. */
static void finish(onnx_model *m) {
  NEW(m, opset, Onnx__OperatorSetIdProto, onnx__operator_set_id_proto__init);
  char *producer = copy_text(m, "gausspool"), *version = copy_text(m, gp_version()), *domain = copy_text(m, "");
  Onnx__OperatorSetIdProto **opsets = only(m, opset);
  if (m->status != GP_OK) return;
  opset->domain = domain;
  opset->has_version = true;
  opset->version = ONNX_OPSET;
  m->model.has_ir_version = true;
  m->model.ir_version = IR_VERSION;
  m->model.n_opset_import = 1;
  m->model.opset_import = opsets;
  m->model.producer_name = producer;
  m->model.producer_version = version;
  m->model.graph = &m->graph;
  m->model.n_metadata_props = m->metadata.count;
  m->model.metadata_props = (Onnx__StringStringEntryProto **)m->metadata.items;
  m->graph.name = producer;
  m->graph.n_node = m->nodes.count;
  m->graph.node = (Onnx__NodeProto **)m->nodes.items;
  m->graph.n_initializer = m->initializers.count;
  m->graph.initializer = (Onnx__TensorProto **)m->initializers.items;
}

gp_status onnx_model_commit(onnx_model *m, const char *path, onnx_summary *summary) {
  size_t bytes = 0;
  finish(m);
  gp_status status = onnx_model_status(m);
  if (status == GP_OK) status = onnx_file_write(path, &m->model.base, &bytes);
  if (status == GP_OK && summary != NULL)
    *summary = (onnx_summary){
        .nodes = (int64_t)m->nodes.count, .initializers = (int64_t)m->initializers.count, .bytes = (int64_t)bytes};
  return status;
}
