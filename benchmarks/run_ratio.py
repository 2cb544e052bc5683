#!/usr/bin/env python3
"""The price of the harness: `faultline run` against bare boots. The same as `ratios.py matrix`."""

import sys

from ratios import main

if __name__ == "__main__":
    sys.argv.insert(1, "matrix")
    main()
