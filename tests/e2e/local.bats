#!/usr/bin/env bats
# SPDX-License-Identifier: BSD-2-Clause
# What runs beside the client on the same host, in scope, makes no attempt of its own: a DNS forwarder, and the server itself.

load helper

setup() { e2e_setup; }
teardown() { e2e_teardown; }

forwarder_start_again() {
	lab fault kill forwarder
	"$LAB" run "$NAME" server dnsmasq -C "$("$LAB" state "$NAME")/forwarder.conf" >"$BATS_TEST_TMPDIR/forwarder" 2>&1 3>&- &
	E2E_PIDS+=("$!")
	wait_for 5 forwarder_listens
}

forwarder_listens() {
	lab exec cb ss -Hlnu 'sport = :53' | grep -q .
}

# One attempt, the client's; each question went to the forwarder, and on from there.
one_attempt_through_forwarder() {
	wait_for 5 has_lines attempt 1
	cbtrace_stop
	[ "$(lines attempt | wc -l)" = 1 ]
	lines attempt | jq -e --argjson pid "$(client_lines "done" | jq .pid)" '.pid == $pid and .comm == "client" and .domain == "example.com" and
		.outcome == "connected" and .complete and ([.lookups[].type] | sort) == ["A", "AAAA", "SRV"] and
		all(.lookups[]; .resolver == "127.0.0.1:53" and .queries == 1 and (.upstream | length) == 1) and
		all(.lookups[]; . as $l | .upstream | all(
			.resolver == "192.0.2.2:53" and .rcode == "NOERROR" and .queries == 1 and
			.start_ns >= $l.start_ns and .start_ns + .duration_ns <= $l.start_ns + $l.duration_ns))' >/dev/null
}

@test "a forwarder that was there before cbtrace" {
	lab_start --forwarder
	cbtrace_start watch --json
	client --domain example.com
	one_attempt_through_forwarder
}

@test "a forwarder that starts after cbtrace" {
	lab_start --forwarder
	cbtrace_start watch --json
	forwarder_start_again
	client --domain example.com
	one_attempt_through_forwarder
}

@test "a recording through a forwarder replays the same" {
	lab_start --forwarder
	cbtrace_start record -o "$BATS_TEST_TMPDIR/recording" --json
	client --domain example.com
	one_attempt_through_forwarder
	"$CBTRACE" replay --json "$BATS_TEST_TMPDIR/recording" >"$BATS_TEST_TMPDIR/replayed"
	cmp "$OUT" "$BATS_TEST_TMPDIR/replayed"
}

@test "both ends on one host are one attempt" {
	lab_start --both-ends
	cbtrace_start watch --json --events
	client --domain example.com
	wait_for 5 has_lines session 2
	cbtrace_stop
	[ "$(lines attempt | wc -l)" = 1 ]
	[ "$(lines leg | wc -l)" = 1 ]
	lines attempt | jq -e --argjson pid "$(client_lines "done" | jq .pid)" '.pid == $pid and .comm == "client" and .outcome == "connected" and
		(.cgroup | endswith("/client")) and (.legs | length) == 1 and .legs[0].port == 5223 and
		(.legs[0].address == "::1" or .legs[0].address == "127.0.0.1")' >/dev/null
	lines session | jq -es --argjson pid "$(client_lines "done" | jq .pid)" 'length == 2 and map(.state) == ["up", "down"] and
		all(.pid == $pid and (.address == "::1" or .address == "127.0.0.1") and .port == 5223)' >/dev/null
}

@test "localhost, as the single-box example configures it" {
	lab_start --both-ends
	cbtrace_start watch --json
	client --domain example.com --server localhost --verify domain
	wait_for 5 has_lines attempt 1
	cbtrace_stop
	[ "$(lines attempt | wc -l)" = 1 ]
	lines attempt | jq -e '.config == "address" and .comm == "client" and .outcome == "connected" and .lookups == [] and
		(.legs[-1].address == "::1" or .legs[-1].address == "127.0.0.1") and .legs[-1].port == 5223' >/dev/null
}
