// SPDX-License-Identifier: BSD-2-Clause
/*
 * A long recording out of a short one: `multiply IN OUT COPIES [HEX]` writes IN's attempts COPIES times, each copy
 * later and with sockets and processes of its own, as if the machine had gone on like that. With HEX (8 bytes that each
 * certificate holds once, such as the end of its serial number) every certificate is made another: none is in the
 * cache. Replay's speed and memory are measured on the result; nothing but the bench uses it.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "recording.h"
#include "sink_recording.h"
#include "source_recording.h"

#define GAP_NS	   10000000ULL /* between copies */
#define NEEDLE_LEN 8

/* The least and the greatest value of a field: copies are shifted by multiples of what lies between. */
struct range {
	uint64_t min, max;
};

struct source {
	struct cbt_ev_host host;
	uint8_t *events; /* padded, without HOST, CLOCK, LOST and END */
	size_t len, room;
	struct range ts, cookie, tgid;
	bool has_needle;
	uint8_t needle[NEEDLE_LEN];
	uint64_t varied; /* certificates made another so far */
};

static void range_add(struct range *r, uint64_t value)
{
	if (value < r->min)
		r->min = value;
	if (value > r->max)
		r->max = value;
}

static uint64_t range_width(const struct range *r)
{
	return r->max >= r->min ? r->max - r->min + 1 : 0;
}

static int source_add(struct source *s, const struct cbt_hdr *ev)
{
	const size_t padded = recording_padded(ev->len);
	uint8_t *grown;

	if (s->len + padded > s->room) {
		s->room = (s->len + padded) * 2;
		grown = realloc(s->events, s->room);
		if (!grown)
			return -ENOMEM;
		s->events = grown;
	}
	memset(s->events + s->len, 0, padded);
	memcpy(s->events + s->len, ev, ev->len);
	s->len += padded;
	range_add(&s->ts, ev->ts);
	if (ev->cookie)
		range_add(&s->cookie, ev->cookie);
	if (ev->tgid)
		range_add(&s->tgid, ev->tgid);
	return 0;
}

static int source_event(struct source *s, const struct cbt_hdr *ev)
{
	switch (ev->type) {
	case CBT_EV_HOST:
		memcpy(&s->host, ev, sizeof(s->host));
		return 0;
	case CBT_EV_CLOCK:
	case CBT_EV_LOST:
	case CBT_EV_END:
		return 0;
	default:
		return source_add(s, ev);
	}
}

static int source_read(struct source *s, const char *path, struct failure *f)
{
	const struct cbt_hdr *ev;
	struct recording *r = NULL;
	int n = recording_open(path, &r, f);

	if (n < 0)
		return n;
	while ((n = recording_next(r, &ev, f)) > 0) {
		int error = source_event(s, ev);

		if (error < 0) {
			n = failure_set(f, error, "out of memory; free some");
			break;
		}
	}
	recording_close(r);
	return n;
}

static bool needle_parse(struct source *s, const char *hex)
{
	if (strlen(hex) != (size_t)2 * NEEDLE_LEN)
		return false;
	for (size_t i = 0; i < NEEDLE_LEN; i++)
		if (sscanf(hex + 2 * i, "%2hhx", &s->needle[i]) != 1)
			return false;
	s->has_needle = true;
	return true;
}

static void certificate_vary(struct source *s, struct cbt_hdr *ev)
{
	struct cbt_ev_tcp *tcp = (struct cbt_ev_tcp *)ev;
	void *at;

	if (!s->has_needle || ev->type != CBT_EV_TCP)
		return;
	at = memmem(tcp->data, tcp->data_len, s->needle, NEEDLE_LEN);
	if (!at)
		return;
	s->varied++;
	memcpy(at, &s->varied, NEEDLE_LEN);
}

static int copy_write(struct source *s, uint64_t k, struct recorder *out)
{
	_Alignas(RECORDING_ALIGN) static uint8_t buffer[RECORDING_EVENT_MAX];
	struct cbt_hdr *ev = (struct cbt_hdr *)buffer;
	int r = 0;

	for (size_t at = 0; r == 0 && at < s->len;) {
		const struct cbt_hdr *from = (const struct cbt_hdr *)(s->events + at);
		const size_t padded = recording_padded(from->len);

		memcpy(buffer, from, padded);
		ev->ts += k * (range_width(&s->ts) + GAP_NS);
		if (ev->cookie)
			ev->cookie += k * range_width(&s->cookie);
		if (ev->tgid) {
			ev->tgid += (uint32_t)(k * range_width(&s->tgid));
			ev->tid += (uint32_t)(k * range_width(&s->tgid));
		}
		certificate_vary(s, ev);
		r = recorder_event(out, ev);
		at += padded;
	}
	return r;
}

static enum correlate_claim claim_all(const struct cbt_hdr *ev, void *arg)
{
	(void)ev;
	(void)arg;
	return CLAIM_YES;
}

static int copies_write(struct source *s, const char *path, uint64_t copies, struct failure *f)
{
	const struct recorder_config config = {.claims = claim_all};
	struct cbt_ev_end end = {.h = {.len = sizeof(end), .type = CBT_EV_END}};
	struct recorder *out;
	int r = recorder_open(path, &config, &out, f), closed;

	if (r < 0)
		return r;
	r = recorder_event(out, &s->host.h);
	for (uint64_t k = 0; r == 0 && k < copies; k++)
		r = copy_write(s, k, out);
	end.h.ts = s->ts.max + copies * (range_width(&s->ts) + GAP_NS);
	if (r == 0)
		r = recorder_event(out, &end.h);
	closed = recorder_close(out);
	r = r < 0 ? r : closed;
	return r < 0 ? failure_set(f, r, "cannot write %s: %s", path, strerror(-r)) : 0;
}

int main(int argc, char **argv)
{
	static const struct range none = {.min = UINT64_MAX};
	struct source s = {.ts = none, .cookie = none, .tgid = none};
	struct failure f = {0};
	int r;

	if (argc < 4 || argc > 5 || (argc == 5 && !needle_parse(&s, argv[4]))) {
		fprintf(stderr, "usage: multiply IN OUT COPIES [HEX of 8 bytes]\n");
		return 1;
	}
	r = source_read(&s, argv[1], &f);
	if (r >= 0)
		r = copies_write(&s, argv[2], strtoull(argv[3], NULL, 10), &f);
	if (r < 0)
		fprintf(stderr, "multiply: %s\n", f.text);
	if (s.has_needle)
		printf("%llu\n", (unsigned long long)s.varied);
	free(s.events);
	return r < 0 ? 2 : 0;
}
