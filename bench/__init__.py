"""The benchmarks: a development tool that starts an instance of its own, measures it and throws it away."""
