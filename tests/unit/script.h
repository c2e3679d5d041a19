/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Scripted events for replay tests: a fake clock, sockets by number, and just enough DNS and TLS to speak like a client
 * and a server. Every function appends one event (or a few) at the current time of the script and hands it to the
 * correlator. What the correlator reports is kept as JSON lines, so that tests read what a user reads.
 */
#ifndef CBTRACE_TEST_SCRIPT_H
#define CBTRACE_TEST_SCRIPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "correlate.h"
#include "report.h"

#define MS	     1000000ULL
#define SCRIPT_START 1000000000000ULL /* ns; far from 0, so that a forgotten time shows */

struct script;

/* Config may be NULL: port 5223, nothing else. */
struct script *script_new(const struct correlate_config *config);
void script_free(struct script *s);

/* Whose events the next calls make. */
void script_process(struct script *s, uint32_t tgid, uint32_t tid, const char *comm);
void script_wait(struct script *s, uint64_t ns); /* time passes */
void script_tick(struct script *s);		 /* the source is idle: nothing before now comes any more */
void script_finish(struct script *s);		 /* END */
uint64_t script_now(const struct script *s);

/* DNS over UDP. @answers: "SRV prio weight port target", "A 192.0.2.1", "AAAA ::1", "CNAME x", separated by ';'. */
void script_query(struct script *s, uint64_t cookie, uint16_t id, const char *type, const char *name,
		  const char *resolver);
void script_answer(struct script *s, uint64_t cookie, uint16_t id, const char *type, const char *name, int rcode,
		   const char *answers, const char *resolver);
void script_answer_truncated(struct script *s, uint64_t cookie, uint16_t id, const char *type, const char *name,
			     const char *resolver);

/* TCP. */
void script_connect(struct script *s, uint64_t cookie, const char *addr, uint16_t port, int why);
void script_segment(struct script *s, uint64_t cookie, int dir, int flags, const void *data, size_t len);
void script_syn(struct script *s, uint64_t cookie);
void script_syn_ack(struct script *s, uint64_t cookie);
void script_state(struct script *s, uint64_t cookie, int old_state, int new_state, int err);
void script_release(struct script *s, uint64_t cookie);
/* The last holder of a connection closes it: the release, and then what that makes the kernel do. */
void script_close(struct script *s, uint64_t cookie);
void script_exit(struct script *s, uint32_t tgid);
void script_exec(struct script *s, const char *comm);
void script_proc(struct script *s, uint32_t flags, const char *cgroup);
/* Told now: between now and @ns later @count events are lost. */
void script_lost(struct script *s, unsigned int stage, uint64_t count, uint64_t ns);

/* Events of the TLS library, of connection @conn. */
/* The ClientHello of socket @cookie, whose random is the cookie's low byte 32 times. */
void script_lib_hello(struct script *s, uint64_t conn, uint64_t cookie);
void script_lib_cert(struct script *s, uint64_t conn, uint16_t index, const void *der, size_t len);
void script_lib_error(struct script *s, uint64_t conn, int reason, int verify);
/* @name as the event has it; "stream" opens one, with @more as its address; of others @more is the child. */
void script_lib_element(struct script *s, uint64_t conn, int dir, const char *name, const char *more);
void script_lib_stanza(struct script *s, uint64_t conn, int dir, const char *name, int type, uint64_t id);
void script_lib_iq(struct script *s, uint64_t conn, int dir, int type, uint64_t id, const char *child);
/* What has no name: CBT_ELEMENT_SPACE, _GAP, _NOT_XML, _STREAM_CLOSE. */
void script_lib_told(struct script *s, uint64_t conn, int dir, int kind);
void script_lib_close(struct script *s, uint64_t conn, int how);
void script_lib_proc(struct script *s, int library_state);

/* TLS messages, each as one segment. Version 0x0303 or 0x0304. */
void script_client_hello(struct script *s, uint64_t cookie, const char *sni);
void script_server_hello(struct script *s, uint64_t cookie, uint16_t version); /* 1.3: the whole flight */
void script_server_flight12(struct script *s, uint64_t cookie); /* ServerHelloDone after script_server_hello(0x0303) */
void script_client_finished(struct script *s, uint64_t cookie, uint16_t version);
void script_server_finished12(struct script *s, uint64_t cookie);
void script_record(struct script *s, uint64_t cookie, int dir, int type, const void *body, size_t len);
void script_alert(struct script *s, uint64_t cookie, int dir, int level, int description);
void script_app(struct script *s, uint64_t cookie, int dir, size_t len); /* application data */

/* A whole good connection on a connected socket: SYN … Finished (TLS 1.3), @rtt between. */
void script_handshake(struct script *s, uint64_t cookie, const char *sni, uint64_t rtt);

/* Reports so far: @kind "attempt", "session", … the @index-th of it as JSON text; NULL if there is none. */
const char *script_report(const struct script *s, const char *kind, size_t index);
/* The same events, without a tick between them: the reports must be the same, byte for byte. Aborts if they are not. */
void script_check_replay(const struct script *s);
/* All of them, one a line. */
const char *script_text(const struct script *s);
size_t script_reports(const struct script *s, const char *kind);
/* Cookies whose tap was declared done. */
bool script_tap_done(const struct script *s, uint64_t cookie);
size_t script_in_flight(const struct script *s);
struct correlator *script_correlator(struct script *s);
/* All events so far, to feed them anew; @ret_size in bytes. */
const uint8_t *script_events(const struct script *s, size_t *ret_size);

/*
 * The value at a path like "legs.0.result" of a JSON line, as text without quotes; "" if it is not there. Static
 * buffer: one call at a time. Enough for tests on JSON that cbtrace wrote itself, no parser for anybody else's.
 */
const char *json_at(const char *json, const char *path);

#endif
