"""The journal on disk: one strict line per record, followed while it is written."""

import asyncio

import pytest

from executor.journal import Journal
from executor.notes import Later
from specs import journal


@pytest.fixture
def log(tmp_path):
    made = Journal(tmp_path / "journal", "n0")
    yield made
    made.close()


async def read(log, since, count, *, follow):
    lines = log.follow(since=since, follow=follow)
    found = [await anext(lines) for _ in range(count)]
    await lines.aclose()
    return [record.what.step for record in journal.read_lines("\n".join(found))]


def test_lines_are_on_disk_at_once_and_read_back(log):
    for step in range(3):
        log.write(1, journal.TransferStarted(step=step))
        records = journal.read_lines(log.path.read_text())
        assert [(each.sequence, each.what.step) for each in records] == [(n, n) for n in range(step + 1)]
    assert {(each.node, each.generation) for each in records} == {("n0", 1)}


@pytest.mark.parametrize(("since", "wanted"), [(0, [0, 1, 2]), (1, [1, 2]), (3, []), (99, [])])
def test_since_skips_and_without_follow_it_ends(log, since, wanted):
    for step in range(3):
        log.write(1, journal.TransferStarted(step=step))

    async def run():
        return [line async for line in log.follow(since=since, follow=False)]

    assert [record.what.step for record in journal.read_lines("\n".join(asyncio.run(run())))] == wanted


def test_several_follow_at_their_own_pace(log):
    async def run():
        async with asyncio.timeout(60):
            readers = [asyncio.create_task(read(log, since, 50 - since, follow=True)) for since in (0, 10, 49)]
            for step in range(50):
                log.write(1, journal.TransferStarted(step=step))
                if step % 7 == 0:
                    await asyncio.sleep(0)
            return await asyncio.gather(*readers)

    assert asyncio.run(run()) == [list(range(50)), list(range(10, 50)), [49]]


def test_every_life_has_its_own_file(tmp_path):
    first = Journal(tmp_path, "n0")
    first.write(0, journal.Refused(reason="no"))
    second = Journal(tmp_path, "n0")
    second.write(0, journal.Refused(reason="no again"))
    first.close()
    second.close()
    assert first.path != second.path
    assert [len(path.read_text().splitlines()) for path in sorted(tmp_path.iterdir())] == [1, 1]


def test_a_sentence_with_line_breaks_stays_one_line(log):
    log.write(0, journal.Refused(reason="a\nb\r\u2028c"))

    async def run():
        return [line async for line in log.follow(since=0, follow=False)]

    (line,) = asyncio.run(run())
    assert "\n" not in line
    assert journal.read_lines(log.path.read_text())[0].what.reason == "a\nb\r\u2028c"


def moved(number):
    what = journal.Moved(
        attempt=f"a{number + 1}", before=f"a{number}", pipeline="p", tokens=1, digest="0" * 64, was_left=True
    )
    return Later(lambda: what)


def sequence_of(log):
    records = journal.read_lines(log.path.read_text())
    assert [each.sequence for each in records] == list(range(len(records)))
    assert [each.at_unix_ns for each in records] == sorted(each.at_unix_ns for each in records)
    return [type(each.what).__name__ for each in records]


def test_what_is_kept_comes_before_what_is_written_after_it(log):
    async def run():
        log.write(3, journal.TransferStarted(step=0))
        log.note(moved(0))
        log.write(3, journal.TransferStarted(step=1))
        assert sequence_of(log) == ["TransferStarted"], "no file is written now"
        return [line async for line in log.follow(since=0, follow=False)]

    assert len(asyncio.run(run())) == 3
    assert sequence_of(log) == ["TransferStarted", "Moved", "TransferStarted"]
    assert {each.generation for each in journal.read_lines(log.path.read_text())} == {3}
    log.write(3, journal.TransferStarted(step=2))
    assert len(sequence_of(log)) == 4, "and at once again"


def test_what_is_kept_is_written_when_nothing_more_comes(log, monkeypatch):
    monkeypatch.setattr("executor.journal._QUIET_SECONDS", 0.01)

    async def run():
        async with asyncio.timeout(30):
            for number in range(5):
                log.note(moved(number))
            lines = log.path.read_text
            while len(lines().splitlines()) < 5:
                if lines():
                    log.write(1, journal.TransferStarted(step=7))  # in its turn, while others are written
                await asyncio.sleep(0)
            log.flush()

    asyncio.run(run())
    assert sequence_of(log)[:5] == ["Moved"] * 5
