"""Does the learned loss help? Trainings, rivals, controls and statistics, from one file a study.

    python -m benchmarks.accuracy run benchmarks/studies/lifter.yaml
    python -m benchmarks.accuracy report benchmarks/studies/lifter.yaml

docs/accuracy.md holds the protocol and tells what came out.
"""
