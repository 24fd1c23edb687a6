/* What a shell cannot do: the processes that the tests watch. Statically linked, so that it also runs in an empty
 * root directory. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static char **command;

static void *exit_group_later(void *code)
{
	usleep(200000);
	exit((int)(long)code);
}

static void *exit_thread_later(void *code)
{
	usleep(200000);
	syscall(SYS_exit, (int)(long)code);
	return 0;
}

static void *exec_command(void *unused)
{
	(void)unused;
	execv(command[0], command);
	_exit(99);
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";
	int number = argc > 2 ? atoi(argv[2]) : 0;
	pthread_t thread;

	command = argv + 2;
	if (!strcmp(mode, "exit"))
		return number;
	if (!strcmp(mode, "sleep"))
		return sleep(number);
	if (!strcmp(mode, "signal")) {
		struct rlimit none = {0, 0};

		setrlimit(RLIMIT_CORE, &none);
		raise(number);
	}
	/* The leader goes first; the last thread ends the group. */
	if (!strcmp(mode, "leader-first-group")) {
		pthread_create(&thread, 0, exit_group_later, (void *)(long)number);
		syscall(SYS_exit, 1);
	}
	/* The leader goes first; the last thread just ends: the leader's code counts. */
	if (!strcmp(mode, "leader-first-thread")) {
		pthread_create(&thread, 0, exit_thread_later, (void *)(long)77);
		syscall(SYS_exit, number);
	}
	if (!strcmp(mode, "thread-exec")) {
		pthread_create(&thread, 0, exec_command, 0);
		pause();
	}
	if (!strcmp(mode, "fork-exit")) {
		pid_t child = fork();
		int status;

		if (!child)
			_exit(number);
		waitpid(child, &status, 0);
		return WEXITSTATUS(status);
	}
	if (!strcmp(mode, "fork-sleep")) {
		if (!fork()) {
			close(1);
			return sleep(number);
		}
		return sleep(number);
	}
	return 98;
}
