# SPDX-License-Identifier: BSD-2-Clause
# shellcheck shell=bash
# Configuration of the lab's servers, and how to see that each is ready. Sourced by tests/lab/lab, which owns the
# namespaces and processes; everything here writes below $STATE and reads the options of `lab start` (O_*).

DOMAINS=(example.com example.net)
COMPONENTS=(callbridge callbridge{2..8})

# The addresses of a name, as the lab's DNS answers them: with both ends on one host the servers are on loopback.
server_addresses() { # xmpp1|xmpp2
	local -A v4=([xmpp1]=192.0.2.66 [xmpp2]=192.0.2.67) v6=([xmpp1]=2001:db8:2::2 [xmpp2]=2001:db8:2::3)
	if [ "$O_BOTH_ENDS" = 1 ]; then
		v4=([xmpp1]=127.0.0.1 [xmpp2]=127.0.0.2)
		v6=([xmpp1]=::1 [xmpp2]=::1)
	fi
	[ "$O_IPV6_ONLY" = 1 ] || echo "${v4[$1]}"
	echo "${v6[$1]}"
}

# --- DNS ---

dnsmasq_config() {
	local domain host addresses
	echo "no-resolv
no-hosts
no-daemon
user=root
pid-file=
bind-interfaces
listen-address=$(IFS=,; echo "${DNS_ADDRESSES[*]}")"
	for domain in "${DOMAINS[@]}"; do
		echo "local=/$domain/"
		if [ "$O_SRV" = 1 ]; then
			echo "srv-host=_xmpp-component._tcp.$domain,xmpp1.$domain,$O_PORT,10,60"
			echo "srv-host=_xmpp-component._tcp.$domain,xmpp2.$domain,$O_PORT,20,40"
		fi
		for host in xmpp1 xmpp2; do
			addresses=$(server_addresses "$host" | paste -sd,)
			echo "host-record=$host.$domain,$addresses"
		done
	done
}

unbound_config() {
	local address domain i
	echo 'server:
	username: ""
	chroot: ""
	pidfile: ""
	use-syslog: no
	verbosity: 1
	do-daemonize: no
	module-config: "iterator"
	access-control: 0.0.0.0/0 allow
	access-control: ::/0 allow
	do-not-query-localhost: yes'
	for address in "${DNS_ADDRESSES[@]}"; do
		echo "	interface: $address"
	done
	# A small limit and many records: the answer is truncated and asked for again over TCP.
	[ "$O_EXTRA_SRV" = 0 ] || echo '	max-udp-size: 512'
	for domain in "${DOMAINS[@]}"; do
		echo "	local-zone: \"$domain.\" static"
		if [ "$O_SRV" = 1 ]; then
			unbound_srv "$domain" 10 60 xmpp1
			unbound_srv "$domain" 20 40 xmpp2
			for ((i = 1; i <= O_EXTRA_SRV; i++)); do
				unbound_srv "$domain" $((30 + i)) 1 "spare-with-a-long-name-$i"
			done
		fi
		unbound_host "$domain" xmpp1
		unbound_host "$domain" xmpp2
	done
	echo 'remote-control:
	control-enable: no'
}

unbound_srv() { # DOMAIN PRIORITY WEIGHT HOST
	echo "	local-data: \"_xmpp-component._tcp.$1. 60 IN SRV $2 $3 $O_PORT $4.$1.\""
}

unbound_host() { # DOMAIN HOST
	local address type
	while read -r address; do
		case $address in *:*) type=AAAA ;; *) type=A ;; esac
		echo "	local-data: \"$2.$1. 60 IN $type $address\""
	done < <(server_addresses "$2")
}

# The forwarder that many hosts run: no cache, so that each question goes on to the real server.
forwarder_config() {
	echo "no-resolv
no-hosts
no-daemon
user=root
pid-file=
cache-size=0
bind-interfaces
listen-address=127.0.0.1
server=${DNS_ADDRESSES[0]}"
}

dns_start() {
	case $O_DNS in
	dnsmasq)
		dnsmasq_config >"$STATE/dnsmasq.conf"
		process_start dns dns "" dnsmasq -C "$STATE/dnsmasq.conf"
		;;
	unbound)
		unbound_config >"$STATE/unbound.conf"
		process_start dns dns "" unbound -d -c "$STATE/unbound.conf"
		;;
	esac
	if [ "$O_FORWARDER" = 1 ]; then
		forwarder_config >"$STATE/forwarder.conf"
		process_start forwarder cb server dnsmasq -C "$STATE/forwarder.conf"
	fi
}

dns_wait() {
	wait_until dns listens dns udp 53
	[ "$O_FORWARDER" = 0 ] || wait_until forwarder listens cb udp 53
}

# --- XMPP ---

prosody_config() {
	local domain name protocol conflict=deny more=
	local -A protocols=([1.2]=tlsv1_2 [1.3]=tlsv1_3 [both]=tlsv1_2+)
	protocol=${protocols[$O_TLS]}
	# By itself Prosody resumes nothing.
	[ "$O_TICKETS" = 0 ] || more+=", options = { no_ticket = false }"
	[ "$O_CLIENT_CERT" = 0 ] || more+=", verify = { 'peer', 'fail_if_no_peer_cert' }"
	[ "$O_KICK_OLD" = 0 ] || conflict=kick_old
	mkdir -p "$STATE/prosody" "$STATE/empty"
	echo "run_as_root = true
daemonize = false
data_path = '$STATE/prosody'
pidfile = '$STATE/prosody/pid'
certificates = '$STATE/empty'
modules_disabled = { 's2s', 'c2s', 'offline' }
log = { info = '*console' }
component_conflict_resolve = '$conflict'"
	# With Nagle on, TLS 1.3 loses 42 ms before the stream header: session tickets, then a small write.
	[ "$O_NAGLE" = 1 ] || echo "network_settings = { nagle = false }"
	if [ "$O_PLAIN" = 1 ]; then
		echo "component_ports = { $O_PORT }
component_interfaces = { '*', '::' }
ports = {}"
	else
		echo "modules_enabled = { 'net_multiplex' }
ssl_ports = { $O_PORT }
ssl_interfaces = { '*', '::' }
ports = {}
component_ports = {}
ssl = { certificate = '$CERTS/$O_CERT.crt', key = '$CERTS/$O_CERT.key', protocol = '$protocol'$more }"
	fi
	for domain in "${DOMAINS[@]}"; do
		# Prosody refuses a server name that is none of its hosts, and clients send the FQDN.
		for name in "$domain" "xmpp1.$domain" "xmpp2.$domain"; do
			echo "VirtualHost '$name'"
		done
		for name in "${COMPONENTS[@]}"; do
			echo "Component '$name.$domain'
	component_secret = '$O_SECRET'"
		done
	done
	echo "VirtualHost 'localhost'"
}

ejabberd_config() {
	local domain name versions="no_sslv3,no_tlsv1,no_tlsv1_1"
	case $O_TLS in
	1.2) versions+=,no_tlsv1_3 ;;
	1.3) versions+=,no_tlsv1_2 ;;
	esac
	echo "hosts: [localhost]
loglevel: info
listen:
  - port: $O_PORT
    ip: '::'
    module: ejabberd_service
    global_routes: false"
	[ "$O_PLAIN" = 1 ] || echo "    tls: true
    certfile: $CERTS/$O_CERT.pem
    protocol_options: [$versions]"
	echo "    hosts:"
	for domain in "${DOMAINS[@]}"; do
		for name in "${COMPONENTS[@]}"; do
			echo "      $name.$domain: {password: '$O_SECRET'}"
		done
	done
	echo "modules: {mod_disco: {}, mod_ping: {}}"
}

# Erlang without ejabberdctl: no epmd, no su, nothing outside $STATE.
ejabberd_start() {
	mkdir -p "$STATE/ejabberd"
	ejabberd_config >"$STATE/ejabberd.yml"
	process_start xmpp "$XMPP_HOST" "$XMPP_CGROUP" env HOME="$STATE/ejabberd" ERL_LIBS=/usr/lib/x86_64-linux-gnu \
		EJABBERD_CONFIG_PATH="$STATE/ejabberd.yml" EJABBERD_LOG_PATH="$STATE/ejabberd.log" \
		erl -noinput +sbwt none -mnesia dir "\"$STATE/ejabberd/spool\"" -ejabberd quiet true -s ejabberd
}

xmpp_start() {
	XMPP_HOST=xmpp XMPP_CGROUP=
	if [ "$O_BOTH_ENDS" = 1 ]; then
		XMPP_HOST=cb XMPP_CGROUP=server
	fi
	case $O_XMPP in
	prosody)
		prosody_config >"$STATE/prosody.cfg.lua"
		process_start xmpp "$XMPP_HOST" "$XMPP_CGROUP" prosody -F --config "$STATE/prosody.cfg.lua"
		;;
	ejabberd) ejabberd_start ;;
	esac
}

xmpp_wait() {
	case $O_XMPP in
	prosody) wait_until xmpp listens "$XMPP_HOST" tcp "$O_PORT" ;;
	# It listens before it accepts.
	ejabberd) wait_until xmpp grep -qs "Start accepting .* connections at .*:$O_PORT" "$STATE/ejabberd.log" ;;
	esac
}
