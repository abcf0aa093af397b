"""Programs of other kinds in a cage without privileges: static ones, and those of Go and musl, which
look names up by themselves.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.policy_mode import PolicyModeDaemon
from tests.e2e.test_policy_mode import host, models, site  # noqa: F401

pytestmark = pytest.mark.named_set("podman")
C = """
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
int main(int argc, char **argv) {
  struct addrinfo wanted = {.ai_socktype = SOCK_STREAM}, *found;
  char text[4096];
  ssize_t got;
  int error = argc != 2 ? EAI_FAIL : getaddrinfo(argv[1], "80", &wanted, &found);
  if (error) return printf("no name: %s\\n", gai_strerror(error)), 1;
  int to = socket(found->ai_family, SOCK_STREAM, 0);
  if (connect(to, found->ai_addr, found->ai_addrlen)) return perror("connect"), 1;
  snprintf(text, sizeof text, "GET /c HTTP/1.1\\r\\nHost: %s\\r\\nConnection: close\\r\\n\\r\\n", argv[1]);
  if (write(to, text, strlen(text)) < 0) return perror("write"), 1;
  got = read(to, text, 12);
  return printf("%.*s\\n", (int)got, text), 0;
}
"""
GO = """
package main
import ("fmt"; "net/http"; "os")
func main() {
  answer, err := http.Get("http://" + os.Args[1] + "/go")
  if err != nil { fmt.Println(err); return }
  fmt.Println(answer.Proto, answer.StatusCode)
}
"""
COMPILERS = {
    "glibc, static": ("gcc", "-static", "-O1", "-o"),
    "musl, static": ("musl-gcc", "-static", "-O1", "-o"),
    "musl": ("musl-gcc", "-O1", "-o"),
    "go, static": ("env", "CGO_ENABLED=0", "go", "build", "-o"),
    "go": ("go", "build", "-o"),
}


def compiled(kind: str, where: Path) -> Path:
    words = COMPILERS[kind]
    tool = words[2] if words[0] == "env" else words[0]
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    source, text = ("p.go", GO) if tool == "go" else ("p.c", C)
    (where / source).write_text(text)
    env = {"PATH": "/usr/bin:/bin", "HOME": str(where), "GO111MODULE": "off"}
    subprocess.run([*words, "program", source], cwd=where, env=env, check=True)
    return where / "program"


@pytest.mark.parametrize("kind", COMPILERS)
def test_programs_find_names_and_connect_but_those_of_musl(
    host: PolicyModeDaemon,  # noqa: F811
    tmp_path: Path,
    kind: str,
) -> None:
    where = host.workspace()
    shutil.copy(compiled(kind, tmp_path), where / "program")
    done = host.run("./program", "allowed.example", cwd=where)
    if kind.startswith("musl"):
        assert done.stdout == "no name: System error\n"
        # The control: an address on this host needs no name.
        known = host.outside(where / "program", "localhost", cwd=where)
        assert "no name" not in known.stdout
    else:
        assert done.stdout.startswith("HTTP/1.1 200"), done.stdout + done.stderr
    refused = host.run("./program", "other.example", cwd=where)
    assert "HTTP" not in refused.stdout
