// SPDX-License-Identifier: BSD-2-Clause
/*
 * The loop of the live commands. It sleeps without a timer while nothing happens; the first event after that wakes it
 * (one forced wake-up, DESIGN section 5), then it comes by every DRAIN_NS until a drain finds nothing. While attempts
 * are in flight it also looks at the clock every TICK_NS, so that deadlines fire.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "addr.h"
#include "check.h"
#include "correlate.h"
#include "host.h"
#include "http.h"
#include "library.h"
#include "live.h"
#include "output.h"
#include "proc.h"
#include "sink_recording.h"
#include "source_ring.h"

#define DRAIN_NS      20000000ULL
#define TICK_NS	      500000000ULL
#define CLOCK_LOOK_NS 1000000000ULL /* how often the clock offset is compared, while awake */
#define CLOCK_STEP_NS 1000000	    /* a change worth an event */

enum wake {
	WAKE_SIGNAL = 0,
	WAKE_RING = 1,
	WAKE_TIMER = 2,
	WAKE_CLOCK = 3,
	WAKE_HTTP = 4,
	WAKE_LIBRARY = 5,
	WAKES = 6,
};

struct live {
	const struct options *o;
	struct failure *f;
	struct cgroup_mounts mounts;
	struct cgroup_scope scope;

	struct output *output;
	struct correlator *correlator;
	struct ring_source *ring;
	struct library *library; /* NULL with --no-library */
	struct proc_table *processes;
	struct recorder *recorder; /* record only */
	struct http *http;	   /* export only */

	int epoll, signals, timer;
	int clock;  /* readable when CLOCK_REALTIME was set */
	bool awake; /* the timer runs and the ring is not waited for */

	uint64_t now;		 /* CLOCK_MONOTONIC before the current drain began */
	int64_t offset;		 /* of CLOCK_REALTIME, as last told in an event */
	uint64_t offset_looked;	 /* when it was last compared */
	uint64_t invalid;	 /* events that did not obey the contract */
	struct cbt_ev_lost lost; /* as last told */
	uint64_t lost_looked;	 /* when the counters were last read */

	bool stop;
	int status;
};

/* The first thing that goes wrong decides what is told. */
static void live_fail(struct live *l)
{
	l->status = STATUS_CANNOT;
	l->stop = true;
}

/* --- Events --- */

static void live_recorded(struct live *l, int r)
{
	if (r == 0 || l->f->text[0])
		return;
	failure_set(l->f, r, "cannot write %.200s: %s; give it a file on a disk with room", l->o->file, strerror(-r));
	live_fail(l);
}

static enum correlate_claim live_claims(const struct cbt_hdr *ev, void *arg)
{
	const struct live *l = arg;

	if (ev->type == CBT_EV_PROC && ((const struct cbt_ev_proc *)ev)->flags & CBT_PROC_FORWARDER)
		return CLAIM_YES;
	return correlate_claims(l->correlator, ev);
}

static void live_record(struct live *l, const struct cbt_hdr *ev)
{
	if (l->recorder)
		live_recorded(l, recorder_event(l->recorder, ev));
}

static void live_correlate(struct live *l, const struct cbt_hdr *ev)
{
	correlate_event(l->correlator, ev);
	output_count(l->output, ev->type);
}

/* In this order: the recorder asks the correlator what it makes of the event. */
static void live_deliver(struct live *l, const struct cbt_hdr *ev)
{
	live_correlate(l, ev);
	live_record(l, ev);
}

/*
 * What is known of a process goes into a recording once its process has an attempt, just before the event that opened
 * it; a process that never has one stays out. A forwarder's comes at once: a replay must know before its first
 * question.
 */
static void live_record_process(struct live *l, uint32_t tgid)
{
	const struct cbt_ev_proc *proc = l->recorder ? proc_table_unrecorded(l->processes, tgid) : NULL;

	if (!proc || live_claims(&proc->h, l) != CLAIM_YES)
		return;
	live_record(l, &proc->h);
	proc_table_recorded(l->processes, tgid);
}

/* An event from the ring. After the end has been decided (--once) the rest is not looked at. */
static void live_emit(const struct cbt_hdr *ev, void *arg)
{
	struct live *l = arg;
	const struct cbt_ev_proc *proc;

	if (l->stop)
		return;
	proc = proc_table_observe(l->processes, ev, l->now);
	if (proc)
		live_correlate(l, &proc->h);
	live_correlate(l, ev);
	live_record_process(l, ev->tgid);
	live_record(l, ev);
}

/* @ev was made before the programs were attached: nothing in the ring is older. */
static void live_host(struct live *l, const struct cbt_ev_host *ev)
{
	l->offset = ev->realtime_offset;
	l->offset_looked = l->lost_looked = ev->h.ts;
	live_deliver(l, &ev->h);
}

static void live_clock(struct live *l)
{
	struct cbt_ev_clock ev = {.h = {.len = sizeof(ev), .type = CBT_EV_CLOCK}};

	l->offset_looked = host_now();
	ev.realtime_offset = host_clock_offset();
	if (llabs(ev.realtime_offset - l->offset) <= CLOCK_STEP_NS)
		return;
	l->offset = ev.realtime_offset;
	ev.h.ts = host_now();
	live_deliver(l, &ev.h);
}

static void live_lost(struct live *l)
{
	struct cbt_ev_lost ev = {.h = {.len = sizeof(ev), .type = CBT_EV_LOST}};
	uint64_t count[CBT_LOST_STAGES] = {0};

	ring_source_lost(l->ring, count);
	if (l->library)
		library_lost(l->library, count);
	for (size_t i = 0; i < CBT_LOST_STAGES; i++)
		ev.count[i] = count[i];
	if (l->recorder)
		ev.count[CBT_LOST_RECORDER] += recorder_lost(l->recorder);
	ev.h.ts = l->lost_looked;
	ev.until = l->lost_looked = l->now;
	if (memcmp(ev.count, l->lost.count, sizeof(ev.count)) == 0)
		return;
	l->lost = ev;
	live_deliver(l, &ev.h);
}

static void live_end(struct live *l)
{
	struct cbt_ev_end ev = {.h = {.ts = host_now(), .len = sizeof(ev), .type = CBT_EV_END}};

	l->now = ev.h.ts;
	live_lost(l);
	live_deliver(l, &ev.h);
	correlate_finish(l->correlator, ev.h.ts);
}

/* --- Reports that the loop itself listens to --- */

static void live_attempt(const struct report_attempt *a, void *arg)
{
	struct live *l = arg;

	if (!l->o->once || l->stop || a->outcome == OUTCOME_NONE)
		return;
	l->stop = true;
	/* A recording must give the same reports when it is replayed, so that has them all. */
	if (l->o->command == COMMAND_WATCH)
		output_stop(l->output);
	if (a->outcome == OUTCOME_REGISTERED || a->outcome == OUTCOME_CONNECTED)
		l->status = STATUS_FINE;
	else
		l->status = STATUS_ATTEMPT_FAILED;
}

static void live_tap_done(uint64_t cookie, void *arg)
{
	struct live *l = arg;

	ring_source_tap_done(l->ring, cookie);
}

/* --- The loop --- */

static int timer_set(int timer, uint64_t first_ns, uint64_t interval_ns)
{
	struct itimerspec t = {
		.it_value = {.tv_sec = (time_t)(first_ns / 1000000000), .tv_nsec = (long)(first_ns % 1000000000)},
		.it_interval = {.tv_sec = (time_t)(interval_ns / 1000000000),
				.tv_nsec = (long)(interval_ns % 1000000000)},
	};

	return timerfd_settime(timer, 0, &t, NULL) < 0 ? -errno : 0;
}

static int epoll_set(struct live *l, int op, int fd, enum wake what, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.u32 = what};

	return epoll_ctl(l->epoll, op, fd, &ev) < 0 ? -errno : 0;
}

/* Come by every DRAIN_NS, and do not let the ring wake us in between. */
static void live_wake(struct live *l)
{
	if (l->awake)
		return;
	l->awake = true;
	ring_source_awake(l->ring);
	epoll_set(l, EPOLL_CTL_MOD, ring_source_fd(l->ring), WAKE_RING, 0);
	timer_set(l->timer, DRAIN_NS, DRAIN_NS);
}

/* Let the next event wake us. A timer runs only if something may end by doing nothing. */
static void live_sleep(struct live *l)
{
	uint64_t tick = correlate_in_flight(l->correlator) > 0 ? TICK_NS : 0;

	if (l->awake && ring_source_sleep_begin(l->ring))
		return; /* one came in just now */
	if (l->awake)
		epoll_set(l, EPOLL_CTL_MOD, ring_source_fd(l->ring), WAKE_RING, EPOLLIN);
	l->awake = false;
	timer_set(l->timer, tick, tick);
}

static void live_drain(struct live *l)
{
	int n;

	l->now = host_now();
	/* A clock that is not set but disciplined drifts away slowly. */
	if (l->now - l->offset_looked >= CLOCK_LOOK_NS)
		live_clock(l);
	/* Before the ring, so that what lacks is known before what is there. What is lost while this drain runs is told
	 * by the next; the ring is being emptied then. */
	live_lost(l);
	n = ring_source_drain(l->ring, live_emit, l);
	if (n < 0) {
		failure_set(l->f, n, "cannot read the event buffer: %s; start cbtrace again", strerror(-n));
		live_fail(l);
		return;
	}
	correlate_tick(l->correlator, l->now);
	if (l->recorder)
		live_recorded(l, recorder_flush(l->recorder));
	output_in_flight(l->output, correlate_in_flight(l->correlator));
	if (output_flush(l->output, l->f) < 0)
		live_fail(l);
	if (n > 0)
		live_wake(l);
	else
		live_sleep(l);
}

static void live_on_signal(struct live *l)
{
	l->stop = true;
	if (l->o->once)
		l->status = STATUS_INTERRUPTED;
}

static void live_on_timer(struct live *l)
{
	uint64_t expirations;

	if (read(l->timer, &expirations, sizeof(expirations)) > 0)
		live_drain(l);
}

static int clock_arm(int clock)
{
	const struct itimerspec never = {.it_value.tv_sec = INT32_MAX};

	return timerfd_settime(clock, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, NULL) < 0 ? -errno : 0;
}

/* The clock was set: told now, not with the next event, which may be hours away. */
static void live_on_clock(struct live *l)
{
	uint64_t expirations;

	if (read(l->clock, &expirations, sizeof(expirations)) < 0 && errno != ECANCELED)
		return;
	clock_arm(l->clock);
	live_clock(l);
}

static void live_on_http(struct live *l)
{
	http_run(l->http);
}

static void live_on_library(struct live *l)
{
	struct cbt_ev_lib_proc ev;

	while (library_next(l->library, &ev))
		live_deliver(l, &ev.h);
}

static void (*const wake_handler[WAKES])(struct live *l) = {
	[WAKE_SIGNAL] = live_on_signal, [WAKE_RING] = live_drain,   [WAKE_TIMER] = live_on_timer,
	[WAKE_CLOCK] = live_on_clock,	[WAKE_HTTP] = live_on_http, [WAKE_LIBRARY] = live_on_library,
};

static void live_loop(struct live *l)
{
	while (!l->stop) {
		struct epoll_event ready[WAKES];
		int n = epoll_wait(l->epoll, ready, WAKES, -1);

		if (n < 0 && errno != EINTR) {
			failure_set(l->f, -errno, "epoll_wait: %s; start cbtrace again", strerror(errno));
			live_fail(l);
		}
		for (int i = 0; i < n && !l->stop; i++)
			wake_handler[ready[i].data.u32](l);
	}
}

/* What is in the ring still counts, unless the end was decided by what has been seen (--once) or by a failure. */
static void live_finish(struct live *l)
{
	if (!l->f->text[0] && !(l->o->once && l->status != STATUS_INTERRUPTED)) {
		l->stop = false;
		live_drain(l);
		l->stop = true;
	}
	live_end(l);
	live_recorded(l, recorder_close(l->recorder));
	l->recorder = NULL;
	if (!l->f->text[0] && output_finish(l->output, l->f) < 0)
		live_fail(l);
}

/* --- Wiring --- */

void live_ring_config(const struct options *o, const struct cgroup_scope *scope, struct ring_config *ret_config)
{
	*ret_config = (struct ring_config){
		.cgroup_dir = scope->dir,
		.cgroup_name = scope->name[0] ? scope->name : NULL,
		.cgroup_level = scope->level,
		.pid = o->pid,
		.comm = o->comm,
		.ports = o->ports,
		.n_ports = o->n_ports,
		.ring_bytes = o->ring_bytes,
		.library = !o->no_library,
		.verbose = o->verbose,
	};
}

static int live_open_loop(struct live *l)
{
	sigset_t set;
	int r;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return -errno;
	l->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	l->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	l->clock = timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK);
	l->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (l->signals < 0 || l->timer < 0 || l->clock < 0 || l->epoll < 0)
		return -errno;
	r = clock_arm(l->clock);
	if (r == 0)
		r = epoll_set(l, EPOLL_CTL_ADD, l->signals, WAKE_SIGNAL, EPOLLIN);
	if (r == 0)
		r = epoll_set(l, EPOLL_CTL_ADD, l->timer, WAKE_TIMER, EPOLLIN);
	if (r == 0)
		r = epoll_set(l, EPOLL_CTL_ADD, l->clock, WAKE_CLOCK, EPOLLIN);
	return r;
}

static int live_open_scope(struct live *l)
{
	const struct cgroup_mount *mount = &l->mounts.mount[0];
	struct proc_facts facts;
	int r;

	r = check_host(l->f);
	if (r == 0)
		r = cgroup_mounts_find(&l->mounts, l->f);
	if (r == 0)
		r = cgroup_resolve(&l->mounts, l->o->cgroup, l->o->unit, &l->scope, l->f);
	if (r < 0)
		return r;
	/* Where only a subtree is mounted, a path found by id lacks its beginning; /proc has it. */
	l->processes = proc_table_new("/proc", strcmp(mount->root, "/") == 0 ? mount : NULL);
	if (!l->processes)
		return -ENOMEM;
	if (l->o->pid && proc_table_facts(l->processes, l->o->pid, host_now(), &facts) < 0)
		return failure_set(l->f, -ESRCH, "--pid %u: no such process; give the id of one that runs", l->o->pid);
	return 0;
}

static int live_open_reports(struct live *l)
{
	const struct options *o = l->o;
	const struct correlate_config config = {
		.domain = o->domain[0] ? o->domain : NULL,
		.server = o->server[0] ? o->server : NULL,
		.ports = o->ports,
		.n_ports = o->n_ports,
		.idle_ns = o->idle_ns,
	};
	const struct report_handler own = {.attempt = live_attempt, .tap_done = live_tap_done, .arg = l};
	int r;

	r = output_open(o, &l->output, l->f);
	if (r < 0)
		return r;
	output_add(l->output, &own);
	l->correlator = correlator_new(&config, output_handler(l->output));
	if (!l->correlator)
		return -ENOMEM;
	return 0;
}

static int live_open_recorder(struct live *l)
{
	const struct recorder_config config = {.claims = live_claims, .arg = l};

	if (l->o->command != COMMAND_RECORD)
		return 0;
	return recorder_open(l->o->file, &config, &l->recorder, l->f);
}

static int live_open_ring(struct live *l)
{
	struct ring_config config;
	int r;

	live_ring_config(l->o, &l->scope, &config);
	r = ring_source_open(&config, &l->ring, l->f->text, sizeof(l->f->text));
	if (r < 0)
		return r;
	/* It begins asleep: the first event wakes us. */
	return epoll_set(l, EPOLL_CTL_ADD, ring_source_fd(l->ring), WAKE_RING, EPOLLIN);
}

static int live_open_library(struct live *l)
{
	const struct library_config config = {
		.ring = l->ring,
		.mounts = &l->mounts,
		.scope = &l->scope,
		.pid = l->o->pid,
		.comm = l->o->comm,
		.narrow = l->o->pid || l->o->comm || l->scope.name[0],
	};
	int r;

	if (l->o->no_library)
		return 0;
	r = library_open(&config, &l->library, l->f);
	if (r < 0)
		return r;
	return epoll_set(l, EPOLL_CTL_ADD, library_fd(l->library), WAKE_LIBRARY, EPOLLIN);
}

static int live_open_http(struct live *l)
{
	int r;

	if (l->o->command != COMMAND_EXPORT)
		return 0;
	r = http_open(&l->o->listen, output_metrics, l->output, &l->http, l->f);
	if (r < 0)
		return r;
	return epoll_set(l, EPOLL_CTL_ADD, http_fd(l->http), WAKE_HTTP, EPOLLIN);
}

/* Everything in its order; what is taken up last is what touches the host. */
static int live_open(struct live *l)
{
	static int (*const steps[])(struct live * l) = {
		live_open_scope, live_open_loop, live_open_reports, live_open_recorder,
		live_open_http,	 live_open_ring, live_open_library,
	};

	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		int r = steps[i](l);

		if (r < 0 && !l->f->text[0])
			failure_set(l->f, r, "cannot start: %s", strerror(-r));
		if (r < 0)
			return r;
	}
	return 0;
}

static void fd_close(int fd)
{
	if (fd >= 0)
		close(fd);
}

static void live_close(struct live *l)
{
	library_close(l->library);
	ring_source_close(l->ring);
	http_close(l->http);
	recorder_close(l->recorder);
	correlator_free(l->correlator);
	output_free(l->output);
	proc_table_free(l->processes);
	fd_close(l->epoll);
	fd_close(l->clock);
	fd_close(l->timer);
	fd_close(l->signals);
}

/* One line, when every probe is attached: scripts wait for it. */
static void live_ready(const struct live *l)
{
	const struct cgroup_scope *s = &l->scope;
	char text[FAILURE_MAX], address[ADDR_TEXT_MAX];
	struct failure line;
	struct cbt_endpoint e;

	snprintf(text, sizeof(text), "%.200s%s%.100s", s->dir, s->name[0] ? ", only " : "", s->name);
	if (l->http) {
		http_address(l->http, &e);
		failure_set(&line, 0, "ready (http://%s/metrics, cgroup %s)", addr_endpoint_text(&e, address), text);
	} else {
		failure_set(&line, 0, "ready (cgroup %s)", text);
	}
	fprintf(stderr, "cbtrace: %s\n", line.text);
}

int live_run(const struct options *o, struct failure *f)
{
	struct live *l = calloc(1, sizeof(*l));
	struct cbt_ev_host host;
	int status;

	if (!l) {
		failure_set(f, -ENOMEM, "out of memory; free some");
		return STATUS_CANNOT;
	}
	l->o = o;
	l->f = f;
	l->epoll = l->clock = l->timer = l->signals = -1;
	host_describe(&host);
	if (live_open(l) < 0) {
		l->status = STATUS_CANNOT;
	} else {
		live_host(l, &host);
		live_ready(l);
		live_loop(l);
		live_finish(l);
	}
	status = l->status;
	live_close(l);
	free(l);
	return status;
}
