import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planner.description.document import DOCUMENT_BYTES_MAX, read_document
from planner.description.quantities import parse_size
from planner.errors import BadDescription


def faults_of(tmp_path, content):
    path = tmp_path / "d.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(BadDescription) as caught:
        read_document(path)[1].check()
    return [fault.removeprefix(str(path)) for fault in caught.value.faults]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("", ":1:1: the file is empty"),
        ("# only a comment\n", ":1:1: the file is empty"),
        ("a: 1\n\tb: 2\n", ":2:1: this is not YAML: a tab stands where spaces are wanted"),
        ("a: [1,\n", ":2:1: this is not YAML: "),
        ("a: b: c\n", ":1:5: this is not YAML: mapping values are not allowed here"),
        ("a: &x [1]\nb: *x\n", ":1:4: anchors and aliases"),
        ("a: &x [*x]\n", ":1:4: anchors and aliases"),
        ("base: &b {x: 1}\nnode: {<<: *b}\n", ":1:7: anchors and aliases"),
        ("a: *x\n", ":1:4: anchors and aliases"),
        ("a: !!python/object/apply:os.system [ls]\n", ":1:4: the tag"),
        (
            "a: 1\n---\nb: 2\n",
            ":2:1: this is not YAML: expected a single document in the stream, but found another document",
        ),
        (b"a: 1\nb: \xff\n", ":2:4: the byte 0xff is not UTF-8"),
        ("a: 1\nb: \x00\n", ":2:4: the control character '\\x00' cannot stand in YAML"),
        ("[" * 5000 + "]" * 5000, ":1:21: this is nested deeper than 20 levels"),
        ("%YAML 9.0\n---\na: 1\n", ":1:1: this is not YAML"),
        (b"#" * (DOCUMENT_BYTES_MAX + 1), ":1:1: the file has more than 1048576 bytes"),
    ],
)
def test_what_is_not_a_document_is_one_sentence(tmp_path, content, fault):
    (found,) = faults_of(tmp_path, content)
    assert found.startswith(fault)
    assert "\n" not in found


def test_a_file_that_cannot_be_read(tmp_path):
    for path in (tmp_path, tmp_path / "absent.yaml"):
        with pytest.raises(BadDescription, match="the file cannot be read"):
            read_document(path)


def document(tmp_path, text):
    path = tmp_path / "d.yaml"
    path.write_text(text)
    return read_document(path)


def test_scalars_are_as_written(tmp_path):
    root, faults = document(tmp_path, "a: no\nb: 08\nc: 1e3\nd: '  x '\ne: 2001-01-01\n")
    fields = root.fields(required=tuple("abcde"))
    assert [fields[key].text() for key in "abcde"] == ["no", "08", "1e3", "x", "2001-01-01"]
    faults.check()


def test_every_fault_is_kept_in_the_order_of_the_file(tmp_path):
    root, faults = document(tmp_path, "size: 80\nsiez: 1 GB\nlist: [1 GB, 2]\nsize: 3 GB\n? [x]\n: 1\nempty:\n")
    fields = root.fields(required=("size", "absent"), optional=("list", "empty"))
    assert fields["size"].read(parse_size, 7) == 7
    assert [each.read(parse_size, 0) for each in fields["list"].members()] == [10**9, 0]
    fields["empty"].text()
    with pytest.raises(BadDescription) as caught:
        faults.check()
    places = [":".join(fault.split(":")[1:3]) for fault in caught.value.faults]
    assert places == sorted(places, key=lambda place: tuple(map(int, place.split(":"))))
    said = str(caught.value)
    for sentence in (
        "1:7: '80' has no unit",
        "1:1: absent is missing",
        "2:1: unknown key 'siez'; did you mean size?",
        "3:14: '2' has no unit",
        "4:1: the key 'size' is given twice; it stands in line 1 already",
        "5:3: a list stands where a single value is wanted",
        "7:1: a value is missing here",
    ):
        assert sentence in said


def test_a_value_of_another_kind_is_a_fault(tmp_path):
    root, faults = document(tmp_path, "a: [1]\nb: 3\n")
    fields = root.fields(optional=("a", "b"))
    assert fields["a"].text() == ""
    assert fields["b"].entries() == []
    with pytest.raises(BadDescription) as caught:
        faults.check()
    assert [fault.partition(": ")[2] for fault in caught.value.faults] == [
        "a list stands where a single value is wanted",
        "a single value stands where keys with values are wanted",
    ]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(content=st.one_of(st.binary(max_size=60), st.text(alphabet="a:-[]{}&*!|>'\"#?,% \n\t1", max_size=40)))
def test_any_bytes_are_a_document_or_bad(tmp_path, content):
    path = tmp_path / "d.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    try:
        root, _ = read_document(path)
        root.fields()
    except BadDescription as error:
        sentences = error.faults
    else:
        sentences = ("none",)
    assert sentences
    assert all("\n" not in sentence for sentence in sentences)
