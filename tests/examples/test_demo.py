import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from asyncio import CancelledError
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from examples.demo import checkpoint, oracle
from examples.demo.__main__ import main
from examples.demo.load import Answer
from examples.demo.sequence import run
from examples.demo.settings import DemoFailed, Settings
from specs.cluster import NodeId

ROOT = Path(__file__).parent.parent.parent
TINY = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.fixture
def tiny(tmp_path: Path) -> Settings:
    """The demo's own description with a tiny LLM, slower links, and ports that nobody has."""
    text = (ROOT / "examples" / "demo.yaml").read_text()
    ports = free_ports(5)
    nodes = "\n".join(
        f'    {name}: {{like: small, address: "127.0.0.1:{port}"}}'
        for name, port in zip(("source", "node1", "node2", "node3", "node4"), ports, strict=True)
    )
    before, rest = text.split("  nodes:\n")
    after = rest[rest.index("\nllms:") :]
    text = f"{before}  nodes:\n{nodes}\n{after}"
    # The tiny LLM's 0.25 MB take about four seconds.
    text = text.replace("../demo-out/llm", "llm").replace("rate: 200 Mb/s", "rate: 600 kb/s")
    assert "600 kb/s" in text
    description = tmp_path / "tiny.yaml"
    description.write_text(text)
    return Settings(description=description, out=tmp_path / "out", llm_shape=TINY, burst=20, trickle_per_second=4)


def console() -> Console:
    return Console(file=io.StringIO(), width=120)


def daemons() -> list[int]:
    return [
        child.pid for child in psutil.Process().children(recursive=True) if "holdfastd" in " ".join(child.cmdline())
    ]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_whole_demo_with_a_tiny_llm(tiny):
    shown = console()
    assert run(tiny, shown) == 0, shown.file.getvalue()
    text = shown.file.getvalue()
    assert "every daemon stopped cleanly" in text
    assert "ran as planned" in text
    assert "first token from a pipeline with a receiving node" in text
    assert {path.stem for path in tiny.journals.iterdir()} == {"source", "node1", "node2", "node3", "node4"}
    assert tiny.page.stat().st_size > 10_000
    assert not daemons()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_interruption_leaves_no_daemon_behind(tiny):
    def interrupt() -> None:
        while len(list(tiny.journals.parent.glob("logs/*.log"))) < 5 or not daemons():
            time.sleep(0.05)
        time.sleep(1)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(CancelledError):
        run(tiny, console())
    assert not daemons()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_make_demo_as_it_is(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "examples.demo", "--out", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "every daemon stopped cleanly" in done.stdout


def test_a_port_in_use_is_one_clear_sentence(tiny):
    text = tiny.description.read_text()
    port = int(text.split('node3: {like: small, address: "127.0.0.1:')[1].split('"')[0])
    with socket.create_server(("127.0.0.1", port)), pytest.raises(DemoFailed) as failed:
        run(tiny, console())
    assert f"Port {port} of 127.0.0.1, which the description gives to node3, cannot be had" in str(failed.value)
    assert not daemons()


@pytest.mark.parametrize("text", ["llms: {}", "llms: {a: {}, b: {}}", "[1, 2]", "cluster: {}"])
def test_a_description_without_one_llm_is_refused(tiny, text):
    tiny.description.write_text(text)
    with pytest.raises(DemoFailed, match="does not describe exactly one LLM"):
        run(tiny, console())


def test_a_checkpoint_is_made_again_when_it_is_not_whole(tmp_path):
    directory = tmp_path / "llm"
    assert not checkpoint.is_whole(directory, TINY)
    checkpoint.make(directory, TINY)
    assert checkpoint.is_whole(directory, TINY)
    assert not checkpoint.is_whole(directory, TINY | {"num_hidden_layers": 5})
    weights = directory / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1])
    assert not checkpoint.is_whole(directory, TINY)
    checkpoint.make(directory, TINY)
    assert checkpoint.is_whole(directory, TINY)
    assert weights.read_bytes() == whole


def test_a_directory_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "letter.txt").write_text("keep me")
    with pytest.raises(DemoFailed, match="no checkpoint"):
        checkpoint.make(tmp_path, TINY)
    assert (tmp_path / "letter.txt").read_text() == "keep me"


def test_the_oracle_gives_every_token_a_name(tmp_path):
    checkpoint.make(tmp_path / "llm", TINY)
    rows = oracle.expected_names(tmp_path / "llm", 5, lambda _: None, oracle.PROMPTS[:2])
    assert [len(row) for row in rows] == [5] * 2
    assert rows[0] != rows[1]


def answer(names: list[str], finish: str | None = "length") -> Answer:
    return Answer(front=NodeId("n"), prompt=1, max_tokens=2, asked_unix_ns=0, names=names, finish=finish)


def test_equal_means_all_tokens_and_no_more():
    expected = (("x",), ("a", "b", "c"))
    assert answer(["a", "b"]).equals(expected)
    assert not answer(["a"]).equals(expected)
    assert not answer(["a", "b", "c"]).equals(expected)
    assert not answer(["a", "c"]).equals(expected)
    assert not answer(["a", "b"], finish=None).equals(expected)
    assert not answer(["a", "b"], finish="stop").equals(expected)


def test_help_says_what_can_be_chosen(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert "--out" in shown
    assert "--keep" in shown


def test_the_manifest_is_no_part_of_the_llm(tmp_path):
    checkpoint.make(tmp_path / "llm", TINY)
    manifest = json.loads((tmp_path / "llm" / "demo-manifest.json").read_text())
    assert manifest["shape"] == TINY
    assert "config.json" in manifest["file_bytes"]
