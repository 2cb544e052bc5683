"""Results to text: `formats.render`, and `terminal.render_terminal` on a terminal.

Reads `harness.results` only: nothing here knows how a result came about. Each renderer is a
module of its own, so that rich is imported only where something is printed with it.
"""
