"""``kbo predict``: apply a model written by ``kbo tune`` to another table."""

from __future__ import annotations

import csv
import sys

import joblib
import numpy as np
from sklearn.pipeline import Pipeline

from .. import tabular
from ..serial import write_atomically
from ._text import say


def predict(args):
    """Write one line of predictions for each row of the table, in the table's order."""
    model = _load(args.model)
    columns = model["columns"]
    table = tabular.read_table(args.file, args.sep, args.encoding)
    frame = table.frame
    if not len(frame):
        raise ValueError(f"{args.file} has no rows")
    for note in table.notes:
        say(note)
    if args.decimal:
        columns.set_decimal(args.decimal)
    try:
        typed = columns.transform(frame)
    except ValueError as error:
        raise ValueError(f"{args.file}: {error}") from error
    extra = [name for name in frame.columns if name not in columns.readers_ and name not in args.id]
    if extra:
        say(f"columns that the model does not use: {extra}")
    for name, new in columns.unseen(typed).items():
        say(f"{name}: values that the model has not seen, treated as none of those it knows: {new}")
    gaps = {name: int(k) for name, k in typed.isna().sum().items() if k}
    if gaps:
        say(f"missing values (count per column): {gaps}, treated as in training")
    encoded = model["encode"].transform(typed)
    found = {"prediction": model["model"].predict(encoded)}
    if hasattr(model["model"], "predict_proba"):
        shares = model["model"].predict_proba(encoded)
        for label, share in zip(model["model"].classes_, shares.T, strict=True):
            found[f"probability of {label}"] = share
    if args.coverage is not None:
        if not hasattr(model["model"], "predict_interval"):
            raise ValueError("--coverage is for regression; this model tells classes apart: "
                             "its probabilities are written without this option")
        ends = model["model"].predict_interval(encoded, args.coverage)
        found["lower"], found["upper"] = ends.T
    _write(_of_rows(args, frame, found) | found, args.output)


def _of_rows(args, frame, found):
    """The columns of ``--id``, which are written in front of what was found."""
    for name in args.id:
        if name not in frame.columns:
            raise ValueError(f"--id {name}: no such column; {args.file} has {list(frame.columns)}")
        if name in found:
            raise ValueError(f"--id {name}: a column of the predictions has this name: rename it")
    return {name: frame[name].to_numpy() for name in args.id}


def _load(path):
    if not path.is_file():
        raise ValueError(f"{path} does not exist")
    try:
        model = joblib.load(path)
    except Exception as error:
        raise ValueError(f"{path} is not a model that this kbo can load: {error}") from error
    if not isinstance(model, Pipeline) or list(model.named_steps) != ["columns", "encode", "model"]:
        raise ValueError(f"{path} holds no model that kbo tune wrote")
    return model


def _write(found, path):
    def lines(file):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(found)
        writer.writerows(zip(*(np.asarray(v).tolist() for v in found.values()), strict=True))

    if path is None:
        lines(sys.stdout)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lines, "w")
