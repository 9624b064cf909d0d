"""``kbo tune``: split, tune, compare, write the report, and print one table."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import joblib
import numpy as np
from sklearn.base import is_classifier
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.pipeline import Pipeline

from .. import compile_seconds, tabular
from ..inspection import EffectDisplay, TuningDisplay
from ..inspection import report as what_matters
from ..serial import write_atomically
from ._check import SECONDS, errors_left_out, errors_of, kind_of_error
from ._data import load
from ._models import (
    START,
    TUNED,
    core,
    errors_of_powers,
    grid,
    of_power,
    power_of,
    settled,
    start_of,
    tuned_model,
    words_of_powers,
)
from ._page import write_page
from ._rows import SPLITS
from ._text import say, table

IN_UNITS = "criterion", "loss on other folds", "standard deviation of noise"  # of what is modelled
CHANCE = 2.0  # standard errors by which a difference of errors must exceed zero


def _timed_fit(model, X, y, **options):
    started = time.perf_counter()
    model.fit(X, y, **options)
    return time.perf_counter() - started


def _count_gaps(args, X):
    """Count missing values by column; refuse or report them, as --missing says."""
    gaps = {name: int(k) for name, k in X.isna().sum().items() if k}
    if gaps and args.missing == "refuse":
        raise ValueError(f"missing values per column: {gaps}; fill them, or use --missing impute")
    if gaps:
        print(f"missing values (count per column): {gaps}: a missing number or date is placed "
              "apart from all known ones, and a missing level is one more level")
    return gaps


def tune(args) -> dict:
    """Split, tune, write model, report and figure, check and compare; return the report."""
    started, compiled = time.perf_counter(), compile_seconds()
    data = load(args)
    gaps = _count_gaps(args, data.X)
    first, last, note = data.rows.split(data.y, args.test_size, args.seed, data.classification)
    if note:
        say(note)
    rows, X_train, X_test = data.rows.part(first), data.X.iloc[first], data.X.iloc[last]
    y_train, y_test = data.y[first], data.y[last]
    print(f"{len(X_train)} training and {len(X_test)} test samples, {data.X.shape[1]} columns")
    encode = tabular.encoder(data.columns).fit(X_train)
    train, test = (encode.transform(X_train), y_train), (encode.transform(X_test), y_test)
    features = tabular.features(encode)
    model = tuned_model(args, data, y_train, features.labels)
    seconds = {TUNED: _timed_fit(model, *train, **rows.options)}
    models = {START: start_of(model), TUNED: model}
    seconds[START] = _timed_fit(models[START], *train, **rows.options)
    tuned, power = core(model), power_of(model)
    args.output.mkdir(parents=True, exist_ok=True)
    _write_model(args, data, encode, models[TUNED])
    report = {
        "task": "classification" if data.classification else "regression",
        "metric": "accuracy" if data.classification else "R2",
        "test_error": "log-loss" if data.classification else "RMSE",
        "error_kind": kind_of_error(tuned), "divided": data.rows.words,
        "n_train": len(X_train), "n_test": len(X_test), "seed": args.seed, "missing": gaps,
        "left_out": data.left_out, "remarks": data.remarks,
        "criterion_start": tuned.criterion_start_, "criterion": tuned.criterion_,
        "status": tuned.status_, "n_iter": tuned.n_iter_, "n_evaluations": tuned.n_evaluations_,
        "solver": tuned.solver_, "errors_left_out": None,
        "models": {name: _facts(model, seconds[name], test) for name, model in models.items()},
        "power": power, "power_errors": errors_of_powers(model),
        "without_features": _constant(data.classification, y_train, y_test),
        "worse_on_test_rows": _worse(models, test),
    }
    report["models"][START]["criterion"] = tuned.criterion_start_

    found = _keep(report, TUNED, models[TUNED], features, X_train.index)
    _write_report(args, report)
    _draw(args, tuned, report)
    allowed = SECONDS if args.max_time is None else args.max_time
    if _affordable(args, tuned, allowed, max(1, len(report["power_errors"]))):
        report["errors_left_out"] = errors = errors_left_out(
            models, *train, args.seed, rows, allowed
        )
        if errors is None:
            say("it was not checked whether tuning made the model worse: no division of the "
                "training rows leaves enough to tune on")
        elif errors[TUNED] > errors[START]:
            _write_model(args, data, encode, models[START])
            found = _keep(report, START, models[START], None, X_train.index)
        _write_report(args, report)
    drawn = _draw_effects(args, encode, settled(model), X_train, report["features"])
    if args.compare:
        folds = rows.usable(y_train, args.seed, data.classification)
        if folds:
            report["models"]["GridSearchCV 7x9"] = _compare(
                data.classification, train, test, folds
            )
        else:
            say("no GridSearchCV: no division of the training rows has two classes to learn")
        _write_report(args, report)
    if args.html:
        write_page(args.output, args.dataset or args.file, report)
    report["seconds"] = time.perf_counter() - started
    report["compile_seconds"] = compile_seconds() - compiled
    _write_report(args, report)
    _print(args, report, found, drawn)
    return report


def _keep(report, name, model, features, rows):
    """Record the model that is kept in the report; return what matters to it.

    Relevances and lengthscales are by variables of the table, in its units, and influences by rows
    of the table.
    """
    fitted = core(model)
    found = what_matters(fitted)
    by_variable = {}
    if features is not None:
        for row in found.features:  # the most relevant level of a category stands for it
            output = int(row["name"][1:])
            label, unit = features.labels[output], features.units[output]
            by_variable.setdefault(label, {
                "name": features.variables[label], "relevance": row["relevance"],
                "lengthscale": float(row["lengthscale"] * unit)})
    samples = [{**s, "index": int(rows[s["index"]]) + 1} for s in found.samples]  # from 1
    scores = [report["models"][kind]["score"] for kind in (name, START)]
    numbers = {f"{key}{of_power(report) if key.startswith(IN_UNITS) else ''}": value
               for key, value in found.numbers.items()}
    report.update(kept=name, score=scores[0], score_start=scores[1], numbers=numbers,
                  alike=found.alike, kernel=repr(fitted.kernel_),
                  features=list(by_variable.values()),
                  samples=[{"row": s["index"], "influence": s["influence"]} for s in samples])
    return replace(
        found, features=report["features"], samples=samples, numbers=report["numbers"]
    )


def _draw(args, tuned, report):
    display = TuningDisplay.from_estimator(tuned, records=report["features"])
    write_atomically(args.output / "figure.png", lambda f: display.figure_.savefig(f, format="png"))
    display.close()


def _draw_effects(args, encode, tuned, X, features):
    """Whether the effects of the variables that matter most are drawn: where the tuned model is
    kept.
    """
    path = args.output / "effects.png"
    path.unlink(missing_ok=True)  # of an earlier run
    names = [row["name"] for row in features if row["name"] in X.columns][:3]
    if names:
        pipeline = Pipeline([("encode", encode), ("model", tuned)])
        display = EffectDisplay.from_estimator(pipeline, X, features=names)
        write_atomically(path, lambda f: display.figure_.savefig(f, format="png"))
        display.close()
    return bool(names)


def _affordable(args, tuned, allowed, fits=1):
    """Whether to check the tuned model against its start, which repeats SPLITS times the searches.

    The first evaluation is not counted, because most of it is compilation, which happens once.
    """
    if args.check is not None:
        return args.check
    first, last = tuned.history_[0], tuned.history_[-1]
    later = max(1, last["evaluations"] - first["evaluations"])
    takes = SPLITS * fits * tuned.n_evaluations_ * (last["seconds"] - first["seconds"]) / later
    if takes > allowed:
        say("it was not checked whether tuning made the model worse: --check does so, and takes "
            f"about {takes:.0f} s")
    return takes <= allowed


def _facts(model, seconds, test):
    """The entries of a model's row in the printed table."""
    return {"criterion": getattr(core(model), "criterion_", None), "score": model.score(*test),
            "error": _error(model, *test), "seconds": seconds, "alpha": core(model).alpha_}


def _error(model, X, y):
    """The mean log-loss of a classifier, the root mean squared error of a regressor."""
    if is_classifier(model):
        return float(errors_of(model, X, y).mean())
    return float(np.sqrt(np.mean((model.predict(X) - y) ** 2)))


def _constant(classification, y_train, y_test):
    """Score and error on the test rows of the shares of the classes, or of the mean."""
    kind = DummyClassifier(strategy="prior") if classification else DummyRegressor()
    found = kind.fit(y_train, y_train)
    return {"score": found.score(y_test, y_test), "error": _error(found, y_test, y_test)}


def _worse(models, test):
    """Whether the tuned model's errors on the test rows exceed the start's, beyond chance."""
    more = errors_of(models[TUNED], *test) - errors_of(models[START], *test)
    return bool(more.mean() > CHANCE * more.std() / np.sqrt(len(more)))


def _compare(classification, train, test, folds):
    search = grid(classification, train[0].shape[1], folds)
    seconds = _timed_fit(search, *train)
    best = {name.removeprefix("model__"): float(v) for name, v in search.best_params_.items()}
    return {"score": search.best_estimator_.score(*test), "seconds": seconds, "best_params": best}


def _write_model(args, data, encode, model):
    pipeline = Pipeline([("columns", data.columns), ("encode", encode), ("model", settled(model))])
    write_atomically(args.output / "model.joblib", lambda f: joblib.dump(pipeline, f))


def _write_report(args, report):
    text = json.dumps(report, indent=2, default=_plain)
    write_atomically(args.output / "report.json", lambda f: f.write(text), "w")


def _plain(value):
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else float(value)


def _print(args, report, found, drawn):
    test, errors = f"test {report['metric']}", report["errors_left_out"] or {}
    shown = lambda value, form: "" if value is None else format(value, form)  # noqa: E731
    criterion = f"criterion{of_power(report)}"
    error, left_out = f"test {report['test_error']}", f"error left out ({report['error_kind']})"
    rows = [
        {"model": name + " (kept)" * (name == report["kept"]),
         criterion: shown(facts.get("criterion"), ".5g"),
         left_out: shown(errors.get(name), ".4g"), test: f"{facts['score']:.4f}",
         error: shown(facts.get("error"), ".4g"),
         "seconds": shown(facts.get("seconds"), ".2f"), "alpha": shown(facts.get("alpha"), ".3g")}
        for name, facts in [
            *report["models"].items(), ("without features", report["without_features"])
        ]
    ]
    print(table(rows, ["model", criterion, left_out, test, error, "seconds", "alpha"]))
    print(words_of_powers(report), end="")
    if report["kept"] == START:
        print("kept is the start: it predicts training rows that are left out better than the "
              "tuned model does")
    elif report["worse_on_test_rows"]:
        say("warning: on the test rows the tuned model has larger errors than its start, by more "
            "than chance explains")
    print(f"\n{found}")
    print(
        f"\n{report['seconds']:.0f} s in all, {report['compile_seconds']:.0f} of them compiling; "
        f"wrote {args.output}/report.json, figure.png, "
        f"{'effects.png, ' * drawn}model.joblib (for kbo predict; a "
        "joblib pickle of the whole pipeline: load it only where you trust the file)"
    )
