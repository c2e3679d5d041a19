// SPDX-License-Identifier: BSD-2-Clause
/*
 * gnutls CA DOMAIN COMPONENT SECRET STAY_MS: the same steps as tests/lab/client.c with GnuTLS, into which cbtrace does
 * not look. Prints one JSON line for each step, times in ns of CLOCK_MONOTONIC.
 */
#include <arpa/nameser.h>
#include <netdb.h>
#include <resolv.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static void said(const char *call, int64_t begin)
{
	printf("{\"call\":\"%s\",\"begin\":%lld,\"end\":%lld,\"result\":\"ok\"}\n", call, (long long)begin,
	       (long long)now_ns());
	fflush(stdout);
}

static int failed(const char *what)
{
	printf("{\"call\":\"failed\",\"result\":\"%s\"}\n", what);
	return 1;
}

/* Target and port of the first record. */
static int srv_ask(const char *domain, char *target, size_t size, int *port)
{
	unsigned char answer[65536];
	char name[NS_MAXDNAME];
	ns_msg m;
	ns_rr rr;
	int n;

	snprintf(name, sizeof(name), "_xmpp-component._tcp.%s", domain);
	n = res_query(name, ns_c_in, ns_t_srv, answer, sizeof(answer));
	if (n < 0 || ns_initparse(answer, n, &m) < 0)
		return -1;
	for (int i = 0; i < ns_msg_count(m, ns_s_an); i++) {
		if (ns_parserr(&m, ns_s_an, i, &rr) < 0 || ns_rr_type(rr) != ns_t_srv)
			continue;
		*port = ns_get16(ns_rr_rdata(rr) + 4);
		return dn_expand(ns_msg_base(m), ns_msg_end(m), ns_rr_rdata(rr) + 6, target, (int)size) < 0 ? -1 : 0;
	}
	return -1;
}

static int tcp_connect(const char *target, int port)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list;
	int64_t begin = now_ns();
	char service[16];
	int fd;

	snprintf(service, sizeof(service), "%d", port);
	if (getaddrinfo(target, service, &hints, &list) != 0)
		return -1;
	said("address", begin);
	begin = now_ns();
	fd = socket(list->ai_family, SOCK_STREAM, 0);
	if (fd >= 0 && connect(fd, list->ai_addr, list->ai_addrlen) < 0) {
		close(fd);
		fd = -1;
	}
	freeaddrinfo(list);
	if (fd >= 0)
		said("connect", begin);
	return fd;
}

/* Reads until @text has @word; it stays NUL terminated. */
static int read_until(gnutls_session_t s, char *text, size_t size, const char *word)
{
	size_t n = strlen(text);

	while (!strstr(text, word)) {
		ssize_t got = gnutls_record_recv(s, text + n, size - n - 1);

		if (got == GNUTLS_E_AGAIN || got == GNUTLS_E_INTERRUPTED)
			continue;
		if (got <= 0)
			return -1;
		n += (size_t)got;
		text[n] = '\0';
	}
	return 0;
}

static int component_register(gnutls_session_t s, const char *component, const char *secret)
{
	char text[8192] = "", out[1024], digest[20], *id;
	int64_t begin = now_ns();
	size_t n;

	snprintf(out, sizeof(out),
		 "<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' "
		 "xmlns:stream='http://etherx.jabber.org/streams' to='%s'>",
		 component);
	if (gnutls_record_send(s, out, strlen(out)) < 0 || read_until(s, text, sizeof(text), " id=") < 0 ||
	    read_until(s, strstr(text, " id="), sizeof(text) / 2, ">") < 0)
		return -1;
	id = strstr(text, " id=") + 4;
	n = strcspn(id + 1, (char[]){id[0], '\0'});
	snprintf(out, sizeof(out), "%.*s%s", (int)n, id + 1, secret);
	gnutls_hash_fast(GNUTLS_DIG_SHA1, out, strlen(out), digest);
	n = (size_t)sprintf(out, "<handshake>");
	for (int i = 0; i < 20; i++)
		n += (size_t)sprintf(out + n, "%02x", (unsigned char)digest[i]);
	sprintf(out + n, "</handshake>");
	text[0] = '\0';
	if (gnutls_record_send(s, out, strlen(out)) < 0 || read_until(s, text, sizeof(text), ">") < 0 ||
	    !strstr(text, "<handshake"))
		return -1;
	said("register", begin);
	return 0;
}

int main(int argc, char **argv)
{
	gnutls_certificate_credentials_t credentials;
	char target[NS_MAXDNAME];
	gnutls_session_t s;
	int64_t begin;
	int fd, port, r;

	if (argc != 6)
		return failed("usage: gnutls CA DOMAIN COMPONENT SECRET STAY_MS");
	begin = now_ns();
	if (srv_ask(argv[2], target, sizeof(target), &port) < 0)
		return failed("srv");
	said("srv", begin);
	fd = tcp_connect(target, port);
	if (fd < 0)
		return failed("connect");
	gnutls_certificate_allocate_credentials(&credentials);
	gnutls_certificate_set_x509_trust_file(credentials, argv[1], GNUTLS_X509_FMT_PEM);
	gnutls_init(&s, GNUTLS_CLIENT);
	gnutls_set_default_priority(s);
	gnutls_credentials_set(s, GNUTLS_CRD_CERTIFICATE, credentials);
	gnutls_server_name_set(s, GNUTLS_NAME_DNS, target, strlen(target));
	gnutls_session_set_verify_cert(s, argv[2], 0);
	gnutls_transport_set_int(s, fd);
	begin = now_ns();
	do
		r = gnutls_handshake(s);
	while (r < 0 && !gnutls_error_is_fatal(r));
	if (r < 0)
		return failed("tls");
	said("tls", begin);
	if (component_register(s, argv[3], argv[4]) < 0)
		return failed("register");
	usleep((useconds_t)atoi(argv[5]) * 1000);
	gnutls_bye(s, GNUTLS_SHUT_WR);
	close(fd);
	gnutls_deinit(s);
	gnutls_certificate_free_credentials(credentials);
	return 0;
}
