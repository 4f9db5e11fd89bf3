"""The daemon's own Prometheus metrics, read from the run at every scrape."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from executor.run import Run
from specs.protocols.facts import lacks, open_pipelines


class NodeMetrics(Collector):
    """Registers itself."""

    def __init__(self, registry: CollectorRegistry, run: Run) -> None:
        self._run = run
        registry.register(self)

    def collect(self) -> Iterable[Metric]:
        """Read the gauges."""
        shell = self._run.shell
        generation = 0 if shell is None else shell.generation
        yield GaugeMetricFamily("holdfast_plan_generation", "Generation of the plan; 0 without one.", generation)
        if shell is None:
            return
        plan, state = shell.machine.plan, shell.machine.state
        yield GaugeMetricFamily("holdfast_blobs_held", "Blobs resident on this node.", len(state.held))
        wanted = len(set(plan.held) | set(plan.arrivals))
        yield GaugeMetricFamily("holdfast_blobs_wanted", "Blobs that the plan wants here.", wanted)
        missing = len(lacks(plan, state))
        yield GaugeMetricFamily("holdfast_blobs_lacking", "Blobs that will never come.", missing)
        yield GaugeMetricFamily("holdfast_nodes_lost", "Nodes that this one counts as lost.", len(state.lost))
        opened = len(open_pipelines(state))
        yield GaugeMetricFamily("holdfast_pipelines_open", "Pipelines that take or finish requests.", opened)
        slots = GaugeMetricFamily("holdfast_pipeline_slots", "Requests that it serves at once.", labels=["pipeline"])
        for name, leader in sorted(self._run.leaders.items()):
            if name in open_pipelines(state):
                slots.add_metric([name], leader.resizing.slots)
        yield slots
        pauses = self._run.front.pauses
        yield HistogramMetricFamily(
            "holdfast_hand_over_pause_seconds",
            "Between two tokens of a request that was handed over, in another pipeline each.",
            buckets=pauses.buckets(),
            sum_value=pauses.sum_seconds,
        )
        memory = GaugeMetricFamily("holdfast_memory_used_bytes", "Memory that the plan uses.", labels=["place"])
        for place in shell.store.places:
            memory.add_metric([place], shell.store.used_bytes(place))
        yield memory
