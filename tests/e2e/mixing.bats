#!/usr/bin/env bats
# SPDX-License-Identifier: BSD-2-Clause
# Attempts that run at the same time stay apart: each has its own process, domain, questions, connection and server name.

load helper

setup() { e2e_setup; }
teardown() { e2e_teardown; }

attempts_of() { # PID
	lines attempt | jq -c --argjson pid "$1" 'select(.pid == $pid)'
}

# Nothing but what one undisturbed attempt to that domain consists of.
is_whole() { # DOMAIN < attempts
	jq -es --arg domain "$1" 'length > 0 and all(
		.domain == $domain and .config == "srv" and .outcome == "connected" and .complete and
		.server == "xmpp1." + $domain and .tls.sni == .server and .findings == [] and
		([.timeline[].phase] - ["wait"]) == ["srv", "address", "tcp", "tls"] and
		([.lookups[] | .type] | sort) == ["A", "AAAA", "SRV"] and
		all(.lookups[]; (.name | endswith("." + $domain)) and .queries == 1) and
		(.legs | length) == 1 and .legs[0].target == .server and .legs[0].result == "connected")' >/dev/null
}

# From their UTC starts and lengths: was each begun before the first of them had ended?
overlap() { # < attempts
	jq -es '[.[] | (.start[:19] + "Z" | fromdate) * 1e6 + (.start[20:26] | tonumber)] as $starts |
		[range(length) as $i | $starts[$i] + .[$i].total_ns / 1000] as $ends | ($starts | max) < ($ends | min)' >/dev/null
}

client_start_as() { # FILE ARG…: with an output of its own
	CLIENT_OUT=$BATS_TEST_TMPDIR/$1
	shift
	client_start "$@"
}

@test "two processes at once, same domain" {
	lab_start
	lab delay 20
	cbtrace_start watch --json
	client_start_as a --domain example.com --id callbridge --mode blocking
	first=$CLIENT_PID
	client_start_as b --domain example.com --id callbridge2 --mode nonblocking
	second=$CLIENT_PID
	wait "$first"
	wait "$second"
	wait_for 5 has_lines attempt 2
	cbtrace_stop

	[ "$(lines attempt | wc -l)" = 2 ]
	attempts_of "$first" | is_whole example.com
	attempts_of "$second" | is_whole example.com
	lines attempt | overlap
	[ "$(lines attempt | jq -s 'map(.retry_of) | unique == [null]')" = true ]
	lines attempt | "$BATS_TEST_DIRNAME/brackets" "$first" "$BATS_TEST_TMPDIR/a"
	lines attempt | "$BATS_TEST_DIRNAME/brackets" "$second" "$BATS_TEST_TMPDIR/b"
}

@test "two processes at once, different domains" {
	lab_start
	lab delay 20
	cbtrace_start watch --json
	client_start_as a --domain example.com
	first=$CLIENT_PID
	client_start_as b --domain example.net
	second=$CLIENT_PID
	wait "$first"
	wait "$second"
	wait_for 5 has_lines attempt 2
	cbtrace_stop

	[ "$(lines attempt | wc -l)" = 2 ]
	attempts_of "$first" | is_whole example.com
	attempts_of "$second" | is_whole example.net
	lines attempt | overlap
	lines attempt | "$BATS_TEST_DIRNAME/brackets" "$first" "$BATS_TEST_TMPDIR/a"
	lines attempt | "$BATS_TEST_DIRNAME/brackets" "$second" "$BATS_TEST_TMPDIR/b"
}

@test "one process, two domains at once" {
	lab_start
	lab delay 20
	cbtrace_start watch --json
	client_start --domain example.com --domain example.net
	client_wait
	wait_for 5 has_lines attempt 2
	cbtrace_stop

	[ "$(lines attempt | wc -l)" = 2 ]
	[ "$(attempts_of "$CLIENT_PID" | wc -l)" = 2 ]
	attempts_of "$CLIENT_PID" | jq -c 'select(.domain == "example.com")' | is_whole example.com
	attempts_of "$CLIENT_PID" | jq -c 'select(.domain == "example.net")' | is_whole example.net
	lines attempt | overlap
	lines attempt | "$BATS_TEST_DIRNAME/brackets" "$CLIENT_PID" "$CLIENT_OUT"
}

@test "three processes, two domains each, five attempts each, as fast as they can" {
	lab_start
	cbtrace_start watch --json
	ids=(callbridge callbridge2 callbridge3)
	pids=()
	for id in "${ids[@]}"; do
		client_start_as "$id" --domain example.com --domain example.net --attempts 5 --id "$id" --mode nonblocking
		pids+=("$CLIENT_PID")
	done
	for pid in "${pids[@]}"; do wait "$pid"; done
	wait_for 5 has_lines attempt 30
	cbtrace_stop

	[ "$(lines attempt | wc -l)" = 30 ]
	for i in 0 1 2; do
		for domain in example.com example.net; do
			attempts_of "${pids[i]}" | jq -c --arg domain $domain 'select(.domain == $domain)' >"$BATS_TEST_TMPDIR/mine"
			[ "$(wc -l <"$BATS_TEST_TMPDIR/mine")" = 5 ]
			is_whole $domain <"$BATS_TEST_TMPDIR/mine"
			# none is the retry of one that had succeeded
			[ "$(jq -s 'map(.retry_of) | unique == [null]' <"$BATS_TEST_TMPDIR/mine")" = true ]
		done
		lines attempt | "$BATS_TEST_DIRNAME/brackets" "${pids[i]}" "$BATS_TEST_TMPDIR/${ids[i]}"
	done
}

# What an event loop does: one thread asks for all domains of its arguments, looks up all servers, connects to all, the last domain first, and
# only then begins TLS. The servers share an address, so that nothing but the server names tells the connections apart. Prints its pid.
LOOP='
import os, select, socket, ssl, struct, sys

print(os.getpid(), flush=True)
domains = sys.argv[1:]
ids = iter(range(os.getpid() & 0x7fff, 0xffff))


def question(name, kind):
    head = struct.pack(">HHHHHH", next(ids), 0x100, 1, 0, 0, 0)
    return head + b"".join(bytes([len(l)]) + l.encode() for l in name.split(".")) + b"\0" + struct.pack(">HH", kind, 1)


def ask(names, kind):
    sockets = []
    for name in names:
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.connect(("192.0.2.2", 53))
        s.send(question(name, kind))
        sockets.append(s)
    for s in sockets:
        s.recv(4096)
        s.close()


ask(["_xmpp-component._tcp." + d for d in domains], 33)
ask(["xmpp1." + d for d in domains], 1)
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
connections = []
for domain in reversed(domains):
    s = socket.socket()
    s.setblocking(False)
    s.connect_ex(("192.0.2.66", 5223))
    connections.append((domain, s))
tls = []
for domain, s in connections:
    select.select([], [s], [])
    tls.append(context.wrap_socket(s, server_hostname="xmpp1." + domain, do_handshake_on_connect=False))
todo = set(tls)
while todo:
    for s in list(todo):
        try:
            s.do_handshake()
            todo.discard(s)
        except ssl.SSLWantReadError:
            pass
    select.select(list(todo), [], [], 0.01)
for (domain, _), s in zip(connections, tls):
    s.setblocking(True)
    s.sendall(b"<?xml version=\"1.0\"?><stream:stream xmlns=\"jabber:component:accept\" xmlns:stream=\"http://etherx.jabber.org/streams\""
              b" to=\"callbridge." + domain.encode() + b"\">")
for s in tls:
    s.recv(4096)
    s.close()
'

@test "one thread, two domains at once, their servers at the same address" {
	lab_start
	cbtrace_start watch --json
	"$LAB" run "$NAME" client python3 -c "$LOOP" example.com example.net >"$BATS_TEST_TMPDIR/pid" 3>&-
	wait_for 5 has_lines attempt 2
	cbtrace_stop

	[ "$(lines attempt | wc -l)" = 2 ]
	lines attempt | overlap
	lines attempt | jq -es --argjson pid "$(cat "$BATS_TEST_TMPDIR/pid")" '(map(.domain) | sort) == ["example.com", "example.net"] and all(
		.pid == $pid and .outcome == "connected" and .complete and .server == "xmpp1." + .domain and .tls.sni == .server and
		(.lookups | length) == 2 and (.domain as $domain | all(.lookups[]; .name | endswith("." + $domain))) and
		(.legs | length) == 1 and .legs[0].target == .server and .legs[0].address == "192.0.2.66")' >/dev/null
}
