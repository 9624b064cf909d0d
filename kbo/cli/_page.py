"""``kbo tune --html``: the report as one page with its pictures inside, to be sent to somebody."""

from __future__ import annotations

import base64
import html

from ..html import bars, facts
from ..serial import write_atomically
from ._models import of_power, words_of_powers

STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em}"
    "table{border-collapse:collapse;margin:1em 0}td,th{padding:.2em .8em;text-align:left}"
    "img{max-width:100%}"
)


def write_page(folder, title, report):
    """Write FOLDER/report.html from a report and the pictures that lie beside it.

    Parameters
    ----------
    folder : Path
    title : str
        The name of the table.
    report : dict
        As in report.json.
    """
    errors = report["errors_left_out"] or {}
    rows = {**report["models"], "without features": report["without_features"]}
    models = {
        f"{name}{' (kept)' if name == report['kept'] else ''}":
            f"test {report['metric']} {row['score']:.4f}"
            + (f", {report['test_error']} {row['error']:.4g}" if "error" in row else "")
            + (f", {row['seconds']:.1f} s" if "seconds" in row else "")
            + (f", error left out ({report['error_kind']}) {errors[name]:.4g}"
               if name in errors else "")
        for name, row in rows.items()
    }
    about = {
        "task": report["task"], "rows divided": report["divided"],
        "training rows": report["n_train"], "test rows": report["n_test"],
        "status": report["status"], **report["numbers"],
        f"criterion{of_power(report)}":
            f"{report['criterion']:.5g} (at the start {report['criterion_start']:.5g})",
        **({"power": words_of_powers(report)} if report["power_errors"] else {}),
        "missing cells": ", ".join(f"{name}: {k}" for name, k in report["missing"].items()),
    }
    features = {
        row["name"]: (row["relevance"], f"lengthscale {row['lengthscale']:.3g}")
        for row in report["features"]
    }
    samples = {f"row {s['row']}": f"{s['influence']:.2f}" for s in report["samples"]}
    parts = [
        "<h2>Models</h2>", facts(models), "<h2>Remarks</h2>" * bool(report["remarks"]),
        "".join(f"<p>{html.escape(remark)}</p>" for remark in report["remarks"]),
        "<h2>The search</h2>", facts(about),
        _picture(folder / "figure.png", "the criterion and the relevance of each variable"),
        "<h2>Variables{}</h2>".format(
            ", of which none was found to matter more" if report["alike"] else " by relevance"
        ) * bool(features), bars(features),
        _picture(folder / "effects.png", "how predictions change with the variables"),
        "<h2>Rows by influence, relative to the mean</h2>" * bool(samples), facts(samples),
    ]
    shown = html.escape(f"kbo tune: {title}")
    text = (
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>{shown}</title>"
        f"<meta name='viewport' content='width=device-width'><style>{STYLE}</style></head>"
        f"<body><h1>{shown}</h1>{''.join(parts)}</body></html>\n"
    )
    write_atomically(folder / "report.html", lambda file: file.write(text), "w")


def _picture(path, alt):
    if not path.exists():
        return ""
    data = base64.b64encode(path.read_bytes()).decode()
    return f"<p><img alt='{html.escape(alt)}' src='data:image/png;base64,{data}'></p>"
