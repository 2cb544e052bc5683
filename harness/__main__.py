"""python -m harness: the same as the command `faultline`."""

from harness.cli import main

main(prog_name="faultline")
