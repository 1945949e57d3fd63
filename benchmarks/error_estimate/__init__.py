"""Does an error estimate tell how far off a pose is? Trains hosts beside their critic, and compares it with its rivals.

    python -m benchmarks.error_estimate run benchmarks/studies/critic.yaml --data-dir DIR
    python -m benchmarks.error_estimate report benchmarks/studies/critic.yaml --data-dir DIR

docs/error-estimate.md holds the protocol and the results.
"""
