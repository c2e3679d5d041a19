// SPDX-License-Identifier: BSD-2-Clause
// node.js CA DOMAIN COMPONENT SECRET STAY_MS: registers with @xmpp/component over direct TLS (c-ares for SRV, getaddrinfo,
// OpenSSL inside the executable) and stays. Prints the same JSON lines as tests/lab/client.c, times in ns of
// CLOCK_MONOTONIC. NODE_PATH must lead to @xmpp/component.
"use strict";

const dns = require("dns").promises;
const fs = require("fs");
const tls = require("tls");
const { EventEmitter } = require("events");
const { component } = require("@xmpp/component");

const [ca, domain, name, secret, stayMs] = process.argv.slice(2);
const now = () => Number(process.hrtime.bigint());
const said = (call, begin, result = "ok") => console.log(JSON.stringify({ call, begin, end: now(), result }));

let tlsBegin, registerBegin;

// What the library wants of a socket, over TLS from the first byte.
class DirectTls extends EventEmitter {
  connect({ host, port }) {
    tlsBegin = now();
    // Of names cbtrace is the judge; the chain is checked.
    const options = { host, port, servername: domain, ca: fs.readFileSync(ca), checkServerIdentity: () => undefined };
    this.socket = tls.connect(options, () => {
      said("tls", tlsBegin);
      registerBegin = now();
      this.emit("connect");
    });
    for (const event of ["data", "error", "close"]) this.socket.on(event, (...args) => this.emit(event, ...args));
  }
  write(data, done) {
    return this.socket.write(data, done);
  }
  end() {
    this.socket.end();
  }
}

async function main() {
  let begin = now();
  const records = await dns.resolveSrv(`_xmpp-component._tcp.${domain}`);
  records.sort((a, b) => a.priority - b.priority);
  said("srv", begin);
  begin = now();
  const { address } = await dns.lookup(records[0].name);
  said("address", begin);
  const host = address.includes(":") ? `[${address}]` : address;
  const client = component({ service: `xmpp://${host}:${records[0].port}`, domain: name, password: secret });
  // parseURI leaves the brackets of an IPv6 literal on.
  client.socketParameters = () => ({ host: address, port: records[0].port });
  client.reconnect.stop();
  client.Socket = DirectTls;
  client.on("error", (error) => {
    said("failed", registerBegin || tlsBegin, String(error.condition || error.message));
    process.exit(1);
  });
  client.on("online", () => {
    said("register", registerBegin);
    const stay = now();
    setTimeout(() => {
      said("stay", stay);
      client.stop().then(() => process.exit(0));
    }, Number(stayMs));
  });
  await client.start();
}

main().catch((error) => {
  said("failed", tlsBegin || 0, String(error.condition || error.message));
  process.exit(1);
});
