"""Where the command line starts: `creditledger`, and `python -m creditledger.api`."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    # Not above: the processes that prove a ledger side by side come by this module when they
    # start, and need none of the commands.
    from creditledger.api import cli  # noqa: PLC0415

    cli.main()


if __name__ == "__main__":
    main()
