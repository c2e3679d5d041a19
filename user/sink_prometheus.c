// SPDX-License-Identifier: BSD-2-Clause
/*
 * Metrics. One table holds all series, keyed by metric and rendered labels; what may become a label is decided before
 * (pairs, vocabularies), so that names from the network cannot make it grow without end. See sink_prometheus.h.
 */
#include "sink_prometheus.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "dns.h"
#include "event.h"
#include "process_stat.h"

#define LABEL_MAX      255  /* bytes of a value; a domain name as text has no more */
#define BUCKETS	       8192 /* of the hash table */
#define VOCABULARY_MAX 64
#define EVENT_TYPES    64
#define NSEC_PER_SEC   1000000000UL
#define LENGTH(array)  (sizeof(array) / sizeof((array)[0]))

enum metric {
	M_ATTEMPTS,
	M_FAILURES,
	M_ATTEMPT_DURATION,
	M_PHASE_DURATION,
	M_LOOKUP_DURATION,
	M_SYN_RETRANSMITS,
	M_CERT_NOT_AFTER,
	M_CERT_MATCH,
	M_FINDINGS,
	M_INCOMPLETE,
	M_SESSION_UP,
	M_SESSION_START,
	M_SESSION_ENDED,
	M_SESSION_RTT,
	M_SESSION_RETRANSMITS,
	M_SESSION_INBOUND,
	M_STANZA_RESPONSE,
	M_LIBRARY,
	M_EVENTS,
	M_LOST,
	M_IN_FLIGHT,
	M_OVERFLOW,
	M_BUILD,
	METRICS,
};

enum metric_type { COUNTER, GAUGE, HISTOGRAM };

/* A gauge counts in units of 1/scale. */
static const struct metric_info {
	const char *name, *help;
	enum metric_type type;
	uint64_t scale;
} metrics[METRICS] = {
	[M_ATTEMPTS] = {"cbtrace_attempts_total", "Attempts to get registered that ended, by outcome.", COUNTER, 1},
	[M_FAILURES] = {"cbtrace_attempt_failures_total",
			"Attempts that failed or were abandoned, by the phase they stopped in and the reason.", COUNTER,
			1},
	[M_ATTEMPT_DURATION] = {"cbtrace_attempt_duration_seconds", "Time from an attempt's start to its end.",
				HISTOGRAM, 1},
	[M_PHASE_DURATION] = {"cbtrace_phase_duration_seconds",
			      "Time that an attempt spent in a phase, all entries of its timeline together.", HISTOGRAM,
			      1},
	[M_LOOKUP_DURATION] =
		{"cbtrace_dns_lookup_duration_seconds",
		 "Time from a DNS question's first message to its answer or end; rcode none if unanswered.", HISTOGRAM,
		 1},
	[M_SYN_RETRANSMITS] = {"cbtrace_tcp_syn_retransmits_total", "SYN segments sent again.", COUNTER, 1},
	[M_CERT_NOT_AFTER] = {"cbtrace_certificate_not_after_timestamp_seconds",
			      "End of the validity of the server certificate seen last.", GAUGE, 1},
	[M_CERT_MATCH] = {"cbtrace_certificate_san_match",
			  "Whether the server certificate seen last names the domain and the server.", GAUGE, 1},
	[M_FINDINGS] = {"cbtrace_findings_total", "Known patterns found in attempts.", COUNTER, 1},
	[M_INCOMPLETE] = {"cbtrace_attempts_incomplete_total", "Attempts of which not all was seen, by the cause.",
			  COUNTER, 1},
	[M_SESSION_UP] = {"cbtrace_session_up", "Whether a session is up.", GAUGE, 1},
	[M_SESSION_START] = {"cbtrace_session_start_time_seconds", "Start of the latest session.", GAUGE, NSEC_PER_SEC},
	[M_SESSION_ENDED] = {"cbtrace_sessions_ended_total", "Sessions that ended, by the reason.", COUNTER, 1},
	[M_SESSION_RTT] = {"cbtrace_session_rtt_seconds", "Round trip of the session that is up.", GAUGE, NSEC_PER_SEC},
	[M_SESSION_RETRANSMITS] = {"cbtrace_session_retransmits_total", "Segments of sessions sent again.", COUNTER, 1},
	[M_SESSION_INBOUND] = {"cbtrace_session_last_inbound_timestamp_seconds",
			       "When the session last heard its server.", GAUGE, NSEC_PER_SEC},
	[M_STANZA_RESPONSE] = {"cbtrace_stanza_response_duration_seconds",
			       "Time from a request of the server on a session to the client's answer.", HISTOGRAM, 1},
	[M_LIBRARY] = {"cbtrace_library_probes", "Processes met, by whether their TLS library can be looked into.",
		       GAUGE, 1},
	[M_EVENTS] = {"cbtrace_events_total", "Events taken in, by type.", COUNTER, 1},
	[M_LOST] = {"cbtrace_events_lost_total", "Events, or bytes that should have been in one, lost, by where.",
		    COUNTER, 1},
	[M_IN_FLIGHT] = {"cbtrace_attempts_in_flight", "Attempts that have begun and not ended.", GAUGE, 1},
	[M_OVERFLOW] = {"cbtrace_series_overflow_total",
			"Observations counted under _other for want of a series of their own.", COUNTER, 1},
	[M_BUILD] = {"cbtrace_build_info", "The version, as a label.", GAUGE, 1},
};

/* Upper bounds in ns, and as they are written: 0.1 ms to 120 s. */
static const struct {
	int64_t ns;
	const char *le;
} bounds[] = {
	{100000, "0.0001"},  {250000, "0.00025"}, {500000, "0.0005"},  {1000000, "0.001"},    {2500000, "0.0025"},
	{5000000, "0.005"},  {10000000, "0.01"},  {25000000, "0.025"}, {50000000, "0.05"},    {100000000, "0.1"},
	{250000000, "0.25"}, {500000000, "0.5"},  {1000000000, "1"},   {2500000000, "2.5"},   {5000000000, "5"},
	{10000000000, "10"}, {30000000000, "30"}, {60000000000, "60"}, {120000000000, "120"},
};

struct histogram {
	uint64_t count, sum_ns;
	uint64_t bucket[LENGTH(bounds)]; /* not cumulated; what is beyond the last is only in count */
};

struct series {
	struct series *hash_next, *next; /* of the bucket; of the metric, in order of birth */
	enum metric metric;
	bool unset;    /* a gauge that has no value at present */
	int64_t value; /* counters and gauges */
	struct histogram *histogram;
	char labels[]; /* as written between the braces */
};

/* Words that may be label values: the first VOCABULARY_MAX, then PROM_OTHER. */
struct vocabulary {
	size_t n, max;
	char *words[VOCABULARY_MAX];
};

struct pair {
	char *domain, *server; /* as labels: safe and lower case */
};

/* Label values of one domain and server; pointers into the pair, or static. */
struct pair_labels {
	const char *domain, *server;
	bool other;
};

struct session_seen {
	uint64_t id; /* 0 free */
	int64_t retransmits;
	struct series *up, *rtt, *inbound;
};

struct prom {
	struct prom_config config;
	char *domain, *server; /* of the configuration, as labels */
	size_t n_pairs;
	struct pair *pairs;
	struct vocabulary reasons, codes, rcodes, types, components, ends, events;
	struct series *buckets[BUCKETS];
	struct {
		struct series *first, **tail;
		size_t n;
	} list[METRICS];
	struct series *overflow, *in_flight;
	struct series *event_counts[EVENT_TYPES]; /* by type, once it was seen: counted for every event */
	int64_t process_start_ns;
	size_t n_sessions;
	struct session_seen sessions[PROM_SESSIONS_MAX];
};

/* --- Labels --- */

/* @s as a label value: safe, lower case, not too long. NULL is "". The caller frees it; NULL for want of memory. */
static char *label_make(const char *s)
{
	struct text t = {0};

	text_puts(&t, "");
	text_add_safe(&t, s ? s : "", false, 0);
	if (t.error) {
		text_free(&t);
		return NULL;
	}
	if (t.len > LABEL_MAX) {
		t.len = LABEL_MAX;
		/* Not in the middle of a character. */
		while (((unsigned char)t.data[t.len] & 0xc0) == 0x80)
			t.len--;
		t.data[t.len] = '\0';
	}
	for (char *p = t.data; *p; p++)
		if (*p >= 'A' && *p <= 'Z')
			*p = (char)(*p - 'A' + 'a');
	return t.data;
}

static void label_add(struct text *t, const char *name, const char *value)
{
	if (t->len)
		text_puts(t, ",");
	text_puts(t, name);
	text_puts(t, "=\"");
	for (;;) {
		size_t plain = strcspn(value, "\\\"");

		text_add(t, value, plain);
		value += plain;
		if (!*value)
			break;
		text_puts(t, "\\");
		text_add(t, value++, 1); /* no line break: label_make() has escaped it */
	}
	text_puts(t, "\"");
}

static const char *vocabulary_word(struct prom *p, struct vocabulary *v, const char *word)
{
	char *label;

	for (size_t i = 0; i < v->n; i++)
		if (strcmp(v->words[i], word) == 0)
			return v->words[i];
	label = v->n < v->max && v->n < VOCABULARY_MAX ? strdup(word) : NULL;
	if (!label) {
		p->overflow->value++;
		return PROM_OTHER;
	}
	v->words[v->n++] = label;
	return label;
}

/* The same for a word from outside. */
static const char *vocabulary_foreign(struct prom *p, struct vocabulary *v, const char *word)
{
	char *label = label_make(word);
	const char *known = label ? vocabulary_word(p, v, label) : PROM_OTHER;

	free(label);
	return known;
}

static void vocabulary_free(struct vocabulary *v)
{
	for (size_t i = 0; i < v->n; i++)
		free(v->words[i]);
}

/* --- Series --- */

static uint32_t hash(enum metric m, const char *labels)
{
	uint32_t h = 2166136261U ^ (uint32_t)m; /* FNV-1a */

	for (const char *p = labels; *p; p++)
		h = (h ^ (unsigned char)*p) * 16777619U;
	return h % BUCKETS;
}

static struct series *series_new(struct prom *p, enum metric m, const char *labels)
{
	size_t len = strlen(labels);
	struct series *s = calloc(1, sizeof(*s) + len + 1);
	struct series **bucket = &p->buckets[hash(m, labels)];

	if (!s)
		return NULL;
	s->metric = m;
	memcpy(s->labels, labels, len + 1);
	if (metrics[m].type == HISTOGRAM) {
		s->histogram = calloc(1, sizeof(*s->histogram));
		if (!s->histogram) {
			free(s);
			return NULL;
		}
	}
	s->hash_next = *bucket;
	*bucket = s;
	*p->list[m].tail = s;
	p->list[m].tail = &s->next;
	p->list[m].n++;
	return s;
}

static struct series *series_find(const struct prom *p, enum metric m, const char *labels)
{
	struct series *s = p->buckets[hash(m, labels)];

	while (s && (s->metric != m || strcmp(s->labels, labels) != 0))
		s = s->hash_next;
	return s;
}

/*
 * The series of @m with these labels: name, value, name, value … NULL. NULL for want of memory, or if the metric has
 * as many as it may: then the observation is counted as overflow only.
 */
static struct series *series_get(struct prom *p, enum metric m, const char *const *labels)
{
	struct text t = {0};
	struct series *s = NULL;

	text_puts(&t, "");
	for (; labels[0]; labels += 2)
		label_add(&t, labels[0], labels[1]);
	if (!t.error) {
		s = series_find(p, m, t.data);
		if (!s && p->list[m].n < PROM_SERIES_MAX)
			s = series_new(p, m, t.data);
	}
	text_free(&t);
	if (!s && p->overflow)
		p->overflow->value++;
	return s;
}

#define SERIES(p, m, ...) series_get(p, m, (const char *const[]){__VA_ARGS__ __VA_OPT__(, ) NULL})

static void series_add(struct series *s, uint64_t n)
{
	if (s)
		s->value += (int64_t)n;
}

static void series_set(struct series *s, int64_t value)
{
	if (!s)
		return;
	s->value = value;
	s->unset = false;
}

static void series_observe(struct series *s, int64_t ns)
{
	if (!s || ns < 0)
		return;
	s->histogram->count++;
	s->histogram->sum_ns += (uint64_t)ns;
	for (size_t i = 0; i < LENGTH(bounds); i++) {
		if (ns <= bounds[i].ns) {
			s->histogram->bucket[i]++;
			return;
		}
	}
}

/* --- Pairs of domain and server --- */

static bool pair_is_configured(const struct prom *p, const char *domain, const char *server)
{
	return (p->domain || p->server) && (!p->domain || strcmp(domain, p->domain) == 0) &&
	       (!p->server || strcmp(server, p->server) == 0);
}

/* A new pair starts with every outcome at 0, so that increase() sees the first failure. */
static void pair_begin(struct prom *p, const struct pair_labels *l)
{
	for (enum outcome o = 0; o < OUTCOMES; o++)
		SERIES(p, M_ATTEMPTS, "domain", l->domain, "server", l->server, "outcome", outcome_name(o));
	SERIES(p, M_SYN_RETRANSMITS, "domain", l->domain, "server", l->server);
}

static struct pair_labels pair_other(struct prom *p)
{
	struct pair_labels l = {PROM_OTHER, PROM_OTHER, true};

	p->overflow->value++;
	pair_begin(p, &l);
	return l;
}

/* Takes @domain and @server, which are labels. */
static struct pair_labels pair_add(struct prom *p, char *domain, char *server)
{
	struct pair *pair = &p->pairs[p->n_pairs++];
	struct pair_labels l = {domain, server, false};

	pair->domain = domain;
	pair->server = server;
	pair_begin(p, &l);
	return l;
}

static struct pair_labels pair_get(struct prom *p, const char *raw_domain, const char *raw_server)
{
	char *domain = label_make(raw_domain), *server = label_make(raw_server);
	size_t max = p->config.pairs_max, kept = p->domain || p->server ? PROM_PAIRS_KEPT : 0;
	struct pair_labels l = {NULL, NULL, false};

	for (size_t i = 0; domain && server && i < p->n_pairs; i++) {
		const struct pair *pair = &p->pairs[i];

		if (strcmp(pair->domain, domain) == 0 && strcmp(pair->server, server) == 0) {
			l = (struct pair_labels){pair->domain, pair->server, false};
			goto done;
		}
	}
	if (domain && server && strcmp(domain, PROM_OTHER) != 0) {
		if (!pair_is_configured(p, domain, server))
			max = max > kept ? max - kept : 0;
		if (p->n_pairs < max)
			return pair_add(p, domain, server);
	}
	l = pair_other(p);
done:
	free(domain);
	free(server);
	return l;
}

/* --- Attempts --- */

static void count_outcome(struct prom *p, const struct report_attempt *a, const struct pair_labels *l)
{
	const char *outcome = outcome_name(a->outcome), *phase = phase_name(a->failed_phase);

	/* Interrupted in flight: it has no outcome, and its length is not one of an attempt. */
	if (!outcome)
		return;
	series_add(SERIES(p, M_ATTEMPTS, "domain", l->domain, "server", l->server, "outcome", outcome), 1);
	series_observe(SERIES(p, M_ATTEMPT_DURATION, "domain", l->domain, "server", l->server, "outcome", outcome),
		       a->total_ns);
	if (a->outcome == OUTCOME_FAILED || a->outcome == OUTCOME_ABANDONED)
		series_add(SERIES(p, M_FAILURES, "domain", l->domain, "server", l->server, "phase", phase ? phase : "",
				  "reason", a->reason ? vocabulary_foreign(p, &p->reasons, a->reason) : ""),
			   1);
}

static void count_phases(struct prom *p, const struct report_attempt *a, const struct pair_labels *l)
{
	int64_t sum[PHASES] = {0};
	bool seen[PHASES] = {false};

	for (size_t i = 0; i < a->n_timeline; i++) {
		const struct report_entry *e = &a->timeline[i];

		if ((size_t)e->phase >= PHASES)
			continue;
		seen[e->phase] = true;
		sum[e->phase] += e->end_ns - e->start_ns;
	}
	for (enum phase i = 0; i < PHASES; i++)
		if (seen[i])
			series_observe(SERIES(p, M_PHASE_DURATION, "domain", l->domain, "server", l->server, "phase",
					      phase_name(i)),
				       sum[i]);
}

static void count_lookups(struct prom *p, const struct report_attempt *a, const struct pair_labels *l)
{
	char type[16], rcode[16];

	for (size_t i = 0; i < a->n_lookups; i++) {
		const struct report_lookup *lookup = &a->lookups[i];

		if (lookup->duration_ns == NS_UNKNOWN)
			continue;
		series_observe(SERIES(p, M_LOOKUP_DURATION, "domain", l->domain, "type",
				      vocabulary_word(p, &p->types, dns_type_name(lookup->type, type, sizeof(type))),
				      "rcode",
				      lookup->rcode < 0 ? "none"
							: vocabulary_word(p, &p->rcodes,
									  dns_rcode_name((uint16_t)lookup->rcode, rcode,
											 sizeof(rcode)))),
			       lookup->duration_ns);
	}
}

static void count_legs(struct prom *p, const struct report_attempt *a, const struct pair_labels *l)
{
	uint64_t retransmits = 0;

	for (size_t i = 0; i < a->n_legs; i++)
		if (a->legs[i].syn_sent > 1)
			retransmits += a->legs[i].syn_sent - 1;
	series_add(SERIES(p, M_SYN_RETRANSMITS, "domain", l->domain, "server", l->server), retransmits);
}

static void set_match(struct prom *p, const struct pair_labels *l, const char *name, enum tristate match)
{
	if (match != TRI_UNKNOWN)
		series_set(SERIES(p, M_CERT_MATCH, "domain", l->domain, "server", l->server, "name", name),
			   match == TRI_YES);
}

static void set_certificate(struct prom *p, const struct report_certificate *c, const struct pair_labels *l)
{
	/* Of many servers together no certificate is the last one. */
	if (!c || l->other)
		return;
	series_set(SERIES(p, M_CERT_NOT_AFTER, "domain", l->domain, "server", l->server), c->not_after);
	set_match(p, l, "domain", c->domain_match);
	set_match(p, l, "server", c->server_match);
}

static void on_attempt(const struct report_attempt *a, void *arg)
{
	struct prom *p = arg;
	struct pair_labels l = pair_get(p, a->domain, a->server);

	count_outcome(p, a, &l);
	/* An interrupted one's last phase has no length that means anything. */
	if (a->outcome != OUTCOME_NONE)
		count_phases(p, a, &l);
	count_lookups(p, a, &l);
	count_legs(p, a, &l);
	set_certificate(p, a->certificate, &l);
	for (size_t i = 0; i < a->n_findings; i++)
		series_add(SERIES(p, M_FINDINGS, "domain", l.domain, "code",
				  vocabulary_word(p, &p->codes, a->findings[i].code)),
			   1);
	for (unsigned int bit = 1; bit <= MISSING_INCOMPLETE; bit <<= 1)
		if (a->missing & bit & MISSING_INCOMPLETE)
			series_add(SERIES(p, M_INCOMPLETE, "cause", missing_name(bit)), 1);
}

/* --- Sessions --- */

/* NULL if as many are followed as may be. A session's start and end come in pairs, so the table stays small. */
static struct session_seen *session_slot(struct prom *p, uint64_t id)
{
	struct session_seen *free_slot = NULL;

	for (size_t i = 0; i < p->n_sessions; i++) {
		if (p->sessions[i].id == id)
			return &p->sessions[i];
		if (!p->sessions[i].id && !free_slot)
			free_slot = &p->sessions[i];
	}
	if (!free_slot && p->n_sessions < PROM_SESSIONS_MAX)
		free_slot = &p->sessions[p->n_sessions++];
	if (free_slot)
		*free_slot = (struct session_seen){0};
	return free_slot;
}

/* Series of @m with the three labels of a session. */
#define SESSION_SERIES(p, m, l, component, ...) \
	SERIES(p, m, "domain", (l)->domain, "server", (l)->server, "component", component __VA_OPT__(, ) __VA_ARGS__)

static void session_gauges(struct session_seen *seen, const struct report_session *s)
{
	if (s->rtt_ns != NS_UNKNOWN)
		series_set(seen->rtt, s->rtt_ns);
	if (s->last_inbound_real_ns != NS_UNKNOWN)
		series_set(seen->inbound, s->last_inbound_real_ns);
}

static void session_begin(struct prom *p, const struct report_session *s, struct session_seen *seen,
			  const struct pair_labels *l, const char *component)
{
	seen->id = s->id;
	seen->up = SESSION_SERIES(p, M_SESSION_UP, l, component);
	series_add(seen->up, 1);
	if (s->start_real_ns != NS_UNKNOWN)
		series_set(SESSION_SERIES(p, M_SESSION_START, l, component), s->start_real_ns);
	if (s->rtt_ns != NS_UNKNOWN)
		seen->rtt = SESSION_SERIES(p, M_SESSION_RTT, l, component);
	if (s->last_inbound_real_ns != NS_UNKNOWN)
		seen->inbound = SESSION_SERIES(p, M_SESSION_INBOUND, l, component);
}

/* What was only true while it was up goes away; the last sign of life stays. */
static void session_end(struct session_seen *seen)
{
	if (seen->up && seen->up->value > 0)
		seen->up->value--;
	if (seen->rtt && (!seen->up || seen->up->value == 0))
		seen->rtt->unset = true;
	*seen = (struct session_seen){0};
}

static void on_session(const struct report_session *s, void *arg)
{
	struct prom *p = arg;
	struct pair_labels l = pair_get(p, s->domain, s->server);
	const char *component = s->component ? vocabulary_foreign(p, &p->components, s->component) : "";
	const char *reason = s->end_reason ? vocabulary_foreign(p, &p->ends, s->end_reason) : "";
	struct session_seen *seen = session_slot(p, s->id);

	if (!seen)
		p->overflow->value++;
	if (seen && !seen->id && s->state == SESSION_UP)
		session_begin(p, s, seen, &l, component);
	if (seen && seen->id) {
		if (s->retransmits != NS_UNKNOWN && s->retransmits > seen->retransmits) {
			series_add(SESSION_SERIES(p, M_SESSION_RETRANSMITS, &l, component),
				   (uint64_t)(s->retransmits - seen->retransmits));
			seen->retransmits = s->retransmits;
		}
		session_gauges(seen, s);
	}
	if (s->state == SESSION_UP)
		return;
	if (seen && seen->id)
		session_end(seen);
	series_add(SESSION_SERIES(p, M_SESSION_ENDED, &l, component, "reason", reason), 1);
}

static void on_session_progress(const struct report_session *s, int64_t response_ns, void *arg)
{
	struct prom *p = arg;
	struct pair_labels l = pair_get(p, s->domain, s->server);
	const char *component = s->component ? vocabulary_foreign(p, &p->components, s->component) : "";
	struct session_seen *seen = session_slot(p, s->id);

	if (seen && seen->id)
		session_gauges(seen, s);
	if (response_ns > 0)
		series_observe(SESSION_SERIES(p, M_STANZA_RESPONSE, &l, component), response_ns);
}

/* --- Health --- */

static const char *library_state(unsigned int state)
{
	static const char *const names[CBT_LIBRARY_STATES] = {
		[CBT_LIBRARY_ARMED] = "armed",		 [CBT_LIBRARY_NONE] = "none",
		[CBT_LIBRARY_UNREADABLE] = "unreadable", [CBT_LIBRARY_GONE] = "gone",
		[CBT_LIBRARY_REFUSED] = "refused",	 [CBT_LIBRARY_FULL] = "full",
	};

	return state < CBT_LIBRARY_STATES && names[state] ? names[state] : "";
}

static void on_library(unsigned int state, void *arg)
{
	struct prom *p = arg;

	series_add(SERIES(p, M_LIBRARY, "state", library_state(state)), 1);
}

static void on_lost(const struct report_lost *l, void *arg)
{
	struct prom *p = arg;

	for (unsigned int i = 0; i < CBT_LOST_STAGES; i++) {
		struct series *s = SERIES(p, M_LOST, "stage", event_lost_name(i));

		if (s && l->count[i] > (uint64_t)s->value)
			s->value = (int64_t)l->count[i];
	}
}

void prom_count_event(struct prom *p, uint16_t type)
{
	struct series **s = &p->event_counts[type < EVENT_TYPES ? type : CBT_EV_NONE];

	if (!*s)
		*s = SERIES(p, M_EVENTS, "type", vocabulary_word(p, &p->events, event_type_name(type)));
	series_add(*s, 1);
}

void prom_set_in_flight(struct prom *p, size_t n)
{
	p->in_flight->value = (int64_t)n;
}

static bool begin_health(struct prom *p)
{
	const struct report_lost none = {.count = {0}};
	struct series *build;

	p->overflow = SERIES(p, M_OVERFLOW);
	p->in_flight = SERIES(p, M_IN_FLIGHT);
	build = SERIES(p, M_BUILD, "version", CBTRACE_VERSION);
	if (!p->overflow || !p->in_flight || !build)
		return false;
	build->value = 1;
	for (int type = CBT_EV_DNS; type <= CBT_EV_END; type++)
		SERIES(p, M_EVENTS, "type", vocabulary_word(p, &p->events, event_type_name((uint16_t)type)));
	for (unsigned int bit = 1; bit <= MISSING_INCOMPLETE; bit <<= 1)
		if (bit & MISSING_INCOMPLETE)
			SERIES(p, M_INCOMPLETE, "cause", missing_name(bit));
	on_lost(&none, p);
	return true;
}

/* --- Text --- */

static void put_scaled(struct text *t, int64_t value, uint64_t scale)
{
	uint64_t magnitude = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;

	text_printf(t, "%s%" PRIu64, value < 0 ? "-" : "", magnitude / scale);
	if (scale == NSEC_PER_SEC)
		text_printf(t, ".%09" PRIu64, magnitude % scale);
}

static void put_histogram(struct text *t, const struct series *s, const char *name)
{
	const struct histogram *h = s->histogram;
	const char *comma = s->labels[0] ? "," : "";
	uint64_t count = 0;

	for (size_t i = 0; i < LENGTH(bounds); i++) {
		count += h->bucket[i];
		text_printf(t, "%s_bucket{%s%sle=\"%s\"} %" PRIu64 "\n", name, s->labels, comma, bounds[i].le, count);
	}
	text_printf(t, "%s_bucket{%s%sle=\"+Inf\"} %" PRIu64 "\n", name, s->labels, comma, h->count);
	text_printf(t, "%s_sum{%s} %" PRIu64 ".%09" PRIu64 "\n", name, s->labels, h->sum_ns / NSEC_PER_SEC,
		    h->sum_ns % NSEC_PER_SEC);
	text_printf(t, "%s_count{%s} %" PRIu64 "\n", name, s->labels, h->count);
}

static void put_series(struct text *t, const struct series *s)
{
	const struct metric_info *m = &metrics[s->metric];
	/* Several sessions of the same names are one fact: there is one. */
	int64_t value = s->metric == M_SESSION_UP ? s->value > 0 : s->value;

	if (s->unset)
		return;
	if (s->histogram) {
		put_histogram(t, s, m->name);
		return;
	}
	text_puts(t, m->name);
	if (s->labels[0])
		text_printf(t, "{%s}", s->labels);
	text_puts(t, " ");
	put_scaled(t, value, m->scale);
	text_puts(t, "\n");
}

static bool has_value(const struct series *s)
{
	while (s && s->unset)
		s = s->next;
	return s;
}

int prom_write(struct prom *p, struct text *out)
{
	static const char *const types[] = {[COUNTER] = "counter", [GAUGE] = "gauge", [HISTOGRAM] = "histogram"};

	for (enum metric m = 0; m < METRICS; m++) {
		if (!has_value(p->list[m].first))
			continue;
		text_printf(out, "# HELP %s %s\n# TYPE %s %s\n", metrics[m].name, metrics[m].help, metrics[m].name,
			    types[metrics[m].type]);
		for (const struct series *s = p->list[m].first; s; s = s->next)
			put_series(out, s);
	}
	if (p->config.process)
		process_stat_write(out, p->process_start_ns);
	return out->error;
}

/* --- Life --- */

static void vocabularies_begin(struct prom *p)
{
	p->reasons.max = VOCABULARY_MAX;
	p->codes.max = VOCABULARY_MAX;
	p->ends.max = VOCABULARY_MAX;
	p->components.max = VOCABULARY_MAX;
	p->events.max = 32;
	p->rcodes.max = 16;
	p->types.max = 8;
}

struct prom *prom_new(const struct prom_config *config)
{
	struct prom *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->config = *config;
	if (!p->config.pairs_max)
		p->config.pairs_max = PROM_PAIRS_MAX;
	for (enum metric m = 0; m < METRICS; m++)
		p->list[m].tail = &p->list[m].first;
	vocabularies_begin(p);
	if (config->process)
		p->process_start_ns = process_stat_start();
	p->pairs = calloc(p->config.pairs_max, sizeof(*p->pairs));
	if (!p->pairs || (config->domain && !(p->domain = label_make(config->domain))) ||
	    (config->server && !(p->server = label_make(config->server))) || !begin_health(p)) {
		prom_free(p);
		return NULL;
	}
	/* A configured pair is watched from the start, before its first attempt. */
	if (p->domain)
		pair_get(p, config->domain, config->server);
	return p;
}

void prom_free(struct prom *p)
{
	if (!p)
		return;
	for (enum metric m = 0; m < METRICS; m++) {
		for (struct series *s = p->list[m].first, *next; s; s = next) {
			next = s->next;
			free(s->histogram);
			free(s);
		}
	}
	for (size_t i = 0; i < p->n_pairs; i++) {
		free(p->pairs[i].domain);
		free(p->pairs[i].server);
	}
	free(p->pairs);
	vocabulary_free(&p->reasons);
	vocabulary_free(&p->codes);
	vocabulary_free(&p->rcodes);
	vocabulary_free(&p->types);
	vocabulary_free(&p->components);
	vocabulary_free(&p->ends);
	vocabulary_free(&p->events);
	free(p->domain);
	free(p->server);
	free(p);
}

void prom_handler(struct prom *p, struct report_handler *ret_handler)
{
	*ret_handler = (struct report_handler){
		.attempt = on_attempt,
		.session = on_session,
		.session_progress = on_session_progress,
		.lost = on_lost,
		.library = on_library,
		.arg = p,
	};
}
