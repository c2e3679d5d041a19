#!/usr/bin/env bats
# SPDX-License-Identifier: BSD-2-Clause
# Every line of --json --events is of the form that docs/schema promises, whatever happened.

load helper

setup() { e2e_setup; }
teardown() { e2e_teardown; }

# Of each line: its kind has a schema, which it satisfies; the same key twice, or a number that is none, is no JSON to us.
validator() {
	cat <<-'END'
		import collections, json, pathlib, sys
		import jsonschema

		def once(pairs):
		    keys = [key for key, _ in pairs]
		    assert len(keys) == len(set(keys)), f"a key twice: {keys}"
		    return dict(pairs)

		def never(word):
		    raise ValueError(word)

		schemas = {path.stem: json.loads(path.read_text()) for path in pathlib.Path(sys.argv[1]).glob("*.json")}
		for schema in schemas.values():
		    jsonschema.Draft202012Validator.check_schema(schema)
		validators = {kind: jsonschema.Draft202012Validator(schema) for kind, schema in schemas.items()}
		wrong, seen = 0, collections.Counter()
		for line in open(sys.argv[2], encoding="utf-8", errors="strict"):
		    assert line.endswith("\n") and line.startswith('{"kind":"'), line
		    value = json.loads(line, object_pairs_hook=once, parse_constant=never)
		    seen[value["kind"]] += 1
		    for error in validators[value["kind"]].iter_errors(value):
		        wrong += 1
		        print(f"{value['kind']}: {error.json_path}: {error.message}")
		print(dict(seen))
		missing = set(sys.argv[3:]) - set(seen)
		assert not missing, f"none of {missing}"
		sys.exit(1 if wrong else 0)
	END
}

lines_are_valid() { # KIND…: those that must be among them
	validator >"$BATS_TEST_TMPDIR/validator.py"
	python3 "$BATS_TEST_TMPDIR/validator.py" "$ROOT/docs/schema" "$OUT" "$@"
}

outcomes() { # sorted, each once
	lines attempt | jq -sc 'map([.outcome, .failed_phase, .reason | . // "-"] | join(" ")) | unique'
}

watch_start() {
	cbtrace_start watch --json --events
}

@test "good, resumed, failed over, refused, silent, killed, interrupted" {
	lab_start --tls 1.2 --tickets
	watch_start
	client --domain example.com --attempts 2 --resume
	client --domain example.net --mode membio --no-register --stay 1200
	client --server 192.0.2.66 --domain example.com
	client --server xmpp1.example.com --domain example.com
	lab fault reset xmpp1
	client --domain example.com
	lab fault reset xmpp2
	not client --domain example.com
	not client --domain nothing.example.com
	lab fault clear
	lab fault drop dns
	not client --domain example.net
	lab fault clear
	wait_for 20 has_lines attempt 9
	lab fault freeze xmpp
	legs=$(lines leg | wc -l)
	client_start --domain example.com --timeout 60000
	wait_for 10 has_lines leg $((legs + 1))
	kill -KILL "$CLIENT_PID"
	wait_for 10 has_lines attempt 10
	client_start --domain example.net --timeout 60000
	wait_for 10 has_lines leg $((legs + 2))
	cbtrace_stop

	[ "$(lines attempt | wc -l)" = 11 ]
	[ "$(outcomes)" = '["- - -","abandoned tls process_exit","connected - -","failed srv nxdomain","failed srv timeout","failed tcp refused"]' ]
	lines_are_valid attempt lookup leg session
}

attempts_of_both() {
	[ "$(lines attempt | grep -c "cbtrace-lab-$NAME")" -ge 2 ]
}

@test "certificates that are refused, with TLS 1.2 and 1.3" {
	lab_start --cert no-domain --tls 1.2
	lab_start_other x --cert expired --tls 1.3
	cbtrace_start watch --json --events --cgroup "$(dirname "$(lab_cgroup)")"
	not client --domain example.com
	not "$LAB" client "${NAME}x" --domain example.com >>"$CLIENT_OUT" 3>&-
	wait_for 10 attempts_of_both
	cbtrace_stop
	[ "$(lines attempt | grep "cbtrace-lab-$NAME" | jq -sc 'map(.failed_phase)')" = '["tls","tls"]' ]
	lines_are_valid attempt lookup leg
}

@test "ejabberd, a forwarder, IPv6 only" {
	lab_start --xmpp ejabberd --forwarder --ipv6-only
	watch_start
	client --domain example.com --attempts 2
	wait_for 10 has_lines session 4
	cbtrace_stop
	lines attempt | jq -es 'all(.[]; .outcome == "connected" and any(.lookups[]; .upstream != []))'
	lines_are_valid attempt lookup leg session
}

@test "truncated answers over TCP, a server without TLS" {
	lab_start --extra-srv 30 --plain
	watch_start
	not client --domain example.com
	wait_for 20 has_lines attempt 1
	cbtrace_stop
	lines attempt | jq -es '.[0].failed_phase == "tls" and .[0].lookups[0].transport == "tcp" and (.[0].lookups[0].answers | length) == 32'
	lines_are_valid attempt lookup leg
}
