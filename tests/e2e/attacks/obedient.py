"""Runs in a cage: a Python expression a line on standard input, its value as a line of JSON on standard output."""

import errno
import json
import os
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request


def look(name, port=443):
    """The addresses of a name, or the resolver's error number."""
    try:
        return sorted({found[4][0] for found in socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)})
    except socket.gaierror as error:
        return error.errno
    except UnicodeError:
        return "no name"


def connect(address, port, data="x", kind="tcp"):
    """0, the name of the errno, or what came back; an address is tried as the C library reads it."""
    number = socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, number) as sock:
        sock.settimeout(30)
        try:
            sock.connect((address, port))
            sock.send(data.encode())
            return ["connected", sock.recv(100).decode("latin-1") if kind == "tcp" else ""]
        except socket.gaierror as error:
            return error.errno
        except OSError as error:
            return errno.errorcode.get(error.errno, str(error))


def ask(query, stream=False):
    """A DNS message in hex, and its answer; "" for none."""
    query = bytes.fromhex(query)
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM if stream else socket.SOCK_DGRAM) as sock:
        sock.settimeout(2)
        sock.connect(("127.0.0.1", 53))
        sock.sendall(struct.pack(">H", len(query)) + query if stream else query)
        try:
            return sock.recv(4096)[2 * stream:].hex()
        except (TimeoutError, ConnectionError):
            return ""


def trusting(ca=None, alpn=("http/1.1",)):
    context = ssl.create_default_context(cadata=ca) if ca else ssl.create_default_context()
    context.check_hostname = False
    context.set_alpn_protocols(list(alpn))
    return context


def reach(name, port=80, tls=False, sni=None, ca=None, alpn=("http/1.1",), address=None):
    """A connection to the address of ``name``, with TLS or without."""
    sock = socket.create_connection((address or look(name)[0], port), 30)
    if not tls:
        return sock
    try:
        return trusting(ca, alpn).wrap_socket(sock, server_hostname=sni or name)
    except BaseException:
        sock.close()
        raise


def everything(sock):
    data = b""
    try:
        while True:
            piece = sock.recv(1 << 16)
            if not piece:
                return data.decode("latin-1"), "end"
            data += piece
    except TimeoutError:
        return data.decode("latin-1"), "timeout"
    except OSError as error:
        return data.decode("latin-1"), type(error).__name__


def talk(name, data, port=80, **more):
    """Send raw bytes (latin-1) and read to the end: [text, how it ended, milliseconds]."""
    begin = time.monotonic()
    try:
        sock = reach(name, port, **more)
    except (OSError, TypeError) as error:
        return ["", getattr(error, "reason", None) or type(error).__name__, round(1000 * (time.monotonic() - begin), 1)]
    with sock:
        sock.settimeout(30)
        try:
            sock.sendall(data.encode("latin-1"))
        except OSError:
            pass  # it may have answered, and closed, before it had read all
        text, how = everything(sock)
    return [text, how, round(1000 * (time.monotonic() - begin), 1)]


def get(url, data=None, headers=None, method=None, timeout=60):
    """[status, body] of an ordinary client."""
    request = urllib.request.Request(url, data.encode() if data is not None else None, headers or {}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return [answer.status, answer.read().decode("latin-1")]
    except urllib.error.HTTPError as error:
        return [error.code, error.read().decode("latin-1")]
    except Exception as error:
        return [0, f"{type(error).__name__}: {error}"]


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return [done.returncode, done.stdout, done.stderr]


def times(url, count):
    """Milliseconds of so many requests, one after the other."""
    found = []
    for _ in range(count):
        begin = time.monotonic()
        assert get(url)[0] == 200
        found.append(1000 * (time.monotonic() - begin))
    return found


background = []


def start(function, *arguments):
    """Go on with it while other lines are read."""
    thread = threading.Thread(target=function, args=arguments, daemon=True)
    background.append(thread)
    thread.start()


if __name__ == "__main__":
    print("up", flush=True)
    for line in sys.stdin:
        print(json.dumps(eval(line)), flush=True)
    os._exit(0)
