"""What is written: where each tensor goes in a file of a layout, streamed, proved, and renamed into place."""
