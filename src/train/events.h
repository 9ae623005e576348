/* Event files of TensorBoard: records of scalars by step. Framed as TFRecord, each an Event message in protobuf's wire
 * format (tensorflow/core/util/event.proto and framework/summary.proto), of which a few fields are all that is needed. */
#ifndef GP_TRAIN_EVENTS_H
#define GP_TRAIN_EVENTS_H

#include <gausspool/gausspool.h>

typedef struct train_events train_events;

typedef struct train_scalar {
  const char *tag; /* "step/loss": shown under "step" */
  float value;
} train_scalar;

/* Begins a new file in `folder`, events.out.tfevents.SECONDS.gausspool. TensorBoard takes the folder's files, oldest
 * first, for one run; of those before, it forgets what lies past `first_step`, as this run goes on from there. */
GP_NODISCARD gp_status train_events_create(train_events **out, const char *folder, int64_t first_step);
void train_events_destroy(train_events **events);

/* On its way to the disk when the call returns. */
GP_NODISCARD gp_status train_events_add(train_events *events, int64_t step, const train_scalar *scalars, size_t count);

/* CRC-32C (Castagnoli) as TFRecord has it: rotated and shifted, since a checksum of bytes that hold one is weak. */
uint32_t train_events_checksum(const void *data, size_t bytes);

#endif
