#include "data/pack.h"

#include "base/memory.h"
#include "base/parallel.h"
#include "base/status.h"
#include "data/encode.h"
#include "data/file.h"
#include "data/shards.h"
#include "data/tar.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHUNK = 64, MAX_PACK_SHARDS = 99999 }; /* images that are prepared side by side */

/* One image, made ready by any thread. */
typedef struct prepared {
  data_sample sample;
  gp_status status;
  bool resized;
  char message[512];
} prepared;

typedef struct packing {
  const data_pack_desc *desc;
  data_pack_result *result;
  data_source *source;
  prepared *chunk; /* [CHUNK] */
  int64_t first;   /* the chunk's first image */
  data_tar tar;
  char tar_path[PATH_MAX], index_path[PATH_MAX], part_path[PATH_MAX];
  FILE *samples; /* the index' last part, while the shards grow */
  uint64_t *shard_sizes;
} packing;

/* ---- An image -------------------------------------------------------------------------------- */

static gp_status encode(data_sample *sample, int32_t quality) {
#ifdef DATA_HAVE_JPEG
  return data_jpeg_encode(sample, &sample->cut, quality);
#else
  (void)sample;
  (void)quality;
  return gp_fail(GP_ERROR_UNSUPPORTED,
                 "this build cannot write JPEG: install Debian's libjpeg62-turbo-dev and build again");
#endif
}

static gp_status shrink(const packing *p, prepared *item) {
  gp_status status = GP_OK;
  data_sample *sample = &item->sample;
  const int32_t side = p->desc->side;
  GP_TRY(data_decode(&sample->image, sample->bytes, sample->size, &(data_decode_desc){.name = sample->name}));
  const data_image *image = &sample->image;
  if ((image->height < image->width ? image->height : image->width) <= side) return GP_OK;
  GP_TRY(data_resize_shorter(&sample->cut, image, side));
  GP_TRY(encode(sample, p->desc->quality));
  item->resized = true;
cleanup:
  return status;
}

static void prepare(void *context, int64_t task) {
  packing *p = context;
  prepared *item = &p->chunk[task];
  item->resized = false;
  item->status = data_source_fetch(p->source, p->first + task, &item->sample);
  if (item->status == GP_OK && !item->sample.encoded)
    item->status =
        gp_fail(GP_ERROR_UNSUPPORTED, "%s is no folder of image files: there is nothing to pack", p->desc->dataset);
  if (item->status == GP_OK && p->desc->side > 0) item->status = shrink(p, item);
  if (item->status != GP_OK) snprintf(item->message, sizeof item->message, "%s", gp_last_error());
}

/* ---- Shards ---------------------------------------------------------------------------------- */

static const char *split_word(const packing *p) { return p->desc->split == DATA_TRAIN ? "train" : "test"; }

static void shard_name(const packing *p, int64_t number, char name[64]) {
  snprintf(name, 64, "%s-%05" PRId64 ".tar", split_word(p), number);
}

static gp_status next_shard(packing *p) {
  gp_status status = GP_OK;
  char name[64];
  if (p->result->shards == MAX_PACK_SHARDS)
    GP_TRY(gp_fail(GP_ERROR_UNSUPPORTED, "more than %d shards: let them be larger", MAX_PACK_SHARDS));
  shard_name(p, p->result->shards, name);
  GP_TRY(data_join_path(p->tar_path, p->desc->out, name));
  GP_TRY(data_tar_create(&p->tar, p->tar_path));
  p->result->shards++;
cleanup:
  return status;
}

static gp_status end_shard(packing *p) {
  gp_status status = data_tar_finish(&p->tar);
  if (status != GP_OK) return status;
  p->shard_sizes[p->result->shards - 1] = p->tar.size;
  p->result->bytes += (int64_t)p->tar.size;
  return GP_OK;
}

static gp_status write_image(packing *p, const prepared *item, int64_t index) {
  gp_status status = GP_OK;
  const data_sample *sample = &item->sample;
  uint64_t offset = 0;
  if (strchr(sample->name, '\n') != NULL || strlen(sample->name) + 1 >= DATA_NAME_SIZE)
    GP_TRY(
        gp_fail(GP_ERROR_INVALID_ARGUMENT, "%s: a name with line ends, or too long, cannot be packed", sample->name));
  if (p->tar.file == NULL) GP_TRY(next_shard(p));
  GP_TRY(data_tar_add(&p->tar, sample->name, sample->bytes, sample->size, &offset));
  errno = 0;
  if (fprintf(p->samples, "%" PRId64 " %" PRIu64 " %zu %" PRId32 " %s\n", p->result->shards - 1, offset, sample->size,
              data_source_label(p->source, index), strrchr(sample->name, '/') + 1) < 0)
    GP_TRY(gp_fail(GP_ERROR_IO, "%s: cannot write: %s", p->part_path, strerror(errno)));
  p->result->images++;
  p->result->resized += item->resized;
  if (p->tar.size >= (uint64_t)p->desc->shard_bytes) GP_TRY(end_shard(p));
cleanup:
  return status;
}

static gp_status write_chunk(packing *p, int64_t count) {
  gp_status status = GP_OK;
  for (int64_t i = 0; i < count; ++i) {
    const prepared *item = &p->chunk[i];
    if (item->status == GP_OK) {
      GP_TRY(write_image(p, item, p->first + i));
      continue;
    }
    if (!p->desc->lenient || item->status == GP_ERROR_OUT_OF_MEMORY || !item->sample.encoded)
      GP_TRY(gp_fail(item->status, "%s", item->message));
    p->result->left_out++;
    if (p->desc->report_bad != NULL) p->desc->report_bad(p->desc->context, item->sample.name, item->message);
  }
cleanup:
  return status;
}

/* ---- The index ------------------------------------------------------------------------------- */

/* Everything before the samples' lines, which are known at the end only. */
static void write_head(const packing *p, FILE *file) {
  const data_source_info *info = data_source_get_info(p->source);
  char name[DATA_NAME_SIZE];
  data_source_name(p->source, 0, name, sizeof name);
  fprintf(file, "%s\nsplit %.*s\nclasses %" PRId32 "\n", DATA_SHARDS_FIRST_LINE, (int)strcspn(name, "/"), name,
          info->classes);
  for (int32_t i = 0; i < info->classes; ++i) fprintf(file, "%s\n", info->class_names[i]);
  fprintf(file, "shards %" PRId64 "\n", p->result->shards);
  for (int64_t i = 0; i < p->result->shards; ++i) {
    char shard[64];
    shard_name(p, i, shard);
    fprintf(file, "%" PRIu64 " %s\n", p->shard_sizes[i], shard);
  }
  fprintf(file, "samples %" PRId64 "\n", p->result->images);
}

static bool copy_rest(FILE *to, FILE *from) {
  char buffer[1 << 16];
  rewind(from);
  for (size_t got; (got = fread(buffer, 1, sizeof buffer, from)) > 0;)
    if (fwrite(buffer, 1, got, to) != got) return false;
  return !ferror(from);
}

static gp_status write_index(packing *p) {
  gp_status status = GP_OK;
  char path[PATH_MAX];
  GP_TRY(data_join_path(path, p->desc->out, "index.tmp"));
  FILE *file = fopen(path, "wb");
  if (file == NULL) GP_TRY(gp_fail(GP_ERROR_IO, "%s: cannot create: %s", path, strerror(errno)));
  errno = 0;
  write_head(p, file);
  bool good = copy_rest(file, p->samples) && fflush(file) == 0 && fsync(fileno(file)) == 0 && !ferror(file);
  good = fclose(file) == 0 && good && rename(path, p->index_path) == 0;
  if (good) goto cleanup;
  status = gp_fail(GP_ERROR_IO, "%s: cannot write: %s", p->index_path, strerror(errno));
  (void)unlink(path);
cleanup:
  return status;
}

/* ---- All of it ------------------------------------------------------------------------------- */

/* Tar files among the images would be taken for a packed set, by whatever opens the folder next. */
static gp_status check_distinct(const char *dir, const char *out) {
  struct stat from, to;
  if (dir == NULL || stat(dir, &from) != 0 || stat(out, &to) != 0) return GP_OK;
  if (from.st_dev != to.st_dev || from.st_ino != to.st_ino) return GP_OK;
  return gp_fail(GP_ERROR_INVALID_ARGUMENT, "%s is the folder of the images: expected another one to pack into", out);
}

/* All that can be wrong before the first image. */
static gp_status open_source(packing *p) {
  gp_status status = GP_OK;
  const data_pack_desc *desc = p->desc;
  char name[64], path[PATH_MAX];
  if (desc->shard_bytes < 1 || desc->side < 0 || (desc->side > 0 && (desc->quality < 1 || desc->quality > 100)))
    GP_TRY(gp_fail(GP_ERROR_INVALID_ARGUMENT, "pack: shards of %" PRId64 " bytes, side %d, quality %d",
                   desc->shard_bytes, desc->side, desc->quality));
  GP_TRY(check_distinct(desc->dir, desc->out));
  GP_TRY(data_join_path(p->index_path, desc->out, data_shards_index_name(desc->split)));
  if (access(p->index_path, F_OK) == 0)
    GP_TRY(gp_fail(GP_ERROR_INVALID_ARGUMENT, "%s is there already: expected a folder that nothing was packed into",
                   p->index_path));
  shard_name(p, 0, name);
  GP_TRY(data_join_path(path, desc->out, name));
  if (access(path, F_OK) == 0)
    GP_TRY(gp_fail(GP_ERROR_INVALID_ARGUMENT,
                   "%s is there already, without an index: remove what an unfinished run left, or pack into another "
                   "folder",
                   path));
  GP_TRY(data_source_create(
      &p->source,
      &(data_source_desc){.dataset = desc->dataset, .dir = desc->dir, .split = desc->split, .lenient = desc->lenient}));
cleanup:
  return status;
}

static gp_status open_all(packing *p) {
  gp_status status = GP_OK;
  const data_pack_desc *desc = p->desc;
  GP_TRY(open_source(p));
  GP_TRY(data_join_path(p->part_path, desc->out, "samples.tmp"));
  p->samples = fopen(p->part_path, "w+b");
  if (p->samples == NULL) GP_TRY(gp_fail(GP_ERROR_IO, "%s: cannot create: %s", p->part_path, strerror(errno)));
  (void)unlink(p->part_path); /* it goes with its handle */
  GP_TRY(GP_ALLOC(&p->chunk, CHUNK));
  GP_TRY(GP_ALLOC(&p->shard_sizes, MAX_PACK_SHARDS));
cleanup:
  return status;
}

static gp_status pack_all(packing *p) {
  gp_status status = GP_OK;
  const data_pack_desc *desc = p->desc;
  const int64_t count = data_source_get_info(p->source)->count;
  for (p->first = 0; p->first < count; p->first += CHUNK) {
    const int64_t some = count - p->first < CHUNK ? count - p->first : CHUNK;
    if (desc->stopped != NULL && desc->stopped(desc->context))
      GP_TRY(gp_fail(GP_ERROR_INTERRUPTED, "stopped by a signal after %" PRId64 " of %" PRId64 " images", p->first,
                     count));
    gp_parallel_for(some, desc->threads, prepare, p);
    GP_TRY(write_chunk(p, some));
    if (desc->progress != NULL) desc->progress(desc->context, p->first + some, count);
  }
  if (p->result->images == 0) GP_TRY(gp_fail(GP_ERROR_CORRUPT, "%s: no image could be packed", desc->dir));
  if (p->tar.file != NULL) GP_TRY(end_shard(p));
  GP_TRY(write_index(p));
cleanup:
  return status;
}

gp_status data_pack_check(const data_pack_desc *desc) {
  packing p = {.desc = desc};
  const gp_status status = open_source(&p);
  data_source_destroy(&p.source);
  return status;
}

gp_status data_pack(const data_pack_desc *desc, data_pack_result *result) {
  packing p = {.desc = desc, .result = result};
  gp_status status = GP_OK;
  *result = (data_pack_result){0};
  GP_TRY(open_all(&p));
  GP_TRY(pack_all(&p));
cleanup:
  data_tar_close(&p.tar);
  if (p.samples != NULL) fclose(p.samples);
  for (int64_t i = 0; p.chunk != NULL && i < CHUNK; ++i) data_sample_free(&p.chunk[i].sample);
  gp_free(p.chunk);
  gp_free(p.shard_sizes);
  data_source_destroy(&p.source);
  return status;
}
