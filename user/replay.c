// SPDX-License-Identifier: BSD-2-Clause
/*
 * A recording's events to the same correlator and sinks as live ones. A recording that is cut or damaged still tells
 * what it holds up to there; then the failure is told, too.
 */
#include <errno.h>
#include <string.h>

#include "correlate.h"
#include "output.h"
#include "replay.h"
#include "source_recording.h"

/* Feeds all events. Returns 0 at the end, or a negative errno with a line in @f. */
static int replay_feed(struct recording *rec, struct correlator *c, struct output *out, struct failure *f)
{
	const struct cbt_hdr *ev;
	uint64_t last = 0;
	int r;

	while ((r = recording_next(rec, &ev, f)) > 0) {
		if (ev->ts > last)
			last = ev->ts;
		correlate_event(c, ev);
		output_count(out, ev->type);
	}
	correlate_finish(c, last);
	return r < 0 ? r : 0;
}

int replay_run(const struct options *o, struct failure *f)
{
	const struct correlate_config config = {
		.domain = o->domain[0] ? o->domain : NULL,
		.server = o->server[0] ? o->server : NULL,
		.ports = o->ports,
		.n_ports = o->n_ports,
		.idle_ns = o->idle_ns,
	};
	struct correlator *correlator = NULL;
	struct recording *recording = NULL;
	struct output *output = NULL;
	struct failure late = {.text = ""};
	int r;

	r = recording_open(o->file, &recording, f);
	if (r == 0)
		r = output_open(o, &output, f);
	if (r == 0) {
		correlator = correlator_new(&config, output_handler(output));
		if (!correlator)
			r = failure_set(f, -ENOMEM, "out of memory; free some");
	}
	if (r == 0) {
		r = replay_feed(recording, correlator, output, f);
		/* Whether it was read to its end or not, what was understood is shown. */
		if (output_finish(output, r < 0 ? &late : f) < 0)
			r = -EIO;
	}
	correlator_free(correlator);
	output_free(output);
	recording_close(recording);
	return r < 0 ? STATUS_CANNOT : STATUS_FINE;
}
