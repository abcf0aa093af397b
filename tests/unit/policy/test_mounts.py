"""The order and the attributes of a plan: facts that hold whatever the policy says."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from akiosd.errors import PolicyError
from akiosd.policy.compile.identity import Identity
from akiosd.policy.compile.landlock import LandlockView, compile_landlock
from akiosd.policy.compile.limits import HostPools, compile_rlimits
from akiosd.policy.compile.mounts import (
    FAN_CLOSE_WRITE,
    FAN_OPEN_EXEC,
    NODEV,
    NOEXEC,
    NOSUID,
    RDONLY,
    BindSpec,
    CageSpec,
    compile_plan,
)
from akiosd.values.plan import F_EXIST_OK, F_SAME_KIND, F_STAGE, Plan, Step, encode
from akiosd.values.policy import DEFAULT_POLICY
from akiosd.values.trust import STORES

HOST_ID, DISPLAY = 1_900_000_007, 1 << 31
NEWUSER, NEWNET = 0x10000000, 0x40000000
PLACING = ("attach", "fsmount", "bind")


def make_spec(**changes: object) -> CageSpec:
    view = LandlockView(workspace=b"/home/ada/project", home=b"/home/ada")
    spec = CageSpec(
        name="c-000000000000",
        identity=Identity(HOST_ID, HOST_ID, DISPLAY, 1001, 1001),
        workspace=b"/home/ada/project",
        workspace_mode="cow",
        home=b"/home/ada",
        command=b"/usr/bin/python3",
        argv=(b"python3", b"agent.py"),
        env=(b"HOME=/home/ada",),
        cwd=b"/home/ada/project",
        system_links=((b"bin", b"usr/bin"), (b"lib64", b"usr/lib64")),
        system_dirs=(b"usr",),
        v1_controllers=("memory", "pids"),
        rlimits=compile_rlimits(DEFAULT_POLICY.limits, HostPools()),
        landlock=compile_landlock(DEFAULT_POLICY, view, 7),
        filter=bytes(16),
        filter_flags=40,
    )
    return msgspec.structs.replace(spec, **changes)


_NAMES = st.sampled_from([b"a", b"b", b"c", b"srv", b"opt", b"home", b"ada", b"data"])
paths = st.lists(_NAMES, min_size=1, max_size=4).map(lambda names: b"/" + b"/".join(names))


@st.composite
def specs(draw: st.DrawFn) -> CageSpec:
    workspace, home = draw(paths), draw(paths)
    binds, writable = [], 0
    for path in draw(st.lists(paths, max_size=6, unique=True)):
        if path in (workspace, home):
            continue
        mode, name = draw(st.sampled_from([("sealed", b""), ("cow", b""), ("sealed", b"file")]))
        binds.append(BindSpec(path, f"bind:{len(binds)}", mode, name))
        writable += mode == "cow"
    return make_spec(
        workspace=workspace,
        home=home,
        workspace_mode=draw(st.sampled_from(["cow", "rw", "ro", "rw-direct"])),
        binds=tuple(binds),
        tty=draw(st.sampled_from([None, (24, 80)])),
        hide=tuple(draw(st.lists(paths, max_size=2))),
        stores=tuple(
            workspace + b"/" + name.encode() for name in draw(st.lists(st.sampled_from([*STORES])))
        ),
    )


checked = settings(max_examples=80, deadline=None)


def where(plan: Plan, op: str, u0: int | None = None) -> int:
    """The place of the one step with this operation."""
    found = [
        at for at, step in enumerate(plan.steps) if step.op == op and (u0 is None or step.u0 == u0)
    ]
    assert len(found) == 1, f"{op} stands {len(found)} times"
    return found[0]


def target(step: Step) -> bytes | None:
    """The place below the new root that a step puts a mount on; None in the staging root."""
    if step.op == "bind":
        return b"/" + step.c
    if step.flags & F_STAGE:
        return None
    return b"/" + (step.a if step.op == "attach" else step.c)


def placed(plan: Plan) -> list[tuple[int, bytes, Step]]:
    found = []
    for at, step in enumerate(plan.steps):
        place = target(step) if step.op in PLACING else None
        if place is not None:
            found.append((at, place, step))
    return found


def is_below(path: bytes, parent: bytes) -> bool:
    return path.startswith(parent.rstrip(b"/") + b"/")


@checked
@given(specs())
def test_privilege_is_given_up_in_the_one_order_that_works(spec: CageSpec) -> None:
    plan = compile_plan(spec)
    order = [
        where(plan, "setns", NEWNET),
        where(plan, "root"),
        where(plan, "setattr"),
        where(plan, "pivot"),
        where(plan, "keyring"),
        where(plan, "setns", NEWUSER),  # refills the bounding set and resets the securebits
        where(plan, "close_range"),
        where(plan, "bounding"),
        where(plan, "securebits"),
        where(plan, "ids"),  # afterwards PR_SET_SECUREBITS fails
        where(plan, "capset"),
        where(plan, "lockdown"),  # no_new_privs: Landlock and seccomp ask for it
        where(plan, "landlock"),
        where(plan, "landlock_enforce"),
        where(plan, "seccomp"),
    ]
    assert order == sorted(order)
    assert order[-1] == len(plan.steps) - 1, "nothing runs behind the filter but init"


@checked
@given(specs())
def test_each_phase_stays_in_its_place(spec: CageSpec) -> None:
    steps = compile_plan(spec).steps
    ops = [step.op for step in steps]
    pivot, user = ops.index("pivot"), where(compile_plan(spec), "setns", NEWUSER)
    assert not {"attach", "fsmount", "bind", "mkdir", "mkfile", "symlink", "mknod", "canary"} & set(
        ops[pivot:]
    )
    assert all(step.fd is None for step in steps[user + 1 :]), "descriptors are closed by then"
    assert ops.index("unshare") > max(at for at, op in enumerate(ops) if op == "cgroup_v1"), (
        "or v1 paths leak"
    )
    rules = [at for at, op in enumerate(ops) if op == "landlock_rule"]
    assert (
        rules and ops.index("landlock") < min(rules) and max(rules) < ops.index("landlock_enforce")
    )
    assert not {"rlimit", "pty", "stdio"} & set(ops[user:])


@checked
@given(specs())
def test_no_mount_covers_an_earlier_one_below_it(spec: CageSpec) -> None:
    found = [entry for entry in placed(compile_plan(spec)) if not entry[2].what.endswith("hidden")]
    for number, (_, path, step) in enumerate(found):
        for _, later, over in found[number + 1 :]:
            assert not is_below(path, later), f"{over.what} covers {step.what}"


@checked
@given(specs())
def test_what_a_mount_stands_on_was_made_or_mounted_before(spec: CageSpec) -> None:
    """Masks and hidden names may be absent; everything else has its place made for it."""
    plan = compile_plan(spec)
    made = {b"/", b"/etc/akios"}  # in every /etc that is made for cages
    for step in plan.steps:
        if step.op in ("mkdir", "mkfile", "mknod", "symlink"):
            parent = b"/" + step.a if step.a else b"/"
            assert parent in made, f"{step.what} has no parent"
            made.add(parent.rstrip(b"/") + b"/" + step.b)
        elif step.op in PLACING and (place := target(step)) is not None:
            optional = step.op == "bind" and not step.flags & F_STAGE
            assert optional or place in made, step.what


@checked
@given(specs())
def test_every_mount_is_nosuid_and_nodev(spec: CageSpec) -> None:
    for step in compile_plan(spec).steps:
        if step.op not in PLACING:
            continue
        place = target(step) or b""
        assert step.u0 & NOSUID, step.what
        devices = place in (b"/dev", b"/dev/pts") or (step.op == "bind" and step.a == b"dev/null")
        assert step.u0 & NODEV or devices, step.what


@checked
@given(specs())
def test_nothing_of_the_system_is_writable(spec: CageSpec) -> None:
    plan = compile_plan(spec)
    found = {place: step for _, place, step in placed(plan)}
    for place in (b"/usr", b"/etc", b"/proc/sys"):
        assert found[place].u0 & RDONLY, place
    for place, step in found.items():
        system = any(is_below(place, parent) for parent in (b"/usr", b"/etc", b"/proc"))
        assert step.u0 & RDONLY or not system, step.what
    assert b"/sys" not in found and plan.steps[where(plan, "setattr")].u0 == RDONLY


@checked
@given(specs())
def test_what_may_be_written_is_the_agents_own(spec: CageSpec) -> None:
    writable = {place for _, place, step in placed(compile_plan(spec)) if not step.u0 & RDONLY}
    own = {b"/dev", b"/dev/pts", b"/dev/shm", b"/proc", b"/tmp", b"/var/tmp", spec.home}
    own |= {bind.path for bind in spec.binds if bind.mode == "cow"}
    if spec.workspace_mode != "ro":
        own.add(spec.workspace)
        own |= {place for place in writable if is_below(place, spec.workspace)} & leading(spec)
    assert writable <= own
    for step in compile_plan(spec).steps:
        if step.op == "attach" and step.fd != "slot" and step.flags & F_STAGE:
            assert step.u0 & RDONLY, (
                "what lies under an overlay is never written through another way"
            )


def leading(spec: CageSpec) -> set[bytes]:
    """The directories that lead to a home, a bind or what is hidden."""
    shown = (spec.home, *(bind.path for bind in spec.binds), *spec.hide)
    return {parent for path in shown for parent in parents(path)}


def parents(path: bytes) -> list[bytes]:
    names = path.strip(b"/").split(b"/")[:-1]
    return [b"/" + b"/".join(names[: at + 1]) for at in range(len(names))]


@checked
@given(specs())
def test_what_is_shown_inside_the_workspace_cannot_be_moved_away(spec: CageSpec) -> None:
    """Every directory on the way there is one that something is mounted on (rename(2), EBUSY), or
    lies in a tree that no commit reads.
    """
    if spec.workspace_mode not in ("cow", "rw"):
        return
    places = {place for _, place, _ in placed(compile_plan(spec))}
    for shown in (spec.home, *(bind.path for bind in spec.binds)):
        for parent in parents(shown):
            others = {spec.home, *(bind.path for bind in spec.binds)} - {shown}
            if is_below(parent, spec.workspace) and not any(is_below(parent, o) for o in others):
                assert parent in places, (shown, parent)


@checked
@given(specs())
def test_what_leads_to_what_is_hidden_cannot_be_moved_away_either(spec: CageSpec) -> None:
    """As above; where it is not there, nothing is made and nothing fails."""
    if spec.workspace_mode not in ("cow", "rw"):
        return
    plan = compile_plan(msgspec.structs.replace(spec, watched=True))
    places = {place for _, place, _ in placed(plan)}
    shown = {spec.home, *(bind.path for bind in spec.binds)}
    for hidden in spec.hide:
        for parent in parents(hidden):
            others = {*shown, *spec.hide}
            if is_below(parent, spec.workspace) and not any(is_below(parent, o) for o in others):
                assert parent in places, (hidden, parent)
                if not any(is_below(one, parent) for one in shown):
                    found = [step for _, place, step in placed(plan) if place == parent]
                    assert all(step.flags & F_EXIST_OK for step in found), parent


@checked
@given(specs())
def test_nothing_of_the_host_is_shown_but_through_an_overlay_of_the_cages_own(
    spec: CageSpec,
) -> None:
    """A bind shares its inodes, and with them watches, locks, leases, sockets and pipes.
    ``rw-direct`` says so.
    """
    allowed = {b"workspace"} if spec.workspace_mode == "rw-direct" else set()
    for step in compile_plan(spec).steps:
        if step.op == "attach" and not step.flags & F_STAGE:
            own = step.fd == "trust"  # a tmpfs made for this cage
            assert own or (step.fd or "").encode() in allowed, step.what
        if step.op == "bind" and step.flags & F_STAGE:
            assert step.a.startswith((b"/slot/", b"/seal/")), step.what


@checked
@given(specs())
def test_every_place_a_program_can_be_run_from_is_watched(spec: CageSpec) -> None:
    plan = compile_plan(msgspec.structs.replace(spec, watched=True))
    watched = {
        (step.a + b"/" + step.b if step.a else step.b): step.u0
        for step in plan.steps
        if step.op == "watch"
    }
    ops = [step.op for step in plan.steps]
    assert (
        max(at for at, op in enumerate(ops) if op in PLACING)
        < ops.index("watch")
        < ops.index("pivot")
    )
    for _, place, step in placed(plan):
        if not step.u0 & NOEXEC and place != b"/dev":
            assert watched[place[1:]] & FAN_OPEN_EXEC, place
            assert step.u0 & RDONLY or watched[place[1:]] & FAN_CLOSE_WRITE, place
    assert "watch" not in {step.op for step in compile_plan(spec).steps}


@checked
@given(specs())
def test_what_is_hidden_is_covered_last_whatever_it_is(spec: CageSpec) -> None:
    """A policy names a path without saying whether it is a file: one of two covers fits, the other
    is left out.
    """
    found = placed(compile_plan(spec))
    covers = found[len(found) - 2 * len(spec.hide) :]
    assert [(place, step.a) for _, place, step in covers] == [
        (path, source) for path in spec.hide for source in (b"dev/null", b"run")
    ]
    for _, _, step in covers:
        assert step.flags == F_EXIST_OK | F_SAME_KIND and step.u0 & RDONLY


@checked
@given(specs())
def test_no_overlay_shares_what_it_writes(spec: CageSpec) -> None:
    steps = compile_plan(spec).steps
    written: list[bytes] = []
    for before, step in pairwise(steps):
        if step.op != "fsmount" or step.a != b"overlay":
            continue
        words = step.b.split(b"\0")
        options = dict(zip(words[::2], words[1::2], strict=False))
        assert (options[b"redirect_dir"], options[b"metacopy"], options[b"index"]) == (
            b"on",
            b"off",
            b"off",
        )
        assert b"userxattr" not in options
        # The stage may serve one overlay after the other: what is on it now was put there for this
        # one.
        assert (before.op, before.a) == ("attach", options[b"lowerdir"].split(b":")[0])
        own = [options[name] for name in (b"upperdir", b"workdir") if name in options]
        assert len(own) == (0 if step.u0 & RDONLY else 2)
        written += own
    assert len(written) == len(set(written))


@checked
@given(specs())
def test_every_step_describes_itself_in_one_line(spec: CageSpec) -> None:
    plan = compile_plan(spec)
    encode(plan)
    lines = plan.describe()
    assert len(lines) == len(plan.steps)
    for line, step in zip(lines, plan.steps, strict=True):
        assert line == f"{step.op}: {step.what}" and step.what.strip() and "b'" not in line
    assert len(set(zip(lines, plan.steps, strict=True))) == len(set(plan.steps))


def test_the_described_plan_reads_as_a_person_would_say_it() -> None:
    lines = compile_plan(make_spec()).describe()
    assert [
        line for line in lines if line.startswith(("setns", "ids", "seccomp", "hostname", "pivot"))
    ] == [
        "setns: enter the cage's network namespace",
        "hostname: host name c-000000000000",
        "pivot: the new root is all there is",
        "setns: enter the cage's user namespace",
        f"ids: become 1000:1000 inside, {HOST_ID} outside",
        "seccomp: 2 instructions, with listener",
    ]
    assert "fsmount: the workspace /home/ada/project, cow" in lines
    assert "symlink: /lib64 → usr/lib64" in lines
    assert "rlimit: core ≤ 1" in lines


def test_bytes_that_are_no_text_are_still_shown() -> None:
    lines = compile_plan(make_spec(workspace=b"/srv/\xff")).describe()
    assert "fsmount: the workspace /srv/\\xff, cow" in lines


def test_parents_in_the_home_belong_to_the_agent_and_others_to_nobody() -> None:
    spec = make_spec(
        binds=(BindSpec(b"/home/ada/.cache/tool/x", "bind:0"), BindSpec(b"/data/set", "bind:1"))
    )
    owners = {
        (step.a + b"/" + step.b): step.uid
        for step in compile_plan(spec).steps
        if step.op == "mkdir" and step.a
    }
    assert owners[b"home/ada/.cache/tool"] == HOST_ID
    assert owners[b"data/set"] == DISPLAY


def test_without_landlock_and_filter_the_plan_says_nothing_of_them() -> None:
    ops = {step.op for step in compile_plan(make_spec(landlock=None, filter=b"")).steps}
    assert not {"landlock", "landlock_rule", "landlock_enforce", "seccomp"} & ops


def test_a_terminal_takes_the_place_of_pipes() -> None:
    plan = compile_plan(make_spec(tty=(50, 132)))
    step = plan.steps[where(plan, "pty")]
    assert (step.u0, step.u1, plan.tty) == (50, 132, True)
    assert "stdio" not in {step.op for step in plan.steps}
    assert [s.u0 for s in compile_plan(make_spec()).steps if s.op == "stdio"] == [0, 1, 2]


@pytest.mark.parametrize("path", [b"/home/ada", b"/home/ada/project"])
def test_a_path_is_not_bound_twice(path: bytes) -> None:
    with pytest.raises(PolicyError, match="is the workspace or the home"):
        compile_plan(make_spec(binds=(BindSpec(path, "bind:0"),)))


def test_overlays_are_bounded_by_their_staging_places() -> None:
    many = tuple(
        BindSpec(b"/data/%d" % number, f"bind:{number}", mode="cow") for number in range(9)
    )
    assert compile_plan(make_spec(binds=many[:8]))
    with pytest.raises(PolicyError, match="more than 8"):
        compile_plan(make_spec(binds=many))
