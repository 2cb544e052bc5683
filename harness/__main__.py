"""python -m harness, and the command `faultline`."""

import signal

# Until the command line is read there is nothing to clean up, and a traceback would tell nothing.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from harness.cli import main

if __name__ == "__main__":
    main(prog_name="faultline")
