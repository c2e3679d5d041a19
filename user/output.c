// SPDX-License-Identifier: BSD-2-Clause
/* One handler in front of several; see output.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "output.h"
#include "sink_json.h"
#include "sink_prometheus.h"
#include "sink_timeline.h"

#define LISTENERS_MAX 4

struct listener {
	struct report_handler handler;
	bool shows; /* to a person or a script: --slow is for it; metrics count every attempt */
};

struct output {
	const struct options *o;
	struct report_handler all; /* what the correlator calls */
	struct listener listener[LISTENERS_MAX];
	size_t n;
	struct sink_json *json;
	struct sink_timeline *timeline;
	struct prom *prom;
	bool stopping, stopped;
};

/* Pass on to each that listens for @member and for which @condition holds; it may look at @to. */
#define FOR_EACH(out, condition, member, ...)                                     \
	do {                                                                      \
		for (size_t i_ = 0; i_ < (out)->n && !(out)->stopped; i_++) {     \
			const struct listener *to = &(out)->listener[i_];         \
			if (to->handler.member && (condition))                    \
				to->handler.member(__VA_ARGS__, to->handler.arg); \
		}                                                                 \
	} while (0)

static bool is_slow(const struct output *out, const struct report_attempt *a)
{
	bool success = a->outcome == OUTCOME_REGISTERED || a->outcome == OUTCOME_CONNECTED;

	return !success || a->total_ns > (int64_t)out->o->slow_ns;
}

static void output_attempt(const struct report_attempt *a, void *arg)
{
	struct output *out = arg;

	FOR_EACH(out, !to->shows || out->o->slow_ns == 0 || is_slow(out, a), attempt, a);
	if (out->stopping)
		out->stopped = true;
}

static void output_session(const struct report_session *s, void *arg)
{
	struct output *out = arg;

	FOR_EACH(out, true, session, s);
}

static void output_session_progress(const struct report_session *s, int64_t response_ns, void *arg)
{
	struct output *out = arg;

	FOR_EACH(out, true, session_progress, s, response_ns);
}

static void output_library(unsigned int state, void *arg)
{
	struct output *out = arg;

	FOR_EACH(out, true, library, state);
}

static void output_lookup(const struct report_lookup *l, int64_t start_real_ns, void *arg)
{
	struct output *out = arg;

	FOR_EACH(out, true, lookup, l, start_real_ns);
}

static void output_leg(const struct report_leg *l, int64_t start_real_ns, void *arg)
{
	struct output *out = arg;

	FOR_EACH(out, true, leg, l, start_real_ns);
}

static void output_lost(const struct report_lost *l, void *arg)
{
	struct output *out = arg;

	FOR_EACH(out, true, lost, l);
}

static void output_tap_done(uint64_t cookie, void *arg)
{
	struct output *out = arg;

	FOR_EACH(out, true, tap_done, cookie);
}

static void listener_add(struct output *out, const struct report_handler *handler, bool shows)
{
	if (out->n == LISTENERS_MAX)
		return;
	memmove(&out->listener[1], &out->listener[0], out->n * sizeof(out->listener[0]));
	out->listener[0] = (struct listener){.handler = *handler, .shows = shows};
	out->n++;
}

void output_add(struct output *out, const struct report_handler *handler)
{
	listener_add(out, handler, false);
}

const struct report_handler *output_handler(const struct output *out)
{
	return &out->all;
}

static bool shows_json(const struct options *o)
{
	return o->json;
}

static bool shows_timelines(const struct options *o)
{
	return !o->json && !o->metrics && (o->command == COMMAND_WATCH || o->command == COMMAND_REPLAY);
}

static bool counts_metrics(const struct options *o)
{
	return o->metrics || o->command == COMMAND_EXPORT;
}

static int output_open_sinks(struct output *out)
{
	const struct options *o = out->o;
	bool live = o->command != COMMAND_REPLAY;
	const struct prom_config config = {
		.domain = o->domain[0] ? o->domain : NULL,
		.server = o->server[0] ? o->server : NULL,
		.process = live,
	};
	struct timeline_options look;
	struct report_handler h;

	if (shows_json(o)) {
		out->json = sink_json_new(stdout, o->events, live);
		if (!out->json)
			return -ENOMEM;
		sink_json_handler(out->json, &h);
		listener_add(out, &h, true);
	}
	if (shows_timelines(o)) {
		timeline_options_detect(stdout, o->color, &look);
		look.flush = live;
		out->timeline = sink_timeline_new(stdout, &look);
		if (!out->timeline)
			return -ENOMEM;
		sink_timeline_handler(out->timeline, &h);
		listener_add(out, &h, true);
	}
	if (counts_metrics(o)) {
		out->prom = prom_new(&config);
		if (!out->prom)
			return -ENOMEM;
		prom_handler(out->prom, &h);
		listener_add(out, &h, false);
	}
	return 0;
}

int output_open(const struct options *o, struct output **ret_output, struct failure *f)
{
	struct output *out = calloc(1, sizeof(*out));
	int r;

	if (!out)
		return failure_set(f, -ENOMEM, "out of memory; free some");
	out->o = o;
	out->all = (struct report_handler){
		.attempt = output_attempt,
		.session = output_session,
		.session_progress = output_session_progress,
		.library = output_library,
		.lookup = output_lookup,
		.leg = output_leg,
		.lost = output_lost,
		.tap_done = output_tap_done,
		.arg = out,
	};
	r = output_open_sinks(out);
	if (r < 0) {
		output_free(out);
		return failure_set(f, r, "out of memory; free some");
	}
	*ret_output = out;
	return 0;
}

void output_free(struct output *out)
{
	if (!out)
		return;
	sink_json_free(out->json);
	sink_timeline_free(out->timeline);
	prom_free(out->prom);
	free(out);
}

void output_count(struct output *out, uint16_t type)
{
	if (out->prom)
		prom_count_event(out->prom, type);
}

void output_in_flight(struct output *out, size_t n)
{
	if (out->prom)
		prom_set_in_flight(out->prom, n);
}

void output_stop(struct output *out)
{
	out->stopping = true;
}

int output_metrics(struct text *text, void *arg)
{
	struct output *out = arg;

	return prom_write(out->prom, text);
}

static int output_failure(int error, struct failure *f)
{
	return failure_set(f, error, "cannot write to standard output: %s; give it a reader or a file with room",
			   strerror(-error));
}

int output_flush(struct output *out, struct failure *f)
{
	int r = 0;

	if (out->json)
		r = sink_json_error(out->json);
	if (r == 0 && out->timeline)
		r = sink_timeline_error(out->timeline);
	if (r == 0 && fflush(stdout) != 0)
		r = -errno;
	if (r == 0 && ferror(stdout))
		r = -EIO;
	return r < 0 ? output_failure(r, f) : 0;
}

int output_finish(struct output *out, struct failure *f)
{
	struct text text = {0};
	int r = 0;

	if (out->timeline && !out->o->once)
		sink_timeline_summary(out->timeline);
	if (out->prom && out->o->metrics) {
		r = prom_write(out->prom, &text);
		if (r == 0)
			r = text_write(&text, stdout);
		text_free(&text);
	}
	return r < 0 ? output_failure(r, f) : output_flush(out, f);
}
