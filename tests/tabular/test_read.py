"""Delimiters, encodings, headers."""

import gzip

import pytest

from kbo import tabular

PLAIN = "a,b,y\n1.5,x,2\n2.5,z,3\n-1,x,4\n"


@pytest.mark.parametrize(
    ("content", "settings", "sep"),
    [
        (PLAIN, {}, ","), (PLAIN.replace(",", ";"), {}, ";"), (PLAIN.replace(",", "\t"), {}, "\t"),
        (PLAIN.replace(",", "|"), {}, "|"), (PLAIN.replace(",", " , "), {}, ","),
        (PLAIN.replace(",", ";").replace(".", ","), {}, ";"),
        ("\ufeff" + PLAIN, {}, ","), (PLAIN.replace("\n", ",\n").replace("y,", "y"), {}, ","),
        (PLAIN.replace(",", ":"), {"sep": ":"}, ":"), (PLAIN.replace(",", "   "), {"sep": r"\s+"}, r"\s+"),
        (PLAIN.replace(",", "\t"), {"sep": "tab"}, "\t"),
        ("\n\n" + PLAIN, {}, ","), (PLAIN.replace("\n", "\r\n"), {}, ","),
        (PLAIN.replace("\n", "\r").replace(",", ";"), {}, ";"),
    ],
)
def test_delimiters_are_found(tmp_path, content, settings, sep):
    path = tmp_path / "t.csv"
    path.write_text(content, newline="")
    table = tabular.read_table(path, **settings)
    assert table.sep == sep
    read = tabular.Columns(sep=table.sep).fit_transform(table.frame)
    assert read.columns.tolist() == ["a", "b", "y"]
    assert read["a"].tolist() == [1.5, 2.5, -1.0]
    assert read["b"].tolist() == ["x", "z", "x"]


@pytest.mark.parametrize(
    ("encoding", "given"),
    [("utf-8", None), ("latin-1", None), ("cp1252", None), ("utf-16", None), ("cp437", "cp437")],
)
def test_encodings(tmp_path, encoding, given):
    path = tmp_path / "t.csv"
    path.write_bytes("größe,y\n1,ä\n".encode(encoding))
    table = tabular.read_table(path, encoding=given)
    assert table.frame.columns.tolist() == ["größe", "y"]
    assert table.frame["y"].tolist() == ["ä"]
    assert bool(table.notes) == (given is None and encoding != "utf-8")


def test_headers_that_are_no_names(tmp_path):
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(b',y,"a\nb",y,a $x$,y.1\n1,2,3,4,5,6\n'))
    table = tabular.read_table(path)
    assert table.frame.columns.tolist() == ["Unnamed: 0", "y", "a\nb", "y.2", "a $x$", "y.1"]
    assert table.repeated == {"y.2": "y"}
    path = tmp_path / "rows.csv"  # as R's write.table does it
    path.write_text("a,y\nr1,1,2\nr2,3,4\n")
    assert tabular.read_table(path).frame.columns.tolist() == ["row names", "a", "y"]


@pytest.mark.parametrize(
    ("content", "settings", "message"),
    [
        (b"", {}, "empty"), (b"a,b\n1,2\n1,2,3,4\n", {}, "could not be read"),
        (b"a\0b,c\n", {}, "not a text file"), ("größe\n1\n".encode("latin-1"), {"encoding": "utf-8"}, "encoding"),
        (b"a,b\n", {"encoding": "utf-9"}, "utf-9"), (b"a,b\n1,2\n", {"sep": ""}, "--sep is empty"),
        (b"a,b\n1,2\n", {"sep": "(("}, "no regular expression"),
        (b"a,b\n1,2,3,4\n5,6,7,8\n", {}, "rows have 4 cells"),
    ],
)
def test_files_that_are_no_tables(tmp_path, content, settings, message):
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        tabular.read_table(path, **settings)
