#!/usr/bin/env bats
# SPDX-License-Identifier: BSD-2-Clause
# Where cbtrace cannot run, one line says why and what to do, and the exit status tells usage from impossibility. What ends it in the middle
# of an attempt ends it cleanly.

load helper

setup() {
	e2e_setup
	WRAP=()
}
teardown() {
	if [ -n "${OPEN_DIR-}" ]; then rm -rf "$OPEN_DIR"; fi
	e2e_teardown
}

# Runs cbtrace (inside WRAP) and wants that status, nothing on stdout, exactly one line on stderr that matches and ends in a remedy.
refuses() { # STATUS REGEX ARG…
	local want=$1 regex=$2 status=0
	shift 2
	timeout 20 "${WRAP[@]}" "${PROGRAM:-$CBTRACE}" "$@" >"$OUT" 2>"$ERR" </dev/null || status=$?
	echo "cbtrace $*: status $status: $(cat "$ERR")"
	[ "$status" = "$want" ] && [ ! -s "$OUT" ] && [ "$(wc -l <"$ERR")" = 1 ] || return 1
	grep -Eq "^cbtrace: .*$regex" "$ERR" && grep -Eq '[;:?] [[:print:]…]+|`' "$ERR"
}

# Every live command, a private mount namespace around it: the host's own mounts stay.
refuse_all() { # REGEX
	refuses 2 "$1" watch
	refuses 2 "$1" watch --json --once
	refuses 2 "$1" record -o "$BATS_TEST_TMPDIR/recording"
	refuses 2 "$1" export --listen 127.0.0.1:0
	[ ! -e "$BATS_TEST_TMPDIR/recording" ]
}

# `check` says the same as a table, on stdout.
check_fails() { # ROW REGEX
	local status=0
	timeout 20 "${WRAP[@]}" "${PROGRAM:-$CBTRACE}" check >"$OUT" 2>"$ERR" </dev/null || status=$?
	cat "$OUT" "$ERR"
	[ "$status" = 2 ] && [ ! -s "$ERR" ] && grep -Eq "^FAIL +$1 +.*$2" "$OUT"
}

@test "without root" {
	OPEN_DIR=$(mktemp -d)
	chmod 755 "$OPEN_DIR"
	PROGRAM=$OPEN_DIR/cbtrace
	install -m 755 "$CBTRACE" "$PROGRAM"
	WRAP=(setpriv --reuid=65534 --regid=65534 --clear-groups)
	refuse_all 'not permitted: CAP_BPF CAP_PERFMON CAP_NET_ADMIN missing; .*root'
	check_fails privileges root
}

@test "root without one of the capabilities" {
	WRAP=(setpriv --bounding-set=-net_admin --inh-caps=-net_admin)
	refuse_all 'not permitted: CAP_NET_ADMIN missing; .*root'
}

@test "without BTF" {
	WRAP=(unshare --mount --propagation private sh -c 'mount -t tmpfs none /sys/kernel/btf && exec "$@"' sh)
	refuse_all '/sys/kernel/btf/vmlinux: .*; .*CONFIG_DEBUG_INFO_BTF'
	check_fails BTF CONFIG_DEBUG_INFO_BTF
}

@test "without cgroup2" {
	WRAP=(unshare --mount --propagation private sh -c '
		while dir=$(sed -n "s/^[^ ]* [^ ]* [^ ]* [^ ]* \([^ ]*\) .* - cgroup2 .*/\1/p" /proc/self/mountinfo | tail -n 1) && [ -n "$dir" ]; do
			umount -l "$dir" || exit 125
		done
		exec "$@"' sh)
	refuse_all 'no cgroup v2 file system is mounted; .*mount -t cgroup2'
	check_fails 'cgroup v2' 'mount -t cgroup2'
}

@test "a bad --cgroup" {
	lab_start --xmpp none
	refuses 2 'no such directory.*; .*--unit' watch --cgroup "$(lab_cgroup)/not-there"
	refuses 2 'no such directory.*; .*--unit' watch --cgroup /not/there
	refuses 2 'not a cgroup v2 directory; .*below' watch --cgroup "$(lab_cgroup)/cgroup.procs"
	refuses 2 'no such directory|not a cgroup v2 directory' watch --cgroup /tmp
	refuses 2 'no such directory|not a cgroup v2 directory' record -o "$BATS_TEST_TMPDIR/recording" --cgroup /etc/passwd
	[ ! -e "$BATS_TEST_TMPDIR/recording" ]
	refuses 1 'empty; ' watch --cgroup ""
	refuses 1 'longer than 1023' watch --cgroup "/$(printf 'a%.0s' {1..2000})"
}

@test "a --pid that is not there, an address in use, an output that cannot be" {
	lab_start --xmpp none
	refuses 2 'no such process; ' watch --cgroup "$(lab_cgroup)" --pid 4194304
	refuses 2 '--output|cannot|directory' record -o "$BATS_TEST_TMPDIR" --cgroup "$(lab_cgroup)"
	refuses 2 '' record -o /not/there/file --cgroup "$(lab_cgroup)"
	cbtrace_start export --listen 127.0.0.1:0
	port=$(grep -o '127\.0\.0\.1:[0-9]*' "$ERR")
	ERR=$BATS_TEST_TMPDIR/err2 OUT=$BATS_TEST_TMPDIR/out2 refuses 2 "$port" export --cgroup "$(lab_cgroup)" --listen "$port"
	cbtrace_stop
	[ "$CBTRACE_STATUS" = 0 ]
}

@test "wrong usage" {
	refuses 1 'unknown command' wacht
	refuses 1 'unknown or ambiguous option --nonsense' watch --nonsense
	refuses 1 'unknown option -Z' -Z
	refuses 1 '--port 0' watch --port 0
	refuses 1 '--port 65536' watch --port 65536
	refuses 1 '--port 5223x' watch --port 5223x
	refuses 1 '--port needs a value' watch --port
	refuses 1 '--domain' watch --domain 'exam ple.com'
	refuses 1 '--domain given twice' watch --domain a.example --domain b.example
	refuses 1 '--unit' watch --unit 'a/b'
	refuses 1 '--pid' watch --pid 0
	refuses 1 '--idle' watch --idle 0
	refuses 1 '--slow' watch --slow soon
	refuses 1 '--ring-size' watch --ring-size 12345
	refuses 1 '--listen' export --listen nowhere
	refuses 1 'has no option --listen' watch --listen 127.0.0.1:1
	refuses 1 '--json takes no value' watch --json=yes
	refuses 1 'what is surplus' watch surplus
	refuses 1 'record needs a file' record
	refuses 1 'replay needs a recording' replay
	# escapes of the command line do not reach the terminal
	refuses 1 'unknown command' $'\e[31mred\a'
	[ "$(tr -d '[:print:]\n' <"$ERR" | wc -c)" = 0 ]
}

@test "an output that has gone" {
	lab_start
	status=0
	"$CBTRACE" watch --json --events --cgroup "$(lab_cgroup)" >/dev/full 2>"$ERR" 3>&- &
	CBTRACE_PID=$!
	E2E_PIDS+=("$CBTRACE_PID")
	wait_for 10 cbtrace_ready_or_gone
	client --domain example.com
	wait_for 5 cbtrace_gone
	wait "$CBTRACE_PID" || status=$?
	[ "$status" = 2 ]
	[ "$(grep -vc '^cbtrace: ready' "$ERR")" = 1 ]
	grep -q 'No space left on device' "$ERR"
}

# An attempt that waits in the middle of TLS, and cbtrace that has seen it.
pending_attempt() { # WATCH-OPTION…
	lab_start
	cbtrace_start watch --json --events "$@"
	lab fault freeze xmpp
	client_start --domain example.com --timeout 20000
	wait_for 10 has_lines leg 1
}

# What is known of it is reported, as pending.
pending_reported() {
	[ "$(lines attempt | wc -l)" = 1 ]
	lines attempt | jq -e '.outcome == null and .failed_phase == null and .complete == false and (.missing | index("interrupted")) and
		.domain == "example.com" and (.lookups | length) == 3 and .legs[0].result == "connected" and .timeline[-1].end_ns == .total_ns' >/dev/null
	[ "$(wc -l <"$ERR")" = 1 ]
	lab fault thaw xmpp
	client_wait
}

@test "SIGINT ends watch cleanly" {
	pending_attempt
	cbtrace_stop INT
	[ "$CBTRACE_STATUS" = 0 ]
	pending_reported
}

@test "SIGTERM ends watch cleanly" {
	pending_attempt
	cbtrace_stop TERM
	[ "$CBTRACE_STATUS" = 0 ]
	pending_reported
}

@test "--once: 4, interrupted with one pending" {
	pending_attempt --once
	cbtrace_stop INT
	[ "$CBTRACE_STATUS" = 4 ]
	pending_reported
}

@test "--once: 4, interrupted with none" {
	lab_start --xmpp none
	cbtrace_start watch --json --once
	cbtrace_stop TERM
	[ "$CBTRACE_STATUS" = 4 ]
	[ ! -s "$OUT" ]
}

once_status() {
	CBTRACE_STATUS=0
	wait_for 10 cbtrace_gone
	wait "$CBTRACE_PID" || CBTRACE_STATUS=$?
	[ "$(lines attempt | wc -l)" = 1 ]
}

@test "--once: 0, and no further attempt" {
	lab_start
	cbtrace_start watch --json --once
	client --domain example.com --attempts 3
	once_status
	[ "$CBTRACE_STATUS" = 0 ]
	[ "$(lines attempt | jq -r .outcome)" = connected ]
}

@test "--once: 3, the attempt failed" {
	lab_start
	lab fault kill xmpp
	cbtrace_start watch --json --once
	client --domain example.com || true
	once_status
	[ "$CBTRACE_STATUS" = 3 ]
	[ "$(lines attempt | jq -r '[.outcome, .failed_phase, .reason] | @csv')" = '"failed","tcp","refused"' ]
}

@test "--once: 3, the attempt was abandoned" {
	lab_start
	cbtrace_start watch --json --once --events
	lab fault freeze xmpp
	client_start --domain example.com --timeout 20000
	wait_for 10 has_lines leg 1
	kill -KILL "$CLIENT_PID"
	once_status
	[ "$CBTRACE_STATUS" = 3 ]
	[ "$(lines attempt | jq -r '[.outcome, .failed_phase, .reason] | @csv')" = '"abandoned","tls","process_exit"' ]
}
