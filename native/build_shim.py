"""Builds the two native parts of AKIOS: the cffi extension `akiosd.kernel._shim` and the executable `akios-launcher`.

setuptools calls `BuildExt` (named in pyproject.toml) at every install. The same build also runs without pip:

    python native/build_shim.py          # into the source tree, after an edit
    python native/build_shim.py DIR      # -> DIR/akiosd/kernel/{_shim.*.so,akios-launcher}

`AKIOS_SANITIZE=1` builds both with the address and undefined-behaviour sanitizers; `CC` names the compiler.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from cffi import FFI
from setuptools import Distribution, Extension
from setuptools.command.build_ext import build_ext

NATIVE = Path(__file__).resolve().parent
HEADER = NATIVE / "include" / "akios.h"
MODULE = "akiosd.kernel._shim"
LAUNCHER = Path("akiosd", "kernel", "akios-launcher")

SHIM_SOURCES = ("shim_*.c",)
LAUNCHER_SOURCES = ("launcher*.c", "init*.c", "common*.c")
SHIM_LIBRARIES = ["seccomp", "crypto", "pthread"]
LAUNCHER_LIBRARIES: list[str] = []

WARNINGS = ["-Wall", "-Wextra", "-Werror", "-Wformat=2", "-Wshadow", "-Wconversion", "-Wno-sign-conversion"]
COMMON = ["-std=gnu11", "-g", "-fno-strict-aliasing", "-fstack-protector-strong", "-D_GNU_SOURCE"]
LINK = ["-Wl,-z,relro,-z,now,-z,noexecstack"]


def read_declarations(header: Path) -> str:
    """The part of `header` between `/* cffi: begin */` and `/* cffi: end */`: plain declarations, no `#` lines."""
    text = header.read_text()
    try:
        return text.split("/* cffi: begin */", 1)[1].split("/* cffi: end */", 1)[0]
    except IndexError:
        raise SystemExit(f"{header}: the lines `/* cffi: begin */` and `/* cffi: end */` are missing") from None


def write_wrapper(target: Path) -> None:
    builder = FFI()
    builder.cdef(read_declarations(HEADER))
    builder.set_source(MODULE, '#include "akios.h"')
    builder.emit_c_code(str(target))


def sanitizers() -> list[str]:
    if os.environ.get("AKIOS_SANITIZE") != "1":
        return []
    return ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer"]


def optimisation() -> list[str]:
    # _FORTIFY_SOURCE hides the very calls the sanitizers intercept, so a build has one or the other.
    fortify = ["-U_FORTIFY_SOURCE"] if sanitizers() else ["-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2"]
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
        raise SystemExit("native code did not compile; the compiler's words are above. Command: " + " ".join(command))


class BuildExt(build_ext):
    """build_ext that compiles our C strictly, lets cffi's generated wrapper be as it is, and adds the launcher."""

    def finalize_options(self) -> None:
        super().finalize_options()
        # A changed header or flag must never leave an old object behind, and everything compiles in seconds.
        self.force = True

    def run(self) -> None:
        super().run()
        launcher = Path(self.build_lib) / LAUNCHER
        self.link_launcher(launcher)
        if self.inplace or self.editable_mode:
            install_file(launcher, NATIVE.parent / LAUNCHER)

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
        # Our C goes in as finished objects: only so can it be held to warnings that cffi's generated C does not meet.
        ext.extra_objects = [str(self.compile_object(source, work)) for source in find_sources(SHIM_SOURCES)]
        super().build_extension(ext)

    def compile_object(self, source: Path, work: Path) -> Path:
        target = work / f"{source.stem}.o"
        run_compiler(["-fPIC", "-fvisibility=hidden", "-c", str(source), "-o", str(target)])
        return target

    def link_launcher(self, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        sources = [str(path) for path in find_sources(LAUNCHER_SOURCES)]
        libraries = [f"-l{name}" for name in LAUNCHER_LIBRARIES]
        run_compiler(["-fPIE", "-pie", *sources, *LINK, *libraries, "-o", str(target)])


def install_file(source: Path, target: Path) -> None:
    """Copies, then renames: a launcher that is running keeps its old file instead of failing the build with ETXTBSY."""
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
