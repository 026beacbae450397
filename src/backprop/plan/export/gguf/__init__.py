"""What a GGUF file is made of, decided from a model's configuration, tensors and tokenizer; nothing is read here."""
