"""``python -m theory``: published experiments, run again."""

from __future__ import annotations

import argparse
import sys

from .reproduce import EXPERIMENTS, INPUTS, listing


def main(argv=None) -> int:
    """Run the command; 2 is returned for bad input."""
    parser = argparse.ArgumentParser(prog="python -m theory", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="what there is")
    run = commands.add_parser("reproduce", help="run an experiment")
    run.add_argument("name", choices=sorted(EXPERIMENTS))
    run.add_argument("--output", default="theory-report", help="folder to write to")
    run.add_argument("--sizes", type=int, nargs="+", help="sample sizes (default: published ones)")
    run.add_argument("--repeats", type=int)
    run.add_argument("--inputs", nargs="+", choices=INPUTS, help="of kbo-neurips2025")
    run.add_argument("--jobs", type=int, help="workers")
    args = parser.parse_args(argv)
    if args.command == "list":
        print(listing())
        return 0
    try:
        given = {"sizes": args.sizes, "repeats": args.repeats, "inputs": args.inputs}
        given = {name: value for name, value in given.items() if value is not None}
        EXPERIMENTS[args.name](args.output, n_jobs=args.jobs, **given)
    except ValueError as error:
        print(f"theory: {error}", file=sys.stderr)
        return 2
    print(f"wrote {args.output}/report.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
