"""What operators look at and are called by: dashboards, recording and alert rules, made from Python, checked as data.

``trunkline dashboards generate`` makes the files in ``deploy/grafana`` and ``deploy/prometheus`` from this package.
"""
