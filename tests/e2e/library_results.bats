#!/usr/bin/env bats
# SPDX-License-Identifier: BSD-2-Clause
# What becomes of a registration that does not go well, on both servers: refused credentials, an unknown component, a name that is taken, a client
# certificate that is missing, a server that hides its alert behind encryption.

load helper

LIBRARY=1
# A process can be met too late for its first attempt (README, Limits): measured anew then.
BATS_TEST_RETRIES=3

setup() {
	e2e_setup
	LABS+=("$NAME")
}
teardown() { e2e_teardown; }

observed_start() { # [options of lab start]
	lab_again "$@"
	cbtrace_start watch --json --events
}

observed_end() { # N attempts
	wait_for 5 has_lines attempt "$1"
	cbtrace_stop
	[ "$CBTRACE_STATUS" = 0 ] || { echo "status $CBTRACE_STATUS" >&2; return 1; }
	[ "$(lines attempt | wc -l)" = "$1" ]
}

# Of the attempt: how it ended, and what the registration came to.
result() { # [NTH]
	# in the order of their beginnings: a failure is told at once, a success when it has settled
	lines attempt | jq -cs --argjson n "${1:-1}" 'sort_by(.start)[$n - 1] | [.outcome, .failed_phase, .reason, .registration.component]'
}

# A refusal is an answer, on the timeline like any other.
refusal_is_whole() { # CONDITION
	lines attempt | jq -e --arg condition "$1" '.complete and .missing == [] and .timeline[-1].phase == "register" and
		(.registration.protocol == "xep0114" or $condition == "host-unknown") and .registration.result == "failure" and
		.registration.error == ($condition | gsub("-"; "_")) and
		.registration.duration_ns > 0 and ([.timeline[] | .end_ns - .start_ns] | add) == .total_ns and .certificate.domain_match' >/dev/null
	lines attempt | "$BATS_TEST_DIRNAME/brackets" all "$CLIENT_OUT"
	[ "$(lines session | wc -l)" = 0 ]
}

refused() { # LAB-OPTIONS CLIENT-OPTIONS COMPONENT CONDITION
	local mode tls=1.3
	for mode in blocking nonblocking membio; do
		# shellcheck disable=SC2086 # several words
		observed_start $1 --tls "$tls"
		# shellcheck disable=SC2086
		not client --mode "$mode" $2
		[ "$(client_lines "done" | jq -r .result)" = failed ]
		observed_end 1
		[ "$(result)" = "[\"failed\",\"register\",\"${4//-/_}\",\"$3.example.com\"]" ]
		refusal_is_whole "$4"
		tls=1.2
	done
}

@test "Prosody: a wrong secret" {
	refused "" "--secret wrong" callbridge not-authorized
}

@test "ejabberd: a wrong secret" {
	refused "--xmpp ejabberd" "--secret wrong" callbridge not-authorized
}

@test "Prosody: an unknown component" {
	refused "" "--id nobody" nobody host-unknown
}

@test "ejabberd: an unknown component" {
	refused "--xmpp ejabberd" "--id nobody" nobody not-authorized
}

@test "slixmpp and Node are refused too" {
	for program in slixmpp node; do
		"$ROOT/tests/lab/clients/command" $program >/dev/null 2>&1 3>&- || continue
		for server in prosody ejabberd; do
			observed_start --xmpp $server
			not other $program --secret wrong
			observed_end 1
			[ "$(result)" = '["failed","register","not_authorized","callbridge.example.com"]' ]
			refusal_is_whole not-authorized
		done
	done
}

@test "Prosody: conflict, though the secret was right" {
	observed_start
	client_start --stay 30000
	wait_for 5 client_did register
	not client --mode membio
	observed_end 2
	[ "$(result 1)" = '["registered",null,null,"callbridge.example.com"]' ]
	[ "$(result 2)" = '["failed","register","conflict","callbridge.example.com"]' ]
	lines attempt | jq -es 'sort_by(.start)[1].registration | .error == "conflict" and .result != "success"' >/dev/null
	# the first one's session is not touched by it
	[ "$(lines session | jq -r .state | head -n 1)" = up ]
	is_running "$CLIENT_PID"
}

@test "ejabberd: takes a second registration of the same name" {
	observed_start --xmpp ejabberd
	client_start --stay 30000
	wait_for 5 client_did register
	client --mode membio
	observed_end 2
	[ "$(result 1)" = '["registered",null,null,"callbridge.example.com"]' ]
	[ "$(result 2)" = '["registered",null,null,"callbridge.example.com"]' ]
}

@test "Prosody, kick_old: the second is registered, the first ends with conflict" {
	observed_start --kick-old
	client_start --stay 30000
	first=$CLIENT_PID
	wait_for 5 client_did register
	client --mode membio
	wait "$first"
	wait_for 5 has_lines session 4
	observed_end 2
	[ "$(result 1)" = '["registered",null,null,"callbridge.example.com"]' ]
	[ "$(result 2)" = '["registered",null,null,"callbridge.example.com"]' ]
	[ "$(lines session | jq -r --argjson pid "$first" 'select(.pid == $pid and .state == "down") | [.end_reason, .ended_by] | join(" ")')" = "stream_error:conflict server" ]
}

# TLS 1.3 lets the handshake succeed, and who reads gets the alert. Prosody resets the connection right behind it, so who writes first may get
# no more than that. TLS 1.2 fails in the handshake.
@test "Prosody demands a client certificate" {
	for mode in blocking nonblocking membio; do
		observed_start --client-cert --tls 1.3
		client --mode $mode --no-register --stay 5000
		client_lines stay | grep -q EPROTO
		observed_end 1
		lines attempt | jq -e '.outcome == "failed" and .failed_phase == "register" and .reason == "alert_received:certificate_required" and
			.tls.alert == "received:certificate_required" and .tls.client_cert_requested != false and .certificate.evidence == "library"' >/dev/null
		[ "$(lines session | wc -l)" = 0 ]
	done
	observed_start --client-cert --tls 1.3
	not client
	observed_end 1
	lines attempt | jq -e '.outcome == "failed" and .failed_phase == "register" and
		(.reason | IN("alert_received:certificate_required", "reset", "closed_by_server"))' >/dev/null
	observed_start --client-cert --tls 1.2
	not client
	observed_end 1
	lines attempt | jq -e '.outcome == "failed" and .failed_phase == "tls" and .reason == "alert_received:handshake_failure" and
		.tls.client_cert_requested' >/dev/null
}

# Its alert is encrypted under TLS 1.3 where the client says so after the server's keys are set (Node); OpenSSL says it in plain.
@test "a certificate that the client refuses: what the library says of it" {
	for variant in "no-domain san_domain_missing" "expired expired" "unknown-ca untrusted" "self-signed self_signed"; do
		observed_start --tls 1.3 --cert "${variant% *}"
		not client --mode membio
		observed_end 1
		lines attempt | jq -e --arg reason "${variant#* }" '.outcome == "failed" and .failed_phase == "tls" and .reason == $reason and
			.certificate.evidence == "library" and (.tls.alert | startswith("sent:")) and .registration == null' >/dev/null
	done
}

unread_at_server() {
	lab exec xmpp ss -Htn state established '( sport = :5223 )' | awk '$1 > 0' | grep -q .
}

# The server is frozen between TLS and the registration, so that nothing answers the stream.
unanswered_start() { # SERVER
	observed_start --xmpp "$1" --tls 1.3
	client_start --mode nonblocking --timeout 60000 --pause 500
	wait_for 10 client_did tls
	lab fault freeze xmpp
	[ "$(client_lines stream | wc -l)" = 0 ]
	wait_for 5 unread_at_server
}

@test "the server goes while the registration waits" {
	for server in prosody ejabberd; do
		unanswered_start $server
		lab fault kill xmpp
		not client_wait
		observed_end 1
		lines attempt | jq -e '.outcome == "failed" and .failed_phase == "register" and (.reason | IN("reset", "closed_by_server")) and
			.registration.result != "success" and .complete' >/dev/null
	done
}

@test "the client is killed while the registration waits" {
	unanswered_start prosody
	kill -KILL "$CLIENT_PID"
	observed_end 1
	lines attempt | jq -e '.outcome == "abandoned" and .failed_phase == "register" and .reason == "process_exit" and .registration.result != "success"' >/dev/null
}

@test "the client gives up while the registration waits" {
	unanswered_start prosody
	kill "$CLIENT_PID"
	not client_wait
	observed_end 1
	lines attempt | jq -e '.outcome == "failed" and .failed_phase == "register" and .reason == "gave_up" and .registration.result != "success"' >/dev/null
}

@test "Nagle and a delayed ACK: Prosody with TLS 1.3, every time; not with TLS 1.2, without Nagle, or ejabberd" {
	observed_start --tls 1.3 --nagle
	client --attempts 5
	observed_end 5
	lines attempt | jq -es 'all(.outcome == "registered" and (.findings | map(select(.code == "nagle_delayed_ack" and .phase == "register")) |
		length == 1 and (.[0].cost_ns > 30e6 and .[0].cost_ns < 60e6)))' >/dev/null
	for options in "--tls 1.2 --nagle" "--tls 1.3" "--tls 1.3 --xmpp ejabberd" "--tls 1.2 --xmpp ejabberd"; do
		# shellcheck disable=SC2086 # several words
		observed_start $options
		client --attempts 5
		observed_end 5
		lines attempt | jq -es 'all(.outcome == "registered" and (.findings | map(.code) | index("nagle_delayed_ack") | not))' >/dev/null
	done
}
