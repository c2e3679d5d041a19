// SPDX-License-Identifier: BSD-2-Clause
/*
 * @xmpp/component over direct TLS, which it does not do by itself: its socket is exchanged for one that resolves, connects and
 * wraps itself in TLS, with a line of JSON for each step, as the lab's own client prints. OpenSSL is inside node or beside it;
 * its handshake is driven by SSL_read, through memory BIOs.
 */
"use strict";

const { EventEmitter } = require("events");
const dns = require("dns").promises;
const fs = require("fs");
const net = require("net");
const { parseArgs } = require("util");
const tls = require("tls");
const { component } = require("@xmpp/component");

const { values: options } = parseArgs({
	options: {
		domain: { type: "string", default: "example.com" },
		id: { type: "string", default: "callbridge" },
		secret: { type: "string", default: "secret" },
		ca: { type: "string" },
		tls: { type: "string", default: "both" },
		stay: { type: "string", default: "0" },
		timeout: { type: "string", default: "10000" },
	},
});

const now = () => process.hrtime.bigint();

function say(call, begin, result, more = {}) {
	const line = { call, begin, end: now(), domain: options.domain, attempt: 1, pid: process.pid, result, ...more };
	// numbers of 64 bits, which JSON.stringify refuses
	const text = JSON.stringify(line, (key, value) => (typeof value === "bigint" ? `#${value}#` : value));
	fs.writeSync(1, text.replace(/"#(\d+)#"/g, "$1") + "\n");
}

async function timed(call, promise, more) {
	const begin = now();
	try {
		const value = await promise();
		say(call, begin, "ok", more);
		return value;
	} catch (error) {
		say(call, begin, error.code || error.message, more);
		throw error;
	}
}

function connected(socket, event) {
	return new Promise((resolve, reject) => {
		socket.once(event, () => resolve(socket));
		socket.once("error", reject);
		socket.once("close", () => reject(new Error("closed")));
	});
}

class Socket extends EventEmitter {
	connect() {
		this.open().catch((error) => {
			this.emit("error", error);
			this.emit("close", true);
		});
	}

	async open() {
		const name = `_xmpp-component._tcp.${options.domain}`;
		const records = await timed("srv", () => dns.resolveSrv(name), { name });
		const { name: server, port } = records.sort((a, b) => a.priority - b.priority || b.weight - a.weight)[0];
		const { address } = await timed("address", () => dns.lookup(server), { name: server });
		const plain = await timed("connect", () => connected(net.connect({ port, host: address }), "connect"), { address, port });
		const versions = options.tls === "both" ? {} : { minVersion: `TLSv${options.tls}`, maxVersion: `TLSv${options.tls}` };
		const begin = now();
		const secure = tls.connect({ socket: plain, servername: server, ca: options.ca && fs.readFileSync(options.ca), ...versions });
		try {
			await connected(secure, "secureConnect");
			// Node says so before it has written its Finished, which leaves at the end of this turn of its loop.
			await new Promise(setImmediate);
		} catch (error) {
			say("tls", begin, error.code || error.message);
			throw error;
		}
		say("tls", begin, "ok", { version: secure.getProtocol(), cipher: secure.getCipher().standardName });
		this.secure = secure;
		for (const event of ["data", "error", "close", "end"]) secure.on(event, (...args) => this.emit(event, ...args));
		this.emit("connect");
	}

	write(...args) {
		if (registerBegin === null) registerBegin = now();
		return this.secure.write(...args);
	}

	end() {
		if (this.secure) this.secure.end();
	}
}

let registerBegin = null;
let ok = false;
let ending = false;

function registered(result, id) {
	if (registerBegin !== null && !ok) say("register", registerBegin, result, { id });
	ok = ok || result === "ok";
}

const domain = options.id.includes(".") ? options.id : `${options.id}.${options.domain}`;
const entity = component({ service: "xmpp://unused", domain, password: options.secret });
entity.Socket = Socket;
entity.reconnect.stop();

async function finish(failure) {
	if (ending) return;
	ending = true;
	if (failure) registered(failure, domain);
	await entity.stop().catch(() => {});
	say("done", now(), ok ? "ok" : "failed");
	process.exit(ok ? 0 : 1);
}

entity.on("online", () => {
	registered("ok", domain);
	setTimeout(finish, Number(options.stay));
});
entity.on("error", (error) => finish(error.condition || error.code || error.message));
entity.on("disconnect", () => finish("closed"));
process.on("SIGTERM", () => finish());
setTimeout(() => ok || finish("timeout"), Number(options.timeout));
entity.start().catch(() => {});
