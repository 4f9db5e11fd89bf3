"""What a node without RDMA is told, what statuses mean, and that importing changes nothing for others."""

import functools
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from executor.errors import ExecutorError, Failure, VerbsMissing
from executor.transport.rdma import verbs
from executor.transport.rdma.queue_pair import failure_of

ROOT = Path(__file__).parents[4]


@pytest.fixture(autouse=True)
def forgotten(monkeypatch):
    """What was imported or not before, and will be afterwards, is no matter of these tests."""
    monkeypatch.setattr(verbs, "_imported", functools.cache(verbs._imported.__wrapped__))


def test_importing_the_transport_needs_no_pyverbs():
    program = (
        "import sys; sys.modules['pyverbs'] = None; import executor.transport.interface, executor.transport.rdma.verbs"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


def test_without_pyverbs_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyverbs", None)
    with pytest.raises(VerbsMissing, match=r"not installed here: pip install 'holdfast\[rdma\]'\.") as caught:
        verbs.ports()
    assert isinstance(caught.value, ExecutorError)


def test_libraries_that_do_not_fit_are_named(monkeypatch, tmp_path):
    package = tmp_path / "pyverbs"
    package.mkdir()
    (package / "__init__.py").touch()
    sentence = "version `IBVERBS_PRIVATE_59' not found"
    (package / "addr.py").write_text(f'raise ImportError("{sentence}")\n')
    for name in [name for name in sys.modules if name.partition(".")[0] == "pyverbs"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        with pytest.raises(VerbsMissing, match=r"libraries do not fit \(version `IBVERBS_PRIVATE_59' not found\): it"):
            verbs.ports()
    finally:
        sys.modules.pop("pyverbs", None)


class FakeError(Exception):
    pass


def fake_pyverbs(get_device_list):
    return SimpleNamespace(
        device=SimpleNamespace(get_device_list=get_device_list), pyverbs_error=SimpleNamespace(PyverbsError=FakeError)
    )


def test_a_kernel_without_rdma_is_told_from_one_without_devices(monkeypatch):
    def refuse():
        raise FakeError("Failed to get devices list")

    monkeypatch.setattr(verbs, "_pyverbs", fake(fake_pyverbs(refuse)))
    with pytest.raises(VerbsMissing, match="this kernel has none: load ib_uverbs and the driver"):
        verbs.ports()
    monkeypatch.setattr(verbs, "_pyverbs", fake(fake_pyverbs(list)))
    assert verbs.ports() == ()


def fake(pyverbs):
    def load():
        return pyverbs

    load.cache_clear = lambda: None
    return load


def test_importing_pyverbs_leaves_the_root_logger_as_it_was(tmp_path):
    """With a pyverbs that does what the real one does when it is imported; for that one, see tests/rdma."""
    package = tmp_path / "pyverbs"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "addr.py").write_text(
        "import logging\nlogging.basicConfig(level=logging.INFO)\nraise ImportError('x')\n"
    )
    program = (
        "import logging\n"
        "from executor.errors import VerbsMissing\n"
        "from executor.transport.rdma import verbs\n"
        "root = logging.getLogger()\n"
        "before = root.level, list(root.handlers)\n"
        "try:\n    verbs.ports()\nexcept VerbsMissing:\n    pass\nelse:\n    raise SystemExit('was not imported')\n"
        "assert (root.level, root.handlers) == before, root.handlers\n"
    )
    paths = f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]\n"
    subprocess.run([sys.executable, "-c", paths + program], check=True, cwd=ROOT)


# Every status of libibverbs but success.
MEANINGS = {
    Failure.LOCAL: ["LOC_LEN", "LOC_QP_OP", "LOC_PROT", "LOC_ACCESS"],
    Failure.FLUSHED: ["WR_FLUSH"],
    Failure.ACCESS_REFUSED: ["REM_INV_REQ", "REM_ACCESS", "REM_OP"],
    Failure.PEER_SILENT: ["RETRY_EXC", "RESP_TIMEOUT"],
    Failure.NOT_READY: ["RNR_RETRY_EXC"],
    Failure.DEVICE: ["FATAL", "GENERAL", "BAD_RESP", "LOC_EEC_OP", "MW_BIND", "REM_ABORT", "INV_EECN", "TM"],
}


@pytest.mark.parametrize(("failure", "statuses"), MEANINGS.items())
def test_every_status_has_a_meaning(failure, statuses):
    assert {failure_of(f"IBV_WC_{status}_ERR") for status in statuses} == {failure}


def test_failures_end_a_sentence():
    assert all(not failure.value.endswith(".") and failure.value[0].islower() for failure in Failure)
