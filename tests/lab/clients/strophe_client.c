// SPDX-License-Identifier: BSD-2-Clause
/*
 * libstrophe as a component. Its component connections insist on no TLS, and read the flags again when the socket is
 * connected: so the flag for "legacy" (direct) TLS is set in between, in the callback for socket options. Prints a line
 * of JSON for each call; "register" is all that the library does between being asked and telling that it is registered:
 * addresses, connect, TLS and the registration itself.
 */
#include <poll.h>
#include <stdbool.h>
#include <string.h>

#include <strophe.h>

#include "lines.h"

#define MAX_TARGETS 16

struct client {
	const char *domain, *id, *secret, *ca, *tls, *stay, *timeout;
	struct target targets[MAX_TARGETS];
	xmpp_ctx_t *ctx;
	char jid[512];
	int64_t begin;
};

static void say(const struct client *c, const char *call, int64_t begin, const char *result)
{
	struct line line;

	line_begin(&line, call, begin, c->domain, 1, result);
	line_end(&line);
}

static int socket_made(xmpp_conn_t *conn, void *sock)
{
	(void)sock;
	return xmpp_conn_set_flags(conn, XMPP_CONN_FLAG_LEGACY_SSL);
}

static void connection_event(xmpp_conn_t *conn, xmpp_conn_event_t event, int error, xmpp_stream_error_t *stream_error,
			     void *arg)
{
	const struct client *c = arg;
	bool ok = event == XMPP_CONN_CONNECT;

	(void)conn, (void)error, (void)stream_error;
	say(c, "register", c->begin, ok ? "ok" : "closed");
	if (ok)
		poll(NULL, 0, atoi(c->stay));
	say(c, "done", clock_ns(), ok ? "ok" : "failed");
	_exit(ok ? 0 : 1);
}

static int client_run(struct client *c, xmpp_conn_t *conn)
{
	bool whole = strchr(c->id, '.');
	int r = srv_ask(c->domain, 1, c->targets, MAX_TARGETS);

	if (r < 0)
		return r;
	snprintf(c->jid, sizeof(c->jid), "%s%s%s", c->id, whole ? "" : ".", whole ? "" : c->domain);
	xmpp_conn_set_jid(conn, c->jid);
	xmpp_conn_set_pass(conn, c->secret);
	if (c->ca)
		xmpp_conn_set_cafile(conn, c->ca);
	xmpp_conn_set_sockopt_callback(conn, socket_made);
	c->begin = clock_ns();
	r = xmpp_connect_component(conn, c->targets[0].name, (unsigned short)c->targets[0].port, connection_event, c);
	if (r)
		return r;
	xmpp_run(c->ctx);
	return -1;
}

static int options_parse(struct client *c, int argc, char **argv)
{
	const struct {
		const char *name, **value;
	} rows[] = {{"--domain", &c->domain}, {"--id", &c->id},	    {"--secret", &c->secret},  {"--ca", &c->ca},
		    {"--tls", &c->tls},	      {"--stay", &c->stay}, {"--timeout", &c->timeout}};

	for (int i = 1; i < argc; i += 2) {
		size_t k = 0;

		while (k < sizeof(rows) / sizeof(rows[0]) && strcmp(rows[k].name, argv[i]))
			k++;
		if (k == sizeof(rows) / sizeof(rows[0]) || i + 1 == argc)
			return -1;
		*rows[k].value = argv[i + 1];
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct client c = {.domain = "example.com", .id = "callbridge", .secret = "secret", .tls = "both", .stay = "0"};
	xmpp_conn_t *conn;

	if (options_parse(&c, argc, argv)) {
		fprintf(stderr, "usage: strophe_client [--domain D] [--id ID] [--secret S] [--ca FILE] [--stay MS]\n");
		return 1;
	}
	xmpp_initialize();
	c.ctx = xmpp_ctx_new(NULL, getenv("STROPHE_DEBUG") ? xmpp_get_default_logger(XMPP_LEVEL_DEBUG) : NULL);
	conn = xmpp_conn_new(c.ctx);
	client_run(&c, conn);
	xmpp_conn_release(conn);
	xmpp_ctx_free(c.ctx);
	xmpp_shutdown();
	say(&c, "done", clock_ns(), "failed");
	return 1;
}
