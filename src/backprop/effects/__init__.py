"""The world: probes return facts, executors take a plan and an ``emit`` callable."""
