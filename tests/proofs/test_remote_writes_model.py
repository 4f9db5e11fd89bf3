"""The model of one-sided writes: held against the code wherever the explorer gets; and careless, so that it fails."""

from itertools import product

import attrs
import pytest

from specs.proofs import remote_writes_model as model
from specs.proofs.logic import Finite
from specs.protocols import remote_writes as protocol
from specs.protocols.explore import Move, explore
from specs.protocols.remote_writes import Way
from tests.protocols import test_remote_writes as blobs
from tests.protocols.remote_writes_world import APART, CHECKED, Pair, World

FIELDS = tuple(field.name for field in attrs.fields(model.State))
OF_SPANS = {"key", "landed", "told", "whole", "checked", "brought"}


class Finitely:
    """The model with so many spans.  A table is all that a state says, but for where a stream begins that is none."""

    def __init__(self, terms):
        self.terms = terms
        self.spans = range(-1, terms.spans + 2)
        self.logic = Finite({"number": self.spans})
        assert all(model.axioms(terms))

    def table(self, state):
        void = {"start": not state.asked, "first": not state.streams}

        def read(name, said):
            return frozenset(filter(said, self.spans)) if name in OF_SPANS else 0 if void.get(name) else said

        return tuple(read(name, getattr(state, name)) for name in FIELDS)

    def state(self, table):
        read = dict(zip(FIELDS, table, strict=True))
        return model.State(**read | {name: read[name].__contains__ for name in OF_SPANS})

    def start(self):
        nothing = {name: (lambda _n: False) if name in OF_SPANS else 0 for name in FIELDS}
        return self.table(model.at_start(self.terms, model.State(**nothing)))

    def sentences(self, table):
        of = (self.logic, self.terms, self.state(table))
        return {**model.invariant(*of), **model.shown(*of)}

    def steps(self, table, n, last, whole):
        return model.steps(self.logic, self.terms, self.state(table), n, last, whole)


# --- against the code -------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True, cache_hash=True)
class Remembering(World):
    landed: frozenset[int] = frozenset()


class Mirror(Pair):
    """Reads every world as a table of the model, and has every move be some steps of the model."""

    def __init__(self, pair):
        super().__init__(pair.terms.spans, pair.terms.open_max, pair.failures, is_hostile=pair.is_hostile)
        spans, open_max = pair.terms.spans, pair.terms.open_max
        self.model = Finitely(model.Terms(spans=spans, open_max=open_max, is_honest=not pair.is_hostile))
        self.taken = set()  # steps of the model

    def start(self):
        world = Remembering(**attrs.asdict(super().start(), recurse=False))
        assert self.table(world) == self.model.start(), "it does not begin as the model does"
        return world

    def _land(self, world):
        after = super()._land(world)
        return attrs.evolve(after, landed=after.landed | set(after.news[len(world.news) :]))

    def moves(self, world):
        for move in super().moves(world):
            assert self.can(self.table(world), self.table(move.state)), move.label
            yield move

    def table(self, world):
        receiver, due = world.receiver, [type(each) for each in world.receiver_due]
        is_asked, looked = world.asked is not None, receiver.arrived - due.count(protocol.Check)
        to_stream = any(isinstance(each, protocol.Stream) for each in world.sender_due)
        streams = is_asked and world.sender.way in (Way.STREAM, Way.OVER) and not to_stream
        taken = len(world.checked) - looked if is_asked else 0
        left = sum(isinstance(each, int) for each in world.to_receiver)  # of the stream
        state = model.State(
            made=receiver.opened - due.count(protocol.OpenSpan),
            arrived=receiver.arrived,
            closed=receiver.arrived - due.count(protocol.CloseSpan),
            looked=looked,
            gave_up=receiver.way is Way.STREAM or is_asked,
            has_shut=receiver.way is not Way.WRITES and protocol.Shut not in due,
            asked=is_asked,
            start=world.asked,
            taken=taken,
            over=receiver.way is Way.OVER,
            acknowledged=receiver.way is Way.OVER and protocol.Acknowledge not in due,
            key=world.keys.__contains__,
            landed=world.landed.__contains__,
            told=world.landed.__contains__,
            whole=lambda n: 0 <= n < len(world.memory) and world.memory[n] == "whole",
            granted=world.sender.granted,
            streams=streams,
            first=self.terms.spans - left - taken,
            checked=world.checked.__contains__,
            brought=lambda n: is_asked and looked <= n and n in world.checked,
            spoilt=CHECKED in world.breaches,
            crossed=APART in world.breaches,
        )
        return self.model.table(state)

    def can(self, before, after):
        """Tell whether the model comes from one table to the next: by no step, by one, or by a write and word of it."""
        if before == after:
            return True
        end = self.model.state(after)
        for n in range(max(self.terms.spans, 1)):
            steps = self.model.steps(before, n, end.landed(n), end.whole(n))
            open_to = {name: self.model.table(state) for name, (guards, state) in steps.items() if all(guards.values())}
            found = {name for name, table in open_to.items() if table == after}
            if "write" in open_to:
                guards, told = self.model.steps(open_to["write"], n, last=True, whole=True)["tell"]
                found |= {"write", "tell"} if all(guards.values()) and self.model.table(told) == after else set()
            self.taken |= found
            if found:
                return True
        return False


STREAMING = {"give up", "ask", "bring", "end stream", "stream"}
WRITING = {"open", "arrive", "close", "check", "be granted", "write", "tell"}
ALWAYS = {"shut", "acknowledge"}
TAKEN = {"no byte": ALWAYS, "one span": ALWAYS | WRITING, "three spans": ALWAYS | WRITING}


@pytest.mark.parametrize("space", blobs.SPACES)
def test_every_step_of_the_code_is_some_steps_of_the_model_and_the_invariant_holds(space):
    mirror = Mirror(blobs.SPACES[space][0])

    def holds(world):
        broken = [name for name, truth in mirror.model.sentences(mirror.table(world)).items() if not truth]
        assert not broken, broken
        return True

    explore([mirror.start()], mirror.moves, always={"the invariant": holds}, sometimes={}, good=lambda _: True)
    assert mirror.taken == TAKEN.get(space, ALWAYS | WRITING | STREAMING)


BUGS = (
    blobs.a_span_is_checked_while_its_key_is_open,
    blobs.a_stream_is_asked_for_while_keys_are_open,
    blobs.the_rest_is_asked_for_from_what_was_opened,
    blobs.any_news_stands_for_the_span_that_is_due,
)  # that a broken sender is not heard, keeps the promises, and never ends


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.__name__)
def test_a_seeded_bug_is_no_step_of_the_model(bug, monkeypatch):
    bug(monkeypatch)
    mirror = Mirror(blobs.BUGS[bug][0])
    with pytest.raises(AssertionError, match=r"the receiver: (Check|Ask)|does not begin"):
        explore([mirror.start()], mirror.moves, always={}, sometimes={}, good=lambda _: True)


# --- careless ---------------------------------------------------------------------------------------------------------


def one_span(*, is_honest):
    return model.Terms(spans=1, open_max=1, is_honest=is_honest)


def two_spans(*, is_honest):
    return model.Terms(spans=2, open_max=1, is_honest=is_honest)


def run(terms, promises, without=None, weakened=None):
    """Go wherever the model gets, with another truth of the state and the span in place of one guard."""
    finitely = Finitely(terms)

    def moves(table):
        state = finitely.state(table)
        for n, last, whole in product(range(terms.spans), (False, True), (False, True)):
            for name, (guards, after) in finitely.steps(table, n, last, whole).items():
                instead = {guard: weakened(state, n) for guard in guards if f"{name}: {guard}" == without}
                if all({**guards, **instead}.values()):
                    yield Move(f"{name} {n}", finitely.table(after))

    always = {name: (lambda table, name=name: finitely.sentences(table)[name]) for name in promises}
    return explore([finitely.start()], moves, always=always, sometimes={}, good=lambda _: True)


def nothing(_state, _span):
    return True


def it_has_arrived(state, span):
    return span < state.arrived


CARELESS = {
    "CHECKED": ("check: its key was taken away", it_has_arrived, one_span(is_honest=False)),
    "WHOLE": ("tell: word of an honest sender comes after all bytes", nothing, one_span(is_honest=True)),
    "APART": ("ask: this side is shut", nothing, one_span(is_honest=False)),
    "ORDER": ("ask: what has arrived was looked at", nothing, two_spans(is_honest=False)),
    "STREAM": ("stream: it begins there", nothing, two_spans(is_honest=True)),
    "ASK": ("give up: it is not over", nothing, one_span(is_honest=True)),
    "ALL": ("end stream: nothing is missing", nothing, one_span(is_honest=True)),
    "OPEN": ("open: no more are open than may be", nothing, two_spans(is_honest=True)),
}


@pytest.mark.parametrize("promise", CARELESS)
def test_each_promise_has_a_line_without_which_it_is_broken(promise):
    without, weakened, terms = CARELESS[promise]
    broken = run(terms, [promise], without, weakened).broken
    assert broken is not None
    assert len(broken.labels) <= 15, str(broken)


@pytest.mark.parametrize(("terms", "states"), [(one_span(is_honest=False), 292), (two_spans(is_honest=True), 143)])
def test_with_all_lines_the_promises_are_kept(terms, states):
    found = run(terms, CARELESS)
    assert (found.broken, found.states) == (None, states)
