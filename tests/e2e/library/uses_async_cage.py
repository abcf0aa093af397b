"""Uses a cage in async code; the backend is the first word."""

from __future__ import annotations

import sys

import anyio

from akiosctl import AsyncCage, ProgramFailed


async def main() -> None:
    async with AsyncCage() as cage:
        results: dict[int, str] = {}

        async def one(number: int) -> None:
            results[number] = (await cage.run("echo", str(number))).text

        async with anyio.create_task_group() as group:
            for number in range(4):
                group.start_soon(one, number)
        assert results == {number: f"{number}\n" for number in range(4)}
        pieces = [data async for _, data in cage.stream("echo", "streamed")]
        assert b"".join(pieces) == b"streamed\n"
        await cage.write("a", b"x")
        assert await cage.read("a") == b"x"
        try:
            await cage.run("false", check=True)
        except ProgramFailed as failed:
            assert failed.done.exit_code == 1
        else:
            raise AssertionError("it succeeded")
        # What is cancelled is killed, and the cage goes on.
        with anyio.move_on_after(1):
            await cage.run("sh", "-c", "echo $$ > pid; exec sleep 1000")
        assert (await cage.read("pid")).strip().isdigit()
        # So is what is followed, though it prints nothing.
        with anyio.move_on_after(1):
            async for _ in cage.stream("sh", "-c", "echo $$ > silent; exec sleep 1001"):
                raise AssertionError("it printed")
        number = (await cage.read("silent")).decode().strip()
        gone = f"for n in 1 2 3 4 5 6 7 8 9; do test -e /proc/{number} || exit 0; sleep 1; done"
        assert not (await cage.run("sh", "-c", f"{gone}; exit 1")).exit_code
        try:
            async for _ in cage.stream("sh", "-c", "echo x; exit 4"):
                pass
        except ProgramFailed as failed:
            assert failed.done.exit_code == 4
        else:
            raise AssertionError("it succeeded")
        assert cage.id and cage.name and cage.workspace
        events = cage.cage.events(follow=True)
        ends = (event for event in events if event["kind"] == "program_ended")
        assert any(event.get("exit_code") == 137 for event in ends)
        assert (await cage.budget()).calls == 0 and await cage.events()
        await cage.discard()


anyio.run(main, backend=sys.argv[1])
sys.stdout.write("done")
