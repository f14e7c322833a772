/* A clock and a resolver that a test sets, in front of those of the C library (LD_PRELOAD). preload.rs compiles this.
 *
 * PRELOAD_CLOCK names a file with a number of seconds. The time of day is wrong by that much. Clocks that nobody can set,
 * as CLOCK_MONOTONIC, are left alone, and so are timers.
 * PRELOAD_RESOLVER names a file with one word: "works", "hangs" (no look-up returns until the word changes), or
 * "knows-no-name".
 *
 * Both are read at each call, so a test can change them while the program runs. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* A test must not pass because its setting was not read: without the file, the program ends. */
static void read_setting(const char *variable, char *setting, size_t size) {
    int before = errno;
    const char *path = getenv(variable);
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    ssize_t length = file < 0 ? -1 : read(file, setting, size - 1);
    if (length <= 0) {
        fprintf(stderr, "preload.c: %s must name a file with a setting\n", variable);
        abort();
    }
    setting[length] = '\0';
    close(file);
    errno = before;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = (int)syscall(SYS_clock_gettime, clock, now);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        char seconds[32];
        read_setting("PRELOAD_CLOCK", seconds, sizeof seconds);
        now->tv_sec += strtoll(seconds, NULL, 10);
    }
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec precise;
    (void)zone;
    int result = clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return result;
}

time_t time(time_t *now) {
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    if (now) *now = precise.tv_sec;
    return precise.tv_sec;
}

int getaddrinfo(const char *restrict host, const char *restrict service, const struct addrinfo *restrict hints,
                struct addrinfo **restrict found) {
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    const struct timespec often = {.tv_nsec = 10 * 1000 * 1000};
    char word[32];
    for (;;) {
        read_setting("PRELOAD_RESOLVER", word, sizeof word);
        if (strcmp(word, "hangs") != 0) break;
        nanosleep(&often, NULL);
    }
    if (strcmp(word, "knows-no-name") == 0) return EAI_NONAME;
    *(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
    return real(host, service, hints, found);
}
