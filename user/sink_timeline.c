// SPDX-License-Identifier: BSD-2-Clause
/*
 * Timelines for a person. A report becomes rows (what happened, when, a detail), and only then text, because the
 * columns follow from all rows. Every name goes through safe() or is one of our own words. See sink_timeline.h.
 */
#include "sink_timeline.h"

#include <errno.h>
#include <inttypes.h>
#include <langinfo.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "addr.h"
#include "dns.h"
#include "text.h"

#define STEP_WIDTH	7 /* indent and step */
#define DURATION_WIDTH	9 /* "999.99 ms" */
#define GAPS		4 /* between label, bar, duration and detail */
#define LABEL_WIDTH_MIN 16
#define BAR_WIDTH_MIN	12
#define BAR_WIDTH_SMALL 20
#define DETAIL_WIDTH	40 /* what most details need */
#define ADDRESSES_SHOWN 2
#define NAME_SHOWN	64 /* characters of a foreign word in a line of its own */
#define REASONS_MAX	16 /* failures told apart in the summary */

#define NSEC_PER_MSEC INT64_C(1000000)
#define NSEC_PER_SEC  INT64_C(1000000000)
#define DAY_S	      86400

enum color_of { C_NONE, C_GOOD, C_MIDDLING, C_BAD, C_DNS, C_TCP, C_TLS, C_REGISTER, C_WAIT, C_STRONG };

struct row {
	const char *step;
	struct text label, detail;
	int64_t start_ns, end_ns;
	enum color_of color;
	bool wide; /* no bar: the detail takes its place */
};

struct tally {
	uint64_t n;
	int64_t sum_ns, min_ns, max_ns;
};

struct reason_tally {
	char text[80];
	uint64_t n;
};

struct sink_timeline {
	FILE *out;
	struct timeline_options o;
	int error;
	struct text text;
	struct tally outcomes[OUTCOMES + 1]; /* the last: interrupted */
	struct reason_tally reasons[REASONS_MAX];
	size_t n_reasons;
	uint64_t other_reasons;
	struct report_lost lost;
};

/* --- Small pieces --- */

static void color(struct sink_timeline *s, struct text *t, enum color_of c)
{
	static const char *const codes[] = {
		[C_NONE] = "0", [C_GOOD] = "1;32", [C_MIDDLING] = "1;33", [C_BAD] = "1;31", [C_DNS] = "36",
		[C_TCP] = "34", [C_TLS] = "35",	   [C_REGISTER] = "32",	  [C_WAIT] = "2",   [C_STRONG] = "1",
	};

	if (s->o.color)
		text_printf(t, "\033[%sm", codes[c]);
}

static void safe(const struct sink_timeline *s, struct text *t, const char *name, size_t max)
{
	text_add_safe(t, name, !s->o.unicode, max);
}

static const char *arrow(const struct sink_timeline *s)
{
	return s->o.unicode ? "→" : "->";
}

/* Begins the next part of a detail. */
static void part(const struct sink_timeline *s, struct text *t)
{
	if (t->len)
		text_puts(t, s->o.unicode ? " · " : ", ");
}

static void duration(struct text *t, int64_t ns)
{
	int64_t s;

	if (ns == NS_UNKNOWN) {
		text_puts(t, "?");
		return;
	}
	if (ns < 0) {
		text_puts(t, "-");
		ns = -ns;
	}
	/* Hundredths, rounded, so that 999.996 ms is 1.00 s. */
	if ((ns + 5000) / 10000 < 100000) {
		ns = (ns + 5000) / 10000;
		text_printf(t, "%" PRId64 ".%02" PRId64 " ms", ns / 100, ns % 100);
		return;
	}
	if ((ns + 5000000) / 10000000 < 10000) {
		ns = (ns + 5000000) / 10000000;
		text_printf(t, "%" PRId64 ".%02" PRId64 " s", ns / 100, ns % 100);
		return;
	}
	s = (ns + NSEC_PER_SEC / 2) / NSEC_PER_SEC;
	if (s < 3600)
		text_printf(t, "%" PRId64 " min %" PRId64 " s", s / 60, s % 60);
	else if (s < DAY_S)
		text_printf(t, "%" PRId64 " h %" PRId64 " min", s / 3600, s % 3600 / 60);
	else
		text_printf(t, "%" PRId64 " d %" PRId64 " h", s / DAY_S, s % DAY_S / 3600);
}

static void duration_padded(struct text *t, int64_t ns)
{
	struct text d = {0};

	duration(&d, ns);
	text_fill(t, " ", d.len < DURATION_WIDTH ? DURATION_WIDTH - d.len : 0);
	text_puts(t, d.data ? d.data : "");
	text_free(&d);
}

static void percent(struct text *t, double share)
{
	text_printf(t, "%d %%", (int)(share * 100 + 0.5));
}

static const char *plural(uint64_t n)
{
	return n == 1 ? "" : "s";
}

static void who(const struct sink_timeline *s, struct text *t, const char *comm, uint32_t pid, const char *domain,
		const char *server)
{
	safe(s, t, comm ? comm : "?", NAME_SHOWN);
	text_printf(t, "[%u] %s ", pid, arrow(s));
	safe(s, t, domain ? domain : server ? server : "?", 0);
}

static const char *phase_word(enum phase p)
{
	static const char *const words[PHASES] = {
		[PHASE_SRV] = "SRV", [PHASE_ADDRESS] = "address",	[PHASE_TCP] = "TCP",
		[PHASE_TLS] = "TLS", [PHASE_REGISTER] = "registration", [PHASE_WAIT] = "wait",
	};

	return (size_t)p < PHASES ? words[p] : "?";
}

/* --- Rows of lookups --- */

static bool lookup_in_entry(const struct report_lookup *l, const struct report_entry *e)
{
	int64_t end = l->duration_ns == NS_UNKNOWN ? INT64_MAX : l->start_ns + l->duration_ns;

	return (l->type == DNS_TYPE_SRV) == (e->phase == PHASE_SRV) && l->start_ns < e->end_ns && end > e->start_ns;
}

static bool lookup_is_good(const struct report_lookup *l)
{
	return !l->failure && l->rcode >= 0;
}

/* The one that the row is named after: the last that had an answer to use, else the last. */
static const struct report_lookup *entry_lookup(const struct report_attempt *a, const struct report_entry *e)
{
	const struct report_lookup *best = NULL;

	for (size_t i = 0; i < a->n_lookups; i++) {
		const struct report_lookup *l = &a->lookups[i];

		if (lookup_in_entry(l, e) && (!best || lookup_is_good(l) || !lookup_is_good(best)))
			best = l;
	}
	return best;
}

static void lookup_label(const struct sink_timeline *s, const struct report_attempt *a, const struct report_entry *e,
			 const struct report_lookup *best, struct text *t)
{
	const char *domain = dns_component_domain(best->name);
	bool has_a = false, has_aaaa = false;
	char buf[16];

	if (best->type == DNS_TYPE_SRV && domain && a->domain && dns_name_equal(domain, a->domain)) {
		/* The header names the domain; the dot before it goes, too. */
		char *service = strndup(best->name, (size_t)(domain - best->name) - 1);

		text_puts(t, "SRV ");
		safe(s, t, service ? service : best->name, 0);
		free(service);
		return;
	}
	for (size_t i = 0; i < a->n_lookups; i++) {
		const struct report_lookup *l = &a->lookups[i];

		if (!lookup_in_entry(l, e) || !dns_name_equal(l->name, best->name))
			continue;
		has_a |= l->type == DNS_TYPE_A;
		has_aaaa |= l->type == DNS_TYPE_AAAA;
	}
	text_puts(t, has_a && has_aaaa ? "A/AAAA" : dns_type_name(best->type, buf, sizeof(buf)));
	text_puts(t, " ");
	safe(s, t, best->name, 0);
}

struct lookup_sum {
	size_t names; /* other names that were asked for in the same time */
	unsigned int queries, questions;
	bool good, tcp;
	size_t targets, addresses;
	const struct report_answer *shown[ADDRESSES_SHOWN];
};

static void lookup_sum_answers(struct lookup_sum *sum, const struct report_lookup *l)
{
	for (size_t i = 0; i < l->n_answers; i++) {
		const struct report_answer *answer = &l->answers[i];

		if (answer->type == DNS_TYPE_SRV)
			sum->targets++;
		if (answer->type != DNS_TYPE_A && answer->type != DNS_TYPE_AAAA)
			continue;
		if (sum->addresses < ADDRESSES_SHOWN)
			sum->shown[sum->addresses] = answer;
		sum->addresses++;
	}
}

static struct lookup_sum lookup_sum_up(const struct report_attempt *a, const struct report_entry *e,
				       const struct report_lookup *best)
{
	struct lookup_sum sum = {0};

	for (size_t i = 0; i < a->n_lookups; i++) {
		const struct report_lookup *l = &a->lookups[i];

		if (!lookup_in_entry(l, e))
			continue;
		sum.questions++;
		sum.queries += l->queries;
		sum.tcp |= l->tcp;
		if (!dns_name_equal(l->name, best->name)) {
			sum.names++;
			continue;
		}
		sum.good |= lookup_is_good(l);
		lookup_sum_answers(&sum, l);
	}
	return sum;
}

static void resolver(struct text *t, const struct cbt_endpoint *e)
{
	char buf[ADDR_TEXT_MAX];

	text_puts(t, e->port == 53 ? addr_text(e->addr, buf) : addr_endpoint_text(e, buf));
}

static void lookup_detail(const struct sink_timeline *s, const struct report_attempt *a, const struct report_entry *e,
			  const struct report_lookup *best, struct text *t)
{
	struct lookup_sum sum = lookup_sum_up(a, e, best);
	char buf[ADDR_TEXT_MAX];

	resolver(t, &best->resolver);
	if (best->n_upstream) {
		text_printf(t, " %s ", arrow(s));
		resolver(t, &best->upstream[best->n_upstream - 1].resolver);
	}
	part(s, t);
	if (!sum.good)
		text_puts(t, best->failure ? best->failure : "no answer yet");
	else if (best->type == DNS_TYPE_SRV)
		text_printf(t, "%zu target%s", sum.targets, plural(sum.targets));
	for (size_t i = 0; sum.good && i < sum.addresses && i < ADDRESSES_SHOWN; i++)
		text_printf(t, "%s%s", i ? " " : "", addr_text(sum.shown[i]->addr, buf));
	if (sum.good && sum.addresses > ADDRESSES_SHOWN)
		text_printf(t, " +%zu", sum.addresses - ADDRESSES_SHOWN);
	if (sum.queries > sum.questions) {
		part(s, t);
		text_printf(t, "%u queries", sum.queries);
	}
	if (sum.tcp) {
		part(s, t);
		text_puts(t, "TCP");
	}
	if (sum.names) {
		part(s, t);
		text_printf(t, "+%zu name%s", sum.names, plural(sum.names));
	}
}

static void lookup_row(const struct sink_timeline *s, const struct report_attempt *a, const struct report_entry *e,
		       struct row *r)
{
	const struct report_lookup *best = entry_lookup(a, e);

	r->step = e->phase == PHASE_SRV ? "4" : "5";
	r->color = C_DNS;
	if (!best) {
		text_puts(&r->label, phase_word(e->phase));
		return;
	}
	lookup_label(s, a, e, best, &r->label);
	lookup_detail(s, a, e, best, &r->detail);
}

/* --- Rows of legs --- */

static void leg_row(const struct sink_timeline *s, const struct report_attempt *a, const struct report_leg *l,
		    struct row *r)
{
	char buf[ADDR_TEXT_MAX];
	bool up = l->result && strcmp(l->result, "connected") == 0;

	r->step = "6-7";
	r->color = up ? C_TCP : C_BAD;
	text_printf(&r->label, "TCP %s", addr_endpoint_text(&l->remote, buf));
	if (!up)
		safe(s, &r->detail, l->result ? l->result : "?", NAME_SHOWN);
	part(s, &r->detail);
	text_printf(&r->detail, "%u SYN%s", l->syn_sent, plural(l->syn_sent));
	if (l->target && (!a->server || !dns_name_equal(l->target, a->server))) {
		part(s, &r->detail);
		safe(s, &r->detail, l->target, NAME_SHOWN);
	}
}

static const struct report_leg *entry_leg(const struct report_attempt *a, const struct report_entry *e)
{
	return e->leg >= 0 && (size_t)e->leg < a->n_legs ? &a->legs[e->leg] : NULL;
}

static const char *without_prefix(const char *s, const char *prefix)
{
	size_t n = strlen(prefix);

	return strncmp(s, prefix, n) == 0 ? s + n : s;
}

static void tls_split(const struct sink_timeline *s, const struct report_tls *tls, struct text *t)
{
	double total;

	if (tls->network_ns == NS_UNKNOWN || tls->server_ns == NS_UNKNOWN || tls->client_ns == NS_UNKNOWN)
		return;
	total = (double)tls->network_ns + (double)tls->server_ns + (double)tls->client_ns;
	if (total <= 0)
		return;
	part(s, t);
	text_puts(t, "network ");
	percent(t, (double)tls->network_ns / total);
	part(s, t);
	text_puts(t, "server ");
	percent(t, (double)tls->server_ns / total);
	part(s, t);
	text_puts(t, "client ");
	percent(t, (double)tls->client_ns / total);
}

static void tls_row(const struct sink_timeline *s, const struct report_attempt *a, const struct report_entry *e,
		    bool last, struct row *r)
{
	const struct report_leg *leg = entry_leg(a, e);
	const struct report_tls *tls = last ? a->tls : NULL;
	char buf[ADDR_TEXT_MAX];

	r->step = "7";
	r->color = last && a->failed_phase != PHASE_TLS ? C_TLS : C_BAD;
	text_puts(&r->label, "TLS");
	if (!tls) {
		if (leg)
			text_printf(&r->label, " %s", addr_endpoint_text(&leg->remote, buf));
		return;
	}
	if (tls->version) {
		text_puts(&r->label, " ");
		safe(s, &r->label, without_prefix(tls->version, "TLSv"), NAME_SHOWN);
	}
	if (tls->cipher) {
		text_puts(&r->label, " ");
		safe(s, &r->label, without_prefix(tls->cipher, "TLS_"), NAME_SHOWN);
	}
	if (tls->alert) {
		text_puts(&r->detail, "alert ");
		safe(s, &r->detail, tls->alert, NAME_SHOWN);
	}
	tls_split(s, tls, &r->detail);
	if (tls->resumed == TRI_YES) {
		part(s, &r->detail);
		text_puts(&r->detail, "resumed");
	}
	if (tls->hello_retry == TRI_YES) {
		part(s, &r->detail);
		text_puts(&r->detail, "hello retry");
	}
}

static void register_row(const struct sink_timeline *s, const struct report_attempt *a, struct row *r)
{
	const struct report_registration *g = a->registration;

	r->step = "9-10";
	r->color = a->failed_phase == PHASE_REGISTER ? C_BAD : C_REGISTER;
	text_puts(&r->label, "registration");
	if (g && g->component) {
		text_puts(&r->label, " ");
		safe(s, &r->label, g->component, 0);
	}
	if (!g)
		return;
	if (g->result)
		text_puts(&r->detail, strcmp(g->result, "success") == 0 ? "accepted" : "refused");
	else
		text_puts(&r->detail, "no verdict");
	if (g->error) {
		part(s, &r->detail);
		safe(s, &r->detail, g->error, NAME_SHOWN);
	}
	if (g->stream_ns != NS_UNKNOWN) {
		part(s, &r->detail);
		text_puts(&r->detail, "stream after ");
		duration(&r->detail, g->stream_ns);
	}
}

static void wait_row(const struct report_entry *e, struct row *r)
{
	r->step = "";
	r->color = C_WAIT;
	text_puts(&r->label, "wait");
	if (owner_name(e->owner))
		text_printf(&r->label, " (%s)", owner_name(e->owner));
}

/* --- The certificate's row --- */

static void certificate_name(const struct sink_timeline *s, const char *name, enum tristate match, struct text *t)
{
	static const char *const marks[2][3] = {{"[?]", "[NO]", "[yes]"}, {"?", "✗", "✓"}};

	if (!name)
		return;
	safe(s, t, name, NAME_SHOWN);
	text_printf(t, " %s  ", marks[s->o.unicode][match - TRI_UNKNOWN]);
}

static void days(struct text *t, const char *before, int64_t s, const char *after)
{
	if (s < DAY_S)
		text_printf(t, "%s%" PRId64 " h%s", before, s / 3600, after);
	else
		text_printf(t, "%s%" PRId64 " day%s%s", before, s / DAY_S, plural((uint64_t)(s / DAY_S)), after);
}

static void certificate_dates(const struct report_certificate *c, int64_t now, struct text *t)
{
	if (c->not_before > now)
		days(t, "not valid for another ", c->not_before - now, "");
	else if (c->not_after < now)
		days(t, "expired ", now - c->not_after, " ago");
	else
		days(t, "", c->not_after - now, " left");
}

static const char *missing_certificate(const struct report_attempt *a)
{
	switch (a->certificate_missing) {
	case MISSING_NOT_VISIBLE:
		return a->tls && a->tls->version && strcmp(a->tls->version, "TLSv1.3") == 0 ? "not visible (TLS 1.3)"
											    : "not visible";
	case MISSING_NOT_SENT:
		return "not sent (resumed session)";
	case MISSING_LOST_EVENTS:
		return "unknown (events were lost)";
	case MISSING_TRUNCATED:
		return "unknown (cut short)";
	default:
		return NULL;
	}
}

static bool certificate_row(const struct sink_timeline *s, const struct report_attempt *a, struct row *r)
{
	const struct report_certificate *c = a->certificate;

	r->step = "8";
	r->wide = true;
	text_puts(&r->label, "certificate");
	if (!c) {
		if (missing_certificate(a))
			text_puts(&r->detail, missing_certificate(a));
		return missing_certificate(a);
	}
	certificate_name(s, a->domain, c->domain_match, &r->detail);
	if (!a->domain || !a->server || !dns_name_equal(a->domain, a->server))
		certificate_name(s, a->server, c->server_match, &r->detail);
	if (c->self_signed == TRI_YES)
		text_puts(&r->detail, "self-signed  ");
	certificate_dates(c, a->start_real_ns / NSEC_PER_SEC, &r->detail);
	return true;
}

/* --- All rows --- */

struct rows {
	struct row *row;
	size_t n;
};

static struct row *row_add(struct rows *rows, int64_t start_ns, int64_t end_ns)
{
	struct row *r = &rows->row[rows->n++];

	r->start_ns = start_ns;
	r->end_ns = end_ns;
	return r;
}

static bool leg_has_entry(const struct report_attempt *a, size_t leg)
{
	for (size_t i = 0; i < a->n_timeline; i++)
		if (a->timeline[i].phase == PHASE_TCP && a->timeline[i].leg == (int)leg)
			return true;
	return false;
}

static void rows_add_entry(const struct sink_timeline *s, const struct report_attempt *a, size_t i, bool last_tls,
			   struct rows *rows)
{
	const struct report_entry *e = &a->timeline[i];
	struct row *r = row_add(rows, e->start_ns, e->end_ns);

	switch (e->phase) {
	case PHASE_SRV:
	case PHASE_ADDRESS:
		lookup_row(s, a, e, r);
		break;
	case PHASE_TCP:
		if (entry_leg(a, e)) {
			leg_row(s, a, entry_leg(a, e), r);
		} else {
			r->step = "6-7";
			text_puts(&r->label, "TCP");
		}
		break;
	case PHASE_TLS:
		tls_row(s, a, e, last_tls, r);
		/* Right below, whatever begins later. */
		if (last_tls && !certificate_row(s, a, row_add(rows, e->start_ns, e->end_ns)))
			text_free(&rows->row[--rows->n].label);
		break;
	case PHASE_REGISTER:
		register_row(s, a, r);
		break;
	default:
		wait_row(e, r);
		break;
	}
}

/* Stable, and nearly sorted to begin with. */
static void rows_sort(struct rows *rows)
{
	for (size_t i = 1; i < rows->n; i++) {
		struct row r = rows->row[i];
		size_t j = i;

		for (; j && rows->row[j - 1].start_ns > r.start_ns; j--)
			rows->row[j] = rows->row[j - 1];
		rows->row[j] = r;
	}
}

static int rows_build(const struct sink_timeline *s, const struct report_attempt *a, struct rows *rows)
{
	size_t last_tls = a->n_timeline;

	/* One for each entry and leg, and the certificate. */
	rows->row = calloc(a->n_timeline + a->n_legs + 1, sizeof(*rows->row));
	rows->n = 0;
	if (!rows->row)
		return -ENOMEM;
	for (size_t i = 0; i < a->n_timeline; i++)
		if (a->timeline[i].phase == PHASE_TLS)
			last_tls = i;
	for (size_t i = 0; i < a->n_timeline; i++)
		rows_add_entry(s, a, i, i == last_tls, rows);
	for (size_t i = 0; i < a->n_legs; i++) {
		const struct report_leg *l = &a->legs[i];

		if (!leg_has_entry(a, i))
			leg_row(s, a, l,
				row_add(rows, l->start_ns,
					l->tcp_ns == NS_UNKNOWN ? a->total_ns : l->start_ns + l->tcp_ns));
	}
	rows_sort(rows);
	return 0;
}

static void rows_free(struct rows *rows)
{
	for (size_t i = 0; i < rows->n; i++) {
		text_free(&rows->row[i].label);
		text_free(&rows->row[i].detail);
	}
	free(rows->row);
}

/* --- Columns --- */

struct columns {
	size_t width, label, bar;
	size_t detail; /* where details begin */
};

static struct columns columns_fit(const struct sink_timeline *s, const struct rows *rows)
{
	struct columns c = {.width = s->o.width, .label = LABEL_WIDTH_MIN};
	size_t rest;

	for (size_t i = 0; i < rows->n; i++) {
		size_t width = text_width(&rows->row[i].label, 0);

		if (width > c.label)
			c.label = width;
	}
	if (c.label > c.width * 3 / 10)
		c.label = c.width * 3 / 10;
	rest = c.width - STEP_WIDTH - c.label - DURATION_WIDTH - GAPS;
	if (rest >= DETAIL_WIDTH + BAR_WIDTH_MIN)
		c.bar = rest - DETAIL_WIDTH;
	else
		c.bar = rest / 2 < BAR_WIDTH_MIN     ? BAR_WIDTH_MIN
			: rest / 2 > BAR_WIDTH_SMALL ? BAR_WIDTH_SMALL
						     : rest / 2;
	c.detail = STEP_WIDTH + c.label + c.bar + DURATION_WIDTH + GAPS;
	return c;
}

/* Eighths of a cell, from the left. */
static void bar(const struct sink_timeline *s, const struct columns *c, const struct row *r, int64_t total,
		struct text *t)
{
	static const char *const eighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉", "█"};
	double scale = total > 0 ? (double)c->bar * 8 / (double)total : 0;
	size_t cells = c->bar * 8;
	size_t from = r->start_ns > 0 ? (size_t)((double)r->start_ns * scale) : 0;
	size_t to = r->end_ns > 0 ? (size_t)((double)r->end_ns * scale + 0.5) : 0;
	size_t at;

	/* Only right edges can be drawn in eighths: a left one goes to the nearest cell. */
	at = (from + 4) / 8;
	if (at >= c->bar)
		at = c->bar - 1;
	if (to > cells)
		to = cells;
	if (to <= at * 8)
		to = at * 8 + 1;
	text_fill(t, " ", at);
	for (; at < c->bar; at++) {
		size_t filled = to > at * 8 ? to - at * 8 : 0;

		if (filled > 8)
			filled = 8;
		if (s->o.unicode)
			text_puts(t, filled ? eighths[filled] : " ");
		else
			text_puts(t, filled >= 4 ? "#" : filled ? "|" : " ");
	}
}

static void pad_to(struct text *t, size_t from, size_t column)
{
	size_t width = text_width(t, from);

	text_fill(t, " ", width < column ? column - width : 0);
}

static void label(struct sink_timeline *s, const struct columns *c, const struct row *r, struct text *t)
{
	size_t from = t->len;

	text_printf(t, "  %-*s", STEP_WIDTH - 2, r->step ? r->step : "");
	/* Safe already; only cut. */
	text_add_safe(t, r->label.data ? r->label.data : "", !s->o.unicode, c->label);
	pad_to(t, from, STEP_WIDTH + c->label + 1);
}

static void row_write(struct sink_timeline *s, const struct columns *c, const struct row *r, int64_t total)
{
	struct text *t = &s->text;
	size_t width = text_width(&r->detail, 0);

	label(s, c, r, t);
	if (!r->wide) {
		color(s, t, r->color);
		bar(s, c, r, total, t);
		color(s, t, C_NONE);
		text_puts(t, " ");
		duration_padded(t, r->end_ns - r->start_ns);
		if (width && c->detail + width > c->width) {
			text_puts(t, "\n");
			text_fill(t, " ", STEP_WIDTH + c->label + 1);
		} else if (width) {
			text_puts(t, "  ");
		}
	}
	if (width)
		text_puts(t, r->detail.data);
	text_puts(t, "\n");
}

static void axis(struct sink_timeline *s, const struct columns *c, int64_t total)
{
	struct text *t = &s->text, end = {0};
	size_t from = t->len;

	duration(&end, total);
	text_puts(t, " step");
	pad_to(t, from, STEP_WIDTH + c->label + 1);
	text_puts(t, "0");
	pad_to(t, from, STEP_WIDTH + c->label + 1 + c->bar - (end.len < c->bar ? end.len : c->bar - 1));
	text_printf(t, "%s\n", end.data ? end.data : "");
	text_free(&end);
}

/* --- Around the rows --- */

static enum color_of outcome_color(enum outcome o)
{
	switch (o) {
	case OUTCOME_REGISTERED:
	case OUTCOME_CONNECTED:
		return C_GOOD;
	case OUTCOME_FAILED:
		return C_BAD;
	default:
		return C_MIDDLING;
	}
}

static void failure_words(const struct sink_timeline *s, const struct report_attempt *a, struct text *t)
{
	if (phase_name(a->failed_phase))
		text_printf(t, "%s ", phase_name(a->failed_phase));
	safe(s, t, a->reason ? a->reason : "unknown", NAME_SHOWN);
}

static void header(struct sink_timeline *s, const struct report_attempt *a)
{
	struct text *t = &s->text, left = {0}, right = {0};
	const char *outcome = outcome_name(a->outcome);
	bool good = a->outcome == OUTCOME_REGISTERED || a->outcome == OUTCOME_CONNECTED;
	size_t width;

	text_printf(&left, "attempt %" PRIu64 "  ", a->id);
	who(s, &left, a->comm, a->pid, a->domain, a->server);
	text_printf(&right, "%s %s ", outcome ? outcome : "interrupted",
		    good || a->outcome == OUTCOME_FAILED ? "in" : "after");
	duration(&right, a->total_ns);
	if (outcome && !good) {
		text_puts(&right, ": ");
		failure_words(s, a, &right);
	}
	width = text_width(&left, 0) + 2 + text_width(&right, 0);
	if (!left.error && !right.error) {
		color(s, t, C_STRONG);
		text_puts(t, left.data);
		color(s, t, C_NONE);
		if (width > s->o.width)
			text_puts(t, "\n   ");
		else
			text_fill(t, " ", s->o.width - width + 2);
		color(s, t, outcome_color(a->outcome));
		text_puts(t, right.data);
		color(s, t, C_NONE);
		text_puts(t, "\n");
	}
	text_free(&left);
	text_free(&right);
}

static void incomplete(struct sink_timeline *s, const struct report_attempt *a)
{
	static const struct {
		unsigned int bit;
		const char *words;
	} causes[] = {
		{MISSING_LOST_EVENTS, "events were lost"},
		{MISSING_STARTED_LATE, "cbtrace started after it began"},
		{MISSING_TRUNCATED, "something was cut short"},
		{MISSING_INTERRUPTED, "cbtrace stopped before it ended"},
	};
	const char *before = "  incomplete: ";

	if (a->complete)
		return;
	color(s, &s->text, C_MIDDLING);
	for (size_t i = 0; i < sizeof(causes) / sizeof(causes[0]); i++) {
		if (!(a->missing & causes[i].bit))
			continue;
		text_printf(&s->text, "%s%s", before, causes[i].words);
		before = ", ";
	}
	color(s, &s->text, C_NONE);
	text_puts(&s->text, "\n");
}

static void retry(struct sink_timeline *s, const struct report_attempt *a)
{
	if (!a->retry_of)
		return;
	text_printf(&s->text, "  retry of attempt %" PRIu64, a->retry_of);
	if (a->retry_delay_ns != NS_UNKNOWN) {
		text_puts(&s->text, ", ");
		duration(&s->text, a->retry_delay_ns);
		text_puts(&s->text, " after its end");
	}
	text_puts(&s->text, "\n");
}

static void slowest(struct sink_timeline *s, const struct report_attempt *a)
{
	if (a->slowest == PHASE_NONE)
		return;
	text_printf(&s->text, "  slowest: %s, ", phase_word(a->slowest));
	percent(&s->text, a->slowest_share);
	if (owner_name(a->slowest_owner))
		text_printf(&s->text, ", %s", owner_name(a->slowest_owner));
	text_puts(&s->text, "\n");
}

static void findings(struct sink_timeline *s, const struct report_attempt *a)
{
	for (size_t i = 0; i < a->n_findings; i++) {
		const struct report_finding *f = &a->findings[i];

		text_puts(&s->text, "  finding: ");
		safe(s, &s->text, f->code ? f->code : "?", NAME_SHOWN);
		if (f->cost_ns != NS_UNKNOWN && f->cost_ns > 0) {
			text_puts(&s->text, ", ");
			duration(&s->text, f->cost_ns);
		}
		if (f->text) {
			text_puts(&s->text, ": ");
			safe(s, &s->text, f->text, 0);
		}
		text_puts(&s->text, "\n");
	}
}

/* --- Handlers --- */

static void finish(struct sink_timeline *s)
{
	int error = text_write(&s->text, s->out);

	if (!error && s->o.flush && fflush(s->out) != 0)
		error = errno ? -errno : -EIO;
	if (error && !s->error)
		s->error = error;
}

static void tally_reason(struct sink_timeline *s, const struct report_attempt *a)
{
	struct text t = {0};
	size_t i = 0;

	failure_words(s, a, &t);
	for (; t.data && i < s->n_reasons; i++)
		if (strncmp(s->reasons[i].text, t.data, sizeof(s->reasons[i].text) - 1) == 0)
			break;
	if (t.data && i < REASONS_MAX) {
		if (i == s->n_reasons)
			snprintf(s->reasons[s->n_reasons++].text, sizeof(s->reasons[i].text), "%s", t.data);
		s->reasons[i].n++;
	} else {
		s->other_reasons++;
	}
	text_free(&t);
}

static void tally(struct sink_timeline *s, const struct report_attempt *a)
{
	struct tally *y = &s->outcomes[a->outcome < OUTCOMES ? a->outcome : OUTCOMES];

	if (!y->n || a->total_ns < y->min_ns)
		y->min_ns = a->total_ns;
	if (!y->n || a->total_ns > y->max_ns)
		y->max_ns = a->total_ns;
	y->sum_ns += a->total_ns;
	y->n++;
	if (a->outcome == OUTCOME_FAILED || a->outcome == OUTCOME_ABANDONED)
		tally_reason(s, a);
}

static void on_attempt(const struct report_attempt *a, void *arg)
{
	struct sink_timeline *s = arg;
	struct columns c;
	struct rows rows;

	tally(s, a);
	if (rows_build(s, a, &rows) < 0) {
		if (!s->error)
			s->error = -ENOMEM;
		return;
	}
	c = columns_fit(s, &rows);
	header(s, a);
	incomplete(s, a);
	retry(s, a);
	if (rows.n)
		axis(s, &c, a->total_ns);
	for (size_t i = 0; i < rows.n; i++)
		row_write(s, &c, &rows.row[i], a->total_ns);
	slowest(s, a);
	findings(s, a);
	text_puts(&s->text, "\n");
	rows_free(&rows);
	finish(s);
}

static void on_session(const struct report_session *r, void *arg)
{
	struct sink_timeline *s = arg;
	struct text *t = &s->text;
	char buf[ADDR_TEXT_MAX];

	text_printf(t, "session %" PRIu64 "  ", r->id);
	who(s, t, r->comm, r->pid, r->domain, r->server);
	text_printf(t, "  %s  ", addr_endpoint_text(&r->remote, buf));
	if (r->component) {
		safe(s, t, r->component, NAME_SHOWN);
		text_puts(t, "  ");
	}
	text_puts(t, r->state == SESSION_UP ? "up" : "down");
	if (r->state == SESSION_DOWN && r->duration_ns != NS_UNKNOWN) {
		text_puts(t, " after ");
		duration(t, r->duration_ns);
	}
	if (r->end_reason) {
		text_puts(t, ": ");
		safe(s, t, r->end_reason, NAME_SHOWN);
	}
	if (r->ended_by) {
		text_puts(t, ", by ");
		safe(s, t, r->ended_by, NAME_SHOWN);
	}
	text_puts(t, "\n\n");
	finish(s);
}

/* The stages whose count is above that of @before. */
static void lost_words(struct text *t, const struct report_lost *l, const struct report_lost *before)
{
	static const char *const words[CBT_LOST_STAGES] = {
		[CBT_LOST_RING] = "ring full",	    [CBT_LOST_TRACKED] = "too many sockets",
		[CBT_LOST_STORAGE] = "no memory",   [CBT_LOST_PARSE] = "headers not followed",
		[CBT_LOST_COPY] = "bytes not read", [CBT_LOST_RECORDER] = "recorder full",
		[CBT_LOST_TABLE] = "table full",    [CBT_LOST_INVALID] = "invalid event",
	};
	const char *comma = "";

	for (size_t i = 0; i < CBT_LOST_STAGES; i++) {
		if (l->count[i] <= before->count[i])
			continue;
		text_printf(t, "%s%" PRIu64 " (%s)", comma, l->count[i] - before->count[i], words[i]);
		comma = ", ";
	}
}

static void on_lost(const struct report_lost *l, void *arg)
{
	struct sink_timeline *s = arg;
	struct text words = {0};

	lost_words(&words, l, &s->lost);
	s->lost = *l;
	if (words.len)
		text_printf(&s->text, "events lost: %s\n\n", words.data);
	text_free(&words);
	finish(s);
}

static void summary_line(struct text *t, const char *name, const struct tally *y)
{
	if (!y->n)
		return;
	text_printf(t, "  %-20s %10" PRIu64 " ", name, y->n);
	duration_padded(t, y->min_ns);
	text_puts(t, " ");
	duration_padded(t, y->sum_ns / (int64_t)y->n);
	text_puts(t, " ");
	duration_padded(t, y->max_ns);
	text_puts(t, "\n");
}

void sink_timeline_summary(struct sink_timeline *s)
{
	const struct report_lost none = {.count = {0}};
	struct text *t = &s->text;
	uint64_t n = 0;

	for (size_t o = 0; o <= OUTCOMES; o++)
		n += s->outcomes[o].n;
	if (!n)
		return;
	text_printf(t, "%-22s %10s %9s %9s %9s\n", "summary", "attempts", "shortest", "mean", "longest");
	for (enum outcome o = 0; o < OUTCOMES; o++)
		summary_line(t, outcome_name(o), &s->outcomes[o]);
	summary_line(t, "interrupted", &s->outcomes[OUTCOMES]);
	for (size_t i = 0; i < s->n_reasons; i++)
		text_printf(t, "    %-18s %10" PRIu64 "\n", s->reasons[i].text, s->reasons[i].n);
	if (s->other_reasons)
		text_printf(t, "    %-18s %10" PRIu64 "\n", "other reasons", s->other_reasons);
	if (memcmp(&s->lost, &none, sizeof(none)) != 0) {
		text_puts(t, "  events lost: ");
		lost_words(t, &s->lost, &none);
		text_puts(t, "\n");
	}
	finish(s);
}

/* --- Life --- */

static bool locale_is_utf8(void)
{
	/* Of the environment, without changing what the program itself uses. */
	locale_t l = newlocale(LC_CTYPE_MASK, "", (locale_t)0);
	bool utf8;

	if (!l)
		return false;
	utf8 = strcmp(nl_langinfo_l(CODESET, l), "UTF-8") == 0;
	freelocale(l);
	return utf8;
}

static unsigned int terminal_width(int fd)
{
	const char *columns = getenv("COLUMNS");
	struct winsize size;
	unsigned long n;
	char *end;

	if (fd >= 0 && ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col)
		return size.ws_col;
	if (columns && *columns >= '1' && *columns <= '9') {
		n = strtoul(columns, &end, 10);
		if (!*end && n <= 10000)
			return (unsigned int)n;
	}
	return TIMELINE_WIDTH_DEFAULT;
}

static bool color_wanted(enum color c, bool terminal)
{
	const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");

	if (c != COLOR_AUTO)
		return c == COLOR_ALWAYS;
	return terminal && !(no_color && *no_color) && term && strcmp(term, "dumb") != 0;
}

void timeline_options_detect(FILE *out, enum color c, struct timeline_options *ret_options)
{
	int fd = fileno(out);
	bool terminal = fd >= 0 && isatty(fd);

	*ret_options = (struct timeline_options){
		.width = terminal_width(fd),
		.color = color_wanted(c, terminal),
		.unicode = locale_is_utf8(),
		.flush = true,
	};
}

struct sink_timeline *sink_timeline_new(FILE *out, const struct timeline_options *options)
{
	struct sink_timeline *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->out = out;
	s->o = *options;
	if (s->o.width < TIMELINE_WIDTH_MIN)
		s->o.width = TIMELINE_WIDTH_MIN;
	if (s->o.width > TIMELINE_WIDTH_MAX)
		s->o.width = TIMELINE_WIDTH_MAX;
	return s;
}

void sink_timeline_free(struct sink_timeline *s)
{
	if (!s)
		return;
	text_free(&s->text);
	free(s);
}

void sink_timeline_handler(struct sink_timeline *s, struct report_handler *ret_handler)
{
	*ret_handler = (struct report_handler){
		.attempt = on_attempt,
		.session = on_session,
		.lost = on_lost,
		.arg = s,
	};
}

int sink_timeline_error(const struct sink_timeline *s)
{
	return s->error;
}
