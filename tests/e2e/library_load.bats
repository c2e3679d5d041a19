#!/usr/bin/env bats
# SPDX-License-Identifier: BSD-2-Clause
# Many at once, and at once after their start: none is missed and none is taken for another.

load helper

LIBRARY=1
# A process can be met too late for its first attempt (README, Limits): measured anew then.
BATS_TEST_RETRIES=3

setup() { e2e_setup; }
teardown() { e2e_teardown; }

PROCESSES=8
EACH=25
QUICK=50

component() { # NUMBER, from 1
	[ "$1" = 1 ] && echo callbridge || echo "callbridge$1"
}

# One or two of fifty processes are met some 0.1 ms too late, which is no reason to call the other forty-eight wrong: so many may say that they
# were not seen, and nothing else.
MISSES=3

# All of them: registered, whole, seen from inside.
all_registered() { # N [the server's address is configured, which [how many may be unseen]]
	local unseen='["connected",null,null,["not_visible"],null,null]'
	[ "$(lines attempt | wc -l)" = "$1" ]
	lines attempt | jq -c --arg address "${2-}" 'select((.outcome == "registered" and .complete and .registration.result == "success" and
		.certificate.domain_match and (.certificate.server_match or $address != "") and .certificate.evidence == "library") | not) |
		[.pid, .outcome, .failed_phase, .reason, .missing, .registration, .certificate.evidence]' >"$BATS_TEST_TMPDIR/odd"
	cat "$BATS_TEST_TMPDIR/odd"
	[ "$(jq -c '.[1:]' "$BATS_TEST_TMPDIR/odd" | grep -cvxF "$unseen")" = 0 ]
	[ "$(wc -l <"$BATS_TEST_TMPDIR/odd")" -le "${3-0}" ]
}

# Each attempt's component is the one its process had for its own.
none_mixed_up() {
	jq -sr 'map(select(.call == "register") | "\(.pid) \(.id)") | unique[]' "$CLIENT_OUT" | sort >"$BATS_TEST_TMPDIR/made"
	lines attempt | jq -sr 'map(select(.registration) | "\(.pid) \(.registration.component)") | unique[]' | sort >"$BATS_TEST_TMPDIR/seen"
	[ -s "$BATS_TEST_TMPDIR/seen" ]
	[ -z "$(comm -13 "$BATS_TEST_TMPDIR/made" "$BATS_TEST_TMPDIR/seen")" ]
	lines attempt | "$BATS_TEST_DIRNAME/brackets" all "$CLIENT_OUT"
}

registrations_in_a_row() { # SERVER
	local i pids=() modes=(blocking nonblocking membio)
	lab_start --xmpp "$1" --tls 1.3
	cbtrace_start watch --json
	for ((i = 1; i <= PROCESSES; i++)); do
		client_start --id "$(component $i)" --attempts $EACH --mode "${modes[i % 3]}"
		pids+=("$CLIENT_PID")
	done
	for i in "${pids[@]}"; do wait "$i"; done
	[ "$(client_lines register | jq -s 'map(select(.result == "ok")) | length')" = $((PROCESSES * EACH)) ]
	wait_for 20 has_lines attempt $((PROCESSES * EACH))
	cbtrace_stop
	all_registered $((PROCESSES * EACH))
	none_mixed_up
}

@test "Prosody: 200 registrations by eight processes" {
	registrations_in_a_row prosody
}

@test "ejabberd: 200 registrations by eight processes" {
	registrations_in_a_row ejabberd
}

# A process for each, which does nothing before but start: no DNS, so that the library is in use some ms after the exec.
@test "registered right after exec, each time" {
	lab_start --tls 1.3
	cbtrace_start watch --json --domain example.com
	for ((i = 0; i < QUICK; i++)); do
		client --server 2001:db8:2::2 --verify domain --id "$(component $((i % PROCESSES + 1)))"
	done
	wait_for 10 has_lines attempt $QUICK
	cbtrace_stop
	[ "$(lines attempt | jq -s 'map(.pid) | unique | length')" = $QUICK ]
	all_registered $QUICK 'has no name to be judged' $MISSES
	none_mixed_up
}

# A child that has all its parent had prepared: it is registered some 6 ms after the fork.
@test "registered right after fork, each time" {
	lab_start --tls 1.3
	cbtrace_start watch --json
	client --fork --attempts $QUICK
	wait_for 10 has_lines attempt $QUICK
	cbtrace_stop
	all_registered $QUICK '' $MISSES
	[ "$(lines attempt | jq -s 'map(.pid) | unique | length')" = $QUICK ]
	none_mixed_up
}

# The parent, a shell in scope, forks; its children become clients.
@test "registered right after fork and exec in scope, each time" {
	lab_start --tls 1.3
	cbtrace_start watch --json
	# shellcheck disable=SC2016 # for the inner shell
	"$LAB" run "$NAME" client sh -c 'n=0; while [ $n -lt '$QUICK' ]; do n=$((n + 1)); "$@" || exit 1; done' sh \
		"$BUILD/tests/lab/client" --ca "$BUILD/tests/lab/certs/ca.crt" >>"$CLIENT_OUT" 3>&-
	wait_for 10 has_lines attempt $QUICK
	cbtrace_stop
	all_registered $QUICK '' $MISSES
	none_mixed_up
}

# As event loops do: one thread has two connections in TLS at a time.
@test "one thread, two connections at once" {
	lab_start --tls 1.3
	cbtrace_start watch --json
	"$LAB" run "$NAME" client /usr/bin/python3 "$ROOT/tests/lab/clients/two_at_once.py" example.com example.net >"$CLIENT_OUT" 3>&-
	wait_for 5 has_lines attempt 2
	cbtrace_stop
	[ "$(lines attempt | jq -sr 'map("\(.domain) \(.outcome) \(.registration.component) \(.certificate.domain_match)") | sort | join("; ")')" = \
		"example.com registered callbridge.example.com true; example.net registered callbridge.example.net true" ]
}

# Whole-host scope: armed by the question, the connect, or the exec of what has asked before; here for a process that lives.
@test "the whole host as the scope: a process that has asked once is looked into when it tries again" {
	lab_start --tls 1.3
	"$CBTRACE" watch --json --domain example.com >"$OUT" 2>"$ERR" 3>&- &
	CBTRACE_PID=$!
	E2E_PIDS+=("$CBTRACE_PID")
	wait_for 10 cbtrace_ready_or_gone
	client --attempts 3 --interval 300
	wait_for 5 mine_are 3
	cbtrace_stop
	mine >"$BATS_TEST_TMPDIR/mine"
	[ "$(jq -sr 'map(.outcome) | .[1:] | unique | join(" ")' "$BATS_TEST_TMPDIR/mine")" = registered ]
	# the first is seen whole, or says what it lacks
	jq -es '.[0] | .outcome == "registered" or (.outcome == "connected" and (.missing | index("not_visible")))' "$BATS_TEST_TMPDIR/mine" >/dev/null
}

mine() {
	lines attempt | jq -c --argjson pid "$(client_lines "done" | jq .pid)" 'select(.pid == $pid)'
}

mine_are() { # N
	[ "$(mine | wc -l)" -ge "$1" ]
}
