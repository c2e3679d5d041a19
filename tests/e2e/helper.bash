# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash
# What the end-to-end tests share: a lab and a cbtrace per test, under names of their own, gone after it. Use:
#
#	load helper
#	setup() { e2e_setup; }
#	teardown() { e2e_teardown; }
#
#	@test "…" {
#		lab_start --tls 1.3
#		cbtrace_start watch --json
#		client --domain example.com
#		cbtrace_stop
#		[ "$(lines attempt | jq -r .outcome)" = connected ]
#	}
#
# Files of a test are in $BATS_TEST_TMPDIR; background processes get 3>&-, or bats waits for them for ever.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
BUILD=${BUILD:-build}
case $BUILD in /*) ;; *) BUILD=$ROOT/$BUILD ;; esac
export BUILD
CBTRACE=${CBTRACE:-$ROOT/cbtrace}
LAB=$ROOT/tests/lab/lab

e2e_setup() {
	[ "$(id -u)" = 0 ] || skip "needs root"
	grep -q ' - cgroup2 ' /proc/self/mountinfo || skip "needs a cgroup2 mount"
	[ -x "$CBTRACE" ] || { echo "no $CBTRACE (make)" >&2; return 1; }
	NAME=t$$-$BATS_TEST_NUMBER-$RANDOM
	OUT=$BATS_TEST_TMPDIR/out ERR=$BATS_TEST_TMPDIR/err
	CLIENT_OUT=$BATS_TEST_TMPDIR/client
	CAPTURE=$BATS_TEST_TMPDIR/capture.pcap
	E2E_PIDS=() LABS=()
	CBTRACE_PID='' CLIENT_PID='' CAPTURE_PID=''
	: >"$CLIENT_OUT"
}

# What a failed test left in its files is the best explanation; bats shows it only then.
e2e_teardown() {
	local pid name
	for pid in "${E2E_PIDS[@]}"; do
		kill -KILL "$pid" 2>/dev/null || true
		wait "$pid" 2>/dev/null || true
	done
	for name in "${LABS[@]}"; do
		"$LAB" stop "$name"
	done
	if [ -z "${BATS_TEST_COMPLETED-}" ]; then
		for name in "$ERR" "$OUT" "$CLIENT_OUT" "$BATS_TEST_TMPDIR/other"; do
			[ ! -s "$name" ] || { echo "== ${name##*/}"; tail -n 40 "$name" | cut -c1-6000; }
		done
	fi
}

# --- checks ---

# What must fail: to bats a line that begins with ! is no check.
not() {
	! "$@"
}

# --- waiting ---

wait_for() { # SECONDS CONDITION…
	local deadline=$((SECONDS + $1))
	shift
	until "$@"; do
		if [ $SECONDS -ge $deadline ]; then
			echo "waited in vain for: $*" >&2
			return 1
		fi
		sleep 0.02
	done
}

is_running() { # PID; a zombie is not
	local stat
	stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
	[[ ${stat##*) } != Z* ]]
}

has_lines() { # KIND N: at least so many lines of that kind in $OUT
	[ "$(lines "$1" | wc -l)" -ge "$2" ]
}

# --- lab ---

lab_start() { # [options of lab start]
	LABS+=("$NAME")
	"$LAB" start "$NAME" "$@" 3>&-
}

# A second lab beside the first; its name is $1 appended.
lab_start_other() { # SUFFIX [options]
	local name=$NAME$1
	shift
	LABS+=("$name")
	"$LAB" start "$name" "$@" 3>&-
}

lab_cgroup() { # [SUB]
	"$LAB" cgroup "$NAME" "${1-}"
}

# The next one of a test that needs several, one after the other.
lab_again() { # [options of lab start]
	"$LAB" stop "$NAME"
	: >"$CLIENT_OUT"
	"$LAB" start "$NAME" "$@" 3>&-
}

lab() { # fault drop xmpp1 · delay 10 · exec cb CMD… : as `lab COMMAND NAME …`
	local command=$1
	shift
	"$LAB" "$command" "$NAME" "$@" 3>&-
}

# --- the client ---

client() { # [SUB] ARG…: to the end; its lines are added to $CLIENT_OUT, its status is returned
	"$LAB" client "$NAME" "$@" >>"$CLIENT_OUT" 3>&-
}

client_start() { # [SUB] ARG…: in the background, pid in CLIENT_PID
	"$LAB" client "$NAME" "$@" >>"$CLIENT_OUT" 3>&- &
	CLIENT_PID=$!
	E2E_PIDS+=("$CLIENT_PID")
}

client_wait() { # status of the one in the background
	wait "$CLIENT_PID"
}

# --- other clients, of tests/lab/clients ---

other_needed() { # PROGRAM: without it the test is skipped, and says why
	local why
	why=$("$ROOT/tests/lab/clients/command" "$1" 2>&1 >/dev/null 3>&-) || skip "$1: ${why##*$'\n'}"
}

other() { # PROGRAM ARG…: to the end; as client
	"$LAB" other "$NAME" "$@" >>"$CLIENT_OUT" 2>>"$BATS_TEST_TMPDIR/other" 3>&-
}

other_start() { # PROGRAM ARG…: in the background, pid in CLIENT_PID
	"$LAB" other "$NAME" "$@" >>"$CLIENT_OUT" 2>>"$BATS_TEST_TMPDIR/other" 3>&- &
	CLIENT_PID=$!
	E2E_PIDS+=("$CLIENT_PID")
}

client_lines() { # CALL
	jq -c --arg call "$1" 'select(.call == $call)' "$CLIENT_OUT"
}

client_did() { # CALL: it has made that call, and well
	client_lines "$1" | grep -q '"result":"ok"'
}

# --- cbtrace ---

# Watches the lab's cgroup unless a scope is given; returns when it is ready. What the tests of the wire say must hold where
# nothing looks into TLS; those with LIBRARY=1 look.
cbtrace_start() { # COMMAND ARG…
	local scope=(--cgroup "$(lab_cgroup)")
	case " $* " in *" --cgroup "* | *" --unit "* | *" --pid "*) scope=() ;; esac
	# An earlier one's "ready" must not be taken for this one's: the redirection below truncates only after the fork.
	rm -f "$OUT" "$ERR"
	[ "${LIBRARY-}" = 1 ] || scope+=(--no-library)
	"$CBTRACE" "$@" "${scope[@]}" >"$OUT" 2>"$ERR" 3>&- &
	CBTRACE_PID=$!
	E2E_PIDS+=("$CBTRACE_PID")
	wait_for "${READY_SECONDS:-10}" cbtrace_ready_or_gone
	grep -q '^cbtrace: ready' "$ERR" || { cat "$ERR" >&2; return 1; }
}

cbtrace_ready_or_gone() {
	grep -qs '^cbtrace: ready' "$ERR" || ! is_running "$CBTRACE_PID"
}

cbtrace_stop() { # [SIGNAL]: its exit status is in CBTRACE_STATUS, 0 is returned
	CBTRACE_STATUS=0
	kill "-${1:-INT}" "$CBTRACE_PID" 2>/dev/null || true
	wait_for 10 cbtrace_gone || return 1
	wait "$CBTRACE_PID" || CBTRACE_STATUS=$?
}

cbtrace_gone() {
	! is_running "$CBTRACE_PID"
}

lines() { # KIND: JSON lines of that kind
	jq -c --arg kind "$1" 'select(.kind == $kind)' "$OUT"
}

# --- an independent capture, at the client's interface (or lo) ---

capture_start() { # [INTERFACE]
	"$LAB" exec "$NAME" cb tcpdump -Z root --immediate-mode -B 8192 -s 0 --time-stamp-precision=nano -U -ni "${1:-eth0}" -w "$CAPTURE" \
		2>"$BATS_TEST_TMPDIR/tcpdump" 3>&- &
	CAPTURE_PID=$!
	E2E_PIDS+=("$CAPTURE_PID")
	wait_for 10 grep -qs 'listening on' "$BATS_TEST_TMPDIR/tcpdump"
}

capture_stop() {
	kill -INT "$CAPTURE_PID"
	wait "$CAPTURE_PID" || true
}
