"""``faceloss VERB``: finds the verb's file in this folder, runs it, and turns errors into one sentence."""

import errno
import importlib
import os
import sys
from typing import Any, NoReturn

import click

from faceloss import __version__
from faceloss.errors import FacelossError

VERBS = {
    "prepare": "Find, align and crop the faces of photographs, and account for every file.",
    "synthesize": "Draw a set of generated faces with known causes: pose, light, age, groups, near-twins, label noise.",
    "data": "Look up public face sets; write a set anew, as a folder or as shards.",
    "overlap": "Find what two sets of faces share: files, pictures encoded anew, names, renamed people.",
    "clean": "Propose what to drop or merge in a set of faces, with the evidence.",
    "compare": "Train the losses on the same faces under one recipe and write one report.",
    "train": "Train one network under one loss and hand over the model.",
    "search": "Search for the margin while the network trains, beside what a search must beat.",
    "resume": "Continue a comparison or training that was interrupted; the records come out the same.",
    "report": "Write the report of a runs folder anew.",
    "evaluate": "Judge a file of embeddings: verification, identification, intervals.",
    "losses": "List the losses; show one: formula, paper, defaults, deviations; or check one, your own too.",
    "doctor": "Check this installation and machine.",
}


class Verbs(click.Group):
    """A group that imports a verb's module only when that verb is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs, in the order in which a newcomer needs them."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The verb, from the file of its name."""
        if cmd_name not in VERBS:
            return None
        command = getattr(importlib.import_module(f"faceloss.cli.{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As in click, but an unknown verb is answered with the nearest one."""
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            from faceloss.errors import BadInput, unknown

            raise BadInput(unknown("verb", args[0], VERBS))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of verbs without importing any of them."""
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


@click.group(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="`faceloss VERB --help` tells more. Start with: faceloss compare --data builtin --out runs/first",
)
@click.version_option(__version__, prog_name="faceloss")
def cli() -> None:
    """Which face-recognition loss, with which margin, on my faces, and how sure can I be?"""


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line; exit code 0, 2 (bad input), 3 (could not finish) or the verb's own."""
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # else a lost connection is told with stack traces of C++
    code = _run(arguments)
    if code and os.environ.get("WORLD_SIZE", "1") != "1":
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # threads that wait for a lost process can abort this one while Python takes itself down
    sys.exit(code)


def _run(arguments: list[str] | None) -> int:
    try:
        result: Any = cli(arguments, prog_name="faceloss", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except FacelossError as error:
        return _fail(str(error), error.exit_code)
    except click.exceptions.Abort:
        return _fail("stopped.", 3)
    except click.ClickException as error:
        return _fail(error.format_message() if os.environ.get("RANK", "0") == "0" else "", 2)  # once, under torchrun
    except KeyboardInterrupt:
        return _fail("stopped.", 3)
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return _fail(f"the disk is full ({error.filename}); make room there and resume. Nothing was lost.", 3)
        if error.filename is not None:
            return _fail(f"{error.filename}: {error.strerror}.", 2)
        raise


def _fail(sentence: str, code: int) -> int:
    if sentence:
        print(f"faceloss: {sentence}", file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
