/* Preloaded into a run: records, fails, or kills at the N-th operation on files below a folder, or turns the clock back.

   Operations are those that create, write, rename, remove, truncate or sync. `fault_arm` says what shall happen. A
   record is, for each that succeeded: its letter, the lengths of two texts, an offset, and the texts. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { NONE, KILL, FULL, EIO_ONCE, SIGNAL, CLOCK, RECORD };

static char root[4096];
static size_t length;
static int kind, number, record = -1;
static long at, count;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* so that what is recorded is in the order of what was done */

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

void fault_arm(const char *folder, int what, long when, int sig, const char *to) {
  kind = NONE;
  if (record >= 0) close(record);
  strncpy(root, folder, sizeof root - 1);
  length = strlen(root);
  at = when;
  number = sig;
  count = 0;
  record = what == RECORD ? REAL(open)(to, O_WRONLY | O_CREAT | O_TRUNC, 0644) : -1;
  kind = what;
}

long fault_count(void) { return count; }

/* The whole path in `out`; whether it lies below the folder. */
static int below(int folder, const char *path, char *out) {
  char link[64], base[4096];
  ssize_t n;
  if (!length || !path) return 0;
  if (path[0] == '/') snprintf(out, 8192, "%s", path);
  else if (folder == AT_FDCWD) return 0;
  else {
    snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
    if ((n = readlink(link, base, sizeof base - 1)) < 0) return 0;
    base[n] = 0;
    snprintf(out, 8192, *path ? "%s/%s" : "%s%s", base, path);
  }
  return !strncmp(out, root, length);
}

/* Counts an operation; returns the error it shall fail with, or 0. */
static int hit(void) {
  long n = __atomic_add_fetch(&count, 1, __ATOMIC_SEQ_CST);
  if (kind == KILL && n == at) { kill(getpid(), SIGKILL); pause(); }
  if (kind == SIGNAL && n == at) kill(getpid(), number);
  if (kind == FULL && n >= at) return ENOSPC;
  if (kind == EIO_ONCE && n == at) return EIO;
  return 0;
}

static void note(char op, const char *a, const void *b, size_t size, int64_t offset) {
  if (record < 0) return;
  uint32_t head[2] = {(uint32_t)strlen(a), (uint32_t)size};
  struct iovec parts[] = {{&op, 1}, {head, 8}, {&offset, 8}, {(void *)a, head[0]}, {(void *)b, size}};
  REAL(writev)(record, parts, 5);
}

/* Does an operation on `path`; `log` says what to record of it, where it succeeded. */
#define DO(type, test, call, log)                 \
  char path_[8192];                               \
  if (!(test)) return call;                       \
  int error_ = hit();                             \
  if (error_) { errno = error_; return -1; }      \
  if (record < 0) return call;                    \
  pthread_mutex_lock(&lock);                      \
  type done_ = call;                              \
  int kept_ = errno;                              \
  if (done_ >= 0) { log; }                        \
  pthread_mutex_unlock(&lock);                    \
  errno = kept_;                                  \
  return done_

#define MODE va_list list_; va_start(list_, flags); mode_t mode = va_arg(list_, mode_t); va_end(list_)
#define MAKES (flags & (O_CREAT | O_TRUNC))
#define CREATED note(flags & O_TRUNC ? 'T' : 'C', path_, "", 0, 0)

int open(const char *p, int flags, ...) { MODE; DO(int, MAKES && below(AT_FDCWD, p, path_), REAL(open)(p, flags, mode), CREATED); }
int open64(const char *p, int flags, ...) { MODE; DO(int, MAKES && below(AT_FDCWD, p, path_), REAL(open64)(p, flags, mode), CREATED); }
int openat(int f, const char *p, int flags, ...) { MODE; DO(int, MAKES && below(f, p, path_), REAL(openat)(f, p, flags, mode), CREATED); }
int openat64(int f, const char *p, int flags, ...) { MODE; DO(int, MAKES && below(f, p, path_), REAL(openat64)(f, p, flags, mode), CREATED); }

#define HERE (int64_t)(lseek(fd, 0, SEEK_CUR) - done_)
ssize_t write(int fd, const void *data, size_t size) {
  DO(ssize_t, length && below(fd, "", path_), REAL(write)(fd, data, size), note('W', path_, data, done_, HERE));
}
ssize_t writev(int fd, const struct iovec *parts, int num) {
  DO(ssize_t, length && below(fd, "", path_), REAL(writev)(fd, parts, num), {
    char *all = malloc(done_ + 1);
    ssize_t n = 0;
    for (int i = 0; i < num && n < done_; i++) {
      size_t some = parts[i].iov_len < (size_t)(done_ - n) ? parts[i].iov_len : (size_t)(done_ - n);
      memcpy(all + n, parts[i].iov_base, some);
      n += some;
    }
    note('W', path_, all, done_, HERE);
    free(all);
  });
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t o) {
  DO(ssize_t, length && below(fd, "", path_), REAL(pwrite)(fd, data, size, o), note('W', path_, data, done_, o));
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t o) {
  DO(ssize_t, length && below(fd, "", path_), REAL(pwrite64)(fd, data, size, o), note('W', path_, data, done_, o));
}
int rename(const char *a, const char *b) {
  DO(int, below(AT_FDCWD, a, path_), REAL(rename)(a, b), note('R', path_, b, strlen(b), 0));
}
int renameat(int f, const char *a, int g, const char *b) {
  char to[8192];
  DO(int, below(f, a, path_), REAL(renameat)(f, a, g, b), below(g, b, to); note('R', path_, to, strlen(to), 0));
}
int unlink(const char *p) { DO(int, below(AT_FDCWD, p, path_), REAL(unlink)(p), note('U', path_, "", 0, 0)); }
int unlinkat(int f, const char *p, int flags) {
  DO(int, below(f, p, path_), REAL(unlinkat)(f, p, flags), note(flags & AT_REMOVEDIR ? 'D' : 'U', path_, "", 0, 0));
}
int rmdir(const char *p) { DO(int, below(AT_FDCWD, p, path_), REAL(rmdir)(p), note('D', path_, "", 0, 0)); }
int mkdir(const char *p, mode_t mode) { DO(int, below(AT_FDCWD, p, path_), REAL(mkdir)(p, mode), note('M', path_, "", 0, 0)); }
int mkdirat(int f, const char *p, mode_t mode) {
  DO(int, below(f, p, path_), REAL(mkdirat)(f, p, mode), note('M', path_, "", 0, 0));
}
int ftruncate(int fd, off_t o) { DO(int, length && below(fd, "", path_), REAL(ftruncate)(fd, o), note('L', path_, "", 0, o)); }
int ftruncate64(int fd, off64_t o) { DO(int, length && below(fd, "", path_), REAL(ftruncate64)(fd, o), note('L', path_, "", 0, o)); }
int fsync(int fd) { DO(int, length && below(fd, "", path_), REAL(fsync)(fd), (void)done_); }
int fdatasync(int fd) { DO(int, length && below(fd, "", path_), REAL(fdatasync)(fd), (void)done_); }

/* From the N-th operation on the clock is a day behind. */
int clock_gettime(clockid_t clock, struct timespec *found) {
  int code = REAL(clock_gettime)(clock, found);
  if (kind == CLOCK && clock == CLOCK_REALTIME && count >= at) found->tv_sec -= 86400;
  return code;
}
