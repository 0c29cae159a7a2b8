"""`python -m sweep` is `sweep`."""

from sweep.cli.commands import main

main()
