"""What is declared: arches, kernels, scenarios, expectations, and the outcome grammar.

Nothing here does I/O other than reading the project's YAML files, and nothing here imports
from the rest of the harness.
"""
