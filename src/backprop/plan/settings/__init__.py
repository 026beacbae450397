"""What the user asks for: one frozen class a group, declared once with `opt()`."""
