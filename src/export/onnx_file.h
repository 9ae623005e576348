/* Writing protobuf messages to files. Private to this floor. */
#ifndef GP_EXPORT_ONNX_FILE_H
#define GP_EXPORT_ONNX_FILE_H

#include <gausspool/gausspool.h>
#include <protobuf-c/protobuf-c.h>

/* Writes the message, atomically (train/atomic_file.h) and piece by piece: its bytes are never in memory all at once. `bytes`
 * is the file's size. Errors: GP_ERROR_UNSUPPORTED beyond 2 GiB, protobuf's limit; those of the atomic file. */
GP_NODISCARD gp_status onnx_file_write(const char *path, const ProtobufCMessage *message, size_t *bytes);

#endif
