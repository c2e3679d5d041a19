#!/usr/bin/env bats
# SPDX-License-Identifier: BSD-2-Clause
# The probes read plaintext in the kernel, and what must stay there stays: no secret, no digest of it, no stream id, no body is in the recording,
# the reports, the memory of cbtrace with the ring, or any of its BPF maps; as it is, in hex or in base64.

load helper

LIBRARY=1
# A process can be met too late for its first attempt (README, Limits): measured anew then.
BATS_TEST_RETRIES=3

setup() {
	e2e_setup
	LABS+=("$NAME")
	RECORDING=$BATS_TEST_TMPDIR/recording
	SECRETS=$BATS_TEST_TMPDIR/secrets
}
teardown() { e2e_teardown; }

SECRET=Xq7Rz2Lw9Kd4Vt8Hn3Bm6Yc1
BODY_OUT="the treasure is buried under the third oak"
BODY_IN="seventeen violins played quietly at midnight"
WINDOW=10 # bytes in a row that count as a leak

leaks() {
	"$BATS_TEST_DIRNAME/leaks" "$@"
}

hex() {
	od -An -v -tx1 | tr -d ' \n'
	echo
}

message() { # FROM TO BODY
	echo "<message from='$1.example.com' to='$2.example.com' type='chat'><body>$3</body></message>"
}

# What was said inside TLS, from the client's own account of it.
secrets_collect() {
	local id digest
	id=$(client_lines register | jq -r .stream_id | head -n 1)
	digest=$(client_lines register | jq -r .handshake | head -n 1 | grep -oE '[0-9a-f]{40}')
	[ ${#id} -ge $WINDOW ]
	# it is what it should be
	[ "$(printf '%s' "$id$SECRET" | sha1sum | cut -d' ' -f1)" = "$digest" ]
	for word in "$SECRET" "$id" "$digest" "$id$SECRET" "$BODY_OUT" "$BODY_IN"; do
		printf '%s' "$word" | hex
	done >"$SECRETS"
	echo "$digest" >>"$SECRETS" # the bytes that it says
	printf '%s' "$SECRET" | base64 -w0 | hex >>"$SECRETS"
}

# A control: the same look finds the component's name, which may leave.
look_finds_what_is_there() { # PLACE…
	local place status
	printf 'callbridge.example.com' | hex >"$BATS_TEST_TMPDIR/allowed"
	for place; do
		status=0
		leaks "$BATS_TEST_TMPDIR/allowed" $WINDOW "$place" >/dev/null || status=$?
		[ $status = 1 ] || { echo "not even the component's name is in $place ($status)"; return 1; }
	done
}

nothing_leaves() { # SERVER TLS CLIENT-ARG…
	local server=$1 version=$2
	shift 2
	lab_again --xmpp "$server" --tls "$version" --secret $SECRET
	cbtrace_start record -o "$RECORDING" --json --events
	client_start --reveal --stay 30000 --answer --send "$(message callbridge callbridge2 "$BODY_OUT")" "$@"
	wait_for 10 client_did register
	"$LAB" client "$NAME" --id callbridge2 --stay 200 --send "$(message callbridge2 callbridge "$BODY_IN")<iq type='get' id='q1' \
from='callbridge2.example.com' to='callbridge.example.com'><query xmlns='jabber:iq:auth'><username>$BODY_IN</username></query></iq>" \
		>"$BATS_TEST_TMPDIR/asker" 3>&-
	wait_for 5 client_did answer
	wait_for 5 has_lines session 3
	secrets_collect
	# while the connection and what the kernel holds of it live
	leaks "$SECRETS" $WINDOW "pid:$CBTRACE_PID" "maps:$CBTRACE_PID"
	look_finds_what_is_there "pid:$CBTRACE_PID" "maps:$CBTRACE_PID"
	kill "$CLIENT_PID"
	client_wait
	wait_for 5 has_lines session 4
	leaks "$SECRETS" $WINDOW "pid:$CBTRACE_PID" "maps:$CBTRACE_PID"
	cbtrace_stop
	"$CBTRACE" replay "$RECORDING" >"$BATS_TEST_TMPDIR/timeline"
	"$CBTRACE" replay --metrics "$RECORDING" >"$BATS_TEST_TMPDIR/metrics"
	"$CBTRACE" replay --json --events "$RECORDING" >"$BATS_TEST_TMPDIR/json"
	cmp "$OUT" "$BATS_TEST_TMPDIR/json"
	leaks "$SECRETS" $WINDOW "$RECORDING" "$OUT" "$BATS_TEST_TMPDIR/timeline" "$BATS_TEST_TMPDIR/metrics"
	look_finds_what_is_there "$RECORDING" "$OUT" "$BATS_TEST_TMPDIR/timeline" "$BATS_TEST_TMPDIR/metrics"
	# what was looked at was looked into
	lines attempt | jq -es 'length == 2 and all(.outcome == "registered")' >/dev/null
	lines session | jq -es 'map(select(.component == "callbridge.example.com" and .state == "down")) |
		length == 1 and (.[0].stanzas_in | IN(2, 3)) and .[0].stanzas_out == 2' >/dev/null # Prosody sends back what nobody takes yet
}

@test "Prosody, TLS 1.3: nothing leaves" {
	nothing_leaves prosody 1.3
}

@test "Prosody, TLS 1.2, memory BIOs, writes of a few bytes: nothing leaves" {
	nothing_leaves prosody 1.2 --mode membio --split 5
}

@test "ejabberd, TLS 1.3, memory BIOs: nothing leaves" {
	nothing_leaves ejabberd 1.3 --mode membio
}

@test "ejabberd, TLS 1.2, non-blocking: nothing leaves" {
	nothing_leaves ejabberd 1.2 --mode nonblocking
}

# In the middle of it: half of the handshake is written, the other half waits. What the kernel keeps between two calls holds none of it.
@test "nothing of half a handshake is kept" {
	lab_again --tls 1.3 --secret $SECRET
	cbtrace_start record -o "$RECORDING" --json --events
	client_start --halt --split 20
	wait_for 10 client_did halt
	client_lines halt | jq -r '.stream_id, (.handshake | ltrimstr("<handshake>"))' >"$BATS_TEST_TMPDIR/words"
	[ "$(awk -v least=$WINDOW 'length($0) >= least' "$BATS_TEST_TMPDIR/words" | wc -l)" = 2 ]
	while read -r word; do printf '%s' "$word" | hex; done <"$BATS_TEST_TMPDIR/words" >"$SECRETS"
	leaks "$SECRETS" $WINDOW "pid:$CBTRACE_PID" "maps:$CBTRACE_PID"
	look_finds_what_is_there "maps:$CBTRACE_PID"
	cbtrace_stop
	leaks "$SECRETS" $WINDOW "$RECORDING"
}

@test "the endpoint and the live timeline show none of it" {
	lab_again --tls 1.3 --secret $SECRET
	for how in "watch" "export --listen 127.0.0.1:0"; do
		: >"$CLIENT_OUT"
		# shellcheck disable=SC2086 # several words
		cbtrace_start $how
		client --reveal --send "$(message callbridge callbridge2 "$BODY_OUT")" --stay 100
		secrets_collect
		case $how in
		export*)
			port=$(grep -o '127\.0\.0\.1:[0-9]*' "$ERR")
			wait_for 5 endpoint_knows "$port"
			;;
		*)
			wait_for 5 grep -q registered "$OUT"
			cp "$OUT" "$BATS_TEST_TMPDIR/endpoint"
			;;
		esac
		leaks "$SECRETS" $WINDOW "pid:$CBTRACE_PID" "maps:$CBTRACE_PID" "$BATS_TEST_TMPDIR/endpoint"
		look_finds_what_is_there "$BATS_TEST_TMPDIR/endpoint"
		cbtrace_stop
	done
}

endpoint_knows() { # ADDRESS
	curl -s "http://$1/metrics" >"$BATS_TEST_TMPDIR/endpoint" && grep -q 'outcome="registered"} 1' "$BATS_TEST_TMPDIR/endpoint"
}
