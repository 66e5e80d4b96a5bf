"""Whatever happens, and whenever: a target knows what is up once it has what waited for it."""

from hypothesis import given, settings
from hypothesis import strategies as st

from missioncontrol_nb.watching.changes import apply_look, keep_only
from missioncontrol_nb.watching.outbox import add_targets, next_message, note_delivered, note_failed
from missioncontrol_nb.watching.wording import as_text
from tests.unit.watched import at, finding, look, state_with

NAMES = ("main_crashes", "content_crashes", "gpu_crashes")
UP = st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(("alarm", "looks bad")), st.sampled_from((1.5, 3.0))))
TARGETS = st.sampled_from(("a", "b", "new"))
STEPS = st.one_of(
    st.tuples(st.just("look"), UP),
    st.tuples(st.just("stale"), st.none()),
    st.tuples(st.just("join"), st.none()),
    st.tuples(st.just("filter"), st.tuples(st.lists(st.sampled_from(NAMES), max_size=2), st.booleans())),
    st.tuples(st.just("quiet"), TARGETS),
    st.tuples(st.just("take"), TARGETS),
    st.tuples(st.just("refuse"), TARGETS),
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
    """A watch's state, its targets' listeners, its filter, and the time."""

    def __init__(self) -> None:
        self.state, self.hours = state_with("a", "b"), 0.0
        self.listeners = {"a": Listener(), "b": Listener()}
        self.measures, self.tells_looks_bad = NAMES, True

    def step(self, kind: str, value) -> None:
        """One thing that happens."""
        if kind == "look":
            up = {name: finding(name, state, ratio=ratio) for name, state, ratio in value if self.wants(name, state)}
            self.look(look([], *up.values()))
        elif kind == "stale":
            self.look(look(stale=True))
        elif kind == "join":
            self.listeners.setdefault("new", Listener())
        elif kind == "filter":
            self.filter(*value)
        elif kind == "hours":
            self.hours += value
        elif value in self.state.targets:
            self.attempt(kind, value)

    def wants(self, measure: str, state: str) -> bool:
        """Whether the filter lets something through."""
        return measure in self.measures and (self.tells_looks_bad or state == "alarm")

    def look(self, found) -> None:
        """What follows a look."""
        apply_look(self.state, found, at(self.hours))
        add_targets(self.state, list(self.listeners), at(self.hours))

    def filter(self, measures, tells_looks_bad) -> None:
        """A watch is started again with another filter: who was told what it leaves out forgets that too."""
        self.measures, self.tells_looks_bad = measures or NAMES, tells_looks_bad
        keep_only(self.state, list(self.listeners), measures=measures, tells_looks_bad=tells_looks_bad)
        for listener in self.listeners.values():
            listener.up = {key: state for key, state in listener.up.items() if self.wants(key.split("|")[3], state)}

    def attempt(self, kind: str, name: str) -> None:
        """A target asks for a message, and takes it or not."""
        message = self.next_for(name, is_quiet=kind == "quiet")
        if message is None:
            return
        if kind == "refuse":
            note_failed(self.state, name, at(self.hours), "HTTP 500")
            return
        self.listeners[name].take(message)
        note_delivered(self.state, name, message, at(self.hours))

    def next_for(self, name: str, *, is_quiet: bool = False):
        """The message that a target gets next."""
        return next_message(self.state, name, at(self.hours), is_quiet=is_quiet, at_once=True)

    def take_all(self) -> None:
        """All targets take what waits for them."""
        for name, listener in self.listeners.items():
            while name in self.state.targets and self.next_for(name) is not None:
                self.step("take", name)
            assert listener.is_stale == (self.state.is_stale and name in self.state.targets)


@settings(max_examples=300, deadline=None)
@given(st.lists(STEPS, max_size=25))
def test_target_that_has_all_its_messages_knows_what_is_up(steps):
    world = World()
    for step in steps:
        world.step(*step)
        world.state.drop_delivered()
    world.take_all()
    world.look(look([], *(alarm.finding for alarm in world.state.alarms.values())))  # fresh in any case
    world.take_all()
    for listener in world.listeners.values():
        assert listener.up == {key: alarm.finding.kind for key, alarm in world.state.alarms.items()}
        assert len({*listener.ids}) == len(listener.ids)
    world.state.drop_delivered()
    assert world.state.messages == {}
