"""What a training run does, decided line by line."""
