"""A Debian or Ubuntu guest under emulation, for what a container or a hybrid-cgroup host cannot show.

    rig.py build                  fetch and make the image          (minutes, cached)
    rig.py create                 boot it once, save its state      (seconds, cached)
    rig.py run [--out DIR] [--file FILE] -- CMD
                                  restore it, run CMD as root in /srv/akios, exit with its exit code

$AKIOS_VM_SUITE says which it is: trixie (the default), bookworm, or noble. The guest runs an
unmodified kernel under QEMU's TCG, so no /dev/kvm is needed. See README.md beside this file.
"""

import argparse
import ctypes
import fcntl
import hashlib
import io
import json
import mmap
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
REPO = HERE.parents[1]
CACHE = Path(os.environ.get("AKIOS_VM_CACHE", REPO / ".cache" / "vm"))
TOOLS = {
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
    "xz": "xz-utils",
    "zstd": "zstd",
    "cc": "gcc",
}
SUITE = os.environ.get("AKIOS_VM_SUITE", "trixie")
NOT_IN_GUEST = ("ruff", "mypy", "schemathesis", "types-")
MEMORY_MIB = 2048
_READY, _AGAIN, _END = "AKIOS-READY", "AKIOS-AGAIN", "AKIOS-END"
_TAIL = 4096
"""Characters of the log in which its last line is looked for."""
DISK_BYTES = 256 << 20
KERNEL_ARGUMENTS = (
    "console=ttyS0 quiet panic=-1 nokaslr mitigations=off nopti no5lvl audit=0 no_timer_check tsc=reliable "
    "clocksource=tsc random.trust_cpu=on lsm=landlock,lockdown,yama,apparmor,bpf rcupdate.rcu_expedited=1 "
    "cryptomgr.notests systemd.show_status=0 systemd.log_target=null"
)


class RigError(Exception):
    def __init__(self, what: str, where: object, next_step: str) -> None:
        super().__init__(f"tests/vm: {what}\n  where: {where}\n  next:  {next_step}")


def project() -> dict[str, Any]:
    return tomllib.loads((REPO / "pyproject.toml").read_text())


def requirements() -> list[str]:
    data = project()
    tests = data["project"]["optional-dependencies"]["test"]
    wanted = [*data["project"]["dependencies"], *tests, *data["build-system"]["requires"]]
    return sorted({line for line in wanted if not line.startswith(NOT_IN_GUEST)})


def console_scripts() -> list[str]:
    """Plain scripts are enough for the guest, where nobody plants anything: the programs themselves
    are C.
    """
    return ["akiosd = akiosd.daemon.main:main", "akiosctl = akiosctl.cli:main"]


def key(*parts: bytes | str) -> str:
    return hashlib.sha256(
        b"\0".join(p.encode() if isinstance(p, str) else p for p in parts)
    ).hexdigest()[:16]


def qemu_dir() -> Path:
    return CACHE / ("qemu-" + key((HERE / "qemu.sh").read_bytes()))


def base_dir() -> Path:
    made_by = (HERE / "base.sh", REPO / "packaging" / "fresh_root")
    return CACHE / (f"base-{SUITE}-" + key(*(path.read_bytes() for path in made_by)))


def image_dir() -> Path:
    files = sorted(path for path in HERE.iterdir() if path.suffix in (".sh", ".service", ".target"))
    words = [
        base_dir().name,
        KERNEL_ARGUMENTS,
        str(MEMORY_MIB),
        *requirements(),
        *console_scripts(),
    ]
    return CACHE / (f"image-{SUITE}-" + key(*(path.read_bytes() for path in files), *words))


@contextmanager
def locked() -> Iterator[None]:
    CACHE.mkdir(parents=True, exist_ok=True, mode=0o700)
    with open(CACHE / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def run_step(title: str, command: list[str], log: Path) -> None:
    print(f"  vm: {title} …", flush=True)
    started = time.monotonic()
    with log.open("wb") as out:
        code = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT
        ).returncode
    if code != 0:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-25:])
        raise RigError(
            f"{title} failed (exit {code})\n{tail}", log, "read the log; are the mirrors reachable?"
        )
    print(f"  vm: {title}: {time.monotonic() - started:.0f} s", flush=True)


def make_once(target: Path, title: str, command: list[str]) -> None:
    """Runs `command`, which fills `target`.partial, and renames that to `target`; older versions of
    it are removed.
    """
    if target.exists():
        return
    partial = target.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    run_step(
        title,
        [word.replace("TARGET", str(partial)) for word in command],
        CACHE / f"{target.name}.log",
    )
    partial.rename(target)
    for old in CACHE.glob(target.name.rpartition("-")[0] + "-*"):
        if old.is_dir() and old != target:
            shutil.rmtree(old)


def build() -> Path:
    """Base and image, from the cache or anew."""
    if os.geteuid() != 0:
        raise RigError(
            "building a guest needs root (chroot, device nodes)", HERE, "run it with sudo"
        )
    for tool, package in TOOLS.items():
        if shutil.which(tool) is None:
            raise RigError(f"{tool} is missing", "PATH", f"apt-get install {package}")
    with locked():
        with ThreadPoolExecutor() as both:
            fetched = [
                both.submit(
                    make_once,
                    qemu_dir(),
                    "fetching QEMU",
                    ["bash", str(HERE / "qemu.sh"), "TARGET"],
                ),
                both.submit(
                    make_once,
                    base_dir(),
                    f"fetching {SUITE}",
                    ["bash", str(HERE / "base.sh"), SUITE, "TARGET"],
                ),
            ]
        for one in fetched:
            one.result()
        with tempfile.TemporaryDirectory() as lists:
            wanted, scripts = Path(lists, "requirements"), Path(lists, "scripts")
            wanted.write_text("\n".join(requirements()) + "\n")
            scripts.write_text("\n".join(console_scripts()) + "\n")
            arguments = [str(base_dir()), "TARGET", str(wanted), str(scripts)]
            make_once(image_dir(), "making the image", ["bash", str(HERE / "image.sh"), *arguments])
    return image_dir()


class Guest:
    """One QEMU process. `work` holds its sockets, its log and its disks for input and output."""

    def __init__(
        self, work: Path, root: Path, *, throwaway: bool, incoming: Path | None = None
    ) -> None:
        self.work = work
        self.errors = work / "qemu.log"
        (work / "log").touch()
        self.log = (work / "log").open("rb")
        command = [*qemu(), *machine(work), *disk("root", root, throwaway=throwaway)]
        for name in ("in", "out"):
            path = work / name
            path.touch()
            os.truncate(path, DISK_BYTES)
            command += disk(name, path, throwaway=False)
        if incoming:
            command += ["-incoming", f"file:{incoming}"]
        with listening(work / "serial") as serial, listening(work / "monitor") as monitor:
            with self.errors.open("wb") as errors:
                self.process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors
                )
            try:
                self.serial = serial.accept()[0]
                self.monitor = monitor.accept()[0].makefile("rw", encoding="utf-8")
            except TimeoutError:
                self.process.kill()
                raise RigError(
                    "QEMU did not start\n" + self.errors.read_text(), work, "read its words above"
                ) from None
        self.monitor.readline()
        self.command("qmp_capabilities")

    def command(self, name: str, **arguments: object) -> Any:
        """One QMP command and its answer; events that arrive in between are passed over."""
        self.monitor.write(json.dumps({"execute": name, "arguments": arguments}) + "\n")
        self.monitor.flush()
        while line := self.monitor.readline():
            answer = json.loads(line)
            if "error" in answer:
                raise RigError(
                    f"QEMU refused {name}: {answer['error']}",
                    self.work,
                    "report this as a bug of the rig",
                )
            if "return" in answer:
                return answer["return"]
        raise RigError(
            f"QEMU ended during {name}\n" + self.errors.read_text(),
            self.work,
            "read its words above",
        )

    def wait_line(self, limit_s: float, *words: str) -> tuple[str, str]:
        """The first of ``words`` that begins a line of the serial port or of the log, and what
        follows it there; prints new log lines while it waits.
        """
        deadline = time.monotonic() + limit_s
        received = b""
        line = re.compile(rf"^({'|'.join(words)})(?: (.*))?\n", re.MULTILINE)
        # Anywhere in a line: the console's own escape sequences and kernel messages come without a
        # line end.
        spoken = re.compile(rf"({'|'.join(words)})(?: (.*?))?\r?\n")
        tail = ""
        while True:
            said = self.log.read().decode(errors="replace")
            sys.stdout.write(line.sub("", said))
            sys.stdout.flush()
            tail = (tail + said)[-_TAIL:]
            ended = line.search(tail) or spoken.search(received.decode(errors="replace"))
            if ended:
                return ended[1], (ended[2] or "").strip()
            if time.monotonic() > deadline:
                what = (
                    f"no {' or '.join(words)} in {limit_s:.0f} s\n"
                    + received.decode(errors="replace")[-2000:]
                )
                raise RigError(what, "the guest", "find what hangs, or raise AKIOS_VM_LIMIT")
            self.serial.settimeout(0.2)
            try:
                part = self.serial.recv(65536)
            except TimeoutError:
                continue
            if not part:
                raise RigError(
                    "QEMU ended early\n" + self.errors.read_text(),
                    self.work,
                    "read its words above",
                )
            received += part

    def go(self) -> None:
        """Have it run what is on its disk, and tell it the time, which it does not know."""
        self.serial.sendall(f"go {time.time():.3f}\n".encode())

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.serial.close()
        self.monitor.close()
        self.log.close()


@contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(1)
        listener.settimeout(30)
        yield listener


def disk(name: str, path: Path, *, throwaway: bool) -> list[str]:
    options = f"if=none,id={name},file={path},format=raw,cache=unsafe,aio=threads"
    return [
        "-drive",
        options + (",snapshot=on" if throwaway else ""),
        "-device",
        f"virtio-blk-pci,drive={name}",
    ]


def qemu() -> list[str]:
    tree = qemu_dir() / "tree"
    libraries = tree / "usr/lib/x86_64-linux-gnu"
    return [
        str(tree / "usr/lib64/ld-linux-x86-64.so.2"),
        *("--library-path", f"{libraries}:{libraries}/pulseaudio"),
        str(tree / "usr/bin/qemu-system-x86_64"),
        *("-L", str(tree / "usr/share/qemu"), "-L", str(tree / "usr/share/seabios")),
    ]


def machine(work: Path) -> list[str]:
    """Everything but disks and kernel. Saving and restoring need the same words, so both take them
    from here.
    """
    return [
        *(
            "-accel",
            "tcg,thread=multi,tb-size=512",
            "-cpu",
            "max",
            "-smp",
            "2",
            "-m",
            str(MEMORY_MIB),
        ),
        *("-nodefaults", "-no-user-config", "-display", "none"),
        *("-M", "q35,smm=off,vmport=off,hpet=off,usb=off,sata=off,graphics=off"),
        *("-chardev", f"socket,id=serial,path={work / 'serial'}", "-serial", "chardev:serial"),
        *("-chardev", f"file,id=log,path={work / 'log'}"),
        *("-device", "virtio-serial-pci", "-device", "virtserialport,chardev=log"),
        *(
            "-chardev",
            f"socket,id=monitor,path={work / 'monitor'}",
            "-mon",
            "chardev=monitor,mode=control",
        ),
        *(
            "-kernel",
            str(image_dir() / "vmlinuz"),
            "-initrd",
            str(image_dir() / "initrd"),
            "-append",
            f"{KERNEL_ARGUMENTS} tsc_early_khz={tsc_khz()}",
        ),
    ]


@cache
def tsc_khz() -> int:
    """How fast this processor counts time, which QEMU hands on to the guest as it is.  A guest that
    is to find it out by itself takes a fifth of it where others are at work here: what it calls ten
    minutes are two then, and every limit of time is wrong.
    """
    code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(bytes.fromhex("0f31 48c1e220 4809d0 c3"))  # rdtsc; shl rdx, 32; or rax, rdx; ret
    read = ctypes.CFUNCTYPE(ctypes.c_uint64)(ctypes.addressof(ctypes.c_char.from_buffer(code)))

    def both() -> tuple[int, int]:
        """One moment by both clocks: that of several which took the least time to read."""
        tries = [(time.monotonic_ns(), read(), time.monotonic_ns()) for _ in range(99)]
        before, ticks, after = min(tries, key=lambda one: one[2] - one[0])
        return (before + after) // 2, ticks

    first_ns, first = both()
    time.sleep(0.2)
    last_ns, last = both()
    return (last - first) * 1_000_000 // (last_ns - first_ns)


def create() -> Path:
    """Boots the image once and saves memory and disk; returns the directory of both.  What was
    saved where time is counted otherwise is of no use here.
    """
    image = build()
    saved = image / "saved"
    with locked():
        counted = saved / "tsc_khz"
        if counted.exists() and abs(int(counted.read_text()) / tsc_khz() - 1) < 0.01:
            return saved
        started = time.monotonic()
        with tempfile.TemporaryDirectory(dir=CACHE, prefix="boot.") as name:
            work = Path(name)
            state = work / "saved"
            state.mkdir()
            subprocess.run(
                ["cp", "--sparse=always", image / "root.ext4", state / "root"], check=True
            )
            guest = Guest(work, state / "root", throwaway=False)
            try:
                guest.wait_line(300, _READY)
                guest.command("stop")
                guest.command("migrate-set-parameters", **{"max-bandwidth": 1 << 33})
                guest.command("migrate", uri=f"file:{state / 'memory'}")
                while (status := guest.command("query-migrate").get("status")) != "completed":
                    if status in ("failed", "cancelled"):
                        raise RigError(
                            f"saving the state: {status}", work, "check the free space of the cache"
                        )
                    time.sleep(0.05)
            finally:
                guest.stop()
            (state / "tsc_khz").write_text(str(tsc_khz()))
            if saved.exists():
                saved.rename(work / "old")
            state.rename(saved)
        print(f"  vm: booting and saving: {time.monotonic() - started:.0f} s", flush=True)
    return saved


def compile_native() -> Path:
    """The shim and launcher for the guest's Python and libc, compiled in its chroot at host speed;
    cached.
    """
    sources = sorted(p for p in (REPO / "native").rglob("*") if p.suffix in (".c", ".h", ".py"))
    result = CACHE / (
        f"native-{SUITE}-" + key(image_dir().name, *(p.read_bytes() for p in sources))
    )
    with locked():
        root = image_dir() / "rootfs"
        build_tree = root / "srv" / "build"
        shutil.rmtree(build_tree, ignore_errors=True)
        shutil.copytree(
            REPO / "native", build_tree / "native", ignore=shutil.ignore_patterns("__pycache__")
        )
        compiler = [
            "chroot",
            str(root),
            "/opt/akios/bin/python",
            "/srv/build/native/build_shim.py",
            "/srv/build/out",
        ]
        script = (
            f"{shlex.join(compiler)} && cp -r {shlex.quote(str(build_tree))}/out/akiosd TARGET/"
        )
        make_once(result, "compiling for the guest", ["sh", "-c", script])
    return result


def pack(disk: Path, command: list[str], files: Sequence[Path]) -> None:
    """A tar of the working tree (tracked and new files, none that git ignores), the native parts,
    ``files`` and the command.
    """
    listing = [
        "git",
        "-c",
        f"safe.directory={REPO}",
        "-C",
        str(REPO),
        "ls-files",
        "-coz",
        "--exclude-standard",
    ]
    names = subprocess.run(listing, check=True, capture_output=True).stdout.split(b"\0")
    native = compile_native()
    with disk.open("wb") as out, tarfile.open(fileobj=out, mode="w") as tar:
        for name in sorted({os.fsdecode(n) for n in names if n}):
            if os.path.lexists(REPO / name):
                tar.add(REPO / name, arcname=name, recursive=False, filter=owned_by_root)
        tar.add(native / "akiosd", arcname="akiosd", filter=owned_by_root)
        for file in files:
            tar.add(file, arcname=f".vm-files/{file.name}", filter=owned_by_root)
        script = shlex.join(command).encode() + b"\n"
        entry = tarfile.TarInfo(".vm-command")
        entry.size = len(script)
        tar.addfile(entry, io.BytesIO(script))


def owned_by_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    return entry


def run(
    command: list[str],
    out: Path | None = None,
    limit_s: float = 900,
    files: Sequence[Path] = (),
) -> int:
    """Restores the guest, runs `command`, prints its output as it comes, unpacks what it left in
    $VM_OUT into `out`; `files` lie in /srv/akios/.vm-files meanwhile.  A command that boots the
    guest again says AKIOS-AGAIN on the serial line before, and is run once more after it.
    """
    saved = create()
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="run.") as name:
        work = Path(name)
        pack(work / "in", command, files)
        guest = Guest(work, saved / "root", throwaway=True, incoming=saved / "memory")
        try:
            while guest.command("query-status")["status"] == "inmigrate":
                time.sleep(0.02)
            guest.command("cont")
            guest.go()
            while (said := guest.wait_line(limit_s, _END, _AGAIN, _READY))[0] == _AGAIN:
                guest.wait_line(limit_s, _READY)
                guest.go()
            if said[0] == _READY:
                raise RigError(
                    "the guest booted again unasked",
                    work,
                    "look for a panic in its last words, above",
                )
            code = int(said[1])
        finally:
            guest.stop()
        if out:
            out.mkdir(parents=True, exist_ok=True)
            # A tar of the guest's root is as little trusted as the guest: tar(1) strips `..`,
            # leading `/` and owners.
            subprocess.run(["tar", "-C", out, "--no-same-owner", "-xf", work / "out"], check=True)
    return code


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("verb", choices=["build", "create", "run"])
    parser.add_argument("--out", type=Path, help="where the files that CMD leaves in $VM_OUT go")
    parser.add_argument(
        "--file", type=Path, action="append", default=[], help="a file for .vm-files in the guest"
    )
    parser.add_argument(
        "--limit",
        type=float,
        default=float(os.environ.get("AKIOS_VM_LIMIT", "900")),
        help="seconds",
    )
    # An end by signal takes the same way out as any other, or QEMU would live on.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    options, command = parser.parse_args(sys.argv[1:split]), sys.argv[split + 1 :]
    if (options.verb == "run") != bool(command):
        parser.error("run needs `-- CMD`, the other verbs take none")
    try:
        if options.verb == "run":
            return run(command, options.out, options.limit, options.file)
        print(build() if options.verb == "build" else create())
    except RigError as error:
        print(error, file=sys.stderr)
        return 125
    return 0


if __name__ == "__main__":
    sys.exit(main())
