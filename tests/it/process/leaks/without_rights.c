/* Runs a program without the rights by which root looks into other processes. A core dump by SIGQUIT is possible, also
 * where whoever started the tests had it ignored. Takes the program and its arguments. */
#define _GNU_SOURCE
#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>

/* Older headers of the kernel lack it. */
#ifndef CAP_PERFMON
#define CAP_PERFMON 38
#endif

static const int rights[] = {CAP_SYS_PTRACE, CAP_SYS_ADMIN, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_PERFMON};

int main(int count, char **arguments) {
    for (unsigned i = 0; i < sizeof rights / sizeof *rights; i++) {
        /* Root gets at an exec what is in this set. Others have none of these. */
        if (geteuid() == 0 && prctl(PR_CAPBSET_READ, rights[i], 0, 0, 0) == 1 &&
            prctl(PR_CAPBSET_DROP, rights[i], 0, 0, 0) != 0) {
            perror("cannot give a right up");
            return 1;
        }
    }
    signal(SIGQUIT, SIG_DFL);
    if (count > 1) execvp(arguments[1], arguments + 1);
    perror("cannot run the program");
    return 1;
}
