"""``python -m backprop``"""

from backprop.cli.main import run

if __name__ == "__main__":
    run()
