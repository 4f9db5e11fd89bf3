"""Two ports to talk between: two devices of the lab, elsewhere the first port of this machine and itself."""

import os
from collections.abc import Iterator

import pytest

from executor.errors import VerbsMissing
from executor.transport.rdma import verbs
from executor.transport.rdma.verbs import Device, Port

IS_LAB = os.environ.get("RDMA_LAB") == "1"


@pytest.fixture(scope="session", autouse=True)
def ports() -> tuple[Port, ...]:
    """All usable ports; skips, with the reason, where there is none."""
    try:
        found = verbs.ports()
    except VerbsMissing as error:
        pytest.skip(str(error))
    if not found:
        pytest.skip("RDMA: no device here has an active port.")
    return found


@pytest.fixture(scope="session")
def two_ports(ports) -> tuple[Port, Port]:
    # Ports of one machine need not reach each other outside the lab, where one bridge joins all.
    return (ports[0], ports[1] if IS_LAB else ports[0])


@pytest.fixture
def near(two_ports) -> Iterator[Device]:
    device = Device(two_ports[0])
    yield device
    device.close()


@pytest.fixture
def far(two_ports) -> Iterator[Device]:
    device = Device(two_ports[1])
    yield device
    device.close()


@pytest.fixture
def lab() -> None:
    """Skip where links are not ours to cut."""
    if not IS_LAB:
        pytest.skip("cuts links: only in the lab (make test-rdma).")
