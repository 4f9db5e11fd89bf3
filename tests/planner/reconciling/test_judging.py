"""What a look calls for."""

import attrs
import pytest

from planner.reconciling.judging import AtRest, Due, UnderWay, Waits, judge, left_out
from planner.reconciling.looking import Accepted, Look, Said
from specs.protocols.plan_switch_nouns import Declined, PlanName
from tests.builders import a_problem

WISH = a_problem(4)
NODES = [node.id for node in WISH.cluster.nodes]
OLD, NOW, NEXT = (PlanName(generation=number, digest=f"{number}" * 64) for number in (3, 4, 5))


def says(node, **changes):
    plain = Said(
        url=f"http://{node}",
        node=node,
        plan=NOW,
        cluster=WISH.cluster.name,
        generation_max=4,
        accepted=None,
        declined=(),
        phase="complete",
        lost=(),
        heard_again=(),
        document={"steps": {}},
    )
    return attrs.evolve(plain, **changes)


def a_look(*changed, silent=()):
    """Everybody says that all is well, but these say something else, or nothing."""
    named = {each.node: each for each in changed}
    said = tuple(named.get(node) or says(node) for node in NODES if node not in silent)
    return Look(said=said, failed=tuple((f"http://{node}", "no answer") for node in silent))


def lost(node, *others, again=(), reason="silent"):
    return says(node, lost=tuple((other, reason) for other in others), heard_again=again)


def accepted(*nodes):
    return Accepted(plan=NEXT, nodes=nodes or tuple(NODES), awaited=())


def test_all_is_well():
    assert judge(a_look(), WISH, WISH) == AtRest(sentence="generation 4 is carried out by 4 nodes")


def test_one_living_node_is_enough_to_say_that_another_is_lost():
    verdict = judge(a_look(lost("n1", "n3"), silent=["n3"]), WISH, WISH)
    assert isinstance(verdict, Due)
    assert (verdict.stays, verdict.fresh) == (("n0", "n1", "n2"), ())
    assert verdict.why == ("n3 is lost: so says n1 (silent)",)


def test_whoever_was_left_out_accuses_nobody():
    behind = attrs.evolve(lost("n3", "n0", "n1", "n2"), plan=OLD)
    look = a_look(behind)
    assert [each.node for each in left_out(look, attrs.evolve(a_problem(3), name=WISH.name))] == ["n3"]
    assert left_out(look, WISH) == (), "it is on its way to the plan of now"


@pytest.mark.parametrize("torn", [{"n3": ["n0", "n1", "n2"]}, {"n0": ["n3"], "n1": ["n3"], "n2": ["n3"]}])
def test_who_hears_nobody_is_left_out_though_it_answers(torn):
    verdict = judge(a_look(*(lost(node, *others) for node, others in torn.items())), WISH, WISH)
    assert isinstance(verdict, Due)
    assert verdict.stays == ("n0", "n1", "n2")


def test_two_who_do_not_hear_each_other_lose_one():
    verdict = judge(a_look(lost("n1", "n2"), lost("n2", "n1", reason="mutual")), WISH, WISH)
    assert isinstance(verdict, Due)
    assert verdict.stays == ("n0", "n1", "n3")


def test_one_that_only_hung_is_heard_again_and_stays():
    look = a_look(lost("n1", "n2", again=("n2",)), lost("n2", "n1", reason="mutual", again=("n1",)))
    verdict = judge(look, WISH, WISH)
    assert isinstance(verdict, Due)
    assert (verdict.stays, verdict.why) == (tuple(NODES), ("n2 is heard again",))


def test_a_new_life_is_given_the_next_plan_but_one_of_a_node_that_nobody_wants_is_not():
    look = a_look(says("n2", plan=None, phase=""))
    verdict = judge(look, WISH, WISH)
    assert isinstance(verdict, Due)
    assert (verdict.stays, verdict.fresh) == (("n0", "n1", "n3"), ("n2",))
    fewer = a_problem(2)
    verdict = judge(look, WISH, attrs.evolve(fewer, name=WISH.name))
    assert isinstance(verdict, Due)
    assert verdict.fresh == ()


def test_a_silence_that_nobody_explains_holds_everything_up():
    look = a_look(lost("n1", "n3"), silent=["n2", "n3"])
    verdict = judge(look, WISH, WISH)
    assert isinstance(verdict, Waits)
    assert "n2 does not answer, and nobody counts it as lost" in verdict.sentence


def test_what_others_have_accepted_is_waited_for():
    look = a_look(says("n0", accepted=accepted()), says("n3", plan=None, phase="", accepted=accepted()))
    assert judge(look, WISH, WISH) == UnderWay(
        sentence="generation 5 is accepted by 2 of 4 nodes, n1, n2 awaited",
        mark=(accepted(), ("n0", "n3")),
    )


def test_what_a_lost_node_was_to_accept_is_not_waited_for():
    first = attrs.evolve(lost("n0", "n3"), accepted=accepted())
    assert isinstance(judge(a_look(first, silent=["n3"]), WISH, WISH), Due)
    without = attrs.evolve(first, accepted=accepted("n0", "n1", "n2"))
    assert isinstance(judge(a_look(without, silent=["n3"]), WISH, WISH), UnderWay)


def test_a_node_started_again_after_the_offer_would_be_waited_for_in_vain():
    fresh = says("n3", plan=None, phase="")
    assert isinstance(judge(a_look(says("n0", accepted=accepted()), fresh), WISH, WISH), Due)
    other = says("n2", plan=None, phase="", accepted=accepted())
    assert isinstance(judge(a_look(other, fresh), WISH, WISH), UnderWay), "new nodes are offered it one by one"


def test_adoption_is_waited_for():
    verdict = judge(a_look(says("n1", plan=OLD)), WISH, WISH)
    assert isinstance(verdict, UnderWay)
    assert verdict.sentence == "generation 4 is adopted by 3 of 4 nodes"


def test_steps_are_waited_for_but_not_for_ever():
    look = a_look(says("n1", phase="transferring"))
    verdict = judge(look, WISH, WISH)
    assert isinstance(verdict, UnderWay)
    assert verdict.mark is not None
    assert isinstance(judge(look, WISH, WISH, is_stuck=True), Due)
    draining = says("n1", phase="switching", document={"steps": {}, "pipelines": {"draining": ["p"]}})
    verdict = judge(a_look(draining), WISH, WISH)
    assert isinstance(verdict, UnderWay)
    assert verdict.mark is None, "requests may take as long as they like"


def test_what_ended_incomplete_is_due_again():
    verdict = judge(a_look(says("n1", phase="incomplete")), WISH, WISH)
    assert isinstance(verdict, Due)
    assert verdict.why == ("generation 4 ended incomplete at n1",)


def test_another_wish_is_due():
    other = attrs.evolve(WISH, targets=WISH.targets[:1])
    verdict = judge(a_look(), WISH, other)
    assert isinstance(verdict, Due)
    assert verdict.why == ("what is wanted has changed",)
    held = attrs.evolve(WISH, holdings=(*WISH.holdings, attrs.evolve(WISH.holdings[0], place="n3/gpu0")))
    assert isinstance(judge(a_look(), WISH, held), AtRest), "what was held at the start is no wish"


def test_who_declines_is_named():
    look = a_look(says("n2", declined=(Declined(plan=NEXT, reason="there is no room"),)))
    assert look.declined(NEXT) == (("n2", "there is no room"),)
    assert look.declined(NOW) == ()
