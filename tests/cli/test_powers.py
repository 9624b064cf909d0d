"""The command models a power of a target that is never negative and skewed."""

import json

import joblib
import numpy as np
import pandas as pd
import pytest

from kbo import KernelBilevelRegressor, PowerTargetRegressor
from kbo.cli import main

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
    assert model["model"].errors_ == errors and report["power"] == min(errors, key=errors.get)
    assert f"itself {errors[1.0]:.4g}" in text and f"its logarithm {errors[0.0]:.4g}" in text
    assert set(report["errors_left_out"]) == {"start", "tuned by kbo"}  # of prices, for both
    assert report["errors_left_out"]["tuned by kbo"] < errors[1.0]
    share = np.mean((model.predict(table) - table["price"]) ** 2) / table["price"].var()
    assert share < 0.1
    page = (prices.parent / "out" / "report.html").read_text()
    assert "modelled of the target" in page and "(kept)" in page
    assert main(["predict", str(prices.parent / "out" / "model.joblib"), str(prices),
                 "--coverage", "0.8", "--output", str(prices.parent / "found.csv")]) == 0
    found = pd.read_csv(prices.parent / "found.csv")
    assert (found["lower"] >= 0).all() and (found["lower"] < found["upper"]).all()


def test_powers_can_be_chosen_and_left_out(prices, capsys):
    model, report = tune(prices, "--power", "1", "--no-check")
    assert isinstance(model["model"], KernelBilevelRegressor) and report["power_errors"] == {}
    assert "modelled is" not in capsys.readouterr().out
    model, report = tune(prices, "--power", "0.25", "--no-check")
    assert model["model"].power_ == report["power"] == 0.25
    assert "its power 0.25" in capsys.readouterr().out


def test_no_powers_of_a_target_that_is_symmetrical_or_negative(prices):
    table = pd.read_csv(prices)
    for target in (np.log(table["price"]), np.log(table["price"]) + 20, -table["price"]):
        table.assign(price=target).to_csv(prices, index=False)
        model, report = tune(prices, "--no-check")
        assert isinstance(model["model"], KernelBilevelRegressor) and report["power"] == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--power", "0", "--loss", "huber"], "squared loss"),
        (["--power", "0.5", "--target", "size"], "never negative"),
        (["--power", "0.5", "--loss", "quantile"], "for regression"),
    ],
)
def test_powers_that_do_not_fit(options, message, prices, capsys):
    assert main(["tune", str(prices), "--target", "price", "--output",
                 str(prices.parent / "out"), *options]) == 2
    assert message in capsys.readouterr().err


def test_a_power_is_a_number(prices, capsys):
    with pytest.raises(SystemExit):
        main(["tune", str(prices), "--target", "price", "--power", "2"])
    assert "neither auto nor a number from 0 to 1" in capsys.readouterr().err


def test_the_searches_share_the_time(prices):
    model, _ = tune(prices, "--power", "auto", "--max-time", "30", "--no-check")
    assert model["model"].regressor_.max_time == 10
