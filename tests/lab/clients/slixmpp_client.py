#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""slixmpp as a component over direct TLS: c-ares for DNS, asyncio's memory BIOs for TLS (SSL_read_ex, SSL_write_ex).

Prints a line of JSON for each step, as the lab's own client does. A step's line is printed once it is over, its times are taken
inside slixmpp's own methods, right before and after what they await.
"""
import argparse
import asyncio
import json
import os
import signal
import ssl
import sys
import time

import slixmpp
from slixmpp.xmlstream import resolver

parser = argparse.ArgumentParser()
parser.add_argument("--domain", default="example.com")
parser.add_argument("--id", default="callbridge")
parser.add_argument("--secret", default="secret")
parser.add_argument("--ca")
parser.add_argument("--tls", choices=["both", "1.2", "1.3"], default="both")
parser.add_argument("--stay", type=int, default=0, help="ms after success")
parser.add_argument("--timeout", type=int, default=10000, help="ms for all before it")
options = parser.parse_args()

VERSIONS = {
    "both": (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3),
    "1.2": (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2),
    "1.3": (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_3),
}


def now():
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def say(call, begin, result, **more):
    line = {"call": call, "begin": begin, "end": now(), "domain": options.domain, "attempt": 1, "pid": os.getpid()}
    line.update(result=result, **more)
    print(json.dumps(line), flush=True)


def timed(function, call):
    async def wrapper(name, *args, **kwargs):
        begin = now()
        answer = await function(name, *args, **kwargs)
        say(call, begin, "ok" if answer else "nodata", name=name)
        return answer

    return wrapper


resolver.get_SRV = timed(resolver.get_SRV, "srv")
resolver.get_A = timed(resolver.get_A, "address")
resolver.get_AAAA = timed(resolver.get_AAAA, "address")


class Component(slixmpp.ComponentXMPP):
    def __init__(self):
        jid = options.id if "." in options.id else f"{options.id}.{options.domain}"
        super().__init__(jid, options.secret)
        self.dns_service = "xmpp-component"
        self.ca_certs = options.ca
        self.ssl_context.minimum_version, self.ssl_context.maximum_version = VERSIONS[options.tls]
        self.ok = False
        self.tls_begin = self.register_begin = None
        self.over = self.loop.create_future()
        self.sock_connect, self.loop.sock_connect = self.loop.sock_connect, self.connect_timed
        for event in "stream_error", "connection_failed", "disconnected":
            self.add_event_handler(event, getattr(self, "on_" + event))

    async def connect_timed(self, sock, address):
        begin, result = now(), "ok"
        try:
            await self.sock_connect(sock, address)
        except OSError as error:
            result = type(error).__name__
            raise
        finally:
            say("connect", begin, result, address=address[0], port=address[1])
        self.tls_begin = now()

    def connection_made(self, transport):
        self.register_begin = now()
        # asyncio says so before it has written its Finished, which leaves at the end of this turn of its loop.
        self.loop.call_soon(self.tls_done, transport.get_extra_info("ssl_object"))
        super().connection_made(transport)

    def tls_done(self, tls):
        say("tls", self.tls_begin, "ok", version=tls.version(), cipher=tls.cipher()[0])

    def _handle_handshake(self, xml):
        self.registered("ok")
        self.ok = True
        self.loop.call_later(options.stay / 1000, self.finish)
        super()._handle_handshake(xml)

    def registered(self, result):
        if self.register_begin is not None:
            say("register", self.register_begin, result, id=self.boundjid.full)
        self.register_begin = None

    def on_stream_error(self, error):
        self.registered(error["condition"])

    def on_connection_failed(self, error):
        if self.tls_begin is not None:
            say("tls", self.tls_begin, type(error).__name__, error=str(error))
        self.finish()

    def on_disconnected(self, reason):
        self.registered("closed")
        self.finish()

    def finish(self):
        if not self.over.done():
            self.over.set_result(None)


async def main(component):
    component.loop.add_signal_handler(signal.SIGTERM, component.finish)
    component.connect(options.domain, 5223, use_ssl=True)
    try:
        await asyncio.wait_for(component.over, (options.timeout + options.stay) / 1000)
    except asyncio.TimeoutError:
        pass
    component.cancel_connection_attempt()
    if component.is_connected():
        await component.disconnect(wait=1.0)


component = Component()
component.loop.run_until_complete(main(component))
say("done", now(), "ok" if component.ok else "failed")
sys.exit(not component.ok)
