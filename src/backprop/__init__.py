"""Fine-tune language models on the hardware you have: the plan is printed, then executed."""

__version__ = "0.1.0"
