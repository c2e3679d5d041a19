#!/usr/bin/env bats
# SPDX-License-Identifier: BSD-2-Clause
# A recording tells what was told live, byte for byte, and nothing that does not belong to an attempt. One that is damaged is read up to there.

load helper

setup() {
	e2e_setup
	REC=$BATS_TEST_TMPDIR/recording
	REPLAYED=$BATS_TEST_TMPDIR/replayed
}

teardown() { e2e_teardown; }

record_start() { # ARG…
	cbtrace_start record -o "$REC" --json "$@"
}

# What was printed live, the recording tells again; without the events the same lines but theirs.
replay_is_identical() { # ARG…: those of record_start
	[ "$CBTRACE_STATUS" = 0 ]
	[ -s "$OUT" ]
	"$CBTRACE" replay "$REC" --json "$@" >"$REPLAYED"
	cmp "$OUT" "$REPLAYED"
	if [ $# != 0 ]; then
		"$CBTRACE" replay "$REC" --json >"$REPLAYED"
		jq -c 'select(.kind == "lookup" or .kind == "leg")' "$OUT" | grep -q .
		grep -v '^{"kind":"\(lookup\|leg\)"' "$OUT" | cmp - "$REPLAYED"
	fi
}

outcomes() { # as [["connected",null], …]
	lines attempt | jq -sc 'map([.outcome, .reason])'
}

@test "good attempts: the same live and replayed" {
	lab_start
	record_start --events
	client --domain example.com --attempts 2
	wait_for 10 has_lines session 4
	cbtrace_stop

	[ "$(outcomes)" = '[["connected",null],["connected",null]]' ]
	[ "$(lines leg | wc -l)" = 2 ]
	[ "$(lines lookup | wc -l)" = 6 ]
	replay_is_identical --events
}

@test "without --events" {
	lab_start --tls 1.2
	record_start
	client --domain example.com --mode membio
	wait_for 10 has_lines session 2
	cbtrace_stop

	[ "$(jq -sc 'map(.kind)' "$OUT")" = '["attempt","session","session"]' ]
	replay_is_identical
}

@test "a server that is configured, by name and by address" {
	lab_start
	record_start --events
	client --domain example.com --server xmpp1.example.com
	client --domain example.com --server 192.0.2.66
	wait_for 10 has_lines session 4
	cbtrace_stop

	[ "$(lines attempt | jq -sc 'map(.config)')" = '["name","address"]' ]
	# their questions are an attempt's only when a connect follows
	[ "$(lines lookup | jq -sc 'map([.type, .attempt]) | sort')" = '[["A",1],["AAAA",1]]' ]
	replay_is_identical --events
}

@test "attempts that fail over to the second server" {
	lab_start
	lab fault reset xmpp1
	record_start --events
	client --domain example.com --attempts 2
	wait_for 10 has_lines session 4
	cbtrace_stop

	[ "$(outcomes)" = '[["connected",null],["connected",null]]' ]
	lines attempt | jq -es 'all(.[]; .server == "xmpp2.example.com" and (.legs | length) > 1 and .legs[0].target == "xmpp1.example.com" and
		.legs[0].result == "refused" and .legs[-1].result == "connected")'
	replay_is_identical --events
}

leg_connected() {
	lines leg | grep -q '"result":"connected"'
}

@test "attempts that fail: a certificate refused, a process killed" {
	lab_start --cert no-server --tls 1.2
	record_start --events
	not client --domain example.com
	wait_for 10 has_lines attempt 1
	lab fault freeze xmpp
	client_start --domain example.com --timeout 60000
	wait_for 10 has_lines leg 2
	kill -KILL "$CLIENT_PID"
	wait_for 10 has_lines attempt 2
	cbtrace_stop

	[ "$(outcomes)" = '[["failed","san_server_missing"],["abandoned","process_exit"]]' ]
	replay_is_identical --events
}

@test "no answer from DNS" {
	lab_start --xmpp none
	lab fault drop dns
	record_start --events
	not client --domain example.com
	wait_for 20 has_lines attempt 1
	cbtrace_stop

	[ "$(outcomes)" = '[["failed","timeout"]]' ]
	replay_is_identical --events
}

@test "interrupted in the middle of an attempt" {
	lab_start
	lab fault freeze xmpp
	record_start --events
	client_start --domain example.com --timeout 60000
	wait_for 10 leg_connected
	cbtrace_stop

	[ "$(outcomes)" = '[[null,null]]' ]
	lines attempt | jq -e '.complete == false and (.missing | index("interrupted")) != null and .legs[0].result == "connected"'
	replay_is_identical --events
}

@test "a recording is for its owner only" {
	lab_start --xmpp none
	umask 000
	echo old >"$REC"
	chmod 0666 "$REC"
	exec 9<"$REC"
	record_start
	cbtrace_stop
	[ "$(stat -c %a "$REC")" = 600 ]
	# and who held the old one open has the old one
	[ "$(cat <&9)" = old ]
	exec 9<&-
}

# A process that does other things, too: before, between and after the steps of an attempt it looks up names that have
# nothing to do with it.
asker() {
	cat <<-'END'
		import socket, ssl, struct, sys

		def other(name):
		    try:
		        socket.getaddrinfo(name, 443)
		    except socket.gaierror:
		        pass

		def srv(name):
		    question = b"".join(bytes([len(l)]) + l.encode() for l in name.split(".")) + b"\0" + struct.pack("!HH", 33, 1)
		    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
		        s.connect(("192.0.2.2", 53))
		        s.send(struct.pack("!HHHHHH", 4711, 0x0100, 1, 0, 0, 0) + question)
		        s.recv(4096)

		other("unrelated-before.example.net")
		srv("_xmpp-component._tcp.example.com")
		other("unrelated-within.example.net")
		address = socket.getaddrinfo("xmpp1.example.com", 5223, type=socket.SOCK_STREAM)[0][4]
		other("unrelated-late.example.net")
		context = ssl.create_default_context(cafile=sys.argv[1])
		with socket.create_connection(address[:2]) as s, context.wrap_socket(s, server_hostname="xmpp1.example.com") as t:
		    other("unrelated-during.example.net")
		    t.send(b"<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' "
		           b"xmlns:stream='http://etherx.jabber.org/streams' to='callbridge.example.com'>")
		    t.recv(4096)
		other("unrelated-after.example.net")
	END
}

@test "unrelated questions are not in the recording" {
	lab_start
	capture_start
	record_start --events
	lab run client getent hosts unrelated-process.example.net || true
	asker >"$BATS_TEST_TMPDIR/asker.py"
	lab run client python3 "$BATS_TEST_TMPDIR/asker.py" "$BUILD/tests/lab/certs/ca.crt"
	wait_for 10 has_lines session 2
	cbtrace_stop
	capture_stop

	[ "$(outcomes)" = '[["connected",null]]' ]
	lines attempt | jq -e '[.lookups[].type] | sort == ["A", "AAAA", "SRV"]'
	# they were asked, so says the capture
	for word in process before within late during after; do
		grep -qa "unrelated-$word" "$CAPTURE"
	done
	grep -qa xmpp1 "$REC"
	not grep -aq unrelated "$REC"
	not grep -q unrelated "$OUT"
	replay_is_identical --events
}

# --- damage ---

# Every event's place: "OFFSET TYPE", the end last.
places() {
	python3 -c '
import struct, sys
data = open(sys.argv[1], "rb").read()
at = struct.unpack_from("=I", data, 16)[0]
while at < len(data):
    size, kind = struct.unpack_from("=IH", data, at + 16)
    print(at, kind)
    at += (size + 7) // 8 * 8 + 8  # and its trailer
print(at, "end")' "$REC"
}

flip() { # OFFSET: $REC with one byte changed
	python3 -c '
import sys
data = bytearray(open(sys.argv[1], "rb").read())
data[int(sys.argv[3])] ^= 0xff
open(sys.argv[2], "wb").write(data)' "$REC" "$REC.bad" "$1"
}

replay_status() { # FILE: of a replay of that; output in $REPLAYED, errors in $BATS_TEST_TMPDIR/replay.err
	local status=0
	"$CBTRACE" replay "$1" --json >"$REPLAYED" 2>"$BATS_TEST_TMPDIR/replay.err" || status=$?
	echo $status
}

refused_in_one_line() { # FILE
	[ "$(replay_status "$1")" = 2 ]
	[ "$(wc -l <"$BATS_TEST_TMPDIR/replay.err")" = 1 ]
	grep -q '^cbtrace: ' "$BATS_TEST_TMPDIR/replay.err"
}

two_attempts_recorded() {
	lab_start
	record_start
	client --domain example.com --attempts 2
	wait_for 10 has_lines session 4
	cbtrace_stop
	places >"$BATS_TEST_TMPDIR/places"
	FIRST=$(grep -m 1 '^{"kind":"attempt"' "$OUT") # not by jq, which writes numbers in its own way
	# The first question (1) after a connect (3) is the second attempt's; the first is complete before it.
	AFTER_FIRST=$(awk '$2 == 3 { connected = 1 } $2 == 1 && connected { print $1; exit }' "$BATS_TEST_TMPDIR/places")
	SIZE=$(stat -c %s "$REC")
	[ "$(tail -n 1 "$BATS_TEST_TMPDIR/places")" = "$SIZE end" ]
}

first_is_told() {
	head -n 1 "$REPLAYED" | cmp - <(echo "$FIRST")
}

@test "truncated recordings: what is there is told" {
	two_attempts_recorded
	for length in 1 7 8 20 100 $((SIZE / 10)) $((SIZE / 3)) $((SIZE / 2)) $((SIZE - 33)) $((SIZE - 1)); do
		head -c "$length" "$REC" >"$REC.cut"
		refused_in_one_line "$REC.cut"
	done
	# the last one has lost only the end mark
	cmp "$OUT" "$REPLAYED"
	# cut between two events, and within one, after the first attempt
	for length in "$AFTER_FIRST" $((AFTER_FIRST + 50)); do
		head -c $((length + 40)) "$REC" >"$REC.cut"
		refused_in_one_line "$REC.cut"
		first_is_told
		[ "$(jq -c 'select(.kind == "attempt")' "$REPLAYED" | wc -l)" -lt 3 ]
	done
}

@test "damaged recordings: what came before is told" {
	two_attempts_recorded
	# the length of each event after the first attempt
	count=0
	while read -r at _; do
		if [ "$at" -ge "$AFTER_FIRST" ] && [ "$at" != "$SIZE" ]; then
			flip $((at + 17 + count % 3))
			refused_in_one_line "$REC.bad"
			grep -q "at byte $at" "$BATS_TEST_TMPDIR/replay.err"
			first_is_told
			count=$((count + 1))
		fi
	done <"$BATS_TEST_TMPDIR/places"
	[ $count -gt 10 ]
	# the header: magic, byte order, version, length
	for at in 0 7 8 12 16; do
		flip $at
		refused_in_one_line "$REC.bad"
		[ ! -s "$REPLAYED" ]
	done
	# something behind the end
	{ cat "$REC"; echo more; } >"$REC.bad"
	refused_in_one_line "$REC.bad"
	cmp "$OUT" "$REPLAYED"
}

# Replays copies with one wrong byte each: refused every time, no crash, no half line, no second complaint.
any_byte() {
	cat <<-'END'
		import json, subprocess, sys

		cbtrace, recording = sys.argv[1:]
		good = open(recording, "rb").read()
		for at in range(3, len(good), len(good) // 200 + 1):
		    bad = bytearray(good)
		    bad[at] ^= 0xFF
		    done = subprocess.run([cbtrace, "replay", "-", "--json", "--events"], input=bytes(bad), capture_output=True)
		    lines = done.stdout.decode().splitlines()
		    kinds = [json.loads(line)["kind"] for line in lines]
		    complaints = done.stderr.decode().splitlines()
		    assert done.returncode == 2, f"status {done.returncode} with byte {at} wrong"
		    assert len(complaints) == 1, f"byte {at} wrong: {complaints}"
	END
}

@test "any byte of a recording may be wrong: found" {
	two_attempts_recorded
	any_byte >"$BATS_TEST_TMPDIR/any_byte.py"
	python3 "$BATS_TEST_TMPDIR/any_byte.py" "$CBTRACE" "$REC"
}

@test "what is no recording: one line, status 2" {
	: >"$BATS_TEST_TMPDIR/empty"
	echo '{"kind":"attempt"}' >"$BATS_TEST_TMPDIR/text"
	head -c 100000 /dev/zero >"$BATS_TEST_TMPDIR/zeros"
	for file in "$BATS_TEST_TMPDIR/empty" "$BATS_TEST_TMPDIR/text" "$BATS_TEST_TMPDIR/zeros" "$CBTRACE" "$BATS_TEST_TMPDIR/missing" \
		"$BATS_TEST_TMPDIR"; do
		refused_in_one_line "$file"
		[ ! -s "$REPLAYED" ]
		grep -qF "${file}" "$BATS_TEST_TMPDIR/replay.err"
	done
}
