"""Promises that no plan whatever keeps, derived from the devices of the cluster alone.

What holds of every plan: its pipelines may have any stages on any devices, any number of slots and any weights.

A LAP (`specs.decisions.latency.load`) of any pipeline is no shorter than the iterations of its stages one after
another.  In these each tensor that is computed with is read at least once, no quicker than by the device with the
highest rate, and each unit costs at least the least overhead.  A token after the first takes a lap, the first one at
least two: the bounds of `specs.decisions.latency.misses` count every request as late that is given less time.

A RATE.  A pipeline p with a steady state gets requests at a rate r_p with r_p w_p < 1, where w_p, the time that one
request takes of it, is at least N lap / slots for N output tokens, and P lap / (K c) for prompts of P tokens, K stages
and c prompt tokens in an iteration.  A lap is at least K times the time of any of its devices d, which is that of the
arithmetic f_pd of a token in its stages there, times its b_p rows (or c tokens), and of the iterations of all other
pipelines q that compute there, each with at least b_q rows.  So r_p N (sum over q of b_q f_qd) < b_p for each d, and
weighted by f_pd and summed over p: N times the sum of r_p f_pd is less than the rate of d.  Summed over all devices:
requests per second times N times the arithmetic of a token is less than all rates together; likewise with P.
"""

from collections.abc import Iterator

from planner.description.wording import say_duration
from planner.stages import devices
from specs.llm import LlmId
from specs.problem import Problem
from specs.timing import device_rate, unit_bytes
from specs.units import NANOS_PER_SECOND, Nanos

_SECONDS_PER_HOUR = 3600


def out_of_reach(problem: Problem, llm: LlmId) -> Iterator[str]:
    """Say why no plan keeps the promise of an LLM, in a sentence each; nothing where that is not shown."""
    slo = next(slo for slo in problem.slos if slo.llm == llm)
    lap = lap_ns_at_least(problem, llm)
    for name, least, allowed in (("TPOT", lap, slo.tpot_ns_max), ("TTFT", Nanos(2 * lap), slo.ttft_ns_max)):
        if allowed < least:
            told = f"a request that meets nobody has a {name} of at least {say_duration(least)} on the quickest device"
            yield f"{told}, {say_duration(allowed)} are promised"
    come, most = problem.workload(llm).requests_per_hour, requests_per_hour_below(problem, llm)
    if come >= most:
        yield f"{come:,} requests per hour come, all devices together compute fewer than {most:,}"


def lap_ns_at_least(problem: Problem, llm: LlmId) -> Nanos:
    """Bound every lap of every pipeline from below."""
    found = problem.llm(llm)
    rates = [device_rate(problem, place, found.dtype) for place in devices(problem).values()]
    reading = (
        unit_bytes(found, 0, len(found.units)) * NANOS_PER_SECOND // max(rate.memory_bytes_per_second for rate in rates)
    )
    return Nanos(reading + len(found.units) * min(rate.overhead_ns_per_unit for rate in rates))


def requests_per_hour_below(problem: Problem, llm: LlmId) -> int:
    """Requests per hour that no plan has a steady state for, nor for more."""
    found, workload = problem.llm(llm), problem.workload(llm)
    rates = sum(device_rate(problem, place, found.dtype).flops_per_second for place in devices(problem).values())
    tokens = max(workload.prompt_tokens_mean, workload.output_tokens_mean)
    each = tokens * max(1, sum(unit.flops_per_token for unit in found.units))
    return -(-rates * _SECONDS_PER_HOUR // each)
