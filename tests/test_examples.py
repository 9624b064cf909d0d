"""Each example is short, has a title and draws one figure; the site's gallery executes them all."""

from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("plot_*.py"))


def test_there_is_a_gallery():
    assert len(EXAMPLES) >= 25


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_examples_are_short_and_have_a_title(path):
    text = path.read_text()
    assert len(text.splitlines()) < 80
    title, rule = text.splitlines()[1:3]
    assert len(rule) == len(title) and set(rule) == {"="}  # sphinx-gallery takes these for titles
    assert text.count("plt.show()") == 1
