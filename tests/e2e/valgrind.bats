#!/usr/bin/env bats
# SPDX-License-Identifier: BSD-2-Clause
# One live run and its replay under valgrind: nothing uninitialised read, nothing leaked.

load helper

setup() {
	command -v valgrind >/dev/null || skip "needs valgrind"
	e2e_setup
	# cbtrace_start runs $CBTRACE: valgrind is put in front of it.
	cat >"$BATS_TEST_TMPDIR/cbtrace" <<-EOS
		#!/bin/sh
		exec valgrind -q --leak-check=full --show-leak-kinds=definite,indirect --error-exitcode=99 \
			--suppressions="$ROOT/tests/e2e/valgrind.supp" --log-file="$BATS_TEST_TMPDIR/valgrind.%p" "$CBTRACE" "\$@"
	EOS
	chmod +x "$BATS_TEST_TMPDIR/cbtrace"
	CBTRACE=$BATS_TEST_TMPDIR/cbtrace
	READY_SECONDS=60
}

teardown() {
	e2e_teardown
}

valgrind_clean() {
	# What it does not know of the bpf system call is no finding.
	! grep -hv 'WARNING: unhandled eBPF command' "$BATS_TEST_TMPDIR"/valgrind.* | grep .
}

@test "record a connected and a failing attempt, replay them: valgrind finds nothing" {
	lab_start --tls 1.2
	cbtrace_start record --json --events -o "$BATS_TEST_TMPDIR/recording"
	client --stay 1200
	lab fault reset xmpp1
	lab fault reset xmpp2
	run client
	[ "$status" = 1 ]
	wait_for 20 has_lines attempt 2
	cbtrace_stop
	valgrind_clean
	[ "$CBTRACE_STATUS" = 0 ]
	"$CBTRACE" replay --json --events "$BATS_TEST_TMPDIR/recording" >"$BATS_TEST_TMPDIR/replayed"
	cmp "$OUT" "$BATS_TEST_TMPDIR/replayed"
	"$CBTRACE" replay "$BATS_TEST_TMPDIR/recording" >/dev/null
	"$CBTRACE" replay --metrics "$BATS_TEST_TMPDIR/recording" >/dev/null
	valgrind_clean
}
