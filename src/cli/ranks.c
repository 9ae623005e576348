#include "cli/ranks.h"

#include "base/memory.h"
#include "base/parallel.h"
#include "base/status.h"
#include "cli/cli.h"
#include "dist/launcher.h"
#include "dist/machine.h"
#include "train/stop.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

gp_status cli_ranks_open(dist_comm **out) {
  gp_status status = dist_comm_open(out);
  if (status == GP_OK) cli_quiet = dist_rank(*out) > 0;
  return status;
}

/* Where nothing is the default, it may not be what can be set. */
static void drop_unset(const option_table *table, json_t *json) {
  for (size_t i = 0; i < table->count; ++i) {
    const option_desc *option = &table->options[i];
    const char *text = json_string_value(json_object_get(json, option->name));
    const bool unset = option->default_text == NULL || option->default_text[0] == '\0';
    if (unset && text != NULL && text[0] == '\0') json_object_del(json, option->name);
  }
}

gp_status cli_ranks_share_config(dist_comm *comm, const option_table *table, void *config) {
  gp_status status = GP_OK;
  json_t *json = NULL;
  char *text = NULL;
  int64_t size = 0;
  if (dist_size(comm) == 1) return GP_OK;
  if (dist_rank(comm) == 0) {
    GP_TRY(options_to_json(table, config, 0, &json));
    drop_unset(table, json);
    text = json_dumps(json, JSON_REAL_PRECISION(17));
    size = text == NULL ? 0 : (int64_t)strlen(text) + 1;
  }
  GP_TRY(dist_broadcast(comm, &size, sizeof size));
  if (dist_rank(comm) > 0) text = malloc((size_t)size); /* as json_dumps() does */
  if (text == NULL) GP_TRY(gp_fail(GP_ERROR_OUT_OF_MEMORY, "out of memory for the configuration"));
  GP_TRY(dist_broadcast(comm, text, (size_t)size));
  if (dist_rank(comm) == 0) goto cleanup;
  json = json_loads(text, 0, NULL);
  GP_TRY(options_from_json(table, config, 0, json));
cleanup:
  json_decref(json);
  free(text);
  return status;
}

/* ---- Threads ---- */

static void tell_machine(const dist_comm *comm, const dist_machine *machine, FILE *stream) {
  const int32_t threads = gp_max_threads();
  fprintf(stream, "%" PRId32 " ranks, of these %" PRId32 " on this machine with %" PRId32 " thread%s each\n",
          dist_size(comm), machine->ranks, threads, threads == 1 ? "" : "s");
  if (machine->ranks * threads > machine->processors)
    fprintf(stream,
            "warning: %" PRId32 " ranks of %" PRId32 " threads share %" PRId32
            " processors here, and will wait for each other: start fewer ranks, or set --threads\n",
            machine->ranks, threads, machine->processors);
  else if (2 * machine->processors <= machine->online)
    fprintf(stream,
            "warning: the launcher lets the ranks here use %" PRId32 " of %" PRId32
            " processors: mpirun --bind-to none, or --map-by slot:PE=N, gives them more\n",
            machine->processors, machine->online);
}

gp_status cli_ranks_set_threads(dist_comm *comm, int64_t threads, FILE *stream) {
  dist_machine machine;
  if (threads > 0) gp_set_max_threads((int32_t)threads);
  if (dist_size(comm) == 1) return GP_OK;
  gp_status status = dist_machine_find(comm, &machine);
  if (status != GP_OK) return status;
  if (threads == 0 && getenv("OMP_NUM_THREADS") == NULL) gp_set_max_threads(machine.threads);
  if (stream != NULL && dist_rank(comm) == 0) tell_machine(comm, &machine, stream);
  return GP_OK;
}

/* ---- The end ---- */

const char *cli_ranks_launcher(const dist_comm *comm, char text[64]) {
  const dist_launcher launcher = dist_launcher_find();
  text[0] = '\0';
  if (dist_size(comm) > 1)
    snprintf(text, 64, "%s %" PRId32, launcher.command == NULL ? "mpirun -np" : launcher.command, dist_size(comm));
  return text;
}

void cli_ranks_end_if_alone(dist_comm *comm, gp_status status, const char *hint) {
  if (status == GP_OK || dist_agreed(comm)) return;
  fflush(stdout);
  const bool named = strstr(gp_last_error(), dist_name(comm)) != NULL;
  fprintf(stderr, "gausspool: %s%s%s\n%s", named ? "" : dist_name(comm), named ? "" : ": ", gp_last_error(), hint);
  dist_abort(comm, CLI_FAILURE);
}

/* ---- The watch ---- */

struct cli_watch {
  pthread_t thread;
  atomic_bool end;
  dist_comm *comm;
  int64_t *processes; /* [ranks], as of dist_machine_processes() */
  void (*hint)(void *context);
  void *context;
};

/* Tenths of a second that rank 0 may wait for the others in one go, once it was asked to stop. Open MPI kills after a second. */
enum { GRACE = 3 };

/* What was killed stays for a moment, until the launcher has looked at it. */
static bool is_gone(int64_t process) { return process > 0 && kill((pid_t)process, 0) != 0 && errno == ESRCH; }

static bool some_gone(const cli_watch *self) {
  for (int32_t r = 1; r < dist_size(self->comm); ++r)
    if (is_gone(self->processes[r])) return true;
  return false;
}

/* A step, or the writing of a checkpoint, may take longer than any grace: so it does not count how long the run has been
 * stopping, but who is gone, or that this rank does nothing but wait. SIGUSR1 is no launcher's way to end a run. Times are counted
 * in naps, since the process may have been stopped itself. */
static void *watch(void *argument) {
  cli_watch *self = argument;
  const struct timespec tenth = {.tv_nsec = 100000000};
  const bool first = dist_rank(self->comm) == 0;
  bool lost = false;
  double before = 0;
  for (int same = 0; !lost && !atomic_load(&self->end);) {
    nanosleep(&tenth, NULL);
    const int signal_number = train_stop_requested();
    if (signal_number == 0) continue;
    const double since = signal_number == SIGUSR1 ? 0 : dist_waiting_since(self->comm);
    same = since > 0 && since == before ? same + 1 : 0;
    before = since;
    lost = first ? same >= GRACE || some_gone(self) : is_gone(self->processes[0]);
  }
  if (lost && !atomic_load(&self->end)) self->hint(self->context);
  return NULL;
}

static void free_watch(cli_watch **pointer) {
  gp_free((*pointer)->processes);
  gp_free(*pointer);
  *pointer = NULL;
}

gp_status cli_watch_start(cli_watch **out, dist_comm *comm, void (*hint)(void *context), void *context) {
  gp_status status = GP_OK;
  int64_t *processes = NULL;
  const int32_t size = dist_size(comm);
  *out = NULL;
  if (size == 1) return GP_OK;
  GP_TRY(GP_ALLOC(&processes, (size_t)size));
  GP_TRY(dist_machine_processes(comm, processes));
  /* Containers may number processes each for itself: who cannot be seen now is as good as on another machine. */
  for (int32_t r = 0; r < size; ++r)
    if (is_gone(processes[r])) processes[r] = 0;
  /* Of another machine nobody knows here whether rank 0 lives. */
  if (dist_rank(comm) > 1 || processes[0] == 0) goto cleanup;
  GP_TRY(GP_ALLOC(out, 1));
  **out = (cli_watch){.comm = comm, .processes = processes, .hint = hint, .context = context};
  processes = NULL;
  sigset_t all, before; /* signals are for the loop's thread */
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  const int error = pthread_create(&(*out)->thread, NULL, watch, *out);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (error == 0) return GP_OK;
  free_watch(out);
  status = gp_fail(GP_ERROR_LIBRARY, "cannot start a thread: %s", strerror(error));
cleanup:
  gp_free(processes);
  return status;
}

void cli_watch_stop(cli_watch **pointer) {
  if (*pointer == NULL) return;
  atomic_store(&(*pointer)->end, true);
  pthread_join((*pointer)->thread, NULL);
  free_watch(pointer);
}
