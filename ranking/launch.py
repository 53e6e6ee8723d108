"""`python -m ranking.launch [torchrun's options] COMMAND ...`: torchrun with segrec's own exit codes and messages."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Starts `segrec COMMAND ...` in several processes; exit code and message are those of the one that failed first.

    torchrun itself adds its own report of some thirty lines, and always exits with 1.
    """
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run

    options = parse_args(list(sys.argv[1:] if arguments is None else arguments))  # type: ignore[no-untyped-call]
    options.training_script_args = [options.training_script, *options.training_script_args]
    options.module, options.training_script = True, "ranking.cli"
    logging.disable(logging.ERROR)  # of this process: it only waits
    try:
        run(options)  # type: ignore[no-untyped-call]
    except ChildFailedError as error:
        _, first = error.get_first_failure()
        sys.exit(first.exitcode if first.exitcode > 0 else 1)


if __name__ == "__main__":
    main()
