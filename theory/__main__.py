"""``python -m theory``: run published experiments again."""

from __future__ import annotations

import argparse
import inspect
import sys

from .reproduce import EXPERIMENTS, INPUTS, listing


def main(argv=None) -> int:
    """Run the command; return 0, or 2 for bad input."""
    parser = argparse.ArgumentParser(prog="python -m theory", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="what there is")
    reproduce = commands.add_parser("reproduce", help="run an experiment")
    reproduce.add_argument("name", choices=sorted(EXPERIMENTS))
    reproduce.add_argument("--output", default="theory-report", help="folder to write to")
    reproduce.add_argument("--sizes", type=int, nargs="+", help="default: those published")
    reproduce.add_argument("--repeats", type=int)
    reproduce.add_argument("--inputs", nargs="+", choices=INPUTS, help="of kbo-neurips2025")
    reproduce.add_argument("--jobs", type=int, help="workers")
    args = parser.parse_args(argv)
    if args.command == "list":
        print(listing())
        return 0
    try:
        given = {"sizes": args.sizes, "repeats": args.repeats, "inputs": args.inputs}
        given["n_jobs"] = args.jobs
        given = {name: value for name, value in given.items() if value is not None}
        run = EXPERIMENTS[args.name]
        foreign = set(given) - set(inspect.signature(run).parameters)
        if foreign:
            raise ValueError(f"{args.name} does not use {sorted(foreign)}: leave it out")
        run(args.output, **given)
    except ValueError as error:
        print(f"theory: {error}", file=sys.stderr)
        return 2
    print(f"wrote {args.output}/report.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
