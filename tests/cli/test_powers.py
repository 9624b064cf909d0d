"""The command models a power of a target that is never negative and skewed."""

import json
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest

from kbo import KernelBilevelRegressor, PowerTargetRegressor
from kbo.cli import main
from kbo.cli._models import _is_skewed

ROWS = 120


@pytest.fixture
def prices(tmp_path):
    rng = np.random.default_rng(0)
    size, place = rng.uniform(-2, 2, size=ROWS), rng.uniform(-2, 2, size=ROWS)
    price = np.exp(1 + size + np.sin(2 * place) + 0.2 * rng.normal(size=ROWS))
    path = tmp_path / "prices.csv"
    pd.DataFrame({"size": size, "place": place, "price": price}).to_csv(path, index=False)
    return path


def tune(path, *options):
    out = path.parent / "out"
    found = main(["tune", str(path), "--target", "price", "--max-iter", "5", "--quiet",
                  "--output", str(out), *options])
    assert found == 0
    return joblib.load(out / "model.joblib"), json.loads((out / "report.json").read_text())


def test_a_skewed_target_is_predicted_by_the_best_of_three_powers(prices, monkeypatch, capsys):
    monkeypatch.setattr("kbo.cli._check.REPEATS", 1)
    model, report = tune(prices, "--check", "--html")
    text, table = capsys.readouterr().out, pd.read_csv(prices)
    assert isinstance(model["model"], PowerTargetRegressor) and report["power"] < 1
    errors = {float(power): error for power, error in report["power_errors"].items()}
    assert report["power"] == model["model"].power_ == min(errors, key=errors.get)
    word = {0.5: "√y", 0.0: "log y"}[report["power"]]
    assert f"the model is of {word}; mean squared error of y, left out: y {errors[1.0]:.4g}" in text
    assert f"criterion of {word}" in text  # not of the target, as the errors are
    assert f"standard deviation of noise of {word}" in report["numbers"]
    assert set(report["errors_left_out"]) == {"start", "tuned by kbo"}  # of prices, for both
    assert report["errors_left_out"]["tuned by kbo"] < errors[1.0]
    share = np.mean((model.predict(table) - table["price"]) ** 2) / table["price"].var()
    assert share < 0.1
    page = (prices.parent / "out" / "report.html").read_text()
    assert f"the model is of {word}" in page and page.count(f"criterion of {word}") == 1
    assert "<th>criterion</th>" not in page and ">criterion<" not in page and "(kept)" in page
    assert main(["predict", str(prices.parent / "out" / "model.joblib"), str(prices),
                 "--coverage", "0.8", "--output", str(prices.parent / "found.csv")]) == 0
    found = pd.read_csv(prices.parent / "found.csv")
    assert (found["lower"] >= 0).all() and (found["lower"] < found["upper"]).all()


def test_the_start_that_is_kept_is_of_the_power_that_is_reported(prices, monkeypatch, capsys):
    from kbo.cli import _tune

    monkeypatch.setattr(
        _tune, "errors_left_out", lambda *_: {"start": 1.0, "tuned by kbo": 2.0})
    model, report = tune(prices, "--check")
    assert report["kept"] == "start" and model["model"].power_ == report["power"] < 1
    assert report["criterion_start"] == pytest.approx(
        tune(prices, "--power", f"{report['power']:g}", "--no-check")[1]["criterion_start"])
    assert model["model"].regressor_.tune == () and model["model"].powers == report["power"]


def test_powers_can_be_chosen_and_left_out(prices, capsys):
    model, report = tune(prices, "--power", "1", "--no-check")
    assert isinstance(model["model"], KernelBilevelRegressor) and report["power_errors"] == {}
    assert "the model is of" not in capsys.readouterr().out
    model, report = tune(prices, "--power", "0.25", "--no-check")
    assert model["model"].power_ == report["power"] == 0.25
    assert "the model is of y^0.25" in capsys.readouterr().out
    assert tune(prices, "--power", "1", "--loss", "huber", "--no-check")[1]["power"] == 1


def test_no_powers_of_a_target_that_is_symmetrical_or_negative(prices):
    table = pd.read_csv(prices)
    price = table["price"]
    for target in (np.log(price) + 20, price - price.mean(), -price):
        table.assign(price=target).to_csv(prices, index=False)
        model, report = tune(prices, "--no-check")
        assert isinstance(model["model"], KernelBilevelRegressor) and report["power_errors"] == {}


def test_rows_in_time_are_not_compared_by_models_of_later_ones(prices):
    table = pd.read_csv(prices)
    table.assign(day=np.arange(ROWS)).to_csv(prices, index=False)
    assert tune(prices, "--time", "day", "--no-check")[1]["power_errors"] == {}
    asked = tune(prices, "--time", "day", "--power", "0", "--no-check")[1]
    assert asked["power"] == 0 and list(asked["power_errors"]) == ["0.0"]


def test_powers_of_rows_in_groups(prices):
    table = pd.read_csv(prices)
    table.assign(who=np.arange(ROWS) // 4).to_csv(prices, index=False)
    _, report = tune(prices, "--group", "who", "--no-check")
    assert len(report["power_errors"]) == 3 and np.isfinite(report["score"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--power", "0", "--loss", "huber"], "leave out --loss huber"),
        (["--power", "0.5", "--target", "size"], "negative values"),
        (["--power", "0.5", "--dataset", "iris"], "--task regression"),
        (["--power", "0.5", "--dataset", "linnerud"], "several columns"),
    ],
)
def test_powers_that_do_not_fit(options, message, prices, capsys):
    table = [] if "--dataset" in options else [str(prices), "--target", "price"]
    assert main(["tune", *table, "--output", str(prices.parent / "out"), *options]) == 2
    assert message in capsys.readouterr().err


def test_a_power_is_a_number(prices, capsys):
    with pytest.raises(SystemExit):
        main(["tune", str(prices), "--target", "price", "--power", "2"])
    assert "neither auto nor a number from 0 to 1" in capsys.readouterr().err


def test_the_searches_share_the_time(prices, capsys):
    model, _ = tune(prices, "--power", "auto", "--max-time", "30", "--no-check")
    assert model["model"].regressor_.max_time == 10
    assert "10 s for each of 3 powers" in capsys.readouterr().err


@pytest.mark.parametrize("spread", [0.0, 1e-15])
def test_targets_that_are_nearly_equal_are_not_skewed_and_no_warning(spread):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not _is_skewed(5 + spread * np.arange(20))
