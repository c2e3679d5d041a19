// SPDX-License-Identifier: BSD-2-Clause
/*
 * Holds the packets of one netfilter queue for a fixed time, then lets them go in order: the lab's wire delay, on
 * kernels without netem. It owns a bounded line of waiting packets; when that is full a packet passes at once, and the
 * count of those is told at the end.
 * usage: delay QUEUE MILLISECONDS
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include <linux/netfilter.h>
#include <libnetfilter_queue/libnetfilter_queue.h>

#define LINE_SIZE     8192 /* a power of two */
#define SOCKET_BUFFER (4 << 20)
#define MAX_DELAY_MS  60000

struct waiting {
	uint32_t id;
	int64_t due;
};

struct line {
	struct waiting waiting[LINE_SIZE];
	uint32_t head, tail; /* free-running */
	uint64_t overflow;
	int64_t delay_ns;
	int timer;
	struct nfq_q_handle *queue;
};

static volatile sig_atomic_t stop;

static void stop_request(int sig)
{
	(void)sig;
	stop = 1;
}

static int64_t clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static void line_arm(struct line *line)
{
	int64_t due = line->waiting[line->head % LINE_SIZE].due;
	struct itimerspec at = {.it_value = {.tv_sec = due / 1000000000, .tv_nsec = due % 1000000000}};

	timerfd_settime(line->timer, TFD_TIMER_ABSTIME, &at, NULL);
}

static int packet_take(struct nfq_q_handle *queue, struct nfgenmsg *msg, struct nfq_data *data, void *arg)
{
	struct nfqnl_msg_packet_hdr *header = nfq_get_msg_packet_hdr(data);
	struct line *line = arg;
	struct waiting *w;

	(void)msg;
	if (!header)
		return 0;
	if (line->tail - line->head == LINE_SIZE) {
		line->overflow++;
		return nfq_set_verdict(queue, ntohl(header->packet_id), NF_ACCEPT, 0, NULL);
	}
	w = &line->waiting[line->tail++ % LINE_SIZE];
	w->id = ntohl(header->packet_id);
	w->due = clock_ns() + line->delay_ns;
	if (line->tail - line->head == 1)
		line_arm(line);
	return 0;
}

static void line_release(struct line *line)
{
	int64_t now = clock_ns();

	while (line->head != line->tail && line->waiting[line->head % LINE_SIZE].due <= now)
		nfq_set_verdict(line->queue, line->waiting[line->head++ % LINE_SIZE].id, NF_ACCEPT, 0, NULL);
	if (line->head != line->tail)
		line_arm(line);
}

static int line_run(struct line *line, struct nfq_handle *nfq)
{
	struct pollfd fds[2] = {{.fd = nfq_fd(nfq), .events = POLLIN}, {.fd = line->timer, .events = POLLIN}};
	char buf[8192] __attribute__((aligned(8)));

	while (!stop) {
		uint64_t expirations;
		ssize_t n;

		if (poll(fds, 2, -1) < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		if (fds[1].revents && read(line->timer, &expirations, sizeof(expirations)) > 0)
			line_release(line);
		if (!fds[0].revents)
			continue;
		n = recv(fds[0].fd, buf, sizeof(buf), MSG_DONTWAIT);
		/* ENOBUFS: the kernel let some go at once (fail open), the rest goes on */
		if (n < 0 && errno != ENOBUFS && errno != EAGAIN && errno != EINTR)
			return -errno;
		if (n > 0)
			nfq_handle_packet(nfq, buf, (int)n);
	}
	return 0;
}

/*
 * Only the packet's number is needed; whole GSO packets, or the kernel would cut them for us; a full queue lets packets
 * pass, because a delay must not turn into loss.
 */
static int line_open(struct line *line, struct nfq_handle *nfq, uint16_t number)
{
	int size = SOCKET_BUFFER;

	line->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (line->timer < 0)
		return -errno;
	line->queue = nfq_create_queue(nfq, number, packet_take, line);
	if (!line->queue)
		return -EBUSY;
	if (nfq_set_mode(line->queue, NFQNL_COPY_META, 0) < 0)
		return -EIO;
	nfq_set_queue_flags(line->queue, NFQA_CFG_F_GSO | NFQA_CFG_F_FAIL_OPEN, NFQA_CFG_F_GSO | NFQA_CFG_F_FAIL_OPEN);
	nfq_set_queue_maxlen(line->queue, LINE_SIZE * 2);
	setsockopt(nfq_fd(nfq), SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	return 0;
}

static void line_close(struct line *line)
{
	if (line->queue)
		nfq_destroy_queue(line->queue);
	if (line->timer >= 0)
		close(line->timer);
}

static bool number_parse(const char *text, double max, double *ret_value)
{
	char *end;
	double value = strtod(text, &end);

	if (end == text || *end || !(value >= 0 && value <= max))
		return false;
	*ret_value = value;
	return true;
}

int main(int argc, char **argv)
{
	static struct line line = {.timer = -1};
	struct sigaction sa = {.sa_handler = stop_request};
	struct nfq_handle *nfq;
	double number, ms;
	int r;

	if (argc != 3 || !number_parse(argv[1], UINT16_MAX, &number) || !number_parse(argv[2], MAX_DELAY_MS, &ms)) {
		fprintf(stderr, "usage: delay QUEUE MILLISECONDS\n");
		return 1;
	}
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGINT, &sa, NULL);
	/* the default slack of 50 us would be in every delay */
	prctl(PR_SET_TIMERSLACK, 1);
	nfq = nfq_open();
	if (!nfq) {
		fprintf(stderr, "delay: no netfilter queue here: %s\n", strerror(errno));
		return 1;
	}
	line.delay_ns = (int64_t)(ms * 1e6);
	r = line_open(&line, nfq, (uint16_t)number);
	if (!r) {
		printf("ready\n");
		fflush(stdout);
		r = line_run(&line, nfq);
	}
	if (r)
		fprintf(stderr, "delay: %s\n", strerror(-r));
	if (line.overflow)
		fprintf(stderr, "delay: %llu packets passed at once\n", (unsigned long long)line.overflow);
	line_close(&line);
	nfq_close(nfq);
	return r ? 1 : 0;
}
