"""What is replayed of one node's changes of plans, record by record; whole journals are in tests/simulation."""

from specs import journal
from specs.protocols import plan_switch_nouns as switch
from specs.replay import Life, replay
from tests.builders import a_digest

FIRST, SECOND, RIVAL = (
    switch.PlanName(generation=generation, digest=a_digest(name))
    for name, generation in (("first", 1), ("second", 2), ("rival", 2))
)
NODES = ("n0", "n1")


def offered(name, parent=FIRST):
    offer = switch.Offer(name=name, parent=None if name == FIRST else parent.digest, nodes=NODES)
    return journal.LearntOfPlans(event=switch.Offered(offer))


def heard(peer, **standing):
    return journal.LearntOfPlans(event=switch.Heard(peer, switch.Standing(**standing)))


def accepted(name):
    return journal.Accepted(plan=name.digest, generation=name.generation)


def adopted(name):
    return journal.Adopted(plan=name.digest, problem=a_digest("problem"))


BEGUN = (journal.Started(settled=0), offered(FIRST), adopted(FIRST), offered(SECOND), accepted(SECOND))
BOTH = heard("n1", adopted=FIRST, accepted=SECOND)


def a_life(*whats, node="n0", at=1):
    records = (
        journal.Record(sequence=order, at_unix_ns=at + order, node=node, generation=0, what=what)
        for order, what in enumerate(whats)
    )
    return Life(node=node, records=tuple(records))


def said(*lives):
    return [f"{each.node}, {each.sentence}" for each in replay(lives, {}).breaches]


OTHER = a_life(*BEGUN, node="n1")


def test_a_plan_that_both_accepted():
    assert said(a_life(*BEGUN, BOTH, adopted(SECOND)), OTHER) == []


def test_a_plan_that_was_adopted_without_hearing():
    (sentence,) = said(a_life(*BEGUN, adopted(SECOND)), OTHER)
    assert sentence.startswith("n0, record 5: Adopted ")
    assert sentence.endswith("; nothing of the kind was heard of n1")


def test_two_plans_of_one_generation():
    (sentence,) = said(a_life(*BEGUN, offered(RIVAL), accepted(RIVAL)), OTHER)
    assert sentence.startswith("n0, record 5: LearntOfPlans Offered does not follow")
    stands = heard("n1", adopted=FIRST, accepted=RIVAL)
    rival = a_life(*BEGUN[:3], offered(RIVAL), accepted(RIVAL), node="n1")
    (sentence,) = said(a_life(*BEGUN, stands, offered(RIVAL), accepted(RIVAL)), rival)
    assert sentence.startswith("n0, record 7: Accepted ")
    assert "above every generation" in sentence


def test_a_plan_that_was_adopted_twice():
    (sentence,) = said(a_life(*BEGUN, BOTH, adopted(SECOND), adopted(SECOND)), OTHER)
    assert sentence.startswith("n0, record 7: Adopted ")


def test_a_plan_that_was_due_and_not_adopted():
    more = heard("n1", adopted=SECOND)
    (sentence,) = said(
        a_life(*BEGUN, BOTH, more),
        a_life(*BEGUN, heard("n0", accepted=SECOND, adopted=FIRST), adopted(SECOND), node="n1"),
    )
    assert sentence.startswith("n0, record 6: LearntOfPlans Heard n1 ")
    assert "Adopted" in sentence
    assert "was due before it, and was not done" in sentence


def test_what_nobody_told():
    told = heard("n1", adopted=FIRST, accepted=RIVAL)
    (sentence,) = said(a_life(*BEGUN, told), a_life(*BEGUN, node="n1", at=99))
    assert sentence.startswith("n0, record 5: LearntOfPlans Heard n1 ")
    assert sentence.endswith("n1 has told nothing of the kind by then")


def test_a_life_that_forgot_what_it_had_accepted():
    found = replay([a_life(*BEGUN, BOTH, adopted(SECOND)), a_life(journal.Started(settled=0), at=99), OTHER], {})
    assert found.breaches == ()
    assert any("it began with generation 0 on its disk, and had got to 2" in each.sentence for each in found.notes)
