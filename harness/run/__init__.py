"""From declaration to results: plan columns, prepare them, run their jobs, judge, record."""
