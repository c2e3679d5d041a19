/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The metrics endpoint, without a thread: the caller's loop waits for http_fd() and then calls http_run(). Everything
 * that a client can make it hold is bounded: connections, memory per connection, and time.
 */
#ifndef CBTRACE_HTTP_H
#define CBTRACE_HTTP_H

#include <cbtrace/event.h>
#include "failure.h"
#include "text.h"

#define HTTP_CONNECTIONS_MAX	16
#define HTTP_CONNECTIONS_PER_IP 12
#define HTTP_MEMORY_MAX		16384 /* bytes per connection, for the request */
#define HTTP_IDLE_S		10    /* without a byte */
#define HTTP_REQUEST_S		20 /* from the first byte of the connection, or the last answer, to the next answer */

struct http;

/*
 * Listen on @listen (port 0: any, see http_address). @metrics adds the text of /metrics to @out; 0 or a negative errno,
 * which the client sees as status 500. 0, or a negative errno with a line in @f.
 */
int http_open(const struct cbt_endpoint *listen, int (*metrics)(struct text *out, void *arg), void *arg,
	      struct http **ret_http, struct failure *f);
void http_close(struct http *h); /* accepts NULL */

/* Readable whenever http_run() is due, time-outs included. */
int http_fd(const struct http *h);
void http_run(struct http *h);

/* Where it listens. */
void http_address(const struct http *h, struct cbt_endpoint *ret_address);

#endif
