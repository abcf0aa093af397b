"""The wire form of a plan: what Python writes is what the launcher's header reads."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from akiosd.values import plan as form
from akiosd.values.plan import Plan, Step, encode
from hypothesis import given, settings
from hypothesis import strategies as st

INCLUDE = Path(__file__).resolve().parents[3] / "native" / "include"

_NO_NUL = st.binary(max_size=40).filter(lambda text: b"\0" not in text)
_U32, _U64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
_NAMES = st.sampled_from(["netns", "slot", "etc", "workspace", None])


@st.composite
def steps(draw: st.DrawFn) -> Step:
    op = draw(st.sampled_from(sorted(form.OPS)))
    raw = st.binary(max_size=64)
    return Step(
        op=op,
        what="drawn",
        fd=draw(_NAMES),
        a=draw(raw if op == "seccomp" else _NO_NUL),
        b=draw(raw if op in ("fsmount", "export") else _NO_NUL),
        c=draw(_NO_NUL),
        flags=draw(_U32),
        uid=draw(_U32),
        gid=draw(_U32),
        u0=draw(_U64),
        u1=draw(_U64),
        u2=draw(_U64),
    )


plans = st.builds(
    Plan,
    steps=st.lists(steps(), max_size=12).map(tuple),
    command=_NO_NUL,
    argv=st.lists(_NO_NUL, max_size=6).map(tuple),
    env=st.lists(_NO_NUL, max_size=6).map(tuple),
    cwd=_NO_NUL,
    tty=st.booleans(),
    nested_scope=_U32,
)


class Decoded:
    """A reader that shares nothing with the encoder: the layout of native/include/plan.h, by
    hand.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        head = struct.unpack_from("<10I", data)
        assert head[0] == 0x4B414931 and head[1] == len(data)
        self.op_count, self.ops_at, self.argv_at, self.env_at = head[2:6]
        command_at, cwd_at, self.tty, self.nested_scope = head[6:]
        self.command, self.cwd = self.text(command_at), self.text(cwd_at)
        self.argv, self.env = self.vector(self.argv_at), self.vector(self.env_at)

    def text(self, at: int) -> bytes:
        return self.data[at : self.data.index(b"\0", at)]

    def vector(self, at: int) -> tuple[bytes, ...]:
        assert at % 8 == 0, "the launcher reads 64-bit offsets in place"
        found = []
        while (offset := struct.unpack_from("<Q", self.data, at)[0]) != 0:
            found.append(self.text(offset))
            at += 8
        return tuple(found)

    def step(self, number: int, names: tuple[str, ...]) -> dict[str, object]:
        at = self.ops_at + 72 * number
        assert at % 8 == 0
        kind, flags, fd, pad = struct.unpack_from("<IIii", self.data, at)
        spans = struct.unpack_from("<6I", self.data, at + 16)
        uid, gid = struct.unpack_from("<II", self.data, at + 40)
        u0, u1, u2 = struct.unpack_from("<QQQ", self.data, at + 48)
        assert pad == -1
        texts = []
        for start, length in zip(spans[::2], spans[1::2], strict=True):
            assert self.data[start + length] == 0, "every string is followed by NUL inside the plan"
            texts.append(self.data[start : start + length])
        return {
            "kind": kind,
            "flags": flags,
            "fd": names[fd] if fd >= 0 else None,
            "a": texts[0],
            "b": texts[1],
            "c": texts[2],
            "uid": uid,
            "gid": gid,
            "u0": u0,
            "u1": u1,
            "u2": u2,
        }


@given(plans)
@settings(max_examples=150, deadline=None)
def test_what_was_encoded_is_read_back(plan: Plan) -> None:
    found = Decoded(encode(plan))
    assert (found.command, found.argv, found.env, found.cwd) == (
        plan.command,
        plan.argv,
        plan.env,
        plan.cwd,
    )
    assert (found.tty, found.nested_scope, found.op_count) == (
        int(plan.tty),
        plan.nested_scope,
        len(plan.steps),
    )
    for number, step in enumerate(plan.steps):
        want = {
            name: getattr(step, name)
            for name in ("flags", "fd", "a", "b", "c", "uid", "gid", "u0", "u1", "u2")
        }
        assert found.step(number, plan.fd_names()) == {"kind": form.OPS[step.op], **want}


@given(plans)
@settings(max_examples=50, deadline=None)
def test_the_last_byte_ends_every_string(plan: Plan) -> None:
    """The launcher refuses a plan whose last byte is not NUL, so that no string runs out of the
    mapping.
    """
    assert encode(plan)[-1] == 0


def plan_of(
    *plan_steps: Step, argv: tuple[bytes, ...] = (), env: tuple[bytes, ...] = (), cwd: bytes = b"/"
) -> Plan:
    return Plan(steps=plan_steps, command=b"/bin/true", argv=argv, env=env, cwd=cwd)


@pytest.mark.parametrize("field", ["a", "b", "c"])
@pytest.mark.parametrize("op", sorted(form.OPS))
def test_nul_is_refused_where_the_launcher_reads_a_string(op: str, field: str) -> None:
    plan = plan_of(Step(op=op, what="", **{field: b"/etc\0/passwd"}))  # type: ignore[arg-type]
    if (op, field) in (("seccomp", "a"), ("fsmount", "b"), ("export", "b")):
        assert Decoded(encode(plan)).step(0, ())[field] == b"/etc\0/passwd"
    else:
        with pytest.raises(ValueError, match="NUL"):
            encode(plan)


@pytest.mark.parametrize(
    "plan",
    [
        plan_of(argv=(b"sh", b"a\0b")),
        plan_of(env=(b"A=\0",)),
        plan_of(cwd=b"/\0"),
        Plan(steps=(), command=b"\0", argv=(), env=(), cwd=b"/"),
    ],
)
def test_nul_is_refused_in_what_is_executed(plan: Plan) -> None:
    with pytest.raises(ValueError, match="NUL"):
        encode(plan)


def test_the_empty_string_is_an_argument_and_not_the_end() -> None:
    found = Decoded(encode(plan_of(argv=(b"sh", b"", b"x"), env=(b"",))))
    assert found.argv == (b"sh", b"", b"x") and found.env == (b"",)


def test_descriptors_are_numbered_in_the_order_of_their_first_use_and_bounded() -> None:
    names = ("slot", "etc", "slot", "netns")
    assert plan_of(*(Step(op="attach", what="", fd=name) for name in names)).fd_names() == (
        "slot",
        "etc",
        "netns",
    )
    full = [Step(op="attach", what="", fd=f"fd{number}") for number in range(form.MAX_FDS)]
    assert (
        Decoded(encode(plan_of(*full))).step(form.MAX_FDS - 1, plan_of(*full).fd_names())["fd"]
        == "fd119"
    )
    with pytest.raises(ValueError, match="120 descriptors"):
        encode(plan_of(*full, Step(op="attach", what="", fd="one more")))


@pytest.mark.parametrize(
    "step",
    [
        {"op": "mkdir", "u0": 2**64},
        {"op": "mkdir", "u0": -1},
        {"op": "mkdir", "uid": 2**32},
        {"op": "mkdir", "flags": -1},
    ],
)
def test_a_number_that_does_not_fit_is_never_cut(step: dict[str, int]) -> None:
    with pytest.raises(struct.error):
        encode(plan_of(Step(what="", **step)))  # type: ignore[arg-type]


def test_an_unknown_step_is_refused() -> None:
    with pytest.raises(KeyError):
        encode(plan_of(Step(op="rm", what="")))


def test_numbers_of_steps_and_messages_are_unique() -> None:
    for table in (form.OPS, form.STATUS):
        assert len(set(table.values())) == len(table) and min(table.values()) > 0


def test_a_step_describes_itself() -> None:
    assert plan_of(Step(op="hostname", what="host name c-1")).describe() == [
        "hostname: host name c-1"
    ]


# ---- status messages -----------------------------------------------------------------------------


@given(st.sampled_from(sorted(form.STATUS)), st.integers(-4096, 4096), _U32, _U32)
@settings(max_examples=50)
def test_a_status_message_is_read_back(kind: str, err: int, step: int, value: int) -> None:
    message = form.decode_status(struct.pack("<IiII", form.STATUS[kind], err, step, value))
    assert message == form.StatusMessage(kind, err, step, value)


def test_an_exit_carries_the_usage() -> None:
    message = form.decode_status(
        struct.pack("<IiIIQQQ", form.STATUS["exited"], 0, 0, 137, 1, 2, 3 << 40)
    )
    assert message == form.StatusMessage("exited", value=137, rusage=(1, 2, 3 << 40))


@given(st.binary(max_size=80))
@settings(max_examples=100)
def test_bytes_that_are_no_message_are_refused(data: bytes) -> None:
    if len(data) in (16, 40):
        assert form.decode_status(data).kind in {*form.STATUS, "?"}
    else:
        with pytest.raises(ValueError):
            form.decode_status(data)


# ---- the header ----------------------------------------------------------------------------------


def test_the_header_is_the_generated_one() -> None:
    """Made by python3 -m akiosd.values.plan > native/include/plan.h."""
    assert (INCLUDE / "plan.h").read_text() == form.c_header()


_LAYOUT = {
    "akios_plan": "magic size op_count ops_at argv_at env_at command_at cwd_at tty nested_scope",
    "akios_op": "kind flags fd pad a_at a_len b_at b_len c_at c_len uid gid u0 u1 u2",
    "akios_status": "kind err step value",
    "akios_request": "magic kind nfds plan_size argument",
    "akios_reply": "pid err",
}
_FORMATS = {
    "akios_plan": form._HEADER.format,
    "akios_op": form._OP.format,
    "akios_status": form._MESSAGE.format,
    "akios_request": form.REQUEST.format,
    "akios_reply": form.REPLY.format,
}


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_the_compiler_puts_every_field_where_python_does(tmp_path: Path) -> None:
    lines = ["#include <stddef.h>", "#include <stdio.h>", '#include "plan.h"', "int main(void) {"]
    for name, fields in _LAYOUT.items():
        lines += [
            f'printf("{name}.{field} %zu\\n", offsetof(struct {name}, {field}));'
            for field in fields.split()
        ]
    lines += [f'printf("{name} %d\\n", AKIOS_OP_{name.upper()});' for name in form.OPS]
    lines += ['printf("exit %zu\\n", offsetof(struct akios_exit, max_rss));', "return 0; }"]
    source, program = tmp_path / "layout.c", tmp_path / "layout"
    source.write_text("\n".join(lines))
    subprocess.run(
        ["cc", "-std=gnu11", "-Wall", "-Werror", f"-I{INCLUDE}", "-o", program, source], check=True
    )
    told = dict(line.split() for line in subprocess.check_output([program], text=True).splitlines())
    want = {"exit": "32", **{name: str(number) for name, number in form.OPS.items()}}
    for name, fields in _LAYOUT.items():
        letters = _FORMATS[name][1:]
        assert len(letters) == len(fields.split())
        want |= {
            f"{name}.{field}": str(struct.calcsize("<" + letters[:at]))
            for at, field in enumerate(fields.split())
        }
    assert told == want
