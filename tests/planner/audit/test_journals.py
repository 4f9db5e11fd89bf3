import pytest

from planner.audit.journals import read_journals
from planner.errors import BadJournal
from tests import plans
from tests.runs import exact_run, journals_of, write_journals

RUN = exact_run(*plans.a_rescue())


def test_directories_are_searched_and_files_are_read_once(tmp_path):
    write_journals(RUN, tmp_path / "deep" / "er")
    found = read_journals([tmp_path, tmp_path / "deep" / "er" / "n0.jsonl"])
    assert [each.node for each in found] == ["n0", "n1", "n2"]
    assert [each.records for each in found] == [each.records for each in journals_of(RUN)]


def test_an_empty_journal_is_passed_over(tmp_path):
    (tmp_path / "empty.jsonl").touch()
    assert read_journals([tmp_path]) == ()


def test_faults_name_the_file_and_the_line(tmp_path):
    write_journals(RUN, tmp_path)
    file = tmp_path / "n0.jsonl"
    good = file.read_text()
    lines = good.splitlines()
    cases = {
        good[:-5]: f"{file}:{len(lines)}: ",
        "\n".join([lines[0], "{}"]): f"{file}:2: document lacks",
        "\n".join([lines[0], lines[1].replace('"n0"', '"n1"')]): f"{file}:2: a record of n1 in the journal of n0",
        "hello": f"{file}:1: ",
    }
    for text, beginning in cases.items():
        file.write_text(text)
        with pytest.raises(BadJournal) as caught:
            read_journals([tmp_path])
        assert str(caught.value).startswith(beginning)
        assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(BadJournal, match="cannot be read: No such file"):
        read_journals([tmp_path / "absent.jsonl"])
    with pytest.raises(BadJournal, match="no journal"):
        read_journals([tmp_path])
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(BadJournal, match="byte 0 is not UTF-8"):
        read_journals([tmp_path])
