"""Writing what a finished model is turned into: tensors merged, files written aside and moved to their names."""
