#!/usr/bin/env bats
# SPDX-License-Identifier: BSD-2-Clause
# cbtrace killed in mid-attempt: the client does not notice, and nothing of ours stays in the kernel.

load helper

setup() { e2e_setup; }
teardown() { e2e_teardown; }

# The kernel's ids of what cbtrace holds, from its own descriptors: other instances may run beside it.
ids_held() { # prog_id|link_id|map_id
	cat "/proc/$CBTRACE_PID"/fdinfo/* 2>/dev/null | awk -v key="$1:" '$1 == key { print $2 }' | sort -un
}

# The list says one more thing than one failing look-up would: that it could be read.
ids_gone() { # prog|link|map IDS
	local left
	left=$(bpftool -j "$1" list | jq -r '.[].id') || return 1
	[ -z "$(comm -12 <(sort <<<"$left") <(sort <<<"$2"))" ]
}

nothing_of_cbtrace_stays() {
	wait_for 10 ids_gone prog "$PROGS"
	wait_for 10 ids_gone link "$LINKS"
	wait_for 10 ids_gone map "$MAPS"
	[ -z "$(bpftool -j cgroup tree "$(lab_cgroup)" | jq -r '.[]?.programs[]?.id')" ]
}

holds_ids() {
	PROGS=$(ids_held prog_id) LINKS=$(ids_held link_id) MAPS=$(ids_held map_id)
	[ "$(wc -l <<<"$PROGS")" -ge 8 ]
	[ "$(wc -l <<<"$LINKS")" -ge 8 ]
	[ "$(wc -l <<<"$MAPS")" -ge 4 ]
	[ -n "$(bpftool -j prog list | jq --argjson id "$(head -n 1 <<<"$PROGS")" '.[] | select(.id == $id)')" ]
}

cbtrace_kill() {
	local status=0
	kill -KILL "$CBTRACE_PID"
	wait "$CBTRACE_PID" || status=$?
	[ "$status" = 137 ]
}

@test "SIGKILL while the server does not answer TLS" {
	lab_start
	cbtrace_start watch --json --events
	lab fault freeze xmpp
	client_start --domain example.com --timeout 20000
	wait_for 10 client_did connect
	wait_for 10 has_lines leg 1
	holds_ids
	cbtrace_kill
	[ "$(client_lines tls | wc -l)" = 0 ]
	lab fault thaw xmpp
	client_wait
	client_did tls
	client_did register
	[ "$(jq -s 'all(.result == "ok" or .result == "over")' "$CLIENT_OUT")" = true ]
	nothing_of_cbtrace_stays
	# and the host is as before for the next one
	rm "$OUT" "$ERR"
	cbtrace_start watch --json
	client --domain example.com
	wait_for 5 has_lines attempt 1
	cbtrace_stop
	[ "$(lines attempt | jq -r .outcome)" = connected ]
}

@test "SIGKILL while the resolver does not answer" {
	lab_start
	cbtrace_start watch --json --events
	capture_start
	lab fault freeze dns
	client_start --domain example.com
	wait_for 10 grep -aq _xmpp-component "$CAPTURE"
	holds_ids
	cbtrace_kill
	[ ! -s "$CLIENT_OUT" ]
	lab fault thaw dns
	client_wait
	[ "$(jq -s 'all(.result == "ok" or .result == "over")' "$CLIENT_OUT")" = true ]
	client_did register
	nothing_of_cbtrace_stays
}

@test "SIGKILL of record leaves a recording that can be read up to there" {
	lab_start
	cbtrace_start record -o "$BATS_TEST_TMPDIR/recording" --json --events
	client --domain example.com
	wait_for 5 has_lines attempt 1
	lab fault freeze xmpp
	client_start --domain example.net --timeout 20000
	wait_for 10 has_lines leg 2
	holds_ids
	cbtrace_kill
	lab fault thaw xmpp
	client_wait
	client_did register
	nothing_of_cbtrace_stays

	status=0
	"$CBTRACE" replay --json "$BATS_TEST_TMPDIR/recording" >"$BATS_TEST_TMPDIR/replayed" 2>"$BATS_TEST_TMPDIR/replay-err" || status=$?
	[ "$status" = 2 ]
	[ "$(wc -l <"$BATS_TEST_TMPDIR/replay-err")" = 1 ]
	diff <(lines attempt | head -n 1) <(jq -c 'select(.kind == "attempt" and .domain == "example.com")' "$BATS_TEST_TMPDIR/replayed")
	# of the other one as much as had happened
	jq -es 'map(select(.kind == "attempt" and .domain == "example.net")) | length == 1 and .[0].complete == false and
		.[0].outcome == null and (.[0].missing | index("interrupted")) and .[0].legs[0].result == "connected"' \
		<"$BATS_TEST_TMPDIR/replayed" >/dev/null
}
