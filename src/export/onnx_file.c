#include "export/onnx_file.h"

#include "base/status.h"
#include "train/atomic_file.h"

/* A file as protobuf-c sees it. */
typedef struct file_buffer {
  ProtobufCBuffer base;
  atomic_file *file;
  gp_status status; /* of the first write that failed */
} file_buffer;

static void write_piece(ProtobufCBuffer *buffer, size_t bytes, const uint8_t *data) {
  file_buffer *f = (file_buffer *)buffer;
  if (f->status == GP_OK) f->status = atomic_file_write(f->file, data, bytes);
}

gp_status onnx_file_write(const char *path, const ProtobufCMessage *message, size_t *bytes) {
  gp_status status = GP_OK;
  file_buffer buffer = {.base = {.append = write_piece}};
  *bytes = protobuf_c_message_get_packed_size(message);
  if (*bytes > INT32_MAX)
    GP_TRY(gp_fail(GP_ERROR_UNSUPPORTED, "%s: expected at most 2 GiB, which is protobuf's limit, found %zu bytes", path,
                   *bytes));
  GP_TRY(atomic_file_create(&buffer.file, path, *bytes));
  protobuf_c_message_pack_to_buffer(message, &buffer.base);
  GP_TRY(buffer.status);
  GP_TRY(atomic_file_commit(buffer.file));
cleanup:
  atomic_file_destroy(&buffer.file);
  return status;
}
