"""Who keeps the processor busy: CPU seconds of some processes, and of the machine."""

from collections.abc import Mapping

import attrs
import psutil


@attrs.frozen(kw_only=True)
class Reading:
    """CPU seconds so far."""

    of: Mapping[str, float]  # by the name of the process, all its threads
    machine: float  # all cores

    @classmethod
    def now(cls, pids: Mapping[str, int]) -> "Reading":
        """Read."""
        machine = psutil.cpu_times()
        return cls(
            of={name: sum(psutil.Process(pid).cpu_times()[:2]) for name, pid in pids.items()},
            machine=sum(machine) - machine.idle - machine.iowait - machine.guest - machine.guest_nice,
        )

    def since(self, before: "Reading", seconds: float) -> dict[str, float]:
        """Give the cores that each process kept busy since then, and those that others did."""
        ours = {name: (self.of[name] - before.of[name]) / seconds for name in before.of}
        return {**ours, "others": max(0.0, (self.machine - before.machine) / seconds - sum(ours.values()))}
