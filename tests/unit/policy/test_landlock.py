import pytest
from akiosd.policy.compile import landlock
from akiosd.policy.compile.landlock import LandlockView, compile_landlock, describe
from akiosd.values.policy import DEFAULT_POLICY, Filesystem, Policy

VIEW = LandlockView(
    b"/home/u/project",
    b"/home/agent",
    read=((b"/opt/tool", True), (b"/etc/x.conf", False)),
    write=((b"/srv/w", True),),
)


def access(spec, path):
    return {rule.path: rule.access for rule in spec.rules}[path]


def test_below_the_floor_there_is_no_ruleset():
    assert compile_landlock(DEFAULT_POLICY, VIEW, 0) is None
    assert compile_landlock(DEFAULT_POLICY, VIEW, 1) is None


@pytest.mark.parametrize(
    ("abi", "size", "handled", "scoped"),
    [
        (2, 8, 0x3FFF, 0),
        (3, 8, 0x7FFF, 0),
        (4, 16, 0x7FFF, 0),
        (5, 16, 0xFFFF, 0),
        (6, 24, 0xFFFF, 3),
        (7, 24, 0xFFFF, 3),
    ],
)
def test_rights_are_those_of_the_abi(abi, size, handled, scoped):
    spec = compile_landlock(DEFAULT_POLICY, VIEW, abi)
    assert (spec.attr_size, spec.handled_fs, spec.scoped) == (size, handled, scoped)
    for rule in spec.rules:
        assert rule.access and rule.access & ~handled == 0


def test_a_newer_kernel_is_used_as_the_best_known():
    assert compile_landlock(DEFAULT_POLICY, VIEW, 99) == compile_landlock(
        DEFAULT_POLICY, VIEW, landlock.BEST_ABI
    )


def test_who_may_write_where():
    spec = compile_landlock(DEFAULT_POLICY, VIEW, 7)
    for path in (b"/home/u/project", b"/home/agent", b"/tmp", b"/srv/w", b"/dev/shm"):
        assert access(spec, path) & landlock.WRITE == landlock.WRITE, path
        assert access(spec, path) & landlock.REFER
    for path in (b"/usr", b"/etc", b"/opt/tool", b"/", b"/dev", b"/run", b"/var"):
        assert (
            access(spec, path) & (landlock.WRITE_FILE | landlock.MAKE_REG | landlock.REMOVE_FILE)
            == 0
        ), path
    assert access(spec, b"/") == landlock.READ_DIR
    assert access(spec, b"/dev/null") & landlock.WRITE_FILE


def test_nobody_makes_device_nodes_and_files_get_file_rights_only():
    spec = compile_landlock(DEFAULT_POLICY, VIEW, 7)
    for rule in spec.rules:
        assert rule.access & (landlock.MAKE_CHAR | landlock.MAKE_BLOCK) == 0
    assert access(spec, b"/etc/x.conf") & ~landlock.FILE_RIGHTS == 0
    assert access(spec, b"/dev/null") & ~landlock.FILE_RIGHTS == 0


def test_a_read_only_workspace():
    spec = compile_landlock(Policy(filesystem=Filesystem(workspace="ro")), VIEW, 7)
    assert access(spec, b"/home/u/project") == landlock.READ


def test_the_description_says_what_is_not_covered():
    assert (
        describe(compile_landlock(DEFAULT_POLICY, VIEW, 7))
        == "ABI 7: files, abstract sockets and signals scoped"
    )
    assert (
        describe(compile_landlock(DEFAULT_POLICY, VIEW, 2))
        == "ABI 2: files; not covered: truncate, device ioctl"
    )
