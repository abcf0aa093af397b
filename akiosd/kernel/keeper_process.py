import socket, sys, os, array, select

path = sys.argv[1]
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
try:
    os.unlink(path)
except FileNotFoundError:
    pass
s.bind(path)
s.listen(1)
kept: dict[str, list[int]] = {}
while True:
    s.settimeout(90)
    try:
        c, _ = s.accept()
    except TimeoutError:
        sys.exit()
    c.settimeout(None)
    while True:
        data, fds, flags, _ = socket.recv_fds(c, 4096, 64)
        if not data:
            break
        op, name = data[:1], data[1:].decode()
        if op == b"K":
            for fd in kept.pop(name, []):
                os.close(fd)
            kept[name] = fds
            c.send(b"ok")
        elif op == b"D":
            for n in [n for n in kept if n.startswith(name)]:
                for fd in kept.pop(n):
                    os.close(fd)
            c.send(b"ok")
        elif op == b"L":
            for n, f in kept.items():
                socket.send_fds(c, [b"E" + n.encode()], f)
            c.send(b"end")
        elif op == b"Q":
            c.send(b"ok")
            sys.exit()
    c.close()
