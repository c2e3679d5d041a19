#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""One thread that registers at several domains at the same time, step by step in turn, as an event loop does.

two_at_once.py DOMAIN… ; each has a server xmpp1.DOMAIN, all at the same address. Names and certificates are looked up and looked at, the latter
not judged: what is odd here is only the order of the calls.
"""
import hashlib
import os
import re
import socket
import ssl
import struct
import sys

SECRET = "secret"
DNS, SERVER = ("192.0.2.2", 53), ("192.0.2.66", 5223)
TIMEOUT = 10


def ask(names, kind):
    sockets = []
    for number, name in enumerate(names, os.getpid() & 0x7FFF):
        labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
        question = struct.pack(">HHHHHH", number, 0x100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", kind, 1)
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.settimeout(TIMEOUT)
        s.connect(DNS)
        s.send(question)
        sockets.append(s)
    for s in sockets:
        s.recv(4096)
        s.close()


class Connection:
    def __init__(self, domain, context):
        self.component = f"callbridge.{domain}"
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname=f"xmpp1.{domain}")
        self.socket = socket.create_connection(SERVER, TIMEOUT)
        self.text = ""

    def flush(self):
        data = self.outgoing.read()
        if data:
            self.socket.sendall(data)

    def fill(self):
        data = self.socket.recv(4096)
        if not data:
            raise SystemExit(f"{self.component}: closed")
        self.incoming.write(data)

    def turn(self, operation, *arguments):
        """One try; true if it got through."""
        try:
            return operation(*arguments) or True
        except ssl.SSLWantReadError:
            return False
        finally:
            self.flush()


def in_turn(connections, step):
    """step(connection) of each, again and again, until each has returned true; reads in between."""
    todo = list(connections)
    while todo:
        todo = [c for c in todo if not step(c)]
        for c in todo:
            c.fill()


def read_until(pattern):
    def step(c):
        text = c.turn(c.tls.read, 4096)
        if isinstance(text, bytes):
            c.text += text.decode()
        return re.search(pattern, c.text)

    return step


def say(connections, words):
    for c in connections:
        c.tls.write(words(c).encode())
    for c in connections:
        c.flush()


def header(c):
    return (
        "<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' "
        f"to='{c.component}'>"
    )


def handshake(c):
    stream_id = re.search(r"<stream:stream[^>]* id=['\"]([^'\"]*)", c.text).group(1)
    return f"<handshake>{hashlib.sha1((stream_id + SECRET).encode()).hexdigest()}</handshake>"


def main(domains):
    ask(["_xmpp-component._tcp." + domain for domain in domains], 33)
    ask(["xmpp1." + domain for domain in domains], 1)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connections = [Connection(domain, context) for domain in reversed(domains)]
    in_turn(connections, lambda c: c.turn(c.tls.do_handshake))
    say(connections, header)
    in_turn(connections, read_until(r"<stream:stream[^>]*>"))
    say(connections, handshake)
    in_turn(connections, read_until(r"<handshake */>|<handshake></handshake>"))
    for c in connections:
        c.socket.close()


main(sys.argv[1:])
