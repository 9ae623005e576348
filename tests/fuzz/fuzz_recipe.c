/* Any bytes as a recipe: refused with a message of one line, or a configuration that can be checked, scheduled and, as
 * far as INI can hold its values, written and read back unchanged. */
#include "base/status.h"
#include "train/recipe.h"
#include "train/schedule.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_message(void) {
  if (gp_last_error()[0] == '\0' || strchr(gp_last_error(), '\n') != NULL) abort();
}

static void check_schedule(const train_config *config) {
  train_schedule schedule;
  if (train_config_check(config) != GP_OK || train_schedule_init(&schedule, config, 100) != GP_OK) {
    check_message();
    return;
  }
  for (int64_t step = 0; step < schedule.total_steps; step += 1 + schedule.total_steps / 50) {
    double rate = train_schedule_lr(&schedule, step);
    if (!(rate >= 0)) abort();
  }
}

static void check_round_trip(const train_config *config) {
  char *text = NULL;
  size_t bytes = 0;
  train_config copy;
  FILE *stream = open_memstream(&text, &bytes);
  if (stream == NULL || train_config_init(&copy) != GP_OK) abort();
  gp_status status = options_write_ini(&train_option_table, config, stream);
  if (fclose(stream) != 0) abort();
  /* A value that filled its line together with a shorter key can be too long behind "key = ". */
  if (status == GP_OK) status = train_recipe_parse(&copy, text, bytes, "copy");
  if (status == GP_OK && options_difference(&train_option_table, config, &copy, 0) != NULL) abort();
  if (status != GP_OK) check_message();
  train_config_clear(&copy);
  free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  train_config config;
  if (train_config_init(&config) != GP_OK) abort();
  if (train_recipe_parse(&config, (const char *)data, size, "input") == GP_OK) {
    check_schedule(&config);
    check_round_trip(&config);
  } else {
    check_message();
  }
  train_config_clear(&config);
  return 0;
}
