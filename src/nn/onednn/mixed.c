/* An op between tensors of different types, float32 on one side because that has one position: it runs in bfloat16, on a copy of
 * that side, which is small. */
#include "base/memory.h"
#include "base/status.h"
#include "nn/layout.h"
#include "nn/onednn/primitive.h"

typedef struct mixed {
  nn_kernel base;
  nn_kernel *inner;
  nn_tensor in, out, inner_in, inner_out;
  /* Of the copies; at most one side of the two is one. */
  size_t forward_offset, backward_offset, grad_in_offset;
} mixed;

static bool copies_in(const mixed *m) { return m->in.type != m->inner_in.type; }
static bool copies_out(const mixed *m) { return m->out.type != m->inner_out.type; }

static void *forward_copy(const mixed *m) { return (char *)m->base.at.scratch_forward + m->forward_offset; }
/* NULL at inference. */
static void *backward_memory(const mixed *m, size_t offset) {
  char *scratch = m->base.at.scratch_backward;
  return scratch == NULL ? NULL : scratch + offset;
}
static void *backward_copy(const mixed *m) { return backward_memory(m, m->backward_offset); }

static gp_status forward(nn_kernel *k) {
  mixed *m = (mixed *)k;
  if (copies_in(m)) nn_copy_tensor(&m->in, k->at.in[0], &m->inner_in, forward_copy(m));
  gp_status status = m->inner->forward(m->inner);
  if (status == GP_OK && copies_out(m)) nn_copy_tensor(&m->inner_out, forward_copy(m), &m->out, k->at.out);
  return status;
}

static gp_status backward(nn_kernel *k) {
  mixed *m = (mixed *)k;
  void *inner_grad_in = m->inner->at.grad_in[0];
  if (copies_in(m)) nn_copy_tensor(&m->in, k->at.in_backward[0], &m->inner_in, backward_copy(m));
  if (copies_out(m)) nn_copy_tensor(&m->out, k->at.grad_out, &m->inner_out, backward_copy(m));
  gp_status status = m->inner->backward(m->inner);
  if (status == GP_OK && copies_in(m) && inner_grad_in != NULL)
    nn_copy_tensor(&m->inner_in, inner_grad_in, &m->in, k->at.grad_in[0]);
  return status;
}

static gp_status bind(nn_kernel *k) {
  mixed *m = (mixed *)k;
  nn_bindings *at = &m->inner->at;
  *at = k->at;
  if (copies_in(m)) {
    at->in[0] = forward_copy(m);
    at->in_backward[0] = backward_copy(m);
    if (at->grad_in[0] != NULL) at->grad_in[0] = backward_memory(m, m->grad_in_offset);
  }
  if (copies_out(m)) {
    at->out = forward_copy(m);
    at->grad_out = backward_copy(m);
  }
  return m->inner->bind == NULL ? GP_OK : m->inner->bind(m->inner);
}

static void destroy(nn_kernel *k) {
  mixed *m = (mixed *)k;
  if (m->inner != NULL) m->inner->destroy(m->inner);
  gp_free(m);
}

static void place(mixed *m, bool train) {
  size_t bytes = gp_align_up(copies_in(m) ? nn_tensor_bytes(&m->inner_in) : nn_tensor_bytes(&m->inner_out));
  m->forward_offset = gp_align_up(m->inner->scratch_forward_bytes);
  m->base.scratch_forward_bytes = m->forward_offset + bytes;
  if (!train) return;
  m->backward_offset = gp_align_up(m->inner->scratch_backward_bytes);
  m->grad_in_offset = m->backward_offset + bytes;
  m->base.scratch_backward_bytes = m->grad_in_offset + (copies_in(m) ? bytes : 0);
}

gp_status od_make_mixed(nn_kernel **out, nn_device *device, const nn_kernel_desc *desc, od_maker maker) {
  gp_status status = GP_OK;
  nn_kernel_desc inner = *desc;
  mixed *m = NULL;
  GP_TRY(GP_ALLOC(&m, 1));
  m->in = m->inner_in = desc->in[0];
  m->out = m->inner_out = desc->out;
  m->inner_in.type = m->inner_out.type = GP_BFLOAT16;
  inner.in = &m->inner_in;
  inner.out = m->inner_out;
  GP_TRY(maker(&m->inner, device, &inner));
  m->base = *m->inner;
  m->base.bind = bind;
  m->base.forward = forward;
  m->base.backward = backward;
  m->base.destroy = destroy;
  m->base.accumulates = false;
  place(m, desc->mode == NN_TRAIN);
  *out = &m->base;
  m = NULL;
cleanup:
  if (m != NULL) destroy(&m->base);
  return status;
}
