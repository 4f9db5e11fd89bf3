"""Where a plan begins: from nothing, after a plan, from a run that was interrupted, or from a running cluster."""

from collections.abc import Sequence
from pathlib import Path

import attrs
import typer

from planner.cli.documents import read_begun, read_plan, read_state
from planner.decided import Request
from planner.outcome import Infeasible
from specs.cluster import NodeId
from specs.plan import PipelineId, Plan
from specs.problem import Problem, Running


@attrs.frozen(kw_only=True)
class Options:
    """What was asked for on the command line."""

    after: Path | None
    journal: Sequence[Path]
    state: Path | None
    lost: Sequence[str]
    back: Sequence[str]
    stop: Sequence[str]
    fixed_slots: bool

    @property
    def read(self) -> tuple[Path, ...]:
        """The files that are read."""
        return (*(each for each in (self.after, self.state) if each is not None), *self.journal)


@attrs.frozen(kw_only=True)
class Beginning:
    """What is asked of the planner; Infeasible in place of a problem where something has no copy left."""

    problem: Problem | Infeasible
    request: Request


def beginning(wanted: Problem, request: Request, options: Options) -> Beginning:
    """Find the problem that is left of what is wanted.  Raises typer.BadParameter, BadPlan, BadJournal, BadState."""
    if both := sorted(set(options.lost) & set(options.back)):
        raise typer.BadParameter(f"{both[0]} cannot be both lost and back", param_hint="'--back'")
    if options.state is not None:
        return _running(wanted, request, options, options.state)
    if options.stop:
        raise typer.BadParameter("pipelines are stopped where they run: that needs --from", param_hint="'--stop'")
    if options.fixed_slots:
        raise typer.BadParameter("slots change where pipelines run: that needs --from", param_hint="'--fixed-slots'")
    if options.after is None:
        if options.journal or options.lost or options.back:
            raise typer.BadParameter("a repair needs the plan that was carried out", param_hint="'--after'")
        return Beginning(problem=wanted, request=request)
    if options.journal or options.lost or options.back:
        return _interrupted(wanted, request, options, options.after)
    return Beginning(problem=wanted, request=_following(request, read_plan(options.after)))


def _running(wanted: Problem, request: Request, options: Options, path: Path) -> Beginning:
    """Begin from a running cluster; say what ends, and who is counted as lost."""
    from planner.reconfiguring.beginning import begin

    if options.after is not None or options.journal:
        raise typer.BadParameter("a state says by itself which plan runs, and how far it is", param_hint="'--from'")
    if request.blocks is not None:
        raise typer.BadParameter("pipelines that run compute with the blobs that there are", param_hint="'--blocks'")
    if request.generation is not None:
        raise typer.BadParameter("a state says by itself which generation is next", param_hint="'--from'")
    state = read_state(path)
    gone, returned = _nodes(options, state.problem, wanted)
    known = state.pipelines
    if unknown := [name for name in options.stop if name not in known]:
        raise typer.BadParameter(f"{unknown[0]!r:.60} is no pipeline of the cluster", param_hint="'--stop'")
    stopped = frozenset(PipelineId(name) for name in options.stop)
    request = attrs.evolve(request, fixed_slots=options.fixed_slots)
    begun = begin(state, wanted, request, lost=gone, back=returned, stopped=stopped)
    for node in state.silent:
        if node not in gone | returned:
            typer.echo(f"{node} counts as lost: it did not answer when the state was taken", err=True)
    for node in state.empty:
        if node not in gone | returned:
            typer.echo(f"{node} stays out: it has no plan; with --back {node} it takes part again", err=True)
    if isinstance(begun, Infeasible):
        return Beginning(problem=begun, request=request)
    for each in begun.ended:
        typer.echo(_ends(each), err=True)
    return Beginning(problem=begun.problem, request=begun.request)


def _ends(running: Running) -> str:
    name, requests = running.pipeline.id, running.live_requests
    return f"{name} closes when the plan is adopted; its {requests:,} requests are sent elsewhere, if they can be"


def _interrupted(wanted: Problem, request: Request, options: Options, after: Path) -> Beginning:
    """Begin from the journals of a run that was interrupted; say who is counted as lost."""
    from planner.audit.journals import read_journals
    from planner.repair import lost_by, records_of_run, repair

    before = read_begun(after, wanted)
    gone, returned = _nodes(options, before.problem, wanted)
    found = [each for each in read_journals(options.journal) if each.node not in gone | returned]
    records = records_of_run(found, before.problem, before.plan)
    for node, by in lost_by(records, gone).items():
        if node not in gone | returned:
            typer.echo(f"{node} counts as lost: {', '.join(by)} lost it", err=True)
    left = repair(before.problem, before.plan, records, gone, back=returned, wanted=wanted)
    return Beginning(problem=left, request=_following(request, before.plan))


def _following(request: Request, parent: Plan) -> Request:
    if request.generation is not None and request.generation <= parent.generation:
        least = parent.generation + 1
        raise typer.BadParameter(f"what follows that plan has generation {least} or more", param_hint="'--generation'")
    return attrs.evolve(request, parent=parent)


def _nodes(options: Options, before: Problem, wanted: Problem) -> tuple[frozenset[NodeId], frozenset[NodeId]]:
    nodes = {node.id for node in (*before.cluster.nodes, *wanted.cluster.nodes)}
    for option, named in (("--lost", options.lost), ("--back", options.back)):
        if unknown := [name for name in named if name not in nodes]:
            raise typer.BadParameter(f"{unknown[0]!r:.60} is no node of the cluster", param_hint=f"'{option}'")
    lost, back = (frozenset(NodeId(name) for name in named) for named in (options.lost, options.back))
    return lost, back
