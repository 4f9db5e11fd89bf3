"""The command line of the daemon: what it does not understand it says in one sentence, and ends with 2."""

import re
import socket

import pytest

from executor.__main__ import main


@pytest.fixture
def good(tmp_path):
    return {"--node": "n0", "--http": "127.0.0.1:0", "--state": str(tmp_path / "state")}


def arguments(options):
    return [part for option in options.items() for part in option]


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--http", "8000", "no HOST:PORT"),
        ("--http", "127.0.0.1:", "no HOST:PORT"),
        ("--http", "127.0.0.1:65536", "no HOST:PORT"),
        ("--http", "127.0.0.1:²", "no HOST:PORT"),
        ("--http", "127.0.0.1:-1", "no HOST:PORT"),
        ("--node", "", "is no name"),
        ("--node", "a node", "is no name"),
        ("--checkpoint", "tiny", "no LLM=DIR"),
        ("--checkpoint", "tiny=/does/not/exist", "no LLM=DIR"),
        ("--checkpoint", "=/tmp", "no LLM=DIR"),
        ("--checkpoint", "a b=/tmp", "is no name"),
        ("--threads", "0", "--threads"),
        ("--threads", "many", "--threads"),
        ("--log-level", "loud", "is no level"),
        ("--bogus", "1", "No such option"),
    ],
)
def test_bad_options_end_with_2_and_one_sentence(option, value, words, good, capsys):
    assert main(arguments(good | {option: value})) == 2
    error = capsys.readouterr().err
    assert words in error
    assert "Traceback" not in error


@pytest.mark.parametrize("missing", ["--node", "--http", "--state"])
def test_missing_options_are_named(missing, good, capsys):
    del good[missing]
    assert main(arguments(good)) == 2
    assert f"Missing option '{missing}'" in capsys.readouterr().err


def test_a_port_in_use_is_said(good, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert main(arguments(good | {"--http": address})) == 2
    assert re.fullmatch(rf"holdfastd: {address}: Address already in use.*\n", capsys.readouterr().err)


def test_an_address_of_another_machine_is_said(good, capsys):
    assert main(arguments(good | {"--http": "203.0.113.1:80"})) == 2
    assert re.fullmatch(r"holdfastd: 203\.0\.113\.1:80: Cannot assign.*\n", capsys.readouterr().err)


def test_a_state_directory_that_cannot_be_had_is_said(good, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(arguments(good | {"--state": str(tmp_path / "file")})) == 2
    assert capsys.readouterr().err.startswith(f"holdfastd: {tmp_path}/file")


def test_help(capsys):
    assert main(["--help"]) == 0
    assert "PUT the document" in capsys.readouterr().out
