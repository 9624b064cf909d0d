"""Each example runs, draws one figure, and is short."""

import runpy
from pathlib import Path

import jax
import matplotlib.pyplot as plt
import pytest

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("plot_*.py"))


def test_there_is_a_gallery():
    assert len(EXAMPLES) >= 8


@pytest.mark.slow
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: p.stem)
def test_example(path, monkeypatch):
    plt.switch_backend("Agg")
    text = path.read_text()
    assert len(text.splitlines()) < 80
    title, rule = text.splitlines()[1:3]
    assert len(rule) == len(title) and set(rule) == {"="}  # sphinx-gallery takes these for titles
    plt.close("all")
    double = jax.config.jax_enable_x64
    try:
        runpy.run_path(str(path), run_name="__main__")
    finally:
        jax.config.update("jax_enable_x64", double)
    (number,) = plt.get_fignums()
    figure = plt.figure(number)
    figure.canvas.draw()
    assert all(ax.has_data() for ax in figure.axes)
    plt.close("all")
