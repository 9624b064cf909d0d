"""The ``kbo`` command: tune a kernel model on a table, report the gain, and predict with it."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from pathlib import Path

import numpy as np
import shtab
from sklearn.exceptions import ConvergenceWarning

from .. import __version__, tabular
from ._doctor import doctor
from ._predict import predict
from ._text import say
from ._tune import tune


def build_parser() -> argparse.ArgumentParser:
    """The parser of the command's arguments."""
    parser = argparse.ArgumentParser(prog="kbo", description=__doc__)
    parser.add_argument("--version", action="version", version=f"kbo {__version__}")
    shtab.add_argument_to(parser, help="print what a shell needs to complete the command's options")
    commands = parser.add_subparsers(dest="command", required=True)
    _add_tune(commands.add_parser("tune", help="tune a kernel model on a table by hypergradient"))
    _add_predict(commands.add_parser("predict", help="predict with a model that kbo tune wrote"))
    commands.add_parser(
        "doctor", help="print versions, devices and threads, and test one hypergradient"
    ).set_defaults(run=doctor)
    return parser


def _add_reading(parser):
    parser.add_argument("--sep", help="the delimiter of a text file, 'tab' or \\t for tabs "
                        "(default: found among , ; tab and |)")
    parser.add_argument("--encoding", help="the encoding of a text file (default: UTF-8, or else "
                        "cp1252)")


def _add_tune(parser):
    add = parser.add_argument
    add("file", nargs="?", help="a file of delimited text (.csv, .tsv, .csv.gz) or Parquet")
    add("--dataset", choices=sorted(tabular.BUNDLED), help="a bundled data set")
    add("--target", help="the target column of the file")
    _add_reading(parser)
    add("--decimal", choices=(".", ","), help="decimal sign in numbers (default: found, for each "
        "column)")
    add("--drop", nargs="+", default=[], metavar="NAME", help="columns to leave out")
    add("--keep", nargs="+", default=[], metavar="NAME",
        help="columns to use although they look like identifiers or copies of the target")
    add("--types", nargs="+", default=[], type=_type, metavar="NAME=TYPE",
        help="what columns hold: number (anything else is missing), category or date")
    add("--group", metavar="NAME", help="the column that says which rows belong together, such as "
        "a person: test rows and folds are then whole groups")
    add("--time", metavar="NAME", help="the column of dates or numbers that orders the rows: later "
        "rows are then tested on models of earlier ones")
    add("--task", choices=("auto", "regression", "classification"), default="auto",
        help="auto: classification for text and for two values")
    add("--kernel", nargs="+", help="one kernel, or several for their mixture (default: the "
        "estimator's)")
    add("--loss", help="inner loss (regression: squared, huber, quantile, poisson; "
        "classification: logistic, squared)")
    add("--power", type=_power, default="auto", help="the power of the target that is modelled, "
        "from 1 to 0 (the logarithm); auto: of a target that is never negative and skewed, 1, .5 "
        "and 0 are compared, in three fits; predictions are means of the target itself")
    add("--ard", action=argparse.BooleanOptionalAction, default=True,
        help="one lengthscale per column of the table, where they pay (default), or one for all")
    add("--cv", type=int, help="number of folds (default: what the estimators choose)")
    add("--max-iter", type=int, default=100, help="maximal number of steps of the search")
    add("--max-time", type=float, help="time limit of the search, in seconds")
    add("--solver", default="auto", help="auto, exact, nystrom, falkon or full_cg")
    add("--n-centers", type=int, help="number of points that span the model (large data)")
    add("--test-size", type=float, default=0.25, help="fraction of the rows held out for testing")
    add("--seed", type=int, default=0, help="random seed of the split and of the folds")
    add("--missing", choices=("impute", "refuse"), default="impute")
    add("--device", choices=("cpu", "gpu"))
    add("--check", action=argparse.BooleanOptionalAction,
        help="check on held-out training rows whether tuning made the model worse than its start, "
        "and keep the start if so (default: if it takes at most half a minute, or --max-time)")
    add("--compare", action="store_true", help="also run scikit-learn's GridSearchCV")
    add("--output", type=Path, default=Path("kbo-report"), help="folder to write to")
    add("--html", action="store_true", help="also write report.html, one page with the pictures "
        "inside")
    add("--quiet", action="store_true", help="no progress bar (where the output of errors is no "
        "terminal there is none)")
    parser.set_defaults(run=tune)


def _add_predict(parser):
    model = parser.add_argument("model", type=Path, help="model.joblib from kbo tune; loading it "
                                "runs code, so that it must come from someone you trust")
    model.complete = shtab.FILE
    parser.add_argument("file", help="a table with the columns that the model was trained on")
    _add_reading(parser)
    parser.add_argument("--decimal", choices=(".", ","), help="decimal sign in numbers (default: "
                        "for each column as in training)")
    parser.add_argument("--coverage", type=_share, help="write the ends of intervals too that hold "
                        "a new value with this probability, such as 0.9 (squared loss)")
    parser.add_argument("--id", nargs="+", default=[], metavar="NAME", help="columns of the table "
                        "that are written in front of the predictions, such as a row's name")
    parser.add_argument("--output", type=Path, help="a CSV file (default: standard output)")
    parser.set_defaults(run=predict)


def _share(text):
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a probability between 0 and 1, such as 0.9"
        )
    return value


def _power(text):
    if text == "auto":
        return text
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is neither auto nor a number from 0 to 1")
    return value


def _type(text):
    name, separator, kind = text.rpartition("=")
    if not separator or kind not in tabular.KINDS:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not of the form NAME=TYPE with a TYPE among {', '.join(tabular.KINDS)}"
        )
    return name, kind


def main(argv=None) -> int:
    """Run the command. Bad input returns 2, after one line that says why; a failed self-test 1."""
    args = build_parser().parse_args(argv)
    said = set()

    def show(message, *_where, **_more):
        if str(message) not in said:
            said.add(str(message))
            say(f"warning: {message}")

    with warnings.catch_warnings():
        warnings.simplefilter("always", ConvergenceWarning)
        warnings.showwarning = show
        try:
            done = args.run(args)
            sys.stdout.flush()  # or a reader that has exited would be noticed after the last line
        except BrokenPipeError:  # the reader of the output (head, less) has exited
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 141
        except (ValueError, OSError) as error:
            say(f"kbo: {error}")
            return 2
    return 1 if done is False else 0  # only the doctor finds something wrong
