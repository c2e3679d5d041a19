#!/usr/bin/env bats
# SPDX-License-Identifier: BSD-2-Clause
# The metrics agree with the timelines of the same attempts, and the endpoint does what it says.

bats_require_minimum_version 1.5.0
load helper

setup() {
	e2e_setup
	REC=$BATS_TEST_TMPDIR/recording
	METRICS=$BATS_TEST_TMPDIR/metrics
	EXPORT_ERR=$BATS_TEST_TMPDIR/export.err
}

teardown() {
	e2e_teardown
	if [ -z "${BATS_TEST_COMPLETED-}" ] && [ -s "$METRICS" ]; then
		grep -v _bucket "$METRICS"
	fi
}

# Beside the one that cbtrace_start starts, at a port that was free.
export_start() { # ARG…
	"$CBTRACE" export --listen 127.0.0.1:0 --no-library --cgroup "$(lab_cgroup)" "$@" >"$BATS_TEST_TMPDIR/export.out" 2>"$EXPORT_ERR" 3>&- &
	EXPORT_PID=$!
	E2E_PIDS+=("$EXPORT_PID")
	wait_for 10 grep -q '^cbtrace: ready' "$EXPORT_ERR"
	URL=$(sed -n 's,^cbtrace: ready (\(http://[^/]*\)/metrics.*,\1,p' "$EXPORT_ERR")
	[ -n "$URL" ]
}

scrape() {
	curl -sf --max-time 10 "$URL/metrics" >"$METRICS"
}

sample() { # NAME{LABELS}, labels in order; prints the value
	awk -v name="$1" 'index($0, name " ") == 1 { print $NF; found = 1 } END { exit !found }' "$METRICS"
}

# As a condition for wait_for.
scraped_at_least() { # NAME{LABELS} N
	local value
	scrape && value=$(sample "$1") && [ "$value" -ge "$2" ]
}

nothing_in_flight() {
	scrape && [ "$(sample cbtrace_attempts_in_flight)" = 0 ]
}

# All that the metrics say of attempts, recomputed from their JSON lines. Those of another cbtrace may differ a little in their lengths: its
# programs run just before or after on the same packet.
agree() { # SECONDS-OF-TOLERANCE < JSON lines
	cat >"$BATS_TEST_TMPDIR/lines"
	cat >"$BATS_TEST_TMPDIR/agree.py" <<-'END'
		import collections, json, re, sys

		tolerance = float(sys.argv[1])
		samples = {}
		for line in open(sys.argv[2]):
		    if not line.startswith("#"):
		        name, labels, value = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)\n", line).groups()
		        samples[name, frozenset(re.findall(r'(\w+)="([^"]*)"', labels or ""))] = float(value)
		attempts = [a for a in map(json.loads, open(sys.argv[3])) if a["kind"] == "attempt"]
		assert attempts, "no attempts"
		wanted = collections.Counter()
		histograms = collections.defaultdict(list)

		def labels(**names):
		    return frozenset((key, value or "") for key, value in names.items())

		for a in attempts:
		    pair = {"domain": a["domain"], "server": a["server"]}
		    for cause in a["missing"]:
		        if cause not in ("not_visible", "not_sent"):
		            wanted["cbtrace_attempts_incomplete_total", labels(cause=cause)] += 1
		    for leg in a["legs"]:
		        wanted["cbtrace_tcp_syn_retransmits_total", labels(**pair)] += max(leg["syn_sent"] - 1, 0)
		    for finding in a["findings"]:
		        wanted["cbtrace_findings_total", labels(domain=a["domain"], code=finding["code"])] += 1
		    for lookup in filter(lambda lookup: lookup["duration_ns"] is not None, a["lookups"]):
		        names = labels(domain=a["domain"], type=lookup["type"], rcode=lookup["rcode"] or "none")
		        histograms["cbtrace_dns_lookup_duration_seconds", names].append(lookup["duration_ns"] / 1e9)
		    if a["outcome"] is None:
		        continue  # interrupted: its questions have ended, it has not
		    for outcome in ("registered", "connected", "failed", "abandoned"):
		        wanted["cbtrace_attempts_total", labels(**pair, outcome=outcome)] += a["outcome"] == outcome
		    if a["reason"]:
		        wanted["cbtrace_attempt_failures_total", labels(**pair, phase=a["failed_phase"], reason=a["reason"])] += 1
		    histograms["cbtrace_attempt_duration_seconds", labels(**pair, outcome=a["outcome"])].append(a["total_ns"] / 1e9)
		    phases = collections.Counter()
		    for entry in a["timeline"]:
		        phases[entry["phase"]] += entry["end_ns"] - entry["start_ns"]
		    for phase, ns in phases.items():
		        histograms["cbtrace_phase_duration_seconds", labels(**pair, phase=phase)].append(ns / 1e9)

		wrong = 0

		def check(key, value, least=0.0):
		    global wrong
		    if key not in samples or abs(samples[key] - value) > least:
		        wrong += 1
		        print(f"{key[0]} {sorted(key[1])}: {samples.get(key)}, not {value}")

		for key, value in wanted.items():
		    if value or key in samples:
		        check(key, value)
		for (name, names), values in histograms.items():
		    check((name + "_count", names), len(values))
		    check((name + "_sum", names), sum(values), 1e-9 + tolerance * len(values))
		    for (other, bucket), count in samples.items():
		        bound = dict(bucket).get("le")
		        if other == name + "_bucket" and bucket - {("le", bound)} == names:
		            low = sum(v <= float(bound) - tolerance for v in values)
		            high = sum(v <= float(bound) + tolerance for v in values)
		            if not low <= count <= high:
		                wrong += 1
		                print(f"{other} {sorted(bucket)}: {count}, not {low} to {high}")

		# and nothing beyond: no sample of these that no attempt explains
		families = {name for name, _ in wanted} | {"cbtrace_attempt_failures_total"}
		for (name, names), value in samples.items():
		    if name in families and (name, names) not in wanted and value:
		        wrong += 1
		        print(f"{name} {sorted(names)}: {value}, of no attempt")
		    if name.endswith("_count") and (name[: -len("_count")], names) not in histograms and value:
		        wrong += 1
		        print(f"{name} {sorted(names)}: {value}, of no attempt")
		print(f"{len(attempts)} attempts, {len(wanted)} counters, {len(histograms)} histograms")
		sys.exit(1 if wrong else 0)
	END
	python3 "$BATS_TEST_TMPDIR/agree.py" "$1" "$METRICS" "$BATS_TEST_TMPDIR/lines"
}

EXAMPLE='domain="example.com",server="xmpp1.example.com"'

certificate_end() {
	local end
	end=$(openssl x509 -in "$BUILD/tests/lab/certs/good.crt" -noout -enddate)
	date -ud "${end#*=}" +%s
}

no_loss() {
	grep -q '^cbtrace_events_lost_total{stage="ring"} ' "$METRICS"
	[ "$(awk '/^cbtrace_events_lost_total/ { n += $NF } END { print n + 0 }' "$METRICS")" = 0 ]
}

@test "metrics agree with the timelines of another cbtrace, and with the recording" {
	lab_start --tls 1.2
	export_start
	cbtrace_start record -o "$REC" --json
	# before the first attempt
	scrape
	promtool check metrics <"$METRICS"
	not grep -q '^cbtrace_attempts_total' "$METRICS"

	# good ones
	client --domain example.com --attempts 3
	client --domain example.net --mode membio
	# one that fails over, after SYNs that nobody answered
	lab fault drop xmpp1
	client --domain example.com --timeout 1500
	lab fault clear
	# one refused by both servers
	lab fault reset xmpp
	not client --domain example.com
	lab fault clear
	# one that DNS does not answer
	lab fault drop dns
	not client --domain example.net
	lab fault clear
	wait_for 20 has_lines attempt 7
	wait_for 10 scraped_at_least "cbtrace_attempts_total{domain=\"example.com\",server=\"xmpp2.example.com\",outcome=\"connected\"}" 1
	# one whose process is killed
	lab fault freeze xmpp
	client_start --domain example.com --timeout 60000
	wait_for 10 scraped_at_least cbtrace_attempts_in_flight 1
	kill -KILL "$CLIENT_PID"
	wait_for 20 has_lines attempt 8
	wait_for 20 nothing_in_flight
	cbtrace_stop
	[ "$CBTRACE_STATUS" = 0 ]
	[ "$(lines attempt | wc -l)" = 8 ]

	# the endpoint's against the other's timelines
	promtool check metrics <"$METRICS"
	agree 0.0005 <"$OUT"
	no_loss
	[ "$(sample "cbtrace_attempts_total{$EXAMPLE,outcome=\"connected\"}")" = 3 ]
	[ "$(sample "cbtrace_attempts_total{$EXAMPLE,outcome=\"registered\"}")" = 0 ]
	[ "$(sample "cbtrace_phase_duration_seconds_count{$EXAMPLE,phase=\"tls\"}")" -ge 3 ]
	[ "$(printf %.0f "$(sample "cbtrace_certificate_not_after_timestamp_seconds{$EXAMPLE}")")" = "$(certificate_end)" ]
	[ "$(sample "cbtrace_certificate_san_match{$EXAMPLE,name=\"domain\"}")" = 1 ]
	[ "$(sample "cbtrace_certificate_san_match{$EXAMPLE,name=\"server\"}")" = 1 ]

	# and the recording's, exactly
	"$CBTRACE" replay "$REC" --metrics >"$METRICS"
	promtool check metrics <"$METRICS"
	"$CBTRACE" replay "$REC" --json | agree 0
	no_loss
	[ "$(printf %.0f "$(sample "cbtrace_certificate_not_after_timestamp_seconds{$EXAMPLE}")")" = "$(certificate_end)" ]
}

@test "a certificate that names only the domain" {
	lab_start --tls 1.2 --cert no-server
	export_start
	client --domain example.com --verify domain
	wait_for 10 scraped_at_least "cbtrace_attempts_total{$EXAMPLE,outcome=\"connected\"}" 1
	[ "$(sample "cbtrace_certificate_san_match{$EXAMPLE,name=\"domain\"}")" = 1 ]
	[ "$(sample "cbtrace_certificate_san_match{$EXAMPLE,name=\"server\"}")" = 0 ]
}

@test "an interrupted attempt has no outcome" {
	lab_start
	lab fault freeze xmpp
	cbtrace_start record -o "$REC" --json --events
	client_start --domain example.com --timeout 60000
	wait_for 10 has_lines leg 1
	cbtrace_stop
	"$CBTRACE" replay "$REC" --metrics >"$METRICS"
	promtool check metrics <"$METRICS"
	agree 0 <"$OUT"
	[ "$(sample 'cbtrace_attempts_incomplete_total{cause="interrupted"}')" = 1 ]
}

status_of() { # METHOD PATH
	curl -s --max-time 10 -o "$BATS_TEST_TMPDIR/body" -w '%{http_code}' -X "$1" "$URL$2"
}

@test "endpoint: health, what is not there, what is not allowed, and its end" {
	lab_start --xmpp none
	export_start
	[ "$(status_of GET /healthz)" = 200 ]
	[ "$(cat "$BATS_TEST_TMPDIR/body")" = ok ]
	[ "$(status_of GET /)" = 200 ]
	[ "$(status_of GET /metrics)" = 200 ]
	grep -q '^cbtrace_build_info' "$BATS_TEST_TMPDIR/body"
	for path in /metric /metrics/ /attempts /../etc/passwd /healthz2; do
		[ "$(status_of GET "$path")" = 404 ]
	done
	for method in POST PUT DELETE OPTIONS; do
		[ "$(status_of $method /metrics)" = 405 ]
	done
	[ "$(curl -sI --max-time 10 -o "$BATS_TEST_TMPDIR/head" -w '%{http_code} %{size_download}' "$URL/metrics")" = '200 0' ]
	grep -qi '^content-type: text/plain; version=0.0.4' "$BATS_TEST_TMPDIR/head"

	kill -TERM "$EXPORT_PID"
	wait "$EXPORT_PID"
	[ "$(wc -l <"$EXPORT_ERR")" = 1 ]
}

@test "endpoint: a port that is taken, an address that is not ours" {
	lab_start --xmpp none
	export_start
	for address in "${URL#http://}" 192.0.2.200:0; do
		run --separate-stderr "$CBTRACE" export --listen "$address" --cgroup "$(lab_cgroup)"
		[ "$status" = 2 ]
		[ -z "$output" ]
		[ "${#stderr_lines[@]}" = 1 ]
		[[ $stderr == "cbtrace: "*"${address%:0}"*--listen* ]]
	done
	# the first one does not mind
	[ "$(status_of GET /healthz)" = 200 ]
}
