"""Peak memory of training, predicted from counts of the tensors that the libraries keep alive."""
