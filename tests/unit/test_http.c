// SPDX-License-Identifier: BSD-2-Clause
/* The endpoint: pages, methods, refused ports, and clients that are slow, silent or too many. */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "addr.h"
#include "http.h"

#define ANSWER_MAX (8 * 1024 * 1024)
#define ROUNDS_MAX 100000

static int fail_with; /* of metrics() */
static size_t pad;    /* bytes that the metrics text has more */

static int metrics(struct text *out, void *arg)
{
	text_printf(out, "# made for %s\nx 1\n", (const char *)arg);
	text_fill(out, "#\n", pad / 2);
	return fail_with;
}

static struct http *start(const char *address, uint16_t port)
{
	struct cbt_endpoint e = {.port = port};
	struct failure f = {.text = ""};
	struct http *h = NULL;

	assert_int_equal(addr_parse(address, e.addr), 0);
	if (http_open(&e, metrics, (void *)"a test", &h, &f) != 0)
		fail_msg("%s", f.text);
	return h;
}

static int client(const struct http *h)
{
	struct cbt_endpoint e;
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	bool v4;
	int fd;

	http_address(h, &e);
	v4 = addr_is_v4(e.addr);
	in.sin_port = in6.sin6_port = htons(e.port);
	fd = socket(v4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(
		connect(fd, v4 ? (struct sockaddr *)&in : (struct sockaddr *)&in6, v4 ? sizeof(in) : sizeof(in6)), 0);
	return fd;
}

/* Serves until @fd has something or has ended, as the program's loop would. False after @timeout_ms of nothing. */
static bool serve_until(struct http *h, int fd, int timeout_ms)
{
	struct pollfd p[] = {{.fd = http_fd(h), .events = POLLIN}, {.fd = fd, .events = POLLIN}};

	for (int i = 0; i < ROUNDS_MAX; i++) {
		if (poll(p, 2, timeout_ms) <= 0)
			return false;
		if (p[1].revents)
			return true;
		http_run(h);
	}
	fail_msg("the endpoint spins");
	return false;
}

/* Everything that comes until the connection ends. The caller frees it. */
static char *answer_of(struct http *h, int fd)
{
	char *data = calloc(1, ANSWER_MAX + 1);
	size_t n = 0;
	ssize_t r;

	assert_non_null(data);
	do {
		assert_true(serve_until(h, fd, 5000));
		r = read(fd, data + n, ANSWER_MAX - n);
		if (r > 0)
			n += (size_t)r;
	} while (r > 0);
	close(fd);
	return data;
}

static char *ask(struct http *h, const char *request)
{
	int fd = client(h);

	assert_int_equal(write(fd, request, strlen(request)), strlen(request));
	return answer_of(h, fd);
}

static char *ask_for(struct http *h, const char *method, const char *path)
{
	char request[256];

	snprintf(request, sizeof(request), "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", method, path);
	return ask(h, request);
}

static void assert_answer(struct http *h, const char *method, const char *path, const char *status, const char *has,
			  const char *has_not)
{
	char *answer = ask_for(h, method, path);

	if (strncmp(answer, status, strlen(status)) != 0)
		fail_msg("%s %s: %.100s", method, path, answer);
	if (has && !strstr(answer, has))
		fail_msg("%s %s: no '%s' in: %s", method, path, has, answer);
	if (has_not && strstr(answer, has_not))
		fail_msg("%s %s: '%s' in: %s", method, path, has_not, answer);
	free(answer);
}

static void pages_and_methods(void **state)
{
	static const char *const addresses[] = {"127.0.0.1", "::1"};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct http *h = start(addresses[i], 0);

		assert_answer(h, "GET", "/metrics", "HTTP/1.1 200 ", "\r\n\r\n# made for a test\nx 1\n", NULL);
		assert_answer(h, "GET", "/metrics", "HTTP/1.1 200 ", "text/plain; version=0.0.4; charset=utf-8", NULL);
		assert_answer(h, "HEAD", "/metrics", "HTTP/1.1 200 ", "version=0.0.4", "made for");
		assert_answer(h, "GET", "/metrics?x=1", "HTTP/1.1 200 ", "made for", NULL);
		assert_answer(h, "GET", "/healthz", "HTTP/1.1 200 ", "\r\n\r\nok\n", NULL);
		assert_answer(h, "GET", "/", "HTTP/1.1 200 ", "<a href=\"/metrics\">", NULL);
		assert_answer(h, "GET", "/attempts", "HTTP/1.1 404 ", "/metrics", NULL);
		assert_answer(h, "GET", "/../etc/passwd", "HTTP/1.1 404 ", NULL, "root");
		assert_answer(h, "POST", "/metrics", "HTTP/1.1 405 ", "Allow: GET, HEAD", "made for");
		assert_answer(h, "DELETE", "/", "HTTP/1.1 405 ", "Allow: GET, HEAD", NULL);
		assert_answer(h, "BREW", "/", "HTTP/1.1 405 ", NULL, NULL);
		fail_with = -ENOMEM;
		assert_answer(h, "GET", "/metrics", "HTTP/1.1 500 ", NULL, "made for");
		fail_with = 0;
		http_close(h);
	}
	http_close(NULL);
}

static void a_large_text_arrives_whole(void **state)
{
	struct http *h = start("127.0.0.1", 0);
	char *answer;

	(void)state;
	pad = 6 * 1024 * 1024;
	answer = ask_for(h, "GET", "/metrics");
	assert_true(strlen(answer) > pad);
	free(answer);
	pad = 0;
	http_close(h);
}

static void one_connection_can_ask_again(void **state)
{
	struct http *h = start("127.0.0.1", 0);
	const char *request = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
	int fd = client(h);
	char buf[1024];

	(void)state;
	for (int i = 0; i < 5; i++) {
		assert_int_equal(write(fd, request, strlen(request)), strlen(request));
		assert_true(serve_until(h, fd, 5000));
		assert_true(read(fd, buf, sizeof(buf)) > 0);
	}
	close(fd);
	http_close(h);
}

static void nonsense_is_refused(void **state)
{
	struct http *h = start("127.0.0.1", 0);
	char *answer, *long_path = malloc(HTTP_MEMORY_MAX * 2);

	(void)state;
	answer = ask(h, "\x16\x03\x01 this is no HTTP\r\n\r\n");
	assert_null(strstr(answer, " 200 "));
	free(answer);
	assert_non_null(long_path);
	memset(long_path, 'a', HTTP_MEMORY_MAX * 2);
	memcpy(long_path, "GET /", 5);
	long_path[HTTP_MEMORY_MAX * 2 - 1] = '\0';
	answer = ask(h, long_path);
	assert_null(strstr(answer, " 200 "));
	free(answer);
	free(long_path);
	assert_answer(h, "GET", "/healthz", "HTTP/1.1 200 ", NULL, NULL);
	http_close(h);
}

static void silent_clients_do_not_spin_nor_shut_others_out_of_their_share(void **state)
{
	struct http *h = start("127.0.0.1", 0);
	int silent[HTTP_CONNECTIONS_PER_IP - 1];

	(void)state;
	for (size_t i = 0; i < sizeof(silent) / sizeof(silent[0]); i++) {
		silent[i] = client(h);
		assert_int_equal(write(silent[i], "GET /me", 7), 7);
		/* Nothing comes back, and the endpoint goes to sleep rather than spin. */
		assert_false(serve_until(h, silent[i], 20));
	}
	assert_answer(h, "GET", "/healthz", "HTTP/1.1 200 ", NULL, NULL);
	for (size_t i = 0; i < sizeof(silent) / sizeof(silent[0]); i++)
		close(silent[i]);
	http_close(h);
}

static void the_share_of_one_address_is_bounded(void **state)
{
	struct http *h = start("127.0.0.1", 0);
	int fds[HTTP_CONNECTIONS_PER_IP + 1];
	char byte;

	(void)state;
	for (size_t i = 0; i < HTTP_CONNECTIONS_PER_IP + 1; i++) {
		fds[i] = client(h);
		if (i < HTTP_CONNECTIONS_PER_IP)
			assert_false(serve_until(h, fds[i], 20));
	}
	/* The one too many is closed. */
	assert_true(serve_until(h, fds[HTTP_CONNECTIONS_PER_IP], 5000));
	assert_true(read(fds[HTTP_CONNECTIONS_PER_IP], &byte, 1) <= 0);
	for (size_t i = 0; i < HTTP_CONNECTIONS_PER_IP + 1; i++)
		close(fds[i]);
	http_close(h);
}

static void a_port_in_use_is_said_with_the_remedy(void **state)
{
	struct http *h = start("127.0.0.1", 0), *second = NULL;
	struct failure f = {.text = ""};
	struct cbt_endpoint e;

	(void)state;
	http_address(h, &e);
	assert_true(e.port != 0);
	assert_int_equal(http_open(&e, metrics, NULL, &second, &f), -EADDRINUSE);
	assert_null(second);
	assert_non_null(strstr(f.text, "another program does"));
	assert_non_null(strstr(f.text, "--listen"));
	http_close(h);
	/* At once free again. */
	h = start("127.0.0.1", e.port);
	http_close(h);
	assert_int_equal(addr_parse("192.0.2.77", e.addr), 0);
	assert_int_equal(http_open(&e, metrics, NULL, &second, &f), -EADDRNOTAVAIL);
	assert_non_null(strstr(f.text, "no such address"));
}

/* A network of its own where that is allowed, so that nobody else meets these ports. */
static int own_network(void **state)
{
	struct ifreq up = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	int fd;

	(void)state;
	if (unshare(CLONE_NEWNET) < 0)
		return 0;
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &up) < 0)
		return -1;
	return close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pages_and_methods),
		cmocka_unit_test(a_large_text_arrives_whole),
		cmocka_unit_test(one_connection_can_ask_again),
		cmocka_unit_test(nonsense_is_refused),
		cmocka_unit_test(silent_clients_do_not_spin_nor_shut_others_out_of_their_share),
		cmocka_unit_test(the_share_of_one_address_is_bounded),
		cmocka_unit_test(a_port_in_use_is_said_with_the_remedy),
	};

	return cmocka_run_group_tests(tests, own_network, NULL);
}
