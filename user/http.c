// SPDX-License-Identifier: BSD-2-Clause
/*
 * The endpoint on libmicrohttpd. Its epoll descriptor and a timer sit in one epoll of ours: the library tells only when
 * asked how long it may be left alone, and it has no limit on how long a request may take byte by byte. See http.h.
 */
#include "http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <microhttpd.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "addr.h"

#define LISTEN_BACKLOG 64
#define NSEC_PER_SEC   1000000000LL
#define NSEC_PER_MSEC  1000000LL

/* Where a connection stands, to end one that takes too long. */
struct client {
	LIST_ENTRY(client) list;
	int fd;
	int64_t deadline; /* ns, CLOCK_MONOTONIC; of the answer to the request under way */
};

LIST_HEAD(client_list, client);

struct http {
	struct MHD_Daemon *daemon;
	int listen, epoll, timer;
	struct cbt_endpoint address;
	int (*metrics)(struct text *out, void *arg);
	void *arg;
	struct client_list clients;
};

struct page {
	const char *path, *type, *body; /* body NULL: the metrics */
};

static const struct page pages[] = {
	{"/", "text/html; charset=utf-8",
	 "<!DOCTYPE html>\n<html lang=\"en\"><head><title>cbtrace</title></head><body><h1>cbtrace</h1>"
	 "<p><a href=\"/metrics\">metrics</a> <a href=\"/healthz\">health</a></p></body></html>\n"},
	{"/healthz", "text/plain; charset=utf-8", "ok\n"},
	{"/metrics", "text/plain; version=0.0.4; charset=utf-8", NULL},
};

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}

/* --- Requests --- */

/* Takes @r, which may be NULL: then the connection is closed. */
static enum MHD_Result respond(struct MHD_Connection *c, unsigned int status, const char *type, struct MHD_Response *r)
{
	enum MHD_Result queued;

	if (!r)
		return MHD_NO;
	MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, type);
	MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
	if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
		MHD_add_response_header(r, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
	queued = MHD_queue_response(c, status, r);
	MHD_destroy_response(r);
	return queued;
}

static enum MHD_Result respond_static(struct MHD_Connection *c, unsigned int status, const char *type, const char *body)
{
	/* Persistent: never written to, in spite of the parameter's type. */
	return respond(c, status, type,
		       MHD_create_response_from_buffer(strlen(body), (void *)body, MHD_RESPMEM_PERSISTENT));
}

static enum MHD_Result respond_metrics(const struct http *h, struct MHD_Connection *c, const char *type)
{
	struct text t = {0};
	struct MHD_Response *r;

	text_puts(&t, "");
	if (h->metrics(&t, h->arg) < 0 || t.error) {
		text_free(&t);
		return respond_static(c, MHD_HTTP_INTERNAL_SERVER_ERROR, "text/plain", "out of memory\n");
	}
	r = MHD_create_response_from_buffer(t.len, t.data, MHD_RESPMEM_MUST_FREE);
	if (!r)
		text_free(&t);
	return respond(c, MHD_HTTP_OK, type, r);
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *c, const char *url, const char *method,
				  const char *version, const char *data, size_t *data_size, void **request)
{
	(void)version;
	(void)data;
	if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
		return respond_static(c, MHD_HTTP_METHOD_NOT_ALLOWED, "text/plain", "only GET and HEAD\n");
	/* The first call comes with the headers. An answer then would end the connection, as it should above. */
	if (!*request) {
		*request = arg;
		return MHD_YES;
	}
	if (*data_size) {
		*data_size = 0;
		return MHD_YES;
	}
	for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
		if (strcmp(url, pages[i].path) != 0)
			continue;
		return pages[i].body ? respond_static(c, MHD_HTTP_OK, pages[i].type, pages[i].body)
				     : respond_metrics(arg, c, pages[i].type);
	}
	return respond_static(c, MHD_HTTP_NOT_FOUND, "text/plain", "not here; /metrics is\n");
}

/* --- Connections --- */

static void client_rearm(struct client *c)
{
	c->deadline = now_ns() + HTTP_REQUEST_S * NSEC_PER_SEC;
}

static void on_connection(void *arg, struct MHD_Connection *connection, void **socket_context,
			  enum MHD_ConnectionNotificationCode code)
{
	struct http *h = arg;
	const union MHD_ConnectionInfo *info;
	struct client *c = *socket_context;

	if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
		if (c)
			LIST_REMOVE(c, list);
		free(c);
		return;
	}
	info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	c = info ? calloc(1, sizeof(*c)) : NULL;
	if (!c) {
		/* Without a deadline it may not stay. */
		if (info)
			shutdown(info->connect_fd, SHUT_RDWR);
		return;
	}
	c->fd = info->connect_fd;
	client_rearm(c);
	LIST_INSERT_HEAD(&h->clients, c, list);
	*socket_context = c;
}

static void on_completed(void *arg, struct MHD_Connection *connection, void **request,
			 enum MHD_RequestTerminationCode code)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

	(void)arg;
	(void)request;
	if (code == MHD_REQUEST_TERMINATED_COMPLETED_OK && info && info->socket_context)
		client_rearm(info->socket_context);
}

/* Ends what took too long: the library sees the end of the connection. Returns the next deadline; INT64_MAX none. */
static int64_t clients_expire(struct http *h)
{
	int64_t now = now_ns(), next = INT64_MAX;
	struct client *c;

	LIST_FOREACH(c, &h->clients, list)
	{
		if (c->deadline <= now) {
			shutdown(c->fd, SHUT_RDWR);
			c->deadline = INT64_MAX;
		}
		if (c->deadline < next)
			next = c->deadline;
	}
	return next;
}

/* --- The loop's side --- */

int http_fd(const struct http *h)
{
	return h->epoll;
}

static void timer_set(struct http *h, int64_t at)
{
	struct itimerspec spec = {.it_value = {.tv_nsec = 0}};

	if (at != INT64_MAX) {
		/* Zero would disarm it. */
		spec.it_value.tv_sec = at / NSEC_PER_SEC;
		spec.it_value.tv_nsec = at % NSEC_PER_SEC + (at == 0);
	}
	timerfd_settime(h->timer, TFD_TIMER_ABSTIME, &spec, NULL);
}

void http_run(struct http *h)
{
	uint64_t expirations;
	unsigned long long ms;
	int64_t next;

	/* Non-blocking: whether it had run out does not matter. */
	if (read(h->timer, &expirations, sizeof(expirations)) < 0)
		expirations = 0;
	clients_expire(h);
	MHD_run(h->daemon);
	next = clients_expire(h);
	if (MHD_get_timeout(h->daemon, &ms) == MHD_YES) {
		int64_t due = now_ns() + (int64_t)(ms < INT_MAX ? ms : INT_MAX) * NSEC_PER_MSEC;

		if (due < next)
			next = due;
	}
	timer_set(h, next);
}

void http_address(const struct http *h, struct cbt_endpoint *ret_address)
{
	*ret_address = h->address;
}

/* --- Life --- */

union address {
	struct sockaddr sa;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
};

static socklen_t address_make(const struct cbt_endpoint *e, union address *ret)
{
	memset(ret, 0, sizeof(*ret));
	if (addr_is_v4(e->addr)) {
		ret->in.sin_family = AF_INET;
		ret->in.sin_port = htons(e->port);
		memcpy(&ret->in.sin_addr, e->addr + 12, 4);
		return sizeof(ret->in);
	}
	ret->in6.sin6_family = AF_INET6;
	ret->in6.sin6_port = htons(e->port);
	memcpy(&ret->in6.sin6_addr, e->addr, 16);
	return sizeof(ret->in6);
}

static int listen_fail(const struct cbt_endpoint *e, int error, struct failure *f)
{
	char text[ADDR_TEXT_MAX];

	addr_endpoint_text(e, text);
	switch (error) {
	case EADDRINUSE:
		return failure_set(f, -error,
				   "cannot listen on %s: another program does; choose another port with --listen",
				   text);
	case EADDRNOTAVAIL:
		return failure_set(f, -error,
				   "cannot listen on %s: this host has no such address; choose another with --listen",
				   text);
	case EACCES:
		return failure_set(f, -error,
				   "cannot listen on %s: not allowed; choose a port above 1023 with --listen", text);
	default:
		return failure_set(f, -error, "cannot listen on %s: %s; choose another address with --listen", text,
				   strerror(error));
	}
}

static int listen_open(struct http *h, const struct cbt_endpoint *e, struct failure *f)
{
	union address a;
	socklen_t len = address_make(e, &a);
	const int one = 1;

	h->listen = socket(a.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* So that a restart finds its port free. */
	if (h->listen < 0 || setsockopt(h->listen, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
	    bind(h->listen, &a.sa, len) < 0 || listen(h->listen, LISTEN_BACKLOG) < 0 ||
	    getsockname(h->listen, &a.sa, &len) < 0)
		return listen_fail(e, errno, f);
	h->address = *e;
	h->address.port = ntohs(a.sa.sa_family == AF_INET ? a.in.sin_port : a.in6.sin6_port);
	return 0;
}

static void on_log(void *arg, const char *format, va_list args)
{
	/* A library never prints, nor do the libraries below it. */
	(void)arg;
	(void)format;
	(void)args;
}

static int epoll_add(int epoll, int fd)
{
	struct epoll_event event = {.events = EPOLLIN, .data = {.fd = fd}};

	return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

static int daemon_open(struct http *h)
{
	const union MHD_DaemonInfo *info;

	h->daemon =
		MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_ERROR_LOG, 0, NULL, NULL, on_request, h,
				 MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL, MHD_OPTION_LISTEN_SOCKET, h->listen,
				 MHD_OPTION_CONNECTION_LIMIT, (unsigned int)HTTP_CONNECTIONS_MAX,
				 MHD_OPTION_PER_IP_CONNECTION_LIMIT, (unsigned int)HTTP_CONNECTIONS_PER_IP,
				 MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HTTP_MEMORY_MAX,
				 MHD_OPTION_CONNECTION_TIMEOUT, (unsigned int)HTTP_IDLE_S, MHD_OPTION_NOTIFY_CONNECTION,
				 on_connection, h, MHD_OPTION_NOTIFY_COMPLETED, on_completed, h, MHD_OPTION_END);
	if (!h->daemon)
		return -ENOMEM;
	h->listen = -1; /* the daemon closes it */
	info = MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_EPOLL_FD);
	h->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	h->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (!info || h->timer < 0 || h->epoll < 0 || epoll_add(h->epoll, info->epoll_fd) < 0 ||
	    epoll_add(h->epoll, h->timer) < 0)
		return errno ? -errno : -ENOMEM;
	return 0;
}

int http_open(const struct cbt_endpoint *listen, int (*metrics)(struct text *out, void *arg), void *arg,
	      struct http **ret_http, struct failure *f)
{
	struct http *h = calloc(1, sizeof(*h));
	int error;

	if (!h)
		return failure_set(f, -ENOMEM, "out of memory; free some");
	h->listen = h->epoll = h->timer = -1;
	h->metrics = metrics;
	h->arg = arg;
	LIST_INIT(&h->clients);
	error = listen_open(h, listen, f);
	if (error == 0) {
		errno = 0;
		error = daemon_open(h);
		if (error < 0)
			failure_set(f, error, "cannot start the endpoint: %s; free memory or descriptors",
				    strerror(-error));
	}
	if (error < 0) {
		http_close(h);
		return error;
	}
	*ret_http = h;
	return 0;
}

void http_close(struct http *h)
{
	if (!h)
		return;
	if (h->daemon)
		MHD_stop_daemon(h->daemon);
	if (h->listen >= 0)
		close(h->listen);
	if (h->timer >= 0)
		close(h->timer);
	if (h->epoll >= 0)
		close(h->epoll);
	free(h);
}
