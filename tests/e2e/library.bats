#!/usr/bin/env bats
# SPDX-License-Identifier: BSD-2-Clause
# Inside TLS: the certificate under 1.3, registration and session, of real clients at real servers. The client's own
# brackets are the yardstick.

load helper

LIBRARY=1
COMPONENT=callbridge.example.com
CA=$BUILD/tests/lab/certs/ca.crt

setup() { e2e_setup; }
teardown() { e2e_teardown; }

# Every attempt: registered, joined by the random, the certificate with both names judged, nothing missing.
all_registered() { # N TLS EVIDENCE
	wait_for 10 has_lines attempt "$1"
	cbtrace_stop
	lines attempt | jq -es --argjson n "$1" --arg tls "TLSv$2" --arg evidence "$3" --arg component $COMPONENT '
		length == $n and all(.[]; .outcome == "registered" and .complete and .tls.version == $tls and .tls.joined_by == "random" and
			.certificate.evidence == $evidence and .certificate.domain_match and .certificate.server_match and
			.certificate.verify == "ok" and .certificate.key_type == "EC prime256v1" and .certificate.self_signed == false and
			.registration.protocol == "xep0114" and .registration.component == $component and .registration.result == "success" and
			.registration.duration_ns > 0 and .missing == [] and .timeline[-1].phase == "register")' >/dev/null || {
		lines attempt | jq -c '{outcome, reason, missing, tls, certificate, registration}' >&2
		return 1
	}
}

own_client() { # SERVER TLS
	local mode evidence=library
	[ "$2" = 1.3 ] || evidence=wire
	lab_start --xmpp "$1" --tls "$2"
	cbtrace_start watch --json
	for mode in blocking nonblocking membio; do
		client --domain example.com --mode $mode --attempts 2
	done
	all_registered 6 "$2" $evidence
	jq -s 'group_by(.call)[] | select(.[0].call == "register") | length' "$CLIENT_OUT" | grep -qx 6
}

# brackets numbers the attempts of one process.
own_brackets() {
	local pid
	client --domain example.com --attempts 4
	wait_for 10 has_lines attempt 4
	cbtrace_stop
	pid=$(lines attempt | jq -s '.[0].pid')
	lines attempt | "$BATS_TEST_DIRNAME/brackets" "$pid" "$CLIENT_OUT"
}

@test "Prosody, TLS 1.3: three modes of a client" { own_client prosody 1.3; }
@test "Prosody, TLS 1.2: three modes of a client" { own_client prosody 1.2; }
@test "ejabberd, TLS 1.3: three modes of a client" { own_client ejabberd 1.3; }
@test "ejabberd, TLS 1.2: three modes of a client" { own_client ejabberd 1.2; }

@test "registration inside the client's bracket" {
	lab_start --tls 1.3
	cbtrace_start watch --json
	own_brackets
	[ "$(lines attempt | jq -s '[.[].timeline[] | select(.phase == "register")] | length')" = 4 ]
}

# --- other clients ---

other_client() { # CMD…
	lab run client "$@" >>"$CLIENT_OUT"
	client_did register
}

other_registered() {
	wait_for 10 has_lines attempt 1
	cbtrace_stop
	lines attempt | jq -es --arg component $COMPONENT 'length == 1 and (.[0] | .outcome == "registered" and .certificate.evidence == "library" and
		.certificate.domain_match and .certificate.server_match and .registration.component == $component)' >/dev/null
	# Its own measurement holds ours.
	"$BATS_TEST_DIRNAME/within" "$CLIENT_OUT" < <(lines attempt)
}

@test "python3-slixmpp: c-ares, memory BIO, the _ex calls" {
	/usr/bin/python3 -c 'import slixmpp' 2>/dev/null || skip "needs python3-slixmpp"
	lab_start --tls 1.3
	cbtrace_start watch --json
	other_client /usr/bin/python3 "$ROOT/tests/lab/clients/slix.py" "$CA" example.com $COMPONENT secret 300
	other_registered
}

@test "Node with @xmpp/component: OpenSSL inside the executable" {
	local modules
	modules=$("$ROOT/tests/lab/clients/node-modules") || skip "needs node and npm with a registry"
	lab_start --tls 1.3
	cbtrace_start watch --json
	NODE_PATH=$modules other_client env NODE_PATH="$modules" node "$ROOT/tests/lab/clients/node.js" "$CA" example.com $COMPONENT secret 300
	other_registered
}

# Nothing to look into: the rest must be right, and what is hidden says so.
other_connected() {
	wait_for 10 has_lines attempt 1
	cbtrace_stop
	lines attempt | jq -es 'length == 1 and (.[0] | .outcome == "connected" and .tls.joined_by == null and .certificate == null and
		.registration == null and .missing == ["not_visible"] and .complete and .tls.version == "TLSv1.3" and
		([.timeline[].phase] | index("tls")))' >/dev/null
	"$BATS_TEST_DIRNAME/within" "$CLIENT_OUT" < <(lines attempt)
}

@test "GnuTLS: connected, and what is hidden says so" {
	lab_start --tls 1.3
	cbtrace_start watch --json
	other_client "$BUILD/tests/lab/clients/gnutls" "$CA" example.com $COMPONENT secret 1500
	other_connected
}

@test "Java: connected, and what is hidden says so" {
	local trust=$BATS_TEST_TMPDIR/trust.p12
	command -v java >/dev/null || skip "needs java"
	keytool -importcert -noprompt -alias ca -file "$CA" -keystore "$trust" -storetype PKCS12 -storepass secret 2>/dev/null
	lab_start --tls 1.3
	cbtrace_start watch --json
	other_client java "$ROOT/tests/lab/clients/Jsse.java" "$trust" example.com $COMPONENT secret 1500
	other_connected
}

# --- failures ---

refused() { # SERVER ERROR ARG…
	local server=$1 error=$2
	shift 2
	lab_start --xmpp "$server"
	cbtrace_start watch --json --idle 1
	client --domain example.com "$@" || true
	wait_for 15 has_lines attempt 1
	cbtrace_stop
	lines attempt | jq -es --arg error "$error" 'length == 1 and (.[0] | .outcome == "failed" and .failed_phase == "register" and
		.reason == $error and .registration.result == "failure" and .registration.error == $error)' >/dev/null
}

@test "wrong secret: Prosody" { refused prosody not_authorized --secret wrong; }
@test "wrong secret: ejabberd" { refused ejabberd not_authorized --secret wrong; }
@test "unknown component: Prosody" { refused prosody host_unknown --id nobody.example.com; }
# ejabberd opens the stream to anybody and refuses the handshake.
@test "unknown component: ejabberd" { refused ejabberd not_authorized --id nobody.example.com; }

@test "conflict after the right secret is not registered" {
	lab_start
	client_start other --domain example.com --stay 20000
	wait_for 5 client_did register
	cbtrace_start watch --json --idle 1 --cgroup "$(lab_cgroup client)"
	client --domain example.com || true
	wait_for 15 has_lines attempt 1
	cbtrace_stop
	lines attempt | jq -es 'length == 1 and (.[0] | .outcome == "failed" and .reason == "conflict" and .failed_phase == "register")' >/dev/null
}

session_ends() { # REASON BY
	wait_for 10 has_lines session 2
	cbtrace_stop
	lines session | jq -es --arg reason "$1" --arg by "$2" --arg component $COMPONENT 'length == 2 and .[0].state == "up" and .[0].registered and
		(.[1] | .state == "down" and .end_reason == $reason and .ended_by == $by and .component == $component and .bytes_in > 0 and .bytes_out > 0)' \
		>/dev/null || { lines session >&2; return 1; }
}

@test "session: the client closes" {
	lab_start
	cbtrace_start watch --json
	client --domain example.com --stay 500
	session_ends close_notify client
}

@test "session: the server closes after registration" {
	lab_start
	cbtrace_start watch --json
	client_start --domain example.com --stay 20000
	wait_for 5 client_did register
	wait_for 5 has_lines session 1
	kill -TERM "$(lab pid xmpp)"
	wait_for 10 has_lines session 2
	cbtrace_stop
	lines session | jq -es '.[1] | .state == "down" and .ended_by == "server"' >/dev/null
}

@test "session: reset" {
	lab_start
	cbtrace_start watch --json
	client_start --domain example.com --stay 20000
	wait_for 5 has_lines session 1
	lab fault cut
	session_ends reset server
}

@test "session: the process is killed" {
	lab_start
	cbtrace_start watch --json
	client_start --domain example.com --stay 20000
	wait_for 5 has_lines session 1
	kill -KILL "$CLIENT_PID"
	session_ends process_exit process
}

# --- many ---

@test "200 registrations by 8 processes: none missed, none mixed up" {
	local k pids=()
	lab_start --tls 1.3
	cbtrace_start watch --json
	for k in 1 2 3 4 5 6 7 8; do
		"$LAB" client "$NAME" client --domain example.com --id "cb$k.example.com" --attempts 25 --until-registered 0 --stay 0 \
			>"$BATS_TEST_TMPDIR/client.$k" 3>&- &
		pids+=($!)
	done
	for k in "${pids[@]}"; do wait "$k"; done
	wait_for 20 has_lines attempt 200
	cbtrace_stop
	lines attempt >"$BATS_TEST_TMPDIR/attempts"
	jq -es 'length == 200 and all(.[]; .outcome == "registered" and .complete and .tls.joined_by == "random" and .certificate.evidence == "library") and
		(group_by(.pid) | length == 8 and all(.[]; length == 25 and ([.[].registration.component] | unique | length == 1)))' \
		"$BATS_TEST_TMPDIR/attempts" >/dev/null
	[ "$(jq -s '[.[].registration.component] | unique | length' "$BATS_TEST_TMPDIR/attempts")" = 8 ]
}

@test "a client that registers at once after its exec, 50 of 50" {
	local k
	lab_start --tls 1.3
	cbtrace_start watch --json
	for k in $(seq 50); do
		client --domain example.com --stay 0
	done
	wait_for 20 has_lines attempt 50
	cbtrace_stop
	[ "$(lines attempt | jq -s '[.[] | select(.outcome == "registered" and .certificate != null)] | length')" = 50 ]
}

@test "a service restarted ten times registers ten times" {
	local k
	lab_start --tls 1.3
	cbtrace_start watch --json --cgroup "$(lab_cgroup client)"
	for k in $(seq 10); do
		client --domain example.com --stay 0
		rmdir "$(lab_cgroup client)"
	done
	wait_for 20 has_lines attempt 10
	cbtrace_stop
	[ "$(lines attempt | jq -s '[.[] | select(.outcome == "registered")] | length')" = 10 ]
}

@test "a client that runs before cbtrace is looked into from its next attempt on" {
	lab_start --tls 1.3
	client_start --domain example.com --attempts 3 --interval 1500 --stay 0
	wait_for 5 client_did register
	cbtrace_start watch --json
	wait_for 10 has_lines attempt 2
	cbtrace_stop
	[ "$(lines attempt | jq -s '[.[] | select(.outcome == "registered" and .certificate.evidence == "library")] | length')" -ge 2 ]
}

# --- Nagle ---

nagle() { # SERVER TLS OPTIONS…: how many attempts of 4 have the finding
	local server=$1 tls=$2
	shift 2
	lab_start --xmpp "$server" --tls "$tls" "$@"
	cbtrace_start watch --json
	client --domain example.com --attempts 4
	wait_for 10 has_lines attempt 4
	cbtrace_stop
	lines attempt | jq -s '[.[] | select(any(.findings[]; .code == "nagle_delayed_ack" and .phase == "register" and .cost_ns > 30000000))] | length'
}

@test "Nagle against a delayed ACK: Prosody with TLS 1.3, every time" {
	[ "$(nagle prosody 1.3 --nagle)" = 4 ]
}

@test "Nagle against a delayed ACK: not with TLS 1.2" {
	[ "$(nagle prosody 1.2 --nagle)" = 0 ]
}

@test "Nagle against a delayed ACK: not with ejabberd" {
	[ "$(nagle ejabberd 1.3)" = 0 ]
}

# --- scope and switches ---

@test "a process out of scope has no probe" {
	local pid hits
	lab_start
	cbtrace_start watch --json --cgroup "$(lab_cgroup client)"
	client_start other --domain example.com --stay 20000
	wait_for 5 client_did register
	pid=$(jq -s '.[0].pid // empty' "$CLIENT_OUT")
	# Breakpoints are private pages of the library's text: one that has none has no dirty code page.
	[ "$(awk '/libssl/ { text = $2 ~ /x/ } /^Private_Dirty:/ && text { n += $2; text = 0 } END { print n + 0 }' "/proc/${pid:-$CLIENT_PID}/smaps")" = 0 ]
	client_start client --domain example.com --id cb2.example.com --stay 20000
	wait_for 5 has_lines attempt 1
	[ "$(awk '/libssl/ { text = $2 ~ /x/ } /^Private_Dirty:/ && text { n += $2; text = 0 } END { print n + 0 }' "/proc/$CLIENT_PID/smaps")" -gt 0 ]
	cbtrace_stop
}

@test "--no-library switches it off" {
	lab_start --tls 1.3
	cbtrace_start watch --json --no-library
	client --domain example.com --stay 1200
	wait_for 5 has_lines attempt 1
	cbtrace_stop
	lines attempt | jq -es '.[0] | .outcome == "connected" and .certificate == null and .registration == null and .missing == ["not_visible"]' >/dev/null
}

@test "check --pid says what was found" {
	lab_start
	client_start --domain example.com --stay 20000
	wait_for 5 client_did register
	"$CBTRACE" check --pid "$CLIENT_PID" >"$OUT"
	grep -E '^ok +library .*libssl\.so\.3.*libcrypto\.so\.3' "$OUT"
	"$CBTRACE" check --pid $$ >"$OUT"
	grep -E '^- +library .*no OpenSSL' "$OUT"
}

@test "nothing is left behind: no event of tracefs, no program" {
	lab_start
	cbtrace_start watch --json
	client --domain example.com
	cbtrace_stop
	not "$BATS_TEST_DIRNAME/uprobe-events" | grep -q "cbtrace_$CBTRACE_PID/"
	# Killed, it cannot tidy up; the next one does.
	cbtrace_start watch --json
	client --domain example.com
	cbtrace_stop KILL
	cbtrace_start watch --json
	cbtrace_stop
	not "$BATS_TEST_DIRNAME/uprobe-events" | grep -q "cbtrace_"
	not sh -c 'bpftool prog list | grep -q " name lib_"'
}
