"""The line of waiting calls: whatever happens in whatever order, nobody is passed and nobody is
forgotten.
"""

from __future__ import annotations

from akiosd.gateway.daemon_link.wait_line import WaitLine
from hypothesis import given, settings
from hypothesis import strategies as st

_STEPS = st.lists(
    st.tuples(st.sampled_from(["come", "answer", "settle", "leave"]), st.integers(0, 99)),
    max_size=80,
)


class Model:
    """Akiosd with room for ``room`` calls, and a gateway that carries messages between."""

    def __init__(self, room: int) -> None:
        self.line, self.room = WaitLine(), room
        self.sent: list[int] = []
        """Asked for, and not answered yet."""
        self.waiting: list[int] = []
        self.open: list[int] = []
        self.granted: list[int] = []
        self.number = 0

    def send(self, call: int | None) -> None:
        if call is not None:
            assert call not in self.sent and call not in self.open
            self.sent.append(call)

    def come(self) -> None:
        self.number += 1
        self.waiting.append(self.number)
        self.send(self.line.come(self.number))

    def answer(self) -> None:
        """To the message that was sent first."""
        call = self.sent.pop(0)
        told = [other for other in self.waiting if self.line.is_known(other) and other < call]
        if len(self.open) >= self.room or told:
            self.send(self.line.told_to_wait(call))
            return
        self.waiting.remove(call)
        self.open.append(call)
        self.granted.append(call)
        self.send(self.line.answered(call))

    def settle(self, which: int) -> None:
        self.open.pop(which % len(self.open))
        self.send(self.line.settled())

    def leave(self, which: int) -> None:
        here = [call for call in self.waiting if call not in self.sent]
        if here:
            call = here[which % len(here)]
            self.waiting.remove(call)
            self.send(self.line.left(call))


@settings(max_examples=500, deadline=None)
@given(st.integers(1, 3), _STEPS)
def test_calls_are_granted_in_their_order_and_none_is_forgotten(
    room: int, steps: list[tuple[str, int]]
) -> None:
    model = Model(room)
    for step, which in steps:
        if step == "come":
            model.come()
        elif step == "answer" and model.sent:
            model.answer()
        elif step == "settle" and model.open:
            model.settle(which)
        elif step == "leave":
            model.leave(which)
        # Of those in line, one is asked for at most.
        assert sum(call in model.sent for call in model.line._line) <= 1
    while model.sent or model.open:
        if model.sent:
            model.answer()
        else:
            model.settle(0)
    assert model.granted == sorted(model.granted)
    assert not model.waiting and len(model.line) == 0
