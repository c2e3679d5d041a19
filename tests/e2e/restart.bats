#!/usr/bin/env bats
# SPDX-License-Identifier: BSD-2-Clause
# A service that restarts gets a new cgroup each time; programs attached to the old one would see nothing, silently. Each of ten restarts must
# be traced from its first packet, and what runs beside the service must not be.

load helper

setup() { e2e_setup; }
teardown() { e2e_teardown; }

# As a service manager does: a new cgroup for the run, gone after it. Its id goes to $BATS_TEST_TMPDIR/ids.
service_run() { # SUB ARG…
	local path
	path=$(lab_cgroup "$1")
	[ ! -e "$path" ]
	mkdir -p "$path"
	stat -c %i "$path" >>"$BATS_TEST_TMPDIR/ids"
	client "$@"
	wait_for 5 rmdir "$path" 2>/dev/null
}

sibling_run() { # SUB
	client "$1" --domain example.net --id callbridge2
}

ten_runs_seen() { # SUB: no more, no less, each from its first question on
	cbtrace_stop
	[ "$(sort -u "$BATS_TEST_TMPDIR/ids" | wc -l)" = 10 ]
	[ "$(lines attempt | wc -l)" = 10 ]
	lines attempt | jq -es --arg cgroup "/$1" 'all(.domain == "example.com" and .outcome == "connected" and .complete and .config == "srv" and
		.lookups[0].type == "SRV" and .lookups[0].queries == 1 and .lookups[0].rcode == "NOERROR" and .lookups[0].start_ns == 0 and
		.tls.version != null and (.cgroup | endswith($cgroup)))' >/dev/null
	[ "$(lines attempt | jq -s 'map(.pid) | unique | length')" = 10 ]
	[ "$(client_lines register | jq -s 'map(select(.domain == "example.com" and .result == "ok")) | length')" = 10 ]
	[ "$(grep -c example.net "$OUT")" = 0 ]
}

@test "a cgroup removed and made again ten times" {
	lab_start
	cbtrace_start watch --json --events --cgroup "$(lab_cgroup client)"
	sibling_run client2
	rmdir "$(lab_cgroup client)"
	for _ in {1..10}; do
		service_run client --domain example.com
	done
	sibling_run client2
	wait_for 5 has_lines attempt 10
	ten_runs_seen client
}

@test "a unit that starts only after cbtrace, and ten times" {
	lab_start
	cbtrace_start watch --json --events --cgroup "$(lab_cgroup)" --unit cb.service
	sibling_run client
	for _ in {1..10}; do
		service_run cb.service --domain example.com
		sibling_run cb2.service
	done
	wait_for 5 has_lines attempt 10
	ten_runs_seen cb.service
}

@test "a unit that moves to a slice of its own, with a cgroup below it" {
	lab_start
	cbtrace_start watch --json --cgroup "$(lab_cgroup)" --unit cb
	client cb.service --domain example.com
	client voice.slice/voice-eu.slice/cb.service/worker --domain example.com --id callbridge2
	client voice.slice/voice-eu.slice/other.service --domain example.net
	wait_for 5 has_lines attempt 2
	cbtrace_stop
	[ "$(lines attempt | jq -s 'map(.domain + (.cgroup | split("/")[2:] | join("/")))' -c)" = \
		'["example.comcb.service","example.comvoice.slice/voice-eu.slice/cb.service/worker"]' ]
}
