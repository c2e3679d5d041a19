// SPDX-License-Identifier: BSD-2-Clause
/* A table of contents: read the command line, run the command, say what went wrong. */
#include <locale.h>
#include <signal.h>
#include <stdio.h>

#include "check.h"
#include "live.h"
#include "options.h"
#include "replay.h"

static int help_run(const struct options *o, struct failure *f)
{
	(void)f;
	options_help(stdout, o->topic);
	return STATUS_FINE;
}

static int version_run(const struct options *o, struct failure *f)
{
	(void)o;
	(void)f;
	puts("cbtrace " CBTRACE_VERSION);
	return STATUS_FINE;
}

static int (*const command_run[COMMANDS])(const struct options *o, struct failure *f) = {
	[COMMAND_WATCH] = live_run,	 [COMMAND_EXPORT] = live_run, [COMMAND_RECORD] = live_run,
	[COMMAND_REPLAY] = replay_run,	 [COMMAND_CHECK] = check_run, [COMMAND_HELP] = help_run,
	[COMMAND_VERSION] = version_run,
};

int main(int argc, char **argv)
{
	struct failure f = {.text = ""};
	struct options o;
	int status;

	/* A reader that has gone is a failed output, told in one line and by the exit status like any other. */
	signal(SIGPIPE, SIG_IGN);
	setlocale(LC_CTYPE, ""); /* what the terminal can show; numbers stay as they are */
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (options_parse(argc, argv, &o, &f) < 0)
		status = STATUS_USAGE;
	else
		status = command_run[o.command](&o, &f);
	if ((fflush(stdout) != 0 || ferror(stdout)) && !f.text[0]) {
		failure_set(&f, 0, "cannot write to standard output; give it a file or a reader with room");
		status = STATUS_CANNOT;
	}
	if (f.text[0])
		fprintf(stderr, "cbtrace: %s\n", f.text);
	return status;
}
