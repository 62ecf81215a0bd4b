"""The parts of the Compare page: its address, its columns with their pictures, and the table of what differs."""
