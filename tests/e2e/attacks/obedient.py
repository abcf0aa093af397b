"""Runs in a cage: a Python expression a line on standard input, its value as a line of JSON on
standard output.
"""

import errno
import gzip
import http.client
import json
import os
import resource
import select
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import zlib


def look(name, port=443):
    """The addresses of a name, or the resolver's error number."""
    try:
        return sorted(
            {found[4][0] for found in socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)}
        )
    except socket.gaierror as error:
        return error.errno
    except UnicodeError:
        return "no name"


def connect(address, port, data="x", kind="tcp"):
    """0, the name of the errno, or what came back; an address is tried as the C library reads
    it.
    """
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
            return sock.recv(4096)[2 * stream :].hex()
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
        return [
            "",
            getattr(error, "reason", None) or type(error).__name__,
            round(1000 * (time.monotonic() - begin), 1),
        ]
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
    request = urllib.request.Request(
        url, data.encode() if data is not None else None, headers or {}, method=method
    )
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


def handshake_in_pieces(context, sock, name):
    """TLS whose every byte is a packet of its own, and one request in it."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname=name)

    def step(work):
        while True:
            try:
                return work()
            except ssl.SSLWantReadError:
                for byte in outgoing.read():
                    sock.sendall(bytes([byte]))
                incoming.write(sock.recv(1 << 16))

    step(tls.do_handshake)
    tls.write(f"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
    return step(lambda: tls.read(1000)).decode("latin-1")


def get_error(work):
    """The name of the errno, or ""."""
    try:
        work()
    except OSError as error:
        return errno.errorcode[error.errno]
    return ""


def raw_deflate(data):
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


def bomb(name, coding, body, tls=True):
    head = (
        f"POST /bomb HTTP/1.1\r\nHost: {name}\r\nContent-Type: text/plain\r\nContent-Encoding: {coding}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return talk(name, head + body.decode("latin-1"), port=443 if tls else 80, tls=tls)


slow = []


def slow_heads(name, count):
    """Connections on which a head begins, and goes on by a byte now and then."""
    for _ in range(count):
        sock = reach(name)
        sock.sendall(f"GET / HTTP/1.1\r\nHost: {name}\r\nX: ".encode())
        slow.append(sock)

    def drip():
        while slow:
            for sock in list(slow):
                try:
                    sock.sendall(b"y")
                except OSError:
                    pass
            time.sleep(1)

    start(drip)
    return len(slow)


def slow_heads_end(seconds):
    """How each was answered."""
    found = {}
    for sock in list(slow):
        sock.settimeout(seconds)
        said = everything(sock)[0][:12] or "nothing"
        found[said] = found.get(said, 0) + 1
    slow.clear()
    return found


many = []


def open_many(name, count, processes=4):
    """Connections that say nothing, from processes that each have their own descriptors.

    (still open, closed by the other side, closed by us to make room for the next)
    """
    address = look(name)[0]
    for _ in range(processes):
        told, tell = os.pipe()
        held, hold = os.pipe()
        if os.fork() == 0:
            os.close(hold)
            with os.fdopen(tell, "w") as result:
                result.write(json.dumps(hold_connections(address, count // processes)))
            os.read(held, 1)  # until there is nobody to say more
            os._exit(0)
        os.close(tell)
        os.close(held)
        many.append(hold)
        results.append(told)
    found = [json.load(os.fdopen(told)) for told in results]
    results.clear()
    return [sum(numbers) for numbers in zip(*found, strict=True)]


results = []


def hold_connections(address, count):
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    sockets, closed, given_back = [], 0, 0
    poller = select.poll()
    for _ in range(count):
        sock = None
        while sock is None:
            try:
                if len(sockets) < hard - 50:
                    sock = socket.create_connection((address, 80), 30)
            except OSError as error:
                if error.errno not in (errno.ENOBUFS, errno.ENOMEM, errno.EMFILE):
                    raise
            if sock is None:
                # No more for this process, or for the whole cage.
                swept = sweep(poller, sockets, 1)
                closed += swept
                if not swept and sockets:
                    poller.unregister(sockets[0])
                    sockets.pop(0).close()
                    given_back += 1
        sockets.append(sock)
        poller.register(sock, select.POLLIN)
    while swept := sweep(poller, sockets, 500):
        closed += swept
    return len(sockets), closed, given_back


def sweep(poller, sockets, wait):
    gone = {fd for fd, _ in poller.poll(wait)}
    for sock in [sock for sock in sockets if sock.fileno() in gone]:
        poller.unregister(sock)
        sockets.remove(sock)
        sock.close()
    return len(gone)


def close_many():
    for hold in many:
        os.close(hold)
    while many:
        os.wait()
        many.pop()


answers = []


def begin(url):
    """The first line of an answer's body; :func:`rest` reads on, :func:`leave` closes."""
    answers.append(urllib.request.urlopen(url, timeout=60))
    return answers[-1].readline().decode()


def rest():
    answer = answers.pop()
    try:
        data = answer.read()
        return [data.decode(), "end"]
    except http.client.IncompleteRead as error:
        return [error.partial.decode(), "IncompleteRead"]
    except OSError as error:
        return ["", type(error).__name__]


def leave():
    answers.pop().close()


flooded = [0]


def flood_dns(name_of):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect(("127.0.0.1", 53))
    while True:
        labels = b"".join(
            bytes([len(label)]) + label for label in name_of(flooded[0]).encode().split(b".")
        )
        try:
            sock.send(b"\0\1\1\0\0\1\0\0\0\0\0\0" + labels + b"\0\0\1\0\1")
            flooded[0] += 1
        except OSError:
            pass


def wait_flooded(count):
    """Return once so much of it was done."""
    while flooded[0] < count:
        time.sleep(0.01)
    return flooded[0]


def spin():
    while True:
        flooded[0] += 1


def flood_connections(address, port):
    """One after the other, each closed as soon as it stands; the braces are numbers that change."""
    while True:
        at = address.format(flooded[0] // 250 % 250, flooded[0] % 250 + 1)
        with socket.socket() as sock:
            sock.settimeout(5)
            if sock.connect_ex((at, port)) == 0:
                flooded[0] += 1


def flood_requests(name, request):
    address = look(name)[0]
    while True:
        with socket.create_connection((address, 80), 10) as sock:
            try:
                for _ in range(100):
                    sock.sendall(request.encode())
                    if not sock.recv(1 << 16):
                        break
                    flooded[0] += 1
            except OSError:
                pass


def flood_bombs(name):
    body = gzip.compress(b"a" * (4 << 20))
    while True:
        bomb(name, "gzip", body, tls=False)
        flooded[0] += 1


if __name__ == "__main__":
    print("up", flush=True)
    for line in sys.stdin:
        print(json.dumps(eval(line)), flush=True)
    os._exit(0)
