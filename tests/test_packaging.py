"""The wheel holds what it should."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_wheel_holds_the_packages_and_nothing_else(tmp_path):
    pytest.importorskip("build")
    pytest.importorskip("setuptools", minversion="77")
    source = tmp_path / "source"
    names = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    if not names:
        pytest.skip("not a git checkout")
    for name in names:
        if (ROOT / name).exists() and not name.startswith("benchmarks/results"):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path)],
        cwd=source, check=True, capture_output=True,
    )
    (wheel,) = tmp_path.glob("kbo-*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    packages = {name for name in names if name.startswith(("kbo/", "theory/"))}
    assert packages <= held and "kbo/py.typed" in held
    assert not {name.split("/")[0] for name in held if "dist-info" not in name} - {"kbo", "theory"}
