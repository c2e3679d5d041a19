// SPDX-License-Identifier: BSD-2-Clause
/* Checks of the event contract. See event.h. */
#include "event.h"

#include <errno.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Fixed part of each event; 0: a type this version does not know. */
static const struct {
	const char *name;
	uint32_t size;
} types[] = {
	[CBT_EV_DNS] = {"dns", sizeof(struct cbt_ev_dns)},
	[CBT_EV_TCP] = {"tcp", sizeof(struct cbt_ev_tcp)},
	[CBT_EV_CONNECT] = {"connect", sizeof(struct cbt_ev_connect)},
	[CBT_EV_STATE] = {"state", sizeof(struct cbt_ev_state)},
	[CBT_EV_RELEASE] = {"release", sizeof(struct cbt_ev_release)},
	[CBT_EV_EXEC] = {"exec", sizeof(struct cbt_ev_exec)},
	[CBT_EV_EXIT] = {"exit", sizeof(struct cbt_ev_exit)},
	[CBT_EV_HOST] = {"host", sizeof(struct cbt_ev_host)},
	[CBT_EV_CLOCK] = {"clock", sizeof(struct cbt_ev_clock)},
	[CBT_EV_PROC] = {"proc", sizeof(struct cbt_ev_proc)},
	[CBT_EV_LOST] = {"lost", sizeof(struct cbt_ev_lost)},
	[CBT_EV_END] = {"end", sizeof(struct cbt_ev_end)},
	[CBT_EV_LIB_HELLO] = {"lib_hello", sizeof(struct cbt_ev_lib_hello)},
	[CBT_EV_LIB_CERT] = {"lib_cert", sizeof(struct cbt_ev_lib_cert)},
	[CBT_EV_LIB_ERROR] = {"lib_error", sizeof(struct cbt_ev_lib_error)},
	[CBT_EV_LIB_ELEMENT] = {"lib_element", sizeof(struct cbt_ev_lib_element)},
	[CBT_EV_LIB_CLOSE] = {"lib_close", sizeof(struct cbt_ev_lib_close)},
	[CBT_EV_LIB_PROC] = {"lib_proc", sizeof(struct cbt_ev_lib_proc)},
};

static const char *const stages[CBT_LOST_STAGES] = {
	[CBT_LOST_RING] = "ring",   [CBT_LOST_TRACKED] = "tracked", [CBT_LOST_STORAGE] = "storage",
	[CBT_LOST_PARSE] = "parse", [CBT_LOST_COPY] = "copy",	    [CBT_LOST_RECORDER] = "recorder",
	[CBT_LOST_TABLE] = "table", [CBT_LOST_INVALID] = "invalid",
};

const char *event_type_name(uint16_t type)
{
	return type < COUNT(types) && types[type].name ? types[type].name : "unknown";
}

const char *event_lost_name(unsigned int stage)
{
	return stage < CBT_LOST_STAGES ? stages[stage] : "unknown";
}

static bool ends(const char *text, size_t size)
{
	return memchr(text, '\0', size) != NULL;
}

static bool dns_fine(const struct cbt_ev_dns *ev)
{
	return ev->h.len == sizeof(*ev) + ev->data_len && ev->data_len <= ev->msg_len && ev->dir <= CBT_IN &&
	       ends(ev->owner.comm, sizeof(ev->owner.comm));
}

static bool tcp_fine(const struct cbt_ev_tcp *ev)
{
	return ev->h.len == sizeof(*ev) + ev->data_len && ev->data_len <= CBT_DATA_MAX && ev->dir <= CBT_IN &&
	       ev->part <= CBT_PART_MORE && ev->verdict <= CBT_VERDICT_DNS;
}

static bool cert_fine(const struct cbt_ev_lib_cert *ev)
{
	return ev->h.len == sizeof(*ev) + ev->data_len && ev->data_len <= CBT_DATA_MAX && ev->off <= ev->der_len &&
	       ev->data_len <= ev->der_len - ev->off;
}

static bool element_fine(const struct cbt_ev_lib_element *ev)
{
	return ev->h.len == sizeof(*ev) + ev->data_len && ev->data_len <= CBT_ELEMENT_DATA_MAX && ev->dir <= CBT_IN &&
	       ev->kind >= CBT_ELEMENT_STREAM_OPEN && ev->kind <= CBT_ELEMENT_GAP && ev->type <= CBT_TYPE_OTHER &&
	       ends(ev->name, sizeof(ev->name)) && ends(ev->child, sizeof(ev->child));
}

/* Its texts, lengths and enums; the length of the fixed part has been checked. */
static bool body_fine(const struct cbt_hdr *h)
{
	switch (h->type) {
	case CBT_EV_DNS:
		return dns_fine((const struct cbt_ev_dns *)h);
	case CBT_EV_TCP:
		return tcp_fine((const struct cbt_ev_tcp *)h);
	case CBT_EV_CONNECT:
		return h->len == sizeof(struct cbt_ev_connect) &&
		       ends(((const struct cbt_ev_connect *)h)->owner.comm, CBT_COMM_LEN);
	case CBT_EV_EXEC:
		return h->len == sizeof(struct cbt_ev_exec) &&
		       ends(((const struct cbt_ev_exec *)h)->comm, CBT_COMM_LEN);
	case CBT_EV_HOST: {
		const struct cbt_ev_host *ev = (const struct cbt_ev_host *)h;

		return h->len == sizeof(*ev) && ends(ev->host, sizeof(ev->host)) &&
		       ends(ev->kernel, sizeof(ev->kernel)) && ends(ev->boot_id, sizeof(ev->boot_id));
	}
	case CBT_EV_PROC: {
		const struct cbt_ev_proc *ev = (const struct cbt_ev_proc *)h;

		return h->len == sizeof(*ev) + ev->path_len && ev->path_len <= CBT_PATH_MAX &&
		       !memchr(ev->path, '\0', ev->path_len);
	}
	case CBT_EV_LIB_CERT:
		return cert_fine((const struct cbt_ev_lib_cert *)h);
	case CBT_EV_LIB_ELEMENT:
		return element_fine((const struct cbt_ev_lib_element *)h);
	case CBT_EV_LIB_CLOSE: {
		const struct cbt_ev_lib_close *ev = (const struct cbt_ev_lib_close *)h;

		return h->len == sizeof(*ev) && ev->how >= CBT_CLOSE_SHUTDOWN && ev->how <= CBT_CLOSE_RECEIVED;
	}
	case CBT_EV_LIB_PROC: {
		const struct cbt_ev_lib_proc *ev = (const struct cbt_ev_lib_proc *)h;

		return h->len == sizeof(*ev) && ev->state >= CBT_LIBRARY_ARMED && ev->state < CBT_LIBRARY_STATES;
	}
	default:
		return h->len == types[h->type].size;
	}
}

int event_check(const void *data, size_t size)
{
	const struct cbt_hdr *h = data;

	if (size < sizeof(*h) || h->len < sizeof(*h) || h->len > size || h->type == CBT_EV_NONE)
		return -EBADMSG;
	if (h->type >= COUNT(types) || !types[h->type].size)
		return 0;
	return h->len >= types[h->type].size && body_fine(h) ? 0 : -EBADMSG;
}
