"""What is asked around a loss: which one, what is wrong with mine, what does my code do wrong."""
