#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""slix.py CA DOMAIN COMPONENT SECRET STAY_MS: registers as python3-slixmpp does (c-ares, memory BIO) and stays.

Prints the same JSON lines as tests/lab/client.c: one for each step, its times in ns of CLOCK_MONOTONIC. The library has
no hook for the end of TLS, so "connect" spans SRV to TLS, and "register" runs from there to the session's start.
"""

import asyncio
import json
import ssl
import sys
import time

import slixmpp


def said(call, begin, result="ok", **more):
    print(json.dumps({"call": call, "begin": begin, "end": time.monotonic_ns(), "result": result, **more}), flush=True)


class Client(slixmpp.ComponentXMPP):
    def __init__(self, ca, domain, component, secret, stay_s):
        super().__init__(component, secret)
        self.dns_service = "xmpp-component"
        self.ssl_context = ssl.create_default_context(cafile=ca)
        self.ssl_context.check_hostname = False  # of names cbtrace is the judge; the chain is checked
        self.domain, self.stay_s = domain, stay_s
        self.status = 1
        self.register_plugin("xep_0199")
        self.add_event_handler("connected", self.on_connected)
        self.add_event_handler("session_start", self.on_start)
        for event in ("connection_failed", "stream_error", "disconnected"):
            self.add_event_handler(event, self.on_end)
        self.done = self.loop.create_future()
        self.begin = self.at = time.monotonic_ns()

    def get_ssl_context(self):
        return self.ssl_context

    def on_connected(self, _):
        said("connect", self.begin)
        self.at = time.monotonic_ns()

    async def on_start(self, _):
        said("register", self.at, id=self.boundjid.bare)
        self.status = 0
        begin = time.monotonic_ns()
        await asyncio.sleep(self.stay_s)
        said("stay", begin)
        await self.disconnect()

    def on_end(self, event):
        if not self.done.done():
            if self.status:
                said("failed", self.begin, str(event)[:200])
            self.done.set_result(None)


def main():
    ca, domain, component, secret, stay_ms = sys.argv[1:]
    client = Client(ca, domain, component, secret, int(stay_ms) / 1000)
    client.connect(domain, 5223, use_ssl=True)
    client.loop.run_until_complete(client.done)
    sys.exit(client.status)


main()
