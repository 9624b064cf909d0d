"""The site names what there is; its code is executed when it is built (see CONTRIBUTING.md)."""

import ast
import importlib
import re
from pathlib import Path

import pytest

import kbo

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(p for p in DOCS.rglob("*.md") if "gallery" not in p.parts)


def test_every_status_has_a_section():
    text = (DOCS / "guide" / "statuses.md").read_text()
    assert {status.name for status in kbo.Status} <= set(re.findall(r"^### (\w+)$", text, re.M))


@pytest.mark.parametrize("module", ["hypergradients", "optimizers", "solvers"])
def test_every_method_is_in_the_zoo(module):
    text = "".join(page.read_text() for page in (DOCS / "methods").glob("*.md"))
    for name in getattr(kbo, module).__all__:
        assert re.search(rf"`(?:kbo\.\w+\.)?{name}\b[^`]*`|^#+ .*\b{name}\b", text, re.M), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_pages_have_one_title_and_no_paths_of_a_machine(page):
    prose = re.sub(r"^(`{3,}|~{3,}).*?^\1\s*$", "", page.read_text(), flags=re.S | re.M)
    assert len(re.findall(r"^# \S", prose, re.M)) == 1
    assert not re.search(r"/(work|tmp|root|home)/", page.read_text())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_the_names_in_code_cells_exist(page):
    cells = re.findall(r"^```\{code-cell\} python\n(.*?)^```", page.read_text(), re.S | re.M)
    code = "\n".join(re.sub(r"^(:|%|!).*$", "", cell, flags=re.M) for cell in cells)
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] in ("kbo", "theory"):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Attribute) and ast.unparse(node).startswith(("kbo.", "theory.")):
            names = [ast.unparse(node)]
        else:
            continue
        for name in names:
            found, *parts = name.split(".")
            found = importlib.import_module(found)
            for part in parts:
                if not re.fullmatch(r"\w+", part):  # a call, or an item
                    break
                if not hasattr(found, part):
                    importlib.import_module(f"{found.__name__}.{part}")
                found = getattr(found, part)


def test_no_entry_of_the_bibliography_stands_twice():
    keys = re.findall(r"^@\w+\{([^,]+),", (DOCS / "references.bib").read_text(), re.M)
    assert len(keys) == len(set(keys))


WALKS = {  # headings of docs/extend.md, and how many lines of code each may take
    "A kernel": 30, "A loss": 30, "A criterion of one regression": 30, "A hypergradient method": 30,
    "A solver of kernel systems": 60, "A searchable estimator": 30, "A population": 30,
    "A regularizer": 30, "A space": 60,
}


def test_each_walk_through_is_short():
    sections = re.split(r"^## ", (DOCS / "extend.md").read_text(), flags=re.M)
    cells = {
        part.split("\n")[0]: re.findall(r"^```\{code-cell\} python\n(.*?)^```", part, re.S | re.M)
        for part in sections
    }
    for heading, most in WALKS.items():
        lines = [line for cell in cells[heading] for line in cell.splitlines() if line.strip()]
        assert 0 < len(lines) <= most, (heading, len(lines))


def test_every_warning_ends_with_the_section_that_explains_it():
    from kbo.status import WARNINGS, warn_explained

    package = Path(kbo.__file__).parent
    bare = [str(path) for path in package.rglob("*.py")
            if "warnings.warn(" in path.read_text() and path.name != "status.py"]
    assert not bare, f"call kbo.status.warn_explained: {bare}"
    page, _, section = WARNINGS.partition("#")
    text = (DOCS / page.replace(".html", ".md")).read_text()
    assert re.search(rf"^## {section}$", text, re.M | re.I)
    with pytest.warns(UserWarning, match=re.escape(WARNINGS)) as given:
        warn_explained("something is odd")
    assert given[0].filename == __file__
