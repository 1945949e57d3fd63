"""Does the learned loss help? Trains it beside its rivals and controls, and reports with statistics what came out.

    python -m benchmarks.accuracy run benchmarks/studies/lifter.yaml
    python -m benchmarks.accuracy report benchmarks/studies/lifter.yaml

One YAML file describes a study: the data, the host and the methods to compare. docs/accuracy.md holds the protocol and
the results.
"""
