"""What ``backprop generate`` decides before a model is loaded."""
