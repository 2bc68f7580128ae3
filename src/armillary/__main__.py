"""`python -m armillary` is `armillary`."""

from armillary.cli.main import main

main()
