"""The wheel holds what it should."""

import configparser
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import kbo

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


def test_the_conda_recipe_says_what_setup_cfg_says():
    yaml = pytest.importorskip("yaml")
    recipe = yaml.safe_load((ROOT / "conda.recipe" / "meta.yaml").read_text())
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    needed = config["options"]["install_requires"].split()
    needed.append("python" + config["options"]["python_requires"])
    given = [line.replace(" ", "").replace("matplotlib-base", "matplotlib")
             for line in recipe["requirements"]["run"]]
    assert sorted(given) == sorted(needed)
    assert recipe["package"]["version"] == kbo.__version__
    scripts = config["options.entry_points"]["console_scripts"].split("\n")
    assert recipe["build"]["entry_points"] == [line for line in scripts if line]
