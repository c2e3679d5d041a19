#!/usr/bin/env bats
# SPDX-License-Identifier: BSD-2-Clause
# Real clients register at real servers, and cbtrace sees it inside their TLS library: what was registered, the certificate that TLS 1.3 hides
# from the wire, and when, measured against the client's own clock. Of clients with another library the rest of the timeline is there.

load helper

LIBRARY=1
# A process can be met too late for its first attempt (README, Limits): measured anew then.
BATS_TEST_RETRIES=3

setup() {
	e2e_setup
	LABS+=("$NAME")
}
teardown() { e2e_teardown; }

attempt_has() { # FILTER…: each is true of the one attempt there is
	local filter
	for filter; do
		lines attempt | jq -es "length == 1 and (.[0] | $filter)" >/dev/null || {
			echo "TLS $VERSION: not true of the attempt: $filter" >&2
			return 1
		}
	done
}

# Each client once at each version of TLS, watched.
at_each_version() { # prosody|ejabberd CHECK CLIENT-COMMAND…
	local server=$1 check=$2
	shift 2
	for VERSION in 1.2 1.3; do
		lab_again --xmpp "$server" --tls "$VERSION"
		cbtrace_start watch --json
		"$@"
		wait_for 5 has_lines attempt 1
		wait_for 5 has_lines session 2
		cbtrace_stop
		[ "$CBTRACE_STATUS" = 0 ]
		client_lines "done" | jq -es 'length == 1 and .[0].result == "ok"' >/dev/null
		attempt_has '.tls.version == "TLSv'"$VERSION"'" and .complete and .domain == "example.com" and .server == "xmpp1.example.com"'
		"$check"
		lines attempt | "$BATS_TEST_DIRNAME/brackets" all "$CLIENT_OUT"
	done
}

registered() {
	attempt_has '.outcome == "registered" and .failed_phase == null and .reason == null and .missing == []' \
		'.registration.protocol == "xep0114" and .registration.component == "callbridge.example.com"' \
		'.registration.result == "success" and .registration.error == null' \
		'.certificate.subject == "CN=cbtrace lab good" and .certificate.issuer == "CN=cbtrace lab ca" and .certificate.chain_length == 1' \
		'.certificate.domain_match and .certificate.server_match and .certificate.self_signed == false' \
		'(["example.com", "xmpp1.example.com"] - .certificate.san) == []' \
		'.certificate.evidence == "library" or (.tls.version == "TLSv1.2" and .certificate.evidence == "wire")' \
		'.timeline[-1] as $last | $last.phase == "register" and $last.end_ns == .total_ns and
			.registration.start_ns == $last.start_ns and .registration.duration_ns == $last.end_ns - $last.start_ns' \
		'([.timeline[] | .phase] - ["wait"] | reduce .[] as $p ([]; if .[-1] == $p then . else . + [$p] end)) ==
			["srv", "address", "tcp", "tls", "register"]' \
		'([.timeline[] | .end_ns - .start_ns] | add) == .total_ns'
	lines session | jq -es 'map(.state) == ["up", "down"] and all(.registered == true and .component == "callbridge.example.com")' >/dev/null
}

@test "Prosody: C client, blocking" {
	at_each_version prosody registered client --mode blocking
}

@test "Prosody: C client, non-blocking" {
	at_each_version prosody registered client --mode nonblocking
}

@test "Prosody: C client, memory BIOs" {
	at_each_version prosody registered client --mode membio
}

@test "ejabberd: C client, blocking" {
	at_each_version ejabberd registered client --mode blocking
}

@test "ejabberd: C client, non-blocking" {
	at_each_version ejabberd registered client --mode nonblocking
}

@test "ejabberd: C client, memory BIOs" {
	at_each_version ejabberd registered client --mode membio
}

@test "Prosody: slixmpp" {
	other_needed slixmpp
	at_each_version prosody registered other slixmpp
}

@test "ejabberd: slixmpp" {
	other_needed slixmpp
	at_each_version ejabberd registered other slixmpp
}

@test "Prosody: Node, @xmpp/component" {
	other_needed node
	at_each_version prosody registered other node
}

@test "ejabberd: Node, @xmpp/component" {
	other_needed node
	at_each_version ejabberd registered other node
}

@test "Prosody: libstrophe" {
	other_needed strophe
	at_each_version prosody registered other strophe
}

@test "ejabberd: libstrophe" {
	other_needed strophe
	at_each_version ejabberd registered other strophe
}

# In a library that is not looked into.
connected() {
	attempt_has '.outcome == "connected" and .failed_phase == null and .reason == null and .registration == null' \
		'.missing == ["not_visible"]' \
		'if .tls.version == "TLSv1.2" then .certificate.evidence == "wire" and .certificate.domain_match and .certificate.server_match
			else .certificate == null end' \
		'[.timeline[] | .phase] - ["wait"] == ["srv", "address", "tcp", "tls"]' \
		'([.timeline[] | .end_ns - .start_ns] | add) == .total_ns' \
		'.legs[-1].result == "connected" and .tls.cipher != null and .tls.sni == "xmpp1.example.com"'
	lines session | jq -es 'map(.state) == ["up", "down"] and all(.registered == null and .component == null and .stanzas_in == null and
		(.missing | index("not_visible")))' >/dev/null
}

@test "Prosody: GnuTLS" {
	other_needed gnutls
	at_each_version prosody connected other gnutls
}

@test "ejabberd: GnuTLS" {
	other_needed gnutls
	at_each_version ejabberd connected other gnutls
}

@test "Prosody: Java" {
	other_needed java
	at_each_version prosody connected other java
}

@test "ejabberd: Java" {
	other_needed java
	at_each_version ejabberd connected other java
}

@test "what is odd about a client does not matter: writes of few bytes, another thread" {
	VERSION=1.3
	for odd in "--split 1" "--split 7 --mode membio" "--hand-over" "--hand-over --split 50 --mode nonblocking"; do
		lab_again --tls 1.3
		cbtrace_start watch --json
		# shellcheck disable=SC2086 # several words
		client $odd
		wait_for 5 has_lines session 2
		cbtrace_stop
		registered
		lines attempt | "$BATS_TEST_DIRNAME/brackets" all "$CLIENT_OUT"
	done
}

@test "a process that is there before cbtrace" {
	VERSION=1.3
	lab_again --tls 1.3
	client_start --attempts 2 --on-signal
	wait_for 5 client_did register
	cbtrace_start watch --json
	kill -USR1 "$CLIENT_PID"
	client_wait
	wait_for 5 has_lines session 2
	cbtrace_stop
	registered
}
