"""The README's Python blocks run, in order, in one fresh process; its commands exist."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


@pytest.mark.slow
def test_code_blocks_run(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", README, re.S)
    assert len(blocks) >= 3
    code = "\n".join(blocks)
    done = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", code], capture_output=True, text=True,
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "the hypergradient is right" in done.stdout


@pytest.mark.slow
def test_walk_throughs_run(tmp_path):
    """A kernel, a loss, a criterion, a method, a solver and an adapter of one's own."""
    code = "\n".join(
        re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.S)
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "alpha" in done.stdout


def test_first_screen_has_both_commands():
    screen = README[:2000]
    assert "pip install . && kbo tune --dataset diabetes" in screen
    assert "pip install '.[dev]' && pytest" in screen
