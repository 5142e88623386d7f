"""``python -m innerloop`` is the command ``innerloop``."""

from innerloop.cli.app import main

main()
