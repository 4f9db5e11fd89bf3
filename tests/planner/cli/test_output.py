"""Files that commands write: whole or not at all, and nothing else is touched."""

import os
import stat
from pathlib import Path

import pytest

from planner.cli.output import write_whole
from planner.errors import CannotWrite


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("", "Is a directory"),
        ("/", "Is a directory"),
        ("file/plan.json", "Not a directory"),
        ("nowhere/plan.json", "No such file or directory"),
        ("x" * 300, "File name too long"),
    ],
)
def test_what_cannot_be_written_is_one_sentence_and_leaves_nothing(tmp_path, monkeypatch, name, sentence):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("kept")
    with pytest.raises(CannotWrite, match=f" cannot be written: {sentence}$"):
        write_whole(Path(name), b"new")
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
    assert Path("file").read_text() == "kept"


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    assert write_whole(tmp_path / "link", b"new") == 3
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


def test_a_pipe_is_written_to_and_stays_a_pipe(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_whole(pipe, b"new")
        assert os.read(reader, 10) == b"new"
    finally:
        os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
