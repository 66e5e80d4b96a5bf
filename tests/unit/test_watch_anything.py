"""Whatever happens, and whenever: a target knows what is up once it has what waited for it."""

from hypothesis import given, settings
from hypothesis import strategies as st

from missioncontrol_nb.watching.changes import apply_look
from missioncontrol_nb.watching.outbox import next_message, note_delivered, note_failed
from missioncontrol_nb.watching.wording import as_text
from tests.unit.watched import at, finding, look, state_with

NAMES = ("main_crashes", "content_crashes", "gpu_crashes")
UP = st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(("alarm", "looks bad")), st.sampled_from((1.5, 3.0))))
STEPS = st.one_of(
    st.tuples(st.just("look"), UP),
    st.tuples(st.just("quiet look"), UP),
    st.tuples(st.just("stale"), st.none()),
    st.tuples(st.just("take"), st.sampled_from(("a", "b"))),
    st.tuples(st.just("refuse"), st.sampled_from(("a", "b"))),
    st.tuples(st.just("hours"), st.sampled_from((0.1, 0.5, 2.0, 30.0))),
)


class Listener:
    """Somebody who only knows the messages."""

    def __init__(self) -> None:
        self.up: dict[str, str] = {}
        self.is_stale = False
        self.ids: list[str] = []

    def take(self, message) -> None:
        self.ids.append(message.id)
        assert as_text(message)
        if message.kind in ("stale", "fresh"):
            assert self.is_stale != (message.kind == "stale"), "told twice"
            self.is_stale = message.kind == "stale"
        for each in message.findings:
            if each.kind == "recovered":
                assert each.key in self.up, "an end of what was never told"
                del self.up[each.key]
            else:
                assert each.kind == "update" or self.up.get(each.key) != each.kind, "told twice"
                self.up[each.key] = "alarm" if each.kind == "update" else each.kind


class World:
    """A watch's state, its targets' listeners, and the time."""

    def __init__(self) -> None:
        self.state, self.hours = state_with("a", "b"), 0.0
        self.listeners = {"a": Listener(), "b": Listener()}

    def step(self, kind: str, value) -> None:
        """One thing that happens."""
        if kind in ("look", "quiet look"):
            up = {name: finding(name, state, ratio=ratio) for name, state, ratio in value}
            apply_look(self.state, look([], *up.values()), at(self.hours), is_quiet=kind == "quiet look")
        elif kind == "stale":
            apply_look(self.state, look(stale=True), at(self.hours))
        elif kind == "hours":
            self.hours += value
        elif (message := self.next_for(value)) is None:
            return
        elif kind == "take":
            self.listeners[value].take(message)
            note_delivered(self.state, value, message, at(self.hours))
            self.state.drop_delivered()
        else:
            note_failed(self.state, value, at(self.hours), "HTTP 500")

    def next_for(self, name: str):
        """The message that a target gets next."""
        return next_message(self.state, name, at(self.hours), is_quiet=False, at_once=True)


@settings(max_examples=300, deadline=None)
@given(st.lists(STEPS, max_size=25))
def test_target_that_has_all_its_messages_knows_what_is_up(steps):
    world = World()
    for step in steps:
        world.step(*step)
    for name, listener in world.listeners.items():
        while world.next_for(name) is not None:
            world.step("take", name)
        assert listener.up == {key: alarm.finding.kind for key, alarm in world.state.alarms.items()}
        assert listener.is_stale == world.state.is_stale
        assert len({*listener.ids}) == len(listener.ids)
    assert world.state.messages == {}
