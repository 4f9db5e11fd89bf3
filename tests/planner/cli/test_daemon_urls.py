"""A slip in a URL is said at once: it must not count as a node that does not answer."""

import pytest
from typer.testing import CliRunner

from planner.cli.app import make_app


@pytest.mark.parametrize("url", ["nonsense", "n1:8000", "htp://n1:8000", "http://", "file:///etc/passwd"])
@pytest.mark.parametrize("command", [["state", "-o", "state.json"], ["status"], ["reconcile", "wish.yaml", "--at"]])
def test_a_slip_in_a_url_ends_the_command_with_one_sentence(command, url, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = [*command, url]
    result = CliRunner().invoke(make_app(arguments), arguments)
    assert f"{url!r} is no URL of a daemon, such as http://n1:8000" in result.output.replace("\n", " ")
    assert result.exit_code == 2
    assert not (tmp_path / "state.json").exists()
