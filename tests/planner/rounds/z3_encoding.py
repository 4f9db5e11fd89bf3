"""The same question for Z3, in another formulation: when each chunk starts to be at each node, and whence it came."""

import z3

from specs.decisions.rounds.question import Question


def is_satisfiable(question: Question) -> bool:
    """Say whether a schedule exists within the question's steps and rounds."""
    solver = z3.Solver()
    rounds = [z3.Int(f"rounds{step}") for step in range(question.steps)]
    solver.add(*(each >= 1 for each in rounds), z3.Sum(rounds) <= question.rounds)
    never = question.steps + 1
    kinds = [chunks for chunks in question.chunks for _ in range(chunks.count)]
    start = {(c, v): z3.Int(f"start{c},{v}") for c in range(len(kinds)) for v in range(question.fabric.nodes)}
    sent = {
        (c, link.ends): z3.Bool(f"sent{c},{link.name}") for c in range(len(kinds)) for link in question.fabric.links
    }
    for (chunk, node), since in start.items():
        if node in kinds[chunk].held_by:
            solver.add(since == 0)
            continue
        into = [sent[chunk, link.ends] for link in question.fabric.links if link.destination == node]
        solver.add(since >= 1, since <= (question.steps if node in kinds[chunk].wanted_at else never))
        solver.add(z3.Or(since == never, z3.PbEq([(each, 1) for each in into], 1) if into else z3.BoolVal(False)))
    for (chunk, (source, destination)), is_sent in sent.items():
        solver.add(z3.Implies(is_sent, start[chunk, source] < start[chunk, destination]))
    for carrier in question.fabric.carriers:
        for step in range(question.steps):
            load = [
                z3.If(z3.And(sent[chunk, ends], start[chunk, ends[1]] == step + 1), 1, 0)
                for ends in carrier.links
                for chunk in range(len(kinds))
            ]
            solver.add(z3.Sum(load) <= carrier.chunks_per_round * rounds[step])
    found = solver.check()
    assert found != z3.unknown
    return bool(found == z3.sat)
