"""What fits which card: the answers of ``estimate-vram``."""
