// SPDX-License-Identifier: BSD-2-Clause
/*
 * XEP-0114 over GnuTLS, a library that cbtrace does not look into: what the lab's own client does in its simplest form,
 * one attempt on a blocking socket. Prints a line of JSON for each call.
 */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>

#include "lines.h"

#define MAX_TARGETS 16
#define DIGEST_LEN  20

struct options {
	const char *domain, *id, *secret, *ca, *tls, *stay, *timeout;
};

struct client {
	struct options o;
	struct target targets[MAX_TARGETS];
	int fd;
	gnutls_certificate_credentials_t credentials;
	gnutls_session_t session;
	char text[8192];
	size_t len;
};

static void say(const struct client *c, const char *call, int64_t begin, const char *result)
{
	struct line line;

	line_begin(&line, call, begin, c->o.domain, 1, result);
	line_end(&line);
}

static int socket_connect(struct client *c, const struct addrinfo *a)
{
	int ms = atoi(c->o.timeout), one = 1, fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0), r;
	struct timeval tv = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
	int64_t begin;

	if (fd < 0)
		return -errno;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	begin = clock_ns();
	r = connect(fd, a->ai_addr, a->ai_addrlen) ? -errno : 0;
	say(c, "connect", begin, r ? strerrorname_np(-r) : "ok");
	if (r) {
		close(fd);
		return r;
	}
	c->fd = fd;
	return 0;
}

static int client_connect(struct client *c)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
	int64_t begin = clock_ns();
	char port[8];
	int r;

	snprintf(port, sizeof(port), "%d", c->targets[0].port);
	r = getaddrinfo(c->targets[0].name, port, &hints, &list);
	say(c, "address", begin, r ? gai_strerror(r) : "ok");
	if (r)
		return -ENOENT;
	r = -ENOENT;
	for (struct addrinfo *a = list; a && r; a = a->ai_next)
		r = socket_connect(c, a);
	freeaddrinfo(list);
	return r;
}

static int client_tls(struct client *c)
{
	const char *server = c->targets[0].name, *priority = "NORMAL";
	int64_t begin;
	int r;

	if (!strcmp(c->o.tls, "1.2"))
		priority = "NORMAL:-VERS-ALL:+VERS-TLS1.2";
	else if (!strcmp(c->o.tls, "1.3"))
		priority = "NORMAL:-VERS-ALL:+VERS-TLS1.3";
	if (gnutls_certificate_allocate_credentials(&c->credentials) || gnutls_init(&c->session, GNUTLS_CLIENT) ||
	    gnutls_priority_set_direct(c->session, priority, NULL) ||
	    gnutls_credentials_set(c->session, GNUTLS_CRD_CERTIFICATE, c->credentials) ||
	    gnutls_server_name_set(c->session, GNUTLS_NAME_DNS, server, strlen(server)))
		return -EPROTO;
	if (c->o.ca && gnutls_certificate_set_x509_trust_file(c->credentials, c->o.ca, GNUTLS_X509_FMT_PEM) < 1)
		return -ENOENT;
	gnutls_session_set_verify_cert(c->session, server, 0);
	gnutls_transport_set_int(c->session, c->fd);
	begin = clock_ns();
	do {
		r = gnutls_handshake(c->session);
	} while (r < 0 && !gnutls_error_is_fatal(r) && r != GNUTLS_E_AGAIN);
	say(c, "tls", begin, r < 0 ? gnutls_strerror_name(r) : "ok");
	return r < 0 ? -EPROTO : 0;
}

static int client_write(struct client *c, const char *text)
{
	ssize_t n = gnutls_record_send(c->session, text, strlen(text));

	return n == (ssize_t)strlen(text) ? 0 : -EPIPE;
}

/* Bytes more, 0 at the end. Tickets of TLS 1.3 are told as "again", like the end of SO_RCVTIMEO. */
static ssize_t client_read(struct client *c, int64_t deadline)
{
	ssize_t n;

	if (c->len == sizeof(c->text) - 1)
		return -EMSGSIZE;
	do {
		n = gnutls_record_recv(c->session, c->text + c->len, sizeof(c->text) - 1 - c->len);
	} while (n < 0 && !gnutls_error_is_fatal((int)n) && clock_ns() < deadline);
	if (n > 0)
		c->len += (size_t)n;
	c->text[c->len] = '\0';
	return n >= 0 ? n : gnutls_error_is_fatal((int)n) ? -EPROTO : -ETIMEDOUT;
}

/* 0 when the needle has come. */
static int text_await(struct client *c, const char *needle)
{
	int64_t deadline = clock_ns() + atoi(c->o.timeout) * 1000000LL;

	while (!strstr(c->text, needle)) {
		ssize_t n;

		if (strstr(c->text, "</stream:error>"))
			return -EACCES;
		n = client_read(c, deadline);
		if (n <= 0)
			return n < 0 ? (int)n : -ECONNRESET;
	}
	return 0;
}

static int stream_id(const char *text, char *ret_id, size_t size)
{
	const char *p = strstr(text, "<stream:stream"), *end;

	p = p ? strstr(p, " id=") : NULL;
	end = p ? strchr(p + 5, p[4]) : NULL;
	if (!end || (size_t)(end - p - 5) >= size)
		return -EBADMSG;
	snprintf(ret_id, size, "%.*s", (int)(end - p - 5), p + 5);
	return 0;
}

static int stream_open(struct client *c, const char *component)
{
	char text[1024];
	int r;

	snprintf(text, sizeof(text),
		 "<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' "
		 "xmlns:stream='http://etherx.jabber.org/streams' to='%s'>",
		 component);
	r = client_write(c, text);
	if (!r)
		r = text_await(c, "<stream:stream");
	return r ? r : text_await(c, " id=");
}

static int handshake(struct client *c)
{
	char id[256], text[512];
	unsigned char digest[DIGEST_LEN];
	int64_t deadline = clock_ns() + atoi(c->o.timeout) * 1000000LL;
	int r, n;

	/* the rest of the tag is there once its bytes in between are */
	while ((r = stream_id(c->text, id, sizeof(id)))) {
		ssize_t more = client_read(c, deadline);

		if (more <= 0)
			return more < 0 ? (int)more : -ECONNRESET;
	}
	snprintf(text, sizeof(text), "%s%s", id, c->o.secret);
	if (gnutls_hash_fast(GNUTLS_DIG_SHA1, text, strlen(text), digest))
		return -EIO;
	n = snprintf(text, sizeof(text), "<handshake>");
	for (int i = 0; i < DIGEST_LEN; i++)
		n += snprintf(text + n, sizeof(text) - (size_t)n, "%02x", digest[i]);
	snprintf(text + n, sizeof(text) - (size_t)n, "</handshake>");
	r = client_write(c, text);
	return r ? r : text_await(c, "<handshake/>");
}

static const char *verdict(const struct client *c, int r, char *buf, size_t size)
{
	const char *p = strstr(c->text, "<stream:error><");

	if (r != -EACCES || !p)
		return r ? strerrorname_np(-r) : "ok";
	p += strlen("<stream:error><");
	snprintf(buf, size, "%.*s", (int)strcspn(p, " />"), p);
	return buf;
}

static int client_register(struct client *c)
{
	bool whole = strchr(c->o.id, '.');
	int64_t begin = clock_ns();
	char component[512], buf[64];
	int r;

	snprintf(component, sizeof(component), "%s%s%s", c->o.id, whole ? "" : ".", whole ? "" : c->o.domain);
	r = stream_open(c, component);
	if (!r)
		r = handshake(c);
	say(c, "register", begin, verdict(c, r, buf, sizeof(buf)));
	return r;
}

static void client_stay(struct client *c)
{
	int64_t begin = clock_ns(), deadline = begin + atoi(c->o.stay) * 1000000LL, left;
	ssize_t n = 1;

	while (n > 0 && (left = deadline - clock_ns()) > 0) {
		struct timeval tv = {.tv_sec = left / 1000000000, .tv_usec = left % 1000000000 / 1000 + 1};

		setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
		c->len = 0;
		n = client_read(c, deadline);
	}
	say(c, "stay", begin, n == 0 ? "closed_by_server" : "over");
}

static int client_run(struct client *c)
{
	int r = srv_ask(c->o.domain, 1, c->targets, MAX_TARGETS);

	if (r > 0)
		r = client_connect(c);
	if (!r)
		r = client_tls(c);
	if (!r)
		r = client_register(c);
	if (!r) {
		client_stay(c);
		gnutls_bye(c->session, GNUTLS_SHUT_WR);
	}
	return r;
}

static int options_parse(struct options *o, int argc, char **argv)
{
	const struct {
		const char *name, **value;
	} rows[] = {{"--domain", &o->domain}, {"--id", &o->id},	    {"--secret", &o->secret},  {"--ca", &o->ca},
		    {"--tls", &o->tls},	      {"--stay", &o->stay}, {"--timeout", &o->timeout}};

	for (int i = 1; i < argc; i += 2) {
		size_t k = 0;

		while (k < sizeof(rows) / sizeof(rows[0]) && strcmp(rows[k].name, argv[i]))
			k++;
		if (k == sizeof(rows) / sizeof(rows[0]) || i + 1 == argc)
			return -EINVAL;
		*rows[k].value = argv[i + 1];
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct client c = {.fd = -1,
			   .o = {.domain = "example.com",
				 .id = "callbridge",
				 .secret = "secret",
				 .tls = "both",
				 .stay = "0",
				 .timeout = "5000"}};
	int r;

	if (options_parse(&c.o, argc, argv)) {
		fprintf(stderr,
			"usage: gnutls_client [--domain D] [--id ID] [--secret S] [--ca FILE] [--tls both|1.2|1.3] "
			"[--stay MS] [--timeout MS]\n");
		return 1;
	}
	r = client_run(&c);
	if (c.session)
		gnutls_deinit(c.session);
	if (c.credentials)
		gnutls_certificate_free_credentials(c.credentials);
	if (c.fd >= 0)
		close(c.fd);
	say(&c, "done", clock_ns(), r ? "failed" : "ok");
	return r ? 1 : 0;
}
