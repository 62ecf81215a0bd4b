"""Writing a base with a sum in it, proved, and taking the sum out again, bit for bit."""
