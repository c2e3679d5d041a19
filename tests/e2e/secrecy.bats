#!/usr/bin/env bats
# SPDX-License-Identifier: BSD-2-Clause
# What must not leave the kernel does not: no byte of a conversation that is not TLS, and of TLS none of the application's, be it in the ring, the
# recording, the reports, or the memory of cbtrace. A simultaneous capture says what was on the wire.

load helper

setup() { e2e_setup; }
teardown() { e2e_teardown; }

RECORDING=recording
WINDOW=8	# bytes in a row that count as a leak of plaintext
TLS_WINDOW=16	# of ciphertext, where chance plays a part

payload() { # TSHARK-FIELD: hex lines of it, from the capture
	tshark -r "$CAPTURE" -d tcp.port==5223,tls -Y 'tcp.len > 0' -T fields -e "$1" 2>/dev/null | tr ',' '\n' | sed '/^$/d'
}

capture_has() { # REGEX: in the bytes of the capture so far
	grep -aqE "$1" "$CAPTURE"
}

leaks() {
	"$BATS_TEST_DIRNAME/leaks" "$@"
}

hex() {
	od -An -v -tx1 | tr -d ' \n'
	echo
}

@test "a plaintext conversation on a tapped port leaves no byte" {
	lab_start --plain
	capture_start
	cbtrace_start record -o "$BATS_TEST_TMPDIR/$RECORDING" --json --events
	client --domain example.com --plaintext
	client_did register
	wait_for 5 has_lines attempt 1
	wait_for 5 capture_has '<handshake'
	capture_stop

	# what the secret could be guessed from was on the wire
	digest=$(grep -aoE '<handshake>[0-9a-f]{40}' "$CAPTURE" | cut -c12-)
	id=$(grep -aoE "id='[^']{8,}'|id=\"[^\"]{8,}\"" "$CAPTURE" | head -n 1 | cut -c5- | tr -d "\"'")
	[ ${#digest} = 40 ] && [ ${#id} -ge 8 ]
	payload tcp.payload >"$BATS_TEST_TMPDIR/secrets"
	[ "$(wc -l <"$BATS_TEST_TMPDIR/secrets")" -ge 4 ]
	printf '%s' "$digest" | hex >>"$BATS_TEST_TMPDIR/secrets"
	echo "$digest" >>"$BATS_TEST_TMPDIR/secrets" # the bytes that it says
	printf '%s' "$id" | hex >>"$BATS_TEST_TMPDIR/secrets"
	printf 'stream:stream jabber:component:accept callbridge.example.com' | hex >>"$BATS_TEST_TMPDIR/secrets"

	# the ring and the memory of cbtrace, while it runs; its own vocabulary and the names that DNS told are no secret
	allow=(--allow .example.com handshake component XMPP_COMPONENT xmpp-component "{version=" "The version, as")
	leaks "$BATS_TEST_TMPDIR/secrets" $WINDOW "pid:$CBTRACE_PID" "${allow[@]}"
	cbtrace_stop
	"$CBTRACE" replay "$BATS_TEST_TMPDIR/$RECORDING" >"$BATS_TEST_TMPDIR/timeline"
	"$CBTRACE" replay --metrics "$BATS_TEST_TMPDIR/$RECORDING" >"$BATS_TEST_TMPDIR/metrics"
	leaks "$BATS_TEST_TMPDIR/secrets" $WINDOW "$BATS_TEST_TMPDIR/$RECORDING" "$OUT" "$ERR" "$BATS_TEST_TMPDIR/timeline" \
		"$BATS_TEST_TMPDIR/metrics" "${allow[@]}"

	[ "$(lines attempt | jq -c '[.outcome, .failed_phase, .reason, .tls]')" = '["failed","tls","not_tls",null]' ]
	grep -q not_tls "$BATS_TEST_TMPDIR/timeline"
}

@test "the same where the program shows what it sees live" {
	lab_start --plain
	capture_start
	cbtrace_start watch
	client --domain example.com --plaintext
	wait_for 5 grep -q not_tls "$OUT"
	wait_for 5 capture_has '<handshake'
	capture_stop
	payload tcp.payload >"$BATS_TEST_TMPDIR/secrets"
	leaks "$BATS_TEST_TMPDIR/secrets" $WINDOW "pid:$CBTRACE_PID" "$OUT" --allow .example.com handshake component XMPP_COMPONENT xmpp-component
	cbtrace_stop
}

@test "the look for leaks finds what is there" {
	lab_start
	capture_start
	cbtrace_start record -o "$BATS_TEST_TMPDIR/$RECORDING" --json
	client --domain example.com
	wait_for 5 has_lines attempt 1
	wait_for 5 capture_has .
	capture_stop
	# the client's random is copied, and so in the ring; the questions too
	payload tls.handshake.random >"$BATS_TEST_TMPDIR/seen"
	[ "$(wc -l <"$BATS_TEST_TMPDIR/seen")" = 2 ]
	status=0
	leaks "$BATS_TEST_TMPDIR/seen" $TLS_WINDOW "pid:$CBTRACE_PID" >"$BATS_TEST_TMPDIR/found" || status=$?
	[ "$status" = 1 ]
	printf '\x0f_xmpp-component\x04_tcp' | hex >"$BATS_TEST_TMPDIR/seen2"
	status=0
	leaks "$BATS_TEST_TMPDIR/seen2" $TLS_WINDOW "pid:$CBTRACE_PID" || status=$?
	[ "$status" = 1 ]
	cbtrace_stop
	status=0
	leaks "$BATS_TEST_TMPDIR/seen" $TLS_WINDOW "$BATS_TEST_TMPDIR/$RECORDING" || status=$?
	[ "$status" = 1 ]
}

# Registration inside TLS: every body of a record of type 23 on the wire, by the capture.
application_data_leaves_nothing() { # TLS-VERSION CLIENT-ARG…
	local version=$1
	shift
	lab_start --tls "$version"
	capture_start
	cbtrace_start record -o "$BATS_TEST_TMPDIR/$RECORDING" --json --events
	client --domain example.com "$@"
	client_did register
	wait_for 5 has_lines session 2
	# the capture has it all when it has the end of the connection
	wait_for 5 capture_whole
	capture_stop
	payload tls.app_data >"$BATS_TEST_TMPDIR/secrets"
	[ "$(wc -l <"$BATS_TEST_TMPDIR/secrets")" -ge 4 ]
	leaks "$BATS_TEST_TMPDIR/secrets" $TLS_WINDOW "pid:$CBTRACE_PID"
	cbtrace_stop
	leaks "$BATS_TEST_TMPDIR/secrets" $TLS_WINDOW "$BATS_TEST_TMPDIR/$RECORDING" "$OUT"
	[ "$(lines attempt | jq -r '.outcome + " " + .tls.version')" = "connected TLSv$version" ]
}

capture_whole() {
	[ "$(tshark -r "$CAPTURE" -Y 'tcp.port == 5223 && tcp.flags.fin == 1' 2>/dev/null | wc -l)" -ge 1 ]
}

@test "TLS 1.3: no byte of the application's records" {
	application_data_leaves_nothing 1.3
}

@test "TLS 1.2: no byte of the application's records" {
	application_data_leaves_nothing 1.2
}

@test "a ClientHello sent one byte at a time is still read, and nothing more" {
	lab_start --tls 1.3
	capture_start
	cbtrace_start record -o "$BATS_TEST_TMPDIR/$RECORDING" --json --events
	client --domain example.com --dribble
	wait_for 5 has_lines session 2
	wait_for 5 capture_whole
	capture_stop
	# what the window does not let out yet the kernel joins, so not each byte is a segment
	[ "$(tshark -r "$CAPTURE" -Y 'tcp.dstport == 5223 && tcp.len == 1' 2>/dev/null | wc -l)" -ge 20 ]
	payload tls.app_data >"$BATS_TEST_TMPDIR/secrets"
	leaks "$BATS_TEST_TMPDIR/secrets" $TLS_WINDOW "pid:$CBTRACE_PID"
	cbtrace_stop
	leaks "$BATS_TEST_TMPDIR/secrets" $TLS_WINDOW "$BATS_TEST_TMPDIR/$RECORDING" "$OUT"
	lines attempt | jq -e '.outcome == "connected" and .complete and .tls.sni == "xmpp1.example.com" and .tls.version == "TLSv1.3" and
		.tls.cipher != null' >/dev/null
}

# Answers whatever comes first in plaintext, its second argument, and takes in the rest.
PLAIN_SERVER='
import socket, sys
listener = socket.create_server(("127.0.0.1", 5223))
print("listening", flush=True)
s = listener.accept()[0]
s.recv(4096)
s.sendall(sys.argv[1].encode())
while s.recv(4096):
    pass
'

# Says ClientHello on loopback, in the same segment its first argument, and after an answer its second.
PRETENDER='
import socket, ssl, sys
hello = ssl.MemoryBIO()
try:
    ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), hello, server_hostname="xmpp1.example.com").do_handshake()
except ssl.SSLWantReadError:
    pass
s = socket.create_connection(("127.0.0.1", 5223), 10)
s.sendall(hello.read() + sys.argv[1].encode())
s.recv(4096)
s.sendall(sys.argv[2].encode())
s.close()
'

@test "plaintext behind a ClientHello, and a server that answers it in plaintext, leave no byte" {
	lab_start --xmpp none
	said=("<hidden>quinces marinate blithely</hidden>" "<hidden>once the server has answered</hidden>" "<?xml version='1.0'?><answered in='clear text'/>")
	printf '%s\n' "${said[@]}" | while read -r line; do printf '%s' "$line" | hex; done >"$BATS_TEST_TMPDIR/secrets"
	[ "$(wc -l <"$BATS_TEST_TMPDIR/secrets")" = 3 ]
	"$LAB" exec "$NAME" cb python3 -c "$PLAIN_SERVER" "${said[2]}" >"$BATS_TEST_TMPDIR/server" 3>&- &
	E2E_PIDS+=("$!")
	wait_for 10 grep -qs listening "$BATS_TEST_TMPDIR/server"
	cbtrace_start record -o "$BATS_TEST_TMPDIR/$RECORDING" --json
	"$LAB" run "$NAME" client python3 -c "$PRETENDER" "${said[@]:0:2}" 3>&-
	wait_for 5 has_lines attempt 1
	leaks "$BATS_TEST_TMPDIR/secrets" $WINDOW "pid:$CBTRACE_PID"
	cbtrace_stop
	leaks "$BATS_TEST_TMPDIR/secrets" $WINDOW "$BATS_TEST_TMPDIR/$RECORDING" "$OUT"
	[ "$(lines attempt | jq -c '[.config, .outcome, .failed_phase, .reason]')" = '["address","failed","tls","not_tls"]' ]
}
