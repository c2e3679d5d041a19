#!/usr/bin/env bats
# SPDX-License-Identifier: BSD-2-Clause
# The ways from a configuration to an address: truncated answers, one family only, the hosts file, no SRV, no name at all.

load helper

setup() { e2e_setup; }
teardown() { e2e_teardown; }

attempt_once() { # CLIENT-ARG…: one good attempt of the client, one reported
	client "$@"
	wait_for 5 has_lines attempt 1
	cbtrace_stop
	[ "$(lines attempt | wc -l)" = 1 ]
	[ "$(lines attempt | jq -r .outcome)" = connected ]
}

attempt_has() { # JQ-CONDITION
	lines attempt | jq -e "$1" >/dev/null
}

hosts_add() { # LINE
	echo "$1" >>"$("$LAB" state "$NAME")/hosts"
}

phases() {
	lines attempt | jq -r '[.timeline[].phase | select(. != "wait")] | join(" ")'
}

@test "DNS over TCP after a truncated answer" {
	lab_start --extra-srv 30
	cbtrace_start watch --json
	attempt_once --domain example.com
	[ "$(client_lines srv | jq .targets)" = 32 ]
	attempt_has '.lookups[0].type == "SRV" and .lookups[0].transport == "tcp" and .lookups[0].queries == 2 and
		.lookups[0].rcode == "NOERROR" and (.lookups[0].answers | length) == 32'
	attempt_has 'all(.lookups[1:][]; .transport == "udp")'
	attempt_has '.findings[] | select(.code == "dns_tcp_fallback") | .phase == "srv" and .cost_ns > 0'
	# the connection of the question is no leg
	attempt_has '(.legs | length) == 1 and .legs[0].port == 5223 and .legs[0].target == "xmpp1.example.com" and .legs[0].priority == 10'
	attempt_has '.tls.sni == "xmpp1.example.com" and .server == "xmpp1.example.com"'
	[ "$(phases)" = "srv address tcp tls" ]
}

@test "IPv6 only" {
	lab_start --ipv6-only
	cbtrace_start watch --json
	attempt_once --domain example.com
	attempt_has '.complete and .config == "srv" and .lookups[0].resolver == "[2001:db8:1::2]:53"'
	attempt_has 'any(.lookups[]; .type == "AAAA" and .answers == [{"address": "2001:db8:2::2"}])'
	attempt_has '(.legs | length) == 1 and .legs[0].address == "2001:db8:2::2" and .legs[0].target == "xmpp1.example.com"'
	[ "$(phases)" = "srv address tcp tls" ]
}

@test "IPv4 only: a server name without AAAA" {
	lab_start --dns unbound
	cbtrace_start watch --json
	# the client tries what getaddrinfo gives first; with its IPv6 route gone that is IPv4
	lab exec cb ip -6 route flush default
	attempt_once --domain example.com
	attempt_has '(.legs | length) == 1 and .legs[0].address == "192.0.2.66" and .lookups[0].resolver == "192.0.2.2:53"'
}

@test "SRV, and the server's name in the hosts file" {
	lab_start
	hosts_add "192.0.2.66 xmpp1.example.com"
	cbtrace_start watch --json
	attempt_once --domain example.com
	[ "$(phases)" = "srv tcp tls" ]
	attempt_has '.config == "srv" and .domain == "example.com" and ([.lookups[].type] == ["SRV"])'
	attempt_has '.legs[0].address == "192.0.2.66" and .legs[0].port == 5223 and .tls.sni == "xmpp1.example.com"'
	attempt_has '.complete'
}

@test "no SRV question: a server name that DNS resolves" {
	lab_start --no-srv
	cbtrace_start watch --json
	attempt_once --domain example.com --server xmpp1.example.com
	[ "$(phases)" = "address tcp tls" ]
	attempt_has '.config == "name" and .domain == null and .server == "xmpp1.example.com"'
	attempt_has '([.lookups[].type] | sort) == ["A", "AAAA"] and .legs[0].target == "xmpp1.example.com"'
}

@test "no SRV question, but the domain is told" {
	lab_start --no-srv
	cbtrace_start watch --json --domain example.com --server xmpp1.example.com
	attempt_once --domain example.com --server xmpp1.example.com
	attempt_has '.config == "name" and .domain == "example.com" and .server == "xmpp1.example.com"'
}

@test "no SRV question: a server name in the hosts file" {
	lab_start
	hosts_add "2001:db8:2::2 xmpp1.example.com"
	cbtrace_start watch --json
	attempt_once --domain example.com --server xmpp1.example.com
	[ "$(phases)" = "tcp tls" ]
	attempt_has '.config == "address" and .lookups == [] and .domain == null and .legs[0].address == "2001:db8:2::2"'
	attempt_has '.tls.sni == "xmpp1.example.com"'
}

@test "a literal address of either family" {
	lab_start
	cbtrace_start watch --json
	client --domain example.com --server 192.0.2.66 --verify domain
	client --domain example.com --server 2001:db8:2::2 --verify domain
	wait_for 5 has_lines attempt 2
	cbtrace_stop
	[ "$(lines attempt | wc -l)" = 2 ]
	lines attempt | jq -es 'all(.config == "address" and .lookups == [] and .domain == null and .outcome == "connected" and .tls.sni == null) and
		map(.server) == ["192.0.2.66", "2001:db8:2::2"] and map(.legs[0].address) == map(.server)' >/dev/null
}

@test "a server address on another port is traced when told, with --port" {
	lab_start --port 15223
	cbtrace_start watch --json --port 15223
	attempt_once --domain example.com --server 192.0.2.66 --port 15223 --verify domain
	attempt_has '.config == "address" and .legs[0].port == 15223 and .tls.version != null'
}
