"""The command line on bundled data, on files, and on bad input."""

import json
import subprocess
import sys

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_diabetes

from kbo import inspection
from kbo.cli import main
from kbo.estimators import KernelBilevelRegressor

FAST = ["--max-iter", "3", "--quiet"]


def run(*arguments, out):
    return main(["tune", *arguments, *FAST, "--output", str(out)])


def test_diabetes_end_to_end(tmp_path, capsys):
    assert run("--dataset", "diabetes", "--compare", out=tmp_path) == 0
    text = capsys.readouterr().out
    for word in ("start", "tuned by kbo", "GridSearchCV", "criterion", "features by relevance", "bmi"):
        assert word in text
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["criterion"] < report["criterion_start"]
    assert {f["name"] for f in report["features"]} == set(load_diabetes().feature_names)
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    model = joblib.load(tmp_path / "model.joblib")
    frame = load_diabetes(as_frame=True).data
    assert model.predict(frame).shape == (442,)


@pytest.mark.parametrize("dataset", ["wine", "linnerud"])
def test_other_bundled_sets(dataset, tmp_path):
    extra = ["--loss", "squared"] if dataset == "wine" else ["--no-ard", "--cv", "3"]
    assert run("--dataset", dataset, *extra, out=tmp_path) == 0


def test_a_reader_that_leaves_is_no_error(tmp_path):
    command = [sys.executable, "-m", "kbo.cli", "tune", "--dataset", "linnerud", *FAST]
    process = subprocess.Popen(
        [*command, "--output", str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()
    assert b"Traceback" not in process.stderr.read()
    assert process.wait() == 141


def table(n=80):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({
        "size": rng.normal(size=n), "colour": rng.choice(["red", "green"], n),
        "flag": rng.random(n) < 0.5,
    })
    frame["price"] = frame["size"] + (frame["colour"] == "red") + 0.1 * rng.normal(size=n)
    return frame


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_files_with_categories_and_gaps(suffix, tmp_path, capsys):
    frame = table()
    frame.loc[3, "size"] = np.nan
    frame.loc[5, "colour"] = None
    path = tmp_path / f"data.{suffix}"
    frame.to_csv(path, index=False) if suffix == "csv" else frame.to_parquet(path)
    assert run(str(path), "--target", "price", "--kernel", "gaussian", "linear", out=tmp_path) == 0
    out = capsys.readouterr().out
    assert "imputed" in out
    assert run(str(path), "--target", "price", "--missing", "refuse",
               out=tmp_path) == 2
    assert "'size': 1" in capsys.readouterr().err


def test_a_text_target_means_classification(tmp_path, capsys):
    path = tmp_path / "data.csv"
    table().to_csv(path, index=False)
    assert run(str(path), "--target", "colour", out=tmp_path) == 0
    assert "classification" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "either"), (["nowhere.csv", "--target", "y"], "nowhere.csv"),
        (["nowhere.csv"], "--target"), (["--dataset", "wine", "x.csv"], "either"),
        (["--dataset", "diabetes", "--loss", "hinge"], "hinge"),
        (["--dataset", "diabetes", "--kernel", "rbf"], "rbf"),
    ],
)
def test_bad_input_is_one_line(arguments, message, tmp_path, capsys):
    assert run(*arguments, out=tmp_path) == 2
    err = capsys.readouterr().err.strip()
    assert message in err
    assert err.startswith("kbo: ")


def test_missing_column_and_missing_target(tmp_path, capsys):
    path = tmp_path / "data.csv"
    frame = table()
    frame.loc[0, "price"] = np.nan
    frame.to_csv(path, index=False)
    assert run(str(path), "--target", "prize", out=tmp_path) == 2
    assert "prize" in capsys.readouterr().err
    assert run(str(path), "--target", "price", out=tmp_path) == 2
    assert "missing" in capsys.readouterr().err


def test_display_and_relevance():
    X, y = load_diabetes(return_X_y=True)
    model = KernelBilevelRegressor(max_iter=3).fit(X[:100], y[:100])
    display = inspection.TuningDisplay.from_estimator(model, names=load_diabetes().feature_names)
    assert len(display.ax_) == 2
    _, strength = inspection.relevance(model)
    assert strength[0] == 1
    assert (np.diff(strength) <= 0).all()
    flat = KernelBilevelRegressor(max_iter=2, ard=False).fit(X[:100], y[:100])
    assert len(inspection.TuningDisplay.from_estimator(flat).ax_) == 1
    with pytest.raises(ValueError, match="ard"):
        inspection.relevance(flat)
    display.close()


@pytest.mark.slow
def test_many_classes_take_the_squared_loss_unless_told(tmp_path, capsys):
    assert run("--dataset", "digits", "--test-size", "0.5", out=tmp_path) == 0
    assert "loss: squared" in capsys.readouterr().out
    assert json.loads((tmp_path / "report.json").read_text())["score"] > 0.9
    assert run("--dataset", "wine", out=tmp_path) == 0
    assert "loss: squared" not in capsys.readouterr().out
