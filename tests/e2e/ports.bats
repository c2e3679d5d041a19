#!/usr/bin/env bats
# SPDX-License-Identifier: BSD-2-Clause
# A port that only the SRV answer names, which cbtrace was not told: the connect follows the answer within microseconds, and each must be seen.
# The price is that all connects of a process that has just asked are watched; those that turn out to be unrelated must leave no trace.

load helper

setup() { e2e_setup; }
teardown() { e2e_teardown; }

PORT=15223

# A process each, as only the first question of a process races against its connect.
hundred_processes() { # CLIENT-ARG…
	"$LAB" run "$NAME" client sh -c 'for i in $(seq 100); do "$@" || exit 1; done' sh \
		"$BUILD/tests/lab/client" --ca "$BUILD/tests/lab/certs/ca.crt" "$@" >>"$CLIENT_OUT" 3>&-
}

hundred_seen() {
	wait_for 10 has_lines attempt 100
	cbtrace_stop
	[ "$(client_lines "done" | jq -s 'map(select(.result == "ok")) | length')" = 100 ]
	[ "$(lines attempt | wc -l)" = 100 ]
	lines attempt | jq -es --argjson port $PORT 'all(.outcome == "connected" and .complete and .config == "srv" and
		([.timeline[].phase] - ["wait"]) == ["srv", "address", "tcp", "tls"] and
		(.legs | length) == 1 and .legs[0].port == $port and .legs[0].syn_sent == 1 and .legs[0].tcp_ns > 0 and
		.tls.version == "TLSv1.3" and .tls.sni == "xmpp1.example.com")' >/dev/null
	diff <(lines attempt | jq .pid | sort) <(client_lines "done" | jq .pid | sort)
}

@test "a hundred attempts out of a hundred, at the speed of loopback" {
	lab_start --both-ends --port $PORT
	cbtrace_start watch --json
	hundred_processes --domain example.com
	hundred_seen
}

@test "the same without blocking" {
	lab_start --both-ends --port $PORT
	cbtrace_start watch --json
	hundred_processes --domain example.com --mode nonblocking
	hundred_seen
}

@test "a hundred attempts of one process" {
	lab_start --both-ends --port $PORT
	cbtrace_start watch --json
	client --domain example.com --attempts 100
	wait_for 10 has_lines attempt 100
	cbtrace_stop
	[ "$(lines attempt | wc -l)" = 100 ]
	lines attempt | jq -es --argjson port $PORT 'all(.outcome == "connected" and .complete and .legs[0].port == $port and .tls.version != null)' >/dev/null
}

# Asks the SRV question of its first argument and then connects, in the same process, to each ADDRESS:PORT that follows: with tls: before it
# as a TLS client, else with a line of plaintext. Prints its pid.
ASKER='
import os, socket, ssl, struct, sys
print(os.getpid(), flush=True)
name = "_xmpp-component._tcp." + sys.argv[1]
question = struct.pack(">HHHHHH", os.getpid() & 0xffff, 0x100, 1, 0, 0, 0)
question += b"".join(bytes([len(l)]) + l.encode() for l in name.split(".")) + b"\0" + struct.pack(">HH", 33, 1)
resolver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
resolver.sendto(question, ("192.0.2.2", 53))
resolver.recv(4096)
for peer in sys.argv[2:]:
    tls = peer.startswith("tls:")
    address, port = peer.removeprefix("tls:").rsplit(":", 1)
    s = socket.create_connection((address, int(port)), 10)
    if tls:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        s = context.wrap_socket(s, server_hostname="xmpp1." + sys.argv[1])
        s.sendall(b"<?xml version=\"1.0\"?><stream:stream xmlns=\"jabber:component:accept\" "
                  b"xmlns:stream=\"http://etherx.jabber.org/streams\" to=\"callbridge.example.com\">")
        s.recv(4096)
    else:
        s.sendall(b"this-is-nobodys-business\r\n")
        s.recv(4096)
    s.close()
'

# A server on the client loopback that answers whatever comes with a line.
ECHO='
import socket
listener = socket.create_server(("127.0.0.1", 18080))
print("listening", flush=True)
while True:
    s = listener.accept()[0]
    s.sendall(b"and-neither-is-this:" + s.recv(4096))
    s.close()
'

echo_start() {
	"$LAB" exec "$NAME" cb python3 -c "$ECHO" >"$BATS_TEST_TMPDIR/echo" 3>&- &
	E2E_PIDS+=("$!")
	wait_for 10 grep -qs listening "$BATS_TEST_TMPDIR/echo"
}

asker() { # DOMAIN PEER…
	"$LAB" run "$NAME" client python3 -c "$ASKER" "$@" >>"$CLIENT_OUT" 3>&-
}

@test "an unrelated connect between question and connect is no leg" {
	lab_start --port $PORT
	echo_start
	cbtrace_start record -o "$BATS_TEST_TMPDIR/recording" --json --events
	asker example.com 127.0.0.1:18080 tls:192.0.2.66:$PORT
	wait_for 5 has_lines attempt 1
	cbtrace_stop
	[ "$(lines attempt | wc -l)" = 1 ]
	[ "$(lines leg | wc -l)" = 1 ]
	lines attempt | jq -e --argjson pid "$(cat "$CLIENT_OUT")" --argjson port $PORT '.pid == $pid and .outcome == "connected" and
		(.legs | length) == 1 and .legs[0].address == "192.0.2.66" and .legs[0].port == $port and .legs[0].result == "connected" and
		([.timeline[].phase] - ["wait"]) == ["srv", "tcp", "tls"]' >/dev/null
	[ "$(grep -c 18080 "$OUT")" = 0 ]
	[ "$(grep -ac -e nobodys-business -e neither-is-this "$BATS_TEST_TMPDIR/recording")" = 0 ]
}

@test "a process that asks and connects elsewhere only has no leg" {
	lab_start --port $PORT
	echo_start
	cbtrace_start watch --json --events
	asker example.com 127.0.0.1:18080
	wait_for 5 has_lines attempt 1
	cbtrace_stop
	[ "$(lines attempt | wc -l)" = 1 ]
	[ "$(lines leg | wc -l)" = 0 ]
	[ "$(lines attempt | jq -c '[.legs, .tls, .outcome, .reason]')" = '[[],null,"abandoned","process_exit"]' ]
}

@test "who did not ask is not traced on that port" {
	lab_start --port $PORT
	cbtrace_start watch --json --events
	client --domain example.com --server 192.0.2.66 --port $PORT --verify domain
	client --domain example.com
	wait_for 5 has_lines attempt 1
	cbtrace_stop
	[ "$(lines attempt | wc -l)" = 1 ]
	[ "$(lines attempt | jq -r .config)" = srv ]
}
