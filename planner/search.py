"""How long to look for a plan, whom to tell of progress, and what was used: handed to every search of a run.

Two kinds of limit.  `within_s` is a deadline by the clock: the answer is the best found so far, with its gap, and may
differ from run to run.  `steps_max` counts what searches do (nodes, moves, CP-SAT's deterministic time) and never
looks at a clock: the same problem with the same limit gives the same plan, byte for byte.
"""

import threading
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from ortools.sat.python import cp_model  # half a second; most plans need none of it

# CP-SAT's unit of deterministic time is about a second of one busy core; our own searches do some hundred thousand of
# their smallest steps in that time.
STEPS_PER_DETERMINISTIC_SECOND = 100_000
_POLL_S = 0.05
_MEMORY_MB_MAX = 3_000


@attrs.frozen(kw_only=True)
class Progress:
    """What a search knows at some moment."""

    decision: str  # "transfers of llama-70b", "layout of llama-70b", "placement"
    value: int | None  # of the best answer so far; None: none yet
    bound: int | None  # no answer is better; None: not known yet


def _tell_nobody(_: Progress) -> None:
    pass


@attrs.define
class Search:
    """The limits of one planning run.  Not thread-safe, except `stop`."""

    within_s: float | None = None
    steps_max: int | None = None
    seed: int = 0
    tell: Callable[[Progress], None] = _tell_nobody
    _began_s: float = attrs.field(factory=time.monotonic, init=False)
    _steps: int = attrs.field(default=0, init=False)
    _stopped: threading.Event = attrs.field(factory=threading.Event, init=False)
    _solvers: set[str] = attrs.field(factory=set, init=False)
    cut_short: bool = attrs.field(default=False, init=False)  # a limit or a person ended some search early

    def stop(self) -> None:
        """End every search soon, each with the best that it has.  For signal handlers and other threads."""
        self._stopped.set()

    def spend(self, steps: int = 1) -> bool:
        """Count work done by our own search; say whether it may go on."""
        self._steps += steps
        return not self.over()

    def over(self) -> bool:
        """Say whether searches must end now with what they have."""
        late = self.within_s is not None and time.monotonic() - self._began_s >= self.within_s
        spent = self.steps_max is not None and self._steps >= self.steps_max
        if late or spent or self._stopped.is_set():
            self.cut_short = True
        return self.cut_short

    def left_s(self) -> float | None:
        """Seconds before the deadline by the clock; None: there is none."""
        return None if self.within_s is None else max(0.0, self.within_s - (time.monotonic() - self._began_s))

    def part(self, steps_max: int) -> "Search":
        """Give a part of a run its share of steps where nobody has set a limit; else this search with its own limits.

        What the part uses up counts for nobody else, and stopping this search stops it too.
        """
        if self.within_s is not None or self.steps_max is not None:
            return self
        part = Search(steps_max=steps_max, seed=self.seed, tell=self.tell)
        part._stopped, part._solvers = self._stopped, self._solvers
        return part

    def uses(self, package: str) -> None:
        """Record that a solver took part, for the plan's provenance."""
        self._solvers.add(f"{package}/{version(package)}")

    @property
    def solvers(self) -> tuple[str, ...]:
        """Every solver that took part, with its version."""
        return tuple(sorted(self._solvers))

    def cp_sat(
        self,
        model: "cp_model.CpModel",
        *,
        share: float = 1.0,
        at_best: "cp_model.CpSolverSolutionCallback | None" = None,
    ) -> "tuple[cp_model.CpSolver, cp_model.CpSolverStatus]":
        """Solve a model on one core, within this share of what is left of the limits.

        The status is CP-SAT's: UNKNOWN means undecided.  Whatever it says, decode the answer and check it.
        """
        from ortools.sat.python import cp_model

        self.uses("ortools")
        solver = cp_model.CpSolver()
        solver.parameters.num_workers = 1
        solver.parameters.random_seed = self.seed
        solver.parameters.max_memory_in_mb = _MEMORY_MB_MAX
        # Comparing rows that include others, presolve of CP-SAT 9.15 has taken models that have answers for infeasible:
        # 3 of 424 layouts under a limit of moves; without that none of 644.
        solver.parameters.presolve_inclusion_work_limit = 0
        solver.parameters.catch_sigint_signal = False  # the caller's handler calls `stop`
        if (left_s := self.left_s()) is not None:
            solver.parameters.max_time_in_seconds = left_s * share
        if self.steps_max is not None:
            left = max(0, self.steps_max - self._steps) * share
            solver.parameters.max_deterministic_time = left / STEPS_PER_DETERMINISTIC_SECOND
        status = self._in_thread(solver, model, at_best)
        self._steps += int(solver.response_proto.deterministic_time * STEPS_PER_DETERMINISTIC_SECOND)
        self.over()
        return solver, status

    def _in_thread(
        self,
        solver: "cp_model.CpSolver",
        model: "cp_model.CpModel",
        at_best: "cp_model.CpSolverSolutionCallback | None",
    ) -> "cp_model.CpSolverStatus":
        """Solve beside the main thread, which must stay awake: Python runs signal handlers nowhere else."""
        answers: list[cp_model.CpSolverStatus] = []
        worker = threading.Thread(target=lambda: answers.append(solver.solve(model, at_best)), daemon=True)
        worker.start()
        while worker.is_alive():
            worker.join(_POLL_S)
            if self._stopped.is_set():
                solver.stop_search()
        return answers[0]
