#!/usr/bin/env bats
# SPDX-License-Identifier: BSD-2-Clause
# From registration to its end: what went over the session, the first login request and its answer, and who ended it how.

load helper

LIBRARY=1
# A process can be met too late for its first attempt (README, Limits): measured anew then.
BATS_TEST_RETRIES=3

setup() {
	e2e_setup
	LABS+=("$NAME")
}
teardown() { e2e_teardown; }

SERVERS=(prosody ejabberd)
LOGIN="<iq type='get' id='login-request-1' from='callbridge2.example.com' to='callbridge.example.com'><query xmlns='jabber:iq:auth'/></iq>"
ANSWER_MS=60

session() { # up|down FILTER: true of the one session of the first client
	lines session | jq -es --arg state "$1" --argjson pid "$FIRST" "map(select(.pid == \$pid and .state == \$state)) | length == 1 and (.[0] | $2)" >/dev/null || {
		echo "not true of the session that is $1: $2" >&2
		return 1
	}
}

session_start() { # CLIENT-ARG…: registered, and its session told
	client_start --stay 30000 "$@"
	FIRST=$CLIENT_PID
	wait_for 10 client_did register
	wait_for 5 has_lines session 1
	session up '.registered and .component == "callbridge.example.com" and .domain == "example.com" and .port == 5223 and .end == null'
}

session_over() { # REASON BY
	wait_for 10 has_lines session 2
	session down ".end_reason == \"$1\" and .ended_by == \"$2\" and .duration_ns > 0 and .bytes_in > 0 and .bytes_out > 0"
}

first_login_of() { # CLIENT-ARG…
	local server
	for server in "${SERVERS[@]}"; do
		lab_again --xmpp "$server"
		cbtrace_start watch --json
		session_start --answer --answer-delay $ANSWER_MS "$@"
		"$LAB" client "$NAME" --id callbridge2 --send "$LOGIN" --stay $((2 * ANSWER_MS)) >"$BATS_TEST_TMPDIR/asker" 3>&-
		wait_for 5 client_did answer
		kill "$FIRST"
		wait "$FIRST"
		wait_for 5 has_lines session 4
		cbtrace_stop
		# the client's own bracket is the inner one: after its read, before its write
		read -r begin end < <(client_lines answer | jq -r '"\(.begin) \(.end)"')
		session down ".first_login.response_ns >= $((end - begin)) and .first_login.response_ns < $((end - begin + 5000000)) and
			.first_login.at > .start and .first_login.at <= .last_inbound and .stanzas_in == 1 and .stanzas_out == 1 and .registered"
		# the answer came to who had asked
		[ "$(jq -s 'map(select(.call == "stay"))[0].received > 0' "$BATS_TEST_TMPDIR/asker")" = true ]
	done
}

@test "the first login request and the time to its answer: blocking" {
	first_login_of --mode blocking
}

@test "the first login request and the time to its answer: memory BIOs" {
	first_login_of --mode membio
}

@test "a login request that nobody answers" {
	lab_again
	cbtrace_start watch --json
	session_start
	"$LAB" client "$NAME" --id callbridge2 --send "$LOGIN$LOGIN" --stay 100 >"$BATS_TEST_TMPDIR/asker" 3>&-
	kill "$FIRST"
	wait "$FIRST"
	wait_for 5 has_lines session 4
	cbtrace_stop
	session down '.first_login.at != null and .first_login.response_ns == null and .stanzas_in == 2 and .stanzas_out == 0'
}

@test "slixmpp and Node answer with an error, which is an answer" {
	for program in slixmpp node; do
		"$ROOT/tests/lab/clients/command" $program >/dev/null 2>&1 3>&- || continue
		lab_again
		cbtrace_start watch --json
		other_start $program --stay 5000
		FIRST=$CLIENT_PID
		wait_for 10 client_did register
		"$LAB" client "$NAME" --id callbridge2 --send "$LOGIN" --stay 200 >"$BATS_TEST_TMPDIR/asker" 3>&-
		kill "$FIRST"
		wait "$FIRST" || true
		wait_for 5 has_lines session 4
		cbtrace_stop
		session down '.first_login.response_ns > 0 and .stanzas_in == 1 and .stanzas_out == 1 and .registered'
	done
}

@test "keep-alives are no stanzas, yet bytes" {
	lab_again
	cbtrace_start watch --json
	session_start --keepalive 50 --stay 1000
	wait "$FIRST"
	wait_for 5 has_lines session 2
	cbtrace_stop
	session down '.stanzas_in == 0 and .stanzas_out == 0 and .first_login == null and .registered'
}

@test "the client ends it: close_notify, end of stream, FIN, RST" {
	for server in "${SERVERS[@]}"; do
		for how in "shutdown close_notify" "stream stream_closed" "fin fin" "reset reset"; do
			lab_again --xmpp "$server"
			cbtrace_start watch --json
			session_start --close "${how% *}"
			kill "$FIRST"
			wait "$FIRST"
			session_over "${how#* }" client
			cbtrace_stop
		done
	done
}

@test "the client's process ends: by itself, killed" {
	lab_again
	cbtrace_start watch --json
	session_start --close exit
	kill "$FIRST"
	wait "$FIRST"
	session_over process_exit process
	cbtrace_stop

	lab_again
	cbtrace_start watch --json
	session_start --mode membio
	kill -KILL "$FIRST"
	session_over process_exit process
	cbtrace_stop
}

# Prosody says close_notify and FIN, and answers the client's own close_notify with a RST: by then it was over.
@test "the server ends it: Prosody and ejabberd stop" {
	for server in "${SERVERS[@]}"; do
		lab_again --xmpp "$server"
		cbtrace_start watch --json
		session_start
		lab fault end xmpp
		wait "$FIRST"
		wait_for 10 has_lines session 2
		cbtrace_stop
		session down '.ended_by == "server" and (.end_reason | IN("stream_error:system_shutdown", "stream_closed", "close_notify", "fin"))'
		lines attempt | jq -es 'length == 1 and .[0].outcome == "registered"' >/dev/null
	done
}

@test "the server's host resets the connection" {
	for server in "${SERVERS[@]}"; do
		lab_again --xmpp "$server"
		cbtrace_start watch --json
		session_start --mode nonblocking
		lab fault cut
		wait "$FIRST" || true
		session_over reset server
		cbtrace_stop
	done
}
