"""``python -m backprop``"""

from backprop.cli.start import run

if __name__ == "__main__":
    run()
