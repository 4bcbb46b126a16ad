"""The command line of the recipe."""

from __future__ import annotations

import argparse
from pathlib import Path

from weights import recipe
from weights.recipe.align import align
from weights.recipe.distil import distil
from weights.recipe.teacher import make_teacher
from weights.recipe.views import make_views


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m weights.recipe", description=(recipe.__doc__ or "").splitlines()[0]
    )
    commands = parser.add_subparsers(required=True)
    teacher = commands.add_parser("teacher")
    teacher.set_defaults(action=make_teacher)
    teacher.add_argument("--wheel", type=Path, required=True)
    teacher.add_argument("--out", type=Path, required=True)
    for name, action in (("views", make_views), ("distil", distil), ("align", align)):
        command = commands.add_parser(name)
        command.set_defaults(action=action)
        command.add_argument("--work", type=Path, required=True)
        if name != "distil":
            command.add_argument("--data", type=Path, required=True)
            command.add_argument("--volumes", type=Path, required=True)
        if name == "distil":
            command.add_argument("--teacher", type=Path, required=True)
            command.add_argument("--epochs", type=int, default=8)
            command.add_argument("--batch", type=int, default=32)
            command.add_argument("--resume", action="store_true")
            command.add_argument("--lr", type=float, default=6e-5)
        if name == "align":
            command.add_argument("--out", type=Path, required=True)
            command.add_argument("--steps", type=int, default=1500)
            command.add_argument("--leave-out", help="data set whose captions are not read")
    args = parser.parse_args()
    args.action(args)


if __name__ == "__main__":
    main()
