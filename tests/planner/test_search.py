"""Limits of a search: by the clock, by steps, by a person; and what it leaves behind."""

import threading

from ortools.sat.python import cp_model

from planner.search import Search


def hard_model(size: int = 60) -> cp_model.CpModel:
    """Pack a square with squares: far more than a second's work to prove."""
    model = cp_model.CpModel()
    rows = [[model.new_bool_var(f"{i},{j}") for j in range(size)] for i in range(size)]
    for i in range(size):
        for j in range(i + 1, size):
            model.add(sum(rows[i][k] + rows[j][k] for k in range(size) if (i * k + j) % 3) <= size - 7)
    model.maximize(sum((i * j) % 17 * rows[i][j] for i in range(size) for j in range(size)))
    return model


def test_a_search_without_limits_goes_on():
    search = Search()
    assert search.spend(10**9)
    assert not search.cut_short
    assert search.left_s() is None


def test_steps_end_a_search():
    search = Search(steps_max=3)
    assert search.spend(2)
    assert not search.spend(1)
    assert search.cut_short


def test_the_clock_ends_a_search():
    assert Search(within_s=0).over()


def test_a_person_ends_a_solver_from_another_thread():
    search = Search()
    threading.Timer(0.3, search.stop).start()
    _, status = search.cp_sat(hard_model())
    assert status in {cp_model.UNKNOWN, cp_model.FEASIBLE}
    assert search.cut_short


def test_a_limit_in_steps_gives_the_same_answer_twice():
    answers = []
    for _ in range(2):
        search = Search(steps_max=30_000)
        solver, status = search.cp_sat(hard_model(24))
        answers.append((status, solver.objective_value, solver.best_objective_bound))
    assert answers[0] == answers[1]


def test_solvers_are_recorded_with_their_versions():
    search = Search()
    search.cp_sat(cp_model.CpModel())
    assert [name.partition("/")[0] for name in search.solvers] == ["ortools"]
