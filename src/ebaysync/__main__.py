"""`python -m ebaysync`."""

from ebaysync.cli.app import main

main()
