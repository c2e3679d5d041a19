// SPDX-License-Identifier: BSD-2-Clause
/* See report_fixture.h. */
#include "report_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "addr.h"

#define HOSTILE "e\033[31mvil\"\\\n\xff\xe2\x80\xae"

static struct cbt_endpoint endpoint(const char *address, uint16_t port)
{
	struct cbt_endpoint e = {.port = port};

	assert_int_equal(addr_parse(address, e.addr), 0);
	return e;
}

static struct report_answer answer_addr(uint16_t type, const char *address)
{
	struct report_answer a = {.type = type};

	assert_int_equal(addr_parse(address, a.addr), 0);
	return a;
}

static struct report_answer answer_srv(const char *target, uint16_t port, uint16_t priority, uint16_t weight)
{
	return (struct report_answer){
		.type = DNS_TYPE_SRV, .target = target, .port = port, .priority = priority, .weight = weight};
}

static struct report_lookup lookup(const char *name, uint16_t type, int64_t start_ns, int64_t duration_ns)
{
	return (struct report_lookup){
		.attempt = 3,
		.name = name,
		.type = type,
		.rcode = DNS_RCODE_NOERROR,
		.resolver = endpoint("10.0.0.2", 53),
		.queries = 1,
		.start_ns = start_ns,
		.duration_ns = duration_ns,
	};
}

static struct report_leg leg(const char *address, const char *target, const char *result, int64_t start_ns,
			     int64_t tcp_ns)
{
	return (struct report_leg){
		.attempt = 3,
		.remote = endpoint(address, 5223),
		.target = target,
		.priority = 10,
		.weight = 5,
		.result = result,
		.start_ns = start_ns,
		.tcp_ns = tcp_ns,
		.syn_sent = 1,
		.rtt_ns = 20000000,
	};
}

static struct report_attempt base(void)
{
	return (struct report_attempt){
		.id = 3,
		.retry_delay_ns = NS_UNKNOWN,
		.pid = 4821,
		.comm = "callbridge",
		.cgroup = "/system.slice/callbridge.service",
		.host = "cb1",
		.domain = "example.com",
		.server = "xmpp1.example.com",
		.config = CONFIG_SRV,
		.outcome = OUTCOME_CONNECTED,
		.failed_phase = PHASE_NONE,
		.start_real_ns = FIXTURE_START_NS,
		.slowest = PHASE_NONE,
		.complete = true,
	};
}

struct report_attempt *fixture_good(void)
{
	static struct report_attempt a;
	static struct report_answer targets[2], addresses[1];
	static struct report_lookup lookups[2];
	static struct report_leg legs[1];
	static struct report_upstream upstream[1];
	static const struct report_entry timeline[] = {
		{PHASE_SRV, -1, 0, 3120000, OWNER_NONE},	   {PHASE_WAIT, -1, 3120000, 3130000, OWNER_CLIENT},
		{PHASE_ADDRESS, -1, 3130000, 5530000, OWNER_NONE}, {PHASE_WAIT, -1, 5530000, 5740000, OWNER_CLIENT},
		{PHASE_TCP, 0, 5740000, 26040000, OWNER_NONE},	   {PHASE_TLS, 0, 26040000, 48310000, OWNER_NONE},
	};
	static const struct report_tls tls = {
		.version = "TLSv1.2",
		.cipher = "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
		.sni = "xmpp1.example.com",
		.resumed = TRI_NO,
		.hello_retry = TRI_NO,
		.client_cert_requested = TRI_NO,
		.network_ns = 4454000,
		.server_ns = 15811700,
		.client_ns = 2004300,
	};
	static const char *const san[] = {"example.com", "xmpp1.example.com"};
	static const struct report_certificate certificate = {
		.evidence = EVIDENCE_WIRE,
		.subject = "CN=xmpp1.example.com",
		.issuer = "CN=Test CA",
		.key_type = "RSA 2048",
		.san = san,
		.n_san = 2,
		.domain_match = TRI_YES,
		.server_match = TRI_YES,
		.self_signed = TRI_NO,
		.not_before = FIXTURE_START_NS / 1000000000 - 86400,
		.not_after = FIXTURE_START_NS / 1000000000 + 89 * 86400 + 3600,
		.chain_length = 2,
	};
	static const struct report_finding found[] = {
		{"tls_extra_round_trip", PHASE_TLS, 20000000, "TLS 1.2 takes one round trip more than 1.3"},
	};

	targets[0] = answer_srv("xmpp1.example.com", 5223, 10, 5);
	targets[1] = answer_srv("xmpp2.example.com", 5223, 20, 0);
	addresses[0] = answer_addr(DNS_TYPE_A, "10.9.0.10");
	lookups[0] = lookup("_xmpp-component._tcp.example.com", DNS_TYPE_SRV, 0, 3120000);
	lookups[0].answers = targets;
	lookups[0].n_answers = 2;
	upstream[0] = (struct report_upstream){endpoint("192.0.2.1", 53), 100000, 2900000, 0, 1};
	lookups[0].upstream = upstream;
	lookups[0].n_upstream = 1;
	lookups[1] = lookup("xmpp1.example.com", DNS_TYPE_A, 3130000, 2400000);
	lookups[1].answers = addresses;
	lookups[1].n_answers = 1;
	legs[0] = leg("10.9.0.10", "xmpp1.example.com", "connected", 5740000, 20300000);

	a = base();
	a.total_ns = 48310000;
	a.timeline = timeline;
	a.n_timeline = sizeof(timeline) / sizeof(timeline[0]);
	a.lookups = lookups;
	a.n_lookups = 2;
	a.legs = legs;
	a.n_legs = 1;
	a.tls = &tls;
	a.certificate = &certificate;
	a.registration_missing = MISSING_NOT_VISIBLE;
	a.missing = MISSING_NOT_VISIBLE;
	a.slowest = PHASE_TLS;
	a.slowest_share = 22270000.0 / 48310000;
	a.slowest_owner = OWNER_SERVER;
	a.findings = found;
	a.n_findings = 1;
	return &a;
}

struct report_attempt *fixture_dns_timeout(void)
{
	static struct report_attempt a;
	static struct report_lookup lookups[1];
	static const struct report_entry timeline[] = {{PHASE_SRV, -1, 0, 10000000000, OWNER_NONE}};

	lookups[0] = lookup("_xmpp-component._tcp.example.com", DNS_TYPE_SRV, 0, 10000000000);
	lookups[0].rcode = -1;
	lookups[0].failure = "timeout";
	lookups[0].queries = 4;
	a = base();
	a.server = NULL;
	a.outcome = OUTCOME_FAILED;
	a.failed_phase = PHASE_SRV;
	a.reason = "timeout";
	a.total_ns = 10000000000;
	a.timeline = timeline;
	a.n_timeline = 1;
	a.lookups = lookups;
	a.n_lookups = 1;
	a.slowest = PHASE_SRV;
	a.slowest_share = 1;
	a.slowest_owner = OWNER_RESOLVER;
	return &a;
}

struct report_attempt *fixture_failover(void)
{
	static struct report_attempt a;
	static struct report_answer addresses[4];
	static struct report_lookup lookups[3];
	static struct report_leg legs[3];
	static const struct report_entry timeline[] = {
		{PHASE_ADDRESS, -1, 0, 4000000, OWNER_NONE},
		{PHASE_TCP, 0, 4000000, 1016000000, OWNER_NONE},
		{PHASE_TCP, 1, 1016000000, 1017000000, OWNER_NONE},
		{PHASE_TLS, 1, 1017000000, 2000000000, OWNER_NONE},
	};
	static const struct report_tls tls = {
		.version = "TLSv1.3",
		.cipher = "TLS_AES_256_GCM_SHA384",
		.alert = "received:certificate_required",
		.resumed = TRI_YES,
		.hello_retry = TRI_YES,
		.client_cert_requested = TRI_UNKNOWN,
		.network_ns = NS_UNKNOWN,
		.server_ns = NS_UNKNOWN,
		.client_ns = NS_UNKNOWN,
	};
	static const struct report_finding found[] = {
		{"syn_retransmit", PHASE_TCP, 1012000000, "SYN to [2001:db8::1]:5223 sent 2 times"},
		{"ipv6_fallback", PHASE_TCP, NS_UNKNOWN, "IPv6 did not work"},
	};

	lookups[0] = lookup("xmpp1.example.com", DNS_TYPE_A, 0, 3000000);
	lookups[1] = lookup("xmpp1.example.com", DNS_TYPE_AAAA, 0, 4000000);
	lookups[2] = lookup("xmpp1.example.com.corp.example.net", DNS_TYPE_A, 0, 2000000);
	addresses[0] = answer_addr(DNS_TYPE_A, "10.9.0.10");
	addresses[1] = (struct report_answer){.type = DNS_TYPE_CNAME, .target = "real.example.com"};
	addresses[2] = answer_addr(DNS_TYPE_AAAA, "2001:db8::1");
	addresses[3] = answer_addr(DNS_TYPE_AAAA, "2001:db8::2");
	lookups[0].answers = addresses;
	lookups[0].n_answers = 1;
	lookups[0].tcp = true;
	lookups[0].queries = 2;
	lookups[1].answers = addresses + 1;
	lookups[1].n_answers = 3;
	lookups[2].rcode = DNS_RCODE_NXDOMAIN;
	lookups[2].failure = "nxdomain";
	legs[0] = leg("2001:db8::1", "xmpp1.example.com", "timeout", 4000000, 1012000000);
	legs[0].syn_sent = 2;
	legs[0].priority = legs[0].weight = -1;
	legs[0].rtt_ns = NS_UNKNOWN;
	legs[1] = leg("10.9.0.10", "xmpp2.example.com", "connected", 1016000000, 1000000);
	legs[2] = leg("2001:db8::2", NULL, "reset", 500000000, 300000);
	a = base();
	a.retry_of = 2;
	a.retry_delay_ns = 5000000000;
	a.config = CONFIG_NAME;
	a.outcome = OUTCOME_ABANDONED;
	a.failed_phase = PHASE_TLS;
	a.reason = "process_exit";
	a.total_ns = 2000000000;
	a.timeline = timeline;
	a.n_timeline = sizeof(timeline) / sizeof(timeline[0]);
	a.lookups = lookups;
	a.n_lookups = 3;
	a.legs = legs;
	a.n_legs = 3;
	a.tls = &tls;
	a.certificate_missing = MISSING_NOT_SENT;
	a.slowest = PHASE_TCP;
	a.slowest_share = 0.5065;
	a.slowest_owner = OWNER_NETWORK;
	a.findings = found;
	a.n_findings = 2;
	a.complete = false;
	a.missing = MISSING_LOST_EVENTS | MISSING_STARTED_LATE | MISSING_NOT_SENT;
	return &a;
}

struct report_attempt *fixture_unknown(void)
{
	static struct report_attempt a;

	a = (struct report_attempt){
		.id = 1,
		.retry_delay_ns = NS_UNKNOWN,
		.outcome = OUTCOME_NONE,
		.failed_phase = PHASE_NONE,
		.slowest = PHASE_NONE,
		.missing = MISSING_INTERRUPTED,
	};
	return &a;
}

struct report_attempt *fixture_hostile(void)
{
	struct report_attempt *a = fixture_good();
	static struct report_lookup lookups[2];
	static struct report_answer answers[1];
	static struct report_leg legs[1];
	static struct report_tls tls;
	static struct report_certificate certificate;
	static const char *const san[] = {HOSTILE};
	static const struct report_finding found[] = {{"san_incomplete", PHASE_TLS, 0, HOSTILE}};

	memcpy(lookups, a->lookups, sizeof(lookups));
	answers[0] = answer_srv(HOSTILE, 1, 0, 0);
	lookups[0].name = "_xmpp-component._tcp." HOSTILE;
	lookups[0].answers = answers;
	lookups[0].n_answers = 1;
	lookups[1].name = HOSTILE;
	lookups[1].failure = NULL;
	legs[0] = a->legs[0];
	legs[0].target = HOSTILE;
	tls = *a->tls;
	tls.sni = tls.alpn = tls.alert = HOSTILE;
	certificate = *a->certificate;
	certificate.subject = certificate.issuer = HOSTILE;
	certificate.san = san;
	certificate.n_san = 1;
	certificate.domain_match = TRI_NO;
	certificate.not_after = INT64_C(253402300799); /* 9999-12-31: beyond what ns can hold */
	a->comm = a->cgroup = a->host = a->server = HOSTILE;
	a->domain = HOSTILE HOSTILE;
	a->lookups = lookups;
	a->legs = legs;
	a->tls = &tls;
	a->certificate = &certificate;
	a->findings = found;
	return a;
}

struct report_session *fixture_session(enum session_state state)
{
	static struct report_session s;

	s = (struct report_session){
		.id = 7,
		.attempt = 3,
		.pid = 4821,
		.comm = "callbridge",
		.domain = "example.com",
		.server = "xmpp1.example.com",
		.remote = endpoint("10.9.0.10", 5223),
		.state = state,
		.start_real_ns = FIXTURE_START_NS,
		.end_real_ns = NS_UNKNOWN,
		.duration_ns = NS_UNKNOWN,
		.bytes_in = NS_UNKNOWN,
		.bytes_out = NS_UNKNOWN,
		.stanzas_in = NS_UNKNOWN,
		.stanzas_out = NS_UNKNOWN,
		.keepalives_in = NS_UNKNOWN,
		.keepalives_out = NS_UNKNOWN,
		.login_real_ns = NS_UNKNOWN,
		.login_response_ns = NS_UNKNOWN,
		.last_inbound_real_ns = NS_UNKNOWN,
		.rtt_ns = 1250000,
		.retransmits = NS_UNKNOWN,
		.missing = MISSING_NOT_VISIBLE,
	};
	if (state == SESSION_DOWN) {
		s.duration_ns = 3600000000000;
		s.end_real_ns = FIXTURE_START_NS + s.duration_ns;
		s.end_reason = "fin";
		s.ended_by = "server";
		s.retransmits = 2;
	}
	return &s;
}

void capture_begin(struct capture *c)
{
	*c = (struct capture){0};
	c->file = open_memstream(&c->data, &c->size);
	assert_non_null(c->file);
}

const char *capture_end(struct capture *c)
{
	assert_int_equal(fflush(c->file), 0);
	return c->data;
}

void capture_free(struct capture *c)
{
	fclose(c->file);
	free(c->data);
}
