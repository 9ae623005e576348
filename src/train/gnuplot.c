#include "base/status.h"
#include "train/curves_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { COMPLAINT_SIZE = 512 };

extern char **environ;

/* The child's folder, streams and signals: Ctrl-C on the terminal shall stop the training, not its picture. */
static int set_up_child(posix_spawn_file_actions_t *actions, posix_spawnattr_t *attributes, const char *folder,
                        const int error_pipe[2]) {
  sigset_t defaults;
  sigemptyset(&defaults);
  sigaddset(&defaults, SIGPIPE);
  sigaddset(&defaults, SIGXFSZ);
  int error = posix_spawn_file_actions_addchdir_np(actions, folder[0] == '\0' ? "." : folder);
  if (error == 0) error = posix_spawn_file_actions_addopen(actions, 0, "/dev/null", O_RDONLY, 0);
  if (error == 0) error = posix_spawn_file_actions_addopen(actions, 1, "/dev/null", O_WRONLY, 0);
  if (error == 0) error = posix_spawn_file_actions_adddup2(actions, error_pipe[1], 2);
  if (error == 0) error = posix_spawnattr_setsigdefault(attributes, &defaults);
  if (error == 0) error = posix_spawnattr_setpgroup(attributes, 0);
  if (error == 0) error = posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  return error;
}

static int spawn(const char *folder, const char *script, const int error_pipe[2], pid_t *child) {
  char name[] = "gnuplot", *arguments[] = {name, (char *)(uintptr_t)script, NULL};
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  int error = posix_spawn_file_actions_init(&actions);
  if (error != 0) return error;
  error = posix_spawnattr_init(&attributes);
  if (error == 0) {
    error = set_up_child(&actions, &attributes, folder, error_pipe);
    if (error == 0) error = posix_spawnp(child, name, &actions, &attributes, arguments, environ);
    posix_spawnattr_destroy(&attributes);
  }
  posix_spawn_file_actions_destroy(&actions);
  return error;
}

/* Reads to the end, so that the child never waits for us; keeps the beginning. */
static void read_complaint(int fd, char complaint[COMPLAINT_SIZE]) {
  char rest[COMPLAINT_SIZE];
  size_t used = 0;
  for (;;) {
    bool full = used == COMPLAINT_SIZE - 1;
    ssize_t count = read(fd, full ? rest : complaint + used, full ? sizeof rest : COMPLAINT_SIZE - 1 - used);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    if (!full) used += (size_t)count;
  }
  complaint[used] = '\0';
}

/* The line that says what is wrong: gnuplot puts the place before it, as `"script" line 12: …`. */
static const char *first_complaint(char *complaint) {
  char *line = strstr(complaint, " line ");
  while (line != NULL && line > complaint && line[-1] != '\n') --line;
  if (line == NULL) line = complaint + strspn(complaint, "\n ");
  line[strcspn(line, "\n")] = '\0';
  return line[0] == '\0' ? "it says nothing" : line;
}

static gp_status wait_for(pid_t child, char *complaint) {
  int result = 0;
  while (waitpid(child, &result, 0) < 0)
    if (errno != EINTR) return gp_fail(GP_ERROR_LIBRARY, "cannot wait for gnuplot: %s", strerror(errno));
  if (WIFEXITED(result) && WEXITSTATUS(result) == 0) return GP_OK;
  if (WIFEXITED(result) && WEXITSTATUS(result) == 127) /* how some systems report a program that is not there */
    return gp_fail(GP_ERROR_UNSUPPORTED, "gnuplot is not installed (Debian: gnuplot-nox)");
  if (WIFSIGNALED(result)) return gp_fail(GP_ERROR_LIBRARY, "gnuplot was killed: %s", strsignal(WTERMSIG(result)));
  return gp_fail(GP_ERROR_LIBRARY, "gnuplot failed with code %d: %s", WEXITSTATUS(result), first_complaint(complaint));
}

gp_status curves_run_gnuplot(const char *folder, const char *script) {
  int error_pipe[2];
  pid_t child = 0;
  char complaint[COMPLAINT_SIZE];
  if (pipe2(error_pipe, O_CLOEXEC) != 0)
    return gp_fail(GP_ERROR_IO, "cannot open a pipe to gnuplot: %s", strerror(errno));
  int error = spawn(folder, script, error_pipe, &child);
  close(error_pipe[1]);
  if (error == 0) read_complaint(error_pipe[0], complaint);
  close(error_pipe[0]);
  if (error == ENOENT) return gp_fail(GP_ERROR_UNSUPPORTED, "gnuplot is not installed (Debian: gnuplot-nox)");
  if (error != 0) return gp_fail(GP_ERROR_LIBRARY, "cannot run gnuplot: %s", strerror(error));
  return wait_for(child, complaint);
}
