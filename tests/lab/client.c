// SPDX-License-Identifier: BSD-2-Clause
/*
 * A client that behaves like a Callbridge: SRV, A/AAAA, connect with failover, TLS with verification of both names,
 * XEP-0114 stream and handshake, stay, answer. It brackets each of its calls with CLOCK_MONOTONIC and prints one JSON
 * line per call, the tests' yardstick for what cbtrace saw from outside. It owns no policy beyond that: what is odd
 * about it (one byte at a time, no TLS at all) is there to be watched.
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/sha.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "clients/lines.h"

#define MAX_DOMAINS  8
#define MAX_TARGETS  64
#define DEFAULT_PORT 5223
#define TEXT_SIZE    8192

enum mode { MODE_BLOCKING, MODE_NONBLOCKING, MODE_MEMBIO };
enum tls_range { TLS_BOTH, TLS_1_2, TLS_1_3 };
enum verify { VERIFY_BOTH, VERIFY_DOMAIN, VERIFY_SERVER, VERIFY_NONE };
enum close_how { CLOSE_SHUTDOWN, CLOSE_STREAM, CLOSE_FIN, CLOSE_RESET, CLOSE_EXIT };

/* The choices of an option, in the order of its enum. */
static const char *const mode_names[] = {"blocking", "nonblocking", "membio", NULL};
static const char *const tls_names[] = {"both", "1.2", "1.3", NULL};
static const char *const verify_names[] = {"both", "domain", "server", "none", NULL};
static const char *const close_names[] = {"shutdown", "stream", "fin", "reset", "exit", NULL};

struct options {
	const char *domains[MAX_DOMAINS];
	int n_domains;
	const char *server;
	const char *id;
	const char *secret;
	const char *ca;
	const char *sni;
	int port;
	int mode;
	int tls;
	int verify;
	int attempts;
	int interval_ms;
	int on_signal;
	int stay_ms;
	int timeout_ms;
	int until_registered;
	int no_register;
	int resume;
	int dribble;
	int plaintext;
	const char *send;
	int answer;
	int answer_delay_ms;
	int keepalive_ms;
	int pause_ms;
	int split;
	int hand_over;
	int fork;
	int reveal;
	int halt;
	int close_how;
};

/* One per domain, with a thread of its own. */
struct client {
	const struct options *options;
	const char *domain;
	char id[NS_MAXDNAME];
	SSL_CTX *ctx;
	SSL_SESSION *session;
	int attempt, registered;
	bool last_ok;

	/* of the attempt in progress */
	struct target targets[MAX_TARGETS];
	int n_targets;
	const char *server;
	int fd;
	SSL *ssl;
	bool hello_sent;
	char text[TEXT_SIZE];
	size_t text_len;
};

static int stop_fd = -1, go_fd = -1;

/* --- lines on stdout --- */

static int64_t deadline_in(int ms)
{
	return clock_ns() + ms * 1000000LL;
}

static void call_begin(struct line *line, const struct client *c, const char *call, int64_t begin, const char *result)
{
	line_begin(line, call, begin, c->domain, c->attempt, result);
}

/* --- waiting --- */

static void signal_take(int sig)
{
	uint64_t one = 1;

	if (write(sig == SIGUSR1 ? go_fd : stop_fd, &one, sizeof(one)) < 0)
		_exit(1);
}

/* 1: ready, 0: time is over, -ECANCELED: asked to stop. With fd -1 it is a sleep. */
static int fd_wait(int fd, short events, int64_t deadline)
{
	struct pollfd fds[2] = {{.fd = stop_fd, .events = POLLIN}, {.fd = fd, .events = events}};
	int r;

	do {
		int64_t left = deadline - clock_ns();
		struct timespec ts = {0};

		if (left > 0) {
			ts.tv_sec = left / 1000000000;
			ts.tv_nsec = left % 1000000000;
		}
		r = ppoll(fds, 2, &ts, NULL);
	} while (r < 0 && errno == EINTR);
	if (r < 0)
		return -errno;
	return fds[0].revents ? -ECANCELED : r;
}

static bool stop_requested(void)
{
	return fd_wait(-1, 0, 0) == -ECANCELED;
}

/* --- SRV and addresses --- */

static int client_srv(struct client *c)
{
	int n = srv_ask(c->domain, c->attempt, c->targets, MAX_TARGETS);

	c->n_targets = n > 0 ? n : 0;
	return n > 0 ? 0 : n;
}

static int client_addresses(struct client *c, const struct target *t, struct addrinfo **ret_list)
{
	struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
	struct addrinfo *list = NULL;
	int64_t begin = clock_ns();
	struct line line;
	char port[8];
	int r, n = 0;

	snprintf(port, sizeof(port), "%d", t->port);
	r = getaddrinfo(t->name, port, &hints, &list);
	call_begin(&line, c, "address", begin, r ? gai_strerror(r) : "ok");
	for (struct addrinfo *a = list; a; a = a->ai_next)
		n++;
	line_string(&line, "name", t->name);
	line_number(&line, "addresses", n);
	line_end(&line);
	if (r)
		return -ENOENT;
	*ret_list = list;
	return 0;
}

/* --- connect --- */

static int connect_wait(int fd, int timeout_ms)
{
	socklen_t len = sizeof(int);
	int r, error = 0;

	r = fd_wait(fd, POLLOUT, deadline_in(timeout_ms));
	if (r <= 0)
		return r < 0 ? r : -ETIMEDOUT;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
		return -errno;
	return -error;
}

static int connect_try(const struct client *c, int fd, const struct addrinfo *a)
{
	int timeout_ms = c->options->timeout_ms;
	struct timeval tv = {.tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000};

	if (c->options->mode == MODE_BLOCKING) {
		/* limits connect() too, which then says EINPROGRESS */
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	}
	if (!connect(fd, a->ai_addr, a->ai_addrlen))
		return 0;
	if (errno != EINPROGRESS)
		return -errno;
	return c->options->mode == MODE_BLOCKING ? -ETIMEDOUT : connect_wait(fd, timeout_ms);
}

static int local_port(int fd)
{
	struct sockaddr_in6 sa = {0};
	socklen_t len = sizeof(sa);

	/* the port is at the same place in both families */
	return getsockname(fd, (struct sockaddr *)&sa, &len) < 0 ? 0 : ntohs(sa.sin6_port);
}

static int client_connect(struct client *c, const struct target *t, const struct addrinfo *a)
{
	int flags = SOCK_CLOEXEC | (c->options->mode == MODE_BLOCKING ? 0 : SOCK_NONBLOCK), one = 1, fd, r;
	char host[INET6_ADDRSTRLEN] = "";
	struct line line;
	int64_t begin;

	fd = socket(a->ai_family, SOCK_STREAM | flags, 0);
	if (fd < 0)
		return -errno;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	getnameinfo(a->ai_addr, a->ai_addrlen, host, sizeof(host), NULL, 0, NI_NUMERICHOST);
	begin = clock_ns();
	r = connect_try(c, fd, a);
	call_begin(&line, c, "connect", begin, r ? strerrorname_np(-r) : "ok");
	line_string(&line, "address", host);
	line_number(&line, "port", t->port);
	line_number(&line, "local_port", local_port(fd));
	line_end(&line);
	if (r) {
		close(fd);
		return r;
	}
	c->fd = fd;
	return 0;
}

static int client_connect_any(struct client *c)
{
	int r = -ENOENT;

	for (int i = 0; i < c->n_targets; i++) {
		struct addrinfo *list = NULL;

		c->server = c->targets[i].name;
		if (client_addresses(c, &c->targets[i], &list))
			continue;
		for (struct addrinfo *a = list; a; a = a->ai_next) {
			r = client_connect(c, &c->targets[i], a);
			if (!r || r == -ECANCELED)
				break;
		}
		freeaddrinfo(list);
		if (!r || r == -ECANCELED)
			return r;
	}
	return r;
}

/* --- bytes: plain, or through TLS in one of the three modes --- */

static int socket_read(struct client *c, void *buf, size_t len, int64_t deadline)
{
	for (;;) {
		ssize_t n;
		int r = fd_wait(c->fd, POLLIN, deadline);

		if (r <= 0)
			return r < 0 ? r : -ETIMEDOUT;
		n = recv(c->fd, buf, len, 0);
		if (n >= 0)
			return (int)n;
		if (errno != EAGAIN && errno != EINTR)
			return -errno;
	}
}

static int socket_write(struct client *c, const char *buf, size_t len, int64_t deadline)
{
	while (len > 0) {
		ssize_t n = send(c->fd, buf, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EAGAIN) {
			int r = fd_wait(c->fd, POLLOUT, deadline);

			if (r <= 0)
				return r < 0 ? r : -ETIMEDOUT;
			continue;
		}
		if (n < 0)
			return -errno;
		buf += n;
		len -= (size_t)n;
	}
	return 0;
}

/* The congestion window would merge what waits: each byte is let go before the next is given. */
static int socket_dribble(struct client *c, const char *buf, size_t len, int64_t deadline)
{
	for (size_t i = 0; i < len; i++) {
		int unsent = 1, r = socket_write(c, buf + i, 1, deadline);

		if (r)
			return r;
		while (!ioctl(c->fd, SIOCOUTQNSD, &unsent) && unsent > 0) {
			if (clock_ns() > deadline)
				return -ETIMEDOUT;
			fd_wait(-1, 0, clock_ns() + 100000);
		}
	}
	return 0;
}

static int membio_flush(struct client *c, int64_t deadline)
{
	BIO *out = SSL_get_wbio(c->ssl);
	char buf[4096];
	int n, r;

	while ((n = BIO_read(out, buf, sizeof(buf))) > 0) {
		if (c->options->dribble && !c->hello_sent)
			r = socket_dribble(c, buf, (size_t)n, deadline);
		else
			r = socket_write(c, buf, (size_t)n, deadline);
		if (r)
			return r;
		c->hello_sent = true;
	}
	return 0;
}

static int membio_fill(struct client *c, int64_t deadline)
{
	char buf[4096];
	int n = socket_read(c, buf, sizeof(buf), deadline);

	if (n <= 0)
		return n < 0 ? n : -ECONNRESET;
	return BIO_write(SSL_get_rbio(c->ssl), buf, n) == n ? 0 : -EIO;
}

enum tls_op { TLS_HANDSHAKE, TLS_READ, TLS_WRITE };

static int tls_call(struct client *c, enum tls_op op, void *buf, int len)
{
	ERR_clear_error();
	errno = 0;
	switch (op) {
	case TLS_HANDSHAKE:
		return c->options->mode == MODE_BLOCKING ? SSL_connect(c->ssl) : SSL_do_handshake(c->ssl);
	case TLS_READ:
		return SSL_read(c->ssl, buf, len);
	default:
		return SSL_write(c->ssl, buf, len);
	}
}

/* What the call wants before it can go on. */
static int tls_want(struct client *c, int error, int64_t deadline)
{
	int r;

	if (error == SSL_ERROR_ZERO_RETURN)
		return -ESHUTDOWN;
	if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE)
		return error == SSL_ERROR_SSL ? -EPROTO : errno ? -errno : -ECONNRESET;
	if (c->options->mode == MODE_MEMBIO)
		return membio_fill(c, deadline);
	/* a blocking socket gives up by SO_RCVTIMEO */
	if (c->options->mode == MODE_BLOCKING && clock_ns() >= deadline)
		return -ETIMEDOUT;
	r = fd_wait(c->fd, error == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT, deadline);
	return r < 0 ? r : r ? 0 : -ETIMEDOUT;
}

static int tls_run(struct client *c, enum tls_op op, void *buf, int len, int64_t deadline)
{
	for (;;) {
		int n = tls_call(c, op, buf, len), error = SSL_get_error(c->ssl, n), r = 0;

		if (c->options->mode == MODE_MEMBIO)
			r = membio_flush(c, deadline);
		if (n > 0 && !r)
			return n;
		if (!r || error == SSL_ERROR_SSL)
			r = tls_want(c, error, deadline);
		if (r)
			return r;
	}
}

static int piece_write(struct client *c, const char *text, size_t len, int64_t deadline)
{
	int r;

	if (!c->ssl)
		return socket_write(c, text, len, deadline);
	r = tls_run(c, TLS_WRITE, (void *)text, (int)len, deadline);
	return r < 0 ? r : 0;
}

static int client_write(struct client *c, const char *text, int64_t deadline)
{
	size_t left = strlen(text), most = c->options->split > 0 ? (size_t)c->options->split : left;
	int r = 0;

	while (left > 0 && !r) {
		size_t len = left < most ? left : most;

		r = piece_write(c, text, len, deadline);
		text += len;
		left -= len;
	}
	return r;
}

/* 0: the peer is done. */
static int client_read(struct client *c, void *buf, size_t len, int64_t deadline)
{
	int r;

	if (!c->ssl)
		return socket_read(c, buf, len, deadline);
	/* Bytes may wait inside the library; else a wait on the socket, so that blocking mode notices a stop too. */
	if (!SSL_has_pending(c->ssl) && (c->options->mode != MODE_MEMBIO || !BIO_pending(SSL_get_rbio(c->ssl)))) {
		r = fd_wait(c->fd, POLLIN, deadline);
		if (r <= 0)
			return r < 0 ? r : -ETIMEDOUT;
	}
	r = tls_run(c, TLS_READ, buf, (int)len, deadline);
	return r == -ESHUTDOWN ? 0 : r;
}

/* --- TLS --- */

static int client_index = -1;

static bool is_literal(const char *name)
{
	unsigned char buf[16];

	return inet_pton(AF_INET, name, buf) == 1 || inet_pton(AF_INET6, name, buf) == 1;
}

static bool certificate_names_match(const struct client *c, X509 *certificate)
{
	int verify = c->options->verify;

	if (verify != VERIFY_SERVER && X509_check_host(certificate, c->domain, 0, 0, NULL) != 1)
		return false;
	if (verify == VERIFY_DOMAIN || is_literal(c->server))
		return true;
	return X509_check_host(certificate, c->server, 0, 0, NULL) == 1;
}

/* Both names, as a Callbridge asks for; the library itself can check but one of several. */
static int certificate_verify(int ok, X509_STORE_CTX *store)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
	const struct client *c = SSL_get_ex_data(ssl, client_index);

	if (!ok || X509_STORE_CTX_get_error_depth(store) != 0)
		return ok;
	if (certificate_names_match(c, X509_STORE_CTX_get_current_cert(store)))
		return 1;
	X509_STORE_CTX_set_error(store, X509_V_ERR_HOSTNAME_MISMATCH);
	return 0;
}

/* TLS 1.3 sends tickets when it likes, so both versions give their session here. */
static int session_keep(SSL *ssl, SSL_SESSION *session)
{
	struct client *c = SSL_get_ex_data(ssl, client_index);

	SSL_SESSION_free(c->session);
	c->session = session;
	return 1;
}

static int context_make(struct client *c)
{
	static const int versions[][2] = {
		[TLS_BOTH] = {TLS1_2_VERSION, TLS1_3_VERSION},
		[TLS_1_2] = {TLS1_2_VERSION, TLS1_2_VERSION},
		[TLS_1_3] = {TLS1_3_VERSION, TLS1_3_VERSION},
	};
	const struct options *o = c->options;

	c->ctx = SSL_CTX_new(TLS_client_method());
	if (!c->ctx)
		return -ENOMEM;
	SSL_CTX_set_min_proto_version(c->ctx, versions[o->tls][0]);
	SSL_CTX_set_max_proto_version(c->ctx, versions[o->tls][1]);
	SSL_CTX_set_session_cache_mode(c->ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL_STORE);
	/* or SSL_read of a blocking socket waits for data after a ticket, past every deadline */
	if (o->mode == MODE_BLOCKING)
		SSL_CTX_clear_mode(c->ctx, SSL_MODE_AUTO_RETRY);
	SSL_CTX_sess_set_new_cb(c->ctx, session_keep);
	if (o->verify != VERIFY_NONE)
		SSL_CTX_set_verify(c->ctx, SSL_VERIFY_PEER, certificate_verify);
	if (o->ca && !SSL_CTX_load_verify_file(c->ctx, o->ca))
		return -ENOENT;
	return 0;
}

static int ssl_make(struct client *c)
{
	const char *sni = c->options->sni;

	if (!sni && !is_literal(c->server))
		sni = c->server;
	c->ssl = SSL_new(c->ctx);
	if (!c->ssl)
		return -ENOMEM;
	SSL_set_ex_data(c->ssl, client_index, c);
	SSL_set_connect_state(c->ssl);
	if (sni)
		SSL_set_tlsext_host_name(c->ssl, sni);
	if (c->options->resume && c->session)
		SSL_set_session(c->ssl, c->session);
	if (c->options->mode == MODE_MEMBIO)
		SSL_set_bio(c->ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
	else if (!SSL_set_fd(c->ssl, c->fd))
		return -EIO;
	return 0;
}

static int client_tls(struct client *c)
{
	struct line line;
	int64_t begin;
	long verify;
	int r;

	r = ssl_make(c);
	if (r)
		return r;
	c->hello_sent = false;
	begin = clock_ns();
	r = tls_run(c, TLS_HANDSHAKE, NULL, 0, deadline_in(c->options->timeout_ms));
	call_begin(&line, c, "tls", begin, r > 0 ? "ok" : strerrorname_np(-r));
	line_string(&line, "version", SSL_get_version(c->ssl));
	line_string(&line, "cipher", r > 0 ? SSL_get_cipher_name(c->ssl) : "");
	line_add(&line, ",\"resumed\":%s", SSL_session_reused(c->ssl) ? "true" : "false");
	verify = SSL_get_verify_result(c->ssl);
	line_string(&line, "verify", X509_verify_cert_error_string(verify));
	if (r <= 0)
		line_string(&line, "error", ERR_peek_error() ? ERR_reason_error_string(ERR_peek_error()) ?: "" : "");
	line_end(&line);
	return r > 0 ? 0 : r;
}

/* --- XEP-0114 --- */

/* Reads until one of the needles is there; which one, or negative. What came before stays in c->text. */
static int text_await(struct client *c, const char *const needles[], int64_t deadline)
{
	for (;;) {
		int n;

		c->text[c->text_len] = '\0';
		for (int i = 0; needles[i]; i++)
			if (strstr(c->text, needles[i]))
				return i;
		if (c->text_len == sizeof(c->text) - 1)
			return -EMSGSIZE;
		n = client_read(c, c->text + c->text_len, sizeof(c->text) - 1 - c->text_len, deadline);
		if (n <= 0)
			return n < 0 ? n : -ECONNRESET;
		c->text_len += (size_t)n;
	}
}

/* The value of an attribute of the start tag; servers quote with ' or ". */
static int attribute_get(const char *tag, const char *name, char *ret_value, size_t size)
{
	const char *end = strchr(tag, '>'), *p = tag, *close;
	size_t len = strlen(name);

	while (end && (p = strchr(p, ' ')) && p < end) {
		p++;
		if (strncmp(p, name, len) || p[len] != '=' || (p[len + 1] != '\'' && p[len + 1] != '"'))
			continue;
		p += len + 2;
		close = strchr(p, p[-1]);
		if (!close || (size_t)(close - p) >= size)
			break;
		memcpy(ret_value, p, (size_t)(close - p));
		ret_value[close - p] = '\0';
		return 0;
	}
	return -EBADMSG;
}

static int stream_id(const char *text, char *ret_id, size_t size)
{
	const char *tag = strstr(text, "<stream:stream");

	return tag ? attribute_get(tag, "id", ret_id, size) : -EBADMSG;
}

/* The name of the condition inside <stream:error>. */
static const char *stream_error(const char *text, char *buf, size_t size)
{
	const char *p = strstr(text, "<stream:error");
	size_t n;

	p = p ? strchr(p, '>') : NULL;
	if (!p || p[1] != '<')
		return "stream-error";
	n = strcspn(p + 2, " />");
	snprintf(buf, size, "%.*s", (int)(n < size ? n : size - 1), p + 2);
	return buf;
}

static void handshake_format(const char *id, const char *secret, char *ret_text, size_t size)
{
	unsigned char digest[SHA_DIGEST_LENGTH];
	char buf[512], hex[2 * SHA_DIGEST_LENGTH + 1];

	snprintf(buf, sizeof(buf), "%s%s", id, secret);
	SHA1((const unsigned char *)buf, strlen(buf), digest);
	for (int i = 0; i < SHA_DIGEST_LENGTH; i++)
		snprintf(hex + 2 * i, 3, "%02x", digest[i]);
	snprintf(ret_text, size, "<handshake>%s</handshake>", hex);
}

/* Forgets the text up to the end of what is there for sure. */
static void text_drop(struct client *c, const char *needle)
{
	const char *rest = strstr(c->text, needle) + strlen(needle);

	c->text_len -= (size_t)(rest - c->text);
	memmove(c->text, rest, c->text_len + 1);
}

static const char *xmpp_result(const struct client *c, int r, int wanted, char *buf, size_t size)
{
	if (r == wanted)
		return "ok";
	return r < 0 ? strerrorname_np(-r) : stream_error(c->text, buf, size);
}

static int client_stream(struct client *c)
{
	static const char *const needles[] = {"</stream:error>", "<stream:stream", NULL};
	static const char *const rest[] = {">", NULL};
	int64_t begin = clock_ns(), deadline = deadline_in(c->options->timeout_ms);
	char text[NS_MAXDNAME + 256], buf[64];
	struct line line;
	int r;

	c->text_len = 0;
	snprintf(text, sizeof(text),
		 "<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' "
		 "xmlns:stream='http://etherx.jabber.org/streams' to='%s'>",
		 c->id);
	r = client_write(c, text, deadline);
	if (!r)
		r = text_await(c, needles, deadline);
	if (r == 1) {
		/* the whole start tag */
		const char *tag = strstr(c->text, "<stream:stream");

		if (!strchr(tag, '>'))
			r = text_await(c, rest, deadline) < 0 ? -EBADMSG : 1;
	}
	call_begin(&line, c, "stream", begin, xmpp_result(c, r, 1, buf, sizeof(buf)));
	line_end(&line);
	return r == 1 ? 0 : r < 0 ? r : -EACCES;
}

/* Half of it, and then nothing more. */
static int handshake_halt(struct client *c, const char *id, char *text, int64_t begin)
{
	struct line line;
	int r;

	text[strlen(text) / 2] = '\0';
	r = client_write(c, text, deadline_in(c->options->timeout_ms));
	if (r)
		return r;
	call_begin(&line, c, "halt", begin, "ok");
	line_string(&line, "stream_id", id);
	line_string(&line, "handshake", text);
	line_end(&line);
	fd_wait(-1, 0, INT64_MAX);
	return -ECANCELED;
}

static int client_register(struct client *c)
{
	static const char *const needles[] = {"</stream:error>", "<handshake/>", "<handshake></handshake>", NULL};
	int64_t begin = clock_ns(), deadline = deadline_in(c->options->timeout_ms);
	char id[256] = "", text[128] = "", buf[64];
	struct line line;
	int r;

	r = stream_id(c->text, id, sizeof(id));
	if (!r) {
		handshake_format(id, c->options->secret, text, sizeof(text));
		r = c->options->halt ? handshake_halt(c, id, text, begin) : client_write(c, text, deadline);
	}
	if (!r)
		r = text_await(c, needles, deadline);
	if (r == 1 || r == 2) {
		text_drop(c, needles[r]);
		r = 1;
	}
	call_begin(&line, c, "register", begin, xmpp_result(c, r, 1, buf, sizeof(buf)));
	line_string(&line, "id", c->id);
	if (c->options->reveal) {
		line_string(&line, "stream_id", id);
		line_string(&line, "handshake", text);
	}
	line_end(&line);
	return r == 1 ? 0 : r < 0 ? r : -EACCES;
}

/* --- the attempt --- */

/* One line for each answer: from the return of the read that had the question whole to just before the write. */
static int iq_answer(struct client *c, const char *tag, int64_t received)
{
	char type[16] = "", id[128] = "", from[NS_MAXDNAME] = "", to[NS_MAXDNAME] = "", text[2 * NS_MAXDNAME + 256];
	struct line line;
	int r;

	attribute_get(tag, "type", type, sizeof(type));
	if (strcmp(type, "get") && strcmp(type, "set"))
		return 0;
	attribute_get(tag, "id", id, sizeof(id));
	attribute_get(tag, "from", from, sizeof(from));
	attribute_get(tag, "to", to, sizeof(to));
	if (c->options->answer_delay_ms) {
		r = fd_wait(-1, 0, deadline_in(c->options->answer_delay_ms));
		if (r < 0)
			return r;
	}
	snprintf(text, sizeof(text), "<iq type='result' id='%s' from='%s' to='%s'/>", id, to, from);
	call_begin(&line, c, "answer", received, "ok");
	line_string(&line, "iq", id);
	r = client_write(c, text, deadline_in(c->options->timeout_ms));
	line_end(&line);
	return r;
}

/* Each whole start tag in c->text; what it opens is not looked at. */
static int stanzas_take(struct client *c, int64_t received)
{
	int r = 0;

	for (;;) {
		char *tag = strchr(c->text, '<'), *end = tag ? strchr(tag, '>') : NULL;

		if (!tag || !end || r) {
			if (!tag || c->text_len == sizeof(c->text) - 1)
				c->text_len = 0;
			return r;
		}
		if (c->options->answer && !strncmp(tag, "<iq ", 4))
			r = iq_answer(c, tag, received);
		c->text_len -= (size_t)(end + 1 - c->text);
		memmove(c->text, end + 1, c->text_len + 1);
	}
}

/* Reads until the deadline, or until the peer is done. */
static int stay_read(struct client *c, int64_t deadline, int64_t *received)
{
	int keepalive_ms = c->options->keepalive_ms, n;

	for (;;) {
		int64_t until = keepalive_ms ? deadline_in(keepalive_ms) : deadline;

		n = client_read(c, c->text + c->text_len, sizeof(c->text) - 1 - c->text_len,
				until < deadline ? until : deadline);
		if (n == -ETIMEDOUT && until < deadline) {
			n = client_write(c, " ", deadline_in(c->options->timeout_ms));
			if (n)
				return n;
			continue;
		}
		if (n <= 0)
			return n;
		*received += n;
		c->text_len += (size_t)n;
		c->text[c->text_len] = '\0';
		n = stanzas_take(c, clock_ns());
		if (n)
			return n;
	}
}

/* How the stay ended. Reading on also takes in the tickets of TLS 1.3, without which nothing is resumed. */
static void client_stay(struct client *c)
{
	int64_t begin = clock_ns(), deadline = deadline_in(c->options->stay_ms);
	int64_t received = 0;
	struct line line;
	int n = 0;

	if (c->ssl && c->options->resume && !c->session && c->options->stay_ms < 1000)
		deadline = deadline_in(1000);
	if (c->options->no_register)
		c->text_len = 0;
	c->text[c->text_len] = '\0';
	if (c->options->send)
		n = client_write(c, c->options->send, deadline_in(c->options->timeout_ms));
	if (!n)
		n = stanzas_take(c, begin);
	if (!n)
		n = stay_read(c, deadline, &received);
	call_begin(&line, c, "stay", begin,
		   n == 0	     ? "closed_by_server"
		   : n == -ECANCELED ? "stopped"
		   : n == -ETIMEDOUT ? "over"
				     : strerrorname_np(-n));
	line_number(&line, "received", received);
	line_end(&line);
}

/* Says goodbye, or not. */
static void tls_end(struct client *c)
{
	int64_t deadline = deadline_in(100);
	int how = c->options->close_how;

	if (!c->ssl || !SSL_is_init_finished(c->ssl))
		return;
	if (how == CLOSE_STREAM)
		client_write(c, "</stream:stream>", deadline);
	if (how != CLOSE_SHUTDOWN && how != CLOSE_STREAM)
		return;
	/* a session that was not shut down is not resumed */
	SSL_shutdown(c->ssl);
	if (c->options->mode == MODE_MEMBIO)
		membio_flush(c, deadline);
}

static void client_close(struct client *c)
{
	struct linger reset = {.l_onoff = 1, .l_linger = 0};

	if (c->options->close_how == CLOSE_EXIT)
		_exit(0);
	tls_end(c);
	SSL_free(c->ssl);
	c->ssl = NULL;
	if (c->fd >= 0 && c->options->close_how == CLOSE_RESET)
		setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
}

static int client_targets(struct client *c)
{
	const struct options *o = c->options;

	c->n_targets = 0;
	if (!o->server)
		return client_srv(c);
	snprintf(c->targets[0].name, sizeof(c->targets[0].name), "%s", o->server);
	c->targets[0].port = o->port;
	c->n_targets = 1;
	return 0;
}

static void *registration_run(void *arg)
{
	struct client *c = arg;
	int r = client_stream(c);

	if (!r)
		r = client_register(c);
	return (void *)(intptr_t)r;
}

static int client_registration(struct client *c)
{
	pthread_t thread;
	void *result;

	if (!c->options->hand_over)
		return (int)(intptr_t)registration_run(c);
	if (pthread_create(&thread, NULL, registration_run, c))
		return -EAGAIN;
	pthread_join(thread, &result);
	return (int)(intptr_t)result;
}

static int client_attempt(struct client *c)
{
	const struct options *o = c->options;
	int r;

	r = client_targets(c);
	if (!r)
		r = client_connect_any(c);
	if (!r && !o->plaintext)
		r = client_tls(c);
	if (!r && o->pause_ms && fd_wait(-1, 0, deadline_in(o->pause_ms)) < 0)
		r = -ECANCELED;
	if (!r && !o->no_register)
		r = client_registration(c);
	if (!r)
		client_stay(c);
	client_close(c);
	return r;
}

static int attempt_fork(struct client *c)
{
	pid_t child = fork();
	int status;

	if (!child)
		_exit(client_attempt(c) ? 1 : 0);
	while (child > 0 && waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return child > 0 && !status ? 0 : -ECHILD;
}

static int attempt_wait(const struct options *o)
{
	uint64_t count;
	int r;

	if (!o->on_signal)
		return fd_wait(-1, 0, deadline_in(o->interval_ms));
	r = fd_wait(go_fd, POLLIN, INT64_MAX);
	return r > 0 && read(go_fd, &count, sizeof(count)) < 0 ? -errno : r;
}

static void *client_run(void *arg)
{
	struct client *c = arg;
	const struct options *o = c->options;

	while (c->attempt < o->attempts && !stop_requested()) {
		if (c->attempt > 0 && attempt_wait(o) == -ECANCELED)
			break;
		c->attempt++;
		c->last_ok = (o->fork ? attempt_fork(c) : client_attempt(c)) == 0;
		c->registered += c->last_ok;
		if (c->last_ok && o->until_registered)
			break;
	}
	return NULL;
}

static int client_open(struct client *c, const struct options *o, const char *domain)
{
	c->options = o;
	c->domain = domain;
	c->fd = -1;
	if (strchr(o->id, '.'))
		snprintf(c->id, sizeof(c->id), "%s", o->id);
	else
		snprintf(c->id, sizeof(c->id), "%s.%s", o->id, domain);
	return o->plaintext ? 0 : context_make(c);
}

static void client_free(struct client *c)
{
	if (!c)
		return;
	SSL_SESSION_free(c->session);
	SSL_CTX_free(c->ctx);
	free(c);
}

/* --- options --- */

enum option_kind { OPTION_FLAG, OPTION_NUMBER, OPTION_STRING, OPTION_CHOICE, OPTION_DOMAIN };

struct option_row {
	const char *name;
	enum option_kind kind;
	size_t offset;
	const char *const *choices;
	const char *help;
};

#define AT(field) offsetof(struct options, field)
static const struct option_row option_rows[] = {
	{"--domain", OPTION_DOMAIN, 0, NULL, "D: XMPP domain; several: one thread each"},
	{"--server", OPTION_STRING, AT(server), NULL, "NAME or address, instead of SRV"},
	{"--port", OPTION_NUMBER, AT(port), NULL, "N: with --server (5223)"},
	{"--id", OPTION_STRING, AT(id), NULL, "component; without a dot, the domain is added (callbridge)"},
	{"--secret", OPTION_STRING, AT(secret), NULL, "S"},
	{"--ca", OPTION_STRING, AT(ca), NULL, "FILE"},
	{"--sni", OPTION_STRING, AT(sni), NULL, "NAME (the server's)"},
	{"--mode", OPTION_CHOICE, AT(mode), mode_names, "blocking|nonblocking|membio"},
	{"--tls", OPTION_CHOICE, AT(tls), tls_names, "both|1.2|1.3"},
	{"--verify", OPTION_CHOICE, AT(verify), verify_names, "both|domain|server|none"},
	{"--attempts", OPTION_NUMBER, AT(attempts), NULL, "N: whole attempts, one after the other (1)"},
	{"--until-registered", OPTION_FLAG, AT(until_registered), NULL, "stop at the first that succeeds"},
	{"--interval", OPTION_NUMBER, AT(interval_ms), NULL, "MS between attempts (0)"},
	{"--on-signal", OPTION_FLAG, AT(on_signal), NULL, "SIGUSR1 begins each attempt but the first"},
	{"--stay", OPTION_NUMBER, AT(stay_ms), NULL, "MS after success (0); SIGTERM ends it"},
	{"--timeout", OPTION_NUMBER, AT(timeout_ms), NULL, "MS of each network call (5000)"},
	{"--no-register", OPTION_FLAG, AT(no_register), NULL, "only TLS, then stay"},
	{"--resume", OPTION_FLAG, AT(resume), NULL, "later attempts resume the TLS session"},
	{"--dribble", OPTION_FLAG, AT(dribble), NULL, "ClientHello byte by byte (membio)"},
	{"--plaintext", OPTION_FLAG, AT(plaintext), NULL, "XEP-0114 without TLS"},
	{"--send", OPTION_STRING, AT(send), NULL, "XML, once registered"},
	{"--answer", OPTION_FLAG, AT(answer), NULL, "each iq of type get or set with a result"},
	{"--answer-delay", OPTION_NUMBER, AT(answer_delay_ms), NULL, "MS before each answer (0)"},
	{"--keepalive", OPTION_NUMBER, AT(keepalive_ms), NULL, "MS of silence, then a space (none)"},
	{"--pause", OPTION_NUMBER, AT(pause_ms), NULL, "MS between TLS and registration (0)"},
	{"--split", OPTION_NUMBER, AT(split), NULL, "N: XML in writes of so many bytes"},
	{"--hand-over", OPTION_FLAG, AT(hand_over), NULL, "registration in another thread than TLS"},
	{"--fork", OPTION_FLAG, AT(fork), NULL, "each attempt in a child made for it"},
	{"--reveal", OPTION_FLAG, AT(reveal), NULL,
	 "print the stream's id and the digest, for those who look for leaks"},
	{"--halt", OPTION_FLAG, AT(halt), NULL, "with half of the handshake written, until SIGTERM"},
	{"--close", OPTION_CHOICE, AT(close_how), close_names, "shutdown|stream|fin|reset|exit"},
};

static void usage(void)
{
	fprintf(stderr, "usage: client --domain D [options]\n");
	for (size_t i = 0; i < sizeof(option_rows) / sizeof(option_rows[0]); i++)
		fprintf(stderr, "  %-19s %s\n", option_rows[i].name, option_rows[i].help);
}

static const struct option_row *option_find(const char *name)
{
	for (size_t i = 0; i < sizeof(option_rows) / sizeof(option_rows[0]); i++)
		if (!strcmp(option_rows[i].name, name))
			return &option_rows[i];
	return NULL;
}

static int number_parse(const char *text, int *ret_value)
{
	char *end;
	long value;

	errno = 0;
	value = strtol(text, &end, 10);
	if (errno || end == text || *end || value < 0 || value > INT32_MAX)
		return -EINVAL;
	*ret_value = (int)value;
	return 0;
}

static int choice_parse(const char *const *choices, const char *text, int *ret_value)
{
	for (int i = 0; choices[i]; i++) {
		if (!strcmp(choices[i], text)) {
			*ret_value = i;
			return 0;
		}
	}
	return -EINVAL;
}

static int option_set(struct options *o, const struct option_row *row, const char *value)
{
	void *field = (char *)o + row->offset;

	switch (row->kind) {
	case OPTION_FLAG:
		*(int *)field = 1;
		return 0;
	case OPTION_NUMBER:
		return number_parse(value, field);
	case OPTION_STRING:
		*(const char **)field = value;
		return 0;
	case OPTION_CHOICE:
		return choice_parse(row->choices, value, field);
	case OPTION_DOMAIN:
		if (o->n_domains == MAX_DOMAINS)
			return -EINVAL;
		o->domains[o->n_domains++] = value;
		return 0;
	}
	return -EINVAL;
}

static int options_parse(struct options *o, int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		const struct option_row *row = option_find(argv[i]);
		const char *value = NULL;

		if (row && row->kind != OPTION_FLAG)
			value = argv[++i];
		if (!row || (row->kind != OPTION_FLAG && !value) || option_set(o, row, value)) {
			fprintf(stderr, "client: bad option or value: %s\n", argv[i < argc ? i : argc - 1]);
			return -EINVAL;
		}
	}
	if (!o->n_domains)
		o->domains[o->n_domains++] = "example.com";
	if (o->dribble)
		o->mode = MODE_MEMBIO;
	return 0;
}

/* --- main --- */

/* The handler only wakes: each wait has stop_fd in its set, and the blocking calls return with EINTR. */
static int signals_set(void)
{
	struct sigaction sa = {.sa_handler = signal_take};

	stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	go_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (stop_fd < 0 || go_fd < 0)
		return -errno;
	signal(SIGPIPE, SIG_IGN);
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGUSR1, &sa, NULL);
	return 0;
}

/* A thread per domain; a single one keeps the main thread. */
static void clients_run(struct client **clients, int n)
{
	pthread_t threads[MAX_DOMAINS];

	if (n == 1) {
		client_run(clients[0]);
		return;
	}
	for (int i = 0; i < n; i++)
		if (pthread_create(&threads[i], NULL, client_run, clients[i]))
			_exit(1);
	for (int i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
}

static bool clients_report(struct client **clients, int n)
{
	bool ok = true;
	struct line line;

	for (int i = 0; i < n; i++) {
		call_begin(&line, clients[i], "done", clock_ns(), clients[i]->last_ok ? "ok" : "failed");
		line_number(&line, "registered", clients[i]->registered);
		line_end(&line);
		ok = ok && clients[i]->last_ok;
	}
	return ok;
}

int main(int argc, char **argv)
{
	struct options o = {
		.id = "callbridge", .secret = "secret", .port = DEFAULT_PORT, .attempts = 1, .timeout_ms = 5000};
	struct client *clients[MAX_DOMAINS] = {0};
	int n = 0, status = 1;

	if (options_parse(&o, argc, argv)) {
		usage();
		return 1;
	}
	client_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL);
	if (signals_set())
		return 1;
	for (; n < o.n_domains; n++) {
		clients[n] = calloc(1, sizeof(*clients[n]));
		if (!clients[n] || client_open(clients[n], &o, o.domains[n])) {
			fprintf(stderr, "client: cannot read %s\n", o.ca ? o.ca : "the CA file");
			goto cleanup;
		}
	}
	clients_run(clients, n);
	status = clients_report(clients, n) ? 0 : 1;
cleanup:
	for (int i = 0; i < MAX_DOMAINS; i++)
		client_free(clients[i]);
	close(stop_fd);
	close(go_fd);
	return status;
}
