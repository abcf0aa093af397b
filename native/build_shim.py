"""Builds the native parts of AKIOS: the cffi extension `akiosd.kernel._shim`, the executables
`akios-launcher` and `akios-keeper`, and the programs `akiosctl` (`akios` for short) and `akiosd`.

setuptools calls `BuildExt` and `BuildScripts` (named in pyproject.toml) at every install. All but
the two programs, which belong beside the interpreter they start, are also built without pip:

    python native/build_shim.py          # into the source tree, after an edit
    python native/build_shim.py DIR      # -> DIR/akiosd/kernel/{_shim.*.so,akios-*}

`AKIOS_SANITIZE=1` builds both with the address and undefined-behaviour sanitizers; `CC` names the
compiler.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from cffi import FFI
from setuptools import Distribution, Extension
from setuptools.command.build_ext import build_ext

# setuptools brings distutils with it, also where Python has none any more, and has no such command
# of its own.
from distutils.command.build_scripts import build_scripts  # isort: skip

NATIVE = Path(__file__).resolve().parent
HEADERS = ("akios.h", "mount.h")
MODULE = "akiosd.kernel._shim"
LAUNCHER = Path("akiosd", "kernel", "akios-launcher")
KEEPER = Path("akiosd", "kernel", "akios-keeper")

SHARED_SOURCES = ("mount.c", "credentials.c")
SHIM_SOURCES = ("shim_*.c", *SHARED_SOURCES)
LAUNCHER_SOURCES = ("launcher*.c", "init*.c", "common*.c", *SHARED_SOURCES)
KEEPER_SOURCES = ("keeper*.c",)
ENTRY_SOURCES = ("entry.c",)
PROGRAMS = ("akiosctl", "akios", "akiosd")
HELPERS = {LAUNCHER: LAUNCHER_SOURCES, KEEPER: KEEPER_SOURCES}
SHIM_LIBRARIES = ["crypto", "pthread"]

WARNINGS = [
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wformat=2",
    "-Wshadow",
    "-Wconversion",
    "-Wno-sign-conversion",
]
COMMON = ["-std=gnu11", "-g", "-fno-strict-aliasing", "-fstack-protector-strong", "-D_GNU_SOURCE"]
LINK = ["-Wl,-z,relro,-z,now,-z,noexecstack"]


def read_declarations(header: Path) -> str:
    """The part of `header` between `/* cffi: begin */` and `/* cffi: end */`: plain declarations,
    no `#` lines.
    """
    text = header.read_text()
    try:
        return text.split("/* cffi: begin */", 1)[1].split("/* cffi: end */", 1)[0]
    except IndexError:
        raise SystemExit(
            f"{header}: the lines `/* cffi: begin */` and `/* cffi: end */` are missing"
        ) from None


def write_wrapper(target: Path) -> None:
    builder = FFI()
    for name in HEADERS:
        builder.cdef(read_declarations(NATIVE / "include" / name))
    builder.set_source(MODULE, "".join(f'#include "{name}"\n' for name in HEADERS))
    builder.emit_c_code(str(target))


def sanitizers() -> list[str]:
    if os.environ.get("AKIOS_SANITIZE") != "1":
        return []
    return [
        "-fsanitize=address,undefined",
        "-fno-sanitize-recover=undefined",
        "-fno-omit-frame-pointer",
    ]


def optimisation() -> list[str]:
    # _FORTIFY_SOURCE hides the very calls the sanitizers intercept, so a build has one or the
    # other.
    fortify = (
        ["-U_FORTIFY_SOURCE"] if sanitizers() else ["-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2"]
    )
    return ["-O1" if sanitizers() else "-O2", *fortify, *sanitizers()]


def find_sources(patterns: tuple[str, ...]) -> list[Path]:
    found = sorted(path for pattern in patterns for path in (NATIVE / "src").glob(pattern))
    if not found:
        raise SystemExit(f"{NATIVE / 'src'}: no source matches {' '.join(patterns)}")
    return found


def run_compiler(arguments: list[str]) -> None:
    command = [*os.environ.get("CC", "cc").split(), *COMMON, *optimisation(), *WARNINGS]
    command += [f"-I{NATIVE / 'include'}", *arguments]
    if subprocess.run(command).returncode != 0:
        raise SystemExit(
            "native code did not compile; the compiler's words are above. Command: "
            + " ".join(command)
        )


class BuildExt(build_ext):
    """build_ext that compiles our C strictly, lets cffi's generated wrapper be as it is, and adds
    the launcher and the keeper.
    """

    def finalize_options(self) -> None:
        super().finalize_options()
        # A changed header or flag must never leave an old object behind, and everything compiles in
        # seconds.
        self.force = True

    def run(self) -> None:
        super().run()
        for helper, sources in HELPERS.items():
            built = Path(self.build_lib) / helper
            self.link_helper(built, sources)
            if self.inplace or self.editable_mode:
                install_file(built, NATIVE.parent / helper)

    def build_extension(self, ext: Extension) -> None:
        work = Path(self.build_temp)
        work.mkdir(parents=True, exist_ok=True)
        wrapper = work / "_shim.c"
        write_wrapper(wrapper)
        ext.sources = [str(wrapper)]
        ext.include_dirs = [str(NATIVE / "include")]
        ext.libraries = SHIM_LIBRARIES
        ext.extra_compile_args = optimisation()
        ext.extra_link_args = [*LINK, *sanitizers()]
        # Our C goes in as finished objects: only so can it be held to warnings that cffi's
        # generated C does not meet.
        ext.extra_objects = [
            str(self.compile_object(source, work)) for source in find_sources(SHIM_SOURCES)
        ]
        super().build_extension(ext)

    def compile_object(self, source: Path, work: Path) -> Path:
        target = work / f"{source.stem}.o"
        run_compiler(["-fPIC", "-fvisibility=hidden", "-c", str(source), "-o", str(target)])
        return target

    def link_helper(self, target: Path, patterns: tuple[str, ...]) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        sources = [str(path) for path in find_sources(patterns)]
        run_compiler(["-fPIE", "-pie", *sources, *LINK, "-o", str(target)])


class BuildScripts(build_scripts):
    """The programs people start: executables that name their interpreter and its isolation, instead
    of scripts.
    """

    def finalize_options(self) -> None:
        super().finalize_options()
        self.scripts = list(PROGRAMS)

    def get_source_files(self) -> list[str]:
        return []

    def run(self) -> None:
        built = Path(self.build_dir)
        built.mkdir(parents=True, exist_ok=True)
        for name in PROGRAMS:
            link_entry(built / name)


def link_entry(target: Path) -> None:
    """One program, for the Python that builds it; its own name tells it what to start."""
    base = Path(sys._base_executable).resolve()  # type: ignore[attr-defined]  # outside of any virtual environment
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    sources = [str(path) for path in find_sources(ENTRY_SOURCES)]
    run_compiler(
        [
            *("-fPIE", "-pie", f'-DAKIOS_PYTHON="{base}"', f'-DAKIOS_PYTHON_NAME="{name}"'),
            *sources,
            *LINK,
            *("-o", str(target)),
        ]
    )


def install_file(source: Path, target: Path) -> None:
    """Copies, then renames: a launcher that is running keeps its old file instead of failing the
    build with ETXTBSY.
    """
    partial = target.with_suffix(".new")
    shutil.copy2(source, partial)
    partial.replace(target)


def main(target: Path | None) -> None:
    distribution = Distribution({"name": "akios-native", "ext_modules": [Extension(MODULE, [])]})
    command = BuildExt(distribution)
    command.inplace = target is None
    command.build_lib = str(target or NATIVE.parent / "build" / "native")
    command.build_temp = str(Path(command.build_lib, "objects"))
    os.chdir(NATIVE.parent)
    command.ensure_finalized()
    command.run()


if __name__ == "__main__":
    if len(sys.argv) > 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]).resolve() if len(sys.argv) == 2 else None)
