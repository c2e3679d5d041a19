#!/usr/bin/env bats
# SPDX-License-Identifier: BSD-2-Clause
# Which processes are looked into, and what it leaves behind: none out of scope, none with --no-library, nothing when it is over. A library that
# cannot be read is a miss that is told, never a failure.

load helper

LIBRARY=1
# A process can be met too late for its first attempt (README, Limits): measured anew then.
BATS_TEST_RETRIES=3

setup() {
	e2e_setup
	LABS+=("$NAME")
	COPIES=$BATS_TEST_TMPDIR/copies
}
teardown() { e2e_teardown; }

# Files of whose code a process has breakpoints, with their number.
breakpoints() { # PID
	"$BATS_TEST_DIRNAME/breakpoints" "$1"
}

has_breakpoints() { # PID
	[ -n "$(breakpoints "$1")" ]
}

has_none() { # PID
	[ -z "$(breakpoints "$1")" ]
}

# The definitions of cbtrace in the kernel's list, seen through a tracefs of our own.
definitions() {
	# shellcheck disable=SC2016 # for the inner shell
	unshare --mount --propagation private sh -c 'mount -t tracefs none "$1" && cat "$1/uprobe_events"' sh "$BATS_TEST_TMPDIR" |
		grep -E "cbtrace[^ /]*$1([^0-9]|$)" || true
}

client_stays() { # [SUB] CLIENT-ARG…
	client_start "$@" --stay 30000
	wait_for 10 client_did register
}

registered_of() { # PID: how many attempts of it were seen as registered
	lines attempt | jq -s --argjson pid "$1" 'map(select(.pid == $pid and .outcome == "registered")) | length'
}

@test "a process out of scope has no breakpoint in it, one in scope has" {
	lab_again
	cbtrace_start watch --json --cgroup "$(lab_cgroup client)"
	client_stays elsewhere --id callbridge2
	elsewhere=$CLIENT_PID
	: >"$CLIENT_OUT"
	client_stays client
	wait_for 5 has_lines attempt 1
	has_breakpoints "$CLIENT_PID"
	breakpoints "$CLIENT_PID"
	[ -z "$(breakpoints "$elsewhere")" ]
	[ -z "$(breakpoints $$)" ]
	kill "$elsewhere" "$CLIENT_PID"
	wait "$elsewhere" "$CLIENT_PID"
	cbtrace_stop
	[ "$(lines attempt | wc -l)" = 1 ]
	[ "$(registered_of "$CLIENT_PID")" = 1 ]
}

@test "of a process that was in scope before, too; and when cbtrace ends, none is left" {
	for signal in INT TERM KILL; do
		lab_again
		client_stays client
		has_none "$CLIENT_PID"
		cbtrace_start watch --json
		wait_for 5 has_breakpoints "$CLIENT_PID"
		pid=$CBTRACE_PID
		[ -n "$(definitions "$pid")" ]
		if [ $signal = KILL ]; then
			kill -KILL "$CBTRACE_PID"
			wait "$CBTRACE_PID" || true
		else
			cbtrace_stop $signal
			[ "$CBTRACE_STATUS" = 0 ]
			[ -z "$(definitions "$pid")" ]
		fi
		wait_for 5 has_none "$CLIENT_PID"
		kill "$CLIENT_PID"
		client_wait
	done
	# what a killed one had defined, the next one takes away
	cbtrace_start watch --json
	[ -z "$(definitions "$pid")" ]
	cbtrace_stop
}

@test "--no-library" {
	lab_again --tls 1.3
	cbtrace_start watch --json --no-library
	client_stays client
	wait_for 5 has_lines attempt 1
	has_none "$CLIENT_PID"
	[ -z "$(definitions "$CBTRACE_PID")" ]
	kill "$CLIENT_PID"
	client_wait
	cbtrace_stop
	lines attempt | jq -e '.outcome == "connected" and .missing == ["not_visible"] and .registration == null and .certificate == null' >/dev/null
}

@test "--pid, --comm" {
	lab_again
	client_start --attempts 2 --on-signal --id callbridge2
	mine=$CLIENT_PID
	wait_for 5 client_did register
	cbtrace_start watch --json --pid "$mine"
	client --id callbridge3
	kill -USR1 "$mine"
	wait "$mine"
	wait_for 5 has_lines attempt 1
	cbtrace_stop
	[ "$(registered_of "$mine")" = 1 ]
	[ "$(lines attempt | jq -r .registration.component)" = callbridge2.example.com ]

	lab_again
	cbtrace_start watch --json --comm client
	other_needed slixmpp
	other slixmpp --id callbridge2
	client --id callbridge3
	wait_for 5 has_lines attempt 1
	cbtrace_stop
	[ "$(lines attempt | jq -r '.comm + " " + .outcome + " " + .registration.component')" = "client registered callbridge3.example.com" ]
}

# Copies of the libraries for a process of its own, as a container has them.
copies_make() {
	local file
	mkdir -p "$COPIES"
	for file in $(ldd "$BUILD/tests/lab/client" | awk '/lib(ssl|crypto)\./ { print $3 }'); do
		cp "$(readlink -f "$file")" "$COPIES/${file##*/}"
	done
	[ "$(find "$COPIES" -type f | wc -l)" = 2 ]
}

@test "a process whose libraries are in its own mount namespace" {
	lab_again --tls 1.3
	copies_make
	cbtrace_start watch --json
	# over the host's files, in that process's namespace only
	# shellcheck disable=SC2016 # for the inner shell
	"$LAB" run "$NAME" client sh -c 'copies=$1; shift
		for f in libssl.so.3 libcrypto.so.3; do mount --bind "$copies/$f" "$(readlink -f "/usr/lib/$(uname -m)-linux-gnu/$f")" || exit 1; done
		exec "$@"' sh "$COPIES" "$BUILD/tests/lab/client" --ca "$BUILD/tests/lab/certs/ca.crt" --attempts 3 --interval 500 >"$CLIENT_OUT" 3>&-
	wait_for 5 has_lines attempt 3
	cbtrace_stop
	# armed at the latest when it had it mapped
	lines attempt | jq -es 'length == 3 and (.[1:] | all(.outcome == "registered" and .certificate.evidence == "library")) and
		(.[0].outcome | IN("registered", "connected"))' >/dev/null
}

@test "a library that was deleted under its process" {
	lab_again --tls 1.3
	copies_make
	"$LAB" run "$NAME" client env LD_LIBRARY_PATH="$COPIES" "$BUILD/tests/lab/client" --ca "$BUILD/tests/lab/certs/ca.crt" \
		--attempts 2 --on-signal >"$CLIENT_OUT" 3>&- &
	CLIENT_PID=$!
	E2E_PIDS+=("$CLIENT_PID")
	wait_for 5 client_did register
	rm -r "$COPIES"
	cbtrace_start watch --json
	kill -USR1 "$CLIENT_PID"
	wait "$CLIENT_PID"
	client
	wait_for 5 has_lines attempt 2
	cbtrace_stop
	[ "$CBTRACE_STATUS" = 0 ]
	# seen inside or not, but whole from outside; and the next client is as ever
	lines attempt | jq -es 'length == 2 and (.[0].outcome | IN("registered", "connected")) and (.[0].outcome == "registered" or
		(.[0].missing | index("not_visible"))) and .[1].outcome == "registered"' >/dev/null
}

@test "a library that is no library, one that is cut short" {
	lab_again --tls 1.3
	copies_make
	for how in garbage cut; do
		case $how in
		garbage) head -c 100000 /dev/urandom >"$COPIES/libssl.so.3" ;;
		cut) head -c 5000 "$(readlink -f "/usr/lib/$(uname -m)-linux-gnu/libssl.so.3")" >"$COPIES/libssl.so.3" ;;
		esac
		cbtrace_start watch --json
		# the program cannot start with it; what it has under its root is looked at all the same
		"$LAB" run "$NAME" client env LD_LIBRARY_PATH="$COPIES" "$BUILD/tests/lab/client" >/dev/null 2>&1 3>&- || true
		client
		wait_for 5 has_lines attempt 1
		cbtrace_stop
		[ "$CBTRACE_STATUS" = 0 ]
		[ "$(lines attempt | jq -r .outcome)" = registered ]
		: >"$CLIENT_OUT"
	done
}

@test "check --pid says what was found in a process" {
	lab_again
	client_stays client
	"$CBTRACE" check --cgroup "$(lab_cgroup)" --pid "$CLIENT_PID" >"$BATS_TEST_TMPDIR/check"
	cat "$BATS_TEST_TMPDIR/check"
	grep -Eq '^ok +library .*libssl\.so\.3' "$BATS_TEST_TMPDIR/check"
	# asking changes nothing in it
	has_none "$CLIENT_PID"

	other_needed gnutls
	: >"$CLIENT_OUT"
	other_start gnutls --id callbridge2 --stay 30000
	wait_for 10 client_did register
	status=0
	"$CBTRACE" check --cgroup "$(lab_cgroup)" --pid "$CLIENT_PID" >"$BATS_TEST_TMPDIR/check" || status=$?
	cat "$BATS_TEST_TMPDIR/check"
	grep -Eiq '^(-|FAIL|ok) +library .*(no|none).*OpenSSL|^(-|FAIL|ok) +library .*OpenSSL.*(not|none)' "$BATS_TEST_TMPDIR/check"
}

@test "check --pid of a program that has OpenSSL inside" {
	other_needed node
	lab_again
	other_start node --stay 30000
	wait_for 10 client_did register
	"$CBTRACE" check --cgroup "$(lab_cgroup)" --pid "$CLIENT_PID" >"$BATS_TEST_TMPDIR/check"
	cat "$BATS_TEST_TMPDIR/check"
	grep -Eq '^ok +library .*(node|libssl)' "$BATS_TEST_TMPDIR/check"
}
