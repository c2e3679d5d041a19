#!/usr/bin/env bats
# SPDX-License-Identifier: BSD-2-Clause
# A good attempt on one timeline: what cbtrace says is what the client measured around its own calls and what tshark read from the wire at the same time.

load helper

setup() { e2e_setup; }
teardown() { e2e_teardown; }

ATTEMPTS=6

# What the very first packets cost (routes, code of both observers not in the cache) lies between the two: another process goes first, outside
# the cgroup that is watched, and one inside asks DNS. Neither must be reported.
path_warm() {
	lab exec cb "$BUILD/tests/lab/client" --ca "$BUILD/tests/lab/certs/ca.crt" --secret secret --domain example.com "$@" >"$BATS_TEST_TMPDIR/warm"
	lab run client getent ahosts nothing.example.net || true
}

attempts_observe() { # N ARG…: so many attempts, seen by cbtrace, the client and tcpdump; $BATS_TEST_TMPDIR/attempts has them
	local n=$1
	shift
	capture_start
	cbtrace_start watch --json
	path_warm "$@"
	client --domain example.com --attempts "$n" "$@"
	wait_for 10 has_lines attempt "$n"
	cbtrace_stop
	capture_stop
	[ "$CBTRACE_STATUS" = 0 ]
	lines attempt >"$BATS_TEST_TMPDIR/attempts"
	[ "$(wc -l <"$BATS_TEST_TMPDIR/attempts")" = "$n" ]
}

compare() {
	local status=0
	"$BATS_TEST_DIRNAME/compare" "$BATS_TEST_TMPDIR/attempts" "$CLIENT_OUT" "$CAPTURE" 5223 || status=$?
	# Differences alone: measured anew, twice at most. The machine's noise goes, an error of cbtrace comes back.
	[ $status != 75 ] || BATS_TEST_RETRIES=2
	return $status
}

all() { # FILTER: true for each attempt
	jq -es --argjson n "$(wc -l <"$BATS_TEST_TMPDIR/attempts")" --argjson pid "$(attempt_pid)" --argjson cert "$(certificate_dates)" \
		"length == \$n and all(.[]; $1)" "$BATS_TEST_TMPDIR/attempts" >/dev/null || {
		echo "not true of every attempt: $1" >&2
		return 1
	}
}

attempt_pid() {
	jq .pid "$BATS_TEST_TMPDIR/attempts" | sort -u
}

certificate_dates() {
	local start end
	start=$(openssl x509 -in "$BUILD/tests/lab/certs/good.crt" -noout -startdate)
	end=$(openssl x509 -in "$BUILD/tests/lab/certs/good.crt" -noout -enddate)
	jq -n --arg start "$(date -ud "${start#*=}" +%FT%T.000000000Z)" --arg finish "$(date -ud "${end#*=}" +%FT%T.000000000Z)" '{$start, $finish}'
}

attempts_are_good() { # TLS-VERSION
	all '.outcome == "connected" and .config == "srv" and .complete and .failed_phase == null and .reason == null'
	all '.domain == "example.com" and .server == "xmpp1.example.com" and .comm == "client" and .pid == $pid'
	all '([.lookups[] | .name + " " + .type] | sort) ==
		["_xmpp-component._tcp.example.com SRV", "xmpp1.example.com A", "xmpp1.example.com AAAA"]'
	all 'all(.lookups[]; .rcode == "NOERROR" and .queries == 1 and .resolver == "192.0.2.2:53" and .transport == "udp")'
	all '(.legs | length) == 1 and .legs[0].address == "2001:db8:2::2" and .legs[0].port == 5223 and .legs[0].result == "connected" and
		.legs[0].target == "xmpp1.example.com" and .legs[0].priority == 10 and .legs[0].weight == 60 and .legs[0].syn_sent == 1'
	all ".tls.version == \"TLSv$1\" and .tls.sni == \"xmpp1.example.com\" and .tls.alert == null and .tls.hello_retry == false"
	# network, server and client share the phase among them
	all '(.timeline[] | select(.phase == "tls")) as $tls | .tls.network_ns + .tls.server_ns + .tls.client_ns == $tls.end_ns - $tls.start_ns'
	all 'all(.timeline[] | select(.phase == "wait"); .owner == "client")'
}

certificate_is_from_wire() {
	all '.certificate.evidence == "wire" and .certificate.subject == "CN=cbtrace lab good" and .certificate.issuer == "CN=cbtrace lab ca"'
	all '.certificate.domain_match and .certificate.server_match and .certificate.self_signed == false'
	all '(["example.com", "xmpp1.example.com"] - .certificate.san) == []'
	all '.certificate.not_before == $cert.start and .certificate.not_after == $cert.finish'
}

full_handshakes() { # TLS-VERSION
	attempts_are_good "$1"
	all '.tls.resumed == false'
	case $1 in
	1.2) certificate_is_from_wire ;;
	1.3) all '.certificate == null and .missing == ["not_visible"]' ;;
	esac
	compare
}

@test "Prosody, TLS 1.2, blocking client" {
	lab_start --tls 1.2
	attempts_observe $ATTEMPTS --mode blocking
	full_handshakes 1.2
}

@test "Prosody, TLS 1.3, non-blocking client" {
	lab_start --tls 1.3
	attempts_observe $ATTEMPTS --mode nonblocking
	full_handshakes 1.3
}

@test "Prosody, TLS 1.2, memory BIOs" {
	lab_start --tls 1.2
	attempts_observe $ATTEMPTS --mode membio
	full_handshakes 1.2
}

@test "ejabberd, TLS 1.3, blocking client" {
	lab_start --xmpp ejabberd --tls 1.3
	attempts_observe $ATTEMPTS --mode blocking
	full_handshakes 1.3
}

@test "ejabberd, TLS 1.2, non-blocking client" {
	lab_start --xmpp ejabberd --tls 1.2
	attempts_observe $ATTEMPTS --mode nonblocking
	full_handshakes 1.2
	all '.tls.client_cert_requested'
}

@test "ejabberd, TLS 1.3, memory BIOs" {
	lab_start --xmpp ejabberd --tls 1.3
	attempts_observe $ATTEMPTS --mode membio
	full_handshakes 1.3
}

# The first attempt is full, the others resume it; so says the client, too.
resumed_handshakes() { # TLS-VERSION
	[ "$(client_lines tls | jq -sc 'map(.resumed)')" = "[false$(printf ',true%.0s' $(seq 2 $ATTEMPTS))]" ]
	attempts_are_good "$1"
	[ "$(jq -sc 'map(.tls.resumed)' "$BATS_TEST_TMPDIR/attempts")" = "$(client_lines tls | jq -sc 'map(.resumed)')" ]
	compare
}

@test "resumed, TLS 1.2: no certificate is sent" {
	lab_start --tls 1.2 --tickets
	attempts_observe $ATTEMPTS --resume --mode blocking
	resumed_handshakes 1.2
	all 'if .tls.resumed then .certificate == null and (.missing | sort) == ["not_sent", "not_visible"]
		else .certificate.evidence == "wire" and .missing == ["not_visible"] end'
}

@test "resumed, TLS 1.3" {
	lab_start --tls 1.3 --tickets
	attempts_observe $ATTEMPTS --resume --mode membio
	resumed_handshakes 1.3
	all '.certificate == null'
}

# How long a phase took, ms.
TOOK='def took($phase): [.timeline[] | select(.phase == $phase) | .end_ns - .start_ns] | add / 1e6;'

delayed() { # FILTER
	jq -es "$TOOK all(.[]; $1)" "$BATS_TEST_TMPDIR/attempts" >/dev/null || {
		jq -c "$TOOK [took(\"srv\"), took(\"address\"), took(\"tcp\"), took(\"tls\")]" "$BATS_TEST_TMPDIR/attempts"
		return 1
	}
}

@test "a delay of the wire shows in each phase, and is the network's" {
	lab_start --tls 1.2
	lab delay 10
	attempts_observe $ATTEMPTS
	attempts_are_good 1.2
	compare
	delayed 'took("srv") >= 20 and took("address") >= 20 and took("tcp") >= 20 and took("tls") >= 40'
	delayed '.tls.network_ns >= 40e6 and .legs[0].rtt_ns >= 20e6 and .legs[0].rtt_ns <= .legs[0].tcp_ns'
}

@test "a delay before the XMPP server does not show in DNS" {
	lab_start --tls 1.3
	lab delay 10 xmpp
	attempts_observe $ATTEMPTS
	attempts_are_good 1.3
	compare
	delayed 'took("tcp") >= 20 and took("tls") >= 20 and .tls.network_ns >= 20e6 and .slowest.owner != "resolver"'
	# Two processes on a busy machine may make DNS slow once, not every time.
	jq -es "$TOOK map(took(\"srv\") + took(\"address\")) | min < 10" "$BATS_TEST_TMPDIR/attempts"
}
